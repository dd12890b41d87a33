#include "catalog/tables.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "attach/attach.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_index.h"
#include "catalog/pg_inherits.h"
#include "ddl/local.h"
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
	herd_attach_check(relid);
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

/* Uniqueness is checked by each shard alone, so equal keys must meet in one shard. */
static void check_unique(Relation rel, AttrNumber keyattno)
{
	ListCell *lc;

	foreach (lc, RelationGetIndexList(rel)) {
		HeapTuple tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(lfirst_oid(lc)));
		Form_pg_index index = (Form_pg_index)GETSTRUCT(tuple);
		bool found = !index->indisunique && !index->indisexclusion;

		for (int i = 0; i < index->indnkeyatts; i++)
			found = found || index->indkey.values[i] == keyattno;
		if (!found)
			ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("cannot create constraint \"%s\" on \"%s\"",
					get_rel_name(lfirst_oid(lc)), RelationGetRelationName(rel)),
				 errdetail("UNIQUE, PRIMARY KEY and EXCLUDE constraints of a "
					   "distributed table must contain the distribution "
					   "column \"%s\".",
					   get_attname(RelationGetRelid(rel), keyattno, false)),
				 errhint("Add the column to the constraint.")));
		ReleaseSysCache(tuple);
	}
}

static bool attnum_at(HeapTuple con, AttrNumber column, int *position, AttrNumber wanted)
{
	bool isnull;
	Datum array = SysCacheGetAttr(CONSTROID, con, column, &isnull);
	Datum *elems;
	int n;

	if (isnull)
		return false;
	deconstruct_array(DatumGetArrayTypeP(array), INT2OID, 2, true, TYPALIGN_SHORT, &elems, NULL,
			  &n);
	for (int i = 0; i < n; i++) {
		if (*position >= 0 && i != *position)
			continue;
		if (DatumGetInt16(elems[i]) != wanted)
			continue;
		*position = i;
		return true;
	}
	return false;
}

static void refuse_key(HeapTuple tuple, const char *detail, const char *hint)
{
	Form_pg_constraint con = (Form_pg_constraint)GETSTRUCT(tuple);

	ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			errmsg("cannot keep foreign key \"%s\" of table \"%s\"",
			       NameStr(con->conname), get_rel_name(con->conrelid)),
			errdetail("%s", detail), errhint("%s", hint)));
}

static void check_foreign_key(HeapTuple tuple, AttrNumber keyattno, HerdTableKind kind,
			      uint32 colocationid)
{
	Form_pg_constraint con = (Form_pg_constraint)GETSTRUCT(tuple);
	const HerdTable *target = herd_table_get(con->confrelid);
	AttrNumber target_key = target ? target->keyattno : 0;
	int position = -1;

	if (con->confrelid == con->conrelid)
		target_key = keyattno;
	else if (!target)
		refuse_key(tuple, "The referenced table is a local table.",
			   "Make the referenced table a reference or a colocated distributed table "
			   "first.");
	else if (target->kind == HERD_TABLE_REFERENCE)
		return;
	else if (kind == HERD_TABLE_REFERENCE)
		refuse_key(tuple, "A reference table cannot reference a distributed table.",
			   "Drop the foreign key.");
	else if (target->colocationid != colocationid)
		refuse_key(tuple, "The tables are not colocated.",
			   "Distribute the table with colocate_with => the referenced table.");
	if (kind != HERD_TABLE_HASH)
		return;
	if (!attnum_at(tuple, Anum_pg_constraint_conkey, &position, keyattno) ||
	    !attnum_at(tuple, Anum_pg_constraint_confkey, &position, target_key))
		refuse_key(tuple,
			   "Foreign keys between distributed tables must include the distribution "
			   "columns at the same position.",
			   "Add the distribution column to the foreign key, or make the referenced "
			   "table a reference table.");
	if (con->confdeltype == FKCONSTR_ACTION_SETNULL ||
	    con->confdeltype == FKCONSTR_ACTION_SETDEFAULT ||
	    con->confupdtype == FKCONSTR_ACTION_SETNULL ||
	    con->confupdtype == FKCONSTR_ACTION_SETDEFAULT ||
	    con->confupdtype == FKCONSTR_ACTION_CASCADE)
		refuse_key(tuple,
			   "SET NULL, SET DEFAULT and ON UPDATE CASCADE would change the "
			   "distribution column.",
			   "Use NO ACTION, RESTRICT or ON DELETE CASCADE.");
}

static void check_foreign_keys(Oid relid, AttrNumber keyattno, HerdTableKind kind,
			       uint32 colocationid)
{
	ListCell *lc;
	List *rows = herd_sql_rows(
		"SELECT oid::text FROM pg_constraint WHERE conrelid = %u AND contype = 'f' AND "
		"conparentid = 0",
		relid);

	foreach (lc, rows) {
		HeapTuple tuple = SearchSysCache1(
			CONSTROID, ObjectIdGetDatum(atooid(((char **)lfirst(lc))[0])));

		check_foreign_key(tuple, keyattno, kind, colocationid);
		ReleaseSysCache(tuple);
	}
	rows = herd_sql_rows(
		"SELECT conname::text, conrelid::regclass::text, conrelid::oid::text "
		"FROM pg_constraint WHERE confrelid = %u AND contype = 'f' AND conparentid = 0",
		relid);
	foreach (lc, rows) {
		char **row = lfirst(lc);

		if (atooid(row[2]) != relid && !herd_table_get(atooid(row[2])))
			ereport(NOTICE,
				(errmsg("foreign key \"%s\" of local table %s can no longer be "
					"satisfied",
					row[0], row[1]),
				 errhint("Distribute %s as well, or drop the foreign key.",
					 row[1])));
	}
}

void herd_table_check(Oid relid, AttrNumber keyattno, HerdTableKind kind, uint32 colocationid)
{
	Relation rel = relation_open(relid, NoLock);

	check_relation(rel, kind);
	if (kind == HERD_TABLE_HASH) {
		check_key_column(rel, keyattno);
		check_unique(rel, keyattno);
	}
	check_foreign_keys(relid, keyattno, kind, colocationid);
	relation_close(rel, NoLock);
}
