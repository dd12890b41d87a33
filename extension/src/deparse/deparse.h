/*
 * deparse/deparse.h - a Query as text with holes where the names of shards go.
 *
 * pg_get_querydef prints the query, PostgreSQL's own grammar finds the relations in the text. What
 * must not be computed on another node (parameters, stable functions, the volatile values of an
 * INSERT) becomes a parameter of the text; its expression is kept in the list of evals.
 */
#pragma once
#include "postgres.h"

#include "deparse/code.h"
#include "nodes/parsenodes.h"
#include "nodes/pg_list.h"

typedef struct HerdTemplate {
	char *text;    /* without the names of the relations */
	List *offsets; /* of int, ascending: where in text a name belongs */
	List *relids;  /* of Oid: the shell relation of each hole, or an index of one; InvalidOid:
			  the number of the shard */
	bool code;     /* it runs code of users on the shards: see deparse/code.h */
} HerdTemplate;

/* True for an expression with one value for the whole statement: no Vars, aggregates, sublinks. */
extern bool herd_expr_is_constant(Node *expr);

/*
 * The position (1..) of expr in *evals, appended when it is not there. The text refers to it as
 * a parameter; volatile expressions are never shared.
 */
extern int herd_eval_add(List **evals, Expr *expr);

/*
 * Replaces parameters and stable constant expressions in the query by parameters of the text, and
 * in the target list (or VALUES) of an INSERT the volatile ones too. The query is changed in
 * place.
 */
extern void herd_evals_extract(Query *query, List **evals);

/* The same for one expression of a plan, where PARAM_EXEC counts as a parameter. */
extern Node *herd_evals_extract_expr(Node *expr, List **evals);

/*
 * value for a real row of the relation of the Var: null for a null one, of an outer join, which has
 * no ctid. Its type is that of the Var.
 */
extern Node *herd_unless_null_row(Var *var, Expr *value);

/* The expression as a parameter of the text; the position in evals is found or made. */
extern Node *herd_eval_param(List **evals, Expr *expr);

/* References to CTEs from outside of the query, seen from one level further down. */
extern void herd_deepen_ctes(Query *query);

/* Prints the query, which is changed in place (aliases). Every relation must be distributed. */
extern HerdTemplate *herd_deparse(Query *query);
/* The same of a statement with the rights of others, when it runs: plan/rights.h. */
extern HerdTemplate *herd_deparse_foreign(Query *query);

/* The text for the shard with this index of every hash or single-shard table in it. */
extern char *herd_template_fill(const HerdTemplate *tmpl, int shardindex);

/*
 * The same for several shards at once: each sharded table stands for the rows of all of them. The
 * text must be a SELECT without row locks, system columns and whole rows, and must have no hole for
 * the number of the shard.
 */
extern char *herd_template_fill_many(const HerdTemplate *tmpl, const int *shards, int nshards);

/* As a List for plan trees, and back. */
extern List *herd_template_to_list(const HerdTemplate *tmpl);
extern HerdTemplate *herd_template_from_list(List *list);
