#include "ddl/shape.h"
#include "ddl/statistics.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/toast_compression.h"
#include "attach/attach.h"
#include "attach/farkey.h"
#include "catalog/dependency.h"
#include "catalog/index.h"
#include "catalog/indexing.h"
#include "catalog/metadata.h"
#include "catalog/pg_am.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_index.h"
#include "catalog/pg_sequence.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "commands/sequence.h"
#include "compat.h"
#include "ddl/local.h"
#include "ddl/partition.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "optimizer/optimizer.h"
#include "parser/parser.h"
#include "rewrite/rewriteHandler.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"

int herd_shape_begin(void)
{
	int level = NewGUCNestLevel();

	(void)set_config_option("search_path", "pg_catalog", PGC_USERSET, PGC_S_SESSION,
				GUC_ACTION_SAVE, true, 0, false);
	return level;
}

void herd_shape_end(int level)
{
	AtEOXact_GUC(true, level);
}

char *herd_shape_member_name(const char *name, uint64 shardid)
{
	return shardid ? herd_shard_name(name, shardid) : pstrdup(name);
}

char *herd_shape_name(Oid relid, uint64 shardid)
{
	char *relname = get_rel_name(relid);

	if (!relname)
		elog(ERROR, "cache lookup failed for relation %u", relid);
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)),
					  herd_shape_member_name(relname, shardid));
}

static void append_sequence_options(StringInfo out, Oid seqid)
{
	HeapTuple tuple = SearchSysCache1(SEQRELID, ObjectIdGetDatum(seqid));
	Form_pg_sequence seq;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for sequence %u", seqid);
	seq = (Form_pg_sequence)GETSTRUCT(tuple);
	appendStringInfo(out,
			 " INCREMENT BY " INT64_FORMAT " MINVALUE " INT64_FORMAT
			 " MAXVALUE " INT64_FORMAT " START WITH " INT64_FORMAT
			 " CACHE " INT64_FORMAT "%s",
			 seq->seqincrement, seq->seqmin, seq->seqmax, seq->seqstart, seq->seqcache,
			 seq->seqcycle ? " CYCLE" : " NO CYCLE");
	ReleaseSysCache(tuple);
}

static Oid sequence_type(Oid seqid)
{
	HeapTuple tuple = SearchSysCache1(SEQRELID, ObjectIdGetDatum(seqid));
	Oid type;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for sequence %u", seqid);
	type = ((Form_pg_sequence)GETSTRUCT(tuple))->seqtypid;
	ReleaseSysCache(tuple);
	return type;
}

static void append_identity(StringInfo out, Relation rel, Form_pg_attribute att)
{
	Oid seqid = herd_identity_sequence(rel, att->attnum);

	appendStringInfo(out, " GENERATED %s AS IDENTITY (SEQUENCE NAME %s",
			 att->attidentity == ATTRIBUTE_IDENTITY_ALWAYS ? "ALWAYS" : "BY DEFAULT",
			 herd_shape_name(seqid, 0));
	append_sequence_options(out, seqid);
	appendStringInfoChar(out, ')');
}

/*
 * The sequence of a default that is nextval() of one too narrow to be shared out among the nodes;
 * InvalidOid for other defaults.
 */
static Oid narrow_sequence(Node *expr)
{
	FuncExpr *call;
	Node *arg;

	while (IsA(expr, FuncExpr) && castNode(FuncExpr, expr)->funcid != F_NEXTVAL &&
	       list_length(castNode(FuncExpr, expr)->args) == 1)
		expr = linitial(castNode(FuncExpr, expr)->args); /* the cast to the column's type */
	if (!IsA(expr, FuncExpr) || castNode(FuncExpr, expr)->funcid != F_NEXTVAL)
		return InvalidOid;
	call = castNode(FuncExpr, expr);
	arg = linitial(call->args);
	if (!IsA(arg, Const) || castNode(Const, arg)->constisnull)
		return InvalidOid;
	if (sequence_type(DatumGetObjectId(castNode(Const, arg)->constvalue)) == INT8OID)
		return InvalidOid;
	return DatumGetObjectId(castNode(Const, arg)->constvalue);
}

