/*
 * sim/world.h - what the parts of the simulator share. Internal to sim.
 *
 * One clock, one queue of events: a seed replays exactly. Chances come from two generators, one for
 * what befalls the herd (faults, people) and one for everything else, so that a fault can be left
 * out without changing the others. Times are milliseconds of true time; an agent sees them through
 * its own clock, which runs a little fast or slow.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/rng.h"
#include "core/core.h"
#include "sim/report.h"

enum {
	SIM_NODES = 8,
	SIM_GROUPS = 2,
	SIM_KEYS = 64,
	SIM_LEASES = 128,
	SIM_SLOTS = 16,
	SIM_RECORD = 100, /* bytes of WAL that a record takes */
	SIM_XMIN = 100,   /* of every slot: transactions are not simulated */
	SIM_WAKE_MS = 50, /* after a machine that stood still goes on, its guard has acted */
};

struct sim;

/* ---- the store ---- */

struct sim_key {
	char *key, *value;
	int64_t version;
	int lease; /* 0: none */
};

struct sim_lease {
	int id;
	int owner; /* node */
	int64_t ttl_ms, expires_ms;
};

enum sim_result { SIM_OK = 0, SIM_CONFLICT, SIM_LEASE_GONE, SIM_UNKNOWN };

enum sim_op { SIM_READ = 0, SIM_CHANGE, SIM_GRANT, SIM_RENEW };

/* A request of an agent, on its way or answered. Owned by the queue. */
struct sim_request {
	enum sim_op op;
	int node;
	int life;     /* of the agent that asked */
	int64_t plan; /* serial of the plan that waits, or 0 */
	char *key, *value;
	enum herd_cond cond;
	int64_t version;
	int lease;
	int64_t ttl_ms;
	int64_t sent_local_ms;
	bool done;   /* the answer, or the time limit, has come */
	int pending; /* events that point here */
	enum sim_result result;
	struct herd_scope *scope;
	int64_t read_local_ms;
};

struct sim_store {
	size_t n;
	struct sim_key keys[SIM_KEYS];
	int64_t revision;
	int next_lease;
	size_t n_leases;
	struct sim_lease leases[SIM_LEASES];
	struct herd_scope *scope; /* of built_revision */
	int64_t built_revision;
	bool down;
	int64_t slow_until; /* every request takes long */
};

/* ---- a server ---- */

/* A WAL record. Ids are unique, so equal ids at equal places mean equal logs up to there. */
struct sim_record {
	uint32_t id;
	uint32_t timeline;
};

struct sim_log {
	size_t n, cap;
	struct sim_record *rec;
};

/* The texts are interned. */
struct sim_slot {
	const char *name, *database, *plugin;
	enum herd_slot_type type;
	size_t place;
};

struct sim_server {
	/* The disk. */
	enum herd_pg_data data;
	uint64_t sysid;
	bool standby; /* standby.signal */
	bool fresh;
	bool marked; /* the mark of a rewind that did not end well */
	bool torn;   /* a rewind or a copy broke off in the middle: looks usable, never starts */
	bool full;   /* no space left: nothing can be written */
	int64_t stuck_since; /* it runs and does nothing; 0: it does */
	uint32_t timeline;
	struct herd_history history;
	int history_serial;
	struct sim_log log;
	enum herd_control control;
	size_t checkpoint; /* index of the latest checkpoint record */
	uint32_t checkpoint_tl;
	const char *ssn;       /* in the configuration file; interned */
	const char *ssn_shown; /* in the session of the agent */
	size_t n_slots;
	struct sim_slot slots[SIM_SLOTS];
	/* The processes. */
	enum herd_pg_run run;
	bool crashed;
	bool orphans; /* no postmaster, but a backend that goes on with its statement */
	int life;     /* of the postmaster: events of former ones are void */
	int64_t down_since, starting_since, up_since;
	int64_t frozen_until;     /* all of them */
	int64_t postmaster_until; /* the postmaster alone: no signal reaches it but SIGKILL */
	/* What commits really wait for: num of the nodes in mask. */
	int wait_num;
	unsigned wait_mask;
	bool wait_any; /* of whoever comes: a star */
	int following; /* node, or -1 */
	bool streaming;
	bool sending; /* an event will bring it more WAL */
	/* As primary: how far each standby has confirmed, in records. */
	size_t confirmed[SIM_NODES];
	size_t acked; /* commits up to here were acknowledged, or will never be */
};

