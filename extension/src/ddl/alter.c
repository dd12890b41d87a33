/*
 * ALTER TABLE, RENAME, SET SCHEMA, indexes and grants of distributed tables.
 */
#include "ddl/utility.h"

#include "compat.h"

#include "access/genam.h"
#include "access/relation.h"
#include "attach/attach.h"
#include "attach/farkey.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/pg_constraint.h"
#include "catalog/tables.h"
#include "catalog/tied.h"
#include "conn/conn.h"
#include "ddl/local.h"
#include "ddl/partition.h"
#include "ddl/serial.h"
#include "ddl/shape.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/syscache.h"

/* How a subcommand reaches the shards. */
enum how {
	HOW_REFUSE,
	HOW_SAME,       /* the same text with the shard's name */
	HOW_SHELL_ONLY, /* shards have nothing of it */
	HOW_ADD_CONSTRAINT,
	HOW_NAMED_CONSTRAINT, /* DROP, VALIDATE, ALTER CONSTRAINT */
	HOW_SERIAL,           /* ADD COLUMN of a serial or identity column */
	HOW_ADD_COLUMN,       /* with constraints, which have names of their own on shards */
	HOW_INDEX             /* names an index of the table */
};

static enum how how_to_type(AlterTableType type)
{
	switch (type) {
	case AT_AddColumn:
	case AT_DropColumn:
	case AT_AlterColumnType:
	case AT_DropNotNull:
	case AT_SetNotNull:
	case AT_SetStatistics:
	case AT_SetOptions:
	case AT_ResetOptions:
	case AT_SetStorage:
	case AT_SetCompression:
	case AT_SetRelOptions:
	case AT_ResetRelOptions:
	case AT_SetLogged:
	case AT_SetUnLogged:
	case AT_SetAccessMethod:
	case AT_SetTableSpace:
	case AT_DropExpression:
#if PG_VERSION_NUM >= 170000
	case AT_SetExpression:
#endif
	case AT_ChangeOwner:
	case AT_EnableTrigAll:
	case AT_EnableTrigUser:
	case AT_DisableTrigAll:
	case AT_DisableTrigUser:
	case AT_EnableRowSecurity:
	case AT_DisableRowSecurity:
	case AT_ForceRowSecurity:
	case AT_NoForceRowSecurity:
		return HOW_SAME;
	case AT_EnableRule:
	case AT_DisableRule:
	case AT_EnableAlwaysRule:
	case AT_EnableReplicaRule:
	case AT_ColumnDefault:
	case AT_AddIdentity:
	case AT_DropIdentity:
	case AT_SetIdentity:
		return HOW_SHELL_ONLY;
	case AT_AddConstraint:
		return HOW_ADD_CONSTRAINT;
	case AT_DropConstraint:
	case AT_ValidateConstraint:
	case AT_AlterConstraint:
		return HOW_NAMED_CONSTRAINT;
	default:
		return HOW_REFUSE;
	}
}

static bool has_constraint(const ColumnDef *column)
{
	ListCell *lc;

	foreach (lc, column->constraints) {
		switch (((Constraint *)lfirst(lc))->contype) {
		case CONSTR_CHECK:
		case CONSTR_PRIMARY:
		case CONSTR_UNIQUE:
		case CONSTR_EXCLUSION:
		case CONSTR_FOREIGN:
			return true;
		default:
			break;
		}
	}
	return false;
}

static enum how how_to(const HerdTable *table, const AlterTableCmd *cmd)
{
	switch (cmd->subtype) {
	case AT_AddColumn:
		if (herd_serial_is(cmd))
			return HOW_SERIAL;
		return has_constraint(castNode(ColumnDef, cmd->def)) ? HOW_ADD_COLUMN : HOW_SAME;
	case AT_AddConstraint:
		return castNode(Constraint, cmd->def)->indexname ? HOW_INDEX : HOW_ADD_CONSTRAINT;
	case AT_ReplicaIdentity:
		return castNode(ReplicaIdentityStmt, cmd->def)->name ? HOW_INDEX : HOW_SAME;
	case AT_ClusterOn:
		return HOW_INDEX;
	case AT_DropCluster:
		return HOW_SAME;
	case AT_EnableTrig:
	case AT_EnableAlwaysTrig:
	case AT_EnableReplicaTrig:
	case AT_DisableTrig:
		return herd_attach_on_shards(table->relid, cmd->name) ? HOW_SAME : HOW_SHELL_ONLY;
	default:
		return how_to_type(cmd->subtype);
	}
}

