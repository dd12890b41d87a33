/*
 * execute.c - runs a plan: actions in order, waited ones one after the other. What was not begun
 * when a new plan comes is dropped; answers to it only wake.
 */
#define HERD_LOG_PART "patroni.ha"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/internal.h"
#include "agent/rest.h"
#include "base/str.h"
#include "model/lsn.h"
#include "pg/initdb.h"
#include "pg/slots.h"

/* An answer that is under way: to which plan it belongs. */
struct pending {
	struct herd_agent *a;
	unsigned gen;
	bool waited, other_lease;
	char *what;
	struct herd_pg_slots_plan slots;
};

static struct pending *pending_new(struct herd_agent *a, const struct herd_action *act)
{
	struct pending *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->a = a;
	p->gen = a->exec.gen;
	p->waited = act->wait;
	p->other_lease = act->lease != NULL;
	p->what = herd_action_print(act);
	return p;
}

static void pending_end(struct pending *p, bool ok)
{
	struct herd_agent *a = p->a;

	if (p->waited)
		herd_agent_exec_done(a, p->gen, ok);
	herd_pg_slots_plan_clear(&p->slots);
	free(p->what);
	free(p);
}

static void next_actions(struct herd_agent *a);

void herd_agent_exec_done(struct herd_agent *a, unsigned gen, bool ok)
{
	if (a->exiting)
		return;
	if (gen != a->exec.gen) {
		herd_agent_wake(a);
		return;
	}
	a->exec.waiting = false;
	if (!ok)
		a->exec.next = a->exec.plan.n;
	next_actions(a);
}

/* --- the store -------------------------------------------------------------------------------- */

static void on_change(void *arg, enum herd_dcs_result result, int64_t version,
		      const struct herd_err *err)
{
	struct pending *p = arg;
	struct herd_agent *a = p->a;

	if (result == HERD_DCS_OK || result == HERD_DCS_CONFLICT)
		a->dcs_ok = true;
	if (result == HERD_DCS_LEASE_GONE && !p->other_lease)
		herd_str_set(&a->lease_id, NULL);
	if (result != HERD_DCS_OK)
		herd_log_err(a->log, HERD_LOG_INFO, err, "%s was not done", p->what);
	if (p->waited)
		a->exec.reread = true;
	pending_end(p, result == HERD_DCS_OK);
}

static int change(struct herd_agent *a, const struct herd_action *act)
{
	bool removes = act->act == HERD_ACT_RELEASE || act->act == HERD_ACT_DELETE;
	bool leased = act->on_lease || act->act == HERD_ACT_TAKE;
	struct herd_dcs_change c = {
		.key = act->key,
		.value = removes ? NULL : act->value,
		.cond = act->cond == HERD_IF_ABSENT    ? HERD_DCS_ABSENT
			: act->cond == HERD_IF_VERSION ? HERD_DCS_AT_VERSION
						       : HERD_DCS_ANY,
		.version = act->version,
		.lease = act->lease ? act->lease
			 : leased   ? a->lease_id
				    : NULL,
	};
	struct pending *p;

	if (leased && !a->lease_id)
		return -ENOENT;
	p = pending_new(a, act);
	if (!p)
		return -ENOMEM;
	herd_dcs_change(a->dcs, &c, on_change, p);
	return 0;
}

static void on_lease(void *arg, enum herd_dcs_result result, const char *lease, int64_t sent_ms,
		     const struct herd_err *err)
{
	struct pending *p = arg;
	struct herd_agent *a = p->a;

	a->lease_busy = false;
	switch (result) {
	case HERD_DCS_OK:
		a->dcs_ok = true;
		if (lease)
			herd_str_set(&a->lease_id, lease);
		a->lease_sent_ms = sent_ms;
		break;
	case HERD_DCS_LEASE_GONE:
		a->dcs_ok = true;
		herd_str_set(&a->lease_id, NULL);
		break;
	default:
		a->dcs_ok = false;
		herd_log_err(a->log, HERD_LOG_WARNING, err, "could not renew the lease");
	}
	if (!p->waited)
		herd_agent_wake_store(a);
	pending_end(p, result == HERD_DCS_OK);
}

