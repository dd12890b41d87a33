#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "pool/session.h"

static const char *diff(const struct herd_sets *from, const struct herd_sets *to,
			const struct herd_sets *base)
{
	static char text[1024];
	struct herd_buf b = { 0 };

	herd_sets_diff(from, to, base, &b);
	snprintf(text, sizeof(text), "%s", herd_buf_str(&b));
	herd_buf_free(&b);
	return text;
}

static struct herd_sets *with(struct herd_sets *old, const char *name, const char *text)
{
	struct herd_sets *s = NULL;

	assert_int_equal(herd_sets_set(old, name, text, &s), 0);
	herd_sets_unref(old);
	return s;
}

static struct herd_sets *without(struct herd_sets *old, const char *name)
{
	struct herd_sets *s = NULL;

	assert_int_equal(herd_sets_reset(old, name, &s), 0);
	herd_sets_unref(old);
	return s;
}

static void settings_differ_by_what_is_sent(void **state)
{
	struct herd_sets *a = with(with(NULL, "x", "SET x=1"), "y", "SET y=1");
	struct herd_sets *b = with(with(NULL, "x", "SET x=1"), "z.q", "SET z.q=1");
	struct herd_sets *c = with(with(NULL, "x", "SET x=1"), "y", "SET y=1");

	assert_string_equal(diff(NULL, a, NULL), "SET x=1;SET y=1;");
	assert_string_equal(diff(a, NULL, NULL), "RESET \"x\";RESET \"y\";");
	assert_string_equal(diff(a, b, NULL), "RESET \"y\";SET z.q=1;");
	assert_string_equal(diff(b, a, NULL), "RESET \"z\".\"q\";SET y=1;");
	assert_string_equal(diff(a, b, c), "SET y=1;SET z.q=1;");
	assert_string_equal(diff(a, c, NULL), "");
	assert_true(herd_sets_same(a, c));
	assert_false(herd_sets_same(a, b));
	assert_false(herd_sets_same(a, NULL));
	a = with(a, "x", "SET x=2");
	assert_string_equal(diff(c, a, NULL), "SET x=2;");
	a = without(without(a, "x"), "y");
	assert_null(a);
	herd_sets_unref(b);
	herd_sets_unref(c);
	(void)state;
}

static void roles_are_made_in_order(void **state)
{
	struct herd_sets *a = with(with(NULL, "work_mem", "SET work_mem=1"), "role", "SET ROLE r");
	struct herd_sets *b = with(NULL, "x", "SET x=1");
	struct herd_sets *all = NULL;

	assert_string_equal(diff(NULL, a, NULL), "SET work_mem=1;SET ROLE r;");
	assert_string_equal(diff(a, b, NULL), "RESET ROLE;RESET \"work_mem\";SET x=1;");
	assert_string_equal(diff(b, a, NULL), "RESET \"x\";SET work_mem=1;SET ROLE r;");
	assert_int_equal(herd_sets_reset_all(a, &all), 0);
	assert_string_equal(diff(NULL, all, NULL), "SET ROLE r;");
	all = with(all, "session_authorization", "SET SESSION AUTHORIZATION s");
	assert_string_equal(diff(NULL, all, NULL), "SET SESSION AUTHORIZATION s;");
	assert_string_equal(diff(all, NULL, NULL), "RESET SESSION AUTHORIZATION;");
	all = with(all, "role", "SET ROLE r");
	all = without(all, "session_authorization");
	assert_null(all);
	herd_sets_unref(a);
	herd_sets_unref(b);
	(void)state;
}

static void characteristics_add_up(void **state)
{
	struct herd_sets *a = with(NULL, HERD_SET_CHARACTERISTICS, "SET SESSION C READ ONLY");

	a = with(a, HERD_SET_CHARACTERISTICS, "SET SESSION C DEFERRABLE");
	a = without(a, "default_transaction_read_only");
	assert_string_equal(diff(NULL, a, NULL), "SET SESSION C READ ONLY;SET SESSION C DEFERRABLE;"
						 "RESET \"default_transaction_read_only\";");
	a = with(a, "default_transaction_read_only", "SET default_transaction_read_only=on");
	assert_string_equal(diff(NULL, a, NULL), "SET SESSION C READ ONLY;SET SESSION C DEFERRABLE;"
						 "SET default_transaction_read_only=on;");
	herd_sets_unref(a);
	(void)state;
}

