/*
 * move/move.h - rows of one item of FROM are moved to where those of another are.
 *
 * A join of tables that do not meet in their shards becomes one that does: the smaller ones are
 * either sent to every node (broadcast), or cut by the hash of a column of the join along the
 * shards of the largest (repartitioned), node to node. In the text for the shards read_result
 * stands for them. plan/hub.c decides, move.c runs it, result.c keeps the rows on the nodes.
 */
#pragma once
#include "postgres.h"

#include "nodes/execnodes.h"
#include "nodes/params.h"
#include "nodes/parsenodes.h"
#include "nodes/plannodes.h"

#include "catalog/metadata.h"
#include "exec/exec.h"

struct HerdRemote;

/* In read_result: the number of the shard comes here. */
#define HERD_MOVE_SHARD 2147483647

typedef struct HerdMove {
	int number;                  /* second argument of its read_result */
	struct HerdRemote *producer; /* its evals are a part of those of the statement; or NULL: */
	PlannedStmt *local;          /* computed on this node, and sent */
	int first_eval, nevals;
	int key;            /* column (1..) whose hash says the part; 0: broadcast */
	Oid target;         /* table along whose shards it is cut */
	char *hash;         /* hash function, as regprocedure takes it; "" for a broadcast */
	bool null_fails;    /* the rows are inserted: the column must not be null */
	bool groups;        /* planning: rows with a null there are together, in one part */
	char *name;         /* for EXPLAIN */
	double rows, bytes; /* that the last run made, on all nodes together */
} HerdMove;

/* The FROM item that stands for a move: columns of the item, by name and type, in order. */
extern RangeTblEntry *herd_move_rte(const HerdMove *move, const RangeTblEntry *item, List *tlist);
/* True, and its number, if it is one. */
extern bool herd_move_of_rte(const RangeTblEntry *rte, int *number);
/* The function that texts are searched for. */
#define HERD_READ_RESULT "read_result"
/* in_shard(table, value, number): does the value belong there? The number comes here too. */
#define HERD_IN_SHARD "in_shard"

/* Bytes of a table on all nodes; asked once a minute. */
extern double herd_table_bytes(const HerdTable *table);

/* The same without asking: what was found in the last minute, or -1. */
extern double herd_table_known_bytes(Oid relid);

/* The same of a relation of this node; 0 when it has no storage. */
extern double herd_local_bytes(Oid relid);

/* A new name for an execution; execution_id() in the evals gives it until the next one. */
extern const char *herd_moves_new_id(void);
/*
 * Makes the results where the tasks of job will read them. params: of all evals; asker:
 * the statement, whose parameters and transition tables are for what is computed here.
 */
extern void herd_moves_run(List *moves, const char *id, const HerdJob *job, ParamListInfo params,
			   const EState *asker);
