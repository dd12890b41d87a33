/*
 * pg/instance.h - one PostgreSQL instance on this machine: is its postmaster alive, start it, stop
 * it, promote it, reload it. It takes no decisions; it does one operation at a time and says when
 * that is over.
 *
 * Operations are asynchronous: a function that returns 0 calls `done` exactly once, later, from the
 * loop; one that returns an error (-EBUSY: another operation runs) does not. herd_pg_stop is taken
 * while a start, a promotion or a clone runs: it cancels that first, so done of that gets
 * -ECANCELED before herd_pg_stop returns. Warnings that are no failure (dropped parameters,
 * escalated stops) go to the `notice` callback.
 */
#pragma once
#include "pg/conf.h"
#include "pg/query.h"

struct herd_pg;

typedef void (*herd_pg_done_fn)(void *arg, int rc, const struct herd_err *err);

struct herd_pg_events {
	/* The postmaster is gone; expected when herd_pg_stop asked for it. Leftover backends may
	 * live. */
	void (*exited)(void *arg, bool expected);
	void (*notice)(void *arg, const char *text);
	void (*info)(void *arg, const char *text); /* what is done, in a line; may be NULL */
	void *arg;
};

/* Takes cfg's contents (cfg is empty afterwards). Adopts a postmaster that already runs. */
int herd_pg_new(struct herd_loop *l, struct herd_pg_config *cfg,
		const struct herd_pg_events *events, struct herd_pg **ret, struct herd_err *err);
/* Leaves the postmaster alone. Running operations are cancelled without calling done. */
void herd_pg_free(struct herd_pg *pg);
/* Takes new contents; they are used by the next start, reload or session. */
int herd_pg_set_config(struct herd_pg *pg, struct herd_pg_config *cfg, struct herd_err *err);
const struct herd_pg_config *herd_pg_config(const struct herd_pg *pg);
struct herd_loop *herd_pg_loop(const struct herd_pg *pg);

/* What is known without asking anybody. */
enum herd_pg_phase {
	HERD_PG_PHASE_STOPPED = 0,
	HERD_PG_PHASE_STARTING, /* the postmaster lives, connections are not yet accepted */
	HERD_PG_PHASE_RUNNING,
	HERD_PG_PHASE_STOPPING
};
/* Looks at postmaster.pid and /proc (so it never believes a zombie or a recycled pid). */
enum herd_pg_phase herd_pg_phase(struct herd_pg *pg);
pid_t herd_pg_pid(struct herd_pg *pg); /* 0: no live postmaster */
/* Identifies the time when this postmaster started (postmaster.pid); 0: none. Seconds, epoch. */
int64_t herd_pg_start_epoch(struct herd_pg *pg);
const char *
herd_pg_operation(const struct herd_pg *pg); /* "starting", "cloning", ...; NULL: none */
/* Cancels the running operation: its children are killed, its done gets -ECANCELED. */
void herd_pg_cancel(struct herd_pg *pg);
/* PG_VERSION of the data directory (15); 0: unknown. */
int herd_pg_major(struct herd_pg *pg);

enum herd_pg_datadir {
	HERD_PG_DATADIR_MISSING = 0, /* absent or empty: bootstrap or clone */
	HERD_PG_DATADIR_VALID,       /* PG_VERSION and global/pg_control are there */
	HERD_PG_DATADIR_BROKEN       /* something else, unreadable, or left by an unfinished copy or
					rewind */
};
enum herd_pg_datadir herd_pg_datadir(struct herd_pg *pg, struct herd_err *err);
/* BROKEN because initdb or a copy did not come to its end: there is nothing in it to be kept. */
bool herd_pg_is_half_copied(const struct herd_pg *pg);

/*
 * Writes the configuration of `role`, ends leftovers of a dead postmaster, starts one that is no
 * child of ours and waits until it accepts connections (hot standby included), fails or
 * timeout_ms (0: config's) is over; then it goes on starting and done gets -ETIMEDOUT.
 * done gets -ESRCH with the server's last words when the postmaster dies.
 */
int herd_pg_start(struct herd_pg *pg, const struct herd_pg_role *role, int64_t timeout_ms,
		  herd_pg_done_fn done, void *arg, struct herd_err *err);

