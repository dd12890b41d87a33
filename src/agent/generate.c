/*
 * generate.c - configurations to begin with: one to fill in, and one out of a running server.
 */
#include "agent/generate.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <libpq-fe.h>
#include <net/if.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "agent/config.h"
#include "base/buf.h"
#include "base/json.h"
#include "base/str.h"
#include "base/yaml.h"

/* What stands where only the user knows better; the word is Patroni's, scripts look for it. */
#define TO_FILL_IN "#FIXME"

/* --- this machine ----------------------------------------------------------------------------- */

static char *host_name(void)
{
	char name[256]; /* more than a host name may have */

	if (gethostname(name, sizeof(name)) < 0)
		return herd_str_dup(TO_FILL_IN);
	name[sizeof(name) - 1] = '\0';
	return herd_str_dup(name);
}

/* An address that others can reach, as far as one can tell from here. */
static char *own_address(void)
{
	struct ifaddrs *list = NULL;
	char text[INET6_ADDRSTRLEN];
	char *found = NULL;

	if (getifaddrs(&list) < 0)
		list = NULL;
	for (const struct ifaddrs *i = list; i && !found; i = i->ifa_next) {
		if (!i->ifa_addr || i->ifa_addr->sa_family != AF_INET ||
		    (i->ifa_flags & IFF_LOOPBACK) || !(i->ifa_flags & IFF_UP))
			continue;
		if (inet_ntop(AF_INET, &((const struct sockaddr_in *)i->ifa_addr)->sin_addr, text,
			      sizeof(text)))
			found = herd_str_dup(text);
	}
	if (list)
		freeifaddrs(list);
	return found ? found : herd_str_dup("127.0.0.1");
}

/* --- the parts that both have ----------------------------------------------------------------- */

static void put(json_t *c, const char *path, json_t *v)
{
	herd_schema_put(c, path, v);
}

static void put_text(json_t *c, const char *path, const char *text)
{
	put(c, path, json_string(text));
}

static void put_at(json_t *c, const char *path, const char *host, int port)
{
	char *text = herd_str_printf(strchr(host, ':') ? "[%s]:%d" : "%s:%d", host, port);

	put_text(c, path, text);
	free(text);
}

/* Everything that is the same for any member, in the order in which one reads it. */
static json_t *template(const char *scope, const char *name, const char *address)
{
	json_t *c = json_object();

	put_text(c, "scope", scope);
	put_text(c, "name", name);
	put_at(c, "restapi.listen", address, 8008);
	put_at(c, "restapi.connect_address", address, 8008);
	put(c, "etcd3.hosts", json_pack("[s]", TO_FILL_IN));
	put(c, "log",
	    json_pack("{s:s, s:s}", "level", "INFO", "format",
		      "%(asctime)s %(levelname)s: %(message)s"));
	put(c, "bootstrap.dcs",
	    json_pack("{s:i, s:i, s:i, s:i, s:b, s:{s:b, s:b}}", "ttl", 30, "loop_wait", 10,
		      "retry_timeout", 10, "maximum_lag_on_failover", 1048576, "synchronous_mode",
		      0, "postgresql", "use_pg_rewind", 1, "use_slots", 1));
	return c;
}

static void put_auth(json_t *c, const char *who, const char *user, const char *password)
{
	char *path = herd_str_printf("postgresql.authentication.%s", who);

	put(c, path, json_pack("{s:s, s:s}", "username", user, "password", password));
	free(path);
}

static void put_tags(json_t *c)
{
	put(c, "tags",
	    json_pack("{s:b, s:i, s:b, s:b, s:b}", "clonefrom", 1, "failover_priority", 1,
		      "noloadbalance", 0, "nosync", 0, "nostream", 0));
}

static int write_out(const json_t *c, const char *path, const char *head, struct herd_err *err)
{
	char *yaml = herd_yaml_dump(c);
	char *text = yaml ? herd_str_printf("%s%s", head, yaml) : NULL;
	int fd = path ? open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : STDOUT_FILENO;
	size_t len = text ? strlen(text) : 0;
	int rc = 0;

	if (!text)
		rc = herd_err_set(err, -ENOMEM, "out of memory");
	else if (fd < 0 || write(fd, text, len) != (ssize_t)len)
		rc = herd_err_set(err, -errno, "could not write \"%s\": %s",
				  path ? path : "standard output", strerror(errno));
	if (path && fd >= 0)
		close(fd);
	free(yaml);
	free(text);
	return rc;
}

