#include "catalog/nodes.h"

#include "access/relation.h"
#include "attach/attach.h"
#include "catalog/schemas.h"
#include "catalog/tables.h"
#include "conn/conn.h"
#include "ddl/functions.h"
#include "ddl/local.h"
#include "ddl/shape.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#define ROWS_PER_FETCH 500
#define BYTES_PER_INSERT (1024 * 1024)

static List *texts(List *rows)
{
	List *out = NIL;
	ListCell *lc;

	foreach (lc, rows)
		out = lappend(out, ((char **)lfirst(lc))[0]);
	return out;
}

/*
 * Attributes that only a superuser may name are left out for others: they cannot have changed them.
 */
List *herd_role_commands(const char *filter, bool by_superuser)
{
	List *out = texts(herd_sql_rows_owner(
		"SELECT format('SELECT citus_internal.ensure_role(%%L, %%L)', rolname, "
		"concat_ws(' ', %s "
		"CASE WHEN rolinherit THEN 'INHERIT' ELSE 'NOINHERIT' END, "
		"CASE WHEN rolcreaterole THEN 'CREATEROLE' ELSE 'NOCREATEROLE' END, "
		"CASE WHEN rolcreatedb THEN 'CREATEDB' ELSE 'NOCREATEDB' END, "
		"CASE WHEN rolcanlogin THEN 'LOGIN' ELSE 'NOLOGIN' END, "
		"'CONNECTION LIMIT ' || rolconnlimit, 'PASSWORD ' || quote_nullable(rolpassword), "
		"'VALID UNTIL ' || quote_literal(rolvaliduntil))) "
		"FROM pg_authid WHERE rolname !~ '^pg_' AND oid <> 10 AND %s ORDER BY rolname",
		by_superuser ? "CASE WHEN rolsuper THEN 'SUPERUSER' ELSE 'NOSUPERUSER' END, "
			       "CASE WHEN rolreplication THEN 'REPLICATION' ELSE 'NOREPLICATION' "
			       "END, CASE WHEN rolbypassrls THEN 'BYPASSRLS' ELSE 'NOBYPASSRLS' "
			       "END, "
			     : "",
		filter));

	return list_concat(
		out,
		texts(herd_sql_rows(
			"SELECT format('GRANT %%I TO %%I%%s', r.rolname, m.rolname, CASE WHEN "
			"bool_or(a.admin_option) THEN ' WITH ADMIN OPTION' ELSE '' END) FROM "
			"pg_auth_members a JOIN pg_roles r ON r.oid = a.roleid JOIN (SELECT * FROM "
			"pg_roles WHERE %s) m ON m.oid = a.member WHERE m.rolname !~ '^pg_' GROUP "
			"BY r.rolname, m.rolname ORDER BY 1",
			filter)));
}

static List *schema_commands(void)
{
	List *out = texts(herd_sql_rows(
		"SELECT format('SELECT citus_internal.ensure_schema(%%L, %%L)', nspname, "
		"pg_get_userbyid(nspowner)) FROM pg_namespace n WHERE nspname !~ '^pg_' AND "
		"nspname <> 'information_schema' AND NOT EXISTS (SELECT FROM pg_depend d WHERE "
		"d.classid = 'pg_namespace'::regclass AND d.objid = n.oid AND d.deptype = 'e') "
		"ORDER BY nspname"));

	return list_concat(
		out,
		texts(herd_sql_rows(
			"SELECT format('GRANT %%s ON SCHEMA %%I TO %%s%%s', a.privilege_type, "
			"n.nspname, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE "
			"quote_ident(pg_get_userbyid(a.grantee)) END, CASE WHEN a.is_grantable "
			"THEN "
			"' WITH GRANT OPTION' ELSE '' END) FROM pg_namespace n, "
			"aclexplode(n.nspacl) "
			"a WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' AND "
			"a.grantee "
			"<> n.nspowner AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = "
			"'pg_namespace'::regclass AND d.objid = n.oid AND d.deptype = 'e')")));
}

static List *type_commands(void)
{
	return texts(herd_sql_rows(
		"SELECT format('SELECT citus_internal.ensure_type(%%L, %%L, %%L)', "
		"format_type(t.oid, "
		"NULL), citus_internal.type_definition(t.oid), pg_get_userbyid(t.typowner)) FROM "
		"pg_type t JOIN pg_namespace n "
		"ON n.oid = t.typnamespace WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN "
		"('information_schema', 'citus', 'citus_internal') AND "
		"citus_internal.type_definition(t.oid) IS NOT NULL AND NOT EXISTS (SELECT FROM "
		"pg_depend d WHERE d.classid = 'pg_type'::regclass AND d.objid = t.oid AND "
		"d.deptype = 'e') ORDER BY t.oid"));
}

