#include "proxy/helpers.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

enum { STOP_PATIENCE_S = 1 };

struct herd_helpers {
	pthread_mutex_t lock;
	pthread_cond_t more, ended;
	struct herd_list jobs;
	int threads, idle, max;
	bool quit;
};

struct herd_helpers *herd_helpers_new(int threads)
{
	struct herd_helpers *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->max = threads;
	pthread_mutex_init(&h->lock, NULL);
	pthread_cond_init(&h->more, NULL);
	pthread_cond_init(&h->ended, NULL);
	herd_list_init(&h->jobs);
	return h;
}

static void done_note(struct herd_worker *w, struct herd_note *n)
{
	struct herd_job *j = herd_container_of(n, struct herd_job, note);

	j->done(w, j);
}

static void *help(void *arg)
{
	struct herd_helpers *h = arg;

	pthread_mutex_lock(&h->lock);
	while (!h->quit) {
		if (herd_list_empty(&h->jobs)) {
			h->idle++;
			pthread_cond_wait(&h->more, &h->lock);
			h->idle--;
			continue;
		}
		struct herd_job *j = herd_container_of(h->jobs.next, struct herd_job, node);

		herd_list_remove(&j->node);
		pthread_mutex_unlock(&h->lock);
		if (!atomic_load(&j->dropped))
			j->run(j);
		pthread_mutex_lock(&h->lock);
		/* Under the lock: after a stop there may be no worker to post to. */
		if (h->quit) {
			herd_list_push_back(&h->jobs, &j->node);
		} else {
			j->note.fn = done_note;
			herd_worker_post(j->w, &j->note);
		}
	}
	h->threads--;
	pthread_cond_signal(&h->ended);
	pthread_mutex_unlock(&h->lock);
	return NULL;
}

/* The lock is held. */
static void start_thread(struct herd_helpers *h)
{
	sigset_t all, old;
	pthread_attr_t attr;
	pthread_t id;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	if (pthread_create(&id, &attr, help, h) == 0)
		h->threads++;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
}

int herd_helpers_submit(struct herd_helpers *h, struct herd_job *j)
{
	int rc = 0;

	pthread_mutex_lock(&h->lock);
	if (!h->quit && h->idle == 0 && h->threads < h->max)
		start_thread(h);
	if (h->quit || h->threads == 0) {
		rc = h->quit ? -ECANCELED : -ENOMEM;
	} else {
		herd_list_push_back(&h->jobs, &j->node);
		pthread_cond_signal(&h->more);
	}
	pthread_mutex_unlock(&h->lock);
	return rc;
}

void herd_helpers_stop(struct herd_helpers *h)
{
	struct timespec until;

	if (!h)
		return;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += STOP_PATIENCE_S;
	pthread_mutex_lock(&h->lock);
	h->quit = true;
	pthread_cond_broadcast(&h->more);
	while (h->threads > 0 && pthread_cond_timedwait(&h->ended, &h->lock, &until) == 0)
		;
	pthread_mutex_unlock(&h->lock);
}

void herd_helpers_free(struct herd_helpers *h)
{
	if (!h)
		return;
	pthread_mutex_lock(&h->lock);
	bool all = h->threads == 0;

	while (!herd_list_empty(&h->jobs)) {
		struct herd_job *j = herd_container_of(h->jobs.next, struct herd_job, node);

		herd_list_remove(&j->node);
		j->discard(j);
	}
	pthread_mutex_unlock(&h->lock);
	if (!all)
		return; /* somebody still holds on to it */
	pthread_mutex_destroy(&h->lock);
	pthread_cond_destroy(&h->more);
	pthread_cond_destroy(&h->ended);
	free(h);
}