/* ---- an agent ---- */

/* What an observation has read of the server; the decision may come later. */
struct sim_seen {
	struct herd_obs_pg pg;
	struct herd_obs_sender rows[SIM_NODES];
	struct herd_obs_slot slots[SIM_SLOTS];
	struct herd_history history;
	int history_serial;
};

struct sim_node {
	int index;
	int group; /* index into groups */
	char name[16];
	double rate; /* of its clock */
	int64_t offset;
	bool absent; /* has not joined yet, or has left */
	bool up;     /* the machine */
	bool agent_up;
	int64_t up_since;     /* of the agent */
	int life;             /* of the agent */
	int64_t frozen_until; /* the agent does nothing before */
	int64_t host_until;   /* the machine stands still */
	bool cut_store;       /* no way to the store */
	bool cut[SIM_NODES];  /* no way to another node */
	bool cut_rest;        /* its REST API does not answer */
	int slow;             /* factor on everything the disk does */
	int lag;              /* ms that WAL takes to reach it */
	int usual_lag;        /* of this node, in this run */
	int64_t steady_since; /* the last thing that befell it */
	int64_t key_gone_at;  /* its member key went; 0: it is there */
	int64_t key_since;    /* it came */
	struct sim_server pg;
	struct herd_core *core;
	struct herd_plan plan;
	int64_t plan_serial;
	const char *told_rule; /* the trace tells a decision once, not at every heartbeat */
	size_t plan_at;
	bool feedback; /* hot_standby_feedback was written so */
	int steps_now; /* in this second of the run: a core must not spin */
	int64_t steps_since;
	int64_t step_at; /* the earliest step that is queued; INT64_MAX: none */
	bool deciding;   /* an observation was read, its step is to come */
	bool wake_again;
	struct sim_seen seen;
	/* What the shell knows. */
	struct herd_scope *scope;
	int64_t view_local_ms;
	bool dcs_ok, reading, delivering;
	int lease; /* 0: none */
	char lease_text[16];
	int64_t lease_sent_local, lease_ttl;
	bool lease_busy;
	enum herd_task task, last_task;
	int64_t task_since, last_task_at;
	bool last_ok;
	int failures;
	int task_serial;
	bool restart_standby; /* the role that a RESTART brings back */
	/* SLOTS_COPY: what is copied, and from whom. Interned. */
	int copy_from;
	size_t copy_n;
	const char *copy[SIM_SLOTS];
	int64_t poll_id, poll_asked;
	size_t poll_n;
	struct herd_obs_answer answers[SIM_NODES];
	int64_t asking_id; /* poll under way */
	size_t asking_n;
	struct herd_obs_answer asking[SIM_NODES];
	int64_t probe_id, probing_id;
	struct herd_obs_probe probe;
	struct herd_history probe_history;
	int64_t asked_id, asking_slots_id;
	size_t asked_n;
	struct herd_obs_slot asked[SIM_SLOTS];
	/* failsafe_mode: our round of questions, and whom we gave our word. */
	int64_t fs_id, fs_done_id, fs_ttl;
	size_t fs_left;
	bool fs_yes, fs_no;
	int fs_leader; /* node, or -1 */
	int64_t fs_asked_local, fs_leader_ttl;
	struct herd_member self;
	bool want_exit, want_restart, want_reinit;
	bool retagged;   /* people have changed its tags */
	bool stays_away; /* an agent that was told to end is not started again at once */
	/* The guard: a process of its own; the deadline is on the node's clock. 0: none. */
	int64_t guard_local, guard_until;
};

/* A commit that a client was told about. */
struct sim_ack {
	uint32_t id;
	size_t place;
	bool lost; /* found missing, and that was allowed */
};

