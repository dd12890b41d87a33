#define HERD_LOG_PART "pgherd.guard"
#include "agent/guard.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent/guard_page.h"
#include "base/buf.h"
#include "base/str.h"

#define READY_MS 2000
#define LOCK_BYTES (8 << 20)
#define HANGS_MS 5000

struct herd_guard {
	struct herd_helper *helper;
	char *data_dir;
	char *path;
	struct herd_guard_page *page;
	int fd;    /* of the page's file */
	int nudge; /* eventfd: a deadline is about to be set */
	pid_t pid; /* 0: none */
};

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Clock ticks since boot at which a process started, 0 when it is gone: tells recycled pids. */
static uint64_t start_ticks(pid_t pid)
{
	char path[40]; /* "/proc/<int>/stat" */
	char text[1024];
	ssize_t n;
	int fd;

	if (pid <= 0)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	/* The command may hold blanks and brackets: count from its last bracket. Field 22. */
	char *p = strrchr(text, ')');

	for (int field = 2; p && field < 22; field++)
		p = strchr(p + 1, ' ');
	return p ? strtoull(p + 1, NULL, 10) : 0;
}

/* --- limits ----------------------------------------------------------------------------------- */

int herd_guard_limits_allow(char **score)
{
	struct rlimit rl;
	char text[16]; /* a number of at most five characters */
	ssize_t n;
	int fd;

	*score = NULL;
	if (getrlimit(RLIMIT_RTPRIO, &rl) == 0 && rl.rlim_max < 1) {
		rl.rlim_max = 1;
		setrlimit(RLIMIT_RTPRIO, &rl);
	}
	if (getrlimit(RLIMIT_MEMLOCK, &rl) == 0 && rl.rlim_cur < LOCK_BYTES) {
		rl.rlim_cur = LOCK_BYTES;
		if (rl.rlim_max < LOCK_BYTES)
			rl.rlim_max = LOCK_BYTES;
		setrlimit(RLIMIT_MEMLOCK, &rl);
	}
	/* The kernel remembers the lowest score that a privileged process has set. */
	fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n > 0)
		*score = strndup(text, (size_t)n);
	if (fd >= 0 && (!*score || write(fd, "-1000", 5) != 5)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

void herd_guard_limits_set(int fd, char *score)
{
	if (fd >= 0) {
		if (write(fd, score, strlen(score)) < 0)
			fprintf(stderr, "could not set the OOM score back: %s\n", strerror(errno));
		close(fd);
	}
	free(score);
}

/* --- the page --------------------------------------------------------------------------------- */

static uint64_t fnv(uint64_t h, const void *data, size_t n)
{
	for (const unsigned char *c = data; n > 0; c++, n--)
		h = (h ^ *c) * 1099511628211u;
	return h;
}

/*
 * A name per user and instance. Containers may share /dev/shm and have the same paths inside: what
 * tells them apart is their pid namespace and their root.
 */
static char *page_path(const char *data_dir)
{
	uint64_t h = fnv(1469598103934665603u, data_dir, strlen(data_dir));
	const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
	static const char *const places[] = { "/proc/self/ns/pid", "/" };
	struct stat st;

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		if (stat(places[i], &st) < 0)
			continue;
		h = fnv(h, &st.st_dev, sizeof(st.st_dev));
		h = fnv(h, &st.st_ino, sizeof(st.st_ino));
	}
	return herd_str_printf("%s/pgherd-guard.%u.%08x.%016llx", base, (unsigned)geteuid(),
			       HERD_GUARD_MAGIC, (unsigned long long)h);
}

static void unmap_page(struct herd_guard *g)
{
	if (g->page)
		munmap((void *)g->page, HERD_GUARD_PAGE_BYTES);
	if (g->fd >= 0)
		close(g->fd);
	g->page = NULL;
	g->fd = -1;
}

