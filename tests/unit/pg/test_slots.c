/* Replication slots as files, and what a start needs for them. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "pg/file.h"
#include "pg/slots.h"

static char dir[] = "/tmp/pgherd-slots-XXXXXX";
static char path[128];

static const char *in_dir(const char *name)
{
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static int open_dir(void **state)
{
	return mkdtemp(dir) == NULL || mkdir(in_dir("pg_replslot"), 0700) < 0;
}

static int close_dir(void **state)
{
	static const char *const files[] = { "pg_replslot/l/state", "pg_replslot/p/state" };
	static const char *const dirs[] = { "pg_replslot/l",     "pg_replslot/p",
					    "pg_replslot/x.tmp", "pg_replslot/empty",
					    "pg_replslot",       "" };

	for (size_t i = 0; i < 2; i++)
		unlink(in_dir(files[i]));
	for (size_t i = 0; i < 6; i++)
		rmdir(in_dir(dirs[i]));
	return 0;
}

static void files(void **state)
{
	char text[200] = { 0 };
	struct herd_buf got = { 0 };
	struct herd_pg_slots_found found = herd_pg_slots_on_disk(dir);
	struct herd_err err = HERD_ERR_INIT;
	struct stat st;

	assert_int_equal(found.n + found.logical, 0);
	strcpy(text + 16, "p");
	assert_int_equal(herd_pg_slot_put(dir, "p", text, sizeof(text), NULL), 0);
	strcpy(text + 16, "l");
	text[80] = 5;
	assert_int_equal(herd_pg_slot_put(dir, "l", text, sizeof(text) - 1, NULL), 0);
	/* The same again takes the place of what is there; half of one is nothing. */
	assert_int_equal(herd_pg_slot_put(dir, "l", text, sizeof(text), NULL), 0);
	assert_int_equal(mkdir(in_dir("pg_replslot/x.tmp"), 0700), 0);
	assert_int_equal(mkdir(in_dir("pg_replslot/empty"), 0700), 0);
	found = herd_pg_slots_on_disk(dir);
	assert_int_equal(found.n, 3);
	assert_int_equal(found.logical, 1);
	assert_int_equal(herd_pg_file_read(in_dir("pg_replslot/l/state"), &got, NULL), 0);
	assert_int_equal(got.len, sizeof(text));
	assert_memory_equal(got.data, text, sizeof(text));
	assert_int_equal(stat(in_dir("pg_replslot/l/state"), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	herd_buf_free(&got);
	assert_int_equal(herd_pg_slot_put("/nonexistent", "l", text, 1, &err), -ENOENT);
	assert_non_null(strstr(herd_err_text(&err), "\"l\""));
	herd_err_clear(&err);
	found = herd_pg_slots_on_disk("/nonexistent");
	assert_int_equal(found.n, 0);
}

static void raised(void **state)
{
	static const struct {
		const char *level, *max;
		struct herd_pg_slots_found found;
		const char *want_level, *want_max;
	} rows[] = {
		{ "replica", "10", { 10, 0 }, "replica", "10" },
		{ "replica", "10", { 11, 0 }, "replica", "11" },
		{ "replica", "10", { 3, 1 }, "logical", "10" },
		{ "logical", "4", { 5, 5 }, "logical", "5" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct herd_pg_settings s = { 0 };
		bool up = false;

		herd_pg_settings_set(&s, "wal_level", rows[i].level);
		herd_pg_settings_set(&s, "max_replication_slots", rows[i].max);
		assert_int_equal(herd_pg_slots_raise(&s, &rows[i].found, &up), 0);
		assert_string_equal(herd_pg_settings_get(&s, "wal_level"), rows[i].want_level);
		assert_string_equal(herd_pg_settings_get(&s, "max_replication_slots"),
				    rows[i].want_max);
		assert_int_equal(up, i > 0);
		herd_pg_settings_clear(&s);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = { cmocka_unit_test(files),
						   cmocka_unit_test(raised) };

	return cmocka_run_group_tests(tests, open_dir, close_dir);
}