static void settings_are_bounded(void **state)
{
	struct herd_sets *a = NULL, *b = NULL;
	char name[32];

	for (int i = 0; i < HERD_SETS_MAX; i++) {
		snprintf(name, sizeof(name), "x%d", i);
		a = with(a, name, "SET x=1");
	}
	assert_int_equal(herd_sets_set(a, "one.more", "SET x=1", &b), -E2BIG);
	assert_null(b);
	herd_sets_unref(a);
	char *big = calloc(1, HERD_SETS_MAX_BYTES + 1);

	memset(big, 'x', HERD_SETS_MAX_BYTES);
	assert_int_equal(herd_sets_set(NULL, "x", big, &b), -E2BIG);
	free(big);
	(void)state;
}

static bool is_vars(void *arg, const char *name)
{
	(void)arg;
	return strcmp(name, "timezone") == 0;
}

/* A simple query: "sql", answered by these tags, an error (if tag is "!") and this status. */
static void run(struct herd_session *s, const char *sql, const char *tags, char tx)
{
	struct herd_sql_acts *acts = NULL;
	char *copy = strdup(tags), *save = NULL;

	herd_sql_classify(sql, strlen(sql), (struct herd_sql_dialect){ 0 }, &acts);
	bool noted = acts && herd_session_wants(s, acts->kinds);

	if (noted)
		assert_int_equal(herd_session_sent(s, acts), 0);
	for (char *t = strtok_r(copy, ",", &save); t; t = strtok_r(NULL, ",", &save)) {
		if (*t == '!')
			herd_session_error(s);
		else if (noted)
			herd_session_done(s, t, strlen(t) + 1, is_vars, NULL);
	}
	if (noted)
		herd_session_over(s);
	herd_session_ready(s, tx, is_vars, NULL);
	herd_sql_acts_unref(acts);
	free(copy);
}

static void sets_follow_the_transaction(void **state)
{
	struct herd_session s = { 0 };

	run(&s, "set x = 1", "SET", 'I');
	assert_string_equal(diff(NULL, s.sets, NULL), "set x = 1;");
	run(&s, "set x = 2", "!", 'I');
	assert_string_equal(diff(NULL, s.sets, NULL), "set x = 1;");
	run(&s, "begin; set x = 2", "BEGIN,SET", 'T');
	assert_string_equal(diff(NULL, s.sets, NULL), "set x = 1;");
	run(&s, "rollback", "ROLLBACK", 'I');
	assert_string_equal(diff(NULL, s.sets, NULL), "set x = 1;");
	run(&s, "begin", "BEGIN", 'T');
	run(&s, "set x = 3", "SET", 'T');
	run(&s, "select 1/0", "!", 'E');
	run(&s, "commit", "ROLLBACK", 'I');
	assert_string_equal(diff(NULL, s.sets, NULL), "set x = 1;");
	run(&s, "begin; set x = 4; commit; set y = 1; select 1/0", "BEGIN,SET,COMMIT,SET,!", 'I');
	assert_string_equal(diff(NULL, s.sets, NULL), "set x = 4;");
	run(&s, "reset x; set timezone = 'x'", "RESET,SET", 'I');
	assert_null(s.sets);
	assert_true(herd_session_idle(&s));
	run(&s, "set x = 1; set role r", "SET,SET", 'I');
	run(&s, "reset all", "RESET", 'I');
	assert_string_equal(diff(NULL, s.sets, NULL), "set role r;");
	run(&s, "discard all", "DISCARD ALL", 'I');
	assert_null(s.sets);
	assert_true(s.cleared);
	herd_session_free(&s);
	(void)state;
}

