#include "proxy/worker.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "base/str.h"
#include "proxy/cancel.h"
#include "proxy/client.h"
#include "proxy/dial.h"
#include "proxy/handover.h"
#include "proxy/hub.h"
#include "proxy/idle.h"
#include "proxy/pools.h"
#include "proxy/server.h"
#include "proxy/suspend.h"
#include "proxy/verdict.h"

enum {
	JANITOR_US = 100 * 1000,
	CROWD = 3 /* so many events in a pass: it pays to send together and to give way */
};

/* See give_way: a yield up to the first is fine, beyond it each event may have cost the second. */
enum {
	YIELD_GOOD_US = 100,
	YIELD_EVENT_US = 50,
	YIELD_PAUSE_FACTOR = 64,
	YIELD_STREAK = 1000, /* so many good ones: the next bad one is by chance */
	YIELD_PAUSE_MAX_US = 10 * 1000 * 1000
};

struct herd_retired {
	struct herd_retired *next;
	void *p;
	void (*fn)(void *);
	uint64_t main_passes;
	uint64_t passes[HERD_MAX_WORKERS];
};

struct herd_fanout {
	struct herd_worker *origin;
	herd_fanout_fn each, done;
	void *arg;
	_Atomic int left;
	struct herd_note end;
	struct herd_note each_note[HERD_MAX_WORKERS];
};

int64_t herd_clock_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static void wake(struct herd_worker *w)
{
	uint64_t one = 1;

	/* The counter cannot overflow; a failure would mean it is readable already. */
	if (write(w->wake.fd, &one, sizeof(one)) < 0)
		return;
}

void herd_worker_poke(struct herd_worker *w)
{
	wake(w);
}

void herd_worker_post(struct herd_worker *w, struct herd_note *n)
{
	pthread_mutex_lock(&w->inbox_lock);
	bool first = herd_list_empty(&w->inbox);

	herd_list_push_back(&w->inbox, &n->node);
	pthread_mutex_unlock(&w->inbox_lock);
	if (first)
		wake(w);
}

static void run_inbox(struct herd_worker *w)
{
	for (;;) {
		pthread_mutex_lock(&w->inbox_lock);
		struct herd_list *node = herd_list_empty(&w->inbox) ? NULL : w->inbox.next;

		if (node)
			herd_list_remove(node);
		pthread_mutex_unlock(&w->inbox_lock);
		if (!node)
			return;
		struct herd_note *n = herd_container_of(node, struct herd_note, node);

		n->fn(w, n);
	}
}

int herd_worker_watch(struct herd_worker *w, struct herd_conn *c, bool out)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.ptr = c };

	if (out)
		ev.events |= EPOLLOUT;
	c->epfd = w->epfd;
	c->out_watched = out;
	return epoll_ctl(w->epfd, EPOLL_CTL_ADD, c->fd, &ev) < 0 ? -errno : 0;
}

int herd_worker_random(struct herd_worker *w, void *ret, size_t n)
{
	if (w->random_left < n) {
		/* So few bytes are never cut short, nor does it wait once the system is up. */
		if (getrandom(w->random, sizeof(w->random), 0) != sizeof(w->random))
			return -EIO;
		w->random_left = sizeof(w->random);
	}
	uint8_t *from = w->random + sizeof(w->random) - w->random_left;

	memcpy(ret, from, n);
	herd_str_wipe(from, n);
	w->random_left -= n;
	return 0;
}

void herd_worker_unwatch(struct herd_worker *w, struct herd_conn *c)
{
	epoll_ctl(w->epfd, EPOLL_CTL_DEL, c->fd, NULL);
}

static void dispatch(struct herd_worker *w, struct herd_conn *c, uint32_t events,
		     struct herd_linger *linger)
{
	uint64_t drained;

