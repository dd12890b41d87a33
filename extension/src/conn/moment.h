/*
 * conn/moment.h - the parts of one statement do not see what the others of it do.
 *
 * A statement that writes in WITH is several statements for the nodes. PostgreSQL runs all its
 * parts as one command: none sees the rows of another, a row that one has changed the others leave
 * alone. So a node is told which statement a task is a part of; it notes its command number when it
 * first hears of it, and runs all parts with that one.
 *
 * Triggers AFTER rows, those of foreign keys too, fire when the last part is done: a statement may
 * write a row before the one that it refers to. Of a late moment a node keeps them until it hears
 * that the moment is over.
 */
#pragma once
#include "postgres.h"

#include "conn/session.h"
#include "executor/execdesc.h"

/* 0: the statement has no parts; else a number that this backend has not used before. */
typedef uint64 HerdMoment;

/*
 * A statement of several parts begins, or a part of one that has parts itself. *cid: the command
 * number for its parts on this node. late: nothing that AFTER triggers do on shards is needed here
 * before the end of the statement (a part is what its statement is).
 */
extern HerdMoment herd_moment_begin(bool late, CommandId *cid);

/* All parts are done, unless it is a part itself: nodes fire what waits. Raises what they raise. */
extern void herd_moment_end(HerdMoment moment);

/* The next executor that is run, and what it sends to nodes, is a part of the statement. */
extern void herd_moment_give(HerdMoment moment);

/* Of the executor that runs; given to another with herd_moment_give it is a part of the same. */
extern HerdMoment herd_moment_current(void);

/*
 * For the hook of ExecutorRun, around it. A query with the very snapshot of a part is one of the
 * part's: so run STABLE functions, which must not see what their statement writes.
 */
typedef struct HerdMomentFrame {
	HerdMoment moment;
	Snapshot snapshot;
} HerdMomentFrame;
extern HerdMomentFrame herd_moment_enter(const QueryDesc *query);
extern void herd_moment_leave(HerdMomentFrame outer);

/* Tells the node, when it is not what it was told last; after herd_conn_send_setup. */
extern void herd_conn_send_moment(HerdConn *c, HerdMoment moment);

/* The next statement of this text runs on this node as a part; sql lives until it has begun. */
extern void herd_moment_arm(HerdMoment moment, const char *sql);

/*
 * For the hook of ExecutorStart: before it and after it. outermost: the session's own statement,
 * not one that a function runs. Adds to eflags what keeps AFTER triggers waiting.
 */
extern bool herd_moment_starts(QueryDesc *query, bool outermost, CommandId *cid, int *eflags);
extern void herd_moment_started(QueryDesc *query, CommandId cid);

extern void herd_moment_init(void);
