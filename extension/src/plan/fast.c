#include "plan/fast.h"

#include "access/transam.h"
#include "catalog/pg_class.h"
#include "lib/ilist.h"
#include "nodes/extensible.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parsetree.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "catalog/metadata.h"
#include "exec/internal.h"
#include "plan/remote.h"
#include "plan/rights.h"

/* Plans kept by one session; the one not used for longest goes first. */
#define MAX_ENTRIES 128
/* Constants of one statement; a longer list of values is no common shape. */
#define MAX_CONSTS 64
/* Parameters that stand for constants are numbered from here on; users' end at 65535. */
#define CONST_PARAM 0x100000

typedef struct Entry {
	dlist_node lru;
	MemoryContext memory; /* of the entry and all it points to */
	Oid relid;
	CmdType command;
	Query *query;      /* with parameters for its constants */
	PlannedStmt *stmt; /* NULL: it belongs to no single shard */
	bool valid;
} Entry;

/* The constants that were taken out of a query, and where they were. */
typedef struct Consts {
	int n;
	Const *values[MAX_CONSTS];
	Node **places[MAX_CONSTS];
} Consts;

static dlist_head entries = DLIST_STATIC_INIT(entries);
static int nentries;
static uint64 changes; /* counts invalidations, to notice one that comes while planning */

/* -- invalidation ------------------------------------------------------------------------------ */

static void relation_changed(Datum arg, Oid relid)
{
	dlist_iter iter;

	changes++;
	dlist_foreach(iter, &entries)
	{
		Entry *e = dlist_container(Entry, lru, iter.cur);

		if (relid == InvalidOid || e->relid == relid)
			e->valid = false;
	}
}

/* Texts hold names of functions, operators, types and schemas. */
static void name_changed(Datum arg, int cacheid, uint32 hash)
{
	relation_changed(arg, InvalidOid);
}

static void drop_entry(Entry *e)
{
	dlist_delete(&e->lru);
	nentries--;
	MemoryContextDelete(e->memory);
}

/* -- which statements -------------------------------------------------------------------------- */

static bool is_value(Node *node)
{
	return IsA(node, Const) || (IsA(node, Param) && ((Param *)node)->paramkind == PARAM_EXTERN);
}

static bool is_key(Node *node, const HerdTable *table)
{
	while (IsA(node, RelabelType))
		node = (Node *)((RelabelType *)node)->arg;
	return IsA(node, Var) && ((Var *)node)->varattno == table->keyattno &&
	       ((Var *)node)->varlevelsup == 0;
}

/* Whether the operator is an equality that counts is for the planner to find out. */
static bool ties_key(Node *qual, const HerdTable *table)
{
	List *args;
	ListCell *lc;

	if (qual == NULL)
		return false;
	if (IsA(qual, BoolExpr) && ((BoolExpr *)qual)->boolop == AND_EXPR) {
		foreach (lc, ((BoolExpr *)qual)->args) {
			if (ties_key(lfirst(lc), table))
				return true;
		}
		return false;
	}
	if (!IsA(qual, OpExpr) || list_length(((OpExpr *)qual)->args) != 2)
		return false;
	args = ((OpExpr *)qual)->args;
	return (is_key(linitial(args), table) && is_value(lsecond(args))) ||
	       (is_value(linitial(args)) && is_key(lsecond(args), table));
}

static bool sets_key(Query *query, const HerdTable *table)
{
	ListCell *lc;

	foreach (lc, query->targetList) {
		if (((TargetEntry *)lfirst(lc))->resno == table->keyattno)
			return true;
	}
	return false;
}

static bool one_relation(Query *query)
{
	RangeTblEntry *rte;

	if (query->rtable == NIL)
		return false;
	rte = linitial(query->rtable);
	if (rte->rtekind != RTE_RELATION || rte->tablesample != NULL || rte->securityQuals != NIL)
		return false;
	if (list_length(query->rtable) == 1)
		return true;
	/* the row that EXCLUDED names */
	return list_length(query->rtable) == 2 && query->onConflict != NULL &&
	       query->onConflict->exclRelIndex == 2;
}

