#include "pg/archive.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/str.h"
#include "pg/command.h"
#include "pg/file.h"
#include "pg/private.h"

static void next_file(struct herd_pg *pg);

char *herd_pg_archive_words(const char *command, const char *path, const char *file)
{
	struct herd_buf b = { 0 };

	for (const char *s = command; *s != '\0'; s++) {
		if (s[0] == '%' && s[1] == 'p')
			herd_buf_addstr(&b, path);
		else if (s[0] == '%' && s[1] == 'f')
			herd_buf_addstr(&b, file);
		else if (s[0] == '%' && s[1] == '%')
			herd_buf_addc(&b, '%');
		else {
			herd_buf_addc(&b, *s);
			continue;
		}
		s++;
	}
	return herd_buf_steal(&b);
}

static void stage_end(struct herd_pg *pg)
{
	struct herd_pg_archive_stage *a = &pg->archive;
	herd_pg_next_fn next = a->next;

	herd_pg_lines_clear(&a->files);
	free(a->command);
	*a = (struct herd_pg_archive_stage){ 0 };
	next(pg, 0, NULL);
}

static char *status_path(const struct herd_pg *pg, const char *file, const char *ending)
{
	return herd_str_printf("%s/pg_wal/archive_status/%s.%s", pg->cfg.data_dir, file, ending);
}

static void file_done(struct herd_pg *pg, int status, const char *output)
{
	struct herd_pg_archive_stage *a = &pg->archive;
	const char *file = a->files.v[a->at];
	char *ready = status_path(pg, file, "ready"), *done = status_path(pg, file, "done");
	struct herd_err err = HERD_ERR_INIT;

	if (herd_pg_command_check("archive_command", status, output, &err) < 0) {
		herd_pg_notice(pg, "WAL segment %s was not archived: %s%s%s", file,
			       herd_err_text(&err), err.detail != NULL ? ": " : "",
			       err.detail != NULL ? err.detail : "");
		a->at = a->files.n; /* the next one fails, too, or leaves a gap */
	} else {
		if (ready != NULL && done != NULL && rename(ready, done) < 0 && errno == ENOENT)
			herd_pg_file_write(done, "", 0, 0600, NULL, NULL);
		herd_pg_notice(pg, "archived WAL segment %s", file);
		a->at++;
	}
	herd_err_clear(&err);
	free(ready);
	free(done);
	herd_pg_op_after(pg, 0, next_file);
}

static void next_file(struct herd_pg *pg)
{
	struct herd_pg_archive_stage *a = &pg->archive;
	const char *file = a->at < a->files.n ? a->files.v[a->at] : NULL;
	char *path = file != NULL ? herd_str_printf("pg_wal/%s", file) : NULL;
	char *words = path != NULL ? herd_pg_archive_words(a->command, path, file) : NULL;
	const char *argv[] = {
		"sh", "-c", "cd \"$1\" && exec sh -c \"$2\"", "sh", pg->cfg.data_dir, words, NULL
	};
	struct herd_err err = HERD_ERR_INIT;

	free(path);
	if (words == NULL) {
		stage_end(pg);
		return;
	}
	if (herd_pg_op_run(pg, argv, NULL, 0, file_done, &err) < 0) {
		herd_pg_notice(pg, "WAL segment %s was not archived: %s", file,
			       herd_err_text(&err));
		stage_end(pg);
	}
	herd_err_clear(&err);
	free(words);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void find_ready(struct herd_pg *pg)
{
	struct herd_pg_lines *files = &pg->archive.files;
	char *path = herd_str_printf("%s/pg_wal/archive_status", pg->cfg.data_dir);
	DIR *dir = path != NULL ? opendir(path) : NULL;
	struct dirent *entry;

	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		size_t len = strlen(entry->d_name);

		if (len <= 6 || strcmp(entry->d_name + len - 6, ".ready") != 0)
			continue;
		entry->d_name[len - 6] = '\0';
		herd_pg_lines_add(files, entry->d_name);
	}
	if (dir != NULL)
		closedir(dir);
	free(path);
	if (files->n > 1)
		qsort(files->v, files->n, sizeof(*files->v), by_name);
}

