/*
 * pool/decide.h - what a pool does next: open a server connection, wait, or give up on waiters.
 *
 * Pure: counts, limits and the time in, a plan with its reason out. Milliseconds, monotonic.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct herd_pool_obs {
	int64_t now_ms;
	/* server connections */
	int idle, active, opening; /* opening: connecting, logging in, being checked */
	int closing;               /* still open but not to be used (cancel pending) */
	int db_conns, user_conns;  /* of the whole database and user, this pool's included */
	/* clients */
	int waiting;
	int64_t oldest_wait_ms; /* how long the first in the queue waits; 0 when none */
	/* limits; 0 means none for the last three and for reserve_size */
	int pool_size, min_size, reserve_size;
	int members; /* the pool is spread over so many: it has a connection to each when used */
	int max_db_conns, max_user_conns;
	int64_t reserve_timeout_ms;
	/* state */
	bool paused;          /* by the console */
	bool held;            /* nobody to connect to (no leader, handover) */
	bool topology;        /* the pool follows a cluster: failures are held, not reported */
	bool keep_min;        /* somebody uses the pool (or forced user): min_size applies */
	int64_t last_fail_ms; /* when the last attempt failed, 0: the last one worked */
	int64_t retry_ms;     /* pause after a failure (server_login_retry) */
	int fails_in_row;     /* attempts since the last success */
};

enum herd_pool_why {
	HERD_POOL_NOTHING = 0, /* nobody waits, or all is under way */
	HERD_POOL_OPEN,        /* connect */
	HERD_POOL_OPEN_RESERVE,
	HERD_POOL_FULL,    /* pool_size reached */
	HERD_POOL_DB_FULL, /* max_db_connections: evict an idle one of another pool */
	HERD_POOL_USER_FULL,
	HERD_POOL_PAUSED,
	HERD_POOL_HELD,
	HERD_POOL_RETRY, /* the last attempt failed a moment ago */
	HERD_POOL_WHY_NR
};

/* One decision: open one connection (OPEN, OPEN_RESERVE) or not. Total. */
enum herd_pool_why herd_pool_decide(const struct herd_pool_obs *o);
const char *herd_pool_why_text(enum herd_pool_why why);

/* Pause before the next try at a cluster's member: grows from 20 ms to 500 ms. */
int64_t herd_pool_backoff_ms(int fails_in_row);

/*
 * Does an SQLSTATE (of an error at login or of a dying server) say that the server, not the client,
 * is the matter, so that a client may be held and tried elsewhere? Starting up, shutting down,
 * crashed, read only, too many connections.
 */
bool herd_hold_sqlstate(const char *sqlstate);

/* How long a client that waits may go on. */
struct herd_wait_obs {
	int64_t waited_ms;
	int64_t query_wait_timeout_ms; /* 0: none */
	int64_t hold_timeout_ms;       /* 0: none; counts while held or failing on a cluster */
	bool held;
};
enum herd_wait { HERD_WAIT_ON = 0, HERD_WAIT_TIMEOUT, HERD_WAIT_HOLD_TIMEOUT };
enum herd_wait herd_wait_decide(const struct herd_wait_obs *o);