static void refuse(const HerdTable *table, const char *what, const char *hint)
{
	ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			errmsg("cannot alter distributed table \"%s\": %s",
			       get_rel_name(table->relid), what),
			errhint("%s", hint)));
}

static void check_new_column(const HerdTable *table, const AlterTableCmd *cmd)
{
	const char *why = herd_serial_is(cmd) ? herd_serial_refusal(cmd) : NULL;

	if (why)
		refuse(table, why,
		       "Add the column first, and what else it should have afterwards.");
}

static void check_command(const HerdTable *table, const AlterTableCmd *cmd)
{
	bool key = table->keyattno && cmd->name &&
		   strcmp(cmd->name, get_attname(table->relid, table->keyattno, false)) == 0;

	if (how_to(table, cmd) == HOW_REFUSE)
		refuse(table, "this form of ALTER TABLE is not supported",
		       "Undistribute the table, or recreate it.");
	if (key && (cmd->subtype == AT_DropColumn || cmd->subtype == AT_AlterColumnType))
		refuse(table, "the distribution column cannot be dropped or change its type",
		       "Undistribute the table first.");
	if (cmd->subtype == AT_AddColumn)
		check_new_column(table, cmd);
}

static Oid table_of_constraint(Oid constraintid)
{
	HeapTuple tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(constraintid));
	Oid relid;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for constraint %u", constraintid);
	relid = ((Form_pg_constraint)GETSTRUCT(tuple))->conrelid;
	ReleaseSysCache(tuple);
	return relid;
}

/* Those that are there still, and marked as valid. Other nodes need not ask. */
static void validate_far_keys(const HerdUtility *u, List *far)
{
	ListCell *lc;

	foreach (lc, far) {
		HeapTuple tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(lfirst_oid(lc)));
		bool valid = HeapTupleIsValid(tuple) &&
			     ((Form_pg_constraint)GETSTRUCT(tuple))->convalidated;

		if (HeapTupleIsValid(tuple))
			ReleaseSysCache(tuple);
		if (valid && !u->applying)
			herd_far_key_validate(lfirst_oid(lc));
	}
}

/* The new constraints, named as this node named them. */
static void add_constraints(HerdUtility *u, const HerdTable *table, List *before)
{
	List *added = list_difference_oid(herd_partition_constraints(table->relid), before);
	List *others = NIL, *shards = NIL, *far = NIL;
	ListCell *lc, *ls;

	foreach (lc, added) {
		const HerdTable *owner = herd_table_get(table_of_constraint(lfirst_oid(lc)));

		others = lappend(others, herd_shape_constraint(lfirst_oid(lc), 0));
		if (herd_far_key_is(lfirst_oid(lc))) {
			far = lappend_oid(far, lfirst_oid(lc));
			continue;
		}
		foreach (ls, herd_utility_local_shards(owner))
			shards = lappend(shards, herd_shape_constraint(lfirst_oid(lc),
								       *(uint64 *)lfirst(ls)));
	}
	shards = list_concat(shards, herd_far_key_shapes(herd_far_key_tables(far)));
	herd_utility_spread(u, others, shards);
	validate_far_keys(u, far);
}

#if PG_VERSION_NUM >= 180000
typedef ATAlterConstraint AlteredConstraint;
#define alters_enforcement(con) ((con)->alterEnforceability)
#define is_enforced(con) ((con)->is_enforced)
#define alters_deferring(con) ((con)->alterDeferrability)
#define alters_foreign_key(con) ((con)->alterEnforceability || (con)->alterDeferrability)
#else
typedef Constraint AlteredConstraint;
#define alters_enforcement(con) false
#define is_enforced(con) true
#define alters_deferring(con) true
#define alters_foreign_key(con) true
#endif

static const char *constraint_of(const AlterTableCmd *cmd)
{
	return cmd->subtype == AT_AlterConstraint ? ((AlteredConstraint *)cmd->def)->conname
						  : cmd->name;
}

