#include "proxy/split.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"
#include "proxy/named.h"
#include "proxy/relay.h"
#include "proxy/session.h"
#include "proxy/topology.h"
#include "proxy/verdict.h"
#include "sql/glance.h"
#include "wire/msg.h"

enum {
	BATCH_MAX_BYTES = 16 * 1024,
	BEGIN_MAX_BYTES = 256,
	READS_PATIENCE_US = 1000000,
	SETTLE_US = 100000
};

static const char *const why_names[] = {
	[HERD_WHY_TRANSACTION] = "read only transaction",
	[HERD_WHY_SESSION] = "session",
	[HERD_WHY_HINT] = "hint replica",
	[HERD_WHY_PROVED] = "proved read",
	[HERD_WHY_WRITE] = "may write",
	[HERD_WHY_TOLD] = "hint primary",
	[HERD_WHY_UNPROVED] = "not proved read",
	[HERD_WHY_UNKNOWN] = "being proved",
	[HERD_WHY_NOBODY] = "no replica",
	[HERD_WHY_BEHIND] = "replica behind",
	[HERD_WHY_AGAIN] = "replica refused",
};

const char *herd_split_why_name(enum herd_split_why why)
{
	return why_names[why];
}

/* What a client may say as target_session_attrs. 0 or -EINVAL. */
static int mode_of_attrs(const char *text, int *ret)
{
	static const struct {
		const char *word;
		int mode;
	} words[] = {
		{ "any", HERD_SPLIT_UNSET },       { "read-write", HERD_SPLIT_OFF },
		{ "primary", HERD_SPLIT_OFF },     { "read-only", HERD_SPLIT_SESSION },
		{ "standby", HERD_SPLIT_SESSION }, { "prefer-standby", HERD_SPLIT_SESSION },
	};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strcasecmp(words[i].word, text) == 0)
			return *ret = words[i].mode, 0;
	}
	return -EINVAL;
}

static int configured(const struct herd_client *c, const struct herd_database *conf)
{
	if (!conf || !conf->route.cluster || conf->route.role != HERD_ROUTE_PRIMARY)
		return HERD_SPLIT_OFF;
	return conf->split != HERD_SPLIT_UNSET ? conf->split : herd_worker_settings(c->w)->split;
}

/* What holds for the client now. */
static int mode_of(const struct herd_client *c)
{
	int mode = configured(c, herd_db_conf(c->w->live, c->db));

	if (mode == HERD_SPLIT_OFF ||
	    herd_pool_mode(c->w->live, c->split->home) == HERD_MODE_SESSION)
		return HERD_SPLIT_OFF;
	return c->split->asked != HERD_SPLIT_UNSET ? c->split->asked : mode;
}

static bool refuse(struct herd_client *c, const char *attrs, const char *why)
{
	herd_client_fail(c, "08P01", "target_session_attrs \"%s\" %s", attrs, why);
	return false;
}

bool herd_split_login(struct herd_client *c, const char *attrs)
{
	const struct herd_database *conf = herd_db_conf(c->w->live, c->db);
	int asked = HERD_SPLIT_UNSET;
	char *why = NULL;

	if (attrs && mode_of_attrs(attrs, &asked) < 0)
		return refuse(c, attrs, "is not known");
	if (configured(c, conf) == HERD_SPLIT_OFF ||
	    herd_pool_mode(c->w->live, c->pool) == HERD_MODE_SESSION)
		return asked <= HERD_SPLIT_OFF || refuse(c, attrs, "needs a database with split");
	c->split = calloc(1, sizeof(*c->split));
	if (c->split)
		c->split->reads = herd_pool_reads(c->pool);
	if (!c->split || !c->split->reads) {
		herd_split_free(c);
		herd_client_fail(c, "53200", "out of memory");
		return false;
	}
	c->split->asked = asked;
	c->split->home = c->pool;
	/* A pool that was made now has heard of no topology yet. */
	if (herd_topology_held(c->w->px->topology, &conf->reads, &why))
		atomic_store(&c->split->reads->held, true);
	free(why);
	return true;
}

void herd_split_free(struct herd_client *c)
{
	if (c->split)
		free(c->split->begin);
	free(c->split);
	c->split = NULL;
}

