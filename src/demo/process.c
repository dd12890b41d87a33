#include "demo/process.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/str.h"

/* Start time (field 22 of /proc/PID/stat), so that a reused pid is not taken for ours; 0: gone. */
static unsigned long long start_time(pid_t pid)
{
	char *path = herd_str_printf("/proc/%d/stat", (int)pid);
	FILE *f = path ? fopen(path, "re") : NULL;
	char line[4096]; /* one line of fixed fields; a command name has 15 bytes at most */
	unsigned long long start = 0;

	free(path);
	if (!f)
		return 0;
	if (fgets(line, sizeof(line), f)) {
		char *p = strrchr(line, ')');
		char state = 0;

		if (!p ||
		    sscanf(p + 1,
			   " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d "
			   "%*d %*d %*d %*d %llu",
			   &state, &start) != 2 ||
		    state == 'Z')
			start = 0;
	}
	fclose(f);
	return start;
}

static int read_pid(const struct demo *d, const char *name, pid_t *pid, unsigned long long *start)
{
	char *path = demo_path(d, "run/%s.pid", name);
	FILE *f = fopen(path, "re");
	int n = 0, value = 0;

	free(path);
	if (!f)
		return -ENOENT;
	n = fscanf(f, "%d %llu", &value, start);
	fclose(f);
	*pid = value;
	return n == 2 && value > 0 ? 0 : -EINVAL;
}

pid_t demo_running(const struct demo *d, const char *name)
{
	unsigned long long start;
	pid_t pid;

	if (read_pid(d, name, &pid, &start) < 0 || start_time(pid) != start)
		return 0;
	return pid;
}

/* In the grandchild: detach, redirect, execute; a failure goes to the parent through fd. */
static _Noreturn void become(const char *const *argv, const char *log, int fd)
{
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int out = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (null < 0 || out < 0 || dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0)
		goto failed;
	signal(SIGINT, SIG_DFL);
	signal(SIGPIPE, SIG_DFL);
	execvp(argv[0], (char *const *)argv);
failed:;
	int code = errno;

	if (write(fd, &code, sizeof(code)) < 0)
		_exit(126);
	_exit(127);
}

static int write_pid(const struct demo *d, const char *name, pid_t pid, struct herd_err *err)
{
	char *path = demo_path(d, "run/%s.pid", name);
	char *text = herd_str_printf("%d %llu\n", (int)pid, start_time(pid));
	int rc = text ? demo_write_file(path, text, err)
		      : herd_err_set(err, -ENOMEM, "out of memory");

	free(text);
	free(path);
	return rc;
}

int demo_start(const struct demo *d, const char *name, const char *const *argv,
	       struct herd_err *err)
{
	char *log = demo_path(d, "log/%s.log", name);
	int fds[2], code = 0;
	pid_t pid = -1;

	if (pipe2(fds, O_CLOEXEC) < 0) {
		free(log);
		return herd_err_set(err, -errno, "could not create a pipe: %s", strerror(errno));
	}
	pid_t middle = fork();

	if (middle == 0) {
		setsid();
		pid_t child = fork();

		if (child == 0)
			become(argv, log, fds[1]);
		/* The pid goes first, the errno of a failed execvp after it. */
		_exit(write(fds[1], &child, sizeof(child)) == sizeof(child) ? 0 : 1);
	}
	free(log);
	close(fds[1]);
	if (middle > 0)
		waitpid(middle, NULL, 0);
	/* The two writers may come in either order only when execvp fails; pids are never 0..127.
	 */
	int words[2] = { 0, 0 };
	ssize_t got = 0, n;

	while (got < (ssize_t)sizeof(words) &&
	       (n = read(fds[0], (char *)words + got, sizeof(words) - (size_t)got)) > 0)
		got += n;
	close(fds[0]);
	if (got >= (ssize_t)sizeof(words))
		code = words[0] < words[1] ? words[0] : words[1];
	pid = words[0] > words[1] ? words[0] : words[1];
	if (middle < 0 || pid <= 0)
		return herd_err_set(err, -EAGAIN, "could not start a process for %s", name);
	if (code)
		return herd_err_set(err, -code, "could not execute \"%s\": %s", argv[0],
				    strerror(code));
	return write_pid(d, name, pid, err);
}

