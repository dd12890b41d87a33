/*
 * What a far key asks and does when rows of a statement have come back.
 *
 * The rows are gone through here, in pieces: the values that are new, or gone, without repetition.
 * Each piece is a statement or two on the other table, with its owner's rights, as PostgreSQL has
 * it, planned like any other.
 */
#include "attach/farkey.h"
#include "compat.h"

#include "attach/farkey_later.h"
#include "attach/farkey_wait.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_operator.h"
#include "commands/trigger.h"
#include "ddl/local.h"
#include "ddl/partition.h"
#include "ddl/shape.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/tuplestore.h"
#include "utils/typcache.h"

PG_FUNCTION_INFO_V1(herd_far_key_check);
PG_FUNCTION_INFO_V1(herd_far_key_act);

/* Values are looked at in pieces of so many. */
enum { PIECE = 10000 };

typedef struct Key {
	Form_pg_constraint con;
	HeapTuple tuple;
	Relation holder, target; /* that has it, that it refers to */
	int n;
	AttrNumber holds[INDEX_MAX_KEYS], refers[INDEX_MAX_KEYS];
	Oid equal[INDEX_MAX_KEYS]; /* referred to = that has it */
	Oid same[INDEX_MAX_KEYS];  /* referred to = referred to */
	Oid own[INDEX_MAX_KEYS];   /* that has it = that has it */
	int nset;
	AttrNumber set[INDEX_MAX_KEYS];
} Key;

/* A piece: values of the key's columns in one of the tables, without repetition. */
typedef struct Values {
	Relation rel;
	const AttrNumber *attnums;
	int columns;
	int width; /* columns, or, with what they have become, twice as many */
	int n;
	Datum *data; /* n * width */
	TypeCacheEntry *types[INDEX_MAX_KEYS];
	Oid collations[INDEX_MAX_KEYS];
	MemoryContext memory; /* of the values */
} Values;

/* -- the constraint ---------------------------------------------------------------------------- */

static void open_key(Key *key, Oid constraintid)
{
	memset(key, 0, sizeof(*key));
	key->tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(constraintid));
	if (!HeapTupleIsValid(key->tuple))
		elog(ERROR, "cache lookup failed for constraint %u", constraintid);
	key->con = (Form_pg_constraint)GETSTRUCT(key->tuple);
	DeconstructFkConstraintRow(key->tuple, &key->n, key->holds, key->refers, key->equal,
				   key->same, key->own, &key->nset, key->set);
	key->holder = table_open(key->con->conrelid, RowShareLock);
	key->target = table_open(key->con->confrelid, RowShareLock);
}

static void close_key(Key *key)
{
	table_close(key->target, NoLock);
	table_close(key->holder, NoLock);
	ReleaseSysCache(key->tuple);
}

static const char *column(Relation rel, AttrNumber attnum)
{
	return quote_identifier(NameStr(TupleDescAttr(RelationGetDescr(rel), attnum - 1)->attname));
}

static char *operator_text(Oid operatorid)
{
	HeapTuple tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(operatorid));
	Form_pg_operator op;
	char *result;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for operator %u", operatorid);
	op = (Form_pg_operator)GETSTRUCT(tuple);
	result = psprintf("OPERATOR(%s.%s)", quote_identifier(get_namespace_name(op->oprnamespace)),
			  NameStr(op->oprname));
	ReleaseSysCache(tuple);
	return result;
}

/* -- values ------------------------------------------------------------------------------------ */

static void open_values(Values *v, Relation rel, const AttrNumber *attnums, int columns, int width)
{
	memset(v, 0, sizeof(*v));
	v->rel = rel;
	v->attnums = attnums;
	v->columns = columns;
	v->width = width;
	v->memory =
		AllocSetContextCreate(CurrentMemoryContext, "herd far key", ALLOCSET_DEFAULT_SIZES);
	v->data = palloc(PIECE * width * sizeof(Datum));
	for (int i = 0; i < columns; i++) {
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), attnums[i] - 1);

		v->types[i] =
			lookup_type_cache(getBaseType(att->atttypid), TYPECACHE_CMP_PROC_FINFO);
		v->collations[i] = att->attcollation;
		if (!OidIsValid(v->types[i]->cmp_proc_finfo.fn_oid))
			ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("could not identify a comparison function for type %s",
					format_type_be(att->atttypid))));
	}
}

static void close_values(Values *v)
{
	MemoryContextDelete(v->memory);
	pfree(v->data);
}

