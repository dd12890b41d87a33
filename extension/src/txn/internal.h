/*
 * txn/internal.h - what conn/ and exec/ tell the transaction module, and ask it.
 */
#pragma once
#include "postgres.h"

#include "nodes/nodes.h"

/* A connection is used in this transaction: the callbacks have something to do at its end. */
extern void herd_txn_begin_use(void);
/* Shards of this server's own group were used in process. */
extern void herd_txn_use_local_group(void);
/*
 * True when a single command sent to one node now is all this transaction will ever do there, so
 * that the node's own autocommit is as good as a block: a statement by itself outside any block,
 * whose plan is nothing but one scan of ours.
 */
extern bool herd_txn_lone_statement(void);

/*
 * True when what is run now reads for a statement that only reads, and nothing else can be done in
 * its transaction: a SELECT by itself outside any block, or anything in a READ ONLY transaction.
 */
extern bool herd_txn_only_reads(void);

/* The state of the innermost plan that is being run for rows, or NULL. */
extern struct EState *herd_txn_running(void);

/*
 * Raises in code of users that runs on a shard (a trigger, a function) when it needs another node:
 * there it would not see what its own transaction did, and could wait for itself.
 */
extern void herd_txn_check_nested(void);

/* recover.c: taken (shared by nobody) from before the first PREPARE to the end of transaction. */
extern void herd_txn_lock_number(int pid, uint64 number);
/* COMMIT or ROLLBACK PREPARED of a transaction that has ended here; false: said why in the log. */
extern bool herd_recover_resolve(const struct HerdNode *node, const char *gid, bool commit);
/* A row of pg_dist_transaction. */
extern void herd_txn_record(int32 groupid, const char *gid);
/* One that says that it is not to be committed; see decide.h. */
extern void herd_txn_refuse(int32 groupid, const char *gid);
/* maintenance.c: ends the worker of a database that the command needs for itself. */

extern void herd_maintenance_leave_database(Node *stmt);
/* deadlock.c */
extern void herd_deadlock_init(void);
/* In the maintenance worker, inside a transaction: looks for a deadlock and ends it. */
extern void herd_deadlock_look(void);
/* Time between looks; -1 for never. */
extern int herd_deadlock_interval_ms(void);
/* In a wait: raises when this backend is cancelled because it was chosen as a victim. */
extern void herd_deadlock_check_mark(void);
/* In a PG_CATCH: the same for a wait inside PostgreSQL, which has raised "canceled" already. */
extern void herd_deadlock_rename_cancel(void);
extern void herd_deadlock_clear_mark(void);
/* statement.c: hooks that watch where statements begin. */
extern void herd_txn_statement_init(void);

/*
 * Around a utility command of ours that runs code of users: what that sends to nodes is a part of
 * it, not a transaction by itself. To be ended after an error, too.
 */
extern int herd_txn_command_begin(void);
extern void herd_txn_command_end(int outer);
