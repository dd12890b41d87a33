/*
 * slots.c - logical slots: making and moving them, asking the primary about them, and the task
 * that copies them from the primary.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/internal.h"
#include "base/str.h"
#include "model/lsn.h"
#include "pg/slots.h"
#include "pg/wal.h"

#define ASK_MS 3000
#define READ_MS 10000
#define WORK_MS (10 * 60 * 1000)

/* --- making and moving ------------------------------------------------------------------------ */

/*
 * Both belong to the slot's database, and may take long: a new slot waits for all transactions that
 * run, and one that moves has to decode what it is behind.
 */
struct herd_agent_slot_work {
	struct herd_agent_slot_work *next;
	struct herd_agent *a;
	struct herd_pg_session *session;
	char *slot, *what;
	bool makes;
};

static bool at_work(const struct herd_agent *a, const char *slot)
{
	for (const struct herd_agent_slot_work *w = a->slot_work; w; w = w->next)
		if (herd_str_eq(w->slot, slot))
			return true;
	return false;
}

static void work_end(struct herd_agent_slot_work *w)
{
	struct herd_agent_slot_work **at = &w->a->slot_work;

	while (*at && *at != w)
		at = &(*at)->next;
	if (*at)
		*at = w->next;
	if (w->session)
		herd_pg_session_free(w->session);
	free(w->slot);
	free(w->what);
	free(w);
}

static void on_work(void *arg, int rc, const struct herd_pg_rows *rows, const struct herd_err *err)
{
	struct herd_agent_slot_work *w = arg;
	struct herd_agent *a = w->a;

	if (rc == -ECANCELED) /* work_end goes on */
		return;
	if (rc < 0)
		herd_log_err(a->log, HERD_LOG_WARNING, err, "%s failed", w->what);
	else if (w->makes)
		herd_info(a->log, "Created logical replication slot '%s'", w->slot);
	/* undefined_file: the WAL it needs has been removed here. Only a new copy helps. */
	if (rc < 0 && strcmp(herd_pg_rows_sqlstate(rows), "58P01") == 0)
		herd_names_add(&a->slots_stuck, w->slot);
	work_end(w);
	herd_agent_wake(a);
}

static int send_work(struct herd_agent_slot_work *w, const struct herd_action *act)
{
	static const char create[] =
		"SELECT pg_catalog.pg_create_logical_replication_slot($1::name, $2::name) WHERE"
		" NOT EXISTS (SELECT FROM pg_catalog.pg_replication_slots WHERE slot_name = $1)";
	static const char advance[] =
		"SELECT pg_catalog.pg_replication_slot_advance(slot_name, $2::pg_lsn)"
		" FROM pg_catalog.pg_replication_slots WHERE slot_name = $1::name AND NOT active"
		" AND pg_catalog.pg_is_in_recovery() AND confirmed_flush_lsn < $2::pg_lsn";
	bool makes = w->makes;
	char lsn[HERD_LSN_TEXT];
	const char *params[] = { act->slot, makes ? act->plugin : herd_lsn_print(act->lsn, lsn) };

	return herd_pg_query(w->session, makes ? create : advance, 2, params, WORK_MS, on_work, w);
}

void herd_agent_slot_work(struct herd_agent *a, const struct herd_action *act)
{
	struct herd_err err = HERD_ERR_INIT;
	struct herd_agent_slot_work *w;
	int rc;

	if (at_work(a, act->slot))
		return;
	w = calloc(1, sizeof(*w));
	if (!w)
		return;
	*w = (struct herd_agent_slot_work){ .next = a->slot_work,
					    .a = a,
					    .makes = act->act == HERD_ACT_SLOT_CREATE,
					    .slot = herd_str_dup(act->slot),
					    .what = herd_action_print(act) };
	a->slot_work = w;
	rc = w->slot && w->what ? herd_pg_session_patient(a->pg, "Patroni slots", act->database,
							  &w->session, &err)
				: -ENOMEM;
	if (rc == 0)
		rc = send_work(w, act);
	if (rc < 0) {
		herd_log_err(a->log, HERD_LOG_WARNING, &err, "%s failed", w->what ? w->what : "");
		work_end(w);
	}
	herd_err_clear(&err);
}

bool herd_agent_slot_stuck(const struct herd_agent *a, const char *name)
{
	return herd_names_has(&a->slots_stuck, name);
}

/* --- asking ----------------------------------------------------------------------------------- */

/* "{a,b}": names of slots need no quotes. Malloc'd. */
static char *array_of(const struct herd_action *act)
{
	struct herd_buf b = { 0 };

	for (size_t i = 0; i < act->n_names; i++)
		herd_buf_printf(&b, "%s%s", i ? "," : "{", act->names[i]);
	herd_buf_addstr(&b, "}");
	if (!herd_buf_ok(&b)) {
		herd_buf_free(&b);
		return NULL;
	}
	return herd_buf_steal(&b);
}

