/* SHOW HISTOGRAMS: how long things take, pool by pool. */
#include <stdlib.h>

#include "proxy/console.h"
#include "proxy/times.h"

static const char *const columns[] = { "database",      "user",       "role",     "time",
				       "total_count:8", "total_us:8", "count:8",  "avg_us:8",
				       "p50_us:8",      "p90_us:8",   "p99_us:8", "p999_us:8",
				       "max_us:8",      NULL };

static void rows_of(struct herd_pool *p, void *arg)
{
	struct herd_show_arg *a = arg;
	struct herd_times_sum all, recent;
	char *name = herd_pool_label(p);

	herd_times_read(p, &all);
	herd_times_recent(p, &recent);
	for (int i = 0; i < HERD_TIME_NR; i++) {
		const struct herd_histogram_sum *s = &recent.of[i];
		struct herd_row row = herd_row_begin(a->r);

		herd_row_text(&row, name);
		herd_row_text(&row, p->user);
		herd_row_text(&row, herd_pool_role(a->w->live, p));
		herd_row_text(&row, herd_time_name((enum herd_time)i));
		herd_row_int(&row, (int64_t)all.of[i].count);
		herd_row_int(&row, (int64_t)all.of[i].sum_us);
		herd_row_int(&row, (int64_t)s->count);
		herd_row_int(&row, s->count ? (int64_t)(s->sum_us / s->count) : 0);
		herd_row_int(&row, (int64_t)herd_histogram_percentile(s, 0.5));
		herd_row_int(&row, (int64_t)herd_histogram_percentile(s, 0.9));
		herd_row_int(&row, (int64_t)herd_histogram_percentile(s, 0.99));
		herd_row_int(&row, (int64_t)herd_histogram_percentile(s, 0.999));
		herd_row_int(&row, (int64_t)herd_histogram_percentile(s, 1));
		herd_row_end(&row);
	}
	free(name);
}

static void show_histograms(struct herd_worker *w, struct herd_result *r)
{
	struct herd_show_arg a = { w, r };

	herd_pools_each(w->px, rows_of, &a);
}

const struct herd_show herd_shows_times[] = {
	{ "histograms", columns, show_histograms, NULL, false },
	{ NULL, NULL, NULL, NULL, false },
};