/* What a request, or a batch up to its Sync, is about. */
struct request {
	enum herd_glance_kind kind;
	enum herd_glance_hint hint;
	enum herd_verdict verdict; /* of the least certain of its texts */
	bool writes;               /* as in struct herd_glance */
	bool more;                 /* not all of it is here */
	bool ended;                /* the transaction that it begins is over */
	bool any;
};

/* Its texts read as the parser reads them? */
static bool plain_texts(const struct herd_client *c)
{
	const struct herd_var_names *names = &c->w->px->vars;
	const char *scs = herd_vars_get(&c->vars, names, "standard_conforming_strings");

	return (!scs || strcmp(scs, "on") == 0) &&
	       herd_sql_bytes_of(herd_vars_get(&c->vars, names, "client_encoding")) ==
		       HERD_SQL_SAFE;
}

static enum herd_verdict worse(enum herd_verdict a, enum herd_verdict b)
{
	if (a == HERD_VERDICT_NO || b == HERD_VERDICT_NO)
		return HERD_VERDICT_NO;
	return a == HERD_VERDICT_NONE || b == HERD_VERDICT_NONE ? HERD_VERDICT_NONE
								: HERD_VERDICT_READ;
}

/* Adds one text to what is known of the request. */
static void add_text(struct herd_client *c, struct request *r, const char *text, size_t n)
{
	struct herd_glance g = herd_glance(text, n);
	bool first = !r->any;

	r->writes |= g.writes;
	if (g.kind == HERD_GLANCE_QUERY) {
		enum herd_verdict v = herd_verdict_get(c, text, n);

		r->verdict = first ? v : worse(r->verdict, v);
	}
	if (first) {
		r->kind = g.kind;
		r->hint = g.hint;
	} else if (r->kind == HERD_GLANCE_BEGIN_READ && !r->ended) {
		r->ended = g.kind == HERD_GLANCE_COMMIT || g.kind == HERD_GLANCE_ROLLBACK;
		if (!r->ended && g.kind != HERD_GLANCE_QUERY && g.kind != HERD_GLANCE_SESSION)
			r->kind = HERD_GLANCE_OTHER;
	} else if (r->kind != g.kind ||
		   (g.kind != HERD_GLANCE_QUERY && g.kind != HERD_GLANCE_SESSION)) {
		r->kind = HERD_GLANCE_OTHER;
	}
	r->any = true;
}

/* A message of a batch. False: it makes the whole one for the primary. */
static bool add_message(struct herd_client *c, struct request *r, char type, const char *body,
			size_t n)
{
	struct herd_stmt_names names;

	if (type == 'E' || type == 'C' || type == 'S')
		return true;
	if (type != 'P' && type != 'B' && type != 'D')
		return false;
	if (herd_stmt_names_parse(type, body, n, &names) < 0)
		return false;
	if (type == 'P') {
		size_t max = n - names.head_bytes;

		add_text(c, r, body + names.head_bytes, strnlen(body + names.head_bytes, max));
		return true;
	}
	if (names.kind != 'S')
		return true;
	struct herd_stmt *stmt = *names.stmt ? herd_named_get(c, names.stmt) : NULL;

	/* Without a text: it was parsed in this batch, or it is not known what it is. */
	if (!stmt)
		return r->any;
	add_text(c, r, (const char *)stmt->body, strnlen((const char *)stmt->body, stmt->len));
	return true;
}

static struct request look_at_batch(struct herd_client *c, const char *p, size_t n)
{
	struct request r = { .kind = HERD_GLANCE_EMPTY };
	struct herd_msg_head h;
	size_t pos = 0;

	for (;;) {
		int rc = herd_msg_head_parse(p + pos, n - pos, &h);
		size_t total = HERD_MSG_HEAD_BYTES + (rc == 0 ? (size_t)h.len : 0);

		if (rc < 0 || n - pos < total) {
			r.more = n - pos < BATCH_MAX_BYTES && n < BATCH_MAX_BYTES &&
				 (rc == -EAGAIN || (rc == 0 && total < BATCH_MAX_BYTES));
			r.kind = HERD_GLANCE_OTHER;
			return r;
		}
		if (!add_message(c, &r, h.type, p + pos + HERD_MSG_HEAD_BYTES, h.len)) {
			r.kind = HERD_GLANCE_OTHER;
			return r;
		}
		pos += total;
		if (h.type == 'S')
			break;
	}
	if (!r.any)
		r.kind = HERD_GLANCE_OTHER;
	return r;
}

