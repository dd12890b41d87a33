#include "agent/init.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"

/* Reaps all that have ended; ends with the worker. */
static void reap(pid_t worker, struct herd_log *log)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == worker)
			exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
		herd_info(log, "Reaped pid=%d, exit status=%d", (int)pid, status);
	}
	if (pid < 0 && errno == ECHILD)
		exit(1);
}

void herd_init_become(void)
{
	static const int passed_on[] = {
		SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGABRT, SIGUSR1, SIGUSR2
	};
	sigset_t set, before;
	struct herd_log *log;
	pid_t worker;

	if (getpid() != 1)
		return;
	/* Blocked, signals wait for us even as process 1, which ignores what it has no handler for.
	 */
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	for (size_t i = 0; i < sizeof(passed_on) / sizeof(passed_on[0]); i++)
		sigaddset(&set, passed_on[i]);
	sigprocmask(SIG_BLOCK, &set, &before);
	worker = fork();
	if (worker == 0) {
		sigprocmask(SIG_SETMASK, &before, NULL);
		return;
	}
	log = herd_log_new(2, HERD_LOG_PATRONI, HERD_LOG_INFO);
	if (worker < 0) {
		herd_error(log, "could not start: out of memory or processes");
		exit(1);
	}
	for (;;) {
		int signo = sigwaitinfo(&set, NULL);

		if (signo == SIGCHLD)
			reap(worker, log);
		else if (signo > 0)
			kill(worker, signo);
	}
}
