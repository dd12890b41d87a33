/*
 * deparse/code.h - what in a query is code of users.
 */
#pragma once
#include "postgres.h"

#include "nodes/parsenodes.h"

/*
 * True if the shards, given this query, run code that can see the session it runs in: triggers,
 * policies, functions that are not in C, and PostgreSQL's own that look at settings or the time.
 */
extern bool herd_query_has_code(Query *query);

/*
 * True for an expression that must be computed on the node that plans: it calls a volatile function
 * that changes or tells something of the session (nextval, set_config, advisory locks), or one of
 * users that may look at tables. random() and the like give the same everywhere.
 */
extern bool herd_expr_stays_here(Node *expr);

/* True if it calls a function of PostgreSQL that changes something of the session, as nextval. */
extern bool herd_expr_of_session(Node *expr);

/* herd_expr_stays_here, or volatile at all: once per row, and in one place. */
extern bool herd_volatile(Node *expr);

/* A function of ours that means something on the node of a shard only: plan/cursor.h. */
extern bool herd_func_is_of_shards(Oid func);
