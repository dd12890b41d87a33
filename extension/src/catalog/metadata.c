#include "catalog/metadata.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_enum.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "catalog/tables.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "common/hashfn.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/primnodes.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

/* Column numbers of the catalogs, as in sql/10_catalogs.sql. */
enum { PART_RELID = 1, PART_METHOD, PART_KEY, PART_COLOCATION, PART_REPMODEL, PART_AUTO };
enum { SHARD_RELID = 1, SHARD_ID, SHARD_STORAGE, SHARD_MIN, SHARD_MAX };
enum { PLACE_ID = 1, PLACE_SHARD, PLACE_STATE, PLACE_LENGTH, PLACE_GROUP };
enum {
	NODE_ID = 1,
	NODE_GROUP,
	NODE_NAME,
	NODE_PORT,
	NODE_RACK,
	NODE_HASMETADATA,
	NODE_ACTIVE,
	NODE_ROLE,
	NODE_CLUSTER,
	NODE_SYNCED,
	NODE_SHOULDHAVESHARDS
};
#define PLACEMENT_ACTIVE 1

typedef struct TableEntry {
	Oid relid; /* hash key */
	bool valid;
	bool distributed;
	HerdTable *table; /* in memory; NULL unless distributed */
	MemoryContext memory;
} TableEntry;

static HTAB *tables;
static bool tables_valid = true; /* false: all entries are to be read again */
static bool some_invalid;        /* entries, since the last transaction ended */
static MemoryContext graveyard;  /* parent of replaced entries until the transaction ends */
static List *cached_nodes;
static MemoryContext nodes_memory;
static bool nodes_valid;
static int32 cached_local_group;
static bool local_group_valid;
static bool enabled_valid; /* the extension was seen, and its catalogs have not changed since */
static uint64 changes;     /* counts invalidations, to notice one that comes while reading */
static uint64 table_changes;
/* Catalog oids, looked up when the extension is seen; InvalidOid otherwise. */
static Oid placement_oid, node_oid, local_group_oid;

static Oid catalog_oid(const char *name)
{
	return get_relname_relid(name, PG_CATALOG_NAMESPACE);
}

static void relcache_changed(Datum arg, Oid relid)
{
	TableEntry *entry;

	changes++;
	if (relid == InvalidOid) {
		table_changes++;
		tables_valid = nodes_valid = local_group_valid = enabled_valid = false;
		return;
	}
	if (relid == placement_oid)
		tables_valid = false;
	if (relid == node_oid)
		nodes_valid = false;
	if (relid == local_group_oid)
		local_group_valid = enabled_valid = false;
	if (tables && (entry = hash_search(tables, &relid, HASH_FIND, NULL))) {
		entry->valid = false;
		some_invalid = true;
		table_changes += entry->distributed;
	}
}

uint64 herd_table_changes(void)
{
	return table_changes;
}

/* Of tables that are gone nobody asks again. */
static void drop_invalid_entries(void)
{
	HASH_SEQ_STATUS seq;
	TableEntry *entry;

	hash_seq_init(&seq, tables);
	while ((entry = hash_seq_search(&seq))) {
		if (entry->valid)
			continue;
		if (entry->memory)
			MemoryContextDelete(entry->memory);
		(void)hash_search(tables, &entry->relid, HASH_REMOVE, NULL);
	}
	some_invalid = false;
}

static void transaction_ended(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	if (graveyard)
		MemoryContextDelete(graveyard);
	graveyard = NULL;
	if (some_invalid)
		drop_invalid_entries();
}

void herd_metadata_init(void)
{
	CacheRegisterRelcacheCallback(relcache_changed, (Datum)0);
	RegisterXactCallback(transaction_ended, NULL);
}

/* Keeps what callers may still point at until the end of the transaction. */
static void bury(MemoryContext context)
{
	if (!context)
		return;
	if (!graveyard)
		graveyard = AllocSetContextCreate(CacheMemoryContext, "herd stale metadata",
						  ALLOCSET_SMALL_SIZES);
	MemoryContextSetParent(context, graveyard);
}

