/* The log: formats, levels by part, rotation, and files and pipes that do not take lines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HERD_LOG_PART "patroni.ha"
#include "base/buf.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"

static char *read_all(const char *path)
{
	struct herd_buf b = { 0 };
	FILE *f = fopen(path, "r");
	int c;

	while (f && (c = fgetc(f)) != EOF)
		herd_buf_addc(&b, (char)c);
	if (f)
		fclose(f);
	return herd_buf_steal(&b);
}

/* A logger that writes into a pipe, and what it has written. */
struct fixture {
	struct herd_log *log;
	int out;
};

static struct fixture open_log(const struct herd_log_opts *o)
{
	struct herd_err err = HERD_ERR_INIT;
	struct fixture f;
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	f.log = herd_log_new(fds[1], HERD_LOG_PATRONI, HERD_LOG_INFO);
	f.out = fds[0];
	fcntl(f.out, F_SETFL, O_NONBLOCK);
	assert_int_equal(herd_log_configure(f.log, o, &err), 0);
	assert_int_equal(err.code, 0);
	return f;
}

static char *drain(struct fixture *f)
{
	struct herd_buf b = { 0 };
	char piece[4096];
	ssize_t n;

	while ((n = read(f->out, piece, sizeof(piece))) > 0)
		herd_buf_add(&b, piece, (size_t)n);
	return herd_buf_steal(&b);
}

static void test_formats(void **state)
{
	static const struct {
		const char *format, *want;
	} rows[] = {
		{ "%(levelname)s: %(message)s", "WARNING: hi 7\n" },
		{ "%(levelname)-9s|%(name)s|%(message).2s|%(message)8s",
		  "WARNING  |patroni.ha|hi|   "
		  " hi 7\n" },
		{ "%(levelno)05d %(module)s %(filename)s 100%%",
		  "00030 test_log test_log.c 100%\n" },
		{ "no fields", "no fields\n" },
		{ "%(processName)s %(threadName)s %(funcName)s",
		  "MainProcess MainThread test_formats\n" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct herd_log_opts o = { .format = rows[i].format, .mode = -1, .max_queue = 10 };
		struct fixture f = open_log(&o);

		herd_warning(f.log, "hi %d", 7);
		char *text = drain(&f);

		assert_string_equal(text, rows[i].want);
		free(text);
		herd_log_free(f.log);
	}
}

static void test_bad_formats(void **state)
{
	static const char *const rows[] = {
		"%(nonsense)s", "%s",          "%",    "%(message",
		"%(message)",   "%(message)y", "100%", "%(message)00000000000000s"
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct herd_err err = HERD_ERR_INIT;

		assert_int_equal(herd_log_check_format(rows[i], &err), -EINVAL);
		herd_err_clear(&err);
	}
}

static void test_time(void **state)
{
	struct herd_log_opts o = { .mode = -1, .max_queue = 10 };
	struct fixture f = open_log(&o);
	int y, mo, d, h, mi, s, ms, n = 0;

	herd_error(f.log, "x");
	char *text = drain(&f);

	assert_int_equal(sscanf(text, "%4d-%2d-%2d %2d:%2d:%2d,%3d ERROR: x%n", &y, &mo, &d, &h,
				&mi, &s, &ms, &n),
			 7);
	assert_int_equal(n, strlen(text) - 1);
	free(text);
	o.dateformat = "%Y";
	o.format = "%(asctime)s!";
	assert_int_equal(herd_log_configure(f.log, &o, NULL), 0);
	herd_error(f.log, "x");
	text = drain(&f);
	assert_int_equal(strlen(text), 6);
	free(text);
	herd_log_free(f.log);
}

static void test_json(void **state)
{
	json_t *fields = json_pack("[s, {s:s}, s]", "message", "levelname", "level", "lineno");
	json_t *statics = json_pack("{s:s, s:i}", "app", "pg", "n", 1);
	struct herd_log_opts o = { .json = true,
				   .fields = fields,
				   .statics = statics,
				   .details = true,
				   .mode = -1,
				   .max_queue = 10 };
	struct fixture f = open_log(&o);
	struct herd_err err = HERD_ERR_INIT;

	herd_err_set(&err, -EINVAL, "it \"broke\"");
	herd_err_hint(&err, "Mend it.");
	herd_log_err(f.log, HERD_LOG_ERROR, &err, "oh\n\xff");
	char *text = drain(&f);
	json_t *v = json_loads(text, 0, NULL);

	assert_non_null(v);
	assert_string_equal(herd_json_str(v, "message", ""), "oh\n?: it \"broke\"");
	assert_string_equal(herd_json_str(v, "level", ""), "ERROR");
	assert_string_equal(herd_json_str(v, "app", ""), "pg");
	assert_string_equal(herd_json_str(v, "hint", ""), "Mend it.");
	assert_true(json_is_integer(json_object_get(v, "lineno")));
	assert_int_equal(json_object_size(v), 6);
	assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
	json_decref(v);
	free(text);
	/* Without a list the format tells the fields. */
	o.fields = o.statics = NULL;
	assert_int_equal(herd_log_configure(f.log, &o, NULL), 0);
	herd_error(f.log, "x");
	text = drain(&f);
	v = json_loads(text, 0, NULL);
	assert_int_equal(json_object_size(v), 3);
	assert_non_null(json_object_get(v, "asctime"));
	json_decref(v);
	free(text);
	json_decref(fields);
	json_decref(statics);
	herd_err_clear(&err);
	herd_log_free(f.log);
}

static void test_levels(void **state)
{
	json_t *levels = json_pack("{s:s, s:s, s:s}", "patroni", "ERROR", "patroni.ha", "debug",
				   "patroni.h", "CRITICAL");
	struct herd_log_opts o = { .format = "%(message)s",
				   .level = HERD_LOG_WARNING,
				   .levels = levels,
				   .mode = -1,
				   .max_queue = 10 };
	static const struct herd_log_site other = { "patroni.api", "x.c", "f", 1 };
	static const struct herd_log_site foreign = { "pgherd.guard", "x.c", "f", 1 };
	struct fixture f = open_log(&o);

	herd_debug(f.log, "a");
	herd_log_write(f.log, &other, HERD_LOG_WARNING, NULL, "b");
	herd_log_write(f.log, &other, HERD_LOG_ERROR, NULL, "c");
	herd_log_write(f.log, &foreign, HERD_LOG_INFO, NULL, "d");
	herd_log_write(f.log, &foreign, HERD_LOG_WARNING, NULL, "e");
	char *text = drain(&f);

	assert_string_equal(text, "a\nc\ne\n");
	free(text);
	json_decref(levels);
	herd_log_free(f.log);
}

static void test_files(void **state)
{
	char dir[] = "/tmp/herd-log-XXXXXX";
	struct stat st;

	assert_non_null(mkdtemp(dir));
	char *path = herd_str_printf("%s/sub/patroni.log", dir);
	struct herd_log_opts o = { .format = "%(message)s",
				   .path = path,
				   .mode = 0640,
				   .keep = 2,
				   .max_bytes = 25,
				   .max_queue = 10 };
	struct fixture f = open_log(&o);

	for (int i = 0; i < 8; i++)
		herd_info(f.log, "line %d is", i); /* 10 bytes: two a file */
	char *now = read_all(path), *older = herd_str_printf("%s.2", path),
	     *gone = herd_str_printf("%s.3", path), *text = read_all(older);

	assert_string_equal(now, "line 6 is\nline 7 is\n");
	assert_string_equal(text, "line 2 is\nline 3 is\n");
	assert_int_equal(access(gone, F_OK), -1);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0640);
	free(now);
	free(text);
	/* Somebody moves it away (logrotate): a new one begins. */
	assert_int_equal(rename(path, gone), 0);
	herd_info(f.log, "fresh");
	now = read_all(path);
	assert_string_equal(now, "fresh\n");
	free(now);
	/* The directory vanishes, and cannot be made again: lines go to the descriptor. */
	char *command = herd_str_printf("rm -rf %s && touch %s", dir, dir);

	assert_int_equal(system(command), 0);
	herd_info(f.log, "lost");
	herd_info(f.log, "and found");
	text = drain(&f);
	assert_non_null(strstr(text, "could not open log file"));
	assert_non_null(strstr(text, "standard error meanwhile\nlost\nand found\n"));
	free(text);
	unlink(dir);
	free(command);
	free(older);
	free(gone);
	free(path);
	herd_log_free(f.log);
}

