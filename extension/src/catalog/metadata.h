/*
 * catalog/metadata.h - what the pg_dist_* catalogs say, cached per backend.
 *
 * Every lookup reads its cache; a change in the catalogs invalidates it through relcache
 * invalidation, in this backend at the next command and in others when they take a lock. Returned
 * pointers stay valid until the end of the current transaction, also when the entry is invalidated
 * meanwhile: an invalid entry is only freed between transactions. Nobody but catalog/ writes to
 * the structs.
 */
#pragma once
#include "postgres.h"

#include "access/attnum.h"
#include "fmgr.h"
#include "nodes/pg_list.h"

/* pg_dist_partition.partmethod */
#define HERD_METHOD_HASH 'h'
#define HERD_METHOD_RANGE 'r'
#define HERD_METHOD_APPEND 'a'
#define HERD_METHOD_NONE 'n'

/* pg_dist_partition.repmodel */
#define HERD_REPMODEL_STREAMING 's'
#define HERD_REPMODEL_2PC 't' /* reference tables: every node has the one shard */

/* Group 0 is the coordinator's, workers have 1 and up. */
#define HERD_COORDINATOR_GROUP 0
#define HERD_INVALID_GROUP (-1)
#define HERD_INVALID_SHARD UINT64CONST(0)

typedef enum HerdTableKind {
	HERD_TABLE_HASH,         /* sharded by the hash of one column */
	HERD_TABLE_REFERENCE,    /* one shard, a copy on every node */
	HERD_TABLE_SINGLE_SHARD, /* one shard on one node (no distribution column) */
	HERD_TABLE_LOCAL         /* in the metadata, data on the coordinator only */
} HerdTableKind;

typedef struct HerdShard {
	uint64 shardid;
	int32 hashmin; /* inclusive; only meaningful for HERD_TABLE_HASH */
	int32 hashmax; /* inclusive */
	int ngroups;   /* groups with an active placement; 1 unless a reference table */
	int32 *groups; /* ascending */
	char *name;    /* of its relation, without schema, quoted; NULL when the table is gone */
} HerdShard;

typedef struct HerdTable {
	Oid relid;
	char *relname; /* NULL when the table is gone and its metadata not yet */
	HerdTableKind kind;
	char partmethod;
	char repmodel;
	uint32 colocationid; /* tables with the same non-zero id have shard i on the same node */
	AttrNumber keyattno; /* 0 unless HERD_TABLE_HASH */
	Oid keytype;
	int32 keytypmod;
	Oid keycollation;
	FmgrInfo *keyhash; /* hash function of the type's default hash opclass */
	int nshards;
	HerdShard *shards; /* hash tables: ascending by hashmin, without gaps or overlaps */
} HerdTable;

typedef struct HerdNode {
	int32 nodeid;
	int32 groupid;
	char *host;
	int port;
	bool primary; /* noderole = 'primary' */
	bool active;
	bool hasmetadata;
	bool metadatasynced;
	bool shouldhaveshards;
	char *cluster;
} HerdNode;

/*
 * NULL when relid is not in pg_dist_partition, or when the extension is not created in this
 * database, or is being created, upgraded or restored. Cheap (a hash probe) in every case: the
 * planner hook calls it for each relation of each statement.
 */
extern const HerdTable *herd_table_get(Oid relid);

/* Grows when a table in the metadata may have changed: its columns, its rows there, anything. */
extern uint64 herd_table_changes(void);

/* Installs the cache's callbacks; once from _PG_init. */
extern void herd_metadata_init(void);

/* True when the extension exists in this database and its hooks should act. */
extern bool herd_enabled(void);

/* The role that internal statements run as; raises when the extension does not exist. */
extern Oid herd_extension_owner(void);

/* Hash of a non-null value of the key's type, as pg_dist_shard counts it. */
extern int32 herd_table_hash(const HerdTable *table, Datum value);

/* Index in shards[] of the shard that owns the hash; hash tables only; never fails. */
extern int herd_table_shard_index(const HerdTable *table, int32 hash);

/* The shard, its table and its index, by id. False when there is no such shard. */
extern bool herd_shard_find(uint64 shardid, const HerdTable **table, int *index);

/*
 * The name of the shard's table if this process has it in memory, else NULL. Reads no catalog and
 * raises nothing: for where an error is reported.
 */
extern const char *herd_shard_known(uint64 shardid);

/*
 * "<relation>_<shardid>"; a name that gets too long is cut and "_<hash of the whole>" put before
 * the id. Palloc'd, unquoted, unqualified.
 */
extern char *herd_shard_name(const char *relname, uint64 shardid);

/* All rows of pg_dist_node as HerdNode *, ordered by groupid, primaries first; all clusters. */
extern List *herd_nodes(void);

/* The active primary of a group, or NULL. */
extern const HerdNode *herd_node_primary(int32 groupid);
extern const HerdNode *herd_node_by_id(int32 nodeid);

/* Group of this server (pg_dist_local_group); 0 before anything was set. */
extern int32 herd_local_group(void);

/*
 * The lock between statements and a change of a group's primary. A statement takes it shared, for
 * the rest of the transaction, before it sends anything to a group (the local one too);
 * citus_update_node takes it exclusive on every node, so statements that need the group wait while
 * its primary changes and then read the new address: take the lock first, read the node after.
 */
extern void herd_group_lock(int32 groupid, bool exclusive);
/* For a statement that has not used the group in this transaction and must wait for it. */
extern void herd_group_unlock_shared(int32 groupid);

/*
 * Row-modifying statements take this per shard until the transaction ends, so that shard moves
 * (exclusive) wait for them and new ones wait for a move. Ids are locked in ascending order.
 */
extern void herd_shard_lock(uint64 shardid, bool exclusive);

/*
 * Held to the end of the transaction by everything that changes what nodes must agree on: shared
 * by DDL on distributed tables, exclusive by changes of nodes and by new tables.
 */
extern void herd_changes_lock(bool exclusive);

/*
 * Held to the end of the transaction by whoever writes pg_dist_node. wait false: returns whether
 * it was free.
 */
extern bool herd_nodes_lock(bool wait);

/*
 * herd_group_lock exclusive, for a change of the group's primary. Who holds it longer than
 * cooldown_ms is cancelled, then terminated; -1 waits for ever.
 */
extern void herd_group_lock_force(int32 groupid, int cooldown_ms);

/* connection string pieces for a node, from pg_dist_authinfo (0 is the default row): "" if none. */
extern char *herd_node_authinfo(int32 nodeid, const char *rolename);
/* The same of the pooler before it, from pg_dist_poolinfo: "" if there is none. */
extern char *herd_node_poolinfo(int32 nodeid);
