/*
 * txn/held.h - cursors WITH HOLD of a transaction that fails at its end.
 *
 * PostgreSQL keeps the rows of such a cursor before it asks extensions whether the transaction may
 * commit. From then on the cursor belongs to no transaction, and would outlive one that a node
 * refuses.
 */
#pragma once
#include "postgres.h"

/* DECLARE .. WITH HOLD has run. */
extern void herd_held_declared(const char *name);
extern void herd_held_init(void);
