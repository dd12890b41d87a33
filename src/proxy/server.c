#include "proxy/server.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/str.h"
#include "proxy/cancel.h"
#include "proxy/client.h"
#include "proxy/conn_tls.h"
#include "proxy/dial.h"
#include "proxy/dns.h"
#include "proxy/hub.h"
#include "proxy/repl.h"
#include "proxy/sderive.h"
#include "proxy/session.h"
#include "proxy/target.h"
#include "proxy/tls.h"
#include "proxy/topology.h"
#include "wire/msg.h"
#include "wire/startup.h"

enum { POLL_FIRST_US = 2000, POLL_LATER_US = 10000, POLLS_FAST = 100, MAX_OWN_MESSAGE = 1 << 20 };

/* pg_walfile_name cannot be asked of a standby, and a fresh primary's control file lags. */
static const char verify_sql[] =
	"SELECT pg_catalog.pg_is_in_recovery(), system_identifier, "
	"CASE WHEN pg_catalog.pg_is_in_recovery() THEN NULL ELSE pg_catalog.substr("
	"pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8) END "
	"FROM pg_catalog.pg_control_system()";

const char *herd_server_state_name(int state)
{
	static const char *const names[] = {
		[HERD_SERVER_CONNECTING] = "new", [HERD_SERVER_SSL] = "new",
		[HERD_SERVER_TLS] = "new",        [HERD_SERVER_LOGIN] = "new",
		[HERD_SERVER_SETUP] = "new",      [HERD_SERVER_VERIFY] = "new",
		[HERD_SERVER_POLL] = "new",       [HERD_SERVER_WARM] = "warm",
		[HERD_SERVER_IDLE] = "idle",      [HERD_SERVER_ACTIVE] = "active",
		[HERD_SERVER_TESTED] = "tested",  [HERD_SERVER_RESET] = "tested",
		[HERD_SERVER_HUB] = "active",     [HERD_SERVER_CANCELED] = "being_canceled",
		[HERD_SERVER_CLOSED] = "closed",
	};

	return names[state];
}

void herd_server_log(struct herd_worker *w, const struct herd_server *s, enum herd_log_level level,
		     const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	char *text = herd_str_vprintf(fmt, ap);
	va_end(ap);
	if (!text)
		return;
	herd_log_at(w->px->log, level, "S-0x%llx: %s/%s@%s:%d %s", (unsigned long long)s->id,
		    s->pool->db->name, s->pool->user, s->addr.host, s->addr.port, text);
	free(text);
}

static void unref_under_way(void *arg, const struct herd_flight_item *item)
{
	struct herd_worker *w = arg;

	pthread_mutex_lock(&w->px->stmts_lock);
	herd_stmts_unref(w->px->stmts, item->stmt);
	pthread_mutex_unlock(&w->px->stmts_lock);
}

void herd_server_forget_stmts(struct herd_worker *w, struct herd_server *s)
{
	struct herd_stmt *stmt;

	s->asks = 0;
	/* What becomes of these is not followed any more. */
	if (herd_flight_forget_stmts(&s->flight, unref_under_way, w) > 0)
		atomic_store(&s->close_needed, true);
	if (s->held.count > 0) {
		pthread_mutex_lock(&w->px->stmts_lock);
		while ((stmt = herd_held_oldest(&s->held))) {
			herd_held_remove(&s->held, stmt);
			herd_stmts_unref(w->px->stmts, stmt);
		}
		pthread_mutex_unlock(&w->px->stmts_lock);
	}
	herd_held_free(&s->held);
}

static void free_server(void *p)
{
	struct herd_server *s = p;

	free(s->target_host);
	free(s->scope);
	free(s->member);
	for (int i = 0; i < 3; i++)
		free(s->verify_row[i]);
	free(s->error_text);
	free(s);
}

