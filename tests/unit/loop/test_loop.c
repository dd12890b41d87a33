#include "loop/loop.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { LONG_MS = 20000 };

struct seen {
	bool done;
	int status;
	char *output;
	size_t len;
	struct herd_timer *timer;
	struct herd_child *child;
	char order[8];
};

static int setup(void **state)
{
	*state = herd_loop_new();
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	herd_loop_free(*state);
	return 0;
}

static void add_a(void *arg)
{
	strcat(((struct seen *)arg)->order, "a");
}

static void add_b_and_free(void *arg)
{
	struct seen *s = arg;

	strcat(s->order, "b");
	herd_timer_free(s->timer);
	s->done = true;
}

static void timers(void **state)
{
	struct seen s = { 0 };
	struct herd_timer *a = herd_timer_new(*state, add_a, &s);
	struct herd_timer *never = herd_timer_new(*state, add_a, &s);

	s.timer = herd_timer_new(*state, add_b_and_free, &s);
	herd_timer_set(s.timer, 30);
	herd_timer_set(a, 60000);
	herd_timer_set(a, 1);
	herd_timer_set(never, 5);
	herd_timer_cancel(never);
	int64_t start = herd_now_ms();

	assert_true(herd_loop_run_until(*state, &s.done, LONG_MS));
	assert_true(herd_now_ms() - start >= 30);
	assert_string_equal(s.order, "ab");
	herd_timer_free(a);
	herd_timer_free(never);
}

static void gives_up(void **state)
{
	bool done = false;

	assert_false(herd_loop_run_until(*state, &done, 0));
	assert_false(herd_loop_run_until(*state, &done, 10));
}

static void on_io(void *arg, int events)
{
	struct seen *s = arg;

	s->status |= events;
	s->done = true;
}

static void descriptors(void **state)
{
	struct seen s = { 0 };
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	struct herd_io *r = herd_io_new(*state, fds[0], on_io, &s);

	herd_io_want(r, HERD_IO_READ);
	assert_false(herd_loop_run_until(*state, &s.done, 10));
	assert_int_equal(write(fds[1], "x", 1), 1);
	assert_true(herd_loop_run_until(*state, &s.done, LONG_MS));
	assert_int_equal(s.status, HERD_IO_READ);
	s.done = false;
	herd_io_want(r, 0);
	assert_false(herd_loop_run_until(*state, &s.done, 10));
	herd_io_free(r);
	close(fds[0]);
	close(fds[1]);
}

static void on_signal(void *arg, int signo)
{
	on_io(arg, signo);
}

static void signals(void **state)
{
	struct seen s = { 0 };
	struct herd_signal *sig = herd_signal_new(*state, SIGUSR1, on_signal, &s);

	kill(getpid(), SIGUSR1);
	assert_true(herd_loop_run_until(*state, &s.done, LONG_MS));
	assert_int_equal(s.status, SIGUSR1);
	herd_signal_free(sig);
}

static void on_pid(void *arg, pid_t pid)
{
	on_io(arg, pid);
}

static void pidwatch(void **state)
{
	struct seen s = { 0 };
	struct herd_pidwatch *w = NULL;
	pid_t pid = fork();

	if (pid == 0) {
		pause();
		_exit(0);
	}
	assert_int_equal(herd_pidwatch_new(*state, pid, on_pid, &s, &w), 0);
	assert_false(herd_loop_run_until(*state, &s.done, 10));
	kill(pid, SIGKILL);
	assert_true(herd_loop_run_until(*state, &s.done, LONG_MS));
	assert_int_equal(s.status, pid);
	herd_pidwatch_free(w);
	waitpid(pid, NULL, 0);
	assert_int_equal(herd_pidwatch_new(*state, pid, on_pid, &s, &w), -ESRCH);
}

static void on_child(void *arg, int status, const char *output, size_t len)
{
	struct seen *s = arg;

	s->status = status;
	s->output = strdup(output);
	s->len = len;
	s->done = true;
	/* Allowed, and has no effect any more. */
	herd_child_abandon(s->child);
}

