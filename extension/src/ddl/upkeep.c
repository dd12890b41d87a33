/*
 * REINDEX, CLUSTER, COMMENT, ALTER INDEX and DROP INDEX CONCURRENTLY of distributed tables.
 */
#include "ddl/utility.h"

#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "commands/defrem.h"
#include "conn/conn.h"
#include "ddl/local.h"
#include "ddl/shape.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* Makes the statement for a shard. */
typedef char *(*ShardText)(const HerdUtility *u, Oid relid, uint64 shardid);

static List *groups_of(const HerdTable *table)
{
	List *out = NIL;

	for (int i = 0; i < table->nshards; i++)
		for (int g = 0; g < table->shards[i].ngroups; g++)
			out = list_append_unique_int(out, table->shards[i].groups[g]);
	return out;
}

static List *texts_for(const HerdUtility *u, const HerdTable *table, Oid relid, int32 group,
		       ShardText print)
{
	List *out = NIL;

	for (int i = 0; i < table->nshards; i++)
		for (int g = 0; g < table->shards[i].ngroups; g++)
			if (table->shards[i].groups[g] == group)
				out = lappend(out, print(u, relid, table->shards[i].shardid));
	return out;
}

/* In this transaction, on all nodes. */
static void inside(const HerdUtility *u, const HerdTable *table, Oid relid, ShardText print)
{
	ListCell *lc;

	foreach (lc, groups_of(table)) {
		List *sqls = texts_for(u, table, relid, lfirst_int(lc), print);

		if (lfirst_int(lc) == herd_local_group())
			herd_ddl_run(NULL, sqls);
		else
			herd_remote_exec_list(lfirst_int(lc), sqls);
	}
}

/* Each in a transaction of its own, one at a time on a node. */
static void outside(const HerdUtility *u, const HerdTable *table, Oid relid, ShardText print,
		    const char *what)
{
	List *groups = groups_of(table), *queues = NIL;
	bool more = true;
	ListCell *lc, *lq;

	foreach (lc, groups)
		queues = lappend(queues, texts_for(u, table, relid, lfirst_int(lc), print));
	for (int turn = 0; more; turn++) {
		List *nodes = NIL, *sqls = NIL, *results;

		forboth(lc, groups, lq, queues)
		{
			if (turn >= list_length((List *)lfirst(lq)))
				continue;
			nodes = lappend(nodes, (void *)herd_node_primary(lfirst_int(lc)));
			sqls = lappend(sqls, list_nth((List *)lfirst(lq), turn));
		}
		more = nodes != NIL;
		results = more ? herd_remote_query_nodes(nodes, sqls, 0) : NIL;
		forboth(lc, nodes, lq, results)
		{
			const HerdNode *node = lfirst(lc);
			const HerdRemoteResult *r = lfirst(lq);

			if (!r->ok)
				ereport(ERROR,
					(errcode(ERRCODE_INTERNAL_ERROR),
					 errmsg("%s failed on node \"%s:%d\"", what, node->host,
						node->port),
					 errdetail("%s", r->message),
					 errhint("Other shards may be done: run it again.")));
		}
	}
}

/* -- REINDEX and CLUSTER ----------------------------------------------------------------------- */

static char *reindex_text(const HerdUtility *u, Oid relid, uint64 shardid)
{
	return herd_utility_splice(u, castNode(ReindexStmt, u->stmt)->relation->location,
				   herd_shape_name(relid, shardid));
}

static bool is_concurrent(List *params)
{
	bool result = false;
	ListCell *lc;

	foreach (lc, params)
		if (strcmp(((DefElem *)lfirst(lc))->defname, "concurrently") == 0)
			result = defGetBoolean(lfirst(lc));
	return result;
}

static bool reindex(HerdUtility *u)
{
	ReindexStmt *stmt = castNode(ReindexStmt, u->stmt);
	Oid relid = stmt->relation ? RangeVarGetRelid(stmt->relation, NoLock, true) : InvalidOid;
	const HerdTable *table;
	bool index;
	char kind;

	if (!OidIsValid(relid))
		return false;
	kind = get_rel_relkind(relid);
	index = kind == RELKIND_INDEX || kind == RELKIND_PARTITIONED_INDEX;
	table = herd_table_get(index ? IndexGetRelation(relid, false) : relid);
	if (table == NULL)
		return false;
	herd_utility_require_origin(u);
	herd_utility_run(u);
	relid = RangeVarGetRelid(stmt->relation, NoLock,
				 false); /* CONCURRENTLY makes a new index */
	table = herd_table_get(index ? IndexGetRelation(relid, false) : relid);
	/* PostgreSQL has ended the transaction: the others need one of their own as well */
	if (is_concurrent(stmt->params) || kind == RELKIND_PARTITIONED_INDEX ||
	    kind == RELKIND_PARTITIONED_TABLE)
		outside(u, table, relid, reindex_text, "REINDEX");
	else
		inside(u, table, relid, reindex_text);
	return true;
}

