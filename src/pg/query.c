#include "pg/query.h"

#include <assert.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/list.h"
#include "base/str.h"
#include "model/lsn.h"

enum { CONNECT_TIMEOUT_MS = 3000, STATEMENT_TIMEOUT_MS = 2000, RETRY_MS = 5, NO_DEADLINE = -1 };

struct query {
	struct herd_list node;
	char *sql;
	char **params;
	int nparams;
	const char *statement; /* prepared under this name; NULL: not */
	int64_t deadline_ms;   /* NO_DEADLINE: none */
	herd_pg_query_fn fn;
	void *arg;
};

enum state { CLOSED = 0, CONNECTING, READY, BUSY };

struct herd_pg_session {
	struct herd_loop *loop;
	enum state state;
	char *conninfo, *name, *options;
	bool replication;
	int64_t connect_timeout_ms, connect_deadline_ms;
	PGconn *conn;
	struct herd_io *io;
	int io_fd;
	struct herd_timer *timer;
	struct herd_list queue; /* BUSY: the first one is on the wire */
	PGresult *result;       /* of the query on the wire: the last one, or the first error */
	const char *prepared;   /* the statement that this connection knows; NULL: none */
	bool preparing;         /* what is on the wire prepares the first query */
	int version;
	int in_call; /* callbacks below us on the stack */
	bool freed;
};

struct herd_pg_rows {
	PGresult *res;
};

static void on_io(void *arg, int events);
static void on_timer(void *arg);
static void advance(struct herd_pg_session *s);

static void query_free(struct query *q)
{
	herd_str_wipe(q->sql, strlen(q->sql)); /* some set passwords */
	free(q->sql);
	for (int i = 0; i < q->nparams; i++)
		free(q->params[i]);
	free(q->params);
	free(q);
}

static void ignore_notice(void *arg, const char *message)
{
}

static void close_connection(struct herd_pg_session *s)
{
	herd_io_free(s->io);
	s->io = NULL;
	PQclear(s->result);
	s->result = NULL;
	PQfinish(s->conn);
	s->conn = NULL;
	s->prepared = NULL;
	s->preparing = false;
	s->state = CLOSED;
}

static void session_destroy(struct herd_pg_session *s)
{
	close_connection(s);
	herd_timer_free(s->timer);
	if (s->conninfo != NULL)
		herd_str_wipe(s->conninfo, strlen(s->conninfo));
	free(s->conninfo);
	free(s->name);
	free(s->options);
	free(s);
}

/* The first query leaves the queue; its callback may do anything, freeing the session included. */
static void finish(struct herd_pg_session *s, struct query *q, int rc, PGresult *res,
		   const struct herd_err *err)
{
	struct herd_pg_rows rows = { res };

	herd_list_remove(&q->node);
	s->in_call++;
	if (q->fn)
		q->fn(q->arg, rc, rc == 0 || res != NULL ? &rows : NULL, err);
	s->in_call--;
	query_free(q);
}

static struct query *first(struct herd_pg_session *s)
{
	return herd_list_empty(&s->queue) ? NULL
					  : herd_container_of(s->queue.next, struct query, node);
}

/* libpq's messages end with a line feed and may have several lines: the first says it. */
static void conn_error(struct herd_err *err, int code, const char *what, PGconn *conn)
{
	const char *text = conn != NULL ? PQerrorMessage(conn) : "out of memory";
	int len = (int)strcspn(text, "\n");

	herd_err_set(err, code, "%s: %.*s", what, len, text);
	if (text[len] == '\n' && text[len + 1] != '\0') {
		char *rest = strdup(text + len + 1);

		if (rest != NULL)
			herd_err_detail(err, "%s", herd_str_trim(rest));
		free(rest);
	}
}

/* Nobody can be served: every query that waits fails. */
static void fail_all(struct herd_pg_session *s, int code, const struct herd_err *err)
{
	struct herd_list failed;
	struct query *q;

	herd_list_init(&failed);
	while ((q = first(s)) != NULL) { /* queries queued by callbacks are not among them */
		herd_list_remove(&q->node);
		herd_list_push_back(&failed, &q->node);
	}
	while (!herd_list_empty(&failed))
		finish(s, herd_container_of(failed.next, struct query, node), code, NULL, err);
}

static void connect_failed(struct herd_pg_session *s, int code)
{
	struct herd_err err = HERD_ERR_INIT;

	if (code == -ETIMEDOUT)
		herd_err_set(&err, code, "connection to the server timed out");
	else
		conn_error(&err, code, "could not connect to the server", s->conn);
	close_connection(s);
	fail_all(s, code, &err);
	herd_err_clear(&err);
}

