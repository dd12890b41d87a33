/*
 * CREATE, ALTER and DROP of triggers, rules and policies of distributed tables; and of the triggers
 * and rules of views, which other nodes have as well.
 */
#include "attach/attach.h"

#include "catalog/namespace.h"
#include "commands/policy.h"
#include "commands/trigger.h"
#include "ddl/local.h"
#include "ddl/shape.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

bool herd_attach_on_shards(Oid relid, const char *trigger)
{
	if (trigger == NULL)
		return true;
	return herd_sql_int("SELECT count(*) FROM pg_trigger WHERE tgrelid = %u AND tgname = %s "
			    "AND (tgtype & 1 = 1 OR tgoldtable IS NOT NULL OR tgnewtable IS NOT "
			    "NULL)",
			    relid, quote_literal_cstr(trigger)) > 0;
}

/* A new trigger, or (NULL) all policies anew. */
static List *for_shards(const HerdTable *table, const char *trigger)
{
	List *out = NIL;
	ListCell *lc;

	foreach (lc, herd_utility_local_shards(table)) {
		uint64 shardid = *(uint64 *)lfirst(lc);

		if (trigger != NULL)
			out = list_concat(out,
					  herd_attach_triggers(table->relid, shardid, trigger));
		else
			out = list_concat(out, herd_attach_policies(table->relid, shardid));
	}
	return out;
}

void herd_attach_policies_anew(const HerdTable *table)
{
	Oid relid = table->relid;
	List *own = for_shards(table, NULL);

	if (own != NIL)
		herd_ddl_run(namespace_search_path, own);
	herd_ddl_send(namespace_search_path, herd_attach_policies(relid, 0));
}

/* What the statement names: its table, or NULL. */
static RangeVar *relation_of(Node *stmt)
{
	switch (nodeTag(stmt)) {
	case T_CreateTrigStmt:
		return castNode(CreateTrigStmt, stmt)->relation;
	case T_RuleStmt:
		return castNode(RuleStmt, stmt)->relation;
	case T_CreatePolicyStmt:
		return castNode(CreatePolicyStmt, stmt)->table;
	case T_AlterPolicyStmt:
		return castNode(AlterPolicyStmt, stmt)->table;
	case T_RenameStmt: {
		RenameStmt *rename = castNode(RenameStmt, stmt);

		return rename->renameType == OBJECT_TRIGGER || rename->renameType == OBJECT_RULE ||
				       rename->renameType == OBJECT_POLICY
			       ? rename->relation
			       : NULL;
	}
	case T_DropStmt: {
		DropStmt *drop = castNode(DropStmt, stmt);
		List *name;

		if (drop->removeType != OBJECT_TRIGGER && drop->removeType != OBJECT_RULE &&
		    drop->removeType != OBJECT_POLICY)
			return NULL;
		name = linitial_node(List, drop->objects);
		return makeRangeVarFromNameList(
			list_truncate(list_copy(name), list_length(name) - 1));
	}
	default:
		return NULL;
	}
}

static const char *kind_of(ObjectType type)
{
	return type == OBJECT_TRIGGER ? "TRIGGER" : type == OBJECT_RULE ? "RULE" : "POLICY";
}

/* DROP of what a shard has; its name is the same there. */
static List *drop_commands(const DropStmt *stmt, const HerdTable *table, bool shards)
{
	const char *name = strVal(llast(linitial_node(List, stmt->objects)));
	List *out = NIL, *ids = list_make1(NULL);
	ListCell *lc;

	if (shards)
		ids = herd_utility_local_shards(table);
	foreach (lc, ids)
		out = lappend(out, psprintf("DROP %s IF EXISTS %s ON %s%s",
					    kind_of(stmt->removeType), quote_identifier(name),
					    herd_shape_name(table->relid,
							    lfirst(lc) ? *(uint64 *)lfirst(lc) : 0),
					    stmt->behavior == DROP_CASCADE ? " CASCADE" : ""));
	return out;
}

static List *rename_commands(const RenameStmt *stmt, const HerdTable *table, bool shards)
{
	List *out = NIL, *ids = list_make1(NULL);
	ListCell *lc;

	if (shards)
		ids = herd_utility_local_shards(table);
	foreach (lc, ids)
		out = lappend(out,
			      psprintf("ALTER %s %s ON %s RENAME TO %s", kind_of(stmt->renameType),
				       quote_identifier(stmt->subname),
				       herd_shape_name(table->relid,
						       lfirst(lc) ? *(uint64 *)lfirst(lc) : 0),
				       quote_identifier(stmt->newname)));
	return out;
}

static bool drop_or_rename(HerdUtility *u, const HerdTable *table)
{
	bool shards = true;
	List *others, *own = NIL;

	if (IsA(u->stmt, DropStmt)) {
		DropStmt *stmt = castNode(DropStmt, u->stmt);

		shards = stmt->removeType != OBJECT_RULE;
		others = drop_commands(stmt, table, false);
		if (shards)
			own = drop_commands(stmt, table, true);
	} else {
		RenameStmt *stmt = castNode(RenameStmt, u->stmt);

		shards = stmt->renameType == OBJECT_POLICY ||
			 (stmt->renameType == OBJECT_TRIGGER &&
			  herd_attach_on_shards(table->relid, stmt->subname));
		others = rename_commands(stmt, table, false);
		if (shards)
			own = rename_commands(stmt, table, true);
	}
	herd_utility_run_shell(u);
	herd_utility_spread(u, others, own);
	return true;
}