static const HerdTable *table_of(Query *query)
{
	const HerdTable *table;

	if (query->hasSubLinks || query->hasTargetSRFs || query->cteList != NIL ||
	    query->setOperations != NULL || query->withCheckOptions != NIL ||
	    query->groupingSets != NIL || !one_relation(query))
		return NULL;
	if (herd_rights_foreign(query, linitial(query->rtable)))
		return NULL;
	table = herd_table_get(linitial_node(RangeTblEntry, query->rtable)->relid);
	if (table == NULL || table->kind != HERD_TABLE_HASH)
		return NULL;
	switch (query->commandType) {
	case CMD_INSERT:
		return query->jointree->fromlist == NIL && sets_key(query, table) ? table : NULL;
	case CMD_UPDATE:
		if (sets_key(query, table))
			return NULL;
		/* fall through */
	case CMD_SELECT:
	case CMD_DELETE:
		return list_length(query->jointree->fromlist) == 1 &&
				       ties_key(query->jointree->quals, table)
			       ? table
			       : NULL;
	default:
		return NULL;
	}
}

/* -- constants out and in ---------------------------------------------------------------------- */

static void take_const(Node **place, Consts *consts)
{
	Const *value = (Const *)*place;
	Param *param;

	if (consts->n == MAX_CONSTS || value->constisnull ||
	    !herd_type_is_portable(value->consttype))
		return;
	param = makeNode(Param);
	param->paramkind = PARAM_EXTERN;
	param->paramid = CONST_PARAM + consts->n;
	param->paramtype = value->consttype;
	param->paramtypmod = value->consttypmod;
	param->paramcollid = value->constcollid;
	param->location = -1;
	consts->values[consts->n] = value;
	consts->places[consts->n++] = place;
	*place = (Node *)param;
}

/* Goes through operators and casts, not through calls: arguments of those are often fixed. */
static void take_consts(Node **place, Consts *consts)
{
	Node *node = *place;
	ListCell *lc;

	if (node == NULL)
		return;
	switch (nodeTag(node)) {
	case T_Const:
		take_const(place, consts);
		break;
	case T_OpExpr:
		foreach (lc, ((OpExpr *)node)->args)
			take_consts((Node **)&lfirst(lc), consts);
		break;
	case T_BoolExpr:
		foreach (lc, ((BoolExpr *)node)->args)
			take_consts((Node **)&lfirst(lc), consts);
		break;
	case T_RelabelType:
		take_consts((Node **)&((RelabelType *)node)->arg, consts);
		break;
	case T_FuncExpr:
		/* casts; not EXTRACT(field FROM ..) and its like */
		if ((((FuncExpr *)node)->funcformat == COERCE_EXPLICIT_CAST ||
		     ((FuncExpr *)node)->funcformat == COERCE_IMPLICIT_CAST) &&
		    ((FuncExpr *)node)->args != NIL)
			take_consts((Node **)&linitial(((FuncExpr *)node)->args), consts);
		break;
	default:
		break;
	}
}

static void take_all(Query *query, Consts *consts)
{
	ListCell *lc;

	consts->n = 0;
	take_consts(&query->jointree->quals, consts);
	if (query->commandType != CMD_INSERT && query->commandType != CMD_UPDATE)
		return;
	foreach (lc, query->targetList)
		take_consts((Node **)&((TargetEntry *)lfirst(lc))->expr, consts);
}

static void put_back(const Consts *consts)
{
	for (int i = 0; i < consts->n; i++)
		*consts->places[i] = (Node *)consts->values[i];
}

