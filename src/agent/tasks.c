/*
 * tasks.c - the long work: bootstrap, clone, rewind, start, stop, restart, promote, checkpoint. One
 * at a time; each is a chain of operations of src/pg. A STOP ends whatever runs.
 */
#define HERD_LOG_PART "patroni.postgresql"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/internal.h"
#include "agent/rest.h"
#include "agent/sharding.h"
#include "base/str.h"
#include "model/time.h"
#include "model/value.h"
#include "pg/archive.h"
#include "pg/clone.h"
#include "pg/initdb.h"
#include "pg/rewind.h"

#define DAY_MS (24 * 3600 * 1000LL)
#define IMMEDIATE_MS 1000 /* then SIGKILL */

const char *herd_agent_task_text(enum herd_task t)
{
	switch (t) {
	case HERD_TASK_NONE:
		break;
	case HERD_TASK_BOOTSTRAP:
		return "bootstrap";
	case HERD_TASK_CLONE:
		return "creating replica";
	case HERD_TASK_REWIND:
		return "pg_rewind";
	case HERD_TASK_START:
		return "start";
	case HERD_TASK_STOP:
		return "stop";
	case HERD_TASK_RESTART:
		return "restart";
	case HERD_TASK_PROMOTE:
		return "promote";
	case HERD_TASK_CHECKPOINT:
		return "checkpoint";
	case HERD_TASK_SLOTS_COPY:
		return "copying of logical slots";
	}
	return "nothing";
}

void herd_agent_on_link(void *arg, int rc, const struct herd_err *err)
{
	struct herd_agent_link *l = arg;

	if (l->task == l->a->task.id && !l->a->exiting)
		l->next(l->a, rc, err);
	free(l);
}

struct herd_agent_link *herd_agent_link_new(struct herd_agent *a,
					    void (*next)(struct herd_agent *, int,
							 const struct herd_err *))
{
	struct herd_agent_link *l = malloc(sizeof(*l));

	if (l)
		*l = (struct herd_agent_link){ a, a->task.id, next };
	return l;
}

void herd_agent_begun(struct herd_agent_link *l, int rc, struct herd_err *err)
{
	if (rc < 0)
		herd_agent_on_link(l, rc, err);
	herd_err_clear(err);
}

/* --- the end of a task ------------------------------------------------------------------------ */

static void on_control(void *arg, int rc, const struct herd_pg_controldata *c,
		       const struct herd_err *err)
{
	struct herd_agent *a = arg;

	if (rc == 0)
		a->rewind_possible = herd_pg_rewind_possible(a->pg, c);
	herd_agent_wake(a);
}

void herd_agent_look_at_control(struct herd_agent *a)
{
	if (herd_pg_datadir(a->pg, NULL) == HERD_PG_DATADIR_VALID)
		herd_pg_control_read(a->loop, herd_pg_config(a->pg), on_control, a, NULL);
}

/*
 * A start as standby of what has been a primary is a change of role, not a start: scripts move
 * addresses by it. The first callback of an agent's life is never a change.
 */
static void started(struct herd_agent *a, const char *action)
{
	enum herd_role role = a->task.standby ? HERD_ROLE_REPLICA : HERD_ROLE_PRIMARY;
	bool demoted = role == HERD_ROLE_REPLICA &&
		       (a->last_role == HERD_ROLE_PRIMARY || a->last_role == HERD_ROLE_DEMOTED ||
			a->last_role == HERD_ROLE_STANDBY_LEADER);

	/* A cluster that was demoted: its leader is that of a standby cluster at once. */
	if (demoted && a->leader && herd_str_eq(a->task.member, HERD_REMOTE))
		role = HERD_ROLE_STANDBY_LEADER;

	a->last_role = role;
	herd_agent_callback(a, demoted ? "on_role_change" : action, herd_role_text(role));
}

static void run_callbacks(struct herd_agent *a, enum herd_task t)
{
	switch (t) {
	case HERD_TASK_START:
	case HERD_TASK_SLOTS_COPY:
		started(a, "on_start");
		break;
	case HERD_TASK_STOP:
		herd_agent_callback(a, "on_stop", herd_agent_last_role(a));
		break;
	case HERD_TASK_RESTART:
		started(a, "on_restart");
		break;
	case HERD_TASK_PROMOTE:
		a->last_role = HERD_ROLE_PRIMARY;
		herd_agent_callback(a, "on_role_change", "primary");
		break;
	default:
		break;
	}
}

