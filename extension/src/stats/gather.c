#include "stats/stats.h"

#include "access/htup_details.h"
#include "access/multixact.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/pg_statistic.h"
#include "catalog/pg_type.h"
#include "commands/vacuum.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "statistics/extended_stats_internal.h"
#include "statistics/statistics.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "compat.h"
#include "ddl/shape.h"
#include "exec/exec.h"
#include "plan/rights.h"

PGDLLEXPORT PG_FUNCTION_INFO_V1(herd_gather_statistics);

/* Longer text counts by its beginning: PostgreSQL leaves longer values out of its lists anyway. */
#define MOST_CHARS 1100
/* Other values that are longer are left out. */
#define MOST_BYTES 8192

typedef struct ShardInfo {
	uint64 shardid;
	double pages;
	double tuples;
	int rows; /* of the sample */
} ShardInfo;

typedef struct SampleRow {
	HeapTuple tuple;
	int shard;       /* index in ShardInfos */
	double position; /* in its shard, 0 to 1 */
} SampleRow;

typedef struct Sample {
	HeapTuple *tuples;
	int ntuples;
} Sample;

/* -- sizes ------------------------------------------------------------------------------------- */

/* One statement for each node: what pg_class says of the shards that are read there. */
static HerdJob *sizes_job(const HerdTable *table)
{
	HerdJob *job = palloc0(sizeof(HerdJob));

	job->tasks = palloc0(Max(table->nshards, 1) * sizeof(HerdTask));
	for (int i = 0; i < table->nshards; i++) {
		HerdTask *task;
		char *row;

		if (table->shards[i].ngroups == 0)
			continue;
		row = psprintf("(%d, %s)", i,
			       quote_literal_cstr(
				       herd_shape_name(table->relid, table->shards[i].shardid)));
		task = herd_job_task_of(job, table->shards[i].groups[0]);
		task->sql = task->sql ? psprintf("%s, %s", task->sql, row) : row;
	}
	for (int i = 0; i < job->ntasks; i++)
		job->tasks[i].sql =
			psprintf("SELECT s.i, (pg_catalog.pg_relation_size(c.oid) / "
				 "pg_catalog.current_setting('block_size')::pg_catalog.int8)"
				 "::pg_catalog.float8, c.reltuples::pg_catalog.float8 "
				 "FROM (VALUES %s) s(i, name) JOIN pg_catalog.pg_class c "
				 "ON c.oid = pg_catalog.to_regclass(s.name)",
				 job->tasks[i].sql);
	job->tupdesc = CreateTemplateTupleDesc(3);
	TupleDescInitEntry(job->tupdesc, 1, "i", INT4OID, -1, 0);
	TupleDescInitEntry(job->tupdesc, 2, "pages", FLOAT8OID, -1, 0);
	TupleDescInitEntry(job->tupdesc, 3, "tuples", FLOAT8OID, -1, 0);
	return job;
}

static ShardInfo *read_sizes(const HerdTable *table)
{
	HerdJob *job = sizes_job(table);
	ShardInfo *infos = palloc0(Max(table->nshards, 1) * sizeof(ShardInfo));
	TupleTableSlot *slot = MakeSingleTupleTableSlot(job->tupdesc, &TTSOpsVirtual);
	HerdExec *exec = herd_exec_begin(job);

	for (int i = 0; i < table->nshards; i++)
		infos[i] = (ShardInfo){ .shardid = table->shards[i].shardid, .tuples = -1 };
	while (herd_exec_next(exec, slot)) {
		int i = DatumGetInt32(slot->tts_values[0]);

		if (i >= 0 && i < table->nshards) {
			infos[i].pages = DatumGetFloat8(slot->tts_values[1]);
			infos[i].tuples = DatumGetFloat8(slot->tts_values[2]);
		}
		ExecClearTuple(slot);
	}
	herd_exec_end(exec);
	ExecDropSingleTupleTableSlot(slot);
	return infos;
}