/* What becomes of a constraint that has the name on the shard. */
static char *constraint_form(const AlterTableCmd *cmd, const char *name)
{
	const AlteredConstraint *con = (const AlteredConstraint *)cmd->def;
	const char *cascade = cmd->behavior == DROP_CASCADE ? " CASCADE" : "";

	if (cmd->subtype == AT_ValidateConstraint)
		return psprintf("VALIDATE CONSTRAINT %s", quote_identifier(name));
	if (cmd->subtype == AT_DropConstraint)
		return psprintf("DROP CONSTRAINT IF EXISTS %s%s", quote_identifier(name), cascade);
	if (!alters_foreign_key(con))
		return NULL; /* whether it is inherited: shards have no children */
	return psprintf("ALTER CONSTRAINT %s%s%s", quote_identifier(name),
			!alters_deferring(con) ? ""
			: !con->deferrable     ? " NOT DEFERRABLE"
			: con->initdeferred    ? " DEFERRABLE INITIALLY DEFERRED"
					       : " DEFERRABLE INITIALLY IMMEDIATE",
			!alters_enforcement(con) ? ""
			: is_enforced(con)       ? " ENFORCED"
						 : " NOT ENFORCED");
}

/* NOT NULL constraints have other names on shards. */
static char *not_null_form(const AlterTableCmd *cmd, Oid relid, HeapTuple constraint)
{
	bool isnull;
	Datum key = SysCacheGetAttr(CONSTROID, constraint, Anum_pg_constraint_conkey, &isnull);
	char *column;

	if (cmd->subtype == AT_AlterConstraint)
		return NULL;
	column = get_attname(relid, ((int16 *)ARR_DATA_PTR(DatumGetArrayTypeP(key)))[0], false);
	return psprintf("ALTER COLUMN %s %s NOT NULL", quote_identifier(column),
			cmd->subtype == AT_ValidateConstraint ? "SET" : "DROP");
}

/* DROP, VALIDATE or ALTER CONSTRAINT; looked up before it is gone. */
static List *named_constraint(const HerdTable *table, const AlterTableCmd *cmd)
{
	const char *name = constraint_of(cmd);
	Oid oid = get_relation_constraint_oid(table->relid, name, true);
	HeapTuple tuple =
		OidIsValid(oid) ? SearchSysCache1(CONSTROID, ObjectIdGetDatum(oid)) : NULL;
	char kind = HeapTupleIsValid(tuple) ? ((Form_pg_constraint)GETSTRUCT(tuple))->contype : 0;
	List *out = NIL;
	ListCell *lc;

	if (kind == CONSTRAINT_FOREIGN && herd_far_key_is(oid)) {
		ReleaseSysCache(tuple);
		return NIL;
	}
	foreach (lc, herd_utility_local_shards(table)) {
		uint64 shardid = *(uint64 *)lfirst(lc);
		const char *member =
			kind == CONSTRAINT_CHECK ? name : herd_shape_member_name(name, shardid);
		char *form = kind == CONSTRAINT_NOTNULL ? not_null_form(cmd, table->relid, tuple)
							: constraint_form(cmd, member);

		if (form != NULL)
			out = lappend(out, psprintf("ALTER TABLE %s %s",
						    herd_shape_name(table->relid, shardid), form));
	}
	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return out;
}

/* Those of the named constraints that are far keys, before they are gone. */
static List *named_far_keys(const HerdTable *table, const AlterTableStmt *stmt)
{
	List *out = NIL;
	ListCell *lc;

	foreach (lc, stmt->cmds) {
		const char *name = constraint_of(lfirst_node(AlterTableCmd, lc));
		Oid oid = get_relation_constraint_oid(table->relid, name, true);

		if (OidIsValid(oid) && herd_far_key_is(oid))
			out = lappend_oid(out, oid);
	}
	return out;
}

static List *same_text(HerdUtility *u, const HerdTable *table, int location)
{
	List *out = NIL;
	ListCell *lc;

	foreach (lc, herd_utility_local_shards(table))
		out = lappend(out, herd_utility_splice(
					   u, location,
					   herd_shape_name(table->relid, *(uint64 *)lfirst(lc))));
	return out;
}

