#include "postgres.h"

#include "utils/lsyscache.h"

#include "exec/internal.h"
#include "move/columns.h"

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
		c->binary = herd_type_is_portable(type);
		if (write && c->binary)
			getTypeBinaryOutputInfo(type, &fn, &varlena);
		else if (write)
			getTypeOutputInfo(type, &fn, &varlena);
		else if (c->binary)
			getTypeBinaryInputInfo(type, &fn, &c->ioparam);
		else
			getTypeInputInfo(type, &fn, &c->ioparam);
		fmgr_info(fn, &c->fn);
	}
	return columns;
}
