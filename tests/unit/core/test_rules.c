/* What one agent decides, rule by rule. Rows change one thing of a healthy herd. */
#include "fixture.h"

#define ROW(name) static void name(void **state)
#define OPEN                                                                                       \
	struct fixture f;                                                                          \
	struct keys k = healthy;                                                                   \
	fixture_open(&f)
#define CLOSE fixture_close(&f)

ROW(follower_is_quiet)
{
	OPEN;
	k.leader = "b";
	k.leader_lease = "L2";
	see(&f, &k);
	f.obs.pg.following = "b";
	f.obs.probe = (struct herd_obs_probe){ .name = "b", .ok = true, .timeline = 1 };
	expect(&f, "follow");
	assert_string_equal(f.plan.why,
			    "no action. I am (a), a secondary, and following a leader (b)");
	assert_false(f.plan.leader);
	CLOSE;
}

ROW(follower_turns_to_a_new_leader)
{
	OPEN;
	k.leader = "c";
	see(&f, &k);
	f.obs.pg.following = "b";
	f.obs.probe = (struct herd_obs_probe){ .name = "c", .ok = true, .timeline = 1 };
	expect(&f, "follow.new; FOLLOW c");
	CLOSE;
}

ROW(leader_is_quiet)
{
	OPEN;
	k.leader = "a";
	k.leader_lease = "L1";
	see(&f, &k);
	as_primary(&f);
	expect(&f, "leader; PUT status={\"optime\":1000,\"slots\":{\"a\":1000},"
		   "\"retain_slots\":[\"a\",\"b\",\"c\"]}");
	assert_string_equal(f.plan.why, "no action. I am (a), the leader with the lock");
	assert_true(f.plan.leader);
	assert_int_equal(f.plan.guard_ms, NOW - 1000 + 25000);
	CLOSE;
}

ROW(server_without_progress)
{
	OPEN;
	k.leader = "a";
	k.leader_lease = "L1";
	k.status = "{\"optime\":1000,\"slots\":{\"a\":1000},\"retain_slots\":[\"a\",\"b\",\"c\"]}";
	see(&f, &k);
	as_primary(&f);
	f.obs.pg.stalled = "the data directory cannot be written";
	expect(&f, "leader");
	k.config = "{\"probe\":{\"mode\":\"failover\"}}";
	see(&f, &k);
	/* Nobody can take over: it goes on. */
	answers(&f, 0, 0);
	expect(&f, "leader");
	assert_non_null(f.plan.warning);
	f.obs.now_ms += 5000;
	f.obs.lease.sent_ms += 5000;
	f.obs.view_ms += 5000;
	/* Another whose disk is as full is none either. */
	answers(&f, 1000, 0);
	f.answers[0].stalled = true;
	expect(&f, "leader");
	f.obs.now_ms += 5000;
	f.obs.lease.sent_ms += 5000;
	f.obs.view_ms += 5000;
	answers(&f, 1000, 1000);
	expect(&f, "stalled.stop; STOP immediate");
	assert_true(f.plan.guard_ms > 0);
	/* Killed, or as good as that: the key goes. */
	f.obs.task.running = HERD_TASK_STOP;
	f.obs.pg.run = HERD_RUN_STOPPING;
	expect(&f, "task.leader");
	f.obs.pg.run = HERD_RUN_DOWN;
	f.obs.task.running = HERD_TASK_NONE;
	expect(&f, "stalled.release; RELEASE leader if version 16");
	CLOSE;
}

ROW(start_that_cannot_be_seen_yet)
{
	OPEN;
	k.leader = "a";
	k.leader_lease = "L1";
	see(&f, &k);
	as_primary(&f);
	f.obs.pg.run = HERD_RUN_DOWN;
	f.obs.task.running = HERD_TASK_START;
	expect(&f, "starting.leader");
	assert_int_equal(f.plan.guard_ms, NOW - 1000 + 25000);
	f.obs.task.running = HERD_TASK_RESTART;
	expect(&f, "task.leader");
	assert_int_equal(f.plan.guard_ms, NOW - 1000 + 25000);
	f.obs.task.running = HERD_TASK_START;
	f.obs.pg.in_recovery = true;
	expect(&f, "starting.leader");
	assert_int_equal(f.plan.guard_ms, 0);
	CLOSE;
}

ROW(lease_is_renewed_after_loop_wait)
{
	OPEN;
	k.leader = "a";
	k.leader_lease = "L1";
	k.status = "{\"optime\":1000,\"slots\":{\"a\":1000},\"retain_slots\":[\"a\",\"b\",\"c\"]}";
	see(&f, &k);
	as_primary(&f);
	f.obs.lease.sent_ms = NOW - 9999;
	expect(&f, "leader");
	f.obs.lease.sent_ms = NOW - 10000;
	expect(&f, "leader; LEASE_RENEW");
	f.obs.lease.busy = true;
	expect(&f, "leader");
	CLOSE;
}