static void append_default(StringInfo out, Relation rel, Form_pg_attribute att, bool shell)
{
	Node *expr = build_column_default(rel, att->attnum);
	List *context = deparse_context_for(RelationGetRelationName(rel), RelationGetRelid(rel));

	if (!expr)
		return;
	if (att->attgenerated == ATTRIBUTE_GENERATED_STORED)
		appendStringInfo(out, " GENERATED ALWAYS AS (%s) STORED",
				 deparse_expression(expr, context, false, false));
	else if (att->attgenerated)
		appendStringInfo(out, " GENERATED ALWAYS AS (%s)",
				 deparse_expression(expr, context, false, false));
	else if (shell && OidIsValid(narrow_sequence(expr)))
		appendStringInfo(out, " DEFAULT citus_internal.coordinator_nextval(%s)",
				 quote_literal_cstr(herd_shape_name(narrow_sequence(expr), 0)));
	else if (shell || !contain_mutable_functions(expr))
		/* Inserts into a shard bring all values: a default there only helps by hand. */
		appendStringInfo(out, " DEFAULT %s",
				 deparse_expression(expr, context, false, false));
}

static char *constraint_text(Oid constraintid)
{
	return TextDatumGetCString(
		DirectFunctionCall1(pg_get_constraintdef, ObjectIdGetDatum(constraintid)));
}

/* Only those of shells have names that somebody uses. */
static void append_name(StringInfo out, Oid constraintid, bool shell)
{
	if (shell)
		appendStringInfo(out, "CONSTRAINT %s ",
				 quote_identifier(get_constraint_name(constraintid)));
}

/* A NOT NULL constraint that cannot be said beside its column: with a name, or NO INHERIT. */
static void append_not_nulls(StringInfo out, Relation rel, bool shell)
{
	ListCell *lc;

	if (!HERD_NAMED_NOT_NULL)
		return;
	foreach (lc, herd_sql_rows("SELECT oid::text FROM pg_catalog.pg_constraint WHERE conrelid "
				   "= %u AND contype = 'n' ORDER BY conkey",
				   RelationGetRelid(rel))) {
		Oid oid = atooid(((char **)lfirst(lc))[0]);

		appendStringInfoString(out, ", ");
		append_name(out, oid, shell);
		appendStringInfoString(out, constraint_text(oid));
	}
}

static void append_column(StringInfo out, Relation rel, Form_pg_attribute att, bool shell)
{
	appendStringInfo(
		out, "%s %s", quote_identifier(NameStr(att->attname)),
		format_type_extended(att->atttypid, att->atttypmod,
				     FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY));
	if (att->attcompression)
		appendStringInfo(out, " COMPRESSION %s",
				 GetCompressionMethodName(att->attcompression));
	if (OidIsValid(att->attcollation) && att->attcollation != get_typcollation(att->atttypid))
		appendStringInfo(out, " COLLATE %s", generate_collation_name(att->attcollation));
	if (att->attidentity) {
		/* a partition takes it from its parent, when it is attached */
		if (shell && !rel->rd_rel->relispartition)
			append_identity(out, rel, att);
	} else if (att->atthasdef) {
		append_default(out, rel, att, shell);
	}
	if (att->attnotnull && !HERD_NAMED_NOT_NULL)
		appendStringInfoString(out, " NOT NULL");
}

char *herd_shape_column(Oid relid, AttrNumber attno)
{
	Relation rel = relation_open(relid, AccessShareLock);
	int level = herd_shape_begin();
	StringInfoData out;

	initStringInfo(&out);
	append_column(&out, rel, TupleDescAttr(RelationGetDescr(rel), attno - 1), true);
	herd_shape_end(level);
	relation_close(rel, AccessShareLock);
	return out.data;
}