/* One group of the herd: a leader key, and what was promised to its clients. */
struct sim_group {
	int id; /* HERD_NO_GROUP without sharding */
	char *config_text;
	struct herd_config config;  /* as the store has it now */
	int64_t synced_since;       /* /sync names a leader, and the mode is on; 0: not so */
	int64_t max_lag, lag_since; /* the largest limit of late */
	int64_t exempt_until;       /* what befell it is beyond any promise */
	int64_t forced_until;       /* people may have chosen one who has less */
	int64_t overlap_since;      /* two servers take writes, and that is exempt; 0: not so */
	uint64_t optime;            /* of the last status written */
	size_t n_acks, cap_acks;
	struct sim_ack *acks;
	int64_t last_ack_at;
	int last_ack_node;
	int64_t leader_at; /* after the healing: when a leader took writes; 0: not yet */
	/* For the report: the event that is measured, and the longest time without a commit. */
	enum sim_kind kind;
	int64_t gap_ms;
};

struct sim_event {
	int64_t at;
	uint64_t serial;
	void (*fn)(struct sim *w, struct sim_event *e);
	int node, life;
	int64_t arg;
	struct sim_request *request;
};

/* How a run is made. */
struct sim_options {
	const char *config; /* JSON of a dynamic configuration, or NULL: random ones */
	int members;        /* of each group; 0: random */
	bool guard;         /* the guard is on */
	bool calm;          /* one event after the other, for the report */
	bool trace;
	/* Faults (by their numbers) that are left out; for minimizing. */
	size_t n_skip;
	const int *skip;
};

struct sim {
	uint64_t seed;
	const struct sim_options *opt;
	struct herd_rng rng, chaos;
	bool failed;
	char *failure; /* text, when a check did not hold */
	int64_t now;
	uint64_t serial;
	size_t n_events, cap_events;
	struct sim_event *events; /* a heap */
	struct sim_store store;
	int n_nodes;
	struct sim_node nodes[SIM_NODES];
	int n_groups;
	struct sim_group groups[SIM_GROUPS];
	size_t n_interned, cap_interned;
	char **interned;
	/* The setting of this run. */
	bool rewind;
	bool with_proxy;
	bool can_pass; /* the store lets a key be put on another's lease */
	bool tempting; /* faults follow delicate moments */
	bool faults;   /* they still happen */
	bool pauses, reconfigures;
	int late; /* permille of requests and replies that take long on their way to the store */
	int64_t heal_at, end_at;
	uint32_t next_id;
	int n_inflicted; /* numbers the faults */
	int n_calm;      /* events of the report so far */
	struct sim_report report;
};

/* world.c */
void sim_at(struct sim *w, int64_t at, void (*fn)(struct sim *, struct sim_event *), int node,
	    int life, int64_t arg);
void sim_request_at(struct sim *w, int64_t at, void (*fn)(struct sim *, struct sim_event *),
		    struct sim_request *r);