static void savepoints_are_followed(void **state)
{
	struct herd_session s = { 0 };

	run(&s, "begin; savepoint a", "BEGIN,SAVEPOINT", 'T');
	run(&s, "set x = 1", "SET", 'T');
	run(&s, "savepoint b; set x = 2", "SAVEPOINT,SET", 'T');
	run(&s, "rollback to b", "ROLLBACK", 'T');
	run(&s, "commit", "COMMIT", 'I');
	assert_string_equal(diff(NULL, s.sets, NULL), "set x = 1;");
	run(&s, "begin; savepoint a; set x = 2; rollback to a; commit",
	    "BEGIN,SAVEPOINT,SET,ROLLBACK,COMMIT", 'I');
	assert_string_equal(diff(NULL, s.sets, NULL), "set x = 1;");
	run(&s, "begin; set y = 1; savepoint a; set x = 2; savepoint b; set x = 3; release a",
	    "BEGIN,SET,SAVEPOINT,SET,SAVEPOINT,SET,RELEASE", 'T');
	/* b went with a: what has no mark is taken for older than all changes */
	run(&s, "rollback to b", "!", 'E');
	run(&s, "rollback", "ROLLBACK", 'I');
	assert_string_equal(diff(NULL, s.sets, NULL), "set x = 1;");
	run(&s, "begin; set y = 1; savepoint a; set x = 2; release a; commit",
	    "BEGIN,SET,SAVEPOINT,SET,RELEASE,COMMIT", 'I');
	assert_string_equal(diff(NULL, s.sets, NULL), "set y = 1;set x = 2;");
	herd_session_free(&s);
	(void)state;
}

static void unknown_requests_may_end_it(void **state)
{
	struct herd_session s = { 0 };

	run(&s, "begin; set x = 1", "BEGIN,SET", 'T');
	herd_session_tag(&s, "ROLLBACK", 9, NULL, NULL);
	herd_session_ready(&s, 'I', NULL, NULL);
	assert_null(s.sets);
	assert_int_equal(s.pins, 0);
	run(&s, "begin; set x = 1", "BEGIN,SET", 'T');
	herd_session_tag(&s, "COMMIT", 7, NULL, NULL);
	assert_string_equal(diff(NULL, s.sets, NULL), "set x = 1;");
	run(&s, "begin; set x = 2", "BEGIN,SET", 'T');
	herd_session_tag(&s, "ROLLBACK", 9, NULL, NULL);
	herd_session_ready(&s, 'T', NULL, NULL);
	assert_int_equal(s.pins, HERD_PIN_SETTING);
	herd_session_free(&s);
	(void)state;
}

static void pins_are_kept_until_they_are_gone(void **state)
{
	struct herd_session s = { 0 };
	struct herd_buf b = { 0 };

	run(&s, "create temp table t (a int)", "!", 'I');
	assert_int_equal(s.pins, HERD_PIN_TEMP);
	run(&s, "prepare p as select '\\'", "PREPARE", 'I');
	herd_session_pins_text(s.pins, &b);
	assert_string_equal(herd_buf_str(&b), "temporary objects, prepare");
	herd_buf_free(&b);
	run(&s, "deallocate all", "DEALLOCATE ALL", 'I');
	assert_int_equal(s.pins, HERD_PIN_TEMP);
	run(&s, "discard temp", "DISCARD TEMP", 'I');
	assert_int_equal(s.pins, 0);
	run(&s, "select pg_advisory_lock(1)", "SELECT 1", 'I');
	run(&s, "select pg_advisory_unlock(1)", "SELECT 1", 'I');
	assert_int_equal(s.pins, HERD_PIN_ADVISORY);
	assert_true(s.maybe_unpinned);
	run(&s, "discard all", "DISCARD ALL", 'I');
	assert_int_equal(s.pins, 0);
	herd_session_free(&s);
	(void)state;
}

static void add_line(void *arg, const char *sql)
{
	herd_buf_printf(arg, "%s\n", sql);
}