static void append_checks(StringInfo out, Relation rel)
{
	ListCell *lc;
	List *rows = herd_sql_rows("SELECT conname::text, oid::text FROM pg_catalog.pg_constraint "
				   "WHERE conrelid = %u AND contype = 'c' ORDER BY conname",
				   RelationGetRelid(rel));

	foreach (lc, rows) {
		char **row = lfirst(lc);

		appendStringInfo(out, ", CONSTRAINT %s %s", quote_identifier(row[0]),
				 constraint_text(atooid(row[1])));
	}
}

static void append_options(StringInfo out, Oid relid)
{
	List *rows = herd_sql_rows(
		"SELECT pg_catalog.string_agg(pg_catalog.quote_ident(o.option_name) || '=' || "
		"pg_catalog.quote_literal(o.option_value), ', ') FROM pg_catalog.pg_class c, "
		"pg_catalog.pg_options_to_table(c.reloptions) o WHERE c.oid = %u "
		"HAVING pg_catalog.count(*) > 0",
		relid);

	if (rows != NIL)
		appendStringInfo(out, " WITH (%s)", ((char **)linitial(rows))[0]);
}

/* with_dropped: columns that are dropped in rel are there, to be dropped. */
static char *create_text(Relation rel, uint64 shardid, bool with_dropped)
{
	TupleDesc desc = RelationGetDescr(rel);
	Oid relid = RelationGetRelid(rel);
	int level = herd_shape_begin();
	int columns = 0, start;
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfo(&out, "CREATE %sTABLE %s (",
			 rel->rd_rel->relpersistence == RELPERSISTENCE_UNLOGGED ? "UNLOGGED " : "",
			 herd_shape_name(relid, shardid));
	start = out.len;
	for (int i = 0; i < desc->natts; i++) {
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped && !with_dropped)
			continue;
		appendStringInfoString(&out, out.len == start ? "" : ", ");
		if (att->attisdropped) {
			appendStringInfo(&out, "\"%s\" int", NameStr(att->attname));
			continue;
		}
		append_column(&out, rel, att, shardid == 0);
		columns++;
	}
	if (columns == 0)
		ereport(ERROR,
			(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
			 errmsg("table \"%s\" has no columns", RelationGetRelationName(rel))));
	append_not_nulls(&out, rel, shardid == 0);
	append_checks(&out, rel);
	appendStringInfo(&out, ")%s", herd_partition_clause(relid));
	if (OidIsValid(rel->rd_rel->relam))
		appendStringInfo(&out, " USING %s",
				 quote_identifier(get_am_name(rel->rd_rel->relam)));
	append_options(&out, relid);
	herd_shape_end(level);
	return out.data;
}

char *herd_shape_create(Oid relid, uint64 shardid)
{
	Relation rel = relation_open(relid, AccessShareLock);
	char *sql = create_text(rel, shardid, false);

	relation_close(rel, AccessShareLock);
	return sql;
}

List *herd_shape_create_here(Oid relid, uint64 shardid)
{
	Relation rel = relation_open(relid, AccessShareLock);
	TupleDesc desc = RelationGetDescr(rel);
	char *shard = herd_shape_name(relid, shardid);
	StringInfoData columns, drops;
	char *create;

	initStringInfo(&columns);
	initStringInfo(&drops);
	create = create_text(rel, shardid, true);
	for (int i = 0; i < desc->natts; i++)
		if (TupleDescAttr(desc, i)->attisdropped)
			appendStringInfo(&drops, "%s DROP COLUMN \"%s\"", drops.len ? "," : "",
					 NameStr(TupleDescAttr(desc, i)->attname));
	relation_close(rel, AccessShareLock);
	if (drops.len == 0)
		return list_make1(create);
	return list_make2(create, psprintf("ALTER TABLE %s%s", shard, drops.data));
}

/* Replaces the (quoted, qualified) name at offset of sql, which the grammar found there. */
static char *splice_name(const char *sql, int offset, const char *old, const char *new)
{
	if (strncmp(sql + offset, old, strlen(old)) != 0)
		elog(ERROR, "unexpected name at offset %d of \"%s\"", offset, sql);
	return psprintf("%.*s%s%s", offset, sql, new, sql + offset + strlen(old));
}

