/*
 * catalog/kept.h - what is taken away from tables that change how they are distributed, and put
 * back: foreign keys and policies of other tables, which would be in the way, and views, which
 * other nodes lose.
 */
#pragma once
#include "postgres.h"

#include "nodes/pg_list.h"

typedef struct HerdKept {
	List *tables;   /* of Oid, those that are changed */
	List *keys;     /* of char *[3]: table, name and definition of a foreign key */
	List *policies; /* of char *[2]: what drops and what makes one that reads the tables */
	List *views;    /* of char *: what makes a view on another node */
} HerdKept;

/*
 * Drops the foreign keys of and to kept->tables and the policies that read them and notes them, and
 * the views on the tables.
 */
extern void herd_kept_take_away(HerdKept *kept);
/* Raises when a foreign key or policy cannot be had any more. */
extern void herd_kept_put_back(const HerdKept *kept);

/* "1, 2": the tables (of Oid) and the partitions below them. */
extern char *herd_kept_with_partitions(List *tables);
