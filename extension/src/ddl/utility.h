/*
 * ddl/utility.h - one utility statement on its way through the hook.
 *
 * Where a statement is typed (the origin, always the coordinator), it is run on the local table, on
 * the local shards, and sent to the other nodes as text. There it passes the same hook inside
 * herd_ddl_run (applying) and is run on the node's table and shards.
 */
#pragma once
#include "postgres.h"

#include "catalog/metadata.h"
#include "nodes/parsenodes.h"
#include "storage/lockdefs.h"
#include "tcop/utility.h"

typedef struct HerdUtility {
	PlannedStmt *pstmt;
	Node *stmt;
	const char *query;
	bool read_only_tree;
	ProcessUtilityContext context;
	ParamListInfo params;
	QueryEnvironment *env;
	DestReceiver *dest;
	QueryCompletion *qc;
	char *text;    /* the statement alone */
	int base;      /* its offset in query: locations in the tree count from the query's start */
	bool applying; /* sent by the coordinator */
} HerdUtility;

/* Runs the statement on this node as PostgreSQL would. */
extern void herd_utility_run(HerdUtility *u);

/* The same for a change of definition: queries it runs see the local tables only. */
extern void herd_utility_run_shell(HerdUtility *u);

/* Raises on other nodes than the coordinator; locks out changes of nodes. */
extern void herd_utility_require_origin(const HerdUtility *u);

/* The distributed table a name stands for, or NULL; missing relations are for PostgreSQL to report.
 */
extern const HerdTable *herd_utility_table(const RangeVar *rv, LOCKMODE lock);

/* text with the (qualified) name at a location of the tree replaced. */
extern char *herd_utility_splice(const HerdUtility *u, int location, const char *name);
/* Offset in u->text just behind the name at a location of the tree. */
extern int herd_utility_name_end(const HerdUtility *u, int location);

/* Commands for other nodes (skipped when applying), then for shards of this one. */
extern void herd_utility_spread(const HerdUtility *u, List *others, List *shards);

/* Ids of the table's shards on this node (uint64 *). */
extern List *herd_utility_local_shards(const HerdTable *table);

/*
 * Runs each subcommand of an ALTER TABLE as a statement of its own; false, and nothing is done,
 * when the text cannot be taken apart.
 */
extern bool herd_utility_run_apart(HerdUtility *u);

/* Handlers: true when they have run the statement. */
extern bool herd_utility_alter_table(HerdUtility *u);
extern bool herd_utility_rename(HerdUtility *u);
extern bool herd_utility_set_schema(HerdUtility *u);
extern bool herd_utility_create_index(HerdUtility *u);
extern bool herd_utility_drop_index(HerdUtility *u);
extern bool herd_utility_grant(HerdUtility *u);
extern bool herd_utility_upkeep(HerdUtility *u); /* REINDEX, CLUSTER, COMMENT */
extern bool herd_utility_alter_index(HerdUtility *u);
extern bool herd_utility_drop_index_concurrently(HerdUtility *u);
extern bool herd_utility_truncate(HerdUtility *u);
extern bool herd_utility_vacuum(HerdUtility *u);
extern bool herd_utility_explain(HerdUtility *u); /* plan/explain.c */
extern bool herd_utility_copy(HerdUtility *u);
extern bool herd_utility_object(HerdUtility *u);
extern bool herd_utility_lock(HerdUtility *u);
extern bool herd_utility_role(HerdUtility *u);