	switch (c->kind) {
	case HERD_CONN_LISTENER:
		herd_client_accept(w, herd_container_of(c, struct herd_door, conn));
		break;
	case HERD_CONN_WAKE:
		if (read(c->fd, &drained, sizeof(drained)) > 0)
			run_inbox(w);
		break;
	case HERD_CONN_CLIENT: {
		struct herd_client *cl = herd_container_of(c, struct herd_client, conn);

		if (c->fd < 0)
			break;
		herd_conn_event(c, events);
		if (w->suspended && herd_suspend_holds_client(cl))
			break;
		herd_client_event(w, cl);
		herd_linger_served(linger, cl, cl->server ? HERD_AWAIT_SERVER : HERD_AWAIT_CLIENT);
		break;
	}
	case HERD_CONN_SERVER: {
		struct herd_server *s = herd_container_of(c, struct herd_server, conn);

		/* Idle ones are guarded by their pool; others may have taken it meanwhile. */
		if (atomic_load(&s->owner) != w->id && !herd_pool_take_idle(w, s))
			break;
		if (c->fd < 0)
			break;
		herd_conn_event(c, events);
		if (w->suspended && herd_suspend_holds_server(s))
			break;
		/* Who is in the midst of a long answer is awaited asleep: there will be more. */
		if (s->client)
			herd_linger_served(linger, s->client,
					   herd_stream_long(&s->stream) ? HERD_AWAIT_ANYBODY
									: HERD_AWAIT_CLIENT);
		herd_server_event(w, s);
		break;
	}
	case HERD_CONN_CANCEL:
		if (c->fd < 0)
			break;
		herd_conn_event(c, events);
		herd_cancel_event(w, c);
		break;
	}
}

static void run_ready(struct herd_worker *w)
{
	/* Those woken while we walk wait for the next pass: nobody starves the sockets. */
	struct herd_list batch;

	herd_list_init(&batch);
	while (!herd_list_empty(&w->run)) {
		struct herd_list *n = w->run.next;

		herd_list_remove(n);
		herd_list_push_back(&batch, n);
	}
	while (!herd_list_empty(&batch)) {
		struct herd_client *c = herd_container_of(batch.next, struct herd_client, run_node);

		herd_list_remove(&c->run_node);
		if (c->state != HERD_CLIENT_CLOSED &&
		    !(w->suspended && herd_suspend_holds_client(c)))
			herd_client_run(w, c);
	}
}

/* Work is left that needs no event. */
static bool has_work(const struct herd_worker *w)
{
	for (const struct herd_worker *m = w; m; m = herd_crew_next(w, m)) {
		if (!herd_list_empty(&m->run))
			return true;
	}
	return false;
}

static int64_t wait_us(struct herd_worker *w)
{
	int64_t until = w->next_janitor_us;

	if (has_work(w))
		return 0;
	for (struct herd_worker *m = w; m; m = herd_crew_next(w, m)) {
		if (m->next_janitor_us < until)
			until = m->next_janitor_us;
		until = herd_streams_next(m, until);
		herd_list_for_each(it, &m->polls)
		{
			struct herd_server *s =
				herd_container_of(it, struct herd_server, poll_node);

			if (s->poll_us < until)
				until = s->poll_us;
		}
	}
	until -= herd_clock_us();
	return until <= 0 ? 0 : until;
}

/*
 * Lets those run who wait for this processor before we ask for events: where clients and servers
 * share it with us, their answers come together then, and a pass serves many for the price of one.
 * On a processor of our own this is nothing. Returns how long it took.
 */
static int64_t give_way(struct herd_worker *w)
{
	int64_t before;

	if (w->crowd < CROWD || has_work(w) || !herd_worker_settings(w)->give_way)
		return 0;
	before = herd_clock_us();
	if (before < w->yield_after_us)
		return 0;
	w->yields++;
	sched_yield();
	return herd_clock_us() - before;
}

/* It took long. Worth it only when it brought as many events; else strangers use the processor. */
static void judge_yield(struct herd_worker *w, int64_t took_us, int n)
{
	int64_t pause = took_us * YIELD_PAUSE_FACTOR;

	if (took_us <= (int64_t)n * YIELD_EVENT_US)
		return;
	if (w->yields < YIELD_STREAK && pause < w->yield_pause_us * 2)
		pause = w->yield_pause_us * 2;
	w->yields = 0;
	w->yield_pause_us = pause < YIELD_PAUSE_MAX_US ? pause : YIELD_PAUSE_MAX_US;
	w->yield_after_us = w->now_us + w->yield_pause_us;
}