static int compare_values(const Values *v, const Datum *a, const Datum *b)
{
	for (int i = 0; i < v->columns; i++) {
		int order = DatumGetInt32(FunctionCall2Coll(&v->types[i]->cmp_proc_finfo,
							    v->collations[i], a[i], b[i]));

		if (order != 0)
			return order;
	}
	return 0;
}

static int compare_rows(const void *a, const void *b, void *v)
{
	return compare_values(v, a, b);
}

static void drop_repeated(Values *v)
{
	int kept = 1;

	if (v->n < 2)
		return;
	qsort_arg(v->data, v->n, v->width * sizeof(Datum), compare_rows, v);
	for (int i = 1; i < v->n; i++) {
		if (compare_values(v, &v->data[i * v->width], &v->data[(kept - 1) * v->width]) == 0)
			continue;
		memmove(&v->data[kept * v->width], &v->data[i * v->width],
			v->width * sizeof(Datum));
		kept++;
	}
	v->n = kept;
}

/* The columns of the key in a row; how many are null. */
static int read_row(const Values *v, TupleTableSlot *slot, Datum *out)
{
	int nulls = 0;

	for (int i = 0; i < v->columns; i++) {
		bool isnull;

		out[i] = slot_getattr(slot, v->attnums[i], &isnull);
		nulls += isnull;
	}
	return nulls;
}

static void add_value(Values *v, Datum *to, const Datum *from)
{
	MemoryContext old = MemoryContextSwitchTo(v->memory);

	for (int i = 0; i < v->columns; i++)
		to[i] = datumCopy(from[i], v->types[i]->typbyval, v->types[i]->typlen);
	MemoryContextSwitchTo(old);
}

/* -- statements -------------------------------------------------------------------------------- */

/* Parameters: of one row its values, of more an array for each column. */
static void parameters(const Values *v, bool arrays, Oid *types, Datum *params)
{
	for (int i = 0; i < v->width; i++) {
		TypeCacheEntry *type = v->types[i % v->columns];
		Datum *column;

		types[i] = arrays ? get_array_type(type->type_id) : type->type_id;
		if (!OidIsValid(types[i]))
			ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
					errmsg("could not find array type for data type %s",
					       format_type_be(type->type_id))));
		if (!arrays) {
			params[i] = v->data[i];
			continue;
		}
		column = palloc(v->n * sizeof(Datum));
		for (int row = 0; row < v->n; row++)
			column[row] = v->data[row * v->width + i];
		params[i] = PointerGetDatum(construct_array(
			column, v->n, type->type_id, type->typlen, type->typbyval, type->typalign));
	}
}

/* Runs it with the rights of the owner of rel. */
static uint64 run(const char *sql, const Values *v, bool arrays, Relation rel, bool last)
{
	Oid types[2 * INDEX_MAX_KEYS], user;
	Datum params[2 * INDEX_MAX_KEYS];
	int context, result;

	parameters(v, arrays, types, params);
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(rel->rd_rel->relowner,
			       context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_NOFORCE_RLS);
	result = SPI_execute_with_args(sql, v->width, types, params, NULL, false, last ? 1 : 0);
	SetUserIdAndSecContext(user, context);
	if (result < 0)
		elog(ERROR, "could not ask for a foreign key: %s", SPI_result_code_string(result));
	return SPI_processed;
}

/* "ROWS FROM (unnest($1), ..) WITH ORDINALITY u (k1, .., i)" */
static char *rows_from(const Values *v)
{
	StringInfoData out, names;

	initStringInfo(&out);
	initStringInfo(&names);
	for (int i = 1; i <= v->width; i++) {
		appendStringInfo(&out, "%spg_catalog.unnest($%d)", i > 1 ? ", " : "", i);
		appendStringInfo(&names, "k%d, ", i);
	}
	return psprintf("ROWS FROM (%s) WITH ORDINALITY u (%si)", out.data, names.data);
}

/* Columns of the table under alias equal k1.. of u, or $1.. */
static char *equals(Relation rel, const char *alias, const AttrNumber *attnums,
		    const Oid *operators, bool turned, int n, const char *value)
{
	StringInfoData out;

	initStringInfo(&out);
	for (int i = 0; i < n; i++)
		appendStringInfo(
			&out, "%s%s.%s %s %s%d", i > 0 ? " AND " : "", alias,
			column(rel, attnums[i]),
			operator_text(turned ? get_commutator(operators[i]) : operators[i]), value,
			i + 1);
	return out.data;
}

