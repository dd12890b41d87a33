#include "proxy/session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"
#include "proxy/hub.h"
#include "sql/plain.h"
#include "wire/msg.h"

bool herd_session_tracks_now(struct herd_client *c)
{
	const struct herd_live *live = c->w->live;
	const struct herd_database *conf = c->db ? herd_db_conf(live, c->db) : NULL;
	int on = conf && conf->session_state >= 0 ? conf->session_state
						  : live->config->s.session_state;

	c->tracked = on == HERD_SESSION_AUTO && conf && c->pool && !c->internal && !c->repl &&
		     herd_pool_mode(live, c->pool) != HERD_MODE_SESSION;
	c->tracked_as_of = live->serial;
	return c->tracked;
}

static struct herd_kept *kept(struct herd_client *c)
{
	if (!c->kept)
		c->kept = calloc(1, sizeof(*c->kept));
	return c->kept;
}

static void unref_acts(void *acts)
{
	herd_sql_acts_unref(acts);
}

/* Names acts, or forgets the name (NULL). */
static int put(struct herd_map **map, const char *name, struct herd_sql_acts *acts)
{
	if (!acts) {
		if (*map)
			herd_map_remove(*map, name);
		return 0;
	}
	if (!*map)
		*map = herd_map_new(unref_acts);
	if (!*map)
		return -ENOMEM;
	/* The map does not give up a value for itself: another reference would stay. */
	if (herd_map_get(*map, name) == acts)
		return 0;
	int rc = herd_map_put(*map, name, herd_sql_acts_ref(acts));

	if (rc < 0)
		herd_sql_acts_unref(acts);
	return rc;
}

static struct herd_sql_dialect dialect(const struct herd_client *c)
{
	const struct herd_var_names *names = &c->w->px->vars;
	const char *std = herd_vars_get(&c->vars, names, "standard_conforming_strings");

	return (struct herd_sql_dialect){ .backslash = std && strcmp(std, "off") == 0,
					  .bytes = herd_sql_bytes_of(herd_vars_get(
						  &c->vars, names, "client_encoding")) };
}

static enum herd_session_look oom(struct herd_client *c)
{
	herd_client_fail(c, "53200", "out of memory");
	return HERD_LOOK_CLOSED;
}

/* An error that the server raises in its turn, so that its transaction fails as with any other. */
static char *raise_sql(const char *what, unsigned pins)
{
	struct herd_buf b = { 0 }, text = { 0 };

	herd_buf_printf(&text, "%s (", what);
	herd_session_pins_text(pins, &text);
	herd_buf_addc(&text, ')');
	herd_buf_addstr(&b, "DO LANGUAGE plpgsql $herd$BEGIN RAISE EXCEPTION "
			    "USING ERRCODE = 'feature_not_supported', MESSAGE = ");
	herd_sql_literal(&b, herd_buf_str(&text));
	herd_buf_addstr(&b, "; END$herd$");
	herd_buf_free(&text);
	return herd_buf_steal(&b);
}

/* Why what the client asks for cannot be; NULL: it can. */
static const char *refusal(const struct herd_client *c, unsigned pins)
{
	int max = herd_worker_settings(c->w)->max_pinned;

	if (pins == 0)
		return NULL;
	if (herd_pool_mode(c->w->live, c->pool) == HERD_MODE_STATEMENT)
		return "session state is not possible in statement pooling mode";
	if (max > 0 && !(c->kept && c->kept->counted) && atomic_load(&c->pool->npinned) >= max)
		return "too many clients keep their server to themselves (max_pinned)";
	return NULL;
}

/* The text that goes to the server in place of the client's, or NULL: the client's own. */
static int other_text(struct herd_client *c, const char *text, size_t n,
		      struct herd_sql_acts **acts, char **ret)
{
	const char *no = refusal(c, (*acts)->pins);
	struct herd_buf b = { 0 };
	size_t at = 0;