bool herd_enabled(void)
{
	Oid oid;

	if (!IsTransactionState() || IsBinaryUpgrade || !OidIsValid(MyDatabaseId))
		return false;
	if (creating_extension)
		return false;
	if (enabled_valid)
		return true;
	oid = catalog_oid("pg_dist_local_group");
	if (!OidIsValid(oid))
		return false;
	if (oid != local_group_oid) {
		/* First sight, or the extension was dropped and created again. */
		local_group_oid = oid;
		node_oid = catalog_oid("pg_dist_node");
		placement_oid = catalog_oid("pg_dist_placement");
		tables_valid = nodes_valid = local_group_valid = false;
	}
	enabled_valid = true;
	return true;
}

static Relation open_catalog(const char *name)
{
	Oid oid = catalog_oid(name);

	if (!OidIsValid(oid))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
				errmsg("catalog \"%s\" of extension pgherd does not exist", name)));
	return table_open(oid, AccessShareLock);
}

static SysScanDesc scan_catalog(Relation rel, const char *index, ScanKey key)
{
	return systable_beginscan(rel, catalog_oid(index), true, NULL, 1, key);
}

static Datum attr_or_zero(HeapTuple tuple, int attno, TupleDesc desc, bool *isnull)
{
	Datum d = heap_getattr(tuple, attno, desc, isnull);

	return *isnull ? (Datum)0 : d;
}

static int compare_groups(const void *a, const void *b)
{
	int32 x = *(const int32 *)a, y = *(const int32 *)b;

	return x < y ? -1 : x > y;
}

static void read_placements(Relation rel, HerdShard *shard)
{
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;
	int room = 4;
	bool isnull;

	shard->groups = palloc(room * sizeof(int32));
	ScanKeyInit(&key, PLACE_SHARD, BTEqualStrategyNumber, F_INT8EQ,
		    Int64GetDatum((int64)shard->shardid));
	scan = scan_catalog(rel, "pg_dist_placement_shardid_index", &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan))) {
		TupleDesc desc = RelationGetDescr(rel);

		if (DatumGetInt32(heap_getattr(tuple, PLACE_STATE, desc, &isnull)) !=
		    PLACEMENT_ACTIVE)
			continue;
		if (shard->ngroups == room)
			shard->groups = repalloc(shard->groups, (room *= 2) * sizeof(int32));
		shard->groups[shard->ngroups++] =
			DatumGetInt32(heap_getattr(tuple, PLACE_GROUP, desc, &isnull));
	}
	systable_endscan(scan);
	qsort(shard->groups, shard->ngroups, sizeof(int32), compare_groups);
}

static int compare_shards(const void *a, const void *b)
{
	const HerdShard *x = a, *y = b;

	if (x->hashmin != y->hashmin)
		return x->hashmin < y->hashmin ? -1 : 1;
	return x->shardid < y->shardid ? -1 : x->shardid > y->shardid;
}

static int32 hash_bound(HeapTuple tuple, int attno, TupleDesc desc)
{
	bool isnull;
	Datum d = attr_or_zero(tuple, attno, desc, &isnull);
	char *written;
	int32 bound;

	if (isnull)
		return 0;
	/* the memory here lives as long as the table is known */
	written = TextDatumGetCString(d);
	bound = pg_strtoint32(written);
	pfree(written);
	return bound;
}

