/*
 * validate.c - is this configuration one that an agent on this machine can run with? Types and
 * names are checked by the schema; here is what needs a look at the machine.
 */
#include "agent/validate.h"

#include <dirent.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/internal.h"
#include "agent/logging.h"
#include "base/buf.h"
#include "base/json.h"
#include "base/str.h"
#include "model/value.h"
#include "pg/config.h"

/* How long a server may take to take a connection. */
enum { CONNECT_MS = 3000 };

struct check {
	const json_t *config;
	int problems;
};

static const char *get(const struct check *c, const char *path)
{
	const char *s = json_string_value(herd_json_path(c->config, path));

	return s && *s ? s : NULL;
}

/* "path value"; no passwords, and no maps, which may hold some. */
static void print_value(const struct check *c, const char *path)
{
	const json_t *v = herd_json_path(c->config, path);
	char *value = json_is_array(v) ? json_dumps(v, 0) : herd_value_text(v);
	bool show = value && *value && !strstr(path, "password");

	printf("%s%s%s", path, show ? " " : "", show ? value : "");
	free(value);
}

static void bad(struct check *c, const char *path, const char *fmt, const char *arg)
{
	char *reason = herd_str_printf(fmt, arg);

	print_value(c, path);
	printf(" didn't pass validation: %s\n", reason ? reason : fmt);
	free(reason);
	c->problems++;
}

/* A value of another type, in Patroni's words for it; else false. */
static bool bad_type(struct check *c, const char *path, const char *reason)
{
	static const struct {
		const char *ours, *words;
	} types[] = {
		{ "must be a text,", "is not a string" },
		{ "must be an integer,", "is not an integer" },
		{ "must be a boolean (on or off),", "is not a boolean" },
		{ "must be a map,", "is not a dictionary" },
		{ "must be a list of ", "is not a list" },
	};

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		if (!herd_str_starts(reason, types[i].ours))
			continue;
		print_value(c, path);
		printf(" %s\n", types[i].words);
		c->problems++;
		return true;
	}
	return false;
}

static void on_report(void *arg, bool fatal, const char *path, const char *reason)
{
	struct check *c = arg;

	if (fatal && !bad_type(c, path, reason))
		bad(c, path, "%s", reason);
	else if (!fatal)
		fprintf(stderr, "%s %s\n", path, reason);
}

static void on_warning(void *arg, const char *text)
{
	fprintf(stderr, "%s\n", text);
}

/* --- what must be there ----------------------------------------------------------------------- */

/*
 * Tells of the first part of path that is not there, unless it is that of told, the path before;
 * one of another type was told already.
 */
static const char *check_path(struct check *c, const char *path, const char *told)
{
	const json_t *at = c->config;
	size_t n = 0;

	while (json_is_object(at)) {
		size_t len = strcspn(path + n, ".");
		char *key = strndup(path + n, len);

		at = key ? json_object_get(at, key) : NULL;
		free(key);
		n += len;
		if (!at || json_is_null(at)) {
			if (told && path[n] == '.' && strncmp(told, path, n + 1) == 0)
				return told;
			printf("%.*s is not defined.\n", (int)n, path);
			c->problems++;
			return path;
		}
		if (path[n] == '\0')
			break;
		n++;
	}
	return told;
}

static void check_required(struct check *c)
{
	static const char *const paths[] = {
		"name",
		"scope",
		"restapi.listen",
		"restapi.connect_address",
		"postgresql.listen",
		"postgresql.connect_address",
		"postgresql.data_dir",
		"postgresql.authentication.replication.username",
		"postgresql.authentication.superuser.username",
	};

	const char *told = NULL;

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		told = check_path(c, paths[i], told);
	const char *name = get(c, "name");

	if (name && strcmp(name, "__patroni_strict_sync_replica_placeholder__") == 0)
		bad(c, "name", "%s", "this name is reserved");
	else if (name && (strchr(name, '/') || strlen(name) > 200))
		bad(c, "name", "%s", "must not hold a slash or be longer than 200 bytes");
}

