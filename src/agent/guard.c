#define HERD_LOG_PART "pgherd.guard"
#include "agent/guard.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/str.h"

#define PAGE_MAGIC 0x70676831u /* the layout below */
#define PAGE_BYTES 4096
#define QUIT_WAIT_MS 250 /* for an immediate shutdown, before SIGKILL */
#define POLL_MS 500

struct page {
	_Atomic uint32_t magic;
	_Atomic uint32_t fired;
	_Atomic int64_t deadline_ms; /* 0: disarmed */
	_Atomic int32_t postmaster;
	_Atomic int32_t agent; /* whose guard may act */
	_Atomic uint64_t postmaster_start;
};

struct herd_guard {
	char *data_dir;
	char *path;
	struct page *page;
	int fd;
	pid_t pid;
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
	unsigned long long ticks = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return 0;
	size_t n = fread(text, 1, sizeof(text) - 1, f);

	fclose(f);
	text[n] = '\0';
	/* The command may hold blanks and brackets: count from its last bracket. Field 22. */
	char *p = strrchr(text, ')');

	for (int field = 2; p && field < 22; field++)
		p = strchr(p + 1, ' ');
	if (p)
		sscanf(p + 1, "%llu", &ticks);
	return ticks;
}

/* --- the guard process ------------------------------------------------------------------------ */

static bool is_postgres_in(const char *pid, const struct stat *dir)
{
	char *cwd = herd_str_printf("/proc/%s/cwd", pid);
	char *comm = herd_str_printf("/proc/%s/comm", pid);
	char name[32] = ""; /* comm is 16 bytes at most */
	struct stat st;
	bool found = false;

	if (stat(cwd, &st) == 0 && st.st_dev == dir->st_dev && st.st_ino == dir->st_ino) {
		FILE *f = fopen(comm, "re");

		if (f) {
			if (!fgets(name, sizeof(name), f))
				name[0] = '\0';
			fclose(f);
		}
		found = strncmp(name, "postgres", 8) == 0 || strncmp(name, "postmaster", 10) == 0;
	}
	free(cwd);
	free(comm);
	return found;
}

/* SIGKILL to each process of PostgreSQL that works in data_dir. Returns how many there were. */
static int kill_all(const char *data_dir)
{
	struct stat dir;
	DIR *proc;
	int n = 0;

	if (stat(data_dir, &dir) < 0)
		return 0;
	proc = opendir("/proc");
	if (!proc)
		return 0;
	for (struct dirent *d = readdir(proc); d; d = readdir(proc)) {
		if (d->d_name[0] < '1' || d->d_name[0] > '9')
			continue;
		if (is_postgres_in(d->d_name, &dir) && kill(atoi(d->d_name), SIGKILL) == 0)
			n++;
	}
	closedir(proc);
	return n;
}

static void fire(struct page *p, const char *data_dir, struct herd_log *log)
{
	pid_t pm = p->postmaster;
	uint64_t start = p->postmaster_start;

	if (pm > 0 && start_ticks(pm) == start) {
		int fd = (int)syscall(SYS_pidfd_open, pm, 0);
		struct pollfd pfd = { .fd = fd, .events = POLLIN };

		herd_log_at(log, HERD_LOG_CRITICAL,
			    "guard: the lease was not renewed in time, stopping PostgreSQL (pid "
			    "%d) immediately",
			    (int)pm);
		kill(pm, SIGQUIT);
		/* A stopped process takes SIGQUIT only when it goes on. */
		kill(pm, SIGCONT);
		poll(&pfd, 1, QUIT_WAIT_MS);
		if (fd >= 0)
			close(fd);
	}
	/* Twice clean: a postmaster may have forked while the first look was going on. */
	for (int round = 0, clean = 0; round < 200 && clean < 2; round++) {
		clean = kill_all(data_dir) == 0 ? clean + 1 : 0;
		poll(NULL, 0, clean ? 1 : 10);
	}
	/* The agent may have moved the deadline of another postmaster meanwhile: leave that one. */
	if (p->postmaster == pm && p->postmaster_start == start)
		p->deadline_ms = 0;
	p->fired++;
}

static void guard_loop(struct page *p, const char *data_dir, pid_t agent, struct herd_log *log)
{
	while (p->agent == agent) {
		int64_t deadline = p->deadline_ms;
		int64_t now = now_ms();
		int64_t wait = POLL_MS;

		if (deadline && now >= deadline) {
			fire(p, data_dir, log);
			continue;
		}
		if (!deadline && getppid() != agent)
			return;
		if (deadline && deadline - now < wait)
			wait = deadline - now;
		poll(NULL, 0, (int)wait);
	}
}

