#include "ddl/utility.h"

#include "access/xact.h"
#include "attach/attach.h"
#include "attach/localkey.h"
#include "catalog/namespace.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "ddl/ddl.h"
#include "ddl/local.h"
#include "ddl/partition.h"
#include "ddl/schemas.h"
#include "ddl/shape.h"
#include "ddl/statistics.h"
#include "guc.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

static ProcessUtility_hook_type next_hook;

void herd_utility_run(HerdUtility *u)
{
	if (next_hook)
		next_hook(u->pstmt, u->query, u->read_only_tree, u->context, u->params, u->env,
			  u->dest, u->qc);
	else
		standard_ProcessUtility(u->pstmt, u->query, u->read_only_tree, u->context,
					u->params, u->env, u->dest, u->qc);
}

void herd_utility_run_shell(HerdUtility *u)
{
	bool before = herd_ddl_set_shells_only(true);

	PG_TRY();
	{
		herd_utility_run(u);
	}
	PG_FINALLY();
	{
		(void)herd_ddl_set_shells_only(before);
	}
	PG_END_TRY();
}

void herd_utility_require_origin(const HerdUtility *u)
{
	if (u->applying)
		return;
	herd_require_coordinator("change a distributed table");
	herd_changes_lock(false);
}

const HerdTable *herd_utility_table(const RangeVar *rv, LOCKMODE lock)
{
	Oid relid = RangeVarGetRelid(rv, lock, true);

	return OidIsValid(relid) ? herd_table_get(relid) : NULL;
}

static bool ident_char(char c)
{
	return c == '_' || c == '$' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
	       (c >= 'A' && c <= 'Z') || IS_HIGHBIT_SET(c);
}

static const char *part_end(const char *p)
{
	if (*p != '"') {
		while (ident_char(*p))
			p++;
		return p;
	}
	for (p++; *p; p++) {
		if (*p != '"')
			continue;
		if (p[1] != '"')
			return p + 1;
		p++;
	}
	return p;
}

/* Behind white space and comments, which may stand around the dots of a name. */
static const char *skip_blank(const char *p)
{
	int depth = 0;

	while (*p) {
		if (p[0] == '/' && p[1] == '*') {
			depth++;
			p += 2;
		} else if (depth > 0 && p[0] == '*' && p[1] == '/') {
			depth--;
			p += 2;
		} else if (depth > 0 || isspace((unsigned char)*p)) {
			p++;
		} else if (p[0] == '-' && p[1] == '-') {
			p += strcspn(p, "\n");
		} else {
			break;
		}
	}
	return p;
}

int herd_utility_name_end(const HerdUtility *u, int location)
{
	const char *start = u->text + (location - u->base);
	const char *end = part_end(start);

	for (;;) {
		const char *p = skip_blank(end);

		if (*p != '.')
			break;
		end = part_end(skip_blank(p + 1));
	}
	if (location < u->base || end == start)
		elog(ERROR, "no name at offset %d of \"%s\"", location - u->base, u->text);
	return (int)(end - u->text);
}

char *herd_utility_splice(const HerdUtility *u, int location, const char *name)
{
	return psprintf("%.*s%s%s", location - u->base, u->text, name,
			u->text + herd_utility_name_end(u, location));
}

List *herd_utility_local_shards(const HerdTable *table)
{
	List *out = NIL;

	for (int i = 0; i < table->nshards; i++)
		for (int g = 0; g < table->shards[i].ngroups; g++)
			if (table->shards[i].groups[g] == herd_local_group())
				out = lappend(out, &table->shards[i].shardid);
	return out;
}

void herd_utility_spread(const HerdUtility *u, List *others, List *shards)
{
	if (shards != NIL)
		herd_ddl_run(namespace_search_path, shards);
	if (!u->applying)
		herd_ddl_send(namespace_search_path, others);
}

static void refuse(const char *what, const char *name)
{
	ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			errmsg("%s on distributed table \"%s\" is not supported", what, name)));
}

/* in: which schemas, as a condition. */
static void warn_publication(const char *in)
{
	if (herd_sql_int("SELECT count(*) FROM pg_catalog.pg_dist_partition p JOIN "
			 "pg_catalog.pg_class c ON c.oid = p.logicalrelid WHERE %s",
			 in) > 0)
		ereport(WARNING,
			(errmsg("rows of distributed tables are not published under the names of "
				"the tables"),
			 errdetail("They are in shards: a publication on the node of a shard has "
				   "them under the name of the shard."),
			 errhint("Publish the shards, on the node of each: see citus_shards.")));
}

static void refuse_publication(List *objects)
{
	ListCell *lc;

	foreach (lc, objects) {
		PublicationObjSpec *object = lfirst(lc);

		if (object->pubobjtype == PUBLICATIONOBJ_TABLES_IN_SCHEMA)
			warn_publication(psprintf("c.relnamespace = %u",
						  get_namespace_oid(object->name, false)));
		if (object->pubobjtype == PUBLICATIONOBJ_TABLES_IN_CUR_SCHEMA)
			warn_publication(
				psprintf("c.relnamespace = %u",
					 RangeVarGetCreationNamespace(makeRangeVar(NULL, "", -1))));
		if (object->pubobjtype == PUBLICATIONOBJ_TABLE && object->pubtable != NULL &&
		    herd_utility_table(object->pubtable->relation, NoLock))
			ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("distributed table \"%s\" cannot be published",
					object->pubtable->relation->relname),
				 errdetail("Its rows are in tables of their own on the nodes; the "
					   "publication would be empty."),
				 errhint("Publish the shards, on the node of each: see "
					 "citus_shards.")));
	}
}

