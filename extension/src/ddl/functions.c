/*
 * create_distributed_function: every node gets the function, and pg_dist_object says by which
 * argument it belongs to a shard. It runs where it is called.
 */
#include "ddl/functions.h"

#include "catalog/metadata.h"
#include "catalog/namespace.h"
#include "catalog/nodes.h"
#include "compat.h"
#include "ddl/local.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/varlena.h"

static void require_function_owner(Oid function)
{
	char *name = get_func_name(function);

	if (name == NULL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_FUNCTION),
				errmsg("function with OID %u does not exist", function)));
	if (!herd_owns_function(function, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_FUNCTION, name);
}

static char *int_argument(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? "NULL" : psprintf("%d", PG_GETARG_INT32(n));
}

static char *bool_argument(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? "NULL" : PG_GETARG_BOOL(n) ? "true" : "false";
}

/* note_function(function, argument, colocation id, force_delegation): the row of one node. */
PG_FUNCTION_INFO_V1(herd_note_function);
PGDLLEXPORT Datum herd_note_function(PG_FUNCTION_ARGS)
{
	Oid function = PG_ARGISNULL(0) ? InvalidOid : PG_GETARG_OID(0);

	require_function_owner(function);
	herd_sql_exec_owner(
		"INSERT INTO pg_catalog.pg_dist_object (classid, objid, "
		"distribution_argument_index, colocationid, force_delegation) VALUES "
		"('pg_catalog.pg_proc'::regclass, %u, %s, %s, %s) ON CONFLICT (classid, objid, "
		"objsubid) "
		"DO UPDATE SET distribution_argument_index = EXCLUDED.distribution_argument_index, "
		"colocationid = EXCLUDED.colocationid, force_delegation = "
		"EXCLUDED.force_delegation",
		function, int_argument(fcinfo, 1), int_argument(fcinfo, 2),
		bool_argument(fcinfo, 3));
	PG_RETURN_VOID();
}

static char *note_command(const char *function, const char *place, const char *group,
			  const char *force)
{
	return psprintf("SELECT citus_internal.note_function(%s, %s, %s, %s)",
			quote_literal_cstr(function), place, group, force);
}

/* Looked up by the search_path of the session, which function_group does not have. */
static char *table_oid(const char *name)
{
	RangeVar *rv = makeRangeVarFromNameList(textToQualifiedNameList(cstring_to_text(name)));

	return psprintf("%u", RangeVarGetRelid(rv, AccessShareLock, false));
}

/* create_distributed_function(function, distribution_arg_name, colocate_with, force_delegation) */
PG_FUNCTION_INFO_V1(herd_create_distributed_function);
PGDLLEXPORT Datum herd_create_distributed_function(PG_FUNCTION_ARGS)
{
	char *argument, *colocate, *place = "NULL", *group = "NULL", *name, *note, **row;
	Oid function;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("function, distribution_arg_name and colocate_with cannot "
				       "be null")));
	function = PG_GETARG_OID(0);
	argument = text_to_cstring(PG_GETARG_TEXT_PP(1));
	colocate = text_to_cstring(PG_GETARG_TEXT_PP(2));
	herd_require_coordinator("distribute a function");
	herd_ensure_coordinator();
	herd_changes_lock(false);
	require_function_owner(function);
	if (strcmp(colocate, "default") != 0)
		colocate = table_oid(colocate);
	if (*argument != '\0') {
		row = linitial(herd_sql_rows("SELECT place::text, type::text FROM "
					     "citus_internal.function_argument(%u, %s)",
					     function, quote_literal_cstr(argument)));
		place = row[0];
		group = psprintf(INT64_FORMAT,
				 herd_sql_int("SELECT citus_internal.function_group(%s, %s)",
					      row[1], quote_literal_cstr(colocate)));
	}
	name = format_procedure_qualified(function);
	note = note_command(name, place, group, bool_argument(fcinfo, 3));
	row = linitial(
		herd_sql_rows("SELECT citus_internal.function_commands(%u)::text", function));
	herd_ddl_send(NULL, list_make2(psprintf("SELECT citus_internal.run_ddl(NULL, %s::text[])",
						quote_literal_cstr(row[0])),
				       note));
	herd_sql_exec("%s", note);
	PG_RETURN_VOID();
}

List *herd_function_commands(void)
{
	List *out = NIL;
	ListCell *lc;

	foreach (lc,
		 herd_sql_rows("SELECT objid::text, coalesce(distribution_argument_index::text, "
			       "'NULL'), coalesce(colocationid::text, 'NULL'), "
			       "coalesce(force_delegation::text, 'NULL') FROM pg_dist_object WHERE "
			       "classid = 'pg_proc'::regclass ORDER BY 1")) {
		char **row = lfirst(lc);
		char *note = note_command(format_procedure_qualified(atooid(row[0])), row[1],
					  row[2], row[3]);

		out = lappend(out, psprintf("SELECT citus_internal.try_ddl(NULL, ARRAY[%s])",
					    quote_literal_cstr(note)));
	}
	return out;
}

void herd_functions_forget(void)
{
	herd_sql_exec_owner("DELETE FROM pg_catalog.pg_dist_object o USING "
			    "pg_catalog.pg_event_trigger_dropped_objects() d WHERE o.classid = "
			    "d.classid AND o.objid = d.objid");
}
