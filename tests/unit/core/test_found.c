/* Faults that the simulator has found, each in the smallest form that shows it. */
#include "fixture.h"

#define ROW(name) static void name(void **state)
#define OPEN                                                                                       \
	struct fixture f;                                                                          \
	struct keys k = healthy;                                                                   \
	fixture_open(&f)
#define CLOSE fixture_close(&f)

static const char sync_on[] = "{\"ttl\":30,\"loop_wait\":10,\"synchronous_mode\":true}";
static const char published[] =
	"{\"optime\":1000,\"slots\":{\"a\":1000},\"retain_slots\":[\"a\",\"b\",\"c\"]}";

/* "a" leads in mode on; b streams and is synchronous, and /sync does not name it yet. */
static void lead_with_b(struct fixture *f, struct keys *k)
{
	k->leader = "a";
	k->leader_lease = "L1";
	k->config = sync_on;
	k->status = published;
	k->sync = "{\"leader\":\"a\",\"quorum\":0,\"sync_standby\":null}";
	see(f, k);
	as_primary(f);
	f->obs.pg.ssn = "b";
	f->senders[0] = (struct herd_obs_sender){ "b", true, true, 1000, 1000, 1000 };
	f->obs.pg.senders = f->senders;
	f->obs.pg.n_senders = 1;
}

static bool plans(struct fixture *f, const char *what)
{
	char *plan = plan_of(f);
	bool found = strstr(plan, what) != NULL;

	free(plan);
	return found;
}

static void later(struct fixture *f, int64_t ms)
{
	f->obs.now_ms += ms;
	f->obs.lease.sent_ms = f->obs.now_ms;
}

/*
 * The write of b into /sync is under way when b vanishes. Were the setting changed now, commits
 * would not wait for b, and then /sync would say that b has them.
 */
ROW(setting_waits_for_a_write_under_way)
{
	OPEN;
	lead_with_b(&f, &k);
	plans(&f, "");
	later(&f, 1100);
	plans(&f, "");
	later(&f, 100);
	assert_true(plans(&f, "PUT sync={\"leader\":\"a\",\"quorum\":0,\"sync_standby\":\"b\"}"));
	f.obs.pg.n_senders = 0;
	later(&f, 100);
	assert_false(plans(&f, "SET_SSN"));
	/* It is still not there: a second write for the same version settles it. */
	later(&f, 1500);
	assert_true(plans(&f, "PUT sync={\"leader\":\"a\",\"quorum\":0,\"sync_standby\":null} if "
			      "version 22"));
	k.sync_version = 23;
	see(&f, &k);
	later(&f, 100);
	assert_true(plans(&f, "SET_SSN="));
	CLOSE;
}

/* What was ordered is not in force for a moment: the old setting that still shows proves nothing.
 */
ROW(ordered_setting_is_not_believed)
{
	OPEN;
	lead_with_b(&f, &k);
	f.obs.pg.n_senders = 0;
	assert_true(plans(&f, "SET_SSN="));
	f.obs.pg.n_senders = 1;
	/* It is ordered back, and then counts when it has had its time everywhere. */
	for (int i = 0; i < 9; i++) {
		later(&f, 100);
		assert_false(plans(&f, "PUT sync={\"leader\":\"a\",\"quorum\":0,"
				       "\"sync_standby\":\"b\"}"));
	}
	CLOSE;
}

/* c has the higher priority, but cannot get the votes: the leader of /sync must not wait for it. */
ROW(priority_without_votes_is_no_obstacle)
{
	OPEN;
	k.config = "{\"ttl\":30,\"synchronous_mode\":\"quorum\"}";
	k.sync = "{\"leader\":\"a\",\"quorum\":2,\"sync_standby\":\"b,c\"}";
	k.priority_c = 2;
	see(&f, &k);
	answers(&f, 900, 1000);
	assert_true(plans(&f, "TAKE leader=a"));
	/* With its votes it goes first. */
	k.sync = "{\"leader\":\"a\",\"quorum\":1,\"sync_standby\":\"b,c\"}";
	k.sync_version = 24;
	see(&f, &k);
	later(&f, 5000);
	assert_false(plans(&f, "TAKE leader=a"));
	CLOSE;
}

ROW(who_may_never_lead_does_not_bootstrap)
{
	OPEN;
	k.initialize = k.history = k.status = NULL;
	see(&f, &k);
	f.obs.pg = (struct herd_obs_pg){ .data = HERD_DATA_EMPTY };
	f.self.tags.nofailover = true;
	assert_false(plans(&f, "PUT initialize"));
	f.self.tags.nofailover = false;
	assert_true(plans(&f, "PUT initialize= if absent on lease"));
	CLOSE;
}

/* A leader's agent that was started anew: its first word must not forget whose slots are kept. */
ROW(first_status_keeps_retained_slots)
{
	OPEN;
	k.leader = "a";
	k.leader_lease = "L1";
	k.status = "{\"optime\":900,\"retain_slots\":[\"gone\"]}";
	see(&f, &k);
	as_primary(&f);
	assert_true(plans(&f, "\"retain_slots\":[\"a\",\"b\",\"c\",\"gone\"]"));
	CLOSE;
}

