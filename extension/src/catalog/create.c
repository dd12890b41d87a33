#include "catalog/tables.h"

#include "access/relation.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "attach/attach.h"
#include "catalog/namespace.h"
#include "catalog/nodes.h"
#include "catalog/partition.h"
#include "catalog/pg_enum.h"
#include "catalog/pg_namespace.h"
#include "catalog/tied.h"
#include "commands/sequence.h"
#include "compat.h"
#include "conn/conn.h"
#include "ddl/local.h"
#include "ddl/partition.h"
#include "ddl/shape.h"
#include "exec/exec.h"
#include "fmgr.h"
#include "guc.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

#define REFERENCE_REPLICATION (-1)

/* Active primaries that shards may go to; the coordinator when it is alone. */
static List *shard_groups(void)
{
	List *groups = NIL;
	ListCell *lc;

	foreach (lc, herd_nodes()) {
		const HerdNode *node = lfirst(lc);

		if (node->primary && node->active && node->shouldhaveshards)
			groups = lappend_int(groups, node->groupid);
	}
	return groups != NIL ? groups : list_make1_int(HERD_COORDINATOR_GROUP);
}

static List *all_groups(void)
{
	List *groups = NIL;
	ListCell *lc;

	foreach (lc, herd_nodes()) {
		const HerdNode *node = lfirst(lc);

		if (node->primary && node->active)
			groups = lappend_int(groups, node->groupid);
	}
	return groups;
}

static uint64 next_id(const char *sequence)
{
	Oid seqid = get_relname_relid(sequence, PG_CATALOG_NAMESPACE);

	/* The sequences belong to the extension's owner; users draw from them through us only. */
	return (uint64)nextval_internal(seqid, false);
}

PG_FUNCTION_INFO_V1(herd_next_colocation_id);
PGDLLEXPORT Datum herd_next_colocation_id(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64((int64)next_id("pg_dist_colocationid_seq"));
}

static void set_group(HerdShard *shard, int32 group)
{
	shard->ngroups = 1;
	shard->groups = palloc(sizeof(int32));
	shard->groups[0] = group;
}

static void layout_hash(HerdTable *table, int nshards)
{
	List *groups = shard_groups();
	uint64 width = (UINT64CONST(1) << 32) / nshards;

	table->nshards = nshards;
	table->shards = palloc0(nshards * sizeof(HerdShard));
	for (int i = 0; i < nshards; i++) {
		HerdShard *shard = &table->shards[i];

		shard->shardid = next_id("pg_dist_shardid_seq");
		shard->hashmin = (int32)(PG_INT32_MIN + (int64)(i * width));
		shard->hashmax = i == nshards - 1 ? PG_INT32_MAX
						  : (int32)(shard->hashmin + (int64)width - 1);
		set_group(shard, list_nth_int(groups, i % list_length(groups)));
	}
}

/* The same ranges on the same nodes as a table that is there already. */
static void layout_like(HerdTable *table, const HerdTable *model)
{
	table->nshards = model->nshards;
	table->shards = palloc0(model->nshards * sizeof(HerdShard));
	for (int i = 0; i < model->nshards; i++) {
		table->shards[i] = model->shards[i];
		table->shards[i].shardid = next_id("pg_dist_shardid_seq");
	}
}

static void layout_single(HerdTable *table)
{
	List *groups = shard_groups();

	table->nshards = 1;
	table->shards = palloc0(sizeof(HerdShard));
	table->shards[0].shardid = next_id("pg_dist_shardid_seq");
	set_group(&table->shards[0],
		  list_nth_int(groups, (int)(table->colocationid % list_length(groups))));
}

static void layout_reference(HerdTable *table)
{
	List *groups = all_groups();
	ListCell *lc;

	table->nshards = 1;
	table->shards = palloc0(sizeof(HerdShard));
	table->shards[0].shardid = next_id("pg_dist_shardid_seq");
	table->shards[0].groups = palloc(list_length(groups) * sizeof(int32));
	foreach (lc, groups)
		table->shards[0].groups[table->shards[0].ngroups++] = lfirst_int(lc);
}

