/*
 * attach/attach.h - what hangs on a distributed table: triggers, rules, policies.
 *
 * Row triggers run where the row is: a shard has a trigger of the same name and kind whose
 * function, citus_internal.shard_trigger, calls the user's function as the trigger of the table
 * itself. Statement triggers run on the node that plans the statement (attach/fire.c). Rules act
 * when a statement is rewritten, so only the table has them. Policies are on the shards as well as
 * on the table, so rows are protected from who reads shards directly too.
 */
#pragma once
#include "postgres.h"

#include "nodes/execnodes.h"
#include "nodes/nodes.h"
#include "nodes/pg_list.h"

#include "catalog/metadata.h"
#include "ddl/utility.h"

/*
 * Commands (char *) that give the shard, or with shardid 0 the table on another node, the triggers,
 * rules and policies that the table has here. For shards that have their rows already.
 */
extern List *herd_attach_shape(Oid relid, uint64 shardid);

/* Parts of it: triggers (only: its name, or NULL for all), policies. */
extern List *herd_attach_triggers(Oid relid, uint64 shardid, const char *only);
extern List *herd_attach_policies(Oid relid, uint64 shardid);

/* Raises when the table has policies that cannot work over shards. */
extern void herd_attach_check(Oid relid);

/* Of Oid: what the table's policies read besides it, themselves and through views. */
extern List *herd_attach_policies_read(Oid relid);

/* True if shards lack rows that one of the table's policies reads: there these are false. */
extern bool herd_attach_policies_far(Oid relid);

/* Of char *[2]: what drops and what makes policies of other tables that read these ("1, 2"). */
extern List *herd_attach_policies_reading(const char *oids);

/* The same of all tables with policies that read the view, which has changed. */
extern void herd_attach_check_view(Oid view);

/* Raises when policies of other distributed tables would lose what they read. */
extern void herd_attach_check_undistribute(Oid relid);

/* The table's colocation has changed on all nodes: what shards can check of policies has, too. */
extern void herd_attach_new_colocation(Oid relid);

/* Policies of all shards of the table are made anew, on all nodes. */
extern void herd_attach_policies_anew(const HerdTable *table);

/* CREATE, ALTER and DROP of them: true when the statement has been run. */
extern bool herd_attach_utility(HerdUtility *u);

/* Is the named trigger of the table one that shards have? NULL: of "all" and "user", true. */
extern bool herd_attach_on_shards(Oid relid, const char *trigger);

/* True if rows of the table meet code of users on the shards: triggers or policies. */
extern bool herd_attach_has_code(Oid relid);

/* True if foreign keys of the table, or to it, notice changes of its rows. */
extern bool herd_attach_has_keys(Oid relid);

/* True if row triggers of the table fire at the event (TRIGGER_TYPE_INSERT ..). */
extern bool herd_attach_row_triggers(Oid relid, int16 event);

/* What the statement triggers of one statement need to know. */
typedef struct HerdFire {
	Oid relid;
	CmdType command;
	bool upserts;  /* INSERT .. ON CONFLICT DO UPDATE */
	bool moves;    /* UPDATE: rows may leave their shards (attach/leaving.h) */
	int16 merges;  /* MERGE: what its actions do, TRIGGER_TYPE_INSERT | .. */
	List *columns; /* of int: those that UPDATE sets */
} HerdFire;

/*
 * True if there is something to fire on this node: statement triggers, or row triggers whose rows
 * may come back from shards, of the table and what its rows take along (partitions, foreign keys).
 */
extern bool herd_fire_wanted(const HerdFire *fire);
/*
 * Fires those before or after the statement. All that is sent to shards in between gives its rows
 * for transition tables and for row triggers that fire here. Each call with before true needs one
 * without, or the end of the (sub)transaction.
 */
extern void herd_fire(const HerdFire *fire, bool before);
/* The same in a utility command, if wanted: with a snapshot of its own. */
extern void herd_fire_alone(const HerdFire *fire, bool before);
/* Gives estate a range table with the table alone; set: of int, the columns that are. */
extern void herd_fire_set_target(EState *estate, Relation rel, const List *set);
