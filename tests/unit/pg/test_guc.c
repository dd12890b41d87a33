/* Values of parameters: what is valid, what is written instead, how they are shown. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "pg/conf.h"
#include "pg/guc_value.h"

#define INT HERD_PG_GUC_INTEGER
#define REAL HERD_PG_GUC_REAL
#define BOOL HERD_PG_GUC_BOOL
#define ENUM HERD_PG_GUC_ENUM
#define STR HERD_PG_GUC_STRING
#define N (sizeof(rows) / sizeof(*rows))

static void judged(void **state)
{
	/* clang-format off */
	static const struct {
		enum herd_pg_guc_type type;
		const char *unit, *words, *min, *max, *value;
		enum herd_pg_guc_verdict want;
	} rows[] = {
		{ INT, NULL, NULL, "1", "100", "1", HERD_PG_GUC_GOOD },
		{ INT, NULL, NULL, "1", "100", "0", HERD_PG_GUC_LOW },
		{ INT, NULL, NULL, "1", "100", "101", HERD_PG_GUC_HIGH },
		{ INT, NULL, NULL, "1", "100", "100.4", HERD_PG_GUC_GOOD },
		{ INT, NULL, NULL, "1", "100", "0x10", HERD_PG_GUC_GOOD },
		{ INT, NULL, NULL, "0", "511", "0777", HERD_PG_GUC_GOOD },
		{ INT, NULL, NULL, "0", "511", "777", HERD_PG_GUC_HIGH },
		{ INT, NULL, NULL, "1", "100", "", HERD_PG_GUC_BAD },
		{ INT, NULL, NULL, "1", "100", "x", HERD_PG_GUC_BAD },
		{ INT, NULL, NULL, "1", "100", "1e9999", HERD_PG_GUC_BAD },
		{ INT, NULL, NULL, "1", "100", "nan", HERD_PG_GUC_BAD },
		{ INT, NULL, NULL, "1", "100", "5s", HERD_PG_GUC_BAD }, /* it has no unit */
		{ INT, "kB", NULL, "64", "2147483647", "1.5GB", HERD_PG_GUC_GOOD },
		{ INT, "kB", NULL, "64", "2147483647", "1 MB", HERD_PG_GUC_GOOD },
		{ INT, "kB", NULL, "64", "2147483647", " 64 ", HERD_PG_GUC_GOOD },
		{ INT, "kB", NULL, "64", "2147483647", "1kB", HERD_PG_GUC_LOW },
		{ INT, "kB", NULL, "64", "2147483647", "65535B", HERD_PG_GUC_GOOD }, /* rounds to 64 */
		{ INT, "kB", NULL, "64", "2147483647", "5TB", HERD_PG_GUC_HIGH },
		{ INT, "kB", NULL, "64", "2147483647", "1mb", HERD_PG_GUC_BAD },
		{ INT, "kB", NULL, "64", "2147483647", "1 M B", HERD_PG_GUC_BAD },
		{ INT, "kB", NULL, "64", "2147483647", "60s", HERD_PG_GUC_BAD },
		{ INT, "kB", NULL, "64", "2147483647", "1 megabyte", HERD_PG_GUC_BAD },
		{ INT, "8kB", NULL, "16", "1073741823", "128kB", HERD_PG_GUC_GOOD },
		{ INT, "8kB", NULL, "16", "1073741823", "120kB", HERD_PG_GUC_LOW },
		{ INT, "s", NULL, "30", "86400", "3d", HERD_PG_GUC_HIGH },
		{ INT, "s", NULL, "30", "86400", "1d", HERD_PG_GUC_GOOD },
		{ INT, "s", NULL, "30", "86400", "0.5min", HERD_PG_GUC_GOOD },
		{ INT, "ms", NULL, "-1", "2147483647", "-1", HERD_PG_GUC_GOOD },
		{ INT, "ms", NULL, "1", "2147483647", "500us", HERD_PG_GUC_LOW }, /* rounds to even */
		{ INT, "min", NULL, "-1", "86400", "2h", HERD_PG_GUC_GOOD },
		{ REAL, NULL, NULL, "0", "1", "0.9", HERD_PG_GUC_GOOD },
		{ REAL, NULL, NULL, "0", "1", "7", HERD_PG_GUC_HIGH },
		{ REAL, NULL, NULL, "0", "1", "inf", HERD_PG_GUC_BAD },
		{ REAL, "ms", NULL, "-1", "100", "2.5", HERD_PG_GUC_GOOD },
		{ REAL, "ms", NULL, "-1", "100", "1s", HERD_PG_GUC_HIGH },
		{ BOOL, NULL, NULL, NULL, NULL, "on", HERD_PG_GUC_GOOD },
		{ BOOL, NULL, NULL, NULL, NULL, "TRUE", HERD_PG_GUC_GOOD },
		{ BOOL, NULL, NULL, NULL, NULL, "t", HERD_PG_GUC_GOOD },
		{ BOOL, NULL, NULL, NULL, NULL, "of", HERD_PG_GUC_GOOD },
		{ BOOL, NULL, NULL, NULL, NULL, "o", HERD_PG_GUC_BAD },
		{ BOOL, NULL, NULL, NULL, NULL, "maybe", HERD_PG_GUC_BAD },
		{ BOOL, NULL, NULL, NULL, NULL, "", HERD_PG_GUC_BAD },
		{ BOOL, NULL, NULL, NULL, NULL, "11", HERD_PG_GUC_BAD },
		{ ENUM, NULL, "off,on,try", NULL, NULL, "Try", HERD_PG_GUC_GOOD },
		{ ENUM, NULL, "off,on,try", NULL, NULL, "yes", HERD_PG_GUC_GOOD },
		{ ENUM, NULL, "off,on,try", NULL, NULL, "0", HERD_PG_GUC_GOOD },
		{ ENUM, NULL, "off,on,try", NULL, NULL, "tr", HERD_PG_GUC_BAD },
		{ ENUM, NULL, "none,all", NULL, NULL, "on", HERD_PG_GUC_BAD },
		{ ENUM, NULL, NULL, NULL, NULL, "anything", HERD_PG_GUC_GOOD },
		{ STR, NULL, NULL, NULL, NULL, "anything", HERD_PG_GUC_GOOD },
	};
	/* clang-format on */
	for (size_t i = 0; i < N; i++)
		if (herd_pg_guc_judge(rows[i].type, rows[i].unit, rows[i].words, rows[i].min,
				      rows[i].max, rows[i].value) != rows[i].want)
			fail_msg("%s (%s)", rows[i].value, rows[i].unit ? rows[i].unit : "");
}

