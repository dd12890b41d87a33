#include "ddl/partition.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/xact.h"
#include "attach/farkey.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/tables.h"
#include "compat.h"
#include "ddl/local.h"
#include "ddl/shape.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

List *herd_partition_tree(Oid relid)
{
	if (get_rel_relkind(relid) != RELKIND_PARTITIONED_TABLE)
		return list_make1_oid(relid);
	return find_all_inheritors(relid, NoLock, NULL);
}

List *herd_partition_tree_up(Oid relid)
{
	List *out = NIL;
	ListCell *lc;

	foreach (lc, herd_partition_tree(relid))
		out = lcons_oid(lfirst_oid(lc), out);
	return out;
}

void herd_partition_check_tree(Oid relid)
{
	ListCell *lc;

	foreach (lc, herd_partition_tree(relid)) {
		Oid part = lfirst_oid(lc);

		if (get_rel_relkind(part) == RELKIND_FOREIGN_TABLE)
			ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot distribute table \"%s\": its partition \"%s\" is a "
					"foreign table",
					get_rel_name(relid), get_rel_name(part)),
				 errhint("Detach it.")));
	}
}

static Oid parent_of(Oid relid)
{
	return get_partition_parent(relid, true);
}

/* The shard of another table of the tree that lies beside shardid of relid. */
static uint64 shard_beside(Oid relid, uint64 shardid, Oid other)
{
	const HerdTable *table = herd_table_get(relid), *target = herd_table_get(other);

	for (int i = 0; table && target && i < table->nshards && i < target->nshards; i++)
		if (table->shards[i].shardid == shardid)
			return target->shards[i].shardid;
	elog(ERROR, "no shard of \"%s\" beside shard " UINT64_FORMAT, get_rel_name(other), shardid);
	return 0;
}

char *herd_partition_attach(Oid relid, uint64 shardid)
{
	Oid parent = parent_of(relid);
	int level = herd_shape_begin();
	List *rows = herd_sql_rows("SELECT pg_catalog.pg_get_expr(relpartbound, oid) FROM "
				   "pg_catalog.pg_class WHERE oid = %u",
				   relid);
	uint64 beside = shardid ? shard_beside(relid, shardid, parent) : 0;
	char *sql =
		psprintf("ALTER TABLE %s ATTACH PARTITION %s %s", herd_shape_name(parent, beside),
			 herd_shape_name(relid, shardid), ((char **)linitial(rows))[0]);

	herd_shape_end(level);
	return sql;
}

const char *herd_partition_clause(Oid relid)
{
	List *rows;
	int level;

	if (get_rel_relkind(relid) != RELKIND_PARTITIONED_TABLE)
		return "";
	level = herd_shape_begin();
	rows = herd_sql_rows("SELECT pg_catalog.pg_get_partkeydef(%u)", relid);
	herd_shape_end(level);
	return psprintf(" PARTITION BY %s", ((char **)linitial(rows))[0]);
}

List *herd_partition_constraints(Oid relid)
{
	List *out = NIL;
	ListCell *lp, *lc;

	/*
	 * Those of partitions first: the parent's then take them as theirs, under their names. NOT
	 * NULL before the primary key, which would bring one with a name of its own.
	 */
	foreach (lp, herd_partition_tree_up(relid))
		foreach (lc, herd_sql_rows("SELECT oid::text FROM pg_constraint WHERE conrelid = "
					   "%u AND (contype IN ('p', 'u', 'x') OR (contype IN "
					   "('c', 'f', 'n') AND conparentid = 0 AND coninhcount = "
					   "0)) ORDER BY contype <> 'n', oid",
					   lfirst_oid(lp)))
			out = lappend_oid(out, atooid(((char **)lfirst(lc))[0]));
	return out;
}

bool herd_utility_create_partition(HerdUtility *u)
{
	CreateStmt *stmt = castNode(CreateStmt, u->stmt);
	const HerdTable *parent;
	Oid relid;

	if (u->applying || stmt->partbound == NULL || stmt->inhRelations == NIL)
		return false;
	parent = herd_utility_table(linitial(stmt->inhRelations), NoLock);
	if (parent == NULL)
		return false;
	herd_require_coordinator("create a partition of a distributed table");
	herd_changes_lock(true);
	relid = RangeVarGetRelid(stmt->relation, NoLock, true);
	if (OidIsValid(relid)) { /* IF NOT EXISTS, or an error */
		herd_utility_run(u);
		return true;
	}
	herd_utility_run_shell(u);
	CommandCounterIncrement();
	relid = RangeVarGetRelid(stmt->relation, AccessExclusiveLock, false);
	herd_table_distribute_like(relid, herd_table_get(get_partition_parent(relid, false)));
	return true;
}

/* -- attach and detach ------------------------------------------------------------------------- */

