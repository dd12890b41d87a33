/*
 * proxy/worker.h - the threads that move bytes, and what they share.
 *
 * A worker is one epoll loop, run by its thread or by another worker's (crew.h). Clients live on
 * one worker for ever; a server connection belongs to the worker whose client uses it, and to its
 * pool while idle. Threads talk by notes (herd_worker_ post). What other threads may still be
 * looking at is not freed but retired: it goes when every thread has begun a new pass of its loop.
 */
#pragma once
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "base/list.h"
#include "base/log.h"
#include "base/map.h"
#include "pool/prepared.h"
#include "pool/vars.h"
#include "proxy/config.h"
#include "proxy/conn.h"
#include "proxy/crew.h"
#include "proxy/linger.h"
#include "proxy/settings.h"
#include "wire/auth.h"

struct herd_client;
struct herd_hub;
struct herd_dns;
struct herd_elder;
struct herd_leave;
struct herd_targets;
struct herd_topology;
struct herd_verdicts;
struct herd_helpers;
struct herd_worker;

/* What one pass of a loop may use without counting: a configuration and its TLS contexts. */
struct herd_live {
	uint32_t serial; /* never 0 */
	struct herd_pconf *config;
	SSL_CTX *client_tls, *server_tls;
};

/* A message between threads, embedded in whatever it is about. */
struct herd_note {
	struct herd_list node;
	void (*fn)(struct herd_worker *w, struct herd_note *n);
};

enum herd_stop {
	HERD_STOP_NO = 0,
	HERD_STOP_CLIENTS, /* no new clients; ends when the last one leaves */
	HERD_STOP_SERVERS, /* ends when no server is in use */
	HERD_STOP_NOW
};

enum { HERD_MAX_LISTENERS = 64, HERD_MAX_EVENTS = 128 };

/* A listening socket. Clients remember the name of the [listeners] entry, if there is one. */
struct herd_door {
	struct herd_conn conn; /* first */
	char *listener;        /* NULL: the ordinary ports */
	struct herd_addr addr;
	char *path;    /* of a unix socket, to be removed */
	char *name;    /* "tcp 127.0.0.1:6432", "unix /tmp/.s.PGSQL.6432" */
	bool loopback; /* nobody from elsewhere comes by it */
	bool borrowed; /* others have the socket, too: it is only closed */
};

struct herd_px {
	struct herd_log *log;
	char *config_path;
	_Atomic(struct herd_live *) live;
	pthread_mutex_t reload_lock;
	int nworkers;
	struct herd_worker *workers;
	int ndoors;
	struct herd_door doors[HERD_MAX_LISTENERS];
	struct herd_var_names vars; /* fixed at start */

	pthread_mutex_t stmts_lock;
	struct herd_stmts *stmts;

	pthread_mutex_t pools_lock; /* recursive; the maps below; before any pool's lock */
	struct herd_map *dbs;       /* struct herd_db */
	struct herd_map *pools;     /* struct herd_pool, key "db\nuser" */
	struct herd_map *users;     /* struct herd_user_count */
	uint64_t idle_round;        /* see idle.c; the first worker's are the next two */
	bool idle_running;
	int64_t idle_next_us;
	struct herd_map *peers; /* struct herd_peer_pool (cancel.h); NULL until the first */

	pthread_mutex_t scram_lock;
	struct herd_map *scram;      /* derived secrets of plain passwords, by user (login.c) */
	struct herd_map *scram_keys; /* towards servers (sderive.h); NULL until the first */
	uint8_t mock_seed[HERD_SCRAM_SEED_BYTES]; /* makes the salts of users that do not exist */
	uint8_t cancel_secret[32];                /* makes long cancel keys (keys.c) */

	struct herd_dns *dns;         /* addresses of host names */
	struct herd_targets *targets; /* hosts of lists, as met */

	_Atomic(struct herd_hub *) hubs; /* all of them (hub.h) */
	struct herd_topology *topology;
	struct herd_verdicts *verdicts; /* see proxy/verdict.h */
	struct herd_helpers *helpers;   /* threads that may block (helpers.h) */
	struct herd_helpers *derivers;  /* threads that derive keys (sderive.h) */
	_Atomic int nclients;
	_Atomic int nheld; /* clients that wait because of a missing leader */
	_Atomic uint64_t next_id;
	_Atomic int stop;        /* enum herd_stop */
	_Atomic bool quit;       /* workers end their loops */
	_Atomic bool given_away; /* all that we have, to another process: nothing is to be said any
				    more */
	_Atomic bool leaving;    /* another process takes over (handover.h) */
	_Atomic(struct herd_leave *) leave;
	_Atomic bool doors_away;  /* another process accepts, or not yet we */
	struct herd_elder *elder; /* the process that we take over from; NULL: none */
	_Atomic int spawned;      /* process that RESTART began; 0: none */
	_Atomic bool paused_all, suspended;
	_Atomic int64_t rest_told_us; /* when it was last said that descriptors are missing */
	_Atomic int64_t suspend_us;   /* when SUSPEND began */
	_Atomic int verbose;
	int64_t started_us;
	int stop_fd; /* eventfd: wakes the main thread to look at stop */

	pthread_mutex_t retire_lock;
	struct herd_retired *retired;
	_Atomic uint64_t main_passes;
};