/* What all members share, so that one sees that it belongs there. */
static json_t *shared_defaults(void)
{
	return json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:s, s:s, s:s, s:s, s:s}",
			 "max_connections", 100, "max_locks_per_transaction", 64,
			 "max_worker_processes", 8, "max_prepared_transactions", 0,
			 "max_replication_slots", 10, "max_wal_senders", 10, "wal_level", "replica",
			 "wal_keep_size", "128MB", "wal_log_hints", "on", "track_commit_timestamp",
			 "off", "hot_standby", "on");
}

int herd_generate_sample(const char *path, struct herd_err *err)
{
	char *name = host_name(), *address = own_address();
	json_t *c = template(TO_FILL_IN, name, address);
	int rc;

	put_at(c, "postgresql.listen", address, 5432);
	put_at(c, "postgresql.connect_address", address, 5432);
	put_text(c, "postgresql.data_dir", TO_FILL_IN);
	put_text(c, "postgresql.bin_dir", TO_FILL_IN);
	put(c, "bootstrap.dcs.postgresql.parameters", shared_defaults());
	put_auth(c, "superuser", "postgres", TO_FILL_IN);
	put_auth(c, "replication", "replicator", TO_FILL_IN);
	put_auth(c, "rewind", "rewind_user", TO_FILL_IN);
	put(c, "postgresql.parameters", json_pack("{s:s}", "password_encryption", "scram-sha-256"));
	put(c, "postgresql.pg_hba",
	    json_pack("[s, s, s]", "local all all peer", "host all all all scram-sha-256",
		      "host replication replicator all scram-sha-256"));
	put_tags(c);
	rc = write_out(c, path,
		       "# A member of a herd. Replace every " TO_FILL_IN
		       "; all settings are in docs/agent.md.\n"
		       "# Check it with: pgherd agent --validate-config FILE\n",
		       err);
	json_decref(c);
	free(name);
	free(address);
	return rc;
}

/* --- connecting ------------------------------------------------------------------------------- */

static char *ask_password(struct herd_err *err)
{
	FILE *tty = fopen("/dev/tty", "r+e");
	struct termios old, quiet;
	char *line = NULL;
	size_t cap = 0;

	if (!tty) {
		herd_err_set(err, -ENOTTY,
			     "the server wants a password and there is no terminal "
			     "to ask for it");
		herd_err_hint(err, "Put it into ~/.pgpass or PGPASSWORD.");
		return NULL;
	}
	fputs("Password: ", tty);
	fflush(tty);
	bool hidden = tcgetattr(fileno(tty), &old) == 0;

	if (hidden) {
		quiet = old;
		quiet.c_lflag &= ~(tcflag_t)ECHO;
		tcsetattr(fileno(tty), TCSAFLUSH, &quiet);
	}
	if (getline(&line, &cap, tty) < 0) {
		free(line);
		line = NULL;
		herd_err_set(err, -EINVAL, "no password was given");
	}
	if (hidden)
		tcsetattr(fileno(tty), TCSAFLUSH, &old);
	fputc('\n', tty);
	fclose(tty);
	if (line)
		line[strcspn(line, "\r\n")] = '\0';
	return line;
}

static PGconn *connect_once(const char *dsn, const char *password)
{
	const char *const names[] = { "dbname", "password", "application_name", "options", NULL };
	const char *const values[] = { dsn ? dsn : "", password, "Patroni",
				       "-c search_path= -c statement_timeout=0", NULL };
	const char *const plain_names[] = { "dbname", "application_name", "options", NULL };
	const char *const plain_values[] = { values[0], values[2], values[3], NULL };

	return password ? PQconnectdbParams(names, values, 1)
			: PQconnectdbParams(plain_names, plain_values, 1);
}

static PGconn *connect_to(const char *dsn, struct herd_err *err)
{
	PGconn *conn = connect_once(dsn, NULL);

	if (PQstatus(conn) != CONNECTION_OK && PQconnectionNeedsPassword(conn)) {
		char *password = ask_password(err);

		PQfinish(conn);
		if (!password)
			return NULL;
		conn = connect_once(dsn, password);
		herd_str_wipe(password, strlen(password));
		free(password);
	}
	if (PQstatus(conn) == CONNECTION_OK)
		return conn;
	char *why = herd_str_dup(PQerrorMessage(conn));

	herd_err_set(err, -ECONNREFUSED, "could not connect to the server: %s",
		     why ? herd_str_trim(why) : "out of memory");
	free(why);
	PQfinish(conn);
	return NULL;
}

