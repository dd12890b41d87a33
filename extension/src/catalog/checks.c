#include "catalog/tables.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "attach/attach.h"
#include "attach/farkey.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_index.h"
#include "catalog/pg_inherits.h"
#include "ddl/local.h"
#include "nodes/nodes.h"
#include "optimizer/optimizer.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

static void refuse(Relation rel, const char *what, const char *hint)
{
	ereport(ERROR,
		(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
		 errmsg("cannot distribute table \"%s\": %s", RelationGetRelationName(rel), what),
		 hint ? errhint("%s", hint) : 0));
}

static void check_relation(Relation rel, HerdTableKind kind)
{
	Oid relid = RelationGetRelid(rel);

	if (rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE && kind == HERD_TABLE_REFERENCE)
		refuse(rel, "partitioned tables cannot be reference tables",
		       "Use create_distributed_table, or a plain table.");
	if (rel->rd_rel->relkind != RELKIND_RELATION &&
	    rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg("\"%s\" is not a regular table", RelationGetRelationName(rel))));
	if (rel->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		refuse(rel, "it is temporary", "Create it without TEMPORARY.");
	if (!rel->rd_rel->relispartition && has_superclass(relid))
		refuse(rel, "it inherits from another table", "Use a partitioned table.");
	if (rel->rd_rel->relkind == RELKIND_RELATION && has_subclass(relid))
		refuse(rel, "other tables inherit from it", "Use a partitioned table.");
	if (OidIsValid(rel->rd_rel->reloftype))
		refuse(rel, "typed tables are not supported", NULL);
}

static bool uses_tableoid(char *expr)
{
	List *vars = pull_var_clause(stringToNode(expr), 0);
	ListCell *lc;

	foreach (lc, vars)
		if (lfirst_node(Var, lc)->varattno == TableOidAttributeNumber)
			return true;
	return false;
}

static void refuse_tableoid(Relation rel, const char *what, const char *name)
{
	ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			errmsg("tableoid in %s \"%s\" of distributed table \"%s\" is not supported",
			       what, name, RelationGetRelationName(rel)),
			errdetail("Rows are in shards, which have tableoids of their own.")));
}

static void check_expressions(Relation rel)
{
	TupleDesc desc = RelationGetDescr(rel);
	TupleConstr *constr = desc->constr;

	for (int i = 0; constr != NULL && i < constr->num_check; i++)
		if (uses_tableoid(constr->check[i].ccbin))
			refuse_tableoid(rel, "constraint", constr->check[i].ccname);
	for (int i = 0; constr != NULL && i < constr->num_defval; i++) {
		Form_pg_attribute att = TupleDescAttr(desc, constr->defval[i].adnum - 1);

		if (att->attgenerated && uses_tableoid(constr->defval[i].adbin))
			refuse_tableoid(rel, "generated column", NameStr(att->attname));
	}
}

static void check_key_column(Relation rel, AttrNumber keyattno)
{
	Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), keyattno - 1);
	TypeCacheEntry *type;

	if (att->attgenerated)
		refuse(rel, "the distribution column is generated",
		       "Choose a column that is stored as it is given.");
	type = lookup_type_cache(getBaseType(att->atttypid), TYPECACHE_HASH_PROC);
	if (!OidIsValid(type->hash_proc))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_FUNCTION),
				errmsg("type %s of the distribution column has no hash function",
				       format_type_be(att->atttypid)),
				errhint("Choose a column of a type with a default hash operator "
					"class.")));
}

/* Is the column compared by = in the exclusion constraint? */
static bool excludes_equal(Oid indexid, int column, Oid type)
{
	Relation index = index_open(indexid, AccessShareLock);
	Oid *operators, *procs;
	uint16 *strategies;
	bool equal;

	RelationGetExclusionInfo(index, &operators, &procs, &strategies);
	equal = op_hashjoinable(operators[column], type);
	index_close(index, AccessShareLock);
	return equal;
}