const char *herd_agent_last_role(const struct herd_agent *a)
{
	if (a->last_role != HERD_ROLE_UNKNOWN)
		return herd_role_text(a->last_role);
	return a->st.in_recovery ? "replica" : "primary";
}

void herd_agent_adopted(struct herd_agent *a)
{
	if (a->last_role != HERD_ROLE_UNKNOWN || a->task.running != HERD_TASK_NONE)
		return;
	a->last_role = a->st.in_recovery ? HERD_ROLE_REPLICA : HERD_ROLE_PRIMARY;
	herd_agent_callback(a, "on_start", herd_role_text(a->last_role));
}

/* A running standby becomes or ceases to be the leader of a standby cluster without a restart. */
void herd_agent_standby_role(struct herd_agent *a)
{
	const struct herd_cluster *c = herd_agent_cluster(a);
	bool standby = a->run == HERD_RUN_RUNNING && a->st_known && a->st.in_recovery;
	enum herd_role role = a->last_role;

	if (!c || !standby || a->task.running != HERD_TASK_NONE)
		return;
	if (role == HERD_ROLE_REPLICA && a->leader && c->config.standby_cluster)
		role = HERD_ROLE_STANDBY_LEADER;
	else if (role == HERD_ROLE_STANDBY_LEADER && !a->leader && c->leader &&
		 !herd_str_eq(c->leader, a->name))
		role = HERD_ROLE_REPLICA;
	if (role == a->last_role)
		return;
	a->last_role = role;
	herd_agent_callback(a, "on_role_change", herd_role_text(role));
}

void herd_agent_gave_up(struct herd_agent *a)
{
	if (a->last_role != HERD_ROLE_PRIMARY || a->task.last != HERD_TASK_START || a->task.last_ok)
		return;
	a->last_role = HERD_ROLE_DEMOTED;
	herd_agent_callback(a, "on_role_change", "demoted");
}

/* How a member came back to the others is asked for later, when logs are gone. */
static void note_rejoin(struct herd_agent *a, const char *what)
{
	const char *from = a->task.member;
	json_t *v = json_pack("{s:s,s:s}", "what", what, "why",
			      a->exec.plan.why ? a->exec.plan.why : "");

	if (from)
		json_object_set_new(
			v, "from",
			json_string(herd_str_eq(from, HERD_REMOTE) ? "standby_cluster" : from));
	json_decref(a->rejoin);
	a->rejoin = v;
}

static void end_rejoin(struct herd_agent *a, int rc, const struct herd_err *err)
{
	char *now = herd_time_print(herd_wall_ms());
	json_t *v = a->rejoin ? json_copy(a->rejoin) : NULL;

	if (!v) {
		free(now);
		return;
	}
	json_object_set_new(v, "at", json_string(now ? now : ""));
	json_object_set_new(v, "result", json_string(rc == 0 ? "done" : herd_err_text(err)));
	free(now);
	json_decref(a->rejoin);
	a->rejoin = v;
}

static void finish(struct herd_agent *a, int rc, const struct herd_err *err)
{
	enum herd_task t = a->task.running;

	if (t == HERD_TASK_CLONE || t == HERD_TASK_REWIND)
		end_rejoin(a, rc, err);

	a->st_stale = true;
	a->task.running = HERD_TASK_NONE;
	a->task.id++;
	a->task.failures = rc == 0 ? 0 : (a->task.last == t ? a->task.failures : 0) + 1;
	a->task.last = t;
	a->task.last_ok = rc == 0;
	a->task.last_again = rc == -EAGAIN;
	a->task.last_ms = herd_now_ms();
	herd_str_set(&a->task.error, rc == 0 ? NULL : herd_err_text(err));
	/* Slots that are not there yet are asked for again and again. */
	bool quiet = t == HERD_TASK_SLOTS_COPY && rc == -EAGAIN;

	if (rc < 0)
		herd_log_err(a->log, quiet ? HERD_LOG_DEBUG : HERD_LOG_ERROR, err, "%s failed",
			     herd_agent_task_text(t));
	else
		herd_debug(a->log, "%s has ended", herd_agent_task_text(t));
	if (rc == 0)
		run_callbacks(a, t);
	if (rc == 0 && (t == HERD_TASK_PROMOTE ||
			(!a->task.standby && (t == HERD_TASK_START || t == HERD_TASK_RESTART))))
		herd_sharding_after_promote(a->sharding);
	/* Settings of the role; and primary_conninfo is nobody's any more. */
	if (rc == 0 && t == HERD_TASK_PROMOTE) {
		a->conf_stale = true;
		a->promoted_ms = herd_now_ms();
		a->st.in_recovery = false;
		a->st_fresh = false;
	}
	if (t == HERD_TASK_RESTART || t == HERD_TASK_START)
		herd_rest_done_restart(a->rest, rc == 0);
	if (t != HERD_TASK_CHECKPOINT)
		herd_agent_look_at_control(a);
	/* The heartbeat: what happens next must see the store as it is now. */
	a->exec.reread = true;
	herd_agent_wake(a);
}