/* Any table of a colocation group, or NULL when the group has none left. */
static const HerdTable *colocated_table(uint32 colocationid)
{
	List *rows = herd_sql_rows("SELECT logicalrelid::oid::text FROM pg_dist_partition "
				   "WHERE colocationid = %u LIMIT 1",
				   colocationid);

	return rows == NIL ? NULL : herd_table_get(atooid(((char **)linitial(rows))[0]));
}

static uint32 find_colocation(int nshards, int replication, Oid type, Oid collation)
{
	List *rows = herd_sql_rows(
		"SELECT colocationid FROM pg_dist_colocation WHERE shardcount = %d AND "
		"replicationfactor = %d AND distributioncolumntype = %u AND "
		"distributioncolumncollation = %u ORDER BY 1 LIMIT 1",
		nshards, replication, type, collation);

	return rows == NIL ? 0 : (uint32)strtoul(((char **)linitial(rows))[0], NULL, 10);
}

static const HerdTable *colocation_target(const char *name, const HerdTable *table)
{
	RangeVar *rv = makeRangeVarFromNameList(textToQualifiedNameList(cstring_to_text(name)));
	Oid relid = RangeVarGetRelid(rv, AccessShareLock, false);
	const HerdTable *target = herd_table_get(relid);

	if (!target || target->kind != table->kind)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("cannot colocate table \"%s\" with \"%s\"",
				       get_rel_name(table->relid), name),
				errdetail("\"%s\" is not distributed in the same way.", name)));
	if (target->keytype != table->keytype || target->keycollation != table->keycollation)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("cannot colocate table \"%s\" with \"%s\"",
				       get_rel_name(table->relid), name),
				errdetail("The distribution columns have different types: %s and "
					  "%s.",
					  format_type_be(table->keytype),
					  format_type_be(target->keytype))));
	return target;
}

/* Chooses the colocation group and the shards. shard_count 0: the setting's. */
static void plan_layout(HerdTable *table, const char *colocate_with, int shard_count)
{
	int nshards = shard_count ? shard_count : herd_shard_count;
	const HerdTable *model = NULL;

	if (pg_strcasecmp(colocate_with, "none") != 0 &&
	    pg_strcasecmp(colocate_with, "default") != 0) {
		model = colocation_target(colocate_with, table);
		if (shard_count && shard_count != model->nshards)
			ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("shard_count %d conflicts with the %d shards of \"%s\"",
					shard_count, model->nshards, colocate_with)));
		table->colocationid = model->colocationid;
	} else if (pg_strcasecmp(colocate_with, "default") == 0 && table->kind == HERD_TABLE_HASH) {
		table->colocationid =
			find_colocation(nshards, 1, table->keytype, table->keycollation);
		model = table->colocationid ? colocated_table(table->colocationid) : NULL;
	}
	if (!table->colocationid)
		table->colocationid = (uint32)next_id("pg_dist_colocationid_seq");
	if (model)
		layout_like(table, model);
	else if (table->kind == HERD_TABLE_HASH)
		layout_hash(table, nshards);
	else
		layout_single(table);
}

/* Columns a writer is given, and whether the local table has rows at all. */
static List *stored_columns(Relation rel)
{
	TupleDesc desc = RelationGetDescr(rel);
	List *attnums = NIL;

	for (int i = 0; i < desc->natts; i++)
		if (!TupleDescAttr(desc, i)->attisdropped && !TupleDescAttr(desc, i)->attgenerated)
			attnums = lappend_int(attnums, i + 1);
	return attnums;
}

static uint64 copy_rows(Relation rel)
{
	List *attnums = stored_columns(rel);
	int n = list_length(attnums), i;
	Datum *values = palloc(n * sizeof(Datum));
	bool *nulls = palloc(n * sizeof(bool));
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	TableScanDesc scan = table_beginscan(rel, snapshot, 0, NULL);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	HerdShardWriter *writer = NULL;
	ListCell *lc;
	uint64 rows = 0;

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot)) {
		CHECK_FOR_INTERRUPTS();
		if (!writer)
			writer = herd_shard_writer_begin(RelationGetRelid(rel), attnums);
		i = 0;
		foreach (lc, attnums) {
			values[i] = slot_getattr(slot, lfirst_int(lc), &nulls[i]);
			i++;
		}
		herd_shard_writer_put(writer, values, nulls);
	}
	ExecDropSingleTupleTableSlot(slot);
	table_endscan(scan);
	UnregisterSnapshot(snapshot);
	if (writer)
		rows = herd_shard_writer_end(writer);
	return rows;
}

