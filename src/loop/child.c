#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "loop/internal.h"
#include "loop/loop.h"

enum {
	MAX_OUTPUT = 1 << 20, /* of a longer output the end is kept */
	KILL_AFTER_MS = 5000,
	ERROR_FD = 3 /* in the child: tells the parent why it could not run the program */
};

struct herd_child {
	struct herd_list node;
	struct herd_loop *loop;
	pid_t pid; /* 0 once it is reaped */
	struct herd_pidwatch *watch;
	struct herd_timer *timer;
	bool terminated; /* SIGTERM was sent because time is over */
	bool finishing;  /* inside the callback */
	int out_fd;
	struct herd_io *out;
	struct herd_buf output;
	herd_child_fn fn; /* NULL: abandoned */
	void *arg;
};

static void child_free(struct herd_child *c)
{
	herd_list_remove(&c->node);
	herd_pidwatch_free(c->watch);
	herd_timer_free(c->timer);
	herd_io_free(c->out);
	if (c->out_fd >= 0)
		close(c->out_fd);
	herd_buf_free(&c->output);
	free(c);
}

void herd_children_forget(struct herd_loop *l)
{
	while (!herd_list_empty(&l->children))
		child_free(herd_container_of(l->children.next, struct herd_child, node));
}

/* Takes what the pipe holds now; it is not blocking. */
static void read_output(struct herd_child *c)
{
	for (;;) {
		if (c->output.len > MAX_OUTPUT)
			herd_buf_consume(&c->output, c->output.len - MAX_OUTPUT / 2);
		if (!herd_buf_reserve(&c->output, BUFSIZ))
			return;
		ssize_t n = read(c->out_fd, c->output.data + c->output.len, BUFSIZ);

		if (n <= 0) {
			if (n < 0 && errno == EINTR)
				continue;
			if (n == 0 || errno != EAGAIN)
				herd_io_want(c->out, 0);
			return;
		}
		c->output.len += (size_t)n;
		c->output.data[c->output.len] = '\0';
	}
}

static void on_output(void *arg, int events)
{
	read_output(arg);
}

/*
 * The end of the process is what counts, not the end of its output: a daemon that it left behind
 * may hold the pipe for ever.
 */
static void on_exit_of_child(void *arg, pid_t pid)
{
	struct herd_child *c = arg;
	int status = 0;

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	c->pid = 0;
	if (c->out)
		read_output(c);
	c->finishing = true;
	if (c->fn)
		c->fn(c->arg, status, herd_buf_str(&c->output), c->output.len);
	child_free(c);
}

static void on_timeout(void *arg)
{
	struct herd_child *c = arg;

	herd_child_signal(c, c->terminated ? SIGKILL : SIGTERM);
	if (!c->terminated)
		herd_timer_set(c->timer, KILL_AFTER_MS);
	c->terminated = true;
}

/* Runs in the child, between fork and exec: nothing but system calls. Does not return. */
static void exec_child(const struct herd_child_opts *o, const int fds[4], pid_t parent)
{
	struct sigaction dfl = { .sa_handler = SIG_DFL };
	sigset_t none;
	int e;

	sigemptyset(&none);
	for (int signo = 1; signo < NSIG; signo++)
		sigaction(signo, &dfl, NULL);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid();
	/* The parent may have died before prctl: then nobody would send the signal. */
	if (o->die_with_parent && (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent))
		_exit(127);
	if (o->cwd && chdir(o->cwd) != 0)
		goto failed;
	for (int fd = 0; fd <= ERROR_FD; fd++)
		if (dup2(fds[fd], fd) < 0)
			goto failed;
	fcntl(ERROR_FD, F_SETFD, FD_CLOEXEC);
	syscall(SYS_close_range, ERROR_FD + 1, ~0U, 0);
	execvpe(o->argv[0], (char *const *)o->argv, o->env ? (char *const *)o->env : environ);
failed:
	e = errno;
	if (write(fds[ERROR_FD], &e, sizeof(e)) != sizeof(e) &&
	    write(ERROR_FD, &e, sizeof(e)) != sizeof(e))
		_exit(126);
	_exit(127);
}

/* A file in memory rather than a pipe: the child reads it at its own pace, we never block. */
static int open_input(const char *input)
{
	if (!input)
		return open("/dev/null", O_RDONLY | O_CLOEXEC);
	int fd = memfd_create("stdin", MFD_CLOEXEC);
	size_t len = strlen(input);

	if (fd < 0)
		return -1;
	if (write(fd, input, len) == (ssize_t)len && lseek(fd, 0, SEEK_SET) == 0)
		return fd;
	close(fd);
	return -1;
}

