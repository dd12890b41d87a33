/*
 * agent/internal.h - the agent's own state, shared by its files. Nobody else includes it.
 *
 * One loop, one step at a time: events call herd_agent_wake; observe.c gathers what the core wants
 * to know (asynchronously, bounded in time), the core decides, execute.c runs the plan. Tasks
 * (tasks.c) run beside the steps, one at a time.
 */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "agent/config.h"
#include "base/log.h"
#include "core/core.h"
#include "dcs/dcs.h"
#include "http/client.h"
#include "loop/loop.h"
#include "pg/control.h"
#include "pg/instance.h"
#include "pg/status.h"

struct herd_rest;
struct herd_sharding;
struct herd_callbacks;
struct herd_agent_slot_work;
struct herd_agent_slots_copy;
struct herd_fence;
struct herd_progress;

/* What runs beside the steps. */
struct herd_agent_task {
	enum herd_task running, last;
	int64_t since_ms, last_ms;
	bool last_ok;
	int failures;
	bool last_again; /* the last one failed with -EAGAIN */
	char *error;
	/* of the running one */
	int64_t id;      /* answers to earlier ones are dropped */
	bool standby;    /* the role that START or RESTART brings up */
	char *member;    /* source or leader, HERD_REMOTE, NULL: nobody */
	bool archive;    /* of STOP: the last segment too */
	int fail_rc;     /* BOOTSTRAP: why it ends, with error; while what it made is put aside */
	bool recovering; /* BOOTSTRAP: the method has ended, the server is started */
	bool leads;      /* it ends with a server that takes writes under the leader key */
};

struct herd_agent_answers {
	int64_t id, asked_ms;
	size_t n, left;
	struct herd_obs_answer *answers; /* names are ours */
};

struct herd_agent_probe {
	int64_t id;
	char *name;
	bool ok;
	uint64_t sysid;
	bool in_recovery;
	int64_t timeline;
	struct herd_history history;
	bool busy;
};

/* Slots of the primary, as it told them. */
struct herd_agent_asked_slots {
	int64_t id;
	bool busy, ok;
	struct herd_pg_session *session;
	size_t n;
	struct herd_obs_slot *slots; /* names are ours */
};

/* failsafe_mode, both sides; see struct herd_obs_failsafe. */
struct herd_agent_failsafe {
	int64_t id;
	size_t n, left;
	bool accepted, refused;
	struct herd_obs_accept *accepts; /* names are ours */
	char *leader;
	int64_t asked_ms, leader_ttl_ms;
	struct herd_status status;
};

/* Where the running plan stands. */
struct herd_agent_exec {
	struct herd_plan plan;
	size_t next;     /* first action that was not begun */
	bool waiting;    /* for the end of action next - 1 */
	unsigned gen;    /* answers to older plans only wake */
	bool step_again; /* something was waited for: look again after the last action */
	bool reread;     /* the store was changed: the next view must be younger */
};

#define AGENT_NSIGNALS 3

struct herd_agent {
	struct herd_loop *loop;
	struct herd_log *log;
	struct herd_agent_config *cfg;
	json_t *cached; /* the dynamic configuration that patroni.dynamic.json has */
	bool cache_failed;
	char *name;
	int group;
	uint64_t nonce;

	struct herd_dcs *dcs;
	struct herd_dcs_watch *watch;
	struct herd_scope *scope; /* NULL before the first view */
	int64_t view_ms, view_revision;
	bool dcs_ok;
	int64_t dcs_seen_wall_ms; /* of the last full read */
	char *lease_id;
	int64_t lease_sent_ms, lease_ttl_ms;
	bool lease_busy;
	int64_t lease_adopted; /* version of the leader key when a lease of before was taken over */

