/* The console by the extended protocol: statements by name, parameters, formats by column. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "proxy/console.h"
#include "wire/msg.h"

enum { OID_TEXT = 25, OID_INT2 = 21, OID_INT4 = 23, OID_INT8 = 20, MAX_PARAMS = 8, MAX_NAMES = 64 };

struct statement {
	char *sql;
	int nparams;
	uint32_t type[MAX_PARAMS];
};

struct portal {
	char *sql; /* with its parameters in place */
	uint64_t binary;
};

static void free_statement(void *p)
{
	struct statement *s = p;

	free(s->sql);
	free(s);
}

static void free_portal(void *p)
{
	struct portal *o = p;

	free(o->sql);
	free(o);
}

static void oom(struct herd_client *c)
{
	herd_console_fail(c, "53200", "out of memory");
}

/* Puts into a map that is made when needed. 0 or negative errno; the value is freed then. */
static int put(struct herd_map **map, const char *name, void *value, void (*fn)(void *))
{
	if (!*map)
		*map = herd_map_new(fn);
	if (!*map || herd_map_size(*map) >= MAX_NAMES || herd_map_put(*map, name, value) < 0) {
		fn(value);
		return -1;
	}
	return 0;
}

/* How many parameters the text names; -1: too many. */
static int count_params(const char *sql)
{
	int max = 0;

	for (const char *p = strchr(sql, '$'); p; p = strchr(p + 1, '$')) {
		int n = p[1] >= '0' && p[1] <= '9' ? atoi(p + 1) : 0;

		if (n > MAX_PARAMS)
			return -1;
		if (n > max)
			max = n;
	}
	return max;
}

static void parse(struct herd_client *c, struct herd_rd *r)
{
	struct statement *s = calloc(1, sizeof(*s));
	const char *name = herd_rd_str(r), *sql = herd_rd_str(r);
	int types = herd_rd_u16(r);
	struct herd_buf b = { 0 };

	if (!s || !(s->sql = strdup(sql))) {
		free(s);
		oom(c);
		return;
	}
	s->nparams = count_params(sql);
	if (s->nparams < 0 || types > MAX_PARAMS || !herd_rd_ok(r)) {
		free_statement(s);
		herd_console_fail(c, "08P01", "bad Parse packet, or too many parameters");
		return;
	}
	for (int i = 0; i < MAX_PARAMS; i++)
		s->type[i] = i < types ? herd_rd_u32(r) : 0;
	if (c->console->prepared)
		herd_map_remove(c->console->prepared, name);
	if (put(&c->console->prepared, name, s, free_statement) < 0) {
		herd_console_fail(c, "53200", "too many prepared statements");
		return;
	}
	herd_wr_empty(&b, '1');
	herd_console_reply(c, &b);
}

/* A parameter as the console's language writes it. Freed by the caller; NULL when out of memory. */
static char *param_text(const void *data, uint32_t len, bool binary, uint32_t type)
{
	struct herd_rd r = herd_rd_init(data, len);
	int64_t v = 0;

	if (!binary || (type != OID_INT2 && type != OID_INT4 && type != OID_INT8))
		return herd_str_printf("%.*s", (int)len, (const char *)data);
	if (len == 2)
		v = (int16_t)herd_rd_u16(&r);
	else if (len == 4)
		v = (int32_t)herd_rd_u32(&r);
	else if (len == 8)
		v = (int64_t)((uint64_t)herd_rd_u32(&r) << 32 | herd_rd_u32(&r));
	return herd_str_printf("%lld", (long long)v);
}

/* The text with '$n' replaced by quoted values. */
static char *fill_in(const char *sql, char *const value[MAX_PARAMS])
{
	struct herd_buf b = { 0 };

	for (const char *p = sql; *p; p++) {
		int n = *p == '$' && p[1] >= '1' && p[1] <= '9' ? atoi(p + 1) : 0;
		const char *v = n > 0 && n <= MAX_PARAMS ? value[n - 1] : NULL;

		if (!v) {
			herd_buf_addc(&b, *p);
			continue;
		}
		const char *quote = strchr(v, '\'') ? "\"" : "'";

		herd_buf_addstr(&b, quote);
		herd_buf_addstr(&b, v);
		herd_buf_addstr(&b, quote);
		while (p[1] >= '0' && p[1] <= '9')
			p++;
	}
	return herd_buf_ok(&b) ? herd_buf_steal(&b) : NULL;
}

/* Formats of the results as a set of columns. */
static uint64_t result_formats(struct herd_rd *r)
{
	int n = herd_rd_u16(r);
	uint64_t binary = 0;

	for (int i = 0; i < n && herd_rd_ok(r); i++) {
		bool on = herd_rd_u16(r) == 1;

		if (on && n == 1)
			binary = UINT64_MAX;
		else if (on && i < 64)
			binary |= UINT64_C(1) << i;
	}
	return binary;
}

