/*
 * model/cluster.h - what the store holds for one scope, as documents.
 *
 * Built from a list of keys relative to /<namespace>/<scope>/. With sharding every group has its
 * own keys below a decimal number ("0/leader", "12/members/a"); without, they stand at the top. An
 * unreadable document is as if absent, and a problem says why. Immutable once built.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/config.h"
#include "model/docs.h"
#include "model/member.h"

/* One key of the store; borrowed for the call. */
struct herd_kv {
	const char *key;
	const char *value;
	size_t len;
	int64_t version;
	const char *lease; /* or NULL */
};

/* Where a document stands: version 0 means that the key does not exist. */
struct herd_key {
	int64_t version;
	char *lease; /* or NULL */
	bool bad;    /* exists but cannot be read */
};

#define HERD_NO_GROUP (-1)

struct herd_cluster {
	int group; /* HERD_NO_GROUP without sharding */
	struct herd_key initialize_key, config_key, leader_key, status_key, failover_key, sync_key,
		history_key, failsafe_key, handover_key;
	char *initialize;          /* "" while a bootstrap runs; NULL when absent */
	struct herd_config config; /* defaults when absent: config.raw is never NULL */
	char *leader;              /* member name, or NULL when there is no leader key */
	struct herd_status status; /* from status, or from the legacy optime/leader */
	struct herd_failover failover;
	struct herd_sync sync;
	struct herd_history history;
	struct herd_failsafe failsafe;
	struct herd_handover handover;
	size_t n_members;
	struct herd_member *members;  /* ascending by name (strcmp) */
	struct herd_key *member_keys; /* beside members */
};

struct herd_problem {
	char *key, *reason;
};

struct herd_scope {
	int refs;
	int64_t revision; /* as given: of the view it was built from */
	size_t n_groups;
	struct herd_cluster *groups; /* ascending by group; HERD_NO_GROUP only when it has keys */
	size_t n_proxies;
	struct herd_proxy *proxies; /* ascending by id */
	size_t n_problems;
	struct herd_problem *problems;
};

/* kv ascending by key. guard: see config.h. NULL only when out of memory. */
struct herd_scope *herd_scope_build(const struct herd_kv *kv, size_t n, int64_t revision,
				    bool guard);
/* Counted, not atomically: one thread, or copies. */
struct herd_scope *herd_scope_ref(struct herd_scope *s);
void herd_scope_unref(struct herd_scope *s);

/* NULL when the group has no keys yet. */
const struct herd_cluster *herd_scope_group(const struct herd_scope *s, int group);
const struct herd_member *herd_cluster_member(const struct herd_cluster *c, const char *name);
/* The leader key's holder when it has published itself, else NULL. */
const struct herd_member *herd_cluster_leader(const struct herd_cluster *c);
/* Of /history: last line + 1, 1 for an empty list, 0 when there is no history. */
int64_t herd_cluster_timeline(const struct herd_cluster *c);
/* "2/members/a" for group 2, "members/a" without sharding; malloc'd. */
char *herd_cluster_key(int group, const char *key);
/* An empty cluster with default configuration (ours to clear), for groups without keys. */
int herd_cluster_init(struct herd_cluster *c, int group, bool guard);
void herd_cluster_clear(struct herd_cluster *c);
