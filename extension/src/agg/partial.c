/*
 * agg/partial.c - an aggregate in two steps: states on the nodes of the shards, put together here.
 *
 * partial_agg(name, args...) runs the transition function of the aggregate and gives its state as
 * bytea; combine_agg(name, state, result type) combines such states and finishes. What PostgreSQL
 * does between its parallel workers, between nodes. The aggregate is named by text, for its OID
 * differs from node to node. plan/split.c writes the calls.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_agg.h"
#include "parser/parse_coerce.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

#include "agg/partial.h"
#include "compat.h"
#include "exec/internal.h"
#include "plan/remote.h"

PGDLLEXPORT PG_FUNCTION_INFO_V1(herd_partial_trans);
PGDLLEXPORT PG_FUNCTION_INFO_V1(herd_partial_final);
PGDLLEXPORT PG_FUNCTION_INFO_V1(herd_combine_trans);
PGDLLEXPORT PG_FUNCTION_INFO_V1(herd_combine_final);

enum { STATE_ARG, NAME_ARG, FIRST_ARG }; /* of the transition functions */

typedef struct Step {
	Oid oid;
	FmgrInfo fn;
} Step;

/* What the catalogs say of the aggregate; once per call site. */
typedef struct AggInfo {
	char *name;
	Oid result;
	int nargs;
	Oid args[FUNC_MAX_ARGS];
	bool final_extra;
	Step trans, combine, serial, deserial, final;
	Oid type; /* of the state */
	int16 len;
	bool byval;
	bool binary; /* the state travels by send and receive, else as text */
	FmgrInfo in, out;
	Oid ioparam;
	char *init; /* as text; NULL: none */
} AggInfo;

typedef struct AggValue {
	AggInfo *info; /* of the call site that made it: lives as long as the plan */
	Datum value;
	bool isnull;
	bool nothing_yet; /* a strict function takes the first input as it is */
} AggValue;

static void look_up(Step *step, Oid oid, MemoryContext memory)
{
	step->oid = oid;
	if (OidIsValid(oid))
		fmgr_info_cxt(oid, &step->fn, memory);
}

static void check_rights(Oid agg, Oid owner, const AggInfo *info)
{
	const Step *steps[] = { &info->trans, &info->combine, &info->serial, &info->deserial,
				&info->final };

	if (!herd_may_execute(agg, GetUserId()))
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_AGGREGATE, get_func_name(agg));
	/* as PostgreSQL has it: the functions are called with the rights of the aggregate's owner
	 */
	for (size_t i = 0; i < lengthof(steps); i++)
		if (OidIsValid(steps[i]->oid) && !herd_may_execute(steps[i]->oid, owner))
			aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_FUNCTION,
				       get_func_name(steps[i]->oid));
}

static void look_up_state_type(AggInfo *info, MemoryContext memory)
{
	Oid in, out;
	bool varlena;

	get_typlenbyval(info->type, &info->len, &info->byval);
	if (info->type == INTERNALOID)
		return;
	info->binary = herd_type_is_portable(info->type);
	if (info->binary) {
		getTypeBinaryInputInfo(info->type, &in, &info->ioparam);
		getTypeBinaryOutputInfo(info->type, &out, &varlena);
	} else {
		getTypeInputInfo(info->type, &in, &info->ioparam);
		getTypeOutputInfo(info->type, &out, &varlena);
	}
	fmgr_info_cxt(in, &info->in, memory);
	fmgr_info_cxt(out, &info->out, memory);
}

