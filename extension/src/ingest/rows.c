#include "ingest/rows.h"

#include "attach/before.h"
#include "commands/copyfrom_internal.h"
#include "commands/progress.h"
#include "exec/exec.h"
#include "executor/executor.h"
#include "ingest/raw.h"
#include "miscadmin.h"
#include "plan/row_insert.h"
#include "plan/try.h"
#include "utils/backend_progress.h"
#include "utils/memutils.h"
#include "utils/rel.h"

typedef struct Rows {
	CopyFromState cstate;
	HerdShardWriter *writer; /* or, */
	HerdRowInsert *insert;   /* where triggers fire here */
	uint64 inserted;         /* by it */
} Rows;

static void context_callback(void *arg)
{
	Rows *r = arg;

	if (r->writer == NULL || !herd_shard_writer_raising(r->writer))
		CopyFromErrorCallback(r->cstate);
}

/* Columns that are stored: those that COPY does not bring get their defaults here. */
static List *stored_attnums(Relation rel)
{
	List *out = NIL;

	for (int i = 0; i < RelationGetDescr(rel)->natts; i++) {
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), i);

		if (!att->attisdropped && !att->attgenerated)
			out = lappend_int(out, i + 1);
	}
	return out;
}

/* ON_ERROR ignore: whether the row just read is to be left out. */
static bool skipped(CopyFromState cstate)
{
#if PG_VERSION_NUM >= 170000
	if (cstate->opts.on_error == COPY_ON_ERROR_STOP || !cstate->escontext->error_occurred)
		return false;
	cstate->escontext->error_occurred = false;
#if PG_VERSION_NUM >= 180000
	pgstat_progress_update_param(PROGRESS_COPY_TUPLES_SKIPPED, cstate->num_errors);
	if (cstate->opts.reject_limit > 0 && cstate->num_errors > cstate->opts.reject_limit)
		ereport(ERROR,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("skipped more than REJECT_LIMIT (%lld) rows due to data type "
				"incompatibility",
				(long long)cstate->opts.reject_limit)));
#endif
	return true;
#else
	return false;
#endif
}

static void report_skipped(CopyFromState cstate)
{
#if PG_VERSION_NUM >= 170000
	if (cstate->opts.on_error == COPY_ON_ERROR_STOP || cstate->num_errors == 0)
		return;
#if PG_VERSION_NUM >= 180000
	if (cstate->opts.log_verbosity < COPY_LOG_VERBOSITY_DEFAULT)
		return;
#endif
	ereport(NOTICE, errmsg_plural("%llu row was skipped due to data type incompatibility",
				      "%llu rows were skipped due to data type incompatibility",
				      (unsigned long long)cstate->num_errors,
				      (unsigned long long)cstate->num_errors));
#endif
}

static void put(Rows *r, List *attnums, TupleTableSlot *slot, Datum *values, bool *isnull)
{
	ListCell *lc;
	int i = 0;

	if (r->insert != NULL) {
		r->inserted += herd_row_insert(r->insert, slot);
		return;
	}
	foreach (lc, attnums) {
		values[i] = slot->tts_values[lfirst_int(lc) - 1];
		isnull[i++] = slot->tts_isnull[lfirst_int(lc) - 1];
	}
	herd_shard_writer_put_line(r->writer, values, isnull, r->cstate->cur_lineno);
}

static void copy_all(Rows *r, List *attnums, Node *where)
{
	CopyFromState cstate = r->cstate;
	Datum *values = palloc(list_length(attnums) * sizeof(Datum));
	bool *isnull = palloc(list_length(attnums) * sizeof(bool));
	EState *estate = CreateExecutorState();
	ExprContext *econtext = GetPerTupleExprContext(estate);
	ExprState *qual = where ? ExecInitQual((List *)where, NULL) : NULL;
	TupleTableSlot *slot =
		MakeSingleTupleTableSlot(RelationGetDescr(cstate->rel), &TTSOpsVirtual);
	int64 done = 0, excluded = 0;

	for (;;) {
		MemoryContext old;
		bool more;

		CHECK_FOR_INTERRUPTS();
		ResetPerTupleExprContext(estate);
		ExecClearTuple(slot);
		old = MemoryContextSwitchTo(GetPerTupleMemoryContext(estate));
		more = NextCopyFrom(cstate, econtext, slot->tts_values, slot->tts_isnull);
		MemoryContextSwitchTo(old);
		if (!more)
			break;
		if (skipped(cstate))
			continue;
		ExecStoreVirtualTuple(slot);
		slot->tts_tableOid = RelationGetRelid(cstate->rel);
		econtext->ecxt_scantuple = slot;
		if (qual && !ExecQual(qual, econtext)) {
			pgstat_progress_update_param(PROGRESS_COPY_TUPLES_EXCLUDED, ++excluded);
			continue;
		}
		put(r, attnums, slot, values, isnull);
		pgstat_progress_update_param(PROGRESS_COPY_TUPLES_PROCESSED, ++done);
	}
	ExecDropSingleTupleTableSlot(slot);
	FreeExecutorState(estate);
}

/* What has been read from a client cannot be read again: shards that fail are not tried here. */
bool herd_copy_fires(Oid relid)
{
	HerdReach reach = herd_before_insert_reach(relid);

	return reach == HERD_REACH_FAR || (reach == HERD_REACH_MAYBE && herd_try_is_here(relid));
}

uint64 herd_copy_rows(CopyFromState cstate, const HerdTable *table, Node *where)
{
	List *attnums = stored_attnums(cstate->rel);
	ErrorContextCallback context = { .previous = error_context_stack };
	Rows r = { .cstate = cstate };
	uint64 rows;

	if (herd_copy_fires(table->relid))
		r.insert = herd_row_insert_begin(table->relid, attnums);
	else
		r.writer = herd_shard_writer_begin_copy(table->relid, attnums,
							herd_copy_common_options(cstate),
							RelationGetRelationName(cstate->rel));
	context.callback = context_callback;
	context.arg = &r;
	error_context_stack = &context;
	copy_all(&r, attnums, where);
	if (r.insert != NULL) {
		herd_row_insert_end(r.insert);
		rows = r.inserted;
	} else {
		rows = herd_shard_writer_end(r.writer);
	}
	error_context_stack = context.previous;
	report_skipped(cstate);
	return rows;
}