void herd_server_close(struct herd_worker *w, struct herd_server *s, const char *why)
{
	struct herd_buf bye = { 0 };

	assert(atomic_load(&s->state) != HERD_SERVER_CLOSED);
	if (why && (s->login_done || herd_worker_settings(w)->log_pooler_errors))
		herd_server_log(w, s, HERD_LOG_INFO, "closing because: %s (age=%llds)", why,
				(long long)((w->now_us - s->opened_us) / 1000000));
	if (s->client)
		s->client->server = NULL;
	s->client = NULL;
	if (s->hub)
		herd_hub_lost(w, s, why);
	herd_list_remove(&s->node);
	herd_list_remove(&s->poll_node);
	herd_stream_end(s);
	herd_cancel_forget(w, s);
	herd_dns_forget(s->lookup);
	s->lookup = NULL;
	if (s->login_done && !s->conn.broken && s->ready) {
		herd_wr_empty(&bye, 'X');
		herd_conn_send_buf(&s->conn, &bye);
		herd_buf_free(&bye);
	}
	herd_conn_close(&s->conn);
	herd_server_forget_stmts(w, s);
	herd_flight_free(&s->flight);
	herd_vars_free(&s->vars);
	herd_session_server_free(s);
	herd_buf_free(&s->params);
	herd_buf_free(&s->slow_text);
	herd_scram_client_free(&s->scram);
	herd_sderive_forget(s->derive);
	if (s->mate)
		atomic_fetch_sub(&s->mate->conns, 1);
	atomic_store(&s->state, HERD_SERVER_CLOSED);
	herd_retire(w->px, s, free_server);
}

/* The replication client that waits for this server, if there is one. */
static struct herd_client *takes_for(const struct herd_server *s)
{
	struct herd_client *c = s->client;

	return c && c->repl && c->state == HERD_CLIENT_WELCOME ? c : NULL;
}

void herd_server_drop(struct herd_worker *w, struct herd_server *s, const char *why)
{
	struct herd_client *c = takes_for(s);

	herd_pool_lost(w, s, false, NULL, NULL);
	herd_server_close(w, s, why);
	if (c)
		herd_repl_failed(c, NULL, NULL);
}

/*
 * A member that cannot be used is left alone for a while, if others can serve: a primary cannot be
 * replaced by choice. True when this is news.
 */
static bool blame(struct herd_server *s, const char *state, const char *text)
{
	bool full = strcmp(state, "53300") == 0;
	bool its_fault = full || strncmp(state, "08", 2) == 0 || strncmp(state, "57P", 3) == 0;

	return herd_mate_failed(s->mate, text, its_fault && !s->only_choice, !full);
}

/* It never became usable, or died on duty before anybody used it. */
static void fail(struct herd_worker *w, struct herd_server *s, const char *state, const char *text)
{
	if (herd_worker_settings(w)->log_pooler_errors)
		herd_server_log(w, s, HERD_LOG_WARNING, "server login failed: %s%s",
				s->errored ? "FATAL " : "", text);
	struct herd_client *c = takes_for(s);
	bool moved = s->mate && blame(s, state, text);
	bool elsewhere = !s->mate && herd_target_failed(w, s, state);
	struct herd_px *px = w->px;
	struct herd_pool *p = s->pool;
	char *copy = strdup(text), code[6] = "";

	memcpy(code, state, strnlen(state, sizeof(code) - 1));
	/* What is refused to one replication connection says nothing about other clients. */
	herd_pool_lost(w, s, !c && !elsewhere && !s->hub, state, text);
	herd_server_close(w, s, c ? "login failed" : text);
	if (c)
		herd_repl_failed(c, code, copy ? copy : "out of memory");
	else if (elsewhere)
		herd_pool_kick(w, p);
	free(copy);
	if (moved)
		herd_pools_members(px);
}

void herd_server_failed(struct herd_worker *w, struct herd_server *s, const char *state,
			const char *text)
{
	fail(w, s, state, text);
}

static const struct herd_route *route_of(const struct herd_server *s,
					 const struct herd_database *conf)
{
	return s->hub ? herd_hub_route(s->hub, conf) : herd_pool_route(s->pool, conf);
}

/*
 * Where to: fills target, member and what to verify. 0 or -EAGAIN (nobody) or -ENOMEM. The pool's
 * lock is held, so that connections opened at the same time see each other's choice.
 */
