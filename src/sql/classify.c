#include "sql/classify.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "sql/plain.h"

struct scan {
	struct herd_sql_lex lex;
	struct herd_sql_nest nest;
	struct herd_sql_token t;    /* the last one read */
	struct herd_sql_token prev; /* the one before */
	const char *text;
	const char *start, *stop; /* the statement so far */
	unsigned stmt;
	bool ended; /* t ends the statement */
	bool settled;
	struct herd_sql_acts *acts;
	size_t room;
	bool oom;
	/* of this statement */
	unsigned pins, maybe, unpin;
	bool on_commit_drop, notify, sequence, makes_value;
	struct herd_sql_token prepared; /* PREPARE's name; len 0: it is none */
};

const char *herd_sql_pin_name(unsigned bit)
{
	switch (bit) {
	case HERD_PIN_TEMP:
		return "temporary objects";
	case HERD_PIN_ADVISORY:
		return "advisory locks";
	case HERD_PIN_HOLD:
		return "cursor with hold";
	case HERD_PIN_PREPARE:
		return "prepare";
	case HERD_PIN_SETTING:
		return "setting";
	case HERD_PIN_SEQUENCE:
		return "sequence values";
	case HERD_PIN_LISTEN:
		return "listen";
	default:
		return "session state";
	}
}

static bool advance(struct scan *s)
{
	s->prev = s->t;
	herd_sql_next(&s->lex, &s->t);
	s->ended = herd_sql_nest_ends(&s->nest, &s->t);
	if (!s->ended)
		s->stop = s->t.p + s->t.len;
	return !s->ended;
}

static struct herd_sql_act *add(struct scan *s, enum herd_sql_act_kind kind)
{
	if (s->settled && !s->acts && (HERD_ACT_BIT(kind) & HERD_ACTS_THAT_END))
		return NULL;
	if (!s->acts || s->acts->n == s->room) {
		size_t room = s->room ? s->room * 2 : 4;
		struct herd_sql_acts *grown =
			realloc(s->acts, sizeof(*grown) + room * sizeof(struct herd_sql_act));

		if (!grown) {
			s->oom = true;
			return NULL;
		}
		if (!s->acts) {
			memset(grown, 0, sizeof(*grown));
			atomic_init(&grown->refs, 1);
		}
		s->acts = grown;
		s->room = room;
	}
	struct herd_sql_act *a = &s->acts->act[s->acts->n++];

	*a = (struct herd_sql_act){ .kind = kind,
				    .stmt = s->stmt,
				    .from = (size_t)(s->start - s->text) };
	s->acts->kinds |= HERD_ACT_BIT(kind);
	return a;
}

/* The name that a word or quoted identifier stands for. */
static void add_ident(struct herd_buf *b, const struct herd_sql_token *t, bool fold)
{
	const char *p = t->p, *end = t->p + t->len;
	bool quoted = t->kind == HERD_SQL_QUOTED;

	if (quoted) {
		p = memchr(p, '"', t->len);
		p++;
		end--;
	}
	for (; p < end; p++) {
		char c = *p;

		if (quoted && c == '"')
			p++;
		if ((!quoted || fold) && c >= 'A' && c <= 'Z')
			c |= 0x20;
		herd_buf_addc(b, c);
	}
}

static char *take(struct scan *s, struct herd_buf *b)
{
	char *text = herd_buf_steal(b);

	if (!text)
		s->oom = true;
	return text;
}

static void add_named(struct scan *s, enum herd_sql_act_kind kind, const struct herd_sql_token *t)
{
	struct herd_sql_act *a = add(s, kind);
	struct herd_buf b = { 0 };

	if (!a)
		return;
	add_ident(&b, t, false);
	/* Longer identifiers are cut by the server, too. */
	if (b.len > 63) {
		b.len = 63;
		b.data[63] = '\0';
	}
	a->name = take(s, &b);
}

static void add_setting(struct scan *s, enum herd_sql_act_kind kind, const char *name)
{
	struct herd_sql_act *a = add(s, kind);

	if (!a)
		return;
	a->name = strdup(name);
	if (!a->name)
		s->oom = true;
}