static int session_to(struct herd_agent *a, const char *member, struct herd_pg_session **ret,
		      struct herd_err *err)
{
	const struct herd_cluster *c = herd_agent_cluster(a);
	const struct herd_member *m = c ? herd_cluster_member(c, member) : NULL;
	struct herd_pg_addr addr = { 0 };
	int rc = m && m->conn_url
			 ? herd_pg_addr_parse_url(m->conn_url, &addr, err)
			 : herd_err_set(err, -ENOENT, "member \"%s\" is not known", member);

	if (rc == 0)
		rc = herd_pg_session_remote(a->pg, &addr, "Patroni slots", ret, err);
	herd_pg_addr_clear(&addr);
	return rc;
}

static void ask_clear(struct herd_agent_asked_slots *q)
{
	struct herd_pg_session *session = q->session;

	q->session = NULL;
	if (session)
		herd_pg_session_free(session);
	for (size_t i = 0; i < q->n; i++)
		free((char *)q->slots[i].name);
	free(q->slots);
	*q = (struct herd_agent_asked_slots){ 0 };
}

static void on_asked(void *arg, int rc, const struct herd_pg_rows *rows, const struct herd_err *err)
{
	struct herd_agent *a = arg;
	struct herd_agent_asked_slots *q = &a->ask;
	int n = rc == 0 ? herd_pg_rows_count(rows) : 0;

	if (rc == -ECANCELED)
		return;
	q->busy = false;
	if (rc < 0)
		herd_log_err(a->log, HERD_LOG_WARNING, err,
			     "could not ask the primary about its replication slots");
	q->slots = calloc((size_t)n + 1, sizeof(*q->slots));
	q->ok = rc == 0 && q->slots;
	for (int i = 0; i < n && q->ok; i++) {
		char *name = herd_str_dup(herd_pg_rows_text(rows, i, 0));

		if (!name)
			break;
		q->slots[q->n++] = (struct herd_obs_slot){
			.name = name,
			.catalog_xmin = (uint32_t)herd_pg_rows_i64(rows, i, 1, 0),
		};
	}
	herd_agent_wake(a);
}

void herd_agent_slots_ask(struct herd_agent *a, const struct herd_action *act)
{
	static const char sql[] =
		"SELECT slot_name, catalog_xmin FROM pg_catalog.pg_replication_slots"
		" WHERE NOT pg_catalog.pg_is_in_recovery() AND slot_name = ANY($1::name[])";
	struct herd_err err = HERD_ERR_INIT;
	char *names = array_of(act);
	const char *params[] = { names };
	int rc = names ? 0 : -ENOMEM;

	ask_clear(&a->ask);
	a->ask.id = act->id;
	if (rc == 0)
		rc = session_to(a, act->member, &a->ask.session, &err);
	if (rc == 0)
		rc = herd_pg_query(a->ask.session, sql, 1, params, ASK_MS, on_asked, a);
	a->ask.busy = rc == 0;
	if (rc < 0)
		herd_log_err(a->log, HERD_LOG_WARNING, &err,
			     "could not ask the primary about its replication slots");
	herd_err_clear(&err);
	free(names);
}

/* --- copying ---------------------------------------------------------------------------------- */

struct state {
	char *name, *hex;
};

struct herd_agent_slots_copy {
	struct herd_agent *a;
	int64_t task; /* its id */
	struct herd_pg_session *session;
	struct state *v;
	size_t n;
};

static void copy_free(struct herd_agent *a)
{
	struct herd_agent_slots_copy *c = a->slots_copy;

	a->slots_copy = NULL;
	if (!c)
		return;
	if (c->session)
		herd_pg_session_free(c->session);
	for (size_t i = 0; i < c->n; i++) {
		free(c->v[i].name);
		free(c->v[i].hex);
	}
	free(c->v);
	free(c);
}

static int put(struct herd_agent *a, const struct state *st, struct herd_err *err)
{
	size_t len = strlen(st->hex) / 2;
	char *bytes = malloc(len + 1);
	int rc = bytes ? 0 : herd_err_set(err, -ENOMEM, "out of memory");

	for (size_t i = 0; i < len && rc == 0; i++) {
		char two[] = { st->hex[2 * i], st->hex[2 * i + 1], '\0' };

		bytes[i] = (char)strtol(two, NULL, 16);
	}
	if (rc == 0)
		rc = herd_pg_slot_put(herd_pg_config(a->pg)->data_dir, st->name, bytes, len, err);
	free(bytes);
	return rc;
}

