/* SHOW ROUTES and SHOW SPLIT: what went to replicas and what did not, and why. */
#include "proxy/console.h"
#include "proxy/split.h"
#include "proxy/verdict.h"

static const char *const routes_columns[] = { "database", "served_by", "reason", "total:n", NULL };

static void routes_rows(struct herd_worker *w, struct herd_result *r, struct herd_db *db)
{
	for (int k = 0; k < HERD_WHY_NR; k++) {
		uint64_t n = 0;

		for (int i = 0; i < w->px->nworkers; i++)
			n += atomic_load_explicit(&db->routes[i].n[k], memory_order_relaxed);
		if (n == 0)
			continue;
		struct herd_row row = herd_row_begin(r);

		herd_row_text(&row, db->name);
		herd_row_text(&row, k < HERD_WHY_NREPLICA ? "replica" : "primary");
		herd_row_text(&row, herd_split_why_name(k));
		herd_row_int(&row, (int64_t)n);
		herd_row_end(&row);
	}
}

static void show_routes(struct herd_worker *w, struct herd_result *r)
{
	herd_show_each_db(w, r, routes_rows);
}

static const char *const split_columns[] = { "database", "verdict", "reason", "uses:n",
					     "age:4",    "query",   NULL };

static void split_row(void *arg, const struct herd_verdict_view *v)
{
	struct herd_row row = herd_row_begin(arg);

	herd_row_text(&row, v->db);
	herd_row_text(&row, v->verdict == HERD_VERDICT_READ ? "read"
			    : v->verdict == HERD_VERDICT_NO ? "primary"
							    : "unknown");
	herd_row_text(&row, v->verdict == HERD_VERDICT_NO ? v->why : NULL);
	herd_row_int(&row, (int64_t)v->uses);
	herd_row_int(&row, v->age_us / 1000000);
	herd_row_text(&row, v->text);
	herd_row_end(&row);
}

static void show_split(struct herd_worker *w, struct herd_result *r)
{
	herd_verdicts_each(w->px->verdicts, split_row, r);
}

const struct herd_show herd_shows_split[] = {
	{ "split", split_columns, show_split, NULL, false },
	{ "routes", routes_columns, show_routes, NULL, false },
	{ NULL, NULL, NULL, NULL, false },
};
