/* SHOW POOLS. */
#include <string.h>

#include "proxy/console.h"

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
static void pool_row(struct herd_pool *p, void *arg)
{
	struct herd_show_arg *a = arg;
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
	struct herd_show_arg a = { w, r };

	herd_pools_each(w->px, pool_row, &a);
}

const struct herd_show herd_shows_pools[] = {
	{ "pools", pools_columns, show_pools, NULL, false },
	{ NULL, NULL, NULL, NULL, false },
};