/* Rows of the table under alias that have one of the values. */
static char *have_values(const Values *v, Relation rel, const char *alias,
			 const AttrNumber *attnums, const Oid *operators, bool turned)
{
	if (v->n == 1)
		return equals(rel, alias, attnums, operators, turned, v->columns, "$");
	if (v->columns == 1)
		return psprintf(
			"%s.%s %s ANY ($1)", alias, column(rel, attnums[0]),
			operator_text(turned ? get_commutator(operators[0]) : operators[0]));
	return psprintf("EXISTS (SELECT 1 FROM %s WHERE %s)", rows_from(v),
			equals(rel, alias, attnums, operators, turned, v->columns, "u.k"));
}

static char *table_name(Relation rel)
{
	return herd_shape_name(RelationGetRelid(rel), 0);
}

/* -- errors ------------------------------------------------------------------------------------ */

/* "(a, b)=(1, 2)" of the piece's row. */
static char *shown(const Values *v, int row)
{
	StringInfoData names, texts;

	initStringInfo(&names);
	initStringInfo(&texts);
	for (int i = 0; i < v->columns; i++) {
		Oid output;
		bool varlena;

		getTypeOutputInfo(v->types[i]->type_id, &output, &varlena);
		appendStringInfo(&names, "%s%s", i > 0 ? ", " : "",
				 NameStr(TupleDescAttr(RelationGetDescr(v->rel), v->attnums[i] - 1)
						 ->attname));
		appendStringInfo(&texts, "%s%s", i > 0 ? ", " : "",
				 OidOutputFunctionCall(output, v->data[row * v->width + i]));
	}
	return psprintf("(%s)=(%s)", names.data, texts.data);
}

/* Of others, that have been committed on the node of the row they refer to. */
static void wait_for_new_rows(const Key *key)
{
	const HerdTable *table = herd_table_get(RelationGetRelid(key->holder));

	if (table != NULL)
		herd_far_key_wait(table);
}

/* The first row of the piece that the condition, about u, picks; -1: none. */
static int first_row(const Values *v, Relation rel, const char *condition)
{
	char *sql = psprintf("SELECT i FROM %s WHERE %s LIMIT 1", rows_from(v), condition);
	bool isnull;

	if (run(sql, v, true, rel, true) == 0)
		return -1;
	return (int)DatumGetInt64(
		       SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull)) -
	       1;
}

/* PostgreSQL names the partition that has the row, not the table of the statement. */
static Relation holding_partition(const Key *key, const Values *v, const char *condition)
{
	bool isnull;

	if (key->holder->rd_rel->relkind != RELKIND_PARTITIONED_TABLE ||
	    run(psprintf("SELECT f.tableoid FROM %s f WHERE %s LIMIT 1", table_name(key->holder),
			 condition),
		v, true, key->holder, true) == 0)
		return key->holder;
	return table_open(DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0],
							 SPI_tuptable->tupdesc, 1, &isnull)),
			  AccessShareLock);
}

/* What a query of one row and column gives, NULL for none. */
static char *text_of(List *rows)
{
	return rows == NIL ? NULL : ((char **)linitial(rows))[0];
}

/* Would the partition have the row? The key that is referred to has all that this depends on. */
static bool partition_takes(const Key *key, const Values *v, Oid partition)
{
	StringInfoData columns;
	char *bound = text_of(
		herd_sql_rows("SELECT pg_catalog.pg_get_partition_constraintdef(%u)", partition));

	initStringInfo(&columns);
	for (int i = 0; i < key->n; i++)
		appendStringInfo(&columns, "%s$%d AS %s", i > 0 ? ", " : "", i + 1,
				 column(key->target, key->refers[i]));
	return bound == NULL ||
	       run(psprintf("SELECT 1 FROM (SELECT %s) r WHERE %s", columns.data, bound), v, false,
		   key->target, true) > 0;
}

static Oid partition_for(const Key *key, const Values *v, int row)
{
	Oid relid = RelationGetRelid(key->target);
	Values one = *v;
	ListCell *lc;

	one.data = &v->data[row * v->width];
	one.n = 1;
	foreach (lc, herd_partition_tree(relid))
		if (get_rel_relkind(lfirst_oid(lc)) == RELKIND_RELATION &&
		    partition_takes(key, &one, lfirst_oid(lc)))
			return lfirst_oid(lc);
	return relid;
}

