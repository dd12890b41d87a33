#include "pg/slots.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/str.h"

void herd_pg_slots_plan_clear(struct herd_pg_slots_plan *p)
{
	herd_pg_lines_clear(&p->create);
	herd_pg_lines_clear(&p->drop);
	herd_pg_settings_clear(&p->advance);
}

struct apply {
	void (*fn)(void *arg, int rc, const struct herd_err *err);
	void *arg;
	size_t waiting;
	struct herd_err first; /* of the failures */
};

/* One statement of the plan; its callback needs to know which. */
struct step {
	struct apply *apply;
	char text[128];
};

static void step_done(void *arg, int rc, const struct herd_pg_rows *rows,
		      const struct herd_err *err)
{
	struct step *step = arg;
	struct apply *a = step->apply;

	if (rc < 0 && a->first.code == 0) {
		herd_err_set(&a->first, rc, "could not %s: %s", step->text, herd_err_text(err));
		if (err->detail != NULL)
			herd_err_detail(&a->first, "%s", err->detail);
	}
	free(step);
	if (--a->waiting > 0)
		return;
	a->fn(a->arg, a->first.code, &a->first);
	herd_err_clear(&a->first);
	free(a);
}

static int send(struct herd_pg_session *s, struct apply *a, const char *what, const char *sql,
		const char *name, const char *lsn, int64_t timeout_ms)
{
	const char *params[] = { name, lsn };
	struct step *step = calloc(1, sizeof(*step));
	int rc;

	if (step == NULL)
		return -ENOMEM;
	step->apply = a;
	snprintf(step->text, sizeof(step->text), "%s replication slot \"%.63s\"", what, name);
	a->waiting++;
	rc = herd_pg_query(s, sql, lsn != NULL ? 2 : 1, params, timeout_ms, step_done, step);
	if (rc < 0) {
		a->waiting--;
		free(step);
	}
	return rc;
}

/* Each looks for itself whether there is anything to do, so that a repetition does no harm. */
static const char create_sql[] =
	"SELECT pg_catalog.pg_create_physical_replication_slot($1::name, true) WHERE NOT EXISTS"
	" (SELECT FROM pg_catalog.pg_replication_slots WHERE slot_name = $1::name)";
static const char drop_sql[] = "SELECT pg_catalog.pg_drop_replication_slot(slot_name)"
			       " FROM pg_catalog.pg_replication_slots WHERE slot_name = $1::name";
/* A slot whose WAL is gone, or which somebody uses, cannot be moved. */
static const char advance_sql[] =
	"SELECT pg_catalog.pg_replication_slot_advance(slot_name, $2::pg_lsn)"
	" FROM pg_catalog.pg_replication_slots WHERE slot_name = $1::name AND NOT active"
	" AND restart_lsn < $2::pg_lsn";

int herd_pg_slots_apply(struct herd_pg_session *s, const struct herd_pg_slots_plan *plan,
			int64_t timeout_ms, void (*fn)(void *arg, int rc, const struct herd_err *),
			void *arg)
{
	struct apply *a = calloc(1, sizeof(*a));
	int rc = 0;

	if (a == NULL)
		return -ENOMEM;
	a->fn = fn;
	a->arg = arg;
	for (size_t i = 0; i < plan->drop.n && rc == 0; i++)
		rc = send(s, a, "drop", drop_sql, plan->drop.v[i], NULL, timeout_ms);
	for (size_t i = 0; i < plan->create.n && rc == 0; i++)
		rc = send(s, a, "create", create_sql, plan->create.v[i], NULL, timeout_ms);
	for (size_t i = 0; i < plan->advance.n && rc == 0; i++)
		rc = send(s, a, "advance", advance_sql, plan->advance.v[i].name,
			  plan->advance.v[i].value, timeout_ms);
	if (a->waiting == 0) { /* nothing to do, or no memory for the first: fn is not called */
		free(a);
		return rc < 0 ? rc : -EALREADY;
	}
	if (rc < 0)
		herd_err_set(&a->first, rc, "out of memory");
	return 0;
}

/* --- files ------------------------------------------------------------------------------------ */

static int sync_path(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int rc = fd < 0 || fsync(fd) < 0 ? -errno : 0;

	if (fd >= 0)
		close(fd);
	return rc;
}