/* Functions and views may lean on anything: a node takes those that it can. */
static List *code_commands(void)
{
	return texts(herd_sql_rows(
		"SELECT format('SELECT citus_internal.try_ddl(NULL, %%L::text[])', "
		"citus_internal.function_commands(p.oid)) FROM pg_proc p JOIN pg_namespace n ON "
		"n.oid = p.pronamespace WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN "
		"('information_schema', 'citus', 'citus_internal') AND p.prokind IN ('f', 'p') AND "
		"NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND "
		"d.objid = p.oid AND d.deptype = 'e') ORDER BY p.oid"));
}

/* After the tables. */
static List *view_commands(void)
{
	return texts(herd_sql_rows(
		"SELECT format('SELECT citus_internal.try_ddl(NULL, %%L::text[])', "
		"citus_internal.view_commands(c.oid)) FROM pg_class c JOIN pg_namespace n ON "
		"n.oid = c.relnamespace WHERE c.relkind = 'v' AND n.nspname !~ '^pg_' AND "
		"n.nspname "
		"NOT IN ('information_schema', 'citus', 'citus_internal') AND NOT EXISTS (SELECT "
		"FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND "
		"d.deptype = 'e') ORDER BY c.oid"));
}

static bool references_any(Oid relid, List *tables)
{
	ListCell *lc;
	List *rows = herd_sql_rows("SELECT confrelid::oid::text FROM pg_constraint WHERE "
				   "contype = 'f' AND conparentid = 0 AND conrelid = %u AND "
				   "confrelid <> %u UNION SELECT inhparent::text FROM pg_inherits "
				   "WHERE inhrelid = %u",
				   relid, relid, relid);

	foreach (lc, rows)
		if (list_member_oid(tables, atooid(((char **)lfirst(lc))[0])))
			return true;
	foreach (lc, herd_attach_policies_read(relid))
		if (lfirst_oid(lc) != relid && list_member_oid(tables, lfirst_oid(lc)))
			return true;
	return false;
}

/* Distributed tables, each after those that its foreign keys and policies use. */
static List *tables_in_order(void)
{
	List *left = NIL, *out = NIL;
	ListCell *lc;

	foreach (lc, herd_sql_rows("SELECT logicalrelid::oid::text FROM pg_dist_partition "
				   "ORDER BY 1"))
		left = lappend_oid(left, atooid(((char **)lfirst(lc))[0]));
	while (left != NIL) {
		Oid next = linitial_oid(left);

		foreach (lc, left) {
			if (references_any(lfirst_oid(lc), left))
				continue;
			next = lfirst_oid(lc);
			break;
		}
		left = list_delete_oid(left, next);
		out = lappend_oid(out, next);
	}
	return out;
}

static char *ensure_shell(Oid relid)
{
	char *run = herd_ddl_run_sql(NULL, herd_shape_shell(relid));

	return psprintf("SELECT citus_internal.ensure_shell(%s, %s)",
			quote_literal_cstr(herd_shape_name(relid, 0)), quote_literal_cstr(run));
}

static bool placed_on(const HerdTable *table, int32 group)
{
	for (int g = 0; g < table->shards[0].ngroups; g++)
		if (table->shards[0].groups[g] == group)
			return true;
	return false;
}

/* No node may write to the table while it is copied. */
static void lock_reference_shard(const HerdTable *table, int32 newcomer)
{
	uint64 shardid = table->shards[0].shardid;
	List *groups = list_difference_int(herd_other_groups(), list_make1_int(newcomer));

	herd_shard_lock(shardid, true);
	if (groups != NIL)
		herd_remote_exec_groups(
			groups,
			psprintf("SELECT citus_internal.lock_shard(" UINT64_FORMAT ")", shardid));
}

static char *stored_column_names(Oid relid)
{
	return ((char **)linitial(herd_sql_rows(
		"SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute "
		"WHERE attrelid = %u AND attnum > 0 AND NOT attisdropped AND attgenerated = ''",
		relid)))[0];
}

/* One row of SPI's result as "(literal, ..)"; the target's columns give the types. */
static void append_row(StringInfo out, HeapTuple tuple, TupleDesc desc)
{
	appendStringInfoChar(out, '(');
	for (int c = 1; c <= desc->natts; c++) {
		char *value = SPI_getvalue(tuple, desc, c);

		appendStringInfo(out, "%s%s", c > 1 ? "," : "",
				 value ? quote_literal_cstr(value) : "NULL");
	}
	appendStringInfoChar(out, ')');
}

