/*
 * plan/merge_parts.h - what plan/merge*.c know of a MERGE; for them only.
 */
#pragma once
#include "compat.h"
#include "postgres.h"

#include "plan/merge.h"
#include "plan/part.h"

#if PG_VERSION_NUM >= 170000
#define herd_merge_is_insert(a) ((a)->matchKind == MERGE_WHEN_NOT_MATCHED_BY_TARGET)
#define herd_merge_is_by_source(a) ((a)->matchKind == MERGE_WHEN_NOT_MATCHED_BY_SOURCE)
#define herd_merge_on(query) ((query)->mergeJoinCondition)
#else
#define herd_merge_is_insert(a) (!(a)->matched)
#define herd_merge_is_by_source(a) false
#define herd_merge_on(query) ((query)->jointree->quals)
#endif

/* Relations of the normal form. */
enum { HERD_MERGE_TARGET = 1, HERD_MERGE_SOURCE = 2 };

typedef struct HerdMergeParts {
	Query *query;  /* in normal form: MERGE INTO target USING (subquery) ON .. */
	Query *source; /* the subquery */
	HerdLevel level;
	const HerdTable *table;
	HerdTerm key;
	HerdPart part;     /* of the source */
	List *own;         /* facts of the source alone: of rows without a match too */
	List *facts;       /* of pairs that match */
	AttrNumber column; /* of the source: equals the key of the row that it matches; 0: none */
	bool inserts;      /* rows without a match matter */
	bool by_source;    /* target rows without a match do */
	CmdType plain;     /* CMD_UPDATE, CMD_DELETE: of which it was made; else 0 */
	bool away;         /* new rows are inserted from this node */
	List *security;    /* policies of the target, for who reads it here: of relation 1 */
	HerdPlanning *planning;
	List *moves;
} HerdMergeParts;

/* merge_form.c: raises for what can be refused at sight. */
extern HerdMergeParts herd_merge_parts(const Query *parse, HerdPlanning *planning);
/* The source as a relation of a query. */
extern RangeTblEntry *herd_merge_source_rte(Query *source);
/* What a target list gives to a column, or NULL. */
extern Expr *herd_merge_value(const List *tlist, AttrNumber attno);
extern void herd_merge_refuse(const HerdMergeParts *m, const char *detail,
			      const char *hint) HERD_NORETURN;

/*
 * merge_here.c: rows computed on this node; the target is no reference table. Of an UPDATE or
 * DELETE: those that its WHERE selects, and what they become.
 */
extern HerdRemote *herd_merge_here(const HerdMergeParts *m);

/* What the actions write, and to which rows, as it is computed on this node. */
typedef struct HerdMergeValues {
	Query *query;   /* its first column: the number of the action; then atts, of the old row */
	List *atts;     /* of int: columns of the target, without dropped ones */
	List *given;    /* of int: those that some action gives values to, */
	List *value_of; /* of int: columns of the query with these */
	List *lists; /* for each action, of TargetEntry, over the query as relation 1: columns that
			are set as a list from a subquery */
	int tid;     /* column of the query, as are table and source: the first one of it less 1 */
	int table;   /* 0: the target is not partitioned */
	int source;
} HerdMergeValues;

extern void herd_merge_values(const HerdMergeParts *m, HerdMergeValues *values);

/* SELECT FROM relations; adds a column, returns its number; a column of sub, which is rel. */
extern Query *herd_merge_new_select(List *relations);
extern int herd_merge_add_column(Query *query, Node *expr);
extern Var *herd_merge_column(const Query *sub, int rel, int pos);

/* merge.c: what actions there are, and what is known of the source. */
extern void herd_merge_look(HerdMergeParts *m);

/* merge_rows.c: SELECT the new rows FROM source WHERE NOT EXISTS (..) AND an action inserts them.
 */
extern void herd_merge_rows(const HerdMergeParts *m, HerdMerge *result);
