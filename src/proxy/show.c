/* SHOW: columns and rows. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/str.h"
#include "loop/loop.h"
#include "proxy/console.h"
#include "proxy/topology.h"

#define STAT_TOTALS                                                                                \
	"total_server_assignment_count:8", "total_xact_count:8", "total_query_count:8",            \
		"total_received:8", "total_sent:8", "total_xact_time:8", "total_query_time:8",     \
		"total_wait_time:8", "total_client_parse_count:8", "total_server_parse_count:8",   \
		"total_bind_count:8", "total_client_login_count:8"
#define STAT_AVERAGES                                                                              \
	"avg_server_assignment_count:8", "avg_xact_count:8", "avg_query_count:8", "avg_recv:8",    \
		"avg_sent:8", "avg_xact_time:8", "avg_query_time:8", "avg_wait_time:8",            \
		"avg_client_parse_count:8", "avg_server_parse_count:8", "avg_bind_count:8",        \
		"avg_client_login_count:8"
#define SOCKET_COLUMNS                                                                             \
	"type", "user", "database", "replication", "state", "addr", "port:4", "local_addr",        \
		"local_port:4", "connect_time", "request_time", "wait:4", "wait_us:4",             \
		"close_needed:4", "ptr", "link", "remote_pid:4", "tls", "application_name",        \
		"prepared_statements:4", "id:8"

static const char *const pools_columns[] = { "database",
					     "user",
					     "cl_active:4",
					     "cl_waiting:4",
					     "cl_active_cancel_req:4",
					     "cl_waiting_cancel_req:4",
					     "sv_active:4",
					     "sv_active_cancel:4",
					     "sv_being_canceled:4",
					     "sv_idle:4",
					     "sv_used:4",
					     "sv_tested:4",
					     "sv_login:4",
					     "maxwait:4",
					     "maxwait_us:4",
					     "pool_mode",
					     "load_balance_hosts",
					     NULL };
static const char *const sockets_columns[] = { SOCKET_COLUMNS, NULL };
static const char *const long_sockets_columns[] = { SOCKET_COLUMNS, "recv_pos:4",   "pkt_pos:4",
						    "pkt_remain:4", "send_pos:4",   "send_remain:4",
						    "pkt_avail:4",  "send_avail:4", NULL };
static const char *const stats_columns[] = { "database", STAT_TOTALS, STAT_AVERAGES, NULL };
static const char *const stats_totals_columns[] = { "database",
						    "server_assignment_count:8",
						    "xact_count:8",
						    "query_count:8",
						    "bytes_received:8",
						    "bytes_sent:8",
						    "xact_time:8",
						    "query_time:8",
						    "wait_time:8",
						    "client_parse_count:8",
						    "server_parse_count:8",
						    "bind_count:8",
						    "client_login_count:8",
						    NULL };
static const char *const stats_averages_columns[] = { "database",
						      "server_assignment_count:8",
						      "xact_count:8",
						      "query_count:8",
						      "bytes_received:8",
						      "bytes_sent:8",
						      "xact_time:8",
						      "query_time:8",
						      "wait_time:8",
						      "avg_client_parse_count:8",
						      "avg_server_parse_count:8",
						      "avg_bind_count:8",
						      "avg_client_login_count:8",
						      NULL };
static const char *const totals_columns[] = { "name", "value:8", NULL };
static const char *const databases_columns[] = { "name",
						 "host",
						 "port:4",
						 "database",
						 "force_user",
						 "pool_size:4",
						 "min_pool_size:4",
						 "reserve_pool_size:4",
						 "server_lifetime:4",
						 "pool_mode",
						 "load_balance_hosts",
						 "max_connections:4",
						 "current_connections:4",
						 "max_client_connections:4",
						 "current_client_connections:4",
						 "paused:4",
						 "disabled:4",
						 NULL };
static const char *const users_columns[] = { "name",
					     "pool_size:4",
					     "reserve_pool_size:4",
					     "pool_mode",
					     "max_user_connections:4",
					     "current_connections:4",
					     "max_user_client_connections:4",
					     "current_client_connections:4",
					     NULL };
static const char *const lists_columns[] = { "list", "items:4", NULL };
static const char *const config_columns[] = { "key", "value", "default", "changeable", NULL };
static const char *const version_columns[] = { "version", NULL };
static const char *const state_columns[] = { "key", "value", NULL };
static const char *const mem_columns[] = {
	"name", "size:4", "used:4", "free:4", "memtotal:8", NULL
};
static const char *const dns_columns[] = { "hostname", "ttl:8", "addrs", NULL };
static const char *const zones_columns[] = { "zonename", "serial:8", "count:4", NULL };
static const char *const peers_columns[] = { "peer_id:4", "host", "port:4", "pool_size:4", NULL };
static const char *const peer_pools_columns[] = { "peer_id:4",
						  "cl_active_cancel_req:4",
						  "cl_waiting_cancel_req:4",
						  "sv_active_cancel:4",
						  "sv_login:4",
						  NULL };
static const char *const fds_columns[] = { "fd:4",   "task",     "user",   "database", "addr",
					   "port:4", "cancel:8", "link:4", NULL };
static const char *const herd_columns[] = { "cluster",
					    "group:4",
					    "member",
					    "role",
					    "state",
					    "host",
					    "port:4",
					    "timeline:8",
					    "leader",
					    "handover",
					    "system_identifier",
					    NULL };
static const char *const holds_columns[] = { "database",     "user",      "held",   "why",
					     "seconds:8",    "clients:4", "warm:4", "failures:4",
					     "last_failure", NULL };

struct pool_arg {
	struct herd_worker *w;
	struct herd_result *r;
};

static void pool_row(struct herd_pool *p, void *arg)
{
	struct pool_arg *a = arg;
	struct herd_pool_counts n = herd_pool_count(p, a->w->now_us);
	const struct herd_database *conf = herd_db_conf(a->w->live, p->db);
	struct herd_row row = herd_row_begin(a->r);

	herd_row_text(&row, p->db->name);
	herd_row_text(&row, p->user);
	herd_row_int(&row, n.cl_active);
	herd_row_int(&row, n.cl_waiting);
	herd_row_int(&row, 0);
	herd_row_int(&row, 0);
	herd_row_int(&row, n.sv_active);
	herd_row_int(&row, 0);
	herd_row_int(&row, n.sv_canceled);
	herd_row_int(&row, n.sv_idle);
	herd_row_int(&row, 0);
	herd_row_int(&row, 0);
	herd_row_int(&row, n.sv_login);
	herd_row_int(&row, n.maxwait_us / 1000000);
	herd_row_int(&row, n.maxwait_us % 1000000);
	herd_row_text(&row, herd_mode_name(herd_pool_mode(a->w->live, p)));
	herd_row_text(&row, conf && conf->host && strchr(conf->host, ',')
				    ? conf->round_robin ? "round-robin" : "disable"
				    : NULL);
	herd_row_end(&row);
}

static void show_pools(struct herd_worker *w, struct herd_result *r)
{
	struct pool_arg a = { w, r };

	herd_pools_each(w->px, pool_row, &a);
}

static void hold_row(struct herd_pool *p, void *arg)
{
	struct pool_arg *a = arg;
	struct herd_row row = herd_row_begin(a->r);

	pthread_mutex_lock(&p->lock);
	bool held = atomic_load(&p->held);

	herd_row_text(&row, p->db->name);
	herd_row_text(&row, p->user);
	herd_row_text(&row, held ? "yes" : "no");
	herd_row_text(&row, p->held_why);
	herd_row_int(&row, held ? (a->w->now_us - p->held_since_us) / 1000000 : 0);
	herd_row_int(&row, p->nwaiting + p->nwelcoming);
	herd_row_int(&row, p->nwarm);
	herd_row_int(&row, p->fails);
	herd_row_text(&row, p->fails ? p->fail_text : NULL);
	pthread_mutex_unlock(&p->lock);
	herd_row_end(&row);
}

static void show_holds(struct herd_worker *w, struct herd_result *r)
{
	struct pool_arg a = { w, r };

	herd_pools_each(w->px, hold_row, &a);
}

static void show_herd(struct herd_worker *w, struct herd_result *r)
{
	struct herd_topo *t = herd_topology_get(w->px->topology);

	for (size_t i = 0; t && i < t->n; i++) {
		const struct herd_topo_group *g = &t->groups[i];

		for (size_t k = 0; k < g->n; k++) {
			const struct herd_topo_member *m = &g->members[k];
			struct herd_row row = herd_row_begin(r);

			herd_row_text(&row, g->scope);
			if (g->group < 0)
				herd_row_text(&row, NULL);
			else
				herd_row_int(&row, g->group);
			herd_row_text(&row, m->name);
			herd_row_text(&row, m->role);
			herd_row_text(&row, m->state);
			herd_row_text(&row, m->host);
			herd_row_int(&row, m->port);
			herd_row_int(&row, m->timeline);
			herd_row_text(&row, herd_str_eq(m->name, g->leader) ? "yes" : "no");
			herd_row_text(&row, g->phase == HERD_HANDOVER_HOLD ? g->handover_to : NULL);
			herd_row_text(&row, g->system_id);
			herd_row_end(&row);
		}
	}
	herd_topo_unref(t);
}

static void row_time(struct herd_row *row, struct herd_worker *w, int64_t us)
{
	time_t t = (time_t)((herd_wall_ms() - (w->now_us - us) / 1000) / 1000);
	struct tm tm;
	char text[64]; /* a date of fixed shape */

	localtime_r(&t, &tm);
	strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S %Z", &tm);
	herd_row_text(row, text);
}

