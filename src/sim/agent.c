/*
 * sim/agent.c - the fake shell of an agent: it observes, steps the real core and executes plans,
 * and can die or freeze at any moment in between. And the guard, which only knows a deadline.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "sim/world.h"

int64_t sim_local(const struct sim_node *n, int64_t at)
{
	return n->offset + (int64_t)((double)at * n->rate);
}

/* The first true moment at which the node's clock shows at least local. */
static int64_t true_time(const struct sim_node *n, int64_t local)
{
	int64_t at = (int64_t)((double)(local - n->offset) / n->rate);

	while (sim_local(n, at) < local)
		at++;
	return at;
}

int sim_node_of(const struct sim *w, const char *name)
{
	for (int i = 0; i < w->n_nodes; i++)
		if (herd_str_eq(w->nodes[i].name, name))
			return i;
	return -1;
}

static void run_plan(struct sim *w, int node);

bool sim_agent_absent(struct sim *w, const struct sim_event *e)
{
	const struct sim_node *n = &w->nodes[e->node];

	return !n->agent_up || n->life != e->life;
}

bool sim_agent_frozen(struct sim *w, struct sim_event *e)
{
	const struct sim_node *n = &w->nodes[e->node];

	if (n->frozen_until <= w->now)
		return false;
	sim_at(w, n->frozen_until, e->fn, e->node, e->life, e->arg);
	return true;
}

static void decide(struct sim *w, int node);

static void on_decide(struct sim *w, struct sim_event *e)
{
	struct sim_node *n = &w->nodes[e->node];

	if (sim_agent_absent(w, e) || sim_agent_frozen(w, e))
		return;
	n->deciding = false;
	decide(w, e->node);
	if (n->agent_up && n->life == e->life && n->wake_again) {
		n->wake_again = false;
		sim_agent_wake(w, e->node, 2);
	}
}

/* Reading what there is to know takes a moment, and the agent may be held up in it. */
static void on_step(struct sim *w, struct sim_event *e)
{
	struct sim_node *n = &w->nodes[e->node];
	int64_t limit = sim_group_of(w, e->node)->config.ttl_ms / 12;

	if (sim_agent_absent(w, e) || sim_agent_frozen(w, e))
		return;
	/* Only the latest wish counts. */
	if (n->step_at > w->now)
		return;
	n->step_at = INT64_MAX;
	if (n->deciding) {
		n->wake_again = true;
		return;
	}
	limit = limit < 250 ? 250 : limit > 1000 ? 1000 : limit;
	n->deciding = true;
	sim_observe(w, n);
	int64_t took = !n->seen.pg.queryable && n->seen.pg.run == HERD_RUN_RUNNING ? limit
		       : w->faults && sim_chance(w, 10) ? sim_rand(w, 5, limit)
							: sim_rand(w, 0, 1);

	sim_at(w, w->now + took, on_decide, e->node, n->life, 0);
}

void sim_agent_wake(struct sim *w, int node, int64_t delay)
{
	struct sim_node *n = &w->nodes[node];

	if (!n->agent_up || n->step_at <= w->now + delay)
		return;
	n->step_at = w->now + delay;
	sim_at(w, n->step_at, on_step, node, n->life, 0);
}

static struct sim_request *request(struct sim *w, struct sim_node *n, enum sim_op op)
{
	struct sim_request *r = calloc(1, sizeof(*r));

	assert(r);
	r->op = op;
	r->node = n->index;
	r->life = n->life;
	r->sent_local_ms = sim_local(n, w->now);
	return r;
}

static void read_store(struct sim *w, struct sim_node *n)
{
	if (n->reading)
		return;
	n->reading = true;
	sim_store_send(w, request(w, n, SIM_READ));
}

static void on_retry_read(struct sim *w, struct sim_event *e)
{
	if (!sim_agent_absent(w, e) && !sim_agent_frozen(w, e))
		read_store(w, &w->nodes[e->node]);
}

static void see(struct sim *w, struct sim_node *n, struct herd_scope *scope, int64_t local)
{
	if (n->scope && n->scope->revision > scope->revision)
		return;
	herd_scope_ref(scope);
	herd_scope_unref(n->scope);
	n->scope = scope;
	n->view_local_ms = local;
}

