#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"
#include "pg/command.h"
#include "pg/initdb.h"
#include "pg/private.h"

/*
 * The program is `find ROOTS -depth ! -path KEPT ... -delete`: it follows no link and keeps the
 * directories that an administrator made.
 */
static int keep(struct herd_pg_lines *tests, const char *path)
{
	struct herd_buf pattern = { 0 };
	int rc;

	for (; *path != '\0'; path++) {
		if (strchr("*?[]\\", *path) != NULL)
			herd_buf_addc(&pattern, '\\');
		herd_buf_addc(&pattern, *path);
	}
	rc = herd_pg_lines_add(tests, "!");
	if (rc == 0)
		rc = herd_pg_lines_add(tests, "-path");
	if (rc == 0)
		rc = herd_buf_ok(&pattern) ? herd_pg_lines_add(tests, herd_buf_str(&pattern))
					   : -ENOMEM;
	herd_buf_free(&pattern);
	return rc;
}

static int add_wal(struct herd_pg_lines *argv, struct herd_pg_lines *tests, const char *link)
{
	struct stat st;
	char *real;
	int rc = 0;

	if (lstat(link, &st) < 0 || !S_ISLNK(st.st_mode))
		return 0;
	real = realpath(link, NULL);
	if (real != NULL && strcmp(real, "/") != 0 && stat(real, &st) == 0 && S_ISDIR(st.st_mode)) {
		rc = herd_pg_lines_add(argv, real);
		if (rc == 0)
			rc = keep(tests, real);
	}
	free(real);
	return rc;
}

/*
 * WAL and tablespaces behind links are emptied, the links themselves go with the data directory.
 * The target of a tablespace link may be shared by clusters of several versions: only PG_<major>_*
 * in it is ours.
 */
static int add_tablespaces(struct herd_pg *pg, struct herd_pg_lines *argv)
{
	char *path = herd_str_printf("%s/pg_tblspc", pg->cfg.data_dir), prefix[16];
	DIR *dir = path != NULL ? opendir(path) : NULL;
	struct dirent *entry, *sub;
	int rc = path != NULL ? 0 : -ENOMEM;

	snprintf(prefix, sizeof(prefix), "PG_%d_", herd_pg_major(pg));
	while (dir != NULL && rc == 0 && (entry = readdir(dir)) != NULL) {
		char *space = herd_str_printf("%s/%s", path, entry->d_name);
		DIR *inner = entry->d_name[0] != '.' && space != NULL ? opendir(space) : NULL;

		while (inner != NULL && rc == 0 && (sub = readdir(inner)) != NULL) {
			char *ours = herd_str_starts(sub->d_name, prefix)
					     ? herd_str_printf("%s/%s", space, sub->d_name)
					     : NULL;
			if (ours != NULL)
				rc = herd_pg_lines_add(argv, ours);
			free(ours);
		}
		if (inner != NULL)
			closedir(inner);
		free(space);
	}
	if (dir != NULL)
		closedir(dir);
	free(path);
	return rc;
}

static void remove_done(struct herd_pg *pg, int status, const char *output)
{
	struct herd_err err = HERD_ERR_INIT;
	herd_pg_next_fn next = pg->remove_next;
	int rc = herd_pg_command_check("find", status, output, &err);

	if (rc < 0)
		herd_err_prefix(&err, "could not remove the contents of \"%s\"", pg->cfg.data_dir);
	else
		herd_pg_mark_unfinished(pg, NULL);
	next(pg, rc, &err);
	herd_err_clear(&err);
}

static int build(struct herd_pg *pg, const char *real, struct herd_pg_lines *argv)
{
	struct herd_pg_lines tests = { 0 };
	char *wal = herd_str_printf("%s/pg_wal", real);
	int rc = wal != NULL ? herd_pg_lines_add(argv, "find") : -ENOMEM;

	if (rc == 0)
		rc = add_wal(argv, &tests, wal);
	if (rc == 0)
		rc = add_tablespaces(pg, argv);
	if (rc == 0)
		rc = herd_pg_lines_add(argv, real);
	if (rc == 0)
		rc = keep(&tests, real);
	if (rc == 0)
		rc = herd_pg_lines_add(argv, "-depth");
	for (size_t i = 0; i < tests.n && rc == 0; i++)
		rc = herd_pg_lines_add(argv, tests.v[i]);
	if (rc == 0)
		rc = herd_pg_lines_add(argv, "-delete");
	if (rc == 0)
		rc = herd_pg_lines_end(argv);
	herd_pg_lines_clear(&tests);
	free(wal);
	return rc;
}

void herd_pg_stage_remove(struct herd_pg *pg, herd_pg_next_fn next)
{
	struct herd_pg_lines argv = { 0 };
	struct herd_err err = HERD_ERR_INIT;
	char *real = realpath(pg->cfg.data_dir, NULL);
	int rc = 0;

	pg->remove_next = next;
	if (real == NULL && errno == ENOENT) {
		next(pg, 0, NULL);
		return;
	}
	/* The last guard before a delete: never above a place where a cluster could lie. */
	if (real == NULL || strcmp(real, "/") == 0)
		rc = herd_err_set(&err, -EINVAL, "will not empty directory \"%s\"",
				  pg->cfg.data_dir);
	else if (herd_pg_pid(pg) != 0)
		rc = herd_err_set(&err, -EBUSY, "the server is running");
	else if (build(pg, real, &argv) < 0)
		rc = herd_err_set(&err, -ENOMEM, "out of memory");
	if (rc == 0)
		rc = herd_pg_op_run(pg, (const char *const *)argv.v, NULL, 0, remove_done, &err);
	free(real);
	herd_pg_lines_clear(&argv);
	if (rc < 0)
		next(pg, rc, &err);
	herd_err_clear(&err);
}

static void begin(struct herd_pg *pg)
{
	herd_pg_stage_remove(pg, herd_pg_op_finish);
}

int herd_pg_remove_data(struct herd_pg *pg, herd_pg_done_fn done, void *arg, struct herd_err *err)
{
	int rc = herd_pg_op_begin(pg, "removing the data directory", done, arg, err);

	if (rc == 0)
		herd_pg_op_after(pg, 0, begin);
	return rc;
}