	struct herd_pg *pg;
	struct herd_pg_status st;        /* the last one that was read */
	bool status_due;                 /* systemd has not got last_why */
	int64_t st_sent_ms, promoted_ms; /* the question asked last; the end of a promotion */
	bool st_fresh;                   /* read in this observation */
	bool st_known;                   /* ever read since the postmaster started */
	int64_t st_ms;                   /* when the last one was read */
	bool st_stale;                   /* something was done to the server since */
	bool st_reuse;                   /* the next observation may do with the last one */
	int st_failures;                 /* times in a row that it could not be read */
	struct herd_pg_controldata control;
	bool control_known;
	bool rewind_possible;
	uint64_t receive_lsn, replay_lsn; /* last known */
	/* The newest timeline that this postmaster has streamed: pg_control lags behind it. */
	int64_t streamed_tl, streamed_start_ms;
	enum herd_pg_run run;
	int64_t down_since_ms, starting_since_ms;
	bool crashed;
	struct herd_history history; /* pg_wal/<history_tl>.history */
	int64_t history_tl;
	char *ssn;       /* synchronous_standby_names that the core set; NULL: the user's */
	bool conf_stale; /* the configuration has changed, the server's files not yet */
	char *ssn_seen;  /* in force; NULL: nothing is waited for */
	int64_t ssn_again_ms;

	struct herd_core *core;
	struct herd_agent_exec exec;
	struct herd_agent_task task;
	struct herd_agent_answers poll;
	struct herd_agent_probe probe;
	struct herd_agent_asked_slots ask;
	struct herd_agent_slot_work *slot_work; /* on logical ones, under way */
	struct herd_names slots_stuck;          /* were moved in vain */
	struct herd_names slots_lack;           /* were not copied because their WAL is not here */
	struct herd_agent_slots_copy *slots_copy; /* of the task */
	struct herd_agent_failsafe failsafe;
	struct herd_helper *helper;
	struct herd_fence *fence;
	struct herd_progress *progress;
	struct herd_http_client *http;

	/* the observation that is being gathered */
	bool observing, wake_again;
	int pending;
	bool dcs_pending, pg_pending;
	struct herd_timer *step_timer, *observe_timer;
	int64_t heartbeat_ms; /* of the last step that read the store */

	struct herd_config boot; /* bootstrap.dcs */
	bool aside_failed;       /* the data directory cannot be moved: a mount point, or rights */
	json_t *rejoin;          /* how we came back to the others last; NULL: never yet */
	bool want_restart, want_reinit, want_exit, want_reload;
	bool reinit_force, reinit_from_leader; /* how want_reinit is meant */
	bool leader; /* as the last plan said; only until leader_until_ms */
	int64_t leader_until_ms;
	int64_t act_until_ms;  /* by the last plan: nothing may be opened to writes from then on */
	int64_t open_until_ms; /* see core/plan.h */
	bool failsafe_active;  /* ours or another's lead rests on members' word */
	int64_t next_run_ms;   /* when the next step is due: liveness */
	char *last_why;
	char *last_warning;
	int64_t last_why_ms;
	struct herd_signal *signals[AGENT_NSIGNALS]; /* TERM, INT, HUP */
	int exit_code;
	bool exiting;
	char *self_conn_url, *self_api_url, *self_proxy_url;
	enum herd_role last_role;  /* as the callbacks were told; HERD_ROLE_UNKNOWN: nothing yet */
	json_t *scheduled_restart; /* {"schedule":..., ...} or NULL */

	struct herd_rest *rest;
	struct herd_sharding *sharding;
	struct herd_callbacks *callbacks;
};

#define AGENT_VERSION "4.1.4" /* of Patroni's interfaces that we speak */

/* agent.c */
/* Runs until a signal or a decision ends it; returns the exit status. Steals cfg. */
int herd_agent_run(struct herd_agent_config *cfg);
void herd_agent_warn(void *arg, const char *text); /* arg: struct herd_agent */
int herd_agent_apply_config(struct herd_agent *a, bool force_reload);
/* Writes patroni.dynamic.json where it is missing or old. */
void herd_agent_keep_cache(struct herd_agent *a);
/* After a step: the files follow the role, and what came while they could not be written. */
void herd_agent_keep_conf(struct herd_agent *a);
void herd_agent_reload(struct herd_agent *a);                              /* as SIGHUP does */
const struct herd_cluster *herd_agent_cluster(const struct herd_agent *a); /* ours, or NULL */
void herd_agent_set_scope(struct herd_agent *a, struct herd_dcs_view *view);

