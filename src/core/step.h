/*
 * core/step.h - what the rules share: the state between steps and the one step under way. Internal
 * to core.
 *
 * A rule looks at the step, and either answers (puts actions and a why into the plan, returns true)
 * or passes (false, having added at most actions that hold for every later rule too).
 */
#pragma once
#include "core/core.h"

/* How far a handover is; only the leader that goes has one. */
enum herd_ho {
	HERD_HO_NONE = 0,
	HERD_HO_POLL,       /* candidates were asked */
	HERD_HO_CHECKPOINT, /* a checkpoint runs while we serve */
	HERD_HO_PREPARE,    /* proxies are asked to hold */
	HERD_HO_STOP,       /* the server stops */
	HERD_HO_CONFIRM,    /* the candidate was asked whether it has everything */
	HERD_HO_RELEASED
};

/* A question to members that is remembered until its answers are used. */
enum herd_poll_use { HERD_POLL_NONE = 0, HERD_POLL_RACE, HERD_POLL_HANDOVER, HERD_POLL_RESCUE };

/* Verdict about our data against the leader's. */
enum herd_verdict { HERD_JUDGE_UNKNOWN = 0, HERD_JUDGE_GOOD, HERD_JUDGE_DIVERGED };

/* A slot of a member that has gone. */
struct herd_gone_slot {
	char *name;
	int64_t seen_ms;
};

/* A logical slot of a standby: would a client that goes on with it after a promotion be safe? */
struct herd_logical_slot {
	char *name;
	uint32_t primary_xmin; /* catalog_xmin on the primary when ours was held there, too; 0: not
				  seen */
	bool safe;
};

struct herd_core {
	uint64_t nonce;
	int64_t first_ms;          /* of the first step */
	int64_t last_id;           /* of polls, probes and handovers */
	struct herd_cluster empty; /* stands in for a group without keys */

	/* The leader key. */
	int64_t released_version; /* we gave it up at this version: never lead under it again */
	int64_t released_ms;
	struct herd_lease_times held; /* of the key when we last held it */
	int64_t no_race_before_ms;
	int64_t unlocked_ms;     /* since when nobody has it; 0: somebody does */
	uint64_t race_lsn;       /* primary_race_backoff: our place at the last look ... */
	int64_t race_ms;         /* ... when that was ... */
	bool race_moved;         /* ... and whether it moved */
	struct herd_names peers; /* members beside the leader, when there last was one */
	int64_t passed_ms;       /* since when we have a key that was passed without a word */
	int64_t promote_ms;      /* when a promotion was last ordered */
	uint64_t promote_optime; /* how far the former leader had been then */
	bool hard_stopped;       /* an immediate stop was ordered for this deadline */

	/* Polls. */
	int64_t poll_id;
	enum herd_poll_use poll_use;
	int64_t poll_sent_ms;
	int64_t poll_next_ms;
	/* What the decision to take the key was based on. */
	bool decided;
	int64_t decided_sync, decided_status, decided_history;

	/* Down. */
	int64_t crash_ms; /* our primary went down under the key; 0: it did not */
	int64_t retry_ms; /* no start before */
	int64_t clone_ms; /* no copy before */

	/* Judging our data against a leader. */
	int64_t probe_id, probe_sent_ms;
	int64_t judged_version; /* of the leader key */
	bool judged_remote;     /* against the primary outside (standby cluster) */
	int64_t judged_ms;
	bool probe_failed;
	enum herd_verdict verdict;
	int64_t down_wait_ms; /* since when we wait for a verdict */
	bool rewound;         /* a rewind was ordered and its end not looked at */

	/* Leading by the word of members. */
	int64_t fs_id, fs_sent_ms; /* of the round under way, or the last one */
	bool fs_open;              /* a round is under way */
	int64_t fs_ok_ms;          /* when the last round that all accepted was sent; 0: none */
	int64_t fs_ttl_ms, fs_sent_ttl_ms; /* of that one, and of the one under way */
	int fs_tries;                      /* rounds that failed in a row */
	bool fs_lost;               /* gave up: nothing revives before the key is ours again */
	struct herd_names fs_maybe; /* whom a write of the key may have added unseen ... */
	int64_t fs_version;         /* ... to this version of it */
	int64_t fs_outside_ms;      /* since when only we, whom it does not name, could lead */
	int64_t fs_idle_ms;         /* since when all in the key say that they lead nobody */

