/*
 * pool/session.h - what a client's session is made of beside its transaction, followed from what it
 * sends (sql/classify.h) and what the server answers.
 *
 * Acts are noted when they are sent, counted when the server completes their statement, and taken
 * for good when the transaction is; those of a transaction that is rolled back are forgotten (but
 * PREPARE and DEALLOCATE, which PostgreSQL does not take back either). What only one server has
 * pins the client to it from the moment it is sent.
 */
#pragma once
#include "pool/sets.h"
#include "sql/classify.h"

struct herd_session_batch;
struct herd_session_change;

/* A zeroed struct is a session of which nothing is known. */
struct herd_session {
	struct herd_sets *sets; /* in force, and to be made on every server */
	unsigned pins;          /* enum herd_sql_pin */
	char **channel;         /* listened to, in force */
	size_t nchannels;
	bool channels_changed; /* since the reader last cleared it */
	bool cleared;          /* DISCARD ALL took place; for the reader to clear */
	bool maybe_unpinned;   /* some pins may not hold; for the reader to ask, and clear */
	bool prepared;         /* sets hold something that PREPARE made */
	/* inside */
	bool errored;
	bool doubt; /* a transaction, or a part of it unknown to us, was rolled back */
	struct herd_session_batch
		*sent; /* requests whose answers are outstanding, the first first */
	size_t nsent, room_sent;
	struct herd_session_change *change; /* done in the transaction under way, with savepoints */
	size_t nchanges, room_changes;
};

void herd_session_free(struct herd_session *s);
/* Nothing is outstanding and no transaction is under way: is there anything to remember? */
bool herd_session_idle(const struct herd_session *s);
/* Do acts of these kinds matter to it now? */
static inline bool herd_session_wants(const struct herd_session *s, unsigned kinds)
{
	return (kinds & ~HERD_ACTS_THAT_END) != 0 ||
	       (s && (s->nsent > 0 || s->nchanges > 0 || s->pins != 0 || s->prepared));
}
/* A request with these acts was sent; takes a reference of its own. 0 or -ENOMEM. */
int herd_session_sent(struct herd_session *s, struct herd_sql_acts *acts);
/*
 * The next statement of the first request is complete: its CommandComplete had this tag (n bytes).
 * May this setting be left to others (pool/vars.h)? skip may be NULL. Returns the kind of the first
 * act of the statement, or -1.
 */
typedef bool (*herd_session_skip_fn)(void *arg, const char *name);
int herd_session_done(struct herd_session *s, const char *tag, size_t n, herd_session_skip_fn skip,
		      void *arg);
/* The same of a request that was not noted: it may have ended the transaction. */
void herd_session_tag(struct herd_session *s, const char *tag, size_t n, herd_session_skip_fn skip,
		      void *arg);
/* The first request is over, or never happened. */
void herd_session_over(struct herd_session *s);
/* An error came. */
static inline void herd_session_error(struct herd_session *s)
{
	s->errored = true;
}
/* ReadyForQuery with this status. */
void herd_session_ready(struct herd_session *s, char tx, herd_session_skip_fn skip, void *arg);
/* The server is gone with all that was outstanding. */
void herd_session_lost(struct herd_session *s);
/* "temporary objects, prepare" */
void herd_session_pins_text(unsigned pins, struct herd_buf *ret);