static Node *parse_one(const char *sql)
{
	List *parsed = raw_parser(sql, RAW_PARSE_DEFAULT);

	Assert(list_length(parsed) == 1);
	return linitial_node(RawStmt, parsed)->stmt;
}

static char *plain_index(Oid indexid, Oid relid, uint64 shardid)
{
	char *sql = TextDatumGetCString(
		DirectFunctionCall1(pg_get_indexdef, ObjectIdGetDatum(indexid)));
	char *name = get_rel_name(indexid);
	IndexStmt *stmt;
	char *at;

	/* of a partitioned table it is printed ON ONLY, also when its partitions have it */
	at = get_rel_relkind(indexid) == RELKIND_PARTITIONED_INDEX && get_index_isvalid(indexid)
		     ? strstr(sql, " ON ONLY ")
		     : NULL;
	if (at)
		sql = psprintf("%.*s ON %s", (int)(at - sql), sql, at + strlen(" ON ONLY "));
	if (!shardid)
		return sql;
	stmt = castNode(IndexStmt, parse_one(sql));
	sql = splice_name(sql, stmt->relation->location, herd_shape_name(relid, 0),
			  herd_shape_name(relid, shardid));
	/* The index name stands before the table name: "CREATE [UNIQUE] INDEX name ON ". */
	at = strstr(sql, " INDEX ");
	Assert(at);
	return splice_name(sql, (int)(at - sql) + 7, quote_identifier(name),
			   quote_identifier(herd_shard_name(name, shardid)));
}

char *herd_shape_index(Oid indexid, uint64 shardid)
{
	Oid constraintid = get_index_constraint(indexid);
	int level = herd_shape_begin();
	char *sql = OidIsValid(constraintid)
			    ? herd_shape_constraint(constraintid, shardid)
			    : plain_index(indexid, IndexGetRelation(indexid, false), shardid);

	herd_shape_end(level);
	return sql;
}

List *herd_shape_indexes(Oid relid, uint64 shardid)
{
	Relation rel = relation_open(relid, AccessShareLock);
	List *out = NIL;
	ListCell *lc;

	foreach (lc, RelationGetIndexList(rel))
		out = lappend(out, herd_shape_index(lfirst_oid(lc), shardid));
	if (rel->rd_rel->relreplident == REPLICA_IDENTITY_FULL)
		out = lappend(out, psprintf("ALTER TABLE %s REPLICA IDENTITY FULL",
					    herd_shape_name(relid, shardid)));
	else if (OidIsValid(rel->rd_replidindex) && rel->rd_replidindex != rel->rd_pkindex)
		out = lappend(out, psprintf("ALTER TABLE %s REPLICA IDENTITY USING INDEX %s",
					    herd_shape_name(relid, shardid),
					    quote_identifier(herd_shape_member_name(
						    get_rel_name(rel->rd_replidindex), shardid))));
	relation_close(rel, AccessShareLock);
	return list_concat(out, herd_statistics_shape(relid, shardid));
}

/* The shard of another table that lies beside shard shardid of relid. */
static uint64 neighbour_shard(Oid relid, uint64 shardid, Oid other)
{
	const HerdTable *table = herd_table_get(other), *own;
	int index;

	if (other == relid)
		return shardid;
	if (!table || !herd_shard_find(shardid, &own, &index))
		return HERD_INVALID_SHARD;
	if (table->kind == HERD_TABLE_REFERENCE)
		return table->shards[0].shardid;
	if (table->colocationid != own->colocationid || index >= table->nshards)
		return HERD_INVALID_SHARD;
	return table->shards[index].shardid;
}

