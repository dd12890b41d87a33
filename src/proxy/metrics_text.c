/* What /metrics says: all samples of a name together, as the format wants it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/str.h"
#include "loop/loop.h"
#include "proxy/dns.h"
#include "proxy/mates.h"
#include "proxy/metrics.h"
#include "proxy/pools.h"
#include "proxy/split.h"
#include "proxy/topology.h"

/* What is told of one pool. */
struct pool_facts {
	char *labels; /* database and user */
	char *more;   /* and role */
	struct herd_pool_counts n;
	bool held;
	int pinned;
	struct herd_times_sum times;
};

/* Of all of them: read once, printed many times. */
struct facts {
	struct herd_px *px;
	const struct herd_live *live;
	int64_t now_us;
	struct pool_facts *pool;
	size_t n, room;
	bool oom;
	int idle_servers, used_servers;
};

/* Is a byte sequence of UTF-8 beginning here? Its length, or 0. */
static size_t utf8_len(const unsigned char *p)
{
	size_t n = *p < 0x80                 ? 1
		   : *p >= 0xc2 && *p < 0xe0 ? 2
		   : *p >= 0xe0 && *p < 0xf0 ? 3
		   : *p >= 0xf0 && *p < 0xf5 ? 4
					     : 0;

	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	}
	return n;
}

/* name="text", and a comma before it when it is not the first. */
static void label(struct herd_buf *b, const char *name, const char *text)
{
	herd_buf_printf(b, "%s%s=\"", b->len > 0 ? "," : "", name);
	for (const char *p = text ? text : ""; *p;) {
		size_t n = utf8_len((const unsigned char *)p);

		if (*p == '"' || *p == '\\')
			herd_buf_addc(b, '\\');
		if (*p == '\n')
			herd_buf_addstr(b, "\\n");
		else if (n > 0)
			herd_buf_add(b, p, n);
		else
			herd_buf_addc(b, '?'); /* a scrape fails as a whole for one bad byte */
		p += n > 0 ? n : 1;
	}
	herd_buf_addc(b, '"');
}

