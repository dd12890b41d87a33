/*
 * plan/rewrite.h - SELECTs of tier 1 and 2: parts of a query become rows read from shards.
 *
 * A query that can be answered shard by shard is replaced, in place, by one that combines the rows
 * of its shards; in any other each distributed table becomes such rows, and PostgreSQL does the
 * rest. The rows are a function in FROM for PostgreSQL's planner; plan/scan.c gives it its path.
 */
#pragma once
#include "postgres.h"

#include "nodes/params.h"
#include "nodes/parsenodes.h"
#include "nodes/pathnodes.h"

#include "plan/remote.h"
#include "plan/rights.h"

/* What the function in FROM with this number stands for. */
typedef struct HerdRows {
	HerdRemote
		*remote; /* complete; or NULL: the columns of a table, as the planner needs them */
	RangeTblEntry *rte;  /* of the table */
	RowMarkClause *lock; /* of the rows that are read, or NULL */
	List *system;        /* of int: system columns, behind those of the table */
	double nrows;
	struct HerdRowsColumn *columns; /* of remote: what is known of their values; or NULL */
	int ncolumns;
} HerdRows;

typedef struct HerdRowsColumn {
	Oid relid; /* a column of this shell; InvalidOid: an expression */
	AttrNumber attno;
	double distinct; /* number of values; 0: that of the shell's column */
} HerdRowsColumn;

typedef struct HerdPlanning {
	List *rows;  /* of HerdRows */
	List *moves; /* of HerdMove: what read_result stands for, by its number */
	ParamListInfo bound;
	bool needs_params;     /* with values of parameters there could be a better plan */
	int tier;              /* highest tier used */
	bool explain;          /* the statement of an EXPLAIN */
	bool fence;            /* rows must stay in subqueries: their relation could be marked */
	HerdRights rights;     /* of the statement */
	const Query *original; /* of the query at hand, before its items were moved; or NULL */
	struct HerdPlanning *up;
} HerdPlanning;

/* Rewrites the query in place so that it reads no shell relation. */
extern void herd_rewrite(Query *query, HerdPlanning *planning);

/* True if it only reads, and all tables in the metadata that it reads are on this node. */
extern bool herd_query_is_local_read(Query *query);

/* Only what plan/split.c, plan/tier1.c and plan.c share. */
extern RangeTblEntry *herd_rows_rte(HerdPlanning *planning, HerdRows *rows, List *tlist);
/* The relation's rows are those of the subquery from now on. */
extern void herd_become_subquery(RangeTblEntry *rte, Query *sub, bool barrier);
extern void herd_inline_ctes(Query *query);
/* Takes SELECTs in WITH that nothing refers to out of the query and those in it: they never run. */
extern void herd_drop_unused_ctes(Query *query);
extern void herd_fence(Query *query, HerdPlanning *planning);
extern bool herd_rewrite_tier1(Query *query, HerdPlanning *planning);
/*
 * Makes what stands above FROM and WHERE refer to columns of one relation, number 1: those of
 * columns (of TargetEntry), to which Vars are added as needed. The first of columns may be an
 * expression that is looked for as a whole. False, and nothing changed: they cannot travel.
 */
extern bool herd_pull_columns(Query *query, List **columns);
/* A copy of FROM and WHERE with this target list, and nothing else. */
extern Query *herd_select_columns(const Query *query, List *tlist);
/* plan/regroup.c: the same after rows have been moved to where their groups are. */
extern bool herd_rewrite_regrouped(Query *query, HerdPlanning *planning);
/* A read of all shards of a subquery that they can answer; columns: those that are not junk. */
extern HerdRemote *herd_tier1_read(Query *subquery);
/* plan/hub.c: the same after items of FROM have been moved to the shards of another. */
extern bool herd_rewrite_moved(Query *query, HerdPlanning *planning);
/*
 * The same for a write: its sources come to the shards of the target. NULL: not possible, or too
 * small to be worth it and not any_size.
 */