	/* Standby cluster. */
	int64_t standby_version;    /* of the leader key under which we were standby leader */
	int64_t fed_ms, starved_ms; /* since when the WAL receiver streams, or does not; 0: no */

	/* Reinitialize: the leader's server was asked whether it is there, and it is. */
	int64_t reinit_probe_id, reinit_ms;
	bool reinit_source;

	/* Synchronous replication. */
	char *ssn_text;     /* as seen in force */
	int64_t ssn_ms;     /* since when */
	uint64_t ssn_lsn;   /* our LSN after it had settled; 0: not yet */
	int64_t missing_ms; /* since when a node of /sync is no candidate */
	char *ssn_ordered;  /* as we set it last; NULL: not in this life */
	int64_t ssn_ordered_ms;
	/* A write of /sync for this version is under way, or its reply was lost. */
	bool sync_put;
	int64_t sync_put_version, sync_put_ms;

	/* Handover. */
	enum herd_ho ho;
	char *ho_id, *ho_to;
	int64_t ho_failover; /* version of the failover key it serves */
	int64_t ho_ms;       /* when the phase began */
	bool ho_asked;       /* the handover document was seen with our id */
	bool ho_checkpointing;
	bool exit_released;
	bool exit_tried;      /* a handover for the agent's end was begun */
	bool stop_killed;     /* a stop took too long and was made an immediate one */
	int64_t exit_stop_ms; /* since when its server is being stopped */
	int64_t exit_ms;      /* since when it is to end */
	int64_t leave_ms;     /* since when we ask to be no synchronous standby any more */

	/* A server without progress. */
	bool gives_up; /* it was stopped for that: another shall lead */
	int64_t gave_up_ms;
	int64_t stalled_next_ms; /* nobody could take over: no question before */

	/* Publishing. */
	char *member_sent;
	int64_t member_sent_ms;
	int64_t status_sent_ms;
	size_t n_gone;
	struct herd_gone_slot *gone;

	/* Logical slots of this standby since it was started. */
	size_t n_logical;
	struct herd_logical_slot *logical;
	int64_t slots_ask_id, slots_ask_ms;
	int64_t recovery_ms; /* when settings of recovery were last put right */
};

struct herd_step {
	struct herd_core *c;
	const struct herd_obs *o;
	const struct herd_cluster *cl;
	const struct herd_config *cfg;
	struct herd_plan *p;
	bool paused;
	bool key_mine;  /* the leader key is attached to our lease and was not given up */
	bool holds;     /* key_mine, and there is time left: we may act as leader */
	bool key_stale; /* the leader key has our name, but not our lease */
	bool primary;   /* the server takes writes, or may do so any moment */
	bool busy;      /* a task runs: none may be started */
	struct herd_lease_times times; /* of the lease; zero without */
	/* Until when a primary may go on: by the key as it was last held, or by members' word. */
	struct herd_lease_times right;
	bool failsafe;             /* right is members' word, and there is time left */
	bool promised;             /* we gave our word to another, and it still holds */
	struct herd_cluster shown; /* cl points here when that one is shown as the leader */
};

/* ---- plan building (plan.c) ---- */
struct herd_action *herd_plan_add(struct herd_step *s, enum herd_act act, bool wait);
/* Text that lives as long as the plan. Never NULL: "" when out of memory, and the plan is failed.
 */
