#include "postgres.h"

#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/regproc.h"

#include "move/columns.h"
#include "move/writer.h"

enum {
	BLOCK_BYTES = 64 * 1024,
	BUFFER_BYTES = 16 * 1024 * 1024 /* of all parts together */
};

typedef struct Part {
	StringInfoData data;
	HerdBlock block;
} Part;

typedef struct HerdWriterState {
	HerdWriter w; /* first */
	int key;
	bool null_fails;
	FmgrInfo hash;
	const int32 *mins;
	Part *parts;
	int limit; /* bytes of a part before it is handed on */
	HerdColumn *columns;
	MemoryContext memory, row;
} HerdWriterState;

static void flush_part(HerdWriterState *s, int n)
{
	Part *part = &s->parts[n];

	if (part->block.rows == 0)
		return;
	part->block.bytes = part->data.len;
	s->w.flush(&s->w, n, &part->block, part->data.data);
	s->w.rows[n] += part->block.rows;
	s->w.bytes[n] += part->block.bytes;
	part->block.rows = 0;
	resetStringInfo(&part->data);
}

/* Null keys equal nothing: any part does, if it is always the same. */
static int part_of(HerdWriterState *s, TupleTableSlot *slot)
{
	int low = 0, high = s->w.nparts - 1;
	Oid collation;
	int32 hash;

	if (s->null_fails && slot->tts_isnull[s->key - 1])
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("the distribution column cannot be null")));
	if (s->key == 0 || slot->tts_isnull[s->key - 1])
		return 0;
	collation = TupleDescAttr(slot->tts_tupleDescriptor, s->key - 1)->attcollation;
	hash = DatumGetInt32(FunctionCall1Coll(&s->hash, collation, slot->tts_values[s->key - 1]));
	while (low < high) {
		int middle = (low + high + 1) / 2;

		if (s->mins[middle] <= hash)
			low = middle;
		else
			high = middle - 1;
	}
	return low;
}

static bool write_row(TupleTableSlot *slot, DestReceiver *self)
{
	HerdWriterState *s = (HerdWriterState *)self;
	MemoryContext old = MemoryContextSwitchTo(s->row);
	Part *part;
	int n;

	slot_getallattrs(slot);
	n = part_of(s, slot);
	part = &s->parts[n];
	herd_row_put(&part->data, s->columns, slot->tts_tupleDescriptor->natts, slot->tts_values,
		     slot->tts_isnull);
	part->block.rows++;
	if (part->data.len >= s->limit)
		flush_part(s, n);
	MemoryContextSwitchTo(old);
	MemoryContextReset(s->row);
	return true;
}

static void write_begin(DestReceiver *self, int operation, TupleDesc desc)
{
	HerdWriterState *s = (HerdWriterState *)self;
	MemoryContext old = MemoryContextSwitchTo(s->memory);

	s->columns = herd_columns_of(desc, true);
	if (s->key > desc->natts)
		elog(ERROR, "the result has no column %d", s->key);
	MemoryContextSwitchTo(old);
}

static void write_nothing(DestReceiver *self)
{
}

HerdWriter *herd_writer_new(int key, const char *hash, const int32 *mins, int nparts)
{
	HerdWriterState *s = palloc0(sizeof(*s));

	s->w.pub = (DestReceiver){ .receiveSlot = write_row,
				   .rStartup = write_begin,
				   .rShutdown = write_nothing,
				   .rDestroy = write_nothing,
				   .mydest = DestNone };
	s->w.nparts = nparts;
	s->w.rows = palloc0(nparts * sizeof(int64));
	s->w.bytes = palloc0(nparts * sizeof(int64));
	s->key = abs(key);
	s->null_fails = key < 0;
	s->mins = mins;
	s->memory = CurrentMemoryContext;
	s->row = AllocSetContextCreate(CurrentMemoryContext, "herd result row",
				       ALLOCSET_DEFAULT_SIZES);
	s->limit = Min(BLOCK_BYTES, BUFFER_BYTES / nparts);
	s->parts = palloc0(nparts * sizeof(Part));
	for (int i = 0; i < nparts; i++)
		initStringInfo(&s->parts[i].data);
	if (key != 0)
		fmgr_info(DatumGetObjectId(
				  DirectFunctionCall1(regprocedurein, CStringGetDatum(hash))),
			  &s->hash);
	return &s->w;
}

void herd_writer_end(HerdWriter *w)
{
	for (int i = 0; i < w->nparts; i++)
		flush_part((HerdWriterState *)w, i);
}