static void rest(struct scan *s)
{
	while (!s->ended)
		advance(s);
}

static bool is_ident(const struct herd_sql_token *t)
{
	return t->kind == HERD_SQL_WORD || t->kind == HERD_SQL_QUOTED;
}

/* Settings that belong to the transaction whatever SET says. */
static bool of_transaction(const char *name)
{
	return strcmp(name, "transaction_isolation") == 0 ||
	       strcmp(name, "transaction_read_only") == 0 ||
	       strcmp(name, "transaction_deferrable") == 0;
}

/* The statement is "SET name ..."; its own text has the same effect again. */
static void note_set(struct scan *s, const char *name, bool to_default)
{
	struct herd_buf b = { 0 };
	size_t first;

	rest(s);
	if (of_transaction(name))
		return;
	if (strcmp(name, "seed") == 0) {
		s->pins |= HERD_PIN_SESSION;
		return;
	}
	first = s->acts ? s->acts->n : 0;
	add_setting(s, to_default ? HERD_ACT_RESET : HERD_ACT_SET, name);
	if (s->oom || to_default)
		return;
	herd_buf_add(&b, s->start, (size_t)(s->stop - s->start));
	s->acts->act[first].text = take(s, &b);
}

/* a.b.c, folded; the token behind it is current then. NULL: no name. */
static char *dotted(struct scan *s)
{
	struct herd_buf b = { 0 };

	while (is_ident(&s->t)) {
		add_ident(&b, &s->t, true);
		advance(s);
		if (s->ended || !herd_sql_punct(&s->t, '.'))
			break;
		herd_buf_addc(&b, '.');
		advance(s);
	}
	return take(s, &b);
}

static bool assigns(const struct herd_sql_token *t)
{
	return herd_sql_is(t, "to") || (t->kind == HERD_SQL_OP && t->punct == '=');
}

/* "none" and DEFAULT as a role. */
static bool no_role(const struct herd_sql_token *t)
{
	return herd_sql_is(t, "none") || herd_sql_is(t, "default") ||
	       (t->kind == HERD_SQL_STRING && t->len == 6 && memcmp(t->p, "'none'", 6) == 0);
}

static void set_variable(struct scan *s)
{
	char *name = dotted(s);

	if (!name)
		return;
	if (*name && !s->ended && assigns(&s->t)) {
		advance(s);
		bool reset = herd_sql_is(&s->t, "default") ||
			     (strcmp(name, "role") == 0 && no_role(&s->t));

		note_set(s, name, reset);
	}
	free(name);
}

/* SET TIME ZONE, SCHEMA, NAMES, ROLE, XML OPTION: words that stand for a setting. False: none. */
static bool set_special(struct scan *s)
{
	struct scan ahead = *s;
	struct herd_sql_token first = s->t;

	/* A look only: what it notes is not kept, and it notes nothing. */
	advance(&ahead);
	if (ahead.ended || assigns(&ahead.t) || herd_sql_punct(&ahead.t, '.'))
		return false;
	if (herd_sql_is(&first, "time")) {
		advance(s);
		advance(s);
		note_set(s, "timezone",
			 herd_sql_is(&s->t, "default") || herd_sql_is(&s->t, "local"));
	} else if (herd_sql_is(&first, "schema")) {
		note_set(s, "search_path", false);
	} else if (herd_sql_is(&first, "names")) {
		advance(s);
		note_set(s, "client_encoding", herd_sql_is(&s->t, "default"));
	} else if (herd_sql_is(&first, "role")) {
		advance(s);
		note_set(s, "role", no_role(&s->t));
	} else if (herd_sql_is(&first, "xml")) {
		note_set(s, "xmloption", false);
	} else {
		return false;
	}
	return true;
}

