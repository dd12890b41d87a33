#include "pg/control.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/str.h"
#include "model/lsn.h"
#include "pg/command.h"

static const char *const state_names[] = {
	[HERD_PG_DB_STARTUP] = "starting up",
	[HERD_PG_DB_SHUTDOWNED] = "shut down",
	[HERD_PG_DB_SHUTDOWNED_IN_RECOVERY] = "shut down in recovery",
	[HERD_PG_DB_SHUTDOWNING] = "shutting down",
	[HERD_PG_DB_IN_CRASH_RECOVERY] = "in crash recovery",
	[HERD_PG_DB_IN_ARCHIVE_RECOVERY] = "in archive recovery",
	[HERD_PG_DB_IN_PRODUCTION] = "in production",
	[HERD_PG_DB_UNKNOWN] = "unrecognized status code",
};

const char *herd_pg_control_state_name(enum herd_pg_control_state s)
{
	return state_names[s <= HERD_PG_DB_UNKNOWN ? s : HERD_PG_DB_UNKNOWN];
}

bool herd_pg_control_dirty(const struct herd_pg_controldata *c)
{
	return c->state == HERD_PG_DB_IN_PRODUCTION || c->state == HERD_PG_DB_IN_CRASH_RECOVERY ||
	       c->state == HERD_PG_DB_SHUTDOWNING || c->state == HERD_PG_DB_STARTUP;
}

/* Where a line of pg_controldata goes. */
enum kind { K_U64, K_U32, K_I64, K_INT, K_LSN, K_ONOFF, K_LEVEL, K_STATE };
static const struct field {
	const char *name;
	enum kind kind;
	size_t offset;
	bool required;
} fields[] = {
#define F(n, k, m, r)                                                                              \
	{                                                                                          \
		n, k, offsetof(struct herd_pg_controldata, m), r                                   \
	}
	F("pg_control version number", K_U32, control_version, true),
	F("Catalog version number", K_U32, catalog_version, true),
	F("Database system identifier", K_U64, system_identifier, true),
	F("Database cluster state", K_STATE, state, true),
	F("Latest checkpoint location", K_LSN, checkpoint_lsn, true),
	F("Latest checkpoint's REDO location", K_LSN, redo_lsn, true),
	F("Latest checkpoint's TimeLineID", K_U32, checkpoint_tli, true),
	F("Latest checkpoint's PrevTimeLineID", K_U32, prev_tli, false),
	F("Minimum recovery ending location", K_LSN, min_recovery_lsn, true),
	F("Min recovery ending loc's timeline", K_U32, min_recovery_tli, true),
	F("Backup start location", K_LSN, backup_start_lsn, false),
	F("wal_level setting", K_LEVEL, wal_level, true),
	F("wal_log_hints setting", K_ONOFF, wal_log_hints, true),
	F("max_connections setting", K_INT, max_connections, true),
	F("max_worker_processes setting", K_INT, max_worker_processes, true),
	F("max_wal_senders setting", K_INT, max_wal_senders, false),
	F("max_prepared_xacts setting", K_INT, max_prepared_xacts, true),
	F("max_locks_per_xact setting", K_INT, max_locks_per_xact, true),
	F("track_commit_timestamp setting", K_ONOFF, track_commit_timestamp, false),
	F("Bytes per WAL segment", K_I64, wal_segment_bytes, true),
	F("Data page checksum version", K_U32, data_checksums, true),
#undef F
};
enum { FIELD_N = sizeof(fields) / sizeof(*fields) };

static enum herd_pg_control_state state_of(const char *text)
{
	int s = 0;

	while (s < HERD_PG_DB_UNKNOWN && strcmp(text, state_names[s]) != 0)
		s++;
	return (enum herd_pg_control_state)s;
}

static int store(struct herd_pg_controldata *c, const struct field *f, const char *text)
{
	void *to = (char *)c + f->offset;
	char *end = NULL;
	unsigned long long n = 0;

	if (f->kind <= K_INT) {
		errno = 0;
		n = strtoull(text, &end, 10);
		if (errno != 0 || end == text || *end != '\0' || text[0] == '-')
			return -EINVAL;
		if ((f->kind == K_U32 && n > UINT32_MAX) || (f->kind == K_INT && n > INT32_MAX))
			return -EINVAL;
	}
	switch (f->kind) {
	case K_U64:
	case K_I64:
		*(uint64_t *)to = n;
		return 0;
	case K_U32:
		*(uint32_t *)to = (uint32_t)n;
		return 0;
	case K_INT:
		*(int *)to = (int)n;
		return 0;
	case K_LSN:
		return herd_lsn_parse(text, to);
	case K_ONOFF:
		*(bool *)to = strcmp(text, "on") == 0;
		return 0;
	case K_STATE:
		*(enum herd_pg_control_state *)to = state_of(text);
		return 0;
	case K_LEVEL:
		snprintf(to, sizeof(c->wal_level), "%s", text);
		return 0;
	}
	return -EINVAL;
}

