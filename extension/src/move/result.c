#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/supportnodes.h"
#include "optimizer/optimizer.h"
#include "storage/fd.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/regproc.h"
#include "utils/tuplestore.h"

#include "catalog/metadata.h"
#include "exec/exec.h"
#include "exec/internal.h"
#include "move/columns.h"
#include "move/result.h"
#include "move/store.h"
#include "move/writer.h"

PGDLLEXPORT PG_FUNCTION_INFO_V1(herd_hold_results);
PGDLLEXPORT PG_FUNCTION_INFO_V1(herd_make_result);
PGDLLEXPORT PG_FUNCTION_INFO_V1(herd_store_block);
PGDLLEXPORT PG_FUNCTION_INFO_V1(herd_fetch_result);
PGDLLEXPORT PG_FUNCTION_INFO_V1(herd_result_blocks);
PGDLLEXPORT PG_FUNCTION_INFO_V1(herd_read_result);
PGDLLEXPORT PG_FUNCTION_INFO_V1(herd_read_result_support);

/* Of make_result; the argument before is only there for VARIADIC. */
#define FIRST_PARAM 8

/* -- how long results live --------------------------------------------------------------------- */

static List *held;   /* of char *, paths, in TopMemoryContext */
static int64 stored; /* bytes of blocks that this transaction was given */

static void at_end_of_transaction(XactEvent event, void *arg)
{
	ListCell *lc;

	stored = 0;
	if (held == NIL || (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT &&
			    event != XACT_EVENT_PREPARE))
		return;
	foreach (lc, held)
		herd_result_remove_directory(lfirst(lc));
	list_free_deep(held);
	held = NIL;
}

void herd_result_init(void)
{
	RegisterXactCallback(at_end_of_transaction, NULL);
}

Datum herd_hold_results(PG_FUNCTION_ARGS)
{
	char *path = herd_result_directory(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	MemoryContext old;

	/* before it is held: what is there already is somebody else's to remove */
	herd_result_make_directory(path);
	/* the path, as the role in it may be another one at the end of the transaction */
	old = MemoryContextSwitchTo(TopMemoryContext);
	held = lappend(held, pstrdup(path));
	MemoryContextSwitchTo(old);
	PG_RETURN_INT64(0);
}

/* -- writing ----------------------------------------------------------------------------------- */

typedef struct Target {
	const char *id;
	int move;
	HerdResultFile file;
	int64 bytes;
} Target;

static void too_large(void)
{
	ereport(ERROR,
		(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
		 errmsg("an intermediate result exceeds temp_file_limit (%dkB)", temp_file_limit)));
}

static void write_block(HerdWriter *w, int part, const HerdBlock *block, const char *data)
{
	Target *t = w->arg;

	t->bytes += block->bytes;
	if (temp_file_limit >= 0 && t->bytes > (int64)temp_file_limit * 1024)
		too_large();
	t->file.part = part;
	herd_result_append(t->id, t->move, &t->file, block, data);
}

static void run_query(HerdWriter *w, const char *sql, FunctionCallInfo fcinfo)
{
	int n = PG_NARGS() - FIRST_PARAM;
	ParamListInfo params = n > 0 ? makeParamList(n) : NULL;
	Oid *types = palloc0(Max(n, 1) * sizeof(Oid));
	SPIExecuteOptions options = { .params = params, .read_only = true, .dest = &w->pub };
	SPIPlanPtr plan;

	for (int i = 0; i < n; i++) {
		types[i] = get_fn_expr_argtype(fcinfo->flinfo, FIRST_PARAM + i);
		params->params[i] = (ParamExternData){ .value = PG_GETARG_DATUM(FIRST_PARAM + i),
						       .isnull = PG_ARGISNULL(FIRST_PARAM + i),
						       .pflags = PARAM_FLAG_CONST,
						       .ptype = types[i] };
	}
	if (SPI_connect() < 0 || (plan = SPI_prepare(sql, n, types)) == NULL ||
	    SPI_execute_plan_extended(plan, &options) < 0)
		elog(ERROR, "could not run the query of an intermediate result");
	SPI_finish();
}

static Tuplestorestate *begin_rows(FunctionCallInfo fcinfo, TupleDesc *desc)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *)fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	*desc = rsinfo->setDesc;
	return rsinfo->setResult;
}