static int lease(struct herd_agent *a, const struct herd_action *act)
{
	struct pending *p;

	if (a->lease_busy)
		return act->act == HERD_ACT_LEASE_RENEW ? 1 : -EBUSY;
	if (act->act == HERD_ACT_LEASE_RENEW && !a->lease_id)
		return -ENOENT;
	p = pending_new(a, act);
	if (!p)
		return -ENOMEM;
	a->lease_busy = true;
	if (act->act == HERD_ACT_LEASE_RENEW) {
		herd_dcs_lease_renew(a->dcs, a->lease_id, on_lease, p);
	} else {
		a->lease_ttl_ms = act->ttl_ms;
		herd_dcs_lease_grant(a->dcs, act->ttl_ms, on_lease, p);
	}
	return 0;
}

/* --- quick local changes ---------------------------------------------------------------------- */

static void on_rows(void *arg, int rc, const struct herd_pg_rows *rows, const struct herd_err *err)
{
	struct pending *p = arg;

	if (rc < 0)
		herd_log_err(p->a->log, HERD_LOG_WARNING, err, "%s failed", p->what);
	pending_end(p, rc == 0);
}

static void on_slots(void *arg, int rc, const struct herd_err *err)
{
	struct pending *p = arg;

	if (rc == 0 && p->slots.drop.n > 0)
		herd_info(p->a->log, "Dropped replication slot '%s'", p->slots.drop.v[0]);
	if (rc == 0 && p->slots.create.n > 0)
		herd_info(p->a->log, "Created physical replication slot '%s'",
			  p->slots.create.v[0]);
	on_rows(arg, rc, NULL, err);
}

static int query(struct herd_agent *a, const struct herd_action *act, const char *sql, int n,
		 const char *const *params)
{
	struct pending *p = pending_new(a, act);
	int rc;

	if (!p)
		return -ENOMEM;
	rc = herd_pg_query(herd_pg_session(a->pg), sql, n, params, 3000, on_rows, p);
	if (rc < 0) {
		p->waited = false;
		pending_end(p, false);
	}
	return rc;
}

static int slot(struct herd_agent *a, const struct herd_action *act)
{
	struct pending *p;
	char lsn[HERD_LSN_TEXT];
	int rc;

	p = pending_new(a, act);
	if (!p)
		return -ENOMEM;
	if (act->act == HERD_ACT_SLOT_CREATE) {
		herd_pg_lines_add(&p->slots.create, act->slot);
	} else if (act->act == HERD_ACT_SLOT_DROP) {
		herd_pg_lines_add(&p->slots.drop, act->slot);
	} else {
		herd_lsn_print(act->lsn, lsn);
		herd_pg_settings_set(&p->slots.advance, act->slot, lsn);
	}
	rc = herd_pg_slots_apply(herd_pg_session(a->pg), &p->slots, 3000, on_slots, p);
	if (rc < 0) {
		p->waited = false;
		pending_end(p, false);
	}
	return rc;
}

static int reload(struct herd_agent *a, bool standby, const char *member, bool force)
{
	struct herd_pg_role role = { 0 };
	struct herd_err err = HERD_ERR_INIT;
	int rc = herd_agent_role(a, standby, member, &role);

	if (rc == 0)
		rc = herd_pg_reload(a->pg, &role, force, &err);
	if (rc < 0)
		herd_log_err(a->log, HERD_LOG_WARNING, &err,
			     "could not change PostgreSQL's "
			     "configuration");
	herd_err_clear(&err);
	herd_pg_role_clear(&role);
	return rc < 0 ? rc : 1;
}

static int set_ssn(struct herd_agent *a, const struct herd_action *act)
{
	herd_str_set(&a->ssn, act->value);
	return reload(a, false, NULL, true);
}

static int wipe(struct herd_agent *a, const struct herd_action *act)
{
	struct herd_err err = HERD_ERR_INIT;
	int rc = herd_pg_move_aside(a->pg, act->value ? act->value : "failed", &err);

	if (rc >= 0)
		herd_agent_set_rewind_mark(a, false);

	if (rc < 0)
		herd_log_err(a->log, HERD_LOG_ERROR, &err,
			     "could not move the data directory away");
	herd_err_clear(&err);
	a->aside_failed |= rc < 0;
	return rc < 0 ? rc : 1;
}