ROW(leader_without_renewal_stops_in_time)
{
	OPEN;
	k.leader = "a";
	k.leader_lease = "L1";
	see(&f, &k);
	as_primary(&f);
	f.obs.lease.busy = true;
	f.obs.lease.sent_ms = NOW - 20000;
	expect(&f, "lease.expired; STOP fast");
	assert_string_equal(f.plan.why, "demoted self because failed to update leader lock in DCS");
	assert_int_equal(f.plan.guard_ms, NOW + 5000);
	f.obs.lease.sent_ms = NOW - 22500;
	f.obs.dcs_ok = false;
	expect(&f, "lease.hard; STOP immediate");
	assert_string_equal(f.plan.why,
			    "demoted self because DCS is not accessible and I was a leader");
	/* Ordered once is enough. */
	f.obs.task.running = HERD_TASK_STOP;
	f.obs.pg.run = HERD_RUN_STOPPING;
	expect(&f, "lease.hard");
	CLOSE;
}

ROW(primary_without_key_stops)
{
	OPEN;
	k.leader = "b";
	k.leader_lease = "L2";
	see(&f, &k);
	as_primary(&f);
	expect(&f, "lease.other; STOP immediate");
	k.leader = NULL;
	see(&f, &k);
	expect(&f, "lease.none; STOP immediate");
	/* Without a guard it may have been left alone by a restart of the agent. */
	f.obs.guard = false;
	expect(&f, "lease.retake; TAKE leader=a if absent on lease");
	CLOSE;
}

ROW(leader_without_a_required_fence)
{
	OPEN;
	k.leader = "a";
	k.leader_lease = "L1";
	see(&f, &k);
	as_primary(&f);
	f.obs.watchdog_failed = true;
	expect(&f, "unfenced.stop; STOP immediate");
	assert_string_equal(f.plan.why, "Demoting self because watchdog could not be activated");
	f.obs.watchdog_failed = false;
	f.obs.guard_failed = true;
	f.obs.pg.run = HERD_RUN_DOWN;
	expect(&f, "unfenced.release; RELEASE leader if version 16");
	assert_string_equal(f.plan.why, "Not promoting self because guard could not be activated");
	CLOSE;
}

ROW(released_key_before_the_process_ended)
{
	OPEN;
	k.leader = "b";
	k.leader_lease = "L2";
	see(&f, &k);
	as_primary(&f);
	f.obs.task.running = HERD_TASK_STOP;
	f.obs.pg.run = HERD_RUN_STOPPING;
	f.obs.pg.control = HERD_CONTROL_SHUT_DOWN;
	expect(&f, "task.wait");
	/* Without the shutdown checkpoint it may still take writes. */
	f.obs.pg.control = HERD_CONTROL_IN_PRODUCTION;
	expect(&f, "lease.other; STOP immediate");
	CLOSE;
}

ROW(store_cannot_be_read)
{
	OPEN;

	see(&f, &k);
	as_primary(&f);
	f.obs.scope = NULL;
	expect(&f, "view.first");
	assert_int_equal(f.plan.guard_ms, HERD_GUARD_KEEP);
	f.obs.dcs_ok = false;
	expect(&f, "view.primary; STOP immediate");
	f.obs.scope = f.scope;
	f.obs.pg.in_recovery = true;
	f.obs.pg.run = HERD_RUN_DOWN;
	expect(&f, "view.standby; START standby");
	CLOSE;
}

ROW(standby_cluster_is_not_promoted)
{
	OPEN;
	answers(&f, 0, 0);
	expect(&f, "race.win; TAKE leader=a if absent on lease");
	k.leader = "a";
	k.leader_lease = "L1";
	k.config = "{\"standby_cluster\":{\"host\":\"h\"}}";
	see(&f, &k);
	f.obs.pg.following = HERD_REMOTE;
	expect(&f, "standby; PUT status={\"optime\":1000,\"slots\":{\"a\":1000},"
		   "\"retain_slots\":[\"a\",\"b\",\"c\"]}");
	CLOSE;
}

ROW(key_of_a_former_life_is_moved)
{
	OPEN;
	k.leader = "a";
	k.leader_lease = "L0";
	see(&f, &k);
	as_primary(&f);
	expect(&f, "lease.regrant; TAKE leader=a if version 16 on lease");
	assert_int_equal(f.plan.guard_ms, HERD_GUARD_KEEP);
	/* A standby had won it and not used it. */
	f.obs.pg.in_recovery = true;
	expect(&f, "lease.stale; RELEASE leader if version 16");
	CLOSE;
}