static int wait_events(void *arg, int64_t timeout_us)
{
	return herd_crew_wait(arg, timeout_us);
}

/* Gives way and waits; the events are in the workers of this thread. */
static void gather_events(struct herd_worker *w)
{
	int64_t yielded_us = give_way(w);

	w->crowd = herd_linger_wait(&w->linger, wait_events, w, wait_us(w),
				    herd_worker_settings(w)->spin_us, &w->now_us);
	if (yielded_us > YIELD_GOOD_US)
		judge_yield(w, yielded_us, w->crowd);
}

static void work_off(struct herd_worker *w, struct herd_linger *linger)
{
	int n = w->nevents;

	w->nevents = 0;
	for (int i = 0; i < n; i++)
		dispatch(w, w->events[i].data.ptr, w->events[i].events, linger);
	run_ready(w);
}

static void janitors(struct herd_worker *w)
{
	w->next_janitor_us = w->now_us + JANITOR_US;
	herd_client_janitor(w);
	herd_server_janitor(w);
	herd_cancel_janitor(w);
	herd_suspend_janitor(w);
	herd_leave_janitor(w);
	herd_pools_janitor(w);
	herd_hubs_janitor(w);
	herd_idle_janitor(w);
}

static void flush(struct herd_worker *w)
{
	if (w->batch)
		herd_batch_flush(w->batch);
}

/* One round of a thread, over all workers that it runs. More may join on the way. */
static void pass(struct herd_worker *w)
{
	for (struct herd_worker *m = w; m; m = herd_crew_next(w, m)) {
		atomic_fetch_add(&m->passes, 1);
		m->live = atomic_load(&w->px->live);
	}
	gather_events(w);
	for (struct herd_worker *m = w; m; m = herd_crew_next(w, m)) {
		/* Again: what was set while we slept holds for what woke us. */
		m->live = atomic_load(&w->px->live);
		m->now_us = w->now_us;
		m->batching = w->crowd >= CROWD ? w->batch : NULL;
		herd_suspend_pass(m);
	}
	for (struct herd_worker *m = w; m; m = herd_crew_next(w, m)) {
		work_off(m, &w->linger);
		if (!herd_list_empty(&m->streams))
			herd_streams_run(m);
	}
	flush(w);
	for (struct herd_worker *m = w; m; m = herd_crew_next(w, m)) {
		if (!herd_list_empty(&m->polls))
			herd_server_polls(m);
		if (m->now_us >= m->next_janitor_us)
			janitors(m);
	}
	flush(w);
	for (struct herd_worker *m = w; m; m = herd_crew_next(w, m))
		herd_client_sweep(m, false);
	herd_crew_turn(w);
}

static void *loop(void *arg)
{
	struct herd_worker *w = arg;

	while (herd_crew_ready(w))
		pass(w);
	return NULL;
}