static void test_full_disk(void **state)
{
	struct herd_log_opts o = {
		.format = "%(message)s", .path = "/dev/full", .mode = -1, .max_queue = 10
	};
	struct fixture f = open_log(&o);

	if (access("/dev/full", W_OK) < 0)
		skip();
	herd_info(f.log, "one");
	herd_info(f.log, "two");
	char *text = drain(&f);

	assert_non_null(strstr(text, "No space left on device"));
	assert_non_null(strstr(text, "one\ntwo\n"));
	free(text);
	herd_log_free(f.log);
}

/* A reader that sleeps never stops us: lines wait, then are dropped and counted. */
static void test_sleeping_reader(void **state)
{
	struct herd_log_opts o = { .format = "%(message)s", .mode = -1, .max_queue = 5 };
	struct fixture f = open_log(&o);
	struct herd_buf big = { 0 };

	for (int i = 0; i < 20000; i++)
		herd_buf_addc(&big, 'x');
	for (int i = 0; i < 12; i++)
		herd_info(f.log, "%s", herd_buf_str(&big));
	assert_int_equal(herd_log_queued(f.log), 5);
	assert_true(herd_log_overflowed(f.log));
	assert_true(herd_log_lost(f.log) > 0);
	size_t bytes = 0;

	for (int i = 0; i < 10; i++) {
		char *text = drain(&f);

		bytes += strlen(text);
		free(text);
		herd_log_flush(f.log);
	}
	assert_int_equal(herd_log_queued(f.log), 0);
	assert_int_equal(bytes, (12 - herd_log_lost(f.log)) * 20001);
	herd_log_free(f.log);
	herd_buf_free(&big);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_formats),   cmocka_unit_test(test_bad_formats),
		cmocka_unit_test(test_time),      cmocka_unit_test(test_json),
		cmocka_unit_test(test_levels),    cmocka_unit_test(test_files),
		cmocka_unit_test(test_full_disk), cmocka_unit_test(test_sleeping_reader),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