static void read_shards(HerdTable *table)
{
	Relation rel = open_catalog("pg_dist_shard");
	Relation placements = open_catalog("pg_dist_placement");
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;
	int room = 32;
	bool isnull;

	table->shards = palloc0(room * sizeof(HerdShard));
	ScanKeyInit(&key, SHARD_RELID, BTEqualStrategyNumber, F_OIDEQ,
		    ObjectIdGetDatum(table->relid));
	scan = scan_catalog(rel, "pg_dist_shard_logical_relid_index", &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan))) {
		TupleDesc desc = RelationGetDescr(rel);
		HerdShard *shard;

		if (table->nshards == room)
			table->shards = repalloc(table->shards, (room *= 2) * sizeof(HerdShard));
		shard = &table->shards[table->nshards++];
		memset(shard, 0, sizeof(*shard));
		shard->shardid =
			(uint64)DatumGetInt64(heap_getattr(tuple, SHARD_ID, desc, &isnull));
		if (table->partmethod == HERD_METHOD_HASH) {
			shard->hashmin = hash_bound(tuple, SHARD_MIN, desc);
			shard->hashmax = hash_bound(tuple, SHARD_MAX, desc);
		}
	}
	systable_endscan(scan);
	for (int i = 0; i < table->nshards; i++)
		read_placements(placements, &table->shards[i]);
	qsort(table->shards, table->nshards, sizeof(HerdShard), compare_shards);
	table_close(placements, AccessShareLock);
	table_close(rel, AccessShareLock);
}

/* The planner relies on it: a hash that no shard owns would be a lost row. */
static void check_ranges(const HerdTable *table)
{
	int64 next = PG_INT32_MIN;

	for (int i = 0; i < table->nshards; i++) {
		if (table->shards[i].hashmin != next ||
		    table->shards[i].hashmax < table->shards[i].hashmin)
			ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("shard ranges of table \"%s\" have a gap or an overlap",
					get_rel_name(table->relid)),
				 errdetail("Shard " UINT64_FORMAT " starts at %d, expected %lld.",
					   table->shards[i].shardid, table->shards[i].hashmin,
					   (long long)next)));
		next = (int64)table->shards[i].hashmax + 1;
	}
	if (next != (int64)PG_INT32_MAX + 1)
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
				errmsg("shards of table \"%s\" do not cover all hash values",
				       get_rel_name(table->relid))));
}

static void read_key(HerdTable *table, const char *partkey)
{
	TypeCacheEntry *type;
	Var var;

	if (!herd_key_parse(partkey, &var))
		elog(ERROR, "pg_dist_partition.partkey of table %u is not a column", table->relid);
	table->keyattno = var.varattno;
	table->keytype = var.vartype;
	table->keytypmod = var.vartypmod;
	table->keycollation = var.varcollid;
	/* gone in the same DROP as the table, which is on its way out: no key is hashed anymore */
	if (!SearchSysCacheExists1(TYPEOID, ObjectIdGetDatum(var.vartype)))
		return;
	type = lookup_type_cache(getBaseType(var.vartype), TYPECACHE_HASH_PROC_FINFO);
	if (!OidIsValid(type->hash_proc))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_FUNCTION),
				errmsg("type %s of the distribution column has no hash function",
				       format_type_be(var.vartype))));
	table->keyhash = palloc0(sizeof(FmgrInfo));
	fmgr_info_cxt(type->hash_proc, table->keyhash, CurrentMemoryContext);
}

static HerdTableKind table_kind(const HerdTable *table)
{
	if (table->partmethod == HERD_METHOD_HASH)
		return HERD_TABLE_HASH;
	if (table->partmethod != HERD_METHOD_NONE)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("table \"%s\" is distributed by method \"%c\", only hash is "
				       "supported",
				       get_rel_name(table->relid), table->partmethod)));
	if (table->repmodel == HERD_REPMODEL_2PC)
		return HERD_TABLE_REFERENCE;
	return table->colocationid ? HERD_TABLE_SINGLE_SHARD : HERD_TABLE_LOCAL;
}

/* So that short statements do not make them up each time. */
static void name_shards(HerdTable *table)
{
	char *name, *quoted;

	table->relname = get_rel_name(table->relid);
	for (int i = 0; table->relname && i < table->nshards; i++) {
		name = herd_shard_name(table->relname, table->shards[i].shardid);
		quoted = (char *)quote_identifier(name);
		if (quoted != name)
			pfree(name);
		table->shards[i].name = quoted;
	}
}

