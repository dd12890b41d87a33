/*
 * COPY of distributed tables: FROM goes row by row to the shards, TO becomes COPY (SELECT ..) TO.
 */
#include "ddl/utility.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "commands/copy.h"
#include "commands/defrem.h"
#include "ddl/shape.h"
#include "exec/exec.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "parser/parse_node.h"
#include "parser/parser.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

/* Names of the columns that COPY without a list stands for. */
static char *all_columns(Relation rel)
{
	TupleDesc desc = RelationGetDescr(rel);
	StringInfoData out;

	initStringInfo(&out);
	for (int i = 0; i < desc->natts; i++) {
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped && !att->attgenerated)
			appendStringInfo(&out, "%s%s", out.len ? ", " : "",
					 quote_identifier(NameStr(att->attname)));
	}
	return out.data;
}

static char *listed_columns(List *attlist)
{
	StringInfoData out;
	ListCell *lc;

	initStringInfo(&out);
	foreach (lc, attlist)
		appendStringInfo(&out, "%s%s", out.len ? ", " : "",
				 quote_identifier(strVal(lfirst(lc))));
	return out.data;
}

static void copy_to(HerdUtility *u, Relation rel)
{
	PlannedStmt *pstmt = copyObject(u->pstmt);
	CopyStmt *stmt = castNode(CopyStmt, pstmt->utilityStmt);
	char *sql = psprintf("SELECT %s FROM %s",
			     stmt->attlist ? listed_columns(stmt->attlist) : all_columns(rel),
			     herd_shape_name(RelationGetRelid(rel), 0));

	stmt->query = linitial_node(RawStmt, raw_parser(sql, RAW_PARSE_DEFAULT))->stmt;
	stmt->relation = NULL;
	stmt->attlist = NIL;
	u->pstmt = pstmt;
	u->stmt = (Node *)stmt;
	herd_utility_run(u);
}

static void check_source(const CopyStmt *stmt)
{
	if (!stmt->filename)
		return;
	if (stmt->is_program && !has_privs_of_role(GetUserId(), ROLE_PG_EXECUTE_SERVER_PROGRAM))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				errmsg("must be superuser or have privileges of the "
				       "pg_execute_server_program role to COPY to or from an "
				       "external program")));
	if (!stmt->is_program && !has_privs_of_role(GetUserId(), ROLE_PG_READ_SERVER_FILES))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				errmsg("must be superuser or have privileges of the "
				       "pg_read_server_files role to COPY from a file")));
}

static void check_rights(Relation rel, List *attnums)
{
	Oid relid = RelationGetRelid(rel);
	ListCell *lc;

	if (pg_class_aclcheck(relid, GetUserId(), ACL_INSERT) == ACLCHECK_OK)
		return;
	foreach (lc, attnums)
		if (pg_attribute_aclcheck(relid, lfirst_int(lc), GetUserId(), ACL_INSERT) !=
		    ACLCHECK_OK)
			aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE,
				       RelationGetRelationName(rel));
}

static void check_options(const CopyStmt *stmt)
{
	ListCell *lc;

	if (stmt->whereClause)
		ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("COPY FROM .. WHERE into a distributed table is not supported"),
			 errhint("Load a local table and use INSERT .. SELECT .. WHERE.")));
	foreach (lc, stmt->options) {
		DefElem *option = lfirst(lc);

		if (strcmp(option->defname, "on_error") == 0 &&
		    strcmp(defGetString(option), "stop") != 0)
			ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					errmsg("COPY option ON_ERROR is not supported for a "
					       "distributed table")));
	}
}

/* Columns that are stored: those that COPY does not bring get their defaults here. */
static List *stored_attnums(Relation rel)
{
	List *out = NIL;

	for (int i = 0; i < RelationGetDescr(rel)->natts; i++) {
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), i);

		if (!att->attisdropped && !att->attgenerated)
			out = lappend_int(out, i + 1);
	}
	return out;
}

static uint64 copy_rows(CopyFromState cstate, Relation rel, List *attnums)
{
	int natts = RelationGetDescr(rel)->natts, n = list_length(attnums);
	Datum *values = palloc(natts * sizeof(Datum)), *out = palloc(n * sizeof(Datum));
	bool *nulls = palloc(natts * sizeof(bool)), *outnulls = palloc(n * sizeof(bool));
	EState *estate = CreateExecutorState();
	ExprContext *econtext = GetPerTupleExprContext(estate);
	HerdShardWriter *writer = herd_shard_writer_begin(RelationGetRelid(rel), attnums);
	ErrorContextCallback where = { .callback = CopyFromErrorCallback,
				       .arg = cstate,
				       .previous = error_context_stack };
	uint64 rows;

	error_context_stack = &where;
	for (;;) {
		MemoryContext old;
		ListCell *lc;
		bool more;
		int i = 0;

		CHECK_FOR_INTERRUPTS();
		ResetPerTupleExprContext(estate);
		old = MemoryContextSwitchTo(GetPerTupleMemoryContext(estate));
		more = NextCopyFrom(cstate, econtext, values, nulls);
		MemoryContextSwitchTo(old);
		if (!more)
			break;
		foreach (lc, attnums) {
			out[i] = values[lfirst_int(lc) - 1];
			outnulls[i++] = nulls[lfirst_int(lc) - 1];
		}
		herd_shard_writer_put(writer, out, outnulls);
	}
	error_context_stack = where.previous;
	rows = herd_shard_writer_end(writer);
	FreeExecutorState(estate);
	return rows;
}

static void copy_from(HerdUtility *u, Relation rel)
{
	CopyStmt *stmt = castNode(CopyStmt, u->stmt);
	ParseState *pstate = make_parsestate(NULL);
	List *attnums = stored_attnums(rel);
	CopyFromState cstate;
	uint64 rows;

	PreventCommandIfReadOnly("COPY FROM");
	check_source(stmt);
	check_options(stmt);
	check_rights(rel, attnums);
	pstate->p_sourcetext = u->query;
	cstate = BeginCopyFrom(pstate, rel, NULL, stmt->filename, stmt->is_program, NULL,
			       stmt->attlist, stmt->options);
	rows = copy_rows(cstate, rel, attnums);
	EndCopyFrom(cstate);
	free_parsestate(pstate);
	if (u->qc)
		SetQueryCompletion(u->qc, CMDTAG_COPY, rows);
}

bool herd_utility_copy(HerdUtility *u)
{
	CopyStmt *stmt = castNode(CopyStmt, u->stmt);
	LOCKMODE lock = stmt->is_from ? RowExclusiveLock : AccessShareLock;
	Relation rel;

	if (!stmt->relation || !herd_utility_table(stmt->relation, lock))
		return false;
	rel = table_openrv(stmt->relation, lock);
	if (stmt->is_from)
		copy_from(u, rel);
	else
		copy_to(u, rel);
	table_close(rel, NoLock);
	return true;
}
