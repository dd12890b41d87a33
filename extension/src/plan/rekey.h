/*
 * plan/rekey.h - UPDATE of the distribution column.
 */
#pragma once
#include "postgres.h"

#include "nodes/parsenodes.h"

#include "catalog/metadata.h"

/* True if the target list of the query gives the distribution column another value. */
extern bool herd_changes_key(const Query *query, List *tlist, const HerdTable *table);
/* The INSERT over a DELETE that does it. Raises when that would be something else. */
extern Query *herd_rekey(const Query *update, const HerdTable *table);