const char *herd_plan_text(struct herd_plan *p, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* Takes malloc'd text over (NULL: out of memory). */
const char *herd_plan_keep(struct herd_plan *p, char *text);
const char **herd_plan_names(struct herd_plan *p, size_t n);
/* Sets rule and why; returns true, so rules end with `return herd_answer(...)`. */
bool herd_answer(struct herd_step *s, const char *rule, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* The same for the line that every cycle prints. */
bool herd_answer_regular(struct herd_step *s, const char *rule, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void herd_warn(struct herd_step *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Be stepped again at this time at the latest. */
void herd_step_at(struct herd_step *s, int64_t ms);
/* A waited put of a key of our group; version 0: only if absent; -1: in any case. */
struct herd_action *herd_put(struct herd_step *s, const char *key, const char *value,
			     int64_t version);
void herd_delete(struct herd_step *s, const char *key, int64_t version);

/* ---- shared by rules ---- */
void herd_take(struct herd_step *s);    /* lease.c */
void herd_release(struct herd_step *s); /* lease.c */
/* lease.c: the leader key onto the lease of another */
void herd_pass(struct herd_step *s, const char *to, const char *lease);
void herd_stop(struct herd_step *s, enum herd_stop mode); /* lease.c */
/* START as primary under the key, or as a standby following member (NULL: nobody). */
void herd_start(struct herd_step *s, bool standby, const char *member);
/* Asks all members but us, or those named. False: the answers of an equal question are in. */
bool herd_poll(struct herd_step *s, enum herd_poll_use use, const char *only);
/* election.c: the leader that went has said that we have everything, and nobody has led since. */
bool herd_handed_over(const struct herd_step *s);
bool herd_poll_answered(const struct herd_step *s, enum herd_poll_use use);
/* Some polled member could lead in our place now. */
bool herd_rescuer_answered(const struct herd_step *s);
/* election.c: keeps in mind who was there while there was a leader, and since when there is none.
 */
void herd_race_watch(struct herd_step *s);
/* primary_stop_timeout where it counts; 0: none. */
int64_t herd_stop_limit(const struct herd_step *s); /* switchover.c */
bool herd_sync_active(const struct herd_step *s);   /* sync.c: mode on and /sync names a leader */

/* ---- failsafe.c ---- */
void herd_failsafe_look(struct herd_step *s); /* sets right, failsafe, promised, and may set cl */
void herd_failsafe_ask(struct herd_step *s);
/* Members have not all answered, and the lease is over: this is the end. */
bool herd_failsafe_lost(const struct herd_step *s);
/* As the leader: the key failsafe. True: it is being written. */
bool herd_failsafe_publish(struct herd_step *s);
/*
 * Somebody may lead without the store, and without having to ask us, or with a promise that we made
 * before our start. Not when all whom the key failsafe names say that they do not. The answers to
 * the race's poll must be in.
 */
bool herd_failsafe_unsure(struct herd_step *s);
/* Something that must stop us in need is required and does not work. */
static inline bool herd_unfenced(const struct herd_obs *o)
{
	return o->watchdog_failed || o->guard_failed;
}

/* ---- rules, in files by concern ---- */
bool herd_rule_expired(struct herd_step *s);       /* lease.c */
bool herd_rule_no_view(struct herd_step *s);       /* lease.c */
bool herd_rule_regrant(struct herd_step *s);       /* lease.c */
bool herd_rule_release_again(struct herd_step *s); /* lease.c */
bool herd_rule_without_right(struct herd_step *s); /* lease.c */
bool herd_rule_exit(struct herd_step *s);          /* switchover.c */
bool herd_rule_stalled(struct herd_step *s);       /* stalled.c */
bool herd_rule_handover(struct herd_step *s);      /* switchover.c */
bool herd_rule_switchover(struct herd_step *s);    /* switchover.c */
bool herd_rule_task(struct herd_step *s);          /* step.c */
bool herd_rule_bootstrap(struct herd_step *s);     /* bootstrap.c */
bool herd_rule_sysid(struct herd_step *s);         /* bootstrap.c */
bool herd_rule_reinit(struct herd_step *s);        /* bootstrap.c */
bool herd_rule_starting(struct herd_step *s);      /* leader.c */
bool herd_rule_down(struct herd_step *s);          /* rewind.c */
bool herd_rule_down_leader(struct herd_step *s);   /* leader.c */
bool herd_rule_race(struct herd_step *s);          /* election.c */
bool herd_rule_promote(struct herd_step *s);       /* leader.c */
bool herd_rule_leader(struct herd_step *s);        /* leader.c */
bool herd_rule_follow(struct herd_step *s);        /* rewind.c */
bool herd_rule_pause(struct herd_step *s);         /* lease.c */
bool herd_rule_unfenced(struct herd_step *s);      /* lease.c */
bool herd_rule_standby(struct herd_step *s);       /* standby.c */
/* Asks for what a verdict on our data needs. True: the answer is awaited. */
bool herd_judge_ask(struct herd_step *s); /* rewind.c */
/* What comes in the place of the data has not been judged. */
void herd_judge_forget(struct herd_step *s);     /* rewind.c */
bool herd_repairable(const struct herd_step *s); /* rewind.c; diverged data can be mended */
bool herd_standby_diverged(struct herd_step *s); /* standby.c */
/* No server in a standby cluster, and the key is ours. */
bool herd_standby_down(struct herd_step *s); /* rewind.c */
void herd_leader_tidy(struct herd_step *s);  /* leader.c; requests that are fulfilled */
bool herd_sync_step(struct herd_step *s);    /* sync.c; true: it changed something waited */
bool herd_quorum_step(struct herd_step *s, const struct herd_names *want); /* quorum.c */
/* How many of names have all that was committed before the setting was in force. */
int herd_sync_confirmed(const struct herd_step *s, const struct herd_names *names);
/* /sync with us as leader (standby NULL: nobody). Always true. */
bool herd_sync_write(struct herd_step *s, const struct herd_names *standby, int quorum);
/*
 * Writes /sync. Until it is seen there, the setting must not change: what is on its way may arrive
 * late, and its promise was made under this setting.
 */
struct herd_action *herd_sync_put(struct herd_step *s, const struct herd_sync *doc);
bool herd_sync_unsettled(const struct herd_step *s); /* such a write may still arrive */
/* Makes the end of such a write certain. False: it is. */
bool herd_sync_settle(struct herd_step *s);
void herd_sync_order(struct herd_step *s, const char *text);
/* The setting that was ordered is not in force yet; what is, is not known. */
bool herd_sync_changing(const struct herd_step *s);
/* The setting; false when it is in force already. */
bool herd_sync_set(struct herd_step *s, const struct herd_ssn *want);
bool herd_sync_set_text(struct herd_step *s, const char *text);
void herd_slots_step(struct herd_step *s); /* slots.c; adds actions */
/*
 * slots.c: takes over what the leader before us, or we in a former life, kept for members that are
 * gone. Comes before our first /status, which replaces what that said.
 */
void herd_slots_inherit(struct herd_step *s);
bool herd_slot_configured(const struct herd_step *s, const char *name); /* permanent, by name */
/* rewind.c: the standby's settings of recovery are put right. True: an answer was given. */
bool herd_keep_recovery(struct herd_step *s, const char *target);
/* A slot that this node is to have. */
struct herd_want_slot {
	const char *name;
	const struct herd_slot_config *conf; /* permanent; NULL: of a member */
	uint64_t lsn;                        /* where it is elsewhere; 0: not known */
	bool streamed;                       /* its member is to stream from here */
};
const struct herd_obs_slot *herd_slot_find(const struct herd_step *s, const char *name);
bool herd_slot_matches(const struct herd_slot_config *conf, const struct herd_obs_slot *slot);
/* slots_logical.c */
void herd_slots_logical(struct herd_step *s, const struct herd_want_slot *want, size_t n);
/* True: an answer was given ("... is safe to be used after a failover"). */
bool herd_slots_judge(struct herd_step *s);
void herd_slots_warn_unsafe(struct herd_step *s); /* a promotion begins */
void herd_slots_forget(struct herd_core *c);
void herd_publish_member(struct herd_step *s);    /* publish.c */
void herd_publish_status(struct herd_step *s);    /* publish.c */
bool herd_publish_documents(struct herd_step *s); /* publish.c: config, initialize, history */
