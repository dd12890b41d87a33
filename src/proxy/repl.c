#include "proxy/repl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"
#include "pool/decide.h"
#include "proxy/pools_internal.h"
#include "proxy/relay.h"
#include "wire/msg.h"

struct herd_repl {
	enum herd_repl_kind kind;
	struct herd_buf params; /* name, zero, value, zero, ... */
};

int herd_repl_parse(const char *value)
{
	bool on;

	if (strcmp(value, "database") == 0)
		return HERD_REPL_LOGICAL;
	if (herd_str_to_bool(value, &on) < 0)
		return -EINVAL;
	return on ? HERD_REPL_PHYSICAL : 0;
}

int herd_repl_new(struct herd_client *c, enum herd_repl_kind kind, const struct herd_startup *s)
{
	struct herd_repl *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	r->kind = kind;
	for (int i = 0; i < s->nparams; i++) {
		const char *name = s->params[i].name;

		if (strcmp(name, "user") == 0 || strcmp(name, "database") == 0 ||
		    strcmp(name, "replication") == 0 || herd_str_starts(name, "_pq_."))
			continue;
		herd_wr_str(&r->params, name);
		herd_wr_str(&r->params, s->params[i].value);
	}
	if (!herd_buf_ok(&r->params)) {
		herd_repl_free(r);
		return -ENOMEM;
	}
	c->repl = r;
	return 0;
}

void herd_repl_free(struct herd_repl *r)
{
	if (!r)
		return;
	herd_buf_free(&r->params);
	free(r);
}

bool herd_repl_physical(const struct herd_client *c)
{
	return c->repl && c->repl->kind == HERD_REPL_PHYSICAL;
}

const char *herd_repl_name(const struct herd_client *c)
{
	return !c->repl ? "none" : herd_repl_physical(c) ? "physical" : "logical";
}

const char *herd_repl_word(const struct herd_client *c)
{
	return !c->repl ? "no" : herd_repl_physical(c) ? "yes" : "database";
}

/* Has the client given this parameter? Names are compared as PostgreSQL does. */
static bool given(const struct herd_repl *r, const char *name)
{
	struct herd_rd rd = herd_rd_init(herd_buf_str(&r->params), r->params.len);

	while (herd_rd_left(&rd) > 0) {
		const char *key = herd_rd_str(&rd);

		herd_rd_str(&rd);
		if (strcasecmp(key, name) == 0)
			return true;
	}
	return false;
}

int herd_repl_startup(struct herd_server *s, const struct herd_database *conf, struct herd_buf *out)
{
	const struct herd_client *c = s->client;
	const struct herd_repl *r = c->repl;
	struct herd_rd rd = herd_rd_init(herd_buf_str(&r->params), r->params.len);
	const char *pairs[2 * (HERD_STARTUP_MAX_PARAMS + 8)];
	const char *const forced[] = { "client_encoding",  conf->client_encoding,
				       "datestyle",        conf->datestyle,
				       "timezone",         conf->timezone,
				       "application_name", conf->application_name };
	int n = 0;

	pairs[n++] = "user";
	pairs[n++] = s->pool->user;
	pairs[n++] = "database";
	pairs[n++] = herd_db_server_name(s->pool->db, conf);
	pairs[n++] = "replication";
	pairs[n++] = r->kind == HERD_REPL_LOGICAL ? "database" : "true";
	for (int i = 0; i < 8; i += 2) {
		if (!forced[i + 1] || given(r, forced[i]))
			continue;
		pairs[n++] = forced[i];
		pairs[n++] = forced[i + 1];
	}
	while (herd_rd_left(&rd) > 0) {
		const char *name = herd_rd_str(&rd), *value = herd_rd_str(&rd);
		/* As the proxy keeps it: the client's host may have been added. */
		const char *ours = strcasecmp(name, "application_name") == 0
					   ? herd_vars_get(&c->vars, &c->w->px->vars, name)
					   : NULL;

		pairs[n++] = name;
		pairs[n++] = ours ? ours : value;
	}
	pairs[n] = NULL;
	herd_wr_startup(out, pairs);
	return herd_buf_ok(out) ? 0 : -ENOMEM;
}

/* A WAL sender without a database knows no SQL. */
const char *herd_repl_verify_sql(const struct herd_server *s, const char *usual)
{
	return s->client && herd_repl_physical(s->client) ? "IDENTIFY_SYSTEM" : usual;
}

