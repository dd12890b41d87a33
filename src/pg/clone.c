#include "pg/clone.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "pg/command.h"
#include "pg/initdb.h"
#include "pg/private.h"

enum { TRIES = 2, RETRY_MS = 5000 };

struct clone {
	struct herd_pg_addr source;
	int64_t timeout_ms;
	struct herd_pg_method *own; /* methods for this clone alone; n 0: config's */
	size_t own_n;
	size_t method; /* index into them, or 0 when there are none */
	int tries;
	struct herd_err last; /* why the latest method failed */
};

static void next_method(struct herd_pg *pg);

static void clone_free(void *state)
{
	struct clone *c = state;

	if (c == NULL)
		return;
	for (size_t i = 0; i < c->own_n; i++)
		herd_pg_method_clear(&c->own[i]);
	free(c->own);
	herd_pg_addr_clear(&c->source);
	herd_err_clear(&c->last);
	free(c);
}

static const struct herd_pg_method *method_at(const struct herd_pg *pg, size_t i)
{
	static const struct herd_pg_method basebackup = { .name = (char *)"basebackup" };
	const struct clone *c = pg->op.state;

	if (c->own_n > 0)
		return i < c->own_n ? &c->own[i] : NULL;
	if (i < pg->cfg.method_n)
		return &pg->cfg.method[i];
	return pg->cfg.method_n == 0 && i == 0 ? &basebackup : NULL;
}

bool herd_pg_clone_without_leader(const struct herd_pg_config *cfg)
{
	for (size_t i = 0; i < cfg->method_n; i++) {
		if (cfg->method[i].no_leader && cfg->method[i].command != NULL)
			return true;
	}
	return false;
}

/* The connection text of the source for pg_basebackup and methods: no password is in it. */
static char *source_conninfo(struct herd_pg *pg, const struct clone *c, const char *dbname)
{
	struct herd_buf text = { 0 };
	struct herd_pg_conninfo_opts opts = {
		.dbname = dbname,
		.krbsrvname = pg->cfg.krbsrvname,
		.server_version = HERD_PG_CLIENT_MAJOR,
	};

	if (herd_pg_conninfo_build(&c->source, &pg->cfg.replication, &opts, &text) < 0) {
		herd_buf_free(&text);
		return NULL;
	}
	return herd_buf_steal(&text);
}

static int add_arg(struct herd_pg_lines *argv, const char *name, const char *value)
{
	char *arg = value != NULL ? herd_str_printf("--%s=%s", name, value)
				  : herd_str_printf("--%s", name);
	int rc = arg != NULL ? herd_pg_lines_add(argv, arg) : -ENOMEM;

	free(arg);
	return rc;
}

static bool denied(const char *name, const char *value)
{
	static const char *const names[] = { "pgdata", "format",   "wal-method", "xlog-method",
					     "gzip",   "version",  "dbname",     "host",
					     "port",   "username", "password" };

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		if (strcmp(name, names[i]) == 0)
			return true;
	}
	return strcmp(name, "compress") == 0 && !herd_str_starts(value, "server-");
}

static int add_options(struct herd_pg *pg, struct herd_pg_lines *argv,
		       const struct herd_pg_settings *options)
{
	int rc = 0;

	for (size_t i = 0; i < options->n && rc == 0; i++) {
		const char *name = options->v[i].name, *value = options->v[i].value;

		if (denied(name, value))
			herd_pg_notice(pg, "pg_basebackup option \"%s\" is not allowed", name);
		else if (value[0] == '\0' || strcasecmp(value, "true") == 0)
			rc = add_arg(argv, name, NULL);
		else if (strcasecmp(value, "false") != 0)
			rc = add_arg(argv, name, value);
	}
	return rc;
}

static void fail_method(struct herd_pg *pg, const struct herd_err *err)
{
	struct clone *c = pg->op.state;

	herd_err_clear(&c->last);
	herd_err_set(&c->last, err->code, "%s", herd_err_text(err));
	if (err->detail != NULL)
		herd_err_detail(&c->last, "%s", err->detail);
	c->method++;
	c->tries = 0;
	herd_pg_op_after(pg, 0, next_method);
}

