/*
 * Tasks on shards of this server run in this very transaction, through SPI: they see what it wrote
 * and need no connection. All work on the local group goes this way, so there is never a second
 * transaction of ours that could hide its rows or hold a lock against us.
 */
#include "exec/internal.h"

#include "catalog/metadata.h"
#include "common/hashfn.h"
#include "conn/names.h"
#include "conn/rights.h"
#include "executor/spi.h"
#include "executor/tstoreReceiver.h"
#include "lib/ilist.h"
#include "txn/internal.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

static void check_spi(int rc)
{
	if (rc < 0)
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR),
				errmsg("could not run a statement on a local shard: %s",
				       SPI_result_code_string(rc))));
}

typedef struct LocalReceiver {
	DestReceiver pub;
	Tuplestorestate *store;
	TupleDesc tupdesc;
	TupleTableSlot *slot; /* of tupdesc: what the store keeps must be of its row type */
} LocalReceiver;

static void receive_startup(DestReceiver *self, int operation, TupleDesc typeinfo)
{
	LocalReceiver *r = (LocalReceiver *)self;

	if (r->tupdesc && typeinfo->natts != r->tupdesc->natts)
		ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
				errmsg("a local shard returned %d columns where %d were expected",
				       typeinfo->natts, r->tupdesc->natts)));
	for (int i = 0; r->tupdesc && i < typeinfo->natts; i++) {
		Form_pg_attribute got = TupleDescAttr(typeinfo, i);
		Form_pg_attribute want = TupleDescAttr(r->tupdesc, i);

		if (!want->attisdropped &&
		    getBaseType(got->atttypid) != getBaseType(want->atttypid))
			ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("a local shard returned another type than expected in "
					"column %d",
					i + 1)));
	}
}

static bool receive_row(TupleTableSlot *slot, DestReceiver *self)
{
	LocalReceiver *r = (LocalReceiver *)self;

	if (r->store && r->tupdesc) {
		slot_getallattrs(slot);
		tuplestore_putvalues(r->store, r->tupdesc, slot->tts_values, slot->tts_isnull);
	}
	return true;
}

static void receive_nothing(DestReceiver *self)
{
}

/* -- plans that are kept ----------------------------------------------------------------------- */

/* Plans of texts that repeat; the one not used for longest goes first. */
#define MAX_PLANS 128

typedef struct LocalPlan {
	dlist_node lru;
	uint32 hash; /* of the text */
	SPIPlanPtr plan;
	char *sql;
	int ntypes;
	Oid *types;
	int running; /* executions under way: nested ones must not free it */
} LocalPlan;

static dlist_head plans = DLIST_STATIC_INIT(plans);
static int nplans;

/*
 * Parameters keep the types they have; SPI would otherwise not know them, as a parameter list from
 * the protocol has no parser hook.
 */
static Oid *param_types(ParamListInfo params, int *n)
{
	Oid *types;

	*n = params ? params->numParams : 0;
	types = palloc0(Max(*n, 1) * sizeof(Oid));
	for (int i = 0; i < *n; i++)
		types[i] = params->params[i].ptype;
	return types;
}

static SPIPlanPtr prepare(const char *sql, int n, Oid *types)
{
	SPIPlanPtr plan = SPI_prepare(sql, n, types);

	if (!plan)
		check_spi(SPI_result);
	return plan;
}

static void forget_oldest_plan(void)
{
	dlist_node *node;

	for (node = plans.head.prev; node != &plans.head; node = node->prev) {
		LocalPlan *p = dlist_container(LocalPlan, lru, node);

		if (p->running > 0)
			continue;
		dlist_delete(&p->lru);
		nplans--;
		SPI_freeplan(p->plan);
		pfree(p->sql);
		pfree(p->types);
		pfree(p);
		return;
	}
}

/* SPI plans follow changes of their tables by themselves. */
static LocalPlan *kept_plan(const char *sql, int n, Oid *types)
{
	uint32 hash = hash_bytes((const unsigned char *)sql, strlen(sql));
	dlist_iter iter;
	SPIPlanPtr plan;
	LocalPlan *p;

	dlist_foreach(iter, &plans)
	{
		p = dlist_container(LocalPlan, lru, iter.cur);
		if (p->hash == hash && p->ntypes == n && strcmp(p->sql, sql) == 0 &&
		    memcmp(p->types, types, n * sizeof(Oid)) == 0) {
			dlist_move_head(&plans, &p->lru);
			return p;
		}
	}
	plan = prepare(sql, n, types);
	if (nplans >= MAX_PLANS)
		forget_oldest_plan();
	p = MemoryContextAllocZero(TopMemoryContext, sizeof(*p));
	p->sql = MemoryContextStrdup(TopMemoryContext, sql);
	p->types = MemoryContextAlloc(TopMemoryContext, Max(n, 1) * sizeof(Oid));
	memcpy(p->types, types, n * sizeof(Oid));
	p->ntypes = n;
	p->hash = hash;
	check_spi(SPI_keepplan(plan));
	p->plan = plan;
	dlist_push_head(&plans, &p->lru);
	nplans++;
	return p;
}

/* -- running ----------------------------------------------------------------------------------- */

uint64 herd_local_run(const HerdJob *job, const HerdTask *task, Tuplestorestate *store)
{
	LocalReceiver receiver = { .pub = { .receiveSlot = receive_row,
					    .rStartup = receive_startup,
					    .rShutdown = receive_nothing,
					    .rDestroy = receive_nothing,
					    .mydest = DestNone },
				   .store = store,
				   .tupdesc = job->tupdesc };
	/* plpgsql's lists are filled on demand only; a copy is complete. */
	ParamListInfo params = job->params ? copyParamList(job->params) : NULL;
	MemoryContext memory = CurrentMemoryContext;
	LocalPlan *volatile kept = NULL;
	volatile uint64 processed = 0;
	int ntypes;
	Oid *types = param_types(params, &ntypes);
	SPIExecuteOptions options = { .params = params, .read_only = false, .dest = &receiver.pub };

	herd_txn_use_local_group();
	PG_TRY();
	{
		check_spi(SPI_connect());
		if (job->rights != NULL)
			herd_rights_begin(job->rights, task->sql);
		else if (job->reusable) {
			kept = kept_plan(task->sql, ntypes, types);
			kept->running++;
		}
		check_spi(SPI_execute_plan_extended(
			kept ? kept->plan : prepare(task->sql, ntypes, types), &options));
		processed = SPI_processed;
		herd_rights_end();
		check_spi(SPI_finish());
	}
	PG_CATCH();
	{
		herd_rights_end();
		if (kept)
			kept->running--;
		herd_deadlock_rename_cancel();
		herd_names_rethrow(memory);
	}
	PG_END_TRY();
	if (kept)
		kept->running--;
	return processed;
}

void herd_local_exec(const char *sql)
{
	herd_txn_use_local_group();
	check_spi(SPI_connect());
	check_spi(SPI_execute(sql, false, 0));
	check_spi(SPI_finish());
}