static bool reported_recovery(const struct herd_server *s)
{
	const char *data = herd_buf_str(&s->params);
	size_t left = s->params.len;
	struct herd_msg_head h;

	while (herd_msg_head_parse(data, left, &h) == 0) {
		struct herd_rd r = herd_rd_init(data + HERD_MSG_HEAD_BYTES, h.len);
		const char *name = herd_rd_str(&r), *value = herd_rd_str(&r);

		if (strcmp(name, "in_hot_standby") == 0)
			return strcmp(value, "on") == 0;
		data += HERD_MSG_HEAD_BYTES + h.len;
		left -= HERD_MSG_HEAD_BYTES + h.len;
	}
	return false;
}

/* System identifier, timeline, position become: in recovery, system identifier, timeline in hex. */
void herd_repl_verified(struct herd_server *s)
{
	char *id = s->verify_row[0], *timeline = s->verify_row[1];

	if (!s->client || !herd_repl_physical(s->client) || s->errored)
		return;
	free(s->verify_row[2]);
	s->verify_row[2] = timeline ? herd_str_printf("%llX", strtoull(timeline, NULL, 10)) : NULL;
	s->verify_row[1] = id;
	free(timeline);
	s->verify_row[0] = herd_str_dup(reported_recovery(s) ? "t" : "f");
}

/* May the pool open one more for a replication connection? Its lock is held. */
static enum herd_pool_why room(struct herd_worker *w, struct herd_pool *p,
			       const struct herd_database *conf)
{
	struct herd_pool_obs o = herd_pool_observe(w, p, conf);

	if (o.held || o.paused)
		return HERD_POOL_PAUSED;
	if (o.idle + o.active + o.opening + o.closing >= o.pool_size)
		return HERD_POOL_FULL;
	if (o.max_db_conns > 0 && o.db_conns >= o.max_db_conns)
		return HERD_POOL_DB_FULL;
	if (o.max_user_conns > 0 && o.user_conns >= o.max_user_conns)
		return HERD_POOL_USER_FULL;
	return HERD_POOL_OPEN;
}

/* The pool's lock is held. */
static void wait_for_room(struct herd_pool *p, struct herd_client *c, bool first)
{
	c->queued = true;
	if (first)
		herd_list_push_front(&p->replicating, &c->wait_node);
	else
		herd_list_push_back(&p->replicating, &c->wait_node);
	p->nreplicating++;
	c->state = HERD_CLIENT_WELCOME;
}

static void try_open(struct herd_client *c, bool again)
{
	struct herd_worker *w = c->w;
	struct herd_pool *p = c->pool;
	const struct herd_database *conf = herd_pool_conf(w, p);
	enum herd_pool_why why;

	if (!conf) {
		herd_client_fail(c, "3D000", "no such database: %s", c->dbname);
		return;
	}
	for (;;) {
		pthread_mutex_lock(&p->lock);
		why = room(w, p, conf);
		bool idle = p->nidle > 0;

		if (why == HERD_POOL_OPEN) {
			p->nrepl++;
			herd_pool_count_total(p, 1);
		} else if (why == HERD_POOL_PAUSED || !idle) {
			wait_for_room(p, c, again);
		}
		pthread_mutex_unlock(&p->lock);
		if (why == HERD_POOL_OPEN || why == HERD_POOL_PAUSED || !idle)
			break;
		/* An idle one makes room: it can be opened again, this client has no other way. */
		herd_pool_evict_own(w, p);
	}
	if (why != HERD_POOL_OPEN)
		return;
	c->state = HERD_CLIENT_WELCOME;
	herd_server_open_for(w, p, c);
}

void herd_repl_begin(struct herd_client *c)
{
	if (c->state == HERD_CLIENT_CLOSED)
		return;
	if (c->state != HERD_CLIENT_WELCOME)
		c->wait_us = c->w->now_us;
	try_open(c, c->state == HERD_CLIENT_WELCOME);
}

void herd_repl_kick(struct herd_worker *w, struct herd_pool *p)
{
	const struct herd_database *conf = herd_pool_conf(w, p);

	if (!conf)
		return;
	pthread_mutex_lock(&p->lock);
	if (p->nreplicating > 0) {
		enum herd_pool_why why = room(w, p, conf);

		if (why == HERD_POOL_OPEN || (why != HERD_POOL_PAUSED && p->nidle > 0))
			herd_pool_notify(p, herd_container_of(p->replicating.next,
							      struct herd_client, wait_node));
	}
	pthread_mutex_unlock(&p->lock);
}

void herd_repl_linked(struct herd_worker *w, struct herd_server *s)
{
	struct herd_client *c = s->client;
	struct herd_pool *p = s->pool;

	pthread_mutex_lock(&p->lock);
	p->last_fail_us = 0;
	p->fails = 0;
	pthread_mutex_unlock(&p->lock);
	atomic_store(&s->state, HERD_SERVER_ACTIVE);
	s->used = true;
	s->ready = false; /* nobody reads its messages from now on */
	s->request_us = w->now_us;
	herd_stat_add(&c->db->stats[w->id].server_assignment_count, 1);
	herd_stat_add(&c->db->stats[w->id].wait_time, (uint64_t)(w->now_us - c->wait_us));
	herd_login_finish(c);
	herd_repl_kick(w, p); /* there may be room for more */
}