/* As Patroni prints them in pending_restart_reason. */
static void shown(void **state)
{
	/* clang-format off */
	static const struct {
		enum herd_pg_guc_type type;
		const char *unit, *value, *want;
	} rows[] = {
		{ INT, "8kB", "16384", "128MB" },
		{ INT, "8kB", "128MB", "128MB" },
		{ INT, "8kB", "625", "5000kB" },
		{ INT, "kB", "1024", "1MB" },
		{ INT, "kB", "1025", "1025kB" },
		{ INT, "256MB", "4", "1GB" },
		{ INT, "256 MB", "4", "4" },
		{ INT, "KB", "1024", "1024" },
		{ INT, "B", "1024", "1kB" },
		{ INT, "min", "-1", "-1min" },
		{ INT, "min", "120", "2h" },
		{ INT, "ms", "0", "0" },
		{ INT, "s", "3600", "1h" },
		{ INT, NULL, "110", "110" },
		{ INT, NULL, "0770", "0770" },
		{ INT, "kB", "0.5GB", "512MB" },
		{ REAL, "ms", "5", "5ms" },
		{ REAL, "ms", "2.5", "2500us" },
		{ REAL, "256MB", "8.0", "2GB" },
		{ REAL, NULL, "0.9", "0.9" },
		{ BOOL, NULL, "true", "on" },
		{ BOOL, NULL, "0", "off" },
		{ BOOL, NULL, "x", "x" },
		{ ENUM, NULL, "try", "try" },
		{ STR, NULL, "", "" },
		{ STR, NULL, "pg_stat_statements", "pg_stat_statements" },
	};
	/* clang-format on */
	for (size_t i = 0; i < N; i++) {
		struct herd_buf b = { 0 };

		assert_int_equal(herd_pg_guc_human(rows[i].type, rows[i].unit, rows[i].value, &b),
				 0);
		if (strcmp(herd_buf_str(&b), rows[i].want) != 0)
			fail_msg("%s: %s, not %s", rows[i].value, herd_buf_str(&b), rows[i].want);
		herd_buf_free(&b);
	}
}