Datum herd_make_result(PG_FUNCTION_ARGS)
{
	Target target = { 0 };
	HerdWriter *w;
	ArrayType *mins;
	TupleDesc desc;
	Tuplestorestate *store;

	for (int i = 0; i < FIRST_PARAM - 1; i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					errmsg("an argument of make_result is null")));
	target.id = text_to_cstring(PG_GETARG_TEXT_PP(0));
	target.move = PG_GETARG_INT32(1);
	target.file.group = herd_local_group();
	mins = PG_GETARG_ARRAYTYPE_P(6);
	if (ARR_HASNULL(mins) || ARR_ELEMTYPE(mins) != INT4OID ||
	    (PG_GETARG_INT32(4) != 0 && ARR_NDIM(mins) != 1))
		elog(ERROR, "wrong array of hash ranges");
	w = herd_writer_new(PG_GETARG_INT32(4), text_to_cstring(PG_GETARG_TEXT_PP(5)),
			    (int32 *)ARR_DATA_PTR(mins),
			    PG_GETARG_INT32(4) != 0 ? ARR_DIMS(mins)[0] : 1);
	w->flush = write_block;
	w->arg = &target;
	store = begin_rows(fcinfo, &desc);
	run_query(w, text_to_cstring(PG_GETARG_TEXT_PP(3)), fcinfo);
	herd_writer_end(w);
	for (int i = 0; i < w->nparts; i++) {
		Datum values[3];
		bool nulls[3] = { false };

		if (w->rows[i] == 0)
			continue;
		values[0] = Int32GetDatum(i);
		values[1] = Int64GetDatum(w->rows[i]);
		values[2] = Int64GetDatum(w->bytes[i]);
		tuplestore_putvalues(store, desc, values, nulls);
	}
	return (Datum)0;
}

/* -- from node to node ------------------------------------------------------------------------- */

typedef struct Sender {
	List *files;
	int next;
	int fd;
	StringInfoData data;
} Sender;

/* What goes before each block on its way. */
typedef struct BlockHeader {
	int32 part, group;
	HerdBlock block;
} BlockHeader;

Datum herd_result_blocks(PG_FUNCTION_ARGS)
{
	FuncCallContext *call;
	Sender *s;
	BlockHeader header;

	if (SRF_IS_FIRSTCALL()) {
		ArrayType *parts = PG_GETARG_ARRAYTYPE_P(2);
		MemoryContext old;

		call = SRF_FIRSTCALL_INIT();
		old = MemoryContextSwitchTo(call->multi_call_memory_ctx);
		if (ARR_NDIM(parts) > 1 || ARR_HASNULL(parts) || ARR_ELEMTYPE(parts) != INT4OID)
			elog(ERROR, "wrong array of parts");
		s = palloc0(sizeof(*s));
		s->fd = -1;
		initStringInfo(&s->data);
		s->files = herd_result_own_files(
			herd_result_files(text_to_cstring(PG_GETARG_TEXT_PP(0)), PG_GETARG_INT32(1),
					  (int32 *)ARR_DATA_PTR(parts),
					  ARR_NDIM(parts) == 0 ? 0 : ARR_DIMS(parts)[0]),
			herd_local_group());
		call->user_fctx = s;
		MemoryContextSwitchTo(old);
	}
	call = SRF_PERCALL_SETUP();
	s = call->user_fctx;
	while (s->next < list_length(s->files)) {
		HerdResultFile *file = list_nth(s->files, s->next);

		if (s->fd < 0)
			s->fd = herd_result_open(file);
		if (herd_result_read_block(s->fd, file->path, &header.block, &s->data)) {
			bytea *out = palloc(VARHDRSZ + sizeof(header) + s->data.len);

			header.part = file->part;
			header.group = file->group;
			SET_VARSIZE(out, VARHDRSZ + sizeof(header) + s->data.len);
			memcpy(VARDATA(out), &header, sizeof(header));
			memcpy(VARDATA(out) + sizeof(header), s->data.data, s->data.len);
			SRF_RETURN_NEXT(call, PointerGetDatum(out));
		}
		CloseTransientFile(s->fd);
		s->fd = -1;
		s->next++;
	}
	SRF_RETURN_DONE(call);
}

bytea *herd_result_wrap(int part, int group, const HerdBlock *block, const char *data)
{
	BlockHeader header = { .part = part, .group = group, .block = *block };
	bytea *out = palloc(VARHDRSZ + sizeof(header) + block->bytes);

	SET_VARSIZE(out, VARHDRSZ + sizeof(header) + block->bytes);
	memcpy(VARDATA(out), &header, sizeof(header));
	memcpy(VARDATA(out) + sizeof(header), data, block->bytes);
	return out;
}

static void store_block(const char *id, int move, bytea *bytes)
{
	BlockHeader header;
	HerdResultFile file;

	if (VARSIZE_ANY_EXHDR(bytes) < sizeof(header))
		elog(ERROR, "a block of an intermediate result is too short");
	stored += VARSIZE_ANY_EXHDR(bytes);
	if (temp_file_limit >= 0 && stored > (int64)temp_file_limit * 1024)
		too_large();
	memcpy(&header, VARDATA_ANY(bytes), sizeof(header));
	if (header.block.bytes != VARSIZE_ANY_EXHDR(bytes) - sizeof(header))
		elog(ERROR, "a block of an intermediate result has a wrong length");
	file.part = header.part;
	file.group = header.group;
	herd_result_append(id, move, &file, &header.block, VARDATA_ANY(bytes) + sizeof(header));
}

Datum herd_store_block(PG_FUNCTION_ARGS)
{
	store_block(text_to_cstring(PG_GETARG_TEXT_PP(0)), PG_GETARG_INT32(1),
		    PG_GETARG_BYTEA_PP(2));
	PG_RETURN_INT64(1);
}

