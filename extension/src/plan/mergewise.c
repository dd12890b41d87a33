#include "plan/mergewise.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "compat.h"
#include "deparse/deparse.h"
#include "plan/merge_parts.h"
#include "plan/remote.h"
#include "plan/route.h"

typedef struct Wise {
	HerdMergeParts *m;
	HerdMergeValues values;
	HerdRowwise *out;
	int source; /* column of the SELECT before the first of the source */
} Wise;

/* Column of the SELECT for one of the values. */
static int take_column(Wise *w, int pos)
{
	return herd_merge_add_column(w->out->select,
				     (Node *)herd_merge_column(w->values.query, 1, pos));
}

static void make_select(Wise *w)
{
	HerdRowwise *out = w->out;
	int n = list_length(w->values.atts);

	out->select = herd_merge_new_select(list_make1(herd_merge_source_rte(w->values.query)));
	out->atts = w->values.atts;
	for (int i = 0; i < n; i++)
		(void)take_column(w, 2 + i);
	(void)take_column(w, w->values.tid);
	if (w->values.table > 0)
		(void)take_column(w, w->values.table);
	out->partitioned = w->values.table > 0;
	out->code = take_column(w, 1);
	w->source = list_length(out->select->targetList);
	for (int i = 1; i <= list_length(w->m->source->targetList); i++)
		(void)take_column(w, w->values.source + i);
}

/* Command, columns that are set, columns of the SELECT for them. */
static List *action_parts(Wise *w, const MergeAction *action, const List *lists)
{
	List *sets = NIL, *positions = NIL;
	const ListCell *lc, *pos;

	forboth(lc, w->values.given, pos, w->values.value_of)
	{
		if (herd_merge_value(action->targetList, lfirst_int(lc)) == NULL)
			continue;
		sets = lappend_int(sets, lfirst_int(lc));
		positions = lappend_int(positions, take_column(w, lfirst_int(pos)));
	}
	foreach (lc, lists) {
		TargetEntry *tle = lfirst(lc);

		sets = lappend_int(sets, tle->resno);
		positions = lappend_int(positions,
					herd_merge_add_column(w->out->select, (Node *)tle->expr));
	}
	return list_make3(list_make1_int(action->commandType), sets, positions);
}

static void take_actions(Wise *w)
{
	ListCell *lc, *lists;

	forboth(lc, w->m->query->mergeActionList, lists, w->values.lists)
	{
		MergeAction *action = lfirst(lc);
		List *parts = action_parts(w, action, lfirst(lists));

		w->out->actions = lappend(w->out->actions, parts);
		w->out->moves =
			w->out->moves || (action->commandType == CMD_UPDATE &&
					  w->m->table->kind == HERD_TABLE_HASH &&
					  list_member_int(lsecond(parts), w->m->table->keyattno));
	}
}

/* -- RETURNING --------------------------------------------------------------------------------- */

#if PG_VERSION_NUM >= 170000
static const char *name_of(CmdType command)
{
	return command == CMD_INSERT ? "INSERT" : command == CMD_UPDATE ? "UPDATE" : "DELETE";
}

static Expr *text_of(const char *value)
{
	return (Expr *)makeConst(TEXTOID, -1, DEFAULT_COLLATION_OID, -1, CStringGetTextDatum(value),
				 false, false);
}

/* merge_action() as a column of the SELECT. */
static Node *action_name(Wise *w)
{
	CaseExpr *expr = makeNode(CaseExpr);
	int number = 0;
	ListCell *lc;

	foreach (lc, w->m->query->mergeActionList) {
		CaseWhen *when = makeNode(CaseWhen);
		Const *is = makeConst(INT4OID, -1, InvalidOid, sizeof(int32),
				      Int32GetDatum(++number), false, true);

		when->expr = make_opclause(Int4EqualOperator, BOOLOID, false,
					   (Expr *)herd_merge_column(w->values.query, 1, 1),
					   (Expr *)is, InvalidOid, InvalidOid);
		set_opfuncid((OpExpr *)when->expr);
		when->result = text_of(name_of(lfirst_node(MergeAction, lc)->commandType));
		when->location = -1;
		expr->args = lappend(expr->args, when);
	}
	expr->casetype = TEXTOID;
	expr->casecollid = DEFAULT_COLLATION_OID;
	expr->defresult = (Expr *)makeNullConst(TEXTOID, -1, DEFAULT_COLLATION_OID);
	expr->location = -1;
	return (Node *)expr;
}
#endif

static Node *returning_mutator(Node *node, void *context)
{
	Wise *w = context;

	if (node == NULL)
		return NULL;
#if PG_VERSION_NUM >= 170000
	if (IsA(node, MergeSupportFunc)) {
		int pos = herd_merge_add_column(w->out->select, action_name(w));

		return (Node *)makeVar(2, herd_rowwise_sent(w->out, pos), TEXTOID, -1,
				       DEFAULT_COLLATION_OID, 0);
	}
#endif
	if (IsA(node, Var) && ((Var *)node)->varno == HERD_MERGE_SOURCE) {
		Var *var = copyObject((Var *)node);

		var->varattno = var->varattnosyn =
			herd_rowwise_sent(w->out, w->source + var->varattno);
		return (Node *)var;
	}
	return expression_tree_mutator(node, returning_mutator, context);
}

static void take_returning(Wise *w)
{
	List *list = (List *)returning_mutator((Node *)w->m->query->returningList, w);
	HerdRowWrite write = { .relid = w->out->relid, .command = CMD_DELETE };
	List *evals = NIL;
	Query *written;

	if (list == NIL)
		return;
	if (!herd_columns_can_travel(w->out->sent, false))
		herd_merge_refuse(w->m,
				  "Its source has columns that cannot be sent to other nodes.",
				  "Name the columns of the source instead of its rows.");
	write.sent = w->out->sent;
	write.keys = w->out->keys;
	write.partitioned = w->out->partitioned;
	written = herd_row_write_query(&write);
	written->returningList = list;
	herd_copy_returning_names(written, w->m->query);
	herd_evals_extract(written, &evals);
	w->out->returning = written->returningList;
	w->out->nevals = list_length(evals);
	w->out->exprs = evals;
}

void herd_mergewise(const Query *parse, HerdPlanning *planning, HerdRowwise *parts)
{
	HerdMergeParts m = herd_merge_parts(parse, planning);
	Wise w = { .m = &m, .out = parts };
	ListCell *lc;

	memset(parts, 0, sizeof(*parts));
	parts->relid = m.table->relid;
	parts->command = CMD_MERGE;
	parts->joins = true;
	herd_merge_look(&m);
	herd_merge_values(&m, &w.values);
	make_select(&w);
	take_actions(&w);
	if (parts->partitioned)
		(void)herd_rowwise_sent(parts, list_length(parts->atts) + 2);
	if (m.table->kind == HERD_TABLE_REFERENCE)
		herd_rowwise_take_keys(parts, true);
	take_returning(&w);
	foreach (lc, parts->exprs)
		lfirst(lc) = expression_planner(lfirst(lc));
}
