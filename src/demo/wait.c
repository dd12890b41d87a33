#include "demo/wait.h"

#include <libpq-fe.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/str.h"
#include "demo/process.h"
#include "loop/loop.h"

volatile int demo_interrupted;

enum { POLL_MS = 100, ETCD_TIMEOUT_MS = 30000 };

void demo_progress(const char *fmt, ...)
{
	static int64_t first_ms;
	va_list ap;

	if (!first_ms)
		first_ms = herd_now_ms();
	printf("%6.1fs  ", (double)(herd_now_ms() - first_ms) / 1000);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
}

/* The first column of the first row of a query as text, malloc'd; NULL when it cannot be had. */
static char *ask(const struct demo *d, int port, const char *dbname, const char *sql)
{
	char *text_port = herd_str_printf("%d", port);
	const char *const keys[] = { "host",     "port",   "user",
				     "password", "dbname", "connect_timeout",
				     NULL };
	const char *const values[] = { "127.0.0.1", text_port, "postgres", d->password,
				       dbname,      "2",       NULL };
	PGconn *conn = PQconnectdbParams(keys, values, 0);
	char *answer = NULL;

	if (PQstatus(conn) == CONNECTION_OK) {
		PGresult *res = PQexec(conn, sql);

		if (PQresultStatus(res) == PGRES_TUPLES_OK && PQntuples(res) > 0)
			answer = herd_str_dup(PQgetvalue(res, 0, 0));
		PQclear(res);
	}
	PQfinish(conn);
	free(text_port);
	return answer;
}

static bool answers(const struct demo *d, int port, const char *dbname, const char *sql,
		    const char *want)
{
	char *got = ask(d, port, dbname, sql);
	bool ok = herd_str_eq(got, want);

	free(got);
	return ok;
}

static int died(const struct demo *d, const char *name, struct herd_err *err)
{
	char *tail = demo_log_tail(d, name, 5);

	herd_err_set(err, -ESRCH, "%s has ended", name);
	herd_err_detail(err, "The end of its log %s/log/%s.log:\n%s", d->dir, name, tail);
	free(tail);
	return -ESRCH;
}

/* Sleeps one round; reports a signal or a program that ended. */
static int next_round(const struct demo *d, bool agents, struct herd_err *err)
{
	usleep(POLL_MS * 1000);
	if (demo_interrupted)
		return herd_err_set(err, -EINTR, "interrupted");
	if (!demo_running(d, "etcd"))
		return died(d, "etcd", err);
	if (agents && !demo_running(d, "proxy"))
		return died(d, "proxy", err);
	for (size_t i = 0; agents && i < d->nmembers; i++) {
		if (!demo_running(d, d->members[i].name))
			return died(d, d->members[i].name, err);
	}
	return 0;
}

int demo_wait_etcd(const struct demo *d, struct herd_err *err)
{
	int64_t end_ms = herd_now_ms() + ETCD_TIMEOUT_MS;

	while (demo_port_free(d->base_port + DEMO_PORT_ETCD)) {
		int rc = next_round(d, false, err);

		if (rc < 0)
			return rc;
		if (herd_now_ms() > end_ms)
			return herd_err_set(err, -ETIMEDOUT, "etcd does not accept connections");
	}
	return 0;
}

/* What is waited for, in order; each step is passed once. */
struct step {
	const char *what;
	bool (*done)(const struct demo *d);
};

static bool primaries_run(const struct demo *d)
{
	for (int group = 0; group <= d->workers; group++) {
		bool found = false;

		for (size_t i = 0; i < d->nmembers && !found; i++)
			found = d->members[i].group == group &&
				answers(d, d->members[i].pg_port, "postgres",
					"select pg_is_in_recovery()", "f");
		if (!found)
			return false;
	}
	return true;
}

static bool members_run(const struct demo *d)
{
	for (size_t i = 0; i < d->nmembers; i++) {
		char *got = ask(d, d->members[i].pg_port, "postgres", "select 1");
		bool ok = got != NULL;

		free(got);
		if (!ok)
			return false;
	}
	return true;
}

/* A group with standbys has a synchronous one, and everybody knows it: from here on no node is one
 * that a herd cannot do without. */
static bool sync_standbys_known(const struct demo *d)
{
	char *config = demo_path(d, "ctl.yml");
	const char *const argv[] = { d->exe, "ctl", "-c", config, "list", "-f", "json", NULL };
	char *text = demo_capture(argv);
	json_t *rows = text ? herd_json_parse(text, strlen(text), NULL) : NULL, *row;
	int groups = 0, want = d->replicas > 1 ? d->workers + 1 : 1;
	size_t i;

	json_array_foreach(rows, i, row)
	{
		const char *role = herd_json_str(row, "Role", "");

		if (strcmp(role, "Sync Standby") == 0 || strcmp(role, "Quorum Standby") == 0)
			groups++;
	}
	json_decref(rows);
	free(text);
	free(config);
	return groups >= want;
}

static bool endpoints_answer(const struct demo *d)
{
	for (int i = 0; i < DEMO_ENDPOINTS; i++) {
		if (!answers(d, d->base_port + i, "citus", "select 1", "1"))
			return false;
	}
	return true;
}

static bool nodes_registered(const struct demo *d)
{
	char *want = herd_str_printf("%d/%zu", d->workers + 1, d->nmembers);
	bool ok = answers(d, d->base_port + DEMO_PORT_WRITES, "citus",
			  "select count(*) filter (where noderole = 'primary') || '/' || count(*) "
			  "from pg_dist_node where isactive",
			  want);

	free(want);
	return ok;
}

int demo_wait_ready(const struct demo *d, int64_t timeout_ms, struct herd_err *err)
{
	static const struct step steps[] = {
		{ "a primary in every group", primaries_run },
		{ "all standbys", members_run },
		{ "the endpoints", endpoints_answer },
		{ "all nodes in pg_dist_node", nodes_registered },
		{ "a synchronous standby in every group", sync_standbys_known },
	};
	int64_t end_ms = herd_now_ms() + timeout_ms;

	for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
		while (!steps[i].done(d)) {
			int rc = next_round(d, true, err);

			if (rc < 0)
				return rc;
			if (herd_now_ms() > end_ms) {
				herd_err_set(err, -ETIMEDOUT, "%s did not come up within %d s",
					     steps[i].what, (int)(timeout_ms / 1000));
				herd_err_hint(err, "The logs are in %s/log.", d->dir);
				return -ETIMEDOUT;
			}
		}
		demo_progress("%s: ready", steps[i].what);
	}
	return 0;
}
