/*
 * Schemas, types, functions, operators, extensions and roles: the same statement on every node.
 */
#include "ddl/utility.h"

#include "access/xact.h"
#include "attach/attach.h"
#include "catalog/namespace.h"
#include "catalog/nodes.h"
#include "catalog/pg_class.h"
#include "commands/dbcommands.h"
#include "ddl/local.h"
#include "ddl/shape.h"
#include "guc.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"

/* Whether a failure on another node fails the statement. */
enum reach { REACH_NONE, REACH_MUST, REACH_TRY };

static bool is_temporary(List *name)
{
	return list_length(name) > 1 && strcmp(strVal(linitial(name)), "pg_temp") == 0;
}

/* Every database makes it for itself. */
static bool is_this_extension(const char *name)
{
	return strcmp(name, "pgherd") == 0 || strcmp(name, "citus") == 0;
}

static enum reach reach_of_type(ObjectType type)
{
	switch (type) {
	case OBJECT_SCHEMA:
		return REACH_MUST;
	case OBJECT_FUNCTION:
	case OBJECT_PROCEDURE:
	case OBJECT_ROUTINE:
	case OBJECT_AGGREGATE:
	case OBJECT_TYPE:
	case OBJECT_DOMAIN:
	case OBJECT_COLLATION:
	case OBJECT_OPERATOR:
	case OBJECT_OPCLASS:
	case OBJECT_OPFAMILY:
	case OBJECT_TSCONFIGURATION:
	case OBJECT_TSDICTIONARY:
	case OBJECT_EXTENSION:
	case OBJECT_VIEW:
	case OBJECT_TABLE: /* GRANT .. ON ALL TABLES IN SCHEMA */
	case OBJECT_SEQUENCE:
		return REACH_TRY;
	default:
		return REACH_NONE;
	}
}

static enum reach reach_of_drop(const DropStmt *stmt)
{
	ListCell *lc;

	/* Tables and schemas are followed by the sql_drop trigger, CASCADE included. */
	switch (stmt->removeType) {
	case OBJECT_FUNCTION:
	case OBJECT_PROCEDURE:
	case OBJECT_ROUTINE:
	case OBJECT_AGGREGATE:
	case OBJECT_TYPE:
	case OBJECT_DOMAIN:
	case OBJECT_COLLATION:
	case OBJECT_OPERATOR:
	case OBJECT_OPCLASS:
	case OBJECT_OPFAMILY:
	case OBJECT_CAST:
	case OBJECT_TSCONFIGURATION:
	case OBJECT_TSDICTIONARY:
	case OBJECT_VIEW:
		return REACH_TRY;
	case OBJECT_EXTENSION:
		foreach (lc, stmt->objects)
			if (is_this_extension(strVal(lfirst(lc))))
				return REACH_NONE;
		return REACH_TRY;
	default:
		return REACH_NONE;
	}
}

static enum reach reach_of_comment(ObjectType type)
{
	if (type == OBJECT_TABLE || type == OBJECT_SEQUENCE || type == OBJECT_EXTENSION)
		return REACH_NONE;
	return type == OBJECT_ROLE || reach_of_type(type) != REACH_NONE ? REACH_TRY : REACH_NONE;
}

/* Tables and sequences get the privileges that they have here. */
static enum reach reach_of_defaults(const GrantStmt *grant)
{
	return grant->objtype == OBJECT_TABLE || grant->objtype == OBJECT_SEQUENCE ? REACH_NONE
										   : REACH_TRY;
}

