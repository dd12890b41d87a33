#include "move/columns.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "port/pg_bswap.h"
#include "utils/date.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "exec/internal.h"

static HerdColumnKind kind_of(Oid type)
{
	switch (type) {
	case BOOLOID:
		return HERD_COLUMN_1;
	case INT2OID:
		return HERD_COLUMN_2;
	case INT4OID:
	case DATEOID:
	case FLOAT4OID:
		return HERD_COLUMN_4;
	case INT8OID:
	case FLOAT8OID:
	case TIMESTAMPOID:
	case TIMESTAMPTZOID:
		return FLOAT8PASSBYVAL ? HERD_COLUMN_8 : HERD_COLUMN_CALL;
	case BYTEAOID:
	case TEXTOID:
	case VARCHAROID:
	case BPCHAROID:
		return HERD_COLUMN_BYTES;
	default:
		return herd_type_is_portable(type) ? HERD_COLUMN_CALL : HERD_COLUMN_TEXT;
	}
}

HerdColumn *herd_columns_of(TupleDesc desc, bool write)
{
	HerdColumn *columns = palloc0(Max(desc->natts, 1) * sizeof(HerdColumn));

	for (int i = 0; i < desc->natts; i++) {
		HerdColumn *c = &columns[i];
		Oid type;
		Oid fn;
		bool varlena;

		c->typmod = TupleDescAttr(desc, i)->atttypmod;
		type = getBaseTypeAndTypmod(TupleDescAttr(desc, i)->atttypid, &c->typmod);
		c->kind = kind_of(type);
		c->type = type;
		if (write && c->kind != HERD_COLUMN_TEXT)
			getTypeBinaryOutputInfo(type, &fn, &varlena);
		else if (write)
			getTypeOutputInfo(type, &fn, &varlena);
		else if (c->kind != HERD_COLUMN_TEXT)
			getTypeBinaryInputInfo(type, &fn, &c->ioparam);
		else
			getTypeInputInfo(type, &fn, &c->ioparam);
		fmgr_info(fn, &c->fn);
	}
	return columns;
}

/*
 * Send and receive functions convert from and to the encoding of the client. Rows are in that of
 * the database, also where a client with another one is served by the same process.
 */
static void call_function(void (*work)(void *arg), void *arg)
{
	if (pg_get_client_encoding() == GetDatabaseEncoding())
		work(arg);
	else
		herd_in_server_encoding(work, arg);
}

/* -- writing ----------------------------------------------------------------------------------- */

static void put_bytes(StringInfo out, const char *bytes, uint32 n)
{
	enlargeStringInfo(out, sizeof(n) + n);
	memcpy(out->data + out->len, &n, sizeof(n));
	memcpy(out->data + out->len + sizeof(n), bytes, n);
	out->len += sizeof(n) + n;
}

typedef struct Sent {
	HerdColumn *column;
	Datum value;
	bytea *bytes;
} Sent;

static void send_value(void *arg)
{
	Sent *sent = arg;

	sent->bytes = SendFunctionCall(&sent->column->fn, sent->value);
}

static void put_called(StringInfo out, HerdColumn *c, Datum value)
{
	if (c->kind == HERD_COLUMN_TEXT) {
		char *string = OutputFunctionCall(&c->fn, value);

		put_bytes(out, string, strlen(string));
	} else {
		Sent sent = { .column = c, .value = value };

		call_function(send_value, &sent);
		put_bytes(out, VARDATA(sent.bytes), VARSIZE(sent.bytes) - VARHDRSZ);
	}
}

static void put_value(StringInfo out, HerdColumn *c, Datum value)
{
	switch (c->kind) {
	case HERD_COLUMN_1: {
		char byte = DatumGetBool(value) ? 1 : 0;

		put_bytes(out, &byte, 1);
		break;
	}
	case HERD_COLUMN_2: {
		uint16 net = pg_hton16((uint16)value);

		put_bytes(out, (char *)&net, sizeof(net));
		break;
	}
	case HERD_COLUMN_4: {
		uint32 net = pg_hton32((uint32)value);

		put_bytes(out, (char *)&net, sizeof(net));
		break;
	}
	case HERD_COLUMN_8: {
		uint64 net = pg_hton64((uint64)value);

		put_bytes(out, (char *)&net, sizeof(net));
		break;
	}
	case HERD_COLUMN_BYTES: {
		struct varlena *bytes = PG_DETOAST_DATUM_PACKED(value);

		put_bytes(out, VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes));
		break;
	}
	default:
		put_called(out, c, value);
	}
}

void herd_row_put(StringInfo out, HerdColumn *columns, int natts, const Datum *values,
		  const bool *isnull)
{
	int bitmap = (natts + 7) / 8;
	int nulls = out->len;

	enlargeStringInfo(out, bitmap);
	memset(out->data + nulls, 0, bitmap);
	out->len += bitmap;
	for (int i = 0; i < natts; i++) {
		if (isnull[i])
			out->data[nulls + i / 8] |= 1 << (i % 8);
		else
			put_value(out, &columns[i], values[i]);
	}
}

