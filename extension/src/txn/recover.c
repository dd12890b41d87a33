/*
 * Recovery of prepared transactions that this node started.
 *
 * Let T be a transaction of this node with gid g on node N, P(T) the moment it was prepared there,
 * C(T) its local commit, which makes its row (N, g) visible. P(T) is before C(T), and COMMIT
 * PREPARED comes after C(T). T holds an exclusive lock on its number from before P(T) to its end.
 *
 * 1. The rows are read first, then the prepared transactions of N. A row whose g is not in the
 *    later list was prepared before the list was made and is not prepared any more: it is done,
 *    and its row can go.
 * 2. For a g in the list the lock on its number is asked for without waiting. Not getting it means
 *    that T goes on: it is left alone. Getting it means that T has ended (it held the lock before g
 *    could appear in any list), so its row, looked up now, is there for good or never will be:
 *    COMMIT PREPARED if it is there, else ROLLBACK PREPARED.
 *
 * After a failover the new primary has the rows that were committed, by replication, and no
 * backends of its predecessor: their locks are free, process ids that happen to be used again only
 * make the lock's key meaningless, not the argument, as numbers are made of the clock and never
 * come back. A predecessor that still runs cut off cannot commit T if its standbys have to confirm.
 *
 * T may be prepared itself (txn/prepared.h): its lock goes on then, to COMMIT or ROLLBACK PREPARED.
 *
 * Recoveries of one node exclude each other by a lock on pg_dist_transaction.
 *
 * If another node decides about T (txn/decide.h), then C(T) is its commit there and the row is in
 * its pg_dist_transaction. Argument 1 holds there as it stands: each node forgets the rows that it
 * has. In 2, T may have ended here while its COMMIT is still on the way to the decider, so the row
 * is not only looked up: if it is not there, a refusal takes its place, which keeps it from ever
 * appearing.
 */
#include "txn/txn.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/metadata.h"
#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "conn/conn.h"
#include "conn/session.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "txn/decide.h"
#include "txn/internal.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/xid8.h"

/* Columns of pg_dist_transaction. */
enum { TXN_GROUPID = 1, TXN_GID, TXN_OUTER_XID };

/* Fourth field of the advisory lock tag; 1 and 2 are the users', 21 and 22 catalog/locks.c's. */
enum { LOCK_CLASS_TRANSACTION = 23 };

enum { QUERY_TIMEOUT_MS = 10000 };

static void number_tag(LOCKTAG *tag, int pid, uint64 number)
{
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, (uint32)pid, (uint32)number,
			     LOCK_CLASS_TRANSACTION);
}

void herd_txn_lock_number(int pid, uint64 number)
{
	LOCKTAG tag;

	number_tag(&tag, pid, number);
	(void)LockAcquire(&tag, ExclusiveLock, false, false);
}

/* True when the transaction has ended; then the lock is ours to the end of our transaction. */
static bool has_ended(int pid, uint64 number)
{
	LOCKTAG tag;

	number_tag(&tag, pid, number);
	return LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
}

static Relation open_transactions(LOCKMODE mode)
{
	return table_open(get_relname_relid("pg_dist_transaction", PG_CATALOG_NAMESPACE), mode);
}

static void insert_row(int32 groupid, const char *gid, FullTransactionId xid)
{
	Relation rel = open_transactions(RowExclusiveLock);
	TupleDesc desc = RelationGetDescr(rel);
	Datum *values = palloc0(desc->natts * sizeof(Datum));
	bool *isnull = palloc(desc->natts * sizeof(bool));
	HeapTuple tuple;

	memset(isnull, true, desc->natts * sizeof(bool));
	values[TXN_GROUPID - 1] = Int32GetDatum(groupid);
	isnull[TXN_GROUPID - 1] = false;
	values[TXN_GID - 1] = CStringGetTextDatum(gid);
	isnull[TXN_GID - 1] = false;
	if (desc->natts >= TXN_OUTER_XID) {
		values[TXN_OUTER_XID - 1] = FullTransactionIdGetDatum(xid);
		isnull[TXN_OUTER_XID - 1] = false;
	}
	tuple = heap_form_tuple(desc, values, isnull);
	CatalogTupleInsert(rel, tuple);
	heap_freetuple(tuple);
	table_close(rel, NoLock);
}

void herd_txn_record(int32 groupid, const char *gid)
{
	insert_row(groupid, gid, GetTopFullTransactionId());
}

void herd_txn_refuse(int32 groupid, const char *gid)
{
	insert_row(groupid, gid, InvalidFullTransactionId);
}

typedef struct Record {
	int32 groupid;
	char *gid;
	bool refusal;
	ItemPointerData tid;
} Record;

static bool is_refusal(HeapTuple tuple, TupleDesc desc)
{
	bool isnull;
	Datum xid = heap_getattr(tuple, TXN_OUTER_XID, desc, &isnull);

	return !isnull && !FullTransactionIdIsValid(DatumGetFullTransactionId(xid));
}

