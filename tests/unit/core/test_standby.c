/* Standby clusters, and whom a replica is made from and follows. */
#include "fixture.h"

#define ROW(name) static void name(void **state)
#define OPEN                                                                                       \
	struct fixture f;                                                                          \
	struct keys k = healthy;                                                                   \
	fixture_open(&f)
#define CLOSE fixture_close(&f)

#define STATUS                                                                                     \
	"PUT status={\"optime\":1000,\"slots\":{\"a\":1000},\"retain_slots\":[\"a\",\"b\",\"c\"]}"

static const char standby_config[] = "{\"standby_cluster\":{\"host\":\"h\"}}";

static void as_standby_leader(struct fixture *f, struct keys *k)
{
	k->leader = "a";
	k->leader_lease = "L1";
	k->config = standby_config;
	see(f, k);
	f->obs.pg.following = HERD_REMOTE;
	f->obs.pg.streaming = true;
}

ROW(standby_leader_is_quiet)
{
	OPEN;
	as_standby_leader(&f, &k);
	expect(&f, "standby; " STATUS);
	assert_string_equal(f.plan.why, "no action. I am (a), the standby leader with the lock");
	f.obs.now_ms += 100;
	k.status = "{\"optime\":1000,\"slots\":{\"a\":1000},\"retain_slots\":[\"a\",\"b\",\"c\"]}";
	see(&f, &k);
	expect(&f, "standby");
	assert_true(f.plan.leader);
	CLOSE;
}

ROW(standby_leader_turns_outside)
{
	OPEN;
	as_standby_leader(&f, &k);
	f.obs.pg.following = "b";
	expect(&f, "standby.follow; " STATUS "; FOLLOW /remote");
	CLOSE;
}

ROW(sync_state_goes_with_the_primary)
{
	OPEN;
	k.sync = "{\"leader\":\"a\",\"sync_standby\":\"b\"}";
	as_standby_leader(&f, &k);
	expect(&f, "standby.sync; DELETE sync if version 22");
	CLOSE;
}

/* The section appears while we lead: stop, and come back as a standby under the same key. */
ROW(cluster_is_demoted)
{
	OPEN;
	as_standby_leader(&f, &k);
	as_primary(&f);
	expect(&f, "standby.demote; STOP fast archive");
	f.obs.pg.run = HERD_RUN_DOWN;
	f.obs.pg.control = HERD_CONTROL_SHUT_DOWN;
	f.obs.probe = (struct herd_obs_probe){ .name = HERD_REMOTE, .ok = true, .timeline = 1 };
	expect(&f, "standby.start; START standby /remote");
	CLOSE;
}

ROW(demoted_cluster_that_diverged)
{
	struct herd_history_line line = { .timeline = 1, .lsn = 800 };
	struct herd_history h = { 1, &line };
	OPEN;
	as_standby_leader(&f, &k);
	as_primary(&f);
	f.obs.pg.run = HERD_RUN_DOWN;
	f.obs.pg.control = HERD_CONTROL_SHUT_DOWN;
	f.obs.probe = (struct herd_obs_probe){
		.name = HERD_REMOTE, .ok = true, .timeline = 2, .history = &h
	};
	expect(&f, "rewind; REWIND /remote");
	/* The source is a standby still: not a failure of ours. */
	f.obs.task.last = HERD_TASK_REWIND;
	f.obs.task.last_again = true;
	f.obs.task.last_ms = f.obs.now_ms;
	f.obs.now_ms += 100;
	expect(&f, "rewind.again");
	f.obs.now_ms += 6000;
	f.obs.lease.sent_ms = f.obs.now_ms;
	f.obs.task.last_ok = true;
	expect(&f, "standby.start; START standby /remote");
	CLOSE;
}

/* Nothing but the missing stream tells that the primary outside went another way. */
ROW(starved_standby_leader_asks)
{
	struct herd_history_line line = { .timeline = 1, .lsn = 800 };
	struct herd_history h = { 1, &line };
	OPEN;
	k.status = "{\"optime\":1000,\"slots\":{\"a\":1000},\"retain_slots\":[\"a\",\"b\",\"c\"]}";
	as_standby_leader(&f, &k);
	f.obs.pg.streaming = false;
	expect(&f, "standby");
	f.obs.now_ms += 4000;
	f.obs.lease.sent_ms = f.obs.now_ms;
	expect(&f, "standby");
	f.obs.now_ms += 1500;
	f.obs.probe = (struct herd_obs_probe){
		.name = HERD_REMOTE, .ok = true, .timeline = 2, .history = &h
	};
	expect(&f, "standby.diverged; STOP fast");
	CLOSE;
}

