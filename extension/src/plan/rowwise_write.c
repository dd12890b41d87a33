#include "plan/rowwise.h"

#include "access/htup_details.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "nodes/nodeFuncs.h"
#include "parser/analyze.h"
#include "parser/parser.h"
#include "parser/parsetree.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

static const char *type_name(Oid type)
{
	return format_type_extended(type, -1,
				    FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY);
}

/* The row: "(VALUES (NULL::type, ..)) AS herd_rows(c1, ..)". */
static void append_row(StringInfo out, const HerdRowWrite *write)
{
	StringInfoData names;
	int n = 1;
	ListCell *lc;

	initStringInfo(&names);
	appendStringInfoString(&names, "c1");
	appendStringInfoString(out, "(VALUES (NULL::pg_catalog.tid");
	foreach (lc, write->sent) {
		Node *expr = (Node *)lfirst_node(TargetEntry, lc)->expr;

		appendStringInfo(out, ", NULL::%s", type_name(exprType(expr)));
		appendStringInfo(&names, ", c%d", ++n);
	}
	foreach (lc, write->columns) {
		Oid type = get_atttype(write->relid, lfirst_int(lc));

		appendStringInfo(out, ", NULL::%s", type_name(type));
		appendStringInfo(&names, ", c%d", ++n);
	}
	appendStringInfo(out, ")) AS herd_rows(%s)", names.data);
}

/* A primary key has the default operators of its types. */
static char *equals_operator(Oid type)
{
	Oid eq = lookup_type_cache(type, TYPECACHE_EQ_OPR)->eq_opr;
	HeapTuple tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(eq));
	Form_pg_operator op;
	char *result;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "no equality operator for type %u", type);
	op = (Form_pg_operator)GETSTRUCT(tuple);
	result = psprintf("OPERATOR(%s.%s)", quote_identifier(get_namespace_name(op->oprnamespace)),
			  NameStr(op->oprname));
	ReleaseSysCache(tuple);
	return result;
}

static void append_unique_key(StringInfo out, const HerdRowWrite *write)
{
	ListCell *lc;

	foreach (lc, write->keys)
		appendStringInfo(out, "%sherd_target.%s %s herd_rows.c%d",
				 foreach_current_index(lc) ? " AND " : "",
				 quote_identifier(get_attname(write->relid, lfirst_int(lc), false)),
				 equals_operator(get_atttype(write->relid, lfirst_int(lc))),
				 foreach_current_index(lc) + 2);
}

/* One of several that are the same, bit by bit, whichever it is in a copy. */
static void append_same_row(StringInfo out, const HerdRowWrite *write, const char *name)
{
	StringInfoData theirs, ours;
	ListCell *lc;

	initStringInfo(&theirs);
	initStringInfo(&ours);
	foreach (lc, write->keys) {
		const char *comma = foreach_current_index(lc) ? ", " : "";

		appendStringInfo(
			&theirs, "%sherd_copy.%s", comma,
			quote_identifier(get_attname(write->relid, lfirst_int(lc), false)));
		appendStringInfo(&ours, "%sherd_rows.c%d", comma, foreach_current_index(lc) + 2);
	}
	appendStringInfo(out,
			 "herd_target.ctid OPERATOR(pg_catalog.=) (SELECT herd_copy.ctid FROM %s "
			 "AS herd_copy WHERE pg_catalog.record_image_eq(ROW(%s), ROW(%s)) LIMIT 1)",
			 name, theirs.data, ours.data);
}

static char *table_name(Oid relid)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)),
					  get_rel_name(relid));
}

static Query *analyzed(const char *sql)
{
	RawStmt *raw = linitial_node(RawStmt, raw_parser(sql, RAW_PARSE_DEFAULT));

	return parse_analyze_fixedparams(raw, sql, NULL, 0, NULL);
}

/* The row at the ctid of the row of values; in which partition that is says its next column. */
static void append_place(StringInfo out, bool partitioned)
{
	appendStringInfoString(out, "herd_target.ctid OPERATOR(pg_catalog.=) herd_rows.c1");
	if (partitioned)
		appendStringInfoString(out, " AND pg_catalog.oideq(herd_target.tableoid::"
					    "pg_catalog.regclass, herd_rows.c2)");
}

static void append_insert(StringInfo out, const HerdRowWrite *write)
{
	int column = 1 + list_length(write->sent);
	StringInfoData names, values;
	ListCell *lc;

	initStringInfo(&names);
	initStringInfo(&values);
	foreach (lc, write->columns) {
		const char *comma = foreach_current_index(lc) ? ", " : "";

		appendStringInfo(
			&names, "%s%s", comma,
			quote_identifier(get_attname(write->relid, lfirst_int(lc), false)));
		appendStringInfo(&values, "%sherd_rows.c%d", comma, ++column);
	}
	appendStringInfo(out, "MERGE INTO %s AS herd_target USING ", table_name(write->relid));
	append_row(out, write);
	appendStringInfoString(out, " ON false WHEN NOT MATCHED THEN INSERT ");
	if (write->columns == NIL)
		appendStringInfoString(out, "DEFAULT VALUES");
	else
		appendStringInfo(out, "(%s) OVERRIDING SYSTEM VALUE VALUES (%s)", names.data,
				 values.data);
}

Query *herd_row_lock_query(Oid relid, bool partitioned)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfo(
		&out,
		"SELECT pg_catalog.count(*) FILTER (WHERE herd_locked.now_at "
		"OPERATOR(pg_catalog.=) herd_locked.was_at) FROM (SELECT herd_target.ctid, "
		"herd_rows.c1 FROM %s AS herd_target, (VALUES (NULL::pg_catalog.tid%s)) "
		"AS herd_rows(c1%s) WHERE ",
		table_name(relid), partitioned ? ", NULL::pg_catalog.regclass" : "",
		partitioned ? ", c2" : "");
	append_place(&out, partitioned);
	appendStringInfoString(&out, " FOR UPDATE OF herd_target) AS herd_locked(now_at, was_at)");
	return analyzed(out.data);
}

Query *herd_row_write_query(const HerdRowWrite *write)
{
	char *name = table_name(write->relid);
	int column = 1 + list_length(write->sent);
	StringInfoData out;
	ListCell *lc;

	initStringInfo(&out);
	if (write->command == CMD_INSERT) {
		append_insert(&out, write);
		return analyzed(out.data);
	}
	if (write->command == CMD_DELETE) {
		appendStringInfo(&out, "DELETE FROM %s AS herd_target USING ", name);
	} else {
		appendStringInfo(&out, "UPDATE %s AS herd_target SET ", name);
		foreach (lc, write->columns)
			appendStringInfo(
				&out, "%s%s = herd_rows.c%d", foreach_current_index(lc) ? ", " : "",
				quote_identifier(get_attname(write->relid, lfirst_int(lc), false)),
				++column);
		appendStringInfoString(&out, " FROM ");
	}
	append_row(&out, write);
	appendStringInfoString(&out, " WHERE ");
	if (write->keys == NIL)
		append_place(&out, write->partitioned);
	else if (write->unique)
		append_unique_key(&out, write);
	else
		append_same_row(&out, write, name);
	return analyzed(out.data);
}

List **herd_row_write_values(Query *query)
{
	ListCell *lc;

	foreach (lc, query->rtable) {
		RangeTblEntry *rte = lfirst(lc);
		List **found;

		if (rte->rtekind == RTE_VALUES)
			return &rte->values_lists;
		found = rte->rtekind == RTE_SUBQUERY ? herd_row_write_values(rte->subquery) : NULL;
		if (found != NULL)
			return found;
	}
	return NULL;
}