static void run(void **state, const char *script, const struct herd_child_opts *more,
		struct seen *s)
{
	struct herd_child_opts o = *more;
	const char *argv[] = { "sh", "-c", script, NULL };
	struct herd_err err = HERD_ERR_INIT;

	o.argv = argv;
	if (!o.output_fd)
		o.output_fd = -1;
	assert_int_equal(herd_child_start(*state, &o, on_child, s, &s->child, &err), 0);
	assert_true(herd_child_pid(s->child) > 0);
	assert_true(herd_loop_run_until(*state, &s->done, LONG_MS));
}

static void child_output(void **state)
{
	const char *env[] = { "PATH=/usr/bin:/bin", "A=b", NULL };
	struct herd_child_opts o = { .input = "hello", .cwd = "/tmp", .env = env };
	struct seen s = { 0 };

	run(state, "cat; echo \" $A $PWD\"; echo err >&2; ls /proc/self/fd | wc -l; exit 3", &o,
	    &s);
	assert_true(WIFEXITED(s.status));
	assert_int_equal(WEXITSTATUS(s.status), 3);
	/* ls sees 0, 1, 2 and the directory it reads. */
	assert_string_equal(s.output, "hello b /tmp\nerr\n4\n");
	free(s.output);
}

/* Something that stays behind and holds the pipe does not delay the end. */
static void child_daemon(void **state)
{
	struct herd_child_opts o = { 0 };
	struct seen s = { 0 };
	int64_t start = herd_now_ms();

	run(state, "sleep 30 & echo $!", &o, &s);
	assert_true(herd_now_ms() - start < 15000);
	kill((pid_t)strtol(s.output, NULL, 10), SIGKILL);
	free(s.output);
}

static void child_long_output(void **state)
{
	struct herd_child_opts o = { 0 };
	struct seen s = { 0 };

	run(state, "yes aaaaaaa | head -c 3000000; printf end", &o, &s);
	assert_true(s.len <= (1 << 20) + 65536);
	assert_string_equal(s.output + s.len - 3, "end");
	free(s.output);
}

static void child_timeout(void **state)
{
	struct herd_child_opts o = { .timeout_ms = 50 };
	struct seen s = { 0 };

	run(state, "sleep 100", &o, &s);
	assert_true(WIFSIGNALED(s.status));
	assert_int_equal(WTERMSIG(s.status), SIGTERM);
	free(s.output);
}

static void child_missing(void **state)
{
	const char *argv[] = { "/nonexistent/program", NULL };
	struct herd_child_opts o = { .argv = argv, .output_fd = -1 };
	struct herd_err err = HERD_ERR_INIT;

	assert_int_equal(herd_child_start(*state, &o, on_child, NULL, NULL, &err), -ENOENT);
	assert_string_equal(herd_err_text(&err),
			    "could not run \"/nonexistent/program\": No such file or directory");
	herd_err_clear(&err);
}

static void child_abandoned(void **state)
{
	const char *argv[] = { "sleep", "100", NULL };
	struct herd_child_opts o = { .argv = argv, .output_fd = -1 };
	struct herd_child *c = NULL;
	bool done = false;

	assert_int_equal(herd_child_start(*state, &o, on_child, NULL, &c, NULL), 0);
	pid_t pid = herd_child_pid(c);

	herd_child_abandon(c);
	for (int i = 0; i < 1000 && kill(pid, 0) == 0; i++)
		herd_loop_run_until(*state, &done, 10);
	assert_int_equal(kill(pid, 0), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(timers, setup, teardown),
		cmocka_unit_test_setup_teardown(gives_up, setup, teardown),
		cmocka_unit_test_setup_teardown(descriptors, setup, teardown),
		cmocka_unit_test_setup_teardown(signals, setup, teardown),
		cmocka_unit_test_setup_teardown(pidwatch, setup, teardown),
		cmocka_unit_test_setup_teardown(child_output, setup, teardown),
		cmocka_unit_test_setup_teardown(child_daemon, setup, teardown),
		cmocka_unit_test_setup_teardown(child_long_output, setup, teardown),
		cmocka_unit_test_setup_teardown(child_timeout, setup, teardown),
		cmocka_unit_test_setup_teardown(child_missing, setup, teardown),
		cmocka_unit_test_setup_teardown(child_abandoned, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