static AggInfo *read_aggregate(const char *name, MemoryContext memory)
{
	Oid oid = DatumGetObjectId(DirectFunctionCall1(regprocedurein, CStringGetDatum(name)));
	HeapTuple proctup = SearchSysCache1(PROCOID, ObjectIdGetDatum(oid));
	HeapTuple aggtup = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(oid));
	MemoryContext old = MemoryContextSwitchTo(memory);
	AggInfo *info = palloc0(sizeof(AggInfo));
	Form_pg_aggregate agg;
	Form_pg_proc proc;
	Datum init;
	bool isnull;

	if (!HeapTupleIsValid(proctup) || !HeapTupleIsValid(aggtup))
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
				errmsg("%s is not an aggregate function", name)));
	proc = (Form_pg_proc)GETSTRUCT(proctup);
	agg = (Form_pg_aggregate)GETSTRUCT(aggtup);
	info->name = pstrdup(name);
	info->result = proc->prorettype;
	info->nargs = proc->pronargs;
	memcpy(info->args, proc->proargtypes.values, info->nargs * sizeof(Oid));
	info->final_extra = agg->aggfinalextra;
	info->type = agg->aggtranstype;
	look_up(&info->trans, agg->aggtransfn, memory);
	look_up(&info->combine, agg->aggcombinefn, memory);
	look_up(&info->serial, agg->aggserialfn, memory);
	look_up(&info->deserial, agg->aggdeserialfn, memory);
	look_up(&info->final, agg->aggfinalfn, memory);
	look_up_state_type(info, memory);
	init = SysCacheGetAttr(AGGFNOID, aggtup, Anum_pg_aggregate_agginitval, &isnull);
	info->init = isnull ? NULL : TextDatumGetCString(init);
	if (agg->aggkind != AGGKIND_NORMAL || !OidIsValid(info->combine.oid) ||
	    !herd_agg_plain_signature(oid) ||
	    (info->type == INTERNALOID
		     ? !OidIsValid(info->serial.oid) || !OidIsValid(info->deserial.oid)
		     : get_typtype(info->type) == TYPTYPE_PSEUDO))
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("states of aggregate %s cannot be combined", name)));
	check_rights(oid, proc->proowner, info);
	ReleaseSysCache(aggtup);
	ReleaseSysCache(proctup);
	MemoryContextSwitchTo(old);
	return info;
}

/* What the name says now, when there is a state of what it said before, would read it wrongly. */
static void check_same(const AggValue *value, const AggInfo *info)
{
	if (value != NULL && value->info != info && strcmp(value->info->name, info->name) != 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("the name of the aggregate is not the same in all rows")));
}

static MemoryContext aggregate_memory(FunctionCallInfo fcinfo)
{
	MemoryContext memory;

	if (!AggCheckCallContext(fcinfo, &memory))
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("a part of an aggregate was called outside of it")));
	return memory;
}

static AggInfo *info_of_call(FunctionCallInfo fcinfo)
{
	char *name;
	AggInfo *info = fcinfo->flinfo->fn_extra;

	if (PG_ARGISNULL(NAME_ARG))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("the name of the aggregate is null")));
	/* a constant in our plans, but who calls it by hand may give any */
	name = text_to_cstring(PG_GETARG_TEXT_PP(NAME_ARG));
	if (info == NULL || strcmp(info->name, name) != 0)
		fcinfo->flinfo->fn_extra = info = read_aggregate(name, fcinfo->flinfo->fn_mcxt);
	pfree(name);
	return info;
}

/* The state before the first input. */
static AggValue *begin(AggInfo *info, MemoryContext memory)
{
	MemoryContext old = MemoryContextSwitchTo(memory);
	AggValue *value = palloc0(sizeof(AggValue));
	Oid in, param;

	value->info = info;
	value->isnull = info->init == NULL;
	value->nothing_yet = value->isnull;
	if (!value->isnull) {
		getTypeInputInfo(info->type, &in, &param);
		value->value = OidInputFunctionCall(in, info->init, param, -1);
	}
	MemoryContextSwitchTo(old);
	return value;
}

static void keep(AggValue *value, Datum result, bool isnull, MemoryContext memory)
{
	const AggInfo *info = value->info;
	Datum before = value->value;
	bool had = !value->isnull;

	if (!info->byval &&
	    (isnull || !had || DatumGetPointer(result) != DatumGetPointer(before))) {
		MemoryContext old = MemoryContextSwitchTo(memory);

		if (!isnull)
			result = datumCopy(result, info->byval, info->len);
		if (had)
			pfree(DatumGetPointer(before));
		MemoryContextSwitchTo(old);
	}
	value->value = result;
	value->isnull = isnull;
	value->nothing_yet = false;
}