static void row_ptr(struct herd_row *row, uint64_t id)
{
	char text[24]; /* 0x and 16 digits */

	snprintf(text, sizeof(text), "0x%llx", (unsigned long long)id);
	herd_row_text(row, id ? text : "");
}

static void more_columns(struct herd_row *row, const struct herd_conn *c)
{
	if (row->r->show->columns != long_sockets_columns)
		return;
	herd_row_int(row, (int64_t)c->in.len);
	herd_row_int(row, 0);
	herd_row_int(row, 0);
	herd_row_int(row, (int64_t)c->out_pos);
	herd_row_int(row, (int64_t)(c->out.len - c->out_pos));
	herd_row_int(row, 0);
	herd_row_int(row, 0);
}

static void client_row(struct herd_worker *w, struct herd_result *r, struct herd_client *c)
{
	struct herd_row row = herd_row_begin(r);
	bool waits = c->state == HERD_CLIENT_WAITING || c->state == HERD_CLIENT_WELCOME;
	int64_t wait = waits ? w->now_us - c->wait_us : 0;
	const char *app = herd_vars_get(&c->vars, &w->px->vars, "application_name");

	herd_row_text(&row, "C");
	herd_row_text(&row, c->user ? c->user : "(nouser)");
	herd_row_text(&row, c->dbname ? c->dbname : "(nodb)");
	herd_row_text(&row, "none");
	herd_row_text(&row, herd_client_state_name(c));
	herd_row_text(&row, c->addr.host);
	herd_row_int(&row, c->addr.port);
	herd_row_text(&row, c->local.host);
	herd_row_int(&row, c->local.port);
	row_time(&row, w, c->connect_us);
	row_time(&row, w, c->query_us ? c->query_us : c->connect_us);
	herd_row_int(&row, wait / 1000000);
	herd_row_int(&row, wait % 1000000);
	herd_row_int(&row, 0);
	row_ptr(&row, c->id);
	row_ptr(&row, c->server ? c->server->id : 0);
	herd_row_int(&row, 0);
	herd_row_text(&row, c->conn.tls ? SSL_get_version(c->conn.tls) : "");
	herd_row_text(&row, app ? app : "");
	herd_row_int(&row, c->stmts ? (int64_t)herd_map_size(c->stmts) : 0);
	herd_row_int(&row, (int64_t)c->id);
	more_columns(&row, &c->conn);
	herd_row_end(&row);
}

