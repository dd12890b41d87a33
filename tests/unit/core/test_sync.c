/*
 * /sync and synchronous_standby_names change one at a time; whatever comes and goes, the promise of
 * /sync holds after every single change. Random walks over standbys, modes and counts.
 */
#include "base/rng.h"
#include "fixture.h"

struct walk {
	struct fixture f;
	struct keys k;
	char *sync, *ssn;
	bool there[2];   /* b and c stream */
	bool behind[2];  /* and have not got the latest */
	uint64_t lsn;    /* of the primary */
	uint64_t has[2]; /* of b and c */
	uint64_t set_at; /* the primary's place when the setting last changed */
};

static void observe(struct walk *w)
{
	size_t n = 0;

	w->k.sync = w->sync;
	see(&w->f, &w->k);
	w->f.obs.pg.ssn = w->ssn;
	w->f.obs.pg.flush_lsn = w->lsn;
	for (int i = 0; i < 2; i++) {
		const char *name = i ? "c" : "b";

		if (!w->there[i])
			continue;
		w->f.senders[n++] = (struct herd_obs_sender){ .application_name = name,
							      .streaming = true,
							      .sync = true,
							      .flush_lsn = w->has[i],
							      .write_lsn = w->has[i],
							      .replay_lsn = w->has[i] };
	}
	w->f.obs.pg.n_senders = n;
	w->f.obs.pg.senders = w->f.senders;
}

static size_t n_union(const struct herd_names *a, const struct herd_names *b)
{
	size_t n = a->n;

	for (size_t i = 0; i < b->n; i++)
		n += !herd_names_has(a, b->name[i]);
	return n;
}

/* The promise, between what is published and what is in force. */
static void check(const struct walk *w)
{
	struct herd_sync doc = { 0 };
	struct herd_ssn ssn;

	if (!w->sync)
		return;
	assert_int_equal(herd_sync_parse(w->sync, strlen(w->sync), &doc, NULL), 0);
	herd_ssn_parse(w->ssn, &ssn);
	int n = ssn.kind == HERD_SSN_FIRST || ssn.kind == HERD_SSN_ANY ? ssn.num : 0;

	if (doc.standby.n > 0 && ssn.kind != HERD_SSN_STAR)
		assert_true((int)n_union(&doc.standby, &ssn.names) <= doc.quorum + n);
	/* A stock Patroni takes anything else for a fault. */
	assert_true(doc.standby.n == 0 ? doc.quorum == 0 : doc.quorum < (int)doc.standby.n);
	herd_ssn_clear(&ssn);
	herd_sync_clear(&doc);
}

/* Who is new in a quorum-less /sync has everything from before the setting. */
static void check_new(const struct walk *w, const char *text)
{
	struct herd_sync old = { 0 }, doc = { 0 };

	if (w->sync)
		assert_int_equal(herd_sync_parse(w->sync, strlen(w->sync), &old, NULL), 0);
	assert_int_equal(herd_sync_parse(text, strlen(text), &doc, NULL), 0);
	for (int i = 0; i < 2; i++) {
		const char *name = i ? "c" : "b";

		if (doc.quorum == 0 && herd_names_has(&doc.standby, name) &&
		    (old.quorum > 0 || !herd_names_has(&old.standby, name)))
			assert_true(w->has[i] >= w->set_at);
	}
	herd_sync_clear(&old);
	herd_sync_clear(&doc);
}

static void apply(struct walk *w)
{
	for (size_t i = 0; i < w->f.plan.n; i++) {
		const struct herd_action *a = &w->f.plan.act[i];

		if (a->act == HERD_ACT_SET_SSN) {
			herd_str_set(&w->ssn, a->value);
			w->set_at = w->lsn;
		} else if (a->act == HERD_ACT_PUT && strcmp(a->key, "sync") == 0) {
			check_new(w, a->value);
			herd_str_set(&w->sync, a->value);
		} else {
			continue;
		}
		check(w);
		return; /* one change, then look again */
	}
}

static void live(struct walk *w, struct herd_rng *rng)
{
	for (int i = 0; i < 2; i++) {
		if (herd_rng_chance(rng, 30))
			w->there[i] = !w->there[i];
		if (herd_rng_chance(rng, 100))
			w->behind[i] = !w->behind[i];
	}
	w->lsn += 100;
	for (int i = 0; i < 2; i++)
		if (w->there[i] && !w->behind[i])
			w->has[i] = w->lsn;
	if (herd_rng_chance(rng, 20))
		w->k.config = ((const char *const[]){
			"{\"synchronous_mode\":true}",
			"{\"synchronous_mode\":true,\"synchronous_node_count\":2}",
			"{\"synchronous_mode\":\"quorum\"}",
			"{\"synchronous_mode\":\"quorum\",\"synchronous_node_count\":2}",
			"{\"synchronous_mode\":\"quorum\",\"synchronous_mode_strict\":true}",
		})[herd_rng_range(rng, 0, 4)];
}

static void walks(void **state)
{
	struct herd_rng rng = herd_rng_seed(7);
	int published = 0;

	for (int run = 0; run < 60; run++) {
		struct walk w = { .k = healthy, .ssn = strdup(""), .lsn = 10000 };

		fixture_open(&w.f);
		as_primary(&w.f);
		w.k.leader = "a";
		w.k.leader_lease = "L1";
		w.k.config = "{\"synchronous_mode\":\"quorum\"}";
		for (int i = 0; i < 400; i++) {
			live(&w, &rng);
			w.f.obs.now_ms += 200;
			w.f.obs.lease.sent_ms = w.f.obs.now_ms - 1;
			observe(&w);
			herd_core_step(w.f.core, &w.f.obs, &w.f.plan);
			apply(&w);
			published += w.sync && strstr(w.sync, "\"b,c\"") != NULL;
		}
		free(w.sync);
		free(w.ssn);
		fixture_close(&w.f);
	}
	/* It does not hold because nothing happens. */
	assert_true(published > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(walks) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
