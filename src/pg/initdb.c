#include "pg/initdb.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"
#include "pg/command.h"
#include "pg/file.h"
#include "pg/private.h"

/* The password file is removed with the operation, however that ends. */
static void remove_pwfile(void *state)
{
	char *path = state;

	if (path != NULL)
		unlink(path);
	free(path);
}

static int write_pwfile(struct herd_pg *pg, struct herd_err *err)
{
	const char *tmp = getenv("TMPDIR"), *password = pg->cfg.superuser.password;
	char *path = herd_str_printf("%s/pgherd-pw-XXXXXX", tmp != NULL ? tmp : "/tmp");
	int fd = path != NULL ? mkstemp(path) : -1; /* 0600 */
	size_t len = strlen(password);
	int rc = 0;

	if (fd < 0 || write(fd, password, len) != (ssize_t)len || write(fd, "\n", 1) != 1)
		rc = herd_err_set(err, path != NULL ? -errno : -ENOMEM,
				  "could not write a password file: %s", strerror(errno));
	if (fd >= 0)
		close(fd);
	if (rc < 0) {
		if (fd >= 0)
			unlink(path);
		free(path);
		return rc;
	}
	pg->op.state = path;
	pg->op.free_state = remove_pwfile;
	return 0;
}

static int add_arg(struct herd_pg_lines *argv, const char *name, const char *value)
{
	char *arg = value != NULL ? herd_str_printf("--%s=%s", name, value)
				  : herd_str_printf("--%s", name);
	int rc = arg != NULL ? herd_pg_lines_add(argv, arg) : -ENOMEM;

	free(arg);
	return rc;
}

/* "data-checksums" with "" or "true" is a bare option, with "false" none. */
static int add_options(struct herd_pg_lines *argv, const struct herd_pg_settings *options,
		       struct herd_err *err)
{
	static const char *const denied[] = { "pgdata", "nosync",    "no-sync",
					      "pwfile", "sync-only", "version" };
	int rc = 0;

	for (size_t i = 0; options != NULL && i < options->n && rc == 0; i++) {
		const char *name = options->v[i].name, *value = options->v[i].value;
		bool on;

		for (size_t d = 0; d < sizeof(denied) / sizeof(*denied); d++) {
			if (strcmp(name, denied[d]) == 0)
				return herd_err_set(err, -EINVAL,
						    "initdb option \"%s\" is not allowed", name);
		}
		if (value[0] == '\0' || strcasecmp(value, "true") == 0)
			rc = add_arg(argv, name, NULL);
		else if (herd_str_to_bool(value, &on) != 0 || strspn(value, "0123456789") > 0)
			rc = add_arg(argv, name, value);
	}
	return rc < 0 ? herd_err_set(err, rc, "out of memory") : 0;
}

static void initdb_done(struct herd_pg *pg, int status, const char *output)
{
	struct herd_err err = HERD_ERR_INIT;
	int rc = herd_pg_command_check("initdb", status, output, &err);

	if (rc == 0)
		herd_pg_mark_unfinished(pg, NULL);
	herd_pg_op_end(pg, rc, &err);
	herd_err_clear(&err);
}

static int run_initdb(struct herd_pg *pg, const struct herd_pg_settings *options,
		      struct herd_err *err)
{
	struct herd_pg_lines argv = { 0 };
	char *bin = herd_pg_config_bin(&pg->cfg, HERD_PG_BIN_INITDB);
	int rc = bin != NULL ? herd_pg_lines_add(&argv, bin) : -ENOMEM;

	if (rc == 0)
		rc = add_arg(&argv, "pgdata", pg->cfg.data_dir);
	if (rc == 0)
		rc = add_arg(&argv, "username", pg->cfg.superuser.username);
	if (rc == 0 && pg->op.state != NULL)
		rc = add_arg(&argv, "pwfile", pg->op.state);
	if (rc < 0)
		herd_err_set(err, rc, "out of memory");
	if (rc == 0)
		rc = add_options(&argv, options, err);
	if (rc == 0 && herd_pg_lines_end(&argv) < 0)
		rc = herd_err_set(err, -ENOMEM, "out of memory");
	if (rc == 0)
		rc = herd_pg_op_run(pg, (const char *const *)argv.v, NULL, 0, initdb_done, err);
	herd_pg_lines_clear(&argv);
	free(bin);
	return rc;
}

static void custom_done(struct herd_pg *pg, int status, const char *output)
{
	struct herd_err err = HERD_ERR_INIT;
	int rc = herd_pg_command_check("bootstrap method", status, output, &err);

	if (rc == 0)
		herd_pg_mark_unfinished(pg, NULL);
	if (rc == 0 && herd_pg_datadir(pg, &err) != HERD_PG_DATADIR_VALID)
		rc = herd_err_set(&err, -EINVAL,
				  "bootstrap method left no data directory at \"%s\"",
				  pg->cfg.data_dir);
	if (rc == 0)
		rc = herd_pg_conf_restore(&pg->cfg, &err);
	herd_pg_op_end(pg, rc, &err);
	herd_err_clear(&err);
}

static int run_custom(struct herd_pg *pg, const struct herd_pg_method *m, struct herd_err *err)
{
	struct herd_pg_lines argv = { 0 };
	int rc = herd_pg_command_split(m->command, &argv, err);

	if (rc < 0)
		return rc;
	if (!m->no_params) {
		rc = add_arg(&argv, "scope", pg->cfg.scope);
		if (rc == 0)
			rc = add_arg(&argv, "datadir", pg->cfg.data_dir);
	}
	for (size_t i = 0; i < m->params.n && rc == 0; i++)
		rc = add_arg(&argv, m->params.v[i].name, m->params.v[i].value);
	if (rc == 0)
		rc = herd_pg_lines_end(&argv);
	if (rc < 0)
		herd_err_set(err, rc, "out of memory");
	else
		rc = herd_pg_op_run(pg, (const char *const *)argv.v, NULL, 0, custom_done, err);
	herd_pg_lines_clear(&argv);
	return rc;
}

int herd_pg_initdb(struct herd_pg *pg, const struct herd_pg_bootstrap *b, herd_pg_done_fn done,
		   void *arg, struct herd_err *err)
{
	bool custom = b != NULL && b->method != NULL && b->method->command != NULL;
	int rc;

	if (herd_pg_pid(pg) != 0)
		return herd_err_set(err, -EBUSY, "the server is running");
	if (herd_pg_datadir(pg, err) != HERD_PG_DATADIR_MISSING)
		return err != NULL && err->code < 0
			       ? err->code
			       : herd_err_set(err, -EEXIST, "directory \"%s\" is not empty",
					      pg->cfg.data_dir);
	rc = herd_pg_op_begin(pg, "running initdb", done, arg, err);
	if (rc < 0)
		return rc;
	herd_pg_mark_unfinished(pg, "copy");
	if (custom) {
		rc = run_custom(pg, b->method, err);
	} else {
		if (pg->cfg.superuser.password != NULL)
			rc = write_pwfile(pg, err);
		if (rc == 0)
			rc = run_initdb(pg, b != NULL ? b->initdb : NULL, err);
	}
	if (rc < 0) { /* nothing was begun */
		herd_pg_mark_unfinished(pg, NULL);
		herd_pg_op_drop(pg);
	}
	return rc;
}
