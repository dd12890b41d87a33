/*
 * plan/remote.h - one statement for shards: what a plan keeps of it, and its run.
 */
#pragma once
#include "compat.h"
#include "postgres.h"

#include "commands/explain.h"
#if PG_VERSION_NUM >= 180000
#include "commands/explain_format.h"
#include "commands/explain_state.h"
#endif
#include "nodes/execnodes.h"
#include "nodes/plannodes.h"

#include "attach/attach.h"
#include "catalog/metadata.h"
#include "deparse/deparse.h"
#include "exec/exec.h"

typedef enum HerdShards {
	HERD_SHARDS_KEY,     /* the one shard that the values of all keys hash to */
	HERD_SHARDS_FIRST,   /* shard 0: single-shard tables, or a read of reference tables */
	HERD_SHARDS_ALL,     /* every shard of the anchor */
	HERD_SHARDS_IN,      /* the shards of the elements of arrays (every key is an array) */
	HERD_SHARDS_REPLICAS /* the shard of a reference table on every node */
} HerdShards;

typedef struct HerdRemote {
	int tier; /* 0 router, 1 all shards, 2 a relation read for a plan of this node */
	CmdType command;
	HerdShards shards;
	Oid anchor;     /* the table whose shards say how many tasks there are, and where */
	List *keys;     /* of int: positions (1..) in evals of the values of the key */
	List *keyprocs; /* of Oid: hash function for the type of each */
	List *writes;   /* of Oid: tables that are written */
	List *evals;    /* of Expr: computed here */
	int ntext;      /* so many of evals are $1.. of the text, the others are only keys */
	HerdTemplate *tmpl;
	HerdTemplate *verify; /* or NULL: SELECT of how many rows have changed since the moves */
	HerdTemplate *before; /* or NULL: a write ahead of tmpl, whose rows do not count */
	List *moves;          /* of HerdMove: made before, on the nodes of the tasks */
	bool null_key_fails;  /* INSERT: the key may not be null */
	bool in_txn;          /* takes row locks, or calls functions that may write */
	bool reusable;
	bool volatile_evals; /* EXPLAIN must not compute them */
	bool explains;       /* a write in EXPLAIN: its rows are for nobody */
	bool packs;          /* many rows are expected: they come in blocks */
	bool unites;         /* one task may answer for several shards of a node */
	bool unites_all;     /* and had better answer for all of them; it may use more processes */
	HerdFire *fire;      /* statement triggers of this node, or NULL */
	List *rights_relids; /* of Oid; set when the plan is made: plan/rights.h */
	List *rights_roles;
} HerdRemote;

/* A CustomScan without targetlist; scan_tlist: the columns of the rows that come. */
extern CustomScan *herd_remote_plan(const HerdRemote *remote, List *scan_tlist);
extern HerdRemote *herd_remote_from_plan(const CustomScan *scan);
/* Its text is not worth a prepared statement on the node. */
extern void herd_remote_plan_once(CustomScan *scan);

/* The index of the shard the keys say; sets *null_key when a key is null (then 0). */
extern int herd_remote_key_shard(const HerdRemote *remote, Datum *values, bool *isnull,
				 bool *null_key);

/* NOT NULL: a shard refuses a null itself, in PostgreSQL's words. */
extern bool herd_key_is_not_null(const HerdTable *table);
/* Raises the error of a row whose distribution column is null: PostgreSQL's when it is NOT NULL. */
extern void herd_null_key_error(const HerdTable *table) HERD_NORETURN;

/* Tasks for values of all evals (params may be NULL when there are none). */
extern HerdJob *herd_remote_job(const HerdRemote *remote, ParamListInfo params, TupleDesc tupdesc);

/* Where the shard with this index is read. */
extern int32 herd_remote_shard_group(const HerdTable *table, int index);

/* Values of the evals, or NULL when there are none; exprs: their ExprStates. */
extern ParamListInfo herd_remote_params(const HerdRemote *remote, List *exprs,
					ExprContext *econtext);

/* True for the node of such a plan. */
extern bool herd_is_remote_scan(const PlanState *state);

/* Rows that such a write, run to its end, has changed. */
extern uint64 herd_remote_processed(const PlanState *state);

/* Registers the CustomScan methods. */
extern void herd_remote_init(void);
extern void herd_insert_init(void);

/*
 * plan/insert.c: makes an INSERT one of rows of a list of values, which is to be filled, for the
 * columns attnums. Returns the list's number among its relations.
 */
extern int herd_insert_read_values(Query *insert, List *attnums);
/*
 * plan/insert.c: a plan that inserts the rows of child. insert: the statement, which is changed;
 * attnums: the columns that child's target list gives, in order; returning: as in scan_tlist.
 */
extern CustomScan *herd_insert_plan(Query *insert, List *attnums, Plan *child, List *returning);

/*
 * plan/explain.c. job: NULL when its values are not known; ran: it was executed (job->stats say
 * how); plans: List of lines (of char *) for each task that was run by herd_explain_write.
 */
extern void herd_explain_remote(const HerdRemote *remote, const HerdJob *job, bool ran, List *plans,
				ExplainState *es);
/* True once after EXPLAIN has begun, for the first statement that is planned: its own. */
extern bool herd_explain_first(void);
/* Runs a write as EXPLAIN ANALYZE on the nodes, task by task: what they say, for each task. */
extern List *herd_explain_write(const HerdJob *job);
