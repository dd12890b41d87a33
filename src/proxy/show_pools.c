/* SHOW POOLS. */
#include <stdlib.h>
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
					     "cluster",
					     "role",
					     "listener",
					     "held",
					     "sv_warm:4",
					     "sv_pinned:4",
					     NULL };

static void pool_row(struct herd_pool *p, void *arg)
{
	struct herd_show_arg *a = arg;
	struct herd_pool_counts n =
		herd_pool_count(p, a->w->now_us, herd_worker_settings(a->w)->server_check_delay);
	const struct herd_database *conf = herd_db_conf(a->w->live, p->db);
	struct herd_row row = herd_row_begin(a->r);
	char *name = herd_pool_label(p);

	herd_row_text(&row, name);
	herd_row_text(&row, p->user);
	herd_row_int(&row, n.cl_active);
	herd_row_int(&row, n.cl_waiting);
	herd_row_int(&row, n.cl_active_cancel);
	herd_row_int(&row, n.cl_waiting_cancel);
	herd_row_int(&row, n.sv_active);
	herd_row_int(&row, n.sv_active_cancel);
	herd_row_int(&row, n.sv_canceled);
	herd_row_int(&row, n.sv_idle);
	herd_row_int(&row, n.sv_used);
	herd_row_int(&row, n.sv_tested);
	herd_row_int(&row, n.sv_login);
	herd_row_int(&row, n.maxwait_us / 1000000);
	herd_row_int(&row, n.maxwait_us % 1000000);
	herd_row_text(&row, herd_mode_name(herd_pool_mode(a->w->live, p)));
	herd_row_text(&row, conf && conf->host && strchr(conf->host, ',')
				    ? conf->round_robin ? "round-robin" : "disable"
				    : NULL);
	herd_row_text(&row, conf ? conf->cluster : NULL);
	herd_row_text(&row, herd_pool_role(a->w->live, p));
	herd_row_text(&row, p->db->listener);
	herd_row_text(&row, atomic_load(&p->held) ? "yes" : "no");
	herd_row_int(&row, n.sv_warm);
	herd_row_int(&row, atomic_load(&p->npinned));
	herd_row_end(&row);
	free(name);
}

/* The console's own, which never has servers. */
static void console_row(struct herd_worker *w, struct herd_result *r)
{
	struct herd_db *db = herd_db_get(w->px, "pgbouncer", NULL);
	struct herd_row row = herd_row_begin(r);

	herd_row_text(&row, "pgbouncer");
	herd_row_text(&row, "pgbouncer");
	herd_row_int(&row, db ? atomic_load(&db->nclients) : 0);
	for (int i = 3; i < 15; i++)
		herd_row_int(&row, 0);
	herd_row_text(&row, "statement");
	for (int i = 16; i < 20; i++)
		herd_row_text(&row, NULL);
	herd_row_text(&row, "no");
	herd_row_int(&row, 0);
	herd_row_int(&row, 0);
	herd_row_end(&row);
}

static void show_pools(struct herd_worker *w, struct herd_result *r)
{
	struct herd_show_arg a = { w, r };

	herd_pools_each(w->px, pool_row, &a);
	console_row(w, r);
}

const struct herd_show herd_shows_pools[] = {
	{ "pools", pools_columns, show_pools, NULL, false },
	{ NULL, NULL, NULL, NULL, false },
};
