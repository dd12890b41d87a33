/*
 * core/obs.h - the observation: everything a decision may know.
 *
 * Filled by the agent's shell (or the simulator) right before a step. Plain values; every pointer
 * is borrowed and needs to live only during herd_core_step. Times are int64_t milliseconds on the
 * loop's monotonic clock (herd_now_ms), except wall_ms. LSN 0 is "not known".
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/cluster.h"

/*
 * Stands where a member's name stands: the primary outside that the standby_cluster section names.
 * No member can have this name.
 */
#define HERD_REMOTE "/remote"

/* The postmaster. */
enum herd_pg_run {
	/* No postmaster (a zombie is none), and what a dead one left behind was killed. */
	HERD_RUN_DOWN = 0,
	HERD_RUN_STARTING, /* a postmaster that refuses connections: recovery before consistency */
	HERD_RUN_RUNNING,  /* accepts connections */
	HERD_RUN_STOPPING, /* a shutdown was asked for and the postmaster is still there */
	HERD_RUN_NR
};

enum herd_pg_data {
	HERD_DATA_EMPTY = 0, /* no data directory, or nothing in it */
	HERD_DATA_VALID,     /* pg_control can be read */
	HERD_DATA_BROKEN     /* something is there, but it is no usable data directory */
};

/* "Database cluster state" of pg_controldata. */
enum herd_control {
	HERD_CONTROL_UNKNOWN = 0,
	HERD_CONTROL_SHUT_DOWN,             /* shut down */
	HERD_CONTROL_SHUT_DOWN_IN_RECOVERY, /* shut down in recovery */
	HERD_CONTROL_SHUTTING_DOWN,
	HERD_CONTROL_CRASH_RECOVERY,
	HERD_CONTROL_ARCHIVE_RECOVERY,
	HERD_CONTROL_IN_PRODUCTION
};

/* A row of pg_stat_replication. */
struct herd_obs_sender {
	const char *application_name;
	bool streaming; /* state = 'streaming' */
	bool sync;      /* sync_state is sync or quorum */
	uint64_t write_lsn, flush_lsn, replay_lsn;
};

/* A row of pg_replication_slots. */
struct herd_obs_slot {
	const char *name;
	enum herd_slot_type type;
	const char *database, *plugin; /* logical ones */
	uint64_t restart_lsn;          /* confirmed_flush_lsn for logical ones */
	bool active, temporary, lost;  /* lost: wal_status = 'lost' */
	bool failover, synced;         /* PostgreSQL 17 and later: it copies such slots itself */
	bool has_xmin;                 /* holds back an xmin */
	uint32_t catalog_xmin;         /* 0: none */
	bool stuck; /* its last SLOT_ADVANCE found that the WAL it needs is gone */
};

