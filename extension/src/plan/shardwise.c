#include "plan/shardwise.h"

#include "catalog/partition.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/pathnodes.h"
#include "optimizer/cost.h"
#include "optimizer/paths.h"
#include "optimizer/planner.h"
#include "partitioning/partbounds.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "catalog/metadata.h"
#include "compat.h"
#include "plan/lookup.h"
#include "stats/stats.h"

/* What PostgreSQL compares of two relations is its address: one for each group of co-location. */
typedef struct Scheme {
	PartitionSchemeData data;
	const HerdTable *table;
} Scheme;

typedef struct United {
	const HerdTable *table;
	const Var *key;   /* of the first shard */
	AttrNumber attno; /* of the key in the relation that stands for all */
	int n;
	int *indexes; /* of the shards */
	RelOptInfo **rels;
} United;

static set_rel_pathlist_hook_type next_pathlist;
static create_upper_paths_hook_type next_upper;
/* Such a query is being planned. */
static bool active;

/* -- does a query do it? ----------------------------------------------------------------------- */

static bool is_united(const RangeTblEntry *rte)
{
	const Query *first;
	int index;

	if (rte->rtekind != RTE_SUBQUERY || rte->subquery->setOperations == NULL)
		return false;
	first = linitial_node(RangeTblEntry, rte->subquery->rtable)->subquery;
	if (first == NULL || list_length(first->rtable) != 1)
		return false;
	rte = linitial(first->rtable);
	return rte->rtekind == RTE_RELATION && herd_united_table(rte->relid, &index) != NULL;
}

static bool wanted_walker(Node *node, void *context)
{
	ListCell *lc;

	if (node == NULL)
		return false;
	if (!IsA(node, Query))
		return expression_tree_walker(node, wanted_walker, context);
	foreach (lc, ((Query *)node)->rtable)
		if (is_united(lfirst(lc)))
			return true;
	return query_tree_walker((Query *)node, wanted_walker, context, 0);
}

PlannedStmt *herd_shardwise_plan(Query *query, const char *source, int options, ParamListInfo bound,
				 planner_hook_type plan)
{
	PlannedStmt *stmt = NULL;
	bool partitionwise = enable_partitionwise_join;
	bool outer = active;

	if (query->commandType != CMD_SELECT || !wanted_walker((Node *)query, NULL))
		return plan(query, source, options, bound);
	active = enable_partitionwise_join = true;
	PG_TRY();
	{
		stmt = plan(query, source, options, bound);
	}
	PG_FINALLY();
	{
		enable_partitionwise_join = partitionwise;
		active = outer;
	}
	PG_END_TRY();
	return stmt;
}

/* -- relations --------------------------------------------------------------------------------- */

/* The column of the relation that stands for all which is the key of this shard; 0: none. */
static AttrNumber key_column(const AppendRelInfo *info, Oid shard, const HerdTable *table,
			     const Var **key)
{
	AttrNumber attno = get_attnum(shard, get_attname(table->relid, table->keyattno, false));
	ListCell *lc;

	foreach (lc, info->translated_vars) {
		const Var *var = lfirst(lc);

		if (var == NULL || !IsA(var, Var) || var->varno != (int)info->child_relid ||
		    var->varattno != attno)
			continue;
		*key = var;
		return foreach_current_index(lc) + 1;
	}
	return InvalidAttrNumber;
}

static bool add_shard(PlannerInfo *root, const AppendRelInfo *info, United *u)
{
	const RangeTblEntry *rte = root->simple_rte_array[info->child_relid];
	RelOptInfo *rel = root->simple_rel_array[info->child_relid];
	const HerdTable *table;
	const Var *key = NULL;
	AttrNumber attno;
	int index;

	if (rel == NULL || rte->rtekind != RTE_RELATION ||
	    (table = herd_united_table(rte->relid, &index)) == NULL ||
	    table->kind != HERD_TABLE_HASH)
		return false;
	attno = key_column(info, rte->relid, table, &key);
	if (attno == InvalidAttrNumber)
		return false;
	if (u->n == 0) {
		u->table = table;
		u->attno = attno;
		u->key = key;
		u->indexes = palloc(table->nshards * sizeof(int));
		u->rels = palloc(table->nshards * sizeof(RelOptInfo *));
	}
	if (table->relid != u->table->relid || attno != u->attno || u->n >= table->nshards)
		return false;
	for (int i = 0; i < u->n; i++)
		if (u->indexes[i] == index)
			return false;
	u->indexes[u->n] = index;
	u->rels[u->n++] = rel;
	return true;
}

/* The shards that the relation stands for; false: it is something else. */
static bool find_shards(PlannerInfo *root, const RelOptInfo *rel, United *u)
{
	ListCell *lc;

	foreach (lc, root->append_rel_list) {
		const AppendRelInfo *info = lfirst(lc);

		if (info->parent_relid == rel->relid && !add_shard(root, info, u))
			return false;
	}
	return u->n > 1;
}

/* True for a relation that was given a scheme here: PostgreSQL gives subqueries none. */
static bool is_ours(const RelOptInfo *rel)
{
	return rel != NULL && rel->rtekind == RTE_SUBQUERY && rel->part_scheme != NULL;
}