/* The dynamic configuration: the store's, before there is one bootstrap.dcs. */
const struct herd_config *herd_agent_dynamic(const struct herd_agent *a);

/* observe.c */
void herd_agent_wake(struct herd_agent *a);
/* Only something of the store has changed: the server is not asked again within a moment. */
void herd_agent_wake_store(struct herd_agent *a);
void herd_agent_observe_init(struct herd_agent *a);
void herd_agent_heartbeat(void *arg);
/* Fills obs from the agent's state; what it points to lives until the next event. */
struct herd_agent_obs_buf; /* scratch that an observation needs */
int herd_agent_obs(struct herd_agent *a, struct herd_obs *obs, struct herd_agent_obs_buf **buf);
void herd_agent_obs_free(struct herd_agent_obs_buf *buf);
int herd_agent_self(const struct herd_agent *a, struct herd_member *ret);
/* The member that primary_conninfo names, or NULL. */
const char *herd_agent_following(struct herd_agent *a);

/* execute.c */
void herd_agent_run_plan(struct herd_agent *a);
void herd_agent_exec_done(struct herd_agent *a, unsigned gen, bool ok);

/* tasks.c */
/* One link of a chain of operations: answers that belong to a task which was ended are dropped. */
struct herd_agent_link {
	struct herd_agent *a;
	int64_t task;
	void (*next)(struct herd_agent *a, int rc, const struct herd_err *err);
};
struct herd_agent_link *herd_agent_link_new(struct herd_agent *a,
					    void (*next)(struct herd_agent *, int,
							 const struct herd_err *));
void herd_agent_on_link(void *arg, int rc, const struct herd_err *err); /* arg: the link */
/* For operations that refused to begin (rc < 0): the chain goes on with their error. */
void herd_agent_begun(struct herd_agent_link *l, int rc, struct herd_err *err);
/* bootstrap.c */
void herd_agent_begin_bootstrap(struct herd_agent *a);
/* 0: the task runs, or has ended already; -EBUSY: another runs. */
int herd_agent_task_start(struct herd_agent *a, const struct herd_action *act);
const char *herd_agent_task_text(enum herd_task t);
/* Reads all of pg_control and wakes; for what the quick look does not tell. */
void herd_agent_look_at_control(struct herd_agent *a);
const char *herd_agent_last_role(const struct herd_agent *a); /* for callbacks */
/* A server was found running when the agent began: on_start, if nothing was called before. */
void herd_agent_adopted(struct herd_agent *a);
void herd_agent_standby_role(struct herd_agent *a);
/* The leader key is released: on_role_change demoted, if that is for a server that fails. */
void herd_agent_gave_up(struct herd_agent *a);
/* Path of the file whose presence says that a bootstrap has not ended; malloc'd. */
/* Files in the data directory, for this agent and a later one; malloc'd paths. */
char *herd_agent_bootstrap_mark(const struct herd_agent *a); /* being made: counts as empty */
char *herd_agent_fresh_mark(const struct herd_agent *a);     /* made, and never opened to clients */
/* Beside the data directory, because pg_rewind removes what its source does not have: a rewind was
 * begun and has not ended well. */
char *herd_agent_rewind_mark(const struct herd_agent *a);
void herd_agent_set_rewind_mark(struct herd_agent *a, bool there);
/* The role for a standby of member (NULL: nobody) or a primary, with all settings of the moment. */
int herd_agent_role(struct herd_agent *a, bool standby, const char *member,
		    struct herd_pg_role *ret);
