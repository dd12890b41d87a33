#include "attach/captured_row.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

struct HerdRowReader {
	Relation rel;
	FmgrInfo *inputs;
	Oid *params;
	int32 *typmods;
	MemoryContext memory;
};

void herd_message_malformed(void)
{
	ereport(ERROR, (errcode(ERRCODE_PROTOCOL_VIOLATION),
			errmsg("rows of a trigger came from a shard in a form that is not known")));
}

uint64 herd_message_number(const char **p, char end)
{
	char *after;
	uint64 number = strtou64(*p, &after, 10);

	if (after == *p || *after != end)
		herd_message_malformed();
	*p = after + 1;
	return number;
}

char *herd_message_text(const char **p)
{
	uint64 length;
	char *result;

	if (**p == '-' && (*p)[1] == ':') {
		*p += 2;
		return NULL;
	}
	length = herd_message_number(p, ':');
	if (strnlen(*p, length) < length)
		herd_message_malformed();
	result = pnstrdup(*p, length);
	*p += length;
	return result;
}

HerdRowReader *herd_row_reader(Relation rel)
{
	HerdRowReader *reader = palloc0(sizeof(HerdRowReader));

	reader->rel = rel;
	reader->memory = CurrentMemoryContext;
	return reader;
}

static void look_up_inputs(HerdRowReader *reader)
{
	TupleDesc desc = RelationGetDescr(reader->rel);

	reader->inputs = MemoryContextAllocZero(reader->memory, desc->natts * sizeof(FmgrInfo));
	reader->params = MemoryContextAllocZero(reader->memory, desc->natts * sizeof(Oid));
	reader->typmods = MemoryContextAllocZero(reader->memory, desc->natts * sizeof(int32));
	for (int i = 0; i < desc->natts; i++) {
		Form_pg_attribute att = TupleDescAttr(desc, i);
		int32 typmod = att->atttypmod;
		Oid input;

		if (att->attisdropped)
			continue;
		/* a domain's conditions were met on the shard */
		getTypeInputInfo(getBaseTypeAndTypmod(att->atttypid, &typmod), &input,
				 &reader->params[i]);
		fmgr_info_cxt(input, &reader->inputs[i], reader->memory);
		reader->typmods[i] = typmod;
	}
}

HeapTuple herd_row_read(HerdRowReader *reader, const char **p)
{
	TupleDesc desc = RelationGetDescr(reader->rel);
	Datum *values = palloc0(desc->natts * sizeof(Datum));
	bool *isnull = palloc0(desc->natts * sizeof(bool));
	HeapTuple tuple;

	if (reader->inputs == NULL)
		look_up_inputs(reader);
	for (int i = 0; i < desc->natts; i++) {
		char *shown = NULL;

		if (!TupleDescAttr(desc, i)->attisdropped)
			shown = herd_message_text(p);
		isnull[i] = shown == NULL;
		if (shown != NULL)
			values[i] = InputFunctionCall(&reader->inputs[i], shown, reader->params[i],
						      reader->typmods[i]);
	}
	tuple = heap_form_tuple(desc, values, isnull);
	tuple->t_tableOid = RelationGetRelid(reader->rel);
	return tuple;
}
