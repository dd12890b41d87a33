#include "model/lsn.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"

/* One to eight hexadecimal digits up to the byte stop; returns the byte after it, or NULL. */
static const char *parse_half(const char *s, char stop, uint32_t *ret)
{
	uint32_t v = 0;
	int digits = 0;

	for (; *s != stop; s++, digits++) {
		int d;

		if (*s >= '0' && *s <= '9')
			d = *s - '0';
		else if (*s >= 'a' && *s <= 'f')
			d = *s - 'a' + 10;
		else if (*s >= 'A' && *s <= 'F')
			d = *s - 'A' + 10;
		else
			return NULL;
		if (digits == 8)
			return NULL;
		v = v << 4 | (uint32_t)d;
	}
	*ret = v;
	return digits > 0 ? s + 1 : NULL;
}

int herd_lsn_parse(const char *text, uint64_t *ret)
{
	uint32_t hi, lo;

	if (!text || !(text = parse_half(text, '/', &hi)) || !parse_half(text, '\0', &lo))
		return -EINVAL;
	*ret = (uint64_t)hi << 32 | lo;
	return 0;
}

const char *herd_lsn_print(uint64_t lsn, char out[HERD_LSN_TEXT])
{
	snprintf(out, HERD_LSN_TEXT, "%X/%X", (unsigned)(lsn >> 32), (unsigned)lsn);
	return out;
}

/* Decodes one UTF-8 character, or takes one byte when it is not valid. */
static uint32_t next_char(const unsigned char **s)
{
	const unsigned char *p = *s;
	int more = p[0] >= 0xf0 && p[0] < 0xf8 ? 3 : p[0] >= 0xe0 ? 2 : p[0] >= 0xc0 ? 1 : 0;
	uint32_t c = p[0];

	if (p[0] >= 0xf8)
		more = 0;
	if (more > 0)
		c = p[0] & (0x3fu >> more);
	for (int i = 1; i <= more; i++) {
		if ((p[i] & 0xc0) != 0x80) {
			*s = p + 1;
			return p[0];
		}
		c = c << 6 | (p[i] & 0x3fu);
	}
	*s = p + 1 + more;
	return c;
}

char *herd_slot_name(const char *member)
{
	const unsigned char *s = (const unsigned char *)member;
	struct herd_buf b = { 0 };

	while (*s) {
		uint32_t c = next_char(&s);

		if (c >= 'A' && c <= 'Z')
			c += 'a' - 'A';
		if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_')
			herd_buf_addc(&b, (char)c);
		else if (c == '-' || c == '.')
			herd_buf_addc(&b, '_');
		else
			herd_buf_printf(&b, "u%04u", (unsigned)c);
	}
	char *name = herd_buf_steal(&b);

	if (name && strlen(name) > 63)
		name[63] = '\0';
	return name;
}
