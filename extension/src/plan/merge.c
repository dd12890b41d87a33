#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"
#include "parser/parse_func.h"
#include "parser/parsetree.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "compat.h"
#include "move/move.h"
#include "plan/leaves.h"
#include "plan/merge_parts.h"
#include "plan/rekey.h"
#include "plan/rights.h"
#include "plan/route.h"
#include "plan/security.h"

/* -- what is known ----------------------------------------------------------------------------- */

static void look_at_actions(HerdMergeParts *m)
{
	ListCell *lc;

	foreach (lc, m->query->mergeActionList) {
		MergeAction *action = lfirst(lc);

		m->inserts = m->inserts ||
			     (herd_merge_is_insert(action) && action->commandType == CMD_INSERT);
		m->by_source = m->by_source || herd_merge_is_by_source(action);
	}
}

static void look_at_source(HerdMergeParts *m)
{
	HerdLevel inner = { .query = m->source, .up = NULL };

	m->own = m->facts = NIL;
	herd_facts_of_from(&m->level, linitial(m->query->jointree->fromlist), &m->own);
	m->facts = list_copy(m->own);
	herd_facts_of_quals(&m->level, herd_merge_on(m->query), &m->facts);
	m->part = herd_part_query(&inner, NIL);
}

/* Without casts between integers, which keep the value or fail. */
static Node *strip_integer_cast(Node *expr)
{
	while (IsA(expr, FuncExpr) && list_length(((FuncExpr *)expr)->args) == 1) {
		switch (((FuncExpr *)expr)->funcid) {
		case F_INT4_INT8:
		case F_INT2_INT8:
		case F_INT2_INT4:
		case F_INT8_INT4:
		case F_INT8_INT2:
		case F_INT4_INT2:
			expr = linitial(((FuncExpr *)expr)->args);
			break;
		default:
			return expr;
		}
	}
	return expr;
}

static bool is_column(const HerdMergeParts *m, List *facts, Node *expr, HerdTerm column)
{
	HerdTerm term;

	return expr != NULL && herd_term_of(&m->level, strip_integer_cast(expr), &term) &&
	       term.expr == NULL && herd_fact_connected(facts, term, column, m->table);
}

/* Does every new row belong to the shard that the column of its source row says? */
static bool inserts_stay(const HerdMergeParts *m, AttrNumber column)
{
	HerdTerm term = { .query = m->query, .varno = HERD_MERGE_SOURCE, .attno = column };
	ListCell *lc;

	foreach (lc, m->query->mergeActionList) {
		MergeAction *action = lfirst(lc);

		if (!herd_merge_is_insert(action) || action->commandType != CMD_INSERT)
			continue;
		if (contain_volatile_functions((Node *)action->targetList) ||
		    !is_column(m, m->own,
			       (Node *)herd_merge_value(action->targetList, m->table->keyattno),
			       term))
			return false;
	}
	return true;
}

static Oid source_type(const HerdMergeParts *m, AttrNumber column)
{
	return exprType((Node *)get_tle_by_resno(m->source->targetList, column)->expr);
}

/* The column of the source by which it is, or can be, cut along the shards of the target. */
static void choose_column(HerdMergeParts *m)
{
	for (AttrNumber i = 1; i <= list_length(m->source->targetList); i++) {
		HerdTerm term = { .query = m->query, .varno = HERD_MERGE_SOURCE, .attno = i };
		bool stays;

		if (!herd_fact_connected(m->facts, m->key, term, m->table) ||
		    !OidIsValid(herd_key_hash_proc(m->table, source_type(m, i))))
			continue;
		stays = inserts_stay(m, i);
		if (m->column == 0 || stays)
			m->column = i;
		if (stays)
			return;
	}
}

/* Rows whose key is updated to something else than what it is come to another shard. */
static bool changes_keys(const HerdMergeParts *m)
{
	ListCell *lc;

	foreach (lc, m->query->mergeActionList) {
		MergeAction *action = lfirst(lc);
		Node *value = (Node *)herd_merge_value(action->targetList, m->table->keyattno);

		if (action->commandType == CMD_UPDATE && value != NULL &&
		    !is_column(m, herd_merge_is_by_source(action) ? m->own : m->facts, value,
			       m->key))
			return true;
	}
	return false;
}

