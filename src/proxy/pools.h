/*
 * proxy/pools.h - databases, pools of server connections, and who waits for one.
 *
 * A pool is a (database, user) pair. Its lock guards its lists and counts; it is taken for a moment
 * at checkout and return, never while bytes move. Lock order: px->pools_lock, then one pool's lock.
 */
#pragma once
#include "pool/decide.h"
#include "proxy/times.h"
#include "proxy/worker.h"
#include "wire/auth.h"

struct herd_client;
struct herd_routes;
struct herd_hub;
struct herd_server;

/* Counted per worker without sharing, summed when asked. In the order of SHOW STATS. */
struct herd_stats {
	_Alignas(64) _Atomic uint64_t server_assignment_count;
	_Atomic uint64_t xact_count, query_count, received, sent;
	_Atomic uint64_t xact_time, query_time, wait_time; /* us */
	_Atomic uint64_t client_parse_count, server_parse_count, bind_count;
	_Atomic uint64_t client_login_count;
};
enum { HERD_NSTATS = 12 };
static inline void herd_stat_add(_Atomic uint64_t *slot, uint64_t n)
{
	/* One writer per slot: a relaxed load and store is enough, and no locked instruction. */
	atomic_store_explicit(slot, atomic_load_explicit(slot, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

/* Cancel requests for the servers of a pool, or for a peer (cancel.c). */
struct herd_cancel_queue {
	pthread_mutex_t lock;
	struct herd_list waiting; /* first come first */
	int nwaiting, nactive;    /* nactive: have a connection of their own */
	int nlogin;               /* those of them that are not connected yet */
};
void herd_cancel_queue_init(struct herd_cancel_queue *q);

/* A database by the name under which clients meet it. When it goes: see idle.c. */
struct herd_db {
	char *name;
	_Atomic(struct herd_hub *) hub; /* listens for its clients (hub.h); NULL: nobody did yet */
	char *listener;                 /* NULL, or the listener whose default it uses */
	_Atomic bool paused, disabled, waiting_close;
	_Atomic bool pinned; /* somebody refers to it or its pools for ever: it does not go */
	_Atomic int nconns, nclients;
	struct herd_stats *stats;      /* one per worker */
	_Atomic uint64_t schema;       /* grows when the schema changes */
	_Atomic int64_t drift_next_us; /* see proxy/drift.h, like the next two */
	_Atomic int64_t drift_count;   /* 0: not told yet */
	_Atomic bool drift_asking;
	struct herd_routes *routes;        /* one per worker; see proxy/split.h */
	uint64_t last[HERD_NSTATS];        /* sums at the start of the stats period; main thread */
	_Atomic uint64_t avg[HERD_NSTATS]; /* per second or per item, over the last period */
	int64_t idle_since_us;             /* 0: it is not; px->pools_lock, like the next */
	uint64_t round;                    /* of idle.c, when somebody referred to it last */
};

struct herd_user_count {
	_Atomic int nconns, nclients;
};

struct herd_pool {
	struct herd_px *px;
	struct herd_db *db;
	char *user;                  /* as the servers know it */
	_Atomic uint64_t mode_as_of; /* of a configuration: its serial, and the pool mode (dbs.c) */
	struct herd_user_count *user_count;
	/*
	 * Of a pool for the reads that a database lets its replicas serve: the pool of its primary,
	 * which has the secrets. NULL of every other pool.
	 */
	struct herd_pool *home;

	pthread_mutex_t lock;
	char *password; /* to log in with; NULL: none known */
	bool have_keys; /* SCRAM keys of a client's login */
	struct herd_scram_keys keys;
	struct herd_list idle[HERD_MAX_WORKERS]; /* struct herd_server.pool_node, last used first */
	struct herd_list
		waiting[HERD_MAX_WORKERS]; /* struct herd_client.wait_node, first come first */
	struct herd_list welcoming;        /* logins that wait for the first server */
	struct herd_list replicating;      /* replication connections that wait for room */
	struct herd_list warm;             /* checked connections to a candidate */
	struct herd_list all;              /* struct herd_server.all_node */
	int nidle, nactive, nopening, nclosing, nwarm, nrepl, nhub, nwaiting, nwelcoming,
		nreplicating;
	int nclients;
	_Atomic int npinned; /* clients that keep their server (session.h) */
	_Atomic bool held;   /* nobody to connect to */
	_Atomic bool
		troubled; /* held, or attempts at a cluster fail: clients wait by hold_timeout */
	_Atomic int64_t suspect_until_us; /* one died unasked: look at the others before use */
	_Atomic int choices; /* members of a cluster that serve it equally well; 1 if it is fixed */
	_Atomic(struct herd_mate *) shed; /* has more than its share: one goes at its return */
	char *held_why;
	int64_t held_since_us;
	int64_t last_fail_us;
	int fails;
	char *fail_text; /* the last failure, and its SQLSTATE */
	char fail_state[6];
	uint64_t turn;
	struct herd_cancel_queue cancels;
	_Atomic int elsewhere;   /* servers of the process that we take over from, or give to */
	struct herd_buf welcome; /* ParameterStatus messages of the last login */
	struct herd_vars defaults;
	bool have_welcome;
	int64_t idle_since_us;             /* 0: it is not; px->pools_lock, like the next */
	uint64_t round;                    /* of idle.c, when somebody referred to it last */
	struct herd_times *times;          /* one per worker */
	struct herd_times_sum *times_then; /* at the ends of the last two stats periods, or NULL */
};

/* The database of that name, made when needed; NULL when out of memory. */
struct herd_db *herd_db_get(struct herd_px *px, const char *name, const char *listener);
/* The same for a client's login; the first one by the entry "*" is told in the log. */
struct herd_db *herd_db_enter(struct herd_px *px, const char *name, const char *listener,
			      const struct herd_database *conf);
/* What the configuration of this pass says of it; NULL: it says nothing (any more). */
const struct herd_database *herd_db_conf(const struct herd_live *live, const struct herd_db *db);
/* What the server calls the database. */
const char *herd_db_server_name(const struct herd_db *db, const struct herd_database *conf);

struct herd_pool *herd_pool_get(struct herd_px *px, struct herd_db *db, const char *user);
/* The pool for reads beside that of the primary, made when needed; NULL when out of memory. */
struct herd_pool *herd_pool_reads(struct herd_pool *home);
/* Where the servers of the pool are found. */
static inline const struct herd_route *herd_pool_route(const struct herd_pool *p,
						       const struct herd_database *conf)
{
	return p->home ? &conf->reads : &conf->route;
}
/*
 * Its database's name, told apart from other pools of the same name: "name@listener", and "/reads"
 * behind it. malloc'd. The role is "primary", "replica", ... in a cluster, else NULL.
 */
char *herd_pool_label(const struct herd_pool *p);
char *herd_db_label(const struct herd_db *db);
const char *herd_pool_role(const struct herd_live *live, const struct herd_pool *p);
/* What is counted of that user, made when needed; NULL when out of memory. */
struct herd_user_count *herd_user_count_get(struct herd_px *px, const char *user);
void herd_pool_remember_keys(struct herd_pool *p, const struct herd_scram_keys *keys);
void herd_pool_remember_password(struct herd_pool *p, const char *password);
int herd_pool_mode(const struct herd_live *live, struct herd_pool *p);

/* A server for the client: it is linked and 1 returned; else the client is in the queue (0). */
int herd_pool_checkout(struct herd_worker *w, struct herd_client *c);
/* The same, but it never waits nor fails: true if an idle server was linked. */
bool herd_pool_try(struct herd_worker *w, struct herd_client *c);
/* Puts a login into the queue for the first server, unless its greeting is known already (1). */
int herd_pool_welcome(struct herd_worker *w, struct herd_client *c);
/* The client waits no longer. False: it was in no queue (any more). */
bool herd_pool_leave(struct herd_worker *w, struct herd_client *c);

/* A server of this worker is clean and free. It may be somebody else's when this returns. */
void herd_pool_put(struct herd_worker *w, struct herd_server *s);
/* A server of this worker is about to be closed. failed: it never worked; text and state why. */
void herd_pool_lost(struct herd_worker *w, struct herd_server *s, bool failed, const char *state,
		    const char *text);
/*
 * A server died of itself: for a moment its siblings are not trusted without a look.
 * was_usable: it had logged in, so that those of the same age may die with it. Siblings are those
 * of its pool, of a cluster all that go to the same member.
 */
void herd_pool_suspect(struct herd_worker *w, struct herd_server *s, bool was_usable);
/* A login on a server succeeded: its parameters greet clients from now on. */
void herd_pool_greeting(struct herd_worker *w, struct herd_server *s);
/* Takes an idle server for closing or testing (an event came for it). False: it is not idle here.
 */
bool herd_pool_take_idle(struct herd_worker *w, struct herd_server *s);
/* A checked warm server waits for its member to lead. */
void herd_pool_warm(struct herd_worker *w, struct herd_server *s);
/* The note of a client that was taken out of a queue. */
void herd_pool_client_note(struct herd_worker *w, struct herd_note *n);

/* Opens what is wanted. Any worker. */
void herd_pool_kick(struct herd_worker *w, struct herd_pool *p);
/* Time-driven work of one worker's share of the pools: limits, lifetimes, minimum sizes. */
void herd_pools_janitor(struct herd_worker *w);
/* The topology changed: hold, release, close and warm. Any thread; work is posted to workers. */
void herd_pools_topology(struct herd_px *px);
/* A member was ejected or readmitted; otherwise the same. */
void herd_pools_members(struct herd_px *px);
/* Runs fn for every pool, with only px->pools_lock held. */
void herd_pools_each(struct herd_px *px, void (*fn)(struct herd_pool *p, void *arg), void *arg);

/* The server is free but for cancel requests on their way to it (or not so any more). */
void herd_pool_canceled(struct herd_server *s, bool yes);

struct herd_pool_counts {
	int cl_active, cl_waiting, sv_active, sv_idle, sv_used, sv_tested, sv_login;
	int sv_canceled, sv_warm;
	int cl_active_cancel, cl_waiting_cancel, sv_active_cancel; /* requests */
	int64_t maxwait_us;
};
/* Idle ones count as used, as in PgBouncer, when check_delay_us has passed since. */
struct herd_pool_counts herd_pool_count(struct herd_pool *p, int64_t now_us,
					int64_t check_delay_us);
/* Closes the idle servers (console RECONNECT, PAUSE, KILL); the others when they are returned. */
void herd_pool_drain(struct herd_worker *w, struct herd_pool *p);
/* Closes what is idle or warm, whoever watched it. No worker runs any more. */
void herd_pools_close(struct herd_worker *w);
void herd_pools_free(struct herd_px *px);
/* For herd_retire: struct herd_pool, struct herd_db. */
void herd_pool_free(void *p);
void herd_db_free(void *db);
/* show_stats.c: the counts of all workers, in the order of struct herd_stats. */
void herd_stats_sum(const struct herd_px *px, const struct herd_db *db, uint64_t ret[HERD_NSTATS]);
/* show_stats.c: one stats period is over: computes the averages and logs them. Main thread. */
void herd_stats_period(struct herd_px *px, int64_t elapsed_us);