/* Makes every node know the table, and creates its shards. */
static void tell_nodes(HerdTable *table)
{
	char *metadata = herd_table_metadata_sql(table);
	char *shards = psprintf("SELECT citus_internal.create_shards(%s)",
				quote_literal_cstr(herd_shape_name(table->relid, 0)));
	List *commands = herd_shape_shell(table->relid);

	herd_sql_exec("%s", metadata);
	commands = lappend(lappend(commands, metadata), shards);
	herd_ddl_send(NULL, commands);
	herd_sql_exec("%s", shards);
	CommandCounterIncrement();
}

static void move_rows(Oid relid)
{
	Relation rel = relation_open(relid, NoLock);

	if (RELKIND_HAS_STORAGE(rel->rd_rel->relkind) && copy_rows(rel) > 0)
		herd_table_truncate_local(relid);
	relation_close(rel, NoLock);
}

static void add_keys(Oid relid)
{
	char *keys = psprintf("SELECT citus_internal.create_shard_keys(%s)",
			      quote_literal_cstr(herd_shape_name(relid, 0)));

	herd_ddl_send(NULL, list_make1(keys));
	herd_sql_exec("%s", keys);
}

/* A partition with the shards of its parent, side by side. */
static HerdTable *table_like(Oid relid, const HerdTable *model)
{
	HerdTable *table = palloc(sizeof(HerdTable));

	*table = *model;
	table->relid = relid;
	if (model->keyattno)
		table->keyattno =
			get_attnum(relid, get_attname(model->relid, model->keyattno, false));
	layout_like(table, model);
	return table;
}

/* The table, which is locked, and its partitions; model: a distributed table that says how. */
static void distribute(HerdTable *top, const HerdTable *model)
{
	List *tables = NIL;
	ListCell *lc;

	herd_partition_check_tree(top->relid);
	foreach (lc, herd_partition_tree(top->relid)) {
		Oid relid = lfirst_oid(lc);
		HerdTable *table = relid == top->relid ? top : table_like(relid, model);

		LockRelationOid(relid, AccessExclusiveLock);
		if (relid != top->relid && herd_table_get(relid))
			ereport(ERROR, (errcode(ERRCODE_INVALID_TABLE_DEFINITION),
					errmsg("partition \"%s\" is already distributed",
					       get_rel_name(relid))));
		herd_table_check(relid, table->keyattno, table->kind, table->colocationid);
		tables = lappend(tables, table);
	}
	foreach (lc, tables)
		tell_nodes(lfirst(lc));
	foreach (lc, tables)
		move_rows(((HerdTable *)lfirst(lc))->relid);
	foreach (lc, tables)
		add_keys(((HerdTable *)lfirst(lc))->relid);
}

void herd_table_distribute_like(Oid relid, const HerdTable *model)
{
	HerdTable *copy = palloc(sizeof(HerdTable));

	/* new rows in the metadata may replace what the cache has */
	*copy = *model;
	distribute(table_like(relid, copy), copy);
}

static Relation open_for_distribution(Oid relid)
{
	Relation rel;

	if (relid < FirstNormalObjectId)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("cannot distribute a system catalog")));
	herd_require_coordinator("distribute a table");
	herd_ensure_coordinator();
	herd_changes_lock(true);
	rel = relation_open(relid, AccessExclusiveLock);
	if (!herd_owns_relation(relid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, RelationGetRelationName(rel));
	if (herd_table_get(relid))
		ereport(ERROR, (errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				errmsg("table \"%s\" is already distributed",
				       RelationGetRelationName(rel)),
				errhint("Run undistribute_table first.")));
	if (rel->rd_rel->relispartition)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("cannot distribute table \"%s\": it is a partition",
				       RelationGetRelationName(rel)),
				errhint("Distribute \"%s\": its partitions follow.",
					get_rel_name(get_partition_parent(relid, true)))));
	return rel;
}