/* -- one shard --------------------------------------------------------------------------------- */

static bool add_constant_key(HerdRemote *remote, const HerdMergeParts *m, List *facts, HerdTerm key)
{
	HerdFact *fact = herd_fact_constant(facts, key, m->table, false);

	if (fact != NULL)
		herd_remote_add_key(remote, m->table, fact, false);
	return fact != NULL;
}

/* The key of a new row is a constant, or a column that is one. */
static bool add_insert_key(HerdRemote *remote, const HerdMergeParts *m, const MergeAction *action)
{
	Node *value = (Node *)herd_merge_value(action->targetList, m->table->keyattno);
	HerdTerm term;
	HerdFact fact = { 0 };

	if (value == NULL || !herd_term_of(&m->level, strip_integer_cast(value), &term))
		return false;
	if (term.expr == NULL)
		return add_constant_key(remote, m, m->own, term);
	fact.right = term;
	fact.type = exprType(term.expr);
	if (!OidIsValid(herd_key_hash_proc(m->table, fact.type)))
		return false;
	herd_remote_add_key(remote, m->table, &fact, false);
	return true;
}

static bool sublinks_are_reference(const HerdMergeParts *m)
{
	HerdPart nothing = { .kind = HERD_PART_RECURRING };

	return herd_part_bad_sublinks(&m->level, &nothing, m->own, NULL) == NIL;
}

static bool beside(const HerdTable *a, const HerdTable *b)
{
	return a->relid == b->relid ||
	       (a->kind == b->kind &&
		(a->kind == HERD_TABLE_LOCAL ||
		 (a->colocationid != 0 && a->colocationid == b->colocationid)));
}

/* Everything that the source reads is on the node of the one shard. */
static bool source_meets(HerdRemote *remote, const HerdMergeParts *m)
{
	HerdLevel level = { .query = m->source };
	HerdLeaves leaves = { 0 };
	ListCell *lc;

	herd_leaves_of_query(&level, NIL, &leaves);
	if (leaves.plain || m->source->hasModifyingCTE)
		return false;
	foreach (lc, leaves.leaves) {
		HerdLeaf *leaf = lfirst(lc);
		HerdFact *fact;

		if (leaf->table->kind == HERD_TABLE_REFERENCE)
			continue;
		if (!beside(leaf->table, m->table))
			return false;
		if (leaf->table->kind != HERD_TABLE_HASH)
			continue;
		fact = herd_fact_constant(leaf->facts, leaf->key, leaf->table, false);
		if (fact == NULL)
			return false;
		herd_remote_add_key(remote, m->table, fact, false);
	}
	return true;
}

static bool has_volatile(const HerdMergeParts *m)
{
	return contain_volatile_functions((Node *)m->query);
}

static bool meets_in_shard(HerdRemote *remote, const HerdMergeParts *m)
{
	ListCell *lc;

	if (m->table->kind != HERD_TABLE_HASH) {
		remote->shards = HERD_SHARDS_FIRST;
		return source_meets(remote, m);
	}
	remote->shards = HERD_SHARDS_KEY;
	if (m->by_source || !add_constant_key(remote, m, m->facts, m->key) ||
	    !source_meets(remote, m))
		return false;
	foreach (lc, m->query->mergeActionList) {
		MergeAction *action = lfirst(lc);

		if (herd_merge_is_insert(action) && action->commandType == CMD_INSERT &&
		    !add_insert_key(remote, m, action))
			return false;
	}
	return true;
}

static bool volatile_inserts(const HerdMergeParts *m)
{
	ListCell *lc;

	foreach (lc, m->query->mergeActionList) {
		MergeAction *action = lfirst(lc);

		if (herd_merge_is_insert(action) &&
		    contain_volatile_functions((Node *)action->targetList))
			return true;
	}
	return false;
}