static int init_worker(struct herd_px *px, struct herd_worker *w, int id)
{
	struct epoll_event ev = { .events = EPOLLIN };

	w->px = px;
	w->id = id;
	w->now_us = herd_clock_us();
	w->live = atomic_load(&px->live);
	herd_linger_init(&w->linger);
	herd_crew_init(w, herd_worker_settings(w)->busy_percent > 0);
	pthread_mutex_init(&w->inbox_lock, NULL);
	herd_list_init(&w->inbox);
	herd_list_init(&w->clients);
	herd_list_init(&w->servers);
	herd_list_init(&w->run);
	herd_list_init(&w->polls);
	herd_list_init(&w->streams);
	herd_list_init(&w->cancels);
	herd_list_init(&w->askers);
	herd_list_init(&w->gone);
	herd_list_init(&w->going);
	herd_list_init(&w->spare);
	w->scratch_bytes = (size_t)herd_worker_settings(w)->pkt_buf;
	if (w->scratch_bytes < HERD_SCRATCH_BYTES)
		w->scratch_bytes = HERD_SCRATCH_BYTES;
	if (w->scratch_bytes > HERD_SCRATCH_MAX_BYTES)
		w->scratch_bytes = HERD_SCRATCH_MAX_BYTES;
	w->scratch = malloc(w->scratch_bytes);
	w->epfd = epoll_create1(EPOLL_CLOEXEC);
	w->wake = (struct herd_conn){ .kind = HERD_CONN_WAKE,
				      .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) };
	if (!w->scratch || w->epfd < 0 || w->wake.fd < 0)
		return -EMFILE;
	ev.data.ptr = &w->wake;
	if (epoll_ctl(w->epfd, EPOLL_CTL_ADD, w->wake.fd, &ev) < 0)
		return -errno;
	/* Taken from another process they stay shut until it has left them (takeover.c). */
	for (int i = 0; i < px->ndoors && !px->elder && atomic_load(&w->host) == w; i++) {
		ev.events = EPOLLIN | EPOLLEXCLUSIVE;
		ev.data.ptr = &px->doors[i].conn;
		if (epoll_ctl(w->epfd, EPOLL_CTL_ADD, px->doors[i].conn.fd, &ev) < 0)
			return -errno;
	}
	return 0;
}

/* Tells why not when it was asked for by name. */
static void init_batch(struct herd_px *px, struct herd_worker *w)
{
	int mode = herd_worker_settings(w)->io_uring;
	int rc = mode == HERD_URING_OFF ? 0 : herd_batch_new(&w->batch);

	if (rc < 0 && w->id == 0)
		herd_log_at(px->log, mode == HERD_URING_ON ? HERD_LOG_WARNING : HERD_LOG_DEBUG,
			    "io_uring is not available (%s), going on without it", strerror(-rc));
}

int herd_workers_start(struct herd_px *px, int n, struct herd_err *err)
{
	sigset_t all, old;
	int rc = 0;

	px->workers = aligned_alloc(64, (sizeof(*px->workers) * (size_t)n + 63) / 64 * 64);
	if (!px->workers)
		return herd_err_set(err, -ENOMEM, "out of memory");
	memset(px->workers, 0, sizeof(*px->workers) * (size_t)n);
	px->nworkers = n;
	for (int i = 0; rc == 0 && i < n; i++)
		rc = init_worker(px, &px->workers[i], i);
	for (int i = 0; rc == 0 && i < n; i++)
		init_batch(px, &px->workers[i]);
	px->verdicts = herd_verdicts_new(px);
	if (rc == 0 && !px->verdicts)
		rc = -ENOMEM;
	if (rc < 0)
		return herd_err_set(err, rc, "could not set up a worker thread: %s", strerror(-rc));
	/* Signals are for the main thread. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	for (int i = 0; rc == 0 && i < n; i++)
		rc = -pthread_create(&px->workers[i].thread, NULL, loop, &px->workers[i]);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc < 0)
		return herd_err_set(err, rc, "could not start a thread: %s", strerror(-rc));
	return 0;
}

static void close_all(struct herd_worker *w)
{
	w->now_us = herd_clock_us();
	w->batching = NULL;
	while (!herd_list_empty(&w->clients)) {
		struct herd_client *c =
			herd_container_of(w->clients.next, struct herd_client, node);

		/* Only its end frees what a query of our own has; who asked is told, if still
		 * there. */
		if (c->internal)
			herd_client_fail(c, NULL, "shutting down");
		else
			herd_client_close(c, NULL);
	}
	while (!herd_list_empty(&w->servers))
		herd_server_drop(w, herd_container_of(w->servers.next, struct herd_server, node),
				 NULL);
}

