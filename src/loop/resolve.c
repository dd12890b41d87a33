#include "loop/resolve.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { MAX_ADDRESSES = 64, STACK_BYTES = 256 << 10 };

/* What the thread and the loop share; the one that lets go last frees it. */
struct shared {
	atomic_int refs;
	int fd; /* told when the answer is there */
	char *host;
	int gai;
	size_t n;
	char *address[MAX_ADDRESSES];
};

struct herd_resolve {
	struct shared *shared;
	struct herd_io *io;
	struct herd_timer *timer;
	herd_resolve_fn fn;
	void *arg;
};

static void shared_unref(struct shared *s)
{
	if (atomic_fetch_sub(&s->refs, 1) > 1)
		return;
	for (size_t i = 0; i < s->n; i++)
		free(s->address[i]);
	if (s->fd >= 0)
		close(s->fd);
	free(s->host);
	free(s);
}

static void *run(void *arg)
{
	struct shared *s = arg;
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list = NULL;
	uint64_t one = 1;

	s->gai = getaddrinfo(s->host, NULL, &hints, &list);
	for (struct addrinfo *ai = s->gai == 0 ? list : NULL; ai && s->n < MAX_ADDRESSES;
	     ai = ai->ai_next) {
		char text[INET6_ADDRSTRLEN];
		const void *bytes =
			ai->ai_family == AF_INET6
				? (const void *)&((struct sockaddr_in6 *)ai->ai_addr)->sin6_addr
				: (const void *)&((struct sockaddr_in *)ai->ai_addr)->sin_addr;

		if (inet_ntop(ai->ai_family, bytes, text, sizeof(text)) &&
		    (s->address[s->n] = strdup(text)))
			s->n++;
	}
	if (list)
		freeaddrinfo(list);
	/* Nobody would be told of a failure. */
	if (write(s->fd, &one, sizeof(one)) < 0)
		s->n = 0;
	shared_unref(s);
	return NULL;
}

void herd_resolve_cancel(struct herd_resolve *r)
{
	if (!r)
		return;
	herd_io_free(r->io);
	herd_timer_free(r->timer);
	if (r->shared)
		shared_unref(r->shared);
	free(r);
}

static void on_answer(void *arg, int events)
{
	struct herd_resolve *r = arg;
	struct shared *s = r->shared;
	struct herd_err err = HERD_ERR_INIT;

	if (s->n == 0)
		herd_err_set(&err, -ENOENT, "could not translate host name \"%s\" to address: %s",
			     s->host, s->gai ? gai_strerror(s->gai) : "no address");
	r->fn(r->arg, (const char *const *)s->address, s->n, s->n ? NULL : &err);
	herd_err_clear(&err);
	herd_resolve_cancel(r);
}

static void on_timeout(void *arg)
{
	struct herd_resolve *r = arg;
	struct herd_err err = HERD_ERR_INIT;

	herd_err_set(&err, -ETIMEDOUT, "could not translate host name \"%s\" to address: timeout",
		     r->shared->host);
	r->fn(r->arg, NULL, 0, &err);
	herd_err_clear(&err);
	herd_resolve_cancel(r);
}

static int start_thread(struct shared *s)
{
	pthread_attr_t attr;
	pthread_t thread;
	sigset_t all, before;
	int rc = pthread_attr_init(&attr);

	if (rc != 0)
		return -rc;
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	/* Signals are the loop's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(&thread, &attr, run, s);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return -rc;
}

struct herd_resolve *herd_resolve_start(struct herd_loop *l, const char *host, int64_t timeout_ms,
					herd_resolve_fn fn, void *arg)
{
	struct herd_resolve *r = calloc(1, sizeof(*r));
	struct shared *s = calloc(1, sizeof(*s));

	if (!r || !s) {
		free(r);
		free(s);
		return NULL;
	}
	atomic_init(&s->refs, 1);
	s->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->host = strdup(host);
	r->shared = s;
	r->fn = fn;
	r->arg = arg;
	if (s->fd >= 0 && s->host) {
		r->io = herd_io_new(l, s->fd, on_answer, r);
		r->timer = herd_timer_new(l, on_timeout, r);
	}
	if (r->io && r->timer) {
		atomic_fetch_add(&s->refs, 1);
		if (start_thread(s) == 0) {
			herd_io_want(r->io, HERD_IO_READ);
			herd_timer_set(r->timer, timeout_ms);
			return r;
		}
		atomic_fetch_sub(&s->refs, 1);
	}
	herd_resolve_cancel(r);
	return NULL;
}
