/* failsafe_mode: the members' word instead of the store's. */
#include "fixture.h"

#define ROW(name) static void name(void **state)

static const char config_failsafe[] =
	"{\"ttl\":30,\"loop_wait\":10,\"retry_timeout\":10,\"failsafe_mode\":true}";
static const char all_three[] = "{\"a\":\"http://h:8008/patroni\",\"b\":\"http://h:8008/patroni\","
				"\"c\":\"http://h:8008/patroni\"}";
static const char published[] =
	"{\"optime\":1000,\"slots\":{\"a\":1000},\"retain_slots\":[\"a\",\"b\",\"c\"]}";

/* We lead, the store has been away since the lease was renewed 13 s ago, all is published. */
static void lead(struct fixture *f, struct keys *k)
{
	fixture_open(f);
	*k = healthy;
	k->config = config_failsafe;
	k->failsafe = all_three;
	k->status = published;
	k->leader = "a";
	k->leader_lease = "L1";
	see(f, k);
	as_primary(f);
	f->obs.lease.sent_ms = NOW - 13000;
	f->obs.lease.busy = true;
}

static void answer(struct fixture *f, bool accepted, bool refused)
{
	for (size_t i = 0; i < f->plan.n; i++)
		if (f->plan.act[i].act == HERD_ACT_FAILSAFE)
			f->obs.failsafe.id = f->plan.act[i].id;
	f->obs.failsafe.accepted = accepted;
	f->obs.failsafe.refused = refused;
}

ROW(leader_writes_the_key)
{
	struct fixture f;
	struct keys k = healthy;
	fixture_open(&f);
	k.config = config_failsafe;
	k.leader = "a";
	k.leader_lease = "L1";
	see(&f, &k);
	as_primary(&f);
	expect(&f, "leader.documents; PUT failsafe={\"a\":\"http://h:8008/patroni\","
		   "\"b\":\"http://h:8008/patroni\",\"c\":\"http://h:8008/patroni\"} if absent");
	/* Switched off, it must not stand in the way of members that come later. */
	k.config = config_async;
	k.failsafe = all_three;
	see(&f, &k);
	expect(&f, "leader.documents; DELETE failsafe if version 23");
	fixture_close(&f);
}

ROW(members_are_asked_when_a_renewal_is_late)
{
	struct fixture f;
	struct keys k;
	lead(&f, &k);
	f.obs.lease.sent_ms = NOW - 12000;
	expect(&f, "leader");
	f.obs.lease.sent_ms = NOW - 13000;
	f.obs.dcs_ok = false;
	expect(&f, "view.none; FAILSAFE b,c");
	assert_int_equal(f.plan.act[0].ttl_ms, 30000);
	fixture_close(&f);
}

ROW(their_word_counts_from_the_question)
{
	struct fixture f;
	struct keys k;
	lead(&f, &k);
	f.obs.dcs_ok = false;
	expect(&f, "view.none; FAILSAFE b,c");
	assert_int_equal(f.plan.guard_ms, NOW - 13000 + 25000);
	f.obs.now_ms += 1500;
	answer(&f, true, false);
	expect(&f, "failsafe");
	assert_string_equal(f.plan.why, "continue to run as a leader because failsafe mode is "
					"enabled and all members are accessible");
	assert_true(f.plan.failsafe);
	assert_true(f.plan.leader);
	assert_int_equal(f.plan.guard_ms, NOW + 25000);
	assert_int_equal(f.plan.leader_until_ms, NOW + 30000);
	/* Asked again in the rhythm of the loop. */
	f.obs.now_ms = NOW + 10000;
	expect(&f, "failsafe; FAILSAFE b,c");
	fixture_close(&f);
}

ROW(silence_ends_it)
{
	struct fixture f;
	struct keys k;
	lead(&f, &k);
	f.obs.dcs_ok = false;
	expect(&f, "view.none; FAILSAFE b,c");
	answer(&f, true, false);
	f.obs.now_ms += 1;
	expect(&f, "failsafe");
	f.obs.now_ms = NOW + 10000;
	expect(&f, "failsafe; FAILSAFE b,c");
	answer(&f, false, false);
	f.obs.now_ms += 2000;
	expect(&f, "failsafe; FAILSAFE b,c");
	answer(&f, false, false);
	f.obs.now_ms += 2000;
	expect(&f, "lease.expired; STOP fast");
	assert_string_equal(f.plan.why,
			    "demoted self because DCS is not accessible and I was a leader");
	/* It comes back read-only, whatever members say later. */
	answer(&f, true, false);
	f.obs.pg.run = HERD_RUN_DOWN;
	f.obs.pg.control = HERD_CONTROL_SHUT_DOWN;
	f.obs.now_ms += 1000;
	expect(&f, "view.standby; START standby");
	assert_false(f.plan.leader);
	fixture_close(&f);
}

ROW(an_answer_after_the_deadline_is_no_answer)
{
	struct fixture f;
	struct keys k;
	lead(&f, &k);
	f.obs.dcs_ok = false;
	expect(&f, "view.none; FAILSAFE b,c");
	answer(&f, true, false);
	f.obs.now_ms = NOW - 13000 + 20000;
	expect(&f, "lease.expired; STOP fast");
	assert_false(f.plan.failsafe);
	fixture_close(&f);
}

ROW(a_postmaster_that_dies_is_started_in_place)
{
	struct fixture f;
	struct keys k;
	lead(&f, &k);
	f.obs.dcs_ok = false;
	expect(&f, "view.none; FAILSAFE b,c");
	answer(&f, true, false);
	f.obs.pg.run = HERD_RUN_DOWN;
	expect(&f, "failsafe.start; START primary");
	assert_int_equal(f.plan.valid_ms, NOW + 20000);
	fixture_close(&f);
}

