/*
 * conn/names.h - the user's names in what is said about shards.
 */
#pragma once
#include "compat.h"
#include "postgres.h"

#include "utils/elog.h"

/*
 * text with the names of shards, and of their indexes and constraints, replaced by those of the
 * tables they belong to. Returns text itself when there are none (also NULL), else a palloc'd copy.
 * Looks at catalogs: only in a transaction that has not failed.
 */
extern char *herd_names_of_tables(char *said);

/*
 * In a PG_CATCH of a statement that ran on shards in this process: raises the error again with its
 * names replaced.
 */
extern void herd_names_rethrow(MemoryContext memory) HERD_NORETURN;

/* Errors at the end of a transaction, too, name tables: installs what sees them. */
extern void herd_names_init(void);