static HerdShardSums add_up(const HerdTable *table, const ShardInfo *infos)
{
	HerdShardSums sums = { .tuples = -1 };
	double known = 0; /* pages of the shards with a known number of rows */

	for (int i = 0; i < table->nshards; i++) {
		sums.pages += infos[i].pages;
		if (infos[i].tuples < 0)
			continue;
		sums.tuples = Max(sums.tuples, 0) + infos[i].tuples;
		known += infos[i].pages;
	}
	if (sums.tuples > 0 && known > 0)
		sums.tuples *= sums.pages / known;
	return sums;
}

static void update_sizes(Relation rel, const HerdShardSums *sums)
{
	/* "never" of PostgreSQL, and it must not look vacuumed without pages */
	if (sums->tuples < 0)
		return;
	vac_update_relstats(rel, (BlockNumber)Min(sums->pages, (double)MaxBlockNumber),
			    sums->tuples, 0,
#if PG_VERSION_NUM >= 180000
			    0,
#endif
			    rel->rd_rel->relhasindex, InvalidTransactionId, InvalidMultiXactId,
			    NULL, NULL, true);
}

/* -- the sample -------------------------------------------------------------------------------- */

static char *sampled_column(Form_pg_attribute att)
{
	const char *name = quote_identifier(NameStr(att->attname));

	switch (att->atttypid) {
	case TEXTOID:
	case VARCHAROID:
	case BPCHAROID:
		return psprintf("pg_catalog.left(%s::pg_catalog.text, %d)::%s", name, MOST_CHARS,
				format_type_with_typemod(att->atttypid, att->atttypmod));
	default:
		break;
	}
	if (att->attlen == -1)
		return psprintf("CASE WHEN pg_catalog.pg_column_size(%s) <= %d THEN %s END", name,
				MOST_BYTES, name);
	return pstrdup(name);
}

/* Columns that are sampled: not dropped, not virtual. */
static bool is_sampled(Form_pg_attribute att)
{
#if PG_VERSION_NUM >= 180000
	if (att->attgenerated == ATTRIBUTE_GENERATED_VIRTUAL)
		return false;
#endif
	return !att->attisdropped;
}

static int count_sampled(TupleDesc desc)
{
	int n = 0;

	for (int i = 0; i < desc->natts; i++)
		n += is_sampled(TupleDescAttr(desc, i));
	return n;
}

static char *sampled_columns(TupleDesc desc)
{
	StringInfoData out;

	initStringInfo(&out);
	for (int i = 0; i < desc->natts; i++)
		if (is_sampled(TupleDescAttr(desc, i)))
			appendStringInfo(&out, ", %s", sampled_column(TupleDescAttr(desc, i)));
	return out.data;
}

/*
 * As PostgreSQL samples: as many blocks as rows are wanted, at random, and of their rows so many,
 * at random. Each shard gives the share that it has of the table.
 */
static HerdJob *sample_job(const HerdTable *table, TupleDesc desc, const ShardInfo *infos,
			   const HerdShardSums *sums, int wanted)
{
	HerdJob *job = palloc0(sizeof(HerdJob));
	char *columns = sampled_columns(desc);
	double blocks = sums->pages > 0 ? Min(1.0, wanted / sums->pages) : 1.0;
	double rows = sums->tuples > 0 ? Min(1.0, wanted / (sums->tuples * blocks)) : 1.0;
	int column = 1;

	job->tasks = palloc0(Max(table->nshards, 1) * sizeof(HerdTask));
	for (int i = 0; i < table->nshards; i++) {
		HerdTask *task = &job->tasks[job->ntasks];

		if (table->shards[i].ngroups == 0 || infos[i].pages == 0)
			continue;
		task->groupid = table->shards[i].groups[0];
		task->sql = psprintf("SELECT %d%s FROM ONLY %s", i, columns,
				     herd_shape_name(table->relid, table->shards[i].shardid));
		if (blocks < 1)
			task->sql = psprintf("%s TABLESAMPLE SYSTEM (%g)", task->sql, blocks * 100);
		if (rows < 1)
			task->sql = psprintf("%s WHERE pg_catalog.random() < %g", task->sql, rows);
		job->ntasks++;
	}
	job->tupdesc = CreateTemplateTupleDesc(count_sampled(desc) + 1);
	TupleDescInitEntry(job->tupdesc, 1, "i", INT4OID, -1, 0);
	for (int i = 0; i < desc->natts; i++)
		if (is_sampled(TupleDescAttr(desc, i)))
			TupleDescCopyEntry(job->tupdesc, ++column, desc, i + 1);
	return job;
}

