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

int64_t sim_local(const struct sim *w, const struct sim_node *n, int64_t at)
{
	return n->offset + (int64_t)((double)at * n->rate);
}

/* The first true moment at which the node's clock shows at least local. */
static int64_t true_time(const struct sim *w, const struct sim_node *n, int64_t local)
{
	int64_t at = (int64_t)((double)(local - n->offset) / n->rate);

	while (sim_local(w, n, at) < local)
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

static void step(struct sim *w, int node);
static void run_plan(struct sim *w, int node);

/* The agent cannot act now; a frozen one goes on later with what it was about to do. */
static bool absent(struct sim *w, const struct sim_event *e)
{
	const struct sim_node *n = &w->nodes[e->node];

	return !n->agent_up || n->life != e->life;
}

static bool frozen(struct sim *w, struct sim_event *e)
{
	const struct sim_node *n = &w->nodes[e->node];

	if (n->frozen_until <= w->now)
		return false;
	sim_at(w, n->frozen_until, e->fn, e->node, e->life, e->arg);
	return true;
}

static void on_step(struct sim *w, struct sim_event *e)
{
	struct sim_node *n = &w->nodes[e->node];

	if (absent(w, e) || frozen(w, e))
		return;
	/* Only the latest wish counts. */
	if (n->step_at > w->now)
		return;
	step(w, e->node);
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
	r->sent_local_ms = sim_local(w, n, w->now);
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
	if (!absent(w, e) && !frozen(w, e))
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

	if (absent(w, e))
		return;
	if (frozen(w, e))
		return;
	n->delivering = false;
	if (n->cut_store || w->store.down || !n->up) {
		/* The stream reconnects, and then shows everything at once. */
		n->delivering = true;
		sim_at(w, w->now + sim_rand(w, 50, 500), on_watch, e->node, e->life, 0);
		return;
	}
	see(w, n, sim_store_scope(w), sim_local(w, n, w->now));
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
		       w->now + (w->faults && sim_chance(w, 10) ? sim_rand(w, 10, 2000)
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
	n->last_task = task;
	n->last_ok = ok;
	n->last_task_at = w->now;
	n->task = HERD_TASK_NONE;
	n->task_serial++;
	if (task == HERD_TASK_RESTART)
		n->task_serial++;
	sim_agent_wake(w, node, sim_rand(w, 0, 3));
}

/* ---- questions ---- */

static void on_poll_end(struct sim *w, struct sim_event *e)
{
	struct sim_node *n = &w->nodes[e->node];

	if (absent(w, e) || frozen(w, e) || n->asking_id != e->arg)
		return;
	n->poll_id = n->asking_id;
	n->asking_id = 0;
	memcpy(n->answers, n->asking, sizeof(n->answers));
	sim_agent_wake(w, e->node, 0);
}

static struct herd_obs_answer ask(struct sim *w, int node, int other)
{
	const struct sim_node *m = &w->nodes[other];
	const struct sim_server *pg = &m->pg;

	if (!sim_linked(w, node, other) || !m->agent_up || m->frozen_until > w->now)
		return (struct herd_obs_answer){ .name = m->name };
	return (struct herd_obs_answer){
		.name = m->name,
		.reachable = true,
		.running = pg->run == HERD_RUN_RUNNING,
		.in_recovery = pg->standby,
		.lsn = sim_lsn(pg->log.n),
		.timeline = pg->timeline,
	};
}

static void poll(struct sim *w, struct sim_node *n, const struct herd_action *a)
{
	bool all = true;

	n->asking_id = a->id;
	n->poll_asked = w->now;
	n->poll_n = 0;
	for (size_t i = 0; i < a->n_names; i++) {
		int other = sim_node_of(w, a->names[i]);

		if (other < 0)
			continue;
		n->asking[n->poll_n] = ask(w, n->index, other);
		all &= n->asking[n->poll_n].reachable;
		n->poll_n++;
	}
	sim_at(w, w->now + (all ? sim_rand(w, 1, 10) : 2000), on_poll_end, n->index, n->life,
	       a->id);
}

static void on_probe_end(struct sim *w, struct sim_event *e)
{
	struct sim_node *n = &w->nodes[e->node];
	int other = (int)(e->arg & 0xff);
	int64_t id = e->arg >> 8;

	if (absent(w, e) || frozen(w, e) || n->probing_id != id)
		return;
	n->probing_id = 0;
	n->probe = (struct herd_obs_probe){ .id = id };
	if (other < w->n_nodes && sim_linked(w, e->node, other) &&
	    w->nodes[other].pg.run == HERD_RUN_RUNNING) {
		const struct sim_server *pg = &w->nodes[other].pg;

		herd_history_clear(&n->probe_history);
		herd_history_copy(&pg->history, &n->probe_history);
		n->probe.name = w->nodes[other].name;
		n->probe.ok = true;
		n->probe.sysid = pg->sysid;
		n->probe.in_recovery = pg->standby;
		n->probe.timeline = pg->timeline;
		n->probe.history = &n->probe_history;
	}
	sim_agent_wake(w, e->node, 0);
}

/* ---- failsafe_mode: id << 8 | other node << 4 | word ---- */

static int64_t fs_arg(int64_t id, int other, enum herd_failsafe_word word)
{
	return id << 8 | other << 4 | (int64_t)word;
}

static void on_word(struct sim *w, struct sim_event *e)
{
	struct sim_node *n = &w->nodes[e->node];
	enum herd_failsafe_word word = (enum herd_failsafe_word)(e->arg & 0xf);

	if (absent(w, e) || frozen(w, e) || n->fs_id != e->arg >> 8 || n->fs_left == 0)
		return;
	n->fs_yes &= word == HERD_FAILSAFE_YES;
	n->fs_no |= word != HERD_FAILSAFE_YES;
	if (--n->fs_left > 0)
		return;
	n->fs_done_id = n->fs_id;
	sim_agent_wake(w, e->node, 0);
}

static void on_round_end(struct sim *w, struct sim_event *e)
{
	struct sim_node *n = &w->nodes[e->node];

	if (absent(w, e) || frozen(w, e) || n->fs_id != e->arg || n->fs_left == 0)
		return;
	n->fs_left = 0;
	n->fs_yes = false;
	n->fs_done_id = n->fs_id;
	sim_agent_wake(w, e->node, 0);
}

/* A question arrives. */
static void on_failsafe(struct sim *w, struct sim_event *e)
{
	struct sim_node *n = &w->nodes[e->node];
	int from = (int)(e->arg >> 4 & 0xf);
	const struct herd_cluster *c = n->scope ? herd_scope_group(n->scope, HERD_NO_GROUP) : NULL;

	if (absent(w, e) || !sim_linked(w, e->node, from) || frozen(w, e))
		return;
	int64_t now = sim_local(w, n, w->now);
	bool primary =
		(n->pg.run != HERD_RUN_DOWN && !n->pg.standby) || n->task == HERD_TASK_PROMOTE;
	enum herd_failsafe_word word =
		herd_failsafe_word(c ? c->config.failsafe_mode : w->config.failsafe_mode,
				   n->plan.leader && now < n->plan.leader_until_ms, primary);

	if (word == HERD_FAILSAFE_YES) {
		n->fs_leader = from;
		n->fs_asked_local = now;
		n->fs_leader_ttl = w->nodes[from].fs_ttl;
		n->plan_serial++;
		n->plan_at = n->plan.n;
		sim_agent_wake(w, e->node, 0);
	}
	sim_tempt(w);
	sim_at(w, w->now + sim_rand(w, 0, w->faults && sim_chance(w, 20) ? 2000 : 3), on_word, from,
	       w->nodes[from].life, fs_arg(e->arg >> 8, e->node, word));
}

static void ask_failsafe(struct sim *w, struct sim_node *n, const struct herd_action *a)
{
	n->fs_id = a->id;
	n->fs_ttl = a->ttl_ms;
	n->fs_left = a->n_names;
	n->fs_yes = true;
	n->fs_no = false;
	for (size_t i = 0; i < a->n_names; i++) {
		int other = sim_node_of(w, a->names[i]);

		sim_at(w, w->now + sim_rand(w, 0, w->faults && sim_chance(w, 20) ? 2000 : 3),
		       on_failsafe, other, w->nodes[other].life,
		       fs_arg(a->id, n->index, HERD_FAILSAFE_YES));
	}
	sim_at(w, w->now + a->timeout_ms, on_round_end, n->index, n->life, a->id);
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
	n->task_serial++;
	n->task = HERD_TASK_NONE;
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
	r->lease = a->on_lease ? n->lease : 0;
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
	case HERD_ACT_PUT:
	case HERD_ACT_DELETE:
		send_change(w, n, a);
		return !a->wait;
	case HERD_ACT_POLL:
		poll(w, n, a);
		return true;
	case HERD_ACT_PROBE:
		n->probing_id = a->id;
		sim_at(w, w->now + sim_rand(w, 1, 30), on_probe_end, n->index, n->life,
		       a->id << 8 | (sim_node_of(w, a->member) & 0xff));
		return true;
	case HERD_ACT_FAILSAFE:
		ask_failsafe(w, n, a);
		return true;
	case HERD_ACT_FOLLOW:
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
		sim_agent_start_later(w, n->index, 1000);
		return false;
	default:
		start_task(w, n, a);
		return true;
	}
}

static void on_plan(struct sim *w, struct sim_event *e)
{
	if (!absent(w, e) && !frozen(w, e) && w->nodes[e->node].plan_serial == e->arg)
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

		if (n->plan.valid_ms && sim_local(w, n, w->now) > n->plan.valid_ms) {
			n->plan_at = n->plan.n;
			break;
		}
		n->plan_at++;
		if (w->trace) {
			char *text = herd_action_print(a);

			sim_trace(w, "%s:   %.200s", n->name, text);
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

/* The deadline stands until the agent moves it: what starts after it ends, too. */
static void on_guard_kill(struct sim *w, struct sim_event *e)
{
	struct sim_node *n = &w->nodes[e->node];

	if (!n->up || n->guard_local != e->arg)
		return;
	if (n->pg.run != HERD_RUN_DOWN) {
		sim_trace(w, "%s: the guard stops postgres", n->name);
		sim_server_kill(w, e->node);
	}
	if (n->agent_up)
		sim_at(w, w->now + GUARD_STAY_MS, on_guard_kill, e->node, 0, e->arg);
	else
		n->guard_local = 0;
}

/* It needs a processor, and an immediate shutdown has its time. */
static void on_guard(struct sim *w, struct sim_event *e)
{
	struct sim_node *n = &w->nodes[e->node];

	if (n->up && n->guard_local != 0 && n->guard_local == e->arg)
		sim_at(w, w->now + sim_rand(w, 0, w->config.ttl_ms / 12), on_guard_kill, e->node, 0,
		       e->arg);
}

static void set_guard(struct sim *w, struct sim_node *n)
{
	int64_t want = n->plan.guard_ms;

	if (want == HERD_GUARD_KEEP || want == n->guard_local)
		return;
	n->guard_local = want;
	if (want > 0)
		sim_at(w, true_time(w, n, want), on_guard, n->index, 0, want);
}

/* ---- the step ---- */

static size_t senders(struct sim *w, const struct sim_node *n, struct herd_obs_sender *list)
{
	size_t k = 0;

	if (n->pg.run != HERD_RUN_RUNNING)
		return 0;
	for (int i = 0; i < w->n_nodes; i++) {
		const struct sim_server *s = &w->nodes[i].pg;
		uint64_t lsn = sim_lsn(n->pg.confirmed[i]);

		if (i == n->index || s->following != n->index || !s->streaming ||
		    s->run != HERD_RUN_RUNNING || !sim_linked(w, i, n->index))
			continue;
		list[k++] = (struct herd_obs_sender){
			.application_name = w->nodes[i].name,
			.streaming = true,
			.sync = n->pg.wait_num > 0 && (n->pg.wait_mask >> i & 1),
			.write_lsn = lsn,
			.flush_lsn = lsn,
			.replay_lsn = lsn,
		};
	}
	return k;
}

static void observe_server(struct sim *w, struct sim_node *n, struct herd_obs_pg *pg)
{
	const struct sim_server *s = &n->pg;
	uint64_t lsn = sim_lsn(s->log.n);

	*pg = (struct herd_obs_pg){
		.data = s->data,
		.run = s->run,
		.sysid = s->sysid,
		.fresh = s->fresh,
		.in_recovery = s->standby,
		.timeline = s->timeline,
		.flush_lsn = lsn,
		.receive_lsn = s->standby ? lsn : 0,
		.replay_lsn = s->standby ? lsn : 0,
		.control = s->control,
		.checkpoint_lsn = sim_lsn(s->checkpoint),
		.checkpoint_tl = s->checkpoint_tl,
		.down_since_ms = sim_local(w, n, s->down_since),
		.starting_since_ms = sim_local(w, n, s->starting_since),
		.crashed = s->crashed,
		.queryable = s->run == HERD_RUN_RUNNING && !(w->faults && sim_chance(w, 10)),
		.following = s->following >= 0 ? w->nodes[s->following].name : NULL,
		.streaming = s->streaming,
		.ssn = s->run == HERD_RUN_RUNNING ? (s->ssn ? s->ssn : "") : NULL,
		.history = s->history.n ? &s->history : NULL,
		.transactions = sim_chance(w, 300) ? 1 : 0,
	};
}

static void step(struct sim *w, int node)
{
	struct sim_node *n = &w->nodes[node];
	struct herd_obs_sender rows[SIM_NODES];
	struct herd_obs o = {
		.now_ms = sim_local(w, n, w->now),
		.wall_ms = INT64_C(1700000000000) + w->now,
		.name = n->name,
		.group = HERD_NO_GROUP,
		.self = &n->self,
		.scope = n->scope,
		.view_ms = n->view_local_ms,
		.dcs_ok = n->dcs_ok,
		.lease = { n->lease ? n->lease_text : NULL, n->lease_sent_local, n->lease_ttl,
			   n->lease_busy },
		.task = { n->task, sim_local(w, n, n->task_since), n->last_task, n->last_ok,
			  sim_local(w, n, n->last_task_at), n->failures, NULL },
		.poll = { n->poll_id, sim_local(w, n, n->poll_asked), n->poll_n, n->answers },
		.probe = n->probe,
		.failsafe = { .id = n->fs_done_id,
			      .accepted = n->fs_yes,
			      .refused = n->fs_no,
			      .leader = n->fs_leader < 0 ? NULL : w->nodes[n->fs_leader].name,
			      .asked_ms = n->fs_asked_local,
			      .ttl_ms = n->fs_leader_ttl },
		.guard = true,
		.rewind_possible = w->rewind,
		.reclone_diverged = true,
		.bootstrap_config = w->config_text,
		.want_exit = n->want_exit,
	};

	n->step_at = INT64_MAX;
	observe_server(w, n, &o.pg);
	o.pg.n_senders = senders(w, n, rows);
	o.pg.senders = rows;
	herd_core_step(n->core, &o, &n->plan);
	w->n_steps++;
	n->plan_serial++;
	n->plan_at = 0;
	if (n->plan.why[0] && (!n->plan.heartbeat || n->plan.n > 0))
		sim_trace(w, "%s: [%s] %s", n->name, n->plan.rule, n->plan.why);
	set_guard(w, n);
	int64_t next = true_time(w, n, n->plan.next_ms);

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

	if (n->agent_up || !n->up)
		return;
	sim_trace(w, "%s: agent starts", n->name);
	n->agent_up = true;
	n->up_since = w->now;
	n->life++;
	n->core = herd_core_new((uint64_t)sim_rand(w, 1, INT64_MAX));
	assert(n->core);
	n->step_at = INT64_MAX;
	n->task = n->last_task = HERD_TASK_NONE;
	n->failures = 0;
	n->lease = 0;
	n->lease_busy = n->reading = false;
	/* A stop that was under way goes on without the agent. */
	n->dcs_ok = true;
	n->want_exit = false;
	n->poll_id = n->asking_id = n->probing_id = 0;
	n->probe = (struct herd_obs_probe){ 0 };
	n->fs_id = n->fs_done_id = 0;
	n->fs_left = 0;
	n->fs_leader = -1;
	n->delivering = true;
	sim_at(w, w->now + sim_rand(w, 1, 20), on_watch, node, n->life, 0);
	read_store(w, n);
}

void sim_agent_kill(struct sim *w, int node)
{
	struct sim_node *n = &w->nodes[node];

	if (!n->agent_up)
		return;
	sim_trace(w, "%s: agent dies", n->name);
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