static void require_hash(Oid method)
{
	HeapTuple tuple = SearchSysCache1(ENUMOID, ObjectIdGetDatum(method));
	bool hash = HeapTupleIsValid(tuple) &&
		    strcmp(NameStr(((Form_pg_enum)GETSTRUCT(tuple))->enumlabel), "hash") == 0;

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	if (!hash)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("distribution by range and append is not supported"),
				errhint("Use distribution_type => 'hash'.")));
}

static void set_key(HerdTable *table, const char *column)
{
	table->keyattno = get_attnum(table->relid, column);
	if (table->keyattno <= 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
				errmsg("column \"%s\" of table \"%s\" does not exist", column,
				       get_rel_name(table->relid))));
	get_atttypetypmodcoll(table->relid, table->keyattno, &table->keytype, &table->keytypmod,
			      &table->keycollation);
	table->kind = HERD_TABLE_HASH;
	table->partmethod = HERD_METHOD_HASH;
}

/* create_distributed_table(table, column, type, colocate_with, shard_count) */
PG_FUNCTION_INFO_V1(herd_create_distributed_table);
PGDLLEXPORT Datum herd_create_distributed_table(PG_FUNCTION_ARGS)
{
	HerdTable table = { .kind = HERD_TABLE_SINGLE_SHARD,
			    .partmethod = HERD_METHOD_NONE,
			    .repmodel = HERD_REPMODEL_STREAMING };
	int shard_count = PG_ARGISNULL(4) ? 0 : PG_GETARG_INT32(4);
	HerdKept kept = { 0 };
	Relation rel;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(2) || PG_ARGISNULL(3))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("table, distribution_type and colocate_with cannot be "
				       "null")));
	if (!PG_ARGISNULL(4) && (shard_count < 1 || shard_count > 64000))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("shard_count must be between 1 and 64000")));
	require_hash(PG_GETARG_OID(2));
	table.relid = PG_GETARG_OID(0);
	herd_tied_begin(table.relid, PG_ARGISNULL(1) ? HERD_TABLE_SINGLE_SHARD : HERD_TABLE_HASH,
			&kept);
	rel = open_for_distribution(table.relid);
	if (!PG_ARGISNULL(1))
		set_key(&table, text_to_cstring(PG_GETARG_TEXT_PP(1)));
	plan_layout(&table, text_to_cstring(PG_GETARG_TEXT_PP(3)), shard_count);
	distribute(&table, &table);
	relation_close(rel, NoLock);
	herd_kept_put_back(&kept);
	PG_RETURN_VOID();
}

void herd_table_distribute_single(Oid relid, uint32 colocationid, int32 group)
{
	HerdTable table = { .relid = relid,
			    .kind = HERD_TABLE_SINGLE_SHARD,
			    .partmethod = HERD_METHOD_NONE,
			    .repmodel = HERD_REPMODEL_STREAMING,
			    .colocationid = colocationid };
	Relation rel = open_for_distribution(relid);
	const HerdTable *model = colocated_table(colocationid);

	if (model)
		layout_like(&table, model);
	else
		layout_single(&table);
	if (model == NULL && group >= 0)
		set_group(&table.shards[0], group);
	distribute(&table, &table);
	relation_close(rel, NoLock);
}

PG_FUNCTION_INFO_V1(herd_create_reference_table);
PGDLLEXPORT Datum herd_create_reference_table(PG_FUNCTION_ARGS)
{
	HerdTable table = { .kind = HERD_TABLE_REFERENCE,
			    .partmethod = HERD_METHOD_NONE,
			    .repmodel = HERD_REPMODEL_2PC };
	HerdKept kept = { 0 };
	Relation rel;

	table.relid = PG_GETARG_OID(0);
	herd_tied_begin(table.relid, table.kind, &kept);
	rel = open_for_distribution(table.relid);
	table.colocationid = find_colocation(1, REFERENCE_REPLICATION, InvalidOid, InvalidOid);
	if (!table.colocationid)
		table.colocationid = (uint32)next_id("pg_dist_colocationid_seq");
	layout_reference(&table);
	distribute(&table, &table);
	relation_close(rel, NoLock);
	herd_kept_put_back(&kept);
	PG_RETURN_VOID();
}