char *herd_shape_constraint(Oid constraintid, uint64 shardid)
{
	HeapTuple tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(constraintid));
	int level = herd_shape_begin();
	Form_pg_constraint con;
	char *sql, *name;
	uint64 target = HERD_INVALID_SHARD;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for constraint %u", constraintid);
	con = (Form_pg_constraint)GETSTRUCT(tuple);
	name = NameStr(con->conname);
	/* Names of check constraints are the table's own; the others share the schema's. */
	if (con->contype != CONSTRAINT_CHECK)
		name = herd_shape_member_name(name, shardid);
	if (con->contype == CONSTRAINT_NOTNULL && shardid)
		sql = psprintf("ALTER TABLE %s ADD %s", herd_shape_name(con->conrelid, shardid),
			       constraint_text(constraintid));
	else
		sql = psprintf("ALTER TABLE %s ADD CONSTRAINT %s %s",
			       herd_shape_name(con->conrelid, shardid), quote_identifier(name),
			       constraint_text(constraintid));
	if (con->contype == CONSTRAINT_FOREIGN && shardid) {
		AlterTableStmt *stmt = castNode(AlterTableStmt, parse_one(sql));
		Constraint *def =
			castNode(Constraint, linitial_node(AlterTableCmd, stmt->cmds)->def);

		target = neighbour_shard(con->conrelid, shardid, con->confrelid);
		if (target == HERD_INVALID_SHARD)
			elog(ERROR, "no shard of \"%s\" beside shard " UINT64_FORMAT,
			     get_rel_name(con->confrelid), shardid);
		sql = splice_name(sql, def->pktable->location, herd_shape_name(con->confrelid, 0),
				  herd_shape_name(con->confrelid, target));
	}
	herd_shape_end(level);
	ReleaseSysCache(tuple);
	return sql;
}

List *herd_shape_foreign_keys(Oid relid, uint64 shardid)
{
	List *out = NIL;
	ListCell *lc;
	List *rows = herd_sql_rows(
		"SELECT oid::text, confrelid::oid::text FROM pg_catalog.pg_constraint "
		"WHERE conrelid = %u AND contype = 'f' AND conparentid = 0 ORDER BY conname",
		relid);

	foreach (lc, rows) {
		char **row = lfirst(lc);
		Oid target = atooid(row[1]);

		if ((target == relid || herd_table_get(target)) &&
		    (!shardid || !herd_far_key_is(atooid(row[0]))))
			out = lappend(out, herd_shape_constraint(atooid(row[0]), shardid));
	}
	return out;
}

List *herd_shape_privileges(Oid relid, uint64 shardid)
{
	char *name = herd_shape_name(relid, shardid);
	char *kind = get_rel_relkind(relid) == RELKIND_SEQUENCE ? "SEQUENCE" : "TABLE";
	List *out = NIL, *rows;
	ListCell *lc;

	rows = herd_sql_rows("SELECT pg_catalog.quote_ident(pg_catalog.pg_get_userbyid("
			     "relowner)) FROM pg_catalog.pg_class WHERE oid = %u",
			     relid);
	foreach (lc, rows)
		out = lappend(out, psprintf("ALTER %s %s OWNER TO %s", kind, name,
					    ((char **)lfirst(lc))[0]));
	rows = herd_sql_rows(
		"SELECT a.privilege_type, '', CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE "
		"quote_ident(pg_get_userbyid(a.grantee)) END, "
		"CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END "
		"FROM pg_class c, aclexplode(c.relacl) a WHERE c.oid = %u "
		"AND a.grantee <> c.relowner "
		"UNION ALL SELECT a.privilege_type, '(' || quote_ident(t.attname) || ')', "
		"CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE "
		"quote_ident(pg_get_userbyid(a.grantee)) END, "
		"CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END "
		"FROM pg_attribute t, aclexplode(t.attacl) a WHERE t.attrelid = %u",
		relid, relid);
	foreach (lc, rows) {
		char **row = lfirst(lc);

		out = lappend(out, psprintf("GRANT %s %s ON %s %s TO %s%s", row[0], row[1], kind,
					    name, row[2], row[3]));
	}
	return out;
}

