#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"
#include "pg/conf.h"
#include "pg/file.h"

/* As the data directory is: the server's group may read all of it, or nothing. */
static mode_t mode_of(const struct herd_pg_config *cfg)
{
	struct stat st;

	return stat(cfg->data_dir, &st) == 0 && (st.st_mode & 050) == 050 ? 0640 : 0600;
}

/* The first time, what initdb or an administrator made becomes the base that is included. */
static int keep_base(const struct herd_pg_config *cfg, struct herd_err *err)
{
	char *conf = herd_pg_config_file(cfg, ".conf"),
	     *base = herd_pg_config_file(cfg, ".base.conf");
	int rc = 0;

	if (conf == NULL || base == NULL)
		rc = herd_err_set(err, -ENOMEM, "out of memory");
	else if (cfg->custom_conf != NULL || herd_pg_file_exists(base))
		rc = 0;
	else if (!herd_pg_file_exists(conf))
		rc = herd_pg_file_write(base, "", 0, mode_of(cfg), NULL, err);
	else if (rename(conf, base) < 0)
		rc = herd_err_set(err, -errno, "could not rename file \"%s\" to \"%s\": %s", conf,
				  base, strerror(errno));
	free(conf);
	free(base);
	return rc;
}

/*
 * A server that was promoted has read its settings of recovery, and some cannot be changed until it
 * is started anew: what stands in the file stays.
 */
static int keep_recovery(const char *path, struct herd_buf *text)
{
	struct herd_buf old = { 0 };
	int rc = herd_pg_file_read(path, &old, NULL);
	const char *part = rc == 0 ? strstr(herd_buf_str(&old), "\n" HERD_PG_CONF_RECOVERY) : NULL;

	if (part != NULL)
		herd_buf_addstr(text, part);
	if (old.data != NULL)
		herd_str_wipe(old.data, old.len);
	herd_buf_free(&old);
	return herd_buf_ok(text) ? 0 : -ENOMEM;
}

static int write_conf(const struct herd_pg_config *cfg, const struct herd_pg_role *role,
		      const struct herd_pg_settings *settings, int server_version, bool running,
		      bool *changed, struct herd_err *err)
{
	struct herd_buf text = { 0 };
	char *path = herd_pg_config_file(cfg, ".conf");
	int rc = path != NULL ? herd_pg_conf_text(cfg, role, settings, server_version, &text)
			      : -ENOMEM;

	if (rc == 0 && running && !role->standby && !role->point_in_time)
		rc = keep_recovery(path, &text);

	if (rc < 0)
		herd_err_set(err, rc, "could not write the text of postgresql.conf: %s",
			     strerror(-rc));
	else
		rc = herd_pg_file_write(path, herd_buf_str(&text), text.len, mode_of(cfg), changed,
					err);
	if (text.data != NULL)
		herd_str_wipe(text.data, text.len);
	herd_buf_free(&text);
	free(path);
	return rc;
}

static int write_lines(const struct herd_pg_config *cfg, const struct herd_pg_settings *settings,
		       const char *guc, const char *name, const struct herd_pg_lines *lines,
		       bool *changed, struct herd_err *err)
{
	struct herd_buf text = { 0 };
	const char *elsewhere = herd_pg_settings_get(settings, guc);
	char *path = herd_pg_config_file(cfg, name);
	int rc;

	if (lines->n == 0 || (elsewhere != NULL && path != NULL && strcmp(elsewhere, path) != 0)) {
		free(path);
		return 0; /* not ours to write */
	}
	rc = path != NULL ? herd_pg_conf_lines_text(lines, &text) : -ENOMEM;
	if (rc < 0)
		herd_err_set(err, rc, "could not write the text of %s: %s", name, strerror(-rc));
	else
		rc = herd_pg_file_write(path, herd_buf_str(&text), text.len, mode_of(cfg), changed,
					err);
	herd_buf_free(&text);
	free(path);
	return rc;
}

static int write_hba(const struct herd_pg_config *cfg, const struct herd_pg_role *role,
		     const struct herd_pg_settings *settings, bool *changed, struct herd_err *err)
{
	static char *trust[] = { "local all all trust", "host all all 127.0.0.1/32 trust",
				 "host all all ::1/128 trust", "host all all samehost trust" };
	const struct herd_pg_lines only_us = { .v = trust, .n = 4, .cap = 4 };
	const struct herd_pg_settings none = { 0 };
	enum herd_pg_kind kind = herd_pg_role_kind(role);
	const struct herd_pg_lines *hba = &cfg->of_role[kind].pg_hba,
				   *ident = &cfg->of_role[kind].pg_ident;
	char *path = role->trust_only_hba ? NULL : herd_pg_config_file(cfg, HERD_PG_BOOTSTRAP_HBA);
	int rc = path != NULL ? herd_pg_file_remove(path, NULL) : 0;

	free(path);
	rc = role->trust_only_hba ? write_lines(cfg, &none, "hba_file", HERD_PG_BOOTSTRAP_HBA,
						&only_us, changed, err)
				  : write_lines(cfg, settings, "hba_file", "pg_hba.conf",
						hba->n > 0 ? hba : &cfg->pg_hba, changed, err);
	if (rc == 0)
		rc = write_lines(cfg, settings, "ident_file", "pg_ident.conf",
				 ident->n > 0 ? ident : &cfg->pg_ident, changed, err);
	return rc;
}

