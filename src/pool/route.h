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
	const char *why;   /* static text; of HOLD, for log and console */
};

/* "primary", "replica", "any", "workers"; 0 or -EINVAL. "standby" and "master" are taken too. */
int herd_route_role_parse(const char *text, enum herd_route_role *ret);
const char *herd_route_role_name(enum herd_route_role role);

/* turn: a counter of the pool; equal candidates are taken in turn. t may be NULL. Total. */
struct herd_pick herd_route_pick(const struct herd_topo *t, const struct herd_route *r,
				 uint64_t turn);
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