static void recovery_names(void **state)
{
	static const struct {
		const char *name;
		int version;
		const char *want;
	} rows[] = {
		{ "trigger_file", 11, "trigger_file" },
		{ "trigger_file", 12, "promote_trigger_file" },
		{ "promote_trigger_file", 11, "trigger_file" },
		{ "PROMOTE_trigger_file", 15, "promote_trigger_file" },
		{ "promote_trigger_file", 16, NULL },
		{ "trigger_file", 18, NULL },
		{ "restore_command", 9, "restore_command" },
		{ "restore_command", 18, "restore_command" },
		{ "standby_mode", 11, "standby_mode" },
		{ "standby_mode", 12, NULL },
		{ "recovery_target_lsn", 9, NULL },
		{ "recovery_target_lsn", 10, "recovery_target_lsn" },
		{ "nonsense", 15, NULL },
	};

	for (size_t i = 0; i < N; i++) {
		const char *got = herd_pg_guc_recovery_name(rows[i].name, rows[i].version);

		if (!rows[i].want != !got || (got && strcmp(got, rows[i].want) != 0))
			fail_msg("%s in %d", rows[i].name, rows[i].version);
	}
}

static void wal_kept(void **state)
{
	static const struct {
		int version;
		const char *segments, *size, *want_segments, *want_size, *warning;
	} rows[] = {
		{ 12, NULL, NULL, "8", NULL, "" },
		{ 12, "100", NULL, "100", NULL, "" },
		{ 12, NULL, "1GB", "64", NULL, "" },
		{ 12, NULL, "1600MB", "100", NULL, "" },
		{ 12, "0", NULL, "8", NULL,
		  "postgresql parameter wal_keep_segments=0 failed validation, defaulting to 8\n" },
		{ 13, NULL, NULL, NULL, "128MB", "" },
		{ 13, "100", NULL, NULL, "1600MB", "" },
		{ 13, "100", "2GB", NULL, "2GB", "" },
		{ 13, NULL, "32", NULL, "32", "" },
		{ 18, NULL, "15MB", NULL, "128MB",
		  "postgresql parameter wal_keep_size=15MB failed validation, defaulting to "
		  "128MB\n" },
		{ 18, NULL, "lots", NULL, "128MB",
		  "postgresql parameter wal_keep_size=lots failed validation, defaulting to "
		  "128MB\n" },
		{ 18, "999999999999", NULL, NULL, "128MB",
		  "postgresql parameter wal_keep_segments=999999999999 failed validation, "
		  "defaulting to 8\n" },
	};

	for (size_t i = 0; i < N; i++) {
		struct herd_pg_settings s = { 0 };
		struct herd_buf w = { 0 };
		const char *segments, *size;

		herd_pg_settings_set(&s, "wal_keep_segments", rows[i].segments);
		herd_pg_settings_set(&s, "wal_keep_size", rows[i].size);
		assert_int_equal(herd_pg_guc_wal_keep(&s, rows[i].version, &w), 0);
		segments = herd_pg_settings_get(&s, "wal_keep_segments");
		size = herd_pg_settings_get(&s, "wal_keep_size");
		assert_string_equal(segments ? segments : "-",
				    rows[i].want_segments ? rows[i].want_segments : "-");
		assert_string_equal(size ? size : "-", rows[i].want_size ? rows[i].want_size : "-");
		assert_string_equal(herd_buf_str(&w), rows[i].warning);
		herd_pg_settings_clear(&s);
		herd_buf_free(&w);
	}
}