static void server_row(struct herd_worker *w, struct herd_result *r, struct herd_server *s)
{
	struct herd_row row = herd_row_begin(r);
	const char *app = herd_vars_get(&s->vars, &w->px->vars, "application_name");

	herd_row_text(&row, "S");
	herd_row_text(&row, s->pool->user);
	herd_row_text(&row, s->pool->db->name);
	herd_row_text(&row, "none");
	herd_row_text(&row, herd_server_state_name(atomic_load(&s->state)));
	herd_row_text(&row, s->addr.host);
	herd_row_int(&row, s->addr.port);
	herd_row_text(&row, s->local.host);
	herd_row_int(&row, s->local.port);
	row_time(&row, w, s->connected_us);
	row_time(&row, w, s->request_us);
	herd_row_int(&row, 0);
	herd_row_int(&row, 0);
	herd_row_int(&row, atomic_load(&s->close_needed));
	row_ptr(&row, s->id);
	row_ptr(&row, s->client ? s->client->id : 0);
	herd_row_int(&row, s->backend_pid);
	herd_row_text(&row, s->conn.tls ? SSL_get_version(s->conn.tls) : "");
	herd_row_text(&row, app ? app : "");
	herd_row_int(&row, s->held.count);
	herd_row_int(&row, (int64_t)s->id);
	more_columns(&row, &s->conn);
	herd_row_end(&row);
}

