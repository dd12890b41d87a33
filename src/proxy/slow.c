#include "proxy/slow.h"

#include <string.h>

#include "pool/prepared.h"
#include "proxy/named.h"
#include "proxy/server.h"
#include "sql/normalize.h"

/* Longer ones are cut; and so many lines a second and thread at most. */
enum { TEXT_MAX_BYTES = 8192, LINE_MAX_BYTES = 2048, LINES_PER_SECOND = 10 };

static void keep(struct herd_buf *b, const char *text, size_t n)
{
	herd_buf_add(b, text, n < TEXT_MAX_BYTES ? n : TEXT_MAX_BYTES);
}

/* Text of the message up to its zero, or to the end of what is here. */
static size_t text_len(const char *p, size_t n)
{
	return strnlen(p, n);
}

/* A Bind names a statement, whose text is known when it goes through our map. */
static void keep_bound(struct herd_client *c, const char *body, size_t n)
{
	size_t portal = strnlen(body, n) + 1;
	const char *name = body + portal;
	struct herd_stmt *stmt = NULL;

	if (portal >= n || strnlen(name, n - portal) == n - portal)
		return;
	if (*name)
		stmt = herd_named_get(c, name);
	if (stmt)
		keep(&c->server->slow_text, (const char *)stmt->body,
		     strlen((const char *)stmt->body));
	else if (*name)
		herd_buf_printf(&c->server->slow_text, "EXECUTE \"%s\"", name);
}

void herd_slow_begin(struct herd_client *c, char type, const char *body, size_t n)
{
	struct herd_buf *b = &c->server->slow_text;

	if (!c->in_query) {
		herd_buf_reset(b);
		c->server->slow_more = 0;
	}
	if (type != 'Q' && type != 'P' && type != 'B' && type != 'F')
		return;
	if (b->len > 0) {
		/* A Bind follows its Parse. */
		if (type == 'P' || type == 'Q')
			c->server->slow_more++;
		return;
	}
	if (type == 'Q') {
		keep(b, body, text_len(body, n));
	} else if (type == 'P') {
		size_t name = strnlen(body, n) + 1;

		if (name < n)
			keep(b, body + name, text_len(body + name, n - name));
	} else if (type == 'B') {
		keep_bound(c, body, n);
	}
}

/* Is there room for one more line in this second? */
static bool may_log(struct herd_worker *w)
{
	int64_t second = w->now_us / 1000000;

	if (second != w->slow_second) {
		if (w->slow_lost > 0)
			herd_info(w->px->log, "slow query: %d more were not logged", w->slow_lost);
		w->slow_second = second;
		w->slow_lines = w->slow_lost = 0;
	}
	if (w->slow_lines >= LINES_PER_SECOND) {
		w->slow_lost++;
		return false;
	}
	w->slow_lines++;
	return true;
}

void herd_slow_end(struct herd_worker *w, struct herd_client *c, struct herd_server *s)
{
	int64_t us = w->now_us - c->query_us;
	const struct herd_var_names *names = &w->px->vars;

	if (us >= (int64_t)herd_worker_settings(w)->slow_query_ms * 1000 && !c->internal &&
	    may_log(w)) {
		const char *scs = herd_vars_get(&s->vars, names, "standard_conforming_strings");
		struct herd_sql_lex lex = herd_sql_lex_init(
			herd_buf_str(&s->slow_text), s->slow_text.len, scs && !strcmp(scs, "off"),
			herd_sql_bytes_of(herd_vars_get(&s->vars, names, "client_encoding")));
		struct herd_buf text = { 0 };

		herd_sql_normalize(lex, LINE_MAX_BYTES, &text);
		if (s->slow_more > 0)
			herd_buf_printf(&text, " (and %d more)", s->slow_more);
		herd_client_log(c, HERD_LOG_INFO, "slow query: %lld.%03lld ms on %s:%d pid=%u: %s",
				(long long)(us / 1000), (long long)(us % 1000), s->addr.host,
				s->addr.port, s->backend_pid, herd_buf_str(&text));
		herd_buf_free(&text);
	}
	herd_buf_free(&s->slow_text);
}