/* Above the numbers that dup2 in the child writes to, so that no source is overwritten. */
static int lift(int fd)
{
	int high = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, ERROR_FD + 1);

	if (fd >= 0)
		close(fd);
	return high;
}

struct pipes {
	int input, out_read, out_write, err_read, err_write;
};

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void pipes_close(struct pipes *p)
{
	close_fd(&p->input);
	close_fd(&p->out_read);
	close_fd(&p->out_write);
	close_fd(&p->err_read);
	close_fd(&p->err_write);
}

static int pipes_open(const struct herd_child_opts *o, struct pipes *p)
{
	int fds[2];

	*p = (struct pipes){ -1, -1, -1, -1, -1 };
	if ((p->input = lift(open_input(o->input))) < 0)
		goto failed;
	if (pipe2(fds, O_CLOEXEC) != 0)
		goto failed;
	p->err_read = fds[0];
	if ((p->err_write = lift(fds[1])) < 0)
		goto failed;
	if (o->output_fd >= 0) {
		p->out_write = fcntl(o->output_fd, F_DUPFD_CLOEXEC, ERROR_FD + 1);
	} else {
		if (pipe2(fds, O_CLOEXEC) != 0)
			goto failed;
		p->out_read = fds[0];
		p->out_write = lift(fds[1]);
		fcntl(p->out_read, F_SETFL, O_NONBLOCK);
	}
	if (p->out_write < 0)
		goto failed;
	return 0;
failed:;
	int e = errno;

	pipes_close(p);
	return -e;
}

/* Forks and waits until the program runs (or cannot). The pid, or a negative errno. */
static pid_t spawn(const struct herd_child_opts *o, struct pipes *p)
{
	const int fds[4] = { p->input, p->out_write, p->out_write, p->err_write };
	pid_t parent = getpid(), pid = fork();
	int child_errno;
	ssize_t n;

	if (pid < 0)
		return -errno;
	if (pid == 0)
		exec_child(o, fds, parent);
	close_fd(&p->err_write);
	do
		n = read(p->err_read, &child_errno, sizeof(child_errno));
	while (n < 0 && errno == EINTR);
	if (n != sizeof(child_errno))
		return pid;
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return -child_errno;
}

static int watch_child(struct herd_child *c, const struct herd_child_opts *o)
{
	int rc = herd_pidwatch_new(c->loop, c->pid, on_exit_of_child, c, &c->watch);

	if (rc < 0)
		return rc;
	if (c->out_fd >= 0) {
		c->out = herd_io_new(c->loop, c->out_fd, on_output, c);
		if (!c->out)
			return -ENOMEM;
		herd_io_want(c->out, HERD_IO_READ);
	}
	if (o->timeout_ms > 0) {
		c->timer = herd_timer_new(c->loop, on_timeout, c);
		if (!c->timer)
			return -ENOMEM;
		herd_timer_set(c->timer, o->timeout_ms);
	}
	return 0;
}

int herd_child_start(struct herd_loop *l, const struct herd_child_opts *opts, herd_child_fn fn,
		     void *arg, struct herd_child **ret, struct herd_err *err)
{
	struct herd_child *c = calloc(1, sizeof(*c));
	struct pipes p;
	int rc;

	if (!c)
		return herd_err_set(err, -ENOMEM, "out of memory");
	herd_list_init(&c->node);
	c->out_fd = -1;
	c->loop = l;
	c->fn = fn;
	c->arg = arg;
	rc = pipes_open(opts, &p);
	if (rc == 0) {
		pid_t pid = spawn(opts, &p);

		if (pid > 0) {
			c->pid = pid;
			c->out_fd = p.out_read;
			p.out_read = -1;
			rc = watch_child(c, opts);
		} else {
			rc = pid;
		}
		pipes_close(&p);
	}
	if (rc < 0) {
		if (c->pid > 0) {
			kill(-c->pid, SIGKILL);
			waitpid(c->pid, NULL, 0);
		}
		child_free(c);
		return herd_err_set(err, rc, "could not run \"%s\": %s", opts->argv[0],
				    strerror(-rc));
	}
	herd_list_push_back(&l->children, &c->node);
	if (ret)
		*ret = c;
	return 0;
}

pid_t herd_child_pid(const struct herd_child *c)
{
	return c->pid;
}

void herd_child_signal(struct herd_child *c, int signo)
{
	if (c->pid > 0)
		kill(-c->pid, signo);
}

void herd_child_abandon(struct herd_child *c)
{
	if (!c || c->finishing)
		return;
	herd_child_signal(c, SIGKILL);
	c->fn = NULL;
}