List *herd_shape_sequences(Oid relid)
{
	List *out = NIL, *rows;
	ListCell *lc;

	rows = herd_sql_rows(
		"SELECT DISTINCT c.oid::text FROM pg_catalog.pg_attrdef a "
		"JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_attrdef'::regclass "
		"AND d.objid = a.oid AND d.refclassid = 'pg_catalog.pg_class'::regclass "
		"JOIN pg_catalog.pg_class c ON c.oid = d.refobjid AND c.relkind = 'S' "
		"WHERE a.adrelid = %u UNION "
		"SELECT c.oid::text FROM pg_catalog.pg_depend d "
		"JOIN pg_catalog.pg_class c ON c.oid = d.objid AND c.relkind = 'S' "
		"WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.deptype = 'i' "
		"AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = %u",
		relid, relid);
	foreach (lc, rows)
		out = lappend_oid(out, atooid(((char **)lfirst(lc))[0]));
	return out;
}

static char *create_sequence(Oid seqid)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfo(&out, "CREATE SEQUENCE IF NOT EXISTS %s AS %s", herd_shape_name(seqid, 0),
			 format_type_be(sequence_type(seqid)));
	append_sequence_options(&out, seqid);
	return out.data;
}

/* OWNED BY, for a sequence of a serial column. */
static List *sequence_owner(Oid seqid)
{
	Oid table;
	int32 column;

	if (!sequenceIsOwned(seqid, DEPENDENCY_AUTO, &table, &column))
		return NIL;
	return list_make1(psprintf("ALTER SEQUENCE %s OWNED BY %s.%s", herd_shape_name(seqid, 0),
				   herd_shape_name(table, 0),
				   quote_identifier(get_attname(table, column, false))));
}

static bool is_identity_sequence(Oid seqid)
{
	Oid table;
	int32 column;

	return sequenceIsOwned(seqid, DEPENDENCY_INTERNAL, &table, &column);
}

List *herd_shape_sequence_commands(Oid relid)
{
	List *out = NIL;
	ListCell *lc;

	foreach (lc, herd_shape_sequences(relid)) {
		Oid seqid = lfirst_oid(lc);

		if (is_identity_sequence(seqid))
			continue;
		out = lappend(out, create_sequence(seqid));
		out = list_concat(out, herd_shape_privileges(seqid, 0));
		out = lappend(out, psprintf("SELECT citus_internal.localize_sequence(%s)",
					    quote_literal_cstr(herd_shape_name(seqid, 0))));
	}
	return out;
}

List *herd_shape_shell(Oid relid)
{
	int level = herd_shape_begin();
	List *out = NIL, *sequences = herd_shape_sequences(relid), *rows;
	ListCell *lc;

	rows = herd_sql_rows("SELECT pg_catalog.quote_literal(nspname), "
			     "pg_catalog.quote_literal(pg_catalog.pg_get_userbyid(nspowner)) "
			     "FROM pg_catalog.pg_namespace WHERE oid = %u",
			     get_rel_namespace(relid));
	foreach (lc, rows)
		out = lappend(out, psprintf("SELECT citus_internal.ensure_schema(%s, %s)",
					    ((char **)lfirst(lc))[0], ((char **)lfirst(lc))[1]));
	foreach (lc, sequences)
		if (!is_identity_sequence(lfirst_oid(lc)))
			out = lappend(out, create_sequence(lfirst_oid(lc)));
	out = lappend(out, herd_shape_create(relid, 0));
	out = list_concat(out, herd_shape_indexes(relid, 0));
	if (get_rel_relispartition(relid))
		out = lappend(out, herd_partition_attach(relid, 0));
	out = list_concat(out, herd_shape_foreign_keys(relid, 0));
	out = list_concat(out, herd_shape_privileges(relid, 0));
	foreach (lc, sequences) {
		Oid seqid = lfirst_oid(lc);

		if (!is_identity_sequence(seqid)) {
			out = list_concat(out, herd_shape_privileges(seqid, 0));
			out = list_concat(out, sequence_owner(seqid));
		}
		out = lappend(out, psprintf("SELECT citus_internal.localize_sequence(%s)",
					    quote_literal_cstr(herd_shape_name(seqid, 0))));
	}
	out = list_concat(out, herd_attach_shape(relid, 0));
	herd_shape_end(level);
	return out;
}
