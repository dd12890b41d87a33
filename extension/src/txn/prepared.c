#include "txn/prepared.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/metadata.h"
#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "txn/decide.h"
#include "txn/internal.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/xid8.h"

/* Columns of pg_dist_transaction. */
enum { TXN_GROUPID = 1, TXN_GID, TXN_OUTER_XID };

typedef struct Part {
	int32 groupid;
	char *gid;
} Part;

static bool is_commit(const Node *stmt)
{
	return ((const TransactionStmt *)stmt)->kind == TRANS_STMT_COMMIT_PREPARED;
}

/* A user's: parts of a commit over several nodes end so, too, and have none themselves. */
static bool ends_prepared(const Node *stmt)
{
	HerdGid parsed;

	return IsA(stmt, TransactionStmt) &&
	       (is_commit(stmt) ||
		((const TransactionStmt *)stmt)->kind == TRANS_STMT_ROLLBACK_PREPARED) &&
	       !herd_gid_parse(((const TransactionStmt *)stmt)->gid, &parsed);
}

/* Of the prepared transaction of this database, or InvalidTransactionId. */
static TransactionId xid_of(const char *gid)
{
	Oid types[1] = { TEXTOID };
	Datum values[1] = { CStringGetTextDatum(gid) };
	TransactionId xid = InvalidTransactionId;
	bool isnull;

	SPI_connect();
	if (SPI_execute_with_args("SELECT transaction FROM pg_catalog.pg_prepared_xacts WHERE gid "
				  "OPERATOR(pg_catalog.=) $1 AND database OPERATOR(pg_catalog.=) "
				  "pg_catalog.current_database()",
				  1, types, values, NULL, true, 1) == SPI_OK_SELECT &&
	    SPI_processed == 1)
		xid = DatumGetTransactionId(
			SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	return xid;
}

static Part *part_of(HeapTuple tuple, TupleDesc desc)
{
	Part *part = palloc(sizeof(Part));
	bool isnull;

	part->groupid = DatumGetInt32(heap_getattr(tuple, TXN_GROUPID, desc, &isnull));
	part->gid = TextDatumGetCString(heap_getattr(tuple, TXN_GID, desc, &isnull));
	return part;
}

/* 0 in a database without the extension. */
static Oid transactions(void)
{
	return get_relname_relid("pg_dist_transaction", PG_CATALOG_NAMESPACE);
}

/* Rows that a transaction has written which has not ended. */
static List *parts_of(TransactionId xid)
{
	List *parts = NIL;
	SnapshotData dirty;
	SysScanDesc scan;
	HeapTuple tuple;
	Relation rel;

	rel = table_open(transactions(), AccessShareLock);
	InitDirtySnapshot(dirty);
	scan = systable_beginscan(rel, InvalidOid, false, &dirty, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		if (TransactionIdEquals(HeapTupleHeaderGetXmin(tuple->t_data), xid))
			parts = lappend(parts, part_of(tuple, RelationGetDescr(rel)));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return parts;
}

List *herd_prepared_parts(const Node *stmt)
{
	TransactionId xid;

	/* in a block it is refused */
	if (!ends_prepared(stmt) || !IsTransactionState() || IsTransactionBlock() ||
	    !OidIsValid(transactions()))
		return NIL;
	PushActiveSnapshot(GetTransactionSnapshot());
	xid = xid_of(((const TransactionStmt *)stmt)->gid);
	PopActiveSnapshot();
	return TransactionIdIsValid(xid) ? parts_of(xid) : NIL;
}

void herd_prepared_finish(const Node *stmt, List *parts)
{
	const ListCell *lc;

	/* it is decided: "canceled" would be a lie */
	HOLD_CANCEL_INTERRUPTS();
	foreach (lc, parts) {
		const Part *part = lfirst(lc);
		const HerdNode *node = herd_node_primary(part->groupid);

		if (node == NULL || !herd_recover_resolve(node, part->gid, is_commit(stmt)))
			ereport(WARNING,
				(errmsg("could not finish prepared transaction \"%s\" of group %d",
					part->gid, part->groupid),
				 errdetail("It will be finished by recovery.")));
	}
	RESUME_CANCEL_INTERRUPTS();
}
