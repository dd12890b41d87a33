#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "pool/flight.h"
#include "pool/prepared.h"

static int lost_count;

static void on_lost(void *arg, const struct herd_flight_item *item)
{
	lost_count++;
}

/* What the proxy believes a server holds: evicted and parsed with the next, undone on errors. */
static void undo(void *arg, const struct herd_flight_item *item)
{
	struct herd_held_set *h = arg;

	if (item->type == 'P' && item->stmt)
		assert_true(herd_held_remove(h, item->stmt));
	else if (item->type == 'C' && item->stmt)
		assert_int_equal(herd_held_add(h, item->stmt), 0);
}

/* Pushes requests that pass, one letter each; lower case p, c: fakes; upper case with '!': ours. */
static void push(struct herd_flight *f, const char *types)
{
	for (; *types; types++) {
		char type = *types;
		enum herd_flight_act act = HERD_FLIGHT_PASS;

		if (type == 'p')
			type = 'P', act = HERD_FLIGHT_FAKE;
		else if (type == 'k')
			type = 'C', act = HERD_FLIGHT_FAKE;
		else if (types[1] == '!')
			act = HERD_FLIGHT_DROP, types++;
		assert_true(herd_flight_push(f, type, act, NULL) >= 0);
	}
}

/* Feeds answers; returns what the client would see, fakes in their places. */
static const char *feed(struct herd_flight *f, const char *answers)
{
	static char seen[256];
	size_t n = 0;
	char fake;

	while ((fake = herd_flight_take_fake(f, NULL)))
		seen[n++] = fake;
	for (; *answers; answers++) {
		if (herd_flight_answer(f, *answers, on_lost, NULL, NULL) == HERD_FLIGHT_PASS)
			seen[n++] = *answers;
		while ((fake = herd_flight_take_fake(f, NULL)))
			seen[n++] = fake;
	}
	seen[n] = '\0';
	return seen;
}

static const struct {
	const char *name, *requests, *answers, *seen;
	int lost;
	bool idle;
} rows[] = {
	{ "simple query", "Q", "TDDCZ", "TDDCZ", 0, true },
	{ "two queries", "QQ", "TCZ", "TCZ", 0, false },
	{ "extended", "PBDES", "12TDCZ", "12TDCZ", 0, true },
	{ "known statement", "pBES", "2DCZ", "12DCZ", 0, true },
	{ "fake behind real", "BEpBES", "2C2CZ", "2C12CZ", 0, true },
	{ "our parse is not seen", "P!BES", "12CZ", "2CZ", 0, true },
	{ "our parse fails: the error of the batch", "P!BES", "EZ", "EZ", 3, true },
	{ "our parse fails behind an answer", "BEP!BES", "2CEZ", "2CEZ", 3, true },
	{ "our parse fails, the next batch goes on", "P!BESBES", "EZ2CZ", "EZ2CZ", 3, true },
	{ "our parse fails before the Sync is sent", "P!B", "E", "E", 2, false },
	{ "our close fails: the error of the batch", "PC!BES", "1EZ", "1EZ", 3, true },
	{ "our close is not seen", "PC!BES", "132CZ", "12CZ", 0, true },
	{ "our close is skipped", "PC!BES", "EZ", "EZ", 4, true },
	{ "our SET fails", "Q!PBES", "EZ12CZ", "12CZ", 0, true },
	{ "our SET before a query", "Q!Q", "SCZTCZ", "TCZ", 0, true },
	{ "close answered by us", "kS", "Z", "3Z", 0, true },
	{ "describe statement", "DS", "tTZ", "tTZ", 0, true },
	{ "describe without rows", "DS", "tnZ", "tnZ", 0, true },
	{ "error throws the batch away", "PBES", "EZ", "EZ", 3, true },
	{ "error at the second", "PBES", "1EZ", "1EZ", 2, true },
	{ "error, fakes too", "PBEpBES", "12EZ", "12EZ", 4, true },
	{ "error only to its Sync", "PBESPBES", "EZ12CZ", "EZ12CZ", 3, true },
	{ "error of the commit", "BES", "2CEZ", "2CEZ", 0, true },
	{ "error before the Sync is sent", "PBE", "E", "E", 3, false },
	{ "suspended portal", "BES", "2DDsZ", "2DDsZ", 0, true },
	{ "empty query", "PBES", "12IZ", "12IZ", 0, true },
	{ "function call", "F", "VZ", "VZ", 0, true },
	{ "copy out", "Q", "HddcCZ", "HddcCZ", 0, true },
	{ "copy in by query", "Qc", "GCZ", "GCZ", 0, true },
	{ "copy in, sync before the data is not answered", "PBESc", "12G", "12G", 0, false },
	{ "notices at any time", "PBES", "N1A2SCZ", "N1A2SCZ", 0, true },
};