static int by_position(const void *a, const void *b)
{
	const SampleRow *x = a, *y = b;

	if (x->position != y->position)
		return x->position < y->position ? -1 : 1;
	return x->shard - y->shard;
}

/*
 * The shards side by side, not one after the other: then the correlation with the order of rows is
 * that which the shards have.
 */
static Sample in_order(SampleRow *rows, int n, ShardInfo *infos)
{
	Sample sample = { .ntuples = n };

	for (int i = 0; i < n; i++)
		rows[i].position /= Max(infos[rows[i].shard].rows, 1);
	qsort(rows, n, sizeof(SampleRow), by_position);
	sample.tuples = palloc(Max(n, 1) * sizeof(HeapTuple));
	for (int i = 0; i < n; i++) {
		sample.tuples[i] = rows[i].tuple;
		ItemPointerSet(&sample.tuples[i]->t_self, i / 200, i % 200 + 1);
	}
	return sample;
}

static HeapTuple make_row(TupleTableSlot *slot, TupleDesc desc)
{
	Datum *values = palloc0(Max(desc->natts, 1) * sizeof(Datum));
	bool *nulls = palloc(Max(desc->natts, 1) * sizeof(bool));
	int column = 0;
	HeapTuple tuple;

	for (int i = 0; i < desc->natts; i++) {
		nulls[i] = true;
		if (!is_sampled(TupleDescAttr(desc, i)))
			continue;
		column++;
		values[i] = slot->tts_values[column];
		nulls[i] = slot->tts_isnull[column];
	}
	tuple = heap_form_tuple(desc, values, nulls);
	pfree(values);
	pfree(nulls);
	return tuple;
}

static Sample read_sample(const HerdTable *table, TupleDesc desc, ShardInfo *infos,
			  const HerdShardSums *sums, int wanted)
{
	HerdJob *job = sample_job(table, desc, infos, sums, wanted);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(job->tupdesc, &TTSOpsVirtual);
	HerdExec *exec = herd_exec_begin(job);
	int space = 1024, n = 0;
	SampleRow *rows = palloc(space * sizeof(SampleRow));

	while (herd_exec_next(exec, slot)) {
		int shard = DatumGetInt32(slot->tts_values[0]);

		CHECK_FOR_INTERRUPTS();
		if (n == space) {
			space *= 2;
			rows = repalloc_huge(rows, space * sizeof(SampleRow));
		}
		rows[n].tuple = make_row(slot, desc);
		rows[n].shard = shard;
		rows[n++].position = infos[shard].rows++;
		ExecClearTuple(slot);
	}
	herd_exec_end(exec);
	ExecDropSingleTupleTableSlot(slot);
	return in_order(rows, n, infos);
}

/* -- statistics -------------------------------------------------------------------------------- */

static VacAttrStats *examine(Relation rel, int attnum)
{
	Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), attnum - 1);
	VacAttrStats *s;
	bool ok;

	if (!is_sampled(att))
		return NULL;
	s = palloc0(sizeof(*s));
#if PG_VERSION_NUM >= 170000
	{
		HeapTuple tuple = SearchSysCache2(ATTNUM, ObjectIdGetDatum(RelationGetRelid(rel)),
						  Int16GetDatum(attnum));
		bool isnull = true;
		Datum target = (Datum)0;

		if (HeapTupleIsValid(tuple)) {
			target = SysCacheGetAttr(ATTNUM, tuple, Anum_pg_attribute_attstattarget,
						 &isnull);
			ReleaseSysCache(tuple);
		}
		s->attstattarget = isnull ? -1 : DatumGetInt16(target);
		if (s->attstattarget == 0)
			return NULL;
	}
#else
	if (att->attstattarget == 0)
		return NULL;
	s->attr = palloc(ATTRIBUTE_FIXED_PART_SIZE);
	memcpy(s->attr, att, ATTRIBUTE_FIXED_PART_SIZE);