static int choose(struct herd_worker *w, struct herd_server *s, const struct herd_database *conf,
		  uint64_t turn, int *port)
{
	if (!conf->route.cluster) {
		*port = conf->port;
		s->target_host = conf->host
					 ? herd_target_pick(w, conf, turn)
					 : herd_str_dup(herd_worker_settings(w)->unix_socket_dir);
		return s->target_host ? 0 : -ENOMEM;
	}
	struct herd_topo *t = herd_topology_get(w->px->topology);
	struct herd_pick pick = { .kind = HERD_PICK_HOLD };
	int rc = -EAGAIN;

	if (s->warming) {
		pick.member = herd_route_warm(t, route_of(s, conf), &pick.group);
		pick.kind = pick.member ? HERD_PICK_GO : HERD_PICK_HOLD;
		pick.want_primary = true;
	} else {
		struct herd_mates_view mates = { herd_topology_mates(w->px->topology), s->pool };
		struct herd_route_view view = { .turn = turn,
						.zone = herd_worker_settings(w)->zone,
						.look = herd_mates_look,
						.arg = &mates };

		pick = herd_route_pick(t, route_of(s, conf), &view);
	}
	if (pick.kind == HERD_PICK_GO) {
		s->mate = herd_mates_get(herd_topology_mates(w->px->topology), pick.group->scope,
					 pick.group->group, pick.member->name);
		s->target_host = herd_str_dup(pick.member->host);
		s->scope = herd_str_dup(pick.group->scope);
		s->member = herd_str_dup(pick.member->name);
		s->group = pick.group->group;
		s->want_primary = pick.want_primary;
		s->only_choice = route_of(s, conf)->role == HERD_ROUTE_PRIMARY;
		s->want_standby = pick.want_standby;
		*port = pick.member->port;
		rc = s->mate && s->target_host && s->scope && s->member ? 0 : -ENOMEM;
		if (s->mate)
			atomic_fetch_add(&s->mate->conns, 1);
	}
	herd_topo_unref(t);
	return rc;
}

struct herd_server *herd_server_new(struct herd_worker *w, struct herd_pool *p, bool warming)
{
	struct herd_server *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->conn.kind = HERD_CONN_SERVER;
	s->conn.fd = -1;
	s->pool = p;
	s->warming = warming;
	s->counted = warming ? HERD_COUNT_WARM : HERD_COUNT_OPENING;
	atomic_init(&s->owner, w->id);
	atomic_init(&s->home, w->id);
	atomic_init(&s->state, HERD_SERVER_CONNECTING);
	s->opened_us = s->connected_us = s->request_us = w->now_us;
	s->id = atomic_fetch_add(&w->px->next_id, 1) + 1;
	s->group = -1;
	s->tx = 'I';
	herd_list_init(&s->pool_node);
	herd_list_init(&s->poll_node);
	herd_list_init(&s->stream.node);
	herd_list_init(&s->all_node);
	herd_list_push_back(&w->servers, &s->node);
	return s;
}

static void open_one(struct herd_worker *w, struct herd_pool *p, bool warming,
		     struct herd_client *c, struct herd_hub *hub)
{
	const struct herd_database *conf = herd_db_conf(w->live, p->db);
	struct herd_server *s = herd_server_new(w, p, warming);
	struct herd_err err = HERD_ERR_INIT;
	int port = 0;

	if (!s) {
		pthread_mutex_lock(&p->lock);
		if (c)
			p->nrepl--;
		else if (hub)
			p->nhub--;
		else if (warming)
			p->nwarm--;
		else
			p->nopening--;
		pthread_mutex_unlock(&p->lock);
		atomic_fetch_sub(&p->db->nconns, 1);
		atomic_fetch_sub(&p->user_count->nconns, 1);
		if (c)
			herd_client_fail(c, "53200", "out of memory");
		return;
	}
	if (hub) {
		s->counted = HERD_COUNT_HUB;
		herd_hub_opens(hub, s);
	}
	if (c) {
		s->counted = HERD_COUNT_REPL;
		s->client = c;
		c->server = s;
	}
	pthread_mutex_lock(&p->lock);
	herd_list_push_back(&p->all, &s->all_node);
	int rc = conf ? choose(w, s, conf, p->turn++, &port) : -ENOENT;
	pthread_mutex_unlock(&p->lock);

	s->target_port = port;
	if (rc == 0)
		rc = herd_target_connect(w, s, &err);
	if (rc < 0) {
		fail(w, s, "08001", err.msg ? err.msg : "connect failed");
		herd_err_clear(&err);
		return;
	}
	herd_server_log(w, s, HERD_LOG_DEBUG, "connecting");
}

void herd_server_open(struct herd_worker *w, struct herd_pool *p, bool warming)
{
	open_one(w, p, warming, NULL, NULL);
}

void herd_server_open_for(struct herd_worker *w, struct herd_pool *p, struct herd_client *c)
{
	open_one(w, p, false, c, NULL);
}

