/*
 * guard_process.c - the guard itself. It allocates nothing, so that it can go on when memory is
 * short, and tells nobody anything before it has acted: a log whose reader hangs must not keep it.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "agent/guard_page.h"
#include "agent/helper.h"

#define QUIT_WAIT_MS 250 /* for an immediate shutdown, before SIGKILL */
#define SLEEP_MS 1000    /* at most, when there is nothing to wait for */
#define ALERT_MS 1000    /* after a nudge: the agent is about to set a deadline */
#define ALERT_SLEEP_MS 50
#define ORPHAN_SLEEP_MS 20 /* the agent is dead: a successor may come, or the deadline */
#define FIRED_SLEEP_MS 20  /* the deadline has passed: whatever starts now must end */
#define FIRED_SCAN_MS 1000
#define FIRED_ORPHAN_MS 2000

struct guard {
	struct herd_guard_page *page;
	const char *data_dir, *page_file;
	pid_t agent;
	int agent_fd; /* pidfd; -1: the agent is dead */
	int timer_fd;
	int64_t alert_until_ms;
	/* After the guard has acted at this deadline. */
	int64_t fired_deadline_ms;
	int64_t fired_ms, scanned_ms;
	struct stat pidfile; /* of a dead postmaster, as it was found */
};

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static ssize_t read_file(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -1;
	n = read(fd, text, size - 1);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	return n;
}

/* Clock ticks since boot at which a process started; 0: it is gone. */
static uint64_t start_ticks(pid_t pid)
{
	char path[40]; /* "/proc/<int>/stat" */
	char text[1024];

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (read_file(path, text, sizeof(text)) <= 0)
		return 0;
	/* The command may hold blanks and brackets: count from its last bracket. Field 22. */
	char *p = strrchr(text, ')');

	for (int field = 2; p && field < 22; field++)
		p = strchr(p + 1, ' ');
	return p ? strtoull(p + 1, NULL, 10) : 0;
}

/* --- ending PostgreSQL ------------------------------------------------------------------------ */

/* By where it works and what it is called: also what a dead postmaster has left behind. */
static bool is_server(pid_t pid, const struct stat *dir)
{
	char path[40]; /* "/proc/<int>/comm" */
	char name[32]; /* 16 bytes at most */
	struct stat cwd;

	snprintf(path, sizeof(path), "/proc/%d/cwd", (int)pid);
	if (stat(path, &cwd) < 0 || cwd.st_dev != dir->st_dev || cwd.st_ino != dir->st_ino)
		return false;
	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	return read_file(path, name, sizeof(name)) > 0 &&
	       (strstr(name, "postgres") || strstr(name, "postmaster"));
}

/* The descriptor holds the process: what was looked at is what gets the signal. */
static bool kill_server(pid_t pid, const struct stat *dir)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	bool killed = false;

	if (fd < 0)
		return false;
	if (is_server(pid, dir))
		killed = syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0) == 0;
	close(fd);
	return killed;
}

struct dirent64_head { /* what getdents64 writes; the name follows */
	uint64_t ino;
	int64_t off;
	uint16_t len;
	uint8_t type;
	char name[];
};

/* SIGKILL to each process of PostgreSQL that works in data_dir. Returns how many there were. */
static int kill_all(const char *data_dir, bool rehearse)
{
	_Alignas(struct dirent64_head) char buf[4096];
	struct stat dir;
	int n = 0, fd;
	long len;

	if (stat(data_dir, &dir) < 0)
		return 0;
	fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	while ((len = syscall(SYS_getdents64, fd, buf, sizeof(buf))) > 0) {
		for (long at = 0; at < len;) {
			struct dirent64_head *d = (struct dirent64_head *)(buf + at);

			at += d->len;
			if (d->name[0] < '1' || d->name[0] > '9')
				continue;
			if (rehearse)
				n += is_server(atoi(d->name), &dir);
			else
				n += kill_server(atoi(d->name), &dir);
		}
	}
	close(fd);
	return n;
}

/* Immediate shutdown, and a moment for it. */
static void quit(pid_t pid, uint64_t start)
{
	int fd = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	if (fd < 0)
		return;
	if (start_ticks(pid) == start) {
		syscall(SYS_pidfd_send_signal, fd, SIGQUIT, NULL, 0);
		/* A stopped process takes SIGQUIT only when it goes on. */
		syscall(SYS_pidfd_send_signal, fd, SIGCONT, NULL, 0);
		poll(&pfd, 1, QUIT_WAIT_MS);
	}
	close(fd);
}

