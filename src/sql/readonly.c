#include "sql/readonly.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "base/str.h"

static void refuse(struct herd_readonly *r, const char *what, const char *detail)
{
	if (r->why)
		return;
	r->why = herd_str_printf("%s%s", what, detail ? detail : "");
}

void herd_readonly_free(struct herd_readonly *r)
{
	for (size_t i = 0; i < r->n; i++) {
		free(r->names[i].schema);
		free(r->names[i].name);
	}
	free(r->names);
	free(r->why);
	*r = (struct herd_readonly){ 0 };
}

#ifdef HERD_HAVE_PG_QUERY
#include <pg_query.h>

/*
 * The parser's JSON: a node is {"Type": {field: value}}, but a field whose type is fixed holds the
 * fields of its value directly. Nodes start with an upper-case letter, fields do not.
 */
struct type_rule {
	const char *type;
	bool (*fn)(struct herd_readonly *r, const json_t *fields);
	bool leaf; /* its fields are no expressions */
};

static bool walk_fields(struct herd_readonly *r, const json_t *fields);
static bool walk_node(struct herd_readonly *r, const json_t *node);

static bool add_name(struct herd_readonly *r, char kind, const char *schema, const char *name)
{
	for (size_t i = 0; i < r->n; i++) {
		const struct herd_name *n = &r->names[i];

		if (n->kind == kind && strcmp(n->name, name) == 0 && herd_str_eq(n->schema, schema))
			return true;
	}
	struct herd_name *names = realloc(r->names, (r->n + 1) * sizeof(*names));

	if (!names)
		return refuse(r, "out of memory", NULL), false;
	r->names = names;
	struct herd_name *n = &names[r->n];

	*n = (struct herd_name){ .kind = kind,
				 .schema = herd_str_dup(schema),
				 .name = strdup(name) };
	if (!n->name || (schema && !n->schema)) {
		free(n->schema);
		free(n->name);
		return refuse(r, "out of memory", NULL), false;
	}
	r->n++;
	return true;
}

/* The text of a node {"String": {"sval": text}}; "" when the text is empty, NULL: another node. */
static const char *string_of(const json_t *node)
{
	const json_t *s = json_object_get(node, "String");

	return s ? herd_json_str(s, "sval", "") : NULL;
}

/* Adds a name that is a list of strings: [schema.]name. */
static bool add_list(struct herd_readonly *r, char kind, const json_t *list)
{
	size_t n = json_array_size(list);
	const char *name = n > 0 ? string_of(json_array_get(list, n - 1)) : NULL;
	const char *schema = n > 1 ? string_of(json_array_get(list, n - 2)) : NULL;

	if (!name || n > 3 || (n > 1 && !schema))
		return refuse(r, "has a name of an unknown form", NULL), false;
	return add_name(r, kind, schema, name);
}

static bool on_select(struct herd_readonly *r, const json_t *f)
{
	const char *op = herd_json_str(f, "op", "");

	if (json_object_get(f, "intoClause"))
		return refuse(r, "is SELECT INTO", NULL), false;
	if (json_object_get(f, "lockingClause"))
		return refuse(r, "locks rows", NULL), false;
	if (strcmp(op, "SETOP_NONE") != 0 || json_object_get(f, "distinctClause") ||
	    json_object_get(f, "groupClause"))
		return add_name(r, HERD_NAME_OPERATOR, NULL, "=");
	return true;
}

static bool on_relation(struct herd_readonly *r, const json_t *f)
{
	return add_name(r, HERD_NAME_RELATION, herd_json_str(f, "schemaname", NULL),
			herd_json_str(f, "relname", ""));
}

/* What is not volatile and yet needs the primary, or tells of the server it runs on. */
static bool of_the_server(const char *schema, const char *name)
{
	static const char *const names[] = {
		"txid_current",         "pg_current_xact_id",       "pg_backend_pid",
		"pg_my_temp_schema",    "pg_listening_channels",    "pg_postmaster_start_time",
		"pg_conf_load_time",    "pg_prepared_statement",    "pg_cursor",
		"pg_show_all_settings", "pg_get_replication_slots",
	};

	if (schema && strcmp(schema, "pg_catalog") != 0)
		return false;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(names[i], name) == 0)
			return true;
	}
	/* The last ones read whatever their argument names. */
	return strncmp(name, "pg_stat_", 8) == 0 || strncmp(name, "inet_server_", 12) == 0 ||
	       strstr(name, "_to_xml");
}

static bool on_function(struct herd_readonly *r, const json_t *f)
{
	const json_t *list = json_object_get(f, "funcname");
	size_t n = json_array_size(list);
	const char *name = n > 0 ? string_of(json_array_get(list, n - 1)) : NULL;
	const char *schema = n > 1 ? string_of(json_array_get(list, n - 2)) : NULL;

	if (name && of_the_server(schema, name))
		return refuse(r, "asks about the server: function ", name), false;
	return add_list(r, HERD_NAME_FUNCTION, list);
}

