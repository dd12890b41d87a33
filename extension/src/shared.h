/*
 * shared.h - memory that all processes of the server share.
 *
 * A module names what it needs in its part of _PG_init; the memory is there, filled with zeroes,
 * when the server has started. herd_shared_init() comes after all of them.
 */
#pragma once
#include "postgres.h"

#include "storage/lwlock.h"
#include "utils/hsearch.h"

/*
 * size bytes and per_backend more for each backend that there can be. fresh (or NULL) runs once,
 * over the zeroes. *memory, and *lock unless lock is NULL, are set in every process; both must be
 * variables that stay. name is unique and a literal.
 */
extern void herd_shared_struct(const char *name, Size size, Size per_backend,
			       void (*fresh)(void *memory), void **memory, LWLock **lock);
/* A hash table of at most so many entries whose keys are compared byte by byte. */
extern void herd_shared_table(const char *name, long entries, Size keysize, Size entrysize,
			      HTAB **table, LWLock **lock);
extern void herd_shared_init(void);
