/*
 * pg/config.h - what src/pg must know about the one instance it runs. Filled by the agent from its
 * configuration and the dynamic configuration of the DCS; open data, all texts owned by the struct.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "pg/settings.h"

/* One user that somebody connects as, with libpq's words of the same names. NULL: not given. */
struct herd_pg_auth {
	char *username, *password;
	char *sslmode, *sslkey, *sslpassword, *sslcert, *sslrootcert, *sslcrl, *sslcrldir;
	char *sslnegotiation, *gssencmode, *channel_binding;
};
void herd_pg_auth_clear(struct herd_pg_auth *a);
int herd_pg_auth_copy(const struct herd_pg_auth *a, struct herd_pg_auth *ret);

enum herd_pg_bin {
	HERD_PG_BIN_PG_CTL = 0,
	HERD_PG_BIN_INITDB,
	HERD_PG_BIN_CONTROLDATA,
	HERD_PG_BIN_BASEBACKUP,
	HERD_PG_BIN_POSTGRES,
	HERD_PG_BIN_ISREADY,
	HERD_PG_BIN_REWIND,
	HERD_PG_BIN_WALDUMP,
	HERD_PG_BIN_NR
};

/* One way to make a replica (postgresql.create_replica_methods) or a custom bootstrap method. */
struct herd_pg_method {
	char *name;    /* "basebackup" is the built-in one unless command is set */
	char *command; /* NULL: built in */
	bool keep_data, no_params, no_leader, keep_existing_recovery_conf, has_recovery_conf;
	struct herd_pg_settings params; /* k = v: --k=v of the command; options of basebackup */
	struct herd_pg_settings recovery_conf; /* custom bootstrap only */
};
void herd_pg_method_clear(struct herd_pg_method *m);

/* What PostgreSQL calls them; the keys of postgresql.bin_name. */
extern const char *const herd_pg_bin_names[HERD_PG_BIN_NR];

/* What a member is, for settings that depend on it. */
enum herd_pg_kind {
	HERD_PG_KIND_PRIMARY = 0,
	HERD_PG_KIND_REPLICA,
	HERD_PG_KIND_STANDBY_LEADER,
	HERD_PG_KIND_NR
};
extern const char *const herd_pg_kind_names[HERD_PG_KIND_NR]; /* "primary" ... */

struct herd_pg_config {
	char *scope, *name;             /* cluster_name and application_name */
	char *data_dir;                 /* absolute */
	char *config_dir;               /* NULL: data_dir */
	char *bin_dir;                  /* NULL or "": PATH */
	char *bin_name[HERD_PG_BIN_NR]; /* NULL: the usual name */
	char *listen;                   /* listen_addresses: "a,b" without the port, or "*" */
	int port;
	bool use_unix_socket, use_unix_socket_repl;
	char *pgpass;           /* NULL: $HOME/pgpass */
	char *database;         /* NULL: postgres */
	char *config_base_name; /* NULL: postgresql */
	char *custom_conf;      /* NULL: <config_base_name>.base.conf */
	char *krbsrvname;
	struct herd_pg_auth superuser, replication, rewind; /* rewind.username NULL: superuser */
	struct herd_pg_settings
		parameters; /* as configured; protected ones are checked by conf.h */
	struct herd_pg_settings recovery_conf;
	struct herd_pg_lines pg_hba, pg_ident; /* empty: the file is left alone */
	struct {                               /* over, and instead of, the above */
		struct herd_pg_settings parameters;
		struct herd_pg_lines pg_hba, pg_ident;
	} of_role[HERD_PG_KIND_NR];
	struct herd_pg_settings rewind_options;
	struct herd_pg_method *method; /* create_replica_methods in their order; none: basebackup */
	size_t method_n;
	bool use_slots; /* primary_slot_name is written */
	bool use_pg_rewind, remove_data_directory_on_rewind_failure,
		remove_data_directory_on_diverged_timelines;
	int64_t start_timeout_ms; /* pg_ctl_timeout; 0: 60 s */
	char *log_file;           /* where the postmaster's stderr goes; NULL: our own stderr */
};
/* Frees what it holds and zeroes it; the struct itself is the caller's. */
void herd_pg_config_clear(struct herd_pg_config *c);
/* -EINVAL with a text when something required is missing or out of range. */
int herd_pg_config_check(const struct herd_pg_config *c, struct herd_err *err);
/* "bin_dir/name" or "name"; malloc'd, NULL when out of memory. */
char *herd_pg_config_bin(const struct herd_pg_config *c, enum herd_pg_bin bin);
/* config_dir or data_dir. */
const char *herd_pg_config_dir(const struct herd_pg_config *c);
/* A path in it, malloc'd: of a file, or of ".conf" and ".base.conf", which follow config_base_name.
 */
char *herd_pg_config_file(const struct herd_pg_config *c, const char *name);
const char *herd_pg_config_database(const struct herd_pg_config *c);
