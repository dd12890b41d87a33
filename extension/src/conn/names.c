#include "conn/names.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/metadata.h"
#include "catalog/pg_constraint.h"
#include "lib/stringinfo.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

static bool ident_char(char c)
{
	return c == '_' || c == '$' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
	       (c >= 'A' && c <= 'Z') || IS_HIGHBIT_SET(c);
}

/* Names that shards have under others: of the table, its indexes and its constraints. */
static List *names_of(Oid relid)
{
	List *names = list_make1(get_rel_name(relid));
	Relation rel = try_relation_open(relid, AccessShareLock);
	Relation constraints;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;
	ListCell *lc;

	if (rel == NULL)
		return NIL;
	foreach (lc, RelationGetIndexList(rel))
		names = lappend(names, get_rel_name(lfirst_oid(lc)));
	relation_close(rel, AccessShareLock);
	constraints = table_open(ConstraintRelationId, AccessShareLock);
	ScanKeyInit(&key, Anum_pg_constraint_conrelid, BTEqualStrategyNumber, F_OIDEQ,
		    ObjectIdGetDatum(relid));
	scan = systable_beginscan(constraints, ConstraintRelidTypidNameIndexId, true, NULL, 1,
				  &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		names = lappend(names,
				pstrdup(NameStr(((Form_pg_constraint)GETSTRUCT(tuple))->conname)));
	systable_endscan(scan);
	table_close(constraints, AccessShareLock);
	return names;
}

/*
 * The name whose form on the shard ends at end; *start: where that begins. NULL if there is none.
 */
static const char *name_before(const char *said, const char *end, uint64 shardid,
			       const char **start)
{
	const HerdTable *table;
	int index;
	ListCell *lc;

	if (!herd_shard_find(shardid, &table, &index))
		return NULL;
	foreach (lc, names_of(table->relid)) {
		const char *shard = lfirst(lc) ? herd_shard_name(lfirst(lc), shardid) : NULL;
		int len = shard ? strlen(shard) : 0;

		if (shard == NULL || end - said < len || strncmp(end - len, shard, len) != 0)
			continue;
		if (end - len > said && ident_char(end[-len - 1]))
			continue;
		*start = end - len;
		return lfirst(lc);
	}
	return NULL;
}

char *herd_names_of_tables(char *said)
{
	StringInfoData out;
	const char *done = said;

	if (said == NULL || !IsTransactionState() || !herd_enabled())
		return said;
	initStringInfo(&out);
	for (const char *p = said; *p; p++) {
		char *end;
		const char *start, *name;
		uint64 shardid;

		if (*p != '_' || p[1] < '1' || p[1] > '9')
			continue;
		shardid = strtou64(p + 1, &end, 10);
		if (ident_char(*end) || (name = name_before(done, end, shardid, &start)) == NULL)
			continue;
		appendBinaryStringInfo(&out, done, start - done);
		appendStringInfoString(&out, name);
		done = end;
		p = end - 1;
	}
	if (done == said)
		return said;
	appendStringInfoString(&out, done);
	return out.data;
}

void herd_names_rethrow(MemoryContext memory)
{
	int category = ERRCODE_TO_CATEGORY(geterrcode());
	ErrorData *error;

	/* where PostgreSQL itself looks at catalogs for its message, no lock is held that we need
	 */
	if ((category != ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION &&
	     category != ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION &&
	     geterrcode() != ERRCODE_LOCK_NOT_AVAILABLE) ||
	    !IsTransactionState())
		PG_RE_THROW();
	MemoryContextSwitchTo(memory);
	error = CopyErrorData();
	FlushErrorState();
	error->message = herd_names_of_tables(error->message);
	error->detail = herd_names_of_tables(error->detail);
	error->hint = herd_names_of_tables(error->hint);
	error->table_name = herd_names_of_tables(error->table_name);
	error->constraint_name = herd_names_of_tables(error->constraint_name);
	ReThrowError(error);
}
