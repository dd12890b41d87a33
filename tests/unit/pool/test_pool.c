#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "pool/decide.h"
#include "pool/prepared.h"
#include "pool/route.h"
#include "pool/vars.h"

static void statements_are_shared(void **state)
{
	struct herd_stmts *s = herd_stmts_new();
	struct herd_stmt *a = herd_stmts_intern(s, "select 1\0\0\0", 11);
	struct herd_stmt *b = herd_stmts_intern(s, "select 1\0\0\0", 11);
	struct herd_stmt *c = herd_stmts_intern(s, "select 2\0\0\0", 11);

	assert_ptr_equal(a, b);
	assert_ptr_not_equal(a, c);
	assert_string_not_equal(a->name, c->name);
	assert_int_equal(herd_stmts_count(s), 2);
	herd_stmts_unref(s, a);
	assert_int_equal(herd_stmts_count(s), 2);
	herd_stmts_unref(s, b);
	herd_stmts_unref(s, c);
	assert_int_equal(herd_stmts_count(s), 0);
	for (int i = 0; i < 3000; i++) {
		char text[32];

		snprintf(text, sizeof(text), "select %d", i);
		assert_non_null(herd_stmts_intern(s, text, strlen(text) + 1));
	}
	assert_int_equal(herd_stmts_count(s), 3000);
	herd_stmts_free(s);
}

static void held_sets_forget_the_oldest(void **state)
{
	struct herd_stmts *s = herd_stmts_new();
	struct herd_held_set h = { 0 };
	struct herd_stmt *stmt[5];

	assert_null(herd_held_oldest(&h));
	for (int i = 0; i < 5; i++) {
		stmt[i] = herd_stmts_intern(s, &(char){ (char)('a' + i) }, 1);
		assert_false(herd_held_use(&h, stmt[i]));
		assert_int_equal(herd_held_add(&h, stmt[i]), 0);
	}
	assert_true(herd_held_use(&h, stmt[0]));
	assert_ptr_equal(herd_held_oldest(&h), stmt[1]);
	assert_true(herd_held_remove(&h, stmt[1]));
	assert_false(herd_held_remove(&h, stmt[1]));
	assert_ptr_equal(herd_held_oldest(&h), stmt[2]);
	assert_int_equal(h.count, 4);
	herd_held_free(&h);
	herd_stmts_free(s);
}

static void names_are_rewritten(void **state)
{
	struct herd_stmt_names n;
	struct herd_buf b = { 0 };
	struct herd_msg_head h;
	const char bind[] = "portal\0stmt\0rest"; /* 16 bytes, and a zero that is not sent */

	for (size_t len = 0; len < 12; len++)
		assert_int_equal(herd_stmt_names_parse('B', bind, len, &n), -EAGAIN);
	assert_int_equal(herd_stmt_names_parse('B', bind, 16, &n), 0);
	assert_string_equal(n.stmt, "stmt");
	herd_stmt_names_rewrite(&b, 'B', bind, 16, &n, "PGBOUNCER_12");
	herd_buf_add(&b, bind + n.head_bytes, 16 - n.head_bytes);
	assert_int_equal(herd_msg_head_parse(b.data, b.len, &h), 0);
	assert_int_equal(h.len + HERD_MSG_HEAD_BYTES, b.len);
	assert_memory_equal(b.data + 5, "portal\0PGBOUNCER_12\0rest", 24);
	herd_buf_free(&b);
	assert_int_equal(herd_stmt_names_parse('D', "Pname\0", 6, &n), 0);
	assert_string_equal(n.stmt, "");
	assert_int_equal(herd_stmt_names_parse('D', "Xname\0", 6, &n), -EBADMSG);
}