/* The constraint has another name for each partition that it refers to. */
static const char *constraint_towards(const Key *key, Oid partition)
{
	char *name = NULL;

	if (partition != key->con->confrelid)
		name = text_of(herd_sql_rows(
			"WITH RECURSIVE c AS (SELECT oid, conname, confrelid FROM "
			"pg_catalog.pg_constraint WHERE oid = %u UNION ALL SELECT p.oid, "
			"p.conname, p.confrelid FROM c JOIN pg_catalog.pg_constraint p ON "
			"p.conparentid = c.oid AND p.conrelid = %u) SELECT conname::text FROM c "
			"WHERE confrelid = %u LIMIT 1",
			key->con->oid, key->con->conrelid, partition));
	return name ? name : NameStr(key->con->conname);
}

static void missing(const Key *key, const Values *v, int row)
{
	Relation holder = holding_partition(
		key, v,
		psprintf("EXISTS (SELECT FROM %s WHERE u.i = %d AND %s)", rows_from(v), row + 1,
			 equals(key->holder, "f", key->holds, key->own, false, key->n, "u.k")));

	ereport(ERROR,
		(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
		 errmsg("insert or update on table \"%s\" violates foreign key constraint \"%s\"",
			RelationGetRelationName(holder), NameStr(key->con->conname)),
		 errdetail("Key %s is not present in table \"%s\".", shown(v, row),
			   RelationGetRelationName(key->target)),
		 errtableconstraint(holder, NameStr(key->con->conname))));
}

/* RESTRICT has an error of its own since PostgreSQL 18. */
static void still_referred(const Key *key, const Values *v, int row, bool restricts)
{
	Oid target = partition_for(key, v, row);
	const char *table = get_rel_name(target), *name = constraint_towards(key, target);

	if (HERD_RESTRICT_VIOLATION && restricts)
		ereport(ERROR,
			(errcode(ERRCODE_RESTRICT_VIOLATION),
			 errmsg("update or delete on table \"%s\" violates RESTRICT setting of "
				"foreign key constraint \"%s\" on table \"%s\"",
				table, name, RelationGetRelationName(key->holder)),
			 errdetail("Key %s is referenced from table \"%s\".", shown(v, row),
				   RelationGetRelationName(key->holder)),
			 errtableconstraint(key->holder, name)));
	ereport(ERROR, (errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
			errmsg("update or delete on table \"%s\" violates foreign key constraint "
			       "\"%s\" on "
			       "table \"%s\"",
			       table, name, RelationGetRelationName(key->holder)),
			errdetail("Key %s is still referenced from table \"%s\".", shown(v, row),
				  RelationGetRelationName(key->holder)),
			errtableconstraint(key->holder, name)));
}

static bool find_one(const char *sql)
{
	int result = SPI_execute(sql, false, 1);

	if (result < 0)
		elog(ERROR, "could not check a foreign key: %s", SPI_result_code_string(result));
	return SPI_processed > 0;
}

/* Rows of which MATCH FULL does not allow the nulls. */
static const char *has_mixed_nulls(const Key *key)
{
	StringInfoData out;

	initStringInfo(&out);
	for (int i = 0; i < key->n; i++)
		appendStringInfo(&out, ", f.%s", column(key->holder, key->holds[i]));
	return psprintf("pg_catalog.num_nulls(%s) NOT IN (0, %d)", out.data + 2, key->n);
}

static void mixed_nulls(const Key *key, const Values *v)
{
	Relation holder = holding_partition(key, v, has_mixed_nulls(key));

	ereport(ERROR,
		(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
		 errmsg("insert or update on table \"%s\" violates foreign key constraint \"%s\"",
			RelationGetRelationName(holder), NameStr(key->con->conname)),
		 errdetail("MATCH FULL does not allow mixing of null and nonnull key values."),
		 errtableconstraint(holder, NameStr(key->con->conname))));
}

/* Rows that others have made to refer since the snapshot was taken could not be seen. */
static void require_new_snapshots(const Key *key)
{
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("rows that foreign key \"%s\" refers to cannot be deleted in "
				"isolation level %s",
				NameStr(key->con->conname),
				XactIsoLevel == XACT_SERIALIZABLE ? "SERIALIZABLE"
								  : "REPEATABLE READ"),
			 errdetail("Its tables have their rows on different nodes."),
			 errhint("Use READ COMMITTED.")));
}

/* -- new rows that refer ----------------------------------------------------------------------- */

