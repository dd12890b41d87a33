/* SHOW ROUTES and SHOW SPLIT: what went to replicas and what did not, and why. */
#include "proxy/console.h"
#include "proxy/split.h"

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

const struct herd_show herd_shows_split[] = {
	{ "routes", routes_columns, show_routes, NULL, false },
	{ NULL, NULL, NULL, NULL, false },
};