void herd_server_open_hub(struct herd_worker *w, struct herd_pool *p, struct herd_hub *h)
{
	open_one(w, p, false, NULL, h);
}

int herd_server_adopt(struct herd_worker *w, struct herd_server *s)
{
	int home = atomic_load(&s->home);

	assert(atomic_load(&s->owner) == w->id);
	if (home != w->id) {
		herd_worker_unwatch(&w->px->workers[home], &s->conn);
		atomic_store(&s->home, w->id);
		int rc = herd_worker_watch(w, &s->conn, true);

		herd_list_push_back(&w->servers, &s->node);
		return rc;
	}
	herd_list_remove(&s->node);
	herd_list_push_back(&w->servers, &s->node);
	return 0;
}

/* Sends a simple query of ours; its answers are swallowed by the state it runs in. */
static void ask(struct herd_worker *w, struct herd_server *s, const char *sql, int state)
{
	struct herd_buf b = { 0 };

	free(s->error_text);
	s->error_text = NULL;
	s->errored = false;
	s->ready = false;
	s->request_us = w->now_us;
	atomic_store(&s->state, state);
	herd_wr_query(&b, sql);
	if (herd_conn_send_buf(&s->conn, &b) < 0)
		s->conn.broken = true;
	herd_buf_free(&b);
}

void herd_server_verify(struct herd_worker *w, struct herd_server *s)
{
	for (int i = 0; i < 3; i++) {
		free(s->verify_row[i]);
		s->verify_row[i] = NULL;
	}
	ask(w, s, herd_repl_verify_sql(s, verify_sql), HERD_SERVER_VERIFY);
}

void herd_server_test(struct herd_worker *w, struct herd_server *s)
{
	const char *sql = herd_worker_settings(w)->server_check_query;

	ask(w, s, strcmp(sql, "<empty>") == 0 ? "" : sql, HERD_SERVER_TESTED);
}

void herd_server_rollback(struct herd_worker *w, struct herd_server *s)
{
	ask(w, s, "ROLLBACK", HERD_SERVER_TESTED);
}

/* The highest timeline that any member of the group has told. */
static int64_t highest_timeline(const struct herd_topo_group *g)
{
	int64_t max = 0;

	for (size_t i = 0; g && i < g->n; i++) {
		if (g->members[i].timeline > max)
			max = g->members[i].timeline;
	}
	return max;
}

/* Is it who the topology says? NULL: yes. */
static const char *imposter(struct herd_worker *w, struct herd_server *s, bool in_recovery)
{
	struct herd_topo *t = herd_topology_get(w->px->topology);
	const struct herd_topo_group *g = herd_topo_find(t, s->scope, s->group);
	const char *why = NULL;

	if (g && g->system_id && s->verify_row[1] && strcmp(g->system_id, s->verify_row[1]) != 0)
		why = "server belongs to another cluster: its system identifier differs";
	else if (s->want_standby && !in_recovery)
		why = "server is not a standby";
	else if (s->want_primary && !in_recovery && s->verify_row[2] &&
		 strtoll(s->verify_row[2], NULL, 16) < highest_timeline(g))
		why = "server is a primary of an older timeline";
	herd_topo_unref(t);
	return why;
}

static void become_ready(struct herd_worker *w, struct herd_server *s)
{
	herd_target_worked(w, s);
	if (s->warming) {
		s->warming = false;
		s->polls = 0;
	}
	if (s->mate && herd_mate_worked(s->mate))
		herd_server_log(w, s, HERD_LOG_INFO, "member \"%s\" can be used again", s->member);
	if (s->client)
		herd_repl_linked(w, s);
	else if (s->hub)
		herd_hub_linked(w, s);
	else
		herd_pool_put(w, s);
}