static void set(struct scan *s)
{
	if (!advance(s))
		return;
	if (herd_sql_is(&s->t, "local") || herd_sql_is(&s->t, "transaction") ||
	    herd_sql_is(&s->t, "constraints"))
		return;
	if (herd_sql_is(&s->t, "session")) {
		if (!advance(s))
			return;
		if (herd_sql_is(&s->t, "characteristics")) {
			note_set(s, "session characteristics", false);
			return;
		}
		if (herd_sql_is(&s->t, "authorization")) {
			advance(s);
			note_set(s, "session_authorization", herd_sql_is(&s->t, "default"));
			return;
		}
	}
	if (!set_special(s))
		set_variable(s);
}

static void reset(struct scan *s)
{
	char *name;

	if (!advance(s))
		return;
	if (herd_sql_is(&s->t, "all")) {
		add(s, HERD_ACT_RESET_ALL);
		return;
	}
	name = dotted(s);
	if (!name)
		return;
	if (s->ended)
		add_setting(s, HERD_ACT_RESET, name);
	else if (strcmp(name, "session") == 0)
		add_setting(s, HERD_ACT_RESET, "session_authorization");
	else if (strcmp(name, "time") == 0)
		add_setting(s, HERD_ACT_RESET, "timezone");
	free(name);
}

static void discard(struct scan *s)
{
	struct herd_sql_act *a = NULL;

	if (!advance(s))
		return;
	if (herd_sql_is(&s->t, "all")) {
		add(s, HERD_ACT_DISCARD_ALL);
	} else if (herd_sql_is(&s->t, "temp") || herd_sql_is(&s->t, "temporary")) {
		a = add(s, HERD_ACT_UNPIN);
		if (a)
			a->pins = HERD_PIN_TEMP;
	} else if (herd_sql_is(&s->t, "sequences")) {
		a = add(s, HERD_ACT_UNPIN);
		if (a)
			a->pins = HERD_PIN_SEQUENCE;
	}
}

static void unlisten(struct scan *s)
{
	if (!advance(s))
		return;
	if (s->t.punct == '*')
		add(s, HERD_ACT_UNLISTEN);
	else if (is_ident(&s->t))
		add_named(s, HERD_ACT_UNLISTEN, &s->t);
}

static void listen(struct scan *s)
{
	if (advance(s) && is_ident(&s->t))
		add_named(s, HERD_ACT_LISTEN, &s->t);
}

static void prepare(struct scan *s)
{
	if (!advance(s))
		return;
	s->prepared = s->t;
	if (!herd_sql_is(&s->t, "transaction"))
		return;
	advance(s);
	/* PREPARE transaction AS ... is an ordinary name */
	if (s->t.kind == HERD_SQL_STRING) {
		s->prepared.len = 0;
		add(s, HERD_ACT_COMMIT);
	}
}

static void deallocate(struct scan *s)
{
	struct herd_sql_token name;

	if (!advance(s))
		return;
	name = s->t;
	if (herd_sql_is(&name, "prepare") && advance(s))
		name = s->t;
	if (herd_sql_is(&name, "all")) {
		add(s, HERD_ACT_DEALLOCATE);
		s->unpin |= HERD_PIN_PREPARE;
	} else if (is_ident(&name)) {
		add_named(s, HERD_ACT_DEALLOCATE, &name);
		s->maybe |= HERD_PIN_PREPARE;
	}
}

/*
 * Does a text mean the same when it is sent later, by a session whose client_encoding and
 * standard_conforming_strings may be others by then?
 */
static bool means_the_same(const char *p, const char *end)
{
	for (; p < end; p++) {
		if ((uint8_t)*p >= 0x80 || *p == '\\')
			return false;
	}
	return true;
}