/* The permissions of the data directory say whether its group may read. */
static int write_state(const char *dir, const char *path, const char *state, size_t len)
{
	struct stat st;
	mode_t group = stat(dir, &st) == 0 ? st.st_mode & 040 : 0;
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600 | group);
	int rc = fd < 0 ? -errno : 0;

	for (size_t done = 0; rc == 0 && done < len;) {
		ssize_t n = write(fd, state + done, len - done);

		if (n < 0 && errno != EINTR)
			rc = -errno;
		done += n > 0 ? (size_t)n : 0;
	}
	if (rc == 0 && fsync(fd) < 0)
		rc = -errno;
	if (fd >= 0 && close(fd) < 0 && rc == 0)
		rc = -errno;
	return rc;
}

static void remove_slot_dir(const char *dir, const char *file)
{
	unlink(file);
	rmdir(dir);
}

/* As PostgreSQL does it: a directory of another name, which its start removes, renamed at the end.
 */
int herd_pg_slot_put(const char *data_dir, const char *name, const char *state, size_t len,
		     struct herd_err *err)
{
	char *all = herd_str_printf("%s/pg_replslot", data_dir);
	char *dir = herd_str_printf("%s/pg_replslot/%s", data_dir, name);
	char *file = herd_str_printf("%s/pg_replslot/%s/state", data_dir, name);
	char *tmp = herd_str_printf("%s/pg_replslot/%s.tmp", data_dir, name);
	char *tmp_file = herd_str_printf("%s/pg_replslot/%s.tmp/state", data_dir, name);
	struct stat st;
	int rc = all && dir && file && tmp && tmp_file ? 0 : -ENOMEM;

	if (rc == 0) {
		remove_slot_dir(tmp, tmp_file);
		if (mkdir(tmp, 0700) < 0 && errno != EEXIST)
			rc = -errno;
	}
	if (rc == 0 && stat(data_dir, &st) == 0 && (st.st_mode & 050) == 050 &&
	    chmod(tmp, 0750) < 0)
		rc = -errno;
	if (rc == 0)
		rc = write_state(data_dir, tmp_file, state, len);
	if (rc == 0)
		rc = sync_path(tmp);
	if (rc == 0) {
		remove_slot_dir(dir, file);
		rc = rename(tmp, dir) < 0 ? -errno : sync_path(dir);
	}
	if (rc == 0)
		rc = sync_path(all);
	if (rc < 0)
		herd_err_set(err, rc, "could not write the state of replication slot \"%s\": %s",
			     name, strerror(-rc));
	free(all);
	free(dir);
	free(file);
	free(tmp);
	free(tmp_file);
	return rc;
}

/* The state begins with magic, checksum, version and length; then the name, and the database's OID,
 * which a physical slot has not. */
static bool is_logical(const char *file)
{
	enum { NAME_AT = 16, DATABASE_AT = NAME_AT + 64 };
	unsigned char text[DATABASE_AT + 4];
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, text, sizeof(text)) : -1;
	uint32_t database = 0;

	if (fd >= 0)
		close(fd);
	if (n == (ssize_t)sizeof(text))
		memcpy(&database, text + DATABASE_AT, sizeof(database));
	return database != 0;
}

struct herd_pg_slots_found herd_pg_slots_on_disk(const char *data_dir)
{
	struct herd_pg_slots_found ret = { 0 };
	char *path = herd_str_printf("%s/pg_replslot", data_dir);
	DIR *dir = path != NULL ? opendir(path) : NULL;
	struct dirent *entry;

	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		char *file;

		/* "name.tmp" is one that was not finished: a start removes it. */
		if (strchr(entry->d_name, '.') != NULL)
			continue;
		file = herd_str_printf("%s/%s/state", path, entry->d_name);
		ret.n++;
		ret.logical += file != NULL && is_logical(file);
		free(file);
	}
	if (dir != NULL)
		closedir(dir);
	free(path);
	return ret;
}

int herd_pg_slots_raise(struct herd_pg_settings *s, const struct herd_pg_slots_found *found,
			bool *raised)
{
	const char *max = herd_pg_settings_get(s, "max_replication_slots");
	const char *level = herd_pg_settings_get(s, "wal_level");
	int64_t n;
	int rc = 0;

	if (max != NULL && herd_str_to_i64(max, &n) == 0 && n < found->n) {
		char text[16];

		snprintf(text, sizeof(text), "%d", found->n);
		rc = herd_pg_settings_set(s, "max_replication_slots", text);
		*raised = true;
	}
	if (rc == 0 && found->logical > 0 && level != NULL && strcmp(level, "logical") != 0) {
		rc = herd_pg_settings_set(s, "wal_level", "logical");
		*raised = true;
	}
	return rc;
}
