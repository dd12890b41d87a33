#include "base/str.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

char *herd_str_printf(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	char *text = herd_str_vprintf(fmt, ap);
	va_end(ap);
	return text;
}

char *herd_str_vprintf(const char *fmt, va_list ap)
{
	char *text;

	return vasprintf(&text, fmt, ap) < 0 ? NULL : text;
}

bool herd_str_eq(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

bool herd_str_ieq(const char *a, const char *b)
{
	return a == b || (a && b && strcasecmp(a, b) == 0);
}

bool herd_str_starts(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

char *herd_str_dup(const char *s)
{
	return s ? strdup(s) : NULL;
}

bool herd_str_set(char **slot, const char *s)
{
	char *copy = herd_str_dup(s);

	if (s && !copy)
		return false;
	free(*slot);
	*slot = copy;
	return true;
}

char *herd_str_trim(char *s)
{
	while (isspace((unsigned char)*s))
		s++;
	size_t len = strlen(s);

	while (len > 0 && isspace((unsigned char)s[len - 1]))
		s[--len] = '\0';
	return s;
}

int herd_str_to_i64(const char *s, int64_t *ret)
{
	char *end;

	if (!s || *s == '\0' || isspace((unsigned char)*s))
		return -EINVAL;
	errno = 0;
	long long n = strtoll(s, &end, 10);

	if (*end != '\0')
		return -EINVAL;
	if (errno == ERANGE)
		return -ERANGE;
	*ret = n;
	return 0;
}

int herd_str_to_bool(const char *s, bool *ret)
{
	static const char *const yes[] = { "on", "true", "yes", "1" };
	static const char *const no[] = { "off", "false", "no", "0" };

	for (size_t i = 0; s && i < sizeof(yes) / sizeof(*yes); i++) {
		if (strcasecmp(s, yes[i]) == 0)
			return *ret = true, 0;
		if (strcasecmp(s, no[i]) == 0)
			return *ret = false, 0;
	}
	return -EINVAL;
}

bool herd_str_equal_secret(const char *a, const char *b)
{
	size_t la = strlen(a), lb = strlen(b);
	unsigned char diff = la != lb;

	for (size_t i = 0; i < la; i++)
		diff |= (unsigned char)(a[i] ^ b[lb ? i % lb : 0]);
	return diff == 0;
}

void herd_str_wipe(void *p, size_t len)
{
	explicit_bzero(p, len);
}