/* -- the text for the shards ------------------------------------------------------------------- */

static Oid internal_function(const char *name, int nargs, const Oid *types)
{
	return LookupFuncName(list_make2(makeString("citus_internal"), makeString(pstrdup(name))),
			      nargs, types, false);
}

/* No shard would mind a null in the distribution column. */
static void require_keys(const HerdMergeParts *m)
{
	Oid types[2] = { ANYELEMENTOID, TEXTOID };
	ListCell *lc;

	if (m->table->kind != HERD_TABLE_HASH || herd_key_is_not_null(m->table))
		return;
	foreach (lc, m->query->mergeActionList) {
		MergeAction *action = lfirst(lc);
		TargetEntry *tle;
		Const *name;

		if (!herd_merge_is_insert(action) || action->commandType != CMD_INSERT)
			continue;
		tle = get_tle_by_resno(action->targetList, m->table->keyattno);
		if (tle == NULL)
			continue;
		name = makeConst(TEXTOID, -1, InvalidOid, -1,
				 CStringGetTextDatum(get_rel_name(m->table->relid)), false, false);
		tle->expr = (Expr *)makeFuncExpr(
			internal_function("require_key", 2, types), exprType((Node *)tle->expr),
			list_make2(tle->expr, name), exprCollation((Node *)tle->expr), InvalidOid,
			COERCE_EXPLICIT_CALL);
	}
}

static bool has_extern_param_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Param))
		return true;
	return expression_tree_walker(node, has_extern_param_walker, context);
}

/* Fills in what does not depend on which shards they are; the keys are there already. */
static HerdRemote *finish(HerdRemote *remote, HerdMergeParts *m)
{
	List *keys = remote->evals;
	List *evals = NIL;
	int shift;
	ListCell *lc;

	require_keys(m);
	remote->command = CMD_MERGE;
	remote->anchor = m->table->relid;
	remote->writes = list_make1_oid(m->table->relid);
	remote->in_txn = herd_query_may_write(m->query);
	herd_evals_extract(m->query, &evals);
	remote->ntext = shift = list_length(evals);
	/* those of the text come first */
	remote->evals = list_concat(evals, keys);
	foreach (lc, remote->keys)
		lfirst_int(lc) += shift;
	remote->volatile_evals = contain_volatile_functions((Node *)remote->evals);
	remote->reusable = has_extern_param_walker((Node *)remote->evals, NULL);
	remote->tmpl = herd_deparse(m->query);
	herd_moves_attach(remote, m->moves);
	return remote;
}

static HerdRemote *to_one_shard(HerdMergeParts *m)
{
	HerdRemote *remote = palloc0(sizeof(HerdRemote));

	if (volatile_inserts(m) || !sublinks_are_reference(m))
		return NULL;
	if (m->table->kind == HERD_TABLE_REFERENCE) {
		/* every replica must come to the same rows */
		if (m->part.kind != HERD_PART_RECURRING || has_volatile(m))
			return NULL;
		remote->shards = HERD_SHARDS_REPLICAS;
		return finish(remote, m);
	}
	if (!meets_in_shard(remote, m))
		return NULL;
	remote->anchor = m->table->relid;
	if (remote->shards == HERD_SHARDS_KEY &&
	    !herd_remote_keys_meet(remote, m->planning->bound, &m->planning->needs_params))
		return NULL;
	return finish(remote, m);
}

/* -- the source beside the target -------------------------------------------------------------- */

static bool colocated(const HerdTable *a, const HerdTable *b)
{
	return a->relid == b->relid || (a->colocationid != 0 && a->colocationid == b->colocationid);
}