/* --- addresses -------------------------------------------------------------------------------- */

/* Does somebody take connections there? -EHOSTUNREACH: the name cannot be resolved. */
static int try_connect(const char *host, int port)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list = NULL;
	char *service = herd_str_printf("%d", port);
	int rc = getaddrinfo(host, service, &hints, &list) == 0 ? -ECONNREFUSED : -EHOSTUNREACH;

	for (struct addrinfo *ai = list; ai && rc < 0; ai = ai->ai_next) {
		int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		struct pollfd p = { .fd = fd, .events = POLLOUT };
		int error = 0;
		socklen_t len = sizeof(error);

		if (fd >= 0 &&
		    (connect(fd, ai->ai_addr, ai->ai_addrlen) == 0 ||
		     (errno == EINPROGRESS && poll(&p, 1, CONNECT_MS) == 1 &&
		      getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 && !error)))
			rc = 0;
		if (fd >= 0)
			close(fd);
	}
	if (list)
		freeaddrinfo(list);
	free(service);
	return rc;
}

static void check_listen(struct check *c, const char *path, int fallback_port, bool ignore_port)
{
	const char *text = get(c, path);
	char *hosts = NULL, *save = NULL;
	int port;

	if (!text || herd_agent_split_address(text, fallback_port, &hosts, &port) < 0)
		return;
	for (char *host = strtok_r(hosts, ",", &save); host; host = strtok_r(NULL, ",", &save)) {
		const char *at = strcmp(host, "*") == 0 || strcmp(host, "0.0.0.0") == 0
					 ? "127.0.0.1"
				 : strcmp(host, "::") == 0 ? "::1"
							   : host;
		int rc = try_connect(at, port);
		char *number = herd_str_printf("%d", port);

		if (rc == -EHOSTUNREACH)
			bad(c, path, "host %s cannot be resolved", host);
		else if (rc == 0 && !ignore_port)
			bad(c, path, "Port %s is already in use.", number);
		free(number);
	}
	free(hosts);
}

/* What others are told must lead to this machine from theirs. */
static void check_connect_address(struct check *c, const char *path)
{
	static const char *const local[] = { "127.0.0.1", "0.0.0.0", "*", "::1", "localhost" };
	const char *text = get(c, path);
	char *host = NULL;
	int port;

	if (!text || herd_agent_split_address(text, 5432, &host, &port) < 0)
		return;
	for (size_t i = 0; i < sizeof(local) / sizeof(local[0]); i++)
		if (strcmp(host, local[i]) == 0)
			bad(c, path, "%s",
			    "must not contain \"127.0.0.1\", \"0.0.0.0\", \"*\", \"::1\", "
			    "\"localhost\"");
	free(host);
}

/* --- the store -------------------------------------------------------------------------------- */

static bool has_section(const struct check *c, const char *name)
{
	return json_object_get(c->config, name) != NULL;
}

static void check_etcd_host(struct check *c, const char *path, const char *text, int fallback_port)
{
	char *host = NULL;
	int port;

	if (herd_agent_split_address(text, fallback_port, &host, &port) < 0)
		bad(c, path, "\"%s\" is not host:port", text);
	else if (try_connect(host, port) < 0)
		bad(c, path, "%s is not reachable", text);
	free(host);
}

static void check_etcd(struct check *c)
{
	const json_t *s = json_object_get(c->config, "etcd3");
	json_t *hosts = json_object_get(s, "hosts");
	const char *host = herd_json_str(s, "host", NULL);
	int port = (int)herd_json_i64(s, "port", 2379);
	size_t i;
	json_t *v;

	if (!hosts && !host && !json_object_get(s, "url") && !json_object_get(s, "srv") &&
	    !json_object_get(s, "proxy")) {
		printf("etcd3.host, etcd3.hosts, etcd3.proxy, etcd3.srv, etcd3.url are not "
		       "defined.\n");
		c->problems++;
		return;
	}
	hosts = json_is_string(hosts) ? herd_schema_split(json_string_value(hosts))
				      : json_incref(hosts);
	json_array_foreach(hosts, i, v)
	{
		if (json_is_string(v))
			check_etcd_host(c, "etcd3.hosts", json_string_value(v), port);
	}
	if (!hosts && host)
		check_etcd_host(c, "etcd3.host", host, port);
	json_decref(hosts);
}