/* Reads pg_dist_partition's row of relid into the current memory context; NULL when none. */
static HerdTable *read_table(Oid relid)
{
	Relation rel = open_catalog("pg_dist_partition");
	TupleDesc desc = RelationGetDescr(rel);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;
	HerdTable *table = NULL;
	bool isnull;

	ScanKeyInit(&key, PART_RELID, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = scan_catalog(rel, "pg_dist_partition_logical_relid_index", &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple)) {
		Datum partkey;
		char *written;

		table = palloc0(sizeof(HerdTable));
		table->relid = relid;
		table->partmethod = DatumGetChar(heap_getattr(tuple, PART_METHOD, desc, &isnull));
		table->repmodel = DatumGetChar(heap_getattr(tuple, PART_REPMODEL, desc, &isnull));
		table->colocationid =
			(uint32)DatumGetInt32(heap_getattr(tuple, PART_COLOCATION, desc, &isnull));
		table->kind = table_kind(table);
		partkey = attr_or_zero(tuple, PART_KEY, desc, &isnull);
		if (table->kind == HERD_TABLE_HASH) {
			if (isnull)
				elog(ERROR, "pg_dist_partition.partkey of table %u is null", relid);
			written = TextDatumGetCString(partkey);
			read_key(table, written);
			pfree(written);
		}
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	if (table) {
		read_shards(table);
		name_shards(table);
		if (table->kind == HERD_TABLE_HASH)
			check_ranges(table);
	}
	return table;
}

static void create_cache(void)
{
	HASHCTL ctl = { .keysize = sizeof(Oid), .entrysize = sizeof(TableEntry) };

	if (!CacheMemoryContext)
		CreateCacheMemoryContext();
	ctl.hcxt = CacheMemoryContext;
	tables = hash_create("herd tables", 128, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

static void load_entry(TableEntry *entry)
{
	MemoryContext memory =
		AllocSetContextCreate(CurrentMemoryContext, "herd table", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(memory);
	Oid relid = entry->relid;
	HerdTable *table;

	/* Set before reading: an invalidation that arrives meanwhile clears it again. */
	entry->valid = true;
	PG_TRY();
	{
		table = read_table(relid);
	}
	PG_CATCH();
	{
		entry->valid = false;
		PG_RE_THROW();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
	bury(entry->memory);
	entry->distributed = table != NULL;
	entry->table = table;
	entry->memory = NULL;
	if (table) {
		MemoryContextSetParent(memory, CacheMemoryContext);
		entry->memory = memory;
	} else {
		MemoryContextDelete(memory);
	}
}

const HerdTable *herd_table_get(Oid relid)
{
	TableEntry *entry;
	bool found;

	if (relid < FirstNormalObjectId || !herd_enabled())
		return NULL;
	if (!tables)
		create_cache();
	if (!tables_valid) {
		HASH_SEQ_STATUS seq;

		tables_valid = true;
		hash_seq_init(&seq, tables);
		while ((entry = hash_seq_search(&seq)))
			entry->valid = false;
		some_invalid = true;
	}
	entry = hash_search(tables, &relid, HASH_ENTER, &found);
	if (!found) {
		entry->valid = false;
		entry->distributed = false;
		entry->table = NULL;
		entry->memory = NULL;
	}
	if (!entry->valid)
		load_entry(entry);
	return entry->table;
}

int32 herd_table_hash(const HerdTable *table, Datum value)
{
	return DatumGetInt32(FunctionCall1Coll(table->keyhash, table->keycollation, value));
}

int herd_table_shard_index(const HerdTable *table, int32 hash)
{
	int low = 0, high = table->nshards - 1;

	Assert(table->kind == HERD_TABLE_HASH);
	while (low < high) {
		int mid = low + (high - low + 1) / 2;

		if (table->shards[mid].hashmin <= hash)
			low = mid;
		else
			high = mid - 1;
	}
	return low;
}

bool herd_shard_find(uint64 shardid, const HerdTable **table, int *index)
{
	Relation rel;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;
	Oid relid = InvalidOid;
	const HerdTable *found;
	bool isnull;

	if (!herd_enabled())
		return false;
	rel = open_catalog("pg_dist_shard");
	ScanKeyInit(&key, SHARD_ID, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum((int64)shardid));
	scan = scan_catalog(rel, "pg_dist_shard_shardid_index", &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		relid = DatumGetObjectId(
			heap_getattr(tuple, SHARD_RELID, RelationGetDescr(rel), &isnull));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	found = OidIsValid(relid) ? herd_table_get(relid) : NULL;
	for (int i = 0; found && i < found->nshards; i++) {
		if (found->shards[i].shardid != shardid)
			continue;
		*table = found;
		*index = i;
		return true;
	}
	return false;
}

const char *herd_shard_known(uint64 shardid)
{
	HASH_SEQ_STATUS seq;
	TableEntry *entry;

	if (tables == NULL)
		return NULL;
	hash_seq_init(&seq, tables);
	while ((entry = hash_seq_search(&seq))) {
		const HerdTable *table = entry->table;

		for (int i = 0; table && i < table->nshards; i++)
			if (table->shards[i].shardid == shardid) {
				hash_seq_term(&seq);
				return table->relname;
			}
	}
	return NULL;
}

char *herd_shard_name(const char *relname, uint64 shardid)
{
	char suffix[24];
	int room = NAMEDATALEN - 1 - snprintf(suffix, sizeof(suffix), "_" UINT64_FORMAT, shardid);
	int len = (int)strlen(relname);
	uint32 hash;

	if (len <= room)
		return psprintf("%s%s", relname, suffix);
	/* The hash keeps names apart that begin alike: those of indexes often do. */
	hash = DatumGetUInt32(hash_any((const unsigned char *)relname, len));
	len = pg_mbcliplen(relname, len, room - 9);
	return psprintf("%.*s_%.8x%s", len, relname, hash, suffix);
}

static HerdNode *read_node(HeapTuple tuple, TupleDesc desc)
{
	HerdNode *node = palloc0(sizeof(HerdNode));
	bool isnull;
	Oid role;
	HeapTuple label;

	node->nodeid = DatumGetInt32(heap_getattr(tuple, NODE_ID, desc, &isnull));
	node->groupid = DatumGetInt32(heap_getattr(tuple, NODE_GROUP, desc, &isnull));
	node->host = TextDatumGetCString(heap_getattr(tuple, NODE_NAME, desc, &isnull));
	node->port = DatumGetInt32(heap_getattr(tuple, NODE_PORT, desc, &isnull));
	node->hasmetadata = DatumGetBool(heap_getattr(tuple, NODE_HASMETADATA, desc, &isnull));
	node->active = DatumGetBool(heap_getattr(tuple, NODE_ACTIVE, desc, &isnull));
	node->cluster =
		pstrdup(NameStr(*DatumGetName(heap_getattr(tuple, NODE_CLUSTER, desc, &isnull))));
	node->metadatasynced = DatumGetBool(heap_getattr(tuple, NODE_SYNCED, desc, &isnull));
	node->shouldhaveshards =
		DatumGetBool(heap_getattr(tuple, NODE_SHOULDHAVESHARDS, desc, &isnull));
	role = DatumGetObjectId(heap_getattr(tuple, NODE_ROLE, desc, &isnull));
	label = SearchSysCache1(ENUMOID, ObjectIdGetDatum(role));
	if (!HeapTupleIsValid(label))
		elog(ERROR, "node %d has an unknown role", node->nodeid);
	node->primary =
		strcmp(NameStr(((Form_pg_enum)GETSTRUCT(label))->enumlabel), "primary") == 0;
	ReleaseSysCache(label);
	return node;
}

static int compare_nodes(const ListCell *a, const ListCell *b)
{
	const HerdNode *x = lfirst(a), *y = lfirst(b);

	if (x->groupid != y->groupid)
		return x->groupid < y->groupid ? -1 : 1;
	if (x->primary != y->primary)
		return x->primary ? -1 : 1;
	return x->nodeid < y->nodeid ? -1 : x->nodeid > y->nodeid;
}

List *herd_nodes(void)
{
	Relation rel;
	SysScanDesc scan;
	HeapTuple tuple;
	MemoryContext memory, old;
	List *nodes = NIL;
	uint64 before;

	if (!herd_enabled())
		return NIL;
	if (nodes_valid)
		return cached_nodes;
	memory = AllocSetContextCreate(CurrentMemoryContext, "herd nodes", ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(memory);
	rel = open_catalog("pg_dist_node");
	before = changes;
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		nodes = lappend(nodes, read_node(tuple, RelationGetDescr(rel)));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	list_sort(nodes, compare_nodes);
	MemoryContextSwitchTo(old);
	bury(nodes_memory);
	MemoryContextSetParent(memory, CacheMemoryContext);
	nodes_memory = memory;
	nodes_valid = before == changes;
	cached_nodes = nodes;
	return nodes;
}

const HerdNode *herd_node_primary(int32 groupid)
{
	ListCell *lc;

	foreach (lc, herd_nodes()) {
		const HerdNode *node = lfirst(lc);

		if (node->groupid == groupid && node->primary && node->active)
			return node;
	}
	return NULL;
}

const HerdNode *herd_node_by_id(int32 nodeid)
{
	ListCell *lc;

	foreach (lc, herd_nodes()) {
		const HerdNode *node = lfirst(lc);

		if (node->nodeid == nodeid)
			return node;
	}
	return NULL;
}

int32 herd_local_group(void)
{
	Relation rel;
	SysScanDesc scan;
	HeapTuple tuple;
	bool isnull;
	uint64 before;

	if (!herd_enabled())
		return HERD_COORDINATOR_GROUP;
	if (local_group_valid)
		return cached_local_group;
	cached_local_group = HERD_COORDINATOR_GROUP;
	rel = open_catalog("pg_dist_local_group");
	before = changes;
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		cached_local_group =
			DatumGetInt32(heap_getattr(tuple, 1, RelationGetDescr(rel), &isnull));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	local_group_valid = before == changes;
	return cached_local_group;
}

/* The relation may be gone: its drop has sent the invalidation. */
static void invalidate(Oid relid)
{
	if (SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid)))
		CacheInvalidateRelcacheByRelid(relid);
}

/* Row triggers name the table whose entry changed; the others drop everything of their kind. */
PG_FUNCTION_INFO_V1(herd_catalog_changed);
PGDLLEXPORT Datum herd_catalog_changed(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *)fcinfo->context;
	TupleDesc desc;
	bool isnull;

	if (!CALLED_AS_TRIGGER(fcinfo) ||
	    RelationGetNamespace(trigger->tg_relation) != PG_CATALOG_NAMESPACE)
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				errmsg("citus_internal.catalog_changed is for the extension's "
				       "catalogs")));
	if (!TRIGGER_FIRED_FOR_ROW(trigger->tg_event)) {
		CacheInvalidateRelcache(trigger->tg_relation);
		return PointerGetDatum(NULL);
	}
	/* logicalrelid is the first column of both catalogs with a row trigger. */
	desc = RelationGetDescr(trigger->tg_relation);
	invalidate(DatumGetObjectId(heap_getattr(trigger->tg_trigtuple, 1, desc, &isnull)));
	if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
		invalidate(DatumGetObjectId(heap_getattr(trigger->tg_newtuple, 1, desc, &isnull)));
	return PointerGetDatum(NULL);
}

Oid herd_extension_owner(void)
{
	Relation rel = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;
	Oid owner = InvalidOid;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ,
		    CStringGetDatum("pgherd"));
	scan = systable_beginscan(rel, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		owner = ((Form_pg_extension)GETSTRUCT(tuple))->extowner;
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	if (!OidIsValid(owner))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
				errmsg("extension \"pgherd\" does not exist")));
	return owner;
}
