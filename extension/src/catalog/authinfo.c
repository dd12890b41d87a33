#include "catalog/metadata.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

enum { AUTH_NODE = 1, AUTH_ROLE, AUTH_INFO };
enum { POOL_NODE = 1, POOL_INFO };

/* Read below SQL: the row is for connecting on the role's behalf, not for the role to see. */
char *herd_node_authinfo(int32 nodeid, const char *rolename)
{
	Oid oid = get_relname_relid("pg_dist_authinfo", PG_CATALOG_NAMESPACE);
	int best = -1;
	char *authinfo = pstrdup("");
	NameData name;
	Relation rel;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;
	bool isnull;

	if (!OidIsValid(oid))
		return authinfo;
	namestrcpy(&name, rolename);
	rel = table_open(oid, AccessShareLock);
	ScanKeyInit(&key, AUTH_ROLE, BTEqualStrategyNumber, F_NAMEEQ, NameGetDatum(&name));
	scan = systable_beginscan(rel,
				  get_relname_relid("pg_dist_authinfo_pkey", PG_CATALOG_NAMESPACE),
				  true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan))) {
		TupleDesc desc = RelationGetDescr(rel);
		int32 row = DatumGetInt32(heap_getattr(tuple, AUTH_NODE, desc, &isnull));

		if (row != nodeid && (row != 0 || best == nodeid))
			continue;
		best = row;
		authinfo = TextDatumGetCString(heap_getattr(tuple, AUTH_INFO, desc, &isnull));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return authinfo;
}

char *herd_node_poolinfo(int32 nodeid)
{
	Oid oid = get_relname_relid("pg_dist_poolinfo", PG_CATALOG_NAMESPACE);
	char *poolinfo = pstrdup("");
	Relation rel;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;
	bool isnull;

	if (!OidIsValid(oid))
		return poolinfo;
	rel = table_open(oid, AccessShareLock);
	ScanKeyInit(&key, POOL_NODE, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(nodeid));
	scan = systable_beginscan(rel,
				  get_relname_relid("pg_dist_poolinfo_pkey", PG_CATALOG_NAMESPACE),
				  true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		poolinfo = TextDatumGetCString(
			heap_getattr(tuple, POOL_INFO, RelationGetDescr(rel), &isnull));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return poolinfo;
}