static void undescribed(void **state)
{
	assert_true(herd_pg_guc_undescribed("zero_damaged_pages", 15));
	assert_true(herd_pg_guc_undescribed("Zero_Damaged_Pages", 18));
	assert_true(herd_pg_guc_undescribed("debug_parallel_query", 16));
	assert_false(herd_pg_guc_undescribed("debug_parallel_query", 15));
	assert_true(herd_pg_guc_undescribed("logical_replication_mode", 16));
	assert_false(herd_pg_guc_undescribed("logical_replication_mode", 17));
	assert_false(herd_pg_guc_undescribed("work_mem", 15));
	assert_false(herd_pg_guc_undescribed("nonsense", 15));
	assert_string_equal(herd_pg_guc_fact("IntervalStyle")->name, "IntervalStyle");
	assert_string_equal(herd_pg_guc_fact("WORK_MEM")->unit, "kB");
	assert_string_equal(herd_pg_guc_fact("xmloption")->words, "content,document");
}

static struct herd_pg_guc_table table(void)
{
	struct herd_pg_guc_table t = { 0 };
	struct herd_buf b = { 0 };

	herd_buf_addstr(&b, "work_mem\tuser\tM\tINTEGER\t4096\t64\t2147483647\tx\t\n"
			    "checkpoint_timeout\tsighup\tM\tINTEGER\t300\t30\t86400\tx\t\n"
			    "fsync\tsighup\tM\tBOOLEAN\tTRUE\t\t\tx\t\n"
			    "log_statement\tsuperuser\tM\tENUM\tnone\t\t\tx\t\n"
			    "wal_keep_size\tsighup\tM\tINTEGER\t0\t0\t2147483647\tx\t\n"
			    "data_checksums\tinternal\tM\tBOOLEAN\tFALSE\t\t\tx\t\n");
	for (int i = 0; i < 100; i++)
		herd_buf_printf(&b, "filler_%d\tuser\tM\tSTRING\t\t\t\tx\t\n", i);
	assert_int_equal(herd_pg_guc_table_parse(herd_buf_str(&b), &t, NULL), 0);
	herd_buf_free(&b);
	return t;
}

/* Warnings are Patroni's, word by word. */
static void effective(void **state)
{
	static const struct {
		const char *name, *value, *want, *warning;
	} rows[] = {
		{ "work_mem", "1kB", "64",
		  "Value=1kB of parameter=work_mem is too low, increasing to 64kB\n" },
		{ "checkpoint_timeout", "3d", "86400",
		  "Value=3d of parameter=checkpoint_timeout is too big, decreasing to 86400s\n" },
		{ "fsync", "maybe", NULL,
		  "Removing bool parameter=fsync from the config due to the invalid "
		  "value=maybe\n" },
		{ "work_mem", "abc", NULL,
		  "Removing integer parameter=work_mem from the config due to the invalid "
		  "value=abc\n" },
		{ "log_statement", "some", NULL,
		  "Removing enum parameter=log_statement from the config due to the invalid "
		  "value=some\n" },
		{ "no_such_thing", "5", NULL,
		  "Removing unexpected parameter=no_such_thing value=5 from the config\n" },
		{ "data_checksums", "on", NULL,
		  "Removing unexpected parameter=data_checksums value=on from the config\n" },
		{ "max_wal_senders", "abc", "10",
		  "postgresql parameter max_wal_senders=abc failed validation, defaulting to "
		  "10\n" },
		{ "my.ext", "7", "7", "" },
		{ "zero_damaged_pages", "on", "on", "" },
		{ "zero_damaged_pages", "x", NULL,
		  "Removing bool parameter=zero_damaged_pages from the config due to the invalid "
		  "value=x\n" },
	};
	struct herd_pg_guc_table t = table();
	struct herd_pg_role role = { 0 };

	for (size_t i = 0; i < N; i++) {
		struct herd_pg_config c = { .scope = (char *)"s",
					    .listen = (char *)"h",
					    .port = 1 };
		struct herd_pg_settings s = { 0 };
		struct herd_buf w = { 0 };
		const char *got;

		herd_pg_settings_set(&c.parameters, rows[i].name, rows[i].value);
		assert_int_equal(herd_pg_conf_effective(&c, &role, &t, 15, &s, &w), 0);
		got = herd_pg_settings_get(&s, rows[i].name);
		assert_string_equal(got ? got : "-", rows[i].want ? rows[i].want : "-");
		assert_string_equal(herd_buf_str(&w), rows[i].warning);
		herd_pg_settings_clear(&s);
		herd_pg_settings_clear(&c.parameters);
		herd_buf_free(&w);
	}
	herd_pg_guc_table_clear(&t);
}

