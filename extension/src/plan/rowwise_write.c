#include "plan/rowwise.h"

#include "catalog/pg_type.h"
#include "nodes/nodeFuncs.h"
#include "parser/analyze.h"
#include "parser/parser.h"
#include "parser/parsetree.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

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

Query *herd_row_write_query(const HerdRowWrite *write)
{
	char *name = quote_qualified_identifier(get_namespace_name(get_rel_namespace(write->relid)),
						get_rel_name(write->relid));
	int column = 1 + list_length(write->sent);
	StringInfoData out;
	RawStmt *raw;
	ListCell *lc;

	initStringInfo(&out);
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
	appendStringInfoString(&out, " WHERE herd_target.ctid OPERATOR(pg_catalog.=) herd_rows.c1");
	raw = linitial_node(RawStmt, raw_parser(out.data, RAW_PARSE_DEFAULT));
	return parse_analyze_fixedparams(raw, out.data, NULL, 0, NULL);
}

List **herd_row_write_values(Query *query)
{
	Query *sub = rt_fetch(2, query->rtable)->subquery;
	ListCell *lc;

	foreach (lc, sub->rtable)
		if (lfirst_node(RangeTblEntry, lc)->rtekind == RTE_VALUES)
			return &lfirst_node(RangeTblEntry, lc)->values_lists;
	elog(ERROR, "no row of values");
	return NULL;
}