static bool on_operator(struct herd_readonly *r, const json_t *f)
{
	const char *kind = herd_json_str(f, "kind", "");

	if (strstr(kind, "BETWEEN"))
		return add_name(r, HERD_NAME_OPERATOR, NULL, ">=") &&
		       add_name(r, HERD_NAME_OPERATOR, NULL, "<=") &&
		       add_name(r, HERD_NAME_OPERATOR, NULL, "<") &&
		       add_name(r, HERD_NAME_OPERATOR, NULL, ">");
	return add_list(r, HERD_NAME_OPERATOR, json_object_get(f, "name"));
}

static bool on_sublink(struct herd_readonly *r, const json_t *f)
{
	const json_t *op = json_object_get(f, "operName");

	if (op)
		return add_list(r, HERD_NAME_OPERATOR, op);
	return !json_object_get(f, "testexpr") || add_name(r, HERD_NAME_OPERATOR, NULL, "=");
}

static bool on_sort(struct herd_readonly *r, const json_t *f)
{
	const json_t *op = json_object_get(f, "useOp");

	return op ? add_list(r, HERD_NAME_OPERATOR, op)
		  : add_name(r, HERD_NAME_OPERATOR, NULL, "<");
}

static bool on_join(struct herd_readonly *r, const json_t *f)
{
	if (json_object_get(f, "usingClause") || json_object_get(f, "isNatural"))
		return add_name(r, HERD_NAME_OPERATOR, NULL, "=");
	return true;
}

static bool on_type(struct herd_readonly *r, const json_t *f)
{
	if (json_object_get(f, "pct_type") || json_object_get(f, "setof"))
		return refuse(r, "has a type of an unknown form", NULL), false;
	return add_list(r, HERD_NAME_TYPE, json_object_get(f, "names"));
}

/* x.y may call a function y(x). */
static bool add_fields(struct herd_readonly *r, const json_t *list, size_t from)
{
	size_t i;
	json_t *v;

	json_array_foreach(list, i, v)
	{
		const char *name = string_of(v);

		if (i >= from && name && !add_name(r, HERD_NAME_FIELD, NULL, name))
			return false;
	}
	return true;
}

static bool on_column(struct herd_readonly *r, const json_t *f)
{
	return add_fields(r, json_object_get(f, "fields"), 1);
}

static bool on_indirection(struct herd_readonly *r, const json_t *f)
{
	return add_fields(r, json_object_get(f, "indirection"), 0);
}

static bool on_cte(struct herd_readonly *r, const json_t *f)
{
	return add_name(r, HERD_NAME_CTE, NULL, herd_json_str(f, "ctename", ""));
}

static bool on_explain(struct herd_readonly *r, const json_t *f)
{
	size_t i;
	json_t *v;

	json_array_foreach(json_object_get(f, "options"), i, v)
	{
		const json_t *e = json_object_get(v, "DefElem");

		if (strcasecmp(herd_json_str(e, "defname", "analyze"), "analyze") == 0)
			return refuse(r, "is EXPLAIN ANALYZE", NULL), false;
	}
	return true;
}

/* What reads are made of. */
static const struct type_rule rules[] = {
	{ "SelectStmt", on_select, false },
	{ "ExplainStmt", on_explain, false },
	{ "DefElem", NULL, true },
	{ "RangeVar", on_relation, true },
	{ "FuncCall", on_function, false },
	{ "A_Expr", on_operator, false },
	{ "SubLink", on_sublink, false },
	{ "SortBy", on_sort, false },
	{ "JoinExpr", on_join, false },
	{ "TypeName", on_type, true },
	{ "ColumnRef", on_column, true },
	{ "A_Indirection", on_indirection, false },
	{ "CommonTableExpr", on_cte, false },
	{ "A_Const", NULL, true },
	{ "String", NULL, true },
	{ "Integer", NULL, true },
	{ "ParamRef", NULL, true },
	{ "A_Star", NULL, true },
	{ "SQLValueFunction", NULL, true },
	{ "ResTarget", NULL, false },
	{ "List", NULL, false },
	{ "WithClause", NULL, false },
	{ "RangeSubselect", NULL, false },
	{ "RangeFunction", NULL, false },
	{ "ColumnDef", NULL, false },
	{ "Alias", NULL, true },
	{ "WindowDef", NULL, false },
	{ "GroupingSet", NULL, false },
	{ "GroupingFunc", NULL, false },
	{ "BoolExpr", NULL, false },
	{ "TypeCast", NULL, false },
	{ "CaseExpr", NULL, false },
	{ "CaseWhen", NULL, false },
	{ "CoalesceExpr", NULL, false },
	{ "MinMaxExpr", NULL, false },
	{ "NullTest", NULL, false },
	{ "BooleanTest", NULL, false },
	{ "RowExpr", NULL, false },
	{ "A_ArrayExpr", NULL, false },
	{ "A_Indices", NULL, false },
	{ "NamedArgExpr", NULL, false },
	{ "CollateClause", NULL, true },
	{ "CTESearchClause", NULL, true },
	{ "CTECycleClause", NULL, false },
};