/* The segment with the shutdown checkpoint, unless it is archived or listed already. */
static void add_last(struct herd_pg *pg)
{
	struct herd_pg_lines *files = &pg->archive.files;
	struct herd_pg_controldata c;
	char *name = NULL, *path = NULL, *done = NULL;
	struct stat st;

	if (herd_pg_control_peek(pg->cfg.data_dir, &c, NULL) < 0 ||
	    c.state != HERD_PG_DB_SHUTDOWNED)
		return;
	/* All segments are of one size, which is a power of two from 1 MB to 1 GB. */
	for (uint64_t size = 1 << 20; size <= 1 << 30; size <<= 1) {
		uint64_t per_id = ((uint64_t)1 << 32) / size, n = c.redo_lsn / size;

		free(name);
		free(path);
		name = herd_str_printf("%08X%08X%08X", c.checkpoint_tli, (unsigned int)(n / per_id),
				       (unsigned int)(n % per_id));
		path = name != NULL ? herd_str_printf("%s/pg_wal/%s", pg->cfg.data_dir, name)
				    : NULL;
		if (path != NULL && stat(path, &st) == 0 && (uint64_t)st.st_size == size)
			break;
		free(name);
		name = NULL;
	}
	done = name != NULL ? status_path(pg, name, "done") : NULL;
	if (done != NULL && !herd_pg_file_exists(done) &&
	    (files->n == 0 || strcmp(files->v[files->n - 1], name) != 0))
		herd_pg_lines_add(files, name);
	free(done);
	free(path);
	free(name);
}

/* One setting as the server would see it. */
static void ask_setting(struct herd_pg *pg, const char *name,
			void (*then)(struct herd_pg *pg, int status, const char *output))
{
	char *bin = herd_pg_config_bin(&pg->cfg, HERD_PG_BIN_POSTGRES);
	char *conf = herd_pg_config_file(&pg->cfg, ".conf");
	char *conf_arg = conf != NULL ? herd_str_printf("--config-file=%s", conf) : NULL;
	const char *argv[] = { bin, "-D", pg->cfg.data_dir, conf_arg, "-C", name, NULL };

	if (bin == NULL || conf_arg == NULL ||
	    herd_pg_op_run(pg, argv, NULL, 10000, then, NULL) < 0)
		stage_end(pg);
	free(bin);
	free(conf);
	free(conf_arg);
}

/* The value is the last line: warnings may stand before it. */
static char *value_of(int status, const char *output)
{
	char *copy = herd_pg_command_check("postgres -C", status, output, NULL) == 0
			     ? strdup(output)
			     : NULL;
	char *text = copy != NULL ? herd_str_trim(copy) : NULL;
	char *line = text != NULL ? strrchr(text, '\n') : NULL;
	char *ret = text != NULL ? strdup(line != NULL ? line + 1 : text) : NULL;

	free(copy);
	return ret;
}

static void command_known(struct herd_pg *pg, int status, const char *output)
{
	struct herd_pg_archive_stage *a = &pg->archive;

	a->command = value_of(status, output);
	if (a->command == NULL || a->command[0] == '\0' || strcmp(a->command, "(disabled)") == 0) {
		stage_end(pg);
		return;
	}
	find_ready(pg);
	if (a->last)
		add_last(pg);
	next_file(pg);
}

static void mode_known(struct herd_pg *pg, int status, const char *output)
{
	char *mode = value_of(status, output);
	bool on = mode != NULL && strcmp(mode, "off") != 0;

	free(mode);
	if (on)
		ask_setting(pg, "archive_command", command_known);
	else
		stage_end(pg);
}

void herd_pg_stage_archive(struct herd_pg *pg, bool last, herd_pg_next_fn next)
{
	pg->archive = (struct herd_pg_archive_stage){ .next = next, .last = last };
	ask_setting(pg, "archive_mode", mode_known);
}

static void begin(struct herd_pg *pg)
{
	herd_pg_stage_archive(pg, pg->op.state != NULL, herd_pg_op_finish);
}

int herd_pg_archive(struct herd_pg *pg, bool last, herd_pg_done_fn done, void *arg,
		    struct herd_err *err)
{
	int rc;

	if (herd_pg_pid(pg) != 0)
		return herd_err_set(err, -EBUSY, "the server is running");
	rc = herd_pg_op_begin(pg, "archiving", done, arg, err);
	if (rc < 0)
		return rc;
	pg->op.state = last ? pg : NULL;
	herd_pg_op_after(pg, 0, begin);
	return 0;
}