static struct request look_at(struct herd_client *c, const char *p, size_t n)
{
	struct request r = { .kind = HERD_GLANCE_OTHER };
	struct herd_msg_head h;

	if (!plain_texts(c) || herd_msg_head_parse(p, n, &h) < 0)
		return r;
	if (h.type != 'Q' && h.type != 'F')
		return look_at_batch(c, p, n);
	if (h.type == 'Q' && n >= HERD_MSG_HEAD_BYTES + (size_t)h.len)
		add_text(c, &r, p + HERD_MSG_HEAD_BYTES, strnlen(p + HERD_MSG_HEAD_BYTES, h.len));
	return r;
}

static bool reads_by_default(const struct herd_client *c)
{
	const char *v = herd_vars_get(&c->vars, &c->w->px->vars, "default_transaction_read_only");

	return v && strcmp(v, "on") == 0;
}

/* Where a request wants to go; the reason is below HERD_WHY_NREPLICA for a replica. */
static enum herd_split_why wish(struct herd_client *c, const struct request *r, int mode)
{
	bool session = mode == HERD_SPLIT_SESSION || reads_by_default(c);

	if (r->hint == HERD_HINT_PRIMARY)
		return HERD_WHY_TOLD;
	switch (r->kind) {
	case HERD_GLANCE_BEGIN_READ:
		return HERD_WHY_TRANSACTION;
	case HERD_GLANCE_BEGIN:
		if (r->hint == HERD_HINT_REPLICA)
			return HERD_WHY_HINT;
		return session ? HERD_WHY_SESSION : HERD_WHY_WRITE;
	case HERD_GLANCE_QUERY:
		if (r->hint == HERD_HINT_REPLICA)
			return HERD_WHY_HINT;
		if (session)
			return HERD_WHY_SESSION;
		if (r->verdict == HERD_VERDICT_READ && mode == HERD_SPLIT_AUTO)
			return HERD_WHY_PROVED;
		return mode == HERD_SPLIT_AUTO && r->verdict == HERD_VERDICT_NONE
			       ? HERD_WHY_UNKNOWN
			       : HERD_WHY_UNPROVED;
	case HERD_GLANCE_SESSION:
	case HERD_GLANCE_EMPTY:
		return session && !r->writes ? HERD_WHY_SESSION : HERD_WHY_WRITE;
	default:
		return HERD_WHY_WRITE;
	}
}

static bool replicas_usable(const struct herd_pool *p)
{
	return !atomic_load(&p->held) && !atomic_load(&p->troubled);
}

static void count_route(struct herd_client *c, enum herd_split_why why)
{
	herd_stat_add(&c->db->routes[c->w->id].n[why], 1);
	if (why >= HERD_WHY_NREPLICA && herd_log_level_of(c->w->px->log) <= HERD_LOG_DEBUG)
		herd_client_log(c, HERD_LOG_DEBUG, "served by the primary: %s",
				herd_split_why_name(why));
}

/* May what the client sends to the primary change what it reads afterwards? */
static void note_write(struct herd_client *c, const struct request *r)
{
	const struct herd_server *server = c->server;
	bool open = server && server->ready && server->tx != 'I';
	uint8_t dirt = open ? HERD_DIRTY_OPEN : HERD_DIRTY;

	switch (r->kind) {
	case HERD_GLANCE_QUERY:
		if (r->verdict == HERD_VERDICT_READ)
			return;
		break;
	case HERD_GLANCE_EMPTY:
	case HERD_GLANCE_BEGIN_READ:
	case HERD_GLANCE_SET_READ:
	case HERD_GLANCE_COMMIT:
	case HERD_GLANCE_SESSION:
	case HERD_GLANCE_BEGIN:
	case HERD_GLANCE_BEGIN_WRITE:
		return;
	case HERD_GLANCE_ROLLBACK:
		if (open && c->split->dirty == HERD_DIRTY_OPEN)
			c->split->dirty = HERD_CLEAN;
		return;
	case HERD_GLANCE_CHANGE:
		break;
	default: /* it may end one transaction and begin another */
		dirt = HERD_DIRTY;
		break;
	}
	if (dirt > c->split->dirty)
		c->split->dirty = dirt;
}

static void go_home(struct herd_client *c, const struct request *r, const char *p,
		    enum herd_split_why why)
{
	struct herd_split *s = c->split;
	struct herd_msg_head h;

