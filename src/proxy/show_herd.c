/* SHOW HERD and SHOW HOLDS: what the proxy knows of the herd, and who waits for it. */
#include <stdlib.h>

#include "base/str.h"
#include "model/time.h"
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
					    "zone",
					    "lag:8",
					    "lag_ms:8",
					    "balanced",
					    "connections:4",
					    "failures:4",
					    "ejected_ms:8",
					    "last_error",
					    "last_error_time",
					    "source",
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

static void row_known(struct herd_row *row, int64_t v)
{
	if (v < 0)
		herd_row_text(row, NULL);
	else
		herd_row_int(row, v);
}

/* What this process knows of the member by itself. */
static void met_columns(struct herd_row *row, struct herd_worker *w,
			const struct herd_topo_group *g, const struct herd_topo_member *m)
{
	struct herd_mate *mate =
		herd_mates_find(herd_topology_mates(w->px->topology), g->scope, g->group, m->name);
	struct herd_mate_state met = { 0 };
	char *when = NULL;

	if (mate)
		herd_mate_read(mate, &met);
	if (met.last_error)
		when = herd_time_print(met.last_error_ms);
	herd_row_int(row, met.conns);
	herd_row_int(row, met.fails);
	herd_row_int(row, met.out_ms);
	herd_row_text(row, met.last_error);
	herd_row_text(row, when);
	free(met.last_error);
	free(when);
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
			herd_row_text(&row, m->zone);
			row_known(&row, herd_str_eq(m->name, g->leader) ? 0 : m->lag);
			row_known(&row, herd_str_eq(m->name, g->leader) ? 0 : m->lag_ms);
			herd_row_text(&row, m->running && !m->noloadbalance ? "yes" : "no");
			met_columns(&row, w, g, m);
			herd_row_text(&row, g->by_rest ? "rest" : "dcs");
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