ROW(standby_cluster_is_promoted)
{
	OPEN;
	as_standby_leader(&f, &k);
	expect(&f, "standby; " STATUS);
	k.config = config_async;
	see(&f, &k);
	expect(&f, "promote; PROMOTE");
	/* Under another key than the one it led a standby cluster with it has to win first. */
	CLOSE;
	fixture_open(&f);
	see(&f, &k);
	expect(&f, "promote.outdated; RELEASE leader if version 16");
	CLOSE;
}

ROW(key_moves_in_a_standby_cluster)
{
	OPEN;
	k.failover = "{\"leader\":\"a\",\"member\":\"b\"}";
	as_standby_leader(&f, &k);
	answers(&f, 1000, 1000);
	char *got = plan_of(&f);

	assert_non_null(strstr(got, "switchover.pass-on; PUT handover="));
	assert_non_null(strstr(got, "RELEASE leader if version 16"));
	assert_null(strstr(got, "STOP"));
	free(got);
	CLOSE;
}

ROW(standby_cluster_is_bootstrapped)
{
	struct herd_config boot = { 0 };
	json_t *v = json_pack("{s:{s:s}}", "standby_cluster", "host", "h");
	OPEN;
	assert_int_equal(herd_config_from_json(v, true, &boot), 0);
	k = (struct keys){ .initialize = "", .initialize_ours = true, .alone = true };
	see(&f, &k);
	f.obs.bootstrap = &boot;
	f.obs.pg = (struct herd_obs_pg){ .data = HERD_DATA_EMPTY };
	expect(&f, "bootstrap.remote; CLONE /remote");
	f.obs.task.last = HERD_TASK_CLONE;
	f.obs.task.last_ok = false;
	expect(&f, "bootstrap.failed; DELETE initialize if version 15; EXIT 1");
	herd_config_clear(&boot);
	json_decref(v);
	CLOSE;
}

ROW(unreadable_configuration_promotes_nobody)
{
	struct herd_config last = { 0 };
	json_t *v = json_pack("{s:{s:s}}", "standby_cluster", "host", "h");
	OPEN;
	assert_int_equal(herd_config_from_json(v, true, &last), 0);
	as_standby_leader(&f, &k);
	expect(&f, "standby; " STATUS);
	f.obs.bootstrap = &last;
	k.status = "{\"optime\":1000,\"slots\":{\"a\":1000},\"retain_slots\":[\"a\"]}";
	k.config = "{";
	see(&f, &k);
	expect(&f, "standby");
	k.config = NULL;
	see(&f, &k);
	expect(&f, "standby.documents; PUT config={} if absent");
	herd_config_clear(&last);
	json_decref(v);
	CLOSE;
}

ROW(agent_restart_keeps_the_standby_leader)
{
	OPEN;
	as_standby_leader(&f, &k);
	k.leader_lease = "L0";
	see(&f, &k);
	expect(&f, "lease.regrant; TAKE leader=a if version 16 on lease");
	CLOSE;
}

ROW(paused_standby_leader_stays)
{
	OPEN;
	as_standby_leader(&f, &k);
	k.config = "{\"pause\":true,\"standby_cluster\":{\"host\":\"h\"}}";
	see(&f, &k);
	expect(&f, "standby; " STATUS);
	assert_string_equal(f.plan.why,
			    "PAUSE: no action. I am (a), the standby leader with the lock");
	CLOSE;
}

ROW(nostream_follows_nobody)
{
	OPEN;
	k.leader = "b";
	see(&f, &k);
	f.obs.probe = (struct herd_obs_probe){ .name = "b", .ok = true, .timeline = 1 };
	f.self.tags.nostream = true;
	f.obs.pg.archive = true;
	expect(&f, "follow");
	f.obs.pg.following = "b";
	expect(&f, "follow.new; FOLLOW");
	f.obs.pg.run = HERD_RUN_DOWN;
	expect(&f, "down.standby; START standby");
	CLOSE;
}

/* Members that name each other in a circle follow the leader. */
ROW(circle_of_replicatefrom)
{
	static const char *const of[] = { "c", "a" };
	OPEN;
	k.leader = "d";
	see(&f, &k);
	f.obs.probe = (struct herd_obs_probe){ .name = "d", .ok = true, .timeline = 1 };
	f.self.tags.replicatefrom = (char *)"b";
	f.obs.pg.following = "b";
	expect(&f, "follow");
	for (size_t i = 0; i < f.scope->groups[0].n_members; i++) {
		struct herd_member *m = &f.scope->groups[0].members[i];

		if (strcmp(m->name, "a") != 0)
			m->tags.replicatefrom = strdup(of[strcmp(m->name, "c") == 0]);
	}
	expect(&f, "follow.new; FOLLOW d");
	CLOSE;
}

