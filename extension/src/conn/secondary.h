/*
 * conn/secondary.h - which of a group's secondaries is used, and whether it can be.
 */
#pragma once
#include "postgres.h"

#include "catalog/metadata.h"

/*
 * An active secondary of the group in citus.cluster_name, as citus.task_assignment_policy says,
 * that was not found useless of late; NULL when there is none. any: a useless one rather than none.
 */
extern const HerdNode *herd_secondary_of(int32 groupid, bool any);
/* It could not be used: the others are asked first for so many milliseconds. */
extern void herd_secondary_avoid(int32 nodeid, int ms);
/*
 * Of n equally good places for something (a group, a table) the one for the next statement: the
 * first, each in turn, or (greedy) one for each session.
 */
extern int herd_assign_place(int n, int32 what);

/* This session writes to other nodes: what it reads of standbys later must have that in it. */
extern void herd_session_writes(void);
/* True in the transaction that did. */
extern bool herd_session_writes_now(void);
/* True once after such a transaction, however it ended. */
extern bool herd_session_wrote(void);