void herd_agent_task_finish(struct herd_agent *a, int rc, const struct herd_err *err)
{
	finish(a, rc, err);
}

/* --- roles ------------------------------------------------------------------------------------ */

/* The primary outside, with what only its standby gets of the section. */
static int remote_role(const struct herd_config *c, struct herd_pg_role *role)
{
	static const char *const keys[] = { "restore_command", "archive_cleanup_command",
					    "recovery_min_apply_delay" };
	const json_t *section = json_object_get(c->raw, "standby_cluster");
	int rc = 0;

	if (!herd_str_set(&role->primary.host, c->standby_host) ||
	    !herd_str_set(&role->primary.port, c->standby_host ? c->standby_port : NULL) ||
	    !herd_str_set(&role->primary_slot_name, c->standby_slot ? c->standby_slot : ""))
		return -ENOMEM;
	/* Of several the one that takes writes: it may fail over to another of the list. */
	if (c->standby_host && strchr(c->standby_host, ',') &&
	    !herd_str_set(&role->primary.target_session_attrs, "read-write"))
		return -ENOMEM;
	for (size_t i = 0; i < 3 && rc == 0; i++) {
		char *text = herd_value_text(json_object_get(section, keys[i]));

		if (text && *text)
			rc = herd_pg_settings_set(&role->recovery, keys[i], text);
		free(text);
	}
	return rc;
}

bool herd_agent_leads_standby(const struct herd_agent *a, bool standby)
{
	const struct herd_cluster *c = herd_agent_cluster(a);

	return standby && a->leader && c && c->config.standby_cluster;
}

int herd_agent_role(struct herd_agent *a, bool standby, const char *member,
		    struct herd_pg_role *ret)
{
	const struct herd_cluster *c = herd_agent_cluster(a);
	const struct herd_config *dyn = herd_agent_dynamic(a);
	const struct herd_member *m = c && member ? herd_cluster_member(c, member) : NULL;
	struct herd_pg_role role = { .standby = standby,
				     .leader = herd_agent_leads_standby(a, standby) };
	int rc = 0;

	if (standby && m && m->conn_url)
		rc = herd_pg_addr_parse_url(m->conn_url, &role.primary, NULL);
	if (standby && herd_str_eq(member, HERD_REMOTE) && dyn->standby_cluster)
		rc = remote_role(dyn, &role);
	if (standby && c) {
		struct herd_tags tags = { 0 };

		if (herd_tags_from_json(herd_agent_config_get(a->cfg, "tags"), &tags) == 0)
			role.force_hot_standby_feedback =
				herd_slots_need_feedback(c, a->name, &tags);
		herd_tags_clear(&tags);
	}
	/*
	 * A standby has the setting already with which it would lead: a promotion waits for less.
	 * One that was promoted keeps its settings of recovery, but commits of its reign must wait.
	 */
	bool promoted = a->run == HERD_RUN_RUNNING && a->st_known && !a->st.in_recovery;

	if (standby && !promoted && c && dyn->synchronous_mode != HERD_SYNC_OFF &&
	    !dyn->standby_cluster)
		herd_str_set(&a->ssn, herd_sync_first(dyn));
	if (rc == 0 && a->ssn)
		rc = herd_pg_settings_set(&role.parameters, "synchronous_standby_names", a->ssn);
	if (rc < 0) {
		herd_pg_role_clear(&role);
		return rc;
	}
	*ret = role;
	return 0;
}

int herd_agent_source(struct herd_agent *a, const char *member, struct herd_pg_addr *ret)
{
	struct herd_pg_role role = { 0 };
	int rc = herd_agent_role(a, true, member, &role);

	if (rc == 0)
		rc = herd_pg_addr_copy(&role.primary, ret);
	herd_pg_role_clear(&role);
	return rc;
}

