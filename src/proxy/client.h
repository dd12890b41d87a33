/*
 * proxy/client.h - one client connection: login, waiting, relaying, console.
 */
#pragma once
#include "proxy/pools.h"
#include "proxy/server.h"
#include "wire/startup.h"

enum herd_client_state {
	HERD_CLIENT_STARTUP = 0, /* waits for its startup packet */
	HERD_CLIENT_TLS,         /* handshake */
	HERD_CLIENT_AUTH,        /* waits for a password message */
	HERD_CLIENT_LOOKUP,      /* auth_query runs */
	HERD_CLIENT_WELCOME,     /* authentic; waits for the first server of its pool */
	HERD_CLIENT_IDLE,
	HERD_CLIENT_WAITING, /* in the queue for a server */
	HERD_CLIENT_ACTIVE,  /* linked to a server */
	HERD_CLIENT_ADMIN,
	HERD_CLIENT_CANCEL, /* came with a cancel request, waits for its end */
	HERD_CLIENT_CLOSED
};

struct herd_login;
struct herd_cancel;
struct herd_console;
struct herd_split;
struct herd_repl;

/* For queries of the proxy itself, which wait in a queue like everybody (auth_query). */
struct herd_internal {
	void (*message)(struct herd_client *c, char type, const void *body, size_t n);
	void (*end)(struct herd_client *c, const char *error); /* NULL: went well */
	void (*start)(struct herd_client *c, struct herd_buf *out);
	void *arg;
};

struct herd_client {
	struct herd_conn conn; /* first */
	struct herd_worker *w;
	enum herd_client_state state;
	struct herd_list node, run_node;
	uint64_t id;
	char *listener; /* name of the [listeners] entry it came through */
	struct herd_addr addr, local;
	struct sockaddr_storage peer;
	uint32_t peer_uid;
	char *user, *dbname;
	struct herd_db *db;
	struct herd_user_count *user_count;
	struct herd_pool *pool;
	struct herd_server *server;
	struct herd_login *login;     /* until logged in */
	struct herd_console *console; /* of HERD_CLIENT_ADMIN */
	struct herd_internal *internal;
	struct herd_repl *repl;   /* of a replication connection (repl.h) */
	struct herd_split *split; /* NULL: all it sends is for one pool; see proxy/split.h */
	struct herd_vars vars;
	struct herd_named *named; /* of its prepared statements (named.h), NULL: none */
	struct herd_kept *kept;   /* what its session consists of (session.h); NULL: nothing */
	uint32_t tracked_as_of;   /* configuration for which tracked was found out */
	bool tracked;             /* session_state is on for it */
	uint8_t key[8];
	struct herd_client *key_next; /* in w->keys */
	struct herd_cancel *cancel;   /* of HERD_CLIENT_CANCEL */
	bool keyed, long_key;
	bool strange_key; /* another program made it: all of its bits count */
	bool counted;     /* in the numbers of clients of its database and user */
	bool console_login;
	const char *cut_why; /* which timeout it ran into; NULL: none */
	bool direct_tls;     /* TLS from the first byte on */

	/* in the queue: guarded by the pool's lock */
	struct herd_list wait_node;
	bool queued;
	bool wait_welcome; /* in the queue of logins, not of queries */
	bool posted;       /* taken out of the queue, the note is on its way */
	bool held_count;   /* counted in px->nheld; own thread */
	struct herd_note note;
	struct herd_server *given; /* by the note; NULL: see fail_text */
	char *fail_text;
	char fail_state[6];

	/* relay */
	uint32_t pass_left; /* rest of a long message */
	bool pass_drop;
	bool skip_to_sync;      /* an error of ours stands for the rest of the batch */
	bool copy_over;         /* COPY ended by an error of ours: its data is dropped */
	bool eof;               /* came with its startup packet */
	bool goodbye;           /* of replication: the last it said ends as a Terminate does */
	struct herd_buf replay; /* what was sent since checkout while nothing has come back */
	bool replayable;
	bool unsettled; /* its next Parse waits to hear what became of one sent before a Sync */
	bool carried;   /* session pooling: another server of the cluster would do (carry.h) */
	bool midway;    /* the client saw part of an answer that is not complete */
	int64_t connect_us, wait_us, query_us, xact_us, active_us;
	bool in_query, in_xact, notified;
};

void herd_client_accept(struct herd_worker *w, struct herd_door *d);
/* A connection that another process had accepted by that listener (NULL: an ordinary door); it is
 * counted in w->nclients already. NULL: it is of no use and closed. */
struct herd_client *herd_client_adopt(struct herd_worker *w, int fd, const char *listener,
				      int port);
void herd_client_event(struct herd_worker *w, struct herd_client *c);
/* Goes on with what is there to do; called from the run list. */
void herd_client_run(struct herd_worker *w, struct herd_client *c);
/*
 * Frees those that closed long enough ago for no worker to be looking at them (the main thread
 * never does); all: at the end, when nobody can. Here and soon, not by the main thread's sweep:
 * where many come and go, the memory of one that left is still in the cache when the next one needs
 * it.
 */
void herd_client_sweep(struct herd_worker *w, bool all);
/* Puts it on the run list. */
void herd_client_wake(struct herd_client *c);
/* FATAL with this text to the client, then closes. */
/* What came is no message: n bytes from its start on. */
void herd_client_bad_header(struct herd_client *c, const void *data, size_t n);
void herd_client_fail(struct herd_client *c, const char *sqlstate, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Tells the log why it ends; for what closes with NULL. */
void herd_client_closing(struct herd_client *c, const char *why);
/* Closes without a word. why goes to the log; NULL: it knows. */
void herd_client_close(struct herd_client *c, const char *why);
void herd_client_janitor(struct herd_worker *w);
void herd_client_log(const struct herd_client *c, enum herd_log_level level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
const char *herd_client_state_name(const struct herd_client *c);

/* login.c: data of the startup phase; consumed bytes are taken from c->conn.in. */
void herd_login_startup(struct herd_client *c);
/* Does it begin with TLS, without asking? Then the handshake has begun. */
bool herd_login_direct_tls(struct herd_client *c);
/* Says what waits to be said together with what comes next, if anything. */
void herd_login_say(struct herd_client *c);
void herd_login_message(struct herd_client *c, const void *body, size_t n);
void herd_login_finish(struct herd_client *c); /* the pool can greet */
void herd_login_free(struct herd_login *l);
/* A client without a socket that runs a query of ours. NULL when out of memory. */
struct herd_client *herd_client_internal(struct herd_worker *w, struct herd_db *db,
					 const char *user, const struct herd_internal *in);

/* relay.c */
void herd_relay_from_client(struct herd_client *c);
void herd_relay_from_server(struct herd_worker *w, struct herd_server *s);
/* The pool gave it a server (c->server is set). */
void herd_relay_linked(struct herd_client *c);
/* A cancel request came: when it waits for a server its statement fails with 57014. */
void herd_relay_cancel_queued(struct herd_client *c);
