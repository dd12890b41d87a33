#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"
#include "pg/file.h"
#include "pg/initdb.h"
#include "pg/private.h"

/* <path>.<word>, or the first <path>.<word>.N that is free: an older one keeps its place. */
static char *free_name(const char *path, const char *word)
{
	char *to = herd_str_printf("%s.%s", path, word);

	for (int n = 1; to != NULL && herd_pg_file_exists(to); n++) {
		free(to);
		to = herd_str_printf("%s.%s.%d", path, word, n);
	}
	return to;
}

/* Moves what the link leads to, and makes an empty directory in its place. */
static void move_target(struct herd_pg *pg, const char *link, const char *word)
{
	struct stat st;
	char *real, *to;

	if (lstat(link, &st) < 0 || !S_ISLNK(st.st_mode))
		return;
	real = realpath(link, NULL);
	to = real != NULL && strcmp(real, "/") != 0 && stat(real, &st) == 0 ? free_name(real, word)
									    : NULL;
	if (to != NULL && (rename(real, to) < 0 || mkdir(real, st.st_mode & 0777) < 0 ||
			   unlink(link) < 0 || symlink(to, link) < 0))
		herd_pg_notice(pg, "could not move \"%s\" to \"%s\": %s", real, to,
			       strerror(errno));
	free(to);
	free(real);
}

static void move_tablespaces(struct herd_pg *pg, const char *word)
{
	char *path = herd_str_printf("%s/pg_tblspc", pg->cfg.data_dir);
	DIR *dir = path != NULL ? opendir(path) : NULL;
	struct dirent *entry;

	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		char *link = entry->d_name[0] != '.' ? herd_str_printf("%s/%s", path, entry->d_name)
						     : NULL;

		if (link != NULL)
			move_target(pg, link, word);
		free(link);
	}
	if (dir != NULL)
		closedir(dir);
	free(path);
}

int herd_pg_move_aside(struct herd_pg *pg, const char *word, struct herd_err *err)
{
	const char *dir = pg->cfg.data_dir;
	char *wal = herd_str_printf("%s/pg_wal", dir), *to;
	int rc = 0;

	if (herd_pg_pid(pg) != 0) {
		free(wal);
		return herd_err_set(err, -EBUSY, "the server is running");
	}
	if (wal != NULL)
		move_target(pg, wal, word);
	free(wal);
	move_tablespaces(pg, word);
	to = free_name(dir, word);
	if (to == NULL)
		rc = herd_err_set(err, -ENOMEM, "out of memory");
	else if (rename(dir, to) < 0 && errno != ENOENT)
		rc = herd_err_set(err, -errno, "could not rename directory \"%s\" to \"%s\": %s",
				  dir, to, strerror(errno));
	if (rc == 0) {
		herd_pg_mark_unfinished(pg, NULL);
		herd_pg_notice(pg, "data directory was moved to \"%s\"", to);
	}
	free(to);
	return rc;
}
