#include "attach/named.h"

#include "access/htup_details.h"
#include "attach/farkey.h"
#include "catalog/metadata.h"
#include "catalog/namespace.h"
#include "catalog/pg_constraint.h"
#include "ddl/local.h"
#include "ddl/shape.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

List *herd_constraints_named(const RangeVar *name)
{
	List *schemas = name->schemaname
				? list_make1_oid(LookupExplicitNamespace(name->schemaname, false))
				: fetch_search_path(true);
	List *out = NIL;
	ListCell *lc, *lr;

	foreach (lc, schemas) {
		foreach (lr, herd_sql_rows("SELECT oid FROM pg_constraint WHERE conname = %s AND "
					   "connamespace = %u",
					   quote_literal_cstr(name->relname), lfirst_oid(lc)))
			out = lappend_oid(out, atooid(((char **)lfirst(lr))[0]));
		if (out != NIL)
			break;
	}
	return out;
}

typedef struct Named {
	char *name;
	const HerdTable *table;
} Named;

/* Of Named: those that shards have as well. */
static List *on_shards(const ConstraintsSetStmt *stmt)
{
	List *out = NIL;
	ListCell *lc, *lo;

	foreach (lc, stmt->constraints)
		foreach (lo, herd_constraints_named(lfirst_node(RangeVar, lc))) {
			HeapTuple tuple =
				SearchSysCache1(CONSTROID, ObjectIdGetDatum(lfirst_oid(lo)));
			Form_pg_constraint con;
			const HerdTable *table;

			if (!HeapTupleIsValid(tuple))
				continue;
			con = (Form_pg_constraint)GETSTRUCT(tuple);
			table = herd_table_get(con->conrelid);
			/* triggers wait here */
			if (table != NULL && con->condeferrable &&
			    con->contype != CONSTRAINT_TRIGGER && !OidIsValid(con->conparentid) &&
			    !herd_far_key_is(con->oid)) {
				Named *named = palloc(sizeof(Named));

				named->name = pstrdup(NameStr(con->conname));
				named->table = table;
				out = lappend(out, named);
			}
			ReleaseSysCache(tuple);
		}
	return out;
}

static bool is_in(const HerdShard *shard, int32 group)
{
	for (int g = 0; g < shard->ngroups; g++)
		if (shard->groups[g] == group)
			return true;
	return false;
}

List *herd_constraints_of_shards(const ConstraintsSetStmt *stmt, int32 group)
{
	List *out = NIL;
	ListCell *lc;

	foreach (lc, on_shards(stmt)) {
		const Named *named = lfirst(lc);
		char *schema = get_namespace_name(get_rel_namespace(named->table->relid));

		for (int i = 0; i < named->table->nshards; i++) {
			const HerdShard *shard = &named->table->shards[i];

			if (!is_in(shard, group))
				continue;
			out = lappend(out, makeRangeVar(schema,
							herd_shape_member_name(named->name,
									       shard->shardid),
							-1));
		}
	}
	return out;
}

List *herd_constraints_groups(const ConstraintsSetStmt *stmt)
{
	List *out = NIL;
	ListCell *lc;

	foreach (lc, on_shards(stmt)) {
		const HerdTable *table = ((Named *)lfirst(lc))->table;

		for (int i = 0; i < table->nshards; i++)
			for (int g = 0; g < table->shards[i].ngroups; g++)
				out = list_append_unique_int(out, table->shards[i].groups[g]);
	}
	return out;
}

char *herd_constraints_text(List *names, bool deferred)
{
	StringInfoData sql;
	ListCell *lc;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SET CONSTRAINTS ");
	foreach (lc, names) {
		const RangeVar *name = lfirst(lc);

		appendStringInfo(&sql, "%s%s", lc == list_head(names) ? "" : ", ",
				 quote_qualified_identifier(name->schemaname, name->relname));
	}
	appendStringInfoString(&sql, deferred ? " DEFERRED" : " IMMEDIATE");
	return sql.data;
}
