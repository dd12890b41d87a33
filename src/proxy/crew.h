/*
 * proxy/crew.h - which thread runs which workers.
 *
 * Each worker has a thread. But clients that keep one thread busy for half of its time are served
 * better by one than by two: each pass is fuller, nothing crosses over, and peers that share the
 * processors with us are woken in turn. So a thread that has little to do hands its worker to
 * another one and rests, and one that has too much gives half of its workers to one that rests.
 *
 * The thread of worker j runs the workers j, j + span, j + 2 span and so on. Span is a power of
 * two: it doubles when half of them are given away, to the thread of j + span, and halves when
 * these come back. At the start the first thread runs all of them.
 *
 * Only its thread changes a struct herd_crew, but for what is under its lock. A worker is passed on
 * between two passes, with nothing left in a batch.
 */
#pragma once
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct herd_worker;

struct herd_crew {
	pthread_mutex_t lock;
	pthread_cond_t called;
	int call;              /* lock; 0: to rest; else the span to begin with */
	int span;              /* 0: rests */
	_Atomic int told_span; /* the same, for others */
	_Atomic int told_busy; /* per cent of the last window that were processor time */
	int64_t window_us;     /* when it began */
	int64_t work_us;       /* of the thread until then */
	int streak;            /* windows in a row that were too busy, or (negative) idle */
	int64_t called_us;
	int64_t pause_us;  /* from a call to the next rest; grows when it is called soon again */
	int64_t rested_us; /* when it went to rest */
};

/* Before threads run. gather: the first thread begins with all workers, the others rest. */
void herd_crew_init(struct herd_worker *w, bool gather);
void herd_crew_free(struct herd_worker *w);
/* On the thread of w, before each pass: rests until it is called. False: all have to end. */
bool herd_crew_ready(struct herd_worker *w);
/* Wakes it to see that all have to end. Any thread. */
void herd_crew_dismiss(struct herd_worker *w);
/*
 * The events of all workers of the thread of w, in their events and nevents. Returns how many; 0
 * when timeout_us passed.
 */
int herd_crew_wait(struct herd_worker *w, int64_t timeout_us);
/* On the thread of w, behind each pass: gives some workers away, or all and rests, if it is time.
 */
void herd_crew_turn(struct herd_worker *w);