ROW(copy_without_a_leader)
{
	OPEN;
	see(&f, &k);
	f.obs.pg = (struct herd_obs_pg){ .data = HERD_DATA_EMPTY };
	expect(&f, "bootstrap.wait");
	f.obs.clone_without_leader = true;
	expect(&f, "bootstrap.clone; CLONE");
	assert_string_equal(f.plan.why, "trying to bootstrap (without leader)");
	CLOSE;
}

ROW(diverged_data_is_put_aside)
{
	struct herd_history_line line = { .timeline = 1, .lsn = 999 };
	struct herd_history h = { 1, &line };
	OPEN;
	k.leader = "b";
	see(&f, &k);
	f.obs.pg.following = "b";
	f.obs.rewind_possible = false;
	f.obs.reclone_aside = true;
	f.obs.probe =
		(struct herd_obs_probe){ .name = "b", .ok = true, .timeline = 2, .history = &h };
	expect(&f, "follow.diverged; STOP fast");
	f.obs.pg.run = HERD_RUN_DOWN;
	expect(&f, "rewind.aside; WIPE=diverged");
	/* It cannot be moved, or the user has said that it must stay. */
	f.obs.reclone_aside = false;
	expect(&f, "down.standby; START standby b");
	CLOSE;
	fixture_open(&f);
	see(&f, &k);
	f.obs.rewind_possible = false;
	as_primary(&f);
	f.obs.pg.run = HERD_RUN_DOWN;
	f.obs.probe =
		(struct herd_obs_probe){ .name = "b", .ok = true, .timeline = 2, .history = &h };
	expect(&f, "down.standby; START standby b");
	assert_non_null(f.plan.warning);
	CLOSE;
}

/* A new copy after a failed rewind is not what was judged: it must never be rewound. */
ROW(copy_after_a_failed_rewind_is_started)
{
	struct herd_history_line line = { .timeline = 1, .lsn = 800 };
	struct herd_history h = { 1, &line };
	OPEN;
	k.leader = "b";
	see(&f, &k);
	/* The leader has a new timeline, and its control file knows it. */
	for (size_t i = 0; i < f.scope->groups[0].n_members; i++)
		if (strcmp(f.scope->groups[0].members[i].name, "b") == 0)
			f.scope->groups[0].members[i].role = HERD_ROLE_PRIMARY;
	as_primary(&f);
	f.obs.pg.run = HERD_RUN_DOWN;
	f.obs.probe =
		(struct herd_obs_probe){ .name = "b", .ok = true, .timeline = 2, .history = &h };
	expect(&f, "rewind; REWIND b");
	f.obs.task.last = HERD_TASK_REWIND;
	f.obs.pg.data = HERD_DATA_BROKEN;
	f.obs.now_ms += 100;
	expect(&f, "bootstrap.clone; CLONE b");
	f.obs.task.last = HERD_TASK_CLONE;
	f.obs.task.last_ok = true;
	f.obs.pg.data = HERD_DATA_VALID;
	f.obs.pg.in_recovery = true;
	f.obs.now_ms += 100;
	expect(&f, "down.standby; START standby b");
	CLOSE;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(standby_leader_is_quiet),
		cmocka_unit_test(standby_leader_turns_outside),
		cmocka_unit_test(sync_state_goes_with_the_primary),
		cmocka_unit_test(cluster_is_demoted),
		cmocka_unit_test(demoted_cluster_that_diverged),
		cmocka_unit_test(starved_standby_leader_asks),
		cmocka_unit_test(standby_cluster_is_promoted),
		cmocka_unit_test(key_moves_in_a_standby_cluster),
		cmocka_unit_test(standby_cluster_is_bootstrapped),
		cmocka_unit_test(unreadable_configuration_promotes_nobody),
		cmocka_unit_test(agent_restart_keeps_the_standby_leader),
		cmocka_unit_test(paused_standby_leader_stays),
		cmocka_unit_test(nostream_follows_nobody),
		cmocka_unit_test(circle_of_replicatefrom),
		cmocka_unit_test(copy_without_a_leader),
		cmocka_unit_test(diverged_data_is_put_aside),
		cmocka_unit_test(copy_after_a_failed_rewind_is_started),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
