/*
 * agg/call.c - the calls of partial_agg and combine_agg that plans hold.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_func.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

#include "agg/partial.h"

static bool plain_type(Oid type)
{
	return get_typtype(type) != TYPTYPE_PSEUDO;
}

bool herd_agg_plain_signature(Oid agg)
{
	HeapTuple tup = SearchSysCache1(PROCOID, ObjectIdGetDatum(agg));
	Form_pg_proc proc;
	bool plain;

	if (!HeapTupleIsValid(tup))
		return false;
	proc = (Form_pg_proc)GETSTRUCT(tup);
	plain = proc->pronargs > 0 && !OidIsValid(proc->provariadic) &&
		plain_type(proc->prorettype);
	for (int i = 0; plain && i < proc->pronargs; i++)
		plain = plain_type(proc->proargtypes.values[i]);
	ReleaseSysCache(tup);
	return plain;
}

bool herd_agg_can_split(const Aggref *agg)
{
	HeapTuple tup;
	Form_pg_aggregate form;
	bool can;

	if (agg->aggkind != AGGKIND_NORMAL || agg->aggorder != NIL || agg->aggdistinct != NIL ||
	    agg->agglevelsup != 0 || agg->aggvariadic || !herd_agg_plain_signature(agg->aggfnoid))
		return false;
	tup = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(agg->aggfnoid));
	if (!HeapTupleIsValid(tup))
		return false;
	form = (Form_pg_aggregate)GETSTRUCT(tup);
	can = OidIsValid(form->aggcombinefn) &&
	      (form->aggtranstype == INTERNALOID
		       ? OidIsValid(form->aggserialfn) && OidIsValid(form->aggdeserialfn)
		       : plain_type(form->aggtranstype));
	ReleaseSysCache(tup);
	return can;
}

static Oid our_aggregate(const char *name, int nargs, const Oid *argtypes)
{
	return LookupFuncName(list_make2(makeString("citus_internal"), makeString(pstrdup(name))),
			      nargs, argtypes, false);
}

static TargetEntry *argument(Aggref *agg, Expr *expr)
{
	TargetEntry *tle = makeTargetEntry(expr, list_length(agg->args) + 1, NULL, false);

	agg->args = lappend(agg->args, tle);
	agg->aggargtypes = lappend_oid(agg->aggargtypes, exprType((Node *)expr));
	return tle;
}

static Aggref *named_call(const Aggref *agg, Oid function, Oid type, Oid collation)
{
	Aggref *call = makeNode(Aggref);
	char *name = format_procedure_qualified(agg->aggfnoid);

	call->aggfnoid = function;
	call->aggtype = type;
	call->aggcollid = collation;
	call->inputcollid = agg->inputcollid;
	call->aggkind = AGGKIND_NORMAL;
	call->aggsplit = AGGSPLIT_SIMPLE;
	call->aggno = call->aggtransno = -1;
	call->location = -1;
	argument(call, (Expr *)makeConst(TEXTOID, -1, C_COLLATION_OID, -1,
					 CStringGetTextDatum(name), false, false));
	return call;
}

Aggref *herd_agg_partial(const Aggref *agg)
{
	Oid types[2] = { TEXTOID, ANYOID };
	Aggref *call =
		named_call(agg, our_aggregate("partial_agg", 2, types), BYTEAOID, InvalidOid);
	ListCell *lc;

	foreach (lc, agg->args)
		argument(call, copyObject(((TargetEntry *)lfirst(lc))->expr));
	call->aggfilter = copyObject(agg->aggfilter);
	return call;
}

Aggref *herd_agg_combine(const Aggref *agg, Var *states)
{
	Oid types[3] = { TEXTOID, BYTEAOID, ANYELEMENTOID };
	Aggref *call = named_call(agg, our_aggregate("combine_agg", 3, types), agg->aggtype,
				  agg->aggcollid);

	argument(call, (Expr *)states);
	argument(call, (Expr *)makeNullConst(agg->aggtype, -1, agg->aggcollid));
	return call;
}

bool herd_agg_is_internal(Oid agg)
{
	Oid types[3] = { TEXTOID, BYTEAOID, ANYELEMENTOID };

	return agg >= FirstNormalObjectId && agg == our_aggregate("combine_agg", 3, types);
}
