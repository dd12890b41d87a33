/*
 * model/config.h - the dynamic configuration (the DCS key config), read into a typed struct.
 *
 * Defaults, minima and the repair of timings are Patroni's. With the guard on, ttl may go down to 3
 * s and retry_timeout to 1 s. Values of a wrong type or out of range are replaced by the default
 * (or the nearest allowed value) and reported as a warning; reading never fails because of them.
 */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "model/docs.h"

enum herd_sync_mode { HERD_SYNC_OFF = 0, HERD_SYNC_ON, HERD_SYNC_QUORUM };

enum herd_slot_type { HERD_SLOT_PHYSICAL = 0, HERD_SLOT_LOGICAL };

/* Which clusters keep a permanent slot. */
enum herd_slot_cluster { HERD_SLOT_ANY_CLUSTER = 0, HERD_SLOT_PRIMARY, HERD_SLOT_STANDBY };

struct herd_slot_config {
	char *name;
	enum herd_slot_type type;
	char *database, *plugin; /* logical ones only */
	enum herd_slot_cluster cluster_type;
};

/* A slot to leave alone; every field that is given must match (without any: all slots). */
enum { HERD_SLOT_ANY_TYPE = -1, HERD_SLOT_NO_TYPE = -2 };
struct herd_slot_ignore {
	char *name, *database, *plugin;
	int type; /* enum herd_slot_type, ANY_TYPE when not given, NO_TYPE: no slot is of it */
};

struct herd_config {
	int64_t ttl_ms, loop_wait_ms, retry_timeout_ms; /* 30000 10000 10000 */
	int64_t maximum_lag_on_failover;                /* bytes, 1048576 */
	int64_t maximum_lag_on_syncnode;                /* bytes, <= 0: off */
	int max_timelines_history;                      /* 0: all */
	int64_t primary_start_timeout_ms;               /* 300000; 0: fail over at once */
	int64_t primary_stop_timeout_ms;                /* 0: wait for ever */
	int64_t primary_race_backoff_ms;                /* 0 */
	int64_t member_slots_ttl_ms;                    /* 1800000; 0: drop at once */
	enum herd_sync_mode synchronous_mode;           /* off in a standby cluster */
	bool synchronous_mode_strict;
	int synchronous_node_count; /* 1 */
	bool failsafe_mode;
	bool check_timeline;
	bool pause;
	size_t n_slots;
	struct herd_slot_config *slots;
	size_t n_ignore;
	struct herd_slot_ignore *ignore;
	/* standby_cluster is active when host, port or restore_command is not empty. */
	bool standby_cluster;
	char *standby_host, *standby_port; /* lists with commas; host NULL: archive only */
	char *standby_slot;
	bool use_slots; /* postgresql.use_slots, true */
	/* Ours: handover.transactions (s, 5) and handover.acks (s, 1), see core/switchover.h */
	int64_t handover_transactions_ms, handover_acks_ms;
	bool probe_failover; /* ours: probe.mode is failover: a server without progress is replaced
			      */
	json_t *raw;         /* the whole object, never NULL */
	struct herd_names warnings; /* what was replaced, one sentence each */
};

/* text must be a JSON object, else -EINVAL with err set and *ret untouched. */
int herd_config_parse(const char *text, size_t len, bool guard, struct herd_config *ret,
		      struct herd_err *err);
/* The same from a value; NULL stands for an empty object. Takes a reference of obj. */
int herd_config_from_json(json_t *obj, bool guard, struct herd_config *ret);
void herd_config_clear(struct herd_config *c);

/* Seconds, as they hold after the repair of impossible combinations. */
struct herd_timing {
	int64_t ttl, loop_wait, retry_timeout;
};
/*
 * Raises what is below the minima (20, 1, 3; with the guard 3, 1, 1) and makes
 * loop_wait + 2 * retry_timeout <= ttl hold: loop_wait shrinks, and when that is not enough both
 * do. words (may be NULL) gets a sentence for each change. Returns true when something had to
 * change.
 */
bool herd_timing_repair(struct herd_timing *t, bool guard, struct herd_names *words);

/* A time in ms from a number (of unit_ms) or a text such as "30min", "5s", "250ms", "1 d", "2h". */
int herd_config_time(const json_t *v, int64_t unit_ms, int64_t *ret);
