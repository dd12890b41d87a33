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
/*
 * What a statement of one row is to leave alone, because it is done where the whole was planned.
 */
typedef enum HerdRowPart {
	HERD_ROW_WHOLE,   /* nothing */
	HERD_ROW_FIRED,   /* BEFORE row triggers */
	HERD_ROW_LEAVING, /* these, foreign keys and transition tables: the row, which gets its new
			     values, is going to leave the shard; attach/leaving.h */
	HERD_ROW_MOVED    /* all triggers, rights and policies: it leaves, or comes */
} HerdRowPart;

/* The message above, which says that, too. */
extern char *herd_rights_message_part(const List *relids, const List *roles, HerdRowPart part);
/* On the node of the shard: what was said of this text. */
extern HerdRowPart herd_rights_part(const char *sql);

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
