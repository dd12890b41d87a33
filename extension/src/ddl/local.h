/*
 * ddl/local.h - SQL run on this node by the extension itself, and the frame in which nodes apply
 * what the coordinator sends.
 */
#pragma once
#include "postgres.h"

#include "nodes/pg_list.h"

/* Runs statements here with search_path = pg_catalog; returns rows processed by the last one. */
extern uint64 herd_sql_exec(const char *fmt, ...) pg_attribute_printf(1, 2);
/* Rows as char *[] in the caller's memory; NULL for null. */
extern List *herd_sql_rows(const char *fmt, ...) pg_attribute_printf(1, 2);
/* First column of the first row as a number; raises when there is none. */
extern int64 herd_sql_int(const char *fmt, ...) pg_attribute_printf(1, 2);

/* The same with the rights of the extension's owner: only for the pg_dist_* catalogs. */
extern uint64 herd_sql_exec_owner(const char *fmt, ...) pg_attribute_printf(1, 2);

extern List *herd_sql_rows_owner(const char *fmt, ...) pg_attribute_printf(1, 2);

/* True while statements come from herd_ddl_run: the hooks let them pass unpropagated. */
extern bool herd_ddl_applying(void);

/*
 * True while a definition is changed on this node: queries that PostgreSQL runs for it (the check
 * of a new foreign key) are about the local tables, not their shards.
 */
extern bool herd_ddl_shells_only(void);
/* Sets it; returns what it was, to be set again also after an error. */
extern bool herd_ddl_set_shells_only(bool on);

/* Runs commands (char *) here as part of a propagated change. path NULL: pg_catalog. */
extern void herd_ddl_run(const char *path, List *commands);

/* The SQL that makes another node do the same. */
extern char *herd_ddl_run_sql(const char *path, List *commands);

/* Groups of all active primaries but this server's (list of int). */
extern List *herd_other_groups(void);

/* commands on all other nodes, in the distributed transaction, all nodes at once. */
extern void herd_ddl_send(const char *path, List *commands);

/* Raises unless this is the coordinator and it can write. what: "distribute a table". */
extern void herd_require_coordinator(const char *what);
