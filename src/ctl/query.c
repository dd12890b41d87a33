/*
 * ctl/query.c - runs SQL on a member that the store names.
 */
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/str.h"
#include "ctl/internal.h"

static const struct ctl_opt query_opts[] = {
	{ '\0', "group", NULL, "INTEGER", "Citus group." },
	{ '\0', "format", NULL, CTL_FORMATS, "Output format." },
	{ 'f', "file", NULL, "FILE", "Execute the SQL commands from this file." },
	{ '\0', "password", NULL, NULL, "Force password prompt." },
	{ 'U', "username", NULL, "TEXT", "Database user name." },
	{ 'W', "W", NULL, NULL, "Auto update the screen every 2 seconds." },
	{ 'w', "watch", NULL, "FLOAT", "Auto update the screen every X seconds." },
	{ 'r', "role", NULL, CTL_ROLES, "The role of the query." },
	{ 'm', "member", NULL, "TEXT", "Query a specific member." },
	{ '\0', "delimiter", NULL, "TEXT", "The column delimiter." },
	{ 'c', "command", NULL, "TEXT", "The SQL commands to execute." },
	{ 'd', "dbname", NULL, "TEXT", "Database name to connect to." },
	{ 0 },
};

struct job {
	const struct ctl_args *a;
	enum ctl_format format;
	char *password, *sql;
};

/* Without showing it. */
static char *ask_password(void)
{
	struct termios before, quiet;
	bool terminal = tcgetattr(STDIN_FILENO, &before) == 0;
	struct herd_buf b = { 0 };
	int ch;

	fputs("Password: ", stderr);
	if (terminal) {
		quiet = before;
		quiet.c_lflag &= ~(tcflag_t)ECHO;
		tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
	}
	while ((ch = getchar()) != EOF && ch != '\n')
		herd_buf_addc(&b, (char)ch);
	if (terminal)
		tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
	fputc('\n', stderr);
	return herd_buf_steal(&b);
}

static char *read_sql(const char *path)
{
	struct herd_buf b = { 0 };
	FILE *f = fopen(path, "re");
	int ch;

	if (!f) {
		ctl_fail("could not open file \"%s\": %s", path, strerror(errno));
		return NULL;
	}
	while ((ch = getc(f)) != EOF)
		herd_buf_addc(&b, (char)ch);
	fclose(f);
	return herd_buf_steal(&b);
}

/* Types of pg_type.h whose values JSON has, too. */
enum { OID_BOOL = 16, OID_INT8 = 20, OID_INT2 = 21, OID_INT4 = 23, OID_FLOAT4 = 700, OID_FLOAT8 };

/* As patronictl shows it, which prints Python's values: True and None; in JSON and YAML as such. */
static json_t *cell_of(const PGresult *res, int r, int i, bool named)
{
	const char *text = PQgetvalue(res, r, i);
	json_t *number;

	if (PQgetisnull(res, r, i))
		return named ? json_null() : json_string("None");
	switch (PQftype(res, i)) {
	case OID_BOOL:
		if (named)
			return json_boolean(*text == 't');
		return json_string(*text == 't' ? "True" : "False");
	case OID_INT2:
	case OID_INT4:
	case OID_INT8:
	case OID_FLOAT4:
	case OID_FLOAT8:
		number = named ? json_loads(text, JSON_DECODE_ANY, NULL) : NULL;
		if (number) /* NaN and infinity are none */
			return number;
	}
	return json_string(text);
}

static json_t *rows_of(const PGresult *res, const struct ctl_column *cols, bool named)
{
	json_t *rows = json_array();

	for (int r = 0; r < PQntuples(res); r++) {
		json_t *row = json_object();

		for (int i = 0; i < PQnfields(res); i++)
			json_object_set_new(row, cols[i].key, cell_of(res, r, i, named));
		json_array_append_new(rows, row);
	}
	return rows;
}

/*
 * Columns may share a name. Boxes and lines show them all, so they go by number; in JSON and YAML
 * the last one of a name counts.
 */