static void table(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct herd_flight f = { 0 };

		lost_count = 0;
		push(&f, rows[i].requests);
		const char *seen = feed(&f, rows[i].answers);

		if (strcmp(seen, rows[i].seen) != 0 || lost_count != rows[i].lost ||
		    herd_flight_idle(&f) != rows[i].idle)
			fail_msg("%s: saw \"%s\", lost %d, idle %d", rows[i].name, seen, lost_count,
				 herd_flight_idle(&f));
		herd_flight_check(&f);
		herd_flight_free(&f);
	}
}

static void copy_in_by_execute(void **state)
{
	struct herd_flight f = { 0 };

	push(&f, "PBES");
	assert_string_equal(feed(&f, "12G"), "12G");
	/* libpq sends CopyDone and a second Sync, after the first was swallowed by COPY. */
	assert_int_equal(herd_flight_push(&f, 'S', HERD_FLIGHT_PASS, NULL), 0);
	herd_flight_push(&f, 'c', HERD_FLIGHT_PASS, NULL);
	push(&f, "S");
	assert_false(herd_flight_idle(&f));
	assert_string_equal(feed(&f, "CZ"), "CZ");
	assert_true(herd_flight_idle(&f));
	herd_flight_free(&f);
}

static void skipping_until_sync(void **state)
{
	struct herd_flight f = { 0 };

	push(&f, "PB");
	assert_string_equal(feed(&f, "E"), "E");
	assert_int_equal(herd_flight_push(&f, 'E', HERD_FLIGHT_PASS, NULL), 0);
	assert_int_equal(herd_flight_push(&f, 'P', HERD_FLIGHT_DROP, NULL), 0);
	assert_true(herd_flight_open_batch(&f));
	assert_int_equal(herd_flight_push(&f, 'S', HERD_FLIGHT_PASS, NULL), 1);
	assert_int_equal(herd_flight_rounds(&f), 1);
	assert_string_equal(feed(&f, "Z"), "Z");
	assert_true(herd_flight_idle(&f));
	herd_flight_free(&f);
}

/* One statement at a time: each Parse is followed by a Close of the one before. */
static void evict(struct herd_flight *f, struct herd_held_set *h, struct herd_stmt *stmt)
{
	struct herd_stmt *old = herd_held_oldest(h);

	assert_int_equal(herd_flight_push(f, 'P', HERD_FLIGHT_DROP, stmt), 1);
	if (old) {
		assert_int_equal(herd_flight_push(f, 'C', HERD_FLIGHT_DROP, old), 1);
		herd_held_remove(h, old);
	}
	assert_int_equal(herd_held_add(h, stmt), 0);
}

static void skipped_evictions_are_undone(void **state)
{
	static const struct {
		const char *parses, *answers;
		char held;
	} cases[] = {
		{ "ab", "E", 0 },          { "ab", "1E", 'a' },     { "aba", "1E", 'a' },
		{ "aba", "113E", 'b' },    { "abab", "1E", 'a' },   { "abac", "1E", 'a' },
		{ "abac", "11313E", 'a' }, { "abc", "11313", 'c' },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct herd_stmts *store = herd_stmts_new();
		struct herd_flight f = { 0 };
		struct herd_held_set h = { 0 };

		for (const char *p = cases[i].parses; *p; p++)
			evict(&f, &h, herd_stmts_intern(store, p, 1));
		for (const char *p = cases[i].answers; *p; p++)
			herd_flight_answer(&f, *p, undo, &h, NULL);
		struct herd_stmt *stmt = herd_held_oldest(&h);

		if ((stmt ? (char)stmt->body[0] : 0) != cases[i].held || h.count > 1)
			fail_msg("%s, %s: holds %u", cases[i].parses, cases[i].answers, h.count);
		herd_held_free(&h);
		herd_flight_free(&f);
		herd_stmts_free(store);
	}
}

