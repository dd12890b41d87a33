/* SHOW STATS and its sums, and the period over which averages are taken. */
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "proxy/console.h"

#define STAT_TOTALS                                                                                \
	"total_server_assignment_count:n", "total_xact_count:n", "total_query_count:n",            \
		"total_received:n", "total_sent:n", "total_xact_time:n", "total_query_time:n",     \
		"total_wait_time:n", "total_client_parse_count:n", "total_server_parse_count:n",   \
		"total_bind_count:n", "total_client_login_count:n"
#define STAT_AVERAGES                                                                              \
	"avg_server_assignment_count:n", "avg_xact_count:n", "avg_query_count:n", "avg_recv:n",    \
		"avg_sent:n", "avg_xact_time:n", "avg_query_time:n", "avg_wait_time:n",            \
		"avg_client_parse_count:n", "avg_server_parse_count:n", "avg_bind_count:n",        \
		"avg_client_login_count:n"
static const char *const stats_columns[] = { "database", STAT_TOTALS, STAT_AVERAGES, NULL };
static const char *const stats_totals_columns[] = { "database",
						    "server_assignment_count:n",
						    "xact_count:n",
						    "query_count:n",
						    "bytes_received:n",
						    "bytes_sent:n",
						    "xact_time:n",
						    "query_time:n",
						    "wait_time:n",
						    "client_parse_count:n",
						    "server_parse_count:n",
						    "bind_count:n",
						    "client_login_count:n",
						    NULL };
static const char *const stats_averages_columns[] = { "database",
						      "server_assignment_count:n",
						      "xact_count:n",
						      "query_count:n",
						      "bytes_received:n",
						      "bytes_sent:n",
						      "xact_time:n",
						      "query_time:n",
						      "wait_time:n",
						      "avg_client_parse_count:n",
						      "avg_server_parse_count:n",
						      "avg_bind_count:n",
						      "avg_client_login_count:n",
						      NULL };
/* As PgBouncer calls them here, and only here. */
static const char *const totals_names[] = { "server_assignment_count",
					    "xact_count",
					    "query_count",
					    "client_bytes",
					    "server_bytes",
					    "xact_time",
					    "query_time",
					    "wait_time",
					    "ps_client_parse_count",
					    "ps_server_parse_count",
					    "ps_bind_count",
					    "client_login_count" };
static const char *const totals_columns[] = { "name", "value:n", NULL };

void herd_stats_sum(const struct herd_px *px, const struct herd_db *db, uint64_t ret[HERD_NSTATS])
{
	memset(ret, 0, sizeof(uint64_t) * HERD_NSTATS);
	for (int i = 0; i < px->nworkers; i++) {
		const _Atomic uint64_t *v = &db->stats[i].server_assignment_count;

		for (int k = 0; k < HERD_NSTATS; k++)
			ret[k] += atomic_load_explicit(&v[k], memory_order_relaxed);
	}
}

static void times_period(struct herd_pool *p, void *arg)
{
	(void)arg;
	herd_times_period(p);
}

/* Per second, but for 5, 6 and 7, which are times: per transaction, query, assignment. */
static uint64_t average(const uint64_t d[HERD_NSTATS], int k, int64_t elapsed_us)
{
	uint64_t per = k == 5 ? d[1] : k == 6 ? d[2] : k == 7 ? d[0] : 0;

	if (k >= 5 && k <= 7)
		return per ? d[k] / per : 0;
	return d[k] * 1000000 / (uint64_t)elapsed_us;
}

/* One line for all databases, in the form of PgBouncer 1.25: what reads its logs knows it. */
static void log_period(struct herd_px *px, const uint64_t d[HERD_NSTATS], int64_t elapsed_us)
{
	unsigned long long v[HERD_NSTATS];

	for (int k = 0; k < HERD_NSTATS; k++)
		v[k] = average(d, k, elapsed_us);
	herd_info(
		px->log,
		"stats: %llu xacts/s, %llu queries/s, %llu client parses/s, %llu server parses/s, "
		"%llu binds/s, in %llu B/s, out %llu B/s, xact %llu us, query %llu us, wait %llu "
		"us",
		v[1], v[2], v[8], v[9], v[10], v[3], v[4], v[5], v[6], v[7]);
}

void herd_stats_period(struct herd_px *px, int64_t elapsed_us)
{
	uint64_t sum[HERD_NSTATS] = { 0 };
	size_t pos = 0;
	const char *key;
	void *value;

	if (elapsed_us <= 0)
		return;
	pthread_mutex_lock(&px->pools_lock);
	herd_pools_each(px, times_period, NULL);
	while (herd_map_next(px->dbs, &pos, &key, &value)) {
		struct herd_db *db = value;
		uint64_t now[HERD_NSTATS], d[HERD_NSTATS];

		herd_stats_sum(px, db, now);
		for (int k = 0; k < HERD_NSTATS; k++) {
			d[k] = now[k] - db->last[k];
			db->last[k] = now[k];
			sum[k] += d[k];
		}
		for (int k = 0; k < HERD_NSTATS; k++)
			atomic_store(&db->avg[k], average(d, k, elapsed_us));
	}
	pthread_mutex_unlock(&px->pools_lock);
	if (atomic_load(&px->live)->config->s.log_stats)
		log_period(px, sum, elapsed_us);
}

static void stat_row(struct herd_worker *w, struct herd_result *r, struct herd_db *db)
{
	bool totals = strcmp(r->show->what, "stats_averages") != 0;
	bool averages = strcmp(r->show->what, "stats_totals") != 0;
	uint64_t v[HERD_NSTATS];
	struct herd_row row = herd_row_begin(r);

	char *name = herd_db_label(db);

	herd_stats_sum(w->px, db, v);
	herd_row_text(&row, name);
	for (int k = 0; totals && k < HERD_NSTATS; k++)
		herd_row_int(&row, (int64_t)v[k]);
	for (int k = 0; averages && k < HERD_NSTATS; k++)
		herd_row_int(&row, (int64_t)atomic_load(&db->avg[k]));
	herd_row_end(&row);
	free(name);
}

static void show_stats(struct herd_worker *w, struct herd_result *r)
{
	herd_show_each_db(w, r, stat_row);
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

		herd_stats_sum(w->px, db, v);
		for (int k = 0; k < HERD_NSTATS; k++) {
			sum[k] += v[k];
			sum[HERD_NSTATS + k] += atomic_load(&db->avg[k]);
		}
	}
	pthread_mutex_unlock(&w->px->pools_lock);
	for (int k = 0; k < 2 * HERD_NSTATS; k++) {
		struct herd_row row = herd_row_begin(r);
		char *name = herd_str_printf("%s_%s", k < HERD_NSTATS ? "total" : "avg",
					     totals_names[k % HERD_NSTATS]);

		herd_row_text(&row, name);
		herd_row_int(&row, (int64_t)sum[k]);
		herd_row_end(&row);
		free(name);
	}
}

const struct herd_show herd_shows_stats[] = {
	{ "stats", stats_columns, show_stats, NULL, false },
	{ "stats_averages", stats_averages_columns, show_stats, NULL, false },
	{ "stats_totals", stats_totals_columns, show_stats, NULL, false },
	{ "totals", totals_columns, show_totals, NULL, false },
	{ NULL, NULL, NULL, NULL, false },
};
