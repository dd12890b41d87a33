/*
 * Rows as COPY data: binary where every type means the same on all nodes, else text.
 */
#include "exec/exec.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/metadata.h"
#include "catalog/pg_type.h"
#include "exec/internal.h"
#include "exec/shardcopy.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

/* How a column's value becomes bytes. */
typedef enum Packing {
	PACK_FUNCTION,
	PACK_INT16, /* the value's bits in network order, as these types send themselves */
	PACK_INT32,
	PACK_INT64,
	PACK_BYTE,
	PACK_UUID,
	PACK_BYTES /* what the varlena holds: bytea, and text when no conversion is needed */
} Packing;

typedef struct Column {
	FmgrInfo out;
	Packing packing;
} Column;

struct HerdShardWriter {
	MemoryContext cxt;
	MemoryContext row_cxt;
	const HerdTable *table;
	HerdShardCopy *copy;
	bool binary;
	int ncolumns;
	int key; /* position of the distribution column, -1 without one */
	bool key_not_null;
	Column *columns;
	uint64 rows;
};

/* Nodes take COPY data in the encoding of the database, so strings go as they are. */
static Packing packing_of(Oid type)
{
	switch (type) {
	case INT2OID:
		return PACK_INT16;
	case INT4OID:
	case DATEOID:
	case FLOAT4OID:
	case OIDOID:
		return PACK_INT32;
	case INT8OID:
	case FLOAT8OID:
	case TIMESTAMPOID:
	case TIMESTAMPTZOID:
	case TIMEOID:
		return PACK_INT64;
	case BOOLOID:
	case CHAROID:
		return PACK_BYTE;
	case UUIDOID:
		return PACK_UUID;
	case TEXTOID:
	case VARCHAROID:
	case BPCHAROID:
	case BYTEAOID:
	case JSONOID:
		return PACK_BYTES;
	default:
		return PACK_FUNCTION;
	}
}

static void init_columns(HerdShardWriter *w, Relation rel, List *attnums)
{
	ListCell *lc;
	int i = 0;

	w->ncolumns = list_length(attnums);
	w->columns = palloc0(Max(w->ncolumns, 1) * sizeof(Column));
	w->binary = true;
	w->key = -1;
	foreach (lc, attnums) {
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), lfirst_int(lc) - 1);

		if (!herd_type_is_portable(getBaseType(att->atttypid)))
			w->binary = false;
		if (w->table->keyattno == att->attnum) {
			w->key = foreach_current_index(lc);
			w->key_not_null = att->attnotnull;
		}
	}
	foreach (lc, attnums) {
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), lfirst_int(lc) - 1);
		Oid function;
		bool varlena;

		if (w->binary)
			getTypeBinaryOutputInfo(getBaseType(att->atttypid), &function, &varlena);
		else
			getTypeOutputInfo(att->atttypid, &function, &varlena);
		w->columns[i].packing = packing_of(getBaseType(att->atttypid));
		fmgr_info(function, &w->columns[i++].out);
	}
}

/* "(a, b) FROM STDIN WITH (..)" */
static char *command_tail(HerdShardWriter *w, Relation rel, List *attnums, const char *options)
{
	StringInfoData tail;
	ListCell *lc;

	initStringInfo(&tail);
	foreach (lc, attnums) {
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), lfirst_int(lc) - 1);

		appendStringInfo(&tail, "%s%s", tail.len ? ", " : "(",
				 quote_identifier(NameStr(att->attname)));
	}
	appendStringInfo(&tail, "%s FROM STDIN WITH (FORMAT %s%s)", attnums ? ")" : "",
			 w->binary ? "binary" : "text", options);
	return tail.data;
}

HerdShardWriter *herd_shard_writer_begin_copy(Oid relid, List *attnums, const char *options,
					      const char *what)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "pgherd shard writer",
						  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cxt);
	HerdShardWriter *w = palloc0(sizeof(*w));
	Relation rel;

	PreventCommandIfReadOnly("COPY FROM");
	w->cxt = cxt;
	w->row_cxt = AllocSetContextCreate(cxt, "pgherd shard writer row", ALLOCSET_DEFAULT_SIZES);
	w->table = herd_table_get(relid);
	if (!w->table)
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
				errmsg("table \"%s\" is not distributed", get_rel_name(relid))));
	rel = table_open(relid, AccessShareLock);
	init_columns(w, rel, attnums);
	if (w->table->kind == HERD_TABLE_HASH && w->key < 0)
		ereport(ERROR,
			(errcode(ERRCODE_NOT_NULL_VIOLATION),
			 errmsg("the distribution column of \"%s\" must be among the columns "
				"that are written",
				get_rel_name(relid))));
	w->copy = herd_shard_copy_begin(w->table, command_tail(w, rel, attnums, options), w->binary,
					what);
	herd_shard_copy_hide(w->copy, -1, '\0', '\0');
	table_close(rel, NoLock);
	MemoryContextSwitchTo(old);
	return w;
}

HerdShardWriter *herd_shard_writer_begin(Oid relid, List *attnums)
{
	return herd_shard_writer_begin_copy(relid, attnums, "", NULL);
}

/* -- one row ----------------------------------------------------------------------------------- */