/* One call of the transition or the combine function; inner has the inputs from 1 on. */
static void step(AggValue *value, Step *how, FunctionCallInfo inner, FunctionCallInfo outer,
		 MemoryContext memory)
{
	Datum result;

	if (how->fn.fn_strict) {
		for (int i = 1; i < inner->nargs; i++)
			if (inner->args[i].isnull)
				return;
		if (value->nothing_yet) {
			keep(value, inner->args[1].value, false, memory);
			return;
		}
		if (value->isnull)
			return;
	}
	inner->args[0].value = value->value;
	inner->args[0].isnull = value->isnull;
	inner->flinfo = &how->fn;
	inner->context = outer->context;
	inner->resultinfo = NULL;
	inner->fncollation = outer->fncollation;
	inner->isnull = false;
	result = FunctionCallInvoke(inner);
	keep(value, result, inner->isnull, memory);
}

Datum herd_partial_trans(PG_FUNCTION_ARGS)
{
	LOCAL_FCINFO(inner, FUNC_MAX_ARGS);
	MemoryContext memory = aggregate_memory(fcinfo);
	AggInfo *info = info_of_call(fcinfo);
	AggValue *value = PG_ARGISNULL(STATE_ARG) ? NULL : (AggValue *)PG_GETARG_POINTER(STATE_ARG);

	check_same(value, info);
	if (value == NULL) {
		bool same = PG_NARGS() - FIRST_ARG == info->nargs;

		for (int i = 0; same && i < info->nargs; i++)
			same = IsBinaryCoercible(get_fn_expr_argtype(fcinfo->flinfo, i + FIRST_ARG),
						 info->args[i]);
		if (!same)
			ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
					errmsg("the arguments are not those of aggregate %s",
					       info->name)));
		value = begin(info, memory);
	}
	for (int i = 0; i < info->nargs; i++)
		inner->args[i + 1] = fcinfo->args[i + FIRST_ARG];
	inner->nargs = info->nargs + 1;
	step(value, &info->trans, inner, fcinfo, memory);
	PG_RETURN_POINTER(value);
}

static Datum call1(Step *how, Datum arg, FunctionCallInfo outer)
{
	LOCAL_FCINFO(inner, 2);
	Datum result;

	InitFunctionCallInfoData(*inner, &how->fn, 1, outer->fncollation, outer->context, NULL);
	inner->args[0].value = arg;
	inner->args[0].isnull = false;
	/* the second one of a deserialization function is never looked at */
	inner->args[1].value = (Datum)0;
	inner->args[1].isnull = true;
	inner->nargs = how->fn.fn_nargs;
	result = FunctionCallInvoke(inner);
	if (inner->isnull)
		elog(ERROR, "function %u returned NULL", how->oid);
	return result;
}

Datum herd_partial_final(PG_FUNCTION_ARGS)
{
	AggValue *value = PG_ARGISNULL(0) ? NULL : (AggValue *)PG_GETARG_POINTER(0);
	AggInfo *info;

	(void)aggregate_memory(fcinfo);
	if (value == NULL || value->isnull)
		PG_RETURN_NULL();
	info = value->info;
	if (info->type == INTERNALOID)
		PG_RETURN_DATUM(call1(&info->serial, value->value, fcinfo));
	if (info->binary)
		PG_RETURN_BYTEA_P(SendFunctionCall(&info->out, value->value));
	PG_RETURN_BYTEA_P(DatumGetByteaPP(
		PointerGetDatum(cstring_to_text(OutputFunctionCall(&info->out, value->value)))));
}

static Datum read_state(AggInfo *info, bytea *bytes, FunctionCallInfo fcinfo)
{
	StringInfoData buf;
	Datum result;

	if (info->type == INTERNALOID)
		return call1(&info->deserial, PointerGetDatum(bytes), fcinfo);
	if (!info->binary)
		return InputFunctionCall(&info->in, text_to_cstring((text *)bytes), info->ioparam,
					 -1);
	initStringInfo(&buf);
	appendBinaryStringInfo(&buf, VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes));
	result = ReceiveFunctionCall(&info->in, &buf, info->ioparam, -1);
	if (buf.cursor != buf.len)
		ereport(ERROR, (errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				errmsg("state of aggregate %s has a wrong length", info->name)));
	return result;
}

