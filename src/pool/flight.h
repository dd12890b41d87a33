/*
 * pool/flight.h - what a server connection still has to answer, in order.
 *
 * Every request that is answered is pushed when it is sent; every message that comes back says
 * which of them is done. So the relay knows when a server is free, where in the stream an answer of
 * our own belongs (a Parse that needs no sending), and which answers the client must not see.
 *
 * Requests are the protocol's letters: Q, P, B, D, E, C, S, F; 'c' (CopyDone or CopyFail) is kept
 * as a mark, for a Sync sent while the server reads COPY data is never answered.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum herd_flight_act {
	HERD_FLIGHT_PASS = 0, /* the answer goes to the client */
	HERD_FLIGHT_DROP,     /* sent by us: the answer is swallowed */
	HERD_FLIGHT_FAKE      /* not sent: we answer when its turn comes */
};

struct herd_stmt;

/*
 * A statement of P or C (may be NULL) comes with a reference of the caller's, which the request
 * hands back when it is done or lost; of a HERD_FLIGHT_FAKE it is only a mark to compare.
 */
struct herd_flight_item {
	struct herd_stmt *stmt;
	char type;
	uint8_t act;  /* enum herd_flight_act */
	bool noted;   /* the session follows it (pool/session.h) */
	uint8_t mark; /* of a request of ours: what it is for, 0: nothing in particular */
};

/* A zeroed struct is an empty queue. */
struct herd_flight {
	struct herd_flight_item *ring;
	uint32_t head, count, cap; /* cap is 0 or a power of two */
	uint32_t syncs;            /* of the requests: Syncs, which the server will answer */
	uint32_t changes;          /* of them: with a statement, not FAKE */
	uint32_t batch;            /* grows with each Sync that is sent */
	bool skipping;             /* an error came; the server ignores all up to the next Sync */
	bool copying;              /* the server reads COPY data and ignores Sync */
};

/*
 * Called for requests that did not happen, the last one sent first: the one that failed and those
 * that the server threw away after it. So effects that were taken for granted can be undone.
 */
typedef void (*herd_flight_lost_fn)(void *arg, const struct herd_flight_item *item);

void herd_flight_free(struct herd_flight *f);
/* Forgets everything, keeps the memory. No statement may be under way. */
void herd_flight_reset(struct herd_flight *f);
/* Takes the statements off all requests; fn gets those that have a reference. How many had. */
uint32_t herd_flight_forget_stmts(struct herd_flight *f, herd_flight_lost_fn fn, void *arg);

/*
 * A request was sent (or, with HERD_FLIGHT_FAKE, was not). Returns 1 when it was noted, 0 when the
 * server will ignore it (the caller must not take its effect for granted), -ENOMEM.
 */
int herd_flight_push(struct herd_flight *f, char type, enum herd_flight_act act,
		     struct herd_stmt *stmt);

/* Parse, Bind and Execute of our own, whose answers their asker gets. */
void herd_flight_push_query(struct herd_flight *f);

/* Marks the request that was pushed last, which must be there: see struct herd_flight_item. */
void herd_flight_note(struct herd_flight *f);
void herd_flight_mark(struct herd_flight *f, uint8_t mark);
/* Of a FAKE one: the statement that it carries. */
void herd_flight_carry(struct herd_flight *f, struct herd_stmt *stmt);

/*
 * The server sent a message of this type. Returns what to do with it (PASS or DROP); done, unless
 * NULL, gets the request that it completed (type 0: none). Messages that fit nothing pass.
 *
 * An error of a request of ours that stands in a batch passes, too: the server ignores what the
 * client sent behind it, so it is the one answer that the client gets up to its Sync.
 */
enum herd_flight_act herd_flight_answer(struct herd_flight *f, char type, herd_flight_lost_fn lost,
					void *arg, struct herd_flight_item *done);

/*
 * Takes one answer of our own whose turn has come: '1' or '3', 0 when there is none. done gets the
 * request, unless it is NULL.
 */
char herd_flight_take_fake(struct herd_flight *f, struct herd_flight_item *done);

/*
 * A Parse or Close of it is under way in an earlier batch than the next request's: that may yet be
 * skipped when this one is not.
 */
bool herd_flight_changing(const struct herd_flight *f, const struct herd_stmt *stmt);
/* The same of any batch. */
bool herd_flight_changes(const struct herd_flight *f, const struct herd_stmt *stmt);
/*
 * A Parse of it was lost: a Close of it in a later batch has nothing to close, whatever becomes of
 * it. How many there were; each had a reference, which is the caller's now.
 */
uint32_t herd_flight_disown(struct herd_flight *f, const struct herd_stmt *stmt);
/* How many requests are outstanding that end with ReadyForQuery for the client. */
uint32_t herd_flight_rounds(const struct herd_flight *f);
/* Is something outstanding behind the last of them: a batch whose Sync has not come yet? */
bool herd_flight_open_batch(const struct herd_flight *f);
/* The request whose answer comes next, NULL when there is none. */
static inline const struct herd_flight_item *herd_flight_head(const struct herd_flight *f)
{
	return f->count > 0 ? &f->ring[f->head] : NULL;
}

/* Is the next answer for us, not for the client? */
static inline bool herd_flight_drops(const struct herd_flight *f)
{
	return f->count > 0 && f->ring[f->head].act == HERD_FLIGHT_DROP;
}

/* Nothing is outstanding. */
static inline bool herd_flight_idle(const struct herd_flight *f)
{
	return f->count == 0 && !f->skipping && !f->copying;
}
void herd_flight_check(const struct herd_flight *f);