	c->pool = s->home;
	s->dirty = HERD_CLEAN;
	note_write(c, r);
	if (s->inject) {
		count_route(c, why);
		return;
	}
	herd_str_set(&s->begin, NULL);
	if (r->kind == HERD_GLANCE_BEGIN && *p == 'Q' &&
	    herd_msg_head_parse(p, HERD_MSG_HEAD_BYTES, &h) == 0 && h.len <= BEGIN_MAX_BYTES)
		s->begin = strndup(p + HERD_MSG_HEAD_BYTES, h.len);
	count_route(c, why);
}

static void note_batch(struct herd_split *s, char type)
{
	if (type != 'd' && type != 'c' && type != 'f' && type != 'H')
		s->in_batch = type != 'Q' && type != 'S' && type != 'F';
}

static enum herd_split_why choose(struct herd_client *c, const struct request *r, int mode)
{
	struct herd_split *s = c->split;
	enum herd_split_why why =
		s->inject && r->hint != HERD_HINT_PRIMARY ? HERD_WHY_TRANSACTION : wish(c, r, mode);

	if (why >= HERD_WHY_NREPLICA)
		return why;
	if (s->go_home)
		return s->why_home;
	if (s->wrote == UINT64_MAX && herd_worker_settings(c->w)->causal_reads)
		return HERD_WHY_BEHIND;
	return replicas_usable(s->reads) ? why : HERD_WHY_NOBODY;
}

enum herd_split_step herd_split_choose(struct herd_client *c, const char *p, size_t n)
{
	struct herd_split *s = c->split;
	int mode = mode_of(c);

	s->asks = false;
	if (mode == HERD_SPLIT_OFF) {
		c->pool = s->home;
		s->owes = true; /* nothing is followed now, and the mode may change */
		s->dirty = HERD_CLEAN;
		return HERD_SPLIT_GO;
	}
	struct request r = look_at(c, p, n);

	if (r.more)
		return HERD_SPLIT_LATER;
	enum herd_split_why why = choose(c, &r, mode);

	s->writes_on = s->wrote_now ? why >= HERD_WHY_NREPLICA : s->writes_on;
	s->wrote_now = false;
	if (why < HERD_WHY_NREPLICA && s->owes && herd_worker_settings(c->w)->causal_reads) {
		c->pool = s->home;
		s->asks = true;
		return HERD_SPLIT_GO;
	}
	s->go_home = false;
	note_batch(s, *p);
	if (why >= HERD_WHY_NREPLICA) {
		go_home(c, &r, p, why);
		return HERD_SPLIT_GO;
	}
	c->pool = s->reads;
	s->single = !s->inject && r.kind != HERD_GLANCE_BEGIN_READ && r.kind != HERD_GLANCE_BEGIN;
	count_route(c, why);
	return HERD_SPLIT_GO;
}

/* BEGIN was sent to the primary, and now its transaction turns out to be for a replica. */
static bool leaves_primary(struct herd_client *c, const char *p, size_t n)
{
	struct herd_server *s = c->server;

	if (!s->ready || s->tx != 'T' || *p != 'Q' || !replicas_usable(c->split->reads) ||
	    mode_of(c) == HERD_SPLIT_OFF)
		return false;
	struct request r = look_at(c, p, n);

	if (r.kind != HERD_GLANCE_SET_READ || r.hint == HERD_HINT_PRIMARY)
		return false;
	c->server = NULL;
	s->client = NULL;
	c->state = HERD_CLIENT_IDLE;
	c->split->inject = true;
	c->split->dirty = HERD_CLEAN;
	herd_buf_free(&c->replay);
	herd_server_rollback(c->w, s);
	return true;
}

static enum herd_split_step on_primary(struct herd_client *c, const char *p, size_t n)
{
	struct herd_split *s = c->split;

	if (s->asking) {
		s->blocked = true;
		return HERD_SPLIT_LATER;
	}
	if (s->begin) {
		if (leaves_primary(c, p, n))
			return HERD_SPLIT_LEFT;
		herd_str_set(&s->begin, NULL);
	}
	if (!s->in_batch && herd_worker_settings(c->w)->causal_reads && s->dirty != HERD_DIRTY) {
		struct request r = look_at(c, p, n);

		note_write(c, &r);
	}
	return HERD_SPLIT_GO;
}