static void connection_lost(struct herd_pg_session *s)
{
	struct herd_err err = HERD_ERR_INIT;
	struct query *q = s->state == BUSY ? first(s) : NULL;

	conn_error(&err, -ECONNRESET, "connection to the server was lost", s->conn);
	close_connection(s);
	if (q != NULL)
		finish(s, q, -ECONNRESET, NULL, &err);
	herd_err_clear(&err);
}

/* libpq may go on with another socket while it connects. */
static int watch(struct herd_pg_session *s, int events)
{
	int fd = PQsocket(s->conn);

	if (s->io != NULL && s->io_fd != fd) {
		herd_io_free(s->io);
		s->io = NULL;
	}
	if (s->io == NULL && fd >= 0) {
		s->io = herd_io_new(s->loop, fd, on_io, s);
		s->io_fd = fd;
	}
	if (s->io == NULL)
		return -ENOMEM;
	herd_io_want(s->io, events);
	return 0;
}

static void begin_connect(struct herd_pg_session *s)
{
	const char *keywords[] = { "dbname",  "application_name", "client_encoding",
				   "options", "replication",      NULL };
	const char *values[] = { s->conninfo, s->name, "UTF8", s->options, NULL, NULL };

	if (s->replication) {
		keywords[3] = "replication";
		values[3] = "true";
		keywords[4] = NULL;
	} else {
		keywords[4] = NULL;
	}
	s->state = CONNECTING;
	s->connect_deadline_ms = herd_now_ms() + s->connect_timeout_ms;
	s->conn = PQconnectStartParams(keywords, values, 1);
	if (s->conn == NULL || PQstatus(s->conn) == CONNECTION_BAD) {
		connect_failed(s, -ECONNREFUSED);
		return;
	}
	PQsetNoticeProcessor(s->conn, ignore_notice, NULL);
	if (watch(s, HERD_IO_WRITE) < 0)
		connect_failed(s, -ECONNREFUSED);
}

static void go_on_connecting(struct herd_pg_session *s)
{
	/* The old socket may be closed by libpq: it must not be watched then. */
	PostgresPollingStatusType poll;

	herd_io_free(s->io);
	s->io = NULL;
	poll = PQconnectPoll(s->conn);
	if (poll == PGRES_POLLING_FAILED) {
		connect_failed(s, -ECONNREFUSED);
		return;
	}
	if (poll == PGRES_POLLING_OK) {
		s->state = READY;
		s->version = PQserverVersion(s->conn);
		PQsetnonblocking(s->conn, 1);
		if (watch(s, HERD_IO_READ) < 0)
			connection_lost(s);
		return;
	}
	if (watch(s, poll == PGRES_POLLING_READING ? HERD_IO_READ : HERD_IO_WRITE) < 0)
		connect_failed(s, -ECONNREFUSED);
}

static void flush(struct herd_pg_session *s)
{
	int more = PQflush(s->conn);

	if (more < 0)
		connection_lost(s);
	else
		herd_io_want(s->io, more > 0 ? HERD_IO_READ | HERD_IO_WRITE : HERD_IO_READ);
}

static void send_first(struct herd_pg_session *s)
{
	struct query *q = first(s);
	int ok;

	s->state = BUSY;
	s->preparing = q->statement != NULL && s->prepared != q->statement;
	if (s->preparing)
		ok = PQsendPrepare(s->conn, q->statement, q->sql, 0, NULL);
	else if (q->statement != NULL)
		ok = PQsendQueryPrepared(s->conn, q->statement, 0, NULL, NULL, NULL, 0);
	else if (q->params == NULL)
		ok = PQsendQuery(s->conn, q->sql);
	else
		ok = PQsendQueryParams(s->conn, q->sql, q->nparams, NULL,
				       (const char *const *)q->params, NULL, NULL, 0);
	if (ok)
		flush(s);
	else
		connection_lost(s);
}

static int server_error(PGresult *res, struct herd_err *err)
{
	const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);
	const char *msg = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
	const char *detail = PQresultErrorField(res, PG_DIAG_MESSAGE_DETAIL);
	const char *hint = PQresultErrorField(res, PG_DIAG_MESSAGE_HINT);
	int code = herd_str_eq(state, "57014") ? -ETIME : -EPROTO;

	if (msg == NULL)
		msg = PQresultErrorMessage(res);
	herd_err_set(err, code, "%.*s", (int)strcspn(msg, "\n"), msg);
	if (detail != NULL)
		herd_err_detail(err, "%s", detail);
	if (hint != NULL)
		herd_err_hint(err, "%s", hint);
	return code;
}