/* A subcommand that names an index, for the table (shardid 0) or a shard. */
static char *index_form(const HerdTable *table, const AlterTableCmd *cmd, uint64 shardid)
{
	const char *form;
	Constraint *con;

	if (cmd->subtype == AT_ReplicaIdentity)
		form = psprintf("REPLICA IDENTITY USING INDEX %s",
				quote_identifier(herd_shape_member_name(
					castNode(ReplicaIdentityStmt, cmd->def)->name, shardid)));
	else if (cmd->subtype == AT_ClusterOn)
		form = psprintf("CLUSTER ON %s",
				quote_identifier(herd_shape_member_name(cmd->name, shardid)));
	else {
		con = castNode(Constraint, cmd->def);
		form = psprintf("ADD CONSTRAINT %s %s USING INDEX %s%s%s",
				quote_identifier(herd_shape_member_name(
					con->conname ? con->conname : con->indexname, shardid)),
				con->contype == CONSTR_PRIMARY ? "PRIMARY KEY" : "UNIQUE",
				quote_identifier(herd_shape_member_name(con->indexname, shardid)),
				con->deferrable ? " DEFERRABLE" : "",
				con->initdeferred ? " INITIALLY DEFERRED" : "");
	}
	return psprintf("ALTER TABLE %s %s", herd_shape_name(table->relid, shardid), form);
}

static List *index_forms(const HerdTable *table, const AlterTableCmd *cmd)
{
	List *out = NIL;
	ListCell *lc;

	foreach (lc, herd_utility_local_shards(table))
		out = lappend(out, index_form(table, cmd, *(uint64 *)lfirst(lc)));
	return out;
}

/* The column as this node made it, then its constraints under names that the nodes agree on. */
static void add_column(HerdUtility *u, const HerdTable *table, const AlterTableCmd *cmd)
{
	const char *name = castNode(ColumnDef, cmd->def)->colname;
	bool existed = get_attnum(table->relid, name) != InvalidAttrNumber;
	List *before = herd_partition_constraints(table->relid), *shards = NIL;
	char *column;
	ListCell *lc;

	herd_utility_run_shell(u);
	if (existed)
		return;
	table = herd_table_get(table->relid);
	herd_table_check(table->relid, table->keyattno, table->kind, table->colocationid);
	column = herd_shape_column(table->relid, get_attnum(table->relid, name));
	foreach (lc, herd_utility_local_shards(table))
		shards = lappend(shards,
				 psprintf("ALTER TABLE %s ADD COLUMN %s",
					  herd_shape_name(table->relid, *(uint64 *)lfirst(lc)),
					  column));
	herd_utility_spread(u,
			    list_make1(psprintf("ALTER TABLE %s ADD COLUMN %s",
						herd_shape_name(table->relid, 0), column)),
			    shards);
	add_constraints(u, table, before);
}

/* Must its subcommands be run one by one? Raises for those that cannot be run at all. */
static bool must_split(const HerdUtility *u, const HerdTable *table, const AlterTableStmt *stmt)
{
	bool split = false;
	ListCell *lc;

	foreach (lc, stmt->cmds) {
		AlterTableCmd *cmd = lfirst(lc);
		enum how how = how_to(table, cmd);

		if (!u->applying)
			check_command(table, cmd);
		split = split || how == HOW_ADD_COLUMN || how == HOW_SERIAL || how == HOW_INDEX ||
			how != how_to(table, linitial(stmt->cmds));
	}
	return split && list_length(stmt->cmds) > 1;
}

/* A default may draw from a sequence that other nodes have to get first. */
static bool new_defaults(const AlterTableStmt *stmt)
{
	ListCell *lc;

	foreach (lc, stmt->cmds) {
		AlterTableType type = ((AlterTableCmd *)lfirst(lc))->subtype;

		if (type == AT_ColumnDefault || type == AT_AddColumn)
			return true;
	}
	return false;
}

/* The tables that new foreign keys refer to are to be in the metadata. */
static void bring_tied(const HerdTable *table, const AlterTableCmd *cmd)
{
	List *constraints = NIL;
	ListCell *lc;

	if (cmd->subtype == AT_AddConstraint)
		constraints = list_make1(cmd->def);
	else if (cmd->subtype == AT_AddColumn)
		constraints = castNode(ColumnDef, cmd->def)->constraints;
	foreach (lc, constraints) {
		const Constraint *con = lfirst_node(Constraint, lc);

		if (con->contype == CONSTR_FOREIGN)
			herd_tied_refer(table, RangeVarGetRelid(con->pktable, NoLock, true));
	}
}

