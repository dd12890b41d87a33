/* Which replication slots a node has, and what it does about them. */
#include "fixture.h"

#define CONF(more) "{\"ttl\":30,\"loop_wait\":10,\"retry_timeout\":10" more "}"
#define PHYSICAL ",\"slots\":{\"p\":0}"
#define LOGICAL ",\"slots\":{\"l\":{\"type\":\"logical\",\"database\":\"d\",\"plugin\":\"o\"}}"
#define STATUS(slots) "{\"optime\":1000,\"slots\":{" slots "}}"

/* What stands in the store about "a" itself is not looked at: a member is known by obs.self. */
struct row {
	const char *name;
	bool leader; /* "a" leads; else it follows "b" */
	const char *config, *status, *tags;
	struct herd_obs_slot slots[4];
	const char *want; /* the actions about slots */
};

#define MEMBERS2                                                                                   \
	{ .name = "b", .restart_lsn = 900, .active = true },                                       \
	{                                                                                          \
		.name = "c", .restart_lsn = 900, .active = true                                    \
	}

/* clang-format off */
#define B900 { .name = "b", .restart_lsn = 900 }
#define C900 { .name = "c", .restart_lsn = 900 }
#define L_(...) { .name = "l", .type = HERD_SLOT_LOGICAL, .database = "d", .plugin = "o", .catalog_xmin = 700, __VA_ARGS__ }

