/*
 * Rows are collected per shard in COPY format and sent, a buffer at a time, as COPY commands over
 * the group's main connection. While a node takes in one buffer the next is being filled; only
 * when a second buffer is due for the same connection is the first one waited for.
 */
#include "exec/exec.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/metadata.h"
#include "catalog/namespace.h"
#include "commands/copy.h"
#include "conn/session.h"
#include "exec/internal.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/parse_relation.h"
#include "port/pg_bswap.h"
#include "txn/internal.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

/* A shard's buffer is sent when it has this much, */
#define SHARD_BUFFER_BYTES (512 * 1024)
/* and the fullest ones when all together have this much. */
#define TOTAL_BUFFER_BYTES (16 * 1024 * 1024)

static const char binary_signature[19] = "PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0\0";

typedef struct ShardBuffer {
	const HerdShard *shard;
	StringInfoData data;
	char *relation; /* qualified and quoted, NULL before the first row */
} ShardBuffer;

typedef struct Column {
	FmgrInfo out;
} Column;

struct HerdShardWriter {
	MemoryContext cxt;
	MemoryContext row_cxt;
	const HerdTable *table;
	Oid relid;
	bool binary;
	int ncolumns;
	int key; /* position of the distribution column, -1 without one */
	Column *columns;
	char *column_list;  /* "(a, b)" */
	List *column_names; /* the same for a COPY in this process */
	ShardBuffer *buffers;
	Size total;
	uint64 rows;
};

static void init_columns(HerdShardWriter *w, List *attnums)
{
	Relation rel = table_open(w->relid, AccessShareLock);
	StringInfoData list;
	ListCell *lc;
	int i = 0;

	initStringInfo(&list);
	w->ncolumns = list_length(attnums);
	w->columns = palloc0(Max(w->ncolumns, 1) * sizeof(Column));
	w->binary = true;
	w->key = -1;
	foreach (lc, attnums) {
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), lfirst_int(lc) - 1);

		if (!herd_type_is_portable(getBaseType(att->atttypid)))
			w->binary = false;
		if (w->table->keyattno == att->attnum)
			w->key = foreach_current_index(lc);
		w->column_names =
			lappend(w->column_names, makeString(pstrdup(NameStr(att->attname))));
		appendStringInfo(&list, "%s%s", lc == list_head(attnums) ? "(" : ", ",
				 quote_identifier(NameStr(att->attname)));
	}
	if (w->ncolumns > 0)
		appendStringInfoChar(&list, ')');
	foreach (lc, attnums) {
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), lfirst_int(lc) - 1);
		Oid function;
		bool varlena;

		if (w->binary)
			getTypeBinaryOutputInfo(getBaseType(att->atttypid), &function, &varlena);
		else
			getTypeOutputInfo(att->atttypid, &function, &varlena);
		fmgr_info(function, &w->columns[i++].out);
	}
	w->column_list = list.data;
	table_close(rel, NoLock);
}

HerdShardWriter *herd_shard_writer_begin(Oid relid, List *attnums)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "pgherd shard writer",
						  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cxt);
	HerdShardWriter *w = palloc0(sizeof(*w));

	PreventCommandIfReadOnly("COPY FROM");
	w->cxt = cxt;
	w->row_cxt = AllocSetContextCreate(cxt, "pgherd shard writer row", ALLOCSET_DEFAULT_SIZES);
	w->relid = relid;
	w->table = herd_table_get(relid);
	if (!w->table)
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
				errmsg("table \"%s\" is not distributed", get_rel_name(relid))));
	init_columns(w, attnums);
	if (w->table->kind == HERD_TABLE_HASH && w->key < 0)
		ereport(ERROR,
			(errcode(ERRCODE_NOT_NULL_VIOLATION),
			 errmsg("the distribution column of \"%s\" must be among the columns "
				"that are written",
				get_rel_name(relid))));
	w->buffers = palloc0(w->table->nshards * sizeof(ShardBuffer));
	for (int i = 0; i < w->table->nshards; i++)
		w->buffers[i].shard = &w->table->shards[i];
	MemoryContextSwitchTo(old);
	return w;
}

