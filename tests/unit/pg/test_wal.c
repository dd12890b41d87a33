/* pg_control, timeline history, WAL positions, and whether a member went another way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/str.h"
#include "pg/control.h"
#include "pg/history.h"
#include "pg/proc.h"
#include "pg/rewind.h"
#include "pg/wal.h"

static const char sample[] = "pg_control version number:            1300\n"
			     "Catalog version number:               202209061\n"
			     "Database system identifier:           7710873145502498245\n"
			     "Database cluster state:               shut down\n"
			     "pg_control last modified:             Sun Nov 22 06:05:57 2026\n"
			     "Latest checkpoint location:           0/1511A88\n"
			     "Latest checkpoint's REDO location:    0/1511A88\n"
			     "Latest checkpoint's REDO WAL file:    000000010000000000000001\n"
			     "Latest checkpoint's TimeLineID:       1\n"
			     "Latest checkpoint's PrevTimeLineID:   1\n"
			     "Latest checkpoint's full_page_writes: on\n"
			     "Latest checkpoint's NextXID:          0:724\n"
			     "Latest checkpoint's NextOID:          13573\n"
			     "Latest checkpoint's NextMultiXactId:  1\n"
			     "Latest checkpoint's NextMultiOffset:  0\n"
			     "Latest checkpoint's oldestXID:        716\n"
			     "Latest checkpoint's oldestXID's DB:   1\n"
			     "Latest checkpoint's oldestActiveXID:  0\n"
			     "Latest checkpoint's oldestMultiXid:   1\n"
			     "Latest checkpoint's oldestMulti's DB: 1\n"
			     "Latest checkpoint's oldestCommitTsXid:0\n"
			     "Latest checkpoint's newestCommitTsXid:0\n"
			     "Time of latest checkpoint:            Sun Nov 22 06:05:57 2026\n"
			     "Fake LSN counter for unlogged rels:   0/3E8\n"
			     "Minimum recovery ending location:     0/0\n"
			     "Min recovery ending loc's timeline:   0\n"
			     "Backup start location:                0/0\n"
			     "Backup end location:                  0/0\n"
			     "End-of-backup record required:        no\n"
			     "wal_level setting:                    replica\n"
			     "wal_log_hints setting:                off\n"
			     "max_connections setting:              100\n"
			     "max_worker_processes setting:         8\n"
			     "max_wal_senders setting:              10\n"
			     "max_prepared_xacts setting:           0\n"
			     "max_locks_per_xact setting:           64\n"
			     "track_commit_timestamp setting:       off\n"
			     "Maximum data alignment:               8\n"
			     "Database block size:                  8192\n"
			     "Blocks per segment of large relation: 131072\n"
			     "WAL block size:                       8192\n"
			     "Bytes per WAL segment:                16777216\n"
			     "Maximum length of identifiers:        64\n"
			     "Maximum columns in an index:          32\n"
			     "Maximum size of a TOAST chunk:        1996\n"
			     "Size of a large-object chunk:         2048\n"
			     "Date/time type storage:               64-bit integers\n"
			     "Float8 argument passing:              by value\n"
			     "Data page checksum version:           0\n";

static void control(void **state)
{
	struct herd_pg_controldata c;
	struct herd_err err = HERD_ERR_INIT;
	char *broken;

	assert_int_equal(herd_pg_control_parse(sample, &c, NULL), 0);
	assert_int_equal(c.state, HERD_PG_DB_SHUTDOWNED);
	assert_false(herd_pg_control_dirty(&c));
	assert_true(c.system_identifier == 7710873145502498245ULL);
	assert_int_equal(c.checkpoint_lsn, 0x1511a88);
	assert_int_equal(c.checkpoint_tli, 1);
	assert_int_equal(c.max_connections, 100);
	assert_int_equal(c.wal_segment_bytes, 16 * 1024 * 1024);
	assert_string_equal(c.wal_level, "replica");
	assert_false(c.wal_log_hints);
	assert_int_equal(herd_pg_control_parse("", &c, &err), -EINVAL);
	herd_err_clear(&err);
	broken = strdup(sample);
	memcpy(strstr(broken, "max_connections setting:") + 38, "xyz", 3);
	assert_int_equal(herd_pg_control_parse(broken, &c, &err), -EINVAL);
	assert_non_null(strstr(herd_err_text(&err), "max_connections"));
	herd_err_clear(&err);
	free(broken);
}

static void history(void **state)
{
	struct herd_pg_history h = { 0 };
	struct herd_err err = HERD_ERR_INIT;
	static const char *const bad[] = { "x",         "1",
					   "1\t",       "1\t0",
					   "0\t0/1\tr", "-1\t0/1\tr",
					   "1\t0/1/2",  "2\t0/1\tr\n1\t0/2\tr",
					   "1\tg/1",    "4294967296\t0/1" };

	assert_int_equal(herd_pg_history_parse("1\t0/3000000\tno recovery target specified\n\n"
					       "# comment\n2\t1/A0\tbefore 2000\n",
					       &h, NULL),
			 0);
	assert_int_equal(h.n, 2);
	assert_int_equal(h.v[0].tli, 1);
	assert_true(h.v[1].end_lsn == 0x1000000A0);
	assert_string_equal(h.v[0].reason, "no recovery target specified");
	herd_pg_history_clear(&h);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		if (herd_pg_history_parse(bad[i], &h, &err) != -EINVAL)
			fail_msg("\"%s\" was taken", bad[i]);
		herd_err_clear(&err);
	}
	assert_int_equal(herd_pg_history_parse("", &h, NULL), 0);
	assert_int_equal(h.n, 0);
}

static void divergence(void **state)
{
	struct herd_pg_history_line line[] = { { 1, 0x1000, NULL }, { 2, 0x2000, NULL } };
	struct herd_pg_history h = { line, 2 };
	static const struct {
		uint32_t tli;
		uint64_t lsn, end;
		bool standby, history;
		uint32_t leader_tli;
		enum herd_pg_divergence want;
	} rows[] = {
		{ 3, 0x2500, 0, true, true, 3, HERD_PG_DIVERGED_NO },
		{ 4, 0x2500, 0, true, true, 3, HERD_PG_DIVERGED_YES },
		{ 2, 0x2000, 0, true, true, 3, HERD_PG_DIVERGED_NO },
		{ 2, 0x2001, 0, true, true, 3, HERD_PG_DIVERGED_YES },
		{ 1, 0x1000, 0, true, true, 3, HERD_PG_DIVERGED_NO },
		{ 1, 0x1800, 0, true, true, 3, HERD_PG_DIVERGED_YES },
		{ 2, 0x1f88, 0x2000, false, true, 3, HERD_PG_DIVERGED_NO },
		{ 2, 0x1f80, 0x1ff8, false, true, 3, HERD_PG_DIVERGED_YES },
		{ 2, 0x2000, 0x2078, false, true, 3, HERD_PG_DIVERGED_YES },
		{ 2, 0x1f00, 0, false, true, 3, HERD_PG_DIVERGED_YES },
		{ 2, 0x1f00, 0, true, false, 3, HERD_PG_DIVERGED_UNKNOWN },
		{ 0, 0x1f00, 0, true, true, 3, HERD_PG_DIVERGED_UNKNOWN },
		{ 2, 0, 0, true, true, 3, HERD_PG_DIVERGED_UNKNOWN },
		{ 3, 0x2500, 0, true, true, 5, HERD_PG_DIVERGED_YES },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct herd_pg_divergence_facts f = { .local_tli = rows[i].tli,
						      .local_lsn = rows[i].lsn,
						      .local_end_lsn = rows[i].end,
						      .local_was_standby = rows[i].standby,
						      .leader_tli = rows[i].leader_tli,
						      .history = rows[i].history ? &h : NULL };
		const char *why = NULL;

		if (herd_pg_divergence(&f, &why) != rows[i].want)
			fail_msg("row %zu: %s", i, why);
		assert_non_null(why);
	}
}

static void wal_end(void **state)
{
	const uint64_t seg = 16 * 1024 * 1024;

	assert_true(herd_pg_wal_end(0x1511B00, 114, seg) == 0x1511B78);
	/* it ends with the page */
	assert_true(herd_pg_wal_end(0x2000 - 112, 112, seg) == 0x2000);
	/* 12 bytes go to the next page, behind its short header */
	assert_true(herd_pg_wal_end(0x4000 - 102 - 2, 114 + 2, seg) == 0x4000 + 24 + 16);
	/* and behind the long one of a segment */
	assert_true(herd_pg_wal_end(seg - 104, 114, seg) == seg + 40 + 16);
}

static void pidfile(void **state)
{
	struct herd_pg_pidfile f;

	assert_int_equal(herd_pg_pidfile_parse("123\n/data\n1700000000\n5432\n/tmp\nlocalhost\n"
					       "  1 2\nready   \n",
					       &f),
			 0);
	assert_int_equal(f.pid, 123);
	assert_int_equal(f.start_epoch, 1700000000);
	assert_int_equal(f.port, 5432);
	assert_string_equal(f.status, "ready");
	assert_int_equal(herd_pg_pidfile_parse("-77\n/data\n", &f), 0);
	assert_int_equal(f.pid, 77);
	assert_string_equal(f.status, "");
	assert_int_equal(herd_pg_pidfile_parse("", &f), -EINVAL);
	assert_int_equal(herd_pg_pidfile_parse("0\n", &f), -EINVAL);
	assert_int_equal(herd_pg_pidfile_parse("99999999999\n", &f), -EINVAL);
	assert_int_equal(herd_pg_pidfile_parse("1x\n", &f), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(control), cmocka_unit_test(history), cmocka_unit_test(divergence),
		cmocka_unit_test(wal_end), cmocka_unit_test(pidfile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
