#include "pg/proc.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"
#include "pg/file.h"

int herd_pg_pidfile_parse(const char *text, struct herd_pg_pidfile *ret)
{
	struct herd_pg_pidfile f = { 0 };
	char *copy = strdup(text), *rest = copy, *line;
	int64_t n;
	int rc = copy != NULL ? 0 : -ENOMEM;

	/* pid, data directory, start time, port, socket directory, address, shared memory, status
	 */
	for (int i = 0; rc == 0 && (line = strsep(&rest, "\n")) != NULL; i++) {
		line = herd_str_trim(line);
		if (i != 0 && i != 2 && i != 3 && i != 7)
			continue;
		if (i == 7) {
			snprintf(f.status, sizeof(f.status), "%s", line);
			continue;
		}
		if (*line == '\0' && i > 0)
			continue;
		if (herd_str_to_i64(line, &n) < 0 ||
		    (i == 0 && (n == 0 || n > INT32_MAX || n < -INT32_MAX)))
			rc = -EINVAL;
		else if (i == 0)
			f.pid = (pid_t)(n < 0 ? -n : n);
		else if (i == 2)
			f.start_epoch = n;
		else
			f.port = (int)n;
	}
	free(copy);
	if (rc == 0)
		*ret = f;
	return rc;
}

int herd_pg_pidfile_read(const char *data_dir, struct herd_pg_pidfile *ret)
{
	struct herd_buf text = { 0 };
	char *path = herd_str_printf("%s/postmaster.pid", data_dir);
	int rc = path != NULL ? herd_pg_file_read(path, &text, NULL) : -ENOMEM;

	if (rc == 0)
		rc = herd_pg_pidfile_parse(herd_buf_str(&text), ret);
	herd_buf_free(&text);
	free(path);
	return rc;
}

static ssize_t read_proc(pid_t pid, const char *name, char *text, size_t size)
{
	char path[64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	n = read(fd, text, size - 1);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	return n;
}

/* "pid (name) state ...": the name may hold anything, so look behind the last parenthesis. */
bool herd_pg_proc_alive(pid_t pid)
{
	char text[512], *state;

	if (read_proc(pid, "stat", text, sizeof(text)) <= 0)
		return false;
	state = strrchr(text, ')');
	return state != NULL && state[1] == ' ' && strchr("ZXx", state[2]) == NULL;
}

static bool runs_postgres(pid_t pid)
{
	char path[64], exe[4096], *name, *deleted;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
	n = readlink(path, exe, sizeof(exe) - 1);
	if (n <= 0)
		return false;
	exe[n] = '\0';
	deleted = strstr(exe, " (deleted)"); /* after an upgrade of the package */
	if (deleted != NULL)
		*deleted = '\0';
	name = strrchr(exe, '/');
	name = name != NULL ? name + 1 : exe;
	return strcmp(name, "postgres") == 0 || strcmp(name, "postmaster") == 0;
}

static bool lives_in(pid_t pid, const struct stat *dir)
{
	char path[64];
	struct stat cwd;

	snprintf(path, sizeof(path), "/proc/%d/cwd", (int)pid);
	return stat(path, &cwd) == 0 && cwd.st_dev == dir->st_dev && cwd.st_ino == dir->st_ino;
}

bool herd_pg_proc_is_server(pid_t pid, const char *data_dir)
{
	struct stat dir;

	return pid > 0 && stat(data_dir, &dir) == 0 && herd_pg_proc_alive(pid) &&
	       runs_postgres(pid) && lives_in(pid, &dir);
}

bool herd_pg_proc_is_postmaster(pid_t pid, const char *data_dir)
{
	char title[32];

	/* Children of a postmaster show a title, the postmaster its command line. */
	return herd_pg_proc_is_server(pid, data_dir) &&
	       read_proc(pid, "cmdline", title, sizeof(title)) > 0 &&
	       strncmp(title, "postgres: ", strlen("postgres: ")) != 0;
}

size_t herd_pg_proc_list(const char *data_dir, pid_t except, pid_t *pids, size_t max)
{
	struct dirent *entry;
	pid_t self = getpid();
	struct stat dir;
	size_t n = 0;
	DIR *proc;

	if (stat(data_dir, &dir) < 0)
		return 0;
	proc = opendir("/proc");
	if (proc == NULL)
		return 0;
	while ((entry = readdir(proc)) != NULL) {
		pid_t pid;

		if (!isdigit((unsigned char)entry->d_name[0]))
			continue;
		pid = (pid_t)atoi(entry->d_name);
		/* The directory first: it is what nearly all other processes fail. */
		if (pid == except || pid == self || !lives_in(pid, &dir) || !runs_postgres(pid) ||
		    !herd_pg_proc_alive(pid))
			continue;
		if (n < max)
			pids[n] = pid;
		n++;
	}
	closedir(proc);
	return n;
}

bool herd_pg_proc_foreign(pid_t pid, const char *data_dir)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	return pid > 0 && stat(path, &st) == 0 && !herd_pg_proc_is_server(pid, data_dir);
}

