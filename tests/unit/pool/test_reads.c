/* Whom reads go to: lag, zones, load, failures, and who stands in. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "pool/decide.h"
#include "pool/health.h"
#include "pool/route.h"
#include "pool/witness.h"

/* The load of the members, by the last letter of their names. */
struct load {
	struct herd_route_look at[4];
};

static void look(void *arg, const struct herd_topo_group *g, const struct herd_topo_member *m,
		 struct herd_route_look *ret)
{
	const struct load *l = arg;

	(void)g;
	*ret = l->at[m->name[1] - '0'];
}

/* m0 leads; m1 and m2 in zone east, m3 in zone west. */
static struct herd_topo *herd_of_four(void)
{
	struct herd_topo *t = herd_topo_new();
	struct herd_topo_group *g = herd_topo_add_group(t, "demo", 0);

	for (int i = 0; i < 4; i++) {
		char name[] = { 'm', (char)('0' + i), '\0' };
		struct herd_topo_member *m = herd_topo_add_member(g, name, "h", 1);

		m->running = true;
		m->zone = strdup(i == 3 ? "west" : "east");
		m->lag = i * 1000;
		m->lag_ms = i * 100;
	}
	g->leader = strdup("m0");
	return t;
}

static const char *pick(const struct herd_topo *t, const struct herd_route *r, struct load *l,
			const char *zone, uint64_t turn)
{
	struct herd_route_view v = { .turn = turn, .zone = zone, .look = look, .arg = l };
	struct herd_pick p = herd_route_pick(t, r, &v);

	return p.kind == HERD_PICK_GO ? p.member->name : p.why;
}

static const struct herd_route replica = { .cluster = "demo", .role = HERD_ROUTE_REPLICA };

static void load_decides_then_the_turn(void **state)
{
	struct herd_topo *t = herd_of_four();
	struct load l = { 0 };

	(void)state;
	assert_string_equal(pick(t, &replica, &l, NULL, 0), "m1");
	assert_string_equal(pick(t, &replica, &l, NULL, 1), "m2");
	assert_string_equal(pick(t, &replica, &l, NULL, 2), "m3");
	assert_string_equal(pick(t, &replica, &l, NULL, 3), "m1");
	l.at[1].all_conns = 5;
	assert_string_equal(pick(t, &replica, &l, NULL, 0), "m2");
	/* What this pool has itself counts more. */
	l.at[2].own_conns = l.at[3].own_conns = 1;
	assert_string_equal(pick(t, &replica, &l, NULL, 1), "m1");
	herd_topo_unref(t);
}

static void zones_come_first_and_spill(void **state)
{
	struct herd_topo *t = herd_of_four();
	struct load l = { 0 };
	struct herd_route_view v = { .zone = "west", .look = look, .arg = &l };

	(void)state;
	l.at[3].own_conns = 9;
	for (uint64_t turn = 0; turn < 4; turn++)
		assert_string_equal(pick(t, &replica, &l, "west", turn), "m3");
	assert_true(herd_route_favours(t, &replica, &v, "demo", 0, "m3"));
	assert_false(herd_route_favours(t, &replica, &v, "demo", 0, "m1"));
	l.at[3].out = true;
	assert_string_equal(pick(t, &replica, &l, "west", 1), "m2");
	assert_true(herd_route_favours(t, &replica, &v, "demo", 0, "m1"));
	assert_false(herd_route_favours(t, &replica, &v, "demo", 0, "m3"));
	assert_string_equal(pick(t, &replica, &l, "nowhere", 0), "m1");
	herd_topo_unref(t);
}

static void laggards_are_left_out(void **state)
{
	struct herd_topo *t = herd_of_four();
	struct herd_topo_member *m = t->groups[0].members;
	struct herd_route r = replica;
	struct load l = { 0 };

	(void)state;
	assert_int_equal(herd_route_lag_parse("1500", &r), 0);
	assert_int_equal(r.max_lag, 1500);
	assert_string_equal(pick(t, &r, &l, NULL, 1), "m1");
	assert_false(herd_route_fits(t, &r, "demo", 0, "m2"));
	assert_true(herd_route_fits(t, &r, "demo", 0, "m1"));
	m[1].lag = -1; /* not known is too much */
	assert_string_equal(pick(t, &r, &l, NULL, 0), "no replica within max_lag");
	r.fallback_primary = true;
	assert_string_equal(pick(t, &r, &l, NULL, 0), "m0");
	assert_true(herd_route_fits(t, &r, "demo", 0, "m0"));
	r = replica;
	assert_int_equal(herd_route_lag_parse("0.25 s", &r), 0);
	assert_int_equal(r.max_lag_ms, 250);
	assert_string_equal(pick(t, &r, &l, NULL, 1), "m2");
	m[2].lag_ms = 251;
	assert_string_equal(pick(t, &r, &l, NULL, 1), "m1");
	assert_int_equal(herd_route_lag_parse("10 parsecs", &r), -EINVAL);
	assert_int_equal(herd_route_lag_parse("-1MB", &r), -EINVAL);
	assert_int_equal(herd_route_lag_parse("", &r), -EINVAL);
	assert_int_equal(herd_route_lag_parse("nan", &r), -EINVAL);
	assert_int_equal(herd_route_lag_parse("2MB", &r), 0);
	assert_int_equal(r.max_lag, 2 << 20);
	herd_topo_unref(t);
}