	if (no) {
		*ret = raise_sql(no, (*acts)->pins);
		herd_sql_acts_unref(*acts);
		*acts = NULL;
		return *ret ? 0 : -ENOMEM;
	}
	if (!((*acts)->kinds & HERD_ACT_BIT(HERD_ACT_LISTEN)))
		return 0;
	/* Goes as one of the kind that leaves nothing behind; its tag is made good. */
	for (size_t i = 0; i < (*acts)->n; i++) {
		const struct herd_sql_act *a = &(*acts)->act[i];

		if (a->kind != HERD_ACT_LISTEN)
			continue;
		herd_buf_add(&b, text + at, a->from - at);
		herd_buf_addstr(&b, "UNLISTEN pgherd_nothing");
		at = a->from + a->len;
	}
	/* A Query's text ends with its zero, a statement's does not. */
	herd_buf_add(&b, text + at, strnlen(text + at, n - at));
	*ret = herd_buf_steal(&b);
	return *ret ? 0 : -ENOMEM;
}

/* The listener listens to what the acts listen to, or will. */
static enum herd_hub_answer want_channels(struct herd_client *c, const struct herd_sql_acts *acts)
{
	enum herd_hub_answer answer = HERD_HUB_READY;

	for (size_t i = 0; i < acts->n && answer == HERD_HUB_READY; i++) {
		if (acts->act[i].kind == HERD_ACT_LISTEN)
			answer = herd_hub_want(c, acts->act[i].name);
	}
	return answer;
}

/* There is no listener: the client's own server listens, and stays its own. */
static void listen_alone(struct herd_sql_acts *acts)
{
	for (size_t i = 0; i < acts->n; i++) {
		if (acts->act[i].kind != HERD_ACT_LISTEN)
			continue;
		acts->act[i].kind = HERD_ACT_PIN;
		acts->act[i].pins = HERD_PIN_LISTEN;
	}
	acts->kinds &= ~HERD_ACT_BIT(HERD_ACT_LISTEN);
	acts->kinds |= HERD_ACT_BIT(HERD_ACT_PIN);
	acts->pins |= HERD_PIN_LISTEN;
}

/*
 * The text of a Query or Parse (later). What it does to the session, and what to send instead.
 */
static enum herd_session_look look_at_text(struct herd_client *c, const char *text, size_t n,
					   bool later, struct herd_sql_acts **acts, char **instead)
{
	struct herd_sql_dialect d;

	if (herd_sql_plain(text, n))
		return HERD_LOOK_GO;
	d = dialect(c);
	d.settled = later ? !c->kept
			  : !herd_session_wants(c->kept ? &c->kept->s : NULL, HERD_ACTS_THAT_END);
	if (herd_sql_classify(text, n, d, acts) < 0)
		return oom(c);
	if (!*acts)
		return HERD_LOOK_GO;
	if (!(later && c->kept) &&
	    !herd_session_wants(c->kept ? &c->kept->s : NULL, (*acts)->kinds)) {
		herd_sql_acts_unref(*acts);
		*acts = NULL;
		return HERD_LOOK_GO;
	}
	if (!kept(c))
		return oom(c);
	switch (want_channels(c, *acts)) {
	case HERD_HUB_WAIT:
		herd_sql_acts_unref(*acts);
		*acts = NULL;
		return HERD_LOOK_WAIT;
	case HERD_HUB_NO:
		listen_alone(*acts);
		break;
	case HERD_HUB_READY:
		break;
	}
	return other_text(c, text, n, acts, instead) < 0 ? oom(c) : HERD_LOOK_GO;
}

static enum herd_session_look look_at_query(struct herd_client *c, struct herd_session_msg *m)
{
	char *instead = NULL;

	if (m->partial) {
		if (!kept(c))
			return oom(c);
		c->kept->opaque = true;
		return HERD_LOOK_GO;
	}
	enum herd_session_look look = look_at_text(c, m->body, m->len, false, &m->acts, &instead);

	if (instead)
		herd_wr_query(&m->instead, instead);
	free(instead);
	return look;
}

static enum herd_session_look look_at_parse(struct herd_client *c, struct herd_session_msg *m)
{
	struct herd_rd r = herd_rd_init(m->body, m->len);
	const char *name = herd_rd_str(&r), *text = herd_rd_str(&r);
	struct herd_sql_acts *acts = NULL;
	char *instead = NULL;

	if (!herd_rd_ok(&r)) {
		if (m->partial && kept(c))
			c->kept->opaque = true;
		return HERD_LOOK_GO;
	}
	enum herd_session_look look = look_at_text(c, text, strlen(text), true, &acts, &instead);