#endif
	s->attrtypid = att->atttypid;
	s->attrtypmod = att->atttypmod;
	s->attrcollid = att->attcollation;
	s->attrtype = (Form_pg_type)GETSTRUCT(
		SearchSysCacheCopy1(TYPEOID, ObjectIdGetDatum(att->atttypid)));
	s->anl_context = CurrentMemoryContext;
	s->tupattnum = attnum;
	for (int i = 0; i < STATISTIC_NUM_SLOTS; i++) {
		s->statypid[i] = s->attrtypid;
		s->statyplen[i] = s->attrtype->typlen;
		s->statypbyval[i] = s->attrtype->typbyval;
		s->statypalign[i] = s->attrtype->typalign;
	}
	ok = OidIsValid(s->attrtype->typanalyze)
		     ? DatumGetBool(OidFunctionCall1(s->attrtype->typanalyze, PointerGetDatum(s)))
		     : std_typanalyze(s);
	return ok && s->compute_stats != NULL && s->minrows > 0 ? s : NULL;
}

static Datum fetch_value(VacAttrStatsP s, int row, bool *isnull)
{
	return heap_getattr(s->rows[row], s->tupattnum, s->tupDesc, isnull);
}

static Datum numbers_array(const VacAttrStats *s, int slot)
{
	Datum *numbers = palloc(s->numnumbers[slot] * sizeof(Datum));

	for (int i = 0; i < s->numnumbers[slot]; i++)
		numbers[i] = Float4GetDatum(s->stanumbers[slot][i]);
	return PointerGetDatum(construct_array(numbers, s->numnumbers[slot], FLOAT4OID,
					       sizeof(float4), true, TYPALIGN_INT));
}

static void store(Relation catalog, Oid relid, const VacAttrStats *s)
{
	Datum values[Natts_pg_statistic] = { 0 };
	bool nulls[Natts_pg_statistic] = { false };
	bool replaces[Natts_pg_statistic];
	HeapTuple old, tuple;

	memset(replaces, true, sizeof(replaces));
	values[Anum_pg_statistic_starelid - 1] = ObjectIdGetDatum(relid);
	values[Anum_pg_statistic_staattnum - 1] = Int16GetDatum(s->tupattnum);
	values[Anum_pg_statistic_stainherit - 1] = BoolGetDatum(false);
	values[Anum_pg_statistic_stanullfrac - 1] = Float4GetDatum(s->stanullfrac);
	values[Anum_pg_statistic_stawidth - 1] = Int32GetDatum(s->stawidth);
	values[Anum_pg_statistic_stadistinct - 1] = Float4GetDatum(s->stadistinct);
	for (int i = 0; i < STATISTIC_NUM_SLOTS; i++) {
		int number = Anum_pg_statistic_stanumbers1 - 1 + i;
		int value = Anum_pg_statistic_stavalues1 - 1 + i;

		values[Anum_pg_statistic_stakind1 - 1 + i] = Int16GetDatum(s->stakind[i]);
		values[Anum_pg_statistic_staop1 - 1 + i] = ObjectIdGetDatum(s->staop[i]);
		values[Anum_pg_statistic_stacoll1 - 1 + i] = ObjectIdGetDatum(s->stacoll[i]);
		nulls[number] = s->numnumbers[i] <= 0;
		if (!nulls[number])
			values[number] = numbers_array(s, i);
		nulls[value] = s->numvalues[i] <= 0;
		if (!nulls[value])
			values[value] = PointerGetDatum(construct_array(
				s->stavalues[i], s->numvalues[i], s->statypid[i], s->statyplen[i],
				s->statypbyval[i], s->statypalign[i]));
	}
	old = SearchSysCache3(STATRELATTINH, ObjectIdGetDatum(relid), Int16GetDatum(s->tupattnum),
			      BoolGetDatum(false));
	if (HeapTupleIsValid(old)) {
		tuple = heap_modify_tuple(old, RelationGetDescr(catalog), values, nulls, replaces);
		ReleaseSysCache(old);
		CatalogTupleUpdate(catalog, &tuple->t_self, tuple);
	} else {
		tuple = heap_form_tuple(RelationGetDescr(catalog), values, nulls);
		CatalogTupleInsert(catalog, tuple);
	}
	heap_freetuple(tuple);
}