/* PREPARE was read to its end: can it be made again on another server? */
static void note_prepare(struct scan *s)
{
	struct herd_sql_token name = s->prepared;
	bool plain = name.kind == HERD_SQL_WORD || (name.kind == HERD_SQL_QUOTED && *name.p == '"');
	size_t at = s->acts ? s->acts->n : 0;
	struct herd_buf text = { 0 };

	/* What its statement leaves behind comes with EXECUTE, which does not tell of it. */
	if (!plain || s->pins || s->maybe || s->unpin || s->sequence ||
	    !means_the_same(s->start, s->stop)) {
		s->pins |= HERD_PIN_PREPARE;
		return;
	}
	add_named(s, HERD_ACT_PREPARE, &name);
	if (s->oom)
		return;
	herd_buf_add(&text, s->start, (size_t)(s->stop - s->start));
	s->acts->act[at].text = take(s, &text);
}

static void rollback(struct scan *s)
{
	struct herd_sql_token name = { 0 };

	while (advance(s)) {
		if (herd_sql_is(&s->t, "prepared"))
			return;
		if (herd_sql_is(&s->t, "to")) {
			while (advance(s))
				name = s->t;
			if (is_ident(&name))
				add_named(s, HERD_ACT_ROLLBACK_TO, &name);
			return;
		}
	}
	add(s, HERD_ACT_COMMIT);
}

static void commit(struct scan *s)
{
	while (advance(s)) {
		if (herd_sql_is(&s->t, "prepared"))
			return;
	}
	add(s, HERD_ACT_COMMIT);
}

static void savepoint(struct scan *s, enum herd_sql_act_kind kind)
{
	struct herd_sql_token name = { 0 };

	while (advance(s))
		name = s->t;
	if (is_ident(&name))
		add_named(s, kind, &name);
}

static void close_(struct scan *s)
{
	if (!advance(s))
		return;
	if (herd_sql_is(&s->t, "all"))
		s->unpin |= HERD_PIN_HOLD;
	else
		s->maybe |= HERD_PIN_HOLD;
}

static bool calls(const struct scan *s, struct scan *ahead)
{
	*ahead = *s;
	return advance(ahead) && herd_sql_punct(&ahead->t, '(');
}

/* Is the call that begins here one whose last argument is the constant true? */
static bool ends_in_true(const struct scan *s)
{
	struct scan ahead = *s;
	int depth = 0;

	while (advance(&ahead)) {
		if (herd_sql_punct(&ahead.t, '('))
			depth++;
		else if (herd_sql_punct(&ahead.t, ')') && --depth == 0)
			return herd_sql_is(&ahead.prev, "true");
	}
	return false;
}

struct call {
	const char *name;
	enum { PINS, TRIES, MAYBE, UNPINS, NOTIFIES, READS_SEQUENCE, MAKES_VALUE, SETS } what;
	unsigned pins;
};

static const struct call known_calls[] = {
	{ "currval", READS_SEQUENCE, 0 },
	{ "dblink_connect", PINS, HERD_PIN_SESSION },
	{ "dblink_connect_u", PINS, HERD_PIN_SESSION },
	{ "lastval", READS_SEQUENCE, 0 },
	{ "nextval", MAKES_VALUE, 0 },
	{ "pg_advisory_lock", PINS, HERD_PIN_ADVISORY },
	{ "pg_advisory_lock_shared", PINS, HERD_PIN_ADVISORY },
	{ "pg_advisory_unlock", MAYBE, HERD_PIN_ADVISORY },
	{ "pg_advisory_unlock_all", UNPINS, HERD_PIN_ADVISORY },
	{ "pg_advisory_unlock_shared", MAYBE, HERD_PIN_ADVISORY },
	{ "pg_notify", NOTIFIES, 0 },
	{ "pg_replication_origin_session_setup", PINS, HERD_PIN_SESSION },
	{ "pg_try_advisory_lock", TRIES, HERD_PIN_ADVISORY },
	{ "pg_try_advisory_lock_shared", TRIES, HERD_PIN_ADVISORY },
	{ "set_config", SETS, 0 },
	{ "setseed", PINS, HERD_PIN_SESSION },
};