/*
 * On a node that lacks what the rule uses, a table of the coordinator, statements that it would act
 * on fail.
 */
static List *rule_or_error(const char *def, Oid relid, const RuleStmt *stmt)
{
	const char *events[] = { "", "SELECT", "UPDATE", "INSERT", "DELETE" };
	char *otherwise = psprintf("CREATE OR REPLACE RULE %s AS ON %s TO %s DO ALSO SELECT "
				   "citus_internal.missing_rule(%s)",
				   quote_identifier(stmt->rulename), events[stmt->event],
				   herd_shape_name(relid, 0), quote_literal_cstr(stmt->rulename));

	return list_make1(psprintf("SELECT citus_internal.make_rule(%s, %s)",
				   quote_literal_cstr(def), quote_literal_cstr(otherwise)));
}

/* CREATE of a trigger or rule is sent as PostgreSQL prints it: names are complete in it. */
static List *created(Node *stmt, Oid relid)
{
	const char *catalog = "pg_trigger", *print = "pg_get_triggerdef", *column = "tgrelid",
		   *namecol = "tgname", *name, *start = "CREATE ";
	bool replace;
	char *def;

	if (IsA(stmt, CreateTrigStmt)) {
		name = castNode(CreateTrigStmt, stmt)->trigname;
		replace = castNode(CreateTrigStmt, stmt)->replace;
	} else {
		catalog = "pg_rewrite";
		print = "pg_get_ruledef";
		column = "ev_class";
		namecol = "rulename";
		name = castNode(RuleStmt, stmt)->rulename;
		replace = castNode(RuleStmt, stmt)->replace;
	}
	def = ((char **)linitial(herd_sql_rows("SELECT %s(oid) FROM %s WHERE %s = %u AND %s = %s",
					       print, catalog, column, relid, namecol,
					       quote_literal_cstr(name))))[0];
	if (replace)
		def = psprintf("CREATE OR REPLACE %s", def + strlen(start));
	if (IsA(stmt, RuleStmt) && herd_table_get(relid))
		return rule_or_error(def, relid, castNode(RuleStmt, stmt));
	return list_make1(def);
}

/* Policies sent by the coordinator come as a DROP and a CREATE, for the table and each shard. */
static bool create_or_alter(HerdUtility *u, const HerdTable *table)
{
	Oid relid = table->relid;
	bool rule = IsA(u->stmt, RuleStmt);
	List *others, *own = NIL;

	herd_utility_run_shell(u);
	CommandCounterIncrement();
	table = herd_table_get(relid);
	herd_attach_check(relid);
	table = herd_table_get(relid);
	if (rule || IsA(u->stmt, CreateTrigStmt))
		others = created(u->stmt, relid);
	else
		others = herd_attach_policies(relid, 0);
	if (!rule)
		own = for_shards(table, IsA(u->stmt, CreateTrigStmt)
						? castNode(CreateTrigStmt, u->stmt)->trigname
						: NULL);
	herd_utility_spread(u, others, own);
	return true;
}

/* The view is on the other nodes if they could have it; so may be what hangs on it. */
static bool on_view(HerdUtility *u, Oid relid)
{
	List *commands;

	if (get_rel_relkind(relid) != RELKIND_VIEW || u->applying ||
	    herd_local_group() != HERD_COORDINATOR_GROUP || herd_other_groups() == NIL ||
	    get_rel_persistence(relid) == RELPERSISTENCE_TEMP)
		return false;
	herd_utility_require_origin(u);
	herd_utility_run(u);
	CommandCounterIncrement();
	if (IsA(u->stmt, CreateTrigStmt) || IsA(u->stmt, RuleStmt))
		commands = created(u->stmt, relid);
	else
		commands = list_make1(u->text);
	herd_ddl_send(namespace_search_path,
		      list_make1(psprintf("SELECT citus_internal.try_ddl(%s, ARRAY[%s])",
					  quote_literal_cstr(namespace_search_path),
					  quote_literal_cstr(linitial(commands)))));
	return true;
}

bool herd_attach_utility(HerdUtility *u)
{
	RangeVar *rv = relation_of(u->stmt);
	Oid relid = rv ? RangeVarGetRelid(rv, NoLock, true) : InvalidOid;
	const HerdTable *table;

	if (!OidIsValid(relid))
		return false;
	table = herd_table_get(relid);
	if (table == NULL)
		return on_view(u, relid);
	herd_utility_require_origin(u);
	if (IsA(u->stmt, DropStmt) || IsA(u->stmt, RenameStmt))
		return drop_or_rename(u, table);
	return create_or_alter(u, table);
}