static int map_page(struct herd_guard *g, struct herd_err *err)
{
	struct stat st;
	int rc;

	g->fd = open(g->path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (g->fd < 0) {
		rc = herd_err_set(err, -errno, "could not open \"%s\": %s", g->path,
				  strerror(errno));
		herd_err_hint(err, "The file is the guard's; nobody else may have made it.");
		return rc;
	}
	/* The directory is everybody's: take nothing that another user could write to. */
	if (fstat(g->fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid() ||
	    st.st_nlink > 1)
		return herd_err_set(err, -EPERM, "\"%s\" is not the guard's own file", g->path);
	if ((st.st_mode & 077) && fchmod(g->fd, 0600) < 0)
		return herd_err_set(err, -errno, "could not protect \"%s\": %s", g->path,
				    strerror(errno));
	if (st.st_size < HERD_GUARD_PAGE_BYTES && ftruncate(g->fd, HERD_GUARD_PAGE_BYTES) < 0)
		return herd_err_set(err, -errno, "could not extend \"%s\": %s", g->path,
				    strerror(errno));
	g->page = mmap(NULL, HERD_GUARD_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, g->fd, 0);
	if (g->page == MAP_FAILED) {
		g->page = NULL;
		return herd_err_set(err, -errno, "could not map \"%s\": %s", g->path,
				    strerror(errno));
	}
	return 0;
}

/* A page that no guard is removing, with our pid as its owner. */
static int take_page(struct herd_guard *g, struct herd_err *err)
{
	for (int i = 0; i < 100; i++) {
		struct stat here, there;
		int rc = map_page(g, err);

		if (rc < 0)
			return rc;
		bool gone = atomic_exchange(&g->page->agent, getpid()) == HERD_GUARD_GONE;

		if (!gone && fstat(g->fd, &here) == 0 && stat(g->path, &there) == 0 &&
		    here.st_ino == there.st_ino) {
			if (g->page->magic != HERD_GUARD_MAGIC) {
				snprintf(g->page->data_dir, sizeof(g->page->data_dir), "%s",
					 g->data_dir);
				g->page->magic = HERD_GUARD_MAGIC;
			}
			return 0;
		}
		/* Somebody died between saying so and removing it. */
		if (gone && i >= 50)
			unlink(g->path);
		g->page->agent = gone ? HERD_GUARD_GONE : 0;
		unmap_page(g);
		poll(NULL, 0, 2);
	}
	return herd_err_set(err, -EBUSY, "could not get hold of \"%s\"", g->path);
}

/* --- the process ------------------------------------------------------------------------------ */

static int wait_ready(int fd, struct herd_err *err)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	char byte;

	if (poll(&pfd, 1, READY_MS) > 0 && read(fd, &byte, 1) == 1)
		return 0;
	return herd_err_set(err, -EIO, "the guard process does not start");
}

static int start_process(struct herd_guard *g, struct herd_err *err)
{
	char *pid = herd_str_printf("%d", (int)getpid());
	const char *argv[] = { HERD_HELPER_GUARD, g->data_dir, g->path, pid, NULL };
	int ready[2] = { -1, -1 };
	int rc = pid && pipe2(ready, O_CLOEXEC) == 0 ? 0 : -errno;
	int fds[HERD_GUARD_FDS - HERD_GUARD_FD_PAGE] = { g->fd, g->nudge, ready[1] };

	if (rc < 0)
		herd_err_set(err, rc, "could not start the guard process: %s", strerror(-rc));
	else
		rc = herd_helper_spawn(g->helper, argv, fds, sizeof(fds) / sizeof(fds[0]), &g->pid,
				       err);
	if (ready[1] >= 0)
		close(ready[1]);
	if (rc == 0)
		rc = wait_ready(ready[0], err);
	if (ready[0] >= 0)
		close(ready[0]);
	free(pid);
	return rc;
}

static void end_process(struct herd_guard *g)
{
	if (g->pid <= 0)
		return;
	kill(g->pid, SIGKILL);
	while (waitpid(g->pid, NULL, 0) < 0 && errno == EINTR)
		;
	g->pid = 0;
}

int herd_guard_restart(struct herd_guard *g, struct herd_err *err)
{
	int rc;

	end_process(g);
	rc = start_process(g, err);
	if (rc < 0)
		end_process(g);
	return rc;
}

int herd_guard_start(struct herd_helper *helper, const char *data_dir, struct herd_guard **ret,
		     struct herd_err *err)
{
	struct herd_guard *g = calloc(1, sizeof(*g));
	int rc = -ENOMEM;

	if (!g)
		return herd_err_set(err, rc, "out of memory");
	g->helper = helper;
	g->fd = -1;
	g->nudge = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	g->data_dir = herd_str_dup(data_dir);
	g->path = page_path(data_dir);
	if (!g->data_dir || !g->path || g->nudge < 0)
		herd_err_set(err, rc, "out of memory or descriptors");
	else
		rc = take_page(g, err);
	if (rc == 0)
		rc = herd_guard_restart(g, err);
	if (rc < 0)
		herd_guard_free(g);
	else
		*ret = g;
	return rc;
}

pid_t herd_guard_pid(const struct herd_guard *g)
{
	return g->pid;
}

bool herd_guard_hangs(const struct herd_guard *g)
{
	return g->pid > 0 && now_ms() - g->page->beat_ms > HANGS_MS;
}

static void add_missing(struct herd_buf *b, const char *what, int error)
{
	if (error)
		herd_buf_printf(b, "%s%s (%s)", b->len ? ", " : "", what, strerror(error));
}

char *herd_guard_missing(const struct herd_guard *g)
{
	struct herd_buf b = { 0 };

	if (g->page->ready != g->pid)
		return NULL;
	add_missing(&b, "its memory is not locked", g->page->lock_error);
	add_missing(&b, "it has no real-time priority", g->page->sched_error);
	add_missing(&b, "the OOM killer may choose it", g->page->oom_error);
	return b.len ? herd_buf_steal(&b) : NULL;
}

/* --- the deadline ----------------------------------------------------------------------------- */

/*
 * We may be stopped between any two of these writes. So the guard is woken before it has anything
 * to see and looks often for a while, and the deadline comes before the pid: without a pid that
 * fits it kills all the same.
 */
void herd_guard_arm(struct herd_guard *g, pid_t postmaster, int64_t deadline_ms)
{
	struct herd_guard_page *p = g->page;
	uint64_t one = 1;

	if ((p->deadline_ms == 0 || deadline_ms < p->deadline_ms) &&
	    write(g->nudge, &one, sizeof(one)) < 0)
		one = 0; /* the counter is full: it was nudged often enough */
	p->deadline_ms = deadline_ms;
	if (p->postmaster != postmaster || p->postmaster_start == 0) {
		p->postmaster_start = start_ticks(postmaster);
		p->postmaster = postmaster;
	}
}

void herd_guard_disarm(struct herd_guard *g)
{
	g->page->deadline_ms = 0;
}

bool herd_guard_armed(const struct herd_guard *g)
{
	return g->page->deadline_ms != 0;
}

unsigned herd_guard_fired(const struct herd_guard *g)
{
	return g->page->fired;
}

void *herd_guard_page(const struct herd_guard *g)
{
	return (void *)g->page;
}

const char *herd_guard_file(const struct herd_guard *g)
{
	return g->path;
}

void herd_guard_free(struct herd_guard *g)
{
	if (!g)
		return;
	/* With a deadline it is still needed: a server may run that nobody looks after any more. */
	if (g->page && g->page->agent == getpid() && !g->page->deadline_ms) {
		g->page->agent = HERD_GUARD_GONE;
		unlink(g->path);
		end_process(g);
	}
	unmap_page(g);
	if (g->nudge >= 0)
		close(g->nudge);
	free(g->data_dir);
	free(g->path);
	free(g);
}
