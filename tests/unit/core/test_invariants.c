/*
 * What holds for every observation, however absurd: thousands of random ones are put to agents with
 * every kind of past.
 */
#include "base/rng.h"
#include "fixture.h"

static int64_t pick(struct herd_rng *r, int64_t n)
{
	return herd_rng_range(r, 0, n - 1);
}

static const char *any(struct herd_rng *r, const char *const *list, int64_t n)
{
	return list[pick(r, n)];
}
#define ANY(r, ...)                                                                                \
	any(r, (const char *const[]){ __VA_ARGS__ },                                               \
	    sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(char *))

static void random_keys(struct herd_rng *r, struct keys *k)
{
	*k = (struct keys){
		.config = ANY(r, NULL, config_async, config_async, "{{",
			      "{\"ttl\":5,\"loop_wait\":1,\"retry_timeout\":1,\"pause\":true}",
			      "{\"synchronous_mode\":true,\"synchronous_node_count\":2}",
			      "{\"synchronous_mode\":\"quorum\",\"primary_start_timeout\":0}",
			      "{\"synchronous_mode\":true,\"synchronous_mode_strict\":true}"),
		.failover = ANY(r, NULL, NULL, "{}", "{\"leader\":\"a\",\"member\":\"b\"}",
				"{\"member\":\"a\"}", "{\"leader\":\"b\"}", "x"),
		.handover = ANY(r, NULL, NULL, "{\"id\":\"i\",\"to\":\"a\",\"phase\":\"done\"}",
				"{\"id\":\"i\",\"to\":\"b\",\"phase\":\"done\"}", "[]"),
		.history = ANY(r, NULL, "[]", "[[1,500,\"x\"]]", "[[1,5000,\"x\"],[2,6000,\"x\"]]",
			       "7"),
		.initialize = ANY(r, NULL, "", "7001", "7001", "7001", "7002"),
		.leader = ANY(r, NULL, NULL, "a", "a", "b", "gone"),
		.leader_lease = ANY(r, NULL, "L1", "L1", "L2"),
		.status = ANY(r, NULL, "{\"optime\":1000}", "{\"optime\":99999999}"),
		.sync = ANY(r, NULL, "{\"leader\":\"a\",\"sync_standby\":null}",
			    "{\"leader\":\"b\",\"sync_standby\":\"a\"}",
			    "{\"leader\":\"a\",\"quorum\":1,\"sync_standby\":\"b,c\"}", "-"),
		.proxy = ANY(r, NULL, "{\"acks\":{}}"),
		.initialize_ours = pick(r, 2),
	};
}

static void random_server(struct herd_rng *r, struct fixture *f)
{
	struct herd_obs *o = &f->obs;
	uint64_t lsn = (uint64_t)pick(r, 3) * 1000;

	o->pg = (struct herd_obs_pg){
		.data = (enum herd_pg_data)(pick(r, 10) ? HERD_DATA_VALID : pick(r, 3)),
		.run = (enum herd_pg_run)pick(r, HERD_RUN_NR),
		.in_recovery = pick(r, 2),
		.fresh = pick(r, 8) == 0,
		.timeline = pick(r, 4),
		.flush_lsn = lsn,
		.receive_lsn = lsn,
		.replay_lsn = lsn,
		.control = (enum herd_control)pick(r, 7),
		.checkpoint_lsn = (uint64_t)pick(r, 3) * 900,
		.checkpoint_tl = pick(r, 4),
		.crashed = pick(r, 2),
		.queryable = pick(r, 5),
		.following = ANY(r, NULL, "b", "c"),
		.streaming = pick(r, 2),
		.ssn = ANY(r, NULL, "", "*", "b", "ANY 1 (b,c)", "2 (b,c)", "((("),
		.transactions = (int)pick(r, 2),
		.n_senders = (size_t)pick(r, 3),
		.senders = f->senders,
	};
	o->pg.sysid = o->pg.data == HERD_DATA_VALID ? SYSID : 0;
	for (int i = 0; i < 2; i++)
		f->senders[i] =
			(struct herd_obs_sender){ .application_name = i ? "c" : "b",
						  .streaming = pick(r, 4),
						  .sync = pick(r, 2),
						  .flush_lsn = (uint64_t)pick(r, 3) * 1000 };
}

static void random_observation(struct herd_rng *r, struct fixture *f)
{
	struct herd_obs *o = &f->obs;
	struct keys k;

	random_keys(r, &k);
	see(f, &k);
	if (pick(r, 20) == 0)
		o->scope = NULL;
	random_server(r, f);
	o->now_ms += pick(r, 3) ? pick(r, 100) : pick(r, 20000);
	o->dcs_ok = pick(r, 8);
	o->guard = pick(r, 4);
	o->watchdog_failed = pick(r, 20) == 0;
	o->guard_failed = pick(r, 20) == 0;
	o->reclone_diverged = pick(r, 2);
	o->lease.id = ANY(r, "L1", "L1", "L1", NULL);
	o->lease.ttl_ms = pick(r, 4) ? 30000 : 5000;
	o->lease.sent_ms = o->now_ms - pick(r, o->lease.ttl_ms * 5 / 4);
	o->lease.busy = pick(r, 4) == 0;
	o->task = (struct herd_obs_task){ .running = (enum herd_task)(pick(r, 3) ? 0 : pick(r, 9)),
					  .last = (enum herd_task)pick(r, 9),
					  .last_ok = pick(r, 2),
					  .last_ms = o->now_ms - pick(r, 1000) };
	answers(f, (uint64_t)pick(r, 3) * 1000, (uint64_t)pick(r, 3) * 1000);
	f->answers[0].in_recovery = pick(r, 10);
	o->probe = (struct herd_obs_probe){ .name = "b", .ok = pick(r, 2), .timeline = pick(r, 4) };
	o->want_restart = pick(r, 20) == 0;
	o->want_reinit = pick(r, 20) == 0;
	o->want_exit = pick(r, 20) == 0;
}

