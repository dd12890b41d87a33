#include "proxy/crew.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "proxy/doors.h"
#include "proxy/worker.h"

enum {
	WINDOW_US = 20 * 1000,
	TOO_BUSY = 2, /* windows in a row before some are given away */
	IDLE = 10,    /* the same before it rests */
	GAP = 10,     /* two are one when together they are that far from being too busy, in % */
	PAUSE_MIN_US = 500 * 1000,
	PAUSE_MAX_US = 16 * 1000 * 1000
};

/* The span of a thread that runs its own worker only. */
static int widest(const struct herd_worker *w)
{
	int span = 1;

	while (w->id >= span || w->id + span < w->px->nworkers)
		span *= 2;
	return span;
}

void herd_crew_init(struct herd_worker *w, bool gather)
{
	struct herd_crew *c = &w->crew;

	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->called, NULL);
	c->call = c->span = !gather ? widest(w) : w->id == 0 ? 1 : 0;
	atomic_store(&c->told_span, c->span);
	c->pause_us = PAUSE_MIN_US;
	atomic_store(&w->host, gather ? &w->px->workers[0] : w);
}

void herd_crew_free(struct herd_worker *w)
{
	pthread_mutex_destroy(&w->crew.lock);
	pthread_cond_destroy(&w->crew.called);
}

static void set_span(struct herd_crew *c, int span)
{
	c->span = span;
	atomic_store(&c->told_span, span);
	c->streak = 0;
}

/* The processor time of this thread, without what it was awake for nothing. */
static int64_t work_us(const struct herd_worker *w)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000 - w->linger.awake_us;
}

static void begin_window(struct herd_worker *w)
{
	w->crew.window_us = w->now_us;
	w->crew.work_us = work_us(w);
}

/* How busy the thread was in it, in per cent. */
static int end_window(struct herd_worker *w)
{
	int64_t took = w->now_us - w->crew.window_us, work = w->crew.work_us;

	begin_window(w);
	work = w->crew.work_us - work;
	int busy = work <= 0 ? 0 : work >= took ? 100 : (int)(work * 100 / took);

	atomic_store(&w->crew.told_busy, busy);
	return busy;
}

bool herd_crew_ready(struct herd_worker *w)
{
	struct herd_crew *c = &w->crew;
	int call;

	if (c->span > 0)
		return !atomic_load(&w->px->quit);
	pthread_mutex_lock(&c->lock);
	while (c->call == 0 && !atomic_load(&w->px->quit))
		pthread_cond_wait(&c->called, &c->lock);
	call = c->call;
	pthread_mutex_unlock(&c->lock);
	if (atomic_load(&w->px->quit))
		return false;
	c->called_us = w->now_us = herd_clock_us();
	begin_window(w);
	/* It had better not have rested? */
	if (c->called_us - c->rested_us > PAUSE_MAX_US)
		c->pause_us = PAUSE_MIN_US;
	else if (c->called_us - c->rested_us < c->pause_us)
		c->pause_us = c->pause_us * 2 < PAUSE_MAX_US ? c->pause_us * 2 : PAUSE_MAX_US;
	set_span(c, call);
	if (!w->suspended && !w->rest_until_us && atomic_load(&w->px->stop) == HERD_STOP_NO)
		herd_doors_watch(w, true);
	return true;
}

void herd_crew_dismiss(struct herd_worker *w)
{
	pthread_mutex_lock(&w->crew.lock);
	pthread_cond_broadcast(&w->crew.called);
	pthread_mutex_unlock(&w->crew.lock);
}

/*
 * Waits of less than that end on the microsecond, where the kernel can (Linux 5.11); others up to a
 * millisecond late.
 */
enum { EXACT_US = 5000 };

static int wait_exactly(const struct herd_worker *m, struct epoll_event *ret, int64_t timeout_us)
{
#ifdef SYS_epoll_pwait2
	struct timespec ts = { .tv_nsec = timeout_us * 1000 };

	return (int)syscall(SYS_epoll_pwait2, m->epfd, ret, HERD_MAX_EVENTS, &ts, NULL, 0);
#else
	(void)m, (void)ret, (void)timeout_us;
	errno = ENOSYS;
	return -1;
#endif
}

static int take(struct herd_worker *m, int64_t timeout_us)
{
	int n = -1;

	if (timeout_us > 0 && timeout_us < EXACT_US)
		n = wait_exactly(m, m->events, timeout_us);
	if (n < 0)
		n = epoll_wait(m->epfd, m->events, HERD_MAX_EVENTS,
			       (int)((timeout_us + 999) / 1000));
	m->nevents = n > 0 ? n : 0;
	return m->nevents;
}

static int take_all(struct herd_worker *w)
{
	int n = 0;

	for (struct herd_worker *m = w; m; m = herd_crew_next(w, m))
		n += take(m, 0);
	return n;
}

