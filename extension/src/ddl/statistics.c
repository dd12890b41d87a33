#include "ddl/statistics.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "ddl/local.h"
#include "ddl/shape.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* row: definition, schema, name, target; as it is for the shard */
static List *commands_of(char **row, Oid relid, uint64 shardid)
{
	char *own = quote_qualified_identifier(row[1], row[2]);
	char *name = quote_qualified_identifier(row[1], herd_shape_member_name(row[2], shardid));
	char *start = psprintf("CREATE STATISTICS %s", own);
	char *end = psprintf(" FROM %s", herd_shape_name(relid, 0));
	int length = strlen(row[0]) - strlen(start) - strlen(end);
	List *out;

	if (length < 0 || strncmp(row[0], start, strlen(start)) != 0 ||
	    strcmp(row[0] + strlen(start) + length, end) != 0)
		elog(ERROR, "statistics object %s has an unexpected definition", own);
	out = list_make1(psprintf("CREATE STATISTICS %s%.*s FROM %s", name, length,
				  row[0] + strlen(start), herd_shape_name(relid, shardid)));
	if (row[3] != NULL && strcmp(row[3], "-1") != 0)
		out = lappend(out, psprintf("ALTER STATISTICS %s SET STATISTICS %s", name, row[3]));
	return out;
}

/* only: one of them, or InvalidOid for all. */
static List *shape_of(Oid relid, uint64 shardid, Oid only)
{
	int level = herd_shape_begin();
	List *out = NIL;
	ListCell *lc;

	foreach (lc, herd_sql_rows("SELECT pg_get_statisticsobjdef(s.oid), nspname, stxname, "
				   "stxstattarget FROM pg_statistic_ext s JOIN pg_namespace n ON "
				   "n.oid = stxnamespace WHERE stxrelid = %u AND %u IN (0, s.oid) "
				   "ORDER BY stxname",
				   relid, only))
		out = list_concat(out, commands_of(lfirst(lc), relid, shardid));
	herd_shape_end(level);
	return out;
}

List *herd_statistics_shape(Oid relid, uint64 shardid)
{
	return shape_of(relid, shardid, InvalidOid);
}

static Oid newest_of(Oid relid)
{
	return (Oid)herd_sql_int("SELECT coalesce(max(oid), 0) FROM pg_statistic_ext WHERE "
				 "stxrelid = %u",
				 relid);
}

static bool create(HerdUtility *u)
{
	CreateStatsStmt *stmt = castNode(CreateStatsStmt, u->stmt);
	const HerdTable *table = NULL;
	List *shards = NIL;
	ListCell *lc;
	Oid relid, before, made;

	if (list_length(stmt->relations) == 1 && IsA(linitial(stmt->relations), RangeVar))
		table = herd_utility_table(linitial(stmt->relations), NoLock);
	if (table == NULL)
		return false;
	herd_utility_require_origin(u);
	relid = table->relid;
	before = newest_of(relid);
	herd_utility_run_shell(u);
	CommandCounterIncrement();
	made = newest_of(relid);
	table = herd_table_get(relid);
	if (made == before || table == NULL) /* IF NOT EXISTS */
		return true;
	foreach (lc, herd_utility_local_shards(table))
		shards = list_concat(shards, shape_of(relid, *(uint64 *)lfirst(lc), made));
	herd_utility_spread(u, shape_of(relid, 0, made), shards);
	return true;
}

/* The name of what the statement is about; its table, which is distributed, or NULL. */
static const HerdTable *table_of(List *name, char **schema, char **own)
{
	Oid oid = get_statistics_object_oid(name, true);
	char **row;

	if (!OidIsValid(oid))
		return NULL;
	row = linitial(herd_sql_rows("SELECT stxrelid, nspname, stxname FROM pg_statistic_ext s "
				     "JOIN pg_namespace n ON n.oid = stxnamespace WHERE s.oid = %u",
				     oid));
	*schema = row[1];
	*own = row[2];
	return herd_table_get(atooid(row[0]));
}

static int new_target(const AlterStatsStmt *stmt)
{
#if PG_VERSION_NUM >= 170000
	return stmt->stxstattarget != NULL ? intVal(stmt->stxstattarget) : -1;
#else
	return stmt->stxstattarget;
#endif
}

/* What the statement does to one of that name; NULL when it is not for shards. */
static char *change_text(const HerdUtility *u, const char *schema, const char *own, uint64 shardid)
{
	char *name = quote_qualified_identifier(schema, herd_shape_member_name(own, shardid));

	switch (nodeTag(u->stmt)) {
	case T_AlterStatsStmt:
		return psprintf("ALTER STATISTICS %s SET STATISTICS %d", name,
				new_target(castNode(AlterStatsStmt, u->stmt)));
	case T_RenameStmt:
		return psprintf("ALTER STATISTICS %s RENAME TO %s", name,
				quote_identifier(herd_shape_member_name(
					castNode(RenameStmt, u->stmt)->newname, shardid)));
	case T_AlterObjectSchemaStmt:
		return psprintf(
			"ALTER STATISTICS %s SET SCHEMA %s", name,
			quote_identifier(castNode(AlterObjectSchemaStmt, u->stmt)->newschema));
	case T_AlterOwnerStmt:
		return psprintf("ALTER STATISTICS %s OWNER TO %s", name,
				quote_identifier(get_rolespec_name(
					castNode(AlterOwnerStmt, u->stmt)->newowner)));
	default:
		return psprintf("DROP STATISTICS IF EXISTS %s", name);
	}
}

static List *names_in(Node *stmt)
{
	switch (nodeTag(stmt)) {
	case T_AlterStatsStmt:
		return list_make1(castNode(AlterStatsStmt, stmt)->defnames);
	case T_RenameStmt:
		if (castNode(RenameStmt, stmt)->renameType == OBJECT_STATISTIC_EXT)
			return list_make1(castNode(RenameStmt, stmt)->object);
		return NIL;
	case T_AlterObjectSchemaStmt:
		if (castNode(AlterObjectSchemaStmt, stmt)->objectType == OBJECT_STATISTIC_EXT)
			return list_make1(castNode(AlterObjectSchemaStmt, stmt)->object);
		return NIL;
	case T_AlterOwnerStmt:
		if (castNode(AlterOwnerStmt, stmt)->objectType == OBJECT_STATISTIC_EXT)
			return list_make1(castNode(AlterOwnerStmt, stmt)->object);
		return NIL;
	case T_DropStmt:
		if (castNode(DropStmt, stmt)->removeType == OBJECT_STATISTIC_EXT)
			return castNode(DropStmt, stmt)->objects;
		return NIL;
	default:
		return NIL;
	}
}

bool herd_statistics_utility(HerdUtility *u)
{
	List *others = NIL, *shards = NIL;
	ListCell *lc, *ls;

	if (IsA(u->stmt, CreateStatsStmt))
		return create(u);
	foreach (lc, names_in(u->stmt)) {
		char *schema, *own;
		const HerdTable *table = table_of(lfirst(lc), &schema, &own);

		if (table == NULL)
			continue;
		others = lappend(others, change_text(u, schema, own, 0));
		foreach (ls, herd_utility_local_shards(table))
			shards =
				lappend(shards, change_text(u, schema, own, *(uint64 *)lfirst(ls)));
	}
	if (others == NIL)
		return false;
	herd_utility_require_origin(u);
	herd_utility_run_shell(u);
	herd_utility_spread(u, others, shards);
	return true;
}