/* This worker's clients by their cancel keys (keys.c). */
struct herd_keys {
	struct herd_client **bucket;
	uint32_t cap, count;
};

struct herd_worker {
	struct herd_px *px;
	int id;
	pthread_t thread;
	int epfd;
	struct herd_conn wake; /* eventfd */
	pthread_mutex_t inbox_lock;
	struct herd_list inbox;
	_Atomic uint64_t passes;
	_Atomic int nclients;
	_Atomic int unsilent; /* connections that SUSPEND waits for; -1: not looked yet */

	_Atomic(struct herd_worker *) host; /* whose thread runs it; changed by that one only */
	struct herd_note relief;            /* of crew.c */

	/* the thread of its host only */
	bool suspended;
	int64_t rest_until_us; /* accepts nobody until then, for want of descriptors; 0: does */
	const struct herd_live *live;
	int64_t now_us;
	int64_t next_janitor_us;
	struct herd_list clients; /* struct herd_client.node */
	struct herd_list servers; /* struct herd_server.node: opening, active, busy for us */
	struct herd_list run;     /* struct herd_client.run_node: has work left */
	struct herd_list polls;   /* struct herd_server.poll_node: asks again at poll_us */
	struct herd_list streams; /* struct herd_stream.node: read when more has gathered */
	struct herd_list cancels; /* requests that it carries (cancel.c) */
	struct herd_list askers;  /* struct herd_client.wait_node: came with a request */
	struct herd_list gone;    /* struct herd_client.node: closed, others may look at it still */
	struct herd_list going;   /* the same, but since gone_passes */
	uint64_t gone_passes[HERD_MAX_WORKERS];
	struct herd_list spare; /* struct herd_client.node: memory for the next ones */
	int nspare;
	struct herd_keys keys;
	int64_t slow_second; /* slow statements are logged so many a second (slow.c) */
	int slow_lines, slow_lost;
	char *scratch;
	size_t scratch_bytes;
	struct herd_buf aux;
	struct herd_buf verdict_key; /* of verdict.c */
	struct herd_batch *batching; /* its host's, in a pass that serves several */
	struct epoll_event events[HERD_MAX_EVENTS];
	int nevents;          /* to be worked off in this pass */
	uint64_t accept_pass; /* the last one in which somebody came */
	int accept_room;      /* so many are let in at once */
	uint8_t random[256];
	size_t random_left; /* of it, at its end */

	/* its own thread only, whichever workers that runs */
	struct herd_crew crew;
	struct herd_batch *batch; /* NULL: without io_uring */
	int crowd;                /* events of the last pass */
	struct herd_linger linger;
	int64_t yield_after_us; /* not before: the last time brought little */
	int64_t yield_pause_us;
	uint64_t yields; /* since the last bad one */
};
/* The one behind m of the workers that the thread of w runs; NULL: there is none. */
static inline struct herd_worker *herd_crew_next(const struct herd_worker *w,
						 const struct herd_worker *m)
{
	int id = m->id + w->crew.span;

	return id < w->px->nworkers ? &w->px->workers[id] : NULL;
}

/* What a worker reads at once: this much, more by pkt_buf. */
enum { HERD_SCRATCH_BYTES = 128 * 1024, HERD_SCRATCH_MAX_BYTES = 16 * 1024 * 1024 };

int64_t herd_clock_us(void); /* CLOCK_BOOTTIME */

/* Makes and starts n threads. 0 or negative errno. */
int herd_workers_start(struct herd_px *px, int n, struct herd_err *err);
/* Asks all to end, waits for them and frees what they hold. */
void herd_workers_stop(struct herd_px *px);
/* Runs n->fn on that worker, once. Callable from any thread; n must live until then. */
void herd_worker_post(struct herd_worker *w, struct herd_note *n);
/* Makes it begin a new pass. Any thread. */
void herd_worker_poke(struct herd_worker *w);
/* Registers the connection with this worker's loop, for reading, and for writing if out is true or
 * once it was full (herd_conn_full). 0 or -errno. */
int herd_worker_watch(struct herd_worker *w, struct herd_conn *c, bool out);
void herd_worker_unwatch(struct herd_worker *w, struct herd_conn *c);
/* The configuration of this pass. */
static inline const struct herd_settings *herd_worker_settings(const struct herd_worker *w)
{
	return &w->live->config->s;
}

/*
 * n (at most 256) bytes for a secret, from the kernel. Asked for in larger pieces: a login needs
 * some. 0 or negative errno.
 */
int herd_worker_random(struct herd_worker *w, void *ret, size_t n);

/* Frees p by fn when no thread can be looking at it any more. */
void herd_retire(struct herd_px *px, void *p, void (*fn)(void *));
/* Frees what may be freed; the main thread calls it now and then, with true at the end. */
void herd_retire_sweep(struct herd_px *px, bool all);

/* A job for every worker; done runs on the worker that began it, after all others. */
struct herd_fanout;
typedef void (*herd_fanout_fn)(struct herd_worker *w, void *arg);
/* each runs on all workers at the same time: it must lock what it shares. 0 or -ENOMEM. */
int herd_worker_fanout(struct herd_worker *w, herd_fanout_fn each, herd_fanout_fn done, void *arg);

/* Sets px->stop and wakes the main thread. */
void herd_proxy_stop(struct herd_px *px, enum herd_stop how);