/* Where a member's server, or the one outside (HERD_REMOTE), is; host NULL: nowhere known. */
int herd_agent_source(struct herd_agent *a, const char *member, struct herd_pg_addr *ret);
/* Is it the standby that leads a standby cluster? */
bool herd_agent_leads_standby(const struct herd_agent *a, bool standby);

/* The next links of a chain, for tasks in files of their own: finish ends the task that runs. */
void herd_agent_task_finish(struct herd_agent *a, int rc, const struct herd_err *err);
/* Stops (fast, without hooks) and then goes on; start as task.standby and task.member say. */
void herd_agent_task_stop(struct herd_agent *a,
			  void (*next)(struct herd_agent *a, int rc, const struct herd_err *err));
void herd_agent_task_do_start(struct herd_agent *a);

/* slots.c: logical slots */
/* SLOT_CREATE and SLOT_ADVANCE of a logical one; nothing while one is under way for it. */
void herd_agent_slot_work(struct herd_agent *a, const struct herd_action *act);
bool herd_agent_slot_stuck(const struct herd_agent *a, const char *name);
void herd_agent_slots_ask(struct herd_agent *a, const struct herd_action *act);
void herd_agent_slots_copy(struct herd_agent *a, const struct herd_action *act); /* the task */
void herd_agent_slots_clear(struct herd_agent *a);

/* ask.c: questions to other members */
void herd_agent_poll(struct herd_agent *a, const struct herd_action *act);
void herd_agent_probe_start(struct herd_agent *a, const struct herd_action *act);
void herd_agent_poll_clear(struct herd_agent_answers *p);

/* failsafe.c */
/* Does the server take writes, or may it do so any moment? */
bool herd_agent_is_primary(const struct herd_agent *a);
void herd_agent_failsafe_ask(struct herd_agent *a, const struct herd_action *act);
void herd_agent_failsafe_clear(struct herd_agent_failsafe *f);

/* pgconf.c: what src/pg must know, out of the configuration */
int herd_agent_pg_config(const struct herd_agent *a, struct herd_pg_config *ret,
			 struct herd_err *err);
/* initdb's options, or the custom bootstrap method (then *method is set). Caller clears both. */
int herd_agent_bootstrap(const struct herd_agent *a, struct herd_pg_settings *initdb,
			 struct herd_pg_method *method, bool *custom);
/* The replica methods of standby_cluster for a copy from outside; *n is 0 when it names none. */
int herd_agent_remote_methods(const struct herd_agent *a, struct herd_pg_method **ret, size_t *n);
/* Splits "host[,host]:port"; IPv6 in brackets. 0 or -EINVAL. */
int herd_agent_split_address(const char *text, int fallback_port, char **host, int *port);

/* fence.c: what stops PostgreSQL when the agent cannot */
/* Before anything else runs. Fails only when something that is required cannot be had. */
int herd_fence_start(struct herd_agent *a, struct herd_err *err);
void herd_fence_begin(struct herd_agent *a); /* the loop is there */
void herd_fence_observe(struct herd_agent *a, struct herd_obs *obs);
/* False: what is required cannot be had, and the plan must not run. */
bool herd_fence_move(struct herd_agent *a, const struct herd_plan *p);
bool herd_fence_watchdog_failed(const struct herd_agent *a);
/* "on", "off", "paused" or "failed": for member document, REST and ctl. */
const char *herd_fence_guard_state(const struct herd_agent *a);
bool herd_fence_guard_failed(const struct herd_agent *a); /* required, and not there */
unsigned herd_fence_fired(const struct herd_agent *a);
void herd_fence_free(struct herd_agent *a);

/* callbacks.c */
void herd_agent_callback(struct herd_agent *a, const char *action, const char *role);
/* Runs a hook (pre_promote, before_stop) and tells whether it ended well; no hook: at once. */
/* timeout_ms: then it is ended, and has failed; 0: none. */
void herd_agent_hook(struct herd_agent *a, const char *key, int64_t timeout_ms,
		     void (*fn)(void *arg, bool ok), void *arg);
