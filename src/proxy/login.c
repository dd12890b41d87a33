/* Logging in of clients: startup packet, limits, greeting. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "proxy/admin.h"
#include "proxy/cancel.h"
#include "proxy/login.h"
#include "proxy/repl.h"
#include "proxy/split.h"
#include "proxy/tls.h"
#include "wire/msg.h"

enum {
	TLS_HANDSHAKE = 0x16, /* the first byte of a TLS connection */
	OLD_PROTOCOL = 2
};

static bool over(int limit, int n)
{
	return limit > 0 && n >= limit;
}

static const char no_room[] = "no more connections allowed (max_client_conn)";
static const char no_db_room[] = "client connections exceeded (max_db_client_connections)";
static const char no_user_room[] = "client connections exceeded (max_user_client_connections)";

/* max: the database's own limit or -1. 0: there is none. */
static int db_limit(const struct herd_client *c, int max)
{
	return max >= 0 ? max : herd_worker_settings(c->w)->max_db_client_connections;
}

static int user_limit(const struct herd_client *c)
{
	const struct herd_user *u = herd_pconf_user(c->w->live->config, c->user);

	return u && u->max_user_client_connections >= 0
		       ? u->max_user_client_connections
		       : herd_worker_settings(c->w)->max_user_client_connections;
}

/* Logins take place at the same time, in several threads: looking and counting are one. */
static bool take_place(_Atomic int *n, int max)
{
	int was = atomic_load(n);

	do {
		if (was >= max)
			return false;
	} while (!atomic_compare_exchange_weak(n, &was, was + 1));
	return true;
}

/* db_max: the database's own limit or -1. False: it failed, there is no room. */
static bool count_in(struct herd_client *c, bool limited, int db_max)
{
	int db = limited ? db_limit(c, db_max) : 0, user = limited ? user_limit(c) : 0;
	int all = limited ? herd_worker_settings(c->w)->max_client_conn : INT_MAX;
	const char *why = NULL;

	if (!c->console_login && !take_place(&c->w->px->nclients, all)) {
		herd_client_fail(c, "53300", "%s", no_room);
		return false;
	}
	if (!take_place(&c->db->nclients, db > 0 ? db : INT_MAX)) {
		why = no_db_room;
	} else if (!take_place(&c->user_count->nclients, user > 0 ? user : INT_MAX)) {
		atomic_fetch_sub(&c->db->nclients, 1);
		why = no_user_room;
	}
	c->counted = !why;
	if (why && !c->console_login)
		atomic_fetch_sub(&c->w->px->nclients, 1);
	if (why)
		herd_client_fail(c, "53300", "%s", why);
	return !why;
}

/* Database and limits; false when it failed. */
static bool enter_database(struct herd_client *c)
{
	const struct herd_pconf *conf = c->w->live->config;
	const struct herd_database *db = NULL;

	if (c->listener) {
		for (size_t i = 0; i < conf->nlisteners; i++) {
			if (herd_str_eq(conf->listeners[i].name, c->listener))
				db = conf->listeners[i].db;
		}
	}
	if (!db && !c->listener)
		db = herd_pconf_database(conf, c->dbname);
	/* Told only to those who are who they say they are: others learn no names. */
	if (!db) {
		c->login->no_db = true;
		return true;
	}
	if (herd_worker_settings(c->w)->auth_type == HERD_AUTH_ANY && !db->user) {
		/* The client may give any name, so it must not be the one that the server sees. */
		herd_client_log(c, HERD_LOG_ERROR, "auth_type=any requires forced user");
		herd_client_fail(c, "08P01", "bouncer config error");
		return false;
	}
	c->db = herd_db_enter(c->w->px, c->dbname, c->listener, db);
	if (!c->db) {
		herd_client_fail(c, "53200", "out of memory");
		return false;
	}
	if (atomic_load(&c->db->disabled)) {
		herd_client_fail(c, "08P01", "database \"%s\" is disabled", c->dbname);
		return false;
	}
	/* Whether there still is room when it is let in, count_in sees. */
	if (over(db_limit(c, db->max_db_client_connections), atomic_load(&c->db->nclients))) {
		herd_client_fail(c, "53300", "%s", no_db_room);
		return false;
	}
	return true;
}