/* An output of the source that is the key of its shards, and of the target rows it matches. */
static bool lies_beside(HerdMergeParts *m)
{
	ListCell *lc;

	if (m->part.kind != HERD_PART_SHARDED || m->table->kind != HERD_TABLE_HASH ||
	    !colocated(m->part.table, m->table))
		return false;
	foreach (lc, m->part.outputs) {
		HerdTerm term = { .query = m->query,
				  .varno = HERD_MERGE_SOURCE,
				  .attno = lfirst_int(lc) };

		if (herd_fact_connected(m->facts, m->key, term, m->table)) {
			if (m->inserts && !m->away && !inserts_stay(m, lfirst_int(lc)))
				m->away = true;
			m->column = lfirst_int(lc);
			return true;
		}
	}
	return false;
}

/* Each shard takes the rows that would match in it, of those that all have. */
static void filter_by_shard(HerdMergeParts *m)
{
	Oid types[3] = { REGCLASSOID, ANYOID, INT4OID };
	TargetEntry *tle = get_tle_by_resno(m->source->targetList, m->column);
	Query *outer = makeNode(Query);
	RangeTblRef *ref = makeNode(RangeTblRef);
	Node *expr = (Node *)tle->expr;
	List *args;
	ListCell *lc;

	args = list_make3(
		makeConst(REGCLASSOID, -1, InvalidOid, sizeof(Oid),
			  ObjectIdGetDatum(m->table->relid), false, true),
		makeVar(1, m->column, exprType(expr), exprTypmod(expr), exprCollation(expr), 0),
		makeConst(INT4OID, -1, InvalidOid, sizeof(int32), Int32GetDatum(HERD_MOVE_SHARD),
			  false, true));
	ref->rtindex = 1;
	outer->commandType = CMD_SELECT;
	outer->canSetTag = true;
	outer->rtable = list_make1(herd_merge_source_rte(m->source));
	outer->jointree = makeFromExpr(
		list_make1(ref),
		(Node *)makeFuncExpr(internal_function(HERD_IN_SHARD, 3, types), BOOLOID, args,
				     InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL));
	foreach (lc, m->source->targetList) {
		Node *column = (Node *)((TargetEntry *)lfirst(lc))->expr;
		int pos = foreach_current_index(lc) + 1;
		Var *var = makeVar(1, pos, exprType(column), exprTypmod(column),
				   exprCollation(column), 0);

		outer->targetList =
			lappend(outer->targetList,
				makeTargetEntry((Expr *)var, pos, psprintf("c%d", pos), false));
	}
	rt_fetch(HERD_MERGE_SOURCE, m->query->rtable)->subquery = outer;
}

static void refuse_rights(HerdMergeParts *m, Query *sub)
{
	if (herd_rights_read(sub))
		herd_merge_refuse(m,
				  "Rows that are read with the rights of a view's owner cannot be "
				  "moved to the shards of the target.",
				  "Put the rows of the source into a table before.");
}

static void move_source(HerdMergeParts *m, AttrNumber column)
{
	RangeTblEntry *rte = rt_fetch(HERD_MERGE_SOURCE, m->query->rtable);
	HerdMove *move;

	refuse_rights(m, m->source);
	if (!herd_columns_can_travel(m->source->targetList, false))
		herd_merge_refuse(m, "Its source has columns that cannot be sent to other nodes.",
				  "Name the columns of the source instead of its rows.");
	move = herd_move_subquery(m->planning, m->table, m->source, column,
				  column ? herd_key_hash_proc(m->table, source_type(m, column))
					 : InvalidOid);
	rte->subquery = herd_select_moved(move, m->source);
	m->moves = lappend(m->moves, move);
}

/* Subqueries that shards cannot answer by themselves are answered before. */
static void move_sublinks(HerdMergeParts *m)
{
	HerdPart part = { .kind = HERD_PART_RECURRING };
	HerdTerm term = { .query = m->query, .varno = HERD_MERGE_SOURCE, .attno = m->column };
	List *bad;
	ListCell *lc;

	if (m->table->kind == HERD_TABLE_HASH) {
		part.kind = HERD_PART_SHARDED;
		part.table = m->table;
		part.terms = list_make1(&m->key);
		if (m->column > 0)
			part.terms = lappend(part.terms, &term);
	}
	bad = herd_part_bad_sublinks(&m->level, &part, m->own, NULL);
	foreach (lc, bad) {
		SubLink *sublink = ((HerdSublink *)lfirst(lc))->sublink;
		Query *sub = castNode(Query, sublink->subselect);
		HerdMove *move;

		if (!herd_stands_alone(sub) || !herd_make_sendable(sublink, sub))
			herd_merge_refuse(
				m,
				"It has a subquery that is not joined on the distribution column.",
				"Put what the subquery gives into the source.");
		refuse_rights(m, sub);
		move = herd_move_subquery(m->planning, m->table, sub, 0, InvalidOid);
		sublink->subselect = (Node *)herd_select_moved(move, sub);
		m->moves = lappend(m->moves, move);
	}
}