static void parameters_follow(void **state)
{
	struct herd_var_names names;
	struct herd_vars server = { 0 }, client = { 0 };
	struct herd_buf sql = { 0 };

	assert_int_equal(herd_var_names_init(&names, "IntervalStyle, timezone"), 0);
	assert_int_equal(names.n, 6);
	assert_int_equal(herd_vars_set(&server, &names, "datestyle", "ISO, MDY"), 1);
	assert_int_equal(herd_vars_set(&server, &names, "TimeZone", "UTC"), 1);
	assert_int_equal(herd_vars_set(&server, &names, "work_mem", "1"), 0);
	assert_int_equal(herd_vars_diff(&server, &client, &names, &sql), 0);
	assert_int_equal(herd_vars_set(&client, &names, "TIMEZONE", "it's\\"), 1);
	assert_int_equal(herd_vars_set(&client, &names, "application_name", "x"), 1);
	/* What the server never reported cannot be followed. */
	assert_int_equal(herd_vars_diff(&server, &client, &names, &sql), 1);
	assert_string_equal(herd_buf_str(&sql), "SET TimeZone=E'it''s\\\\';");
	assert_int_equal(herd_vars_fill(&client, &server, &names), 0);
	assert_string_equal(herd_vars_get(&client, &names, "DateStyle"), "ISO, MDY");
	assert_string_equal(herd_vars_get(&client, &names, "TimeZone"), "it's\\");
	herd_vars_set(&client, &names, "TimeZone", "UTC");
	herd_vars_set(&server, &names, "application_name", "x");
	assert_int_equal(client.hash, server.hash);
	herd_buf_free(&sql);
	herd_vars_free(&server);
	herd_vars_free(&client);
	herd_var_names_free(&names);
}

static struct herd_topo *two_groups(void)
{
	struct herd_topo *t = herd_topo_new();

	for (int g = 0; g < 2; g++) {
		struct herd_topo_group *group = herd_topo_add_group(t, "demo", g);

		for (int m = 0; m < 3; m++) {
			char name[8];

			snprintf(name, sizeof(name), "m%d%d", g, m);
			herd_topo_add_member(group, name, "127.0.0.1", 100 + m)->running = true;
		}
		group->leader = strdup(g == 0 ? "m00" : "m10");
	}
	return t;
}

static void routes(void **state)
{
	struct herd_topo *t = two_groups();
	struct herd_route primary = { .cluster = "demo", .group = 0, .role = HERD_ROUTE_PRIMARY };
	struct herd_route replica = { .cluster = "demo", .group = 0, .role = HERD_ROUTE_REPLICA };
	struct herd_route any = { .cluster = "demo", .group = 1, .role = HERD_ROUTE_ANY };
	struct herd_route workers = { .cluster = "demo", .group = -1, .role = HERD_ROUTE_WORKERS };
	struct herd_route other = { .cluster = "else", .group = 0, .role = HERD_ROUTE_PRIMARY };
	const struct herd_topo_group *g;

	assert_int_equal(
		herd_route_pick(NULL, &primary, &(struct herd_route_view){ .turn = 0 }).kind,
		HERD_PICK_HOLD);
	assert_int_equal(herd_route_pick(t, &other, &(struct herd_route_view){ .turn = 0 }).kind,
			 HERD_PICK_HOLD);
	struct herd_pick p = herd_route_pick(t, &primary, &(struct herd_route_view){ .turn = 5 });

	assert_string_equal(p.member->name, "m00");
	assert_true(p.want_primary);
	assert_string_equal(
		herd_route_pick(t, &replica, &(struct herd_route_view){ .turn = 0 }).member->name,
		"m01");
	assert_string_equal(
		herd_route_pick(t, &replica, &(struct herd_route_view){ .turn = 1 }).member->name,
		"m02");
	assert_true(
		herd_route_pick(t, &replica, &(struct herd_route_view){ .turn = 1 }).want_standby);
	assert_string_equal(
		herd_route_pick(t, &any, &(struct herd_route_view){ .turn = 3 }).member->name,
		"m10");
	assert_string_equal(
		herd_route_pick(t, &workers, &(struct herd_route_view){ .turn = 3 }).member->name,
		"m10");
	t->groups[0].members[1].noloadbalance = true;
	assert_string_equal(
		herd_route_pick(t, &replica, &(struct herd_route_view){ .turn = 0 }).member->name,
		"m02");
	assert_true(herd_route_fits(t, &primary, "demo", 0, "m00"));
	assert_false(herd_route_fits(t, &primary, "demo", 0, "m01"));
	assert_false(herd_route_fits(t, &replica, "demo", 0, "m00"));
	assert_null(herd_route_warm(t, &primary, &g));

	/* A handover is announced: nobody is sent to the leader, the candidate is warmed. */
	t->groups[0].phase = HERD_HANDOVER_HOLD;
	t->groups[0].handover_from = strdup("m00");
	t->groups[0].handover_to = strdup("m02");
	p = herd_route_pick(t, &primary, &(struct herd_route_view){ .turn = 0 });
	assert_int_equal(p.kind, HERD_PICK_HOLD);
	assert_string_equal(p.why, "handover announced");
	assert_string_equal(herd_route_warm(t, &primary, &g)->name, "m02");
	assert_int_equal(herd_route_pick(t, &replica, &(struct herd_route_view){ .turn = 0 }).kind,
			 HERD_PICK_GO);
	/* The candidate holds the key: released, though the document is still there. */
	free(t->groups[0].leader);
	t->groups[0].leader = strdup("m02");
	assert_string_equal(
		herd_route_pick(t, &primary, &(struct herd_route_view){ .turn = 0 }).member->name,
		"m02");
	free(t->groups[0].leader);
	t->groups[0].leader = NULL;
	assert_int_equal(herd_route_pick(t, &primary, &(struct herd_route_view){ .turn = 0 }).kind,
			 HERD_PICK_HOLD);
	herd_topo_unref(t);
}