	if (instead) {
		size_t mark = herd_wr_begin(&m->instead, 'P');

		herd_wr_str(&m->instead, name);
		herd_wr_str(&m->instead, instead);
		herd_buf_add(&m->instead, r.p, herd_rd_left(&r));
		herd_wr_end(&m->instead, mark);
	}
	free(instead);
	if (look == HERD_LOOK_GO && c->kept && put(&c->kept->texts, name, acts) < 0)
		look = oom(c);
	herd_sql_acts_unref(acts);
	return look;
}

static enum herd_session_look look_at_bind(struct herd_client *c, const struct herd_session_msg *m)
{
	struct herd_rd r = herd_rd_init(m->body, m->len);
	const char *portal = herd_rd_str(&r), *name = herd_rd_str(&r);
	struct herd_kept *k = c->kept;
	struct herd_sql_acts *acts = NULL;

	if (!k || (!k->texts && !k->portals) || !herd_rd_ok(&r))
		return HERD_LOOK_GO;
	if (k->texts)
		acts = herd_map_get(k->texts, name);
	return put(&k->portals, portal, acts) < 0 ? oom(c) : HERD_LOOK_GO;
}

static enum herd_session_look look_at_execute(struct herd_client *c, struct herd_session_msg *m)
{
	struct herd_rd r = herd_rd_init(m->body, m->len);
	const char *portal = herd_rd_str(&r);
	struct herd_sql_acts *acts;

	if (!c->kept || !c->kept->portals || !herd_rd_ok(&r))
		return HERD_LOOK_GO;
	acts = herd_map_get(c->kept->portals, portal);
	if (!acts || !herd_session_wants(&c->kept->s, acts->kinds))
		return HERD_LOOK_GO;
	switch (want_channels(c, acts)) {
	case HERD_HUB_WAIT:
		return HERD_LOOK_WAIT;
	case HERD_HUB_NO: /* the server has the other text already */
		herd_client_fail(c, "08006", "could not listen: no connection to the server");
		return HERD_LOOK_CLOSED;
	case HERD_HUB_READY:
		break;
	}
	m->acts = herd_sql_acts_ref(acts);
	return HERD_LOOK_GO;
}

static void look_at_close(struct herd_client *c, const struct herd_session_msg *m)
{
	struct herd_rd r = herd_rd_init(m->body, m->len);
	char kind = (char)herd_rd_u8(&r);
	const char *name = herd_rd_str(&r);

	if (c->kept && herd_rd_ok(&r))
		put(kind == 'S' ? &c->kept->texts : &c->kept->portals, name, NULL);
}

enum herd_session_look herd_session_look(struct herd_client *c, struct herd_session_msg *m)
{
	switch (m->type) {
	case 'Q':
		return look_at_query(c, m);
	case 'P':
		return look_at_parse(c, m);
	case 'B':
		return look_at_bind(c, m);
	case 'E':
		return look_at_execute(c, m);
	case 'C':
		look_at_close(c, m);
		return HERD_LOOK_GO;
	default:
		return HERD_LOOK_GO;
	}
}

void herd_session_msg_free(struct herd_session_msg *m)
{
	herd_sql_acts_unref(m->acts);
	m->acts = NULL;
	herd_buf_free(&m->instead);
}

/*
 * lastval() or currval() begins a transaction: which client's nextval() the server saw last cannot
 * be told. From here on the client has a server of its own.
 */
static void doubt_sequence(struct herd_client *c)
{
	static const char text[] = "lastval() and currval() tell of the last nextval() on this "
				   "server, which may have been another client's";
	struct herd_buf b = { 0 };

	if (c->server->tx != 'I' || (c->kept->s.pins & HERD_PIN_SEQUENCE) ||
	    herd_pool_mode(c->w->live, c->pool) == HERD_MODE_STATEMENT)
		return;
	herd_client_log(c, HERD_LOG_WARNING, "%s", text);
	c->kept->s.pins |= HERD_PIN_SEQUENCE;
	/* Not into the midst of a message that is on its way to the client. */
	if (c->server->flight.count > 1 || c->server->pass_left > 0)
		return;
	herd_wr_report(&b, 'N', "WARNING", "01000", text, NULL,
		       "Use RETURNING, or ask in the transaction that called nextval().");
	herd_conn_send_buf(&c->conn, &b);
	herd_buf_free(&b);
}