static void look_for_values(const Key *key, Values *v, bool later)
{
	const char *target = table_name(key->target);
	char *absent;
	int row;

	drop_repeated(v);
	if (v->n == 0)
		return;
	if (run(psprintf("SELECT 1 FROM %s p WHERE %s FOR KEY SHARE OF p", target,
			 have_values(v, key->target, "p", key->refers, key->equal, false)),
		v, v->n > 1, key->target, false) >= (uint64)v->n)
		return;
	absent = psprintf("NOT EXISTS (SELECT 1 FROM %s p WHERE %s)", target,
			  equals(key->target, "p", key->refers, key->equal, false, key->n, "u.k"));
	/* after some time the rows that referred may be gone, or refer to others */
	if (later)
		absent = psprintf(
			"%s AND EXISTS (SELECT 1 FROM %s f WHERE %s)", absent,
			table_name(key->holder),
			equals(key->holder, "f", key->holds, key->own, false, key->n, "u.k"));
	row = first_row(v, key->target, absent);
	if (row >= 0 || !later)
		missing(key, v, Max(row, 0));
}

static void check_values(const Key *key, Values *v)
{
	look_for_values(key, v, false);
}

static void check_values_later(const Key *key, Values *v)
{
	look_for_values(key, v, true);
}

typedef void (*PieceWork)(const Key *key, Values *v);

static void end_piece(const Key *key, Values *v, PieceWork work)
{
	work(key, v);
	v->n = 0;
	MemoryContextReset(v->memory);
}

static TupleTableSlot *rescan(Tuplestorestate *store, Relation rel)
{
	if (store == NULL)
		return NULL;
	tuplestore_rescan(store);
	return MakeSingleTupleTableSlot(RelationGetDescr(rel), &TTSOpsMinimalTuple);
}

static bool next_row(Tuplestorestate *store, TupleTableSlot *slot)
{
	return store == NULL || tuplestore_gettupleslot(store, true, false, slot);
}

static bool waits(const Key *key)
{
	return key->con->condeferrable && herd_far_key_waits(key->con->oid, key->con->condeferred);
}

/*
 * Goes through the rows; those of old and new are in the same order. Rows that are as they were do
 * not count.
 */
static void go_through(const Key *key, Values *v, const TriggerData *data, bool refers,
		       PieceWork work)
{
	TupleTableSlot *before = rescan(data->tg_oldtable, v->rel);
	TupleTableSlot *after = rescan(data->tg_newtable, v->rel);
	Datum old[INDEX_MAX_KEYS], new[INDEX_MAX_KEYS];
	bool waited = false, mixed = false;

	while (next_row(data->tg_oldtable, before) && next_row(data->tg_newtable, after)) {
		int oldnulls = before ? read_row(v, before, old) : 0;
		int newnulls = after ? read_row(v, after, new) : 0;
		int nulls = refers ? newnulls : oldnulls;

		CHECK_FOR_INTERRUPTS();
		if (refers && nulls > 0 && nulls < v->columns &&
		    key->con->confmatchtype == FKCONSTR_MATCH_FULL) {
			if (!waits(key))
				mixed_nulls(key, v);
			mixed = true;
		}
		if (nulls > 0 || (before && after && oldnulls + newnulls == 0 &&
				  compare_values(v, old, new) == 0))
			continue;
		if (!refers && !waited) {
			require_new_snapshots(key);
			wait_for_new_rows(key);
			waited = true;
		}
		add_value(v, &v->data[v->n * v->width], refers ? new : old);
		if (v->width > v->columns)
			add_value(v, &v->data[v->n * v->width + v->columns], new);
		if (++v->n == PIECE)
			end_piece(key, v, work);
	}
	end_piece(key, v, work);
	if (mixed)
		herd_far_key_keep(key->con->oid, true, 0, v->columns, NULL, v->types);
	if (before)
		ExecDropSingleTupleTableSlot(before);
	if (after)
		ExecDropSingleTupleTableSlot(after);
}

static const TriggerData *trigger_data(FunctionCallInfo fcinfo)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				errmsg("functions of far keys are for triggers of foreign keys")));
	return (TriggerData *)fcinfo->context;
}

/* -- what is looked at later ------------------------------------------------------------------- */

static void keep_values(const Key *key, Values *v, bool refers)
{
	drop_repeated(v);
	if (v->n > 0)
		herd_far_key_keep(key->con->oid, refers, v->n, v->columns, v->data, v->types);
}

static void keep_values_that_refer(const Key *key, Values *v)
{
	keep_values(key, v, true);
}

static void keep_values_referred_to(const Key *key, Values *v)
{
	keep_values(key, v, false);
}