static const struct row rows[] = {
	{ "a leader makes its members' slots", true, CONF(), "{}", NULL, { { 0 } },
	  "SLOT_CREATE b; SLOT_CREATE c" },
	{ "a standby too", false, CONF(), "{}", NULL, { { 0 } }, "SLOT_CREATE b; SLOT_CREATE c" },
	{ "and moves them to where they are", false, CONF(), STATUS("\"b\":950,\"c\":940"), NULL,
	  { B900, C900 }, "SLOT_ADVANCE b 0/3B6; SLOT_ADVANCE c 0/3AC" },
	{ "not beyond what it has replayed", false, CONF(), STATUS("\"b\":5000"), NULL,
	  { B900, C900 }, "SLOT_ADVANCE b 0/3E8" },
	{ "never backwards", false, CONF(), STATUS("\"b\":100"), NULL, { B900, C900 }, "" },
	{ "not while somebody streams", false, CONF(), STATUS("\"b\":950"), NULL,
	  { { .name = "b", .restart_lsn = 900, .active = true }, C900 }, "" },
	{ "a leader leaves them to their members", true, CONF(), STATUS("\"b\":950"), NULL,
	  { B900, C900 }, "" },
	{ "without use_slots there are none", true, CONF(",\"postgresql\":{\"use_slots\":false}" PHYSICAL),
	  "{}", NULL, { B900 }, "SLOT_DROP b" },
	{ "one that may not lead has none", false, CONF(PHYSICAL), "{}", "{\"nofailover\":true}",
	  { B900 }, "SLOT_DROP b" },
	{ "nothing in advance without a time to live", false, CONF(",\"member_slots_ttl\":0"), "{}", NULL,
	  { B900 }, "SLOT_DROP b" },
	{ "but a leader's own", true, CONF(",\"member_slots_ttl\":0"), "{}", NULL, { B900 },
	  "SLOT_CREATE c" },
	{ "unknown ones go", true, CONF(), "{}", NULL, { B900, C900, { .name = "x", .restart_lsn = 9 } },
	  "SLOT_DROP x" },
	{ "not when used, or temporary", true, CONF(), "{}", NULL,
	  { B900, C900, { .name = "x", .active = true }, { .name = "y", .temporary = true } }, "" },
	{ "not in pause", true, CONF(",\"pause\":true"), "{}", NULL, { B900, C900, { .name = "x" } }, "" },
	{ "not when ignored by name", true, CONF(",\"ignore_slots\":[{\"name\":\"x\"}]"), "{}", NULL,
	  { B900, C900, { .name = "x" } }, "" },
	{ "all fields must match", true,
	  CONF(",\"ignore_slots\":[{\"name\":\"x\",\"type\":\"logical\"},{\"type\":\"other\"}]"), "{}", NULL,
	  { B900, C900, { .name = "x" } }, "SLOT_DROP x" },
	{ "an empty matcher is for all", true, CONF(",\"ignore_slots\":[{}]"), "{}", NULL,
	  { B900, C900, { .name = "x" } }, "" },
	{ "by type and plugin", true,
	  CONF(",\"ignore_slots\":[{\"type\":\"logical\",\"plugin\":\"o\",\"database\":\"\"}]"), "{}", NULL,
	  { B900, C900, L_(.restart_lsn = 1) }, "" },
	{ "a move of shards is left alone", true, CONF(), "{}", NULL,
	  { B900, C900, { .name = "citus_shard_move_slot_1", .type = HERD_SLOT_LOGICAL } }, "" },
	{ "but not what it has left on a standby", false, CONF(), "{}", NULL,
	  { B900, C900, { .name = "citus_shard_move_slot_1", .type = HERD_SLOT_LOGICAL } },
	  "SLOT_DROP citus_shard_move_slot_1" },
	{ "a lost one is made anew", true, CONF(), "{}", NULL,
	  { B900, { .name = "c", .lost = true } }, "SLOT_DROP c" },
	{ "one that holds back nothing as well", false, CONF(), "{}", NULL, { B900, { .name = "c" } },
	  "SLOT_DROP c; SLOT_CREATE c" },
	{ "one with an xmin that never moves", false, CONF(), "{}", NULL,
	  { B900, { .name = "c", .restart_lsn = 9, .has_xmin = true } }, "SLOT_DROP c; SLOT_CREATE c" },
	{ "on a leader it moves", true, CONF(), "{}", NULL,
	  { B900, { .name = "c", .restart_lsn = 9, .has_xmin = true } }, "" },
	{ "permanent", true, CONF(PHYSICAL), "{}", NULL, { B900, C900 }, "SLOT_CREATE p" },
	{ "permanent on a standby", false, CONF(PHYSICAL), "{}", NULL, { B900, C900 }, "SLOT_CREATE p" },
	{ "its user's xmin is not ours to judge", false, CONF(PHYSICAL), "{}", NULL,
	  { B900, C900, { .name = "p", .restart_lsn = 9, .has_xmin = true } }, "" },
	{ "not for oneself", true, CONF(",\"slots\":{\"a\":0}"), "{}", NULL, { B900, C900 }, "" },
	{ "of a primary cluster", true, CONF(",\"slots\":{\"p\":{\"cluster_type\":\"primary\"}}"), "{}", NULL,
	  { B900, C900 }, "SLOT_CREATE p" },
	{ "of a standby cluster", true, CONF(",\"slots\":{\"p\":{\"cluster_type\":\"standby\"}}"), "{}", NULL,
	  { B900, C900 }, "" },
	{ "of another type", true, CONF(PHYSICAL), "{}", NULL,
	  { B900, C900, { .name = "p", .type = HERD_SLOT_LOGICAL } }, "SLOT_DROP p" },
	{ "of a member that has gone", false, CONF(), "{\"optime\":1,\"slots\":{\"g\":950},\"retain_slots\":[\"g\",\"a\"]}",
	  NULL, { B900, C900 }, "SLOT_CREATE g" },
	{ "logical: begins on the primary", true, CONF(LOGICAL), "{}", NULL, { B900, C900 }, "SLOT_CREATE l" },
	{ "logical: another plugin", true, CONF(LOGICAL), "{}", NULL,
	  { B900, C900, { .name = "l", .type = HERD_SLOT_LOGICAL, .database = "d", .plugin = "x" } },
	  "SLOT_DROP l" },
	{ "logical: not before the primary has it", false, CONF(LOGICAL), "{}", NULL, { B900, C900 }, "" },
	{ "logical: copied", false, CONF(LOGICAL), STATUS("\"l\":950"), NULL, { B900, C900 }, "SLOTS_COPY b l" },
	{ "logical: moved", false, CONF(LOGICAL), STATUS("\"l\":950"), NULL,
	  { B900, C900, L_(.restart_lsn = 900) }, "SLOT_ADVANCE l 0/3B6; SLOTS_ASK b a,l" },
	{ "logical: copied again when its WAL is gone", false, CONF(LOGICAL), STATUS("\"l\":950"), NULL,
	  { B900, C900, L_(.restart_lsn = 900, .stuck = true) }, "SLOTS_COPY b l" },
	{ "logical: lost", false, CONF(LOGICAL), STATUS("\"l\":950"), NULL,
	  { B900, C900, L_(.restart_lsn = 900, .lost = true) }, "SLOT_DROP l" },
	{ "logical: not in pause", false, CONF(LOGICAL ",\"pause\":true"), STATUS("\"l\":950"), NULL,
	  { B900, C900 }, "" },
	{ "logical: not for one that may not lead", false, CONF(LOGICAL), STATUS("\"l\":950"),
	  "{\"nofailover\":true}", { { 0 } }, "" },
	{ "logical: not without streaming WAL", false, CONF(LOGICAL), STATUS("\"l\":950"),
	  "{\"nostream\":true}", { B900, C900 }, "" },
	{ "PostgreSQL's own copies", false, CONF(LOGICAL), STATUS("\"l\":950"), NULL,
	  { B900, C900, L_(.restart_lsn = 9, .failover = true, .synced = true),
	    { .name = "x", .type = HERD_SLOT_LOGICAL, .failover = true, .synced = true } }, "" },
	{ "what stands in their way", false, CONF(), "{}", NULL,
	  { B900, C900, { .name = "x", .type = HERD_SLOT_LOGICAL, .failover = true } }, "SLOT_DROP x" },
	{ "their origin", true, CONF(), "{}", NULL,
	  { B900, C900, { .name = "x", .type = HERD_SLOT_LOGICAL, .failover = true } }, "" },
};
/* clang-format on */

