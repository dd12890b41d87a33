/*
 * pool/route.h - from "which servers does this database mean" to "connect there" or "hold".
 *
 * Pure: the snapshot and the question in, an answer with its reason out.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "pool/topo.h"

enum herd_route_role {
	HERD_ROUTE_PRIMARY = 0,
	HERD_ROUTE_REPLICA,
	HERD_ROUTE_ANY,
	HERD_ROUTE_WORKERS
};

/* What the configuration says. Texts are borrowed from the configuration. */
struct herd_route {
	const char *cluster; /* scope; NULL: host and port stand in the configuration */
	int group;           /* -1: the cluster has no groups (or role is workers) */
	enum herd_route_role role;
	int64_t max_lag;       /* bytes a replica may be behind; 0: any */
	int64_t max_lag_ms;    /* the same as time; 0: any */
	bool fallback_primary; /* replica: the primary serves when no replica can */
};

/* How a member is doing, as seen by this process. */
struct herd_route_look {
	int own_conns; /* connections of the pool that asks */
	int all_conns; /* of all pools */
	bool out;      /* it failed a moment ago */
};

/* What a choice among several depends on beside the snapshot. A zeroed struct knows nothing. */
struct herd_route_view {
	uint64_t turn;    /* a counter of the pool; equal candidates are taken in turn */
	const char *zone; /* ours: its members are preferred; NULL or "": none */
	void (*look)(void *arg, const struct herd_topo_group *g, const struct herd_topo_member *m,
		     struct herd_route_look *ret);
	void *arg;
};

enum herd_pick_kind {
	HERD_PICK_GO = 0, /* connect to the member */
	HERD_PICK_HOLD    /* nobody can be used now: clients wait */
};

struct herd_pick {
	enum herd_pick_kind kind;
	const struct herd_topo_group *group; /* NULL: not known at all */
	const struct herd_topo_member *member;
	bool want_primary; /* verify: not in recovery */
	bool want_standby; /* verify: in recovery */
	int choices;       /* how many were as good, load aside */
	const char *why;   /* lives as long as the snapshot; of HOLD, for log and console */
};

/* "primary", "replica", "any", "workers"; 0 or -EINVAL. "standby" and "master" are taken too. */
int herd_route_role_parse(const char *text, enum herd_route_role *ret);
const char *herd_route_role_name(enum herd_route_role role);

/* "10MB", "5s", "500 ms", "1024" (bytes): sets one of the limits of *ret. 0 or -EINVAL. */
int herd_route_lag_parse(const char *text, struct herd_route *ret);
/* Does the lag that is known keep it from serving that route? Not known counts as too much. */
bool herd_route_lags(const struct herd_route *r, const struct herd_topo_member *m);

/*
 * Whom to connect to. Among replicas (any, workers): those that run, take part in load balancing,
 * do not lag and did not fail a moment ago; of these the ones of our zone, if there are any; of
 * these the one with the fewest connections. When all failed they are tried all the same, for the
 * primary if the route allows it. t and view may be NULL. Total.
 */
struct herd_pick herd_route_pick(const struct herd_topo *t, const struct herd_route *r,
				 const struct herd_route_view *view);
/* Would a pick take it now, load aside? If not, its connections are given up one by one. */
bool herd_route_favours(const struct herd_topo *t, const struct herd_route *r,
			const struct herd_route_view *view, const char *scope, int group,
			const char *member);
/* May this member still serve that route? Servers of members for which it is false are closed. */
bool herd_route_fits(const struct herd_topo *t, const struct herd_route *r, const char *scope,
		     int group, const char *member);
/*
 * The member to open warm connections to while a handover of this group is prepared, or NULL.
 * *group gets the group it belongs to.
 */
const struct herd_topo_member *herd_route_warm(const struct herd_topo *t,
					       const struct herd_route *r,
					       const struct herd_topo_group **group);