/* Only when that cannot block: the reader of our stderr may be as dead as the agent. */
static void tell(pid_t postmaster)
{
	struct pollfd pfd = { .fd = 2, .events = POLLOUT };
	struct timespec ts;
	struct tm tm;
	char text[200], stamp[32];

	clock_gettime(CLOCK_REALTIME, &ts);
	localtime_r(&ts.tv_sec, &tm);
	strftime(stamp, sizeof(stamp), "%Y-%m-%d %H:%M:%S", &tm);
	snprintf(text, sizeof(text),
		 "%s,%03d CRITICAL: guard: the lease was not renewed in time, PostgreSQL (pid %d) "
		 "was stopped immediately\n",
		 stamp, (int)(ts.tv_nsec / 1000000), (int)postmaster);
	if (poll(&pfd, 1, 0) > 0 && (pfd.revents & POLLOUT) && write(2, text, strlen(text)) < 0)
		return;
}

static void note_pidfile(struct guard *g, struct stat *st)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/postmaster.pid", g->data_dir);
	if (stat(path, st) < 0)
		memset(st, 0, sizeof(*st));
}

static void fire(struct guard *g, int64_t deadline)
{
	struct herd_guard_page *p = g->page;
	pid_t pm = p->postmaster;

	quit(pm, p->postmaster_start);
	kill_all(g->data_dir, false);
	/*
	 * Until two looks find nothing: a postmaster may have forked while the first was going on.
	 * An agent that has come back meanwhile may start another server: one look is enough then.
	 */
	for (int clean = 0, round = 0; clean < 2 && p->deadline_ms == deadline; round++) {
		int n = kill_all(g->data_dir, false);

		clean = n == 0 ? clean + 1 : 0;
		p->beat_ms = now_ms();
		/* What waits for a dead disk cannot be killed, and cannot answer anybody either. */
		poll(NULL, 0, n == 0 ? 1 : round < 100 ? 5 : 100);
	}
	note_pidfile(g, &g->pidfile);
	g->fired_deadline_ms = deadline;
	g->fired_ms = g->scanned_ms = now_ms();
	p->fired_ms = g->fired_ms;
	p->fired++;
	tell(pm);
}

/* The deadline has passed and stands: an agent that was stopped in the middle may still start one.
 */
static void stay(struct guard *g)
{
	int64_t now = now_ms();
	struct stat st;

	note_pidfile(g, &st);
	if (st.st_ino == g->pidfile.st_ino && st.st_mtim.tv_sec == g->pidfile.st_mtim.tv_sec &&
	    st.st_mtim.tv_nsec == g->pidfile.st_mtim.tv_nsec && now - g->scanned_ms < FIRED_SCAN_MS)
		return;
	g->pidfile = st;
	g->scanned_ms = now;
	if (kill_all(g->data_dir, false) > 0)
		fire(g, g->fired_deadline_ms);
}

/* --- the wait --------------------------------------------------------------------------------- */

static void look_at_agent(struct guard *g)
{
	struct pollfd pfd = { .fd = g->agent_fd, .events = POLLIN };

	if (g->agent_fd >= 0 && poll(&pfd, 1, 0) > 0) {
		close(g->agent_fd);
		g->agent_fd = -1;
	}
}

static void take_nudge(struct guard *g)
{
	uint64_t n;

	if (read(HERD_GUARD_FD_NUDGE, &n, sizeof(n)) == sizeof(n))
		g->alert_until_ms = now_ms() + ALERT_MS;
}

/* The timer counts while the machine sleeps, poll's own limit does not. */
static void set_timer(struct guard *g, int64_t at_ms)
{
	struct itimerspec it = {
		.it_value = { .tv_sec = at_ms / 1000, .tv_nsec = at_ms % 1000 * 1000000 },
	};

	timerfd_settime(g->timer_fd, TFD_TIMER_ABSTIME, &it, NULL);
}

static void wait_for(struct guard *g, int64_t deadline, int ms)
{
	struct pollfd pfd[] = {
		{ .fd = g->timer_fd, .events = POLLIN },
		{ .fd = HERD_GUARD_FD_NUDGE, .events = POLLIN },
		{ .fd = g->agent_fd, .events = POLLIN },
	};

	set_timer(g, deadline);
	poll(pfd, 3, ms);
	if (pfd[1].revents)
		take_nudge(g);
	look_at_agent(g);
}