static enum herd_split_step on_replica(struct herd_client *c, const char *p, size_t n)
{
	struct herd_split *s = c->split;
	struct herd_server *server = c->server;

	if (s->in_batch || (server->ready && server->tx != 'I') || herd_session_pinned(c))
		return HERD_SPLIT_GO;
	/* What was sent is not answered yet: behind it may come anything. */
	if (s->single && !s->again) {
		struct request r = look_at(c, p, n);

		if (r.more)
			return HERD_SPLIT_LATER;
		if (r.kind == HERD_GLANCE_QUERY && wish(c, &r, mode_of(c)) < HERD_WHY_NREPLICA)
			return HERD_SPLIT_GO;
	}
	s->blocked = true;
	return HERD_SPLIT_LATER;
}

enum herd_split_step herd_split_goes_on(struct herd_client *c, const char *p, size_t n)
{
	struct herd_split *s = c->split;
	enum herd_split_step step = HERD_SPLIT_GO;

	if (!s->first)
		step = c->pool == s->home ? on_primary(c, p, n) : on_replica(c, p, n);
	if (step == HERD_SPLIT_GO) {
		s->first = false;
		note_batch(s, *p);
	}
	return step;
}

void herd_split_inject(struct herd_client *c)
{
	struct herd_split *s = c->split;
	struct herd_buf b = { 0 };

	if (!s->inject)
		return;
	/* What the client has been told of already: the beginning of its transaction. */
	s->inject = false;
	herd_wr_query(&b, s->begin ? s->begin : "BEGIN");
	herd_str_set(&s->begin, NULL);
	if (herd_flight_push(&c->server->flight, 'Q', HERD_FLIGHT_DROP, NULL) < 0 ||
	    herd_conn_send_buf(&c->server->conn, &b) < 0)
		c->server->conn.broken = true;
	c->server->ready = false;
	herd_buf_free(&b);
}

bool herd_split_assigned(struct herd_client *c)
{
	struct herd_split *s = c->split;

	s->blocked = s->asking = s->again = false;
	s->first = true;
	s->seen = 0;
	if (s->asks) {
		s->asks = s->owes = false;
		if (!herd_causal_ask_wrote(c))
			c->server->conn.broken = true;
		return false;
	}
	if (c->pool != s->home && !herd_causal_fits(c))
		return false;
	herd_split_inject(c);
	return true;
}

bool herd_split_ends(struct herd_client *c)
{
	struct herd_split *s = c->split;

	s->blocked = s->in_batch = false;
	s->skip = 0;
	if (c->pool != s->home)
		return false;
	herd_str_set(&s->begin, NULL);
	if (s->dirty == HERD_CLEAN)
		return false;
	s->dirty = HERD_CLEAN;
	if (!herd_worker_settings(c->w)->causal_reads || mode_of(c) == HERD_SPLIT_OFF)
		return false;
	s->wrote_now = true;
	s->owes = s->writes_on || !herd_causal_ask_wrote(c);
	return !s->owes;
}

void herd_split_tag(struct herd_client *c, const char *tag, size_t n)
{
	static const char *const words[] = { "CREATE ", "ALTER ", "DROP ", "IMPORT " };

	if (*tag != 'C' && *tag != 'A' && *tag != 'D' && *tag != 'I')
		return;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (n > strlen(words[i]) && memcmp(tag, words[i], strlen(words[i])) == 0) {
			herd_verdict_forget(c->db);
			c->split->ddl = true;
		}
	}
}

void herd_split_schema(struct herd_client *c)
{
	/* Somebody may have looked before it was committed. */
	c->split->ddl = false;
	herd_verdict_forget(c->db);
}

bool herd_split_passes(struct herd_client *c, char type)
{
	struct herd_split *s = c->split;
	bool early = type == '1' || type == '2' || type == '3' || type == 'T' || type == 't' ||
		     type == 'n';

	if (s->skip > 0 && early) {
		s->skip--;
		return false;
	}
	s->skip = 0;
	/* Until the first row, somebody else can be asked. */
	if (c->pool == s->reads && c->replayable && early && s->seen < UINT8_MAX)
		s->seen++;
	else
		c->replayable = false;
	return true;
}

