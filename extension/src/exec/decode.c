#include "exec/internal.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "conn/options.h"
#include "conn/session.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "move/columns.h"
#include "move/pack.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

typedef struct DecodeColumn {
	Oid type; /* under a domain */
	Oid ioparam;
	int32 typmod;
	bool dropped;
	FmgrInfo in;
} DecodeColumn;

struct HerdDecoder {
	bool binary;
	bool checked; /* the types that came agree with the types that were expected */
	int natts;
	TupleDesc tupdesc;
	/* of rows in blocks */
	HerdColumn *packed; /* NULL: rows come one by one */
	Oid *types;
	char *at, *end;
	uint32 left; /* rows of the block that have not been read */
	DecodeColumn columns[FLEXIBLE_ARRAY_MEMBER];
};

/* reg* types travel as object ids, which differ between nodes; as text they are names. */
static bool is_object_reference(Oid type)
{
	switch (type) {
	case REGPROCOID:
	case REGPROCEDUREOID:
	case REGOPEROID:
	case REGOPERATOROID:
	case REGCLASSOID:
	case REGTYPEOID:
	case REGROLEOID:
	case REGNAMESPACEOID:
	case REGCONFIGOID:
	case REGDICTIONARYOID:
	case REGCOLLATIONOID:
		return true;
	default:
		return false;
	}
}

bool herd_type_is_portable(Oid type)
{
	HeapTuple tuple;
	Form_pg_type form;
	bool portable;
	Oid element;

	/* Ids above are given out by each node for itself. */
	if (type >= FirstNormalObjectId || is_object_reference(type))
		return false;
	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
	if (!HeapTupleIsValid(tuple))
		return false;
	form = (Form_pg_type)GETSTRUCT(tuple);
	portable = OidIsValid(form->typsend) && OidIsValid(form->typreceive) &&
		   form->typtype != TYPTYPE_PSEUDO && form->typtype != TYPTYPE_COMPOSITE;
	element = form->typelem;
	ReleaseSysCache(tuple);
	return portable && (!OidIsValid(element) || herd_type_is_portable(element));
}

/* What the type of every value is asked for. */
typedef struct TypeFacts {
	Oid type;
	bool simple; /* no domain */
	bool portable;
	Oid send, receive, ioparam; /* if portable */
} TypeFacts;

static void read_facts(Oid type, TypeFacts *facts)
{
	bool varlena;

	*facts = (TypeFacts){ .simple = getBaseType(type) == type,
			      .portable = herd_type_is_portable(type) };
	if (facts->portable) {
		getTypeBinaryOutputInfo(type, &facts->send, &varlena);
		getTypeBinaryInputInfo(type, &facts->receive, &facts->ioparam);
	}
	facts->type = type;
}

/* Valid until the next call. Those of PostgreSQL's own types are kept, as they do not change. */
static const TypeFacts *facts_of(Oid type)
{
	static TypeFacts kept[64], other;
	TypeFacts *facts = type < FirstNormalObjectId ? &kept[type % lengthof(kept)] : &other;

	if (facts == &other || facts->type != type)
		read_facts(type, facts);
	return facts;
}

static void set_client_encoding(int encoding)
{
	if (SetClientEncoding(encoding) < 0)
		elog(ERROR, "could not use the encoding %s", pg_encoding_to_char(encoding));
}

void herd_in_server_encoding(void (*work)(void *arg), void *arg)
{
	int client = pg_get_client_encoding();

	if (client == GetDatabaseEncoding()) {
		work(arg);
		return;
	}
	PG_TRY();
	{
		set_client_encoding(GetDatabaseEncoding());
		work(arg);
	}
	PG_FINALLY();
	{
		set_client_encoding(client);
	}
	PG_END_TRY();
}

HerdDecoder *herd_decoder_new(TupleDesc tupdesc)
{
	HerdDecoder *d =
		palloc0(offsetof(HerdDecoder, columns) + tupdesc->natts * sizeof(DecodeColumn));

	d->natts = tupdesc->natts;
	d->tupdesc = tupdesc;
	d->binary = herd_binary_protocol;
	for (int i = 0; i < d->natts; i++) {
		Form_pg_attribute att = TupleDescAttr(tupdesc, i);
		DecodeColumn *column = &d->columns[i];

		column->dropped = att->attisdropped;
		if (column->dropped)
			continue;
		column->typmod = att->atttypmod;
		column->type = att->atttypid;
		if (!facts_of(column->type)->simple)
			column->type = getBaseTypeAndTypmod(att->atttypid, &column->typmod);
		d->binary = d->binary && facts_of(column->type)->portable;
	}
	for (int i = 0; i < d->natts; i++) {
		DecodeColumn *column = &d->columns[i];
		Oid function;

		if (column->dropped)
			continue;
		if (d->binary) {
			const TypeFacts *facts = facts_of(column->type);

			function = facts->receive;
			column->ioparam = facts->ioparam;
		} else {
			getTypeInputInfo(column->type, &function, &column->ioparam);
		}
		fmgr_info(function, &column->in);
	}
	return d;
}

bool herd_decoder_pack(HerdDecoder *d)
{
	if (!d->binary || d->natts == 0)
		return false;
	d->types = palloc(d->natts * sizeof(Oid));
	for (int i = 0; i < d->natts; i++) {
		if (d->columns[i].dropped)
			return false;
		d->types[i] = d->columns[i].type;
	}
	d->packed = herd_columns_of(d->tupdesc, false);
	return true;
}