void herd_workers_stop(struct herd_px *px)
{
	atomic_store(&px->quit, true);
	for (int i = 0; i < px->nworkers; i++) {
		wake(&px->workers[i]);
		herd_crew_dismiss(&px->workers[i]);
	}
	for (int i = 0; i < px->nworkers; i++)
		pthread_join(px->workers[i].thread, NULL);
	for (int i = 0; i < px->nworkers; i++)
		close_all(&px->workers[i]);
	herd_verdicts_stop(px->verdicts);
	/* Notes that crossed the end still hand over what must be freed. */
	for (int i = 0; i < px->nworkers; i++)
		run_inbox(&px->workers[i]);
	if (px->nworkers > 0)
		herd_pools_close(&px->workers[0]);
	for (int i = 0; i < px->nworkers; i++) {
		struct herd_worker *w = &px->workers[i];

		while (!herd_list_empty(&w->servers))
			herd_server_drop(
				w, herd_container_of(w->servers.next, struct herd_server, node),
				NULL);
		herd_cancel_stop(w);
		herd_client_sweep(w, true);
		herd_keys_free(w);
		herd_batch_free(w->batch);
		herd_buf_free(&w->aux);
		herd_buf_free(&w->verdict_key);
		free(w->scratch);
		close(w->epfd);
		w->epfd = -1;
		close(w->wake.fd);
		pthread_mutex_destroy(&w->inbox_lock);
		herd_crew_free(w);
	}
}

void herd_retire(struct herd_px *px, void *p, void (*fn)(void *))
{
	struct herd_retired *r = malloc(sizeof(*r));

	/* Out of memory: better lost than freed too early. */
	if (!r)
		return;
	*r = (struct herd_retired){ .p = p, .fn = fn, .main_passes = px->main_passes };
	for (int i = 0; i < px->nworkers; i++)
		r->passes[i] = atomic_load(&px->workers[i].passes);
	pthread_mutex_lock(&px->retire_lock);
	r->next = px->retired;
	px->retired = r;
	pthread_mutex_unlock(&px->retire_lock);
}

static bool passed(const struct herd_px *px, const struct herd_retired *r)
{
	/* Two more: the pass under way when it was retired, and one begun since for certain. */
	for (int i = 0; i < px->nworkers; i++) {
		if (atomic_load(&px->workers[i].passes) < r->passes[i] + 2)
			return false;
	}
	return px->main_passes >= r->main_passes + 2;
}

void herd_retire_sweep(struct herd_px *px, bool all)
{
	struct herd_retired *ripe = NULL;

	atomic_fetch_add(&px->main_passes, 1);
	pthread_mutex_lock(&px->retire_lock);
	for (struct herd_retired **p = &px->retired; *p;) {
		struct herd_retired *r = *p;

		if (!all && !passed(px, r)) {
			p = &r->next;
			continue;
		}
		*p = r->next;
		r->next = ripe;
		ripe = r;
	}
	pthread_mutex_unlock(&px->retire_lock);
	while (ripe) {
		struct herd_retired *r = ripe;

		ripe = r->next;
		r->fn(r->p);
		free(r);
	}
}

static void fanout_end(struct herd_worker *w, struct herd_note *n)
{
	struct herd_fanout *job = herd_container_of(n, struct herd_fanout, end);

	job->done(w, job->arg);
	free(job);
}

static void fanout_each(struct herd_worker *w, struct herd_note *n)
{
	struct herd_fanout *job = herd_container_of(n, struct herd_fanout, each_note[w->id]);

	job->each(w, job->arg);
	if (atomic_fetch_sub(&job->left, 1) == 1)
		herd_worker_post(job->origin, &job->end);
}

int herd_worker_fanout(struct herd_worker *w, herd_fanout_fn each, herd_fanout_fn done, void *arg)
{
	struct herd_fanout *job = calloc(1, sizeof(*job));

	if (!job)
		return -ENOMEM;
	job->origin = w;
	job->each = each;
	job->done = done;
	job->arg = arg;
	job->end.fn = fanout_end;
	atomic_init(&job->left, w->px->nworkers);
	for (int i = 0; i < w->px->nworkers; i++) {
		job->each_note[i].fn = fanout_each;
		herd_worker_post(&w->px->workers[i], &job->each_note[i]);
	}
	return 0;
}

void herd_proxy_stop(struct herd_px *px, enum herd_stop how)
{
	uint64_t one = 1;

	atomic_store(&px->stop, (int)how);
	if (write(px->stop_fd, &one, sizeof(one)) < 0)
		herd_warning(px->log, "could not wake the main thread: %s", strerror(errno));
}
