/*
 * plan/rekey.h - UPDATE of the distribution column.
 */
#pragma once
#include "compat.h"
#include "postgres.h"

#include "nodes/parsenodes.h"

#include "catalog/metadata.h"

/* True if the target list of the query gives the distribution column another value. */
extern bool herd_changes_key(const Query *query, List *tlist, const HerdTable *table);
/* True if only row by row (plan/rowwise.h) it is what an UPDATE does. */
extern bool herd_rekey_by_row(const Query *update, const HerdTable *table);
/* The INSERT over a DELETE that does it. Raises when that would be something else. */
extern Query *herd_rekey(const Query *update, const HerdTable *table);

/* Raises when rows of the table cannot be deleted in one shard and inserted in another. */
/* Would triggers, policies or foreign keys notice that a row is deleted and inserted? */
extern bool herd_rekey_is_noticed(const HerdTable *table);
extern void herd_rekey_check(const HerdTable *table);
/* Raises: it cannot be updated. */
extern void herd_rekey_refuse(const HerdTable *table, const char *why) HERD_NORETURN;
