#include "ingest/where.h"

#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/prep.h"
#include "parser/parse_clause.h"
#include "parser/parse_coerce.h"
#include "parser/parse_collate.h"
#include "parser/parse_expr.h"

Node *herd_copy_where(ParseState *pstate, Node *where)
{
	Node *clause;

	if (where == NULL)
		return NULL;
	clause = transformExpr(pstate, where, EXPR_KIND_COPY_WHERE);
	clause = coerce_to_boolean(pstate, clause, "WHERE");
	assign_expr_collations(pstate, clause);
	clause = eval_const_expressions(NULL, clause);
	clause = (Node *)canonicalize_qual((Expr *)clause, false);
	return (Node *)make_ands_implicit((Expr *)clause);
}
