/*
 * proxy/split.h - reads of a database on the primary that its replicas serve.
 *
 * A client of such a database has two pools. When it has no server, and a request comes, the text
 * tells which pool it asks: the replicas' for a READ ONLY transaction and, with split = auto, for
 * statements that are proved to be reads (proxy/verdict.h); the primary's for everything else and
 * whenever there is doubt. A transaction stays where it began, a pipeline up to its Sync too.
 *
 * Reads follow the client's own writes: after a transaction that may have written, the primary is
 * asked for its WAL position, and a replica is used only when it has replayed that much (causal.c).
 * That is asked behind the client's back, so that the answer is there when it reads; of one that
 * goes from write to write, only when a read comes.
 */
#pragma once
#include "proxy/client.h"

enum herd_split_why {
	HERD_WHY_TRANSACTION = 0, /* to a replica: READ ONLY transaction */
	HERD_WHY_SESSION,         /* the session wants its reads there */
	HERD_WHY_HINT,
	HERD_WHY_PROVED,                    /* the statement only reads */
	HERD_WHY_NREPLICA,                  /* down to here: served by a replica */
	HERD_WHY_WRITE = HERD_WHY_NREPLICA, /* to the primary: it says that it writes */
	HERD_WHY_TOLD,                      /* hint */
	HERD_WHY_UNPROVED,
	HERD_WHY_UNKNOWN, /* being looked at for the first time */
	HERD_WHY_NOBODY,  /* no replica can be used */
	HERD_WHY_BEHIND,  /* replicas have not replayed the client's writes */
	HERD_WHY_AGAIN,   /* a replica could not do it */
	HERD_WHY_NR
};
const char *herd_split_why_name(enum herd_split_why why);

/* Per database and worker. */
struct herd_routes {
	_Alignas(64) _Atomic uint64_t n[HERD_WHY_NR];
};

enum herd_dirt {
	HERD_CLEAN = 0,
	HERD_DIRTY_OPEN, /* in a transaction that is open: a ROLLBACK makes it clean */
	HERD_DIRTY
};

struct herd_split {
	struct herd_pool *home, *reads;
	int asked;    /* enum herd_split_mode by the client; HERD_SPLIT_UNSET: as configured */
	bool blocked; /* its next message waits for an answer to the proxy, or of the batch before
		       */
	bool go_home; /* the next request is for the primary, because of: */
	enum herd_split_why why_home;
	bool inject; /* begin is to be sent ahead of the next request, for the transaction moves */
	bool first;  /* linked, and nothing was sent yet */
	bool in_batch; /* behind a message that is not the last of its batch */
	bool single;   /* on a replica for statements that were proved, not for a transaction */
	uint8_t dirty; /* on the primary, and may have written there; see enum herd_dirt */
	bool again;    /* the replica's error is swallowed: the primary is asked again */
	bool ddl;      /* the open transaction changed the schema */
	uint8_t seen;  /* answers before the first row that the client has got from a replica */
	uint8_t skip;  /* so many of those come once more */
	char *begin;   /* BEGIN that was sent to the primary, and nothing after it; or see inject */

	/* causal.c */
	bool asking;    /* a question about WAL is under way on its server */
	bool owes;      /* it wrote, and how far was not asked yet */
	bool asks;      /* its next server is for that question only */
	bool wrote_now; /* its last transaction may have written */
	bool writes_on; /* after the one before that it went on with a write */
	uint64_t wrote; /* replicas must have replayed this; 0: anything will do */
	uint32_t wrote_timeline;
	uint64_t got; /* the answer so far, 0: none */
	int64_t got_started, wait_until_us;
};

enum herd_split_step {
	HERD_SPLIT_GO = 0,
	HERD_SPLIT_LATER, /* more data is needed, or an answer: the client is woken then */
	HERD_SPLIT_LEFT   /* the client has no server any more */
};

/*
 * At the end of a login: has the client two pools? attrs: what it said as target_session_attrs,
 * NULL: nothing. False: it was told an error and is gone.
 */
bool herd_split_login(struct herd_client *c, const char *attrs);
void herd_split_free(struct herd_client *c);

/* A message came. n bytes of it and of what follows are there. */
enum herd_split_step herd_split_choose(struct herd_client *c, const char *p, size_t n);
enum herd_split_step herd_split_goes_on(struct herd_client *c, const char *p, size_t n);
/* The client got a server: what goes ahead of its request. False: the request has to wait. */
bool herd_split_assigned(struct herd_client *c);
/* Its server is fine: sends what goes ahead. */
void herd_split_inject(struct herd_client *c);
/* The transaction is over on c->server. True: there is a question to it first. */
bool herd_split_ends(struct herd_client *c);
/* An answer for the client, of which it has got this part already? Then it is not sent again. */
bool herd_split_passes(struct herd_client *c, char type);
/* CommandComplete for the client. */
void herd_split_tag(struct herd_client *c, const char *tag, size_t n);
/* What it did to the schema is there for others now. */
void herd_split_schema(struct herd_client *c);
/* An error that only a standby gives: the primary will be asked. */
bool herd_split_swallows(struct herd_client *c, const char *sqlstate);
/* May what it sent be sent once more? It is noted what the client must not get twice. */
bool herd_split_retries(struct herd_client *c);
/* Its server died. True: nothing of the client's was lost, it goes on. */
bool herd_split_survives(struct herd_client *c);
/* It waits for a server of the replicas' pool: too long? */
void herd_split_check_wait(struct herd_client *c);
/*
 * It has been idle for a while: how far it wrote is asked now, not when the primary may be gone.
 */
void herd_split_settle(struct herd_client *c);
/* The client leaves while only a question of the proxy is open: its server is kept. */
bool herd_split_keep_server(struct herd_client *c);

/* causal.c: questions about WAL, bits of herd_server.asks; and what their answers are for. */
enum herd_question { HERD_ASK_WROTE = 0, HERD_ASK_REPLAYED, HERD_ASK_LATER };
enum { HERD_MARK_WROTE = 1, HERD_MARK_REPLAYED };
bool herd_causal_ask_wrote(struct herd_client *c);
/* The replica at hand has replayed what the client wrote; false: it has been asked. */
bool herd_causal_fits(struct herd_client *c);
void herd_causal_row(struct herd_client *c, const void *body, size_t n);
/* The answer is complete. True: the server is to be released. */
bool herd_causal_answered(struct herd_client *c, uint8_t mark);