static void answer(struct sim *w, struct sim_request *r)
{
	struct sim_node *n = &w->nodes[r->node];
	bool ok = r->result == SIM_OK;

	if (!n->agent_up || n->life != r->life)
		return;
	if (r->op == SIM_READ) {
		n->reading = false;
		n->dcs_ok = ok;
		if (ok)
			see(w, n, r->scope, r->sent_local_ms);
		else
			sim_at(w, w->now + 300, on_retry_read, n->index, n->life, 0);
		sim_agent_wake(w, n->index, 0);
		return;
	}
	if (r->op == SIM_GRANT || r->op == SIM_RENEW) {
		n->lease_busy = false;
		if (ok) {
			n->lease = r->lease;
			snprintf(n->lease_text, sizeof(n->lease_text), "%d", r->lease);
			n->lease_sent_local = r->sent_local_ms;
			if (r->op == SIM_GRANT)
				n->lease_ttl = r->ttl_ms;
		} else if (r->result == SIM_LEASE_GONE) {
			n->lease = 0;
		} else {
			n->dcs_ok = false;
			read_store(w, n);
		}
		if (r->op == SIM_RENEW) {
			sim_agent_wake(w, n->index, 0);
			return;
		}
	}
	if (r->plan == 0)
		return;
	/* A waited action: on with the plan, or drop it; and look again either way. */
	if (ok && r->plan == n->plan_serial && n->plan_at < n->plan.n) {
		run_plan(w, n->index);
		return;
	}
	if (r->plan == n->plan_serial)
		n->plan_at = n->plan.n;
	read_store(w, n);
}

static void on_frozen_answer(struct sim *w, struct sim_event *e);

static void deliver_answer(struct sim *w, struct sim_request *r)
{
	struct sim_node *n = &w->nodes[r->node];

	if (n->frozen_until > w->now) {
		r->pending++;
		sim_request_at(w, n->frozen_until, on_frozen_answer, r);
		return;
	}
	answer(w, r);
}

static void on_frozen_answer(struct sim *w, struct sim_event *e)
{
	struct sim_request *r = e->request;

	deliver_answer(w, r);
	sim_request_unref(r);
}

void sim_agent_answer(struct sim *w, struct sim_request *r)
{
	deliver_answer(w, r);
}

static void on_watch(struct sim *w, struct sim_event *e)
{
	struct sim_node *n = &w->nodes[e->node];

	if (sim_agent_absent(w, e))
		return;
	if (sim_agent_frozen(w, e))
		return;
	n->delivering = false;
	if (n->cut_store || w->store.down || !n->up || w->store.slow_until > w->now) {
		/* The stream reconnects, and then shows everything at once. */
		n->delivering = true;
		sim_at(w, w->now + sim_rand(w, 50, 500), on_watch, e->node, e->life, 0);
		return;
	}
	see(w, n, sim_store_scope(w), sim_local(n, w->now));
	sim_agent_wake(w, e->node, 0);
}

void sim_agent_changed(struct sim *w)
{
	for (int i = 0; i < w->n_nodes; i++) {
		struct sim_node *n = &w->nodes[i];

		if (!n->agent_up || n->delivering)
			continue;
		n->delivering = true;
		sim_at(w,
		       w->now + (w->faults && !w->opt->calm && sim_chance(w, 10)
					 ? sim_rand(w, 10, 2000)
					 : sim_rand(w, 1, 5)),
		       on_watch, i, n->life, 0);
	}
}

void sim_agent_task_done(struct sim *w, int node, enum herd_task task, bool ok)
{
	struct sim_node *n = &w->nodes[node];

	if (!n->agent_up || n->task != task)
		return;
	n->failures = ok ? 0 : n->last_task == task && !n->last_ok ? n->failures + 1 : 1;
	/* What was read before says nothing about the server as it is now; tasks.c does the same.
	 */
	if (ok && task == HERD_TASK_PROMOTE)
		n->seen.pg.in_recovery = n->seen.pg.queryable = false;
	n->last_task = task;
	n->last_ok = ok;
	n->last_task_at = w->now;
	n->task = HERD_TASK_NONE;
	n->task_serial++;
	if (task == HERD_TASK_RESTART)
		n->task_serial++;
	sim_agent_wake(w, node, sim_rand(w, 0, 3));
}

/* ---- actions ---- */

static void begin(struct sim *w, struct sim_node *n, enum herd_task task)
{
	n->task = task;
	n->task_since = w->now;
	n->task_serial++;
}

/* A task ends before its time, because a STOP was ordered. */
static void cancel(struct sim *w, struct sim_node *n)
{
	if (n->task == HERD_TASK_CLONE || n->task == HERD_TASK_REWIND)
		sim_server_copy_broke(w, n->index);
	n->task_serial++;
	n->task = HERD_TASK_NONE;
}

