/* The guard on processes that look like PostgreSQL's: called postgres, working in the directory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent/guard.h"
#include "agent/guard_page.h"

static struct herd_helper *helper;

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

		if (herd_guard_start(helper, dir, &g, NULL) < 0)
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

/* Files of guards that name dir. */
static int pages(const char *dir)
{
	glob_t g = { 0 };
	int n = 0;

	glob("/dev/shm/pgherd-guard.*", 0, NULL, &g);
	for (size_t i = 0; i < g.gl_pathc; i++) {
		char text[4096] = "";
		FILE *f = fopen(g.gl_pathv[i], "r");

		if (!f)
			continue;
		if (fread(text, 1, sizeof(text), f) == sizeof(text) &&
		    memmem(text, sizeof(text), dir, strlen(dir)))
			n++;
		fclose(f);
	}
	globfree(&g);
	return n;
}

static bool wait_pages(const char *dir, int n)
{
	for (int i = 0; i < 1000 && pages(dir) != n; i++)
		usleep(10000);
	return pages(dir) == n;
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
	assert_int_equal(herd_guard_start(helper, dir, &g, NULL), 0);
	assert_true(herd_guard_armed(g));
	herd_guard_arm(g, pm, now_ms() + 60000);
	usleep(1200000);
	assert_int_equal(waitpid(pm, &status, WNOHANG), 0);
	assert_int_equal(herd_guard_fired(g), 0);
	/* And its guard acts. */
	herd_guard_arm(g, pm, now_ms() + 100);
	assert_int_equal(waitpid(pm, &status, 0), pm);
	herd_guard_disarm(g);
	herd_guard_free(g);
	assert_int_equal(pages(dir), 0);
	rmdir(dir);
}

static void test_disarmed(void **state)
{
	char dir[] = "/tmp/herd-guard-XXXXXX";
	struct herd_guard *g = NULL;
	int status;

	assert_non_null(mkdtemp(dir));
	pid_t pm = fake_postgres(dir, false);

	assert_int_equal(herd_guard_start(helper, dir, &g, NULL), 0);
	herd_guard_arm(g, pm, now_ms() + 300);
	herd_guard_disarm(g);
	usleep(900000);
	assert_int_equal(waitpid(pm, &status, WNOHANG), 0);
	herd_guard_free(g);
	assert_int_equal(pages(dir), 0);
	end(pm);
	rmdir(dir);
}

/* What an agent that was stopped in the middle starts after the deadline must end, too. */
static void test_late_start(void **state)
{
	char dir[] = "/tmp/herd-guard-XXXXXX";
	struct herd_guard *g = NULL;
	int status;

	assert_non_null(mkdtemp(dir));
	assert_int_equal(herd_guard_start(helper, dir, &g, NULL), 0);
	herd_guard_arm(g, 0, now_ms() + 50);
	usleep(300000);
	pid_t pm = fake_postgres(dir, true);

	assert_int_equal(waitpid(pm, &status, 0), pm);
	assert_int_equal(WTERMSIG(status), SIGKILL);
	/* Until it says that all is well. */
	herd_guard_disarm(g);
	usleep(100000);
	pm = fake_postgres(dir, true);
	usleep(1500000);
	assert_int_equal(waitpid(pm, &status, WNOHANG), 0);
	end(pm);
	herd_guard_free(g);
	rmdir(dir);
}

/* A pid that was used again is not the postmaster's. */
static void test_recycled_pid(void **state)
{
	char dir[] = "/tmp/herd-guard-XXXXXX";
	struct herd_guard *g = NULL;
	int status;

	assert_non_null(mkdtemp(dir));
	pid_t other = fake_postgres("/", false);

	assert_int_equal(herd_guard_start(helper, dir, &g, NULL), 0);
	herd_guard_arm(g, other, now_ms() + 60000);
	((struct herd_guard_page *)herd_guard_page(g))->postmaster_start += 1;
	herd_guard_arm(g, other, now_ms() + 50);
	while (!herd_guard_fired(g))
		usleep(10000);
	assert_int_equal(waitpid(other, &status, WNOHANG), 0);
	end(other);
	herd_guard_disarm(g);
	herd_guard_free(g);
	rmdir(dir);
}

/* A dead agent's page goes: at once when nothing is to be watched, else after the guard acted. */
static void test_cleanup(void **state)
{
	char dir[] = "/tmp/herd-guard-XXXXXX";
	int status;

	assert_non_null(mkdtemp(dir));
	pid_t agent = fake_agent(dir, 0, 0);

	assert_int_equal(pages(dir), 1);
	end(agent);
	assert_true(wait_pages(dir, 0));
	pid_t pm = fake_postgres(dir, false);

	agent = fake_agent(dir, pm, now_ms() + 400);
	end(agent);
	assert_int_equal(waitpid(pm, &status, 0), pm);
	assert_true(wait_pages(dir, 0));
	rmdir(dir);
}

