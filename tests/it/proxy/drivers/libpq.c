/*
 * What libpq can do, through a proxy that pools transactions: proxy_libpq CONNINFO CONNINFO. The
 * second connection shares the servers of the first. Exit status 1, and a line on standard error,
 * for what is wrong.
 */
#include <libpq-fe.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libpq/libpq-fs.h"

enum { ROUNDS = 20, BIG = 3000000 };

static int nfailures;

__attribute__((format(printf, 2, 3))) static void expect(bool ok, const char *fmt, ...)
{
	va_list ap;

	if (ok)
		return;
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	nfailures++;
}

/* One value of one row. */
static void expect_value(PGconn *c, PGresult *r, const char *want, const char *what)
{
	bool ok = PQresultStatus(r) == PGRES_TUPLES_OK && PQntuples(r) == 1;

	expect(ok && strcmp(PQgetvalue(r, 0, 0), want) == 0, "%s: \"%s\" instead of \"%s\": %s",
	       what, ok ? PQgetvalue(r, 0, 0) : PQresStatus(PQresultStatus(r)), want,
	       PQerrorMessage(c));
	PQclear(r);
}

static void run(PGconn *c, const char *sql)
{
	PGresult *r = PQexec(c, sql);
	ExecStatusType s = PQresultStatus(r);

	expect(s == PGRES_COMMAND_OK || s == PGRES_TUPLES_OK, "%s: %s", sql, PQerrorMessage(c));
	PQclear(r);
}

/* Simple, extended and prepared statements of two clients that share servers. */
static void statements(PGconn *a, PGconn *b)
{
	PGconn *both[] = { a, b };

	for (int k = 0; k < 2; k++) {
		char sql[64];

		/* The same name means another statement for each of them. */
		snprintf(sql, sizeof(sql), "select $1::int + %d", k);
		PGresult *r = PQprepare(both[k], "mine", sql, 0, NULL);

		expect(PQresultStatus(r) == PGRES_COMMAND_OK, "prepare: %s",
		       PQerrorMessage(both[k]));
		PQclear(r);
	}
	for (int i = 0; i < ROUNDS; i++) {
		for (int k = 0; k < 2; k++) {
			char value[16], want[16];
			const char *values[] = { value };

			snprintf(value, sizeof(value), "%d", i);
			snprintf(want, sizeof(want), "%d", i + k);
			expect_value(both[k],
				     PQexecPrepared(both[k], "mine", 1, values, NULL, NULL, 0),
				     want, "prepared");
			expect_value(both[k],
				     PQexecParams(both[k], "select $1::text", 1, NULL, values, NULL,
						  NULL, 0),
				     value, "extended");
			run(both[k], "begin");
			expect_value(both[k],
				     PQexecPrepared(both[k], "mine", 1, values, NULL, NULL, 0),
				     want, "prepared in a transaction");
			run(both[k], "commit");
		}
	}
	PGresult *r = PQdescribePrepared(a, "mine");

	expect(PQresultStatus(r) == PGRES_COMMAND_OK && PQnparams(r) == 1 &&
		       PQparamtype(r, 0) == 23,
	       "describe: %s", PQerrorMessage(a));
	PQclear(r);
}

static int results_until_sync(PGconn *c, int *errors, int *aborted)
{
	int good = 0;

	for (;;) {
		PGresult *r = PQgetResult(c);

		if (!r) {
			r = PQgetResult(c); /* between two statements there is one NULL */
			if (!r)
				return -1;
		}
		ExecStatusType s = PQresultStatus(r);

		PQclear(r);
		if (s == PGRES_PIPELINE_SYNC)
			return good;
		good += s == PGRES_TUPLES_OK || s == PGRES_COMMAND_OK;
		*errors += s == PGRES_FATAL_ERROR;
		*aborted += s == PGRES_PIPELINE_ABORTED;
	}
}

static void pipeline(PGconn *c)
{
	const char *values[] = { "1" };
	int errors = 0, aborted = 0, good;

	expect(PQenterPipelineMode(c) == 1, "pipeline mode: %s", PQerrorMessage(c));
	for (int i = 0; i < 200; i++)
		PQsendQueryParams(c, "select $1::int", 1, NULL, values, NULL, NULL, 0);
	PQpipelineSync(c);
	good = results_until_sync(c, &errors, &aborted);
	expect(good == 200 && errors == 0, "pipeline: %d good, %d errors", good, errors);

	PQsendPrepare(c, "piped", "select $1::int", 0, NULL);
	PQsendQueryPrepared(c, "piped", 1, values, NULL, NULL, 0);
	PQsendQueryParams(c, "select 1/0", 0, NULL, NULL, NULL, NULL, 0);
	PQsendQueryParams(c, "select 2", 0, NULL, NULL, NULL, NULL, 0);
	PQpipelineSync(c);
	PQsendQueryParams(c, "select 3", 0, NULL, NULL, NULL, NULL, 0);
	PQpipelineSync(c);
	good = results_until_sync(c, &errors, &aborted);
	expect(good == 2 && errors == 1 && aborted == 1,
	       "error in a pipeline: %d good, %d errors, %d aborted", good, errors, aborted);
	good = results_until_sync(c, &errors, &aborted);
	expect(good == 1, "after an error in a pipeline: %d good", good);
	expect(PQexitPipelineMode(c) == 1, "end of pipeline mode: %s", PQerrorMessage(c));
	expect_value(c, PQexecPrepared(c, "piped", 1, values, NULL, NULL, 0), "1",
		     "prepared in a pipeline");
}