int herd_crew_wait(struct herd_worker *w, int64_t timeout_us)
{
	struct timespec ts = { .tv_sec = timeout_us / 1000000,
			       .tv_nsec = timeout_us % 1000000 * 1000 };
	struct pollfd fds[HERD_MAX_WORKERS];
	nfds_t n = 0;
	int taken = 0;

	if (!herd_crew_next(w, w))
		return take(w, timeout_us);
	/* With much to do there is something, and nobody need be asked where. */
	if (timeout_us == 0 || w->crowd > 1)
		taken = take_all(w);
	if (taken > 0 || timeout_us == 0)
		return taken;
	for (struct herd_worker *m = w; m; m = herd_crew_next(w, m))
		fds[n++] = (struct pollfd){ .fd = m->epfd, .events = POLLIN };
	if (ppoll(fds, n, &ts, NULL) <= 0)
		return 0;
	n = 0;
	for (struct herd_worker *m = w; m; m = herd_crew_next(w, m)) {
		if (fds[n++].revents)
			taken += take(m, 0);
	}
	return taken;
}

/* The thread of that worker runs it and what span tells, from now on. */
static void call(struct herd_worker *other, int span)
{
	struct herd_crew *c = &other->crew;

	pthread_mutex_lock(&c->lock);
	c->call = span;
	pthread_cond_signal(&c->called);
	pthread_mutex_unlock(&c->lock);
}

static void give_half(struct herd_worker *w)
{
	struct herd_worker *other = herd_crew_next(w, w);
	int span = w->crew.span * 2;

	set_span(&w->crew, span);
	for (int i = other->id; i < w->px->nworkers; i += span)
		atomic_store(&w->px->workers[i].host, other);
	call(other, span);
}

/* On the thread of w: another one rests, and what it ran comes back. */
static void come_back(struct herd_worker *w, struct herd_note *n)
{
	struct herd_worker *other = herd_container_of(n, struct herd_worker, relief);
	int span = (other->id - w->id) * 2;

	/* Others were given away meanwhile: the two are no pair any more. */
	if (w->crew.span != span) {
		call(other, span);
		return;
	}
	set_span(&w->crew, span / 2);
	for (int i = other->id; i < w->px->nworkers; i += span) {
		struct herd_worker *m = &w->px->workers[i];

		atomic_store(&m->host, w);
		herd_doors_watch(m, false);
		/* It takes part in this pass from here on. */
		m->live = w->live;
		m->now_us = w->now_us;
		m->batching = w->batching;
	}
}

/* Nothing of its workers may be touched any more behind this. */
static void rest(struct herd_worker *w, struct herd_worker *with)
{
	struct herd_crew *c = &w->crew;

	c->rested_us = w->now_us;
	set_span(c, 0);
	pthread_mutex_lock(&c->lock);
	c->call = 0;
	pthread_mutex_unlock(&c->lock);
	w->relief.fn = come_back;
	herd_worker_post(with, &w->relief);
}

/* Whose thread has the other half of what was given away last: it takes ours back. */
static struct herd_worker *giver(const struct herd_worker *w)
{
	int half = w->crew.span / 2;

	return half > 0 && w->id >= half ? &w->px->workers[w->id - half] : NULL;
}

static bool both_idle(const struct herd_worker *w, const struct herd_worker *with, int busy)
{
	return atomic_load(&with->crew.told_span) == w->crew.span &&
	       busy + atomic_load(&with->crew.told_busy) + GAP <=
		       herd_worker_settings(w)->busy_percent &&
	       w->now_us - w->crew.called_us > w->crew.pause_us;
}

static void decide(struct herd_worker *w, int busy)
{
	struct herd_crew *c = &w->crew;
	struct herd_worker *with = giver(w);
	int limit = herd_worker_settings(w)->busy_percent;

	if (busy > limit && herd_crew_next(w, w)) {
		c->streak = c->streak > 0 ? c->streak + 1 : 1;
		if (c->streak >= TOO_BUSY || limit == 0)
			give_half(w);
	} else if (with && both_idle(w, with, busy)) {
		c->streak = c->streak < 0 ? c->streak - 1 : -1;
		if (c->streak <= -IDLE)
			rest(w, with);
	} else {
		c->streak = 0;
	}
}

void herd_crew_turn(struct herd_worker *w)
{
	if (w->px->nworkers == 1 || w->now_us - w->crew.window_us < WINDOW_US)
		return;
	int busy = end_window(w);

	/* While the doors are shut or being passed on nobody changes places. */
	if (!w->suspended && atomic_load(&w->px->stop) == HERD_STOP_NO &&
	    !atomic_load(&w->px->doors_away))
		decide(w, busy);
}