PGDLLEXPORT Datum herd_far_key_check(PG_FUNCTION_ARGS)
{
	const TriggerData *data = trigger_data(fcinfo);
	Key key;
	Values v;

	SPI_connect();
	open_key(&key, data->tg_trigger->tgconstraint);
	open_values(&v, key.holder, key.holds, key.n, key.n);
	go_through(&key, &v, data, true, waits(&key) ? keep_values_that_refer : check_values);
	close_values(&v);
	close_key(&key);
	SPI_finish();
	return PointerGetDatum(NULL);
}

/* -- rows that were referred to, and are gone -------------------------------------------------- */

/* again: a key that another row has now is not gone. */
static void refuse_values(const Key *key, Values *v, bool again)
{
	const char *holder = table_name(key->holder);
	char *condition;
	int row;

	drop_repeated(v);
	if (v->n == 0 ||
	    run(psprintf("SELECT 1 FROM %s f WHERE %s LIMIT 1 FOR KEY SHARE OF f", holder,
			 have_values(v, key->holder, "f", key->holds, key->equal, true)),
		v, v->n > 1, key->holder, true) == 0)
		return;
	condition = psprintf("EXISTS (SELECT 1 FROM %s f WHERE %s)", holder,
			     equals(key->holder, "f", key->holds, key->equal, true, key->n, "u.k"));
	if (again)
		condition = psprintf(
			"%s AND NOT EXISTS (SELECT 1 FROM %s p WHERE %s)", condition,
			table_name(key->target),
			equals(key->target, "p", key->refers, key->same, false, key->n, "u.k"));
	row = first_row(v, key->holder, condition);
	if (row >= 0 || !again)
		still_referred(key, v, Max(row, 0), !again);
}

static void no_action(const Key *key, Values *v)
{
	refuse_values(key, v, true);
}

static void restrict_values(const Key *key, Values *v)
{
	refuse_values(key, v, false);
}

static void delete_rows(const Key *key, Values *v)
{
	drop_repeated(v);
	if (v->n > 0)
		(void)run(psprintf("DELETE FROM %s f WHERE %s", table_name(key->holder),
				   have_values(v, key->holder, "f", key->holds, key->equal, true)),
			  v, v->n > 1, key->holder, false);
}

static void set_rows(const Key *key, Values *v, const AttrNumber *attnums, int n, const char *to)
{
	StringInfoData set;

	drop_repeated(v);
	if (v->n == 0)
		return;
	initStringInfo(&set);
	for (int i = 0; i < n; i++)
		appendStringInfo(&set, "%s%s = %s", i > 0 ? ", " : "",
				 column(key->holder, attnums[i]), to);
	(void)run(psprintf("UPDATE %s f SET %s WHERE %s", table_name(key->holder), set.data,
			   have_values(v, key->holder, "f", key->holds, key->equal, true)),
		  v, v->n > 1, key->holder, false);
}

static void set_null(const Key *key, Values *v)
{
	set_rows(key, v, key->holds, key->n, "NULL");
}

/*
 * Who referred to what is gone by the very default still does: to the update its key is the same,
 * so that it looks for nothing.
 */
static void set_default(const Key *key, Values *v)
{
	set_rows(key, v, key->holds, key->n, "DEFAULT");
	no_action(key, v);
}

/* ON DELETE may name some of the columns. */
static void set_null_some(const Key *key, Values *v)
{
	set_rows(key, v, key->set, key->nset, "NULL");
}

static void set_default_some(const Key *key, Values *v)
{
	set_rows(key, v, key->set, key->nset, "DEFAULT");
	no_action(key, v);
}

/* Each value becomes what its row has now. */
static void follow(const Key *key, Values *v)
{
	StringInfoData set;
	bool one;

	drop_repeated(v);
	if (v->n == 0)
		return;
	one = v->n == 1;
	initStringInfo(&set);
	for (int i = 0; i < key->n; i++)
		appendStringInfo(&set, "%s%s = %s%d", i > 0 ? ", " : "",
				 column(key->holder, key->holds[i]), one ? "$" : "u.k",
				 key->n + i + 1);
	(void)run(psprintf("UPDATE %s f SET %s%s%s WHERE %s", table_name(key->holder), set.data,
			   one ? "" : " FROM ", one ? "" : rows_from(v),
			   equals(key->holder, "f", key->holds, key->equal, true, key->n,
				  one ? "$" : "u.k")),
		  v, !one, key->holder, false);
}