static int clean_auto(const struct herd_pg_config *cfg, bool *changed, struct herd_err *err)
{
	struct herd_buf old = { 0 }, new = { 0 };
	char *path = herd_str_printf("%s/postgresql.auto.conf", cfg->data_dir);
	bool dirty = false;
	int rc = path != NULL ? herd_pg_file_read(path, &old, err) : -ENOMEM;

	if (rc == 0)
		rc = herd_pg_conf_clean_auto(herd_buf_str(&old), &new, &dirty);
	if (rc == 0 && dirty)
		rc = herd_pg_file_write(path, herd_buf_str(&new), new.len, mode_of(cfg), changed,
					err);
	herd_buf_free(&old);
	herd_buf_free(&new);
	free(path);
	return rc == -ENOENT ? 0 : rc;
}

static int set_signal(const struct herd_pg_config *cfg, const char *name, bool on,
		      struct herd_err *err)
{
	char *path = herd_str_printf("%s/%s", cfg->data_dir, name);
	int rc;

	if (path == NULL)
		return herd_err_set(err, -ENOMEM, "out of memory");
	rc = on ? herd_pg_file_write(path, "", 0, mode_of(cfg), NULL, err)
		: herd_pg_file_remove(path, err);
	free(path);
	return rc;
}

int herd_pg_conf_write_signals(const struct herd_pg_config *cfg, const struct herd_pg_role *role,
			       struct herd_err *err)
{
	int rc = set_signal(cfg, "promote", false, err); /* of a promotion that never happened */

	if (rc == 0 && !role->keep_recovery)
		rc = set_signal(cfg, "standby.signal", role->standby, err);
	if (rc == 0 && !role->keep_recovery)
		rc = set_signal(cfg, "recovery.signal", role->point_in_time && !role->standby, err);
	return rc;
}

int herd_pg_conf_write(const struct herd_pg_config *cfg, const struct herd_pg_role *role,
		       const struct herd_pg_settings *settings, int server_version, bool running,
		       bool *changed, struct herd_err *err)
{
	int rc = keep_base(cfg, err);

	if (rc == 0 && role->standby && role->primary.host != NULL && cfg->pgpass != NULL &&
	    cfg->replication.password != NULL)
		rc = herd_pg_pgpass_write(cfg->pgpass, &role->primary, &cfg->replication, err);
	if (rc == 0)
		rc = write_conf(cfg, role, settings, server_version, running, changed, err);
	if (rc == 0)
		rc = write_hba(cfg, role, settings, changed, err);
	if (rc == 0 && !role->keep_recovery)
		rc = clean_auto(cfg, changed, err);
	return rc;
}

static int copy_all(const struct herd_pg_config *cfg, bool back, struct herd_err *err)
{
	static const char *const names[] = { ".conf", ".base.conf", "pg_hba.conf",
					     "pg_ident.conf" };
	bool own = false; /* a configuration directory of its own keeps what it has */
	int rc = 0;

	for (int i = 0; i < 4 && rc == 0; i++) {
		char *file = herd_pg_config_file(cfg, names[i]);
		const char *slash = file != NULL ? strrchr(file, '/') : NULL;
		char *copy =
			slash != NULL ? herd_str_printf("%s%s.backup", cfg->data_dir, slash) : NULL;

		if (copy == NULL)
			rc = herd_err_set(err, -ENOMEM, "out of memory");
		else if (back && (access(file, F_OK) == 0 || (own && i == 1)))
			own = own || i == 0; /* what it includes is not another member's */
		else if (back)
			rc = herd_pg_file_copy(copy, file, mode_of(cfg), err);
		else
			rc = herd_pg_file_copy(file, copy, mode_of(cfg), err);
		if (rc == -ENOENT)
			rc = 0;
		free(copy);
		free(file);
	}
	return rc;
}

int herd_pg_conf_backup(const struct herd_pg_config *cfg, struct herd_err *err)
{
	return copy_all(cfg, false, err);
}

int herd_pg_conf_restore(const struct herd_pg_config *cfg, struct herd_err *err)
{
	return copy_all(cfg, true, err);
}