static void verified(struct herd_worker *w, struct herd_server *s)
{
	herd_repl_verified(s);

	bool in_recovery = s->verify_row[0] && *s->verify_row[0] == 't';
	int64_t hold_us = herd_worker_settings(w)->hold_timeout;

	if (s->errored) {
		fail(w, s, s->error_state, s->error_text ? s->error_text : "check failed");
		return;
	}
	const char *why = imposter(w, s, in_recovery);

	if (why) {
		fail(w, s, "08006", why);
	} else if (s->want_primary && in_recovery) {
		if (s->counted == HERD_COUNT_WARM) {
			herd_pool_warm(w, s);
			return;
		}
		if (hold_us > 0 && w->now_us - s->opened_us > 2 * hold_us) {
			fail(w, s, "08006", "server stays in recovery");
			return;
		}
		atomic_store(&s->state, HERD_SERVER_POLL);
		s->polls++;
		s->poll_us = w->now_us + (s->polls < POLLS_FAST ? POLL_FIRST_US : POLL_LATER_US);
		herd_list_remove(&s->poll_node);
		herd_list_push_back(&w->polls, &s->poll_node);
	} else {
		become_ready(w, s);
	}
}

void herd_server_polls(struct herd_worker *w)
{
	herd_list_for_each_safe(it, &w->polls)
	{
		struct herd_server *s = herd_container_of(it, struct herd_server, poll_node);
		const struct herd_database *conf = herd_db_conf(w->live, s->pool->db);

		if (s->poll_us > w->now_us)
			continue;
		herd_list_remove(&s->poll_node);
		if (!conf || !herd_topology_fits(w->px->topology, route_of(s, conf), s->scope,
						 s->group, s->member))
			herd_server_drop(w, s, "no longer the right member");
		else
			herd_server_verify(w, s);
	}
}

/* The server is logged in (and set up): who is it? */
static void next_step(struct herd_worker *w, struct herd_server *s)
{
	const struct herd_database *conf = herd_db_conf(w->live, s->pool->db);

	if (!conf)
		herd_server_drop(w, s, "database configuration changed");
	else if (atomic_load(&s->state) == HERD_SERVER_LOGIN && conf->connect_query && !s->client)
		ask(w, s, conf->connect_query, HERD_SERVER_SETUP);
	else if (conf->route.cluster)
		herd_server_verify(w, s);
	else
		become_ready(w, s);
}

static void logged_in(struct herd_worker *w, struct herd_server *s)
{
	s->login_done = true;
	s->connected_us = w->now_us;
	herd_server_log(w, s, HERD_LOG_INFO, "new connection to server (from %s:%d)", s->local.host,
			s->local.port);
	if (!s->client)
		herd_pool_greeting(w, s);
	next_step(w, s);
}

bool herd_server_midway(struct herd_server *s)
{
	const struct herd_client *c = s->client;

	herd_conn_settle(&s->conn);
	return herd_conn_blocked(&s->conn) || (c && c->pass_left > 0 && !c->pass_drop);
}

void herd_server_release(struct herd_worker *w, struct herd_server *s)
{
	const char *reset = herd_session_reset_query(w, s);

	if (herd_server_midway(s)) {
		/* COPY data behind a COPY that failed, say: the rest of it is for nobody. */
		s->ready = false;
		if (s->client)
			s->client->pass_drop = true;
	}
	if (s->client)
		s->client->server = NULL;
	s->client = NULL;
	if (!s->ready || s->tx != 'I' || !herd_flight_idle(&s->flight) || s->pass_left > 0) {
		herd_server_drop(w, s, "unclean server");
		herd_pool_kick(w, s->pool);
	} else if (atomic_load(&s->cancels) > 0) {
		atomic_store(&s->state, HERD_SERVER_CANCELED);
		herd_pool_canceled(s, true);
	} else if (reset && !atomic_load(&s->close_needed)) {
		ask(w, s, reset, HERD_SERVER_RESET);
	} else {
		herd_pool_put(w, s);
	}
}

void herd_server_parameter(struct herd_worker *w, struct herd_server *s, const void *body, size_t n)
{
	struct herd_rd r = herd_rd_init(body, n);
	const char *name = herd_rd_str(&r), *value = herd_rd_str(&r);

	if (!herd_rd_ok(&r))
		return;
	herd_vars_set(&s->vars, &w->px->vars, name, value);
	if (strcmp(name, "in_hot_standby") == 0) {
		s->tells = true;
		s->standby = strcmp(value, "on") == 0;
	} else if (strcmp(name, "default_transaction_read_only") == 0) {
		s->reads_only = strcmp(value, "on") == 0;
	}
	if (!s->login_done)
		herd_wr_parameter(&s->params, name, value);
}