static bool is_error(PGresult *res)
{
	ExecStatusType st = PQresultStatus(res);

	return st != PGRES_COMMAND_OK && st != PGRES_TUPLES_OK && st != PGRES_EMPTY_QUERY;
}

static void complete(struct herd_pg_session *s)
{
	struct herd_err err = HERD_ERR_INIT;
	PGresult *res = s->result;
	struct query *q = first(s);
	int rc = 0;

	assert(s->state == BUSY && q != NULL);
	s->result = NULL;
	if (s->preparing && res != NULL && !is_error(res) && PQstatus(s->conn) != CONNECTION_BAD) {
		PQclear(res);
		s->prepared = q->statement;
		send_first(s);
		return;
	}
	if (PQstatus(s->conn) == CONNECTION_BAD && (res == NULL || is_error(res))) {
		/* FATAL of a server that goes down; its words are the reason */
		if (res != NULL)
			server_error(res, &err);
		else
			conn_error(&err, -ECONNRESET, "connection to the server was lost", s->conn);
		rc = err.code = -ECONNRESET;
		close_connection(s);
	} else {
		s->state = READY;
		if (res == NULL)
			rc = herd_err_set(&err, -EPROTO, "server sent no result");
		else if (is_error(res))
			rc = server_error(res, &err);
	}
	finish(s, q, rc, res, &err);
	PQclear(res);
	herd_err_clear(&err);
}

static void read_results(struct herd_pg_session *s)
{
	if (!PQconsumeInput(s->conn)) {
		if (s->state == BUSY && s->result != NULL) {
			complete(s);
			return;
		}
		connection_lost(s);
		return;
	}
	while (s->state == BUSY && !PQisBusy(s->conn)) {
		PGresult *res = PQgetResult(s->conn);
		ExecStatusType st = res != NULL ? PQresultStatus(res) : PGRES_EMPTY_QUERY;

		if (res == NULL) {
			complete(s);
			return;
		}
		if (st == PGRES_COPY_IN || st == PGRES_COPY_OUT || st == PGRES_COPY_BOTH) {
			PQclear(res);
			connection_lost(s); /* nobody here speaks COPY */
			return;
		}
		if (s->result != NULL && is_error(s->result)) {
			PQclear(res);
			continue;
		}
		PQclear(s->result);
		s->result = res;
	}
}

static void on_io(void *arg, int events)
{
	struct herd_pg_session *s = arg;

	s->in_call++;
	if (s->state == CONNECTING) {
		go_on_connecting(s);
	} else if (s->state != CLOSED) {
		if (events & HERD_IO_WRITE)
			flush(s);
		if (s->state != CLOSED && (events & HERD_IO_READ))
			read_results(s);
	}
	s->in_call--;
	advance(s);
}

static bool expired(int64_t deadline, int64_t now)
{
	return deadline != NO_DEADLINE && deadline <= now;
}

static void expire(struct herd_pg_session *s)
{
	struct herd_err err = HERD_ERR_INIT;
	int64_t now = herd_now_ms();
	bool again = true;

	if (s->state == CONNECTING && expired(s->connect_deadline_ms, now))
		connect_failed(s, -ETIMEDOUT);
	herd_err_set(&err, -ETIMEDOUT, "query timed out");
	while (again && !s->freed) {
		again = false;
		herd_list_for_each(it, &s->queue)
		{
			struct query *q = herd_container_of(it, struct query, node);

			if (!expired(q->deadline_ms, now))
				continue;
			if (s->state == BUSY && q == first(s))
				close_connection(s);
			finish(s, q, -ETIMEDOUT, NULL, &err);
			again = true; /* the list may have changed */
			break;
		}
	}
	herd_err_clear(&err);
}

static void arm(struct herd_pg_session *s)
{
	int64_t next = s->state == CONNECTING ? s->connect_deadline_ms : NO_DEADLINE, now;

	herd_list_for_each(it, &s->queue)
	{
		struct query *q = herd_container_of(it, struct query, node);

		if (q->deadline_ms != NO_DEADLINE && (next == NO_DEADLINE || q->deadline_ms < next))
			next = q->deadline_ms;
	}
	/* A callback of a failed attempt asked again: not at once, or this would never end. */
	if (s->state == CLOSED && !herd_list_empty(&s->queue))
		next = herd_now_ms() + RETRY_MS;
	if (next == NO_DEADLINE) {
		herd_timer_cancel(s->timer);
		return;
	}
	now = herd_now_ms();
	herd_timer_set(s->timer, next > now ? next - now : 0);
}