void herd_session_sent_msg(struct herd_client *c, struct herd_session_msg *m, bool ignored)
{
	if (!m->acts || ignored || !c->server)
		return;
	if (herd_session_sent(&c->kept->s, m->acts) < 0) {
		c->kept->s.pins |= HERD_PIN_SETTING;
		return;
	}
	herd_flight_note(&c->server->flight);
	if (c->kept->hub_asked &&
	    (c->server->tx == 'I' || (m->acts->kinds & HERD_ACT_BIT(HERD_ACT_COMMIT))))
		herd_hub_commits(c);
	if (m->acts->kinds & HERD_ACT_BIT(HERD_ACT_NOTIFY))
		herd_hub_notifies(c);
	if (m->acts->kinds & HERD_ACT_BIT(HERD_ACT_SEQUENCE))
		doubt_sequence(c);
}

/* Goes ahead of what the client sends: nobody waits for it. */
static void send_prepared(void *arg, const char *sql)
{
	struct herd_server *s = arg;
	struct herd_buf msg = { 0 };

	herd_wr_query(&msg, sql);
	if (herd_flight_push(&s->flight, 'Q', HERD_FLIGHT_DROP, NULL) < 0 ||
	    herd_conn_send_buf(&s->conn, &msg) < 0)
		s->conn.broken = true;
	else
		herd_flight_mark(&s->flight, HERD_MARK_PREPARES);
	herd_buf_free(&msg);
}

void herd_session_assign(struct herd_client *c)
{
	struct herd_server *s = c->server;
	struct herd_sets *want = c->kept ? c->kept->s.sets : NULL;
	struct herd_buf sql = { 0 }, msg = { 0 };

	if (want == s->sets)
		return;
	if (herd_sets_diff(s->sets, want, s->sets_base, &sql) == 0) {
		/* The same from another source, or but for what is prepared. */
		herd_sets_diff_prepared(s->sets, want, send_prepared, s);
		herd_sets_unref(s->sets);
		s->sets = herd_sets_ref(want);
		return;
	}
	herd_wr_query(&msg, herd_buf_str(&sql));
	if (!herd_buf_ok(&sql) || herd_flight_push(&s->flight, 'Q', HERD_FLIGHT_DROP, NULL) < 0 ||
	    herd_conn_send_buf(&s->conn, &msg) < 0)
		s->conn.broken = true;
	herd_sets_diff_prepared(s->sets, want, send_prepared, s);
	s->sets_sent = true;
	s->ready = false;
	free(s->error_text);
	s->error_text = NULL;
	herd_buf_free(&sql);
	herd_buf_free(&msg);
}

int herd_session_assigned(struct herd_client *c)
{
	struct herd_server *s = c->server;

	s->sets_sent = false;
	if (s->error_text) {
		herd_client_log(c, HERD_LOG_WARNING, "could not restore session state: %s",
				s->error_text);
		return -EIO;
	}
	herd_sets_unref(s->sets);
	s->sets = herd_sets_ref(c->kept ? c->kept->s.sets : NULL);
	if (!c->internal)
		herd_client_wake(c);
	return 0;
}

/* Settings that the server reports follow the client by themselves. */
static bool is_reported(void *arg, const char *name)
{
	const struct herd_client *c = arg;
	int i = herd_var_names_find(&c->w->px->vars, name);

	return i >= 0 && c->server && c->server->vars.value && c->server->vars.value[i];
}

/* Of a text that was not looked at: does the tag tell of something that stays? */
static unsigned pins_of_tag(const char *tag)
{
	static const struct {
		const char *tag;
		unsigned pins;
	} known[] = { { "SET", HERD_PIN_SETTING },
		      { "RESET", HERD_PIN_SETTING },
		      { "LISTEN", HERD_PIN_LISTEN },
		      { "PREPARE", HERD_PIN_PREPARE },
		      { "DECLARE CURSOR", HERD_PIN_HOLD },
		      { "CREATE TABLE", HERD_PIN_TEMP },
		      { "CREATE TABLE AS", HERD_PIN_TEMP },
		      { "CREATE VIEW", HERD_PIN_TEMP },
		      { "CREATE SEQUENCE", HERD_PIN_TEMP },
		      { "LOAD", HERD_PIN_SESSION },
		      { "DO", HERD_PIN_SESSION } };

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (strcmp(tag, known[i].tag) == 0)
			return known[i].pins;
	}
	return 0;
}