static void open_row(struct fixture *f, const struct row *r)
{
	struct keys k = healthy;
	json_t *tags = r->tags ? json_loads(r->tags, 0, NULL) : NULL;

	fixture_open(f);
	k.config = r->config;
	k.status = r->status;
	k.leader = r->leader ? "a" : "b";
	k.leader_lease = r->leader ? "L1" : "L2";
	see(f, &k);
	assert_int_equal(herd_tags_from_json(tags, &f->self.tags), 0);
	json_decref(tags);
	if (r->leader)
		as_primary(f);
	f->obs.pg.following = "b";
	f->obs.probe = (struct herd_obs_probe){ .name = "b", .ok = true, .timeline = 1 };
	f->obs.pg.streaming = true;
	f->obs.pg.logical = true;
	f->obs.pg.max_slots = 10;
	f->obs.pg.feedback =
		!r->leader && herd_slots_need_feedback(herd_scope_group(f->scope, HERD_NO_GROUP),
						       "a", &f->self.tags);
	free(plan_of(f)); /* our data is judged against the leader's */
	f->obs.pg.slots_known = true;
	f->obs.pg.slots = r->slots;
	while (f->obs.pg.n_slots < 4 && r->slots[f->obs.pg.n_slots].name)
		f->obs.pg.n_slots++;
}

static void close_row(struct fixture *f)
{
	herd_tags_clear(&f->self.tags);
	fixture_close(f);
}

/* Of one step, a probe that it asks for answered. */
static char *slot_actions(struct fixture *f)
{
	struct herd_buf b = { 0 };

	free(plan_of(f));
	for (size_t i = 0; i < f->plan.n; i++) {
		const struct herd_action *a = &f->plan.act[i];
		char *text = herd_action_print(a);

		if (a->slot || a->act == HERD_ACT_SLOTS_COPY || a->act == HERD_ACT_SLOTS_ASK)
			herd_buf_printf(&b, "%s%s", b.len ? "; " : "", text);
		free(text);
	}
	herd_buf_addstr(&b, "");
	return herd_buf_steal(&b);
}

static void actions(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct fixture f;
		char *got;

		open_row(&f, &rows[i]);
		got = slot_actions(&f);
		if (strcmp(got, rows[i].want) != 0)
			fail_msg("%s: %s, not %s", rows[i].name, got, rows[i].want);
		free(got);
		close_row(&f);
	}
}

static const struct row behind = { .config = CONF(LOGICAL),
				   .status = STATUS("\"l\":900"),
				   .slots = { MEMBERS2, L_(.restart_lsn = 900) } };

/* A slot is said to be safe when our feedback has held its rows on the primary long enough. */
static void safety(void **state)
{
	/* feedback, catalog_xmin of the primary's slot; what comes of it */
	static const struct {
		uint32_t feedback, primary;
		bool safe;
	} answers[] = {
		{ 0, 690, false },   /* our feedback is not there yet */
		{ 650, 680, false }, /* holds back less than the primary's slot: 680 is noted */
		{ 670, 695, false }, { 710, 720, false }, /* ours is older than what is kept */
		{ 680, 720, true },
	};
	struct herd_obs_slot slots[2] = { { .name = "a" }, { .name = "l" } };
	struct fixture f;

	open_row(&f, &behind);
	for (size_t i = 0; i < sizeof(answers) / sizeof(*answers); i++) {
		char *got = slot_actions(&f);

		assert_string_equal(got, "SLOTS_ASK b a,l");
		free(got);
		slots[0].catalog_xmin = answers[i].feedback;
		slots[1].catalog_xmin = answers[i].primary;
		f.obs.asked_slots =
			(struct herd_obs_asked_slots){ f.plan.act[0].id, true, 2, slots };
		for (size_t k = 0; k < f.plan.n; k++)
			if (f.plan.act[k].act == HERD_ACT_SLOTS_ASK)
				f.obs.asked_slots.id = f.plan.act[k].id;
		free(slot_actions(&f));
		assert_int_equal(strcmp(f.plan.why, "Logical slot l is safe to be used after a "
						    "failover") == 0,
				 answers[i].safe);
		f.obs.now_ms += 10000;
		f.obs.lease.sent_ms = f.obs.view_ms = f.obs.now_ms - 1000;
	}
	free(slot_actions(&f));
	close_row(&f);
}

