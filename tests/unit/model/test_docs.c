/* The small documents: byte for byte what Patroni writes, and what people and others may write. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/docs.h"
#include "model/lsn.h"
#include "model/time.h"

static void check_text(char *got, const char *want)
{
	assert_non_null(got);
	assert_string_equal(got, want);
	free(got);
}

static void lsn(void **state)
{
	static const struct {
		const char *text;
		uint64_t lsn;
	} good[] = {
		{ "0/0", 0 },
		{ "0/3000000", 0x3000000 },
		{ "16/B374D848", UINT64_C(0x16b374d848) },
		{ "ffffffff/ffffffff", UINT64_MAX },
	};
	static const char *const bad[] = { "",     "/",           "1",           "1/",
					   "/1",   "123456789/0", "0/123456789", "0/0 ",
					   " 0/0", "0x1/0",       "-1/0",        "g/0" };
	char out[HERD_LSN_TEXT];
	uint64_t v = 7;

	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		assert_int_equal(herd_lsn_parse(good[i].text, &v), 0);
		assert_true(v == good[i].lsn);
		assert_int_equal(herd_lsn_parse(herd_lsn_print(v, out), &v), 0);
		assert_true(v == good[i].lsn);
	}
	v = 7;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_int_not_equal(herd_lsn_parse(bad[i], &v), 0);
	assert_int_not_equal(herd_lsn_parse(NULL, &v), 0);
	assert_true(v == 7);
	assert_string_equal(herd_lsn_print(UINT64_C(0x16b374d848), out), "16/B374D848");
}

static void slot_name(void **state)
{
	check_text(herd_slot_name("Coord-1.x"), "coord_1_x");
	check_text(herd_slot_name("a b"), "au0032b");
	check_text(herd_slot_name("\xc3\xa9"), "u0233");
	check_text(herd_slot_name("\xf0\x9f\x90\x98"), "u128024");
	check_text(herd_slot_name("\xc3"), "u0195");
	check_text(
		herd_slot_name("1234567890123456789012345678901234567890123456789012345678901234"),
		"123456789012345678901234567890123456789012345678901234567890123");
}

static void times(void **state)
{
	static const struct {
		const char *text;
		int64_t ms;
		bool zoned;
	} good[] = {
		{ "1970-01-01T00:00:00", 0, false },
		{ "2026-11-22T05:04:00.123456+00:00", INT64_C(1795323840123), true },
		{ "2026-11-22 06:04:00.5+01", INT64_C(1795323840500), true },
		{ "2026-11-22T05:04Z", INT64_C(1795323840000), true },
		{ "2024-02-29T00:00:00-0130", INT64_C(1709170200000), true },
	};
	static const char *const bad[] = { "",
					   "x",
					   "2026",
					   "2026-13-01T00:00",
					   "2026-02-29T00:00",
					   "2026-01-01T25:00",
					   "2026-01-01T00:00+99:00",
					   "2026-01-01T00:00:00.",
					   "2026-01-01T00:00:00 later" };
	int64_t ms;
	bool zoned;

	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		assert_int_equal(herd_time_parse(good[i].text, &ms, &zoned), 0);
		assert_true(ms == good[i].ms);
		assert_int_equal(zoned, good[i].zoned);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_int_not_equal(herd_time_parse(bad[i], &ms, NULL), 0);
	check_text(herd_time_print(INT64_C(1795323840123)), "2026-11-22T05:04:00.123000+00:00");
	check_text(herd_time_print(-1), "1969-12-31T23:59:59.999000+00:00");
}

static void sync(void **state)
{
	struct herd_sync s = { 0 };
	const char *text = "{\"leader\":\"a\",\"quorum\":1,\"sync_standby\":\"C, b,a\"}";

	assert_int_equal(herd_sync_parse(text, strlen(text), &s, NULL), 0);
	assert_string_equal(s.leader, "a");
	assert_int_equal(s.quorum, 1);
	assert_int_equal(s.standby.n, 2);
	assert_true(herd_names_has(&s.standby, "B"));
	check_text(herd_sync_print(&s), "{\"leader\":\"a\",\"quorum\":1,\"sync_standby\":\"C,b\"}");
	herd_sync_clear(&s);
	text = "{\"leader\":null,\"sync_standby\":null}";
	assert_int_equal(herd_sync_parse(text, strlen(text), &s, NULL), 0);
	assert_null(s.leader);
	s = (struct herd_sync){ .leader = (char *)"a" };
	check_text(herd_sync_print(&s), "{\"leader\":\"a\",\"quorum\":0,\"sync_standby\":null}");
	assert_int_equal(herd_sync_parse("[]", 2, &s, NULL), -EINVAL);
	assert_string_equal(s.leader, "a");
}

static void history(void **state)
{
	struct herd_history h = { 0 };
	struct herd_err err = HERD_ERR_INIT;
	const char *text =
		"[[1,25690456,\"no recovery target specified\",\"2026-11-22T05:04:00+00:00\","
		"\"a\"],[2,25690800,\"x\"]]";

	assert_int_equal(herd_history_parse(text, strlen(text), &h, NULL), 0);
	assert_int_equal(h.n, 2);
	assert_int_equal(herd_history_timeline(&h), 3);
	check_text(herd_history_print(&h), text);
	herd_history_clear(&h);
	assert_int_equal(herd_history_timeline(&h), 1);
	check_text(herd_history_print(&h), "[]");
	text = "[[2,1,\"x\"],[1,1,\"x\"]]";
	assert_int_equal(herd_history_parse(text, strlen(text), &h, &err), -EINVAL);
	assert_string_equal(err.msg, "history line 2 is out of order");
	herd_err_clear(&err);
	assert_int_equal(herd_history_parse("{}", 2, &h, NULL), -EINVAL);
	assert_int_equal(herd_history_parse("[7]", 3, &h, NULL), -EINVAL);
	text = "1\t0/3000000\tno recovery target specified\n\n2\t0/4000060\treason\n";
	assert_int_equal(herd_history_parse_file(text, &h, NULL), 0);
	assert_int_equal(h.n, 2);
	assert_true(h.line[1].lsn == 0x4000060);
	assert_string_equal(h.line[0].reason, "no recovery target specified");
	herd_history_clear(&h);
	assert_int_equal(herd_history_parse_file("1 x", &h, NULL), -EINVAL);
}

static void failover(void **state)
{
	struct herd_failover f = { 0 };
	const char *text = "{\"leader\":\"a\",\"member\":\"b\",\"scheduled_at\":"
			   "\"2026-11-22T05:04:00+00:00\"}";

	assert_int_equal(herd_failover_parse(text, strlen(text), &f, NULL), 0);
	assert_true(f.scheduled_ms == INT64_C(1795323840000));
	check_text(herd_failover_print(&f), text);
	herd_failover_clear(&f);
	assert_int_equal(herd_failover_parse("a:b", 3, &f, NULL), 0);
	assert_string_equal(f.leader, "a");
	assert_string_equal(f.candidate, "b");
	herd_failover_clear(&f);
	assert_int_equal(herd_failover_parse(":b", 2, &f, NULL), 0);
	assert_null(f.leader);
	herd_failover_clear(&f);
	for (size_t i = 0; i < 3; i++) {
		text = ((const char *const[]){ "", "{}", "null" })[i];
		assert_int_equal(herd_failover_parse(text, strlen(text), &f, NULL), 0);
		assert_true(herd_failover_empty(&f));
	}
	text = "{\"member\":\"b\",\"scheduled_at\":\"tomorrow\"}";
	assert_int_equal(herd_failover_parse(text, strlen(text), &f, NULL), -EINVAL);
}

static void status(void **state)
{
	struct herd_status s = { 0 };
	const char *text =
		"{\"optime\":67393608,\"slots\":{\"a\":1,\"b\":2},\"retain_slots\":[\"a\"]}";

	assert_int_equal(herd_status_parse(text, strlen(text), &s, NULL), 0);
	assert_true(herd_status_slot(&s, "b") == 2);
	check_text(herd_status_print(&s), text);
	herd_status_clear(&s);
	assert_int_equal(herd_status_parse("67393608", 8, &s, NULL), 0);
	assert_true(s.optime == 67393608);
	assert_int_equal(herd_status_parse("\"x\"", 3, &s, NULL), -EINVAL);
	text = "{\"optime\":-1,\"slots\":{\"a\":\"x\",\"b\":1e300},\"retain_slots\":{}}";
	assert_int_equal(herd_status_parse(text, strlen(text), &s, NULL), 0);
	assert_true(s.optime == 0);
	assert_int_equal(s.n_slots, 0);
}

static void handover(void **state)
{
	struct herd_handover h = { 0 };
	const char *text =
		"{\"id\":\"i\",\"from\":\"a\",\"to\":\"b\",\"phase\":\"done\",\"deadline_ms\":5}";

	assert_int_equal(herd_handover_parse(text, strlen(text), &h, NULL), 0);
	assert_int_equal(h.phase, HERD_HANDOVER_DONE);
	check_text(herd_handover_print(&h), text);
	herd_handover_clear(&h);
	text = "{\"id\":\"i\",\"phase\":\"later\"}";
	assert_int_equal(herd_handover_parse(text, strlen(text), &h, NULL), -EINVAL);
}

static void proxy(void **state)
{
	struct herd_proxy p = { 0 };
	const char *text = "{\"id\":\"p\",\"address\":\"h:1\",\"acks\":{\"2\":\"i\"}}";

	assert_int_equal(herd_proxy_parse("p", text, strlen(text), &p, NULL), 0);
	assert_string_equal(herd_proxy_ack(&p, "2"), "i");
	assert_null(herd_proxy_ack(&p, ""));
	check_text(herd_proxy_print(&p), text);
	assert_int_equal(herd_proxy_set_ack(&p, "2", "j"), 0);
	assert_string_equal(herd_proxy_ack(&p, "2"), "j");
	assert_int_equal(herd_proxy_set_ack(&p, "2", NULL), 0);
	assert_null(herd_proxy_ack(&p, "2"));
	herd_proxy_clear(&p);
}

static void failsafe(void **state)
{
	struct herd_failsafe f = { 0 };
	const char *text = "{\"a\":\"http://h:1/patroni\",\"b\":\"u\"}";

	assert_int_equal(herd_failsafe_parse(text, strlen(text), &f, NULL), 0);
	assert_string_equal(herd_failsafe_url(&f, "b"), "u");
	check_text(herd_failsafe_print(&f), text);
	herd_failsafe_clear(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lsn),      cmocka_unit_test(slot_name), cmocka_unit_test(times),
		cmocka_unit_test(sync),     cmocka_unit_test(history),   cmocka_unit_test(failover),
		cmocka_unit_test(status),   cmocka_unit_test(handover),  cmocka_unit_test(proxy),
		cmocka_unit_test(failsafe),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