static void those_that_failed_come_last(void **state)
{
	struct herd_topo *t = herd_of_four();
	struct herd_route r = replica;
	struct load l = { 0 };

	(void)state;
	l.at[1].out = l.at[2].out = true;
	assert_string_equal(pick(t, &replica, &l, NULL, 0), "m3");
	l.at[3].out = true;
	/* All of them: tried all the same, unless the primary may stand in. */
	assert_string_equal(pick(t, &replica, &l, NULL, 1), "m2");
	r.fallback_primary = true;
	assert_string_equal(pick(t, &r, &l, NULL, 1), "m0");
	t->groups[0].members[1].noloadbalance = true;
	l.at[1].out = false;
	assert_string_equal(pick(t, &replica, &l, NULL, 0), "m2");
	for (int i = 1; i < 4; i++)
		t->groups[0].members[i].running = false;
	assert_string_equal(pick(t, &replica, &l, NULL, 0), "no running replica");
	assert_string_equal(pick(t, &r, &l, NULL, 0), "m0");
	herd_topo_unref(t);
}

static void why_nobody_leads_is_told(void **state)
{
	struct herd_topo *t = herd_of_four();
	struct herd_route r = { .cluster = "demo", .role = HERD_ROUTE_PRIMARY };

	(void)state;
	free(t->groups[0].leader);
	t->groups[0].leader = NULL;
	assert_string_equal(pick(t, &r, NULL, NULL, 0), "no leader");
	t->groups[0].no_leader = strdup("two members say that they lead");
	assert_string_equal(pick(t, &r, NULL, NULL, 0), "two members say that they lead");
	herd_topo_unref(t);
}

static void failures_eject_longer_and_longer(void **state)
{
	struct herd_health h = { 0 };
	int64_t now = 1000;

	(void)state;
	assert_false(herd_health_out(&h, now));
	assert_true(herd_health_failed(&h, now));
	assert_true(herd_health_out(&h, now + 999));
	/* Connections that fail together are one failure. */
	assert_false(herd_health_failed(&h, now + 10));
	assert_false(herd_health_out(&h, now + 1000));
	for (int i = 2; i < 20; i++) {
		now = h.until_ms;
		assert_true(herd_health_failed(&h, now));
		assert_int_equal(h.until_ms - now, herd_health_pause_ms(i));
	}
	assert_int_equal(herd_health_pause_ms(1), 1000);
	assert_int_equal(herd_health_pause_ms(3), 4000);
	assert_int_equal(herd_health_pause_ms(1000), 60000);
	assert_true(herd_health_worked(&h));
	assert_false(herd_health_out(&h, now));
	assert_false(herd_health_worked(&h));
}

static void a_used_pool_reaches_every_member(void **state)
{
	struct herd_pool_obs o = { .now_ms = 1, .idle = 1, .pool_size = 5, .members = 3 };

	(void)state;
	assert_int_equal(herd_pool_decide(&o), HERD_POOL_OPEN);
	o.active = 2;
	assert_int_equal(herd_pool_decide(&o), HERD_POOL_NOTHING);
	o.active = 0;
	o.pool_size = 1;
	assert_int_equal(herd_pool_decide(&o), HERD_POOL_NOTHING);
	o.pool_size = 5;
	o.members = 1;
	assert_int_equal(herd_pool_decide(&o), HERD_POOL_NOTHING);
}

static int judge(struct herd_witness *w, size_t n, const char *leader, int64_t timeline, bool store)
{
	struct herd_witness_obs o = { .leader = leader, .timeline = timeline, .store = store };
	const char *why = NULL;
	int i = herd_witness_decide(w, n, &o, &why);

	assert_non_null(why);
	return i;
}

static void members_tell_who_leads(void **state)
{
	struct herd_witness w[] = { { "a", true, true, true, 1 },
				    { "b", true, true, false, 1 },
				    { "c", false, false, false, 1 } };

	(void)state;
	assert_int_equal(judge(w, 3, "a", 1, true), 0);
	assert_int_equal(judge(w, 3, NULL, 0, false), 0);
	/* One of an older timeline than anybody told is stale. */
	assert_int_equal(judge(w, 3, "a", 2, true), -1);
	/* Two: the higher timeline; on the same one nobody. */
	w[1].primary = true;
	assert_int_equal(judge(w, 3, "a", 1, true), -1);
	w[1].timeline = 2;
	assert_int_equal(judge(w, 3, "a", 1, true), 1);
	w[1].primary = false;
	/* The leader is silent. */
	w[0].fresh = false;
	assert_int_equal(judge(w, 3, "a", 1, true), -1);
	assert_int_equal(judge(w, 3, NULL, 1, false), -1);
	/* It never could be asked: the store's last word stands, for what came from a store. */
	assert_int_equal(judge(w, 3, "c", 1, true), 2);
	assert_int_equal(judge(w, 3, "c", 1, false), -1);
	assert_int_equal(judge(w, 3, "gone", 1, true), -1);
	/* It says itself that it does not lead. */
	assert_int_equal(judge(w, 3, "b", 1, true), -1);
	assert_int_equal(judge(NULL, 0, NULL, 0, true), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(load_decides_then_the_turn),
		cmocka_unit_test(zones_come_first_and_spill),
		cmocka_unit_test(laggards_are_left_out),
		cmocka_unit_test(those_that_failed_come_last),
		cmocka_unit_test(why_nobody_leads_is_told),
		cmocka_unit_test(members_tell_who_leads),
		cmocka_unit_test(failures_eject_longer_and_longer),
		cmocka_unit_test(a_used_pool_reaches_every_member),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
