#include "move/load.h"

#include "access/table.h"
#include "commands/copy.h"
#include "executor/executor.h"
#include "nodes/extensible.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_relation.h"
#include "parser/parsetree.h"
#include "port/pg_bswap.h"
#include "storage/fd.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "compat.h"
#include "exec/copybin.h"
#include "exec/internal.h"
#include "move/move.h"
#include "move/scan.h"
#include "move/store.h"

#include <fcntl.h>
#include <unistd.h>

/* The files of a part, as COPY's binary format. */
typedef struct Source {
	List *files; /* of HerdResultFile */
	int next;
	int fd;
	int natts;
	bool ended;
	StringInfoData block, out; /* out: from its cursor on */
} Source;

typedef struct LoadState {
	CustomScanState css;
	List *args;
	bool done;
} LoadState;

static Node *load_create_state(CustomScan *scan);

static const CustomScanMethods load_methods = {
	.CustomName = "Herd Load",
	.CreateCustomScanState = load_create_state,
};

/* -- planning ---------------------------------------------------------------------------------- */

/* SELECT of columns FROM the function, and nothing else; returns the function's call. */
static FuncExpr *simple_select(const Query *sub)
{
	RangeTblRef *ref;

	if (sub->commandType != CMD_SELECT || list_length(sub->rtable) != 1 ||
	    sub->jointree->quals != NULL || list_length(sub->jointree->fromlist) != 1 ||
	    sub->groupClause != NIL || sub->groupingSets != NIL || sub->havingQual != NULL ||
	    sub->distinctClause != NIL || sub->sortClause != NIL || sub->limitCount != NULL ||
	    sub->limitOffset != NULL || sub->hasAggs || sub->hasWindowFuncs || sub->hasTargetSRFs ||
	    sub->cteList != NIL || sub->setOperations != NULL)
		return NULL;
	ref = linitial(sub->jointree->fromlist);
	return IsA(ref, RangeTblRef) ? herd_read_result_call(linitial(sub->rtable)) : NULL;
}

/* The column of the function that a column of the INSERT takes, 0 when it is not so simple. */
static int source_column(const Query *sub, const TargetEntry *tle)
{
	Var *var = (Var *)tle->expr;

	if (tle->resjunk || !IsA(var, Var) || var->varno != 2 || var->varattno < 1)
		return 0;
	var = (Var *)((TargetEntry *)list_nth(sub->targetList, var->varattno - 1))->expr;
	return IsA(var, Var) && var->varno == 1 && var->varlevelsup == 0 ? Max(var->varattno, 0)
									 : 0;
}

/* The column of the table for each of the function's (of String); NIL when it is not so simple. */
static List *columns_of(const Query *query, const Query *sub)
{
	int natts = list_length(((RangeTblEntry *)linitial(sub->rtable))->eref->colnames);
	Oid relid = rt_fetch(query->resultRelation, query->rtable)->relid;
	char **names = palloc0(natts * sizeof(char *));
	List *result = NIL;
	ListCell *lc;

	if (list_length(query->targetList) != natts)
		return NIL;
	foreach (lc, query->targetList) {
		TargetEntry *tle = lfirst(lc);
		int column = source_column(sub, tle);
		Oid type = exprType((Node *)tle->expr);

		if (column < 1 || column > natts || names[column - 1] != NULL ||
		    !herd_type_is_portable(getBaseType(type)) ||
		    get_atttype(relid, tle->resno) != type)
			return NIL;
		names[column - 1] = get_attname(relid, tle->resno, false);
	}
	for (int i = 0; i < natts; i++)
		result = lappend(result, makeString(names[i]));
	return result;
}

