#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pg/private.h"

enum { REPORT_FD = 3 };

/* What the children tell through the pipe: first the pid, then perhaps why exec failed. */
struct report {
	pid_t pid;
	int error;
};

static void report(int fd, pid_t pid, int error)
{
	struct report r = { pid, error };

	if (write(fd, &r, sizeof(r)) != (ssize_t)sizeof(r))
		_exit(126);
}

static void reset_signals(void)
{
	struct sigaction dfl = { .sa_handler = SIG_DFL };
	sigset_t none;

	sigemptyset(&none);
	for (int signo = 1; signo < NSIG; signo++)
		sigaction(signo, &dfl, NULL);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* In the grandchild: only system calls from here on. */
static void become(const char *const *argv, char *const *env, int null_fd, int log_fd, int pipe_fd)
{
	/* The sources are above REPORT_FD, so no dup2 overwrites one that is still needed. */
	if (dup2(null_fd, 0) < 0 || (log_fd >= 0 && (dup2(log_fd, 1) < 0 || dup2(log_fd, 2) < 0)) ||
	    dup2(pipe_fd, REPORT_FD) < 0)
		_exit(126);
	fcntl(REPORT_FD, F_SETFD, FD_CLOEXEC);
	syscall(SYS_close_range, REPORT_FD + 1, ~0U, 0);
	umask(077);
	execvpe(argv[0], (char *const *)argv, env);
	report(REPORT_FD, 0, errno);
	_exit(127);
}

static void fork_twice(const char *const *argv, char *const *env, int null_fd, int log_fd,
		       int pipe_fd)
{
	pid_t pid;

	reset_signals();
	setsid(); /* so that no terminal's signal reaches the postmaster */
	pid = fork();
	if (pid == 0)
		become(argv, env, null_fd, log_fd, pipe_fd);
	report(pipe_fd, pid, pid < 0 ? errno : 0);
	_exit(0);
}

static bool read_report(int fd, struct report *r)
{
	ssize_t n;

	do
		n = read(fd, r, sizeof(*r));
	while (n < 0 && errno == EINTR);
	return n == (ssize_t)sizeof(*r);
}

/* The order of the two reports is open: grandchild and child write on their own. */
static int collect(int fd, pid_t *ret)
{
	struct report r;
	pid_t pid = 0;
	int error = 0;

	while (read_report(fd, &r)) {
		if (r.pid > 0)
			pid = r.pid;
		else
			error = r.error;
	}
	if (error != 0)
		return -error;
	*ret = pid;
	return pid > 0 ? 0 : -EIO;
}

static int lift(int fd)
{
	int high = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, REPORT_FD + 1) : -1;

	if (fd >= 0)
		close(fd);
	return high;
}

int herd_pg_spawn(const char *const *argv, char *const *env, int log_fd, pid_t *ret,
		  struct herd_err *err)
{
	int fds[2] = { -1, -1 }, null_fd = lift(open("/dev/null", O_RDONLY | O_CLOEXEC));
	int log_copy = log_fd >= 0 ? fcntl(log_fd, F_DUPFD_CLOEXEC, REPORT_FD + 1) : -1;
	int rc = null_fd < 0 || (log_fd >= 0 && log_copy < 0) || pipe2(fds, O_CLOEXEC) < 0 ? -errno
											   : 0;
	pid_t child;

	if (rc == 0) {
		fds[1] = lift(fds[1]);
		child = fds[1] >= 0 ? fork() : -1;
		if (child == 0)
			fork_twice(argv, env, null_fd, log_copy, fds[1]);
		rc = child < 0 ? -errno : 0;
		if (fds[1] >= 0)
			close(fds[1]);
		if (rc == 0) {
			rc = collect(fds[0], ret);
			while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
				;
		}
		close(fds[0]);
	}
	if (null_fd >= 0)
		close(null_fd);
	if (log_copy >= 0)
		close(log_copy);
	if (rc < 0)
		herd_err_set(err, rc, "could not run \"%s\": %s", argv[0], strerror(-rc));
	return rc;
}