/* The key is of our former life and there is no lease yet: nobody follows himself. */
ROW(stale_key_without_a_lease)
{
	OPEN;
	k.leader = "a";
	k.leader_lease = "L0";
	see(&f, &k);
	f.obs.lease = (struct herd_obs_lease){ 0 };
	expect(&f, "lease.wait-stale; LEASE_GRANT");
	CLOSE;
}

/* A rewind that was cut short is not tried again, and its data is never started. */
ROW(torn_data_is_replaced)
{
	OPEN;
	f.obs.pg.run = HERD_RUN_DOWN;
	f.obs.pg.torn = true;
	f.obs.reclone_diverged = true;
	expect(&f, "down.torn");
	k.leader = "b";
	k.leader_lease = "L2";
	see(&f, &k);
	expect(&f, "rewind.reclone; CLONE b");
	f.obs.dcs_ok = false;
	assert_false(plans(&f, "START"));
	CLOSE;
}

/* A primary that starts still has "shut down" in its control file: the key is not given up yet. */
ROW(end_while_the_primary_starts)
{
	OPEN;
	k.leader = "a";
	k.leader_lease = "L1";
	k.status = published;
	see(&f, &k);
	as_primary(&f);
	f.obs.pg.run = HERD_RUN_STARTING;
	f.obs.pg.control = HERD_CONTROL_SHUT_DOWN;
	f.obs.task.running = HERD_TASK_START;
	f.obs.want_exit = true;
	assert_false(plans(&f, "RELEASE"));
	f.obs.pg.run = HERD_RUN_DOWN;
	f.obs.task.running = HERD_TASK_NONE;
	assert_true(plans(&f, "RELEASE"));
	CLOSE;
}

/* Paused, a primary of an older timeline is free to run, but not to take the key. */
ROW(outdated_primary_does_not_lead_in_a_pause)
{
	OPEN;
	k.config = "{\"pause\":true}";
	k.history = "[[1,900,\"no recovery target specified\"]]";
	see(&f, &k);
	as_primary(&f);
	assert_false(plans(&f, "TAKE leader"));
	f.obs.pg.timeline = 2;
	assert_true(plans(&f, "TAKE leader"));
	/* Down, and people want it started. */
	f.obs.pg.run = HERD_RUN_DOWN;
	f.obs.want_restart = true;
	assert_false(plans(&f, "TAKE leader"));
	f.obs.pg.checkpoint_tl = 2;
	assert_true(plans(&f, "TAKE leader"));
	CLOSE;
}

/* The store is down and the agent has no view: it knows of no setting, and drops no slot. */
ROW(no_slot_is_dropped_without_a_view)
{
	struct herd_obs_slot slot = { .name = "perm", .restart_lsn = 900 };
	OPEN;

	see(&f, &k);
	f.obs.scope = NULL;
	f.obs.dcs_ok = false;
	f.obs.pg.slots = &slot;
	f.obs.pg.n_slots = 1;
	f.obs.pg.slots_known = true;
	f.obs.failsafe.leader = "b";
	f.obs.failsafe.asked_ms = NOW;
	assert_false(plans(&f, "SLOT_DROP"));
	CLOSE;
}

/* The leader is dead and its key is not gone yet: our data may be the last there is. */
ROW(reinitialize_asks_the_source_first)
{
	OPEN;
	k.leader = "b";
	k.leader_lease = "L2";
	see(&f, &k);
	f.obs.want_reinit = true;
	assert_true(plans(&f, "reinit.ask; PROBE b"));
	f.obs.probe = (struct herd_obs_probe){ .id = f.plan.act[0].id, .name = "b" };
	f.obs.now_ms += 500;
	assert_true(plans(&f, "reinit.ask"));
	f.obs.now_ms += 1000;
	assert_true(plans(&f, "reinit.ask; PROBE b"));
	f.obs.probe = (struct herd_obs_probe){ .id = f.plan.act[0].id, .name = "b", .ok = true };
	assert_true(plans(&f, "reinit.stop; STOP immediate"));
	CLOSE;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(setting_waits_for_a_write_under_way),
		cmocka_unit_test(ordered_setting_is_not_believed),
		cmocka_unit_test(priority_without_votes_is_no_obstacle),
		cmocka_unit_test(who_may_never_lead_does_not_bootstrap),
		cmocka_unit_test(first_status_keeps_retained_slots),
		cmocka_unit_test(stale_key_without_a_lease),
		cmocka_unit_test(torn_data_is_replaced),
		cmocka_unit_test(end_while_the_primary_starts),
		cmocka_unit_test(outdated_primary_does_not_lead_in_a_pause),
		cmocka_unit_test(no_slot_is_dropped_without_a_view),
		cmocka_unit_test(reinitialize_asks_the_source_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