static void family(struct herd_buf *out, const char *name, const char *type, const char *help)
{
	herd_buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void sample(struct herd_buf *out, const char *name, const char *labels, double v)
{
	herd_buf_printf(out, "%s%s%s%s %.15g\n", name, *labels ? "{" : "", labels,
			*labels ? "}" : "", v);
}

static void one(struct herd_buf *out, const char *name, const char *type, const char *help,
		const char *labels, double v)
{
	family(out, name, type, help);
	sample(out, name, labels, v);
}

static void add_pool(struct herd_pool *p, void *arg)
{
	struct facts *f = arg;
	struct herd_buf b = { 0 };

	if (f->n == f->room) {
		size_t room = f->room ? 2 * f->room : 16;
		struct pool_facts *more = realloc(f->pool, room * sizeof(*more));

		f->oom |= !more;
		if (!more)
			return;
		f->pool = more;
		f->room = room;
	}
	struct pool_facts *x = &f->pool[f->n];
	char *name = herd_pool_label(p);
	const char *role = herd_pool_role(f->live, p);

	label(&b, "database", name);
	label(&b, "user", p->user);
	x->labels = strdup(herd_buf_str(&b));
	label(&b, "role", role ? role : "");
	x->more = herd_buf_steal(&b);
	free(name);
	x->n = herd_pool_count(p, f->now_us, f->live->config->s.server_check_delay);
	x->held = atomic_load(&p->held);
	x->pinned = atomic_load(&p->npinned);
	herd_times_read(p, &x->times);
	f->idle_servers += x->n.sv_idle + x->n.sv_used;
	f->used_servers += x->n.sv_active + x->n.sv_tested + x->n.sv_login + x->n.sv_canceled;
	f->oom |= !x->labels || !x->more;
	f->n++;
}

static void free_facts(struct facts *f)
{
	for (size_t i = 0; i < f->n; i++) {
		free(f->pool[i].labels);
		free(f->pool[i].more);
	}
	free(f->pool);
}

/* One gauge of every pool; of names an int of struct herd_pool_counts, by its offset. */
static void pool_gauges(const struct facts *f, struct herd_buf *out)
{
#define COUNT(field) offsetof(struct herd_pool_counts, field)
	static const struct {
		const char *name, *help;
		size_t at;
	} gauges[] = {
		{ "pgbouncer_pools_client_active_connections",
		  "Client connections linked to a server connection or idle", COUNT(cl_active) },
		{ "pgbouncer_pools_client_waiting_connections",
		  "Client connections waiting for a server connection", COUNT(cl_waiting) },
		{ "pgbouncer_pools_client_active_cancel_connections",
		  "Cancel requests sent to a server", COUNT(cl_active_cancel) },
		{ "pgbouncer_pools_client_waiting_cancel_connections",
		  "Cancel requests not sent yet", COUNT(cl_waiting_cancel) },
		{ "pgbouncer_pools_server_active_connections",
		  "Server connections linked to a client", COUNT(sv_active) },
		{ "pgbouncer_pools_server_active_cancel_connections",
		  "Server connections that carry a cancel request", COUNT(sv_active_cancel) },
		{ "pgbouncer_pools_server_being_canceled_connections",
		  "Server connections that wait for the end of a cancel request",
		  COUNT(sv_canceled) },
		{ "pgbouncer_pools_server_idle_connections",
		  "Server connections ready for a client", COUNT(sv_idle) },
		{ "pgbouncer_pools_server_used_connections",
		  "Server connections idle for longer than server_check_delay", COUNT(sv_used) },
		{ "pgbouncer_pools_server_testing_connections",
		  "Server connections that run server_reset_query or server_check_query",
		  COUNT(sv_tested) },
		{ "pgbouncer_pools_server_login_connections",
		  "Server connections that are being opened", COUNT(sv_login) },
		{ "pgherd_pool_warm_servers",
		  "Server connections to the candidate of an announced handover", COUNT(sv_warm) },
	};
#undef COUNT
	for (size_t g = 0; g < sizeof(gauges) / sizeof(gauges[0]); g++) {
		family(out, gauges[g].name, "gauge", gauges[g].help);
		for (size_t i = 0; i < f->n; i++)
			sample(out, gauges[g].name, f->pool[i].labels,
			       *(const int *)(const void *)((const char *)&f->pool[i].n +
							    gauges[g].at));
	}
	family(out, "pgbouncer_pools_client_maxwait_seconds", "gauge",
	       "How long the client that waits longest has waited");
	for (size_t i = 0; i < f->n; i++)
		sample(out, "pgbouncer_pools_client_maxwait_seconds", f->pool[i].labels,
		       (double)f->pool[i].n.maxwait_us / 1e6);
	family(out, "pgherd_pool_held", "gauge", "1 while clients are held: nobody leads");
	for (size_t i = 0; i < f->n; i++)
		sample(out, "pgherd_pool_held", f->pool[i].labels, f->pool[i].held);
	family(out, "pgherd_pool_pinned_clients", "gauge", "Clients that keep their server");
	for (size_t i = 0; i < f->n; i++)
		sample(out, "pgherd_pool_pinned_clients", f->pool[i].labels, f->pool[i].pinned);
}

/* From 64 us to 67 s. */
enum { FIRST_POWER = 6, LAST_POWER = 26 };

static void histogram(struct herd_buf *out, const char *name, const char *labels,
		      const struct herd_histogram_sum *s)
{
	for (int power = FIRST_POWER; power <= LAST_POWER; power++)
		herd_buf_printf(out, "%s_bucket{%s,le=\"%.9g\"} %llu\n", name, labels,
				(double)(UINT64_C(1) << power) / 1e6,
				(unsigned long long)herd_histogram_below(s, UINT64_C(1) << power));
	herd_buf_printf(out,
			"%s_bucket{%s,le=\"+Inf\"} %llu\n%s_sum{%s} %.15g\n%s_count{%s} %llu\n",
			name, labels, (unsigned long long)s->count, name, labels,
			(double)s->sum_us / 1e6, name, labels, (unsigned long long)s->count);
}

static void histograms(const struct facts *f, struct herd_buf *out)
{
	static const char *const help[] = { "How long clients waited for a server connection",
					    "How long queries took", "How long transactions took" };

	for (int t = 0; t < HERD_TIME_NR; t++) {
		char *name = herd_str_printf("pgherd_pool_%s_seconds",
					     herd_time_name((enum herd_time)t));

		if (!name)
			return;
		family(out, name, "histogram", help[t]);
		for (size_t i = 0; i < f->n; i++)
			histogram(out, name, f->pool[i].more, &f->pool[i].times.of[t]);
		free(name);
	}
}

/* What SHOW STATS_TOTALS says of every database. */
static void stats(const struct facts *f, struct herd_buf *out)
{
	/* In the order of struct herd_stats. */
	static const struct {
		const char *name, *help;
		double factor;
	} counters[HERD_NSTATS] = {
		{ "pgbouncer_stats_totals_server_assignments_total",
		  "Times a server was given to a client", 1 },
		{ "pgbouncer_stats_totals_sql_transactions_pooled_total", "Transactions", 1 },
		{ "pgbouncer_stats_totals_queries_pooled_total", "Queries", 1 },
		{ "pgbouncer_stats_totals_received_bytes_total", "Bytes received from clients", 1 },
		{ "pgbouncer_stats_totals_sent_bytes_total", "Bytes sent to clients", 1 },
		{ "pgbouncer_stats_totals_server_in_transaction_seconds_total",
		  "Time spent in transactions", 1e-6 },
		{ "pgbouncer_stats_totals_queries_duration_seconds_total", "Time spent on queries",
		  1e-6 },
		{ "pgbouncer_stats_totals_client_wait_seconds_total",
		  "Time clients waited for a server", 1e-6 },
		{ "pgbouncer_stats_totals_client_parses_total", "Parse messages from clients", 1 },
		{ "pgbouncer_stats_totals_server_parses_total", "Parse messages to servers", 1 },
		{ "pgbouncer_stats_totals_binds_total", "Bind messages from clients", 1 },
		{ "pgbouncer_stats_totals_client_logins_total", "Logins of clients", 1 },
	};
	pthread_mutex_lock(&f->px->pools_lock);
	for (int k = 0; k < HERD_NSTATS; k++) {
		size_t pos = 0;
		const char *key;
		void *value;

		family(out, counters[k].name, "counter", counters[k].help);
		while (herd_map_next(f->px->dbs, &pos, &key, &value)) {
			uint64_t v[HERD_NSTATS];
			struct herd_buf b = { 0 };
			char *name = herd_db_label(value);

			herd_stats_sum(f->px, value, v);
			label(&b, "database", name);
			sample(out, counters[k].name, herd_buf_str(&b),
			       (double)v[k] * counters[k].factor);
			herd_buf_free(&b);
			free(name);
		}
	}
	pthread_mutex_unlock(&f->px->pools_lock);
}

/* What SHOW ROUTES says. */
static void routes(const struct facts *f, struct herd_buf *out)
{
	static const char name[] = "pgherd_routed_requests_total";
	size_t pos = 0;
	const char *key;
	void *value;

	family(out, name, "counter",
	       "Requests of databases with split, by who served them and why");
	pthread_mutex_lock(&f->px->pools_lock);
	while (herd_map_next(f->px->dbs, &pos, &key, &value)) {
		const struct herd_db *db = value;
		char *text = herd_db_label(db);

		for (int k = 0; k < HERD_WHY_NR; k++) {
			struct herd_buf b = { 0 };
			uint64_t n = 0;

			for (int i = 0; i < f->px->nworkers; i++)
				n += atomic_load_explicit(&db->routes[i].n[k],
							  memory_order_relaxed);
			if (n == 0)
				continue;
			label(&b, "database", text);
			label(&b, "served_by", k < HERD_WHY_NREPLICA ? "replica" : "primary");
			label(&b, "reason", herd_split_why_name(k));
			sample(out, name, herd_buf_str(&b), (double)n);
			herd_buf_free(&b);
		}
		free(text);
	}
	pthread_mutex_unlock(&f->px->pools_lock);
}

static void database_labels(struct herd_buf *b, const char *name, const struct herd_database *d)
{
	char port[16];

	snprintf(port, sizeof(port), "%d", d->cluster ? 0 : d->port);
	label(b, "name", name);
	label(b, "host", d->cluster ? d->cluster : d->host);
	label(b, "port", port);
	label(b, "database", d->dbname ? d->dbname : name);
	label(b, "force_user", d->user);
	label(b, "pool_mode", d->pool_mode == HERD_MODE_UNSET ? "" : herd_mode_name(d->pool_mode));
}

static double database_value(const struct facts *f, int what, const char *name,
			     const struct herd_database *d)
{
	const struct herd_settings *s = &f->live->config->s;
	const struct herd_db *db = herd_db_get(f->px, name, NULL);

	switch (what) {
	case 0:
		return d->pool_size >= 0 ? d->pool_size : s->default_pool_size;
	case 1:
		return d->reserve_pool_size >= 0 ? d->reserve_pool_size : s->reserve_pool_size;
	case 2:
		return d->max_db_connections >= 0 ? d->max_db_connections : s->max_db_connections;
	case 3:
		return db ? atomic_load(&db->nconns) : 0;
	case 4:
		return db && atomic_load(&db->paused);
	default:
		return db && atomic_load(&db->disabled);
	}
}

static void databases(const struct facts *f, struct herd_buf *out)
{
	static const char *const names[][2] = {
		{ "pgbouncer_databases_pool_size", "Server connections at most" },
		{ "pgbouncer_databases_reserve_pool", "Additional server connections" },
		{ "pgbouncer_databases_max_connections", "Limit of all pools of the database" },
		{ "pgbouncer_databases_current_connections", "Server connections" },
		{ "pgbouncer_databases_paused", "1 while paused" },
		{ "pgbouncer_databases_disabled", "1 while disabled" },
	};

	for (int k = 0; k < 6; k++) {
		size_t pos = 0;
		const char *name;
		void *value;

		family(out, names[k][0], "gauge", names[k][1]);
		while (herd_map_next(f->live->config->databases, &pos, &name, &value)) {
			const struct herd_database *d = value;
			struct herd_buf b = { 0 };

			if (d->fallback)
				continue;
			database_labels(&b, name, d);
			sample(out, names[k][0], herd_buf_str(&b), database_value(f, k, name, d));
			herd_buf_free(&b);
		}
	}
}

/* What SHOW LISTS and SHOW CONFIG say, under the names of the exporter. */
static void lists(const struct facts *f, struct herd_buf *out)
{
	const struct herd_settings *s = &f->live->config->s;
	struct herd_dns_counts dns = herd_dns_count(f->px->dns);
	int all = 0, in = 0;
	size_t pos = 0;
	const char *key;
	void *value;

	for (int i = 0; i < f->px->nworkers; i++)
		all += atomic_load(&f->px->workers[i].nclients);
	pthread_mutex_lock(&f->px->pools_lock);
	while (herd_map_next(f->px->dbs, &pos, &key, &value))
		in += atomic_load(&((struct herd_db *)value)->nclients);
	pthread_mutex_unlock(&f->px->pools_lock);
	const struct {
		const char *name, *help;
		double v;
	} gauges[] = {
		{ "pgbouncer_up", "The process answers", 1 },
		{ "pgbouncer_config_max_client_connections", "Setting max_client_conn",
		  s->max_client_conn },
		{ "pgbouncer_config_max_user_connections", "Setting max_user_connections",
		  s->max_user_connections },
		{ "pgbouncer_databases", "Count of databases",
		  (double)herd_map_size(f->live->config->databases) },
		{ "pgbouncer_users", "Count of users",
		  (double)herd_map_size(f->live->config->users) },
		{ "pgbouncer_pools", "Count of pools", (double)f->n },
		{ "pgbouncer_free_clients", "Count of free clients", 0 },
		{ "pgbouncer_used_clients", "Count of clients", in },
		{ "pgbouncer_login_clients", "Count of clients that log in",
		  all > in ? all - in : 0 },
		{ "pgbouncer_free_servers", "Count of idle servers", f->idle_servers },
		{ "pgbouncer_used_servers", "Count of servers in use", f->used_servers },
		{ "pgbouncer_cached_dns_names", "Count of host names", (double)dns.names },
		{ "pgbouncer_cached_dns_zones", "Count of domains", (double)dns.zones },
		{ "pgbouncer_in_flight_dns_queries", "Count of DNS queries under way",
		  (double)dns.queries },
		{ "pgherd_held_clients", "Clients that wait because nobody leads",
		  atomic_load(&f->px->nheld) },
		{ "pgherd_paused", "1 while all is paused", atomic_load(&f->px->paused_all) },
		{ "pgherd_suspended", "1 while suspended", atomic_load(&f->px->suspended) },
		{ "pgherd_stopping", "1 while shutting down",
		  atomic_load(&f->px->stop) != HERD_STOP_NO },
	};

	for (size_t i = 0; i < sizeof(gauges) / sizeof(gauges[0]); i++)
		one(out, gauges[i].name, "gauge", gauges[i].help, "", gauges[i].v);
}

static void workers(const struct facts *f, struct herd_buf *out)
{
	family(out, "pgherd_worker_clients", "gauge", "Client connections of each worker");
	for (int i = 0; i < f->px->nworkers; i++) {
		char text[32]; /* worker="NN" */

		snprintf(text, sizeof(text), "worker=\"%d\"", i);
		sample(out, "pgherd_worker_clients", text,
		       atomic_load(&f->px->workers[i].nclients));
	}
	family(out, "pgherd_worker_thread", "gauge",
	       "The worker whose thread serves the clients of this one");
	for (int i = 0; i < f->px->nworkers; i++) {
		char text[32]; /* worker="NN" */

		snprintf(text, sizeof(text), "worker=\"%d\"", i);
		sample(out, "pgherd_worker_thread", text, atomic_load(&f->px->workers[i].host)->id);
	}
}

static void member_labels(struct herd_buf *b, const struct herd_topo_group *g,
			  const struct herd_topo_member *m)
{
	char text[16] = "";

	if (g->group >= 0)
		snprintf(text, sizeof(text), "%d", g->group);
	label(b, "cluster", g->scope);
	label(b, "group", text);
	label(b, "member", m->name);
}

/* The members of the clusters, as the store has them. */
static void herd(const struct facts *f, struct herd_buf *out)
{
	static const char *const names[][2] = {
		{ "pgherd_member_leader", "1 of the member that leads its group" },
		{ "pgherd_member_running", "1 of a member that is running" },
		{ "pgherd_member_timeline", "Timeline of the member" },
		{ "pgherd_member_lag_bytes", "How far the member is behind its leader" },
		{ "pgherd_member_connections", "Server connections of this process to it" },
		{ "pgherd_member_ejected", "1 while it is left alone for its failures" },
	};
	struct herd_topo *t = herd_topology_get(f->px->topology);

	for (int k = 0; t && k < 6; k++) {
		family(out, names[k][0], "gauge", names[k][1]);
		for (size_t i = 0; i < t->n; i++) {
			const struct herd_topo_group *g = &t->groups[i];

			for (size_t n = 0; n < g->n; n++) {
				const struct herd_topo_member *m = &g->members[n];
				bool leads = herd_str_eq(m->name, g->leader);
				struct herd_buf b = { 0 };
				struct herd_mate_state state = { 0 };
				struct herd_mate *mate =
					herd_mates_find(herd_topology_mates(f->px->topology),
							g->scope, g->group, m->name);

				if (mate)
					herd_mate_read(mate, &state);
				free(state.last_error);
				const double all[] = { leads,
						       m->running,
						       (double)m->timeline,
						       leads ? 0 : (double)m->lag,
						       state.conns,
						       state.out_ms > 0 };
				double v = all[k];

				member_labels(&b, g, m);
				if (v >= 0)
					sample(out, names[k][0], herd_buf_str(&b), v);
				herd_buf_free(&b);
			}
		}
	}
	herd_topo_unref(t);
}

static void process(const struct facts *f, struct herd_buf *out)
{
	struct rusage ru = { 0 };
	long pages = 0;
	FILE *statm = fopen("/proc/self/statm", "re");

	if (statm && fscanf(statm, "%*d %ld", &pages) != 1)
		pages = 0;
	if (statm)
		fclose(statm);
	getrusage(RUSAGE_SELF, &ru);
	one(out, "process_cpu_seconds_total", "counter", "CPU time of the process", "",
	    (double)(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) +
		    (double)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) / 1e6);
	one(out, "process_resident_memory_bytes", "gauge", "Memory of the process", "",
	    (double)pages * (double)sysconf(_SC_PAGESIZE));
	one(out, "process_start_time_seconds", "gauge", "When the process was started", "",
	    (double)(herd_wall_ms() - (f->now_us - f->px->started_us) / 1000) / 1e3);
}

void herd_metrics_text(struct herd_px *px, struct herd_buf *out)
{
	struct facts f = { .px = px, .live = atomic_load(&px->live), .now_us = herd_clock_us() };

	herd_pools_each(px, add_pool, &f);
	one(out, "pgbouncer_version_info", "gauge", "The version of PgBouncer that is followed",
	    "version=\"" HERD_PGBOUNCER_VERSION "\"", 1);
	one(out, "pgherd_build_info", "gauge", "The version of pgherd",
	    "version=\"" PGHERD_VERSION "\"", 1);
	lists(&f, out);
	databases(&f, out);
	pool_gauges(&f, out);
	stats(&f, out);
	routes(&f, out);
	histograms(&f, out);
	workers(&f, out);
	herd(&f, out);
	process(&f, out);
	if (f.oom)
		out->failed = true;
	free_facts(&f);
}