bool herd_utility_alter_table(HerdUtility *u)
{
	AlterTableStmt *stmt = castNode(AlterTableStmt, u->stmt);
	const HerdTable *table;
	enum how how;
	List *others, *shards = NIL, *before, *far = NIL, *around = NIL;
	ListCell *lc;

	if (stmt->objtype == OBJECT_INDEX)
		return herd_utility_alter_index(u);
	if (stmt->objtype != OBJECT_TABLE)
		return false;
	table = herd_utility_table(stmt->relation, NoLock);
	if (!table)
		return false;
	herd_utility_require_origin(u);
	if (must_split(u, table, stmt)) {
		if (!herd_utility_run_apart(u))
			refuse(table, "these subcommands cannot be combined",
			       "Use an ALTER TABLE statement for each.");
		return true;
	}
	how = how_to(table, linitial(stmt->cmds));
	if (!u->applying)
		foreach (lc, stmt->cmds)
			bring_tied(table, lfirst(lc));
	table = herd_utility_table(stmt->relation, NoLock);
	if (how == HOW_SERIAL) {
		herd_serial_add(table, linitial(stmt->cmds));
		return true;
	}
	if (how == HOW_ADD_COLUMN) {
		add_column(u, table, linitial(stmt->cmds));
		return true;
	}
	others = list_make1(
		herd_utility_splice(u, stmt->relation->location, herd_shape_name(table->relid, 0)));
	if (how == HOW_NAMED_CONSTRAINT) {
		far = named_far_keys(table, stmt);
		around = herd_far_key_tables(far);
		foreach (lc, stmt->cmds)
			shards = list_concat(shards, named_constraint(table, lfirst(lc)));
	}
	if (how == HOW_SAME)
		shards = same_text(u, table, stmt->relation->location);
	if (how == HOW_INDEX)
		shards = index_forms(table, linitial(stmt->cmds));
	before = how == HOW_ADD_CONSTRAINT ? herd_partition_constraints(table->relid) : NIL;
	herd_utility_run_shell(u);
	table = herd_table_get(table->relid);
	if (!u->applying && (how == HOW_ADD_CONSTRAINT || how == HOW_SAME || how == HOW_INDEX))
		herd_table_check(table->relid, table->keyattno, table->kind, table->colocationid);
	if (!u->applying && (how == HOW_SAME || how == HOW_SHELL_ONLY) && new_defaults(stmt))
		others = list_concat(herd_shape_sequence_commands(table->relid), others);
	foreach (lc, stmt->cmds)
		if (lfirst_node(AlterTableCmd, lc)->subtype == AT_AddIdentity)
			others = lappend(
				others, herd_serial_localize(table->relid,
							     lfirst_node(AlterTableCmd, lc)->name));
	if (how == HOW_ADD_CONSTRAINT)
		add_constraints(u, table, before);
	else
		herd_utility_spread(u, others, list_concat(shards, herd_far_key_shapes(around)));
	validate_far_keys(u, far);
	return true;
}

static bool is_index(Oid relid)
{
	char kind = get_rel_relkind(relid);

	return kind == RELKIND_INDEX || kind == RELKIND_PARTITIONED_INDEX;
}

static bool rename_index(HerdUtility *u, RenameStmt *stmt)
{
	Oid indexid = RangeVarGetRelid(stmt->relation, NoLock, true);
	const HerdTable *table;
	char *schema, *old, *command;
	List *shards = NIL;
	ListCell *lc;

	if (!OidIsValid(indexid) || !is_index(indexid))
		return false;
	table = herd_table_get(IndexGetRelation(indexid, false));
	if (!table)
		return false;
	herd_utility_require_origin(u);
	schema = get_namespace_name(get_rel_namespace(indexid));
	old = get_rel_name(indexid);
	command = herd_utility_splice(u, stmt->relation->location, herd_shape_name(indexid, 0));
	foreach (lc, herd_utility_local_shards(table)) {
		uint64 shardid = *(uint64 *)lfirst(lc);

		shards = lappend(
			shards,
			psprintf("ALTER INDEX %s RENAME TO %s",
				 quote_qualified_identifier(schema, herd_shard_name(old, shardid)),
				 quote_identifier(herd_shard_name(stmt->newname, shardid))));
	}
	herd_utility_run_shell(u);
	herd_utility_spread(u, list_make1(command), shards);
	return true;
}