/* --- start, restart --------------------------------------------------------------------------- */

/*
 * A hook, or the stop before a start, may have taken long, and we may have been stopped ourselves:
 * what the core has allowed then counts no more.
 */
static int still_allowed(const struct herd_agent *a, struct herd_err *err)
{
	if (!a->task.leads || herd_now_ms() < a->act_until_ms)
		return 0;
	return herd_err_set(err, -ETIME, "the leader lock may be lost meanwhile");
}

static void do_start(struct herd_agent *a)
{
	struct herd_pg_role role = { 0 };
	struct herd_err err = HERD_ERR_INIT;
	struct herd_agent_link *l = herd_agent_link_new(a, finish);
	int rc = l ? still_allowed(a, &err) : -ENOMEM;

	if (rc == 0)
		rc = herd_agent_role(a, a->task.standby, a->task.member, &role);
	char *fresh = herd_agent_fresh_mark(a);

	a->crashed = false;
	/* From here on somebody may have written: it is no new data directory any more. */
	if (rc == 0 && (!fresh || (unlink(fresh) < 0 && errno != ENOENT)))
		rc = fresh ? -errno : -ENOMEM;
	free(fresh);
	if (rc == 0)
		rc = herd_pg_start(a->pg, &role, DAY_MS, herd_agent_on_link, l, &err);
	herd_pg_role_clear(&role);
	if (l)
		herd_agent_begun(l, rc, &err);
	else
		finish(a, rc, NULL);
}

static void start_after_stop(struct herd_agent *a, int rc, const struct herd_err *err)
{
	if (rc < 0)
		finish(a, rc, err);
	else
		do_start(a);
}

/* --- stop ------------------------------------------------------------------------------------- */

static void on_shut_down(void *arg, uint64_t checkpoint_lsn, uint32_t tli)
{
	struct herd_agent_link *l = arg;

	herd_agent_wake(l->a);
}

static void do_stop(struct herd_agent *a, enum herd_pg_stop_mode mode,
		    void (*next)(struct herd_agent *, int, const struct herd_err *))
{
	struct herd_pg_stop_opts o = {
		.mode = mode,
		.timeout_ms = mode == HERD_PG_IMMEDIATE ? IMMEDIATE_MS : 0,
		.escalate = mode == HERD_PG_IMMEDIATE,
		.shut_down = on_shut_down,
	};
	struct herd_err err = HERD_ERR_INIT;
	struct herd_agent_link *l = herd_agent_link_new(a, next);

	if (!l) {
		finish(a, -ENOMEM, NULL);
		return;
	}
	herd_agent_begun(l, herd_pg_stop(a->pg, &o, herd_agent_on_link, l, &err), &err);
}

void herd_agent_task_stop(struct herd_agent *a,
			  void (*next)(struct herd_agent *, int, const struct herd_err *))
{
	do_stop(a, HERD_PG_FAST, next);
}

void herd_agent_task_do_start(struct herd_agent *a)
{
	do_start(a);
}

/* A cluster is demoted: whoever leads outside may know our WAL by the archive alone. */
static void archive_after_stop(struct herd_agent *a, int rc, const struct herd_err *err)
{
	struct herd_err e = HERD_ERR_INIT;
	struct herd_agent_link *l = rc == 0 ? herd_agent_link_new(a, finish) : NULL;

	if (l)
		herd_agent_begun(l, herd_pg_archive(a->pg, true, herd_agent_on_link, l, &e), &e);
	else
		finish(a, rc == 0 ? -ENOMEM : rc, err);
}

static void stop_after_hook(void *arg, bool ok)
{
	struct herd_agent_link *l = arg;
	struct herd_agent *a = l->a;

	if (l->task == a->task.id && !a->exiting)
		do_stop(a, HERD_PG_FAST,
			a->task.running == HERD_TASK_RESTART ? start_after_stop
			: a->task.archive                    ? archive_after_stop
							     : finish);
	free(l);
}

static void hook_after_sharding(void *arg)
{
	struct herd_agent_link *l = arg;
	struct herd_agent *a = l->a;

	if (l->task == a->task.id && !a->exiting)
		herd_agent_hook(a, "postgresql.before_stop", 0, stop_after_hook, l);
	else
		free(l);
}

