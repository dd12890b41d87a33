#include "plan/rowwise.h"

#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "attach/attach.h"
#include "attach/before.h"
#include "catalog/metadata.h"
#include "compat.h"
#include "conn/adopt.h"
#include "deparse/code.h"
#include "deparse/deparse.h"
#include "plan/multiexpr.h"
#include "plan/rekey.h"
#include "plan/try.h"

/* -- what is wanted ---------------------------------------------------------------------------- */

/* Is a column set by which the table, or a partition of it, is partitioned? */
static bool sets_partition_key(const List *targets, Oid relid)
{
	bool found = false;
	ListCell *lc, *member;

	foreach (member, find_all_inheritors(relid, AccessShareLock, NULL)) {
		Relation part = table_open(lfirst_oid(member), NoLock);
		Bitmapset *columns = NULL;
		bool in_expression;

		foreach (lc, targets) {
			const char *name =
				get_attname(relid, lfirst_node(TargetEntry, lc)->resno, false);

			columns =
				bms_add_member(columns, get_attnum(RelationGetRelid(part), name) -
								FirstLowInvalidHeapAttributeNumber);
		}
		found = found || (part->rd_rel->relkind == RELKIND_PARTITIONED_TABLE &&
				  has_partition_attrs(part, columns, &in_expression));
		table_close(part, NoLock);
	}
	return found;
}

/*
 * MERGE tells a row that leaves its partition as a DELETE and an INSERT to the transition tables
 * of the shard, and foreign keys act on an UPDATE.
 */
static bool merge_hides_update(const Query *query, Oid relid)
{
	ListCell *lc;

	if (get_rel_relkind(relid) != RELKIND_PARTITIONED_TABLE || !herd_attach_has_keys(relid))
		return false;
	foreach (lc, query->mergeActionList) {
		const MergeAction *action = lfirst_node(MergeAction, lc);

		if (action->commandType == CMD_UPDATE &&
		    sets_partition_key(action->targetList, relid))
			return true;
	}
	return false;
}

static HerdReach reach_of(const Query *query)
{
	HerdReach reach = herd_before_reach(query);
	const HerdTable *table;
	Oid relid;

	if (query->commandType != CMD_UPDATE && query->commandType != CMD_DELETE &&
	    query->commandType != CMD_MERGE)
		return reach;
	relid = rt_fetch(query->resultRelation, query->rtable)->relid;
	table = herd_table_get(relid);
	if (table == NULL || table->kind == HERD_TABLE_LOCAL)
		return reach;
	if (query->commandType == CMD_MERGE) {
		if (merge_hides_update(query, relid))
			return HERD_REACH_FAR;
		reach = Max(reach, herd_expr_reaches((Node *)query->mergeActionList, relid));
	} else {
		reach = Max(reach, herd_expr_reaches((Node *)query->targetList, relid));
		reach = Max(reach, herd_expr_reaches((Node *)query->jointree, relid));
	}
	/* copies are not asked whether they can */
	if (table->kind == HERD_TABLE_REFERENCE && reach == HERD_REACH_MAYBE)
		reach = HERD_REACH_FAR;
	return reach;
}

bool herd_rowwise_wanted(const Query *query)
{
	HerdReach reach = reach_of(query);

	/* a session that works for another one can do nothing else */
	return reach == HERD_REACH_FAR ||
	       (reach == HERD_REACH_MAYBE && !herd_session_adopted() &&
		herd_try_is_here(rt_fetch(query->resultRelation, query->rtable)->relid));
}

bool herd_rowwise_tried(const Query *query)
{
	return reach_of(query) == HERD_REACH_MAYBE && !herd_session_adopted() &&
	       !herd_try_is_shard(rt_fetch(query->resultRelation, query->rtable)->relid);
}

/* -- the parts --------------------------------------------------------------------------------- */

typedef struct Parts {
	HerdRowwise *out;
	int target; /* relation of the query */
	bool failed;
} Parts;

static int add_column(Parts *p, Expr *expr)
{
	List **tlist = &p->out->select->targetList;
	int pos = list_length(*tlist) + 1;

	*tlist = lappend(*tlist, makeTargetEntry(expr, pos, psprintf("c%d", pos), false));
	return pos;
}

/* Where the SELECT has this column; added when it is not there yet. */
static int column_of(Parts *p, const Var *var)
{
	Var *plain = copyObject((Var *)var);
	ListCell *lc;

	herd_return_plain(plain);
	foreach (lc, p->out->select->targetList)
		if (equal(lfirst_node(TargetEntry, lc)->expr, plain))
			return lfirst_node(TargetEntry, lc)->resno;
	return add_column(p, (Expr *)plain);
}