static char constraint_kind(Oid constraintid)
{
	HeapTuple tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(constraintid));
	char kind = 0;

	if (HeapTupleIsValid(tuple)) {
		kind = ((Form_pg_constraint)GETSTRUCT(tuple))->contype;
		ReleaseSysCache(tuple);
	}
	return kind;
}

/* NULL: shards have another name for it. */
static char *rename_for_shard(const HerdUtility *u, const RenameStmt *stmt, const HerdTable *table,
			      uint64 shardid)
{
	char *shard = herd_shape_name(table->relid, shardid);
	char kind;
	Oid oid;

	switch (stmt->renameType) {
	case OBJECT_TABLE:
		return psprintf("ALTER TABLE %s RENAME TO %s", shard,
				quote_identifier(herd_shard_name(stmt->newname, shardid)));
	case OBJECT_TABCONSTRAINT:
		oid = get_relation_constraint_oid(table->relid, stmt->subname, true);
		kind = constraint_kind(oid);
		if (kind == CONSTRAINT_CHECK)
			break;
		if (kind == CONSTRAINT_NOTNULL || herd_far_key_is(oid))
			return NULL;
		return psprintf("ALTER TABLE %s RENAME CONSTRAINT %s TO %s", shard,
				quote_identifier(herd_shard_name(stmt->subname, shardid)),
				quote_identifier(herd_shard_name(stmt->newname, shardid)));
	default:
		break;
	}
	return herd_utility_splice(u, stmt->relation->location, shard);
}

bool herd_utility_rename(HerdUtility *u)
{
	RenameStmt *stmt = castNode(RenameStmt, u->stmt);
	const HerdTable *table;
	List *shards = NIL;
	ListCell *lc;
	char *command;

	if (stmt->renameType == OBJECT_INDEX && stmt->relation)
		return rename_index(u, stmt);
	if (!stmt->relation ||
	    (stmt->renameType != OBJECT_TABLE && stmt->renameType != OBJECT_COLUMN &&
	     stmt->renameType != OBJECT_TABCONSTRAINT))
		return herd_utility_object(u);
	table = herd_utility_table(stmt->relation, NoLock);
	if (!table)
		return false;
	herd_utility_require_origin(u);
	command =
		herd_utility_splice(u, stmt->relation->location, herd_shape_name(table->relid, 0));
	foreach (lc, herd_utility_local_shards(table)) {
		char *sql = rename_for_shard(u, stmt, table, *(uint64 *)lfirst(lc));

		if (sql != NULL)
			shards = lappend(shards, sql);
	}
	herd_utility_run_shell(u);
	herd_utility_spread(u, list_make1(command), shards);
	return true;
}

bool herd_utility_set_schema(HerdUtility *u)
{
	AlterObjectSchemaStmt *stmt = castNode(AlterObjectSchemaStmt, u->stmt);
	const HerdTable *table;
	List *shards;
	char *command;

	if (stmt->objectType != OBJECT_TABLE || !stmt->relation)
		return herd_utility_object(u);
	table = herd_utility_table(stmt->relation, NoLock);
	if (!table)
		return false;
	herd_utility_require_origin(u);
	command =
		herd_utility_splice(u, stmt->relation->location, herd_shape_name(table->relid, 0));
	shards = same_text(u, table, stmt->relation->location);
	herd_utility_run_shell(u);
	herd_utility_spread(u, list_make1(command), shards);
	return true;
}

/* Those of partitions first: the parent's then takes them as its own, under their names. */
static List *index_list(Oid relid)
{
	List *out = NIL;
	ListCell *lc;

	foreach (lc, herd_partition_tree_up(relid)) {
		Relation rel = relation_open(lfirst_oid(lc), AccessShareLock);

		out = list_concat(out, RelationGetIndexList(rel));
		relation_close(rel, AccessShareLock);
	}
	return out;
}

/* The next shard of the table on a group; -1 when all are done. */
static int next_shard(const HerdTable *table, int from, int32 group)
{
	for (int i = from; i < table->nshards; i++)
		for (int g = 0; g < table->shards[i].ngroups; g++)
			if (table->shards[i].groups[g] == group)
				return i;
	return -1;
}