static void look_at_call(struct scan *s, const struct call *c)
{
	struct scan ahead;

	if (!calls(s, &ahead))
		return;
	switch (c->what) {
	case PINS:
		s->pins |= c->pins;
		break;
	case TRIES:
		s->pins |= c->pins;
		s->maybe |= c->pins;
		break;
	case MAYBE:
		s->maybe |= c->pins;
		break;
	case UNPINS:
		s->unpin |= c->pins;
		break;
	case NOTIFIES:
		s->notify = true;
		break;
	case READS_SEQUENCE:
		s->sequence = true;
		break;
	case MAKES_VALUE:
		s->makes_value = true;
		break;
	case SETS:
		if (!ends_in_true(s))
			s->pins |= HERD_PIN_SETTING;
		break;
	}
}

static bool after_create(const struct herd_sql_token *t)
{
	return herd_sql_is(t, "create") || herd_sql_is(t, "into") || herd_sql_is(t, "local") ||
	       herd_sql_is(t, "global") || herd_sql_is(t, "replace");
}

/* A word anywhere in a statement. Nearly all fall through at the first test. */
static void look_at_name(struct scan *s)
{
	size_t n = s->t.len - (s->t.kind == HERD_SQL_QUOTED ? 2 : 0);
	struct scan ahead;

	switch (n) {
	case 4:
		if (herd_sql_is(&s->t, "temp") && after_create(&s->prev))
			s->pins |= HERD_PIN_TEMP;
		else if (herd_sql_is(&s->t, "drop") && herd_sql_is(&s->prev, "commit"))
			s->on_commit_drop = true;
		return;
	case 7:
		if (herd_sql_names(&s->t, "pg_temp")) {
			ahead = *s;
			if (advance(&ahead) && herd_sql_punct(&ahead.t, '.'))
				s->pins |= HERD_PIN_TEMP;
			return;
		}
		break;
	case 9:
		if (herd_sql_is(&s->t, "temporary") && after_create(&s->prev))
			s->pins |= HERD_PIN_TEMP;
		break;
	case 10:
	case 14:
	case 16:
	case 18:
	case 20:
	case 22:
	case 23:
	case 25:
	case 27:
	case 35:
		break;
	default:
		return;
	}
	for (size_t i = 0; i < sizeof(known_calls) / sizeof(known_calls[0]); i++) {
		if (herd_sql_names(&s->t, known_calls[i].name)) {
			look_at_call(s, &known_calls[i]);
			return;
		}
	}
}

static void look_at_all(struct scan *s)
{
	while (advance(s)) {
		if (is_ident(&s->t))
			look_at_name(s);
	}
}

/* DECLARE c CURSOR WITH HOLD FOR ... */
static void declare(struct scan *s)
{
	while (advance(s) && !herd_sql_is(&s->t, "for")) {
		if (herd_sql_is(&s->t, "hold") && herd_sql_is(&s->prev, "with"))
			s->pins |= HERD_PIN_HOLD;
	}
	if (!s->ended)
		look_at_all(s);
}

/* A string constant that is spelled plainly: no prefix, no escape, no quote in it. */
static bool plain_string(const struct herd_sql_token *t)
{
	return t->kind == HERD_SQL_STRING && t->len >= 2 && *t->p == '\'' && !t->escapes &&
	       !memchr(t->p + 1, '\'', t->len - 2);
}

/* At the opening parenthesis of set_config: ('name', 'value', false) and nothing else. */
static bool constant_setting(struct scan *s, struct herd_buf *name)
{
	advance(s);
	if (!plain_string(&s->t) || s->t.len == 2)
		return false;
	for (size_t i = 1; i + 1 < s->t.len; i++) {
		char c = s->t.p[i];

		herd_buf_addc(name, c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c);
	}
	advance(s);
	if (!herd_sql_punct(&s->t, ','))
		return false;
	advance(s);
	if (s->t.kind != HERD_SQL_STRING)
		return false;
	advance(s);
	if (!herd_sql_punct(&s->t, ','))
		return false;
	advance(s);
	if (!herd_sql_is(&s->t, "false"))
		return false;
	advance(s);
	return herd_sql_punct(&s->t, ')');
}

/*
 * SELECT set_config('name', 'value', false) [, ...], which drivers and dumps use for SET. True when
 * the statement is this and nothing else; otherwise the scan is where it was.
 */
