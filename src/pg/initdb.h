/*
 * pg/initdb.h - making the first instance of a cluster.
 */
#pragma once
#include "pg/instance.h"

struct herd_pg_bootstrap {
	const struct herd_pg_method *method; /* NULL: initdb. A command: custom bootstrap */
	const struct herd_pg_settings
		*initdb; /* long options; value "" or "true": a bare --option */
};
/* Fills an absent or empty data directory. initdb gets --username and a password file. */
int herd_pg_initdb(struct herd_pg *pg, const struct herd_pg_bootstrap *b, herd_pg_done_fn done,
		   void *arg, struct herd_err *err);
/*
 * On the running primary: superuser's password, the replication user, the rewind user with its
 * EXECUTE grants, then post_bootstrap (NULL: none) with a DSN without password and PGPASSFILE.
 * Nothing of it is logged by the server with a password in it.
 */
int herd_pg_post_bootstrap(struct herd_pg *pg, const char *post_bootstrap, herd_pg_done_fn done,
			   void *arg, struct herd_err *err);
/*
 * The data directory becomes <dir>.<word>, or <dir>.<word>.N when that is there; so do the WAL and
 * the tablespaces that its links lead to, and the links follow them. Stopped only.
 */
int herd_pg_move_aside(struct herd_pg *pg, const char *word, struct herd_err *err);
/* Everything in the data directory, WAL and tablespaces behind links included. Stopped only. */
int herd_pg_remove_data(struct herd_pg *pg, herd_pg_done_fn done, void *arg, struct herd_err *err);
