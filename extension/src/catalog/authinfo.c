#include "catalog/nodes.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "catalog/tables.h"
#include "commands/trigger.h"
#include "conn/adopt.h"
#include "conn/conn.h"
#include "ddl/local.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

enum { AUTH_NODE = 1, AUTH_ROLE, AUTH_INFO };
enum { POOL_NODE = 1, POOL_INFO };

/* Read below SQL: the row is for connecting on the role's behalf, not for the role to see. */
char *herd_node_authinfo(int32 nodeid, const char *rolename)
{
	Oid oid = get_relname_relid("pg_dist_authinfo", PG_CATALOG_NAMESPACE);
	int best = -1;
	char *authinfo = pstrdup("");
	NameData name;
	Relation rel;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;
	bool isnull;

	if (!OidIsValid(oid))
		return authinfo;
	namestrcpy(&name, rolename);
	rel = table_open(oid, AccessShareLock);
	ScanKeyInit(&key, AUTH_ROLE, BTEqualStrategyNumber, F_NAMEEQ, NameGetDatum(&name));
	scan = systable_beginscan(rel,
				  get_relname_relid("pg_dist_authinfo_pkey", PG_CATALOG_NAMESPACE),
				  true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan))) {
		TupleDesc desc = RelationGetDescr(rel);
		int32 row = DatumGetInt32(heap_getattr(tuple, AUTH_NODE, desc, &isnull));

		if (row != nodeid && (row != 0 || best == nodeid))
			continue;
		best = row;
		authinfo = TextDatumGetCString(heap_getattr(tuple, AUTH_INFO, desc, &isnull));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return authinfo;
}

char *herd_node_poolinfo(int32 nodeid)
{
	Oid oid = get_relname_relid("pg_dist_poolinfo", PG_CATALOG_NAMESPACE);
	char *poolinfo = pstrdup("");
	Relation rel;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;
	bool isnull;

	if (!OidIsValid(oid))
		return poolinfo;
	rel = table_open(oid, AccessShareLock);
	ScanKeyInit(&key, POOL_NODE, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(nodeid));
	scan = systable_beginscan(rel,
				  get_relname_relid("pg_dist_poolinfo_pkey", PG_CATALOG_NAMESPACE),
				  true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		poolinfo = TextDatumGetCString(
			heap_getattr(tuple, POOL_INFO, RelationGetDescr(rel), &isnull));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return poolinfo;
}

/* -- passing credentials on -------------------------------------------------------------------- */

static char *column_literal(HeapTuple tuple, TupleDesc desc, int attno)
{
	return quote_literal_cstr(SPI_getvalue(tuple, desc, attno));
}

static void append_delete(StringInfo sql, HeapTuple tuple, TupleDesc desc)
{
	appendStringInfo(sql,
			 "DELETE FROM pg_catalog.pg_dist_authinfo WHERE nodeid = %s AND rolename = "
			 "%s;",
			 column_literal(tuple, desc, AUTH_NODE),
			 column_literal(tuple, desc, AUTH_ROLE));
}

static void append_upsert(StringInfo sql, HeapTuple tuple, TupleDesc desc)
{
	appendStringInfo(sql,
			 "INSERT INTO pg_catalog.pg_dist_authinfo (nodeid, rolename, authinfo) "
			 "VALUES (%s, %s, %s) ON CONFLICT (rolename, nodeid) DO UPDATE SET "
			 "authinfo = excluded.authinfo;",
			 column_literal(tuple, desc, AUTH_NODE),
			 column_literal(tuple, desc, AUTH_ROLE),
			 column_literal(tuple, desc, AUTH_INFO));
}

char *herd_secret_command(void)
{
	List *rows = herd_sql_rows_owner("SELECT secret FROM citus_internal.node_secret");

	return psprintf("UPDATE citus_internal.node_secret SET secret = %s",
			quote_literal_cstr(((char **)linitial(rows))[0]));
}

List *herd_authinfo_commands(void)
{
	Oid oid = get_relname_relid("pg_dist_authinfo", PG_CATALOG_NAMESPACE);
	Relation rel = table_open(oid, AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	List *commands = NIL;
	HeapTuple tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan))) {
		StringInfoData sql;

		initStringInfo(&sql);
		append_upsert(&sql, tuple, RelationGetDescr(rel));
		commands = lappend(commands, sql.data);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return commands;
}

PG_FUNCTION_INFO_V1(herd_authinfo_changed);
PGDLLEXPORT Datum herd_authinfo_changed(PG_FUNCTION_ARGS)
{
	TriggerData *data = (TriggerData *)fcinfo->context;
	StringInfoData sql;
	TupleDesc desc;
	List *groups;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_FOR_ROW(data->tg_event) ||
	    RelationGetRelid(data->tg_relation) !=
		    get_relname_relid("pg_dist_authinfo", PG_CATALOG_NAMESPACE))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				errmsg("citus_internal.authinfo_changed is for rows of "
				       "pg_dist_authinfo")));
	/* a node that makes a change has told all others already */
	if (!herd_enabled() || herd_session_is_internal() || (groups = herd_other_groups()) == NIL)
		PG_RETURN_POINTER(NULL);
	/* What is new serves to connect already. */
	CommandCounterIncrement();
	desc = RelationGetDescr(data->tg_relation);
	initStringInfo(&sql);
	if (!TRIGGER_FIRED_BY_INSERT(data->tg_event))
		append_delete(&sql, data->tg_trigtuple, desc);
	if (TRIGGER_FIRED_BY_INSERT(data->tg_event))
		append_upsert(&sql, data->tg_trigtuple, desc);
	else if (TRIGGER_FIRED_BY_UPDATE(data->tg_event))
		append_upsert(&sql, data->tg_newtuple, desc);
	herd_remote_exec_groups(groups, sql.data);
	PG_RETURN_POINTER(NULL);
}