static bool select_settings(struct scan *s)
{
	struct scan ahead = *s;
	struct {
		const char *p, *end;
	} found[8];
	size_t n = 0;
	struct herd_buf name = { 0 };
	bool ok = false;

	do {
		advance(&ahead);
		if (herd_sql_names(&ahead.t, "pg_catalog")) {
			advance(&ahead);
			advance(&ahead);
		}
		found[n].p = ahead.t.p;
		ok = herd_sql_names(&ahead.t, "set_config") && advance(&ahead) &&
		     herd_sql_punct(&ahead.t, '(') && constant_setting(&ahead, &name);
		if (!ok)
			break;
		herd_buf_addc(&name, '\0');
		found[n++].end = ahead.t.p + ahead.t.len;
		advance(&ahead);
	} while (ok && n < 8 && !ahead.ended && herd_sql_punct(&ahead.t, ','));
	ok = ok && ahead.ended && herd_buf_ok(&name);
	const char *next = herd_buf_str(&name);

	if (ok)
		*s = ahead;
	for (size_t i = 0; ok && i < n; i++, next += strlen(next) + 1) {
		struct herd_buf b = { 0 };
		size_t at = s->acts ? s->acts->n : 0;

		add_setting(s, HERD_ACT_SET, next);
		if (s->oom)
			break;
		herd_buf_addstr(&b, "SELECT pg_catalog.");
		herd_buf_add(&b, found[i].p, (size_t)(found[i].end - found[i].p));
		s->acts->act[at].text = take(s, &b);
	}
	herd_buf_free(&name);
	return ok;
}

static bool begins_statement(const struct herd_sql_token *t)
{
	return herd_sql_punct(t, ';') || herd_sql_is(t, "begin") || herd_sql_is(t, "then") ||
	       herd_sql_is(t, "else") || herd_sql_is(t, "loop");
}

/* The body of DO, in PL/pgSQL most likely: the same words, and SET and LISTEN as statements. */
static void look_into(struct scan *s, const struct herd_sql_token *body)
{
	size_t edge = 1;
	struct scan in = { 0 };

	if (*body->p == '$') {
		const char *second = memchr(body->p + 1, '$', body->len - 1);

		edge = (size_t)(second - body->p) + 1;
	}
	if (body->len < 2 * edge)
		return;
	in.lex = s->lex;
	in.lex.p = body->p + edge;
	in.lex.end = body->p + body->len - edge;
	for (;;) {
		advance(&in);
		if (in.t.kind == HERD_SQL_END)
			break;
		if (!is_ident(&in.t))
			continue;
		look_at_name(&in);
		if (!begins_statement(&in.prev))
			continue;
		struct scan ahead = in;

		if (herd_sql_is(&in.t, "listen"))
			in.pins |= HERD_PIN_LISTEN;
		else if (herd_sql_is(&in.t, "set") && advance(&ahead) &&
			 !herd_sql_is(&ahead.t, "local") && !herd_sql_is(&ahead.t, "transaction") &&
			 !herd_sql_is(&ahead.t, "constraints"))
			in.pins |= HERD_PIN_SETTING;
	}
	s->pins |= in.pins;
	s->maybe |= in.maybe | in.unpin;
	s->notify = s->notify || in.notify;
}

static void do_(struct scan *s)
{
	while (advance(s)) {
		if (s->t.kind == HERD_SQL_STRING)
			look_into(s, &s->t);
	}
}