static PGresult *ask(PGconn *conn, const char *sql, struct herd_err *err)
{
	PGresult *r = PQexec(conn, sql);

	if (PQresultStatus(r) == PGRES_TUPLES_OK)
		return r;
	herd_err_set(err, -EIO, "a query failed: %s", PQresultErrorMessage(r));
	PQclear(r);
	return NULL;
}

/* One value, malloc'd; NULL with err set. */
static char *ask_one(PGconn *conn, const char *sql, struct herd_err *err)
{
	PGresult *r = ask(conn, sql, err);
	char *text = r && PQntuples(r) == 1 ? herd_str_dup(PQgetvalue(r, 0, 0)) : NULL;

	if (r && !text)
		herd_err_set(err, -EIO, "a query gave no row");
	PQclear(r);
	return text;
}

/* --- the running server ----------------------------------------------------------------------- */

/* Parameters that are settings of ours, or that PostgreSQL derives from where its files are. */
static bool is_ours(const char *name)
{
	static const char *const names[] = {
		"listen_addresses",
		"port",
		"cluster_name",
		"data_directory",
		"config_file",
		"hba_file",
		"ident_file",
		"external_pid_file",
		"hot_standby",
		"primary_conninfo",
		"primary_slot_name",
		"promote_trigger_file",
		"recovery_target_timeline",
		"in_hot_standby",
		"application_name",
		"search_path",
		"statement_timeout",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return false;
}

static bool is_recovery(const char *name)
{
	return strcmp(name, "restore_command") == 0 ||
	       strcmp(name, "archive_cleanup_command") == 0 ||
	       strcmp(name, "recovery_end_command") == 0 ||
	       strcmp(name, "recovery_min_apply_delay") == 0;
}

static int put_parameters(json_t *c, PGconn *conn, struct herd_err *err)
{
	PGresult *r = ask(conn,
			  "SELECT name, pg_catalog.current_setting(name) FROM "
			  "pg_catalog.pg_settings WHERE context <> 'internal' AND source IN "
			  "('configuration file', 'command line', 'environment variable') AND "
			  "category <> 'Write-Ahead Log / Recovery Target' ORDER BY name",
			  err);
	json_t *local = json_object(), *shared = json_object(), *recovery = json_object();

	for (int i = 0; r && i < PQntuples(r); i++) {
		const char *name = PQgetvalue(r, i, 0);
		json_t *value = json_string(PQgetvalue(r, i, 1));

		if (is_ours(name))
			json_decref(value);
		else
			json_object_set_new(herd_agent_config_is_shared(name) ? shared
					    : is_recovery(name)               ? recovery
									      : local,
					    name, value);
	}
	put(c, "bootstrap.dcs.postgresql.parameters", shared);
	put(c, "postgresql.parameters", local);
	if (json_object_size(recovery))
		put(c, "postgresql.recovery_conf", recovery);
	else
		json_decref(recovery);
	PQclear(r);
	return r ? 0 : -EIO;
}

/* The lines of a file of the server, without comments and empty ones. */
static int put_lines(json_t *c, const char *path, PGconn *conn, const char *guc,
		     struct herd_err *err)
{
	char *sql = herd_str_printf("SELECT pg_catalog.pg_read_file(pg_catalog.current_setting("
				    "'%s'))",
				    guc);
	char *text = sql ? ask_one(conn, sql, err) : NULL;
	json_t *lines = json_array();
	char *save = NULL;

	free(sql);
	if (!text) {
		json_decref(lines);
		return -EIO;
	}
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		line = herd_str_trim(line);
		if (*line && *line != '#')
			json_array_append_new(lines, json_string(line));
	}
	if (json_array_size(lines))
		put(c, path, lines);
	else
		json_decref(lines);
	free(text);
	return 0;
}

/* Where the postmaster's executable is, when it runs on this machine; malloc'd or NULL. */
static char *find_bin_dir(const char *data_dir)
{
	char *path = herd_str_printf("%s/postmaster.pid", data_dir);
	FILE *f = path ? fopen(path, "re") : NULL;
	char exe[4096]; /* PATH_MAX of Linux */
	long pid = 0;
	char *found = NULL;

	if (f && fscanf(f, "%ld", &pid) == 1 && pid > 0) {
		char *link = herd_str_printf("/proc/%ld/exe", pid);
		ssize_t n = link ? readlink(link, exe, sizeof(exe) - 1) : -1;

		if (n > 0) {
			exe[n] = '\0';
			char *slash = strrchr(exe, '/');

			if (slash)
				*slash = '\0';
			found = herd_str_dup(exe);
		}
		free(link);
	}
	if (f)
		fclose(f);
	free(path);
	return found;
}

