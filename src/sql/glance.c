#include "sql/glance.h"

#include <string.h>
#include <strings.h>

/* Is the text in the bytes before the first token, in any case? */
static bool has(const char *p, size_t n, const char *word)
{
	size_t len = strlen(word);

	for (size_t i = 0; i + len <= n; i++) {
		if (strncasecmp(p + i, word, len) == 0)
			return true;
	}
	return false;
}

static enum herd_glance_hint hint_of(const char *p, size_t n)
{
	if (n < 8)
		return HERD_HINT_NONE;
	if (has(p, n, "no load balance") || has(p, n, "pgherd: primary"))
		return HERD_HINT_PRIMARY;
	return has(p, n, "pgherd: replica") ? HERD_HINT_REPLICA : HERD_HINT_NONE;
}

static bool one_of(const struct herd_sql_token *t, const char *const *words)
{
	for (; *words; words++) {
		if (herd_sql_is(t, *words))
			return true;
	}
	return false;
}

/* The modes behind BEGIN or SET TRANSACTION. */
struct modes {
	bool read, write, serial, odd;
};

static struct modes modes_of(struct herd_sql_lex *l)
{
	static const char *const known[] = { "isolation",   "level",       "repeatable",
					     "committed",   "only",        "deferrable",
					     "not",         "uncommitted", "work",
					     "transaction", NULL };
	struct modes m = { 0 };
	struct herd_sql_token t;
	bool after_read = false;

	while (herd_sql_next(l, &t) != HERD_SQL_END) {
		if (after_read && herd_sql_is(&t, "only"))
			m.read = true, m.write = false;
		else if (after_read && herd_sql_is(&t, "write"))
			m.write = true, m.read = false;
		else if (herd_sql_is(&t, "serializable"))
			m.serial = true;
		else if (!herd_sql_is(&t, "read") && !herd_sql_punct(&t, ',') && !one_of(&t, known))
			m.odd = true;
		after_read = herd_sql_is(&t, "read");
	}
	return m;
}

static enum herd_glance_kind begin_kind(struct modes m)
{
	if (m.odd || m.write || m.serial)
		return HERD_GLANCE_BEGIN_WRITE;
	return m.read ? HERD_GLANCE_BEGIN_READ : HERD_GLANCE_BEGIN;
}

/* COMMIT [WORK | TRANSACTION] and no more: not PREPARED, TO, AND CHAIN. */
static bool alone(struct herd_sql_lex *l)
{
	struct herd_sql_token t;

	herd_sql_next(l, &t);
	if (herd_sql_is(&t, "work") || herd_sql_is(&t, "transaction"))
		herd_sql_next(l, &t);
	return t.kind == HERD_SQL_END;
}

/* What one statement is. */
static enum herd_glance_kind kind_of(const struct herd_sql_span *s)
{
	static const char *const queries[] = {
		"select", "with", "values", "table", "explain", NULL
	};
	static const char *const changes[] = { "insert", "update", "delete", "merge", NULL };
	static const char *const session[] = { "reset",      "show",     "discard",
					       "deallocate", "unlisten", "close",
					       "fetch",      "move",     NULL };
	struct herd_sql_lex l = herd_sql_lex_init(s->p, s->len, false, HERD_SQL_SAFE);
	struct herd_sql_token t;

	while (herd_sql_next(&l, &t) == HERD_SQL_PUNCT && t.punct == '(')
		;
	if (one_of(&t, queries))
		return HERD_GLANCE_QUERY;
	if (one_of(&t, changes))
		return HERD_GLANCE_CHANGE;
	if (herd_sql_is(&t, "commit") || herd_sql_is(&t, "end"))
		return alone(&l) ? HERD_GLANCE_COMMIT : HERD_GLANCE_OTHER;
	if (herd_sql_is(&t, "rollback") || herd_sql_is(&t, "abort"))
		return alone(&l) ? HERD_GLANCE_ROLLBACK : HERD_GLANCE_OTHER;
	if (herd_sql_is(&t, "begin"))
		return begin_kind(modes_of(&l));
	if (herd_sql_is(&t, "start") && herd_sql_next(&l, &t) && herd_sql_is(&t, "transaction"))
		return begin_kind(modes_of(&l));
	if (!herd_sql_is(&t, "set"))
		return one_of(&t, session) ? HERD_GLANCE_SESSION : HERD_GLANCE_OTHER;
	herd_sql_next(&l, &t);
	if (!herd_sql_is(&t, "transaction"))
		return HERD_GLANCE_SESSION;
	struct modes m = modes_of(&l);