static void finish(struct herd_pg *pg)
{
	struct herd_err err = HERD_ERR_INIT;

	herd_pg_mark_unfinished(pg, NULL);
	if (herd_pg_datadir(pg, &err) != HERD_PG_DATADIR_VALID) {
		if (err.code == 0)
			herd_err_set(&err, -EINVAL, "replica method left an empty data directory");
		fail_method(pg, &err);
	} else {
		/* A method may have brought the files of its source: ours are kept beside them. */
		if (herd_pg_conf_restore(&pg->cfg, &err) < 0)
			herd_pg_notice(pg, "%s", herd_err_text(&err));
		herd_pg_op_end(pg, 0, NULL);
	}
	herd_err_clear(&err);
}

static void method_done(struct herd_pg *pg, int status, const char *output)
{
	struct clone *c = pg->op.state;
	const struct herd_pg_method *m = method_at(pg, c->method);
	struct herd_err err = HERD_ERR_INIT;

	if (herd_pg_command_check(m->command != NULL ? m->name : "pg_basebackup", status, output,
				  &err) == 0) {
		finish(pg);
	} else if (m->command == NULL && ++c->tries < TRIES) {
		herd_pg_notice(pg, "%s, trying again in %d s: %s", herd_err_text(&err),
			       RETRY_MS / 1000, err.detail != NULL ? err.detail : "");
		herd_pg_op_after(pg, RETRY_MS, next_method);
	} else {
		herd_pg_notice(pg, "%s: %s", herd_err_text(&err),
			       err.detail != NULL ? err.detail : "");
		fail_method(pg, &err);
	}
	herd_err_clear(&err);
}

static int run(struct herd_pg *pg, struct herd_pg_lines *argv, struct herd_err *err)
{
	struct clone *c = pg->op.state;
	char *passfile = herd_str_printf("PGPASSFILE=%s", pg->cfg.pgpass);
	const char *env[] = { passfile, NULL };
	int rc = passfile != NULL ? herd_pg_lines_end(argv) : -ENOMEM;

	if (rc == 0 && c->source.host != NULL)
		rc = herd_pg_pgpass_write(pg->cfg.pgpass, &c->source, &pg->cfg.replication, err);
	if (rc == 0)
		rc = herd_pg_op_run(pg, (const char *const *)argv->v, env, c->timeout_ms,
				    method_done, err);
	free(passfile);
	return rc;
}

static int run_basebackup(struct herd_pg *pg, const struct herd_pg_method *m, struct herd_err *err)
{
	struct clone *c = pg->op.state;
	struct herd_pg_lines argv = { 0 };
	char *bin = herd_pg_config_bin(&pg->cfg, HERD_PG_BIN_BASEBACKUP);
	char *conninfo = source_conninfo(pg, c, herd_pg_config_database(&pg->cfg));
	int rc = bin != NULL && conninfo != NULL ? herd_pg_lines_add(&argv, bin) : -ENOMEM;

	if (rc == 0)
		rc = add_arg(&argv, "pgdata", pg->cfg.data_dir);
	if (rc == 0)
		rc = add_arg(&argv, "wal-method", "stream");
	if (rc == 0)
		rc = add_arg(&argv, "no-password", NULL);
	/* A spread checkpoint on the source would make a small clone take minutes. */
	if (rc == 0 && herd_pg_settings_get(&m->params, "checkpoint") == NULL)
		rc = add_arg(&argv, "checkpoint", "fast");
	if (rc == 0)
		rc = add_arg(&argv, "dbname", conninfo);
	if (rc == 0)
		rc = add_options(pg, &argv, &m->params);
	rc = rc < 0 ? herd_err_set(err, rc, "out of memory") : run(pg, &argv, err);
	herd_pg_lines_clear(&argv);
	free(bin);
	free(conninfo);
	return rc;
}

