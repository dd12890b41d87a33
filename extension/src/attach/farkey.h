/*
 * attach/farkey.h - foreign keys between rows of different nodes.
 *
 * A shard checks a foreign key itself where the rows that it refers to are in the shard beside it,
 * or in a copy of a reference table. Any other, a far key, is checked on the node that plans a
 * statement: the shards give back the rows that it has changed (attach/capture.h), as they do for
 * transition tables, and the far key is asked once for all of them. Rows that are referred to are
 * locked FOR KEY SHARE, as PostgreSQL does it, and what the key does on DELETE and UPDATE is a
 * statement on the other table.
 *
 * There is nothing of it in the catalogs but the constraint of the table and PostgreSQL's own
 * triggers of it, which never fire on a table without rows: for a statement they are made into
 * triggers of it with transition tables. A partition has a constraint and triggers of its own, for
 * the statements that name it; those of the partitioned table act for all partitions.
 */
#pragma once
#include "postgres.h"

#include "access/htup.h"
#include "catalog/metadata.h"
#include "commands/trigger.h"
#include "nodes/pg_list.h"
#include "utils/reltrigger.h"

/* How the table that has a foreign key is, or is going to be, distributed. */
typedef struct HerdKeyHolder {
	HerdTableKind kind;
	AttrNumber keyattno;
	uint32 colocationid;
} HerdKeyHolder;

/*
 * NULL when shards check the key (row of pg_constraint), else why not. The referenced table must
 * be in the metadata, or be the one that has the key.
 */
extern const char *herd_far_key_why(HeapTuple constraint, const HerdKeyHolder *holder);
/* NULL, or why it cannot be a far key either. */
extern const char *herd_far_key_refusal(HeapTuple constraint);

/* Of two tables in the metadata whose shards do not check it. */
extern bool herd_far_key_is(Oid constraintid);
/* A trigger of such one that is enabled. */
extern bool herd_far_key_trigger(const Trigger *trigger);

/*
 * Makes the triggers of far keys in desc, a copy, into triggers of statements; all: of all foreign
 * keys, for rows that have left their shard (attach/leaving.h).
 */
extern void herd_far_key_prepare(TriggerDesc *desc, bool all);
/* True for a trigger of any foreign key that is enabled. */
extern bool herd_far_key_any(const Trigger *trigger);

/*
 * Commands (char *) for a shard of the table on this node so that it gives back what the far keys
 * of the table need, and, with stale, no more what they do not need.
 */
extern List *herd_far_key_shape(Oid relid, uint64 shardid, bool stale);
/* For all shards on this node of the tables (of Oid). */
extern List *herd_far_key_shapes(List *tables);
/* For those of the tables that foreign keys connect with the table, which is new. */
extern List *herd_far_key_shapes_around(Oid relid);

/* The tables (of Oid) of far keys (of Oid), and their partitions. */
extern List *herd_far_key_tables(List *constraints);

/*
 * Does what the constraint says about rows of its referenced table that are gone or changed, which
 * are in the transition tables of data; rows: the shard that they are rows of, NULL: the table.
 */
extern void herd_far_key_act_on(Oid constraintid, const TriggerData *data, Relation rows);

/* Raises when rows that are there do not match. */
extern void herd_far_key_validate(Oid constraintid);

/* The same for all far keys that the table has. */
extern void herd_far_key_validate_table(Oid relid);

/*
 * DETACH PARTITION: raises when rows of other tables refer to the partition by a key of the
 * partitioned table; a shard sees its own keys only, and has names of its own for them. Gives what
 * to ask again when the shards are detached, and so locked.
 */
extern List *herd_far_key_detach(Oid partition);
extern void herd_far_key_detached(const List *asked);