static PieceWork work_of(const Key *key, bool deleted)
{
	switch (deleted ? key->con->confdeltype : key->con->confupdtype) {
	case FKCONSTR_ACTION_RESTRICT:
		return restrict_values;
	case FKCONSTR_ACTION_CASCADE:
		return deleted ? delete_rows : follow;
	case FKCONSTR_ACTION_SETNULL:
		return deleted && key->nset > 0 ? set_null_some : set_null;
	case FKCONSTR_ACTION_SETDEFAULT:
		return deleted && key->nset > 0 ? set_default_some : set_default;
	default:
		return no_action;
	}
}

/* Where the columns of the key are in rows, which are of the table that is referred to. */
static const AttrNumber *places_in(const Key *key, Relation rows)
{
	AttrNumber *out = palloc(key->n * sizeof(AttrNumber));

	for (int i = 0; i < key->n; i++)
		out[i] = get_attnum(RelationGetRelid(rows),
				    get_attname(key->con->confrelid, key->refers[i], false));
	return out;
}

void herd_far_key_act_on(Oid constraintid, const TriggerData *data, Relation rows)
{
	Key key;
	Values v;
	PieceWork work;

	SPI_connect();
	open_key(&key, constraintid);
	work = work_of(&key, TRIGGER_FIRED_BY_DELETE(data->tg_event));
	if (work == no_action && waits(&key))
		work = keep_values_referred_to;
	open_values(&v, rows ? rows : key.target, rows ? places_in(&key, rows) : key.refers, key.n,
		    work == follow ? 2 * key.n : key.n);
	go_through(&key, &v, data, false, work);
	close_values(&v);
	close_key(&key);
	SPI_finish();
}

PGDLLEXPORT Datum herd_far_key_act(PG_FUNCTION_ARGS)
{
	const TriggerData *data = trigger_data(fcinfo);

	herd_far_key_act_on(data->tg_trigger->tgconstraint, data, NULL);
	return PointerGetDatum(NULL);
}

void herd_far_key_look(Oid constraintid, bool refers, int n, const Datum *data)
{
	Key key;
	Values v;

	SPI_connect();
	open_key(&key, constraintid);
	open_values(&v, refers ? key.holder : key.target, refers ? key.holds : key.refers, key.n,
		    key.n);
	if (n > 0)
		memcpy(v.data, data, n * key.n * sizeof(Datum));
	v.n = n;
	if (refers && n == 0) {
		if (find_one(psprintf("SELECT 1 FROM %s f WHERE %s", table_name(key.holder),
				      has_mixed_nulls(&key))))
			mixed_nulls(&key, &v);
	} else if (refers) {
		check_values_later(&key, &v);
	} else {
		wait_for_new_rows(&key);
		no_action(&key, &v);
	}
	close_values(&v);
	close_key(&key);
	SPI_finish();
}

/* -- rows that are there already --------------------------------------------------------------- */

/* Rows of both tables, p and f, match. */
static char *matches(const Key *key)
{
	StringInfoData out;

	initStringInfo(&out);
	for (int i = 0; i < key->n; i++)
		appendStringInfo(&out, "%sp.%s %s f.%s", i > 0 ? " AND " : "",
				 column(key->target, key->refers[i]), operator_text(key->equal[i]),
				 column(key->holder, key->holds[i]));
	return out.data;
}

/* "f.a, f.b" of the columns that refer, each with the cast behind it. */
static char *holder_columns(const Key *key, const char *cast)
{
	StringInfoData out;

	initStringInfo(&out);
	for (int i = 0; i < key->n; i++)
		appendStringInfo(&out, "%sf.%s%s", i > 0 ? ", " : "",
				 column(key->holder, key->holds[i]), cast);
	return out.data;
}

/* "f.a IS NOT NULL AND f.b IS NOT NULL AND " */
static char *is_complete(const Key *key)
{
	StringInfoData out;

	initStringInfo(&out);
	for (int i = 0; i < key->n; i++)
		appendStringInfo(&out, "f.%s IS NOT NULL AND ", column(key->holder, key->holds[i]));
	return out.data;
}

void herd_far_key_validate(Oid constraintid)
{
	const char *holder;
	Key key;
	Values v;

	SPI_connect();
	open_key(&key, constraintid);
	open_values(&v, key.holder, key.holds, key.n, key.n);
	holder = table_name(key.holder);
	if (key.con->confmatchtype == FKCONSTR_MATCH_FULL &&
	    find_one(psprintf("SELECT 1 FROM %s f WHERE %s", holder, has_mixed_nulls(&key))))
		mixed_nulls(&key, &v);
	if (find_one(psprintf("SELECT %s FROM %s f WHERE %s NOT EXISTS (SELECT 1 FROM %s p "
			      "WHERE %s) LIMIT 1",
			      holder_columns(&key, ""), holder, is_complete(&key),
			      table_name(key.target), matches(&key)))) {
		for (int i = 0; i < key.n; i++) {
			bool isnull;

			v.data[i] = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc,
						  i + 1, &isnull);
		}
		v.n = 1;
		missing(&key, &v, 0);
	}
	close_values(&v);
	close_key(&key);
	SPI_finish();
}

