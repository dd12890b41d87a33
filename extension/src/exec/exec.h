/*
 * exec/exec.h - runs the tasks of a distributed statement, in parallel, and streams their rows.
 *
 * A task is one SQL text for one group. Tasks of one group share a few connections, pipelined;
 * groups run side by side. Rows come in no particular order. Tasks whose group is this server are
 * run in process where that is sound (exec/local.c).
 */
#pragma once
#include "postgres.h"

#include "access/tupdesc.h"
#include "datatype/timestamp.h"
#include "executor/tuptable.h"
#include "nodes/params.h"
#include "nodes/pg_list.h"

#include "catalog/metadata.h"

typedef struct HerdTask {
	uint64 shardid; /* anchor shard, HERD_INVALID_SHARD if none */
	int32 groupid;
	List *lock_shards; /* of uint64 *: shards the task writes (herd_shard_lock is taken) */
	const char *sql;   /* shard names spliced in; parameters as $1.. */
} HerdTask;

/* What a task has done, for EXPLAIN ANALYZE. */
typedef struct HerdTaskStats {
	int64 rows;  /* that came, or were affected */
	int64 bytes; /* of their values; 0 on this node */
	TimestampTz sent, ended;
} HerdTaskStats;

typedef struct HerdJob {
	int ntasks;
	HerdTask *tasks;
	HerdTaskStats *stats; /* one for each task, to be filled in; or NULL */
	bool modifies;        /* joins the distributed transaction as a writer */
	bool reference_write; /* the same write on all replicas: processed counts once, rows of one
			       */
	bool all_in_txn;      /* open a transaction block on the nodes even for a single read */
	bool holds;           /* all_in_txn, but other connections may go on reading beside it */
	bool apart;           /* sees what other parts of the statement did: conn/moment.h */
	bool code;            /* the shards run code of users: conn/adopt.h */
	char *rights;         /* message of conn/rights.h for every task, or NULL */
	int64 max_bytes; /* of all rows from other nodes together, more is an error; 0: no limit */
	bool packs;      /* many rows: they come in blocks (move/pack.h), where types allow it */
	bool reusable;   /* the text repeats: keep it as a prepared statement on the connection */
	ParamListInfo params; /* all parameters the texts refer to, or NULL */
	TupleDesc tupdesc;    /* of the rows the tasks return; NULL when they return none */
} HerdJob;

/* The task of the job for this group, added when there is none yet; tasks must have room for it. */
extern HerdTask *herd_job_task_of(HerdJob *job, int32 groupid);

/* Adds the task of a write to one placement of a shard; tasks must have room for it. */
extern void herd_job_add_write(HerdJob *job, const HerdShard *shard, int32 groupid,
			       const char *sql);
/* A new job: the same write on every placement of one shard of the table, in a transaction. */
extern HerdJob *herd_job_write(const HerdTable *table, int shard, const char *sql);

typedef struct HerdExec HerdExec;

/*
 * Starts the job: sends as much as can be sent. Memory lives in a child of CurrentMemoryContext;
 * the job, and all it points to, must live until herd_exec_end. Begin at the first row, not when
 * the plan is initialized: only then is it known that no other statement follows (txn/statement.c).
 * modifies must be true for whatever may change something or lock rows on a node.
 */
extern HerdExec *herd_exec_begin(const HerdJob *job);
/* Stores the next row into slot (of job->tupdesc) and returns true; false at the end. */
extern bool herd_exec_next(HerdExec *exec, TupleTableSlot *slot);
/* Reads to the end what is to come and keeps it, so that no later write is seen in it. */
extern void herd_exec_settle(HerdExec *exec);
/*
 * Called before anything is written to shards: plans that have not given all their rows (cursors,
 * the statement around a function) are to see what was there when they began.
 */
extern void (*herd_exec_before_write)(void);
/* Rows affected, from the command tags; complete once herd_exec_next has returned false. */
extern uint64 herd_exec_processed(const HerdExec *exec);
/* Also before the end (LIMIT): the rest is cancelled or drained so the connections stay usable. */
extern void herd_exec_end(HerdExec *exec);

/*
 * Rows in bulk to the shards of one table, by COPY in binary or text format: COPY FROM,
 * create_distributed_table with rows, INSERT .. SELECT through this node.
 */
typedef struct HerdShardWriter HerdShardWriter;
/* attnums: the columns that put() gets, in order (physical attribute numbers). */
extern HerdShardWriter *herd_shard_writer_begin(Oid relid, List *attnums);
/* values/isnull indexed by position in attnums. A NULL distribution key raises. */
extern void herd_shard_writer_put(HerdShardWriter *w, Datum *values, bool *isnull);
/* Waits for the nodes; returns the rows they have inserted. */
extern uint64 herd_shard_writer_end(HerdShardWriter *w);
/*
 * For COPY FROM: options of the nodes' commands (", FREEZE" or ""), the name of the table for the
 * context of their errors, the line of each row; see exec/shardcopy.h.
 */
extern HerdShardWriter *herd_shard_writer_begin_copy(Oid relid, List *attnums, const char *options,
						     const char *what);
extern void herd_shard_writer_put_line(HerdShardWriter *w, Datum *values, bool *isnull,
				       uint64 line);
extern bool herd_shard_writer_raising(const HerdShardWriter *w);