struct herd_obs_pg {
	enum herd_pg_data data;
	enum herd_pg_run run;
	uint64_t sysid; /* of pg_control; 0 unless data is VALID */
	bool torn;      /* a REWIND was cut short in it: it must not be started */
	bool fresh;     /* made by BOOTSTRAP and never begun by START since (a marker file) */
	/*
	 * RUNNING: pg_is_in_recovery(). Otherwise: it was started, or lies there, as a standby
	 * (standby.signal exists).
	 */
	bool in_recovery;
	int64_t timeline;   /* current (standby: received, else of the checkpoint); 0 unknown */
	uint64_t flush_lsn; /* primary: pg_current_wal_flush_lsn() */
	uint64_t receive_lsn, replay_lsn; /* standby; the last known ones while not RUNNING */
	enum herd_control control;
	uint64_t checkpoint_lsn; /* start of the latest checkpoint record in pg_control */
	int64_t checkpoint_tl;
	int64_t down_since_ms; /* when DOWN began; the agent's start when it was so from the start
				*/
	int64_t starting_since_ms;
	bool crashed;   /* DOWN, and nobody asked for it */
	bool queryable; /* RUNNING, and the values above were read in this observation */
	/* standby: member that primary_conninfo names, HERD_REMOTE, NULL: nobody */
	const char *following;
	bool streaming; /* standby: the WAL receiver streams */
	bool archive;   /* standby: it does not, and has a restore_command */
	bool replay_paused;
	const char *stalled;  /* makes no progress, for longer than probe.timeout: why; or NULL */
	const char *ssn;      /* synchronous_standby_names in force; NULL when not known */
	const char *user_ssn; /* what the user configured for it, "" or NULL for nothing */
	bool remote_apply, remote_write; /* synchronous_commit */
	size_t n_senders;
	const struct herd_obs_sender *senders;
	bool slots_known; /* slots were read: what is not in them does not exist */
	size_t n_slots;
	const struct herd_obs_slot *slots;
	/* Of the current timeline (pg_wal/<tl>.history); NULL on timeline 1 or when not known. */
	const struct herd_history *history;
	int transactions; /* client backends inside a transaction, our own not counted */
	bool logical;     /* wal_level is logical, also after the next start */
	int max_slots;    /* max_replication_slots, also after the next start; 0: not known */
	bool slot_sync;   /* sync_replication_slots is on (17 and later) */
	/* Standby: primary_conninfo, primary_slot_name or restore_command is not as was written;
	 * and this version takes that only at a start. */
	bool recovery_differs, recovery_restart;
	bool feedback; /* the configuration was written with hot_standby_feedback forced on */
};

/* Work that takes long and runs beside the steps, one at a time. Started by actions. */
enum herd_task {
	HERD_TASK_NONE = 0,
	HERD_TASK_BOOTSTRAP,
	HERD_TASK_CLONE,
	HERD_TASK_REWIND,
	HERD_TASK_START,
	HERD_TASK_STOP,
	HERD_TASK_RESTART,
	HERD_TASK_PROMOTE,
	HERD_TASK_CHECKPOINT,
	HERD_TASK_SLOTS_COPY
};

struct herd_obs_task {
	enum herd_task running;
	int64_t since_ms;
	enum herd_task last; /* the one that ended last */
	bool last_ok;
	int64_t last_ms;   /* when it ended */
	int failures;      /* how often in a row last has failed */
	bool custom;       /* BOOTSTRAP: by a custom method, not initdb */
	bool recovering;   /* BOOTSTRAP: the method has ended, the server is started */
	bool last_again;   /* it failed for a reason that passes: its source was not ready */
	const char *error; /* text of the last failure, or NULL */
};

/* Our own lease (one for the member key and the leader key). */
struct herd_obs_lease {
	const char *id;  /* NULL: none, or it is known to be gone */
	int64_t sent_ms; /* when the last successful grant or renewal was SENT */
	int64_t ttl_ms;  /* as granted */
	bool busy;       /* a grant or renewal is under way */
	/*
	 * The lease is one of an earlier life of the agent, and this was the version of the leader
	 * key then: a request of that life may still be under way and act on it. 0: no such.
	 */
	int64_t adopted_version;
};

/* What a polled member said (GET /patroni). */
struct herd_obs_answer {
	const char *name;
	bool reachable; /* false: nothing else counts */
	bool running;   /* its PostgreSQL accepts connections */
	bool in_recovery;
	uint64_t lsn; /* max(receive, replay), or the flush LSN of a primary */
	int64_t timeline;
	bool nofailover;
	bool stalled;         /* its server makes no progress */
	bool watchdog_failed; /* it may not lead */
};

struct herd_obs_poll {
	int64_t id; /* of the POLL action these answers are for; 0: none yet */
	int64_t asked_ms;
	size_t n;
	const struct herd_obs_answer *answers; /* one for every member asked */
};