static enum reach reach_of(Node *stmt)
{
	switch (nodeTag(stmt)) {
	case T_CreateSchemaStmt:
		return REACH_MUST;
	case T_CreateEnumStmt:
		return is_temporary(castNode(CreateEnumStmt, stmt)->typeName) ? REACH_NONE
									      : REACH_TRY;
	case T_CompositeTypeStmt: {
		const char *schema = castNode(CompositeTypeStmt, stmt)->typevar->schemaname;

		return schema && strcmp(schema, "pg_temp") == 0 ? REACH_NONE : REACH_TRY;
	}
	case T_CreateDomainStmt:
		return is_temporary(castNode(CreateDomainStmt, stmt)->domainname) ? REACH_NONE
										  : REACH_TRY;
	case T_CreateFunctionStmt:
		return is_temporary(castNode(CreateFunctionStmt, stmt)->funcname) ? REACH_NONE
										  : REACH_TRY;
	case T_CreateExtensionStmt:
		return is_this_extension(castNode(CreateExtensionStmt, stmt)->extname) ? REACH_NONE
										       : REACH_TRY;
	case T_ViewStmt:
		return castNode(ViewStmt, stmt)->view->relpersistence == RELPERSISTENCE_TEMP
			       ? REACH_NONE
			       : REACH_TRY;
	case T_DefineStmt: /* aggregates, operators, base types, collations, text search */
		return is_temporary(castNode(DefineStmt, stmt)->defnames) ? REACH_NONE : REACH_TRY;
	case T_CreateRangeStmt:
		return is_temporary(castNode(CreateRangeStmt, stmt)->typeName) ? REACH_NONE
									       : REACH_TRY;
	case T_CreateCastStmt:
	case T_CreateOpClassStmt:
	case T_CreateOpFamilyStmt:
	case T_AlterOpFamilyStmt:
	case T_AlterOperatorStmt:
	case T_AlterTypeStmt:
	case T_AlterTSConfigurationStmt:
	case T_AlterTSDictionaryStmt:
	case T_AlterEnumStmt:
	case T_AlterDomainStmt:
	case T_AlterFunctionStmt:
		return REACH_TRY;
	case T_CommentStmt:
		return reach_of_comment(castNode(CommentStmt, stmt)->objtype);
	case T_AlterDefaultPrivilegesStmt:
		return reach_of_defaults(castNode(AlterDefaultPrivilegesStmt, stmt)->action);
	/* the shards have the owner of their table; what CASCADE drops, sql_drop has followed */
	case T_ReassignOwnedStmt:
	case T_DropOwnedStmt:
		return REACH_MUST;
	case T_GrantStmt:
		if (castNode(GrantStmt, stmt)->objtype == OBJECT_DATABASE ||
		    castNode(GrantStmt, stmt)->objtype == OBJECT_PARAMETER_ACL ||
		    castNode(GrantStmt, stmt)->objtype == OBJECT_LANGUAGE)
			return REACH_TRY;
		return reach_of_type(castNode(GrantStmt, stmt)->objtype);
	case T_RenameStmt:
		if (castNode(RenameStmt, stmt)->renameType == OBJECT_ATTRIBUTE ||
		    castNode(RenameStmt, stmt)->renameType == OBJECT_DOMCONSTRAINT)
			return REACH_TRY;
		if (castNode(RenameStmt, stmt)->renameType == OBJECT_ROLE)
			return herd_propagate_alter_role ? REACH_MUST : REACH_NONE;
		return castNode(RenameStmt, stmt)->relation &&
				       castNode(RenameStmt, stmt)->renameType != OBJECT_VIEW
			       ? REACH_NONE
			       : reach_of_type(castNode(RenameStmt, stmt)->renameType);
	case T_AlterObjectSchemaStmt:
		return castNode(AlterObjectSchemaStmt, stmt)->relation &&
				       castNode(AlterObjectSchemaStmt, stmt)->objectType !=
					       OBJECT_VIEW
			       ? REACH_NONE
			       : reach_of_type(castNode(AlterObjectSchemaStmt, stmt)->objectType);
	case T_AlterOwnerStmt:
		return reach_of_type(castNode(AlterOwnerStmt, stmt)->objectType);
	case T_AlterTableStmt: /* the attributes of a composite type; a view's options */
		return castNode(AlterTableStmt, stmt)->objtype == OBJECT_TYPE ||
				       castNode(AlterTableStmt, stmt)->objtype == OBJECT_VIEW
			       ? REACH_TRY
			       : REACH_NONE;
	case T_DropStmt:
		return reach_of_drop(castNode(DropStmt, stmt));
	default:
		return REACH_NONE;
	}
}

/* Objects of this kind may also be made on a worker, for itself. */
static bool is_origin(const HerdUtility *u)
{
	return !u->applying && herd_local_group() == HERD_COORDINATOR_GROUP &&
	       herd_other_groups() != NIL;
}