int64_t sim_rand(struct sim *w, int64_t lo, int64_t hi);
bool sim_chance(struct sim *w, int permille);
int64_t sim_fate(struct sim *w, int64_t lo, int64_t hi); /* the same for faults and people */
bool sim_trace_on(const struct sim *w);
void sim_trace(struct sim *w, const char *who, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* A check that did not hold: ends the run. */
void sim_fail(struct sim *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool sim_linked(const struct sim *w, int a, int b);
const char *sim_intern(struct sim *w, const char *text); /* NULL stays NULL */
struct sim_group *sim_group_of(struct sim *w, int node);
/* Key of a group in the store. */
const struct sim_key *sim_get(const struct sim *w, const struct sim_group *g, const char *key);
int sim_leader(const struct sim *w, const struct sim_group *g); /* node, or -1 */
/* Runs one seed. False when a check did not hold. */
bool sim_run(struct sim *w, uint64_t seed, const struct sim_options *opt);
void sim_free(struct sim *w);

/* scene.c */
void sim_scene(struct sim *w);
char *sim_random_config(struct sim *w);

/* faults.c */
void sim_faults_start(struct sim *w);
void sim_tempt(struct sim *w, int node); /* something delicate happens: sometimes a fault follows */
bool sim_skipped(struct sim *w);         /* counts the fault; true: this one is left out */

/* people.c */
void sim_people_start(struct sim *w);
void sim_people_heal(struct sim *w);
void sim_switchover(struct sim *w, struct sim_group *g, const char *candidate, bool forced,
		    int64_t at);

/* calm.c: one event after the other, each measured */
void sim_calm_start(struct sim *w);

/* checks.c */
void sim_check_primaries(struct sim *w, int node);
void sim_check_promotion(struct sim *w, int node);
void sim_check_expiry(struct sim *w, const struct sim_lease *l);
void sim_check_change(struct sim *w, const struct sim_request *r);
void sim_check_waits(struct sim *w, int node); /* synchronous_standby_names took effect */
void sim_check_guard(struct sim *w, int node); /* it is about to fire */
void sim_check_drop(struct sim *w, int node, const struct sim_slot *slot);
void sim_check_end(struct sim *w);
void sim_acked(struct sim *w, int node, size_t place);

/* store.c */
void sim_store_send(struct sim *w, struct sim_request *r); /* takes r over */
struct herd_scope *sim_store_scope(struct sim *w);         /* borrowed */
/* By an operator; value NULL: deletes. */
void sim_store_put(struct sim *w, const struct sim_group *g, const char *key, const char *value);
const struct sim_key *sim_store_get(const struct sim *w, const char *key);
void sim_store_forget_leases(struct sim *w);
void sim_request_unref(struct sim_request *r);
void sim_store_free(struct sim_store *st);

/* server.c */
int64_t sim_disk(struct sim *w, int node, int64_t lo, int64_t hi); /* a duration */
static inline uint64_t sim_lsn(size_t place)
{
	return (uint64_t)place * SIM_RECORD;
}
bool sim_writable(const struct sim_server *pg);
void sim_server_start(struct sim *w, int node, bool standby, int following);
void sim_server_restart(struct sim *w, int node);
void sim_server_stop(struct sim *w, int node, bool immediate);
void sim_server_kill(struct sim *w, int node, bool orphans); /* the processes vanish */
void sim_server_kill_orphans(struct sim *w, int node);
void sim_server_guard_kill(struct sim *w, int node);
void sim_server_promote(struct sim *w, int node);
void sim_server_checkpoint(struct sim *w, int node);
void sim_server_set_ssn(struct sim *w, int node, const char *text);
void sim_server_follow(struct sim *w, int node, int following);
void sim_server_write(struct sim *w, int node); /* one commit of a client */
void sim_server_append(struct sim_server *pg, struct sim_record rec);
void sim_server_free(struct sim_server *pg);

/* disk.c: what lies in the data directory */
void sim_server_bootstrap(struct sim *w, int node);
void sim_server_copy(struct sim *w, int node, int from, bool rewind);
void sim_server_copy_broke(struct sim *w, int node); /* the agent died in the middle */
void sim_server_wipe(struct sim *w, int node);
void sim_slot_create(struct sim *w, int node, const struct herd_action *a);
void sim_slots_copied(struct sim *w, int node);
void sim_slot_drop(struct sim *w, int node, const char *name);
void sim_slot_advance(struct sim *w, int node, const char *name, uint64_t lsn);
struct sim_slot *sim_slot_find(struct sim_server *pg, const char *name);

/* observe.c */
void sim_observe(struct sim *w, struct sim_node *n);
void sim_obs(struct sim *w, struct sim_node *n, struct herd_obs *o);
void sim_poll(struct sim *w, struct sim_node *n, const struct herd_action *a);
void sim_probe(struct sim *w, struct sim_node *n, const struct herd_action *a);
void sim_failsafe(struct sim *w, struct sim_node *n, const struct herd_action *a);
void sim_ask_slots(struct sim *w, struct sim_node *n, const struct herd_action *a);

/* agent.c */
int64_t sim_local(const struct sim_node *n, int64_t at);
/* For handlers: gone for good; or frozen, and then the event comes again when it goes on. */
bool sim_agent_absent(struct sim *w, const struct sim_event *e);
bool sim_agent_frozen(struct sim *w, struct sim_event *e);
void sim_agent_start(struct sim *w, int node);
void sim_agent_start_later(struct sim *w, int node, int64_t delay);
void sim_agent_kill(struct sim *w, int node);
void sim_agent_wake(struct sim *w, int node, int64_t delay);
void sim_agent_answer(struct sim *w, struct sim_request *r);
void sim_agent_changed(struct sim *w); /* the store changed: watches deliver */
void sim_agent_task_done(struct sim *w, int node, enum herd_task task, bool ok);
int sim_node_of(const struct sim *w, const char *name); /* or -1 */