static void each_clients(struct herd_worker *w, struct herd_result *r)
{
	bool active = strcmp(r->show->what, "active_sockets") == 0;

	herd_list_for_each(it, &w->clients)
	{
		struct herd_client *c = herd_container_of(it, struct herd_client, node);

		if (!c->internal && (!active || c->state == HERD_CLIENT_ACTIVE))
			client_row(w, r, c);
	}
}

/* The idle ones of this worker's loop; nobody takes them while the pool is locked. */
static void idle_rows(struct herd_pool *p, void *arg)
{
	struct pool_arg *a = arg;

	pthread_mutex_lock(&p->lock);
	herd_list_for_each(it, &p->idle[a->w->id])
		server_row(a->w, a->r, herd_container_of(it, struct herd_server, pool_node));
	herd_list_for_each(it, &p->warm)
	{
		struct herd_server *s = herd_container_of(it, struct herd_server, pool_node);

		if (atomic_load(&s->home) == a->w->id)
			server_row(a->w, a->r, s);
	}
	pthread_mutex_unlock(&p->lock);
}

static void each_servers(struct herd_worker *w, struct herd_result *r)
{
	struct pool_arg a = { w, r };
	bool active = strcmp(r->show->what, "active_sockets") == 0;

	herd_list_for_each(it, &w->servers)
		server_row(w, r, herd_container_of(it, struct herd_server, node));
	if (!active)
		herd_pools_each(w->px, idle_rows, &a);
}

static void each_sockets(struct herd_worker *w, struct herd_result *r)
{
	each_clients(w, r);
	each_servers(w, r);
}

static void sum_stats(const struct herd_px *px, const struct herd_db *db, uint64_t ret[HERD_NSTATS])
{
	memset(ret, 0, sizeof(uint64_t) * HERD_NSTATS);
	for (int i = 0; i < px->nworkers; i++) {
		const _Atomic uint64_t *v = &db->stats[i].server_assignment_count;

		for (int k = 0; k < HERD_NSTATS; k++)
			ret[k] += atomic_load_explicit(&v[k], memory_order_relaxed);
	}
}

void herd_stats_period(struct herd_px *px, int64_t elapsed_us)
{
	size_t pos = 0;
	const char *key;
	void *value;

	if (elapsed_us <= 0)
		return;
	pthread_mutex_lock(&px->pools_lock);
	while (herd_map_next(px->dbs, &pos, &key, &value)) {
		struct herd_db *db = value;
		uint64_t now[HERD_NSTATS], d[HERD_NSTATS];

		sum_stats(px, db, now);
		for (int k = 0; k < HERD_NSTATS; k++) {
			d[k] = now[k] - db->last[k];
			db->last[k] = now[k];
			/* 5, 6, 7 are times: per transaction, query, assignment. */
			uint64_t per = k == 5 ? d[1] : k == 6 ? d[2] : k == 7 ? d[0] : 0;
			uint64_t avg = k >= 5 && k <= 7 ? (per ? d[k] / per : 0)
							: d[k] * 1000000 / (uint64_t)elapsed_us;

			atomic_store(&db->avg[k], avg);
		}
		if (atomic_load(&px->live)->config->s.log_stats && d[2] > 0)
			herd_info(px->log,
				  "stats: %s: %llu xacts/s, %llu queries/s, in %llu B/s, out %llu "
				  "B/s, xact %llu us, query %llu us, wait %llu us",
				  db->name, (unsigned long long)db->avg[1],
				  (unsigned long long)db->avg[2], (unsigned long long)db->avg[3],
				  (unsigned long long)db->avg[4], (unsigned long long)db->avg[5],
				  (unsigned long long)db->avg[6], (unsigned long long)db->avg[7]);
	}
	pthread_mutex_unlock(&px->pools_lock);
}

