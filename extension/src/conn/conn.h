/*
 * conn/conn.h - sessions with other nodes, cached for the life of this backend.
 *
 * A cached connection is checked for a closed peer before it is used for the first time in a
 * transaction, and is replaced when pg_dist_node names another address for its group. As long as
 * this transaction has sent nothing to the group, a refused connection or a server that is
 * starting up, shutting down or in recovery is retried until citus.node_connection_timeout,
 * reading pg_dist_node anew each time (and without holding the group lock meanwhile), so that a
 * failover of the node is a delay and not an error.
 */
#pragma once
#include "postgres.h"

#include "nodes/pg_list.h"

/*
 * Commands inside the distributed transaction: BEGIN is sent first when needed, savepoints are
 * replayed, the commit is two-phase when several nodes wrote. Errors of the remote end are raised
 * here with their SQLSTATE, message, detail and hint, and the node as context.
 */
extern void herd_remote_exec(int32 groupid, const char *sql);
extern void herd_remote_exec_list(int32 groupid, List *sqls /* of char * */);
/* True when this transaction has a session with the group's primary that has not been lost. */
extern bool herd_remote_in_use(int32 groupid);
/* The same statement on several groups at once, in parallel. */
extern void herd_remote_exec_groups(List *groupids /* of int */, const char *sql);

/* Text results of a command outside the distributed transaction, on a session of its own. */
typedef struct HerdRemoteResult {
	bool ok;
	char *message; /* when !ok: the error; else the command tag */
	int nrows;
	int ncols;
	char **values; /* nrows * ncols, row by row; NULL for SQL null */
} HerdRemoteResult;

/*
 * Never raises for a remote or connection error (see ok); raises on interrupts and when memory
 * runs out. superuser: log in as the extension's owner instead of the current user.
 */
extern HerdRemoteResult *herd_remote_query(const char *host, int port, const char *dbname,
					   const char *sql, int timeout_ms, bool superuser);
/* The same on several nodes in parallel (of HerdNode *), sqls one for each; list of results. */
extern List *herd_remote_query_nodes(List *nodes, List *sqls, int timeout_ms);