static bool is_task(enum herd_act a)
{
	return a >= HERD_ACT_BOOTSTRAP && a <= HERD_ACT_CHECKPOINT;
}

static void check(const struct fixture *f)
{
	const struct herd_obs *o = &f->obs;
	const struct herd_plan *p = &f->plan;
	const struct herd_cluster *cl = herd_scope_group(o->scope, HERD_NO_GROUP);
	bool mine = cl && o->lease.id && herd_str_eq(cl->leader, "a") &&
		    herd_str_eq(cl->leader_key.lease, o->lease.id);
	bool paused = cl && cl->config.pause;
	bool primary = (o->pg.run != HERD_RUN_DOWN && !o->pg.in_recovery) ||
		       o->task.running == HERD_TASK_PROMOTE;
	int64_t left = o->lease.sent_ms + o->lease.ttl_ms * 8 / 12 - o->now_ms;
	int tasks = 0;
	bool stops = false;

	assert_non_null(p->why);
	assert_true(p->rule[0] != '\0');
	assert_false(p->failed);
	assert_true(p->next_ms > o->now_ms);
	for (size_t i = 0; i < p->n; i++) {
		const struct herd_action *a = &p->act[i];
		bool opens =
			a->act == HERD_ACT_PROMOTE || (a->act == HERD_ACT_START && !a->standby);

		/* A server is opened only under a key that was read as ours, with time left. */
		if (opens) {
			assert_true(mine && left > 0);
			assert_true(p->valid_ms > 0 && (paused || p->guard_ms > o->now_ms));
			assert_true(p->valid_ms < p->guard_ms || paused);
		}
		/* A key of another is never touched, and a key is taken only onto a lease. */
		if (a->act == HERD_ACT_TAKE || a->act == HERD_ACT_RELEASE)
			assert_true(!cl->leader || herd_str_eq(cl->leader, "a"));
		if (a->act == HERD_ACT_TAKE)
			assert_true(o->lease.id && a->on_lease && a->cond != HERD_IF_ANY);
		if (a->act == HERD_ACT_RELEASE)
			assert_true(a->cond == HERD_IF_VERSION && a->wait);
		/* One task at a time; only a stop may interrupt. */
		tasks += is_task(a->act);
		stops |= a->act == HERD_ACT_STOP;
		if (is_task(a->act) && a->act != HERD_ACT_STOP)
			assert_int_equal(o->task.running, HERD_TASK_NONE);
		/* Data is removed only where no server runs. */
		if (a->act == HERD_ACT_WIPE || a->act == HERD_ACT_CLONE ||
		    a->act == HERD_ACT_REWIND)
			assert_int_equal(o->pg.run, HERD_RUN_DOWN);
		/* Who is synchronous, and how the group went on, is never written blindly. */
		if (a->act == HERD_ACT_PUT &&
		    (strcmp(a->key, "sync") == 0 || strcmp(a->key, "initialize") == 0 ||
		     strcmp(a->key, "config") == 0 || strcmp(a->key, "history") == 0))
			assert_true(a->cond != HERD_IF_ANY && a->wait);
	}
	assert_true(tasks <= 1);
	/* A primary without right, or without time, is stopped (or already stopping). */
	if (primary && !paused && cl && o->dcs_ok && cl->leader && !herd_str_eq(cl->leader, "a"))
		assert_true(stops || o->task.running == HERD_TASK_STOP);
	if (primary && !paused && mine && left <= 0 && p->guard_ms > 0)
		assert_true(stops || o->task.running == HERD_TASK_STOP);
	if (p->leader)
		assert_true(mine && left > 0);
	/* While it takes writes the guard has a deadline before the lease can end. */
	if (primary && !paused && p->leader)
		assert_true(p->guard_ms > 0 && p->guard_ms < o->lease.sent_ms + o->lease.ttl_ms);
}

static void random_observations(void **state)
{
	struct herd_rng rng = herd_rng_seed(42);

	for (int life = 0; life < 2000; life++) {
		struct fixture f;

		fixture_open(&f);
		for (int i = 0; i < 25; i++) {
			random_observation(&rng, &f);
			herd_core_step(f.core, &f.obs, &f.plan);
			check(&f);
			for (size_t n = 0; n < f.plan.n; n++) {
				const struct herd_action *a = &f.plan.act[n];

				if (a->act == HERD_ACT_POLL && pick(&rng, 3))
					f.obs.poll.id = a->id;
				if (a->act == HERD_ACT_PROBE && pick(&rng, 3))
					f.obs.probe.id = a->id;
			}
		}
		fixture_close(&f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(random_observations) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