/*
 * A state is taken for what it says: deserialization functions may trust it, for PostgreSQL gives
 * them only what a serialization function made. So must we: rows must come from shards.
 */
static void check_caller(FunctionCallInfo fcinfo)
{
	PlanState *plan = outerPlanState((AggState *)fcinfo->context);

	if (superuser())
		return;
	while (plan != NULL && !herd_is_remote_scan(plan))
		plan = IsA(plan, SubqueryScanState) ? ((SubqueryScanState *)plan)->subplan
						    : outerPlanState(plan);
	if (plan == NULL)
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				errmsg("citus_internal.combine_agg can only be called by plans of "
				       "distributed queries")));
}

Datum herd_combine_trans(PG_FUNCTION_ARGS)
{
	LOCAL_FCINFO(inner, 2);
	MemoryContext memory = aggregate_memory(fcinfo);
	AggInfo *info = info_of_call(fcinfo);
	AggValue *value = PG_ARGISNULL(STATE_ARG) ? NULL : (AggValue *)PG_GETARG_POINTER(STATE_ARG);

	check_same(value, info);
	if (value == NULL) {
		if (!IsA(fcinfo->context, AggState))
			ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					errmsg("citus_internal.combine_agg is not a window "
					       "function")));
		check_caller(fcinfo);
		if (get_fn_expr_argtype(fcinfo->flinfo, FIRST_ARG + 1) != info->result)
			ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("aggregate %s has another result type", info->name)));
		value = begin(info, memory);
	}
	/* a node without rows, or with nulls only, adds nothing */
	if (!PG_ARGISNULL(FIRST_ARG)) {
		inner->args[1].value = read_state(info, PG_GETARG_BYTEA_PP(FIRST_ARG), fcinfo);
		inner->args[1].isnull = false;
		inner->nargs = 2;
		step(value, &info->combine, inner, fcinfo, memory);
	}
	PG_RETURN_POINTER(value);
}

/* Also when there was no state at all: then the aggregate of no rows. */
static AggValue *final_value(FunctionCallInfo fcinfo, MemoryContext memory)
{
	Aggref *call = AggGetAggref(fcinfo);
	TargetEntry *name;

	if (!PG_ARGISNULL(STATE_ARG))
		return (AggValue *)PG_GETARG_POINTER(STATE_ARG);
	name = call ? linitial_node(TargetEntry, call->args) : NULL;
	if (name == NULL || !IsA(name->expr, Const) || ((Const *)name->expr)->constisnull)
		return NULL;
	return begin(read_aggregate(TextDatumGetCString(((Const *)name->expr)->constvalue),
				    fcinfo->flinfo->fn_mcxt),
		     memory);
}

Datum herd_combine_final(PG_FUNCTION_ARGS)
{
	LOCAL_FCINFO(inner, FUNC_MAX_ARGS);
	MemoryContext memory = aggregate_memory(fcinfo);
	AggValue *value = final_value(fcinfo, memory);
	AggInfo *info;
	Datum result;

	if (value == NULL)
		PG_RETURN_NULL();
	info = value->info;
	if (get_fn_expr_rettype(fcinfo->flinfo) != info->result)
		ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
				errmsg("aggregate %s has another result type", info->name)));
	if (!OidIsValid(info->final.oid)) {
		if (value->isnull)
			PG_RETURN_NULL();
		PG_RETURN_DATUM(value->value);
	}
	if (info->final.fn.fn_strict && (value->isnull || info->final_extra))
		PG_RETURN_NULL();
	InitFunctionCallInfoData(*inner, &info->final.fn, info->final_extra ? info->nargs + 1 : 1,
				 fcinfo->fncollation, fcinfo->context, NULL);
	inner->args[0].value = value->value;
	inner->args[0].isnull = value->isnull;
	for (int i = 1; i < inner->nargs; i++) {
		inner->args[i].value = (Datum)0;
		inner->args[i].isnull = true;
	}
	result = FunctionCallInvoke(inner);
	if (inner->isnull)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(result);
}
