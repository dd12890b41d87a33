/*
 * attach/farkey_later.h - far keys that are DEFERRABLE: values wait for the end of the transaction.
 *
 * What PostgreSQL's queue of deferred triggers does for rows of its own: values of a subtransaction
 * that is rolled back are forgotten, SET CONSTRAINTS .. IMMEDIATE looks at once at those that wait.
 */
#pragma once
#include "postgres.h"

#include "nodes/parsenodes.h"
#include "utils/typcache.h"

/* Does it wait now? otherwise: as it was declared (INITIALLY DEFERRED). */
extern bool herd_far_key_waits(Oid constraintid, bool otherwise);

/*
 * Values of n rows of the columns of the key, of the table that has it (refers) or of the other
 * one, are looked at later. They are copied. None: rows have nulls that MATCH FULL does not allow.
 */
extern void herd_far_key_keep(Oid constraintid, bool refers, int n, int columns, const Datum *data,
			      TypeCacheEntry *const *types);

/* SET CONSTRAINTS has been run. */
extern void herd_far_key_set(const ConstraintsSetStmt *stmt);

/* In farkey_check.c: looks at values that have waited; raises when they do not match. */
extern void herd_far_key_look(Oid constraintid, bool refers, int n, const Datum *data);

/* Callbacks; from _PG_init, after those that commit on nodes. */
extern void herd_far_key_init(void);