static void promotion_warns(void **state)
{
	struct fixture f;
	struct keys k = healthy;

	open_row(&f, &behind);
	free(slot_actions(&f));
	k.config = behind.config;
	k.status = behind.status;
	see(&f, &k);
	answers(&f, 1000, 1000);
	free(plan_of(&f));
	k.leader = "a";
	k.leader_lease = "L1";
	see(&f, &k);
	f.obs.now_ms += 5;
	expect(&f, "promote; PROMOTE");
	assert_string_equal(
		f.plan.warning,
		"Logical replication slots that might be unsafe to use after promote: l");
	close_row(&f);
}

static void no_room(void **state)
{
	struct row r = behind;
	struct fixture f;
	char *got;

	r.slots[2] = (struct herd_obs_slot){ 0 };
	open_row(&f, &r);
	f.obs.pg.max_slots = 2;
	got = slot_actions(&f);
	assert_string_equal(got, "");
	assert_non_null(strstr(f.plan.warning, "max_replication_slots"));
	free(got);
	f.obs.pg.max_slots = 3;
	f.obs.pg.logical = false;
	got = slot_actions(&f);
	assert_string_equal(got, "");
	assert_non_null(strstr(f.plan.warning, "wal_level"));
	free(got);
	f.obs.pg.logical = true;
	got = slot_actions(&f);
	assert_string_equal(got, "SLOTS_COPY b l");
	free(got);
	/* It failed: not again at once. */
	f.obs.task = (struct herd_obs_task){ .last = HERD_TASK_SLOTS_COPY, .last_ms = NOW };
	got = slot_actions(&f);
	assert_string_equal(got, "");
	free(got);
	close_row(&f);
}

static void feedback(void **state)
{
	struct fixture f;
	struct row r = behind;
	char *got;

	open_row(&f, &r);
	assert_true(f.obs.pg.feedback);
	f.obs.pg.feedback = false;
	got = plan_of(&f);
	assert_string_equal(got, "follow.settings; FOLLOW b");
	free(got);
	close_row(&f);
	r.config = CONF();
	open_row(&f, &r);
	assert_false(f.obs.pg.feedback);
	close_row(&f);
}

/* Settings of recovery that somebody changed are put right, but not without end. */
static void recovery_settings(void **state)
{
	struct fixture f;
	struct row r = behind;
	char *got;

	r.config = CONF();
	open_row(&f, &r);
	f.obs.pg.recovery_differs = true;
	got = plan_of(&f);
	assert_string_equal(got, "follow.settings; FOLLOW b");
	free(got);
	got = plan_of(&f);
	assert_null(strstr(got, "FOLLOW"));
	free(got);
	f.obs.now_ms += 10000;
	f.obs.lease.sent_ms = f.obs.view_ms = f.obs.now_ms - 1000;
	f.obs.pg.recovery_restart = true;
	got = plan_of(&f);
	assert_string_equal(got, "follow.restart-settings; RESTART");
	free(got);
	close_row(&f);
}

/* Without time to live only permanent slots are told of. */
static void published(void **state)
{
	static const struct row rows2[] = {
		{ .leader = true,
		  .config = CONF(PHYSICAL),
		  .status = "{}",
		  .slots = { MEMBERS2, { .name = "p", .restart_lsn = 7 } },
		  .want = "{\"optime\":1000,\"slots\":{\"b\":900,\"c\":900,\"p\":7,\"a\":1000},"
			  "\"retain_slots\":[\"a\",\"b\",\"c\"]}" },
		{ .leader = true,
		  .config = CONF(PHYSICAL ",\"member_slots_ttl\":0"),
		  .status = "{}",
		  .slots = { MEMBERS2, { .name = "p", .restart_lsn = 7 } },
		  .want = "{\"optime\":1000,\"slots\":{\"p\":7,\"a\":1000}}" },
	};

	for (size_t i = 0; i < 2; i++) {
		struct fixture f;
		const char *got = "";

		open_row(&f, &rows2[i]);
		free(plan_of(&f));
		f.obs.now_ms += 20000;
		f.obs.lease.sent_ms = f.obs.view_ms = f.obs.now_ms - 1000;
		free(plan_of(&f));
		for (size_t k = 0; k < f.plan.n; k++)
			if (f.plan.act[k].act == HERD_ACT_PUT &&
			    strcmp(f.plan.act[k].key, "status") == 0)
				got = f.plan.act[k].value;
		assert_string_equal(got, rows2[i].want);
		close_row(&f);
	}
}