static void refuse(const char *parent, const char *what, const char *hint)
{
	ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			errmsg("cannot change the partitions of table \"%s\": %s", parent, what),
			errhint("%s", hint)));
}

static List *for_local_shards(const HerdTable *child, char *(*print)(Oid, uint64))
{
	List *out = NIL;
	ListCell *lc;

	foreach (lc, herd_utility_local_shards(child))
		out = lappend(out, print(child->relid, *(uint64 *)lfirst(lc)));
	return out;
}

/*
 * A table with rows of its own becomes distributed first: the shell of the parent has foreign keys
 * to shells without rows. PostgreSQL checks its rows when the shards are attached.
 */
static void attach(HerdUtility *u, const HerdTable *parent, PartitionCmd *cmd)
{
	Oid relid = RangeVarGetRelid(cmd->name, AccessExclusiveLock, false);
	const HerdTable *child = herd_table_get(relid);
	const char *name = get_rel_name(parent->relid);
	List *shards;

	if (child == NULL && u->applying) {
		herd_utility_run(u);
		return;
	}
	if (child == NULL) {
		if (parent->keyattno &&
		    get_attnum(relid, get_attname(parent->relid, parent->keyattno, false)) <= 0)
			ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("table \"%s\" has no column \"%s\"", get_rel_name(relid),
					get_attname(parent->relid, parent->keyattno, false))));
		herd_changes_lock(true);
		herd_table_distribute_like(relid, parent);
		child = herd_table_get(relid);
		parent = herd_table_get(parent->relid);
	}
	if (child->kind != parent->kind || child->colocationid != parent->colocationid ||
	    child->nshards != parent->nshards)
		refuse(name, "the new partition is distributed, but not co-located with it",
		       "Run undistribute_table on the partition, then attach it.");
	if (parent->keyattno && strcmp(get_attname(relid, child->keyattno, false),
				       get_attname(parent->relid, parent->keyattno, false)) != 0)
		refuse(name, "the new partition is distributed by another column",
		       "Run undistribute_table on the partition, then attach it.");
	herd_utility_run_shell(u);
	CommandCounterIncrement();
	shards = for_local_shards(herd_table_get(relid), herd_partition_attach);
	herd_utility_spread(u, list_make1(herd_partition_attach(relid, 0)),
			    list_concat(shards, herd_far_key_shapes(herd_partition_tree(relid))));
	if (!u->applying)
		herd_far_key_validate_table(relid);
}

static char *detach_text(Oid relid, uint64 shardid)
{
	Oid parent = parent_of(relid);

	return psprintf("ALTER TABLE %s DETACH PARTITION %s",
			herd_shape_name(parent, shardid ? shard_beside(relid, shardid, parent) : 0),
			herd_shape_name(relid, shardid));
}

/*
 * DETACH PARTITION .. CONCURRENTLY: the nodes have to do it in one transaction, so statements wait.
 * What PostgreSQL leaves on the partition, a constraint that says what it was, is made as well.
 */
static void detach_at_once(HerdUtility *u, Oid relid, Oid parent)
{
	List *bound = herd_sql_rows("SELECT pg_get_partition_constraintdef(%u)", relid);
	PartitionCmd *cmd;

	PreventInTransactionBlock(u->context == PROCESS_UTILITY_TOPLEVEL,
				  "ALTER TABLE ... DETACH CONCURRENTLY");
	if (OidIsValid(get_default_partition_oid(parent)))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("cannot detach partitions concurrently when a default "
				       "partition exists")));
	ereport(NOTICE,
		(errmsg("statements on table \"%s\" wait until partition \"%s\" is detached",
			get_rel_name(parent), get_rel_name(relid)),
		 errdetail("Partitions of distributed tables are detached on all nodes in "
			   "one transaction.")));
	herd_sql_exec("ALTER TABLE %s ADD CHECK (%s)", herd_shape_name(relid, 0),
		      ((char **)linitial(bound))[0]);
	CommandCounterIncrement();
	u->pstmt = copyObject(u->pstmt);
	u->stmt = u->pstmt->utilityStmt;
	u->read_only_tree = false;
	cmd = castNode(PartitionCmd,
		       linitial_node(AlterTableCmd, castNode(AlterTableStmt, u->stmt)->cmds)->def);
	cmd->concurrent = false;
}

/* Its constraint names the table by its oid, which is another for each shard. */
static bool is_hash_partitioned(Oid relid)
{
	return herd_sql_int("SELECT count(*) FROM pg_partitioned_table WHERE partrelid = %u AND "
			    "partstrat = 'h'",
			    relid) > 0;
}