/* Whatever can be done now; the outermost frame frees a session that was freed in a callback. */
static void advance(struct herd_pg_session *s)
{
	if (s->in_call > 0)
		return;
	s->in_call++;
	if (!s->freed && !herd_list_empty(&s->queue) && s->state == CLOSED)
		begin_connect(s);
	else if (!s->freed && !herd_list_empty(&s->queue) && s->state == READY)
		send_first(s);
	s->in_call--;
	if (s->freed)
		session_destroy(s);
	else
		arm(s);
}

static void on_timer(void *arg)
{
	struct herd_pg_session *s = arg;

	s->in_call++;
	expire(s);
	s->in_call--;
	advance(s);
}

static char *make_options(const struct herd_pg_session_opts *o)
{
	int64_t ms = o->statement_timeout_ms == 0 ? STATEMENT_TIMEOUT_MS : o->statement_timeout_ms;
	struct herd_buf b = { 0 };

	if (ms > 0)
		herd_buf_printf(&b, "-c statement_timeout=%lld", (long long)ms);
	if (o->gucs != NULL)
		herd_buf_printf(&b, "%s%s", b.len > 0 ? " " : "", o->gucs);
	return herd_buf_steal(&b);
}

int herd_pg_session_new(struct herd_loop *l, const struct herd_pg_session_opts *opts,
			struct herd_pg_session **ret, struct herd_err *err)
{
	struct herd_pg_session *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return herd_err_set(err, -ENOMEM, "out of memory");
	s->loop = l;
	s->replication = opts->replication;
	s->connect_timeout_ms =
		opts->connect_timeout_ms > 0 ? opts->connect_timeout_ms : CONNECT_TIMEOUT_MS;
	herd_list_init(&s->queue);
	s->conninfo = strdup(opts->conninfo);
	s->name = strdup(opts->name != NULL ? opts->name : "Patroni heartbeat");
	s->options = make_options(opts);
	s->timer = herd_timer_new(l, on_timer, s);
	if (s->conninfo == NULL || s->name == NULL || s->options == NULL || s->timer == NULL) {
		session_destroy(s);
		return herd_err_set(err, -ENOMEM, "out of memory");
	}
	*ret = s;
	return 0;
}

void herd_pg_session_free(struct herd_pg_session *s)
{
	struct herd_err err = HERD_ERR_INIT;

	if (s == NULL || s->freed)
		return;
	s->freed = true;
	close_connection(s);
	herd_err_set(&err, -ECANCELED, "query was cancelled");
	s->in_call++;
	while (!herd_list_empty(&s->queue))
		fail_all(s, -ECANCELED, &err);
	s->in_call--;
	herd_err_clear(&err);
	if (s->in_call == 0)
		session_destroy(s);
}

int herd_pg_session_reset(struct herd_pg_session *s, const char *conninfo)
{
	struct herd_err err = HERD_ERR_INIT;
	struct query *q = s->state == BUSY ? first(s) : NULL;

	if (conninfo != NULL && !herd_str_set(&s->conninfo, conninfo))
		return -ENOMEM;
	close_connection(s);
	if (q != NULL) {
		herd_err_set(&err, -ECANCELED, "query was cancelled");
		s->in_call++;
		finish(s, q, -ECANCELED, NULL, &err);
		s->in_call--;
		herd_err_clear(&err);
	}
	if (s->in_call == 0 && !s->freed)
		herd_timer_set(s->timer, 0);
	else if (s->in_call == 0)
		session_destroy(s);
	return 0;
}

int herd_pg_session_set_conninfo(struct herd_pg_session *s, const char *conninfo)
{
	return strcmp(s->conninfo, conninfo) == 0 ? 0 : herd_pg_session_reset(s, conninfo);
}

bool herd_pg_session_connected(const struct herd_pg_session *s)
{
	return s->state == READY || s->state == BUSY;
}

int herd_pg_session_backend_pid(const struct herd_pg_session *s)
{
	return herd_pg_session_connected(s) ? PQbackendPID(s->conn) : 0;
}

int herd_pg_session_version(const struct herd_pg_session *s)
{
	return s->version;
}