int herd_pg_control_parse(const char *text, struct herd_pg_controldata *ret, struct herd_err *err)
{
	struct herd_pg_controldata c = { 0 };
	bool seen[FIELD_N] = { false };
	char *copy = strdup(text), *save = NULL;
	int rc = 0;

	if (copy == NULL)
		return herd_err_set(err, -ENOMEM, "out of memory");
	for (char *line = strtok_r(copy, "\n", &save); line != NULL && rc == 0;
	     line = strtok_r(NULL, "\n", &save)) {
		char *value = strstr(line, ": ");

		if (value == NULL)
			continue;
		*value = '\0';
		value = herd_str_trim(value + 2);
		for (int i = 0; i < FIELD_N; i++) {
			if (strcmp(line, fields[i].name) != 0)
				continue;
			seen[i] = true;
			rc = store(&c, &fields[i], value);
			if (rc < 0)
				herd_err_set(err, rc, "pg_controldata printed \"%s\" as the %s",
					     value, fields[i].name);
		}
	}
	for (int i = 0; i < FIELD_N && rc == 0; i++) {
		if (fields[i].required && !seen[i])
			rc = herd_err_set(err, -EINVAL, "pg_controldata did not print the %s",
					  fields[i].name);
	}
	free(copy);
	if (rc == 0)
		*ret = c;
	return rc;
}

/*
 * The start of struct ControlFileData (PostgreSQL's src/include/catalog/pg_control.h), the same for
 * the versions in known_versions.
 */
struct control_head {
	uint64_t system_identifier;
	uint32_t control_version;
	uint32_t catalog_version;
	uint32_t state;
	int64_t time;
	uint64_t checkpoint_lsn;
	uint64_t redo_lsn;
	uint32_t this_tli;
	uint32_t prev_tli;
};
static const uint32_t known_versions[] = { 1300, 1700, 1800 };

int herd_pg_control_peek(const char *data_dir, struct herd_pg_controldata *ret,
			 struct herd_err *err)
{
	struct control_head h, again;
	struct herd_pg_controldata c = { 0 };
	char *path = herd_str_printf("%s/global/pg_control", data_dir);
	bool known = false;
	ssize_t n = -1, m = -1;
	int fd;

	if (path == NULL)
		return herd_err_set(err, -ENOMEM, "out of memory");
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		int rc = herd_err_set(err, -errno, "could not open file \"%s\": %s", path,
				      strerror(errno));
		free(path);
		return rc;
	}
	/* A writer may be half way through: only what reads the same twice is believed. */
	for (int try = 0; try < 5; try++) {
		n = pread(fd, &h, sizeof(h), 0);
		m = pread(fd, &again, sizeof(again), 0);
		if (n == (ssize_t)sizeof(h) && n == m && memcmp(&h, &again, sizeof(h)) == 0)
			break;
		n = -1;
	}
	close(fd);
	for (size_t i = 0; n > 0 && i < sizeof(known_versions) / sizeof(*known_versions); i++)
		known = known || h.control_version == known_versions[i];
	if (!known) {
		herd_err_set(err, -EINVAL, "could not understand file \"%s\"", path);
		free(path);
		return -EINVAL;
	}
	free(path);
	c.system_identifier = h.system_identifier;
	c.control_version = h.control_version;
	c.catalog_version = h.catalog_version;
	c.state = h.state < HERD_PG_DB_UNKNOWN ? (enum herd_pg_control_state)h.state
					       : HERD_PG_DB_UNKNOWN;
	c.checkpoint_lsn = h.checkpoint_lsn;
	c.redo_lsn = h.redo_lsn;
	c.checkpoint_tli = h.this_tli;
	c.prev_tli = h.prev_tli;
	*ret = c;
	return 0;
}

struct control_read {
	herd_pg_control_fn fn;
	void *arg;
};

static void control_done(void *arg, int status, const char *output, size_t len)
{
	struct control_read *r = arg;
	struct herd_pg_controldata c;
	struct herd_err err = HERD_ERR_INIT;
	int rc = herd_pg_command_check("pg_controldata", status, output, &err);

	if (rc == 0)
		rc = herd_pg_control_parse(output, &c, &err);
	r->fn(r->arg, rc, rc == 0 ? &c : NULL, &err);
	herd_err_clear(&err);
	free(r);
}

int herd_pg_control_read(struct herd_loop *l, const struct herd_pg_config *cfg,
			 herd_pg_control_fn fn, void *arg, struct herd_err *err)
{
	struct control_read *r = calloc(1, sizeof(*r));
	char *bin = herd_pg_config_bin(cfg, HERD_PG_BIN_CONTROLDATA);
	const char *argv[] = { bin, "-D", cfg->data_dir, NULL };
	const char *set[] = { "LC_ALL=C", NULL };
	struct herd_child *child;
	int rc;

	if (r == NULL || bin == NULL) {
		free(r);
		free(bin);
		return herd_err_set(err, -ENOMEM, "out of memory");
	}
	r->fn = fn;
	r->arg = arg;
	rc = herd_pg_command_start(l, argv, set, 10000, control_done, r, &child, err);
	free(bin);
	if (rc < 0)
		free(r);
	return rc;
}