static const struct {
	const char *name;
	struct herd_pool_obs o;
	enum herd_pool_why want;
} decisions[] = {
	{ "nobody waits", { .pool_size = 5 }, HERD_POOL_NOTHING },
	{ "one waits", { .pool_size = 5, .waiting = 1 }, HERD_POOL_OPEN },
	{ "one is on its way", { .pool_size = 5, .waiting = 1, .opening = 1 }, HERD_POOL_NOTHING },
	{ "full", { .pool_size = 2, .waiting = 1, .active = 2 }, HERD_POOL_FULL },
	{ "one below full", { .pool_size = 3, .waiting = 1, .active = 2 }, HERD_POOL_OPEN },
	{ "reserve, too early",
	  { .pool_size = 2,
	    .reserve_size = 1,
	    .reserve_timeout_ms = 5,
	    .oldest_wait_ms = 4,
	    .waiting = 1,
	    .active = 2 },
	  HERD_POOL_FULL },
	{ "reserve",
	  { .pool_size = 2,
	    .reserve_size = 1,
	    .reserve_timeout_ms = 5,
	    .oldest_wait_ms = 5,
	    .waiting = 1,
	    .active = 2 },
	  HERD_POOL_OPEN_RESERVE },
	{ "paused", { .pool_size = 5, .waiting = 1, .paused = true }, HERD_POOL_PAUSED },
	{ "held", { .pool_size = 5, .waiting = 1, .held = true }, HERD_POOL_HELD },
	{ "minimum",
	  { .pool_size = 5, .min_size = 2, .idle = 1, .keep_min = true },
	  HERD_POOL_OPEN },
	{ "minimum, nobody there",
	  { .pool_size = 5, .min_size = 2, .idle = 1 },
	  HERD_POOL_NOTHING },
	{ "failed just now",
	  { .now_ms = 1100, .last_fail_ms = 1000, .retry_ms = 101, .pool_size = 5, .waiting = 1 },
	  HERD_POOL_RETRY },
	{ "failed long ago",
	  { .now_ms = 1100, .last_fail_ms = 1000, .retry_ms = 100, .pool_size = 5, .waiting = 1 },
	  HERD_POOL_OPEN },
	{ "one scout only",
	  { .now_ms = 1100,
	    .last_fail_ms = 1000,
	    .retry_ms = 100,
	    .pool_size = 5,
	    .waiting = 3,
	    .opening = 1 },
	  HERD_POOL_RETRY },
	{ "cluster: soon again",
	  { .now_ms = 1020,
	    .last_fail_ms = 1000,
	    .retry_ms = 15000,
	    .topology = true,
	    .fails_in_row = 1,
	    .pool_size = 5,
	    .waiting = 1 },
	  HERD_POOL_OPEN },
	{ "database full",
	  { .pool_size = 5, .waiting = 1, .max_db_conns = 3, .db_conns = 3 },
	  HERD_POOL_DB_FULL },
	{ "user full",
	  { .pool_size = 5, .waiting = 1, .max_user_conns = 3, .user_conns = 3 },
	  HERD_POOL_USER_FULL },
};