/* --- the plan --------------------------------------------------------------------------------- */

/* 1: done already; 0: under way, its end comes by herd_agent_exec_done when it is waited for. */
static int begin(struct herd_agent *a, const struct herd_action *act)
{
	/* What comes before in the list concerns the store and other members. */
	if (act->act >= HERD_ACT_BOOTSTRAP)
		a->st_stale = true;
	switch (act->act) {
	case HERD_ACT_LEASE_GRANT:
	case HERD_ACT_LEASE_RENEW:
		return lease(a, act);
	case HERD_ACT_RELEASE:
	case HERD_ACT_PASS:
		herd_agent_gave_up(a);
		return change(a, act);
	case HERD_ACT_TAKE:
	case HERD_ACT_PUT:
	case HERD_ACT_DELETE:
		return change(a, act);
	case HERD_ACT_POLL:
		herd_agent_poll(a, act);
		return 1;
	case HERD_ACT_PROBE:
		herd_agent_probe_start(a, act);
		return 1;
	case HERD_ACT_SLOTS_ASK:
		herd_agent_slots_ask(a, act);
		return 1;
	case HERD_ACT_FAILSAFE:
		herd_agent_failsafe_ask(a, act);
		return 1;
	case HERD_ACT_BOOTSTRAP:
	case HERD_ACT_CLONE:
	case HERD_ACT_REWIND:
	case HERD_ACT_START:
	case HERD_ACT_STOP:
	case HERD_ACT_RESTART:
	case HERD_ACT_PROMOTE:
	case HERD_ACT_CHECKPOINT:
	case HERD_ACT_SLOTS_COPY:
		herd_agent_task_start(a, act);
		return 1;
	case HERD_ACT_FOLLOW:
		return reload(a, true, act->member, false);
	case HERD_ACT_RESUME:
		return query(a, act, "SELECT pg_wal_replay_resume()", 0, NULL);
	case HERD_ACT_SET_SSN:
		return set_ssn(a, act);
	case HERD_ACT_SLOT_CREATE:
	case HERD_ACT_SLOT_ADVANCE:
		if (act->slot_type == HERD_SLOT_LOGICAL) {
			herd_agent_slot_work(a, act);
			return 1;
		}
		return slot(a, act);
	case HERD_ACT_SLOT_DROP:
		return slot(a, act);
	case HERD_ACT_WIPE:
		return wipe(a, act);
	case HERD_ACT_DONE_RESTART:
		/* What has only begun is answered by its end (tasks.c). */
		a->want_restart = false;
		if (a->task.running != HERD_TASK_RESTART && a->task.running != HERD_TASK_START)
			herd_rest_done_restart(a->rest, a->task.last_ok);
		return 1;
	case HERD_ACT_DONE_REINIT:
		a->want_reinit = false;
		return 1;
	case HERD_ACT_EXIT:
		a->exit_code = act->exit_code;
		a->exiting = true;
		herd_loop_stop(a->loop);
		return 1;
	case HERD_ACT_NR:
		break;
	}
	assert(!"unknown action");
	return -EINVAL;
}

static void next_actions(struct herd_agent *a)
{
	struct herd_agent_exec *x = &a->exec;

	while (x->next < x->plan.n && !x->waiting && !a->exiting) {
		const struct herd_action *act = &x->plan.act[x->next];
		int rc;

		if (x->plan.valid_ms && herd_now_ms() > x->plan.valid_ms) {
			x->next = x->plan.n;
			x->step_again = true;
			break;
		}
		x->next++;
		rc = begin(a, act);

		if (!act->wait)
			continue;
		x->step_again = true;
		if (rc == 0)
			x->waiting = true;
		else if (rc < 0)
			x->next = x->plan.n;
	}
	if (x->waiting || a->exiting)
		return;
	if (x->step_again || a->wake_again) {
		x->step_again = false;
		herd_agent_wake(a);
	}
}

void herd_agent_run_plan(struct herd_agent *a)
{
	a->exec.gen++;
	a->exec.next = 0;
	a->exec.waiting = false;
	a->exec.step_again = false;
	next_actions(a);
}
