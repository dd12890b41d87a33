#include "proxy/carry.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "pool/vars.h"
#include "proxy/named.h"
#include "proxy/relay.h"
#include "sql/classify.h"

void herd_carry_begin(struct herd_client *c)
{
	const struct herd_database *conf = herd_db_conf(c->w->live, c->db);

	/* One that was rooted has no server but its first. */
	c->carried = conf && conf->route.cluster && !c->internal && !c->repl &&
		     herd_pool_mode(c->w->live, c->pool) == HERD_MODE_SESSION;
}

static bool tracked(const struct herd_client *c, const char *name)
{
	const struct herd_var_names *names = &c->w->px->vars;

	for (int i = 0; name && i < names->n; i++) {
		if (strcasecmp(names->name[i], name) == 0)
			return true;
	}
	return false;
}

static bool harmless(const struct herd_client *c, const struct herd_sql_act *a)
{
	switch (a->kind) {
	case HERD_ACT_SET:
	case HERD_ACT_RESET:
		return tracked(c, a->name);
	case HERD_ACT_NOTIFY:
	case HERD_ACT_COMMIT:
	case HERD_ACT_SAVEPOINT:
	case HERD_ACT_RELEASE:
	case HERD_ACT_ROLLBACK_TO:
	case HERD_ACT_UNPIN:
	case HERD_ACT_UNLISTEN:
	case HERD_ACT_DISCARD_ALL:
	case HERD_ACT_RESET_ALL:
		return true;
	default:
		return false;
	}
}

static bool text_is_harmless(const struct herd_client *c, const char *text, size_t n)
{
	const char *conforming =
		herd_vars_get(&c->vars, &c->w->px->vars, "standard_conforming_strings");
	const char *encoding = herd_vars_get(&c->vars, &c->w->px->vars, "client_encoding");
	struct herd_sql_dialect dialect = { .backslash =
						    conforming && strcmp(conforming, "off") == 0,
					    .bytes = herd_sql_bytes_of(encoding) };
	struct herd_sql_acts *acts = NULL;
	bool ok = herd_sql_classify(text, n, dialect, &acts) == 0;

	for (size_t i = 0; ok && acts && i < acts->n; i++)
		ok = harmless(c, &acts->act[i]);
	herd_sql_acts_unref(acts);
	return ok;
}

static void root(struct herd_client *c)
{
	c->carried = false;
	c->replayable = false;
	herd_client_log(c, HERD_LOG_DEBUG, "the session keeps to its server from now on");
}

struct herd_stmt *herd_carry_parse(struct herd_client *c, const struct herd_stmt_names *n,
				   const char *body, size_t len)
{
	struct herd_px *px = c->w->px;

	/* A name that is taken is the server's to refuse. */
	if (herd_named_get(c, n->stmt)) {
		root(c);
		return NULL;
	}
	pthread_mutex_lock(&px->stmts_lock);
	struct herd_stmt *stmt =
		herd_stmts_intern(px->stmts, body + n->head_bytes, len - n->head_bytes);

	if (stmt)
		herd_stmts_ref(px->stmts, stmt);
	pthread_mutex_unlock(&px->stmts_lock);
	if (stmt && herd_named_parse(c, n->stmt, stmt, true) < 0) {
		pthread_mutex_lock(&px->stmts_lock);
		herd_stmts_unref(px->stmts, stmt);
		pthread_mutex_unlock(&px->stmts_lock);
		stmt = NULL;
	}
	if (!stmt)
		root(c);
	return stmt;
}

void herd_carry_close(struct herd_client *c, const char *name)
{
	herd_named_drop(c, name);
}

int herd_carry_restore(struct herd_client *c, struct herd_buf *msg)
{
	struct herd_flight *f = &c->server->flight;
	const struct herd_map *all = herd_named_all(c);
	size_t pos = 0;
	const char *name;
	void *value;
	int rounds = 0;

	while (all && herd_map_next(all, &pos, &name, &value)) {
		const struct herd_stmt *stmt = value;

		size_t mark = herd_wr_begin(msg, 'P');

		herd_wr_str(msg, name);
		herd_buf_add(msg, stmt->body, stmt->len);
		herd_wr_end(msg, mark);
		/* Each by itself: one that does not parse any more must not take the others along.
		 */
		herd_wr_empty(msg, 'S');
		if (herd_flight_push(f, 'P', HERD_FLIGHT_DROP, NULL) < 0 ||
		    herd_flight_push(f, 'S', HERD_FLIGHT_DROP, NULL) < 0)
			return -ENOMEM;
		rounds++;
	}
	return herd_buf_ok(msg) ? rounds : -ENOMEM;
}

void herd_carry_look(struct herd_client *c, char type, const char *body, size_t n, bool whole)
{
	const char *end = memchr(body, '\0', n);

	if (whole && type == 'Q' && end) {
		c->carried = text_is_harmless(c, body, (size_t)(end - body));
	} else if (whole && type == 'P' && end) {
		const char *text = end + 1;

		end = memchr(text, '\0', n - (size_t)(text - body));
		c->carried = end && text_is_harmless(c, text, (size_t)(end - text));
	} else {
		c->carried = false;
	}
	if (!c->carried)
		root(c);
}