static void start_select(Parts *p, const Query *query)
{
	Query *select = copyObject((Query *)query);
	RangeTblEntry *rte = rt_fetch(p->target, select->rtable);
	RowMarkClause *mark = makeNode(RowMarkClause);
	Relation rel = table_open(rte->relid, NoLock);

	p->out->select = select;
	select->commandType = CMD_SELECT;
	select->resultRelation = 0;
	select->targetList = select->returningList = select->withCheckOptions = NIL;
	select->queryId = 0;
	rte->inFromCl = true;
	for (int i = 0; i < RelationGetNumberOfAttributes(rel); i++) {
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), i);

		if (att->attisdropped)
			continue;
		p->out->atts = lappend_int(p->out->atts, att->attnum);
		(void)add_column(p, (Expr *)makeVar(p->target, att->attnum, att->atttypid,
						    att->atttypmod, att->attcollation, 0));
	}
	table_close(rel, NoLock);
	(void)add_column(p, (Expr *)makeVar(p->target, SelfItemPointerAttributeNumber, TIDOID, -1,
					    InvalidOid, 0));
	if (p->out->partitioned) {
		Var *place = makeVar(p->target, TableOidAttributeNumber, OIDOID, -1, InvalidOid, 0);
		int pos = add_column(p, (Expr *)makeRelabelType((Expr *)place, REGCLASSOID, -1,
								InvalidOid, COERCE_EXPLICIT_CAST));

		(void)herd_rowwise_sent(p->out, pos);
	}
	mark->rti = p->target;
	mark->strength = query->commandType == CMD_DELETE || p->out->moves ? LCS_FORUPDATE
									   : LCS_FORNOKEYUPDATE;
	mark->waitPolicy = LockWaitBlock;
	select->rowMarks = list_make1(mark);
	select->hasForUpdate = true;
}

/* -- what is computed row by row --------------------------------------------------------------- */

static bool simple_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, SubLink) || IsA(node, Aggref) || IsA(node, WindowFunc) || IsA(node, Query))
		return true;
	if (IsA(node, Var))
		return ((Var *)node)->varattno <= 0 || ((Var *)node)->varlevelsup > 0;
	return expression_tree_walker(node, simple_walker, context);
}

/* Calls a function that may look at tables, and can be computed from columns alone. */
static bool is_by_row(Parts *p, Node *expr)
{
	return (herd_expr_stays_here(expr) ||
		herd_expr_reaches(expr, p->out->relid) != HERD_REACH_SHARD) &&
	       !simple_walker(expr, NULL);
}

/* Columns of the SELECT's rows, which are the outer ones of the node. */
static Node *by_row_mutator(Node *node, void *context)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Var)) {
		Var *var = copyObject((Var *)node);

		var->varattno = column_of(context, (Var *)node);
		var->varno = OUTER_VAR;
#if PG_VERSION_NUM >= 160000
		var->varnullingrels = NULL;
#endif
		return (Node *)var;
	}
	return expression_tree_mutator(node, by_row_mutator, context);
}

static void take_quals(Parts *p)
{
	FromExpr *from = p->out->select->jointree;
	List *quals = from->quals == NULL ? NIL : make_ands_implicit((Expr *)from->quals);
	List *stay = NIL;
	ListCell *lc;

	if (from->quals != NULL && IsA(from->quals, List))
		quals = (List *)from->quals;
	foreach (lc, quals) {
		if (!is_by_row(p, lfirst(lc))) {
			stay = lappend(stay, lfirst(lc));
			continue;
		}
		p->out->exprs = lappend(p->out->exprs, by_row_mutator(lfirst(lc), p));
		p->out->nquals++;
	}
	from->quals = stay == NIL ? NULL : (Node *)make_ands_explicit(stay);
}

static int add_brought(void *context, Expr *expr)
{
	return add_column(context, expr);
}

/* Lists of columns from a subquery: it is asked once for a row, in the SELECT. */
static List *values_of_lists(Parts *p, List *tlist)
{
	List *values = NIL;
	ListCell *lc;

	foreach (lc, tlist) {
		TargetEntry *tle = lfirst(lc);

		if (!tle->resjunk) {
			tle = flatCopyTargetEntry(tle);
			tle->expr = (Expr *)by_row_mutator((Node *)tle->expr, p);
		}
		values = lappend(values, tle);
	}
	return herd_multiexpr_bring(values, OUTER_VAR, add_brought, p);
}

static void take_value(Parts *p, const TargetEntry *tle, bool of_list)
{
	p->out->sets = lappend_int(p->out->sets, tle->resno);
	if (of_list || is_by_row(p, (Node *)tle->expr)) {
		p->out->positions = lappend_int(p->out->positions, 0);
		p->out->exprs =
			lappend(p->out->exprs,
				of_list ? (Node *)tle->expr : by_row_mutator((Node *)tle->expr, p));
	} else {
		p->out->positions =
			lappend_int(p->out->positions, add_column(p, copyObject(tle->expr)));
	}
}

