#include "loop/loop.h"

#include <assert.h>
#include <event2/event.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "loop/internal.h"

struct herd_loop *herd_loop_new(void)
{
	struct herd_loop *l = calloc(1, sizeof(*l));
	struct event_config *config = event_config_new();

	/* No cached time: a timer set late in a long callback must not fire early. */
	if (l && config &&
	    event_config_set_flag(config, EVENT_BASE_FLAG_NO_CACHE_TIME |
						  EVENT_BASE_FLAG_PRECISE_TIMER |
						  EVENT_BASE_FLAG_NOLOCK) == 0)
		l->base = event_base_new_with_config(config);
	if (config)
		event_config_free(config);
	if (!l || !l->base) {
		free(l);
		return NULL;
	}
	herd_list_init(&l->children);
	return l;
}

void herd_loop_free(struct herd_loop *l)
{
	if (!l)
		return;
	herd_children_forget(l);
	event_base_free(l->base);
	free(l);
}

void herd_loop_run(struct herd_loop *l)
{
	event_base_loop(l->base, EVLOOP_NO_EXIT_ON_EMPTY);
}

void herd_loop_stop(struct herd_loop *l)
{
	event_base_loopbreak(l->base);
}

struct event_base *herd_loop_base(struct herd_loop *l)
{
	return l->base;
}

static void set_true(void *arg)
{
	*(bool *)arg = true;
}

bool herd_loop_run_until(struct herd_loop *l, const bool *done, int64_t timeout_ms)
{
	bool late = false;
	struct herd_timer *t = NULL;

	if (timeout_ms >= 0) {
		t = herd_timer_new(l, set_true, &late);
		if (!t)
			return *done;
		herd_timer_set(t, timeout_ms);
	}
	while (!*done && !late) {
		if (event_base_loop(l->base, EVLOOP_ONCE | EVLOOP_NO_EXIT_ON_EMPTY) != 0)
			break;
		if (event_base_got_break(l->base))
			break;
	}
	herd_timer_free(t);
	return *done;
}

static int64_t clock_us(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return ts.tv_sec * INT64_C(1000000) + ts.tv_nsec / 1000;
}

int64_t herd_now_us(void)
{
	return clock_us(CLOCK_BOOTTIME);
}

int64_t herd_now_ms(void)
{
	return clock_us(CLOCK_BOOTTIME) / 1000;
}

int64_t herd_wall_ms(void)
{
	return clock_us(CLOCK_REALTIME) / 1000;
}

struct herd_timer {
	struct event *ev;
	void (*fn)(void *arg);
	void *arg;
};

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct herd_timer *t = arg;

	t->fn(t->arg);
}

struct herd_timer *herd_timer_new(struct herd_loop *l, void (*fn)(void *arg), void *arg)
{
	struct herd_timer *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->fn = fn;
	t->arg = arg;
	t->ev = evtimer_new(l->base, on_timer, t);
	if (!t->ev) {
		free(t);
		return NULL;
	}
	return t;
}

void herd_timer_free(struct herd_timer *t)
{
	if (!t)
		return;
	event_free(t->ev);
	free(t);
}

void herd_timer_set(struct herd_timer *t, int64_t delay_ms)
{
	assert(delay_ms >= 0);
	struct timeval tv = { .tv_sec = delay_ms / 1000, .tv_usec = delay_ms % 1000 * 1000 };

	evtimer_add(t->ev, &tv);
}

void herd_timer_cancel(struct herd_timer *t)
{
	evtimer_del(t->ev);
}

struct herd_io {
	struct herd_loop *loop;
	struct event *ev;
	int fd;
	int want;
	void (*fn)(void *arg, int events);
	void *arg;
};

static void on_io(evutil_socket_t fd, short what, void *arg)
{
	struct herd_io *io = arg;
	int events = (what & EV_READ ? HERD_IO_READ : 0) | (what & EV_WRITE ? HERD_IO_WRITE : 0);

	io->fn(io->arg, events);
}

struct herd_io *herd_io_new(struct herd_loop *l, int fd, void (*fn)(void *arg, int events),
			    void *arg)
{
	struct herd_io *io = calloc(1, sizeof(*io));

	if (!io)
		return NULL;
	io->loop = l;
	io->fd = fd;
	io->fn = fn;
	io->arg = arg;
	io->ev = event_new(l->base, fd, EV_PERSIST, on_io, io);
	if (!io->ev) {
		free(io);
		return NULL;
	}
	return io;
}

void herd_io_free(struct herd_io *io)
{
	if (!io)
		return;
	event_free(io->ev);
	free(io);
}

void herd_io_want(struct herd_io *io, int events)
{
	short what = (short)(EV_PERSIST | (events & HERD_IO_READ ? EV_READ : 0) |
			     (events & HERD_IO_WRITE ? EV_WRITE : 0));

	if (events == io->want)
		return;
	io->want = events;
	event_del(io->ev);
	event_assign(io->ev, io->loop->base, io->fd, what, on_io, io);
	if (events)
		event_add(io->ev, NULL);
}

struct herd_signal {
	struct event *ev;
	void (*fn)(void *arg, int signo);
	void *arg;
};

static void on_signal(evutil_socket_t signo, short what, void *arg)
{
	struct herd_signal *s = arg;

	s->fn(s->arg, (int)signo);
}

struct herd_signal *herd_signal_new(struct herd_loop *l, int signo,
				    void (*fn)(void *arg, int signo), void *arg)
{
	struct herd_signal *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->fn = fn;
	s->arg = arg;
	s->ev = evsignal_new(l->base, signo, on_signal, s);
	if (!s->ev || event_add(s->ev, NULL) != 0) {
		herd_signal_free(s);
		return NULL;
	}
	return s;
}

void herd_signal_free(struct herd_signal *s)
{
	if (!s)
		return;
	if (s->ev)
		event_free(s->ev);
	free(s);
}

struct herd_pidwatch {
	pid_t pid;
	int fd;
	struct herd_io *io;
	void (*fn)(void *arg, pid_t pid);
	void *arg;
};

static void on_pid_gone(void *arg, int events)
{
	struct herd_pidwatch *w = arg;

	/* A pidfd stays readable; once is what was asked for. */
	herd_io_want(w->io, 0);
	w->fn(w->arg, w->pid);
}

int herd_pidwatch_new(struct herd_loop *l, pid_t pid, void (*fn)(void *arg, pid_t pid), void *arg,
		      struct herd_pidwatch **ret)
{
	struct herd_pidwatch *w = calloc(1, sizeof(*w));

	if (!w)
		return -ENOMEM;
	w->pid = pid;
	w->fn = fn;
	w->arg = arg;
	w->fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (w->fd < 0) {
		int e = errno;

		free(w);
		return -e;
	}
	w->io = herd_io_new(l, w->fd, on_pid_gone, w);
	if (!w->io) {
		herd_pidwatch_free(w);
		return -ENOMEM;
	}
	herd_io_want(w->io, HERD_IO_READ);
	*ret = w;
	return 0;
}

void herd_pidwatch_free(struct herd_pidwatch *w)
{
	if (!w)
		return;
	herd_io_free(w->io);
	close(w->fd);
	free(w);
}