/* A planned stop: the coordinator first makes statements wait, then the hook, then fast. */
static void stop_politely(struct herd_agent *a)
{
	struct herd_agent_link *l = herd_agent_link_new(a, NULL);

	if (!l)
		finish(a, -ENOMEM, NULL);
	else if (a->st_known && !a->st.in_recovery && a->leader)
		herd_sharding_before_demote(a->sharding, hook_after_sharding, l);
	else
		hook_after_sharding(l);
}

static void begin_stop(struct herd_agent *a, const struct herd_action *act)
{
	bool again = a->task.running == HERD_TASK_STOP;

	if (again && act->mode == HERD_STOP_IMMEDIATE && herd_pg_operation(a->pg) &&
	    herd_pg_phase(a->pg) == HERD_PG_PHASE_STOPPING) {
		/* The fast shutdown that runs has no more time. */
		if (herd_pg_pid(a->pg) > 0)
			kill(herd_pg_pid(a->pg), SIGQUIT);
		return;
	}
	if (again && act->mode == HERD_STOP_FAST)
		return;
	a->task.id++;
	if (a->task.running == HERD_TASK_NONE || !again)
		a->task.since_ms = herd_now_ms();
	a->task.running = HERD_TASK_STOP;
	a->task.archive = act->archive;
	if (act->mode == HERD_STOP_IMMEDIATE)
		do_stop(a, HERD_PG_IMMEDIATE, finish);
	else
		stop_politely(a);
}

/* --- promote ---------------------------------------------------------------------------------- */

static void promote_after_hook(void *arg, bool ok)
{
	struct herd_agent_link *l = arg;
	struct herd_agent *a = l->a;
	struct herd_err err = HERD_ERR_INIT;

	if (l->task != a->task.id || a->exiting) {
		free(l);
		return;
	}
	l->next = finish;
	if (!ok || still_allowed(a, &err) < 0) {
		if (!ok)
			herd_err_set(&err, -EPERM, "pre_promote script failed");
		herd_agent_on_link(l, -EPERM, &err);
		herd_err_clear(&err);
		return;
	}
	herd_sharding_before_promote(a->sharding);
	herd_agent_begun(l, herd_pg_promote(a->pg, DAY_MS, herd_agent_on_link, l, &err), &err);
}

/* --- clone, rewind, checkpoint ---------------------------------------------------------------- */

char *herd_agent_rewind_mark(const struct herd_agent *a)
{
	return herd_str_printf("%s.rewinding", herd_pg_config(a->pg)->data_dir);
}