char *demo_capture(const char *const *argv)
{
	struct herd_buf out = { 0 };
	int fds[2], status = -1;
	char chunk[4096];
	ssize_t n;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return NULL;
	pid_t pid = fork();

	if (pid == 0) {
		int null = open("/dev/null", O_RDWR | O_CLOEXEC);

		dup2(null, 0);
		dup2(fds[1], 1);
		dup2(null, 2);
		execv(argv[0], (char *const *)argv);
		_exit(127);
	}
	close(fds[1]);
	while (pid > 0 && (n = read(fds[0], chunk, sizeof(chunk))) != 0) {
		if (n > 0)
			herd_buf_add(&out, chunk, (size_t)n);
		else if (errno != EINTR)
			break;
	}
	close(fds[0]);
	if (pid > 0)
		waitpid(pid, &status, 0);
	if (status != 0) {
		herd_buf_free(&out);
		return NULL;
	}
	return herd_buf_steal(&out);
}

void demo_signal(const struct demo *d, const char *name, int signo)
{
	pid_t pid = demo_running(d, name);

	if (pid > 0)
		kill(pid, signo);
}

void demo_wait_gone(const struct demo *d, const char *name, int timeout_ms)
{
	char *path = demo_path(d, "run/%s.pid", name);
	pid_t pid = demo_running(d, name);
	int fd = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;

	if (fd >= 0) {
		struct pollfd p = { .fd = fd, .events = POLLIN };

		if (poll(&p, 1, timeout_ms) == 0) {
			kill(pid, SIGKILL);
			poll(&p, 1, 5000);
		}
		close(fd);
	}
	unlink(path);
	free(path);
}

/* True when the process works below the directory: PostgreSQL's all chdir to their data directory.
 */
static bool lives_below(const char *pid, const char *dir)
{
	char *path = herd_str_printf("/proc/%s/cwd", pid);
	char target[4096]; /* PATH_MAX; a longer one is cut and does not match */
	ssize_t n = path ? readlink(path, target, sizeof(target) - 1) : -1;

	free(path);
	if (n <= 0)
		return false;
	target[n] = '\0';
	size_t len = strlen(dir);

	return strncmp(target, dir, len) == 0 && target[len] == '/';
}

void demo_kill_leftovers(const struct demo *d)
{
	char *data = demo_path(d, "data");

	/* A second look finds those that were being forked during the first. */
	for (int round = 0; round < 2; round++) {
		DIR *proc = opendir("/proc");
		struct dirent *e;

		while (proc && (e = readdir(proc))) {
			if (e->d_name[0] >= '1' && e->d_name[0] <= '9' &&
			    lives_below(e->d_name, data))
				kill((pid_t)atoi(e->d_name), SIGKILL);
		}
		if (proc)
			closedir(proc);
		usleep(20000);
	}
	free(data);
}

bool demo_port_free(int port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return false;
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	bool ok = bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0;

	close(fd);
	return ok;
}

char *demo_log_tail(const struct demo *d, const char *name, int lines)
{
	char *path = demo_path(d, "log/%s.log", name);
	FILE *f = fopen(path, "re");
	char buf[4097]; /* the last 4 kB hold more lines than anybody asks for */
	size_t n = 0;

	free(path);
	if (f) {
		if (fseek(f, -4096, SEEK_END) < 0)
			rewind(f);
		n = fread(buf, 1, sizeof(buf) - 1, f);
		fclose(f);
	}
	buf[n] = '\0';
	char *p = buf + n;

	while (p > buf) {
		if (p[-1] == '\n' && p != buf + n && lines-- <= 1)
			break;
		p--;
	}
	return herd_str_dup(p);
}
