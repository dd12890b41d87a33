/*
 * ALTER TABLE .. ADD COLUMN of serial and identity columns: a plain column, numbers for the rows
 * that are there, drawn on the coordinator, and then what makes it one.
 */
#include "ddl/serial.h"

#include "access/xact.h"
#include "catalog/metadata.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "ddl/local.h"
#include "ddl/shape.h"
#include "parser/parse_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

static const char *serial_type(const ColumnDef *column)
{
	static const struct {
		const char *name, *type;
	} known[] = { { "smallserial", "smallint" }, { "serial2", "smallint" },
		      { "serial", "integer" },       { "serial4", "integer" },
		      { "bigserial", "bigint" },     { "serial8", "bigint" } };
	const TypeName *name = column->typeName;

	if (name == NULL || list_length(name->names) != 1)
		return NULL;
	for (size_t i = 0; i < lengthof(known); i++)
		if (strcmp(strVal(linitial(name->names)), known[i].name) == 0)
			return known[i].type;
	return NULL;
}

static const Constraint *identity_of(const ColumnDef *column)
{
	ListCell *lc;

	foreach (lc, column->constraints)
		if (lfirst_node(Constraint, lc)->contype == CONSTR_IDENTITY)
			return lfirst(lc);
	return NULL;
}

static char *option_text(const DefElem *option)
{
	static const struct {
		const char *name, *set, *unset;
	} known[] = { { "start", "START WITH", NULL },
		      { "increment", "INCREMENT BY", NULL },
		      { "cache", "CACHE", NULL },
		      { "minvalue", "MINVALUE", "NO MINVALUE" },
		      { "maxvalue", "MAXVALUE", "NO MAXVALUE" } };

	if (strcmp(option->defname, "cycle") == 0)
		return boolVal(option->arg) ? "CYCLE" : "NO CYCLE";
	for (size_t i = 0; i < lengthof(known); i++) {
		if (strcmp(option->defname, known[i].name) != 0)
			continue;
		return option->arg != NULL
			       ? psprintf("%s %s", known[i].set, defGetString((DefElem *)option))
			       : (char *)known[i].unset;
	}
	return NULL;
}

/* What makes the sequence of an identity column; NULL: there is one that is not known. */
static char *options_text(const Constraint *identity)
{
	StringInfoData out;
	ListCell *lc;

	initStringInfo(&out);
	foreach (lc, identity->options) {
		char *option = option_text(lfirst(lc));

		if (option == NULL)
			return NULL;
		appendStringInfo(&out, "%s%s", out.len ? " " : "", option);
	}
	return out.data;
}

bool herd_serial_is(const AlterTableCmd *cmd)
{
	const ColumnDef *column = (const ColumnDef *)cmd->def;

	return cmd->subtype == AT_AddColumn &&
	       (serial_type(column) != NULL || identity_of(column) != NULL);
}

const char *herd_serial_refusal(const AlterTableCmd *cmd)
{
	const ColumnDef *column = castNode(ColumnDef, cmd->def);
	const Constraint *identity = identity_of(column);
	ListCell *lc;

	if (identity && options_text(identity) == NULL)
		return "identity columns with this option cannot be added";
	foreach (lc, column->constraints) {
		ConstrType type = lfirst_node(Constraint, lc)->contype;

		if (type != CONSTR_IDENTITY && type != CONSTR_NOTNULL && type != CONSTR_NULL)
			return "serial and identity columns with other constraints cannot be added";
	}
	return NULL;
}

/* What acts on an UPDATE of users must not act here. */
static void require_quiet(const HerdTable *table)
{
	if (herd_sql_int("SELECT (EXISTS (SELECT FROM pg_trigger WHERE tgrelid = %u AND NOT "
			 "tgisinternal) OR EXISTS (SELECT FROM pg_rewrite WHERE ev_class = %u) OR "
			 "EXISTS (SELECT FROM pg_class WHERE oid = %u AND relrowsecurity))::int",
			 table->relid, table->relid, table->relid))
		ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot alter distributed table \"%s\": %s",
				get_rel_name(table->relid),
				"serial and identity columns cannot be added to rows of a table "
				"with triggers, rules or policies"),
			 errhint("Add a plain column, create a sequence and set the column's "
				 "default.")));
}

/* Numbers for the rows that are there; whether there were any. */
static bool fill(const HerdTable *table, const char *column, const char *sequence)
{
	char *name = herd_shape_name(table->relid, 0);

	if (herd_sql_int("SELECT count(*) FROM (SELECT FROM %s LIMIT 1) t", name) == 0)
		return false;
	require_quiet(table);
	herd_sql_exec("UPDATE %s SET %s = nextval(%s)", name, column, quote_literal_cstr(sequence));
	return true;
}