static void detach(HerdUtility *u, const HerdTable *parent, PartitionCmd *cmd)
{
	List *others, *shards, *referred;
	const HerdTable *child;
	Oid relid;

	/* before the keys are asked: what they say shows rows */
	if (!herd_owns_relation(parent->relid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, get_rel_name(parent->relid));
	relid = RangeVarGetRelid(cmd->name, AccessExclusiveLock, false);
	child = herd_table_get(relid);
	/* what is no partition of it is for PostgreSQL to report */
	if (child == NULL || !get_rel_relispartition(relid) || parent_of(relid) != parent->relid) {
		herd_utility_run_shell(u);
		return;
	}
	if (cmd->concurrent && is_hash_partitioned(parent->relid))
		refuse(get_rel_name(parent->relid),
		       "DETACH PARTITION .. CONCURRENTLY is not supported for partitions by hash",
		       "Use DETACH PARTITION without CONCURRENTLY.");
	if (cmd->concurrent)
		detach_at_once(u, relid, parent->relid);
	child = herd_table_get(relid);
	others = list_make1(detach_text(relid, 0));
	shards = for_local_shards(child, detach_text);
	referred = u->applying ? NIL : herd_far_key_detach(relid);
	herd_utility_run_shell(u);
	herd_utility_spread(u, others, shards);
	herd_far_key_detached(referred);
}

/* ALTER INDEX parent ATTACH PARTITION child: of the shards that lie side by side too. */
static bool attach_index(HerdUtility *u, AlterTableStmt *stmt, PartitionCmd *cmd)
{
	Oid index = RangeVarGetRelid(stmt->relation, NoLock, true);
	Oid part = RangeVarGetRelid(cmd->name, NoLock, true);
	const HerdTable *table, *child;
	List *shards = NIL;
	char *others;
	ListCell *lc;

	if (!OidIsValid(index) || get_rel_relkind(index) != RELKIND_PARTITIONED_INDEX ||
	    !OidIsValid(part))
		return false;
	table = herd_table_get(IndexGetRelation(index, false));
	child = herd_table_get(IndexGetRelation(part, false));
	if (table == NULL || child == NULL)
		return false;
	herd_utility_require_origin(u);
	others = psprintf("ALTER INDEX %s ATTACH PARTITION %s", herd_shape_name(index, 0),
			  herd_shape_name(part, 0));
	foreach (lc, herd_utility_local_shards(child)) {
		uint64 shardid = *(uint64 *)lfirst(lc);

		shards = lappend(shards,
				 psprintf("ALTER INDEX %s ATTACH PARTITION %s",
					  herd_shape_name(index, shard_beside(child->relid, shardid,
									      table->relid)),
					  herd_shape_name(part, shardid)));
	}
	herd_utility_run_shell(u);
	herd_utility_spread(u, list_make1(others), shards);
	return true;
}

/* A table of this node alone cannot be above or below one that is not. */
static bool refuse_mixed(AlterTableStmt *stmt, AlterTableCmd *cmd)
{
	RangeVar *other = NULL;

	if (cmd->subtype == AT_AttachPartition)
		other = castNode(PartitionCmd, cmd->def)->name;
	else if (cmd->subtype == AT_AddInherit)
		other = castNode(RangeVar, cmd->def);
	if (other == NULL || herd_utility_table(other, NoLock) == NULL)
		return false;
	if (cmd->subtype == AT_AddInherit)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("inheritance from distributed table \"%s\" is not supported",
				       other->relname),
				errhint("Use a partitioned table.")));
	refuse(stmt->relation->relname, "the table is not distributed, and the partition is",
	       "Distribute the partitioned table first.");
	return true;
}

bool herd_utility_alter_partition(HerdUtility *u)
{
	AlterTableStmt *stmt = castNode(AlterTableStmt, u->stmt);
	AlterTableCmd *cmd = list_length(stmt->cmds) == 1 ? linitial(stmt->cmds) : NULL;
	const HerdTable *parent;

	if (cmd == NULL ||
	    (cmd->subtype != AT_AttachPartition && cmd->subtype != AT_DetachPartition &&
	     cmd->subtype != AT_DetachPartitionFinalize && cmd->subtype != AT_AddInherit))
		return false;
	if (stmt->objtype == OBJECT_INDEX && cmd->subtype == AT_AttachPartition)
		return attach_index(u, stmt, castNode(PartitionCmd, cmd->def));
	parent = herd_utility_table(stmt->relation, NoLock);
	if (parent == NULL)
		return refuse_mixed(stmt, cmd);
	if (cmd->subtype == AT_AddInherit)
		return false;
	herd_utility_require_origin(u);
	if (cmd->subtype == AT_AttachPartition)
		attach(u, parent, castNode(PartitionCmd, cmd->def));
	else if (cmd->subtype == AT_DetachPartition)
		detach(u, parent, castNode(PartitionCmd, cmd->def));
	else /* there is none: PostgreSQL says so */
		herd_utility_run_shell(u);
	return true;
}
