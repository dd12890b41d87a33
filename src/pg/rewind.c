#include "pg/rewind.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/str.h"
#include "pg/command.h"
#include "pg/file.h"
#include "pg/private.h"

struct rewind {
	struct herd_pg_addr source;
	struct herd_err why; /* of the failure, while the data directory is removed */
};

static void rewind_free(void *state)
{
	struct rewind *r = state;

	if (r == NULL)
		return;
	herd_pg_addr_clear(&r->source);
	herd_err_clear(&r->why);
	free(r);
}

bool herd_pg_rewind_possible(const struct herd_pg *pg, const struct herd_pg_controldata *c)
{
	return pg->cfg.use_pg_rewind && (c->wal_log_hints || c->data_checksums != 0);
}

static const struct herd_pg_auth *rewind_auth(const struct herd_pg *pg)
{
	return pg->cfg.rewind.username != NULL ? &pg->cfg.rewind : &pg->cfg.superuser;
}

static void single_done(struct herd_pg *pg, int status, const char *output)
{
	struct herd_err err = HERD_ERR_INIT;
	int rc = herd_pg_command_check("crash recovery in single-user mode", status, output, &err);

	pg->single_next(pg, rc, &err);
	herd_err_clear(&err);
}

/*
 * Nothing is archived: what is written here is on a way that nobody follows. standby.signal would
 * be refused by a stand-alone backend.
 */
void herd_pg_stage_single_user(struct herd_pg *pg, herd_pg_next_fn next)
{
	static const struct herd_pg_role primary = { 0 };
	struct herd_err err = HERD_ERR_INIT;
	char *bin = herd_pg_config_bin(&pg->cfg, HERD_PG_BIN_POSTGRES);
	char *conf = herd_pg_config_file(&pg->cfg, ".conf");
	char *conf_arg = conf != NULL ? herd_str_printf("config_file=%s", conf) : NULL;
	const char *argv[] = {
		bin,  "--single",        "-D", pg->cfg.data_dir,        "-c",        conf_arg,
		"-c", "archive_mode=on", "-c", "archive_command=false", "template1", NULL
	};
	int rc = bin != NULL && conf_arg != NULL ? 0 : herd_err_set(&err, -ENOMEM, "out of memory");

	pg->single_next = next;
	if (rc == 0)
		rc = herd_pg_remove_stale_pidfile(pg, &err);
	if (rc == 0)
		rc = herd_pg_conf_write_signals(&pg->cfg, &primary, &err);
	if (rc == 0)
		rc = herd_pg_op_run(pg, argv, NULL, 0, single_done, &err);
	free(bin);
	free(conf);
	free(conf_arg);
	if (rc < 0)
		next(pg, rc, &err);
	herd_err_clear(&err);
}

static void removed(struct herd_pg *pg, int rc, const struct herd_err *err)
{
	struct rewind *r = pg->op.state;
	struct herd_err why = r->why;

	r->why = (struct herd_err)HERD_ERR_INIT;
	if (rc < 0)
		herd_err_hint(&why, "The data directory could not be removed: %s.",
			      herd_err_text(err));
	else
		herd_err_hint(&why, "The data directory was removed, a new copy is needed.");
	herd_pg_op_end(pg, why.code, &why);
	herd_err_clear(&why);
}

static void rewind_failed(struct herd_pg *pg, const struct herd_err *err)
{
	struct rewind *r = pg->op.state;

	if (!pg->cfg.remove_data_directory_on_rewind_failure &&
	    !pg->cfg.remove_data_directory_on_diverged_timelines) {
		herd_pg_op_end(pg, err->code, err);
		return;
	}
	herd_err_set(&r->why, err->code, "%s", herd_err_text(err));
	if (err->detail != NULL)
		herd_err_detail(&r->why, "%s", err->detail);
	herd_pg_stage_remove(pg, removed);
}

static void rewind_done(struct herd_pg *pg, int status, const char *output)
{
	struct herd_err err = HERD_ERR_INIT;

	int rc = herd_pg_command_check("pg_rewind", status, output, &err);

	/* --progress tells when it begins to write: what failed before has done no harm. */
	if (rc == 0 || (WIFEXITED(status) && strstr(output, "need to copy") == NULL))
		herd_pg_mark_unfinished(pg, NULL);
	if (rc == 0)
		herd_pg_op_end(pg, 0, NULL);
	else
		rewind_failed(pg, &err);
	herd_err_clear(&err);
}

static int add_arg(struct herd_pg_lines *argv, const char *name, const char *value)
{
	char *arg = value[0] != '\0' ? herd_str_printf("--%s=%s", name, value)
				     : herd_str_printf("--%s", name);
	int rc = arg != NULL ? herd_pg_lines_add(argv, arg) : -ENOMEM;

	free(arg);
	return rc;
}