static char *cluster_text(const HerdUtility *u, Oid relid, uint64 shardid)
{
	const char *index = castNode(ClusterStmt, u->stmt)->indexname;

	return psprintf("CLUSTER %s%s%s", herd_shape_name(relid, shardid), index ? " USING " : "",
			index ? quote_identifier(herd_shape_member_name(index, shardid)) : "");
}

static bool cluster(HerdUtility *u)
{
	ClusterStmt *stmt = castNode(ClusterStmt, u->stmt);
	const HerdTable *table = stmt->relation ? herd_utility_table(stmt->relation, NoLock) : NULL;
	Oid relid;

	if (table == NULL)
		return false;
	relid = table->relid;
	herd_utility_require_origin(u);
	herd_utility_run(u);
	table = herd_table_get(relid);
	if (get_rel_relkind(relid) == RELKIND_PARTITIONED_TABLE)
		outside(u, table, relid, cluster_text, "CLUSTER");
	else
		inside(u, table, relid, cluster_text);
	return true;
}

/* -- COMMENT ----------------------------------------------------------------------------------- */

/* The distributed table whose part the comment is about, or NULL. */
static const HerdTable *commented_table(const CommentStmt *stmt)
{
	List *names;
	Oid relid;

	switch (stmt->objtype) {
	case OBJECT_TABLE:
	case OBJECT_INDEX:
		names = castNode(List, stmt->object);
		break;
	case OBJECT_COLUMN:
	case OBJECT_TABCONSTRAINT:
		names = list_copy_head(castNode(List, stmt->object),
				       list_length(castNode(List, stmt->object)) - 1);
		break;
	default:
		return NULL;
	}
	if (names == NIL)
		return NULL;
	relid = RangeVarGetRelid(makeRangeVarFromNameList(names), NoLock, true);
	if (OidIsValid(relid) && stmt->objtype == OBJECT_INDEX)
		relid = IndexGetRelation(relid, true);
	return OidIsValid(relid) ? herd_table_get(relid) : NULL;
}

static bool comment(HerdUtility *u)
{
	if (u->applying || commented_table(castNode(CommentStmt, u->stmt)) == NULL)
		return false;
	herd_utility_require_origin(u);
	herd_utility_run(u);
	herd_ddl_send(namespace_search_path, list_make1(u->text));
	return true;
}

bool herd_utility_upkeep(HerdUtility *u)
{
	switch (nodeTag(u->stmt)) {
	case T_ReindexStmt:
		return !u->applying && reindex(u);
	case T_ClusterStmt:
		return !u->applying && cluster(u);
	case T_CommentStmt:
		return comment(u);
	default:
		return false;
	}
}

/* -- indexes ----------------------------------------------------------------------------------- */

bool herd_utility_alter_index(HerdUtility *u)
{
	AlterTableStmt *stmt = castNode(AlterTableStmt, u->stmt);
	Oid index = RangeVarGetRelid(stmt->relation, NoLock, true);
	const HerdTable *table;
	List *others, *shards = NIL;
	char kind = OidIsValid(index) ? get_rel_relkind(index) : 0;
	ListCell *lc;

	if (kind != RELKIND_INDEX && kind != RELKIND_PARTITIONED_INDEX)
		return false;
	table = herd_table_get(IndexGetRelation(index, false));
	if (table == NULL)
		return false;
	herd_utility_require_origin(u);
	others = list_make1(
		herd_utility_splice(u, stmt->relation->location, herd_shape_name(index, 0)));
	foreach (lc, herd_utility_local_shards(table))
		shards = lappend(
			shards, herd_utility_splice(u, stmt->relation->location,
						    herd_shape_name(index, *(uint64 *)lfirst(lc))));
	herd_utility_run_shell(u);
	herd_utility_spread(u, others, shards);
	return true;
}

static char *drop_text(const HerdUtility *u, Oid index, uint64 shardid)
{
	return psprintf("DROP INDEX CONCURRENTLY IF EXISTS %s", herd_shape_name(index, shardid));
}

bool herd_utility_drop_index_concurrently(HerdUtility *u)
{
	DropStmt *stmt = castNode(DropStmt, u->stmt);
	Oid index =
		RangeVarGetRelid(makeRangeVarFromNameList(linitial(stmt->objects)), NoLock, true);
	char *shell;

	/* what PostgreSQL refuses must not be gone on shards */
	if (list_length(stmt->objects) != 1 || !OidIsValid(index) ||
	    get_rel_relkind(index) != RELKIND_INDEX || OidIsValid(get_index_constraint(index)) ||
	    stmt->behavior == DROP_CASCADE) {
		herd_utility_run(u);
		return true;
	}
	PreventInTransactionBlock(u->context == PROCESS_UTILITY_TOPLEVEL,
				  "DROP INDEX CONCURRENTLY");
	shell = psprintf("DROP INDEX IF EXISTS %s", herd_shape_name(index, 0));
	outside(u, herd_table_get(IndexGetRelation(index, false)), index, drop_text,
		"DROP INDEX CONCURRENTLY");
	herd_utility_run(u);
	herd_ddl_send(NULL, list_make3("SET LOCAL citus.enable_ddl_propagation = off", shell,
				       "SET LOCAL citus.enable_ddl_propagation = on"));
	return true;
}
