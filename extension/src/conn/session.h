/*
 * conn/session.h - one libpq connection and what this transaction did on it.
 *
 * For conn/, exec/ and txn/ only. A connection is always non-blocking and, between commands, in
 * libpq's pipeline mode. Every command that was sent has an entry in the queue `expect`, in the
 * order in which the results come back.
 *
 * Inside a transaction block one connection per group and user, the main one, carries everything
 * that takes part in the distributed transaction, so a later statement always sees what an earlier
 * one wrote and never waits for a lock of its own transaction.
 */
#pragma once
#include "compat.h"
#include "postgres.h"

#include "catalog/metadata.h"
#include "lib/ilist.h"
#include "libpq-fe.h"
#include "nodes/pg_list.h"
#include "storage/latch.h"
#include "utils/hsearch.h"
#include "utils/timestamp.h"

struct HerdExec;

typedef enum HerdCmd {
	HERD_CMD_SETUP,   /* settings and the like: success is all that matters */
	HERD_CMD_BLOCK,   /* BEGIN, SAVEPOINT, RELEASE */
	HERD_CMD_BIND,    /* gives the session to the role, see login.c */
	HERD_CMD_CHECK,   /* asks a standby whether it is up to date: an error counts as a loss */
	HERD_CMD_PREPARE, /* Parse of a named statement */
	HERD_CMD_TASK,    /* a command whose rows and tag somebody wants */
	HERD_CMD_SYNC     /* end of a pipeline: one result and no NULL after it */
} HerdCmd;

typedef struct HerdExpect {
	HerdCmd cmd;
	int task;                        /* HERD_CMD_TASK: the number its sender gave it */
					 /* HERD_CMD_BLOCK: the level that it leads to */
	bool rows;                       /* HERD_CMD_TASK: row by row */
	struct HerdStatement *statement; /* HERD_CMD_PREPARE */
} HerdExpect;

/* A statement that is, or is about to be, prepared on the connection. */
typedef struct HerdStatement {
	uint64 hash; /* of the text and the types: the key */
	char *sql;
	int ntypes;
	Oid *types;
	uint64 number; /* its name is herd_<number> */
	bool confirmed;
	dlist_node lru;
} HerdStatement;

typedef struct HerdSettings HerdSettings; /* settings.c */

typedef struct HerdConn {
	dlist_node link;
	MemoryContext cxt; /* of the struct and all it points to, except libpq's memory */
	int32 groupid;
	int32 nodeid;
	char *host;
	int port;
	char *user;
	PGconn *pg;
	PostgresPollingStatusType polling; /* PGRES_POLLING_OK once it is connected */
	WaitEventSet *set;                 /* socket, latch, postmaster; once connected */
	bool fd_reserved;
	bool bound;              /* its session has the rights of user, and no others */
	bool acting;             /* its session has been another role's in this transaction */
	bool pooled;             /* through the pooler of pg_dist_poolinfo */
	bool standby;            /* of a node that is no primary */
	struct HerdShare *share; /* where it is counted, see budget.h */
	TimestampTz opened_at;

	struct HerdExec *owner; /* who reads the results that are outstanding */
	bool forward_notices;
	bool tell_loss;          /* herd_conn_receive says when it breaks, and does not raise */
	bool loss_had_no_effect; /* the server refused the command when it ended the session */
	const char *loss;        /* what it said, or NULL; never freed before the connection */
	HerdExpect *expect;      /* ring of expect_size, a power of two */
	uint32 expect_size, expect_head, expect_tail;
	bool head_begun; /* libpq was asked about the first entry's result */
	int busy_level;  /* nest level of the transaction that sent what is outstanding */

	bool used;              /* in this transaction */
	bool main;              /* carries the distributed transaction in its group */
	bool lost;              /* died while it carried a transaction */
	int level;              /* 0: no block is open, else the nest level of its last savepoint */
	int released;           /* savepoints from this level up are due for RELEASE; 0 none */
	int sure_level;         /* levels up to this one are known to stand on the node */
	int begun_level;        /* nest level of the transaction that its BEGIN belongs to */
	int block_cmds;         /* HERD_CMD_BLOCK that are outstanding */
	bool only_holds;        /* its block does nothing but hold results: see move/result.h */
	int wrote_level;        /* nest level at which it first wrote; 0: it did not write */
	int64 longest_wait;     /* for a write of this transaction, in microseconds */
	char *gid;              /* of its prepared transaction, in TopTransactionContext */
	bool prepare_sent;      /* the prepared transaction may exist */
	HerdSettings *settings; /* what the session was last given; NULL: nothing */
	int locals_seen;        /* so many SET LOCAL of the transaction it has been given */
	TimestampTz adopted;    /* its transaction's now(): see conn/adopt.h; 0 its own */
	uint64 moment;          /* what it was told last, in this transaction: conn/moment.h */
	HTAB *statements;       /* of HerdStatement; NULL before the first */
	dlist_head lru;         /* most recent first */
	int nstatements;
	uint64 statements_of; /* herd_table_changes() when they were prepared */
	uint64 statement_seq;
	bool simple; /* a simple query is outstanding: its results go on until a NULL */
	struct HerdCancel *cancel; /* a request that may be under way */
	TimestampTz cancel_until;  /* what a command that was cancelled is waited for; 0 */
	/* Brings the simple query to its end when somebody else needs the connection; or NULL. */
	void (*settle)(struct HerdConn *c);
	void *settle_arg;
} HerdConn;