ROW(race_is_won)
{
	OPEN;
	answers(&f, 1000, 900);
	expect(&f, "race.win; TAKE leader=a if absent on lease");
	/* Nothing is believed before it is read. What was handed to another is over. */
	k.handover = "{\"id\":\"i\",\"to\":\"b\",\"phase\":\"done\"}";
	k.leader = "a";
	k.leader_lease = "L1";
	see(&f, &k);
	f.obs.now_ms += 5;
	expect(&f, "promote; DELETE handover if version 13; PROMOTE");
	assert_string_equal(f.plan.why, "promoted self to leader by acquiring session lock");
	assert_int_equal(f.plan.guard_ms, NOW - 1000 + 25000);
	assert_int_equal(f.plan.valid_ms, NOW - 1000 + 20000);
	CLOSE;
}

ROW(race_is_not_run)
{
	static const char healthiest[] =
		"following a different leader because i am not the healthiest node: "
		"Wal position of b is ahead of my wal position";
	OPEN;
	answers(&f, 1001, 900);
	expect(&f, "race.beaten");
	assert_string_equal(f.plan.why, healthiest);
	fixture_close(&f);

	fixture_open(&f);
	answers(&f, 1000, 1000);
	f.answers[1].in_recovery = false;
	expect(&f, "race.beaten");
	assert_string_equal(f.plan.why, "Primary (c) is still alive");
	fixture_close(&f);

	fixture_open(&f);
	answers(&f, 1000, 1000);
	f.answers[0].timeline = 2;
	f.answers[0].lsn = 500;
	expect(&f, "race.beaten");
	fixture_close(&f);

	fixture_open(&f);
	f.self.tags.nofailover = true;
	expect(&f, "race.unfit");
	fixture_close(&f);

	fixture_open(&f);
	k.status = "{\"optime\":1049577}";
	see(&f, &k);
	expect(&f, "race.unfit");
	k.status = "{\"optime\":1049576}";
	see(&f, &k);
	answers(&f, 0, 0);
	f.obs.now_ms += 1000;
	expect(&f, "race.win; TAKE leader=a if absent on lease");
	fixture_close(&f);

	/* On a timeline that the group left before our place. */
	fixture_open(&f);
	k = healthy;
	k.history = "[[1,999,\"x\"]]";
	see(&f, &k);
	expect(&f, "race.unfit");
	k.history = "[[1,1000,\"x\"]]";
	see(&f, &k);
	answers(&f, 0, 0);
	f.obs.now_ms += 1000;
	expect(&f, "race.win; TAKE leader=a if absent on lease");
	fixture_close(&f);

	fixture_open(&f);
	f.obs.lease.sent_ms = NOW - 20000;
	f.obs.lease.busy = true;
	expect(&f, "race.lease");
	CLOSE;
}

/* The store was away: everybody's keys are gone, and come back one by one. */
ROW(race_waits_for_the_others)
{
	OPEN;
	k.leader = "b";
	see(&f, &k);
	f.obs.pg.following = "b";
	f.obs.probe = (struct herd_obs_probe){ .name = "b", .ok = true, .timeline = 1 };
	expect(&f, "follow");
	k.leader = NULL;
	k.alone = true;
	see(&f, &k);
	expect(&f, "race.members");
	f.obs.now_ms += 2999;
	expect(&f, "race.members");
	f.obs.now_ms += 501;
	expect(&f, "race.win; TAKE leader=a if absent on lease");
	CLOSE;
}