static void guard_main(struct herd_guard *g, pid_t agent)
{
	struct sched_param sp = { .sched_priority = 1 };
	struct herd_log *log;
	sigset_t none;

	setsid();
	prctl(PR_SET_NAME, "pgherd-guard");
	sigemptyset(&none);
	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_DFL);
	signal(SIGHUP, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	sigprocmask(SIG_SETMASK, &none, NULL);
	/* Only stderr and the page's file stay open. The file gets number 3 so that all above can
	 * go. */
	int lock = dup2(g->fd, 3);

	syscall(SYS_close_range, 4, ~0U, 0);
	if (chdir("/") < 0)
		_exit(1);
	/* Both need privileges that are not always there; the guard works without. */
	mlockall(MCL_CURRENT | MCL_FUTURE);
	sched_setscheduler(0, SCHED_FIFO, &sp);
	/* The predecessor's guard holds the lock until it sees that the page has a new owner. */
	if (lock != 3 || flock(3, LOCK_EX) < 0)
		_exit(1);
	log = herd_log_new(2, HERD_LOG_PATRONI, HERD_LOG_INFO);
	guard_loop(g->page, g->data_dir, agent, log);
	_exit(0);
}

/* --- the agent's side ------------------------------------------------------------------------- */

/* A name per instance and user: FNV-1a of the path keeps it short. */
static char *page_path(const char *data_dir)
{
	uint64_t h = 1469598103934665603u;
	const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";

	for (const char *c = data_dir; *c; c++)
		h = (h ^ (unsigned char)*c) * 1099511628211u;
	return herd_str_printf("%s/pgherd-guard.%u.%016llx", base, (unsigned)geteuid(),
			       (unsigned long long)h);
}

static int map_page(struct herd_guard *g, struct herd_err *err)
{
	struct stat st;

	g->fd = open(g->path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (g->fd < 0)
		return herd_err_set(err, -errno, "could not open \"%s\": %s", g->path,
				    strerror(errno));
	if (fstat(g->fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid())
		return herd_err_set(err, -EPERM, "\"%s\" belongs to another user", g->path);
	if (st.st_size < PAGE_BYTES && ftruncate(g->fd, PAGE_BYTES) < 0)
		return herd_err_set(err, -errno, "could not extend \"%s\": %s", g->path,
				    strerror(errno));
	g->page = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, g->fd, 0);
	if (g->page == MAP_FAILED) {
		g->page = NULL;
		return herd_err_set(err, -errno, "could not map \"%s\": %s", g->path,
				    strerror(errno));
	}
	if (g->page->magic != PAGE_MAGIC) {
		memset((void *)g->page, 0, sizeof(*g->page));
		g->page->magic = PAGE_MAGIC;
	}
	return 0;
}

int herd_guard_restart(struct herd_guard *g, struct herd_err *err)
{
	pid_t agent = getpid();
	/* A fresh description of the file: flock belongs to it, and the agent must not share it. */
	int own = g->fd;
	int fd = open(g->path, O_RDWR | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return herd_err_set(err, -errno, "could not open \"%s\": %s", g->path,
				    strerror(errno));
	g->page->agent = agent;
	g->fd = fd;
	pid_t pid = fork();

	if (pid == 0)
		guard_main(g, agent);
	g->fd = own;
	close(fd);
	if (pid < 0)
		return herd_err_set(err, -errno, "could not start the guard process: %s",
				    strerror(errno));
	g->pid = pid;
	return 0;
}

int herd_guard_start(const char *data_dir, struct herd_guard **ret, struct herd_err *err)
{
	struct herd_guard *g = calloc(1, sizeof(*g));
	int rc = -ENOMEM;

	if (!g)
		return herd_err_set(err, rc, "out of memory");
	g->fd = -1;
	g->data_dir = herd_str_dup(data_dir);
	g->path = page_path(data_dir);
	if (!g->data_dir || !g->path) {
		herd_err_set(err, rc, "out of memory");
		goto out;
	}
	rc = map_page(g, err);
	if (rc == 0)
		rc = herd_guard_restart(g, err);
	if (rc == 0) {
		*ret = g;
		return 0;
	}
out:
	herd_guard_free(g);
	return rc;
}

pid_t herd_guard_pid(const struct herd_guard *g)
{
	return g->pid;
}

void herd_guard_arm(struct herd_guard *g, pid_t postmaster, int64_t deadline_ms)
{
	uint64_t start = start_ticks(postmaster);

	if (g->page->postmaster != postmaster || g->page->postmaster_start != start) {
		g->page->deadline_ms = 0;
		g->page->postmaster_start = start;
		g->page->postmaster = postmaster;
	}
	g->page->deadline_ms = deadline_ms;
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

void herd_guard_free(struct herd_guard *g)
{
	if (!g)
		return;
	if (g->pid > 0) {
		herd_guard_disarm(g);
		g->page->agent = 0;
		unlink(g->path);
		kill(g->pid, SIGKILL);
		waitpid(g->pid, NULL, 0);
	}
	if (g->page)
		munmap((void *)g->page, PAGE_BYTES);
	if (g->fd >= 0)
		close(g->fd);
	free(g->data_dir);
	free(g->path);
	free(g);
}
