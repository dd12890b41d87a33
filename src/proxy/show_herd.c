/* SHOW HERD and SHOW HOLDS: what the proxy knows of the herd, and who waits for it. */
#include "base/str.h"
#include "proxy/console.h"
#include "proxy/topology.h"

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

static void hold_row(struct herd_pool *p, void *arg)
{
	struct herd_show_arg *a = arg;
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
	struct herd_show_arg a = { w, r };

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

const struct herd_show herd_shows_herd[] = {
	{ "herd", herd_columns, show_herd, NULL, false },
	{ "holds", holds_columns, show_holds, NULL, false },
	{ NULL, NULL, NULL, NULL, false },
};