static int print_rows(const struct job *j, const PGresult *res)
{
	const char *delimiter = ctl_args_get(j->a, "delimiter");
	bool named = j->format == CTL_JSON || j->format == CTL_YAML;
	size_t n = (size_t)PQnfields(res);
	struct ctl_column *cols = calloc(n + 1, sizeof(*cols));
	char *text = NULL;
	bool ok = cols != NULL;

	for (size_t i = 0; ok && i < n; i++) {
		const char *name = PQfname(res, (int)i);

		cols[i].key = named ? strdup(name) : herd_str_printf("%zu", i);
		cols[i].head = name;
		ok = cols[i].key != NULL;
	}
	json_t *rows = ok ? rows_of(res, cols, named) : NULL;

	if (!delimiter)
		delimiter = "\t";
	for (size_t i = 0; rows && j->format == CTL_TSV && i < n; i++)
		printf("%s%s%s", i ? delimiter : "", cols[i].head, i + 1 < n ? "" : "\n");
	if (rows && j->format == CTL_TSV)
		text = ctl_table_tsv(cols, n, rows, false, delimiter);
	else if (rows)
		text = ctl_table_print(j->format, NULL, cols, n, rows);
	if (text)
		fputs(text, stdout);
	int rc = text ? 0 : ctl_fail("out of memory");

	for (size_t i = 0; cols && i < n; i++)
		free((char *)cols[i].key);
	free(text);
	free(cols);
	json_decref(rows);
	return rc;
}

static int run_sql(const struct job *j, const struct herd_member *m)
{
	char *port = herd_str_printf("%d", m->port);
	const char *dbname = ctl_args_get(j->a, "dbname");
	const char *keys[] = { "host",
			       "port",
			       "dbname",
			       "user",
			       "password",
			       "connect_timeout",
			       "fallback_application_name",
			       NULL };
	const char *values[] = { m->host,
				 port,
				 dbname ? dbname : "postgres",
				 ctl_args_get(j->a, "username"),
				 j->password,
				 "5",
				 "Patroni ctl",
				 NULL };
	PGconn *conn = PQconnectdbParams(keys, values, 0);
	int rc = 0;

	free(port);
	if (PQstatus(conn) != CONNECTION_OK) {
		rc = ctl_fail("%s", herd_str_trim(PQerrorMessage(conn)));
	} else {
		PGresult *res = PQexec(conn, j->sql);

		if (PQresultStatus(res) == PGRES_TUPLES_OK)
			rc = print_rows(j, res);
		else if (PQresultStatus(res) != PGRES_COMMAND_OK)
			rc = ctl_fail("%s", herd_str_trim(PQerrorMessage(conn)));
		PQclear(res);
	}
	PQfinish(conn);
	fflush(stdout);
	return rc;
}

static int run_once(struct ctl *c, const struct job *j, int group)
{
	struct ctl_cluster k;
	int rc = -1;

	if (ctl_open(c, ctl_args_word(j->a, 0), &k) < 0)
		return -1;
	const struct herd_member *m = ctl_pick(&k, group, j->a, "any");

	if (m)
		rc = run_sql(j, m);
	ctl_close(&k);
	return rc;
}

static int run_job(struct ctl *c, struct job *j, int group)
{
	const char *watch = ctl_args_get(j->a, "watch");
	double seconds = ctl_args_has(j->a, "W") ? 2 : 0;

	if (watch)
		seconds = strtod(watch, NULL);
	if (ctl_args_has(j->a, "password") && !(j->password = ask_password()))
		return CTL_FAILED;
	for (;;) {
		bool never = false;

		if (seconds > 0) {
			char *now = ctl_timestamp(5);

			puts(now ? now : "");
			free(now);
		}
		int rc = run_once(c, j, group);

		if (seconds <= 0)
			return rc < 0 ? CTL_FAILED : CTL_OK;
		herd_loop_run_until(c->loop, &never, (int64_t)(seconds * 1000));
	}
}

static int run_query(struct ctl *c, const struct ctl_args *a)
{
	struct job j = { .a = a, .format = CTL_TSV };
	const char *format = ctl_args_get(a, "format"), *file = ctl_args_get(a, "file");
	const char *command = ctl_args_get(a, "command"), *why = NULL;
	int group, rc = CTL_FAILED;

	if (ctl_args_has(a, "role") && ctl_args_has(a, "member"))
		why = "--role and --member are mutually exclusive options";
	else if (file && command)
		why = "--file and --command are mutually exclusive options";
	else if (!file && !command)
		why = "You need to specify either --command or --file";
	if (why) {
		ctl_fail("%s", why);
		return CTL_FAILED;
	}
	if (ctl_group_option(c, a, true, &group) < 0 ||
	    (format && ctl_format_parse(format, &j.format) < 0))
		return CTL_USAGE;
	j.sql = file ? read_sql(file) : strdup(command);
	if (j.sql)
		rc = run_job(c, &j, group);
	if (j.password)
		herd_str_wipe(j.password, strlen(j.password));
	free(j.password);
	free(j.sql);
	return rc;
}

const struct ctl_verb ctl_query = {
	"query", "[CLUSTER_NAME]", "Run SQL on a member", query_opts, 0, 1, run_query,
};