void herd_agent_set_rewind_mark(struct herd_agent *a, bool there)
{
	char *mark = herd_agent_rewind_mark(a);
	int fd = !mark || !there ? -1 : open(mark, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	if (mark && !there)
		unlink(mark);
	if (fd >= 0)
		close(fd);
	free(mark);
}

/* A copy replaces whatever a rewind has left. */
static void copied(struct herd_agent *a, int rc, const struct herd_err *err)
{
	if (rc == 0)
		herd_agent_set_rewind_mark(a, false);
	finish(a, rc, err);
}

static void begin_clone(struct herd_agent *a)
{
	struct herd_pg_clone_opts o = { 0 };
	struct herd_err err = HERD_ERR_INIT;
	struct herd_agent_link *l = herd_agent_link_new(a, copied);
	int rc = l && a->task.member ? herd_agent_source(a, a->task.member, &o.source) : 0;

	if (rc == 0 && herd_str_eq(a->task.member, HERD_REMOTE))
		rc = herd_agent_remote_methods(a, &o.method, &o.method_n);
	if (l)
		herd_agent_begun(
			l, rc < 0 ? rc : herd_pg_clone(a->pg, &o, herd_agent_on_link, l, &err),
			&err);
	else
		finish(a, -ENOMEM, NULL);
	for (size_t i = 0; i < o.method_n; i++)
		herd_pg_method_clear(&o.method[i]);
	free(o.method);
	herd_pg_addr_clear(&o.source);
}

/* Unless it is known that nothing was changed, a rewind that failed has left a mixture. */
static void rewound(struct herd_agent *a, int rc, const struct herd_err *err)
{
	if (rc == 0 || rc == -EAGAIN)
		herd_agent_set_rewind_mark(a, false);
	finish(a, rc, err);
}

static void begin_rewind(struct herd_agent *a)
{
	struct herd_pg_addr source = { 0 };
	struct herd_err err = HERD_ERR_INIT;
	struct herd_agent_link *l = herd_agent_link_new(a, rewound);
	int rc = l ? herd_agent_source(a, a->task.member, &source) : 0;

	herd_agent_set_rewind_mark(a, true);

	if (l)
		herd_agent_begun(
			l,
			rc < 0 ? rc : herd_pg_rewind(a->pg, &source, herd_agent_on_link, l, &err),
			&err);
	else
		finish(a, -ENOMEM, NULL);
	herd_pg_addr_clear(&source);
}

static void begin_checkpoint(struct herd_agent *a)
{
	struct herd_err err = HERD_ERR_INIT;
	struct herd_agent_link *l = herd_agent_link_new(a, finish);

	if (l)
		herd_agent_begun(l, herd_pg_checkpoint(a->pg, DAY_MS, herd_agent_on_link, l, &err),
				 &err);
	else
		finish(a, -ENOMEM, NULL);
}

/* --- the door --------------------------------------------------------------------------------- */

static enum herd_task task_of(enum herd_act act)
{
	switch (act) {
	case HERD_ACT_BOOTSTRAP:
		return HERD_TASK_BOOTSTRAP;
	case HERD_ACT_CLONE:
		return HERD_TASK_CLONE;
	case HERD_ACT_REWIND:
		return HERD_TASK_REWIND;
	case HERD_ACT_START:
		return HERD_TASK_START;
	case HERD_ACT_STOP:
		return HERD_TASK_STOP;
	case HERD_ACT_RESTART:
		return HERD_TASK_RESTART;
	case HERD_ACT_PROMOTE:
		return HERD_TASK_PROMOTE;
	case HERD_ACT_CHECKPOINT:
		return HERD_TASK_CHECKPOINT;
	case HERD_ACT_SLOTS_COPY:
		return HERD_TASK_SLOTS_COPY;
	default:
		return HERD_TASK_NONE;
	}
}

static void begin_promote(struct herd_agent *a)
{
	struct herd_agent_link *l = herd_agent_link_new(a, finish);

	if (l)
		herd_agent_hook(a, "postgresql.pre_promote",
				1000 * herd_agent_config_i64(a->cfg, "primary_start_timeout", 300),
				promote_after_hook, l);
	else
		finish(a, -ENOMEM, NULL);
}

int herd_agent_task_start(struct herd_agent *a, const struct herd_action *act)
{
	if (act->act == HERD_ACT_STOP) {
		begin_stop(a, act);
		return 0;
	}
	if (a->task.running != HERD_TASK_NONE)
		return -EBUSY;
	a->task.id++;
	a->task.running = task_of(act->act);
	a->task.since_ms = herd_now_ms();
	a->task.standby = act->standby;
	herd_str_set(&a->task.member, act->member);
	if (a->task.running == HERD_TASK_CLONE || a->task.running == HERD_TASK_REWIND)
		note_rejoin(a, a->task.running == HERD_TASK_CLONE ? "new copy" : "pg_rewind");
	a->task.leads = a->task.running == HERD_TASK_PROMOTE ||
			(a->task.running == HERD_TASK_START && !act->standby) ||
			(a->task.running == HERD_TASK_RESTART && a->leader && !a->st.in_recovery);
	switch (a->task.running) {
	case HERD_TASK_BOOTSTRAP:
		herd_agent_begin_bootstrap(a);
		break;
	case HERD_TASK_CLONE:
		begin_clone(a);
		break;
	case HERD_TASK_REWIND:
		begin_rewind(a);
		break;
	case HERD_TASK_START:
		do_start(a);
		break;
	case HERD_TASK_RESTART: {
		const struct herd_pg_role *role = herd_pg_role(a->pg);
		const char *following = herd_agent_following(a);

		/* Restart keeps what it is: role and leader as they stand. */
		a->task.standby = role ? role->standby : a->st.in_recovery;
		herd_str_set(&a->task.member, following);
		stop_politely(a);
		break;
	}
	case HERD_TASK_PROMOTE:
		begin_promote(a);
		break;
	case HERD_TASK_CHECKPOINT:
		begin_checkpoint(a);
		break;
	case HERD_TASK_SLOTS_COPY:
		/* It may stream from another than the primary. */
		a->task.standby = true;
		herd_str_set(&a->task.member, herd_agent_following(a));
		herd_agent_slots_copy(a, act);
		break;
	case HERD_TASK_STOP:
	case HERD_TASK_NONE:
		assert(!"not a task");
	}
	return 0;
}