static bool is_console(const char *dbname)
{
	return strcmp(dbname, "pgbouncer") == 0 || strcmp(dbname, "pgherd") == 0;
}

static void start_login(struct herd_client *c, const struct herd_startup *s)
{
	const struct herd_settings *set = herd_worker_settings(c->w);
	const char *user = herd_startup_get(s, "user"), *db = herd_startup_get(s, "database");
	struct herd_buf b = { 0 };

	if (!user || !*user) {
		herd_client_fail(c, "08P01", "no username supplied");
		return;
	}
	c->user = strdup(user);
	c->dbname = strdup(db && *db ? db : user);
	c->login = calloc(1, sizeof(*c->login));
	if (!c->user || !c->dbname || !c->login) {
		herd_client_fail(c, "53200", "out of memory");
		return;
	}
	if (set->client_tls_sslmode >= HERD_SSL_REQUIRE && !c->conn.tls &&
	    c->addr.family != AF_UNIX) {
		herd_client_fail(c, "08P01", "SSL required");
		return;
	}
	if (!herd_login_parameters(c, s))
		return;
	herd_wr_negotiate(&b, s);
	c->long_key = s->minor >= HERD_PROTOCOL_MINOR;
	herd_conn_send_buf(&c->conn, &b);
	herd_buf_free(&b);
	c->login->admin = is_console(c->dbname);
	if (c->login->admin) {
		if (set->auth_type != HERD_AUTH_ANY &&
		    !herd_pconf_in_list(set->admin_users, c->user) &&
		    !herd_pconf_in_list(set->stats_users, c->user) &&
		    !(strcmp(c->user, "pgbouncer") == 0 && c->addr.family == AF_UNIX &&
		      c->peer_uid == getuid())) {
			herd_auth_log(c);
			herd_client_fail(c, "08P01", "not allowed");
			return;
		}
	} else {
		if (atomic_load(&c->w->px->stop) != HERD_STOP_NO) {
			herd_client_fail(c, "57P01", "server shutting down");
			return;
		}
		if (atomic_load(&c->w->px->nclients) >= set->max_client_conn) {
			herd_client_fail(c, "53300", "%s", no_room);
			return;
		}
		if (!enter_database(c))
			return;
	}
	herd_auth_begin(c);
}

static bool takes_tls(const struct herd_client *c)
{
	return c->w->live->client_tls && c->addr.family != AF_UNIX && !c->conn.tls;
}

static void begin_tls(struct herd_client *c)
{
	c->conn.tls = herd_tls_accept(c->w->live->client_tls, c->conn.fd);
	if (!c->conn.tls) {
		herd_client_close(c, "out of memory");
		return;
	}
	c->state = HERD_CLIENT_TLS;
	c->conn.can_read = c->conn.can_write = true;
	herd_client_wake(c);
}

static void take_ssl_request(struct herd_client *c, bool ssl)
{
	bool accept = ssl && takes_tls(c);

	herd_conn_send(&c->conn, accept ? "S" : "N", 1);
	if (!accept)
		return;
	/* Sent in clear, it must not be taken for something that came through TLS. */
	if (c->conn.in.len > 0)
		herd_client_fail(c, "08P01", "received unencrypted data after SSL request");
	else
		begin_tls(c);
}

bool herd_login_direct_tls(struct herd_client *c)
{
	if (c->conn.in.len == 0 || c->conn.in.data[0] != TLS_HANDSHAKE || !takes_tls(c))
		return false;
	c->direct_tls = c->conn.raw_in = true;
	begin_tls(c);
	return true;
}