static PlannedStmt *make_stmt(Query *query, FuncExpr *call, List *columns)
{
	PlannedStmt *stmt = makeNode(PlannedStmt);
	CustomScan *scan = makeNode(CustomScan);
	RangeTblEntry *target = linitial(query->rtable);
	ListCell *lc;

	scan->methods = &load_methods;
	foreach (lc, call->args)
		scan->custom_exprs =
			lappend(scan->custom_exprs, expression_planner(copyObject(lfirst(lc))));
	scan->custom_private = list_make2(list_make1_oid(target->relid), columns);
	stmt->commandType = CMD_INSERT;
	stmt->queryId = query->queryId;
	stmt->canSetTag = query->canSetTag;
	stmt->planTree = &scan->scan.plan;
	/* The subquery is not in it: nothing looks at it any more. */
	stmt->rtable = list_make1(target);
	stmt->resultRelations = list_make1_int(query->resultRelation);
	stmt->relationOids = list_make1_oid(target->relid);
#if PG_VERSION_NUM >= 160000
	stmt->permInfos = query->rteperminfos;
#endif
	stmt->stmt_location = query->stmt_location;
	stmt->stmt_len = query->stmt_len;
	return stmt;
}

PlannedStmt *herd_load_plan(Query *query)
{
	RangeTblEntry *rte;
	FuncExpr *call;
	List *columns;

	if (query->commandType != CMD_INSERT || list_length(query->rtable) != 2 ||
	    query->onConflict != NULL || query->returningList != NIL || query->cteList != NIL ||
	    query->withCheckOptions != NIL || query->jointree->quals != NULL ||
	    query->resultRelation != 1)
		return NULL;
	rte = lsecond(query->rtable);
	if (rte->rtekind != RTE_SUBQUERY || (call = simple_select(rte->subquery)) == NULL)
		return NULL;
	columns = columns_of(query, rte->subquery);
	return columns != NIL ? make_stmt(query, call, columns) : NULL;
}

/* -- the data ---------------------------------------------------------------------------------- */

static void put_int32(StringInfo out, int32 value)
{
	uint32 net = pg_hton32((uint32)value);

	appendBinaryStringInfo(out, (char *)&net, sizeof(net));
}

static void cut_off(void)
{
	elog(ERROR, "a row of an intermediate result is cut off");
}

/* See move/result.h for what a block looks like. */
static void convert(Source *s, uint32 rows)
{
	const char *p = s->block.data, *end = p + s->block.len;
	uint16 natts = pg_hton16((uint16)s->natts);
	int bitmap = (s->natts + 7) / 8;

	for (uint32 r = 0; r < rows; r++) {
		const char *bits = p;

		if (end - p < bitmap)
			cut_off();
		p += bitmap;
		appendBinaryStringInfo(&s->out, (char *)&natts, sizeof(natts));
		for (int i = 0; i < s->natts; i++) {
			uint32 n;

			if (bits[i / 8] & (1 << (i % 8))) {
				put_int32(&s->out, -1);
				continue;
			}
			if (end - p < (int)sizeof(n))
				cut_off();
			memcpy(&n, p, sizeof(n));
			p += sizeof(n);
			if (n > (uint32)(end - p))
				cut_off();
			put_int32(&s->out, n);
			appendBinaryStringInfo(&s->out, p, n);
			p += n;
		}
	}
}

/* Puts the next block, or the trailer, into out. */
static void more(Source *s)
{
	int16 trailer = -1;
	HerdBlock block;

	resetStringInfo(&s->out);
	while (s->next < list_length(s->files)) {
		HerdResultFile *file = list_nth(s->files, s->next);

		if (s->fd < 0)
			s->fd = herd_result_open(file);
		if (herd_result_read_block(s->fd, file->path, &block, &s->block)) {
			convert(s, block.rows);
			return;
		}
		CloseTransientFile(s->fd);
		s->fd = -1;
		s->next++;
	}
	appendBinaryStringInfo(&s->out, (char *)&trailer, sizeof(trailer));
	s->ended = true;
}

/* COPY's callback has no argument; a trigger may run another load meanwhile, and end it. */
static Source *current;

static int read_data(void *out, int minread, int maxread)
{
	Source *s = current;
	int done = 0;

	while (done < maxread) {
		int n = Min(maxread - done, s->out.len - s->out.cursor);

		memcpy((char *)out + done, s->out.data + s->out.cursor, n);
		s->out.cursor += n;
		done += n;
		if (s->out.cursor < s->out.len || s->ended)
			break;
		more(s);
	}
	return done;
}