ROW(the_key_is_taken_again)
{
	struct fixture f;
	struct keys k;
	lead(&f, &k);
	f.obs.dcs_ok = false;
	expect(&f, "view.none; FAILSAFE b,c");
	answer(&f, true, false);
	f.obs.now_ms = NOW + 6000;
	expect(&f, "failsafe");
	f.obs.now_ms = NOW + 8000;
	/* The store is back, our lease and key are gone. */
	f.obs.dcs_ok = true;
	f.obs.lease = (struct herd_obs_lease){ 0 };
	k.leader = k.leader_lease = NULL;
	see(&f, &k);
	expect(&f, "failsafe.lease; LEASE_GRANT");
	assert_int_equal(f.plan.guard_ms, NOW + 25000);
	f.obs.lease = (struct herd_obs_lease){ "L9", NOW + 8000, 30000, false };
	expect(&f, "failsafe.retake; TAKE leader=a if absent on lease");
	/* Another has it: then our right had ended. */
	k.leader = "b";
	k.leader_lease = "L2";
	see(&f, &k);
	expect(&f, "lease.other; STOP immediate");
	fixture_close(&f);
}

ROW(a_promise_is_kept)
{
	struct fixture f;
	struct keys k = healthy;
	fixture_open(&f);
	k.config = config_failsafe;
	k.failsafe = all_three;
	see(&f, &k);
	answers(&f, 1000, 1000);
	f.obs.pg.following = "b";
	f.obs.probe = (struct herd_obs_probe){ .name = "b", .ok = true, .timeline = 1 };
	f.obs.failsafe.leader = "b";
	f.obs.failsafe.asked_ms = NOW - 29999;
	expect(&f, "follow");
	assert_true(f.plan.failsafe);
	/* A request for the key that was under way comes through: it is given back. */
	k.leader = "a";
	k.leader_lease = "L1";
	see(&f, &k);
	expect(&f, "promote.promised; RELEASE leader if version 16");
	/* The leader counts with a longer ttl than ours. */
	k.leader = k.leader_lease = NULL;
	see(&f, &k);
	f.obs.failsafe.ttl_ms = 60000;
	f.obs.now_ms += 30000;
	f.obs.lease.sent_ms += 30000;
	expect(&f, "follow");
	f.obs.now_ms += 1;
	f.obs.failsafe.ttl_ms = 0;
	expect(&f, "race.win; TAKE leader=a if absent on lease");
	fixture_close(&f);
}

ROW(who_was_started_a_moment_ago_may_have_promised)
{
	struct fixture f;
	struct keys k = healthy;
	fixture_open(&f);
	k.config = config_failsafe;
	k.failsafe = all_three;
	see(&f, &k);
	answers(&f, 0, 1000);
	expect(&f, "race.failsafe");
	f.obs.now_ms = NOW + 30000;
	f.obs.lease.sent_ms = NOW + 29000;
	expect(&f, "race.win; TAKE leader=a if absent on lease");
	fixture_close(&f);
	/* All others are standbys: there is no leader to wait for. */
	fixture_open(&f);
	see(&f, &k);
	answers(&f, 1000, 1000);
	expect(&f, "race.win; TAKE leader=a if absent on lease");
	fixture_close(&f);
}

ROW(who_is_not_in_the_key)
{
	struct fixture f;
	struct keys k = healthy;
	fixture_open(&f);
	k.failsafe = "{\"b\":\"http://h:8008/patroni\"}";
	see(&f, &k);
	/* b may lead without the store, and need not ask us, however long we have been there. */
	answers(&f, 0, 1000);
	f.obs.now_ms += 60000;
	f.obs.lease.sent_ms += 60000;
	expect(&f, "race.failsafe");
	f.answers[0].reachable = true;
	f.answers[0].running = false;
	f.answers[0].in_recovery = false;
	f.obs.now_ms += 600;
	expect(&f, "race.failsafe");
	/* It says that it does not lead; for ttl it may come up and do so. */
	f.answers[0].in_recovery = true;
	f.obs.now_ms += 600;
	expect(&f, "race.failsafe");
	f.obs.now_ms += 30000;
	f.obs.lease.sent_ms += 30000;
	f.answers[0].running = true;
	expect(&f, "race.failsafe");
	f.answers[0].running = false;
	f.obs.now_ms += 600;
	expect(&f, "race.failsafe");
	f.obs.now_ms += 30000;
	f.obs.lease.sent_ms += 30000;
	expect(&f, "race.win; TAKE leader=a if absent on lease");
	fixture_close(&f);
}

ROW(words)
{
	assert_int_equal(herd_failsafe_word(true, false, false), HERD_FAILSAFE_YES);
	assert_int_equal(herd_failsafe_word(false, false, false), HERD_FAILSAFE_OFF);
	assert_int_equal(herd_failsafe_word(true, true, false), HERD_FAILSAFE_LEADER);
	assert_int_equal(herd_failsafe_word(false, false, true), HERD_FAILSAFE_LEADER);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(leader_writes_the_key),
		cmocka_unit_test(members_are_asked_when_a_renewal_is_late),
		cmocka_unit_test(their_word_counts_from_the_question),
		cmocka_unit_test(silence_ends_it),
		cmocka_unit_test(an_answer_after_the_deadline_is_no_answer),
		cmocka_unit_test(a_postmaster_that_dies_is_started_in_place),
		cmocka_unit_test(the_key_is_taken_again),
		cmocka_unit_test(a_promise_is_kept),
		cmocka_unit_test(who_was_started_a_moment_ago_may_have_promised),
		cmocka_unit_test(who_is_not_in_the_key),
		cmocka_unit_test(words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
