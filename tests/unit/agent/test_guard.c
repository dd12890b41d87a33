/* The guard on processes that look like PostgreSQL's: called postgres, working in the directory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent/guard.h"

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* deaf: ignores SIGQUIT, as a hung backend would. */
static pid_t fake_postgres(const char *dir, bool deaf)
{
	pid_t pid = fork();

	if (pid == 0) {
		signal(SIGQUIT, deaf ? SIG_IGN : SIG_DFL);
		if (chdir(dir) < 0)
			_exit(1);
		prctl(PR_SET_NAME, "postgres");
		for (;;)
			pause();
	}
	usleep(50000);
	return pid;
}

/* The guard as its own agent's child: fork, so that the agent may be stopped or killed. */
static pid_t fake_agent(const char *dir, pid_t pm, int64_t deadline_ms)
{
	int ready[2];
	char byte = 0;

	assert_int_equal(pipe(ready), 0);
	pid_t pid = fork();

	if (pid == 0) {
		struct herd_guard *g = NULL;

		if (herd_guard_start(dir, &g, NULL) < 0)
			_exit(1);
		herd_guard_arm(g, pm, deadline_ms);
		if (write(ready[1], &byte, 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	close(ready[1]);
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void test_hung_agent(void **state)
{
	char dir[] = "/tmp/herd-guard-XXXXXX";

	assert_non_null(mkdtemp(dir));
	pid_t pm = fake_postgres(dir, false);
	pid_t backend = fake_postgres(dir, true);
	pid_t other = fake_postgres("/", true);
	pid_t agent = fake_agent(dir, pm, now_ms() + 200);

	kill(agent, SIGSTOP);
	int status;

	assert_int_equal(waitpid(pm, &status, 0), pm);
	assert_int_equal(WTERMSIG(status), SIGQUIT);
	assert_int_equal(waitpid(backend, &status, 0), backend);
	assert_int_equal(WTERMSIG(status), SIGKILL);
	assert_int_equal(waitpid(other, &status, WNOHANG), 0);
	end(other);
	end(agent);
	rmdir(dir);
}

static void test_successor(void **state)
{
	char dir[] = "/tmp/herd-guard-XXXXXX";
	struct herd_guard *g = NULL;
	int status;

	assert_non_null(mkdtemp(dir));
	pid_t pm = fake_postgres(dir, false);
	pid_t agent = fake_agent(dir, pm, now_ms() + 700);

	usleep(200000);
	end(agent);
	/* A new agent in time: its renewals keep PostgreSQL alive past the first one's deadline. */
	assert_int_equal(herd_guard_start(dir, &g, NULL), 0);
	assert_true(herd_guard_armed(g));
	herd_guard_arm(g, pm, now_ms() + 60000);
	usleep(1200000);
	assert_int_equal(waitpid(pm, &status, WNOHANG), 0);
	assert_int_equal(herd_guard_fired(g), 0);
	/* And its guard acts. */
	herd_guard_arm(g, pm, now_ms() + 100);
	assert_int_equal(waitpid(pm, &status, 0), pm);
	herd_guard_free(g);
	rmdir(dir);
}

static void test_disarmed(void **state)
{
	char dir[] = "/tmp/herd-guard-XXXXXX";
	struct herd_guard *g = NULL;
	int status;

	assert_non_null(mkdtemp(dir));
	pid_t pm = fake_postgres(dir, false);

	assert_int_equal(herd_guard_start(dir, &g, NULL), 0);
	herd_guard_arm(g, pm, now_ms() + 300);
	herd_guard_disarm(g);
	usleep(900000);
	assert_int_equal(waitpid(pm, &status, WNOHANG), 0);
	herd_guard_free(g);
	end(pm);
	rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hung_agent),
		cmocka_unit_test(test_successor),
		cmocka_unit_test(test_disarmed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
