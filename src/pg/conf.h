/*
 * pg/conf.h - the files in the configuration and data directory: their texts (pure) and writing
 * them.
 */
#pragma once
#include "base/buf.h"
#include "pg/conninfo.h"
#include "pg/control.h"
#include "pg/guc_value.h"

/* What one start (or reload) of the server is to be. */
struct herd_pg_role {
	bool standby; /* standby.signal and recovery parameters */
	bool leader;  /* standby: the one of a standby cluster that leads it */
	struct herd_pg_addr
		primary; /* host NULL: a standby that follows nobody (restore_command only) */
	char *primary_slot_name; /* NULL: the member's own slot name when use_slots; "": none */
	struct herd_pg_settings
		recovery; /* more recovery parameters, over config's recovery_conf */
	bool force_hot_standby_feedback;
	struct herd_pg_settings parameters; /* over all others: synchronous_standby_names, ... */
	/* Custom bootstrap: recovery.signal and `recovery` alone, up to a target, instead of
	 * standby. */
	bool point_in_time;
	bool keep_recovery; /* custom bootstrap: signal files and auto.conf are the method's, kept
			     */
	/*
	 * Bootstrap: nobody but local superusers may connect, and only by the socket where that is
	 * how we do: this server is stopped again before anybody may rely on it.
	 */
	bool trust_only_hba;
};
/* It reads the WAL of another server: the limits of that one must be kept. */
static inline bool herd_pg_role_recovers(const struct herd_pg_role *r)
{
	return r->standby || r->point_in_time || r->keep_recovery;
}
void herd_pg_role_clear(struct herd_pg_role *r);
int herd_pg_role_copy(const struct herd_pg_role *r, struct herd_pg_role *ret);
static inline enum herd_pg_kind herd_pg_role_kind(const struct herd_pg_role *r)
{
	return !r->standby ? HERD_PG_KIND_PRIMARY
	       : r->leader ? HERD_PG_KIND_STANDBY_LEADER
			   : HERD_PG_KIND_REPLICA;
}

/* What a description of the server's settings says about one (postgres --describe-config). */
struct herd_pg_guc {
	char *name, *context, *def, *min, *max;
	enum herd_pg_guc_type type;
};
struct herd_pg_guc_table {
	struct herd_pg_guc *v; /* sorted by name, ASCII case folded */
	size_t n;
};
int herd_pg_guc_table_parse(const char *text, struct herd_pg_guc_table *ret, struct herd_err *err);
void herd_pg_guc_table_clear(struct herd_pg_guc_table *t);
const struct herd_pg_guc *herd_pg_guc_find(const struct herd_pg_guc_table *t, const char *name);

/*
 * The effective parameters: config's, those of the role over them, then role's; protected ones
 * checked and defaulted, names and values checked against table (NULL: not), numbers out of their
 * range moved into it, wal_keep_segments and wal_keep_size turned into what the version knows.
 * Warnings, one a line, in Patroni's words, are appended to warnings.
 */
int herd_pg_conf_effective(const struct herd_pg_config *cfg, const struct herd_pg_role *role,
			   const struct herd_pg_guc_table *table, int server_version,
			   struct herd_pg_settings *ret, struct herd_buf *warnings);
/*
 * A standby refuses to start with less than its primary had when the WAL was written: such values
 * are raised to the control file's, for the command line. *raised (may be NULL): some were, so that
 * a restart is pending.
 */
int herd_pg_conf_raise(struct herd_pg_settings *s, const struct herd_pg_controldata *control,
		       bool *raised);
/* The names that go on the postmaster's command line, in their order; NULL at the end. */
extern const char *const herd_pg_conf_protected[];
bool herd_pg_conf_is_protected(const char *name);

/* Beside pg_hba.conf, and used in its place while a bootstrap runs. */
#define HERD_PG_BOOTSTRAP_HBA "pg_hba.bootstrap.conf"
/* The text of postgresql.conf / pg_hba.conf. settings as from herd_pg_conf_effective, sorted here.
 */
int herd_pg_conf_text(const struct herd_pg_config *cfg, const struct herd_pg_role *role,
		      const struct herd_pg_settings *settings, int server_version,
		      struct herd_buf *out);
int herd_pg_conf_lines_text(const struct herd_pg_lines *lines, struct herd_buf *out);
/* Recovery parameters (primary_conninfo ...) of a role, in the order they are written. */
int herd_pg_conf_recovery(const struct herd_pg_config *cfg, const struct herd_pg_role *role,
			  int server_version, struct herd_pg_settings *ret);
/* 'value' with quotes and backslashes doubled; a value with a line feed is refused (-EINVAL). */
int herd_pg_conf_quote(const char *value, struct herd_buf *out);
/* postgresql.auto.conf without recovery parameters; *changed tells whether any was there. */
int herd_pg_conf_clean_auto(const char *text, struct herd_buf *out, bool *changed);
/* Reads a file in postgresql.conf's syntax into pairs (include lines are skipped). */
int herd_pg_conf_parse(const char *text, struct herd_pg_settings *ret);

/*
 * Writes postgresql.conf (renaming the first to .base.conf), pg_hba.conf, pg_ident.conf and, for a
 * standby, the password file; cleans postgresql.auto.conf. Files that are right are not touched;
 * the others are replaced by rename, without fsync (they are written again before every start), and
 * *changed (may be NULL) is set to true. running: of a primary's file the part about recovery is
 * kept, which a server that was promoted has read.
 */
#define HERD_PG_CONF_RECOVERY "# recovery.conf\n" /* begins it, at the end of the file */
int herd_pg_conf_write(const struct herd_pg_config *cfg, const struct herd_pg_role *role,
		       const struct herd_pg_settings *settings, int server_version, bool running,
		       bool *changed, struct herd_err *err);
/* standby.signal as the role wants it, no recovery.signal, no promote file. Stopped only. */
int herd_pg_conf_write_signals(const struct herd_pg_config *cfg, const struct herd_pg_role *role,
			       struct herd_err *err);
/* Copies to and from *.conf.backup in the data directory; back: what is not there. */
int herd_pg_conf_backup(const struct herd_pg_config *cfg, struct herd_err *err);
int herd_pg_conf_restore(const struct herd_pg_config *cfg, struct herd_err *err);