static void by_role(void **state)
{
	static const struct {
		struct herd_pg_role role;
		const char *want;
	} rows[] = {
		{ { .standby = false }, "1MB" },
		{ { .standby = true }, "2MB" },
		{ { .standby = true, .leader = true }, "3MB" },
	};
	struct herd_pg_config c = { .scope = (char *)"s", .listen = (char *)"h", .port = 1 };

	herd_pg_settings_set(&c.parameters, "work_mem", "9MB");
	herd_pg_settings_set(&c.of_role[HERD_PG_KIND_PRIMARY].parameters, "work_mem", "1MB");
	herd_pg_settings_set(&c.of_role[HERD_PG_KIND_REPLICA].parameters, "Work_Mem", "2MB");
	herd_pg_settings_set(&c.of_role[HERD_PG_KIND_STANDBY_LEADER].parameters, "work_mem", "3MB");
	herd_pg_settings_set(&c.of_role[HERD_PG_KIND_REPLICA].parameters, "max_connections", "33");
	for (size_t i = 0; i < N; i++) {
		struct herd_pg_settings s = { 0 };
		struct herd_buf w = { 0 };

		assert_int_equal(herd_pg_conf_effective(&c, &rows[i].role, NULL, 15, &s, &w), 0);
		assert_string_equal(herd_pg_settings_get(&s, "work_mem"), rows[i].want);
		assert_string_equal(herd_pg_settings_get(&s, "max_connections"), "100");
		assert_int_equal(w.len > 0, i == 1);
		herd_pg_settings_clear(&s);
		herd_buf_free(&w);
	}
	herd_pg_settings_clear(&c.parameters);
	for (int i = 0; i < HERD_PG_KIND_NR; i++)
		herd_pg_settings_clear(&c.of_role[i].parameters);
}

static void raised(void **state)
{
	struct herd_pg_settings s = { 0 };
	struct herd_pg_controldata control = { .max_connections = 200, .max_wal_senders = 5 };
	bool up = false;

	herd_pg_settings_set(&s, "max_connections", "200");
	herd_pg_settings_set(&s, "max_wal_senders", "10");
	assert_int_equal(herd_pg_conf_raise(&s, &control, &up), 0);
	assert_false(up);
	herd_pg_settings_set(&s, "max_connections", "199");
	assert_int_equal(herd_pg_conf_raise(&s, &control, &up), 0);
	assert_true(up);
	assert_string_equal(herd_pg_settings_get(&s, "max_connections"), "200");
	assert_string_equal(herd_pg_settings_get(&s, "max_wal_senders"), "10");
	herd_pg_settings_clear(&s);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(judged),    cmocka_unit_test(shown),
		cmocka_unit_test(wal_kept),  cmocka_unit_test(recovery_names),
		cmocka_unit_test(effective), cmocka_unit_test(undescribed),
		cmocka_unit_test(by_role),   cmocka_unit_test(raised),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
