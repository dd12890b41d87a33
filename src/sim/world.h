/*
 * sim/world.h - what the parts of the simulator share. Internal to sim.
 *
 * One clock, one queue of events, one generator of chances: a seed replays exactly. Times are
 * milliseconds of true time; an agent sees them through its own clock, which runs a little fast or
 * slow.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/rng.h"
#include "core/core.h"

enum { SIM_NODES = 5, SIM_KEYS = 40, SIM_RECORD = 100 };

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
	struct sim_lease leases[64];
	struct herd_scope *scope; /* of built_revision */
	int64_t built_revision;
	bool down;
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

struct sim_server {
	/* The disk. */
	enum herd_pg_data data;
	uint64_t sysid;
	bool standby; /* standby.signal */
	bool fresh;
	uint32_t timeline;
	struct herd_history history;
	struct sim_log log;
	enum herd_control control;
	size_t checkpoint; /* index of the latest checkpoint record */
	uint32_t checkpoint_tl;
	char *ssn; /* in the configuration file */
	/* The process. */
	enum herd_pg_run run;
	bool crashed;
	int life; /* of the postmaster: events of former ones are void */
	int64_t down_since, starting_since, up_since;
	/* What commits really wait for: num of the nodes in mask. */
	int wait_num;
	unsigned wait_mask;
	int following; /* node, or -1 */
	bool streaming;
	bool sending; /* an event will bring it more WAL */
	/* As primary: how far each standby has confirmed, in records. */
	size_t confirmed[SIM_NODES];
	size_t acked; /* commits up to here were acknowledged, or will never be */
};

/* ---- an agent ---- */

struct sim_node {
	int index;
	char name[8];
	double rate; /* of its clock */
	int64_t offset;
	bool up; /* the machine */
	bool agent_up;
	int64_t up_since;     /* of the agent */
	int life;             /* of the agent */
	int64_t frozen_until; /* the agent does nothing before */
	bool cut_store;       /* no way to the store */
	bool cut[SIM_NODES];  /* no way to another node */
	int slow;             /* factor on everything the disk does */
	int lag;              /* ms that WAL takes to reach it */
	int usual_lag;        /* of this node, in this run */
	int64_t steady_since; /* the last thing that befell it */
	struct sim_server pg;
	struct herd_core *core;
	struct herd_plan plan;
	int64_t plan_serial;
	size_t plan_at;
	int64_t step_at; /* the earliest step that is queued; INT64_MAX: none */
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
	int64_t poll_id, poll_asked;
	size_t poll_n, poll_left;
	struct herd_obs_answer answers[SIM_NODES];
	int64_t asking_id; /* poll under way */
	struct herd_obs_answer asking[SIM_NODES];
	int64_t probe_id, probing_id;
	struct herd_obs_probe probe;
	struct herd_history probe_history;
	/* failsafe_mode: our round of questions, and whom we gave our word. */
	int64_t fs_id, fs_done_id, fs_ttl;
	size_t fs_left;
	bool fs_yes, fs_no;
	int fs_leader; /* node, or -1 */
	int64_t fs_asked_local, fs_leader_ttl;
	struct herd_member self;
	bool want_exit;
	/* The guard: a process of its own; the deadline is on the node's clock. 0: none. */
	int64_t guard_local;
};

struct sim_event {
	int64_t at;
	uint64_t serial;
	void (*fn)(struct sim *w, struct sim_event *e);
	int node, life;
	int64_t arg;
	struct sim_request *request;
};

/* A commit that a client was told about. */
struct sim_ack {
	uint32_t id;
	size_t place;
	bool lost; /* found missing, and that was allowed */
};

struct sim {
	uint64_t seed;
	struct herd_rng rng;
	bool trace;
	bool failed;
	int64_t now;
	uint64_t serial;
	size_t n_events, cap_events;
	struct sim_event *events; /* a heap */
	struct sim_store store;
	int n_nodes;
	struct sim_node nodes[SIM_NODES];
	/* The setting of this run. */
	char *config_text; /* the dynamic configuration */
	struct herd_config config;
	bool rewind;
	bool with_proxy;
	bool tempting; /* faults follow delicate moments */
	bool faults;   /* they still happen */
	int64_t heal_at, end_at;
	/* Clients. */
	uint32_t next_id;
	uint32_t max_timeline;
	size_t n_acks, cap_acks;
	struct sim_ack *acks;
	int64_t last_ack_at;
	uint64_t optime; /* of the last status written */
	/* Counts for the summary. */
	long n_promotions, n_handovers, n_lost, n_steps;
};

/* world.c */
void sim_at(struct sim *w, int64_t at, void (*fn)(struct sim *, struct sim_event *), int node,
	    int life, int64_t arg);
void sim_request_at(struct sim *w, int64_t at, void (*fn)(struct sim *, struct sim_event *),
		    struct sim_request *r);
int64_t sim_rand(struct sim *w, int64_t lo, int64_t hi);
bool sim_chance(struct sim *w, int permille);
void sim_trace(struct sim *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Something delicate happens: sometimes a fault follows at once. */
void sim_tempt(struct sim *w);
/* A check that did not hold: prints the seed and ends the run. */
void sim_fail(struct sim *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool sim_linked(const struct sim *w, int a, int b);
/* Runs one seed. False when a check did not hold. */
bool sim_run(struct sim *w, uint64_t seed, const char *config, bool trace);
void sim_free(struct sim *w);

/* checks.c */
void sim_check_primaries(struct sim *w);
void sim_check_promotion(struct sim *w, int node);
void sim_check_expiry(struct sim *w, const struct sim_lease *l);
void sim_check_end(struct sim *w);
void sim_acked(struct sim *w, int node, size_t place);

/* store.c */
void sim_store_send(struct sim *w, struct sim_request *r);             /* takes r over */
struct herd_scope *sim_store_scope(struct sim *w);                     /* borrowed */
void sim_store_put(struct sim *w, const char *key, const char *value); /* by an operator */
const struct sim_key *sim_store_get(const struct sim *w, const char *key);
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
void sim_server_stop(struct sim *w, int node, bool immediate);
void sim_server_kill(struct sim *w, int node);
void sim_server_promote(struct sim *w, int node);
void sim_server_checkpoint(struct sim *w, int node);
void sim_server_bootstrap(struct sim *w, int node);
void sim_server_copy(struct sim *w, int node, int from, bool rewind);
void sim_server_wipe(struct sim *w, int node);
void sim_server_set_ssn(struct sim *w, int node, const char *text);
void sim_server_follow(struct sim *w, int node, int following);
void sim_server_write(struct sim *w, int node); /* one commit of a client */
void sim_server_free(struct sim_server *pg);

/* agent.c */
int64_t sim_local(const struct sim *w, const struct sim_node *n, int64_t at);
void sim_agent_start(struct sim *w, int node);
void sim_agent_start_later(struct sim *w, int node, int64_t delay);
void sim_agent_kill(struct sim *w, int node);
void sim_agent_wake(struct sim *w, int node, int64_t delay);
void sim_agent_answer(struct sim *w, struct sim_request *r);
void sim_agent_changed(struct sim *w); /* the store changed: watches deliver */
void sim_agent_task_done(struct sim *w, int node, enum herd_task task, bool ok);
int sim_node_of(const struct sim *w, const char *name); /* or -1 */
