#include "deparse/casts.h"

#include "nodes/nodeFuncs.h"

/* A function (value, length, whether to cut) that is not to cut. */
static bool is_assignment(const FuncExpr *func)
{
	const Const *cut;

	if (list_length(func->args) != 3 || !exprIsLengthCoercion((const Node *)func, NULL))
		return false;
	cut = lthird(func->args);
	return IsA(cut, Const) && !cut->constisnull && !DatumGetBool(cut->constvalue);
}

void herd_spell_cast(Node *node)
{
	if (IsA(node, FuncExpr)) {
		FuncExpr *func = (FuncExpr *)node;

		if (func->funcformat == COERCE_IMPLICIT_CAST && is_assignment(func))
			func->funcformat = COERCE_EXPLICIT_CALL;
	} else if (IsA(node, ArrayCoerceExpr)) {
		ArrayCoerceExpr *array = (ArrayCoerceExpr *)node;

		/* no call would do that; the table that takes the value looks at its length */
		if (array->coerceformat == COERCE_IMPLICIT_CAST)
			array->resulttypmod = -1;
	}
}

static void spell_value(Node *node)
{
	switch (nodeTag(node)) {
	case T_FuncExpr:
		herd_spell_cast(node);
		if (((FuncExpr *)node)->funcformat == COERCE_IMPLICIT_CAST)
			((FuncExpr *)node)->funcformat = COERCE_EXPLICIT_CAST;
		break;
	case T_RelabelType:
		((RelabelType *)node)->relabelformat = COERCE_EXPLICIT_CAST;
		break;
	case T_CoerceViaIO:
		((CoerceViaIO *)node)->coerceformat = COERCE_EXPLICIT_CAST;
		break;
	case T_CoerceToDomain:
		((CoerceToDomain *)node)->coercionformat = COERCE_EXPLICIT_CAST;
		break;
	case T_ConvertRowtypeExpr:
		((ConvertRowtypeExpr *)node)->convertformat = COERCE_EXPLICIT_CAST;
		break;
	case T_ArrayCoerceExpr:
		herd_spell_cast(node);
		((ArrayCoerceExpr *)node)->coerceformat = COERCE_EXPLICIT_CAST;
		break;
	default:
		break;
	}
}

void herd_spell_values(RangeTblEntry *rte)
{
	ListCell *row, *value;

	foreach (row, rte->values_lists)
		foreach (value, lfirst_node(List, row))
			spell_value(lfirst(value));
}