bool herd_split_retries(struct herd_client *c)
{
	struct herd_split *s = c->split;

	if (c->pool != s->reads || !c->replayable || c->replay.len == 0 ||
	    !herd_buf_ok(&c->replay) || c->pass_left > 0)
		return false;
	s->skip = s->seen;
	return true;
}

/* What a standby can never do was not proved well; what it could not do now may be tried again. */
static void note_refusal(struct herd_client *c, const char *sqlstate)
{
	struct herd_msg_head h;
	const char *p = herd_buf_str(&c->replay);

	if (!c->split->single || (strcmp(sqlstate, "25006") != 0 &&
				  strcmp(sqlstate, "0A000") != 0 && strcmp(sqlstate, "55000") != 0))
		return;
	for (size_t left = c->replay.len; herd_msg_head_parse(p, left, &h) == 0;) {
		size_t total = HERD_MSG_HEAD_BYTES + (size_t)h.len;
		const char *body = p + HERD_MSG_HEAD_BYTES;
		struct herd_stmt_names names;

		if (total > left)
			return;
		if (h.type == 'Q')
			herd_verdict_refused(c, body, strnlen(body, h.len));
		else if (h.type == 'P' && herd_stmt_names_parse('P', body, h.len, &names) == 0)
			herd_verdict_refused(
				c, body + names.head_bytes,
				strnlen(body + names.head_bytes, h.len - names.head_bytes));
		p += total;
		left -= total;
	}
}

bool herd_split_swallows(struct herd_client *c, const char *sqlstate)
{
	/*
	 * Read only; conflict with recovery; deadlock with it; not possible during recovery; not in
	 * this state; what was created a moment ago: function, table, column, schema.
	 */
	static const char *const states[] = { "25006", "40001", "40P01", "0A000", "55000",
					      "42883", "42P01", "42703", "3F000" };
	struct herd_split *s = c->split;
	struct herd_server *server = c->server;

	if (server->tx != 'I' || s->again || herd_session_pinned(c) || !herd_split_retries(c) ||
	    herd_flight_rounds(&server->flight) != 1 || herd_flight_open_batch(&server->flight))
		return false;
	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		if (strcmp(states[i], sqlstate) != 0)
			continue;
		s->again = s->go_home = true;
		s->why_home = HERD_WHY_AGAIN;
		note_refusal(c, sqlstate);
		return true;
	}
	return false;
}

bool herd_split_survives(struct herd_client *c)
{
	struct herd_split *s = c->split;
	bool asked = s->asking;

	s->asking = s->blocked = s->again = false;
	if (c->pool == s->home && asked)
		s->owes = true; /* the next primary is asked */
	return asked || (c->replayable && c->replay.len == 0);
}

void herd_split_settle(struct herd_client *c)
{
	struct herd_split *s = c->split;

	if (!s->owes || c->server || c->conn.in.len > 0 || mode_of(c) == HERD_SPLIT_OFF ||
	    !herd_worker_settings(c->w)->causal_reads || !replicas_usable(s->home) ||
	    c->w->now_us - c->query_us < SETTLE_US)
		return;
	c->pool = s->home;
	c->wait_us = c->w->now_us;
	s->asks = true;
	if (herd_pool_try(c->w, c))
		herd_relay_linked(c);
}

void herd_split_check_wait(struct herd_client *c)
{
	struct herd_split *s = c->split;

	if (c->pool != s->reads || c->w->now_us - c->wait_us < READS_PATIENCE_US)
		return;
	/* With all of its connections busy the pool is a queue like any other. */
	pthread_mutex_lock(&c->pool->lock);
	bool busy = c->pool->nactive > 0;

	pthread_mutex_unlock(&c->pool->lock);
	if (busy || !herd_pool_leave(c->w, c))
		return;
	s->go_home = true;
	s->why_home = HERD_WHY_NOBODY;
	c->state = HERD_CLIENT_IDLE;
	herd_client_wake(c);
}

bool herd_split_keep_server(struct herd_client *c)
{
	struct herd_server *s = c->server;

	if (!c->split->asking || s->flight.count != 1 || herd_flight_rounds(&s->flight) != 0 ||
	    s->tx != 'I' || s->pass_left > 0 || herd_server_midway(s))
		return false;
	herd_flight_reset(&s->flight);
	c->server = NULL;
	s->client = NULL;
	s->errored = false;
	s->request_us = c->w->now_us;
	atomic_store(&s->state, HERD_SERVER_TESTED);
	return true;
}
