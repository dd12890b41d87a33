/* SHOW LISTS, MEM, and what has no rows. */
#include <string.h>

#include "proxy/cancel.h"
#include "proxy/console.h"
#include "proxy/dns.h"

static const char *const lists_columns[] = { "list", "items:4", NULL };
static const char *const mem_columns[] = {
	"name", "size:4", "used:4", "free:4", "memtotal:8", NULL
};
static const char *const dns_columns[] = { "hostname", "ttl:8", "addrs", NULL };
static const char *const zones_columns[] = { "zonename", "serial:8", "count:4", NULL };

struct server_sum {
	int idle, used;
};

static void add_servers(struct herd_pool *p, void *arg)
{
	struct server_sum *sum = arg;

	pthread_mutex_lock(&p->lock);
	sum->idle += p->nidle;
	sum->used += p->nactive + p->nopening + p->nclosing + p->nwarm + p->nrepl;
	pthread_mutex_unlock(&p->lock);
}

struct db_sum {
	int clients, automatic;
};

/* px->pools_lock is held. */
static struct db_sum sum_dbs(struct herd_worker *w)
{
	struct db_sum sum = { 0, 0 };
	size_t pos = 0;
	const char *key;
	void *value;

	while (herd_map_next(w->px->dbs, &pos, &key, &value)) {
		const struct herd_db *db = value;
		const struct herd_database *conf = herd_db_conf(w->live, db);

		sum.clients += atomic_load(&db->nclients);
		sum.automatic += conf && conf->fallback && strcmp(db->name, "pgbouncer") != 0;
	}
	return sum;
}

static void show_lists(struct herd_worker *w, struct herd_result *r)
{
	const struct herd_map *named = w->live->config->databases;
	struct server_sum sum = { 0, 0 };
	struct herd_dns_counts dns = herd_dns_count(w->px->dns);
	int all = 0;

	herd_pools_each(w->px, add_servers, &sum);
	for (int i = 0; i < w->px->nworkers; i++)
		all += atomic_load(&w->px->workers[i].nclients);
	pthread_mutex_lock(&w->px->pools_lock);
	struct db_sum dbs = sum_dbs(w);
	const struct {
		const char *name;
		int64_t n;
	} rows[] = { /* and the console, of which there is one of each */
		     { "databases", (int64_t)herd_map_size(named) - !!herd_map_get(named, "*") +
					    dbs.automatic + 1 },
		     { "users", (int64_t)herd_map_size(w->live->config->users) + 1 },
		     { "peers", (int64_t)w->live->config->npeers },
		     { "pools", (int64_t)herd_map_size(w->px->pools) + 1 },
		     { "peer_pools", (int64_t)herd_peer_pools_count(w->px) },
		     { "free_clients", 0 },
		     { "used_clients", dbs.clients },
		     { "login_clients", all > dbs.clients ? all - dbs.clients : 0 },
		     /* As PgBouncer means it: memory that waits for the next one. */
		     { "free_servers", 0 },
		     { "used_servers", sum.idle + sum.used },
		     { "dns_names", (int64_t)dns.names },
		     { "dns_zones", (int64_t)dns.zones },
		     { "dns_queries", (int64_t)dns.queries },
		     { "dns_pending", 0 }
	};

	pthread_mutex_unlock(&w->px->pools_lock);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct herd_row row = herd_row_begin(r);

		herd_row_text(&row, rows[i].name);
		herd_row_int(&row, rows[i].n);
		herd_row_end(&row);
	}
}

static void show_mem(struct herd_worker *w, struct herd_result *r)
{
	struct server_sum sum = { 0, 0 };
	int clients = 0;

	herd_pools_each(w->px, add_servers, &sum);
	for (int i = 0; i < w->px->nworkers; i++)
		clients += atomic_load(&w->px->workers[i].nclients);
	pthread_mutex_lock(&w->px->stmts_lock);
	int64_t stmts = (int64_t)herd_stmts_count(w->px->stmts);
	pthread_mutex_unlock(&w->px->stmts_lock);
	pthread_mutex_lock(&w->px->pools_lock);
	const struct {
		const char *name;
		int64_t size, used;
	} rows[] = { { "user_cache", sizeof(struct herd_user_count),
		       (int64_t)herd_map_size(w->px->users) },
		     { "credentials_cache", sizeof(struct herd_user),
		       (int64_t)herd_map_size(w->live->config->users) },
		     { "db_cache", sizeof(struct herd_db), (int64_t)herd_map_size(w->px->dbs) },
		     { "pool_cache", sizeof(struct herd_pool),
		       (int64_t)herd_map_size(w->px->pools) },
		     { "server_cache", sizeof(struct herd_server), sum.idle + sum.used },
		     { "client_cache", sizeof(struct herd_client), clients },
		     { "iobuf_cache", (int64_t)w->scratch_bytes, w->px->nworkers },
		     { "server_prepared_statement_cache", sizeof(struct herd_stmt), stmts } };

	pthread_mutex_unlock(&w->px->pools_lock);
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

static void name_row(void *arg, const char *host, int64_t ttl_us, const char *addrs)
{
	struct herd_row row = herd_row_begin(arg);

	herd_row_text(&row, host);
	herd_row_int(&row, ttl_us / 1000000);
	herd_row_text(&row, addrs);
	herd_row_end(&row);
}

static void show_dns_hosts(struct herd_worker *w, struct herd_result *r)
{
	herd_dns_each_name(w->px->dns, w->now_us, name_row, r);
}

static void zone_row(void *arg, const char *zone, uint32_t serial, size_t count)
{
	struct herd_row row = herd_row_begin(arg);

	herd_row_text(&row, zone);
	herd_row_int(&row, serial);
	herd_row_int(&row, (int64_t)count);
	herd_row_end(&row);
}

static void show_dns_zones(struct herd_worker *w, struct herd_result *r)
{
	herd_dns_each_zone(w->px->dns, zone_row, r);
}

const struct herd_show herd_shows_lists[] = {
	{ "dns_hosts", dns_columns, show_dns_hosts, NULL, false },
	{ "dns_zones", zones_columns, show_dns_zones, NULL, false },
	{ "lists", lists_columns, show_lists, NULL, false },
	{ "mem", mem_columns, show_mem, NULL, false },
	{ NULL, NULL, NULL, NULL, false },
};
