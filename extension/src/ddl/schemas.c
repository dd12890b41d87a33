#include "ddl/schemas.h"

#include "access/xact.h"
#include "catalog/kept.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/schemas.h"
#include "ddl/local.h"
#include "guc.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"

static char *schema_name(const CreateSchemaStmt *stmt)
{
	return stmt->schemaname ? stmt->schemaname : get_rolespec_name(stmt->authrole);
}

/* The table that a statement makes; NULL: none that could be distributed. */
static const RangeVar *made_table(Node *stmt)
{
	const RangeVar *rv = NULL;

	if (IsA(stmt, CreateStmt))
		rv = castNode(CreateStmt, stmt)->relation;
	else if (IsA(stmt, CreateTableAsStmt) &&
		 castNode(CreateTableAsStmt, stmt)->objtype == OBJECT_TABLE)
		rv = castNode(CreateTableAsStmt, stmt)->into->rel;
	return rv && rv->relpersistence != RELPERSISTENCE_TEMP ? rv : NULL;
}

static void before_set_schema(const AlterObjectSchemaStmt *stmt, HerdSchemas *s)
{
	Oid relid, to = get_namespace_oid(stmt->newschema, true);
	const HerdTable *table;
	uint32 from_group;

	if (stmt->objectType != OBJECT_TABLE || stmt->relation == NULL || !OidIsValid(to))
		return;
	relid = RangeVarGetRelid(stmt->relation, NoLock, true);
	if (!OidIsValid(relid) || get_rel_namespace(relid) == to)
		return;
	table = herd_table_get(relid);
	from_group = table ? herd_schema_colocation(get_rel_namespace(relid)) : 0;
	s->relid = relid;
	s->entering = herd_schema_colocation(to) != 0;
	if (table == NULL || (from_group == 0 && !s->entering))
		return;
	if (from_group == 0)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("cannot move distributed table \"%s\" to distributed schema "
				       "\"%s\"",
				       stmt->relation->relname, stmt->newschema),
				errhint("Run undistribute_table first.")));
	herd_require_coordinator("change a distributed table");
	herd_sql_exec("SELECT undistribute_table(%u)", relid);
}

HerdSchemas herd_schemas_before(const HerdUtility *u)
{
	HerdSchemas s = { 0 };

	if (u->applying || !herd_enable_ddl_propagation)
		return s;
	if (IsA(u->stmt, CreateSchemaStmt) && herd_schema_based_sharding)
		s.fresh = !OidIsValid(
			get_namespace_oid(schema_name(castNode(CreateSchemaStmt, u->stmt)), true));
	else if (IsA(u->stmt, AlterObjectSchemaStmt))
		before_set_schema(castNode(AlterObjectSchemaStmt, u->stmt), &s);
	return s;
}

static bool is_left_out(Oid relid)
{
	char kind = OidIsValid(relid) ? get_rel_relkind(relid) : 0;

	return (kind == RELKIND_RELATION || kind == RELKIND_PARTITIONED_TABLE) &&
	       !isAnyTempNamespace(get_rel_namespace(relid)) &&
	       herd_schema_colocation(get_rel_namespace(relid)) != 0 &&
	       herd_table_get(relid) == NULL;
}

/* The tables that CREATE SCHEMA made with it; keys between them would be in the way. */
static void add_elements(Oid schema)
{
	HerdKept kept = { 0 };
	ListCell *lc;

	foreach (lc, herd_sql_rows("SELECT oid::text FROM pg_class WHERE relnamespace = %u AND "
				   "relkind IN ('r', 'p') AND NOT relispartition ORDER BY oid",
				   schema))
		kept.tables = lappend_oid(kept.tables, atooid(((char **)lfirst(lc))[0]));
	herd_kept_take_away(&kept);
	foreach (lc, kept.tables)
		herd_schema_add_table(lfirst_oid(lc));
	herd_kept_put_back(&kept);
}

void herd_schemas_after(const HerdUtility *u, const HerdSchemas *before)
{
	const RangeVar *rv;
	Oid relid;

	if (u->applying || !herd_enable_ddl_propagation)
		return;
	if (before->fresh) {
		Oid schema =
			get_namespace_oid(schema_name(castNode(CreateSchemaStmt, u->stmt)), false);

		herd_require_coordinator("create a distributed schema");
		CommandCounterIncrement();
		herd_schema_make(schema);
		add_elements(schema);
		return;
	}
	rv = made_table(u->stmt);
	if (rv == NULL && !before->entering)
		return;
	CommandCounterIncrement();
	relid = rv ? RangeVarGetRelid(rv, NoLock, true) : before->relid;
	if (!is_left_out(relid))
		return;
	herd_require_coordinator("create a table in a distributed schema");
	herd_schema_add_table(relid);
}