static bool denied(const char *name)
{
	static const char *const names[] = { "target-pgdata",
					     "source-pgdata",
					     "source-server",
					     "write-recovery-conf",
					     "progress",
					     "dry-run",
					     "restore-target-wal",
					     "config-file",
					     "no-ensure-shutdown",
					     "version",
					     "help" };

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		if (strcmp(name, names[i]) == 0)
			return true;
	}
	return false;
}

static int build(struct herd_pg *pg, const char *source, struct herd_pg_lines *argv)
{
	const struct herd_pg_settings *options = &pg->cfg.rewind_options;
	const char *restore = herd_pg_settings_get(&pg->cfg.recovery_conf, "restore_command");
	char *bin = herd_pg_config_bin(&pg->cfg, HERD_PG_BIN_REWIND);
	char *conf = herd_pg_config_file(&pg->cfg, ".conf");
	int rc = bin != NULL && conf != NULL ? herd_pg_lines_add(argv, bin) : -ENOMEM;

	if (rc == 0)
		rc = add_arg(argv, "target-pgdata", pg->cfg.data_dir);
	if (rc == 0)
		rc = add_arg(argv, "progress", "");
	if (rc == 0)
		rc = add_arg(argv, "source-server", source);
	if (restore == NULL)
		restore = herd_pg_settings_get(&pg->cfg.parameters, "restore_command");
	if (rc == 0 && restore != NULL && restore[0] != '\0')
		rc = add_arg(argv, "restore-target-wal", "");
	if (rc == 0 && herd_pg_major(pg) >= 15 &&
	    strcmp(herd_pg_config_dir(&pg->cfg), pg->cfg.data_dir) != 0)
		rc = add_arg(argv, "config-file", conf);
	for (size_t i = 0; i < options->n && rc == 0; i++) {
		if (denied(options->v[i].name))
			herd_pg_notice(pg, "pg_rewind option \"%s\" is not allowed",
				       options->v[i].name);
		else
			rc = add_arg(argv, options->v[i].name, options->v[i].value);
	}
	if (rc == 0)
		rc = herd_pg_lines_end(argv);
	free(bin);
	free(conf);
	return rc;
}

static int run_rewind(struct herd_pg *pg, struct herd_err *err)
{
	struct rewind *r = pg->op.state;
	struct herd_pg_conninfo_opts words = { .dbname = herd_pg_config_database(&pg->cfg),
					       .krbsrvname = pg->cfg.krbsrvname,
					       .server_version = HERD_PG_CLIENT_MAJOR };
	struct herd_buf source = { 0 };
	struct herd_pg_lines argv = { 0 };
	char *passfile = herd_str_printf("PGPASSFILE=%s", pg->cfg.pgpass);
	/* pg_rewind's reading must not be stopped by the timeouts of the source's users. */
	const char *env[] = { passfile, "PGOPTIONS=-c statement_timeout=0", "LC_ALL=C", NULL };
	int rc = herd_pg_conninfo_build(&r->source, rewind_auth(pg), &words, &source);

	if (rc == 0)
		rc = passfile != NULL ? build(pg, herd_buf_str(&source), &argv) : -ENOMEM;
	if (rc < 0)
		herd_err_set(err, rc, "out of memory");
	if (rc == 0)
		rc = herd_pg_pgpass_write(pg->cfg.pgpass, &r->source, rewind_auth(pg), err);
	if (rc == 0) {
		herd_pg_mark_unfinished(pg, "rewind");
		rc = herd_pg_op_run(pg, (const char *const *)argv.v, env, 0, rewind_done, err);
		if (rc < 0)
			herd_pg_mark_unfinished(pg, NULL);
	}
	herd_pg_lines_clear(&argv);
	herd_buf_free(&source);
	free(passfile);
	return rc;
}

static void end_with(struct herd_pg *pg, struct herd_err *err)
{
	herd_pg_op_end(pg, err->code, err);
	herd_err_clear(err);
}

static void source_ready(void *arg, int rc, const struct herd_pg_rows *rows,
			 const struct herd_err *err)
{
	struct herd_pg *pg = arg;
	struct herd_err own = HERD_ERR_INIT;

	if (rc == -ECANCELED)
		return;
	/* That it cannot be asked now says nothing about our data. */
	if (rc < 0)
		rc = herd_err_set(&own, -EAGAIN, "could not ask the source of pg_rewind: %s",
				  herd_err_text(err));
	else
		rc = run_rewind(pg, &own);
	if (rc < 0)
		end_with(pg, &own);
}

static void source_state(void *arg, int rc, const struct herd_pg_rows *rows,
			 const struct herd_err *err)
{
	struct herd_pg *pg = arg;
	struct herd_err own = HERD_ERR_INIT;

	if (rc < 0) {
		source_ready(pg, rc, rows, err);
		return;
	}
	if (herd_pg_rows_bool(rows, 0, 0)) {
		herd_err_set(&own, -EAGAIN, "the source of pg_rewind is in recovery");
		end_with(pg, &own);
	} else if (herd_pg_rows_bool(rows, 0, 1)) {
		source_ready(pg, 0, rows, err);
	} else if (herd_pg_query(pg->op.session, "CHECKPOINT", 0, NULL, 0, source_ready, pg) < 0) {
		herd_err_set(&own, -ENOMEM, "out of memory");
		end_with(pg, &own);
	}
}