/* What the shell writes into a standby's configuration by the look of the store. */
static void set_feedback(struct sim *w, struct sim_node *n)
{
	const struct herd_cluster *c = herd_scope_group(n->scope, w->groups[n->group].id);

	if (c)
		n->feedback = herd_slots_need_feedback(c, n->name, &n->self.tags);
}

static void start_task(struct sim *w, struct sim_node *n, const struct herd_action *a)
{
	int other = sim_node_of(w, a->member);
	struct sim_server *pg = &n->pg;

	if (a->act == HERD_ACT_STOP) {
		cancel(w, n);
		begin(w, n, HERD_TASK_STOP);
		sim_server_stop(w, n->index, a->mode == HERD_STOP_IMMEDIATE);
		return;
	}
	if (n->task != HERD_TASK_NONE)
		return;
	switch (a->act) {
	case HERD_ACT_BOOTSTRAP:
		if (pg->run != HERD_RUN_DOWN || pg->data != HERD_DATA_EMPTY)
			return;
		begin(w, n, HERD_TASK_BOOTSTRAP);
		sim_server_bootstrap(w, n->index);
		break;
	case HERD_ACT_CLONE:
	case HERD_ACT_REWIND:
		if (pg->run != HERD_RUN_DOWN || other < 0)
			return;
		begin(w, n, a->act == HERD_ACT_CLONE ? HERD_TASK_CLONE : HERD_TASK_REWIND);
		sim_server_copy(w, n->index, other, a->act == HERD_ACT_REWIND);
		break;
	case HERD_ACT_START:
		set_feedback(w, n);
		if (pg->run != HERD_RUN_DOWN || pg->data != HERD_DATA_VALID)
			return;
		begin(w, n, HERD_TASK_START);
		sim_server_start(w, n->index, a->standby, other);
		break;
	case HERD_ACT_PROMOTE:
		begin(w, n, HERD_TASK_PROMOTE);
		if (pg->run == HERD_RUN_RUNNING && pg->standby)
			sim_server_promote(w, n->index);
		else
			sim_agent_task_done(w, n->index, HERD_TASK_PROMOTE, false);
		break;
	case HERD_ACT_SLOTS_COPY:
		if (pg->run != HERD_RUN_RUNNING || other < 0)
			return;
		begin(w, n, HERD_TASK_SLOTS_COPY);
		n->copy_from = other;
		n->copy_n = 0;
		for (size_t i = 0; i < a->n_names && i < SIM_SLOTS; i++)
			n->copy[n->copy_n++] = sim_intern(w, a->names[i]);
		sim_server_restart(w, n->index);
		break;
	case HERD_ACT_RESTART:
		if (pg->run != HERD_RUN_RUNNING)
			return;
		begin(w, n, HERD_TASK_RESTART);
		sim_server_restart(w, n->index);
		break;
	case HERD_ACT_CHECKPOINT:
		if (pg->run != HERD_RUN_RUNNING)
			return;
		begin(w, n, HERD_TASK_CHECKPOINT);
		sim_server_checkpoint(w, n->index);
		break;
	default:
		break;
	}
}

static void send_change(struct sim *w, struct sim_node *n, const struct herd_action *a)
{
	struct sim_request *r = request(w, n, SIM_CHANGE);

	r->key = strdup(a->key);
	r->value = a->value ? strdup(a->value) : NULL;
	r->cond = a->cond;
	r->version = a->version;
	r->lease = a->lease ? atoi(a->lease) : a->on_lease ? n->lease : 0;
	r->plan = a->wait ? n->plan_serial : 0;
	sim_store_send(w, r);
}