static void append_int16(StringInfo s, int16 value)
{
	uint16 net = pg_hton16((uint16)value);

	appendBinaryStringInfo(s, (char *)&net, sizeof(net));
}

static void append_int32(StringInfo s, int32 value)
{
	uint32 net = pg_hton32((uint32)value);

	appendBinaryStringInfo(s, (char *)&net, sizeof(net));
}

/* A value and its length before it. */
static void append_bytes(StringInfo s, const void *data, int32 n)
{
	uint32 net = pg_hton32((uint32)n);

	enlargeStringInfo(s, n + sizeof(net));
	memcpy(s->data + s->len, &net, sizeof(net));
	memcpy(s->data + s->len + sizeof(net), data, n);
	s->len += n + sizeof(net);
}

static void append_binary_value(Column *c, StringInfo s, Datum value)
{
	bytea *bytes;
	uint16 n16;
	uint32 n32;
	uint64 n64;
	char byte;

	switch (c->packing) {
	case PACK_INT16:
		n16 = pg_hton16((uint16)DatumGetInt16(value));
		append_bytes(s, &n16, sizeof(n16));
		return;
	case PACK_INT32:
		n32 = pg_hton32(DatumGetUInt32(value));
		append_bytes(s, &n32, sizeof(n32));
		return;
	case PACK_INT64:
		n64 = pg_hton64((uint64)DatumGetInt64(value));
		append_bytes(s, &n64, sizeof(n64));
		return;
	case PACK_BYTE:
		byte = DatumGetChar(value);
		append_bytes(s, &byte, 1);
		return;
	case PACK_UUID:
		append_bytes(s, DatumGetPointer(value), 16);
		return;
	case PACK_BYTES:
		bytes = DatumGetByteaPP(value);
		append_bytes(s, VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes));
		return;
	case PACK_FUNCTION:
		bytes = SendFunctionCall(&c->out, value);
		append_bytes(s, VARDATA(bytes), VARSIZE(bytes) - VARHDRSZ);
	}
}

static void append_binary_row(HerdShardWriter *w, StringInfo s, Datum *values, bool *isnull)
{
	append_int16(s, w->ncolumns);
	for (int i = 0; i < w->ncolumns; i++) {
		if (isnull[i])
			append_int32(s, -1);
		else
			append_binary_value(&w->columns[i], s, values[i]);
	}
}

/* The characters that COPY's text format escapes. All server encodings keep ASCII apart. */
static void append_escaped(StringInfo s, const char *value)
{
	static const char from[] = "\b\f\n\r\t\v\\", to[] = "bfnrtv\\";

	for (const char *p = value; *p; p++) {
		const char *known = (unsigned char)*p < ' ' || *p == '\\' ? strchr(from, *p) : NULL;

		if (known)
			appendStringInfoCharMacro(s, '\\');
		appendStringInfoCharMacro(s, known ? to[known - from] : *p);
	}
}

static void append_text_row(HerdShardWriter *w, StringInfo s, Datum *values, bool *isnull)
{
	for (int i = 0; i < w->ncolumns; i++) {
		if (i > 0)
			appendStringInfoCharMacro(s, '\t');
		if (isnull[i])
			appendStringInfoString(s, "\\N");
		else
			append_escaped(s, OutputFunctionCall(&w->columns[i].out, values[i]));
	}
	appendStringInfoCharMacro(s, '\n');
}

/* -- the table --------------------------------------------------------------------------------- */

static int shard_for(HerdShardWriter *w, Datum *values, bool *isnull)
{
	if (w->table->kind != HERD_TABLE_HASH)
		return 0;
	if (isnull[w->key]) {
		/* Any shard says that the column is NOT NULL, as PostgreSQL does. */
		if (w->key_not_null)
			return 0;
		ereport(ERROR, (errcode(ERRCODE_NOT_NULL_VIOLATION),
				errmsg("the distribution column of table \"%s\" cannot be null",
				       get_rel_name(w->table->relid))));
	}
	return herd_table_shard_index(w->table, herd_table_hash(w->table, values[w->key]));
}

void herd_shard_writer_put_line(HerdShardWriter *w, Datum *values, bool *isnull, uint64 line)
{
	int shard = shard_for(w, values, isnull);
	StringInfo out = herd_shard_copy_buffer(w->copy, shard);
	MemoryContext old;

	MemoryContextReset(w->row_cxt);
	old = MemoryContextSwitchTo(w->row_cxt);
	if (w->binary)
		append_binary_row(w, out, values, isnull);
	else
		append_text_row(w, out, values, isnull);
	MemoryContextSwitchTo(old);
	w->rows++;
	herd_shard_copy_added(w->copy, shard, line, 1, 1);
}

void herd_shard_writer_put(HerdShardWriter *w, Datum *values, bool *isnull)
{
	herd_shard_writer_put_line(w, values, isnull, w->rows + 1);
}

bool herd_shard_writer_raising(const HerdShardWriter *w)
{
	return herd_shard_copy_raising(w->copy);
}

uint64 herd_shard_writer_end(HerdShardWriter *w)
{
	uint64 rows = herd_shard_copy_end(w->copy);

	MemoryContextDelete(w->cxt);
	return rows;
}