static void drop_inserts(Query *query)
{
	List *kept = NIL;
	ListCell *lc;

	foreach (lc, query->mergeActionList)
		if (!herd_merge_is_insert((MergeAction *)lfirst(lc)))
			kept = lappend(kept, lfirst(lc));
	query->mergeActionList = kept;
}

static bool does_something(const Query *query)
{
	ListCell *lc;

	foreach (lc, query->mergeActionList)
		if (((MergeAction *)lfirst(lc))->commandType != CMD_NOTHING)
			return true;
	return false;
}

/* One shard is enough if nothing can happen in another. */
static void choose_shards(HerdRemote *remote, const HerdMergeParts *m)
{
	bool inserts = m->inserts && !m->away;
	HerdTerm term = { .query = m->query, .varno = HERD_MERGE_SOURCE, .attno = m->column };

	remote->shards = HERD_SHARDS_ALL;
	remote->tier = 1;
	if (m->table->kind != HERD_TABLE_HASH || m->by_source || (inserts && m->column == 0))
		return;
	if (inserts ? add_constant_key(remote, m, m->own, term)
		    : add_constant_key(remote, m, m->facts, m->key))
		remote->shards = HERD_SHARDS_KEY;
}

static HerdRemote *to_all_shards(HerdMergeParts *m)
{
	HerdRemote *remote = palloc0(sizeof(HerdRemote));
	bool beside_it = lies_beside(m);

	if (m->away)
		drop_inserts(m->query);
	if (!does_something(m->query))
		return NULL;
	choose_shards(remote, m);
	move_sublinks(m);
	if (m->table->kind != HERD_TABLE_HASH) {
		remote->shards = m->table->kind == HERD_TABLE_REFERENCE ? HERD_SHARDS_REPLICAS
									: HERD_SHARDS_FIRST;
		move_source(m, 0);
	} else if (beside_it) {
		/* it is where it belongs */
	} else if (m->part.kind == HERD_PART_RECURRING &&
		   !contain_volatile_functions((Node *)m->source)) {
		if (m->inserts && !m->away)
			filter_by_shard(m);
	} else {
		move_source(m, m->column);
	}
	return finish(remote, m);
}

/* Nothing volatile in ON, and no subquery that is tied by other columns than the key. */
static bool shards_can_do(const HerdMergeParts *m)
{
	HerdPart part = { .kind = HERD_PART_RECURRING };
	HerdTerm term = { .query = m->query, .varno = HERD_MERGE_SOURCE, .attno = m->column };
	ListCell *lc;

	if (contain_volatile_functions((Node *)herd_merge_on(m->query)))
		return false;
	if (m->table->kind == HERD_TABLE_HASH) {
		part.kind = HERD_PART_SHARDED;
		part.table = m->table;
		part.terms = list_make1((void *)&m->key);
		if (m->column > 0)
			part.terms = lappend(part.terms, &term);
	}
	foreach (lc, herd_part_bad_sublinks(&m->level, &part, m->own, NULL))
		if (!herd_stands_alone(
			    castNode(Query, ((HerdSublink *)lfirst(lc))->sublink->subselect)))
			return false;
	return true;
}

