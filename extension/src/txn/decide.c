#include "txn/decide.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/skey.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/metadata.h"
#include "catalog/namespace.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_namespace.h"
#include "conn/conn.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "txn/internal.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

/* Columns of pg_dist_transaction. */
enum { TXN_GROUPID = 1, TXN_GID, TXN_OUTER_XID };

enum { QUERY_TIMEOUT_MS = 10000 };

/* How long a question may wait for a transaction that is about to commit. */
#define WAIT_FOR_COMMIT "5s"

/*
 * A session that was cut off may still hold a decision in its input, for as long as its server is
 * stopped. Both limits are counted by the clock of the decider, so that between clocks of two
 * nodes up to a day makes no difference.
 */
#define DECISION_VALID (INT64CONST(1) * USECS_PER_DAY)
#define REFUSAL_KEPT (INT64CONST(2) * USECS_PER_DAY)

bool herd_gid_parse(const char *gid, HerdGid *ret)
{
	int conn, end = 0;

	ret->decider = HERD_INVALID_GROUP;
	if (sscanf(gid, "citus_%d_%d_" UINT64_FORMAT "_%d%n", &ret->groupid, &ret->pid,
		   &ret->number, &conn, &end) != 4)
		return false;
	if (gid[end] == '\0')
		return true;
	gid += end;
	end = 0;
	return sscanf(gid, "_%d%n", &ret->decider, &end) == 1 && gid[end] == '\0' &&
	       ret->decider >= 0;
}

static int64 age(const HerdGid *gid)
{
	return (int64)GetCurrentTimestamp() - (int64)gid->number;
}

bool herd_decide_refusal_expired(const HerdGid *gid)
{
	return age(gid) > REFUSAL_KEPT;
}

void herd_decide_append(StringInfo sql, int32 groupid, const char *gid)
{
	appendStringInfo(sql, "CALL citus_internal.decide_commit(%d, '%s'); ", groupid, gid);
}

/* Whatever a user passes is checked: a row for a gid of nobody would stay. */
static char *gid_argument(text *arg, HerdGid *parsed)
{
	char *gid = text_to_cstring(arg);

	if (!herd_gid_parse(gid, parsed) || parsed->decider != herd_local_group())
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("\"%s\" is not a transaction that this node decides", gid)));
	return gid;
}

static bool group_exists(int32 groupid)
{
	ListCell *lc;

	foreach (lc, herd_nodes())
		if (((const HerdNode *)lfirst(lc))->groupid == groupid)
			return true;
	return false;
}

PG_FUNCTION_INFO_V1(herd_decide_commit);
PGDLLEXPORT Datum herd_decide_commit(PG_FUNCTION_ARGS)
{
	HerdGid parsed;
	char *gid;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("group and transaction must not be null")));
	gid = gid_argument(PG_GETARG_TEXT_PP(1), &parsed);
	if (age(&parsed) > DECISION_VALID || age(&parsed) < -DECISION_VALID)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("transaction \"%s\" is too old to be committed", gid),
				errhint("The clocks of the nodes must not be a day apart.")));
	/* recovery forgets the rows of the groups that there are */
	if (!group_exists(PG_GETARG_INT32(0)) || !group_exists(parsed.groupid))
		ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("transaction \"%s\" is one of a group without a node", gid)));
	herd_txn_record(PG_GETARG_INT32(0), gid);
	PG_RETURN_VOID();
}

/* 1: committed, 0: refused, -1: nothing is known. */
static int decision_of(Relation rel, int32 groupid, const char *gid)
{
	Oid index =
		get_relname_relid("pg_dist_transaction_unique_constraint", PG_CATALOG_NAMESPACE);
	ScanKeyData key[2];
	SysScanDesc scan;
	HeapTuple tuple;
	int result = -1;

	ScanKeyInit(&key[0], TXN_GROUPID, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(groupid));
	ScanKeyEntryInitialize(&key[1], 0, TXN_GID, BTEqualStrategyNumber, InvalidOid,
			       DEFAULT_COLLATION_OID, F_TEXTEQ, CStringGetTextDatum(gid));
	scan = systable_beginscan(rel, index, true, NULL, 2, key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple)) {
		bool isnull;
		Datum xid = heap_getattr(tuple, TXN_OUTER_XID, RelationGetDescr(rel), &isnull);

		result = isnull || FullTransactionIdIsValid(DatumGetFullTransactionId(xid));
	}
	systable_endscan(scan);
	return result;
}

/*
 * True if the transaction was decided here to be committed. If it is not decided, it never will
 * be. Waits for one that is committing; then it fails with a unique violation, and the next
 * question gets the answer.
 */
PG_FUNCTION_INFO_V1(herd_decided);
PGDLLEXPORT Datum herd_decided(PG_FUNCTION_ARGS)
{
	int32 groupid = PG_GETARG_INT32(0);
	HerdGid parsed;
	char *gid = gid_argument(PG_GETARG_TEXT_PP(1), &parsed);
	Relation rel = table_open(get_relname_relid("pg_dist_transaction", PG_CATALOG_NAMESPACE),
				  RowExclusiveLock);
	int known = decision_of(rel, groupid, gid);

	if (known < 0) {
		int nest = NewGUCNestLevel();

		(void)set_config_option("lock_timeout", WAIT_FOR_COMMIT, PGC_USERSET, PGC_S_SESSION,
					GUC_ACTION_SAVE, true, 0, false);
		herd_txn_refuse(groupid, gid);
		AtEOXact_GUC(true, nest);
	}
	table_close(rel, NoLock);
	PG_RETURN_BOOL(known > 0);
}

bool herd_decide_ask(int32 decider, int32 groupid, const char *gid, bool *commit)
{
	const HerdNode *node = herd_node_primary(decider);
	HerdRemoteResult *r = NULL;

	if (!node) {
		ereport(LOG, (errmsg("prepared transaction \"%s\" stays: group %d, which decided "
				     "about it, has no active primary node",
				     gid, decider)));
		return false;
	}
	/* the first answer may be that it was decided just now */
	for (int attempt = 0; attempt < 2 && (!r || !r->ok); attempt++)
		r = herd_remote_query(node->host, node->port, NULL,
				      psprintf("SELECT citus_internal.decided(%d, %s)", groupid,
					       quote_literal_cstr(gid)),
				      QUERY_TIMEOUT_MS, true);
	if (!r->ok || r->nrows != 1 || !r->values[0]) {
		ereport(LOG, (errmsg("prepared transaction \"%s\" stays: could not ask %s:%d what "
				     "became of it: %s",
				     gid, node->host, node->port, r->message)));
		return false;
	}
	*commit = strcmp(r->values[0], "t") == 0;
	return true;
}