static void take_key(struct herd_server *s, const void *body, size_t n)
{
	struct herd_rd r = herd_rd_init(body, n);

	s->backend_pid = herd_rd_u32(&r);
	s->cancel_key_len = (uint32_t)herd_rd_left(&r);
	if (s->cancel_key_len > sizeof(s->cancel_key))
		s->cancel_key_len = sizeof(s->cancel_key);
	memcpy(s->cancel_key, r.p, s->cancel_key_len);
}

static void take_row(struct herd_server *s, const void *body, size_t n)
{
	struct herd_rd r = herd_rd_init(body, n);
	int cols = herd_rd_u16(&r);

	for (int i = 0; i < cols && i < 3; i++) {
		uint32_t len = herd_rd_u32(&r);

		if (len == UINT32_MAX)
			continue;
		const char *v = herd_rd_bytes(&r, len);

		if (!v)
			return;
		free(s->verify_row[i]);
		s->verify_row[i] = strndup(v, len);
	}
}

static void take_error(struct herd_server *s, const void *body, size_t n)
{
	struct herd_report e;

	if (herd_report_parse(body, n, &e) < 0)
		e = (struct herd_report){ "ERROR", "XX000", "malformed error message", "", "" };
	s->errored = true;
	herd_str_set(&s->error_text, e.msg);
	memset(s->error_state, 0, sizeof(s->error_state));
	strncpy(s->error_state, e.sqlstate, sizeof(s->error_state) - 1);
}

static void setup_done(struct herd_worker *w, struct herd_server *s)
{
	const struct herd_database *conf = herd_db_conf(w->live, s->pool->db);

	if (conf && conf->connect_query)
		herd_session_server_base(s, conf->connect_query);
	next_step(w, s);
}

/* What we asked is answered. False: s is gone or given away. */
static bool own_round_over(struct herd_worker *w, struct herd_server *s)
{
	s->ready = true;
	switch (atomic_load(&s->state)) {
	case HERD_SERVER_LOGIN:
		logged_in(w, s);
		return false;
	case HERD_SERVER_SETUP:
		if (s->errored)
			fail(w, s, s->error_state, s->error_text ? s->error_text : "connect_query");
		else
			setup_done(w, s);
		return false;
	case HERD_SERVER_VERIFY:
		verified(w, s);
		return false;
	case HERD_SERVER_TESTED:
	case HERD_SERVER_RESET:
		if (s->errored) {
			herd_server_drop(w, s, "test query failed");
		} else if (atomic_load(&s->state) == HERD_SERVER_TESTED && s->dirty) {
			ask(w, s, herd_session_reset_query(w, s), HERD_SERVER_RESET);
		} else {
			if (atomic_load(&s->state) == HERD_SERVER_RESET) {
				herd_server_forget_stmts(w, s);
				herd_session_server_clean(s);
			}
			herd_pool_put(w, s);
		}
		return false;
	default:
		return true;
	}
}

/* The connection ended while no client had it. */
static void ended(struct herd_worker *w, struct herd_server *s)
{
	int state = atomic_load(&s->state);
	const char *text = s->error_text   ? s->error_text
			   : s->conn.alert ? s->conn.alert
					   : "server closed the connection";

	herd_pool_suspect(w, s, s->login_done);
	if (!s->login_done || state == HERD_SERVER_SETUP || state == HERD_SERVER_VERIFY ||
	    state == HERD_SERVER_POLL)
		fail(w, s,
		     s->error_text   ? s->error_state
		     : s->conn.alert ? "08006"
				     : "08001",
		     text);
	else
		herd_server_drop(w, s, text);
}

/*
 * An idle server says what nobody asked for: its end, mostly. Whatever else it is, what it says to
 * the next client could not be trusted.
 */
static bool unasked(struct herd_worker *w, struct herd_server *s, char type, const void *body,
		    size_t n)
{
	if (type == 'E')
		take_error(s, body, n);
	else
		herd_str_set(&s->error_text, "unexpected message of an idle server");
	ended(w, s);
	return false;
}