/* -- running ----------------------------------------------------------------------------------- */

static uint64 copy_in(Relation rel, List *columns, Source *source)
{
	ParseState *pstate = make_parsestate(NULL);
	List *options = list_make1(makeDefElem("format", (Node *)makeString("binary"), -1));
	Source *outer = current;
	ParseNamespaceItem *item;
	CopyFromState state;
	uint64 rows;

	current = source;
	item = addRangeTableEntryForRelation(pstate, rel, RowExclusiveLock, NULL, false, false);
	addNSItemToQuery(pstate, item, true, true, true);
	state = BeginCopyFrom(pstate, rel, NULL, NULL, false, read_data, columns, options);
	rows = CopyFrom(state);
	EndCopyFrom(state);
	current = outer;
	free_parsestate(pstate);
	return rows;
}

/* To the user this is no COPY: the line of it that an error's context has goes. */
static void rethrow_without_copy(MemoryContext memory) HERD_NORETURN;

static void rethrow_without_copy(MemoryContext memory)
{
	ErrorData *error;

	MemoryContextSwitchTo(memory);
	error = CopyErrorData();
	FlushErrorState();
	if (error->context && strncmp(error->context, "COPY ", 5) == 0) {
		char *rest = strchr(error->context, '\n');

		error->context = rest ? rest + 1 : NULL;
	}
	ReThrowError(error);
}

static uint64 load(Oid relid, List *columns, Source *source)
{
	Relation rel = table_open(relid, RowExclusiveLock);
	MemoryContext memory = CurrentMemoryContext;
	Source *outer = current;
	uint64 rows = 0;

	PG_TRY();
	{
		rows = copy_in(rel, columns, source);
	}
	PG_CATCH();
	{
		current = outer;
		rethrow_without_copy(memory);
	}
	PG_END_TRY();
	table_close(rel, NoLock);
	return rows;
}

static TupleTableSlot *load_exec(CustomScanState *node)
{
	LoadState *state = (LoadState *)node;
	CustomScan *scan = (CustomScan *)node->ss.ps.plan;
	Source source = { .fd = -1 };
	Datum values[3];
	ListCell *lc;
	int32 part;

	if (state->done)
		return NULL;
	state->done = true;
	foreach (lc, state->args) {
		bool isnull;

		values[foreach_current_index(lc)] =
			ExecEvalExprSwitchContext(lfirst(lc), node->ss.ps.ps_ExprContext, &isnull);
		if (isnull)
			elog(ERROR, "an argument of " HERD_READ_RESULT " is null");
	}
	part = DatumGetInt32(values[2]);
	source.files = herd_result_files(TextDatumGetCString(values[0]), DatumGetInt32(values[1]),
					 &part, 1);
	source.natts = list_length(lsecond(scan->custom_private));
	initStringInfo(&source.block);
	initStringInfo(&source.out);
	appendBinaryStringInfo(&source.out, herd_copy_binary_head, sizeof(herd_copy_binary_head));
	node->ss.ps.state->es_processed += load(linitial_oid(linitial(scan->custom_private)),
						lsecond(scan->custom_private), &source);
	return NULL;
}

static void load_begin(CustomScanState *node, EState *estate, int eflags)
{
	LoadState *state = (LoadState *)node;

	state->args =
		ExecInitExprList(((CustomScan *)node->ss.ps.plan)->custom_exprs, &node->ss.ps);
}

static void load_end(CustomScanState *node)
{
}

static void load_rescan(CustomScanState *node)
{
	elog(ERROR, "rows cannot be loaded twice");
}

static const CustomExecMethods load_exec_methods = {
	.CustomName = "Herd Load",
	.BeginCustomScan = load_begin,
	.ExecCustomScan = load_exec,
	.EndCustomScan = load_end,
	.ReScanCustomScan = load_rescan,
};

static Node *load_create_state(CustomScan *scan)
{
	LoadState *state = (LoadState *)newNode(sizeof(LoadState), T_CustomScanState);

	state->css.methods = &load_exec_methods;
	return (Node *)state;
}

void herd_load_init(void)
{
	RegisterCustomScanMethods(&load_methods);
}