bool herd_session_complete(struct herd_client *c, const struct herd_flight_item *head,
			   const char *tag, size_t n)
{
	struct herd_kept *k = c->kept;

	if (head && head->noted)
		return herd_session_done(&k->s, tag, n, is_reported, c) == HERD_ACT_LISTEN;
	herd_session_tag(&k->s, tag, n, is_reported, c);
	if (k->opaque && n > 0 && tag[n - 1] == '\0')
		k->s.pins |= pins_of_tag(tag);
	return false;
}

static void log_pin(struct herd_client *c)
{
	struct herd_buf b = { 0 };

	herd_session_pins_text(c->kept->s.pins, &b);
	herd_client_log(c, HERD_LOG_INFO, "client pinned to its server: %s", herd_buf_str(&b));
	herd_buf_free(&b);
}

static void count_pin(struct herd_client *c, bool pinned)
{
	struct herd_kept *k = c->kept;

	if (pinned == k->counted)
		return;
	atomic_fetch_add(&c->pool->npinned, pinned ? 1 : -1);
	k->counted = pinned;
	if (pinned && !k->told) {
		k->told = true;
		log_pin(c);
	}
}

/* What the server can tell, in the order of the columns of probe_sql. */
static const unsigned told_by_server[] = { HERD_PIN_ADVISORY, HERD_PIN_PREPARE, HERD_PIN_HOLD,
					   HERD_PIN_TEMP };
enum { NTOLD = sizeof(told_by_server) / sizeof(told_by_server[0]) };
static const char probe_sql[] =
	"SELECT EXISTS (SELECT FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND "
	"pid = pg_catalog.pg_backend_pid()), "
	"EXISTS (SELECT FROM pg_catalog.pg_prepared_statements WHERE from_sql), "
	"EXISTS (SELECT FROM pg_catalog.pg_cursors WHERE is_holdable), "
	"EXISTS (SELECT FROM pg_catalog.pg_class WHERE relnamespace = t) OR "
	"EXISTS (SELECT FROM pg_catalog.pg_type WHERE typnamespace = t) OR "
	"EXISTS (SELECT FROM pg_catalog.pg_proc WHERE pronamespace = t) OR "
	"EXISTS (SELECT FROM pg_catalog.pg_operator WHERE oprnamespace = t) "
	"FROM pg_catalog.pg_my_temp_schema() t /* pgherd: session_state */";

bool herd_session_probe(struct herd_client *c)
{
	struct herd_session *k = &c->kept->s;
	struct herd_server *s = c->server;
	struct herd_buf b = { 0 };
	unsigned can = 0;

	for (int i = 0; i < NTOLD; i++)
		can |= told_by_server[i];
	if (!k->maybe_unpinned || (k->pins & ~can))
		return false;
	k->maybe_unpinned = false;
	if (herd_flight_push(&s->flight, 'Q', HERD_FLIGHT_DROP, NULL) < 0)
		return false;
	herd_flight_mark(&s->flight, HERD_MARK_PINS);
	herd_wr_query(&b, probe_sql);
	if (herd_conn_send_buf(&s->conn, &b) < 0)
		s->conn.broken = true;
	herd_buf_free(&b);
	s->ready = false;
	s->probing = true;
	c->kept->told_pins = k->pins;
	return true;
}

void herd_session_probe_row(struct herd_client *c, const void *body, size_t n)
{
	struct herd_rd r = herd_rd_init(body, n);
	int columns = herd_rd_u16(&r);
	unsigned pins = 0;

	for (int i = 0; i < NTOLD && i < columns; i++) {
		uint32_t len = herd_rd_u32(&r);
		const char *v = len == 1 ? herd_rd_bytes(&r, len) : NULL;

		if (!v || *v != 'f')
			pins |= told_by_server[i];
	}
	if (columns == NTOLD && herd_rd_ok(&r))
		c->kept->told_pins = pins;
}