static void take_values(Parts *p, const Query *query)
{
	List *plain = NIL, *lists = NIL;
	ListCell *lc;

	foreach (lc, query->commandType == CMD_UPDATE ? query->targetList : NIL) {
		TargetEntry *tle = lfirst(lc);

		if (tle->resjunk || herd_multiexpr_any(list_make1(tle)))
			lists = lappend(lists, tle);
		else
			plain = lappend(plain, tle);
	}
	foreach (lc, plain)
		take_value(p, lfirst(lc), false);
	foreach (lc, lists == NIL ? NIL : values_of_lists(p, lists))
		take_value(p, lfirst(lc), true);
}

/* -- RETURNING --------------------------------------------------------------------------------- */

int herd_rowwise_sent(HerdRowwise *parts, int pos)
{
	ListCell *lc;

	if (pos == 0)
		return 0;
	foreach (lc, parts->sent)
		if (lfirst_node(TargetEntry, lc)->resno == pos)
			return 2 + foreach_current_index(lc);
	parts->sent = lappend(parts->sent, list_nth(parts->select->targetList, pos - 1));
	return 1 + list_length(parts->sent);
}

/* Columns of the target are those of the row that is written, others come with it. */
static Node *returning_mutator(Node *node, void *context)
{
	Parts *p = context;

	if (node == NULL)
		return NULL;
	if (IsA(node, Var)) {
		Var *var = copyObject((Var *)node);
		int pos = 0;

		if (var->varno == p->target) {
			var->varno = var->varnosyn = 1;
			return (Node *)var;
		}
		if (var->varattno <= 0)
			p->failed = true;
		else
			pos = column_of(p, var);
		var->varno = var->varnosyn = 2;
		var->varattno = var->varattnosyn = herd_rowwise_sent(p->out, pos);
#if PG_VERSION_NUM >= 160000
		var->varnullingrels = NULL;
#endif
		return (Node *)var;
	}
	return expression_tree_mutator(node, returning_mutator, context);
}

static void take_returning(Parts *p, const Query *query)
{
	HerdRowWrite write = { .relid = p->out->relid,
			       .command = p->out->command,
			       .columns = p->out->sets };
	List *list = (List *)returning_mutator((Node *)query->returningList, p);
	List *evals = NIL;
	Query *written;

	if (list == NIL || p->failed)
		return;
	write.sent = p->out->sent;
	write.keys = p->out->keys;
	write.unique = p->out->unique;
	write.partitioned = p->out->partitioned;
	written = herd_row_write_query(&write);
	written->returningList = list;
	herd_copy_returning_names(written, query);
	herd_evals_extract(written, &evals);
	p->out->returning = written->returningList;
	p->out->nevals = list_length(evals);
	p->out->exprs = list_concat(evals, p->out->exprs);
}

void herd_rowwise_take_keys(HerdRowwise *parts, bool whole)
{
	Relation rel = table_open(parts->relid, NoLock);
	Bitmapset *primary = RelationGetIndexAttrBitmap(rel, INDEX_ATTR_BITMAP_PRIMARY_KEY);
	ListCell *lc;

	parts->unique = !whole && !bms_is_empty(primary);
	foreach (lc, parts->atts) {
		int attno = lfirst_int(lc);

		if (parts->unique &&
		    !bms_is_member(attno - FirstLowInvalidHeapAttributeNumber, primary))
			continue;
		parts->keys = lappend_int(parts->keys, attno);
		(void)herd_rowwise_sent(parts, foreach_current_index(lc) + 1);
	}
	table_close(rel, NoLock);
}

bool herd_rowwise(const Query *query, HerdRowwise *parts)
{
	Parts p = { .out = parts, .target = query->resultRelation };
	const HerdTable *table;
	ListCell *lc;

	memset(parts, 0, sizeof(*parts));
	parts->relid = rt_fetch(p.target, query->rtable)->relid;
	parts->command = query->commandType;
	table = herd_table_get(parts->relid);
	parts->partitioned = get_rel_relkind(parts->relid) == RELKIND_PARTITIONED_TABLE;
	parts->moves = query->commandType == CMD_UPDATE &&
		       herd_changes_key(query, query->targetList, table);
	if (query->withCheckOptions != NIL || (parts->partitioned && parts->moves))
		return false;
	parts->joins = list_length(query->jointree->fromlist) > 1 ||
		       !IsA(linitial(query->jointree->fromlist), RangeTblRef);
	start_select(&p, query);
	if (table->kind == HERD_TABLE_REFERENCE)
		herd_rowwise_take_keys(parts, false);
	take_quals(&p);
	take_values(&p, query);
	take_returning(&p, query);
	foreach (lc, parts->exprs)
		lfirst(lc) = expression_planner(lfirst(lc));
	return !p.failed && herd_rowwise_far(parts, p.target);
}