static void put_addresses(json_t *c, PGconn *conn, const char *address, struct herd_err *err)
{
	char *listen = ask_one(conn, "SHOW listen_addresses", err);
	char *port = ask_one(conn, "SHOW port", err);
	int number = port ? atoi(port) : 5432;

	if (listen && *listen)
		put_at(c, "postgresql.listen", strchr(listen, ' ') ? "*" : listen, number);
	else
		put_at(c, "postgresql.listen", address, number);
	put_at(c, "postgresql.connect_address", address, number);
	free(listen);
	free(port);
}

static int put_places(json_t *c, PGconn *conn, struct herd_err *err)
{
	char *data = ask_one(conn, "SHOW data_directory", err);
	char *conf = data ? ask_one(conn, "SHOW config_file", err) : NULL;
	char *slash = conf ? strrchr(conf, '/') : NULL;
	char *bin = data ? find_bin_dir(data) : NULL;

	if (slash)
		*slash = '\0';
	if (data) {
		put_text(c, "postgresql.data_dir", data);
		put_text(c, "postgresql.bin_dir", bin ? bin : TO_FILL_IN);
	}
	if (slash && strcmp(conf, data) != 0)
		put_text(c, "postgresql.config_dir", conf);
	bool ok = data && conf;

	free(data);
	free(conf);
	free(bin);
	return ok ? 0 : -EIO;
}

/* Who we are connected as, and how as far as it is not libpq's default. */
static void put_superuser(json_t *c, PGconn *conn)
{
	static const char *const words[] = { "sslmode",       "sslkey",      "sslpassword",
					     "sslcert",       "sslrootcert", "sslcrl",
					     "sslcrldir",     "gssencmode",  "channel_binding",
					     "sslnegotiation" };
	PQconninfoOption *options = PQconninfo(conn);
	const char *password = PQpass(conn);

	put_auth(c, "superuser", PQuser(conn), password && *password ? password : TO_FILL_IN);
	for (PQconninfoOption *o = options; o && o->keyword; o++) {
		for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
			if (strcmp(o->keyword, words[i]) != 0 || !o->val || !*o->val ||
			    (o->compiled && strcmp(o->val, o->compiled) == 0))
				continue;
			char *path =
				herd_str_printf("postgresql.authentication.superuser.%s", words[i]);

			put_text(c, path, o->val);
			free(path);
		}
	}
	PQconninfoFree(options);
	put_auth(c, "replication", "replicator", TO_FILL_IN);
	put_auth(c, "rewind", "rewind_user", TO_FILL_IN);
}

static int describe(json_t *c, PGconn *conn, const char *address, struct herd_err *err)
{
	char *super = ask_one(conn,
			      "SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = "
			      "current_user",
			      err);
	bool is_super = super && strcmp(super, "t") == 0;
	int rc = super ? 0 : -EIO;

	free(super);
	if (rc == 0 && !is_super)
		rc = herd_err_set(err, -EPERM, "user \"%s\" is not a superuser", PQuser(conn));
	if (rc == 0)
		put_addresses(c, conn, address, err);
	if (rc == 0)
		rc = put_places(c, conn, err);
	if (rc == 0) {
		put_superuser(c, conn);
		rc = put_parameters(c, conn, err);
	}
	if (rc == 0)
		rc = put_lines(c, "postgresql.pg_hba", conn, "hba_file", err);
	if (rc == 0)
		rc = put_lines(c, "postgresql.pg_ident", conn, "ident_file", err);
	return rc;
}

int herd_generate(const char *path, const char *dsn, struct herd_err *err)
{
	PGconn *conn = connect_to(dsn, err);
	char *scope, *name, *address;
	json_t *c;
	int rc;

	if (!conn)
		return err && err->code ? err->code : -EIO;
	name = host_name();
	address = own_address();
	scope = ask_one(conn, "SHOW cluster_name", err);
	c = template(scope && *scope ? scope : TO_FILL_IN, name, address);
	rc = describe(c, conn, address, err);
	put_tags(c);
	if (rc == 0)
		rc = write_out(c, path,
			       "# Out of a running server. Replace every " TO_FILL_IN
			       "; all settings are in docs/agent.md.\n"
			       "# Check it with: pgherd agent --validate-config -i FILE\n",
			       err);
	PQfinish(conn);
	json_decref(c);
	free(scope);
	free(name);
	free(address);
	return rc;
}