static Query *insert_query(const Query *parse)
{
	Query *insert = makeNode(Query);
	RangeTblEntry *target = copyObject(rt_fetch(parse->resultRelation, parse->rtable));

	target->inFromCl = false;
	target->securityQuals = NIL;
	insert->commandType = CMD_INSERT;
	insert->canSetTag = true;
	insert->resultRelation = 1;
	insert->rtable = list_make1(target);
#if PG_VERSION_NUM >= 160000
	insert->rteperminfos = copyObject(parse->rteperminfos);
#endif
	return insert;
}

/* Rows of the target must not be kept where the user finds them. */
static bool read_as_other(const HerdMergeParts *m)
{
	return list_member_oid(herd_rights_relids(), m->table->relid);
}

/* The old row of one that moves is known only where it is written. */
static bool returns_old_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
		return herd_returns_old((Var *)node);
	return expression_tree_walker(node, returns_old_walker, context);
}

/* Would somebody notice if rows were deleted in one shard and inserted in another? */
static bool moves_by_row(const HerdMergeParts *m)
{
	return get_rel_relkind(m->table->relid) != RELKIND_PARTITIONED_TABLE &&
	       (herd_rekey_is_noticed(m->table) || read_as_other(m) ||
		returns_old_walker((Node *)m->query->returningList, NULL));
}

void herd_merge_look(HerdMergeParts *m)
{
	look_at_actions(m);
	look_at_source(m);
}

/* Could the copies of a reference table come to different rows? */
static bool copies_differ(const HerdMergeParts *m, const Query *parse)
{
	ListCell *lc;

	foreach (lc, m->query->mergeActionList) {
		MergeAction *action = lfirst(lc);

		if (!(m->away && herd_merge_is_insert(action)) &&
		    contain_volatile_functions((Node *)action))
			return true;
	}
	return (m->away && (herd_fire_of(parse) != NULL || m->query->returningList != NIL)) ||
	       !shards_can_do(m);
}

/* Rows of the source would have to go where they must not or cannot. */
static bool only_by_row(const HerdMergeParts *m, bool beside, const Query *parse)
{
	bool moves = !beside || m->away || !shards_can_do(m);

	if (m->table->kind == HERD_TABLE_REFERENCE && copies_differ(m, parse))
		return true;
	if (m->table->kind == HERD_TABLE_HASH && m->part.kind == HERD_PART_RECURRING &&
	    !contain_volatile_functions((Node *)m->source) && !m->away && shards_can_do(m))
		moves = false;
	return moves && !m->source->hasModifyingCTE &&
	       (herd_rights_read(m->source) ||
		(read_as_other(m) && (m->away || !shards_can_do(m))) ||
		!herd_columns_can_travel(m->source->targetList, false));
}

HerdMerge herd_merge(const Query *parse, HerdPlanning *planning)
{
	HerdMerge result = { 0 };
	HerdMergeParts m = herd_merge_parts(parse, planning);
	bool beside;

	if (herd_rights_here(m.table->relid)) {
		result.by_row = true;
		return result;
	}
	herd_merge_look(&m);
	if (m.table->kind == HERD_TABLE_HASH) {
		if (changes_keys(&m)) {
			if (moves_by_row(&m)) {
				result.by_row = true;
				return result;
			}
			herd_rekey_check(m.table);
			result.remote = herd_merge_here(&m);
			return result;
		}
		choose_column(&m);
	}
	result.remote = to_one_shard(&m);
	if (result.remote != NULL)
		return result;
	if (m.table->kind == HERD_TABLE_HASH)
		m.away = m.inserts && (m.column == 0 || !inserts_stay(&m, m.column));
	else
		m.away = m.inserts && volatile_inserts(&m);
	beside = lies_beside(&m); /* may find that rows are away */
	if (only_by_row(&m, beside, parse)) {
		result.by_row = true;
		return result;
	}
	if (m.table->kind != HERD_TABLE_REFERENCE && (m.away || !shards_can_do(&m))) {
		result.remote = does_something(m.query) ? herd_merge_here(&m) : NULL;
		return result;
	}
	if (m.away) {
		herd_merge_rows(&m, &result);
		result.insert = insert_query(parse);
	}
	result.remote = to_all_shards(&m);
	return result;
}