static void check_store(struct check *c)
{
	static const char *const others[] = { "consul",     "etcd", "exhibitor",
					      "kubernetes", "raft", "zookeeper" };
	bool any = has_section(c, "etcd3");

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		/* Patroni takes the first in the order of their names. */
		if (!has_section(c, others[i]) ||
		    (has_section(c, "etcd3") && strcmp(others[i], "etcd3") > 0))
			continue;
		any = true;
		bad(c, others[i], "%s",
		    strcmp(others[i], "etcd") == 0
			    ? "this is etcd's API v2; only v3 is supported: name the section etcd3"
			    : "this store is not available in this version; use etcd3");
	}
	if (has_section(c, "etcd3"))
		check_etcd(c);
	if (any)
		return;
	printf("consul is not defined.\netcd is not defined.\netcd3 is not defined.\n"
	       "exhibitor is not defined.\nkubernetes is not defined.\nraft is not defined.\n"
	       "zookeeper is not defined.\n");
	c->problems++;
}

/* --- PostgreSQL ------------------------------------------------------------------------------- */

static char *bin_path(const struct check *c, enum herd_pg_bin bin)
{
	const char *dir = get(c, "postgresql.bin_dir");
	char *key = herd_str_printf("postgresql.bin_name.%s", herd_pg_bin_names[bin]);
	const char *name = key ? get(c, key) : NULL;
	char *path;

	if (!name)
		name = herd_pg_bin_names[bin];
	path = dir ? herd_str_printf("%s/%s", dir, name) : herd_str_dup(name);
	free(key);
	return path;
}

static bool in_path(const char *name)
{
	char *dirs = herd_str_dup(getenv("PATH")), *save = NULL;
	bool found = false;

	for (char *d = dirs ? strtok_r(dirs, ":", &save) : NULL; d && !found;
	     d = strtok_r(NULL, ":", &save)) {
		char *path = herd_str_printf("%s/%s", d, name);

		found = path && access(path, X_OK) == 0;
		free(path);
	}
	free(dirs);
	return found;
}

static void check_programs(struct check *c)
{
	static const enum herd_pg_bin needed[] = {
		HERD_PG_BIN_PG_CTL,     HERD_PG_BIN_INITDB,   HERD_PG_BIN_CONTROLDATA,
		HERD_PG_BIN_BASEBACKUP, HERD_PG_BIN_POSTGRES, HERD_PG_BIN_ISREADY,
	};
	const char *dir = get(c, "postgresql.bin_dir");
	struct stat st;

	if (dir && (stat(dir, &st) < 0 || !S_ISDIR(st.st_mode))) {
		printf("postgresql.bin_dir Directory '%s' does not exist.\n", dir);
		c->problems++;
		return;
	}
	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
		char *path = bin_path(c, needed[i]);
		const char *slash = path ? strrchr(path, '/') : NULL;

		if (path && (slash ? access(path, X_OK) < 0 : !in_path(path))) {
			printf("postgresql.bin_dir does not contain '%s' in '%s'\n",
			       slash ? slash + 1 : path, dir ? dir : "PATH");
			c->problems++;
		}
		free(path);
	}
}

/* The first line, malloc'd and without its end; NULL when there is none. */
static char *line_of(FILE *f)
{
	char *line = NULL;
	size_t cap = 0;

	if (getline(&line, &cap, f) < 0) {
		free(line);
		return NULL;
	}
	line[strcspn(line, "\r\n")] = '\0';
	return line;
}