/* An agent that ends in order, but leaves a deadline: the guard stays for it. */
static void test_armed_at_the_end(void **state)
{
	char dir[] = "/tmp/herd-guard-XXXXXX";
	int status;

	assert_non_null(mkdtemp(dir));
	pid_t pm = fake_postgres(dir, false);
	pid_t agent = fork();

	if (agent == 0) {
		struct herd_guard *g = NULL;

		if (herd_guard_start(helper, dir, &g, NULL) < 0)
			_exit(1);
		herd_guard_arm(g, pm, now_ms() + 400);
		herd_guard_free(g);
		_exit(0);
	}
	assert_int_equal(waitpid(agent, &status, 0), agent);
	assert_int_equal(waitpid(pm, &status, 0), pm);
	assert_int_equal(WTERMSIG(status), SIGQUIT);
	assert_true(wait_pages(dir, 0));
	rmdir(dir);
}

static void test_restart(void **state)
{
	char dir[] = "/tmp/herd-guard-XXXXXX";
	struct herd_guard *g = NULL;
	int status;

	assert_non_null(mkdtemp(dir));
	pid_t pm = fake_postgres(dir, false);

	assert_int_equal(herd_guard_start(helper, dir, &g, NULL), 0);
	herd_guard_arm(g, pm, now_ms() + 60000);
	kill(herd_guard_pid(g), SIGKILL);
	assert_int_equal(herd_guard_restart(g, NULL), 0);
	/* A stopped one is replaced as well, and does nothing when it goes on. */
	kill(herd_guard_pid(g), SIGSTOP);
	assert_int_equal(herd_guard_restart(g, NULL), 0);
	assert_int_equal(waitpid(pm, &status, WNOHANG), 0);
	herd_guard_arm(g, pm, now_ms() + 50);
	assert_int_equal(waitpid(pm, &status, 0), pm);
	herd_guard_disarm(g);
	herd_guard_free(g);
	rmdir(dir);
}

/* What somebody else has put in the place of the page is not taken. */
static void test_foreign_file(void **state)
{
	char dir[] = "/tmp/herd-guard-XXXXXX";
	char target[] = "/dev/shm/herd-target-XXXXXX"; /* hard links stay on a file system */
	struct herd_err err = HERD_ERR_INIT;
	struct herd_guard *g = NULL;
	struct stat st;

	assert_non_null(mkdtemp(dir));
	close(mkstemp(target));
	assert_int_equal(herd_guard_start(helper, dir, &g, NULL), 0);
	char *path = strdup(herd_guard_file(g));

	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	herd_guard_free(g);
	g = NULL;
	assert_int_equal(symlink(target, path), 0);
	assert_true(herd_guard_start(helper, dir, &g, &err) < 0);
	assert_non_null(strstr(herd_err_text(&err), path));
	herd_err_clear(&err);
	unlink(path);
	assert_int_equal(link(target, path), 0);
	assert_true(herd_guard_start(helper, dir, &g, &err) < 0);
	herd_err_clear(&err);
	unlink(path);
	assert_int_equal(stat(target, &st), 0);
	assert_int_equal(st.st_size, 0);
	unlink(target);
	free(path);
	rmdir(dir);
}

/* Both ways to run it: its own program, and a fork where that may not be executed. */
static int set_helper(void **state)
{
	helper = herd_helper_new(false);
	return helper ? 0 : -1;
}

static int set_fork(void **state)
{
	helper = herd_helper_new(true);
	return helper ? 0 : -1;
}

static int drop_helper(void **state)
{
	herd_helper_free(helper);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hung_agent),       cmocka_unit_test(test_successor),
		cmocka_unit_test(test_disarmed),         cmocka_unit_test(test_late_start),
		cmocka_unit_test(test_recycled_pid),     cmocka_unit_test(test_cleanup),
		cmocka_unit_test(test_armed_at_the_end), cmocka_unit_test(test_restart),
		cmocka_unit_test(test_foreign_file),
	};
	const struct CMUnitTest forked[] = {
		cmocka_unit_test(test_hung_agent),
		cmocka_unit_test(test_successor),
		cmocka_unit_test(test_restart),
	};

	return cmocka_run_group_tests(tests, set_helper, drop_helper) +
	       cmocka_run_group_tests(forked, set_fork, drop_helper);
}
