/*
 * tools/wale.c - a replica creation method: the latest WAL-E backup, unless so much WAL was written
 * since that a base backup is less work.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/str.h"
#include "tools/tools.h"

enum { OK = 0, RETRY_LATER = 1, FAIL = 2, RETRY_S = 1, MAX_LIST = 1 << 20 };

struct wale {
	struct herd_log *log;
	const char *scope, *datadir, *connstring, *envdir;
	int64_t retries, max_mb, max_percent;
	bool use_iam, no_leader;
};

struct backup {
	int64_t size; /* bytes, expanded */
	uint64_t lsn; /* where it starts */
};

/* wal-e WORDS... in its environment directory. out: its standard output, or NULL. Its status. */
static int run(struct wale *w, char *const words[], struct herd_buf *out)
{
	char *argv[12];
	int n = 0, fds[2], status = -1;
	pid_t pid;

	argv[n++] = "envdir";
	argv[n++] = (char *)w->envdir;
	argv[n++] = "wal-e";
	if (w->use_iam)
		argv[n++] = "--aws-instance-profile";
	while (*words)
		argv[n++] = *words++;
	argv[n] = NULL;
	if (pipe(fds) < 0)
		return -1;
	pid = fork();
	if (pid == 0) {
		if (out)
			dup2(fds[1], STDOUT_FILENO);
		close(fds[0]);
		close(fds[1]);
		execvp(argv[0], argv);
		_exit(127);
	}
	close(fds[1]);
	while (pid > 0 && out && out->len < MAX_LIST && herd_buf_reserve(out, 4096)) {
		ssize_t got = read(fds[0], out->data + out->len, 4096);

		if (got <= 0 && errno != EINTR)
			break;
		if (got > 0)
			out->len += (size_t)got;
	}
	close(fds[0]);
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		continue;
	if (out)
		herd_buf_addc(out, '\0');
	return pid > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* The word of the second line below the named column of the first; NULL when there is none. */
static char *column(const char *list, const char *name)
{
	const char *second = strchr(list, '\n');
	char *head, *row, *h_save = NULL, *r_save = NULL, *found = NULL;

	if (!second)
		return NULL;
	head = herd_str_printf("%.*s", (int)(second - list), list);
	row = herd_str_printf("%.*s", (int)strcspn(second + 1, "\n"), second + 1);
	if (head && row) {
		char *h = strtok_r(head, " \t", &h_save), *r = strtok_r(row, " \t", &r_save);

		for (; h && r && strcmp(h, name) != 0; h = strtok_r(NULL, " \t", &h_save))
			r = strtok_r(NULL, " \t", &r_save);
		if (h && r)
			found = strdup(r);
	}
	free(head);
	free(row);
	return found;
}

/*
 * The segment is TTTTTTTTXXXXXXXXYYYYYYYY: X the high half of the position, Y the number of the
 * 16 MB segment in it. The offset within the segment is decimal.
 */
static bool read_start(const char *segment, const char *offset, uint64_t *ret)
{
	unsigned high, low;
	int64_t off;

	if (strlen(segment) != 24 || strspn(segment, "0123456789ABCDEF") != 24 ||
	    sscanf(segment + 8, "%8X%8X", &high, &low) != 2 || low > 0xff ||
	    herd_str_to_i64(offset, &off) < 0 || off < 0 || off >= 1 << 24)
		return false;
	*ret = ((uint64_t)high << 32) + ((uint64_t)low << 24) + (uint64_t)off;
	return true;
}

static bool latest_backup(struct wale *w, struct backup *b)
{
	static char *const words[] = { "backup-list", "--detail", "LATEST", NULL };
	struct herd_buf list = { 0 };
	int rc = run(w, words, &list);
	char *size = NULL, *segment = NULL, *offset = NULL;
	bool ok = false;

	if (rc != 0) {
		herd_error(w->log, "could not query wal-e latest backup: exit status %d", rc);
	} else {
		size = column(herd_buf_str(&list), "expanded_size_bytes");
		segment = column(herd_buf_str(&list), "wal_segment_backup_start");
		offset = column(herd_buf_str(&list), "wal_segment_offset_backup_start");
		ok = size && segment && offset && herd_str_to_i64(size, &b->size) == 0 &&
		     b->size >= 0 && read_start(segment, offset, &b->lsn);
		if (!ok)
			herd_error(w->log,
				   "wal-e did not tell size and start of the latest backup");
	}
	free(size);
	free(segment);
	free(offset);
	herd_buf_free(&list);
	return ok;
}

static bool wal_since_once(struct wale *w, const struct backup *b, int64_t *ret)
{
	PGconn *c = PQconnectdb(w->connstring);
	char *sql = herd_str_printf(
		"SELECT GREATEST(0, pg_catalog.pg_wal_lsn_diff("
		"CASE WHEN pg_catalog.pg_is_in_recovery() THEN GREATEST("
		"pg_catalog.pg_last_wal_replay_lsn(), pg_catalog.pg_last_wal_receive_lsn()) "
		"ELSE pg_catalog.pg_current_wal_lsn() END, '%X/%X'))::bigint",
		(unsigned)(b->lsn >> 32), (unsigned)b->lsn);
	PGresult *r = sql && PQstatus(c) == CONNECTION_OK ? PQexec(c, sql) : NULL;
	bool ok = PQresultStatus(r) == PGRES_TUPLES_OK && PQntuples(r) == 1 &&
		  herd_str_to_i64(PQgetvalue(r, 0, 0), ret) == 0;

	if (!ok) {
		char *why = herd_str_dup(PQerrorMessage(c));

		herd_warning(w->log, "could not determine difference with the primary location: %s",
			     why ? herd_str_trim(why) : "");
		free(why);
	}
	PQclear(r);
	PQfinish(c);
	free(sql);
	return ok;
}

/* False: another method is to be used. */
static bool wal_since(struct wale *w, const struct backup *b, int64_t *ret)
{
	*ret = 0;
	if (!*w->connstring)
		return true;
	for (int64_t i = 0;; i++) {
		if (wal_since_once(w, b, ret))
			return true;
		if (i == w->retries)
			break;
		sleep(RETRY_S);
	}
	*ret = 0;
	if (w->no_leader)
		herd_info(w->log,
			  "continue with base backup from S3 since primary is not available");
	return w->no_leader;
}

static bool worth_it(struct wale *w, const struct backup *b, int64_t wal)
{
	bool small = wal < w->max_mb * 1048576;
	bool part = (double)wal < (double)b->size * (double)w->max_percent / 100.0;

	herd_info(w->log,
		  "%" PRId64 " bytes of WAL since a backup of %" PRId64
		  " bytes (thresholds: %" PRId64 " MB, %" PRId64 " %%): %s",
		  wal, b->size, w->max_mb, w->max_percent,
		  small && part ? "WAL-E is used" : "a base backup is less work");
	return small && part;
}

/* The backup has no WAL directory when that was a link. */
static void make_wal_dir(struct wale *w)
{
	char *dir = herd_str_printf("%s/pg_wal", w->datadir);
	struct stat st;

	if (dir && stat(dir, &st) < 0) {
		unlink(dir);
		if (mkdir(dir, 0700) < 0)
			herd_warning(w->log, "could not create directory \"%s\": %s", dir,
				     strerror(errno));
	}
	free(dir);
}

static int restore(struct wale *w)
{
	char *words[] = { "backup-fetch", (char *)w->datadir, "LATEST", NULL };
	struct backup b;
	int64_t wal;
	int rc;

	if (!latest_backup(w, &b))
		return RETRY_LATER;
	if (!wal_since(w, &b, &wal) || !worth_it(w, &b, wal))
		return FAIL;
	rc = run(w, words, NULL);
	if (rc != 0) {
		herd_error(w->log, "wal-e backup-fetch ended with exit status %d", rc);
		return RETRY_LATER;
	}
	make_wal_dir(w);
	return OK;
}

static void usage(FILE *out)
{
	fputs("patroni_wale_restore: creates a replica from the latest WAL-E backup\n"
	      "\n"
	      "Usage: patroni_wale_restore --scope NAME --datadir DIR --connstring TEXT\n"
	      "           --envdir DIR [OPTION]...\n"
	      "\n"
	      "Options:\n"
	      "  --role ROLE                      of the new member (not used)\n"
	      "  --retries N                      attempts after the first (default 1)\n"
	      "  --threshold_megabytes N          more WAL than this: no WAL-E (default 10240)\n"
	      "  --threshold_backup_size_percentage N\n"
	      "                                   more WAL than this part of the backup: no WAL-E\n"
	      "                                   (default 30)\n"
	      "  --use_iam 0|1                    credentials of the instance's profile (default "
	      "0)\n"
	      "  --no_leader 0|1                  go on without a primary to ask (default 0)\n"
	      "\n"
	      "Exit status: 0 done, 1 try again later, 2 use another method.\n",
	      out);
}

static bool number(const char *name, const char *text, int64_t max, int64_t *ret)
{
	if (herd_str_to_i64(text, ret) == 0 && *ret >= 0 && *ret <= max)
		return true;
	fprintf(stderr, "patroni_wale_restore: invalid value for --%s: \"%s\"\n", name, text);
	return false;
}

static bool read_arguments(struct wale *w, int argc, char **argv, bool *help)
{
	static const struct option options[] = {
		{ "scope", required_argument, NULL, 's' },
		{ "role", required_argument, NULL, 'r' },
		{ "datadir", required_argument, NULL, 'd' },
		{ "connstring", required_argument, NULL, 'c' },
		{ "retries", required_argument, NULL, 'n' },
		{ "envdir", required_argument, NULL, 'e' },
		{ "threshold_megabytes", required_argument, NULL, 'm' },
		{ "threshold_backup_size_percentage", required_argument, NULL, 'p' },
		{ "use_iam", required_argument, NULL, 'i' },
		{ "no_leader", required_argument, NULL, 'l' },
		{ "no_master", required_argument, NULL, 'l' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int64_t iam = 0, alone = 0;
	bool ok = true;
	int o;

	while (ok && (o = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (o) {
		case 's':
			w->scope = optarg;
			break;
		case 'r':
			break;
		case 'd':
			w->datadir = optarg;
			break;
		case 'c':
			w->connstring = optarg;
			break;
		case 'e':
			w->envdir = optarg;
			break;
		case 'n':
			ok = number("retries", optarg, 1000, &w->retries);
			break;
		case 'm':
			ok = number("threshold_megabytes", optarg, INT64_C(1) << 40, &w->max_mb);
			break;
		case 'p':
			ok = number("threshold_backup_size_percentage", optarg, 1000000,
				    &w->max_percent);
			break;
		case 'i':
			ok = number("use_iam", optarg, 1, &iam);
			break;
		case 'l':
			ok = number("no_leader", optarg, 1, &alone);
			break;
		case 'h':
			*help = true;
			return true;
		default:
			return false;
		}
	}
	w->use_iam = iam;
	w->no_leader = alone;
	return ok;
}

int herd_wale_main(int argc, char **argv)
{
	struct wale w = { .retries = 1, .max_mb = 10240, .max_percent = 30 };
	bool help = false;
	int rc = RETRY_LATER;

	if (!read_arguments(&w, argc, argv, &help))
		return FAIL;
	if (help) {
		usage(stdout);
		return OK;
	}
	if (!w.scope || !w.datadir || !w.connstring || !w.envdir) {
		usage(stderr);
		return FAIL;
	}
	w.log = herd_log_new(STDERR_FILENO, HERD_LOG_PATRONI, HERD_LOG_INFO);
	if (!w.log)
		return FAIL;
	if (access(w.envdir, R_OK | X_OK) < 0) {
		herd_error(w.log, "could not read the environment directory \"%s\": %s", w.envdir,
			   strerror(errno));
		rc = FAIL;
	}
	for (int64_t i = 0; rc == RETRY_LATER && i <= w.retries; i++) {
		if (i > 0)
			sleep(RETRY_S);
		rc = restore(&w);
	}
	herd_log_free(w.log);
	return rc;
}