static void each_db(struct herd_worker *w, struct herd_result *r,
		    void (*fn)(struct herd_worker *w, struct herd_result *r, struct herd_db *db))
{
	size_t pos = 0;
	const char *key;
	void *value;

	pthread_mutex_lock(&w->px->pools_lock);
	while (herd_map_next(w->px->dbs, &pos, &key, &value))
		fn(w, r, value);
	pthread_mutex_unlock(&w->px->pools_lock);
}

static void stat_row(struct herd_worker *w, struct herd_result *r, struct herd_db *db)
{
	bool totals = strcmp(r->show->what, "stats_averages") != 0;
	bool averages = strcmp(r->show->what, "stats_totals") != 0;
	uint64_t v[HERD_NSTATS];
	struct herd_row row = herd_row_begin(r);

	sum_stats(w->px, db, v);
	herd_row_text(&row, db->name);
	for (int k = 0; totals && k < HERD_NSTATS; k++)
		herd_row_int(&row, (int64_t)v[k]);
	for (int k = 0; averages && k < HERD_NSTATS; k++)
		herd_row_int(&row, (int64_t)atomic_load(&db->avg[k]));
	herd_row_end(&row);
}

static void show_stats(struct herd_worker *w, struct herd_result *r)
{
	each_db(w, r, stat_row);
}

static void show_totals(struct herd_worker *w, struct herd_result *r)
{
	uint64_t sum[2 * HERD_NSTATS] = { 0 }, v[HERD_NSTATS];
	size_t pos = 0;
	const char *key;
	void *value;

	pthread_mutex_lock(&w->px->pools_lock);
	while (herd_map_next(w->px->dbs, &pos, &key, &value)) {
		struct herd_db *db = value;

		sum_stats(w->px, db, v);
		for (int k = 0; k < HERD_NSTATS; k++) {
			sum[k] += v[k];
			sum[HERD_NSTATS + k] += atomic_load(&db->avg[k]);
		}
	}
	pthread_mutex_unlock(&w->px->pools_lock);
	for (int k = 0; k < 2 * HERD_NSTATS; k++) {
		struct herd_row row = herd_row_begin(r);
		char *name = herd_str_printf("%.*s", (int)strcspn(stats_columns[k + 1], ":"),
					     stats_columns[k + 1]);

		herd_row_text(&row, name);
		herd_row_int(&row, (int64_t)sum[k]);
		herd_row_end(&row);
		free(name);
	}
}