Datum herd_fetch_result(PG_FUNCTION_ARGS)
{
	char *id = text_to_cstring(PG_GETARG_TEXT_PP(0));
	int move = PG_GETARG_INT32(1);
	char *parts = text_to_cstring(PG_GETARG_TEXT_PP(2)); /* as an array literal */
	TupleDesc desc = CreateTemplateTupleDesc(1);
	HerdTask task = { .groupid = PG_GETARG_INT32(3) };
	HerdJob job = { .ntasks = 1, .tasks = &task, .tupdesc = desc };
	TupleTableSlot *slot;
	HerdExec *exec;
	int64 bytes = 0;

	(void)herd_result_directory(id);
	task.sql = psprintf("SELECT citus_internal.result_blocks(%s, %d, %s::pg_catalog.int4[])",
			    quote_literal_cstr(id), move, quote_literal_cstr(parts));
	TupleDescInitEntry(desc, 1, "block", BYTEAOID, -1, 0);
	slot = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
	exec = herd_exec_begin(&job);
	while (herd_exec_next(exec, slot)) {
		bool isnull;
		Datum block = slot_getattr(slot, 1, &isnull);

		if (isnull)
			continue;
		store_block(id, move, DatumGetByteaPP(block));
		bytes += VARSIZE_ANY_EXHDR(DatumGetByteaPP(block));
		ExecClearTuple(slot);
	}
	herd_exec_end(exec);
	ExecDropSingleTupleTableSlot(slot);
	PG_RETURN_INT64(bytes);
}

/* -- reading ----------------------------------------------------------------------------------- */

static void read_rows(StringInfo in, const HerdBlock *block, HerdColumn *columns, TupleDesc desc,
		      Tuplestorestate *store, MemoryContext row)
{
	Datum *values = palloc(Max(desc->natts, 1) * sizeof(Datum));
	bool *nulls = palloc(Max(desc->natts, 1) * sizeof(bool));
	char *at = in->data;

	for (uint32 r = 0; r < block->rows; r++) {
		MemoryContext old = MemoryContextSwitchTo(row);

		CHECK_FOR_INTERRUPTS();
		at = herd_row_get(at, in->data + in->len, columns, desc->natts, values, nulls);
		MemoryContextSwitchTo(old);
		tuplestore_putvalues(store, desc, values, nulls);
		MemoryContextReset(row);
	}
	pfree(values);
	pfree(nulls);
}

Datum herd_read_result(PG_FUNCTION_ARGS)
{
	char *id = text_to_cstring(PG_GETARG_TEXT_PP(0));
	int part = PG_GETARG_INT32(2);
	ReturnSetInfo *rsinfo = (ReturnSetInfo *)fcinfo->resultinfo;
	MemoryContext row = AllocSetContextCreate(CurrentMemoryContext, "herd result row",
						  ALLOCSET_DEFAULT_SIZES);
	HerdColumn *columns;
	StringInfoData data;
	HerdBlock block;
	TupleDesc desc;
	Tuplestorestate *store;
	ListCell *lc;

	if (rsinfo == NULL || !IsA(rsinfo, ReturnSetInfo) || rsinfo->expectedDesc == NULL)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("read_result needs the names and types of its columns")));
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	desc = rsinfo->setDesc;
	store = rsinfo->setResult;
	columns = herd_columns_of(desc, false);
	initStringInfo(&data);
	foreach (lc, herd_result_files(id, PG_GETARG_INT32(1), &part, 1)) {
		HerdResultFile *file = lfirst(lc);
		int fd = herd_result_open(file);

		while (herd_result_read_block(fd, file->path, &block, &data))
			read_rows(&data, &block, columns, desc, store, row);
		CloseTransientFile(fd);
	}
	return (Datum)0;
}

/* Rows for the planner of the node that reads them. */
Datum herd_read_result_support(PG_FUNCTION_ARGS)
{
	Node *request = (Node *)PG_GETARG_POINTER(0);
	SupportRequestRows *rows = (SupportRequestRows *)request;
	FuncExpr *call;
	Const *args[3];
	char *id;

	if (!IsA(request, SupportRequestRows) || !IsA(rows->node, FuncExpr))
		PG_RETURN_POINTER(NULL);
	call = (FuncExpr *)rows->node;
	for (int i = 0; i < 3; i++) {
		args[i] = (Const *)estimate_expression_value(rows->root, list_nth(call->args, i));
		if (!IsA(args[i], Const) || args[i]->constisnull)
			PG_RETURN_POINTER(NULL);
	}
	id = TextDatumGetCString(args[0]->constvalue);
	if (access(herd_result_directory(id), F_OK) != 0)
		PG_RETURN_POINTER(NULL);
	rows->rows = herd_result_count(id, DatumGetInt32(args[1]->constvalue),
				       DatumGetInt32(args[2]->constvalue));
	rows->rows = Max(rows->rows, 1);
	PG_RETURN_POINTER(rows);
}