/* Output that every server reads back as the same value. */
static int transmission_settings(void)
{
	int level = herd_shape_begin();

	(void)set_config_option("datestyle", "ISO", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE,
				true, 0, false);
	(void)set_config_option("intervalstyle", "postgres", PGC_USERSET, PGC_S_SESSION,
				GUC_ACTION_SAVE, true, 0, false);
	(void)set_config_option("extra_float_digits", "3", PGC_USERSET, PGC_S_SESSION,
				GUC_ACTION_SAVE, true, 0, false);
	return level;
}

static void flush_insert(int32 group, StringInfo sql, int header)
{
	if (sql->len > header)
		herd_remote_exec(group, sql->data);
	sql->len = header;
	sql->data[header] = '\0';
}

static void push_rows(int32 group, const HerdTable *table, const char *shard)
{
	char *columns = stored_column_names(table->relid);
	int level = transmission_settings(), header;
	StringInfoData sql;
	Portal portal;

	initStringInfo(&sql);
	appendStringInfo(&sql, "INSERT INTO %s (%s) VALUES ", shard, columns);
	header = sql.len;
	SPI_connect();
	portal = SPI_cursor_open_with_args(NULL, psprintf("SELECT %s FROM %s", columns, shard), 0,
					   NULL, NULL, NULL, true, 0);
	for (;;) {
		SPI_cursor_fetch(portal, true, ROWS_PER_FETCH);
		if (SPI_processed == 0)
			break;
		for (uint64 r = 0; r < SPI_processed; r++) {
			if (sql.len > header)
				appendStringInfoString(&sql, ", ");
			append_row(&sql, SPI_tuptable->vals[r], SPI_tuptable->tupdesc);
			if (sql.len > BYTES_PER_INSERT)
				flush_insert(group, &sql, header);
		}
		SPI_freetuptable(SPI_tuptable);
	}
	SPI_cursor_close(portal);
	flush_insert(group, &sql, header);
	SPI_finish();
	herd_shape_end(level);
}

/* Gives the node a copy of a reference table, from the coordinator's own. */
static void copy_reference_table(const HerdNode *node, const HerdTable *table)
{
	uint64 shardid = table->shards[0].shardid;
	char *shard = herd_shape_name(table->relid, shardid);
	List *create = list_make1(herd_shape_create(table->relid, shardid));
	char *place = psprintf("INSERT INTO pg_catalog.pg_dist_placement (shardid, groupid) VALUES "
			       "(" UINT64_FORMAT ", %d)",
			       shardid, node->groupid);
	List *groups = list_difference_int(herd_other_groups(), list_make1_int(node->groupid));

	lock_reference_shard(table, node->groupid);
	create = list_concat(create, herd_shape_indexes(table->relid, shardid));
	create = list_concat(create, herd_shape_privileges(table->relid, shardid));
	herd_remote_exec(node->groupid,
			 psprintf("SELECT citus_internal.ensure_empty_shard(%s, %s)",
				  quote_literal_cstr(shard),
				  quote_literal_cstr(herd_ddl_run_sql(NULL, create))));
	push_rows(node->groupid, table, shard);
	herd_sql_exec_owner("%s", place);
	if (groups != NIL)
		herd_remote_exec_groups(groups, place);
}

void herd_node_activate(const HerdNode *node)
{
	List *tables = tables_in_order(), *commands = herd_role_commands("true", true),
	     *fresh = NIL;
	ListCell *lc;

	commands = list_concat(commands, schema_commands());
	commands = list_concat(commands, type_commands());
	commands = list_concat(commands, code_commands());
	commands = list_concat(commands, herd_authinfo_commands());
	commands = lappend(commands, herd_secret_command());
	herd_remote_exec(node->groupid, herd_ddl_run_sql(NULL, commands));
	herd_remote_exec(node->groupid,
			 psprintf("SELECT citus_internal.reset_metadata(%d)", node->groupid));
	foreach (lc, tables) {
		const HerdTable *table = herd_table_get(lfirst_oid(lc));

		herd_remote_exec(node->groupid, ensure_shell(table->relid));
		if (table->kind == HERD_TABLE_REFERENCE && !placed_on(table, node->groupid)) {
			copy_reference_table(node, table);
			fresh = lappend_oid(fresh, table->relid);
		}
	}
	foreach (lc, tables)
		herd_remote_exec(node->groupid,
				 herd_table_metadata_sql(herd_table_get(lfirst_oid(lc))));
	herd_remote_exec(node->groupid,
			 herd_ddl_run_sql(NULL, list_concat(herd_schema_commands(),
							    herd_function_commands())));
	herd_remote_exec(node->groupid, herd_ddl_run_sql(NULL, view_commands()));
	foreach (lc, fresh)
		herd_remote_exec(node->groupid,
				 psprintf("SELECT citus_internal.create_shard_keys(%s)",
					  quote_literal_cstr(herd_shape_name(lfirst_oid(lc), 0))));
}
