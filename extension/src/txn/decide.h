/*
 * txn/decide.h - a transaction that wrote on other nodes only is decided by one of them.
 *
 * All but one of its writers, the decider, are prepared; then the decider gets, in one message, a
 * row for each of them in its own pg_dist_transaction and COMMIT. That commit decides. The gid of
 * the others ends in "_<group of the decider>". A row whose outer_xid is 0 is a refusal: recovery
 * puts it there before it rolls back, and since (groupid, gid) is unique, a transaction that is
 * still on its way to commit can then only fail.
 */
#pragma once
#include "postgres.h"

#include "lib/stringinfo.h"

#include "catalog/metadata.h"

/* "citus_<group>_<pid>_<number>_<n>", and "_<decider>" unless this server decides (-1). */
typedef struct HerdGid {
	int32 groupid;
	int pid;
	uint64 number; /* microseconds since 2000 at the origin, when it was made */
	int32 decider;
} HerdGid;

/* False for a gid that is not ours. */
extern bool herd_gid_parse(const char *gid, HerdGid *ret);

/* Appends the command with which the decider takes note of a prepared transaction of a group. */
extern void herd_decide_append(StringInfo sql, int32 groupid, const char *gid);

/*
 * Asks the decider what became of a prepared transaction of groupid whose origin is gone; if there
 * is no decision, it will be to roll back. False (logged) when that could not be found out now.
 */
extern bool herd_decide_ask(int32 decider, int32 groupid, const char *gid, bool *commit);

/* True if a refusal may be forgotten: it is so old that a decision would not be accepted. */
extern bool herd_decide_refusal_expired(const HerdGid *gid);
