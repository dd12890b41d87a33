/*
 * exec/run.h - an execution from the inside, for the files that run it: exec.c, grow.c, retry.c.
 */
#pragma once
#include "postgres.h"

#include "conn/session.h"
#include "exec/internal.h"
#include "utils/resowner.h"

typedef struct Worker {
	HerdConn *conn; /* NULL: closed, it could not be opened or was lost */
	int pool;
	int ahead;  /* tasks sent and not ended */
	bool fresh; /* no block was open on it when it came: what is in one now is all ours */
} Worker;

typedef struct Pool {
	int32 groupid;
	bool in_block; /* its tasks are part of the distributed transaction */
	bool parallel; /* more than one connection may be used */
	bool serial;   /* its tasks are planned without parallel workers: serial.h */
	bool failed;   /* further connections cannot be had or are of no use */
	int *tasks;
	int ntasks, next;
	/* A standby that may do its tasks, and what it must have replayed; see standby.h. */
	const HerdNode *standby;
	HerdConn *first; /* to it, ready */
	uint64 lsn;
	uint32 timeline;
	int *redo; /* tasks that were sent and have to be sent again */
	int nredo;
	int nworkers;
	int nended;
	/* grow.c: when it last grew, what had ended then, and tasks in a millisecond before */
	TimestampTz grown_at;
	int ended_then;
	double rate_then;
} Pool;

typedef struct TaskState {
	int worker; /* index, once sent */
	bool ended;
	bool gave_rows;
	uint64 processed;
} TaskState;

struct HerdExec {
	MemoryContext cxt;
	MemoryContext row_cxt; /* of the last row given out */
	ResourceOwner resowner;
	const HerdJob *job;
	uint64 moment; /* what it is a part of: conn/moment.h */
	HerdDecoder *decoder;
	bool packs; /* rows of other nodes come in blocks */
	HerdParams *params;
	TaskState *states; /* of every task */
	Pool *pools;
	int npools;
	Worker *workers;
	int nworkers, max_workers;
	int outstanding; /* remote tasks that have not ended */
	int *local_tasks;
	int nlocal, next_local;
	uint64 processed;
	int64 bytes;               /* of rows, when job->max_bytes is set */
	int first_reference_group; /* its rows and counts stand for all replicas */
	int next_worker;           /* whom to ask first: nobody is starved */
	PGresult *res;             /* rows from res_row on have not been given out */
	int res_row;
	Tuplestorestate *store;
	bool stored;  /* there may be rows in the store */
	bool settled; /* all that is left is in the store */
	TupleTableSlot *store_slot;
	WaitEventSet *set; /* of the workers' sockets, NULL when they have changed */
	int *set_positions;
	TimestampTz next_start;  /* when one more connection may be opened */
	TimestampTz retry_until; /* 0 before the first connection was lost */
	MemoryContextCallback cleanup;
};

#define herd_pool_waiting(pool) ((pool)->ntasks - (pool)->next + (pool)->nredo)

/* exec.c */
extern void herd_exec_workers_changed(HerdExec *exec);
extern void herd_exec_add_worker(HerdExec *exec, int pool, HerdConn *c);
/* A new main connection for a worker whose own was lost; may wait for the group. */
extern void herd_exec_replace_worker(HerdExec *exec, Worker *w);
/* Sends the worker as many tasks as it should have. */
extern void herd_exec_feed(HerdExec *exec, Worker *w);

/* grow.c: more connections while tasks wait for one */
extern void herd_exec_start_growing(HerdExec *exec);
extern bool herd_exec_may_grow(const HerdExec *exec);
extern void herd_exec_grow(HerdExec *exec);
/* A connection that was begun is open. */
extern void herd_exec_grown(HerdExec *exec, Worker *w);

/*
 * retry.c: the worker's connection was lost. What it had to do is done by others, by a new
 * connection, or the loss is raised.
 */
extern void herd_exec_retry(HerdExec *exec, Worker *w);