static void database_row(struct herd_worker *w, struct herd_result *r, const char *name,
			 const struct herd_database *d, const struct herd_db *db)
{
	const struct herd_settings *s = herd_worker_settings(w);
	struct herd_row row = herd_row_begin(r);
	char *where = d->cluster ? herd_str_printf("%s/%s%s%.0d", d->cluster,
						   herd_route_role_name(d->route.role),
						   d->route.group > 0 ? "/" : "",
						   d->route.group > 0 ? d->route.group : 0)
				 : herd_str_dup(d->host);

	herd_row_text(&row, name);
	herd_row_text(&row, where);
	herd_row_int(&row, d->cluster ? 0 : d->port);
	herd_row_text(&row, d->dbname ? d->dbname : name);
	herd_row_text(&row, d->user);
	herd_row_int(&row, d->pool_size >= 0 ? d->pool_size : s->default_pool_size);
	herd_row_int(&row, d->min_pool_size >= 0 ? d->min_pool_size : s->min_pool_size);
	herd_row_int(&row, d->reserve_pool_size >= 0 ? d->reserve_pool_size : s->reserve_pool_size);
	herd_row_int(&row,
		     (d->server_lifetime >= 0 ? d->server_lifetime : s->server_lifetime) / 1000000);
	herd_row_text(&row, d->pool_mode == HERD_MODE_UNSET ? NULL : herd_mode_name(d->pool_mode));
	herd_row_text(&row, d->host && strchr(d->host, ',')
				    ? d->round_robin ? "round-robin" : "disable"
				    : NULL);
	herd_row_int(&row,
		     d->max_db_connections >= 0 ? d->max_db_connections : s->max_db_connections);
	herd_row_int(&row, db ? atomic_load(&db->nconns) : 0);
	herd_row_int(&row, d->max_db_client_connections >= 0 ? d->max_db_client_connections
							     : s->max_db_client_connections);
	herd_row_int(&row, db ? atomic_load(&db->nclients) : 0);
	herd_row_int(&row, db && atomic_load(&db->paused));
	herd_row_int(&row, db && atomic_load(&db->disabled));
	herd_row_end(&row);
	free(where);
}

static void used_database(struct herd_worker *w, struct herd_result *r, struct herd_db *db)
{
	const struct herd_database *d = herd_db_conf(w->live, db);

	/* Those named in the file are shown below, used or not; so is the console. */
	if (d && d->fallback && strcmp(db->name, "pgbouncer") != 0)
		database_row(w, r, db->name, d, db);
}

static void show_databases(struct herd_worker *w, struct herd_result *r)
{
	struct herd_database console = { .dbname = (char *)"pgbouncer",
					 .user = (char *)"pgbouncer",
					 .port = herd_worker_settings(w)->listen_port,
					 .pool_size = 2,
					 .max_db_client_connections = -1,
					 .pool_mode = HERD_MODE_STATEMENT };
	size_t pos = 0;
	const char *name;
	void *value;

	while (herd_map_next(w->live->config->databases, &pos, &name, &value)) {
		const struct herd_database *d = value;

		if (!d->fallback)
			database_row(w, r, name, d, herd_db_get(w->px, name, NULL));
	}
	each_db(w, r, used_database);
	database_row(w, r, "pgbouncer", &console, herd_db_get(w->px, "pgbouncer", NULL));
}

static void user_row(struct herd_worker *w, struct herd_result *r, const char *name,
		     const struct herd_user *u, struct herd_user_count *n)
{
	const struct herd_settings *s = herd_worker_settings(w);
	struct herd_row row = herd_row_begin(r);

	herd_row_text(&row, name);
	herd_row_int(&row, u->pool_size >= 0 ? u->pool_size : 0);
	herd_row_int(&row, u->reserve_pool_size >= 0 ? u->reserve_pool_size : 0);
	herd_row_text(&row, u->pool_mode == HERD_MODE_UNSET ? NULL : herd_mode_name(u->pool_mode));
	herd_row_int(&row, u->max_user_connections >= 0 ? u->max_user_connections
							: s->max_user_connections);
	herd_row_int(&row, n ? atomic_load(&n->nconns) : 0);
	herd_row_int(&row, u->max_user_client_connections >= 0 ? u->max_user_client_connections
							       : s->max_user_client_connections);
	herd_row_int(&row, n ? atomic_load(&n->nclients) : 0);
	herd_row_end(&row);
}

static void show_users(struct herd_worker *w, struct herd_result *r)
{
	/* Known from auth_query or forced by a database. */
	static const struct herd_user unlisted = { .pool_size = -1,
						   .reserve_pool_size = -1,
						   .pool_mode = HERD_MODE_UNSET,
						   .max_user_connections = -1,
						   .max_user_client_connections = -1 };
	size_t pos = 0;
	const char *name;
	void *value;

	pthread_mutex_lock(&w->px->pools_lock);
	while (herd_map_next(w->live->config->users, &pos, &name, &value))
		user_row(w, r, name, value, herd_map_get(w->px->users, name));
	pos = 0;
	while (herd_map_next(w->px->users, &pos, &name, &value)) {
		if (!herd_pconf_user(w->live->config, name))
			user_row(w, r, name, &unlisted, value);
	}
	pthread_mutex_unlock(&w->px->pools_lock);
}

