#include "conn/names.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/metadata.h"
#include "catalog/pg_constraint.h"
#include "conn/adopt.h"
#include "lib/stringinfo.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

static emit_log_hook_type prev_report;

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

/* What a table's things are called that have the shard's id at their end. */
typedef List *(*NamesOf)(uint64 shardid, const ErrorData *error);

static List *names_in_catalogs(uint64 shardid, const ErrorData *error)
{
	const HerdTable *table;
	int index;

	return herd_shard_find(shardid, &table, &index) ? names_of(table->relid) : NIL;
}

/* Of tables that this process knows: what is not in memory is not to be had any more. */
static List *names_in_memory(uint64 shardid, const ErrorData *error)
{
	const char *table = herd_shard_known(shardid);
	const char *constraint = table ? error->constraint_name : NULL;
	char suffix[24];
	int len, tail = snprintf(suffix, sizeof(suffix), "_" UINT64_FORMAT, shardid);

	if (table == NULL)
		return NIL;
	if (constraint == NULL || (len = (int)strlen(constraint)) <= tail ||
	    strcmp(constraint + len - tail, suffix) != 0)
		return list_make1(unconstify(char *, table));
	return list_make2(unconstify(char *, table), pnstrdup(constraint, len - tail));
}

/*
 * The name whose form on the shard ends at end; *start: where that begins. NULL if there is none.
 */
static const char *name_before(const char *said, const char *end, uint64 shardid, List *names,
			       const char **start)
{
	ListCell *lc;

	foreach (lc, names) {
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

static char *renamed(char *said, NamesOf names, const ErrorData *error)
{
	StringInfoData out;
	const char *done = said;

	if (said == NULL)
		return said;
	initStringInfo(&out);
	for (const char *p = said; *p; p++) {
		char *end;
		const char *start, *name;
		uint64 shardid;

		if (*p != '_' || p[1] < '1' || p[1] > '9')
			continue;
		shardid = strtou64(p + 1, &end, 10);
		if (ident_char(*end) ||
		    (name = name_before(done, end, shardid, names(shardid, error), &start)) == NULL)
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

char *herd_names_of_tables(char *said)
{
	return IsTransactionState() && herd_enabled() ? renamed(said, names_in_catalogs, NULL)
						      : said;
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

/*
 * What was put off to the end of the transaction fails on shards of this node outside of any
 * statement: the last place where its names can be replaced is the one where it is reported. No
 * catalog can be read there. What other nodes ask is left to them, and their logs show shards.
 */
static void report(ErrorData *error)
{
	if (error->elevel == ERROR && !herd_session_is_internal() &&
	    ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION) {
		char *message = renamed(error->message, names_in_memory, error);
		char *detail = renamed(error->detail, names_in_memory, error);
		char *table = renamed(error->table_name, names_in_memory, error);

		error->constraint_name = renamed(error->constraint_name, names_in_memory, error);
		error->message = message;
		error->detail = detail;
		error->table_name = table;
	}
	if (prev_report)
		prev_report(error);
}

void herd_names_init(void)
{
	prev_report = emit_log_hook;
	emit_log_hook = report;
}