static void copy(PGconn *c)
{
	char line[64], *row;
	int rows = 0, n;

	run(c, "truncate drv");
	PGresult *r = PQexec(c, "copy drv from stdin");

	expect(PQresultStatus(r) == PGRES_COPY_IN, "copy in: %s", PQerrorMessage(c));
	PQclear(r);
	for (int i = 0; i < 100000; i++) {
		n = snprintf(line, sizeof(line), "%d\trow %d\n", i, i);
		expect(PQputCopyData(c, line, n) == 1, "copy data: %s", PQerrorMessage(c));
	}
	PQputCopyEnd(c, NULL);
	while ((r = PQgetResult(c))) {
		expect(PQresultStatus(r) == PGRES_COMMAND_OK, "end of copy: %s", PQerrorMessage(c));
		PQclear(r);
	}
	expect_value(c, PQexec(c, "select count(*) from drv"), "100000", "rows copied");
	PQclear(PQexec(c, "copy drv to stdout"));
	while ((n = PQgetCopyData(c, &row, 0)) > 0) {
		rows++;
		PQfreemem(row);
	}
	expect(n == -1 && rows == 100000, "copy out: %d rows", rows);
	while ((r = PQgetResult(c)))
		PQclear(r);

	/* Given up by the client; refused by the server. */
	PQclear(PQexec(c, "copy drv from stdin"));
	PQputCopyEnd(c, "changed my mind");
	r = PQgetResult(c);
	expect(PQresultStatus(r) == PGRES_FATAL_ERROR, "copy that failed: %s",
	       PQresStatus(PQresultStatus(r)));
	PQclear(r);
	while ((r = PQgetResult(c)))
		PQclear(r);
	PQclear(PQexec(c, "copy drv from stdin"));
	for (int i = 0; i < 20000; i++)
		PQputCopyData(c, "nonsense\n", 9);
	PQputCopyEnd(c, NULL);
	r = PQgetResult(c);
	expect(strcmp(PQresultErrorField(r, PG_DIAG_SQLSTATE) ?: "", "22P02") == 0,
	       "bad copy data: %s", PQerrorMessage(c));
	PQclear(r);
	while ((r = PQgetResult(c)))
		PQclear(r);
	expect_value(c, PQexec(c, "select 1"), "1", "after copies that failed");
}

static void rows_one_by_one(PGconn *c)
{
	PGresult *r;
	int rows = 0;

	PQsendQuery(c, "select i, repeat('x', 1000) from generate_series(1, 20000) i");
	expect(PQsetSingleRowMode(c) == 1, "single row mode");
	while ((r = PQgetResult(c))) {
		rows += PQresultStatus(r) == PGRES_SINGLE_TUPLE;
		PQclear(r);
	}
	expect(rows == 20000, "single row mode: %d rows", rows);
	r = PQexec(c, "select repeat('y', 3000000)");
	expect(PQntuples(r) == 1 && PQgetlength(r, 0, 0) == BIG, "a large value: %s",
	       PQerrorMessage(c));
	PQclear(r);

	char *big = malloc(BIG + 1);
	const char *values[] = { big };

	memset(big, 'z', BIG);
	big[BIG] = '\0';
	expect_value(c, PQexecParams(c, "select length($1)", 1, NULL, values, NULL, NULL, 0),
		     "3000000", "a large parameter");
	free(big);
}

static void cancelled(PGconn *c)
{
	PGcancel *cancel = PQgetCancel(c);
	char text[256];

	PQsendQuery(c, "select pg_sleep(60)");
	usleep(200000);
	expect(PQcancel(cancel, text, sizeof(text)) == 1, "cancel: %s", text);
	PGresult *r = PQgetResult(c);

	expect(strcmp(PQresultErrorField(r, PG_DIAG_SQLSTATE) ?: "", "57014") == 0, "cancelled: %s",
	       PQerrorMessage(c));
	PQclear(r);
	while ((r = PQgetResult(c)))
		PQclear(r);
	PQfreeCancel(cancel);
	expect_value(c, PQexec(c, "select 1"), "1", "after a cancel");
}

static void large_object(PGconn *c)
{
	char buffer[10000];

	run(c, "begin");
	Oid oid = lo_creat(c, INV_READ | INV_WRITE);
	int fd = lo_open(c, oid, INV_WRITE);

	memset(buffer, 'L', sizeof(buffer));
	for (int i = 0; i < 50; i++)
		expect(lo_write(c, fd, buffer, sizeof(buffer)) == sizeof(buffer), "lo_write: %s",
		       PQerrorMessage(c));
	lo_close(c, fd);
	run(c, "commit");
	run(c, "begin");
	fd = lo_open(c, oid, INV_READ);
	expect(lo_lseek(c, fd, 0, SEEK_END) == 500000, "size of a large object: %s",
	       PQerrorMessage(c));
	lo_close(c, fd);
	expect(lo_unlink(c, oid) == 1, "lo_unlink: %s", PQerrorMessage(c));
	run(c, "commit");
}

static PGconn *connect_to(const char *conninfo)
{
	PGconn *c = PQconnectdb(conninfo);

	if (PQstatus(c) != CONNECTION_OK) {
		fprintf(stderr, "%s", PQerrorMessage(c));
		exit(1);
	}
	return c;
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	PGconn *a = connect_to(argv[1]), *b = connect_to(argv[2]);

	expect(PQsslInUse(a), "no TLS");
	statements(a, b);
	pipeline(a);
	copy(a);
	rows_one_by_one(b);
	cancelled(b);
	large_object(a);
	run(a, "deallocate all");
	run(b, "deallocate all");
	statements(b, a);
	PQfinish(a);
	PQfinish(b);
	return nfailures ? 1 : 0;
}