#define herd_conn_busy(c) ((c)->simple || (c)->expect_head != (c)->expect_tail)

/* All open connections of this backend. */
extern dlist_head herd_conns;

/* -- session.c: opening, the cache ------------------------------------------------------------ */

/*
 * The connection that carries the distributed transaction in the group, opened or taken from the
 * cache and waited for as conn.h says. Idle: another reader of it has been made to keep its rows.
 */
extern HerdConn *herd_conn_main(int32 groupid);
/* The same if this transaction has one already, else NULL. */
extern HerdConn *herd_conn_find_main(int32 groupid);
/* The group's primary as of now, or NULL; for a further connection of a transaction. */
extern const HerdNode *herd_conn_node(int32 groupid);
/* Makes the main connections of several groups, side by side. */
extern void herd_conn_main_all(const int32 *groupids, int ngroups);
/* herd_conn_main of a group for which herd_conn_main_all has just made it. */
extern HerdConn *herd_conn_claim_main(int32 groupid);
/* An idle cached connection to the group's primary besides the main one, or NULL. */
extern HerdConn *herd_conn_take_idle(int32 groupid);
/* The same to this node. */
extern HerdConn *herd_conn_take_idle_to(const HerdNode *node);
/* A ready connection to this node, one of the cache or a new one; NULL when there is none soon. */
extern HerdConn *herd_conn_try(const HerdNode *node, int timeout_ms);
/*
 * Starts a connection with all parameters; NULL when libpq is out of memory. pooled: statements of
 * users go through the pooler of pg_dist_poolinfo; what looks after the nodes must not.
 */
extern PGconn *herd_conn_connect(const HerdNode *node, const char *dbname, const char *user,
				 bool pooled);
/*
 * A new connection; poll it with herd_conn_open_step until polling is OK or FAILED. It may have to
 * wait for others of this server to close theirs, see budget.h.
 */
extern HerdConn *herd_conn_open(const HerdNode *node, const char *user);
/* The same, but NULL instead of a wait. */
extern HerdConn *herd_conn_open_extra(const HerdNode *node, const char *user);
extern void herd_conn_open_step(HerdConn *c);
/* "could not connect to ..." with libpq's text, palloc'd. */
extern char *herd_conn_open_error(const HerdConn *c);
/* One system call: false when the peer has closed an idle connection, or says it is a standby. */
extern bool herd_conn_alive(HerdConn *c);
/* Also in abort handlers; never raises. */
extern void herd_conn_close(HerdConn *c);
/* After a transaction: closes what is dead, too old or more than the cache may hold. */
extern void herd_conn_trim_cache(void);
/* As herd_remote_query_nodes, as another user. */
extern List *herd_remote_query_nodes_as(List *nodes, List *sqls, int timeout_ms, const char *user);
/* Name of the owner of the extension, palloc'd. */
extern char *herd_conn_superuser(void);

/* -- command.c: sending and receiving --------------------------------------------------------- */

/* Session settings, BEGIN and savepoints as the current transaction needs them. */
extern void herd_conn_send_setup(HerdConn *c, bool in_block, bool writes);
/* A command whose success is all that matters. */
extern void herd_conn_send_plain(HerdConn *c, const char *sql);
/* A standby's promise that it has replayed so much: what follows is not run if it has not. */
extern void herd_conn_send_check(HerdConn *c, uint64 lsn, uint32 timeline);
extern void herd_conn_send_bind(HerdConn *c, const char *sql);
typedef struct HerdParams {
	int n;
	Oid *types;
	const char **values;
	int *lengths;
	int *formats;
} HerdParams;
/* As herd_conn_send_plain, with parameters. */
extern void herd_conn_send_plain_params(HerdConn *c, const char *sql, const HerdParams *params);
/* One command of a pipeline. params may be NULL. reusable: through a prepared statement. */
extern void herd_conn_send(HerdConn *c, const char *sql, const HerdParams *params, bool binary,
			   bool reusable, int task, bool rows);