static char *concurrent_text(Oid indexid, uint64 shardid)
{
	const char *sql = herd_shape_index(indexid, shardid);
	const char *at = strstr(sql, "INDEX ") + strlen("INDEX ");

	return psprintf("%.*sCONCURRENTLY %s", (int)(at - sql), sql, at);
}

static void require_built(Oid indexid, List *nodes, List *results)
{
	ListCell *ln, *lr;

	forboth(ln, nodes, lr, results)
	{
		const HerdNode *node = lfirst(ln);
		const HerdRemoteResult *r = lfirst(lr);

		if (!r->ok)
			ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("cannot build index \"%s\" on node \"%s:%d\"",
					get_rel_name(indexid), node->host, node->port),
				 errdetail("%s", r->message),
				 errhint("Drop the index, which is incomplete, and create it "
					 "again.")));
	}
}

/* Every node builds one shard at a time, each in a transaction of its own. */
static void build_on_shards(Oid indexid, const HerdTable *table)
{
	int *next = palloc0(list_length(herd_nodes()) * sizeof(int));
	List *nodes, *sqls;

	do {
		ListCell *lc;

		nodes = sqls = NIL;
		foreach (lc, herd_nodes()) {
			const HerdNode *node = lfirst(lc);
			int *from = &next[foreach_current_index(lc)], shard;

			if (!node->primary || !node->active || *from < 0)
				continue;
			shard = next_shard(table, *from, node->groupid);
			*from = shard < 0 ? -1 : shard + 1;
			if (shard < 0)
				continue;
			nodes = lappend(nodes, (void *)node);
			sqls = lappend(sqls,
				       concurrent_text(indexid, table->shards[shard].shardid));
		}
		if (nodes != NIL)
			require_built(indexid, nodes, herd_remote_query_nodes(nodes, sqls, 0));
	} while (nodes != NIL);
}

/* Uniqueness is checked by each shard alone. */
static bool has_key(const IndexStmt *stmt, const HerdTable *table)
{
	ListCell *lc;

	foreach (lc, stmt->indexParams) {
		const char *name = ((IndexElem *)lfirst(lc))->name;

		if (name && table->keyattno &&
		    strcmp(name, get_attname(table->relid, table->keyattno, false)) == 0)
			return true;
	}
	return table->keyattno == 0;
}

/*
 * The statement is several transactions here and one for each shard, so it is not atomic: after a
 * failure the index is there without some of its shards, as PostgreSQL leaves an invalid one.
 */
static bool create_concurrently(HerdUtility *u, const IndexStmt *stmt, const HerdTable *table)
{
	Oid relid = table->relid;
	List *before = index_list(relid), *added;

	if (stmt->unique && !has_key(stmt, table))
		ereport(ERROR,
			(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
			 errmsg("a unique index of table \"%s\" must contain the "
				"distribution column \"%s\"",
				get_rel_name(relid), get_attname(relid, table->keyattno, false))));
	herd_utility_run(u);
	herd_utility_require_origin(u);
	added = list_difference_oid(index_list(relid), before);
	if (added == NIL)
		return true;
	build_on_shards(linitial_oid(added), herd_table_get(relid));
	herd_ddl_send(NULL, list_make3("SET LOCAL citus.enable_ddl_propagation = off",
				       herd_shape_index(linitial_oid(added), 0),
				       "SET LOCAL citus.enable_ddl_propagation = on"));
	return true;
}

bool herd_utility_create_index(HerdUtility *u)
{
	IndexStmt *stmt = castNode(IndexStmt, u->stmt);
	const HerdTable *table = stmt->relation ? herd_utility_table(stmt->relation, NoLock) : NULL;
	List *before, *others = NIL, *shards = NIL;
	ListCell *lc, *ls;

	if (!table)
		return false;
	herd_utility_require_origin(u);
	if (stmt->concurrent)
		return create_concurrently(u, stmt, table);
	before = index_list(table->relid);
	herd_utility_run_shell(u);
	table = herd_table_get(table->relid);
	if (!u->applying)
		herd_table_check(table->relid, table->keyattno, table->kind, table->colocationid);
	/* Named as this node named it, so that all nodes agree. */
	foreach (lc, list_difference_oid(index_list(table->relid), before)) {
		const HerdTable *owner = herd_table_get(IndexGetRelation(lfirst_oid(lc), false));

		others = lappend(others, herd_shape_index(lfirst_oid(lc), 0));
		foreach (ls, herd_utility_local_shards(owner))
			shards = lappend(shards,
					 herd_shape_index(lfirst_oid(lc), *(uint64 *)lfirst(ls)));
	}
	herd_utility_spread(u, others, shards);
	return true;
}