/* -- reading ----------------------------------------------------------------------------------- */

static void cut_off(void)
{
	elog(ERROR, "a row of an intermediate result is cut off");
}

typedef struct Received {
	HerdColumn *column;
	StringInfoData field;
	Datum value;
} Received;

static void receive_value(void *arg)
{
	Received *r = arg;

	r->value = ReceiveFunctionCall(&r->column->fn, &r->field, r->column->ioparam,
				       r->column->typmod);
}

static Datum get_called(HerdColumn *c, char *p, uint32 n)
{
	char next = p[n];
	Datum value;

	/* receive functions may want a zero byte behind the value, input functions do */
	p[n] = '\0';
	if (c->kind == HERD_COLUMN_TEXT) {
		pg_verifymbstr(p, (int)n, false);
		value = InputFunctionCall(&c->fn, p, c->ioparam, c->typmod);
	} else {
		Received r = { .column = c,
			       .field = { .data = p, .len = (int)n, .maxlen = (int)n + 1 } };

		call_function(receive_value, &r);
		value = r.value;
	}
	p[n] = next;
	return value;
}

static void expect(uint32 n, uint32 wanted)
{
	if (n != wanted)
		elog(ERROR, "a value of an intermediate result has %u bytes, not %u", n, wanted);
}

/* Whether bytes of these types are a value at once; else the function says what they are, or
 * raises. */
static bool is_plain_string(const HerdColumn *c, const char *p, uint32 n)
{
	if (c->type == BYTEAOID)
		return true;
	if (c->typmod >= (int32)VARHDRSZ && c->type == VARCHAROID && n > c->typmod - VARHDRSZ)
		return false;
	if (c->typmod >= (int32)VARHDRSZ && c->type == BPCHAROID && n != c->typmod - VARHDRSZ)
		return false;
	return pg_verifymbstr(p, (int)n, true);
}

static bool is_in_range(Oid type, int64 value)
{
	if (type == DATEOID)
		return IS_VALID_DATE((DateADT)value);
	if (type == TIMESTAMPOID || type == TIMESTAMPTZOID)
		return IS_VALID_TIMESTAMP(value);
	return true;
}

static Datum get_string(HerdColumn *c, char *p, uint32 n)
{
	struct varlena *bytes;

	if (!is_plain_string(c, p, n))
		return get_called(c, p, n);
	bytes = palloc(VARHDRSZ + n);
	SET_VARSIZE(bytes, VARHDRSZ + n);
	memcpy(VARDATA(bytes), p, n);
	return PointerGetDatum(bytes);
}

/* Any user can store a block: what is not a value of the type must not become one. */
static Datum get_value(HerdColumn *c, char *p, uint32 n)
{
	switch (c->kind) {
	case HERD_COLUMN_1:
		expect(n, 1);
		return BoolGetDatum(*p != 0);
	case HERD_COLUMN_2: {
		uint16 net;

		expect(n, sizeof(net));
		memcpy(&net, p, sizeof(net));
		return Int16GetDatum((int16)pg_ntoh16(net));
	}
	case HERD_COLUMN_4: {
		uint32 net;

		expect(n, sizeof(net));
		memcpy(&net, p, sizeof(net));
		if (!is_in_range(c->type, (int32)pg_ntoh32(net)))
			return get_called(c, p, n);
		return Int32GetDatum((int32)pg_ntoh32(net));
	}
	case HERD_COLUMN_8: {
		uint64 net;

		expect(n, sizeof(net));
		memcpy(&net, p, sizeof(net));
		if (!is_in_range(c->type, (int64)pg_ntoh64(net)))
			return get_called(c, p, n);
		return Int64GetDatum((int64)pg_ntoh64(net));
	}
	case HERD_COLUMN_BYTES:
		return get_string(c, p, n);
	default:
		return get_called(c, p, n);
	}
}

char *herd_row_get(char *p, char *end, HerdColumn *columns, int natts, Datum *values, bool *isnull)
{
	const char *bits = p;
	int bitmap = (natts + 7) / 8;

	if (end - p < bitmap)
		cut_off();
	p += bitmap;
	for (int i = 0; i < natts; i++) {
		uint32 n;

		isnull[i] = bits[i / 8] & (1 << (i % 8));
		values[i] = (Datum)0;
		if (isnull[i])
			continue;
		if (end - p < (ptrdiff_t)sizeof(n))
			cut_off();
		memcpy(&n, p, sizeof(n));
		p += sizeof(n);
		if (n > (size_t)(end - p))
			cut_off();
		values[i] = get_value(&columns[i], p, n);
		p += n;
	}
	return p;
}