static Node *put_mutator(Node *node, void *context)
{
	const Consts *consts = context;

	if (node == NULL)
		return NULL;
	if (IsA(node, Param) && ((Param *)node)->paramkind == PARAM_EXTERN &&
	    ((Param *)node)->paramid >= CONST_PARAM)
		return copyObject((Node *)consts->values[((Param *)node)->paramid - CONST_PARAM]);
	return expression_tree_mutator(node, put_mutator, context);
}

/* -- the cache --------------------------------------------------------------------------------- */

static Entry *find_entry(Query *query, Oid relid)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &entries)
	{
		Entry *e = dlist_container(Entry, lru, iter.cur);

		if (!e->valid) {
			drop_entry(e);
			continue;
		}
		if (e->relid == relid && e->command == query->commandType &&
		    equal(e->query, query)) {
			dlist_move_head(&entries, &e->lru);
			return e;
		}
	}
	return NULL;
}

static Entry *make_entry(Query *query, Oid relid, int options, HerdRoutePlanner planner)
{
	MemoryContext memory =
		AllocSetContextCreate(CurrentMemoryContext, "herd plan", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(memory);
	Entry *e = palloc0(sizeof(*e));
	uint64 before = changes;
	PlannedStmt *stmt;

	e->memory = memory;
	e->relid = relid;
	e->command = query->commandType;
	e->query = copyObject(query);
	MemoryContextSwitchTo(old);
	stmt = planner(copyObject(query), options);
	MemoryContextSwitchTo(memory);
	e->stmt = copyObject(stmt);
	MemoryContextSwitchTo(old);
	e->valid = before == changes;
	while (nentries >= MAX_ENTRIES)
		drop_entry(dlist_container(Entry, lru, dlist_tail_node(&entries)));
	MemoryContextSetParent(memory, CacheMemoryContext);
	dlist_push_head(&entries, &e->lru);
	nentries++;
	return e;
}

/* EXPLAIN shows the text that shards would get: with its constants. */
static bool is_explain(const char *source)
{
	while (source && (*source == ' ' || *source == '\t' || *source == '\n'))
		source++;
	return source && pg_strncasecmp(source, "explain", 7) == 0;
}

static PlannedStmt *plan_from(const Entry *e, const Query *query, Consts *consts, bool known)
{
	PlannedStmt *stmt = copyObject(e->stmt);
	CustomScan *scan = castNode(CustomScan, stmt->planTree);

	scan->custom_exprs = (List *)put_mutator((Node *)scan->custom_exprs, consts);
	/* What is seen for the first time may never come again: no statement is prepared for it. */
	if (!known && consts->n > 0)
		herd_remote_plan_once(scan);
	stmt->queryId = query->queryId;
	stmt->stmt_location = query->stmt_location;
	stmt->stmt_len = query->stmt_len;
	return stmt;
}

PlannedStmt *herd_fast_plan(Query *query, const char *source, int options, HerdRoutePlanner planner)
{
	const HerdTable *table = table_of(query);
	PlannedStmt *stmt = NULL;
	bool known = true;
	int len = query->stmt_len;
	int location = query->stmt_location;
	Consts consts;
	Entry *e;

	if (table == NULL || (options & CURSOR_OPT_SCROLL) || is_explain(source))
		return NULL;
	take_all(query, &consts);
	query->stmt_len = query->stmt_location = 0;
	e = find_entry(query, table->relid);
	if (e == NULL) {
		known = false;
		e = make_entry(query, table->relid, options, planner);
	}
	query->stmt_len = len;
	query->stmt_location = location;
	if (e->stmt != NULL)
		stmt = plan_from(e, query, &consts, known);
	put_back(&consts);
	return stmt;
}

void herd_fast_init(void)
{
	CacheRegisterRelcacheCallback(relation_changed, (Datum)0);
	CacheRegisterSyscacheCallback(PROCOID, name_changed, (Datum)0);
	CacheRegisterSyscacheCallback(OPEROID, name_changed, (Datum)0);
	CacheRegisterSyscacheCallback(TYPEOID, name_changed, (Datum)0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, name_changed, (Datum)0);
}