/* "postgres: checkpointer", with a cluster_name "postgres: batman: checkpointer". */
static bool is_titled(const char *title, const char *what)
{
	const char *text = title + strlen("postgres: ");
	const char *named = strstr(text, ": ");

	return herd_str_starts(text, what) || (named != NULL && herd_str_starts(named + 2, what));
}

static bool is_client_title(const char *title)
{
	static const char *const own[] = {
		"startup",    "checkpointer",    "background writer",   "walwriter",
		"wal writer", "walreceiver",     "wal receiver",        "walsender",
		"wal sender", "walsummarizer",   "autovacuum",          "archiver",
		"logger",     "stats collector", "logical replication", "slotsync worker",
		"io worker",  "bgworker",        "background worker",
	};

	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		if (is_titled(title, own[i]))
			return false;
	return true;
}

pid_t herd_pg_proc_titled(const char *data_dir, const char *what)
{
	enum { MANY = 4096, TITLE = 512 };
	pid_t *pids = malloc(MANY * sizeof(*pids));
	size_t n = pids != NULL ? herd_pg_proc_list(data_dir, 0, pids, MANY) : 0;
	char title[TITLE];
	pid_t found = 0;

	for (size_t i = 0; i < n && i < MANY && found == 0; i++)
		if (read_proc(pids[i], "cmdline", title, sizeof(title)) > 0 &&
		    herd_str_starts(title, "postgres: ") && is_titled(title, what))
			found = pids[i];
	free(pids);
	return found;
}

bool herd_pg_proc_has_clients(const char *data_dir)
{
	enum { MANY = 4096, TITLE = 512 };
	pid_t *pids = malloc(MANY * sizeof(*pids));
	size_t n = pids != NULL ? herd_pg_proc_list(data_dir, 0, pids, MANY) : 0;
	bool found = pids == NULL || n > MANY;
	char title[TITLE];

	for (size_t i = 0; i < n && !found; i++)
		found = read_proc(pids[i], "cmdline", title, sizeof(title)) > 0 &&
			herd_str_starts(title, "postgres: ") && is_client_title(title);
	free(pids);
	return found;
}

/* The postmaster and its children; 0 when the kernel does not list them. */
static size_t family(const char *data_dir, pid_t *pids, size_t max)
{
	struct herd_pg_pidfile f;
	struct herd_buf text = { 0 };
	char *path, *save = NULL;
	size_t n = 0;

	if (herd_pg_pidfile_read(data_dir, &f) < 0 || !herd_pg_proc_is_server(f.pid, data_dir))
		return 0;
	path = herd_str_printf("/proc/%d/task/%d/children", (int)f.pid, (int)f.pid);
	if (path != NULL && herd_pg_file_read(path, &text, NULL) == 0) {
		pids[n++] = f.pid;
		for (char *w = strtok_r(text.data, " ", &save); w != NULL && n < max;
		     w = strtok_r(NULL, " ", &save))
			pids[n++] = (pid_t)atoi(w);
	}
	herd_buf_free(&text);
	free(path);
	return n;
}

pid_t herd_pg_proc_stopped(const char *data_dir, char **title)
{
	enum { MANY = 4096, TEXT = 512 };
	pid_t *pids = malloc(MANY * sizeof(*pids));
	size_t n = pids != NULL ? family(data_dir, pids, MANY) : 0;
	char text[TEXT], *state;
	pid_t found = 0;

	*title = NULL;
	if (n == 0 && pids != NULL)
		n = herd_pg_proc_list(data_dir, 0, pids, MANY);
	for (size_t i = 0; i < n && i < MANY && found == 0; i++) {
		if (read_proc(pids[i], "stat", text, sizeof(text)) <= 0)
			continue;
		state = strrchr(text, ')');
		if (state == NULL || state[1] != ' ' || (state[2] != 'T' && state[2] != 't'))
			continue;
		if (read_proc(pids[i], "cmdline", text, sizeof(text)) <= 0)
			continue;
		if (!herd_str_starts(text, "postgres: "))
			*title = strdup("postmaster");
		else if (!is_client_title(text))
			*title = strdup(herd_str_trim(text + strlen("postgres: ")));
		else
			continue;
		found = pids[i];
	}
	free(pids);
	return found;
}