	return m.read && !m.odd && !m.serial ? HERD_GLANCE_SET_READ : HERD_GLANCE_OTHER;
}

static bool ends_transaction(enum herd_glance_kind k)
{
	return k == HERD_GLANCE_COMMIT || k == HERD_GLANCE_ROLLBACK;
}

/* What two statements in one request come to. */
static enum herd_glance_kind join(enum herd_glance_kind first, enum herd_glance_kind next,
				  bool second)
{
	switch (first) {
	case HERD_GLANCE_BEGIN:
		if (second && next == HERD_GLANCE_SET_READ)
			return HERD_GLANCE_BEGIN_READ;
		return HERD_GLANCE_OTHER;
	case HERD_GLANCE_BEGIN_READ:
		/* What could leave the transaction, or is refused by a standby, is for the other.
		 */
		return next == HERD_GLANCE_QUERY || next == HERD_GLANCE_SESSION ||
				       next == HERD_GLANCE_SET_READ
			       ? HERD_GLANCE_BEGIN_READ
			       : HERD_GLANCE_OTHER;
	case HERD_GLANCE_QUERY:
	case HERD_GLANCE_SESSION:
		return first == next ? first : HERD_GLANCE_OTHER;
	default:
		return HERD_GLANCE_OTHER;
	}
}

static void look_for_words(struct herd_glance *g, const char *text, size_t n)
{
	struct herd_sql_lex l = herd_sql_lex_init(text, n, false, HERD_SQL_SAFE);
	struct herd_sql_token t;
	bool after_read = false;

	while (herd_sql_next(&l, &t) != HERD_SQL_END) {
		if (t.kind != HERD_SQL_WORD && t.kind != HERD_SQL_QUOTED) {
			after_read = false;
			continue;
		}
		if ((after_read && herd_sql_is(&t, "write")) ||
		    herd_sql_names(&t, "default_transaction_read_only") ||
		    herd_sql_names(&t, "transaction_read_only"))
			g->writes = true;
		if (herd_sql_is(&t, "temp") || herd_sql_is(&t, "temporary"))
			g->temp = true;
		after_read = herd_sql_is(&t, "read");
	}
}

struct herd_glance herd_glance(const char *text, size_t n)
{
	struct herd_sql_lex l = herd_sql_lex_init(text, n, false, HERD_SQL_SAFE);
	struct herd_glance g = { .kind = HERD_GLANCE_EMPTY };
	struct herd_sql_token first;
	struct herd_sql_lex peek = l;
	struct herd_sql_span s;
	int count = 0;

	herd_sql_next(&peek, &first);
	g.hint = hint_of(text, first.kind == HERD_SQL_END ? n : (size_t)(first.p - text));
	while (herd_sql_statement(&l, &s)) {
		enum herd_glance_kind k = kind_of(&s);

		count++;
		if (count == 1)
			g.kind = k;
		else if (ends_transaction(g.kind))
			g.kind = HERD_GLANCE_OTHER;
		else
			g.kind = join(g.kind, k, count == 2);
	}
	if (g.kind == HERD_GLANCE_OTHER || g.kind == HERD_GLANCE_SESSION)
		look_for_words(&g, text, n);
	return g;
}

bool herd_glance_normalize(const char *text, size_t n, struct herd_buf *out)
{
	struct herd_sql_lex l = herd_sql_lex_init(text, n, false, HERD_SQL_SAFE);
	struct herd_sql_token t;
	bool constant = false, comma = false;

	while (herd_sql_next(&l, &t) != HERD_SQL_END) {
		if (t.kind == HERD_SQL_BAD)
			return false;
		bool is = t.kind == HERD_SQL_STRING || t.kind == HERD_SQL_NUMBER;

		if (constant && !comma && herd_sql_punct(&t, ',')) {
			comma = true;
			continue;
		}
		if (comma && is) {
			comma = false;
			continue;
		}
		if (comma)
			herd_buf_addstr(out, " ,");
		if (out->len > 0)
			herd_buf_addc(out, ' ');
		if (is)
			herd_buf_addc(out, '?');
		else
			herd_buf_add(out, t.p, t.len);
		constant = is;
		comma = false;
	}
	if (comma)
		herd_buf_addstr(out, " ,");
	return true;
}