static PartitionScheme scheme_of(PlannerInfo *root, const United *u)
{
	Oid type = getBaseType(u->key->vartype);
	TypeCacheEntry *types = lookup_type_cache(type, TYPECACHE_HASH_OPFAMILY);
	Scheme *scheme;

	for (int i = 1; i < root->simple_rel_array_size; i++) {
		if (!is_ours(root->simple_rel_array[i]))
			continue;
		scheme = (Scheme *)root->simple_rel_array[i]->part_scheme;
		if (scheme->table->relid == u->table->relid ||
		    (u->table->colocationid != 0 &&
		     scheme->table->colocationid == u->table->colocationid &&
		     scheme->data.partopcintype[0] == type &&
		     scheme->data.partcollation[0] == u->key->varcollid))
			return &scheme->data;
	}
	if (!OidIsValid(types->hash_opf))
		return NULL;
	scheme = palloc0(sizeof(Scheme));
	scheme->table = u->table;
	scheme->data.strategy = PARTITION_STRATEGY_HASH;
	scheme->data.partnatts = 1;
	scheme->data.partopfamily = palloc(sizeof(Oid));
	scheme->data.partopfamily[0] = types->hash_opf;
	scheme->data.partopcintype = palloc(sizeof(Oid));
	scheme->data.partopcintype[0] = type;
	scheme->data.partcollation = palloc(sizeof(Oid));
	scheme->data.partcollation[0] = u->key->varcollid;
	scheme->data.parttyplen = palloc(sizeof(int16));
	scheme->data.parttyplen[0] = types->typlen;
	scheme->data.parttypbyval = palloc(sizeof(bool));
	scheme->data.parttypbyval[0] = types->typbyval;
	return &scheme->data;
}

/* Bounds are equal when the same shards are in the same order. */
static PartitionBoundInfo bounds_of(const United *u)
{
	PartitionBoundInfo bounds = palloc0(sizeof(PartitionBoundInfoData));

	bounds->strategy = PARTITION_STRATEGY_HASH;
	bounds->ndatums = u->n;
	bounds->datums = palloc(u->n * sizeof(Datum *));
	bounds->nindexes = u->table->nshards;
	bounds->indexes = palloc(bounds->nindexes * sizeof(int));
	bounds->null_index = bounds->default_index = -1;
	for (int i = 0; i < bounds->nindexes; i++)
		bounds->indexes[i] = -1;
	for (int i = 0; i < u->n; i++) {
		bounds->datums[i] = palloc(2 * sizeof(Datum));
		bounds->datums[i][0] = Int32GetDatum(u->table->nshards);
		bounds->datums[i][1] = Int32GetDatum(u->indexes[i]);
		bounds->indexes[u->indexes[i]] = i;
	}
	return bounds;
}

/* The relation becomes one partitioned by its key: what plancat.c sets of such a table. */
static void set_partitions(RelOptInfo *rel, PartitionScheme scheme, const United *u)
{
	Var *key = makeVar(rel->relid, u->attno, u->key->vartype, u->key->vartypmod,
			   u->key->varcollid, 0);

	rel->part_scheme = scheme;
	rel->boundinfo = bounds_of(u);
	rel->nparts = u->n;
	rel->part_rels = u->rels;
	rel->partexprs = palloc(sizeof(List *));
	rel->partexprs[0] = list_make1(key);
	rel->nullable_partexprs = palloc0(sizeof(List *));
	rel->live_parts = bms_add_range(NULL, 0, u->n - 1);
	rel->consider_partitionwise_join = true;
	for (int i = 0; i < u->n; i++) {
		rel->all_partrels = bms_add_members(rel->all_partrels, u->rels[i]->relids);
		/* the columns of one that is known to be empty are not there */
		u->rels[i]->consider_partitionwise_join = !IS_DUMMY_REL(u->rels[i]);
	}
}

static void pathlist(PlannerInfo *root, RelOptInfo *rel, Index rti, RangeTblEntry *rte)
{
	United u = { 0 };
	PartitionScheme scheme;

	if (next_pathlist)
		next_pathlist(root, rel, rti, rte);
	/* a whole row of a subquery is not one of a shard */
	if (!active || rte->rtekind != RTE_SUBQUERY || !rte->inh ||
	    rel->reloptkind != RELOPT_BASEREL || rel->part_scheme != NULL || IS_DUMMY_REL(rel) ||
	    rel->attr_needed[InvalidAttrNumber - rel->min_attr] != NULL ||
	    !find_shards(root, rel, &u))
		return;
	scheme = scheme_of(root, &u);
	if (scheme == NULL)
		return;
	set_partitions(rel, scheme, &u);
	herd_lookup_paths(root, rel, u.table, u.indexes, u.n);
}

/* All paths are there: for the rest of the planner it is a subquery, with no bounds to look up. */
static void drop_schemes(PlannerInfo *root)
{
	for (int i = 1; i < root->simple_rel_array_size; i++)
		if (is_ours(root->simple_rel_array[i]))
			root->simple_rel_array[i]->part_scheme = NULL;
}

/* The queries that look for a min or max in an index have no stage of their own. */
static void drop_schemes_of_minmax(RelOptInfo *grouped)
{
	ListCell *lc, *agg;

	foreach (lc, grouped->pathlist) {
		if (!IsA(lfirst(lc), MinMaxAggPath))
			continue;
		foreach (agg, ((MinMaxAggPath *)lfirst(lc))->mmaggregates)
			drop_schemes(lfirst_node(MinMaxAggInfo, agg)->subroot);
	}
}

static void upper(PlannerInfo *root, UpperRelationKind stage, RelOptInfo *input, RelOptInfo *output,
		  void *extra)
{
	if (next_upper)
		next_upper(root, stage, input, output, extra);
	if (active && stage == UPPERREL_GROUP_AGG)
		drop_schemes_of_minmax(output);
	if (active && stage == UPPERREL_FINAL)
		drop_schemes(root);
}

void herd_shardwise_init(void)
{
	herd_lookup_init();
	next_pathlist = set_rel_pathlist_hook;
	set_rel_pathlist_hook = pathlist;
	next_upper = create_upper_paths_hook;
	create_upper_paths_hook = upper;
}
