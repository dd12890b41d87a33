/*
 * proxy/server.h - one connection to a PostgreSQL server: opening, checking, use, end.
 */
#pragma once
#include "pool/flight.h"
#include "proxy/pools.h"
#include "proxy/stream.h"

enum herd_server_state {
	HERD_SERVER_CONNECTING = 0,
	HERD_SERVER_SSL,      /* waits for the answer to SSLRequest */
	HERD_SERVER_TLS,      /* handshake */
	HERD_SERVER_LOGIN,    /* startup sent */
	HERD_SERVER_SETUP,    /* connect_query runs */
	HERD_SERVER_VERIFY,   /* being asked who it is */
	HERD_SERVER_POLL,     /* still a standby; asked again soon */
	HERD_SERVER_WARM,     /* checked, at a candidate, in its pool */
	HERD_SERVER_IDLE,     /* in its pool */
	HERD_SERVER_ACTIVE,   /* linked to a client */
	HERD_SERVER_TESTED,   /* server_check_query runs */
	HERD_SERVER_RESET,    /* server_reset_query runs */
	HERD_SERVER_HUB,      /* listens for clients (hub.h) */
	HERD_SERVER_CANCELED, /* free, but a cancel request is under way */
	HERD_SERVER_CLOSED
};

/* Under which count of its pool a server is; changed under the pool's lock. */
enum herd_server_count {
	HERD_COUNT_NONE = 0,
	HERD_COUNT_OPENING,
	HERD_COUNT_ACTIVE,
	HERD_COUNT_IDLE,
	HERD_COUNT_CLOSING,
	HERD_COUNT_WARM,
	HERD_COUNT_REPL, /* of a replication connection, from the start */
	HERD_COUNT_HUB   /* of a listener, from the start */
};

struct herd_dns_wait;
struct herd_sderive;

struct herd_server {
	struct herd_conn conn; /* first */
	enum herd_server_count counted;
	struct herd_pool *pool;
	_Atomic int owner;          /* worker that may touch it; -1: its pool's lock guards it */
	_Atomic int home;           /* worker whose loop knows the fd */
	_Atomic int state;          /* enum herd_server_state */
	_Atomic bool close_needed;  /* close instead of reuse */
	_Atomic int cancels;        /* cancel requests under way */
	struct herd_list node;      /* w->servers */
	struct herd_list pool_node; /* idle or warm list of the pool */
	struct herd_list all_node;  /* p->all */
	struct herd_list poll_node;
	struct herd_stream stream;
	struct herd_note note; /* close or verify on its home worker */
	struct herd_client *client;
	struct herd_flight flight;
	struct herd_held_set held;
	struct herd_vars vars;
	struct herd_buf params; /* ParameterStatus seen during login */
	struct herd_scram_client scram;
	struct herd_sderive *derive; /* its keys are being derived; NULL: they are not */
	struct herd_addr addr, local;
	char *target_host; /* as configured: for TLS names */
	int target_port;
	struct herd_dns_wait *lookup; /* its name is being asked for; NULL: it is not */
	char *scope, *member;         /* of the herd; NULL: plain host */
	int group;
	struct herd_mate *mate; /* what is known of that member; NULL: plain host */
	bool want_primary, want_standby, warming;
	bool standby;     /* in_hot_standby, as it reports; since PostgreSQL 14 */
	bool reads_only;  /* default_transaction_read_only, the same */
	bool tells;       /* it reports these */
	bool only_choice; /* of its route: no failure makes another member the better one */
	bool let_in;      /* AuthenticationOk came */
	bool scram_proved;
	bool login_done;
	bool used;                   /* a client had it */
	bool ready;                  /* last message was ReadyForQuery and nothing was sent since */
	char tx;                     /* status byte of the last ReadyForQuery */
	uint8_t asks;                /* questions of ours that it has prepared (split.h) */
	struct herd_hub *hub;        /* whose connection it is; NULL: an ordinary one */
	uint64_t notified_by;        /* id of the client that used it for NOTIFY; 0: none */
	struct herd_sets *sets;      /* what is set in its session by clients; NULL: nothing */
	struct herd_sets *sets_base; /* by connect_query */
	bool sets_sent;              /* our SETs for the client are under way: it waits */
	bool probing;                /* is asked whether what pins its client is there */
	bool dirty;                  /* has state that a reset must take away */
	bool vars_sent; /* our SET is under way: what differs afterwards is the server's way to say
			   it */
	int restoring;  /* rounds of ours under way that prepare a client's statements (carry.h) */
	bool use_ssl_refused;
	uint32_t pass_left; /* rest of a long message on its way to the client */
	bool pass_drop;
	uint32_t backend_pid;
	struct herd_buf slow_text; /* what runs, while slow statements are logged (slow.h) */
	int slow_more;             /* statements behind it in the same round */
	uint8_t cancel_key[256];
	uint32_t cancel_key_len;
	int64_t connected_us, request_us, released_us, poll_us, opened_us;
	int polls;
	int64_t started; /* as in struct herd_mate, as far as this connection knows */
	uint64_t replayed;
	uint64_t told_serial; /* of the snapshot in which its member told this timeline */
	int64_t told_timeline;
	char *verify_row[3]; /* answers of the check: in recovery, system identifier, timeline */
	bool errored;        /* what we asked failed */
	char *error_text, error_state[6];
	uint64_t fits_serial; /* of the topology snapshot under which it was last found fit */
	uint64_t id;
};