struct server_sum {
	int idle, used;
};

static void add_servers(struct herd_pool *p, void *arg)
{
	struct server_sum *sum = arg;

	pthread_mutex_lock(&p->lock);
	sum->idle += p->nidle;
	sum->used += p->nactive + p->nopening + p->nclosing + p->nwarm;
	pthread_mutex_unlock(&p->lock);
}

static void show_lists(struct herd_worker *w, struct herd_result *r)
{
	struct server_sum sum = { 0, 0 };
	int all = 0, logged = atomic_load(&w->px->nclients);

	herd_pools_each(w->px, add_servers, &sum);
	for (int i = 0; i < w->px->nworkers; i++)
		all += atomic_load(&w->px->workers[i].nclients);
	pthread_mutex_lock(&w->px->pools_lock);
	const struct {
		const char *name;
		int64_t n;
	} rows[] = { { "databases", (int64_t)herd_map_size(w->live->config->databases) + 1 },
		     { "users", (int64_t)herd_map_size(w->live->config->users) },
		     { "peers", 0 },
		     { "pools", (int64_t)herd_map_size(w->px->pools) },
		     { "peer_pools", 0 },
		     { "free_clients", 0 },
		     { "used_clients", logged },
		     { "login_clients", all > logged ? all - logged : 0 },
		     { "free_servers", sum.idle },
		     { "used_servers", sum.used },
		     { "dns_names", 0 },
		     { "dns_zones", 0 },
		     { "dns_queries", 0 },
		     { "dns_pending", 0 } };

	pthread_mutex_unlock(&w->px->pools_lock);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct herd_row row = herd_row_begin(r);

		herd_row_text(&row, rows[i].name);
		herd_row_int(&row, rows[i].n);
		herd_row_end(&row);
	}
}

static void show_config(struct herd_worker *w, struct herd_result *r)
{
	for (int i = 0; i < herd_pconf_nsettings(); i++) {
		struct herd_setting_info info = herd_pconf_setting(i);
		struct herd_row row = herd_row_begin(r);
		bool secret = strstr(info.name, "password") != NULL;

		herd_row_text(&row, info.name);
		herd_row_text(&row, secret ? "****" : w->live->config->text[i]);
		herd_row_text(&row, info.fallback);
		herd_row_text(&row, info.restart ? "no" : "yes");
		herd_row_end(&row);
	}
}

static void show_version(struct herd_worker *w, struct herd_result *r)
{
	struct herd_row row = herd_row_begin(r);

	(void)w;
	herd_row_text(&row, "PgBouncer 1.25.2 (pgherd " PGHERD_VERSION ")");
	herd_row_end(&row);
}

static void show_state(struct herd_worker *w, struct herd_result *r)
{
	bool paused = atomic_load(&w->px->paused_all), suspended = atomic_load(&w->px->suspended);
	const struct {
		const char *name;
		bool on;
	} rows[] = { { "active", !paused && !suspended },
		     { "paused", paused },
		     { "suspended", suspended } };

	for (int i = 0; i < 3; i++) {
		struct herd_row row = herd_row_begin(r);

		herd_row_text(&row, rows[i].name);
		herd_row_text(&row, rows[i].on ? "yes" : "no");
		herd_row_end(&row);
	}
}

static void show_mem(struct herd_worker *w, struct herd_result *r)
{
	struct server_sum sum = { 0, 0 };

	herd_pools_each(w->px, add_servers, &sum);
	const struct {
		const char *name;
		int64_t size, used;
	} rows[] = { { "client_cache", sizeof(struct herd_client), atomic_load(&w->px->nclients) },
		     { "server_cache", sizeof(struct herd_server), sum.idle + sum.used },
		     { "pool_cache", sizeof(struct herd_pool),
		       (int64_t)herd_map_size(w->px->pools) },
		     { "db_cache", sizeof(struct herd_db), (int64_t)herd_map_size(w->px->dbs) } };

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct herd_row row = herd_row_begin(r);

		herd_row_text(&row, rows[i].name);
		herd_row_int(&row, rows[i].size);
		herd_row_int(&row, rows[i].used);
		herd_row_int(&row, 0);
		herd_row_int(&row, rows[i].size * rows[i].used);
		herd_row_end(&row);
	}
}

