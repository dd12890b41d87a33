/*
 * stats/maintain.c - what autovacuum finds in the shards reaches the shells, on every node.
 */
#include "stats/stats.h"

#include <math.h>

#include "access/htup_details.h"
#include "attempt.h"
#include "catalog/pg_class.h"
#include "conn/conn.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

#define COUNTS_TIMEOUT_MS 10000
enum { LOCK_PATIENCE_MS = 100 };

/* Of each table with shards on the node: rows, and how often they were analyzed. */
static const char counts_sql[] =
	"SELECT pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(t.relname), "
	"sum(greatest(c.reltuples, 0)), sum(s.analyze_count + s.autoanalyze_count) "
	"FROM pg_catalog.pg_dist_shard d JOIN pg_catalog.pg_class t ON t.oid = d.logicalrelid "
	"JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace "
	"JOIN pg_catalog.pg_class c ON c.oid = pg_catalog.to_regclass("
	"pg_catalog.shard_name(d.logicalrelid, d.shardid, false)) "
	"JOIN pg_catalog.pg_stat_all_tables s ON s.relid = c.oid GROUP BY 1";

typedef struct TableCounts {
	Oid relid; /* key */
	double tuples;
	double analyzed;
	double gathered; /* analyzed when the shell was last brought up to date; -1: not seen yet */
} TableCounts;

static HTAB *tables;

static TableCounts *counts_of(Oid relid)
{
	bool found;
	TableCounts *counts;

	if (tables == NULL) {
		HASHCTL ctl = { .keysize = sizeof(Oid),
				.entrysize = sizeof(TableCounts),
				.hcxt = TopMemoryContext };

		tables = hash_create("pgherd statistics of tables", 32, &ctl,
				     HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	counts = hash_search(tables, &relid, HASH_ENTER, &found);
	if (!found)
		*counts = (TableCounts){ .relid = relid, .gathered = -1 };
	return counts;
}

static void add_counts(const HerdRemoteResult *r)
{
	for (int i = 0; i < r->nrows; i++) {
		char **row = r->values + i * r->ncols;
		Oid relid = DatumGetObjectId(
			DirectFunctionCall1(to_regclass, CStringGetTextDatum(row[0])));
		const HerdTable *table = OidIsValid(relid) ? herd_table_get(relid) : NULL;
		TableCounts *counts;

		if (table == NULL)
			continue;
		counts = counts_of(relid);
		if (table->kind == HERD_TABLE_REFERENCE) {
			counts->tuples = Max(counts->tuples, atof(row[1]));
			counts->analyzed = Max(counts->analyzed, atof(row[2]));
		} else {
			counts->tuples += atof(row[1]);
			counts->analyzed += atof(row[2]);
		}
	}
}

/* All nodes; false when one does not answer: then the sums say nothing. */
static bool ask_nodes(void)
{
	List *nodes = NIL, *sqls = NIL;
	HASH_SEQ_STATUS seq;
	TableCounts *counts;
	ListCell *lc;

	foreach (lc, herd_nodes()) {
		HerdNode *node = lfirst(lc);

		if (!node->primary || !node->active)
			continue;
		nodes = lappend(nodes, node);
		sqls = lappend(sqls, (char *)counts_sql);
	}
	if (tables != NULL) {
		hash_seq_init(&seq, tables);
		while ((counts = hash_seq_search(&seq)) != NULL)
			counts->tuples = counts->analyzed = 0;
	}
	if (nodes == NIL)
		return false;
	foreach (lc, herd_remote_query_nodes(nodes, sqls, COUNTS_TIMEOUT_MS)) {
		const HerdRemoteResult *r = lfirst(lc);

		if (!r->ok)
			return false;
		add_counts(r);
	}
	return true;
}

static double shell_tuples(Oid relid)
{
	HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	double tuples = -1;

	if (HeapTupleIsValid(tuple)) {
		tuples = ((Form_pg_class)GETSTRUCT(tuple))->reltuples;
		ReleaseSysCache(tuple);
	}
	return tuples;
}

/* As autovacuum judges one table: a tenth more or fewer rows, or half of the shards anew. */
static bool is_stale(const HerdTable *table, TableCounts *counts)
{
	double known = shell_tuples(table->relid);

	if (counts->gathered < 0 || counts->analyzed < counts->gathered)
		counts->gathered = counts->analyzed;
	return counts->tuples > 0 &&
	       (known <= 0 || fabs(counts->tuples - known) > 50 + known / 10 ||
		counts->analyzed - counts->gathered >= Max(table->nshards / 2, 1));
}

static void gather(void *table)
{
	int level = herd_limit_lock_wait(LOCK_PATIENCE_MS);

	herd_stats_gather(table, true, false);
	AtEOXact_GUC(true, level);
}

/*
 * As autovacuum does, this yields to DDL: it waits for no lock for long, here and on the nodes, and
 * leaves the table for the next time.
 */
static bool gather_politely(const HerdTable *table)
{
	ErrorData *error = herd_attempt(gather, (void *)table);

	if (error == NULL)
		return true;
	ereport(DEBUG1,
		(errmsg_internal("statistics of relation %u: %s", table->relid, error->message)));
	FreeErrorData(error);
	return false;
}

void herd_stats_maintain(void)
{
	HASH_SEQ_STATUS seq;
	TableCounts *counts;
	List *stale = NIL;
	ListCell *lc;

	if (!ask_nodes() || tables == NULL)
		return;
	hash_seq_init(&seq, tables);
	while ((counts = hash_seq_search(&seq)) != NULL) {
		const HerdTable *table = herd_table_get(counts->relid);

		if (table == NULL)
			hash_search(tables, &counts->relid, HASH_REMOVE, NULL);
		else if (is_stale(table, counts))
			stale = lappend_oid(stale, counts->relid);
	}
	foreach (lc, stale) {
		const HerdTable *table = herd_table_get(lfirst_oid(lc));

		if (table == NULL)
			continue;
		if (!gather_politely(table))
			continue;
		counts = counts_of(lfirst_oid(lc));
		counts->gathered = counts->analyzed;
	}
}