/* Reads formats and values of the parameters. False: malformed, or out of memory. */
static bool read_params(struct herd_rd *r, const struct statement *s, char *value[MAX_PARAMS])
{
	int nformats = herd_rd_u16(r);
	bool binary[MAX_PARAMS] = { false };

	for (int i = 0; i < nformats && herd_rd_ok(r); i++) {
		bool on = herd_rd_u16(r) == 1;

		for (int k = 0; k < MAX_PARAMS; k++)
			binary[k] |= on && (k == i || nformats == 1);
	}
	int n = herd_rd_u16(r);

	for (int i = 0; i < n && herd_rd_ok(r); i++) {
		uint32_t len = herd_rd_u32(r);
		const void *data = len == UINT32_MAX ? "" : herd_rd_bytes(r, len);

		if (!data || i >= MAX_PARAMS)
			return false;
		value[i] = param_text(data, len == UINT32_MAX ? 0 : len, binary[i], s->type[i]);
		if (!value[i])
			return false;
	}
	return herd_rd_ok(r);
}

static void bind_portal(struct herd_client *c, struct herd_rd *r)
{
	const char *portal = herd_rd_str(r), *name = herd_rd_str(r);
	struct herd_map *known = c->console->prepared;
	const struct statement *s = known ? herd_map_get(known, name) : NULL;
	struct portal *o = calloc(1, sizeof(*o));
	char *value[MAX_PARAMS] = { NULL };
	struct herd_buf b = { 0 };

	if (o && s && read_params(r, s, value)) {
		o->binary = result_formats(r);
		o->sql = fill_in(s->sql, value);
	}
	for (int i = 0; i < MAX_PARAMS; i++)
		free(value[i]);
	if (!o || !o->sql || !herd_rd_ok(r)) {
		bool missing = o && !s;

		if (o)
			free_portal(o);
		herd_console_fail(c, missing ? "26000" : "08P01",
				  missing ? "prepared statement does not exist"
					  : "bad Bind packet");
		return;
	}
	if (c->console->portals)
		herd_map_remove(c->console->portals, portal);
	if (put(&c->console->portals, portal, o, free_portal) < 0) {
		herd_console_fail(c, "53200", "too many portals");
		return;
	}
	c->console->described = false;
	herd_wr_empty(&b, '2');
	herd_console_reply(c, &b);
}

static void describe(struct herd_client *c, struct herd_rd *r)
{
	struct herd_console *k = c->console;
	bool statement = herd_rd_u8(r) == 'S';
	const char *name = herd_rd_str(r);
	struct statement *s = statement && k->prepared ? herd_map_get(k->prepared, name) : NULL;
	struct portal *o = !statement && k->portals ? herd_map_get(k->portals, name) : NULL;
	struct herd_buf b = { 0 };

	if (!s && !o) {
		herd_console_fail(c, statement ? "26000" : "34000",
				  statement ? "prepared statement does not exist"
					    : "portal does not exist");
		return;
	}
	if (s) {
		size_t mark = herd_wr_begin(&b, 't');

		herd_wr_u16(&b, (uint16_t)s->nparams);
		for (int i = 0; i < s->nparams; i++)
			herd_wr_u32(&b, s->type[i] ? s->type[i] : OID_TEXT);
		herd_wr_end(&b, mark);
	}
	const struct herd_show *show = herd_console_show_of(s ? s->sql : o->sql);

	if (show)
		herd_show_columns(&b, show, o ? o->binary : 0);
	else
		herd_wr_empty(&b, 'n');
	herd_console_reply(c, &b);
}

static void execute(struct herd_client *c, struct herd_rd *r)
{
	struct herd_console *k = c->console;
	struct portal *o = k->portals ? herd_map_get(k->portals, herd_rd_str(r)) : NULL;

	k->extended = true;
	if (!o) {
		herd_console_fail(c, "34000", "portal does not exist");
		return;
	}
	/* Execute never sends RowDescription; a client that did not ask does without. */
	k->described = true;
	k->binary = o->binary;
	herd_console_execute(c, o->sql);
}

void herd_console_extended(struct herd_client *c, char type, const char *body, size_t n)
{
	struct herd_console *k = c->console;
	struct herd_rd r = herd_rd_init(body, n);
	struct herd_buf b = { 0 };

	k->extended = true;
	switch (type) {
	case 'P':
		parse(c, &r);
		break;
	case 'B':
		bind_portal(c, &r);
		break;
	case 'D':
		describe(c, &r);
		break;
	case 'E':
		execute(c, &r);
		break;
	default: { /* Close */
		struct herd_map *map = herd_rd_u8(&r) == 'S' ? k->prepared : k->portals;

		if (map)
			herd_map_remove(map, herd_rd_str(&r));
		herd_wr_empty(&b, '3');
		herd_console_reply(c, &b);
		break;
	}
	}
}