const char *herd_server_state_name(int state);
/* One without a socket, in state CONNECTING, which its pool counts as opening or warm already. */
struct herd_server *herd_server_new(struct herd_worker *w, struct herd_pool *p, bool warming);
/* Begins to open one. The pool has counted it already, as opening or as warm. */
void herd_server_open(struct herd_worker *w, struct herd_pool *p, bool warming);
/* For a database's listener; counted as that by the pool already. */
void herd_server_open_hub(struct herd_worker *w, struct herd_pool *p, struct herd_hub *h);
/* One for a replication connection alone; counted as opening. */
void herd_server_open_for(struct herd_worker *w, struct herd_pool *p, struct herd_client *c);
/* Something happened on its socket. */
void herd_server_event(struct herd_worker *w, struct herd_server *s);
/* Makes it this worker's (which holds it exclusively): moves the registration when needed. */
int herd_server_adopt(struct herd_worker *w, struct herd_server *s);
/*
 * Is something of its client's on its way to the server that no answer tells the end of: the rest
 * of a message that began, or what it did not read yet? The next client must not have it then.
 */
bool herd_server_midway(struct herd_server *s);
/* The client is done with it. */
void herd_server_release(struct herd_worker *w, struct herd_server *s);
/* Says goodbye and frees it. Its pool has forgotten it (herd_pool_lost) or never counted it. */
void herd_server_close(struct herd_worker *w, struct herd_server *s, const char *why);
/* Counts it out of the pool and closes it. */
void herd_server_drop(struct herd_worker *w, struct herd_server *s, const char *why);
/* It never became usable: closes it, and tells those who wait when nothing else can be tried. */
void herd_server_failed(struct herd_worker *w, struct herd_server *s, const char *state,
			const char *text);
/* Asks it again whether it leads; it goes to the pool when it does. */
void herd_server_verify(struct herd_worker *w, struct herd_server *s);
void herd_server_test(struct herd_worker *w, struct herd_server *s);
/* Ends the transaction of a client that goes on elsewhere; the server goes to its pool. */
void herd_server_rollback(struct herd_worker *w, struct herd_server *s);
void herd_server_janitor(struct herd_worker *w);
void herd_server_polls(struct herd_worker *w);
void herd_server_log(struct herd_worker *w, const struct herd_server *s, enum herd_log_level level,
		     const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* What it prepared is gone. If some of that is under way still, it will not be used again. */
void herd_server_forget_stmts(struct herd_worker *w, struct herd_server *s);
/* Its ParameterStatus: body of the message. */
void herd_server_parameter(struct herd_worker *w, struct herd_server *s, const void *body,
			   size_t n);

/* slogin.c: one 'R' message before the first ReadyForQuery. */
int herd_server_auth(struct herd_worker *w, struct herd_server *s, const void *body, size_t n,
		     struct herd_err *err);
int herd_server_startup(struct herd_worker *w, struct herd_server *s);
/* Our last word of SCRAM. */
int herd_server_prove(struct herd_server *s, const struct herd_scram_keys *keys,
		      struct herd_err *err);
