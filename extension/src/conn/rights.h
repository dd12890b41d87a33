/*
 * conn/rights.h - tables that a task uses with the rights of another role than its user's.
 *
 * Below a view, and in what a rule does, the rights on tables are those of an owner, while
 * functions and current_user remain the user's. The task goes to its node in a session of the user;
 * ahead of it goes a message that says, for this one text, as whom the rights on these tables are
 * checked. There a hook of the parser puts that into the query, where the rewriter would for a
 * view: so the executor checks rights, and policies are chosen, as PostgreSQL does it.
 *
 * The message is signed with a secret that only nodes know (citus_internal.node_secret), for one
 * backend, user and text, and a number that must rise. It goes as parameters, so nobody sees it in
 * pg_stat_activity. It holds until the text is planned: before that no code of users may run, which
 * is why plan/rights.h does not let values of such types into the text.
 */
#pragma once
#include "postgres.h"

#include "conn/session.h"
#include "nodes/pg_list.h"

/* A subquery with a name that begins so is a security barrier in such a text. */
#define HERD_BARRIER "security_barrier"

/*
 * The message for these tables (shells) and roles, one for one; palloc'd. With the schemas' USAGE,
 * when the user lacks it on one.
 */
extern char *herd_rights_message(const List *relids, const List *roles);
/* The same, and that the BEFORE row triggers of the table have fired already: attach/before.h. */
extern char *herd_rights_message_fired(const List *relids, const List *roles);
/* On the node of the shard: was that said of this text? */
extern bool herd_rights_fired(const char *sql);

/* Sends it, signed for the text, which must be the next that is sent, and unprepared. */
extern void herd_conn_send_rights(HerdConn *c, const char *message, const char *sql);

/*
 * The same in this process, for the next statement with this text. Between the two calls nothing
 * but its analysis and planning may run; end: also after an error.
 */
extern void herd_rights_begin(const char *message, const char *sql);
extern void herd_rights_end(void);

/* A statement is about to be planned: from now on code of users may run. */
extern void herd_rights_planning(void);

/*
 * A transaction has one session in a group that writes, whoever of its roles is at work there, as
 * SECURITY DEFINER functions have it: makes the session the current user's, if it is another's.
 */
extern void herd_conn_send_user(HerdConn *c);

extern void herd_rights_init(void);