/* First line of what a program prints, malloc'd; NULL when it cannot be run. */
static char *first_line(const char *program, const char *option)
{
	char *command = herd_str_printf("'%s' %s 2>/dev/null", program, option);
	FILE *f = command && !strchr(program, '\'') ? popen(command, "re") : NULL;
	char *line = f ? line_of(f) : NULL;

	if (f)
		pclose(f);
	free(command);
	return line;
}

static char *read_line(const char *dir, const char *name)
{
	char *path = herd_str_printf("%s/%s", dir, name);
	FILE *f = path ? fopen(path, "re") : NULL;
	char *line = f ? line_of(f) : NULL;

	if (f)
		fclose(f);
	free(path);
	return line;
}

/* "postgres (PostgreSQL) 15.20 (Debian ...)" against PG_VERSION's "15". */
static void check_version(struct check *c, const char *have)
{
	char *program = bin_path(c, HERD_PG_BIN_POSTGRES);
	char *line = program ? first_line(program, "--version") : NULL;
	const char *number = line ? strpbrk(line, "0123456789") : NULL;
	size_t n = strlen(have);

	if (number && (strncmp(number, have, n) != 0 || (number[n] >= '0' && number[n] <= '9')))
		bad(c, "postgresql.data_dir",
		    "its version does not match the one of 'postgres', which is %s", number);
	free(line);
	free(program);
}

static bool is_empty(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e = NULL;
	size_t n = 0;

	while (d && (e = readdir(d)) && n < 3)
		n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 &&
		     strcmp(e->d_name, "lost+found") != 0;
	if (d)
		closedir(d);
	return d && n == 0;
}

static void check_data_dir(struct check *c)
{
	const char *dir = get(c, "postgresql.data_dir");
	struct stat st;
	char *version;

	if (json_is_string(herd_json_path(c->config, "postgresql.data_dir")) && !dir)
		bad(c, "postgresql.data_dir", "%s", "is an empty string");
	if (!dir)
		return;
	if (stat(dir, &st) < 0) {
		if (errno != ENOENT)
			bad(c, "postgresql.data_dir", "%s", strerror(errno));
		return;
	}
	if (!S_ISDIR(st.st_mode)) {
		bad(c, "postgresql.data_dir", "%s", "is not a directory");
		return;
	}
	if (is_empty(dir))
		return;
	version = read_line(dir, "PG_VERSION");
	if (!version) {
		bad(c, "postgresql.data_dir", "%s", "doesn't look like a valid data directory");
		return;
	}
	char *wal = herd_str_printf("%s/pg_wal", dir);

	if (wal && access(wal, F_OK) < 0)
		bad(c, "postgresql.data_dir", "%s",
		    "data dir for the cluster is not empty, but doesn't contain \"pg_wal\" "
		    "directory");
	free(wal);
	check_version(c, version);
	free(version);
}

/* --- all -------------------------------------------------------------------------------------- */

int herd_validate(const char *path, bool ignore_listen_port)
{
	json_t *env = herd_source_take_environment();
	struct herd_source source = { 0 };
	struct herd_err err = HERD_ERR_INIT;
	struct check c = { 0 };

	if (herd_source_read(path, env, on_warning, NULL, &source, &err) < 0) {
		printf("%s\n", herd_err_text(&err));
		herd_err_clear(&err);
		json_decref(env);
		return 1;
	}
	c.config = source.config;
	herd_agent_config_check(&source, on_report, &c);
	if (herd_logging_check(source.config, &err) < 0)
		bad(&c, "log.format", "%s", herd_err_text(&err));
	check_required(&c);
	check_listen(&c, "restapi.listen", 8008, ignore_listen_port);
	check_listen(&c, "postgresql.listen", 5432, ignore_listen_port);
	check_connect_address(&c, "restapi.connect_address");
	check_connect_address(&c, "postgresql.connect_address");
	check_connect_address(&c, "postgresql.proxy_address");
	check_store(&c);
	check_programs(&c);
	check_data_dir(&c);
	herd_err_clear(&err);
	herd_source_clear(&source);
	json_decref(env);
	return c.problems ? 1 : 0;
}