extern HerdRemote *herd_write_moved(Query *original, HerdPlanning *planning, bool any_size);
/*
 * INSERT with ON CONFLICT or RETURNING of rows that are computed here: they are moved, then one
 * statement per shard inserts them. Several statements would update a row twice that PostgreSQL
 * refuses to. NULL: not possible, or not worth it.
 */
extern HerdRemote *herd_insert_moved_here(Query *original, HerdPlanning *planning);
/*
 * INSERT .. VALUES of one row under a condition, as a rule makes it, becomes INSERT .. SELECT ..
 * WHERE, in place: nothing else here looks for conditions of a query without FROM. Others stay as
 * they are.
 */
extern void herd_insert_condition(Query *insert);
/*
 * Makes an INSERT a SELECT of the rows that it would insert, in place. Returns the target's columns
 * (attribute numbers, a list of int) that they are for, in their order.
 */
extern List *herd_insert_to_select(Query *insert);
/* The columns of a table, as relation 1, by attribute number; dropped ones are null. */
extern List *herd_columns_of_table(Oid relid);
/* Gives dropped columns names: a relation that is something else now has them as any other. */
extern void herd_name_dropped(Alias *names);
/*
 * The lock that the query asks for on rows of the relation, which is taken from it (NULL: none):
 * the shards lock the rows that they send, those that a join does not need among them.
 */
extern RowMarkClause *herd_take_lock(Query *query, int varno);
/* A new SELECT from this one relation of the query, with no columns and conditions yet. */
extern Query *herd_select_from(const Query *query, int varno);
extern const struct HerdMove *herd_planning_move(int number);
/* plan/hub.c: may the query be run by itself, before the statement? */
extern bool herd_stands_alone(Query *query);
/*
 * The rows of a subquery that stands alone go to the shards of target: cut by the hash of column
 * key (1..), or, if that is 0, all of them to every node that runs a task.
 */
extern struct HerdMove *herd_move_subquery(HerdPlanning *planning, const HerdTable *target,
					   Query *sub, int key, Oid hash);
/* Rows that shards give go to the shards of target, cut by this hash of the first column. */
extern struct HerdMove *herd_move_columns(HerdPlanning *planning, const HerdTable *target,
					  Query *sub, Oid hash);
/* What stands in the place of a subquery: its rows, which are there already. */
extern Query *herd_select_moved(const struct HerdMove *move, Query *sub);

/*
 * Prepares a subquery of an expression for being moved: one row of EXISTS says it, and it needs a
 * column. False if it cannot be moved.
 */
extern bool herd_make_sendable(SubLink *sublink, Query *sub);
/* The evals of the producers follow those of the statement. */
extern void herd_moves_attach(HerdRemote *remote, List *moves);
extern HerdRemote *herd_tier1_write(Query *query, ParamListInfo bound, const char **why);
/* Worker and combine target lists for split aggregates; false if they cannot be split. */
typedef struct HerdSplit {
	List *worker;     /* of TargetEntry, also the GROUP BY expressions */
	List *groups;     /* of SortGroupClause for the worker */
	List *targetlist; /* of the combining query, over columns of relation 1 */
	Node *having;
} HerdSplit;
/* True if it can be computed in two steps, without all of its rows in one place. */
extern bool herd_aggregate_splits(const Aggref *agg);
extern bool herd_split_aggregates(Query *query, HerdSplit *split, bool (*is_key)(Node *, void *),
				  void *context);

/* The planner's rows, for plan/scan.c: NULL if the relation is not one of ours. */
extern HerdRows *herd_rows_of_rte(RangeTblEntry *rte);
extern HerdPlanning *herd_planning_current;
extern void herd_scan_init(void);
/*
 * Reads columns (Vars of relid, or constants) of the rows of the table that pass the clauses.
 * sample: behind a first one, the arguments of its TABLESAMPLE when they are computed here.
 */
extern HerdRemote *herd_read_table(RangeTblEntry *rte, int relid, List *columns, List *clauses,
				   const RowMarkClause *lock, List *sample);
/* True if the condition can be checked where the rows of the relation are. */
extern bool herd_can_push(Node *clause, int relid);