static const struct type_rule *rule_of(const char *type)
{
	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		if (strcmp(rules[i].type, type) == 0)
			return &rules[i];
	}
	return NULL;
}

static bool walk_typed(struct herd_readonly *r, const char *type, const json_t *fields)
{
	const struct type_rule *rule = rule_of(type);

	if (!rule)
		return refuse(r, "has a part that is not known to be a read: ", type), false;
	if (rule->fn && !rule->fn(r, fields))
		return false;
	return rule->leaf || walk_fields(r, fields);
}

static bool upper(const char *key)
{
	return *key >= 'A' && *key <= 'Z';
}

static bool walk_node(struct herd_readonly *r, const json_t *node)
{
	const char *key;
	json_t *value;

	/* {} stands for an element that is not there. */
	json_object_foreach((json_t *)node, key, value)
	{
		if (!upper(key))
			return refuse(r, "has a part of an unknown form: ", key), false;
		if (!walk_typed(r, key, value))
			return false;
	}
	return true;
}

/* The type of a field that is no node. */
static const char *fixed_type(const char *field)
{
	static const char *const types[][2] = {
		{ "larg", "SelectStmt" },
		{ "rarg", "SelectStmt" },
		{ "withClause", "WithClause" },
		{ "alias", "Alias" },
		{ "join_using_alias", "Alias" },
		{ "typeName", "TypeName" },
		{ "over", "WindowDef" },
		{ "search_clause", "CTESearchClause" },
		{ "cycle_clause", "CTECycleClause" },
		{ "collClause", "CollateClause" },
	};

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		if (strcmp(types[i][0], field) == 0)
			return types[i][1];
	}
	return NULL;
}

static bool walk_object(struct herd_readonly *r, const char *field, const json_t *value)
{
	const char *first = json_object_iter_key(json_object_iter((json_t *)value));

	if (!first || upper(first))
		return walk_node(r, value);
	const char *type = fixed_type(field);

	if (!type)
		return refuse(r, "has a part of an unknown form: ", field), false;
	return walk_typed(r, type, value);
}

static bool walk_fields(struct herd_readonly *r, const json_t *fields)
{
	const char *key;
	json_t *value, *item;
	size_t i;

	json_object_foreach((json_t *)fields, key, value)
	{
		if (json_is_object(value) && !walk_object(r, key, value))
			return false;
		if (!json_is_array(value))
			continue;
		json_array_foreach(value, i, item)
		{
			if (!json_is_object(item))
				return refuse(r, "has a part of an unknown form: ", key), false;
			if (!walk_node(r, item))
				return false;
		}
	}
	return true;
}

static bool walk_statement(struct herd_readonly *r, const json_t *stmt)
{
	const char *type = json_object_iter_key(json_object_iter((json_t *)stmt));

	if (!type)
		return refuse(r, "is empty", NULL), false;
	if (strcmp(type, "SelectStmt") != 0 && strcmp(type, "ExplainStmt") != 0)
		return refuse(r, "is no SELECT, VALUES, TABLE or EXPLAIN: ", type), false;
	return walk_node(r, stmt);
}

static bool walk_all(struct herd_readonly *r, const json_t *tree)
{
	const json_t *stmts = json_object_get(tree, "stmts");
	size_t i;
	json_t *v;

	if (json_array_size(stmts) == 0)
		return refuse(r, "is empty", NULL), false;
	json_array_foreach(stmts, i, v)
	{
		if (!walk_statement(r, json_object_get(v, "stmt")))
			return false;
	}
	return true;
}

bool herd_readonly_available(void)
{
	return true;
}

void herd_readonly_check(const char *text, size_t len, struct herd_readonly *ret)
{
	*ret = (struct herd_readonly){ 0 };
	if (len > HERD_READONLY_MAX_BYTES) {
		refuse(ret, "is too long to be analysed", NULL);
		return;
	}
	if (memchr(text, '\0', len)) {
		refuse(ret, "cannot be parsed: it contains a zero byte", NULL);
		return;
	}
	char *copy = strndup(text, len);

	if (!copy) {
		refuse(ret, "out of memory", NULL);
		return;
	}
	PgQueryParseResult p = pg_query_parse(copy);
	json_t *tree = NULL;

	free(copy);
	if (p.error) {
		refuse(ret, "cannot be parsed: ", p.error->message);
	} else {
		tree = herd_json_parse(p.parse_tree, strlen(p.parse_tree), NULL);
		if (!tree)
			refuse(ret, "nests too deep to be analysed", NULL);
		else
			ret->maybe = walk_all(ret, tree) && !ret->why;
	}
	json_decref(tree);
	pg_query_free_parse_result(p);
}

#else

bool herd_readonly_available(void)
{
	return false;
}

void herd_readonly_check(const char *text, size_t len, struct herd_readonly *ret)
{
	(void)text;
	(void)len;
	*ret = (struct herd_readonly){ 0 };
	refuse(ret, "cannot be parsed: built without libpg_query", NULL);
}

#endif