static uint32 open_block(HerdDecoder *d, const PGresult *res, int row)
{
	char *p = PQgetvalue(res, row, 0);

	if (PQnfields(res) != 1 || PQftype(res, 0) != BYTEAOID)
		elog(ERROR, "a node returned something else than a block of rows");
	d->end = p + PQgetlength(res, row, 0);
	d->at = herd_pack_open(p, d->end, d->natts, d->types, &d->left);
	return d->left;
}

bool herd_decoder_has_row(HerdDecoder *d, const PGresult *res, int *row)
{
	if (d->packed == NULL)
		return *row < PQntuples(res);
	while (d->left == 0) {
		if (*row == PQntuples(res))
			return false;
		(void)open_block(d, res, (*row)++);
	}
	return true;
}

int64 herd_decoder_count(const HerdDecoder *d, const PGresult *res)
{
	int64 count = 0;

	if (d == NULL || d->packed == NULL)
		return PQntuples(res);
	for (int i = 0; i < PQntuples(res); i++) {
		uint32 rows;

		(void)herd_pack_open(PQgetvalue(res, i, 0),
				     PQgetvalue(res, i, 0) + PQgetlength(res, i, 0), d->natts,
				     d->types, &rows);
		count += rows;
	}
	return count;
}

bool herd_decoder_binary(const HerdDecoder *d)
{
	return d->binary;
}

static void check_types(HerdDecoder *d, const PGresult *res)
{
	if (PQnfields(res) != d->natts)
		ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
				errmsg("a node returned %d columns where %d were expected",
				       PQnfields(res), d->natts)));
	for (int i = 0; d->binary && i < d->natts; i++) {
		const DecodeColumn *column = &d->columns[i];

		if (!column->dropped && PQftype(res, i) != column->type)
			ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
					errmsg("a node returned type %s in column %d where %s was "
					       "expected",
					       format_type_be(PQftype(res, i)), i + 1,
					       format_type_be(column->type))));
	}
	d->checked = true;
}

static void unpack_row(HerdDecoder *d, Datum *values, bool *isnull)
{
	d->at = herd_row_get(d->at, d->end, d->packed, d->natts, values, isnull);
	d->left--;
}

void herd_decoder_row(HerdDecoder *d, const PGresult *res, int *at, Datum *values, bool *isnull)
{
	int row;

	if (d->packed != NULL) {
		unpack_row(d, values, isnull);
		return;
	}
	row = (*at)++;
	if (!d->checked)
		check_types(d, res);
	for (int i = 0; i < d->natts; i++) {
		DecodeColumn *column = &d->columns[i];
		char *value;

		isnull[i] = column->dropped || PQgetisnull(res, row, i);
		values[i] = (Datum)0;
		if (isnull[i])
			continue;
		value = PQgetvalue(res, row, i);
		if (d->binary) {
			StringInfoData buf;

			/* libpq ends every value with a zero byte, as receive functions require. */
			buf.data = value;
			buf.len = buf.maxlen = PQgetlength(res, row, i);
			buf.cursor = 0;
			values[i] = ReceiveFunctionCall(&column->in, &buf, column->ioparam,
							column->typmod);
			if (buf.cursor != buf.len)
				ereport(ERROR, (errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
						errmsg("incorrect binary data format in column %d",
						       i + 1)));
		} else {
			values[i] = InputFunctionCall(&column->in, value, column->ioparam,
						      column->typmod);
		}
	}
}

static void encode_param(HerdParams *p, int i, const ParamExternData *param)
{
	const TypeFacts *facts;
	Oid base;

	if (!OidIsValid(param->ptype)) {
		p->values[i] = NULL; /* the text does not refer to it */
		return;
	}
	facts = facts_of(param->ptype);
	if (!facts->simple)
		facts = facts_of(getBaseType(param->ptype));
	base = facts->type;
	/* Of a type that only we know by this id, the node finds its own from the statement. */
	p->types[i] = base < FirstNormalObjectId ? base : InvalidOid;
	if (param->isnull) {
		p->values[i] = NULL;
	} else if (facts->portable) {
		bytea *bytes = OidSendFunctionCall(facts->send, param->value);

		p->values[i] = VARDATA(bytes);
		p->lengths[i] = VARSIZE(bytes) - VARHDRSZ;
		p->formats[i] = 1;
	} else {
		Oid function;
		bool varlena;

		getTypeOutputInfo(base, &function, &varlena);
		p->values[i] = OidOutputFunctionCall(function, param->value);
	}
}

HerdParams *herd_encode_params(ParamListInfo params)
{
	HerdParams *p;
	int n = params ? params->numParams : 0;

	if (n == 0)
		return NULL;
	p = palloc0(sizeof(*p));
	p->n = n;
	p->types = palloc0(n * sizeof(*p->types));
	p->values = palloc0(n * sizeof(*p->values));
	p->lengths = palloc0(n * sizeof(*p->lengths));
	p->formats = palloc0(n * sizeof(*p->formats));
	for (int i = 0; i < n; i++) {
		ParamExternData workspace;
		ParamExternData *param =
			params->paramFetch ? params->paramFetch(params, i + 1, false, &workspace)
					   : &params->params[i];

		encode_param(p, i, param);
	}
	return p;
}