static void init_buffer(HerdShardWriter *w, ShardBuffer *b)
{
	MemoryContext old = MemoryContextSwitchTo(w->cxt);
	char *name = herd_shard_name(get_rel_name(w->relid), b->shard->shardid);
	char *schema = get_namespace_name(get_rel_namespace(w->relid));

	b->relation = quote_qualified_identifier(schema, name);
	initStringInfo(&b->data);
	herd_shard_lock(b->shard->shardid, false);
	MemoryContextSwitchTo(old);
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

static void append_binary_row(HerdShardWriter *w, StringInfo s, Datum *values, bool *isnull)
{
	append_int16(s, w->ncolumns);
	for (int i = 0; i < w->ncolumns; i++) {
		bytea *bytes;

		if (isnull[i]) {
			append_int32(s, -1);
			continue;
		}
		bytes = SendFunctionCall(&w->columns[i].out, values[i]);
		append_int32(s, VARSIZE(bytes) - VARHDRSZ);
		appendBinaryStringInfo(s, VARDATA(bytes), VARSIZE(bytes) - VARHDRSZ);
	}
}

/* The characters that COPY's text format escapes. All server encodings keep ASCII apart. */
static void append_escaped(StringInfo s, const char *value)
{
	for (const char *p = value; *p; p++) {
		switch (*p) {
		case '\b':
			appendStringInfoString(s, "\\b");
			break;
		case '\f':
			appendStringInfoString(s, "\\f");
			break;
		case '\n':
			appendStringInfoString(s, "\\n");
			break;
		case '\r':
			appendStringInfoString(s, "\\r");
			break;
		case '\t':
			appendStringInfoString(s, "\\t");
			break;
		case '\v':
			appendStringInfoString(s, "\\v");
			break;
		case '\\':
			appendStringInfoString(s, "\\\\");
			break;
		default:
			appendStringInfoCharMacro(s, *p);
		}
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

/* -- sending ----------------------------------------------------------------------------------- */

static char *copy_command(HerdShardWriter *w, const ShardBuffer *b)
{
	return psprintf("COPY %s %s FROM STDIN WITH (FORMAT %s)", b->relation, w->column_list,
			w->binary ? "binary" : "text");
}

/* Waits for the answer to COPY and hands libpq the whole buffer; the end is not waited for. */
static void send_remote(HerdShardWriter *w, ShardBuffer *b, int32 groupid)
{
	HerdConn *c = herd_conn_main(groupid);
	char *sql = copy_command(w, b);
	PGresult *res;

	herd_conn_simple_finish(c);
	herd_conn_send_setup(c, true, true);
	if (herd_conn_busy(c)) {
		herd_conn_send_sync(c);
		herd_conn_finish(c);
	}
	herd_conn_log(c, sql);
	herd_conn_simple_start(c, sql);
	pfree(sql);
	while (c->simple && PQisBusy(c->pg) && PQstatus(c->pg) != CONNECTION_BAD)
		herd_conn_wait(c);
	if (c->lost)
		herd_conn_raise_lost(c);
	res = PQgetResult(c->pg);
	if (PQresultStatus(res) != PGRES_COPY_IN)
		herd_conn_raise(c, res);
	PQclear(res);
	if (PQputCopyData(c->pg, b->data.data, b->data.len) != 1 || PQputCopyEnd(c->pg, NULL) != 1)
		herd_conn_raise_lost(c);
	(void)herd_conn_flush(c);
}

/* What COPY reads for a shard of this server; there is one COPY at a time. */
static StringInfo local_source;

static int read_local(void *out, int minread, int maxread)
{
	int n = Min(maxread, local_source->len - local_source->cursor);

	memcpy(out, local_source->data + local_source->cursor, n);
	local_source->cursor += n;
	return n;
}

static void copy_local(HerdShardWriter *w, ShardBuffer *b)
{
	List *options = list_make1(
		makeDefElem("format", (Node *)makeString(w->binary ? "binary" : "text"), -1));
	char *name = herd_shard_name(get_rel_name(w->relid), b->shard->shardid);
	Oid relid = get_relname_relid(name, get_rel_namespace(w->relid));
	ParseState *pstate = make_parsestate(NULL);
	ParseNamespaceItem *item;
	CopyFromState state;
	Relation rel;

	if (!OidIsValid(relid))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
				errmsg("shard \"%s\" does not exist on this node", name)));
	herd_txn_use_local_group();
	rel = table_open(relid, RowExclusiveLock);
	item = addRangeTableEntryForRelation(pstate, rel, RowExclusiveLock, NULL, false, false);
	addNSItemToQuery(pstate, item, true, true, true);
	b->data.cursor = 0;
	local_source = &b->data;
	state = BeginCopyFrom(pstate, rel, NULL, NULL, false, read_local, w->column_names, options);
	(void)CopyFrom(state);
	EndCopyFrom(state);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

static bool is_here(int32 groupid)
{
	HerdConn *c;

	if (groupid != herd_local_group())
		return false;
	c = herd_conn_find_main(groupid);
	return !(c && c->level > 0);
}

static void start_buffer(HerdShardWriter *w, ShardBuffer *b)
{
	if (w->binary) {
		appendBinaryStringInfo(&b->data, binary_signature, sizeof(binary_signature));
		w->total += sizeof(binary_signature);
	}
}

static void flush(HerdShardWriter *w, ShardBuffer *b)
{
	if (!b->relation || b->data.len == 0)
		return;
	if (w->binary)
		append_int16(&b->data, -1);
	for (int i = 0; i < b->shard->ngroups; i++) {
		int32 groupid = b->shard->groups[i];

		if (is_here(groupid)) {
			herd_group_lock(groupid, false);
			copy_local(w, b);
		} else {
			send_remote(w, b, groupid);
		}
	}
	w->total -= Min(w->total, b->data.len);
	resetStringInfo(&b->data);
}

static void flush_fullest(HerdShardWriter *w)
{
	ShardBuffer *fullest = &w->buffers[0];

	for (int i = 1; i < w->table->nshards; i++) {
		if (w->buffers[i].data.len > fullest->data.len)
			fullest = &w->buffers[i];
	}
	flush(w, fullest);
}

static ShardBuffer *buffer_for(HerdShardWriter *w, Datum *values, bool *isnull)
{
	if (w->table->kind != HERD_TABLE_HASH)
		return &w->buffers[0];
	if (isnull[w->key])
		ereport(ERROR, (errcode(ERRCODE_NOT_NULL_VIOLATION),
				errmsg("the distribution column of \"%s\" must not be NULL",
				       get_rel_name(w->relid))));
	return &w->buffers[herd_table_shard_index(w->table,
						  herd_table_hash(w->table, values[w->key]))];
}

void herd_shard_writer_put(HerdShardWriter *w, Datum *values, bool *isnull)
{
	ShardBuffer *b = buffer_for(w, values, isnull);
	MemoryContext old;
	int before;

	if (!b->relation)
		init_buffer(w, b);
	if (b->data.len == 0)
		start_buffer(w, b);
	before = b->data.len;
	MemoryContextReset(w->row_cxt);
	old = MemoryContextSwitchTo(w->row_cxt);
	if (w->binary)
		append_binary_row(w, &b->data, values, isnull);
	else
		append_text_row(w, &b->data, values, isnull);
	MemoryContextSwitchTo(old);
	w->total += b->data.len - before;
	w->rows++;
	if (b->data.len >= SHARD_BUFFER_BYTES)
		flush(w, b);
	else if (w->total >= TOTAL_BUFFER_BYTES)
		flush_fullest(w);
}

uint64 herd_shard_writer_end(HerdShardWriter *w)
{
	uint64 rows = w->rows;
	dlist_iter iter;

	for (int i = 0; i < w->table->nshards; i++)
		flush(w, &w->buffers[i]);
	dlist_foreach(iter, &herd_conns)
	{
		HerdConn *c = dlist_container(HerdConn, link, iter.cur);

		if (c->main && c->simple)
			herd_conn_simple_finish(c);
	}
	MemoryContextDelete(w->cxt);
	return rows;
}