ROW(sync_decides_the_race)
{
	static const struct {
		const char *mode, *sync;
		uint64_t b, c;
		const char *want;
	} rows[] = {
		{ "true", "{\"leader\":\"x\",\"sync_standby\":\"b\"}", 1000, 1000, "race.sync" },
		{ "true", "{\"leader\":\"x\",\"sync_standby\":\"A\"}", 2000, 0,
		  "race.win; TAKE leader=a if absent on lease" },
		{ "true", "{\"leader\":\"x\",\"sync_standby\":\"a,b\"}", 2000, 0, "race.beaten" },
		{ "true", "{\"leader\":\"a\",\"sync_standby\":null}", 2000, 0,
		  "race.win; TAKE leader=a if absent on lease" },
		{ "true", "{{", 0, 0, "race.unfit" },
		{ "\"quorum\"", "{\"leader\":\"x\",\"quorum\":1,\"sync_standby\":\"a,b\"}", 0, 1000,
		  "race.sync" },
		{ "\"quorum\"", "{\"leader\":\"x\",\"quorum\":1,\"sync_standby\":\"a,b\"}", 1000, 0,
		  "race.win; TAKE leader=a if absent on lease" },
		{ "\"quorum\"", "{\"leader\":\"x\",\"quorum\":1,\"sync_standby\":\"b,c\"}", 1000, 0,
		  "race.sync" },
		{ "\"quorum\"", "{\"leader\":\"x\",\"quorum\":1,\"sync_standby\":\"b,c\"}", 1000,
		  900, "race.win; TAKE leader=a if absent on lease" },
		/* Without the mode, a document that is left does not count. */
		{ "false", "{\"leader\":\"x\",\"sync_standby\":\"b\"}", 1000, 1000,
		  "race.win; TAKE leader=a if absent on lease" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		OPEN;
		k.config = herd_str_printf("{\"synchronous_mode\":%s}", rows[i].mode);
		k.sync = rows[i].sync;
		see(&f, &k);
		answers(&f, rows[i].b, rows[i].c);
		expect(&f, rows[i].want);
		free((char *)k.config);
		CLOSE;
	}
}

/* The take was decided on one state of the store and came true on another. */
ROW(win_is_looked_at_again)
{
	OPEN;
	answers(&f, 0, 0);
	expect(&f, "race.win; TAKE leader=a if absent on lease");
	k.leader = "a";
	k.leader_lease = "L1";
	k.history = NULL; /* version 0: somebody led meanwhile */
	see(&f, &k);
	expect(&f, "promote.outdated; RELEASE leader if version 16");
	/* Given up once, the key never counts again. */
	see(&f, &k);
	expect(&f, "lease.release; RELEASE leader if version 16");
	assert_false(f.plan.leader);
	CLOSE;
}

ROW(sync_is_claimed_before_the_promotion)
{
	OPEN;
	k.config = "{\"synchronous_mode\":true}";
	k.sync = "{\"leader\":\"x\",\"sync_standby\":\"a\"}";
	see(&f, &k);
	f.obs.pg.ssn = "x";
	answers(&f, 0, 0);
	expect(&f, "race.win; TAKE leader=a if absent on lease");
	k.leader = "a";
	k.leader_lease = "L1";
	see(&f, &k);
	expect(&f, "promote.prepare; PUT sync={\"leader\":\"a\",\"quorum\":0,\"sync_standby\":null}"
		   " if version 22; SET_SSN=");
	k.sync = "{\"leader\":\"a\",\"quorum\":0,\"sync_standby\":null}";
	k.sync_version = 23;
	see(&f, &k);
	f.obs.pg.ssn = "";
	expect(&f, "promote; PROMOTE");
	CLOSE;
}

ROW(fallen_primary)
{
	OPEN;
	k.leader = "a";
	k.leader_lease = "L1";
	see(&f, &k);
	as_primary(&f);
	f.obs.pg.run = HERD_RUN_DOWN;
	f.obs.pg.crashed = true;
	f.obs.pg.ssn = NULL;
	expect(&f, "down.start; START primary");
	assert_string_equal(f.plan.why, "starting primary after failure");
	/* It cannot be started, and b can take over. */
	f.obs.task.last = HERD_TASK_START;
	f.obs.task.last_ms = NOW + 10;
	f.obs.now_ms += 1000;
	answers(&f, 1000, 0);
	expect(&f, "down.release; RELEASE leader if version 16");
	assert_string_equal(f.plan.why,
			    "removed leader key after trying and failing to start postgres");
	CLOSE;
}

ROW(first_primary_claims_sync)
{
	OPEN;
	k.leader = "a";
	k.leader_lease = "L1";
	k.config = "{\"synchronous_mode\":true}";
	see(&f, &k);
	as_primary(&f);
	f.obs.pg.run = HERD_RUN_DOWN;
	f.obs.pg.fresh = true;
	expect(&f, "down.start; PUT sync={\"leader\":\"a\",\"quorum\":0,\"sync_standby\":null} "
		   "if absent; START primary");
	CLOSE;
}

/* b is waited for and not in /sync yet; that c is further changes nothing. */
ROW(sync_choice_is_kept)
{
	OPEN;
	k.leader = "a";
	k.leader_lease = "L1";
	k.config = "{\"synchronous_mode\":true}";
	k.sync = "{\"leader\":\"a\",\"sync_standby\":null}";
	see(&f, &k);
	as_primary(&f);
	f.senders[0] = (struct herd_obs_sender){ "b", true, true, 900, 900, 900 };
	f.senders[1] = (struct herd_obs_sender){ "c", true, false, 1000, 1000, 1000 };
	f.obs.pg.senders = f.senders;
	f.obs.pg.n_senders = 2;
	char *plan = plan_of(&f);

	assert_non_null(strstr(plan, "SET_SSN=c"));
	free(plan);
	herd_core_free(f.core);
	f.core = herd_core_new(2);
	f.obs.pg.ssn = "b";
	plan = plan_of(&f);
	assert_null(strstr(plan, "SET_SSN"));
	free(plan);
	CLOSE;
}

ROW(primary_start_timeout_zero)
{
	OPEN;
	k.leader = "a";
	k.leader_lease = "L1";
	k.config = "{\"primary_start_timeout\":0}";
	see(&f, &k);
	as_primary(&f);
	f.obs.pg.run = HERD_RUN_DOWN;
	answers(&f, 1000, 0);
	expect(&f, "down.release; RELEASE leader if version 16");
	fixture_close(&f);
	fixture_open(&f);
	see(&f, &k);
	as_primary(&f);
	f.obs.pg.run = HERD_RUN_DOWN;
	answers(&f, 0, 0);
	expect(&f, "down.start; START primary");
	CLOSE;
}

ROW(former_primary_is_judged)
{
	static const struct {
		enum herd_control control;
		uint64_t checkpoint, fork;
		const char *want;
	} rows[] = {
		{ HERD_CONTROL_SHUT_DOWN, 900, 1000, "down.standby; START standby b" },
		{ HERD_CONTROL_SHUT_DOWN, 900, 901, "down.standby; START standby b" },
		{ HERD_CONTROL_SHUT_DOWN, 900, 900, "rewind; REWIND b" },
		{ HERD_CONTROL_IN_PRODUCTION, 900, 1000, "rewind; REWIND b" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct herd_history_line line = { .timeline = 1, .lsn = rows[i].fork };
		struct herd_history h = { 1, &line };
		OPEN;
		k.leader = "b";
		see(&f, &k);
		f.scope->groups[0].members[1].role = HERD_ROLE_PRIMARY;
		as_primary(&f);
		f.obs.pg.run = HERD_RUN_DOWN;
		f.obs.pg.control = rows[i].control;
		f.obs.pg.checkpoint_lsn = rows[i].checkpoint;
		f.obs.probe = (struct herd_obs_probe){
			.name = "b", .ok = true, .timeline = 2, .history = &h
		};
		expect(&f, rows[i].want);
		CLOSE;
	}
}

ROW(standby_that_diverged)
{
	struct herd_history_line line = { .timeline = 1, .lsn = 999 };
	struct herd_history h = { 1, &line };
	OPEN;
	k.leader = "b";
	see(&f, &k);
	f.obs.pg.following = "b";
	f.obs.probe =
		(struct herd_obs_probe){ .name = "b", .ok = true, .timeline = 2, .history = &h };
	expect(&f, "follow.diverged; STOP fast");
	f.obs.pg.run = HERD_RUN_DOWN;
	f.obs.rewind_possible = false;
	f.obs.reclone_diverged = true;
	expect(&f, "rewind.reclone; CLONE b");
	CLOSE;
}

ROW(bootstrap)
{
	OPEN;
	k = (struct keys){ 0 };
	see(&f, &k);
	f.obs.pg = (struct herd_obs_pg){ .data = HERD_DATA_EMPTY };
	expect(&f, "bootstrap.race; PUT initialize= if absent on lease");
	k.initialize = "";
	see(&f, &k);
	expect(&f, "bootstrap.wait");
	k.initialize_ours = true;
	see(&f, &k);
	expect(&f, "bootstrap.initdb; BOOTSTRAP");
	f.obs.pg = (struct herd_obs_pg){ .data = HERD_DATA_VALID,
					 .sysid = SYSID,
					 .timeline = 1,
					 .fresh = true,
					 .control = HERD_CONTROL_SHUT_DOWN };
	f.obs.bootstrap_config = "{\"ttl\":30}";
	expect(&f,
	       "bootstrap.finish; PUT config={\"ttl\":30} if absent; TAKE leader=a if absent on "
	       "lease; PUT initialize=7001 if version 15");
	k = healthy;
	k.leader = "a";
	k.leader_lease = "L1";
	see(&f, &k);
	expect(&f, "down.start; START primary");
	CLOSE;
}

ROW(replica_is_cloned)
{
	OPEN;
	f.obs.pg = (struct herd_obs_pg){ .data = HERD_DATA_EMPTY };
	expect(&f, "bootstrap.wait");
	k.leader = "b";
	see(&f, &k);
	expect(&f, "bootstrap.wait");
	f.scope->groups[0].members[1].role = HERD_ROLE_PRIMARY;
	expect(&f, "bootstrap.clone; CLONE b");
	assert_string_equal(f.plan.why, "trying to bootstrap from leader 'b'");
	CLOSE;
}

ROW(foreign_data)
{
	OPEN;
	k.initialize = "7002";
	see(&f, &k);
	expect(&f, "sysid.mismatch; EXIT 1");
	f.obs.pg.run = HERD_RUN_DOWN;
	f.obs.pg.fresh = true;
	expect(&f, "sysid.fresh; WIPE");
	CLOSE;
}

ROW(switchover)
{
	OPEN;
	k.leader = "a";
	k.leader_lease = "L1";
	k.failover = "{\"leader\":\"a\",\"member\":\"b\"}";
	k.proxy = "{\"acks\":{}}";
	see(&f, &k);
	as_primary(&f);
	answers(&f, 900, 1000);
	f.obs.pg.transactions = 1;
	expect(&f, "switchover.checkpoint; CHECKPOINT");
	f.obs.task.last = HERD_TASK_CHECKPOINT;
	f.obs.task.last_ok = true;
	f.obs.task.last_ms = NOW + 50;
	f.obs.now_ms = NOW + 50;
	/* Without a connection it could never get the last bytes. */
	expect(&f, "switchover.stream");
	streams(&f, "b");
	char *text = plan_of(&f);

	assert_non_null(strstr(text, "switchover.prepare; PUT handover="));
	assert_int_equal(f.plan.act[0].cond, HERD_IF_ABSENT);
	assert_non_null(strstr(text, "\"to\":\"b\",\"phase\":\"prepare\""));
	const char *doc = f.plan.act[0].value;

	k.handover = strdup(doc);
	free(text);
	see(&f, &k);
	expect(&f, "switchover.wait");
	/* The proxy has acknowledged; the transaction still runs. */
	char *proxy = herd_str_printf("{\"acks\":{\"\":\"%s\"}}", f.scope->groups[0].handover.id);

	k.proxy = proxy;
	see(&f, &k);
	expect(&f, "switchover.wait");
	f.obs.pg.transactions = 0;
	text = plan_of(&f);
	assert_non_null(strstr(text, "\"phase\":\"shutdown\""));
	assert_int_equal(f.plan.act[0].cond, HERD_IF_VERSION);
	assert_non_null(strstr(text, "; STOP fast"));
	free(text);
	f.obs.task.running = HERD_TASK_STOP;
	f.obs.pg.run = HERD_RUN_STOPPING;
	expect(&f, "switchover.stop");
	f.obs.pg.control = HERD_CONTROL_SHUT_DOWN;
	f.obs.pg.checkpoint_lsn = 1000;
	answers(&f, 1000, 0);
	expect(&f, "switchover.confirm");
	f.obs.now_ms += 60;
	f.answers[0].lsn = 1100;
	text = plan_of(&f);
	assert_non_null(strstr(text, "switchover.release; PUT handover="));
	assert_non_null(strstr(text, "\"phase\":\"done\""));
	assert_non_null(strstr(text, "; RELEASE leader if version 16"));
	free(text);
	free((char *)k.handover);
	free(proxy);
	CLOSE;
}

/* Between members of ours the key goes from lease to lease, and /sync with it. */
ROW(the_key_is_passed)
{
	OPEN;
	k.config = "{\"synchronous_mode\":\"quorum\"}";
	k.sync = "{\"leader\":\"a\",\"sync_standby\":\"b\",\"quorum\":0}";
	k.leader = "a";
	k.leader_lease = "L1";
	k.failover = "{\"leader\":\"a\",\"member\":\"b\"}";
	see(&f, &k);
	as_primary(&f);
	f.obs.pg.ssn = "ANY 1 (b)";
	f.obs.can_pass = true;
	answers(&f, 1000, 0);
	streams(&f, "b");
	free(plan_of(&f));
	f.obs.task.last = HERD_TASK_CHECKPOINT;
	f.obs.task.last_ms = NOW;
	free(plan_of(&f));
	f.obs.task.running = HERD_TASK_STOP;
	f.obs.pg.run = HERD_RUN_STOPPING;
	f.obs.pg.control = HERD_CONTROL_SHUT_DOWN;
	f.obs.pg.checkpoint_lsn = 1000;
	f.answers[0].lsn = 1100;
	f.scope->groups[0].members[1].pgherd = json_object();
	char *text = plan_of(&f);

	assert_non_null(strstr(text, "\"phase\":\"done\""));
	assert_non_null(strstr(text, "; PUT sync={\"leader\":\"b\",\"quorum\":0,"
				     "\"sync_standby\":null} if version 22"));
	assert_non_null(strstr(text, "; PASS leader=b if version 16 on lease L2"));
	free(text);
	CLOSE;
}

ROW(who_got_the_key_promotes)
{
	OPEN;
	k.config = "{\"synchronous_mode\":\"quorum\"}";
	k.sync = "{\"leader\":\"a\",\"sync_standby\":null,\"quorum\":0}";
	k.leader = "a";
	k.leader_lease = "L1";
	k.handover = "{\"id\":\"x\",\"from\":\"b\",\"to\":\"a\",\"phase\":\"shutdown\","
		     "\"deadline_ms\":1}";
	see(&f, &k);
	expect(&f, "promote.word");
	k.handover = "{\"id\":\"x\",\"from\":\"b\",\"to\":\"a\",\"phase\":\"done\","
		     "\"deadline_ms\":1}";
	see(&f, &k);
	expect(&f, "promote; PROMOTE");
	CLOSE;
	/* The word does not come: nobody said that we have everything. */
	fixture_open(&f);
	k.handover = "{\"id\":\"x\",\"from\":\"b\",\"to\":\"a\",\"phase\":\"shutdown\","
		     "\"deadline_ms\":1}";
	see(&f, &k);
	expect(&f, "promote.word");
	f.obs.now_ms += 500;
	expect(&f, "promote.outdated; RELEASE leader if version 16");
	CLOSE;
}

/* Whoever leads next must not be asked for the same again, nor wait for us. */
ROW(who_cannot_promote_withdraws)
{
	OPEN;
	k.leader = "a";
	k.leader_lease = "L1";
	k.failover = "{\"leader\":\"b\",\"member\":\"a\"}";
	k.handover = "{\"id\":\"x\",\"from\":\"b\",\"to\":\"a\",\"phase\":\"done\","
		     "\"deadline_ms\":1}";
	see(&f, &k);
	expect(&f, "promote; PROMOTE");
	f.obs.task.last = HERD_TASK_PROMOTE;
	f.obs.task.last_ok = false;
	f.obs.task.last_ms = f.obs.now_ms;
	expect(&f, "promote.failed; DELETE failover if version 12; DELETE handover if version 13; "
		   "RELEASE leader if version 16");
	CLOSE;
}

/* What a former life of the agent sent may still arrive: its key is written anew first. */
ROW(an_adopted_lease)
{
	OPEN;
	k.leader = "a";
	k.leader_lease = "L1";
	see(&f, &k);
	as_primary(&f);
	f.obs.lease.adopted_version = 16;
	expect(&f, "lease.regrant; TAKE leader=a if version 16 on lease");
	assert_int_equal(f.plan.guard_ms, HERD_GUARD_KEEP);
	CLOSE;
}

ROW(switchover_is_taken_back)
{
	OPEN;
	k.leader = "a";
	k.leader_lease = "L1";
	k.failover = "{\"leader\":\"a\",\"member\":\"b\"}";
	see(&f, &k);
	as_primary(&f);
	answers(&f, 900, 0);
	expect(&f, "switchover.checkpoint; CHECKPOINT");
	f.obs.task.last = HERD_TASK_CHECKPOINT;
	f.obs.task.last_ms = NOW;
	streams(&f, "b");
	char *text = plan_of(&f);

	assert_non_null(strstr(text, "switchover.stop"));
	free(text);
	/* It crashed on the way down. */
	f.obs.pg.run = HERD_RUN_DOWN;
	text = plan_of(&f);
	assert_non_null(strstr(text, "\"phase\":\"aborted\""));
	assert_non_null(strstr(text, "; DELETE failover if version 12"));
	free(text);
	k.failover = NULL;
	see(&f, &k);
	f.obs.now_ms += 100;
	expect(&f, "down.start; START primary");
	CLOSE;
}

ROW(switchover_is_refused)
{
	static const char *const requests[] = {
		"{\"leader\":\"x\",\"member\":\"b\"}", "{\"leader\":\"a\",\"member\":\"x\"}",
		"{\"member\":\"a\"}",
		"{\"leader\":\"a\",\"scheduled_at\":\"2026-11-22T05:03:44+00:00\"}", "{{"
	};

	for (size_t i = 0; i < sizeof(requests) / sizeof(*requests); i++) {
		OPEN;
		k.leader = "a";
		k.leader_lease = "L1";
		k.failover = requests[i];
		see(&f, &k);
		as_primary(&f);
		expect(&f, "switchover.refuse; DELETE failover if version 12");
		CLOSE;
	}
}

ROW(candidate_takes_what_is_handed_over)
{
	OPEN;
	k.handover =
		"{\"id\":\"i\",\"from\":\"b\",\"to\":\"a\",\"phase\":\"done\",\"deadline_ms\":1}";
	see(&f, &k);
	expect(&f, "race.handover; TAKE leader=a if absent on lease");
	fixture_close(&f);
	/* Before it is done, an election like any other. */
	fixture_open(&f);
	k.handover = "{\"id\":\"i\",\"from\":\"b\",\"to\":\"a\",\"phase\":\"shutdown\",\"deadline_"
		     "ms\":1}";
	see(&f, &k);
	answers(&f, 2000, 0);
	expect(&f, "race.beaten");
	fixture_close(&f);
	/* The word of an earlier leader, come late: /sync names the last one. A race decides. */
	fixture_open(&f);
	k.config = "{\"synchronous_mode\":true}";
	k.sync = "{\"leader\":\"c\",\"quorum\":0,\"sync_standby\":\"a\"}";
	k.handover =
		"{\"id\":\"i\",\"from\":\"b\",\"to\":\"a\",\"phase\":\"done\",\"deadline_ms\":1}";
	see(&f, &k);
	answers(&f, 2000, 0);
	expect(&f, "race.win; TAKE leader=a if absent on lease");
	CLOSE;
}

ROW(paused)
{
	OPEN;
	k.config = "{\"pause\":true}";
	see(&f, &k);
	as_primary(&f);
	k.leader = "a";
	k.leader_lease = "L1";
	see(&f, &k);
	f.obs.lease.sent_ms = NOW - 29000;
	expect(&f, "pause.leader; LEASE_RENEW; PUT status={\"optime\":1000,\"slots\":{\"a\":1000},"
		   "\"retain_slots\":[\"a\",\"b\",\"c\"]}");
	assert_int_equal(f.plan.guard_ms, 0);
	CLOSE;
}

ROW(member_document)
{
	OPEN;
	k.leader = "b";
	see(&f, &k);
	f.obs.pg.following = "b";
	f.obs.pg.streaming = true;
	herd_core_step(f.core, &f.obs, &f.plan);
	const struct herd_action *a = &f.plan.act[f.plan.n - 1];

	assert_string_equal(a->key, "members/a");
	assert_true(a->on_lease && !a->wait);
	assert_string_equal(a->value, "{\"conn_url\":\"postgres://h:5432/postgres\",\"api_url\":"
				      "\"http://h:8008/patroni\",\"state\":\"running\",\"role\":"
				      "\"replica\",\"version\":\"4.1.0\",\"xlog_location\":1000,"
				      "\"replay_lsn\":1000,\"receive_lsn\":1000,"
				      "\"replication_state\":\"streaming\",\"timeline\":1}");
	CLOSE;
}

/* clang-format off */
int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(follower_is_quiet),
		cmocka_unit_test(follower_turns_to_a_new_leader),
		cmocka_unit_test(leader_is_quiet),
		cmocka_unit_test(server_without_progress),
		cmocka_unit_test(start_that_cannot_be_seen_yet),
		cmocka_unit_test(leader_without_a_required_fence),
		cmocka_unit_test(lease_is_renewed_after_loop_wait),
		cmocka_unit_test(leader_without_renewal_stops_in_time),
		cmocka_unit_test(primary_without_key_stops),
		cmocka_unit_test(released_key_before_the_process_ended),
		cmocka_unit_test(sync_choice_is_kept),
		cmocka_unit_test(store_cannot_be_read),
		cmocka_unit_test(standby_cluster_is_not_promoted),
		cmocka_unit_test(key_of_a_former_life_is_moved),
		cmocka_unit_test(race_is_won),
		cmocka_unit_test(race_is_not_run),
		cmocka_unit_test(race_waits_for_the_others),
		cmocka_unit_test(sync_decides_the_race),
		cmocka_unit_test(win_is_looked_at_again),
		cmocka_unit_test(sync_is_claimed_before_the_promotion),
		cmocka_unit_test(fallen_primary),
		cmocka_unit_test(first_primary_claims_sync),
		cmocka_unit_test(primary_start_timeout_zero),
		cmocka_unit_test(former_primary_is_judged),
		cmocka_unit_test(standby_that_diverged),
		cmocka_unit_test(bootstrap),
		cmocka_unit_test(replica_is_cloned),
		cmocka_unit_test(foreign_data),
		cmocka_unit_test(switchover),
		cmocka_unit_test(the_key_is_passed),
		cmocka_unit_test(who_got_the_key_promotes),
		cmocka_unit_test(who_cannot_promote_withdraws),
		cmocka_unit_test(an_adopted_lease),
		cmocka_unit_test(switchover_is_taken_back),
		cmocka_unit_test(switchover_is_refused),
		cmocka_unit_test(candidate_takes_what_is_handed_over),
		cmocka_unit_test(paused),
		cmocka_unit_test(member_document),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
/* clang-format on */