/* The rows as committed now, whatever the isolation level: catalog scans are always up to date. */
static List *read_records(Relation rel)
{
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	List *records = NIL;
	HeapTuple tuple;
	bool isnull;

	while (HeapTupleIsValid(tuple = systable_getnext(scan))) {
		Record *r = palloc(sizeof(*r));

		r->groupid = DatumGetInt32(
			heap_getattr(tuple, TXN_GROUPID, RelationGetDescr(rel), &isnull));
		r->gid = TextDatumGetCString(
			heap_getattr(tuple, TXN_GID, RelationGetDescr(rel), &isnull));
		r->refusal = is_refusal(tuple, RelationGetDescr(rel));
		r->tid = tuple->t_self;
		records = lappend(records, r);
	}
	systable_endscan(scan);
	return records;
}

static Record *find_record(List *records, int32 groupid, const char *gid)
{
	ListCell *lc;

	foreach (lc, records) {
		Record *r = lfirst(lc);

		if (r->groupid == groupid && strcmp(r->gid, gid) == 0)
			return r;
	}
	return NULL;
}

static bool is_listed(const HerdRemoteResult *list, const char *gid)
{
	for (int i = 0; i < list->nrows; i++) {
		if (strcmp(list->values[i], gid) == 0)
			return true;
	}
	return false;
}

bool herd_recover_resolve(const HerdNode *node, const char *gid, bool commit)
{
	char *sql =
		psprintf("%s PREPARED %s", commit ? "COMMIT" : "ROLLBACK", quote_literal_cstr(gid));
	HerdRemoteResult *r =
		herd_remote_query(node->host, node->port, NULL, sql, QUERY_TIMEOUT_MS, true);

	if (!r->ok)
		ereport(LOG, (errmsg("could not recover prepared transaction \"%s\" on %s:%d: %s",
				     gid, node->host, node->port, r->message)));
	return r->ok;
}

/* True if the transaction is known to have ended one way or the other; *commit says which. */
static bool outcome(Relation rel, const HerdNode *node, const char *gid, bool *commit)
{
	HerdGid parsed;

	if (!herd_gid_parse(gid, &parsed) || parsed.groupid != herd_local_group() ||
	    !has_ended(parsed.pid, parsed.number))
		return false;
	if (parsed.decider != HERD_INVALID_GROUP)
		return herd_decide_ask(parsed.decider, node->groupid, gid, commit);
	*commit = find_record(read_records(rel), node->groupid, gid) != NULL;
	return true;
}

static int recover_listed(Relation rel, const HerdNode *node, const HerdRemoteResult *list)
{
	int resolved = 0;

	for (int i = 0; i < list->nrows; i++) {
		const char *gid = list->values[i];
		Record *record;
		bool commit;

		if (!outcome(rel, node, gid, &commit) || !herd_recover_resolve(node, gid, commit))
			continue;
		record = find_record(read_records(rel), node->groupid, gid);
		if (record && !record->refusal)
			CatalogTupleDelete(rel, &record->tid);
		resolved++;
	}
	return resolved;
}

/* A refusal may still be needed when what it refused has been rolled back. */
static bool is_needed(const Record *r)
{
	HerdGid gid;

	return r->refusal && herd_gid_parse(r->gid, &gid) && !herd_decide_refusal_expired(&gid);
}

static void forget_done(Relation rel, const HerdNode *node, List *records,
			const HerdRemoteResult *list)
{
	ListCell *lc;

	foreach (lc, records) {
		Record *r = lfirst(lc);

		if (r->groupid == node->groupid && !is_listed(list, r->gid) && !is_needed(r))
			CatalogTupleDelete(rel, &r->tid);
	}
}

static int recover_node(Relation rel, const HerdNode *node)
{
	List *records = read_records(rel);
	char *sql = psprintf("SELECT gid FROM pg_catalog.pg_prepared_xacts WHERE database = "
			     "pg_catalog.current_database() AND NOT pg_catalog.pg_is_in_recovery() "
			     "AND gid LIKE 'citus\\_%%' UNION ALL SELECT NULL "
			     "WHERE pg_catalog.pg_is_in_recovery()");
	HerdRemoteResult *list =
		herd_remote_query(node->host, node->port, NULL, sql, QUERY_TIMEOUT_MS, true);

	if (!list->ok) {
		ereport(LOG, (errmsg("could not recover prepared transactions on %s:%d: %s",
				     node->host, node->port, list->message)));
		return 0;
	}
	/* What a standby lists says nothing. */
	if (list->nrows > 0 && !list->values[0])
		return 0;
	forget_done(rel, node, records, list);
	return recover_listed(rel, node, list);
}

int herd_recover_prepared(void)
{
	Relation rel;
	int resolved = 0;
	ListCell *lc;

	PreventCommandDuringRecovery("recovery of prepared transactions");
	rel = open_transactions(ShareUpdateExclusiveLock);
	foreach (lc, herd_nodes()) {
		const HerdNode *node = lfirst(lc);

		if (node->primary && node->active)
			resolved += recover_node(rel, node);
	}
	table_close(rel, NoLock);
	return resolved;
}