/* One message while no client is linked. False: s is gone or given away. */
static bool own_message(struct herd_worker *w, struct herd_server *s, char type, const void *body,
			size_t n)
{
	struct herd_err err = HERD_ERR_INIT;

	if (atomic_load(&s->state) == HERD_SERVER_HUB)
		return herd_hub_message(w, s, type, body, n);
	if (atomic_load(&s->state) == HERD_SERVER_IDLE && !strchr("SNA", type))
		return unasked(w, s, type, body, n);
	switch (type) {
	case 'R':
		if (herd_server_auth(w, s, body, n, &err) < 0) {
			fail(w, s, "28000", herd_err_text(&err));
			herd_err_clear(&err);
			return false;
		}
		return true;
	case 'S':
		herd_server_parameter(w, s, body, n);
		return true;
	case 'K':
		take_key(s, body, n);
		return true;
	case 'D':
		if (atomic_load(&s->state) == HERD_SERVER_VERIFY)
			take_row(s, body, n);
		return true;
	case 'E':
		take_error(s, body, n);
		if (atomic_load(&s->state) == HERD_SERVER_LOGIN) {
			fail(w, s, s->error_state, s->error_text ? s->error_text : "login failed");
			return false;
		}
		return true;
	case 'Z':
		if (!s->let_in) {
			fail(w, s, "08P01", "server is ready before authentication");
			return false;
		}
		s->tx = n > 0 ? *(const char *)body : 'I';
		return own_round_over(w, s);
	default:
		return true; /* notices and results of what we asked */
	}
}

/* Reads and handles messages of our own conversation. False: s is gone or given away. */
static bool own_conversation(struct herd_worker *w, struct herd_server *s)
{
	while (s->conn.can_read) {
		if (!herd_buf_reserve(&s->conn.in, 4096)) {
			ended(w, s);
			return false;
		}
		ssize_t got = herd_conn_read(&s->conn, s->conn.in.data + s->conn.in.len, 4096);

		if (got == -EAGAIN)
			break;
		if (got <= 0) {
			ended(w, s);
			return false;
		}
		s->conn.in.len += (size_t)got;
		struct herd_msg_head h;
		int rc;

		while ((rc = herd_msg_head_parse(herd_buf_str(&s->conn.in), s->conn.in.len, &h)) ==
		       0) {
			size_t total = HERD_MSG_HEAD_BYTES + (size_t)h.len;

			if (total > MAX_OWN_MESSAGE) {
				rc = -EBADMSG;
				break;
			}
			if (s->conn.in.len < total)
				break;
			/* The message leaves the buffer first: its handler may give s away. */
			struct herd_buf msg = { 0 };

			herd_buf_add(&msg, s->conn.in.data, total);
			herd_buf_consume(&s->conn.in, total);
			bool go_on =
				herd_buf_ok(&msg) &&
				own_message(w, s, h.type, msg.data + HERD_MSG_HEAD_BYTES, h.len);
			herd_buf_free(&msg);
			if (!go_on)
				return false;
		}
		if (rc == -EBADMSG) {
			herd_str_set(&s->error_text, "malformed message from server");
			strcpy(s->error_state, "08P01");
			ended(w, s);
			return false;
		}
	}
	return true;
}

static bool wants_tls(const struct herd_worker *w, const struct herd_server *s)
{
	return w->live->server_tls && s->addr.family != AF_UNIX &&
	       herd_worker_settings(w)->server_tls_sslmode >= HERD_SSL_PREFER;
}

static void start_login(struct herd_worker *w, struct herd_server *s)
{
	if (herd_server_startup(w, s) < 0)
		fail(w, s, "08001", "could not send the startup packet");
}

static void connected(struct herd_worker *w, struct herd_server *s)
{
	struct herd_buf b = { 0 };
	int code = 0;
	socklen_t len = sizeof(code);

	if (!s->conn.can_write)
		return;
	getsockopt(s->conn.fd, SOL_SOCKET, SO_ERROR, &code, &len);
	if (code != 0) {
		char *text = herd_str_printf("connect failed: %s", strerror(code));

		fail(w, s, "08001", text ? text : "connect failed");
		free(text);
		return;
	}
	struct sockaddr_storage local;

	len = sizeof(local);
	if (getsockname(s->conn.fd, (struct sockaddr *)&local, &len) == 0)
		herd_addr_of((struct sockaddr *)&local, &s->local);
	if (s->addr.family == AF_UNIX)
		s->local.port = s->addr.port;
	if (!wants_tls(w, s)) {
		start_login(w, s);
		return;
	}
	/* By what is configured now: a RELOAD may come before the answer, and without TLS. */
	s->conn.asked = herd_tls_connect(w->live->server_tls, s->conn.fd, s->target_host,
					 herd_worker_settings(w)->server_tls_sslmode);
	if (!s->conn.asked) {
		fail(w, s, "08006", "out of memory");
		return;
	}
	atomic_store(&s->state, HERD_SERVER_SSL);
	herd_wr_ssl_request(&b);
	herd_conn_send_buf(&s->conn, &b);
	herd_buf_free(&b);
}