extern void herd_conn_send_sync(HerdConn *c);

/* What herd_conn_receive found. */
typedef enum HerdReceived {
	HERD_RECEIVED_NOTHING, /* more input is needed, or nothing is outstanding */
	HERD_RECEIVED_RESULT,  /* *res (free it) belongs to *task; errors have been raised */
	HERD_RECEIVED_END,     /* the task is complete */
	HERD_RECEIVED_LOST     /* the connection broke; only with tell_loss */
} HerdReceived;
/* Goes through results that have arrived. Raises what the remote end raised. */
extern HerdReceived herd_conn_receive(HerdConn *c, int *task, PGresult **res);
/* Reads the socket after it was found readable, writes what is due. Raises when it broke. */
extern void herd_conn_consume(HerdConn *c);
/* True when something is still to be written. */
extern bool herd_conn_flush(HerdConn *c);
/* Waits until the socket is readable (or writable while something is due), or an interrupt. */
extern void herd_conn_wait(HerdConn *c);
/* Reads to the end of all that is outstanding; results go nowhere, errors are raised. */
extern void herd_conn_finish(HerdConn *c);
/* Makes the connection idle by cancelling and draining, or marks it lost. Never raises. */
extern void herd_conn_quiesce(HerdConn *c, bool cancel);
/* The same, to a moment that several connections share. */
extern void herd_conn_quiesce_until(HerdConn *c, bool cancel, TimestampTz deadline);
/*
 * A simple query (several statements allowed) on an idle connection, in two halves so that several
 * nodes work at a time. They never raise and never allocate, so they serve in commit and abort
 * handlers. The first server error is left in *error (free it). The wait ends at the deadline (0:
 * none), or when the user cancels and it gives up on that: then the connection is lost.
 */
typedef enum HerdOutcome { HERD_DONE, HERD_REFUSED, HERD_UNKNOWN } HerdOutcome;
typedef enum HerdOnCancel {
	HERD_CANCEL_IGNORE,
	HERD_CANCEL_GIVE_UP,
	HERD_CANCEL_FORWARD /* ask the remote end to stop, and wait for what it says */
} HerdOnCancel;
extern void herd_conn_simple_start(HerdConn *c, const char *sql);
extern HerdOutcome herd_conn_simple_wait(HerdConn *c, TimestampTz deadline, HerdOnCancel on_cancel,
					 PGresult **error);
/* The second half for normal code: interrupts and errors are raised. */
extern void herd_conn_simple_finish(HerdConn *c);

/* settings.c: what the session has is not known any more, a rollback may have undone it. */
extern void herd_settings_forget(HerdConn *c);

/* -- cancel.c ---------------------------------------------------------------------------------- */

/*
 * Sends a cancel request, without waiting for anything. Never raises. None is sent while it could
 * hit a savepoint that a rollback has to go back to: ask again when that has been answered.
 */
extern void herd_conn_cancel(HerdConn *c);
/* The request is still under way: the connection must not be given another command. */
extern bool herd_conn_cancelling(const HerdConn *c);
extern void herd_conn_forget_cancel(HerdConn *c);
extern void herd_conn_cancel_session(PGconn *pg);

/* -- error.c ---------------------------------------------------------------------------------- */

/* Raises the error in res (freed) with the node as context. */
extern void herd_conn_raise(HerdConn *c, PGresult *res) HERD_NORETURN;
/* True when the error says that the session has ended; notes what is known in the loss fields. */
extern bool herd_conn_is_loss(HerdConn *c, const PGresult *res);
/*
 * True when the error is one of a standby that the primary would not raise: it is behind, recovery
 * needs what the statement reads, or something writes. Notes it in the loss field.
 */
extern bool herd_conn_is_standbys(HerdConn *c, HerdCmd cmd, const PGresult *res);
/* The connection broke. */
extern void herd_conn_raise_lost(HerdConn *c) HERD_NORETURN;
/* Takes over libpq's notices; installed on every connection. */
extern void herd_conn_notice(void *arg, const PGresult *res);
extern void herd_conn_log(const HerdConn *c, const char *sql);