static int run_command(struct herd_pg *pg, const struct herd_pg_method *m, struct herd_err *err)
{
	struct clone *c = pg->op.state;
	struct herd_pg_lines argv = { 0 };
	char *conninfo = c->source.host != NULL
				 ? source_conninfo(pg, c, herd_pg_config_database(&pg->cfg))
				 : strdup("");
	int rc = herd_pg_command_split(m->command, &argv, err);

	if (rc < 0) {
		free(conninfo);
		return rc;
	}
	if (conninfo == NULL)
		rc = -ENOMEM;
	for (size_t i = 0; i < m->params.n && rc == 0; i++)
		rc = add_arg(&argv, m->params.v[i].name, m->params.v[i].value);
	if (rc == 0 && !m->no_params) {
		rc = add_arg(&argv, "scope", pg->cfg.scope);
		if (rc == 0)
			rc = add_arg(&argv, "role", "replica");
		if (rc == 0)
			rc = add_arg(&argv, "datadir", pg->cfg.data_dir);
		if (rc == 0)
			rc = add_arg(&argv, "connstring", conninfo);
	}
	rc = rc < 0 ? herd_err_set(err, rc, "out of memory") : run(pg, &argv, err);
	herd_pg_lines_clear(&argv);
	free(conninfo);
	return rc;
}

static void run_method(struct herd_pg *pg, int rc, const struct herd_err *err)
{
	struct clone *c = pg->op.state;
	const struct herd_pg_method *m = method_at(pg, c->method);
	struct herd_err own = HERD_ERR_INIT;

	if (rc < 0) { /* what was there could not be removed */
		herd_pg_op_end(pg, rc, err);
		return;
	}
	herd_pg_mark_unfinished(pg, "copy");
	rc = m->command != NULL ? run_command(pg, m, &own) : run_basebackup(pg, m, &own);
	if (rc < 0)
		fail_method(pg, &own);
	herd_err_clear(&own);
}

static void next_method(struct herd_pg *pg)
{
	struct clone *c = pg->op.state;
	const struct herd_pg_method *m = method_at(pg, c->method);
	struct herd_err err = HERD_ERR_INIT;

	while (m != NULL && c->source.host == NULL && !(m->no_leader && m->command != NULL))
		m = method_at(pg, ++c->method);
	if (m == NULL) {
		if (c->last.code != 0)
			herd_err_set(&err, c->last.code, "could not create a replica: %s",
				     herd_err_text(&c->last));
		else
			herd_err_set(&err, -ENOENT,
				     "no method can create a replica without a "
				     "running source");
		if (c->last.detail != NULL)
			herd_err_detail(&err, "%s", c->last.detail);
		herd_pg_op_end(pg, err.code, &err);
		herd_err_clear(&err);
	} else if (m->keep_data) {
		run_method(pg, 0, NULL);
	} else {
		herd_pg_stage_remove(pg, run_method);
	}
}

static void begin(struct herd_pg *pg, int rc, const struct herd_err *err)
{
	if (rc < 0)
		herd_pg_op_end(pg, rc, err);
	else
		next_method(pg);
}

static void begin_leftovers(struct herd_pg *pg)
{
	herd_pg_stage_leftovers(pg, begin);
}

int herd_pg_clone(struct herd_pg *pg, struct herd_pg_clone_opts *opts, herd_pg_done_fn done,
		  void *arg, struct herd_err *err)
{
	struct clone *c;
	int rc;

	if (herd_pg_pid(pg) != 0)
		return herd_err_set(err, -EBUSY, "the server is running");
	rc = herd_pg_op_begin(pg, "creating replica", done, arg, err);
	if (rc < 0)
		return rc;
	c = calloc(1, sizeof(*c));
	pg->op.state = c;
	pg->op.free_state = clone_free;
	if (c == NULL || herd_pg_addr_copy(&opts->source, &c->source) < 0) {
		herd_pg_op_drop(pg);
		return herd_err_set(err, -ENOMEM, "out of memory");
	}
	c->timeout_ms = opts->timeout_ms;
	c->own = opts->method;
	c->own_n = opts->method_n;
	opts->method = NULL;
	opts->method_n = 0;
	herd_pg_op_after(pg, 0, begin_leftovers);
	return 0;
}