void herd_login_startup(struct herd_client *c)
{
	struct herd_startup s;

	while (c->state == HERD_CLIENT_STARTUP) {
		int rc = herd_startup_parse(herd_buf_str(&c->conn.in), c->conn.in.len, &s);

		if (rc == -EAGAIN)
			return;
		if (rc < 0) {
			if (rc != -EPROTONOSUPPORT)
				herd_client_bad_header(c, c->conn.in.data, c->conn.in.len);
			else
				herd_client_fail(c, "08P01",
						 c->conn.in.data[5] == OLD_PROTOCOL
							 ? "old V2 protocol not supported"
							 : "unsupported frontend protocol");
			return;
		}
		switch (s.kind) {
		case HERD_STARTUP_SSL:
		case HERD_STARTUP_GSS:
			herd_buf_consume(&c->conn.in, s.total);
			take_ssl_request(c, s.kind == HERD_STARTUP_SSL);
			break;
		case HERD_STARTUP_CANCEL:
			herd_cancel_take(c, &s);
			return;
		case HERD_STARTUP_LOGIN:
			/* s points into the buffer, which start_login does not touch. */
			start_login(c, &s);
			if (c->state != HERD_CLIENT_CLOSED)
				herd_buf_consume(&c->conn.in, s.total);
			return;
		}
	}
}

/* Gives the pool what opens its servers, where the client brought it. */
static void share_secrets(struct herd_client *c)
{
	struct herd_login *l = c->login;
	const struct herd_user *u = herd_pconf_user(c->w->live->config, c->user);

	if (strcmp(c->pool->user, c->user) != 0)
		return;
	if (l->have_keys)
		herd_pool_remember_keys(c->pool, &l->keys);
	if (l->password)
		herd_pool_remember_password(c->pool, l->password);
	else if (l->secret && (!u || !u->password))
		herd_pool_remember_password(c->pool, l->secret);
}

/* Administrators always get in, but are counted like everybody. */
static void enter_console(struct herd_client *c)
{
	const struct herd_settings *set = herd_worker_settings(c->w);
	bool full = herd_pconf_in_list(set->admin_users, c->user) ||
		    (set->auth_type == HERD_AUTH_ANY &&
		     !herd_pconf_in_list(set->stats_users, c->user)) ||
		    (strcmp(c->user, "pgbouncer") == 0 && c->addr.family == AF_UNIX &&
		     c->peer_uid == getuid());

	c->db = herd_db_get(c->w->px, "pgbouncer", NULL);
	c->console_login = true;
	if (!c->db)
		herd_client_fail(c, "53200", "out of memory");
	else if (count_in(c, !full, -1)) {
		herd_stat_add(&c->db->stats[c->w->id].client_login_count, 1);
		herd_admin_start(c, full);
	}
}

bool herd_login_resume(struct herd_client *c, bool console)
{
	struct herd_worker *w = c->w;
	const struct herd_database *conf = NULL;

	c->user_count = herd_user_count_get(w->px, c->user);
	c->console_login = console;
	c->db = herd_db_get(w->px, console ? "pgbouncer" : c->dbname, c->listener);
	if (!c->user_count || !c->db)
		return false;
	if (!console) {
		conf = herd_db_conf(w->live, c->db);
		c->pool = conf ? herd_pool_get(w->px, c->db, conf->user ? conf->user : c->user)
			       : NULL;
		if (!c->pool)
			return false;
		pthread_mutex_lock(&c->pool->lock);
		c->pool->nclients++;
		pthread_mutex_unlock(&c->pool->lock);
	}
	return count_in(c, false, -1);
}

/* The client is who it says it is. */
void herd_login_authentic(struct herd_client *c)
{
	struct herd_worker *w = c->w;

	c->user_count = herd_user_count_get(w->px, c->user);
	if (!c->user_count) {
		herd_client_fail(c, "53200", "out of memory");
		return;
	}
	if (c->login->admin) {
		herd_login_say(c);
		enter_console(c);
		return;
	}
	if (c->login->no_db) {
		if (herd_worker_settings(w)->log_connections)
			herd_client_log(c, HERD_LOG_INFO, "login failed: db=%s user=%s", c->dbname,
					c->user);
		herd_client_fail(c, "3D000", "no such database: %s", c->dbname);
		return;
	}
	const struct herd_database *conf = herd_db_conf(w->live, c->db);
	if (!conf) {
		herd_client_fail(c, "3D000", "no such database: %s", c->dbname);
		return;
	}
	c->pool = herd_pool_get(w->px, c->db, conf->user ? conf->user : c->user);
	if (!c->pool) {
		herd_client_fail(c, "53200", "out of memory");
		return;
	}
	if (!count_in(c, true, conf->max_db_client_connections))
		return;
	share_secrets(c);
	pthread_mutex_lock(&c->pool->lock);
	c->pool->nclients++;
	pthread_mutex_unlock(&c->pool->lock);
	herd_stat_add(&c->db->stats[w->id].client_login_count, 1);
	if (c->repl)
		herd_repl_begin(c);
	else if (herd_pool_welcome(w, c))
		herd_login_finish(c);
	herd_login_say(c);
}