static void dispatch(struct scan *s)
{
	static const struct {
		const char *word;
		void (*fn)(struct scan *s);
	} first[] = {
		{ "abort", rollback },  { "close", close_ },
		{ "commit", commit },   { "deallocate", deallocate },
		{ "declare", declare }, { "discard", discard },
		{ "do", do_ },          { "end", commit },
		{ "listen", listen },   { "prepare", prepare },
		{ "reset", reset },     { "rollback", rollback },
		{ "set", set },         { "unlisten", unlisten },
	};

	if (herd_sql_is(&s->t, "select")) {
		if (!select_settings(s))
			look_at_all(s);
		return;
	}
	if (herd_sql_is(&s->t, "insert")) {
		s->makes_value = true;
	} else if (herd_sql_is(&s->t, "notify")) {
		s->notify = true;
	} else if (herd_sql_is(&s->t, "drop")) {
		s->maybe |= HERD_PIN_TEMP;
	} else if (herd_sql_is(&s->t, "load")) {
		s->pins |= HERD_PIN_SESSION;
	} else if (herd_sql_is(&s->t, "savepoint")) {
		savepoint(s, HERD_ACT_SAVEPOINT);
	} else if (herd_sql_is(&s->t, "release")) {
		savepoint(s, HERD_ACT_RELEASE);
	} else {
		for (size_t i = 0; i < sizeof(first) / sizeof(first[0]); i++) {
			if (herd_sql_is(&s->t, first[i].word)) {
				first[i].fn(s);
				break;
			}
		}
	}
	/* PREPARE's and EXPLAIN's own statements, and all the rest */
	if (!s->ended)
		look_at_all(s);
}

static void add_pins(struct scan *s, enum herd_sql_act_kind kind, unsigned pins)
{
	struct herd_sql_act *a = pins ? add(s, kind) : NULL;

	if (a)
		a->pins = pins;
	if (a && kind == HERD_ACT_PIN)
		s->acts->pins |= pins;
}

/* What was seen anywhere in it, then where it stands. */
static void end_statement(struct scan *s, size_t first)
{
	if (s->on_commit_drop)
		s->pins &= ~(unsigned)HERD_PIN_TEMP;
	if (s->prepared.len > 0)
		note_prepare(s);
	/* Which of them comes last cannot be told. */
	s->unpin &= ~s->pins;
	add_pins(s, HERD_ACT_PIN, s->pins);
	add_pins(s, HERD_ACT_MAYBE, s->maybe);
	add_pins(s, HERD_ACT_UNPIN, s->unpin);
	if (s->notify)
		add(s, HERD_ACT_NOTIFY);
	if (s->sequence && !s->makes_value)
		add(s, HERD_ACT_SEQUENCE);
	for (size_t i = first; s->acts && i < s->acts->n; i++)
		s->acts->act[i].len = (size_t)(s->stop - s->start);
}

int herd_sql_classify(const char *text, size_t n, struct herd_sql_dialect d,
		      struct herd_sql_acts **ret)
{
	*ret = NULL;
	if (herd_sql_plain(text, n))
		return 0;

	struct scan s = { .lex = herd_sql_lex_init(text, n, d.backslash, d.bytes),
			  .text = text,
			  .settled = d.settled };

	while (!s.oom) {
		size_t first = s.acts ? s.acts->n : 0;

		s.pins = s.maybe = s.unpin = 0;
		s.on_commit_drop = s.notify = s.sequence = s.makes_value = false;
		s.prepared.len = 0;
		s.t = (struct herd_sql_token){ 0 };
		advance(&s);
		if (s.t.kind == HERD_SQL_END)
			break;
		if (s.ended)
			continue;
		s.start = s.t.p;
		dispatch(&s);
		end_statement(&s, first);
		s.stmt++;
		if (s.t.kind == HERD_SQL_END)
			break;
	}
	if (s.oom) {
		herd_sql_acts_unref(s.acts);
		return -ENOMEM;
	}
	*ret = s.acts;
	return 0;
}

struct herd_sql_acts *herd_sql_acts_ref(struct herd_sql_acts *a)
{
	if (a)
		atomic_fetch_add_explicit(&a->refs, 1, memory_order_relaxed);
	return a;
}

void herd_sql_acts_unref(struct herd_sql_acts *a)
{
	if (!a || atomic_fetch_sub(&a->refs, 1) != 1)
		return;
	for (size_t i = 0; i < a->n; i++) {
		free(a->act[i].name);
		free(a->act[i].text);
	}
	free(a);
}