void herd_repl_failed(struct herd_client *c, const char *state, const char *why)
{
	const struct herd_database *conf = herd_db_conf(c->w->live, c->db);
	bool cluster = conf && conf->route.cluster;
	struct herd_buf b = { 0 };

	if (!why || (cluster && (strncmp(state, "08", 2) == 0 || herd_hold_sqlstate(state)))) {
		/* Clients of a cluster wait; the pool's janitor wakes it. */
		pthread_mutex_lock(&c->pool->lock);
		wait_for_room(c->pool, c, true);
		pthread_mutex_unlock(&c->pool->lock);
		return;
	}
	char *text = herd_str_printf("server login failed: %s", why);

	if (herd_worker_settings(c->w)->log_pooler_errors)
		herd_client_log(c, HERD_LOG_WARNING, "pooler error: %s", text ? text : why);
	herd_client_closing(c, "login failed");
	herd_wr_report(&b, 'E', "FATAL", state && *state ? state : "08P01", text ? text : why, NULL,
		       NULL);
	herd_conn_send_buf(&c->conn, &b);
	herd_buf_free(&b);
	free(text);
	herd_client_close(c, NULL);
}

/* Its messages are not followed: whether a Terminate came is told by the last bytes. */
static bool says_goodbye(const struct herd_chunk *k)
{
	static const char bye[] = { 'X', 0, 0, 0, 4 };

	return k->len >= sizeof(bye) &&
	       memcmp(k->data + k->len - sizeof(bye), bye, sizeof(bye)) == 0;
}

void herd_repl_from_client(struct herd_client *c)
{
	struct herd_worker *w = c->w;
	struct herd_chunk chunk;

	for (int loops = 0; c->server; loops++) {
		struct herd_conn *to = &c->server->conn;

		if (herd_conn_blocked(to) || (!c->conn.can_read && c->conn.in.len == 0))
			return;
		if (herd_relay_had_turn(w, loops)) {
			herd_client_wake(c);
			return;
		}
		herd_relay_read(w, &c->conn, &chunk);
		if (chunk.got > 0)
			herd_stat_add(&c->db->stats[w->id].received, (uint64_t)chunk.got);
		if (chunk.len > 0)
			c->goodbye = says_goodbye(&chunk);
		int rc = chunk.len > 0 ? herd_conn_send(to, chunk.data, chunk.len) : 0;

		if (herd_relay_keep(&c->conn, &chunk, chunk.len) < 0 || rc < 0) {
			herd_client_fail(c, "53200", "out of memory");
			return;
		}
		if (chunk.got == 0 || (chunk.got < 0 && chunk.got != -EAGAIN)) {
			herd_client_close(c, c->goodbye ? "client close request"
							: "client unexpected eof");
			return;
		}
		if (chunk.got < 0)
			return;
	}
}

void herd_repl_from_server(struct herd_worker *w, struct herd_server *s)
{
	struct herd_client *c = s->client;
	struct herd_chunk chunk;

	if (herd_conn_blocked(&s->conn) && s->conn.can_write) {
		herd_conn_flush(&s->conn);
		if (!herd_conn_blocked(&s->conn))
			herd_client_wake(c);
	}
	for (int loops = 0; s->conn.can_read; loops++) {
		if (herd_conn_blocked(&c->conn))
			return;
		if (herd_relay_had_turn(w, loops)) {
			herd_client_wake(c);
			return;
		}
		herd_relay_read(w, &s->conn, &chunk);
		if (chunk.got > 0)
			herd_stat_add(&c->db->stats[w->id].sent, (uint64_t)chunk.got);
		int rc = chunk.len > 0 ? herd_conn_send(&c->conn, chunk.data, chunk.len) : 0;

		if (herd_relay_keep(&s->conn, &chunk, chunk.len) < 0 || rc < 0) {
			herd_client_close(c, "out of memory");
			return;
		}
		if (c->conn.broken) {
			herd_client_close(c, "client unexpected eof");
			return;
		}
		if (chunk.got == 0 || (chunk.got < 0 && chunk.got != -EAGAIN)) {
			/* All it said has been passed on. */
			herd_client_close(c, c->goodbye ? "client close request"
							: "server conn crashed?");
			return;
		}
		if (chunk.got < 0)
			return;
	}
}