/* What could not be put in place is missed later, and copied again: the server starts anyway. */
static void copy_stopped(struct herd_agent *a, int rc, const struct herd_err *err)
{
	struct herd_agent_slots_copy *c = a->slots_copy;
	struct herd_err own = HERD_ERR_INIT;

	if (rc < 0 || !c) {
		copy_free(a);
		herd_agent_task_finish(a, rc < 0 ? rc : -ECANCELED, err);
		return;
	}
	herd_agent_callback(a, "on_stop", herd_agent_last_role(a));
	for (size_t i = 0; i < c->n; i++) {
		if (put(a, &c->v[i], &own) < 0)
			herd_log_err(a->log, HERD_LOG_ERROR, &own, "copying of logical slots");
		else
			herd_names_remove(&a->slots_stuck, c->v[i].name);
		herd_err_clear(&own);
	}
	copy_free(a);
	herd_agent_task_do_start(a);
}

static bool lacks_wal(struct herd_agent *a, const char *slot, const char *segment)
{
	bool lacks = !segment || !herd_pg_wal_has(herd_pg_config(a->pg)->data_dir, segment);

	if (lacks && !herd_names_has(&a->slots_lack, slot))
		herd_warning(a->log,
			     "logical replication slot \"%s\" is not copied now: this node has not "
			     "all the WAL it needs",
			     slot);
	if (lacks)
		herd_names_add(&a->slots_lack, slot);
	else
		herd_names_remove(&a->slots_lack, slot);
	return lacks;
}

static void on_states(void *arg, int rc, const struct herd_pg_rows *rows,
		      const struct herd_err *err)
{
	struct herd_agent_slots_copy *c = arg;
	struct herd_agent *a = c->a;
	int n = rc == 0 ? herd_pg_rows_count(rows) : 0;
	struct herd_err own = HERD_ERR_INIT;

	if (rc == -ECANCELED)
		return;
	if (c->task != a->task.id || a->exiting) { /* a STOP has ended the task */
		copy_free(a);
		return;
	}
	c->v = calloc((size_t)n + 1, sizeof(*c->v));
	for (int i = 0; i < n && c->v; i++) {
		const char *name = herd_pg_rows_text(rows, i, 0);
		const char *hex = herd_pg_rows_text(rows, i, 1);

		if (!name || !hex)
			continue;
		/* PostgreSQL's own worker brings these, and would be stopped by ours. */
		if (herd_pg_rows_bool(rows, i, 2) && a->st.slot_sync)
			continue;
		/* It could not be moved here, so it would be copied, with a restart, again and
		 * again. It comes when its client has moved on. */
		if (lacks_wal(a, name, herd_pg_rows_text(rows, i, 3)))
			continue;
		c->v[c->n] = (struct state){ herd_str_dup(name), herd_str_dup(hex) };
		if (c->v[c->n].name && c->v[c->n].hex)
			c->n++;
	}
	if (rc == 0 && c->n > 0) {
		herd_info(a->log, "restarting to take %zu logical slots from the primary", c->n);
		herd_agent_task_stop(a, copy_stopped);
		return;
	}
	copy_free(a);
	if (rc < 0)
		herd_agent_task_finish(a, rc, err);
	else
		herd_agent_task_finish(
			a, herd_err_set(&own, -EAGAIN, "there is nothing to be copied now"), &own);
	herd_err_clear(&own);
}

void herd_agent_slots_copy(struct herd_agent *a, const struct herd_action *act)
{
	static const char sql[] =
		"SELECT slot_name, pg_catalog.encode(pg_catalog.pg_read_binary_file('pg_replslot/'"
		" || slot_name || '/state'), 'hex'),"
		" COALESCE((pg_catalog.to_jsonb(s) ->> 'failover')::bool, false),"
		" pg_catalog.substr(pg_catalog.pg_walfile_name(restart_lsn), 9)"
		" FROM pg_catalog.pg_replication_slots s"
		" WHERE NOT pg_catalog.pg_is_in_recovery() AND slot_type = 'logical'"
		" AND NOT temporary AND slot_name = ANY($1::name[])";
	struct herd_err err = HERD_ERR_INIT;
	char *names = array_of(act);
	const char *params[] = { names };
	struct herd_agent_slots_copy *c = calloc(1, sizeof(*c));
	int rc = names && c ? 0 : -ENOMEM;

	copy_free(a);
	a->slots_copy = c;
	if (c)
		*c = (struct herd_agent_slots_copy){ .a = a, .task = a->task.id };
	if (rc == 0)
		rc = session_to(a, act->member, &c->session, &err);
	if (rc == 0)
		rc = herd_pg_query(c->session, sql, 1, params, READ_MS, on_states, c);
	if (rc < 0) {
		copy_free(a);
		herd_agent_task_finish(a, rc, &err);
	}
	herd_err_clear(&err);
	free(names);
}

void herd_agent_slots_clear(struct herd_agent *a)
{
	copy_free(a);
	ask_clear(&a->ask);
	while (a->slot_work)
		work_end(a->slot_work);
	herd_names_clear(&a->slots_stuck);
	herd_names_clear(&a->slots_lack);
}