static VacAttrStats **examine_all(Relation rel, int *n, int *wanted)
{
	VacAttrStats **all = palloc0((RelationGetDescr(rel)->natts + 1) * sizeof(VacAttrStats *));

	*n = 0;
	*wanted = 100;
	for (int i = 1; i <= RelationGetDescr(rel)->natts; i++) {
		VacAttrStats *s = examine(rel, i);

		if (s == NULL)
			continue;
		all[(*n)++] = s;
		*wanted = Max(*wanted, s->minrows);
	}
	*wanted = Max(*wanted, ComputeExtStatisticsRows(rel, *n, all));
	return all;
}

static void compute(Relation rel, VacAttrStats **all, int n, const Sample *sample, double total)
{
	Relation catalog = table_open(StatisticRelationId, RowExclusiveLock);

	for (int i = 0; i < n; i++) {
		all[i]->rows = sample->tuples;
		all[i]->tupDesc = RelationGetDescr(rel);
		all[i]->compute_stats(all[i], fetch_value, sample->ntuples, total);
		CHECK_FOR_INTERRUPTS();
		if (all[i]->stats_valid)
			store(catalog, RelationGetRelid(rel), all[i]);
	}
	table_close(catalog, RowExclusiveLock);
	BuildRelationExtStatistics(rel, false, total, sample->ntuples, sample->tuples, n, all);
}

/* The relation again, locked, if that takes no waiting and it is as it was; else NULL. */
static Relation lock_unchanged(Oid relid, TupleDesc desc)
{
	Relation rel;

	if (!ConditionalLockRelationOid(relid, ShareUpdateExclusiveLock))
		return NULL;
	rel = try_relation_open(relid, NoLock);
	if (rel != NULL && !equalTupleDescs(RelationGetDescr(rel), desc)) {
		relation_close(rel, NoLock);
		rel = NULL;
	}
	return rel;
}

/*
 * Who was told to gather, or does so by itself, holds no lock of the shell while it reads shards:
 * DDL that has locked them waits for the shells of all nodes.
 */
static void gather(const HerdTable *table, bool rows, bool wait)
{
	Relation rel = table_open(table->relid, wait ? ShareUpdateExclusiveLock : AccessShareLock);
	TupleDesc desc = CreateTupleDescCopyConstr(RelationGetDescr(rel));
	VacAttrStats **all = NULL;
	int n = 0, wanted = 0;
	Sample sample = { 0 };
	HerdShardSums sums;
	ShardInfo *infos;

	if (rows)
		all = examine_all(rel, &n, &wanted);
	table_close(rel, wait ? NoLock : AccessShareLock);
	infos = read_sizes(table);
	sums = add_up(table, infos);
	if (rows)
		sample = read_sample(table, desc, infos, &sums, wanted);
	rel = wait ? table_open(table->relid, NoLock) : lock_unchanged(table->relid, desc);
	if (rel == NULL)
		return;
	if (sample.ntuples > 0)
		compute(rel, all, n, &sample, Max(sums.tuples, sample.ntuples));
	update_sizes(rel, &sums);
	table_close(rel, NoLock);
}

void herd_stats_gather(const HerdTable *table, bool rows, bool wait)
{
	MemoryContext memory = AllocSetContextCreate(CurrentMemoryContext, "herd statistics",
						     ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(memory);
	int sec;
	Oid user;

	/* Who may maintain the table need not be allowed to read it: the owner's rights count. */
	GetUserIdAndSecContext(&user, &sec);
	if (!herd_owns_relation(table->relid, user))
		SetUserIdAndSecContext(herd_relation_owner(table->relid),
				       sec | SECURITY_RESTRICTED_OPERATION);
	gather(table, rows, wait);
	SetUserIdAndSecContext(user, sec);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(memory);
	CommandCounterIncrement();
}

/* gather_statistics(table, rows): on a node that is told to by another. */
Datum herd_gather_statistics(PG_FUNCTION_ARGS)
{
	Oid relid = PG_GETARG_OID(0);
	const HerdTable *table = herd_table_get(relid);

	if (table == NULL)
		PG_RETURN_VOID();
	if (!herd_may_maintain(relid, GetUserId()) && !superuser())
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, get_rel_name(relid));
	herd_stats_gather(table, PG_GETARG_BOOL(1), false);
	PG_RETURN_VOID();
}