/* pg_rewind reads the timeline from the source's control file, which a checkpoint brings there. */
static const char source_sql[] =
	"SELECT r.rec, CASE WHEN r.rec THEN false ELSE c.timeline_id = ('x' || substr("
	"pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8))::bit(32)::int END"
	" FROM (SELECT pg_catalog.pg_is_in_recovery() AS rec) r,"
	" pg_catalog.pg_control_checkpoint() c";

static void ask_source(struct herd_pg *pg, int rc, const struct herd_err *err)
{
	struct rewind *r = pg->op.state;
	struct herd_pg_conninfo_opts words = { .dbname = herd_pg_config_database(&pg->cfg),
					       .krbsrvname = pg->cfg.krbsrvname,
					       .with_password = true,
					       .server_version = HERD_PG_CLIENT_MAJOR };
	struct herd_pg_session_opts opts = { .statement_timeout_ms = -1, .name = "Patroni rewind" };
	struct herd_buf text = { 0 };
	struct herd_err own = HERD_ERR_INIT;

	if (rc < 0) { /* crash recovery did not end well */
		herd_pg_op_end(pg, rc, err);
		return;
	}
	rc = herd_pg_conninfo_build(&r->source, &pg->cfg.superuser, &words, &text);
	opts.conninfo = herd_buf_str(&text);
	if (rc == 0)
		rc = herd_pg_session_new(pg->loop, &opts, &pg->op.session, NULL);
	if (rc == 0)
		rc = herd_pg_query(pg->op.session, source_sql, 0, NULL, 10000, source_state, pg);
	if (text.data != NULL)
		herd_str_wipe(text.data, text.len);
	herd_buf_free(&text);
	if (rc < 0) {
		herd_err_set(&own, rc, "out of memory");
		end_with(pg, &own);
	}
}

/* pg_rewind removes what the archive has not got yet, and the leader's line may need it. */
static void archive_first(struct herd_pg *pg, int rc, const struct herd_err *err)
{
	if (rc < 0)
		herd_pg_op_end(pg, rc, err);
	else
		herd_pg_stage_archive(pg, false, ask_source);
}

static void recover_first(struct herd_pg *pg, int rc, const struct herd_err *err)
{
	char *label = herd_str_printf("%s/backup_label", pg->cfg.data_dir);
	struct herd_err own = HERD_ERR_INIT;
	struct herd_pg_controldata c;

	if (rc < 0) {
		free(label);
		herd_pg_op_end(pg, rc, err);
		return;
	}
	rc = label != NULL ? herd_pg_control_peek(pg->cfg.data_dir, &c, &own)
			   : herd_err_set(&own, -ENOMEM, "out of memory");
	if (rc < 0)
		end_with(pg, &own);
	else if (herd_pg_control_dirty(&c) && !herd_pg_file_exists(label))
		herd_pg_stage_single_user(pg, archive_first);
	else
		archive_first(pg, 0, NULL);
	free(label);
}

static void begin_rewind(struct herd_pg *pg)
{
	herd_pg_stage_leftovers(pg, recover_first);
}

int herd_pg_rewind(struct herd_pg *pg, const struct herd_pg_addr *source, herd_pg_done_fn done,
		   void *arg, struct herd_err *err)
{
	struct rewind *r;
	int rc;

	if (herd_pg_pid(pg) != 0)
		return herd_err_set(err, -EBUSY, "the server is running");
	rc = herd_pg_op_begin(pg, "running pg_rewind", done, arg, err);
	if (rc < 0)
		return rc;
	r = calloc(1, sizeof(*r));
	pg->op.state = r;
	pg->op.free_state = rewind_free;
	if (r == NULL || herd_pg_addr_copy(source, &r->source) < 0) {
		herd_pg_op_drop(pg);
		return herd_err_set(err, -ENOMEM, "out of memory");
	}
	herd_pg_op_after(pg, 0, begin_rewind);
	return 0;
}

static void single_user(struct herd_pg *pg, int rc, const struct herd_err *err)
{
	if (rc < 0)
		herd_pg_op_end(pg, rc, err);
	else
		herd_pg_stage_single_user(pg, herd_pg_op_finish);
}

static void begin_single_user(struct herd_pg *pg)
{
	herd_pg_stage_leftovers(pg, single_user);
}

int herd_pg_single_user_recovery(struct herd_pg *pg, herd_pg_done_fn done, void *arg,
				 struct herd_err *err)
{
	int rc;

	if (herd_pg_pid(pg) != 0)
		return herd_err_set(err, -EBUSY, "the server is running");
	rc = herd_pg_op_begin(pg, "recovering in single-user mode", done, arg, err);
	if (rc == 0)
		herd_pg_op_after(pg, 0, begin_single_user);
	return rc;
}