/* What holds for every observation. */
static void check(const struct fixture *f, const char *config, bool leader)
{
	bool paused = strstr(config, "pause") != NULL;

	for (size_t i = 0; i < f->plan.n; i++) {
		const struct herd_action *a = &f->plan.act[i];
		const struct herd_obs_slot *slot = NULL;

		for (size_t k = 0; a->slot && k < f->obs.pg.n_slots; k++)
			if (strcmp(f->obs.pg.slots[k].name, a->slot) == 0)
				slot = &f->obs.pg.slots[k];
		if (a->act == HERD_ACT_SLOT_DROP) {
			assert_non_null(slot);
			assert_false(slot->active || slot->temporary || paused);
			assert_false(slot->synced && slot->failover);
		}
		if (a->act == HERD_ACT_SLOT_CREATE) {
			assert_string_not_equal(a->slot, "a");
			assert_true(leader || a->slot_type == HERD_SLOT_PHYSICAL);
		}
		if (a->act == HERD_ACT_SLOT_ADVANCE) {
			assert_non_null(slot);
			assert_false(slot->active);
			assert_true(a->lsn > slot->restart_lsn);
			assert_true(a->lsn <=
				    (leader ? f->obs.pg.flush_lsn : f->obs.pg.replay_lsn));
			assert_true(!leader || slot->type == HERD_SLOT_PHYSICAL);
		}
		if (a->act == HERD_ACT_SLOTS_COPY)
			assert_true(!leader && !paused && f->obs.pg.logical &&
				    f->obs.pg.streaming && f->obs.dcs_ok);
	}
}

static unsigned pick(unsigned *seed, unsigned n)
{
	*seed = *seed * 1103515245 + 12345;
	return *seed / 65536 % n;
}

static void invariants(void **state)
{
	static const char *const configs[] = { CONF(PHYSICAL), CONF(LOGICAL),
					       CONF(LOGICAL ",\"pause\":true"),
					       CONF(",\"member_slots_ttl\":0"),
					       CONF(",\"slots\":{\"b\":0,\"a\":0,\"l\":0}") };
	static const char *const statuses[] = { "{}", STATUS("\"b\":950,\"l\":5000,\"p\":10"),
						("{\"optime\":1,\"slots\":{\"g\":950},"
						 "\"retain_slots\":[\"g\",\"a\"]}") };
	static const char *const names[] = { "a", "b", "c", "g", "l", "p", "x", "y" };
	unsigned seed = 1;

#define PICK(n) pick(&seed, n)
	for (int round = 0; round < 3000; round++) {
		struct row r = { .leader = PICK(2),
				 .config = configs[PICK(5)],
				 .status = statuses[PICK(3)],
				 .tags = PICK(4) ? NULL : "{\"nofailover\":true}" };
		struct fixture f;

		for (unsigned i = 0, n = PICK(5); i < n; i++) {
			r.slots[i] = (struct herd_obs_slot){
				.name = names[PICK(2) + 2 * i],
				.type = PICK(2) ? HERD_SLOT_LOGICAL : HERD_SLOT_PHYSICAL,
				.database = "d",
				.plugin = PICK(2) ? "o" : "q",
				.restart_lsn = PICK(3) * 600,
				.active = PICK(3) == 0,
				.temporary = PICK(5) == 0,
				.lost = PICK(4) == 0,
				.failover = PICK(4) == 0,
				.synced = PICK(2),
				.has_xmin = PICK(2),
				.stuck = PICK(4) == 0,
				.catalog_xmin = PICK(3) * 100,
			};
			r.slots[i].failover &= r.slots[i].type == HERD_SLOT_LOGICAL;
		}
		open_row(&f, &r);
		f.obs.pg.slot_sync = PICK(2);
		f.obs.pg.streaming = PICK(4);
		f.obs.pg.logical = PICK(4);
		f.obs.pg.max_slots = (int)PICK(8);
		free(plan_of(&f));
		check(&f, r.config, r.leader);
		close_row(&f);
	}
#undef PICK
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(actions),         cmocka_unit_test(safety),
		cmocka_unit_test(promotion_warns), cmocka_unit_test(no_room),
		cmocka_unit_test(feedback),        cmocka_unit_test(recovery_settings),
		cmocka_unit_test(published),       cmocka_unit_test(invariants),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
