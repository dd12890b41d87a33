/*
 * proxy/helpers.h - threads for what may block (PAM, LDAP) or takes a while (deriving keys), so
 * that a worker never does. There are a few at most, started when they are needed; what comes
 * beyond that waits its turn. What blocks and what does not have helpers of their own.
 */
#pragma once
#include "proxy/worker.h"

/* One job, embedded in what it is about. */
struct herd_job {
	struct herd_list node;
	struct herd_note note;
	struct herd_worker *w;           /* whose it is; the rest is filled in by submit */
	void (*run)(struct herd_job *j); /* on a helper thread */
	void (*done)(struct herd_worker *w, struct herd_job *j); /* on w; frees it */
	void (*discard)(struct herd_job *j);                     /* frees it: nobody will run it */
	_Atomic bool dropped; /* nobody wants it any more: it is not run, but done is */
};

struct herd_helpers;

/* threads: at most so many. NULL when out of memory. */
struct herd_helpers *herd_helpers_new(int threads);
/* 0; -ENOMEM or -ECANCELED: not taken. */
int herd_helpers_submit(struct herd_helpers *h, struct herd_job *j);
/*
 * No job ends on a worker after this: before the workers stop. A thread that hangs in a library is
 * left to the end of the process.
 */
void herd_helpers_stop(struct herd_helpers *h);
/* Discards what is left; no worker runs any more. */
void herd_helpers_free(struct herd_helpers *h);