/* True: the next action may begin; false: something is waited for. */
static bool execute(struct sim *w, struct sim_node *n, const struct herd_action *a)
{
	struct sim_request *r;

	switch (a->act) {
	case HERD_ACT_LEASE_GRANT:
	case HERD_ACT_LEASE_RENEW:
		n->lease_busy = true;
		r = request(w, n, a->act == HERD_ACT_LEASE_GRANT ? SIM_GRANT : SIM_RENEW);
		r->ttl_ms = a->ttl_ms;
		r->lease = n->lease;
		r->plan = a->wait ? n->plan_serial : 0;
		sim_store_send(w, r);
		return !a->wait;
	case HERD_ACT_TAKE:
	case HERD_ACT_RELEASE:
	case HERD_ACT_PASS:
	case HERD_ACT_PUT:
	case HERD_ACT_DELETE:
		send_change(w, n, a);
		return !a->wait;
	case HERD_ACT_POLL:
		sim_poll(w, n, a);
		return true;
	case HERD_ACT_PROBE:
		sim_probe(w, n, a);
		return true;
	case HERD_ACT_FAILSAFE:
		sim_failsafe(w, n, a);
		return true;
	case HERD_ACT_SLOTS_ASK:
		sim_ask_slots(w, n, a);
		return true;
	case HERD_ACT_SLOT_CREATE:
		sim_slot_create(w, n->index, a);
		return true;
	case HERD_ACT_SLOT_DROP:
		sim_slot_drop(w, n->index, a->slot);
		return true;
	case HERD_ACT_SLOT_ADVANCE:
		sim_slot_advance(w, n->index, a->slot, a->lsn);
		return true;
	case HERD_ACT_DONE_RESTART:
		n->want_restart = false;
		return true;
	case HERD_ACT_DONE_REINIT:
		n->want_reinit = false;
		return true;
	case HERD_ACT_FOLLOW:
		set_feedback(w, n);
		sim_server_follow(w, n->index, sim_node_of(w, a->member));
		return true;
	case HERD_ACT_SET_SSN:
		sim_server_set_ssn(w, n->index, a->value);
		return true;
	case HERD_ACT_WIPE:
		if (n->pg.run == HERD_RUN_DOWN)
			sim_server_wipe(w, n->index);
		return true;
	case HERD_ACT_EXIT:
		sim_agent_kill(w, n->index);
		if (!n->stays_away)
			sim_agent_start_later(w, n->index, 1000);
		return false;
	default:
		start_task(w, n, a);
		return true;
	}
}

/* What every agent does all the time only hides the rest. */
static bool worth_telling(const struct herd_action *a)
{
	if (a->act == HERD_ACT_LEASE_RENEW || a->act == HERD_ACT_SLOT_ADVANCE)
		return false;
	return a->act != HERD_ACT_PUT ||
	       (!strstr(a->key, "members/") &&
		strcmp(a->key + strlen(a->key) - strlen("status"), "status") != 0);
}

static void on_plan(struct sim *w, struct sim_event *e)
{
	if (!sim_agent_absent(w, e) && !sim_agent_frozen(w, e) &&
	    w->nodes[e->node].plan_serial == e->arg)
		run_plan(w, e->node);
}

/*
 * Runs the plan from where it stands. Between two actions the agent may freeze or die, as any
 * process may between two system calls.
 */
static void run_plan(struct sim *w, int node)
{
	struct sim_node *n = &w->nodes[node];
	int life = n->life;

	while (n->plan_at < n->plan.n) {
		const struct herd_action *a = &n->plan.act[n->plan_at];

		if (n->plan.valid_ms && sim_local(n, w->now) > n->plan.valid_ms) {
			n->plan_at = n->plan.n;
			break;
		}
		n->plan_at++;
		if (sim_trace_on(w)) {
			char *text = herd_action_print(a);

			if (worth_telling(a))
				sim_trace(w, n->name, "    does %.200s", text);
			free(text);
		}
		bool next = execute(w, n, a);

		if (n->life != life || !n->agent_up)
			return;
		if (!next)
			return;
		if (a->wait && n->plan_at < n->plan.n) {
			sim_at(w, w->now + sim_rand(w, 0, 2), on_plan, node, n->life,
			       n->plan_serial);
			return;
		}
	}
	if (n->plan.n > 0 && n->plan.act[n->plan.n - 1].wait)
		read_store(w, n);
}

/* ---- the guard ---- */

enum { GUARD_STAY_MS = 50 };

/*
 * The deadline stands until the agent moves it: what starts after it ends, too. A guard that is
 * frozen acts as soon as it goes on.
 */
static void on_guard(struct sim *w, struct sim_event *e)
{
	struct sim_node *n = &w->nodes[e->node];
	bool first = n->pg.run != HERD_RUN_DOWN || n->pg.orphans;

	if (!n->up || n->guard_local == 0 || n->guard_local != e->arg)
		return;
	if (n->guard_until > w->now) {
		sim_at(w, n->guard_until, on_guard, e->node, 0, e->arg);
		return;
	}
	if (first && e->life == 0)
		sim_check_guard(w, e->node);
	if (first) {
		sim_trace(w, n->name, "the guard stops postgres");
		sim_server_guard_kill(w, e->node);
	}
	if (n->agent_up)
		sim_at(w, w->now + GUARD_STAY_MS, on_guard, e->node, 1, e->arg);
	else
		n->guard_local = 0;
}