/* Its elements are made by statements of their own. */
static char *schema_text(const CreateSchemaStmt *stmt)
{
	const char *name = stmt->schemaname ? stmt->schemaname : get_rolespec_name(stmt->authrole);

	return psprintf("SELECT citus_internal.ensure_schema(%s, %s)", quote_literal_cstr(name),
			quote_literal_cstr(stmt->authrole ? get_rolespec_name(stmt->authrole)
							  : GetUserNameFromId(GetUserId(), false)));
}

static bool makes_type(const Node *stmt)
{
	switch (nodeTag(stmt)) {
	case T_CreateEnumStmt:
	case T_CompositeTypeStmt:
	case T_CreateRangeStmt:
		return true;
	case T_DefineStmt:
		return ((const DefineStmt *)stmt)->kind == OBJECT_TYPE;
	default:
		return false;
	}
}

/* A view that is replaced may read now what policies of distributed tables cannot. */
static void check_policies_reading(const RangeVar *view)
{
	CommandCounterIncrement();
	herd_attach_check_view(RangeVarGetRelid(view, NoLock, false));
}

bool herd_utility_object(HerdUtility *u)
{
	enum reach reach = reach_of(u->stmt);
	char *command = u->text;

	if (reach == REACH_NONE || !is_origin(u) ||
	    (makes_type(u->stmt) && !herd_propagate_create_type))
		return false;
	herd_utility_require_origin(u);
	if (IsA(u->stmt, CreateSchemaStmt))
		command = schema_text(castNode(CreateSchemaStmt, u->stmt));
	if (reach == REACH_TRY)
		command = psprintf("SELECT citus_internal.try_ddl(%s, ARRAY[%s])",
				   quote_literal_cstr(namespace_search_path),
				   quote_literal_cstr(u->text));
	herd_utility_run(u);
	if (IsA(u->stmt, ViewStmt))
		check_policies_reading(castNode(ViewStmt, u->stmt)->view);
	herd_ddl_send(namespace_search_path, list_make1(command));
	return true;
}

static char *drop_roles_text(const DropRoleStmt *stmt)
{
	StringInfoData out;
	ListCell *lc;

	initStringInfo(&out);
	appendStringInfoString(&out, "DROP ROLE IF EXISTS ");
	foreach (lc, stmt->roles)
		appendStringInfo(&out, "%s%s", lc == list_head(stmt->roles) ? "" : ", ",
				 quote_identifier(get_rolespec_name(lfirst(lc))));
	return out.data;
}

static List *role_state(const char *name)
{
	return herd_role_commands(psprintf("rolname = %s", quote_literal_cstr(name)), superuser());
}

static bool role_goes_along(const Node *stmt)
{
	switch (nodeTag(stmt)) {
	case T_CreateRoleStmt:
	case T_DropRoleStmt:
		return herd_propagate_create_role;
	case T_AlterRoleStmt:
		return herd_propagate_alter_role;
	case T_AlterRoleSetStmt:
		return herd_propagate_alter_role_set;
	default:
		return true;
	}
}

bool herd_utility_role(HerdUtility *u)
{
	List *commands = list_make1(u->text);
	const char *database;

	if (!is_origin(u) || !role_goes_along(u->stmt))
		return false;
	herd_utility_require_origin(u);
	if (IsA(u->stmt, DropRoleStmt) && !castNode(DropRoleStmt, u->stmt)->missing_ok)
		commands = list_make1(drop_roles_text(castNode(DropRoleStmt, u->stmt)));
	if (IsA(u->stmt, AlterRoleSetStmt)) {
		database = castNode(AlterRoleSetStmt, u->stmt)->database;
		if (database && strcmp(database, get_database_name(MyDatabaseId)) != 0)
			return false;
	}
	herd_utility_run(u);
	/* As hashes: the text may hold a password. */
	if (IsA(u->stmt, CreateRoleStmt))
		commands = role_state(castNode(CreateRoleStmt, u->stmt)->role);
	else if (IsA(u->stmt, AlterRoleStmt))
		commands = role_state(get_rolespec_name(castNode(AlterRoleStmt, u->stmt)->role));
	herd_ddl_send(namespace_search_path, commands);
	return true;
}
