/* Records that two processes exchange, and the descriptors beside them. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "proxy/handover.h"

static void fields(void **state)
{
	struct herd_record *r = herd_record_new(HERD_RECORD_CLIENT);
	struct herd_field f;
	size_t pos = 0;

	(void)state;
	herd_record_text(r, "user", "u");
	herd_record_text(r, "none", NULL);
	herd_record_number(r, "n", -7);
	herd_record_add(r, "raw", "a\0b", 3);
	herd_record_add(r, "raw", "", 0);
	assert_string_equal(herd_record_str(r, "user"), "u");
	assert_null(herd_record_str(r, "none"));
	assert_int_equal(herd_record_get(r, "n", 1), -7);
	assert_int_equal(herd_record_get(r, "user", 1), 0); /* no number */
	assert_int_equal(herd_record_get(r, "missing", 5), 5);
	assert_true(herd_record_find(r, "raw", &f));
	assert_int_equal(f.n, 3);
	assert_memory_equal(f.data, "a\0b", 4);
	for (int i = 0; i < 4; i++)
		assert_true(herd_record_next(r, &pos, &f));
	assert_int_equal(f.n, 0);
	assert_false(herd_record_next(r, &pos, &f));
	herd_record_free(r);
}

static void garbage_ends_the_walk(void **state)
{
	struct herd_record *r = herd_record_new(HERD_RECORD_CLIENT);
	struct herd_field f;

	(void)state;
	herd_record_text(r, "name", "value");
	size_t full = r->fields.len;

	for (size_t n = full; n > 0; n--) {
		size_t pos = 0;

		r->fields.len = n;
		assert_int_equal(herd_record_next(r, &pos, &f), n == full);
	}
	r->fields.len = 0;
	herd_buf_add(&r->fields,
		     "x\0\xff\xff\xff\xff"
		     "y",
		     7);
	assert_false(herd_record_find(r, "x", &f));
	herd_record_free(r);
}

static void travels(void **state)
{
	int pair[2], pipes[2], other;
	struct herd_record *r = herd_record_new(HERD_RECORD_SERVER), *got = NULL;
	char byte = 'x';

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(pipe(pipes), 0);
	other = dup(pipes[0]);
	herd_record_text(r, "a", "b");
	herd_record_fd(r, pipes[1]);
	herd_record_fd(r, other);
	assert_int_equal(herd_record_send(pair[0], r), 0);
	herd_record_free(r);
	r = herd_record_new(HERD_RECORD_END);
	assert_int_equal(herd_record_send(pair[0], r), 0);
	herd_record_free(r);
	assert_int_equal(herd_record_recv(pair[1], &got), 0);
	assert_int_equal(got->type, HERD_RECORD_SERVER);
	assert_int_equal(got->nfds, 2);
	assert_string_equal(herd_record_str(got, "a"), "b");
	assert_int_equal(write(got->fds[0], &byte, 1), 1);
	byte = 0;
	assert_int_equal(read(pipes[0], &byte, 1), 1);
	assert_int_equal(byte, 'x');
	herd_record_free(got);
	assert_int_equal(herd_record_recv(pair[1], &got), 0);
	assert_int_equal(got->type, HERD_RECORD_END);
	assert_int_equal(got->nfds, 0);
	herd_record_free(got);
	/* The end, and the end in the midst of a record. */
	assert_int_equal(send(pair[0],
			      "\0\0\0\x09\x06"
			      "abc",
			      8, 0),
			 8);
	close(pair[0]);
	assert_int_equal(herd_record_recv(pair[1], &got), -EPIPE);
	assert_int_equal(herd_record_recv(pair[1], &got), -EPIPE);
	close(pair[1]);
	close(pipes[0]);
}

static void too_long(void **state)
{
	int pair[2];
	struct herd_record *got = NULL;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(send(pair[0], "\xff\xff\xff\xff\x06", 5, 0), 5);
	assert_int_equal(herd_record_recv(pair[1], &got), -EBADMSG);
	close(pair[0]);
	close(pair[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fields),
		cmocka_unit_test(garbage_ends_the_walk),
		cmocka_unit_test(travels),
		cmocka_unit_test(too_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