/* Columns to name in INSERT .. SELECT: all but generated ones. */
static char *column_list(Relation rel)
{
	StringInfoData out;
	ListCell *lc;

	initStringInfo(&out);
	foreach (lc, stored_columns(rel))
		appendStringInfo(&out, "%s%s", out.len ? ", " : "",
				 quote_identifier(get_attname(RelationGetRelid(rel), lfirst_int(lc),
							      false)));
	return out.data;
}

static char *tree_text(Oid relid)
{
	StringInfoData out;
	ListCell *lc;

	initStringInfo(&out);
	foreach (lc, herd_partition_tree(relid))
		appendStringInfo(&out, "%s%u", out.len ? ", " : "", lfirst_oid(lc));
	return out.data;
}

/* undistribute_table(table, cascade_via_foreign_keys) */
PG_FUNCTION_INFO_V1(herd_undistribute_table);
PGDLLEXPORT Datum herd_undistribute_table(PG_FUNCTION_ARGS)
{
	Oid relid = PG_GETARG_OID(0);
	char *name, *columns;
	List *tree;
	int guc_level;
	ListCell *lc;
	Relation rel;

	herd_require_coordinator("undistribute a table");
	herd_changes_lock(true);
	if (PG_GETARG_BOOL(1) && herd_table_get(relid)) {
		herd_sql_exec("SELECT citus_internal.undistribute_connected(%u::regclass)", relid);
		PG_RETURN_VOID();
	}
	rel = relation_open(relid, AccessExclusiveLock);
	if (!herd_owns_relation(relid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, RelationGetRelationName(rel));
	if (!herd_table_get(relid))
		ereport(ERROR,
			(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
			 errmsg("table \"%s\" is not distributed", RelationGetRelationName(rel))));
	if (rel->rd_rel->relispartition)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("cannot undistribute table \"%s\": it is a partition",
				       RelationGetRelationName(rel)),
				errhint("Undistribute \"%s\", or detach the partition first.",
					get_rel_name(get_partition_parent(relid, true)))));
	if (herd_sql_int(
		    "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND conrelid <> "
		    "confrelid AND conparentid = 0 AND (conrelid IN (%s) OR confrelid IN (%s))",
		    tree_text(relid), tree_text(relid)) > 0)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("cannot undistribute table \"%s\": it has foreign keys",
				       RelationGetRelationName(rel)),
				errhint("Use cascade_via_foreign_keys => true, or drop the foreign "
					"keys first.")));
	herd_attach_check_undistribute(relid);
	name = herd_shape_name(relid, 0);
	columns = column_list(rel);
	tree = herd_partition_tree_up(relid);
	relation_close(rel, NoLock);

	guc_level = herd_shape_begin();
	/* all rows, or an error */
	(void)set_config_option("row_security", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE,
				true, 0, false);
	herd_sql_exec("CREATE TEMPORARY TABLE herd_undistribute ON COMMIT DROP AS "
		      "SELECT %s FROM %s",
		      columns, name);
	herd_ddl_send(NULL, list_make1(psprintf("DROP TABLE %s CASCADE", name)));
	foreach (lc, tree)
		herd_sql_exec(
			"SELECT citus_internal.drop_shards(%u, %s, %s)", lfirst_oid(lc),
			quote_literal_cstr(get_namespace_name(get_rel_namespace(lfirst_oid(lc)))),
			quote_literal_cstr(get_rel_name(lfirst_oid(lc))));
	/* as they are: no triggers, no rules; those of the metadata had to fire before */
	(void)set_config_option("session_replication_role", "replica", PGC_SUSET, PGC_S_SESSION,
				GUC_ACTION_SAVE, true, 0, false);
	herd_sql_exec("INSERT INTO %s (%s) OVERRIDING SYSTEM VALUE SELECT %s FROM "
		      "pg_temp.herd_undistribute",
		      name, columns, columns);
	herd_shape_end(guc_level);
	herd_ddl_run(NULL, list_make1("DROP TABLE pg_temp.herd_undistribute"));
	PG_RETURN_VOID();
}