enum herd_pg_stop_mode { HERD_PG_SMART = 0, HERD_PG_FAST, HERD_PG_IMMEDIATE };
struct herd_pg_stop_opts {
	enum herd_pg_stop_mode mode;
	int64_t timeout_ms; /* 0: wait for ever */
	bool escalate;   /* at the timeout go on with immediate, 5 s later kill; else -ETIMEDOUT */
	bool checkpoint; /* CHECKPOINT first, so that the shutdown is short; failure is ignored */
	/* May be NULL. Called once, with the arg of done, when pg_control says "shut down". */
	void (*shut_down)(void *arg, uint64_t checkpoint_lsn, uint32_t tli);
};
/*
 * done with 0 when no process of the instance is left (also when none ran). While a stop runs, only
 * one of a harder mode is taken; the first gets -ECANCELED then.
 */
int herd_pg_stop(struct herd_pg *pg, const struct herd_pg_stop_opts *opts, herd_pg_done_fn done,
		 void *arg, struct herd_err *err);
/* At once and without waiting: SIGSTOP the postmaster, SIGKILL it and every process of it. */
void herd_pg_kill(struct herd_pg *pg);

/* Removes standby.signal's effect for ever: done when pg_is_in_recovery() is false. */
int herd_pg_promote(struct herd_pg *pg, int64_t timeout_ms, herd_pg_done_fn done, void *arg,
		    struct herd_err *err);

/* Writes the configuration of role and sends SIGHUP when anything changed (always when force). */
int herd_pg_reload(struct herd_pg *pg, const struct herd_pg_role *role, bool force,
		   struct herd_err *err);
/*
 * Follows another primary (or none): reload where the version can, else a restart (stop fast,
 * start). Starts the instance as standby when it is down. done as herd_pg_start.
 */
int herd_pg_follow(struct herd_pg *pg, const struct herd_pg_role *role, int64_t timeout_ms,
		   herd_pg_done_fn done, void *arg, struct herd_err *err);
/* Stops (fast, without limit) and starts again; done as herd_pg_start. */
int herd_pg_restart(struct herd_pg *pg, const struct herd_pg_role *role, int64_t timeout_ms,
		    herd_pg_done_fn done, void *arg, struct herd_err *err);
/* A CHECKPOINT by the superuser. */
int herd_pg_checkpoint(struct herd_pg *pg, int64_t timeout_ms, herd_pg_done_fn done, void *arg,
		       struct herd_err *err);

/* The connection for status queries ('Patroni heartbeat'); made at first use, owned by pg. */
struct herd_pg_session *herd_pg_session(struct herd_pg *pg);
/* A further one of the caller's to the local server as superuser; dbname NULL: config's. */
int herd_pg_session_local(struct herd_pg *pg, const char *name, const char *dbname,
			  struct herd_pg_session **ret, struct herd_err *err);
/* The same for statements that may take long: only the query's own limit holds. */
int herd_pg_session_patient(struct herd_pg *pg, const char *name, const char *dbname,
			    struct herd_pg_session **ret, struct herd_err *err);
/*
 * One to another server, as the user of pg_rewind (else superuser): the caller's, without a limit
 * for statements beyond the query's own.
 */
int herd_pg_session_remote(struct herd_pg *pg, const struct herd_pg_addr *addr, const char *name,
			   struct herd_pg_session **ret, struct herd_err *err);
/* Connection text to the local server as the given user; malloc'd, holds the password. */
char *herd_pg_local_conninfo(struct herd_pg *pg, const struct herd_pg_auth *auth,
			     const char *dbname, const char *application_name);
/* The last role that was written by start, reload or follow; NULL: none yet. */
const struct herd_pg_role *herd_pg_role(const struct herd_pg *pg);
/* The value of a parameter as start, reload or follow wrote it last; NULL: not written. */
const char *herd_pg_written(const struct herd_pg *pg, const char *name);
/* The same for a standby's settings of recovery; "" when it was left out. NULL: none were written.
 */
const char *herd_pg_written_recovery(const struct herd_pg *pg, const char *name);