static void show_nothing(struct herd_worker *w, struct herd_result *r)
{
	(void)w;
	(void)r;
}

static void each_fds(struct herd_worker *w, struct herd_result *r)
{
	herd_list_for_each(it, &w->clients)
	{
		struct herd_client *c = herd_container_of(it, struct herd_client, node);
		struct herd_row row;

		if (c->internal || !c->user)
			continue;
		row = herd_row_begin(r);
		herd_row_int(&row, c->conn.fd);
		herd_row_text(&row, "client");
		herd_row_text(&row, c->user);
		herd_row_text(&row, c->dbname);
		herd_row_text(&row, c->addr.host);
		herd_row_int(&row, c->addr.port);
		herd_row_int(&row, 0);
		herd_row_int(&row, c->server ? c->server->conn.fd : 0);
		herd_row_end(&row);
	}
}

static const struct herd_show shows[] = {
	{ "active_sockets", long_sockets_columns, NULL, each_sockets, false },
	{ "clients", sockets_columns, NULL, each_clients, false },
	{ "config", config_columns, show_config, NULL, false },
	{ "databases", databases_columns, show_databases, NULL, false },
	{ "dns_hosts", dns_columns, show_nothing, NULL, false },
	{ "dns_zones", zones_columns, show_nothing, NULL, false },
	{ "fds", fds_columns, NULL, each_fds, true },
	{ "herd", herd_columns, show_herd, NULL, false },
	{ "holds", holds_columns, show_holds, NULL, false },
	{ "lists", lists_columns, show_lists, NULL, false },
	{ "mem", mem_columns, show_mem, NULL, false },
	{ "peer_pools", peer_pools_columns, show_nothing, NULL, false },
	{ "peers", peers_columns, show_nothing, NULL, false },
	{ "pools", pools_columns, show_pools, NULL, false },
	{ "servers", sockets_columns, NULL, each_servers, false },
	{ "sockets", long_sockets_columns, NULL, each_sockets, false },
	{ "state", state_columns, show_state, NULL, false },
	{ "stats", stats_columns, show_stats, NULL, false },
	{ "stats_averages", stats_averages_columns, show_stats, NULL, false },
	{ "stats_totals", stats_totals_columns, show_stats, NULL, false },
	{ "totals", totals_columns, show_totals, NULL, false },
	{ "users", users_columns, show_users, NULL, false },
	{ "version", version_columns, show_version, NULL, false },
};

const struct herd_show *herd_show_find(const char *what)
{
	for (size_t i = 0; i < sizeof(shows) / sizeof(shows[0]); i++) {
		if (strcasecmp(shows[i].what, what) == 0)
			return &shows[i];
	}
	return NULL;
}

const char *herd_show_help(void)
{
	return "\n\tSHOW HELP|CONFIG|DATABASES|POOLS|CLIENTS|SERVERS|USERS|VERSION\n"
	       "\tSHOW PEERS|PEER_POOLS\n"
	       "\tSHOW FDS|SOCKETS|ACTIVE_SOCKETS|LISTS|MEM|STATE\n"
	       "\tSHOW DNS_HOSTS|DNS_ZONES\n"
	       "\tSHOW STATS|STATS_TOTALS|STATS_AVERAGES|TOTALS\n"
	       "\tSHOW HERD|HOLDS\n"
	       "\tSET key = arg\n"
	       "\tRELOAD\n"
	       "\tPAUSE [<db>]\n"
	       "\tRESUME [<db>]\n"
	       "\tDISABLE <db>\n"
	       "\tENABLE <db>\n"
	       "\tRECONNECT [<db>]\n"
	       "\tKILL [<db>]\n"
	       "\tKILL_CLIENT <client_id>\n"
	       "\tWAIT_CLOSE [<db>]\n"
	       "\tSHUTDOWN\n"
	       "\tSHUTDOWN WAIT_FOR_SERVERS|WAIT_FOR_CLIENTS\n";
}
