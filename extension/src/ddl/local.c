#include "ddl/local.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xlog.h"
#include "catalog/metadata.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "conn/conn.h"
#include "ddl/shape.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/memutils.h"

static bool applying;
static bool shells_only;

bool herd_ddl_applying(void)
{
	return applying;
}

bool herd_ddl_shells_only(void)
{
	return shells_only;
}

bool herd_ddl_set_shells_only(bool on)
{
	bool before = shells_only;

	shells_only = on;
	return before;
}

static char *format_sql(const char *fmt, va_list args) pg_attribute_printf(1, 0);

static char *format_sql(const char *fmt, va_list args)
{
	StringInfoData sql;

	initStringInfo(&sql);
	for (;;) {
		va_list copy;
		int needed;

		va_copy(copy, args);
		needed = appendStringInfoVA(&sql, fmt, copy);
		va_end(copy);
		if (needed == 0)
			return sql.data;
		enlargeStringInfo(&sql, needed);
	}
}

static uint64 run_sql(const char *sql)
{
	int level = herd_shape_begin();
	uint64 processed;
	int rc;

	SPI_connect();
	rc = SPI_execute(sql, false, 0);
	if (rc < 0)
		elog(ERROR, "internal statement failed: %s: %s", SPI_result_code_string(rc), sql);
	processed = SPI_processed;
	SPI_finish();
	herd_shape_end(level);
	return processed;
}

uint64 herd_sql_exec(const char *fmt, ...)
{
	va_list args;
	char *sql;

	va_start(args, fmt);
	sql = format_sql(fmt, args);
	va_end(args);
	return run_sql(sql);
}

uint64 herd_sql_exec_owner(const char *fmt, ...)
{
	Oid user;
	int context;
	uint64 processed;
	va_list args;
	char *sql;

	va_start(args, fmt);
	sql = format_sql(fmt, args);
	va_end(args);
	GetUserIdAndSecContext(&user, &context);
	/* An error resets both at the end of the (sub)transaction. */
	SetUserIdAndSecContext(herd_extension_owner(), context | SECURITY_LOCAL_USERID_CHANGE);
	processed = run_sql(sql);
	SetUserIdAndSecContext(user, context);
	return processed;
}

static List *query_rows(const char *sql)
{
	MemoryContext memory = CurrentMemoryContext;
	int level = herd_shape_begin();
	List *out = NIL;

	SPI_connect();
	if (SPI_execute(sql, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "internal query returns no rows: %s", sql);
	for (uint64 r = 0; r < SPI_processed; r++) {
		MemoryContext old = MemoryContextSwitchTo(memory);
		int ncols = SPI_tuptable->tupdesc->natts;
		char **row = palloc(ncols * sizeof(char *));

		for (int c = 0; c < ncols; c++)
			row[c] = SPI_getvalue(SPI_tuptable->vals[r], SPI_tuptable->tupdesc, c + 1);
		out = lappend(out, row);
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
	herd_shape_end(level);
	return out;
}

List *herd_sql_rows(const char *fmt, ...)
{
	va_list args;
	char *sql;

	va_start(args, fmt);
	sql = format_sql(fmt, args);
	va_end(args);
	return query_rows(sql);
}

List *herd_sql_rows_owner(const char *fmt, ...)
{
	Oid user;
	int context;
	List *rows;
	va_list args;
	char *sql;

	va_start(args, fmt);
	sql = format_sql(fmt, args);
	va_end(args);
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(herd_extension_owner(), context | SECURITY_LOCAL_USERID_CHANGE);
	rows = query_rows(sql);
	SetUserIdAndSecContext(user, context);
	return rows;
}

int64 herd_sql_int(const char *fmt, ...)
{
	va_list args;
	char *sql;
	List *rows;

	va_start(args, fmt);
	sql = format_sql(fmt, args);
	va_end(args);
	rows = herd_sql_rows("%s", sql);
	if (rows == NIL || !((char **)linitial(rows))[0])
		elog(ERROR, "internal query has no result: %s", sql);
	return strtoll(((char **)linitial(rows))[0], NULL, 10);
}

static void run_commands(List *commands)
{
	ListCell *lc;

	SPI_connect();
	foreach (lc, commands) {
		int rc = SPI_execute(lfirst(lc), false, 0);

		if (rc < 0)
			elog(ERROR, "cannot run \"%s\": %s", (char *)lfirst(lc),
			     SPI_result_code_string(rc));
	}
	SPI_finish();
}

void herd_ddl_run(const char *path, List *commands)
{
	int level = herd_shape_begin();
	bool before = applying, shells = shells_only;

	if (path)
		(void)set_config_option("search_path", path, PGC_USERSET, PGC_S_SESSION,
					GUC_ACTION_SAVE, true, 0, false);
	/* DEFAULT-less texts of ours must mean the same on every node. */
	(void)set_config_option("check_function_bodies", "off", PGC_USERSET, PGC_S_SESSION,
				GUC_ACTION_SAVE, true, 0, false);
	/* What the statement says, the origin has said once. */
	if (client_min_messages < WARNING)
		(void)set_config_option("client_min_messages", "warning", PGC_USERSET,
					PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	applying = shells_only = true;
	PG_TRY();
	{
		run_commands(commands);
	}
	PG_FINALLY();
	{
		applying = before;
		shells_only = shells;
	}
	PG_END_TRY();
	herd_shape_end(level);
}

char *herd_ddl_run_sql(const char *path, List *commands)
{
	StringInfoData sql;
	ListCell *lc;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT citus_internal.run_ddl(%s, ARRAY[",
			 path ? quote_literal_cstr(path) : "NULL");
	foreach (lc, commands)
		appendStringInfo(&sql, "%s%s", lc == list_head(commands) ? "" : ", ",
				 quote_literal_cstr(lfirst(lc)));
	appendStringInfoString(&sql, "]::pg_catalog.text[])");
	return sql.data;
}

PG_FUNCTION_INFO_V1(herd_run_ddl);
PGDLLEXPORT Datum herd_run_ddl(PG_FUNCTION_ARGS)
{
	List *commands = NIL;
	Datum *elems;
	bool *nulls;
	int n;

	if (PG_ARGISNULL(1))
		PG_RETURN_VOID();
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), TEXTOID, -1, false, TYPALIGN_INT, &elems,
			  &nulls, &n);
	for (int i = 0; i < n; i++)
		if (!nulls[i])
			commands = lappend(commands, TextDatumGetCString(elems[i]));
	herd_ddl_run(PG_ARGISNULL(0) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(0)), commands);
	PG_RETURN_VOID();
}

List *herd_other_groups(void)
{
	List *out = NIL;
	ListCell *lc;

	foreach (lc, herd_nodes()) {
		const HerdNode *node = lfirst(lc);

		if (node->primary && node->active && node->groupid != herd_local_group())
			out = lappend_int(out, node->groupid);
	}
	return out;
}

void herd_ddl_send(const char *path, List *commands)
{
	List *groups = herd_other_groups();

	if (groups != NIL && commands != NIL)
		herd_remote_exec_groups(groups, herd_ddl_run_sql(path, commands));
}

void herd_require_coordinator(const char *what)
{
	if (RecoveryInProgress())
		ereport(ERROR, (errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				errmsg("cannot %s during recovery", what),
				errhint("Connect to the primary of the coordinator group.")));
	if (herd_local_group() != HERD_COORDINATOR_GROUP)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("cannot %s on a worker node", what),
				errhint("Connect to the coordinator and run the command there.")));
}
