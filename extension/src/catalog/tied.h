/*
 * catalog/tied.h - tables that foreign keys tie to the one that is being distributed.
 *
 * Tables that refer to each other could not be distributed one by one, if all that a table refers
 * to had to be distributed before. So the others of a circle are added to the metadata meanwhile
 * (citus_add_local_table_to_metadata): foreign keys between tables of the metadata act wherever
 * these are. With a reference table, as in Citus, any local table that it refers to is. Such tables
 * may be distributed later: they are made local for that.
 */
#pragma once
#include "postgres.h"

#include "catalog/kept.h"
#include "catalog/metadata.h"

/*
 * The table is going to be distributed so: adds to the metadata what has to be there, and makes it
 * local if it is a local table of the metadata. What is taken away for it comes into kept, for
 * herd_kept_put_back.
 */
extern void herd_tied_begin(Oid relid, HerdTableKind kind, HerdKept *kept);

/* A reference table is going to refer to the table: the same for a new foreign key. */
extern void herd_tied_refer(const HerdTable *table, Oid target);

/* Local tables (of Oid) that foreign keys connect with those of the list. */
extern List *herd_tied_neighbours(List *tables);