bool herd_utility_drop_index(HerdUtility *u)
{
	DropStmt *stmt = castNode(DropStmt, u->stmt);
	List *others = NIL, *shards = NIL;
	ListCell *lc, *ls;

	if (stmt->removeType != OBJECT_INDEX)
		return false;
	foreach (lc, stmt->objects) {
		RangeVar *rv = makeRangeVarFromNameList(lfirst(lc));
		Oid indexid = RangeVarGetRelid(rv, NoLock, true);
		const HerdTable *table;
		char *schema;

		if (!OidIsValid(indexid) || !is_index(indexid))
			continue;
		table = herd_table_get(IndexGetRelation(indexid, false));
		if (!table)
			continue;
		schema = get_namespace_name(get_rel_namespace(indexid));
		others = lappend(others, psprintf("DROP INDEX IF EXISTS %s CASCADE",
						  herd_shape_name(indexid, 0)));
		foreach (ls, herd_utility_local_shards(table))
			shards = lappend(
				shards,
				psprintf("DROP INDEX IF EXISTS %s CASCADE",
					 quote_qualified_identifier(
						 schema, herd_shard_name(get_rel_name(indexid),
									 *(uint64 *)lfirst(ls)))));
	}
	if (others == NIL)
		return false;
	herd_utility_require_origin(u);
	if (stmt->concurrent)
		return herd_utility_drop_index_concurrently(u);
	herd_utility_run_shell(u);
	herd_utility_spread(u, others, shards);
	return true;
}

/* The statement for one table instead of its list of them. */
static char *grant_text(const HerdUtility *u, List *objects, const char *name)
{
	int first = linitial_node(RangeVar, objects)->location - u->base;
	int end = herd_utility_name_end(u, llast_node(RangeVar, objects)->location);

	return psprintf("%.*s%s%s", first, u->text, name, u->text + end);
}

/* Other nodes have the view if they could. */
static char *grant_on_view(HerdUtility *u, List *objects, Oid view)
{
	char *name = quote_qualified_identifier(get_namespace_name(get_rel_namespace(view)),
						get_rel_name(view));
	char *command = grant_text(u, objects, name);

	return psprintf("SELECT citus_internal.try_ddl(%s, ARRAY[%s])",
			quote_literal_cstr(namespace_search_path), quote_literal_cstr(command));
}

static bool on_other_nodes(const HerdUtility *u, Oid view)
{
	return OidIsValid(view) && get_rel_relkind(view) == RELKIND_VIEW && !u->applying &&
	       herd_local_group() == HERD_COORDINATOR_GROUP && herd_other_groups() != NIL &&
	       get_rel_persistence(view) != RELPERSISTENCE_TEMP;
}

bool herd_utility_grant(HerdUtility *u)
{
	GrantStmt *stmt = castNode(GrantStmt, u->stmt);
	List *others = NIL, *shards = NIL;
	ListCell *lc, *ls;

	/* Whole schemas: the text fits every node, and shards are in the schema like others. */
	if (stmt->objtype != OBJECT_TABLE || stmt->targtype != ACL_TARGET_OBJECT)
		return herd_utility_object(u);
	foreach (lc, stmt->objects) {
		const HerdTable *table = herd_utility_table(lfirst(lc), NoLock);
		Oid relid = table ? InvalidOid : RangeVarGetRelid(lfirst(lc), NoLock, true);

		if (on_other_nodes(u, relid))
			others = lappend(others, grant_on_view(u, stmt->objects, relid));
		if (!table)
			continue;
		others = lappend(others,
				 grant_text(u, stmt->objects, herd_shape_name(table->relid, 0)));
		foreach (ls, herd_utility_local_shards(table))
			shards = lappend(
				shards,
				grant_text(u, stmt->objects,
					   herd_shape_name(table->relid, *(uint64 *)lfirst(ls))));
	}
	if (others == NIL)
		return false;
	herd_utility_require_origin(u);
	herd_utility_run_shell(u);
	herd_utility_spread(u, others, shards);
	return true;
}