void herd_far_key_validate_table(Oid relid)
{
	ListCell *lc;

	foreach (lc, herd_sql_rows("SELECT oid::text FROM pg_catalog.pg_constraint WHERE conrelid "
				   "= %u AND contype = 'f' AND convalidated AND (confrelid = %u "
				   "OR NOT EXISTS (SELECT FROM pg_catalog.pg_constraint p WHERE "
				   "p.oid = pg_constraint.conparentid AND p.conrelid = %u)) ORDER "
				   "BY oid",
				   relid, relid, relid)) {
		Oid oid = atooid(((char **)lfirst(lc))[0]);

		if (herd_far_key_is(oid))
			herd_far_key_validate(oid);
	}
}

/* -- partitions that go ------------------------------------------------------------------------ */

typedef struct Detached {
	char *sql; /* gives values that still refer to the partition */
	char *partition, *constraint, *columns;
	Oid holder; /* the table that has the key */
	int n;      /* columns */
} Detached;

static Detached *question(Oid constraintid)
{
	Detached *ask = palloc(sizeof(Detached));
	StringInfoData names;
	Key key;

	open_key(&key, constraintid);
	initStringInfo(&names);
	for (int i = 0; i < key.n; i++)
		appendStringInfo(&names, "%s%s", i > 0 ? ", " : "",
				 get_attname(key.con->conrelid, key.holds[i], false));
	ask->sql = psprintf("SELECT %s FROM %s f WHERE %s EXISTS (SELECT 1 FROM %s p WHERE %s) "
			    "LIMIT 1",
			    holder_columns(&key, "::text"), table_name(key.holder),
			    is_complete(&key), table_name(key.target), matches(&key));
	ask->partition = pstrdup(RelationGetRelationName(key.target));
	ask->constraint = pstrdup(NameStr(key.con->conname));
	ask->holder = RelationGetRelid(key.holder);
	ask->columns = names.data;
	ask->n = key.n;
	close_key(&key);
	return ask;
}

static char *joined(char **values, int n)
{
	StringInfoData out;

	initStringInfo(&out);
	for (int i = 0; i < n; i++)
		appendStringInfo(&out, "%s%s", i > 0 ? ", " : "", values[i]);
	return out.data;
}

/* All rows count, whoever detaches the partition. */
static List *ask_as_owner(const char *sql)
{
	List *rows;
	Oid user;
	int context;

	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(herd_extension_owner(),
			       context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_NOFORCE_RLS);
	rows = herd_sql_rows("%s", sql);
	SetUserIdAndSecContext(user, context);
	return rows;
}

static void refuse_detach(const Detached *ask, char **values)
{
	Relation holder = table_open(ask->holder, NoLock);

	ereport(ERROR,
		(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
		 errmsg("removing partition \"%s\" violates foreign key constraint \"%s\"",
			ask->partition, ask->constraint),
		 errdetail("Key (%s)=(%s) is still referenced from table \"%s\".", ask->columns,
			   joined(values, ask->n), RelationGetRelationName(holder)),
		 errtableconstraint(holder, ask->constraint)));
}

void herd_far_key_detached(const List *asked)
{
	const ListCell *lc;

	foreach (lc, asked) {
		List *rows = ask_as_owner(((const Detached *)lfirst(lc))->sql);

		if (rows != NIL)
			refuse_detach(lfirst(lc), linitial(rows));
	}
}

List *herd_far_key_detach(Oid partition)
{
	List *asked = NIL;
	ListCell *lc;

	foreach (lc, herd_sql_rows("SELECT c.oid::text FROM pg_catalog.pg_constraint c JOIN "
				   "pg_catalog.pg_constraint p ON p.oid = c.conparentid AND "
				   "p.confrelid <> c.confrelid WHERE c.confrelid = %u AND "
				   "c.contype = 'f' ORDER BY c.oid",
				   partition))
		asked = lappend(asked, question(atooid(((char **)lfirst(lc))[0])));
	herd_far_key_detached(asked);
	return asked;
}