/* Uniqueness is checked by each shard alone, so equal keys must meet in one shard. */
static void check_unique(Relation rel, AttrNumber keyattno)
{
	Oid type = getBaseType(TupleDescAttr(RelationGetDescr(rel), keyattno - 1)->atttypid);
	ListCell *lc;

	foreach (lc, RelationGetIndexList(rel)) {
		HeapTuple tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(lfirst_oid(lc)));
		Form_pg_index index = (Form_pg_index)GETSTRUCT(tuple);
		bool found = !index->indisunique && !index->indisexclusion;

		for (int i = 0; i < index->indnkeyatts; i++)
			found = found || (index->indkey.values[i] == keyattno &&
					  (!index->indisexclusion ||
					   excludes_equal(index->indexrelid, i, type)));
		if (!found)
			ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("cannot create constraint \"%s\" on \"%s\"",
					get_rel_name(lfirst_oid(lc)), RelationGetRelationName(rel)),
				 errdetail("UNIQUE, PRIMARY KEY and EXCLUDE constraints of a "
					   "distributed table must contain the distribution "
					   "column \"%s\", EXCLUDE with =.",
					   get_attname(RelationGetRelid(rel), keyattno, false)),
				 errhint("Add the column to the constraint.")));
		ReleaseSysCache(tuple);
	}
}

static void refuse_key(HeapTuple tuple, const char *detail, const char *hint)
{
	Form_pg_constraint con = (Form_pg_constraint)GETSTRUCT(tuple);

	ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			errmsg("cannot keep foreign key \"%s\" of table \"%s\"",
			       NameStr(con->conname), get_rel_name(con->conrelid)),
			errdetail("%s", detail), errhint("%s", hint)));
}

static void check_foreign_key(HeapTuple tuple, const HerdKeyHolder *holder)
{
	Form_pg_constraint con = (Form_pg_constraint)GETSTRUCT(tuple);
	const char *why, *refusal;

	if (con->confrelid != con->conrelid && !herd_table_get(con->confrelid))
		refuse_key(
			tuple, "The referenced table is a local table.",
			"Make the referenced table a reference or a distributed table first, or, "
			"if it is to stay on the coordinator, use "
			"citus_add_local_table_to_metadata.");
	why = herd_far_key_why(tuple, holder);
	refusal = why ? herd_far_key_refusal(tuple) : NULL;
	if (refusal != NULL)
		refuse_key(
			tuple, psprintf("%s %s", why, refusal),
			"Make the referenced table a reference table, or colocate the tables and "
			"have their distribution columns in the foreign key.");
}

static void check_foreign_keys(Oid relid, AttrNumber keyattno, HerdTableKind kind,
			       uint32 colocationid)
{
	HerdKeyHolder holder = { kind, keyattno, colocationid };
	ListCell *lc;
	List *rows = herd_sql_rows(
		"SELECT oid::text FROM pg_constraint WHERE conrelid = %u AND contype = 'f' AND "
		"conparentid = 0",
		relid);

	foreach (lc, rows) {
		HeapTuple tuple = SearchSysCache1(
			CONSTROID, ObjectIdGetDatum(atooid(((char **)lfirst(lc))[0])));

		check_foreign_key(tuple, &holder);
		ReleaseSysCache(tuple);
	}
	/* the copy on the coordinator sees to them: attach/localkey.h */
	if (kind == HERD_TABLE_REFERENCE)
		return;
	rows = herd_sql_rows(
		"SELECT conname::text, conrelid::regclass::text, conrelid::oid::text "
		"FROM pg_constraint WHERE confrelid = %u AND contype = 'f' AND conparentid = 0",
		relid);
	foreach (lc, rows) {
		char **row = lfirst(lc);

		if (atooid(row[2]) != relid && !herd_table_get(atooid(row[2])))
			ereport(NOTICE, (errmsg("foreign key \"%s\" of local table %s does not see "
						"changes of "
						"table \"%s\"",
						row[0], row[1], get_rel_name(relid)),
					 errdetail("Rows that it refers to can be deleted."),
					 errhint("Distribute %s as well, use "
						 "citus_add_local_table_to_metadata, or drop the "
						 "foreign key.",
						 row[1])));
	}
}

void herd_table_check(Oid relid, AttrNumber keyattno, HerdTableKind kind, uint32 colocationid)
{
	Relation rel = relation_open(relid, NoLock);

	check_relation(rel, kind);
	herd_attach_check(relid);
	check_expressions(rel);
	if (kind == HERD_TABLE_HASH) {
		check_key_column(rel, keyattno);
		check_unique(rel, keyattno);
	}
	check_foreign_keys(relid, keyattno, kind, colocationid);
	relation_close(rel, NoLock);
}