/* What the leader's server said over a replication connection. */
struct herd_obs_probe {
	int64_t id;       /* of the PROBE action; 0: none yet */
	const char *name; /* member asked, or HERD_REMOTE */
	bool ok;
	uint64_t sysid;
	bool in_recovery;
	int64_t timeline;                   /* IDENTIFY_SYSTEM */
	const struct herd_history *history; /* TIMELINE_HISTORY; NULL on timeline 1 */
};

/* What the leader's server said about replication slots (SLOTS_ASK). */
struct herd_obs_asked_slots {
	int64_t id; /* of the action; 0: none yet, or the answer is still awaited */
	bool ok;
	size_t n;
	const struct herd_obs_slot *slots; /* name and catalog_xmin of those that exist */
};

struct herd_obs_accept {
	const char *name;
	uint64_t lsn; /* how far it said it is; 0: it did not say */
};

/* failsafe_mode, both sides of POST /failsafe; see core.h. */
struct herd_obs_failsafe {
	/* As the leader: what came of our last round of questions. */
	int64_t id;    /* of the FAILSAFE action whose round is over; 0: none yet */
	bool accepted; /* every one of them said yes */
	bool refused;  /* one of them said no (as opposed to nothing) */
	size_t n;
	const struct herd_obs_accept *accepts;
	/* As a member: whom we told last that it may go on leading. */
	const char *leader;               /* NULL: nobody since the agent started */
	int64_t asked_ms;                 /* when the question came */
	int64_t ttl_ms;                   /* that the leader counts with; 0: it did not say */
	const struct herd_status *status; /* places of its slots */
};

struct herd_obs {
	int64_t now_ms, wall_ms;
	const char *name;
	int group; /* HERD_NO_GROUP without sharding */
	/*
	 * What we publish about ourselves: conn_url, api_url, version, tags, pending_restart,
	 * scheduled_restart, pgherd. The core fills in the rest (state, role, LSNs...).
	 */
	const struct herd_member *self;
	/* The store. */
	const struct herd_scope *scope; /* the last view; NULL before the first */
	int64_t view_ms;                /* when the request that gave it was sent */
	bool can_pass;                  /* a key can be put on another member's lease */
	bool dcs_ok; /* the last request was answered; false after the whole retry budget */
	struct herd_obs_lease lease;
	struct herd_obs_pg pg;
	struct herd_obs_task task;
	struct herd_obs_poll poll;
	struct herd_obs_probe probe;
	struct herd_obs_asked_slots asked_slots;
	struct herd_obs_failsafe failsafe;
	/* Local settings. */
	bool guard;           /* the guard process runs */
	bool watchdog_failed; /* a watchdog is required and does not work: never lead */
	bool guard_failed;    /* the guard is required and cannot be started: never lead */
	bool rewind_possible; /* use_pg_rewind is on, also data checksums or wal_log_hints */
	/* A diverged data directory that cannot be rewound may be removed, or put aside. */
	bool reclone_diverged, reclone_aside;
	bool clone_without_leader;    /* some replica method needs no running server */
	const char *bootstrap_config; /* JSON of bootstrap.dcs; NULL: {} */
	/* The same, read; counts while the store has no readable configuration. NULL: defaults */
	const struct herd_config *bootstrap;
	/* Requests of people. */
	bool want_restart;       /* POST /restart whose conditions hold */
	bool want_reinit;        /* POST /reinitialize */
	bool reinit_force;       /* ... end a copy, rewind or restart that runs first */
	bool reinit_from_leader; /* ... copy from the leader, whoever else has the tag clonefrom */
	bool want_exit;          /* the agent was asked to end */
};

/* max(receive, replay) of a standby, flush of a primary. */
static inline uint64_t herd_obs_lsn(const struct herd_obs *o)
{
	if (o->pg.run == HERD_RUN_RUNNING && !o->pg.in_recovery)
		return o->pg.flush_lsn;
	return o->pg.receive_lsn > o->pg.replay_lsn ? o->pg.receive_lsn : o->pg.replay_lsn;
}
