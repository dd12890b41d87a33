/*
 * core/plan.h - the plan: what the shell has to do now, in order, and why.
 *
 * Rules for the shell:
 *  - Run the actions in order. An action with wait set must have SUCCEEDED before the next begins;
 *    when it fails, the rest is dropped. The others are begun and not waited for. A task has
 *    succeeded, in this sense, when it has begun; its end shows in obs.task.
 *  - A new plan replaces the old one: what was not begun is dropped. Requests to the store that are
 *    under way go on; their outcome counts only as seen in a later view.
 *  - After a waited action, or when a task or poll or probe ends, step again at once. After a
 * change of the store (whatever its result) the view of that step must have been read after it.
 *  - Step again at next_ms at the latest, and on every event (watch, postmaster's end, request).
 *  - Hand guard_ms to the guard BEFORE running the actions: at that instant the guard stops
 *    PostgreSQL unless it has been moved. 0: no deadline. HERD_GUARD_KEEP: leave it as it is.
 *  - Begin no action after valid_ms (0: no limit): drop it and step again.
 *  - Local actions that start a task are refused while another task runs, except STOP, which ends
 *    what runs (a promotion cannot be ended: STOP then stops the server).
 *  - The core never acts on the result of an action as such; it acts on the next observation.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/obs.h"

enum herd_act {
	/* ---- store; key, value, cond, version say what; all with wait unless said otherwise ----
	 */
	HERD_ACT_LEASE_GRANT, /* ttl_ms. Seen as obs.lease */
	HERD_ACT_LEASE_RENEW, /* not waited for. Seen as a newer obs.lease.sent_ms */
	HERD_ACT_TAKE,    /* put the leader key on our lease. Seen in the view, never believed */
	HERD_ACT_RELEASE, /* delete the leader key at a version */
	HERD_ACT_PASS,    /* put the leader key of that version on another member's lease (lease),
			     in its name (value). Only with obs.can_pass */
	HERD_ACT_PUT,     /* any other key; on_lease: attached to our lease. Member and status
			     documents are not waited for */
	HERD_ACT_DELETE,
	/* ---- questions; not tasks, run beside everything ---- */
	HERD_ACT_POLL,  /* id, names: GET /patroni of all in parallel, 2 s limit. obs.poll */
	HERD_ACT_PROBE, /* id, member: IDENTIFY_SYSTEM, TIMELINE_HISTORY, pg_is_in_recovery() over
			   libpq, 3 s limit. obs.probe */
	HERD_ACT_SLOTS_ASK, /* id, member, names: catalog_xmin of these slots of that primary, 3 s
			       limit. obs.asked_slots */
	HERD_ACT_FAILSAFE,  /* id, names, ttl_ms, timeout_ms: POST /failsafe to all in parallel.
			       obs.failsafe */
	/* ---- tasks; seen as obs.task and obs.pg ---- */
	HERD_ACT_BOOTSTRAP, /* initdb, users, post_bootstrap, all behind a private socket, beside
			       the data directory, which appears when everything is done. Ends DOWN,
			       shut down cleanly, VALID; or failed with EMPTY. The server is
			       opened to clients only by START, under the leader key */
	HERD_ACT_CLONE,     /* member: source (may be NULL: methods without source). Removes what is
			       in the data directory first. Ends DOWN with a standby's data */
	HERD_ACT_REWIND, /* member: source. pg_rewind (with crash recovery when needed). Ends DOWN
			  */
	HERD_ACT_START,  /* standby: with standby.signal, following member (NULL: nobody); else as
			    primary without it. Ends when it accepts connections, or is gone */
	HERD_ACT_STOP, /* mode; archive: a clean stop archives the last segment too. Fast: ends when
			  the postmaster is gone; before, obs.pg.control may say SHUT_DOWN already.
			  Immediate: SIGQUIT, SIGKILL of all after 1 s */
	HERD_ACT_RESTART, /* stop (fast) and start again in the same role */
	HERD_ACT_PROMOTE, /* ends when pg_is_in_recovery() is false, or failed */
	HERD_ACT_CHECKPOINT,
	HERD_ACT_SLOTS_COPY, /* member: the primary, names: logical slots. Reads their state there;
				when it has any: stops (fast), puts the files in place, starts as
				a standby of the same member */
	/* ---- quick local changes; waited for ---- */
	HERD_ACT_FOLLOW,  /* member (NULL: nobody): rewrite primary_conninfo, reload */
	HERD_ACT_RESUME,  /* pg_wal_replay_resume() */
	HERD_ACT_SET_SSN, /* value: synchronous_standby_names; NULL: the user's. Reload, and kept
			     in the configuration over restarts. Seen in obs.pg.ssn */
	HERD_ACT_SLOT_CREATE,  /* slot, slot_type, database, plugin */
	HERD_ACT_SLOT_DROP,    /* slot */
	HERD_ACT_SLOT_ADVANCE, /* slot, slot_type, database, lsn: pg_replication_slot_advance. Not
				  twice at a time for a slot; never waited for */
	HERD_ACT_WIPE,         /* value (NULL: failed): move the data directory to
				  <dir>.<value>; the next step sees EMPTY */
	/* ---- the agent ---- */
	HERD_ACT_DONE_RESTART, /* the request is answered: done */
	HERD_ACT_DONE_REINIT,
	HERD_ACT_EXIT, /* exit_code */
	HERD_ACT_NR
};

enum herd_cond { HERD_IF_ANY = 0, HERD_IF_ABSENT, HERD_IF_VERSION };
enum herd_stop { HERD_STOP_FAST = 0, HERD_STOP_IMMEDIATE };

struct herd_action {
	enum herd_act act;
	bool wait;
	const char *key; /* relative to the scope's root, the group included: "2/leader" */
	const char *value;
	enum herd_cond cond;
	int64_t version;
	bool on_lease;
	const char *lease; /* another's */
	int64_t ttl_ms;
	int64_t timeout_ms;
	int64_t id;
	size_t n_names;
	const char **names;
	const char *member;
	bool standby;
	enum herd_stop mode;
	bool archive;
	const char *slot, *database, *plugin;
	enum herd_slot_type slot_type;
	uint64_t lsn;
	int exit_code;
};

#define HERD_PLAN_MAX 64
#define HERD_GUARD_KEEP (-1)

/* Owns its texts. Zeroed before the first use, then reused: a step clears it. */
struct herd_plan {
	size_t n;
	struct herd_action act[HERD_PLAN_MAX];
	const char *rule;    /* which rule answered, static: "lease.keep" */
	const char *why;     /* Patroni's line of the cycle, or "" when there is nothing to say */
	bool heartbeat;      /* why is the regular line: log it once per loop_wait, not per step */
	const char *warning; /* one more line at WARNING, or NULL */
	bool leader; /* the leader key is ours and the lease is good: what REST answers may trust */
	int64_t leader_until_ms; /* leader is true no longer than this */
	int64_t open_until_ms;   /* as leader: no server may be made writable after this */
	bool failsafe; /* the word of members stands in for the leader key, ours or another's */
	bool failed;   /* out of memory: nothing may be run; step again later */
	int64_t guard_ms;
	int64_t valid_ms;
	int64_t next_ms;
	void *texts;
};

void herd_plan_clear(struct herd_plan *p);
const char *herd_act_text(enum herd_act a);
/* One line of text for traces and golden files: "TAKE leader=a if absent"; malloc'd. */
char *herd_action_print(const struct herd_action *a);