/* The agent is dead and nothing is left to watch: the page goes, unless a new agent has it. */
static void remove_page(struct guard *g)
{
	int32_t mine = g->agent;

	if (atomic_compare_exchange_strong(&g->page->agent, &mine, HERD_GUARD_GONE))
		unlink(g->page_file);
}

static void watch(struct guard *g)
{
	struct herd_guard_page *p = g->page;
	pid_t self = getpid();

	for (;;) {
		int64_t deadline = p->deadline_ms;
		int64_t now = now_ms();
		int ms = SLEEP_MS;

		p->beat_ms = now;
		if (p->guard != self)
			return;
		if (!deadline && g->agent_fd < 0) {
			remove_page(g);
			return;
		}
		if (deadline && now >= deadline) {
			if (deadline != g->fired_deadline_ms)
				fire(g, deadline);
			else
				stay(g);
			if (g->agent_fd < 0 && now_ms() - g->fired_ms >= FIRED_ORPHAN_MS) {
				remove_page(g);
				return;
			}
			ms = FIRED_SLEEP_MS;
			deadline = 0;
		} else if (g->agent_fd < 0) {
			ms = ORPHAN_SLEEP_MS;
		} else if (now < g->alert_until_ms) {
			ms = ALERT_SLEEP_MS;
		}
		wait_for(g, deadline, ms);
	}
}

/* --- the start -------------------------------------------------------------------------------- */

static int set_realtime(void)
{
	struct sched_param sp = { .sched_priority = 1 };
	struct rlimit rl;

	/* The agent may have left us a hard limit that it does not use itself. */
	if (getrlimit(RLIMIT_RTPRIO, &rl) == 0 && rl.rlim_cur < rl.rlim_max) {
		rl.rlim_cur = rl.rlim_max;
		setrlimit(RLIMIT_RTPRIO, &rl);
	}
	return sched_setscheduler(0, SCHED_FIFO, &sp) == 0 ? 0 : errno;
}

static int set_oom_score(void)
{
	/* Less than that is refused where only some of the privilege is there. */
	static const char *const scores[] = { "-1000", "-900" };
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	int rc = fd < 0 ? errno : EACCES;

	for (size_t i = 0; fd >= 0 && rc && i < 2; i++)
		rc = write(fd, scores[i], strlen(scores[i])) > 0 ? 0 : errno;
	if (fd >= 0)
		close(fd);
	return rc;
}

/* None of it is always allowed; the guard works without, and the agent says what is missing. */
static void privileges(struct herd_guard_page *p)
{
	p->lock_error = mlockall(MCL_CURRENT | MCL_FUTURE) == 0 ? 0 : errno;
	p->oom_error = set_oom_score();
	p->sched_error = set_realtime();
}

int herd_guard_process(int argc, char **argv)
{
	struct guard g = { .timer_fd = -1 };
	struct herd_guard_page *p;
	char byte = 0;

	if (argc < 4)
		return 2;
	g.data_dir = argv[1];
	g.page_file = argv[2];
	g.agent = (pid_t)atoi(argv[3]);
	prctl(PR_SET_NAME, HERD_HELPER_GUARD);
	g.agent_fd = (int)syscall(SYS_pidfd_open, g.agent, 0);
	/* It may be dead, and its number another's: as our parent it was alive before the open. */
	if (g.agent_fd >= 0 && getppid() != g.agent) {
		close(g.agent_fd);
		g.agent_fd = -1;
	}
	g.timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	p = mmap(NULL, HERD_GUARD_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
		 HERD_GUARD_FD_PAGE, 0);
	if (p == MAP_FAILED || g.timer_fd < 0 || chdir("/") < 0)
		return 1;
	g.page = p;
	fcntl(HERD_GUARD_FD_NUDGE, F_SETFL, O_NONBLOCK);
	/* Touch all that will be needed, so that nothing has to be read from a disk that hangs. */
	kill_all(g.data_dir, true);
	note_pidfile(&g, &g.pidfile);
	privileges(p);
	p->beat_ms = now_ms();
	/* The predecessor may have acted already; what it cannot have seen is looked at first. */
	if (p->fired_ms >= p->deadline_ms)
		g.fired_deadline_ms = p->deadline_ms;
	p->guard = getpid(); /* from here on the predecessor leaves */
	p->ready = getpid();
	if (write(HERD_GUARD_FD_READY, &byte, 1) < 0)
		byte = 0;
	close(HERD_GUARD_FD_READY);
	watch(&g);
	return 0;
}