/* What shards could not follow. */
static void check_refused(Node *stmt)
{
	ListCell *lc;

	if (IsA(stmt, CreatePublicationStmt)) {
		refuse_publication(castNode(CreatePublicationStmt, stmt)->pubobjects);
		if (castNode(CreatePublicationStmt, stmt)->for_all_tables)
			warn_publication("true");
	} else if (IsA(stmt, AlterPublicationStmt)) {
		if (castNode(AlterPublicationStmt, stmt)->action != AP_DropObjects)
			refuse_publication(castNode(AlterPublicationStmt, stmt)->pubobjects);
	} else if (IsA(stmt, CreateStmt)) {
		foreach (lc, castNode(CreateStmt, stmt)->inhRelations)
			if (herd_utility_table(lfirst(lc), NoLock))
				refuse("inheritance", ((RangeVar *)lfirst(lc))->relname);
	}
}

static bool dispatch(HerdUtility *u)
{
	switch (nodeTag(u->stmt)) {
	case T_CopyStmt:
		return herd_utility_copy(u);
	case T_TruncateStmt:
		return herd_utility_truncate(u);
	case T_VacuumStmt:
		return herd_utility_vacuum(u);
	case T_LockStmt:
		return herd_utility_lock(u);
	case T_ExplainStmt:
		return herd_utility_explain(u);
	default:
		break;
	}
	if (!herd_enable_ddl_propagation)
		return false;
	if (herd_attach_utility(u) || herd_statistics_utility(u))
		return true;
	switch (nodeTag(u->stmt)) {
	case T_AlterTableStmt:
		return herd_utility_alter_partition(u) || herd_utility_alter_table(u) ||
		       herd_utility_object(u);
	case T_RenameStmt:
		return herd_utility_rename(u);
	case T_AlterObjectSchemaStmt:
		return herd_utility_set_schema(u);
	case T_IndexStmt:
		return herd_utility_create_index(u);
	case T_DropStmt:
		return herd_utility_drop_index(u) || herd_utility_object(u);
	case T_GrantStmt:
		return herd_utility_grant(u);
	case T_CreateRoleStmt:
	case T_AlterRoleStmt:
	case T_AlterRoleSetStmt:
	case T_DropRoleStmt:
	case T_GrantRoleStmt:
		return herd_utility_role(u);
	case T_ReindexStmt:
	case T_ClusterStmt:
	case T_CommentStmt:
		return herd_utility_upkeep(u) || herd_utility_object(u);
	case T_CreateStmt:
		if (herd_utility_create_partition(u))
			return true;
		check_refused(u->stmt);
		return herd_utility_object(u);
	default:
		check_refused(u->stmt);
		return herd_utility_object(u);
	}
}

/*
 * CREATE EXTENSION citus: another name of this extension, which it requires and brings along.
 * Nobody who comes from Citus would say CASCADE.
 */
static void bring_along(HerdUtility *u)
{
	CreateExtensionStmt *stmt;
	ListCell *lc;

	if (!IsA(u->stmt, CreateExtensionStmt) ||
	    strcmp(castNode(CreateExtensionStmt, u->stmt)->extname, "citus") != 0)
		return;
	foreach (lc, castNode(CreateExtensionStmt, u->stmt)->options)
		if (strcmp(lfirst_node(DefElem, lc)->defname, "cascade") == 0)
			return;
	u->pstmt = copyObject(u->pstmt);
	u->stmt = u->pstmt->utilityStmt;
	u->read_only_tree = false;
	stmt = castNode(CreateExtensionStmt, u->stmt);
	stmt->options =
		lappend(stmt->options, makeDefElem("cascade", (Node *)makeBoolean(true), -1));
}

static void process_utility(PlannedStmt *pstmt, const char *query, bool read_only_tree,
			    ProcessUtilityContext context, ParamListInfo params,
			    QueryEnvironment *env, DestReceiver *dest, QueryCompletion *qc)
{
	HerdUtility u = { .pstmt = pstmt,
			  .stmt = pstmt->utilityStmt,
			  .query = query,
			  .read_only_tree = read_only_tree,
			  .context = context,
			  .params = params,
			  .env = env,
			  .dest = dest,
			  .qc = qc };
	HerdSchemas schemas;

	bring_along(&u);
	/* Transaction control may come when the transaction has failed: nothing may be read then.
	 */
	if (IsA(u.stmt, TransactionStmt) || context == PROCESS_UTILITY_SUBCOMMAND ||
	    creating_extension || IsAbortedTransactionBlockState() || !herd_enabled()) {
		herd_utility_run(&u);
		return;
	}
	u.applying = herd_ddl_applying();
	u.base = Max(pstmt->stmt_location, 0);
	u.text = pstmt->stmt_len > 0 ? pnstrdup(query + u.base, pstmt->stmt_len)
				     : pstrdup(query + u.base);
	schemas = herd_schemas_before(&u);
	if (!dispatch(&u))
		herd_utility_run(&u);
	herd_schemas_after(&u, &schemas);
	if (!u.applying)
		herd_local_key_after_command();
}

void herd_ddl_init(void)
{
	next_hook = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
}