void herd_login_say(struct herd_client *c)
{
	if (c->login && c->login->said.len > 0)
		herd_conn_send_buf(&c->conn, &c->login->said);
}

/* As PgBouncer says it since 1.26, so that drivers know what stands between. */
static void say_pooler(struct herd_client *c, struct herd_buf *b)
{
	int mode = c->repl ? HERD_MODE_SESSION : herd_pool_mode(c->w->live, c->pool);
	char max[16];

	snprintf(max, sizeof(max), "%d", herd_worker_settings(c->w)->max_prepared_statements);
	herd_wr_parameter(b, "pgbouncer.version", HERD_PGBOUNCER_VERSION);
	herd_wr_parameter(b, "pgbouncer.max_prepared_statements", max);
	herd_wr_parameter(b, "pgbouncer.pool_mode", herd_mode_name(mode));
}

/* The parameters of the pool's last server, with the client's own values where it gave some. */
static void greet(struct herd_client *c, struct herd_buf *b)
{
	struct herd_pool *p = c->pool;
	const struct herd_database *conf = herd_db_conf(c->w->live, c->db);
	bool leads =
		conf && conf->route.cluster &&
		(conf->route.role == HERD_ROUTE_PRIMARY || conf->route.role == HERD_ROUTE_WORKERS);
	const struct herd_buf *from = c->repl ? &c->server->params : &p->welcome;
	const char *data = herd_buf_str(from);
	size_t left = from->len;
	struct herd_msg_head h;

	while (herd_msg_head_parse(data, left, &h) == 0) {
		struct herd_rd r = herd_rd_init(data + HERD_MSG_HEAD_BYTES, h.len);
		const char *name = herd_rd_str(&r), *value = herd_rd_str(&r);
		const char *own = herd_vars_get(&c->vars, &c->w->px->vars, name);

		/* The greeting may stem from a candidate before its promotion. */
		if (leads && strcmp(name, "in_hot_standby") == 0)
			own = "off";
		herd_wr_parameter(b, name, own ? own : value);
		data += HERD_MSG_HEAD_BYTES + h.len;
		left -= HERD_MSG_HEAD_BYTES + h.len;
	}
	if (!c->repl)
		herd_vars_fill(&c->vars, &p->defaults, &c->w->px->vars);
}

void herd_login_finish(struct herd_client *c)
{
	struct herd_buf b = { 0 };

	if (!c->repl && !herd_split_login(c, c->login->session_attrs))
		return;
	if (herd_key_assign(c) < 0) {
		herd_client_fail(c, "58000", "could not make a cancel key");
		return;
	}
	if (c->login->said.len > 0)
		herd_buf_add(&b, c->login->said.data, c->login->said.len);
	herd_wr_auth(&b, AUTH_OK, NULL, 0);
	say_pooler(c, &b);
	pthread_mutex_lock(&c->pool->lock);
	greet(c, &b);
	pthread_mutex_unlock(&c->pool->lock);
	size_t mark = herd_wr_begin(&b, 'K');

	herd_key_write(c, &b);
	herd_wr_end(&b, mark);
	const char *notice = herd_worker_settings(c->w)->login_notify_message;

	if (*notice)
		herd_wr_report(&b, 'N', "NOTICE", "00000", notice, NULL, NULL);
	herd_wr_ready(&b, 'I');
	if (herd_conn_send_buf(&c->conn, &b) < 0) {
		herd_buf_free(&b);
		herd_client_close(c, "out of memory");
		return;
	}
	herd_buf_free(&b);
	herd_login_free(c->login);
	c->login = NULL;
	c->state = c->repl ? HERD_CLIENT_ACTIVE : HERD_CLIENT_IDLE;
	c->query_us = c->w->now_us;
	herd_client_wake(c);
}