static void decide(void **state)
{
	for (size_t i = 0; i < sizeof(decisions) / sizeof(decisions[0]); i++) {
		enum herd_pool_why got = herd_pool_decide(&decisions[i].o);

		if (got != decisions[i].want)
			fail_msg("%s: %s", decisions[i].name, herd_pool_why_text(got));
	}
}

/* Whatever the numbers, limits hold and nothing is opened while paused or held. */
static void decide_is_safe(void **state)
{
	struct herd_rng rng = herd_rng_seed(3);

	for (int i = 0; i < 300000; i++) {
		struct herd_pool_obs o = {
			.now_ms = herd_rng_range(&rng, 1, 100),
			.idle = (int)herd_rng_range(&rng, 0, 3),
			.active = (int)herd_rng_range(&rng, 0, 3),
			.opening = (int)herd_rng_range(&rng, 0, 3),
			.closing = (int)herd_rng_range(&rng, 0, 2),
			.db_conns = (int)herd_rng_range(&rng, 0, 9),
			.user_conns = (int)herd_rng_range(&rng, 0, 9),
			.waiting = (int)herd_rng_range(&rng, 0, 5),
			.oldest_wait_ms = herd_rng_range(&rng, 0, 9),
			.pool_size = (int)herd_rng_range(&rng, 0, 6),
			.min_size = (int)herd_rng_range(&rng, 0, 4),
			.reserve_size = (int)herd_rng_range(&rng, 0, 3),
			.max_db_conns = (int)herd_rng_range(&rng, 0, 9),
			.max_user_conns = (int)herd_rng_range(&rng, 0, 9),
			.reserve_timeout_ms = herd_rng_range(&rng, 0, 9),
			.paused = herd_rng_chance(&rng, 100),
			.held = herd_rng_chance(&rng, 100),
			.topology = herd_rng_chance(&rng, 500),
			.keep_min = herd_rng_chance(&rng, 500),
			.last_fail_ms = herd_rng_range(&rng, 0, 1) * herd_rng_range(&rng, 1, 100),
			.retry_ms = herd_rng_range(&rng, 0, 50),
			.fails_in_row = (int)herd_rng_range(&rng, 0, 5),
		};
		enum herd_pool_why why = herd_pool_decide(&o);
		int total = o.idle + o.active + o.opening + o.closing;

		assert_true(why < HERD_POOL_WHY_NR);
		if (why != HERD_POOL_OPEN && why != HERD_POOL_OPEN_RESERVE)
			continue;
		assert_false(o.paused || o.held);
		assert_true(total < o.pool_size + o.reserve_size);
		assert_true(why == HERD_POOL_OPEN_RESERVE || total < o.pool_size);
		assert_true(o.max_db_conns == 0 || o.db_conns < o.max_db_conns);
		assert_true(o.max_user_conns == 0 || o.user_conns < o.max_user_conns);
	}
}

static void waiting(void **state)
{
	struct herd_wait_obs o = { .waited_ms = 99,
				   .query_wait_timeout_ms = 100,
				   .hold_timeout_ms = 200 };

	assert_int_equal(herd_wait_decide(&o), HERD_WAIT_ON);
	o.waited_ms = 100;
	assert_int_equal(herd_wait_decide(&o), HERD_WAIT_TIMEOUT);
	o.held = true;
	assert_int_equal(herd_wait_decide(&o), HERD_WAIT_ON);
	o.waited_ms = 200;
	assert_int_equal(herd_wait_decide(&o), HERD_WAIT_HOLD_TIMEOUT);
	o.hold_timeout_ms = 0;
	assert_int_equal(herd_wait_decide(&o), HERD_WAIT_ON);
	assert_true(herd_hold_sqlstate("57P03"));
	assert_false(herd_hold_sqlstate("28P01"));
	assert_int_equal(herd_pool_backoff_ms(0), 20);
	assert_int_equal(herd_pool_backoff_ms(1000), 500);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(statements_are_shared),
		cmocka_unit_test(held_sets_forget_the_oldest),
		cmocka_unit_test(names_are_rewritten),
		cmocka_unit_test(parameters_follow),
		cmocka_unit_test(routes),
		cmocka_unit_test(decide),
		cmocka_unit_test(decide_is_safe),
		cmocka_unit_test(waiting),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
