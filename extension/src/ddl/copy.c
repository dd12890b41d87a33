/*
 * COPY of distributed tables: FROM goes row by row to the shards, TO becomes COPY (SELECT ..) TO.
 */
#include "ddl/utility.h"

#include "access/sysattr.h"
#include "access/table.h"
#include "access/xact.h"
#include "attach/attach.h"
#include "catalog/pg_authid.h"
#include "commands/copy.h"
#include "commands/progress.h"
#include "ddl/shape.h"
#include "executor/executor.h"
#include "ingest/raw.h"
#include "ingest/rows.h"
#include "ingest/where.h"
#include "miscadmin.h"
#include "optimizer/optimizer.h"
#include "parser/parse_node.h"
#include "parser/parse_relation.h"
#include "parser/parser.h"
#include "txn/internal.h"
#include "utils/acl.h"
#include "utils/backend_progress.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"

/* Names of the columns that are copied; errors of the list are raised as PostgreSQL does. */
static char *column_names(Relation rel, List *attlist)
{
	TupleDesc desc = RelationGetDescr(rel);
	StringInfoData out;
	ListCell *lc;

	initStringInfo(&out);
	foreach (lc, CopyGetAttnums(desc, rel, attlist))
		appendStringInfo(&out, "%s%s", out.len ? ", " : "",
				 quote_identifier(NameStr(
					 TupleDescAttr(desc, lfirst_int(lc) - 1)->attname)));
	return out.data;
}

static void copy_to(HerdUtility *u, Relation rel)
{
	PlannedStmt *pstmt = copyObject(u->pstmt);
	CopyStmt *stmt = castNode(CopyStmt, pstmt->utilityStmt);
	char *sql = psprintf("SELECT %s FROM %s", column_names(rel, stmt->attlist),
			     herd_shape_name(RelationGetRelid(rel), 0));

	stmt->query = linitial_node(RawStmt, raw_parser(sql, RAW_PARSE_DEFAULT))->stmt;
	stmt->relation = NULL;
	stmt->attlist = NIL;
	u->pstmt = pstmt;
	u->stmt = (Node *)stmt;
	herd_utility_run(u);
}

/* With the texts that the server has for it. */
static void refuse_source(const char *role, const char *what)
{
	ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
#if PG_VERSION_NUM >= 160000
			errmsg("permission denied to COPY %s", what),
			errdetail("Only roles with privileges of the \"%s\" role may COPY %s.",
				  role, what),
#else
			errmsg("must be superuser or have privileges of the %s role to COPY %s",
			       role, what),
#endif
			errhint("Anyone can COPY to stdout or from stdin. "
				"psql's \\copy command also works for anyone.")));
}

static void check_source(const CopyStmt *stmt)
{
	if (!stmt->filename)
		return;
	if (stmt->is_program && !has_privs_of_role(GetUserId(), ROLE_PG_EXECUTE_SERVER_PROGRAM))
		refuse_source("pg_execute_server_program", "to or from an external program");
	if (!stmt->is_program && !has_privs_of_role(GetUserId(), ROLE_PG_READ_SERVER_FILES))
		refuse_source("pg_read_server_files", "from a file");
}

static void check_generated(Relation rel, Node *where)
{
	Bitmapset *columns = NULL;

	pull_varattnos(where, 1, &columns);
	for (int i = 0; i < RelationGetDescr(rel)->natts; i++) {
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), i);

		if (att->attgenerated &&
		    (bms_is_member(att->attnum - FirstLowInvalidHeapAttributeNumber, columns) ||
		     bms_is_member(0 - FirstLowInvalidHeapAttributeNumber, columns)))
			ereport(ERROR,
				(errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
				 errmsg("generated columns are not supported in COPY FROM WHERE "
					"conditions"),
				 errdetail("Column \"%s\" is a generated column.",
					   NameStr(att->attname))));
	}
}

/* The rights to insert the columns, and to read those of WHERE, which is returned analysed. */
static Node *check_target(ParseState *pstate, Relation rel, const CopyStmt *stmt)
{
	ParseNamespaceItem *item =
		addRangeTableEntryForRelation(pstate, rel, RowExclusiveLock, NULL, false, false);
	Node *where = NULL;
	Bitmapset *columns = NULL;
	ListCell *lc;

	addNSItemToQuery(pstate, item, false, true, true);
	foreach (lc, CopyGetAttnums(RelationGetDescr(rel), rel, stmt->attlist))
		columns = bms_add_member(columns,
					 lfirst_int(lc) - FirstLowInvalidHeapAttributeNumber);
#if PG_VERSION_NUM >= 160000
	item->p_perminfo->requiredPerms = ACL_INSERT;
	where = herd_copy_where(pstate, stmt->whereClause);
	item->p_perminfo->insertedCols = columns;
	ExecCheckPermissions(pstate->p_rtable, list_make1(item->p_perminfo), true);
#else
	item->p_rte->requiredPerms = ACL_INSERT;
	where = herd_copy_where(pstate, stmt->whereClause);
	item->p_rte->insertedCols = columns;
	ExecCheckRTPerms(pstate->p_rtable, true);
#endif
	if (where)
		check_generated(rel, where);
	return where;
}

static void copy_from(HerdUtility *u, Relation rel)
{
	CopyStmt *stmt = castNode(CopyStmt, u->stmt);
	const HerdTable *table = herd_table_get(RelationGetRelid(rel));
	ParseState *pstate = make_parsestate(NULL);
	HerdFire fire = { .relid = RelationGetRelid(rel), .command = CMD_INSERT };
	CopyFromState cstate;
	uint64 rows, excluded = 0;
	Node *where;

	if (check_enable_rls(fire.relid, InvalidOid, false) == RLS_ENABLED)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("COPY FROM not supported with row-level security"),
				errhint("Use INSERT statements instead.")));
	pstate->p_sourcetext = u->query;
	pstate->p_queryEnv = u->env;
	check_source(stmt);
	where = check_target(pstate, rel, stmt);
	PreventCommandIfReadOnly("COPY FROM");
	cstate = BeginCopyFrom(pstate, rel, NULL, stmt->filename, stmt->is_program, NULL,
			       stmt->attlist, stmt->options);
	herd_fire_alone(&fire, true);
	if (!herd_copy_fires(fire.relid) && herd_copy_raw_possible(cstate, table, where))
		rows = herd_copy_raw(cstate, table, where, &excluded);
	else
		rows = herd_copy_rows(cstate, table, where);
	if (excluded > 0)
		pgstat_progress_update_param(PROGRESS_COPY_TUPLES_EXCLUDED, excluded);
	EndCopyFrom(cstate);
	herd_fire_alone(&fire, false);
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
	if (stmt->is_from) {
		int outer = herd_txn_command_begin();

		PG_TRY();
		{
			copy_from(u, rel);
		}
		PG_FINALLY();
		{
			herd_txn_command_end(outer);
		}
		PG_END_TRY();
	} else {
		copy_to(u, rel);
	}
	table_close(rel, NoLock);
	return true;
}
