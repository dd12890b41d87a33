/*
 * conn/budget.h - how many connections all sessions of this server have to each node.
 *
 * Counted in shared memory. What a statement cannot do without is waited for when the limit is
 * reached, unless its transaction holds connections already: then it goes over the limit, as two
 * transactions could otherwise wait for each other. Connections that only make a statement faster,
 * and idle ones of the cache, leave some room below the limit to the others; while somebody waits,
 * none is kept idle.
 */
#pragma once
#include "postgres.h"

#include "conn/session.h"

/* Hooks for shared memory; from _PG_init. */
extern void herd_budget_init(void);
/* Counts the connection; false only when it is not required. May wait; raises on interrupts. */
extern bool herd_budget_take(HerdConn *c, bool required);
/* Never raises; also when it was not counted. */
extern void herd_budget_give_back(HerdConn *c);
/* Whether an idle connection may stay open. */
extern bool herd_budget_allows_idle(const HerdConn *c);