static void statements_are_handed_back(void **state)
{
	struct herd_stmts *store = herd_stmts_new();
	struct herd_stmt *stmt = herd_stmts_intern(store, "x", 1);
	struct herd_flight f = { 0 };
	struct herd_flight_item done;

	herd_flight_push(&f, 'P', HERD_FLIGHT_PASS, stmt);
	herd_flight_push(&f, 'C', HERD_FLIGHT_DROP, stmt);
	herd_flight_push(&f, 'P', HERD_FLIGHT_FAKE, stmt);
	assert_int_equal(herd_flight_answer(&f, '1', NULL, NULL, &done), HERD_FLIGHT_PASS);
	assert_ptr_equal(done.stmt, stmt);
	lost_count = 0;
	assert_int_equal(herd_flight_forget_stmts(&f, on_lost, NULL), 1);
	assert_int_equal(lost_count, 1);
	assert_int_equal(herd_flight_forget_stmts(&f, on_lost, NULL), 0);
	herd_flight_answer(&f, '3', NULL, NULL, &done);
	assert_true(done.type == 'C' && !done.stmt);
	herd_flight_free(&f);
	herd_stmts_free(store);
}

static void changes_of_earlier_batches(void **state)
{
	struct herd_stmts *store = herd_stmts_new();
	struct herd_stmt *x = herd_stmts_intern(store, "x", 1),
			 *y = herd_stmts_intern(store, "y", 1);
	struct herd_flight f = { 0 };

	herd_flight_push(&f, 'P', HERD_FLIGHT_PASS, x);
	herd_flight_push(&f, 'P', HERD_FLIGHT_FAKE, y);
	assert_false(herd_flight_changing(&f, x)); /* in the batch that is being sent */
	assert_true(herd_flight_changes(&f, x));
	assert_false(herd_flight_changes(&f, y));
	herd_flight_push(&f, 'S', HERD_FLIGHT_PASS, NULL);
	assert_true(herd_flight_changing(&f, x));
	assert_false(herd_flight_changing(&f, y)); /* the server was not told */
	herd_flight_push(&f, 'C', HERD_FLIGHT_DROP, y);
	assert_false(herd_flight_changing(&f, y));
	herd_flight_answer(&f, '1', NULL, NULL, NULL);
	assert_false(herd_flight_changing(&f, x));
	assert_int_equal(herd_flight_take_fake(&f, NULL), '1');
	herd_flight_push(&f, 'S', HERD_FLIGHT_PASS, NULL);
	assert_true(herd_flight_changing(&f, y));
	herd_flight_answer(&f, 'Z', NULL, NULL, NULL);
	herd_flight_answer(&f, 'E', NULL, NULL, NULL);
	assert_false(herd_flight_changing(&f, y));
	herd_flight_check(&f);
	herd_flight_free(&f);
	herd_stmts_free(store);
}

/* A statement that was never parsed is not held because its Close was skipped, too. */
static void closes_of_what_was_lost(void **state)
{
	struct herd_stmts *store = herd_stmts_new();
	struct herd_stmt *x = herd_stmts_intern(store, "x", 1);
	struct herd_flight f = { 0 };

	herd_flight_push(&f, 'P', HERD_FLIGHT_PASS, x);
	herd_flight_push(&f, 'C', HERD_FLIGHT_DROP, x);
	herd_flight_push(&f, 'S', HERD_FLIGHT_PASS, NULL);
	herd_flight_push(&f, 'C', HERD_FLIGHT_DROP, x);
	assert_int_equal(herd_flight_disown(&f, x),
			 1); /* that of its own batch is undone with it */
	assert_int_equal(herd_flight_disown(&f, x), 0);
	herd_flight_check(&f);
	herd_flight_answer(&f, 'E', NULL, NULL, NULL);
	assert_false(herd_flight_changes(&f, x));
	herd_flight_check(&f);
	herd_flight_free(&f);
	herd_stmts_free(store);
}

static void any_order_of_anything(void **state)
{
	static const char requests[] = "QPBDECSFc";
	static const char answers[] = "123TtnCsIEZGHWVDdcNAS";
	struct herd_flight f = { 0 };
	struct herd_rng rng = herd_rng_seed(7);

	for (int i = 0; i < 100000; i++) {
		if (herd_rng_chance(&rng, 500))
			herd_flight_push(&f, requests[herd_rng_range(&rng, 0, 8)],
					 (enum herd_flight_act)herd_rng_range(&rng, 0, 2), NULL);
		else
			herd_flight_answer(&f, answers[herd_rng_range(&rng, 0, 20)], on_lost, NULL,
					   NULL);
		if (herd_rng_chance(&rng, 100))
			while (herd_flight_take_fake(&f, NULL))
				continue;
		herd_flight_check(&f);
	}
	herd_flight_free(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(table),
		cmocka_unit_test(copy_in_by_execute),
		cmocka_unit_test(skipping_until_sync),
		cmocka_unit_test(skipped_evictions_are_undone),
		cmocka_unit_test(statements_are_handed_back),
		cmocka_unit_test(changes_of_earlier_batches),
		cmocka_unit_test(closes_of_what_was_lost),
		cmocka_unit_test(any_order_of_anything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