static void prepared_statements_are_of_no_transaction(void **state)
{
	struct herd_session s = { 0 };
	struct herd_sets *was = NULL;
	struct herd_buf b = { 0 };

	run(&s, "prepare p as select 1", "PREPARE", 'I');
	assert_true(s.prepared);
	was = herd_sets_ref(s.sets);
	run(&s, "begin; set x = 1; prepare \"Q \"\"\" as select 2; deallocate p; rollback",
	    "BEGIN,SET,PREPARE,DEALLOCATE,ROLLBACK", 'I');
	assert_int_equal(herd_sets_diff(was, s.sets, NULL, &b), 0);
	herd_sets_diff_prepared(was, s.sets, add_line, &b);
	assert_string_equal(herd_buf_str(&b), "DEALLOCATE \"p\"\nprepare \"Q \"\"\" as select 2\n");
	herd_buf_reset(&b);
	run(&s, "reset all", "RESET", 'I');
	assert_true(s.prepared);
	herd_sets_diff_prepared(s.sets, was, add_line, &b);
	assert_string_equal(herd_buf_str(&b), "DEALLOCATE \"Q \"\"\"\nprepare p as select 1\n");
	herd_buf_free(&b);
	run(&s, "set y = 1; deallocate all", "SET,DEALLOCATE ALL", 'I');
	assert_false(s.prepared);
	assert_int_equal(s.sets->n, 1);
	assert_int_equal(s.pins, 0);
	herd_sets_unref(was);
	herd_session_free(&s);
	(void)state;
}

static void channels_follow_the_transaction(void **state)
{
	struct herd_session s = { 0 };

	run(&s, "begin; listen a", "BEGIN,LISTEN", 'T');
	assert_int_equal(s.nchannels, 0);
	run(&s, "commit", "COMMIT", 'I');
	assert_int_equal(s.nchannels, 1);
	assert_true(s.channels_changed);
	run(&s, "listen a; listen b", "LISTEN,LISTEN", 'I');
	assert_int_equal(s.nchannels, 2);
	run(&s, "begin; unlisten *; rollback", "BEGIN,UNLISTEN,ROLLBACK", 'I');
	assert_int_equal(s.nchannels, 2);
	run(&s, "unlisten a", "UNLISTEN", 'I');
	assert_int_equal(s.nchannels, 1);
	assert_string_equal(s.channel[0], "b");
	s.channels_changed = false;
	run(&s, "discard all", "DISCARD ALL", 'I');
	assert_int_equal(s.nchannels, 0);
	assert_true(s.channels_changed);
	herd_session_free(&s);
	(void)state;
}

static void requests_may_be_under_way(void **state)
{
	struct herd_session s = { 0 };
	struct herd_sql_acts *unpin = NULL, *pin = NULL;

	/* both are sent before the first is answered */
	herd_sql_classify("deallocate all", 14, (struct herd_sql_dialect){ 0 }, &unpin);
	herd_sql_classify("prepare p as select '\\'", 23, (struct herd_sql_dialect){ 0 }, &pin);
	herd_session_sent(&s, unpin);
	herd_session_sent(&s, pin);
	assert_int_equal(herd_session_done(&s, "DEALLOCATE ALL", 15, NULL, NULL),
			 HERD_ACT_DEALLOCATE);
	herd_session_over(&s);
	assert_int_equal(herd_session_done(&s, "PREPARE", 8, NULL, NULL), HERD_ACT_PIN);
	herd_session_over(&s);
	assert_int_equal(s.pins, HERD_PIN_PREPARE);
	herd_session_sent(&s, unpin);
	herd_session_lost(&s);
	assert_int_equal(herd_session_done(&s, "x", 2, NULL, NULL), -1);
	herd_sql_acts_unref(unpin);
	herd_sql_acts_unref(pin);
	herd_session_free(&s);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(settings_differ_by_what_is_sent),
		cmocka_unit_test(roles_are_made_in_order),
		cmocka_unit_test(characteristics_add_up),
		cmocka_unit_test(settings_are_bounded),
		cmocka_unit_test(sets_follow_the_transaction),
		cmocka_unit_test(savepoints_are_followed),
		cmocka_unit_test(unknown_requests_may_end_it),
		cmocka_unit_test(pins_are_kept_until_they_are_gone),
		cmocka_unit_test(prepared_statements_are_of_no_transaction),
		cmocka_unit_test(channels_follow_the_transaction),
		cmocka_unit_test(requests_may_be_under_way),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