static int queue_query(struct herd_pg_session *s, const char *statement, const char *sql,
		       int nparams, const char *const *params, int64_t timeout_ms,
		       herd_pg_query_fn fn, void *arg)
{
	struct query *q;
	bool ok;

	if (s->freed)
		return -ECANCELED;
	q = calloc(1, sizeof(*q));
	if (q == NULL)
		return -ENOMEM;
	q->statement = statement;
	q->sql = strdup(sql);
	q->params = params != NULL ? calloc((size_t)nparams + 1, sizeof(char *)) : NULL;
	ok = q->sql != NULL && (params == NULL || q->params != NULL);
	for (int i = 0; i < nparams && ok; i++) {
		ok = herd_str_set(&q->params[i], params[i]);
		q->nparams = i + 1;
	}
	if (!ok) {
		if (q->sql == NULL)
			q->sql = calloc(1, 1);
		if (q->sql != NULL)
			query_free(q);
		return -ENOMEM;
	}
	q->deadline_ms = timeout_ms > 0 ? herd_now_ms() + timeout_ms : NO_DEADLINE;
	q->fn = fn;
	q->arg = arg;
	herd_list_push_back(&s->queue, &q->node);
	/* From the loop, so that no callback runs before we have returned. */
	if (s->in_call == 0)
		herd_timer_set(s->timer, 0);
	return 0;
}

int herd_pg_query(struct herd_pg_session *s, const char *sql, int nparams,
		  const char *const *params, int64_t timeout_ms, herd_pg_query_fn fn, void *arg)
{
	return queue_query(s, NULL, sql, nparams, params, timeout_ms, fn, arg);
}

int herd_pg_query_prepared(struct herd_pg_session *s, const char *statement, const char *sql,
			   int64_t timeout_ms, herd_pg_query_fn fn, void *arg)
{
	return queue_query(s, statement, sql, 0, NULL, timeout_ms, fn, arg);
}

int herd_pg_rows_count(const struct herd_pg_rows *r)
{
	return r != NULL ? PQntuples(r->res) : 0;
}

int herd_pg_rows_columns(const struct herd_pg_rows *r)
{
	return r != NULL ? PQnfields(r->res) : 0;
}

const char *herd_pg_rows_name(const struct herd_pg_rows *r, int col)
{
	return PQfname(r->res, col);
}

const char *herd_pg_rows_text(const struct herd_pg_rows *r, int row, int col)
{
	if (row < 0 || row >= herd_pg_rows_count(r) || col < 0 || col >= herd_pg_rows_columns(r) ||
	    PQgetisnull(r->res, row, col))
		return NULL;
	return PQgetvalue(r->res, row, col);
}

int64_t herd_pg_rows_i64(const struct herd_pg_rows *r, int row, int col, int64_t fallback)
{
	const char *text = herd_pg_rows_text(r, row, col);
	int64_t n;

	return text != NULL && herd_str_to_i64(text, &n) == 0 ? n : fallback;
}

bool herd_pg_rows_bool(const struct herd_pg_rows *r, int row, int col)
{
	return herd_str_eq(herd_pg_rows_text(r, row, col), "t");
}

uint64_t herd_pg_rows_lsn(const struct herd_pg_rows *r, int row, int col)
{
	uint64_t lsn;

	return herd_lsn_parse(herd_pg_rows_text(r, row, col), &lsn) == 0 ? lsn : 0;
}

size_t herd_pg_rows_len(const struct herd_pg_rows *r, int row, int col)
{
	return herd_pg_rows_text(r, row, col) != NULL ? (size_t)PQgetlength(r->res, row, col) : 0;
}

const char *herd_pg_rows_sqlstate(const struct herd_pg_rows *r)
{
	const char *state = r != NULL ? PQresultErrorField(r->res, PG_DIAG_SQLSTATE) : NULL;

	return state != NULL ? state : "";
}

const char *herd_pg_rows_tag(const struct herd_pg_rows *r)
{
	return r != NULL ? PQcmdStatus(r->res) : "";
}

void herd_pg_quote_literal(struct herd_buf *out, const char *s)
{
	bool backslash = strchr(s, '\\') != NULL;

	herd_buf_addstr(out, backslash ? "E'" : "'");
	for (; *s != '\0'; s++) {
		if (*s == '\'' || *s == '\\')
			herd_buf_addc(out, *s);
		herd_buf_addc(out, *s);
	}
	herd_buf_addc(out, '\'');
}

void herd_pg_quote_ident(struct herd_buf *out, const char *s)
{
	herd_buf_addc(out, '"');
	for (; *s != '\0'; s++) {
		if (*s == '"')
			herd_buf_addc(out, '"');
		herd_buf_addc(out, *s);
	}
	herd_buf_addc(out, '"');
}