bool herd_session_probed(struct herd_client *c)
{
	struct herd_kept *k = c->kept;
	struct herd_server *s = c->server;

	s->probing = false;
	/* More was sent meanwhile, of which the answer does not tell. */
	if (!herd_flight_idle(&s->flight)) {
		k->s.maybe_unpinned = true;
		return false;
	}
	s->ready = true;
	k->s.pins &= k->told_pins;
	if (k->s.pins)
		return false;
	s->dirty = false;
	count_pin(c, false);
	return true;
}

bool herd_session_keep_server(struct herd_client *c)
{
	struct herd_server *s = c->server;

	if (!s->probing || s->flight.count != 1 || s->tx != 'I' || s->pass_left > 0 ||
	    herd_server_midway(s))
		return false;
	/* Its answer is waited for, then it is reset. */
	herd_flight_reset(&s->flight);
	s->probing = false;
	s->dirty = true;
	c->server = NULL;
	s->client = NULL;
	s->errored = false;
	s->request_us = c->w->now_us;
	atomic_store(&s->state, HERD_SERVER_TESTED);
	return true;
}

void herd_session_round(struct herd_client *c, char tx)
{
	struct herd_kept *k = c->kept;
	struct herd_server *s = c->server;

	herd_session_ready(&k->s, tx, is_reported, c);
	if (tx != 'I')
		return;
	k->opaque = false;
	if (k->s.cleared) {
		k->s.cleared = false;
		s->dirty = false;
	}
	if (k->s.channels_changed || k->hub_asked)
		herd_hub_sync(c);
	if (s->sets != k->s.sets) {
		herd_sets_unref(s->sets);
		s->sets = herd_sets_ref(k->s.sets);
	}
	if (k->s.pins)
		s->dirty = true;
	else if (k->counted)
		s->dirty = false; /* what pinned it is gone by the client's own statements */
	count_pin(c, k->s.pins != 0);
}

bool herd_session_server_lost(struct herd_client *c)
{
	if (!c->kept)
		return true;
	bool pinned = c->kept->counted;

	herd_session_lost(&c->kept->s);
	return !pinned;
}

void herd_session_forget_stmts(struct herd_client *c)
{
	if (!c->kept)
		return;
	herd_map_free(c->kept->texts);
	herd_map_free(c->kept->portals);
	c->kept->texts = c->kept->portals = NULL;
}

void herd_session_server_base(struct herd_server *s, const char *connect_query)
{
	struct herd_session base = { 0 };
	struct herd_sql_acts *acts = NULL;

	if (herd_sql_classify(connect_query, strlen(connect_query), (struct herd_sql_dialect){ 0 },
			      &acts) < 0 ||
	    !acts || herd_session_sent(&base, acts) < 0) {
		herd_sql_acts_unref(acts);
		return;
	}
	for (unsigned i = 0; i <= acts->act[acts->n - 1].stmt; i++)
		herd_session_done(&base, "", 0, NULL, NULL);
	herd_session_over(&base);
	herd_session_ready(&base, 'I', NULL, NULL);
	s->sets_base = herd_sets_ref(base.sets);
	herd_session_free(&base);
	herd_sql_acts_unref(acts);
}

void herd_session_server_clean(struct herd_server *s)
{
	herd_sets_unref(s->sets);
	s->sets = NULL;
	s->dirty = false;
}

void herd_session_server_free(struct herd_server *s)
{
	herd_session_server_clean(s);
	herd_sets_unref(s->sets_base);
	s->sets_base = NULL;
}

void herd_session_close(struct herd_client *c)
{
	if (!c->kept)
		return;
	if (c->server && herd_session_pinned(c))
		c->server->dirty = true;
	count_pin(c, false);
	herd_session_forget_stmts(c);
	herd_session_free(&c->kept->s);
	free(c->kept);
	c->kept = NULL;
}

static bool resets_all(const char *sql)
{
	return strcasestr(sql, "discard") && strcasestr(sql, "all");
}

const char *herd_session_reset_query(const struct herd_worker *w, const struct herd_server *s)
{
	const struct herd_settings *set = herd_worker_settings(w);
	const char *sql = set->server_reset_query;

	/* What pinned it must go, whatever the setting says of ordinary servers. */
	if (s->dirty)
		return resets_all(sql) ? sql : "DISCARD ALL";
	if (!*sql)
		return NULL;
	return herd_pool_mode(w->live, s->pool) == HERD_MODE_SESSION ||
			       set->server_reset_query_always
		       ? sql
		       : NULL;
}
