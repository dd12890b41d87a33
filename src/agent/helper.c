#include "agent/helper.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "helper_image.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

enum { FIRST_FD = 3, MOST_FDS = 4 };

struct herd_helper {
	int image; /* memfd that holds the program; -1: may not be executed */
};

static int open_image(void)
{
	size_t left = sizeof(helper_image), at = 0;
	int fd = memfd_create(HERD_HELPER_GUARD, MFD_CLOEXEC | MFD_EXEC);

	if (fd < 0 && errno == EINVAL) /* a kernel before 6.3: all may be executed */
		fd = memfd_create(HERD_HELPER_GUARD, MFD_CLOEXEC);
	while (fd >= 0 && left > 0) {
		ssize_t n = write(fd, helper_image + at, left);

		if (n <= 0) {
			close(fd);
			return -1;
		}
		at += (size_t)n;
		left -= (size_t)n;
	}
	return fd;
}

struct herd_helper *herd_helper_new(bool fork_only)
{
	struct herd_helper *h = malloc(sizeof(*h));

	if (h)
		h->image = fork_only ? -1 : open_image();
	return h;
}

void herd_helper_free(struct herd_helper *h)
{
	if (!h)
		return;
	if (h->image >= 0)
		close(h->image);
	free(h);
}

/* In the child. Sources lie above all targets, so that none is overwritten before it is used. */
static void become(const struct herd_helper *h, const char *const *argv, const int *fds, size_t n)
{
	struct sigaction dfl = { .sa_handler = SIG_DFL };
	char *const no_env[] = { NULL };
	int high[MOST_FDS + 1];
	int argc = 0;
	sigset_t none;

	for (int signo = 1; signo < NSIG; signo++)
		sigaction(signo, &dfl, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid();
	for (size_t i = 0; i < n; i++)
		high[i] = fcntl(fds[i], F_DUPFD, FIRST_FD + MOST_FDS + 1);
	high[n] = h->image < 0 ? -1 : fcntl(h->image, F_DUPFD, FIRST_FD + MOST_FDS + 1);
	for (size_t i = 0; i < n; i++)
		if (dup2(high[i], FIRST_FD + (int)i) < 0)
			_exit(126);
	int image = high[n] < 0 ? -1 : dup2(high[n], FIRST_FD + (int)n);

	syscall(SYS_close_range, FIRST_FD + n + (image >= 0), ~0U, 0);
	if (image >= 0) {
		fcntl(image, F_SETFD, FD_CLOEXEC);
		fexecve(image, (char *const *)argv, no_env);
		close(image);
	}
	while (argv[argc])
		argc++;
	_exit(herd_helper_main(argc, (char **)argv));
}

int herd_helper_spawn(struct herd_helper *h, const char *const *argv, const int *fds, size_t n,
		      pid_t *ret, struct herd_err *err)
{
	pid_t pid = n <= MOST_FDS ? fork() : -1;

	if (pid == 0)
		become(h, argv, fds, n);
	if (pid < 0)
		return herd_err_set(err, -errno, "could not start process \"%s\": %s", argv[0],
				    strerror(errno));
	*ret = pid;
	return 0;
}