static void handshake(struct herd_worker *w, struct herd_server *s)
{
	struct herd_err err = HERD_ERR_INIT;
	int rc = herd_conn_handshake(&s->conn, &err);

	if (rc == 1) {
		char *tls = herd_tls_text(s->conn.tls);

		herd_server_log(w, s, HERD_LOG_INFO, "SSL established: %s", tls ? tls : "");
		free(tls);
		start_login(w, s);
	} else if (rc < 0) {
		/* A server that goes away has refused nothing. */
		fail(w, s, rc == -ECONNRESET ? "08001" : "08006", herd_err_text(&err));
	}
	herd_err_clear(&err);
}

/* One byte: S or N. */
static void ssl_answer(struct herd_worker *w, struct herd_server *s)
{
	int mode = herd_worker_settings(w)->server_tls_sslmode;
	char answer;
	ssize_t got = herd_conn_read(&s->conn, &answer, 1);

	if (got == -EAGAIN)
		return;
	if (got != 1) {
		fail(w, s, "08001", "server closed the connection");
	} else if (answer == 'S') {
		herd_conn_agreed(&s->conn);
		atomic_store(&s->state, HERD_SERVER_TLS);
		handshake(w, s);
	} else if (mode >= HERD_SSL_REQUIRE) {
		fail(w, s, "08006", "server refused SSL");
	} else {
		start_login(w, s);
	}
}

void herd_server_event(struct herd_worker *w, struct herd_server *s)
{
	if (atomic_load(&s->state) == HERD_SERVER_CLOSED)
		return;
	switch (atomic_load(&s->state)) {
	case HERD_SERVER_CONNECTING:
		connected(w, s);
		break;
	case HERD_SERVER_SSL:
		ssl_answer(w, s);
		break;
	case HERD_SERVER_TLS:
		handshake(w, s);
		break;
	case HERD_SERVER_ACTIVE:
		if (s->client)
			herd_relay_from_server(w, s);
		break;
	case HERD_SERVER_IDLE:
		if (own_conversation(w, s))
			herd_pool_put(w, s);
		break;
	case HERD_SERVER_WARM:
		if (own_conversation(w, s))
			herd_pool_warm(w, s);
		break;
	default:
		herd_conn_flush(&s->conn);
		own_conversation(w, s);
		break;
	}
}

static const char *overdue(struct herd_worker *w, struct herd_server *s)
{
	const struct herd_settings *set = herd_worker_settings(w);
	int64_t limit = set->server_connect_timeout;

	switch (atomic_load(&s->state)) {
	case HERD_SERVER_CONNECTING:
		return limit > 0 && w->now_us - s->opened_us > limit
			       ? "connect failed: Connection timed out"
			       : NULL;
	case HERD_SERVER_SSL:
	case HERD_SERVER_TLS:
	case HERD_SERVER_LOGIN:
		return limit > 0 && w->now_us - s->opened_us > limit ? "connect timeout" : NULL;
	case HERD_SERVER_SETUP:
	case HERD_SERVER_VERIFY:
	case HERD_SERVER_TESTED:
	case HERD_SERVER_RESET:
		return limit > 0 && w->now_us - s->request_us > limit ? "test query timed out"
								      : NULL;
	default:
		return NULL;
	}
}

/* server_fast_close: a session ends for its server's sake as soon as it is between transactions. */
static bool closes_fast(const struct herd_worker *w, const struct herd_server *s)
{
	return herd_worker_settings(w)->server_fast_close && atomic_load(&s->close_needed) &&
	       atomic_load(&s->state) == HERD_SERVER_ACTIVE && s->client && !s->client->internal &&
	       s->ready && s->tx == 'I' && herd_pool_mode(w->live, s->pool) == HERD_MODE_SESSION;
}

void herd_server_janitor(struct herd_worker *w)
{
	herd_list_for_each_safe(it, &w->servers)
	{
		struct herd_server *s = herd_container_of(it, struct herd_server, node);
		const char *why = overdue(w, s);

		if (why)
			fail(w, s, "08001", why);
		else if (closes_fast(w, s))
			herd_client_fail(s->client, "57P01", "database configuration changed");
	}
}