static void set_guard(struct sim *w, struct sim_node *n)
{
	int64_t want = n->plan.guard_ms;

	if (!w->opt->guard || want == HERD_GUARD_KEEP || want == n->guard_local)
		return;
	n->guard_local = want;
	if (want <= 0)
		return;
	/* The scheduler may take its time, in the worst case. */
	int64_t at =
		true_time(n, want) +
		(sim_chance(w, 50) ? sim_rand(w, 0, sim_group_of(w, n->index)->config.ttl_ms / 24)
				   : sim_rand(w, 0, 2));

	sim_at(w, at > w->now ? at : w->now, on_guard, n->index, 0, want);
}

/* ---- the step ---- */

static void decide(struct sim *w, int node)
{
	struct sim_node *n = &w->nodes[node];
	struct herd_obs o;

	sim_obs(w, n, &o);
	herd_core_step(n->core, &o, &n->plan);
	if (w->now - n->steps_since >= 1000) {
		n->steps_since = w->now;
		n->steps_now = 0;
	}
	if (++n->steps_now > 300)
		sim_fail(w, "%s decides without end: %s", n->name, n->plan.rule);
	w->report.n_steps++;
	n->plan_serial++;
	n->plan_at = 0;
	if (sim_trace_on(w) && (!n->plan.heartbeat || !herd_str_eq(n->told_rule, n->plan.rule))) {
		if (n->plan.why[0])
			sim_trace(w, n->name, "decides [%s] %s", n->plan.rule, n->plan.why);
		n->told_rule = sim_intern(w, n->plan.rule);
	}
	if (n->plan.warning)
		sim_trace(w, n->name, "warns: %s", n->plan.warning);
	set_guard(w, n);
	int64_t next = true_time(n, n->plan.next_ms);

	sim_agent_wake(w, node, next > w->now ? next - w->now : 1);
	run_plan(w, node);
}

static void on_start(struct sim *w, struct sim_event *e)
{
	sim_agent_start(w, e->node);
}

void sim_agent_start_later(struct sim *w, int node, int64_t delay)
{
	sim_at(w, w->now + delay, on_start, node, 0, 0);
}

void sim_agent_start(struct sim *w, int node)
{
	struct sim_node *n = &w->nodes[node];

	if (n->agent_up || !n->up || n->absent)
		return;
	sim_trace(w, n->name, "agent starts");
	n->agent_up = true;
	n->up_since = w->now;
	n->life++;
	n->core = herd_core_new((uint64_t)sim_rand(w, 1, INT64_MAX));
	assert(n->core);
	n->step_at = INT64_MAX;
	n->deciding = n->wake_again = false;
	n->task = n->last_task = HERD_TASK_NONE;
	n->failures = 0;
	n->lease = 0;
	n->lease_busy = n->reading = false;
	n->want_exit = n->want_restart = n->want_reinit = n->stays_away = false;
	/* A stop that was under way goes on without the agent. */
	n->dcs_ok = true;
	n->poll_id = n->asking_id = n->probing_id = 0;
	n->poll_n = 0;
	n->probe = (struct herd_obs_probe){ 0 };
	n->fs_id = n->fs_done_id = 0;
	n->fs_left = 0;
	n->fs_leader = -1;
	n->delivering = true;
	/* Nothing works in a data directory without a postmaster. */
	if (n->pg.run == HERD_RUN_DOWN)
		sim_server_kill_orphans(w, node);
	sim_at(w, w->now + sim_rand(w, 1, 20), on_watch, node, n->life, 0);
	read_store(w, n);
}

void sim_agent_kill(struct sim *w, int node)
{
	struct sim_node *n = &w->nodes[node];

	if (!n->agent_up)
		return;
	sim_trace(w, n->name, "agent ends");
	if (n->task == HERD_TASK_CLONE || n->task == HERD_TASK_REWIND)
		sim_server_copy_broke(w, node);
	n->agent_up = false;
	n->life++;
	n->task = HERD_TASK_NONE;
	n->task_serial++;
	n->plan_serial++;
	n->frozen_until = 0;
	herd_core_free(n->core);
	n->core = NULL;
	herd_plan_clear(&n->plan);
	herd_scope_unref(n->scope);
	n->scope = NULL;
}