/* On this node and the others; the shards have no part in it. */
static void on_shells(const char *here, List *there)
{
	herd_ddl_run(NULL, list_make1(pstrdup(here)));
	CommandCounterIncrement();
	herd_ddl_send(NULL, there);
}

static void add_serial(const HerdTable *table, const char *plain, const char *type)
{
	const char *column = quote_identifier(plain);
	Oid schema = get_rel_namespace(table->relid);
	char *name = herd_shape_name(table->relid, 0), *sequence, *set, *far, *own;

	sequence = quote_qualified_identifier(
		get_namespace_name(schema),
		ChooseRelationName(get_rel_name(table->relid), plain, "seq", schema, false));
	herd_sql_exec("CREATE SEQUENCE %s AS %s", sequence, type);
	herd_sql_exec("ALTER TABLE %s ADD COLUMN %s %s", name, column, type);
	(void)fill(table, column, sequence);
	herd_sql_exec("ALTER TABLE %s ALTER COLUMN %s SET NOT NULL", name, column);
	set = psprintf("ALTER TABLE %s ALTER COLUMN %s SET DEFAULT ", name, column);
	far = psprintf("%s%s(%s)", set,
		       strcmp(type, "bigint") == 0 ? "pg_catalog.nextval"
						   : "citus_internal.coordinator_nextval",
		       quote_literal_cstr(sequence));
	own = psprintf("ALTER SEQUENCE %s OWNED BY %s.%s", sequence, name, column);
	herd_ddl_run(NULL, list_make2(psprintf("%spg_catalog.nextval(%s)", set,
					       quote_literal_cstr(sequence)),
				      own));
	CommandCounterIncrement();
	herd_ddl_send(NULL, list_concat(herd_shape_sequence_commands(table->relid),
					list_make2(far, own)));
}

static void add_identity(const HerdTable *table, const char *plain, const Constraint *identity,
			 const char *type)
{
	const char *column = quote_identifier(plain);
	char *name = herd_shape_name(table->relid, 0), *add, *serial;
	char *options = options_text(identity);
	bool filled;

	herd_sql_exec("CREATE TEMPORARY SEQUENCE herd_numbers AS %s %s", type, options);
	herd_sql_exec("ALTER TABLE %s ADD COLUMN %s %s", name, column, type);
	filled = fill(table, column, "pg_temp.herd_numbers");
	herd_sql_exec("ALTER TABLE %s ALTER COLUMN %s SET NOT NULL", name, column);
	add = psprintf(
		"ALTER TABLE %s ALTER COLUMN %s ADD GENERATED %s AS IDENTITY%s", name, column,
		identity->generated_when == ATTRIBUTE_IDENTITY_ALWAYS ? "ALWAYS" : "BY DEFAULT",
		options[0] ? psprintf(" (%s)", options) : "");
	on_shells(add, list_make2(add, herd_serial_localize(table->relid, plain)));
	serial = psprintf("pg_get_serial_sequence(%s, %s)", quote_literal_cstr(name),
			  quote_literal_cstr(plain));
	if (filled)
		herd_sql_exec("SELECT setval(%s, last_value) FROM pg_temp.herd_numbers", serial);
	herd_sql_exec("DROP SEQUENCE pg_temp.herd_numbers");
}

char *herd_serial_localize(Oid relid, const char *column)
{
	return psprintf("SELECT citus_internal.localize_sequence(pg_catalog.pg_get_serial_sequence("
			"%s, %s)::regclass)",
			quote_literal_cstr(herd_shape_name(relid, 0)), quote_literal_cstr(column));
}

void herd_serial_add(const HerdTable *table, const AlterTableCmd *cmd)
{
	const ColumnDef *column = castNode(ColumnDef, cmd->def);
	const Constraint *identity = identity_of(column);

	if (cmd->missing_ok && get_attnum(table->relid, column->colname) != InvalidAttrNumber)
		ereport(NOTICE, (errcode(ERRCODE_DUPLICATE_COLUMN),
				 errmsg("column \"%s\" of relation \"%s\" already exists, skipping",
					column->colname, get_rel_name(table->relid))));
	else if (identity)
		add_identity(table, column->colname, identity,
			     format_type_be(typenameTypeId(NULL, column->typeName)));
	else
		add_serial(table, column->colname, serial_type(column));
}
