/*
 * pg/query.h - one libpq connection that never blocks the loop: queries queue up, the connection is
 * made when the first is sent, and made again after the server went away. Errors, server death and
 * timeouts come to the callback; every accepted query's callback is called exactly once.
 */
#pragma once
#include "loop/loop.h"
#include "pg/settings.h"

struct herd_pg_session;
struct herd_pg_rows; /* valid during the callback */

/* err->code: -ECONNREFUSED cannot connect, -ECONNRESET lost, -ETIMEDOUT ours,
 * -ETIME the server's statement timeout (57014), -EPROTO any other error of the server (message,
 * detail and hint are the server's), -ECANCELED session freed. */
typedef void (*herd_pg_query_fn)(void *arg, int rc, const struct herd_pg_rows *rows,
				 const struct herd_err *err);

struct herd_pg_session_opts {
	const char *conninfo; /* libpq text; copied; passwords may be in it, it is never logged */
	int64_t connect_timeout_ms;   /* 0: 3000 */
	int64_t statement_timeout_ms; /* given to the server; 0: 2000, -1: none */
	const char *gucs;             /* more `-c name=value` for the options word; NULL: none */
	bool replication; /* a physical replication connection (simple queries only, no options) */
	const char *name; /* application_name; NULL: Patroni heartbeat */
};
int herd_pg_session_new(struct herd_loop *l, const struct herd_pg_session_opts *opts,
			struct herd_pg_session **ret, struct herd_err *err);
/* Pending callbacks get -ECANCELED first. May be called inside a callback. */
void herd_pg_session_free(struct herd_pg_session *s);
/* Closes; the next query connects again (with conninfo when not NULL). */
int herd_pg_session_reset(struct herd_pg_session *s, const char *conninfo);
/* The same with the text only when it differs from the one in use. */
int herd_pg_session_set_conninfo(struct herd_pg_session *s, const char *conninfo);
bool herd_pg_session_connected(const struct herd_pg_session *s);
int herd_pg_session_backend_pid(const struct herd_pg_session *s); /* 0: not connected */
int herd_pg_session_version(
	const struct herd_pg_session *s); /* 150018; 0 before the first connect */

/*
 * timeout_ms counts from now and includes connecting and waiting in the queue; 0: none. A query
 * that times out on the wire takes its connection with it. params NULL and nparams 0: the simple
 * protocol (several statements allowed, rows of the last). Texts are copied. fn may be NULL.
 */
int herd_pg_query(struct herd_pg_session *s, const char *sql, int nparams,
		  const char *const *params, int64_t timeout_ms, herd_pg_query_fn fn, void *arg);

/*
 * The same for a query that comes often: each connection prepares it once, so that the server does
 * not parse and plan it every time. statement is its name, a constant (compared by address).
 */
int herd_pg_query_prepared(struct herd_pg_session *s, const char *statement, const char *sql,
			   int64_t timeout_ms, herd_pg_query_fn fn, void *arg);

int herd_pg_rows_count(const struct herd_pg_rows *r);
int herd_pg_rows_columns(const struct herd_pg_rows *r);
const char *herd_pg_rows_name(const struct herd_pg_rows *r, int col);
/* NULL for SQL null and outside the rows. */
const char *herd_pg_rows_text(const struct herd_pg_rows *r, int row, int col);
int64_t herd_pg_rows_i64(const struct herd_pg_rows *r, int row, int col, int64_t fallback);
bool herd_pg_rows_bool(const struct herd_pg_rows *r, int row, int col);    /* 't' */
uint64_t herd_pg_rows_lsn(const struct herd_pg_rows *r, int row, int col); /* 0 for null */
size_t herd_pg_rows_len(const struct herd_pg_rows *r, int row, int col);
/* Of a failed query; "" when none. Works with rows NULL. */
const char *herd_pg_rows_sqlstate(const struct herd_pg_rows *r);
const char *herd_pg_rows_tag(const struct herd_pg_rows *r); /* command tag */

/* Appends 'x' / "x" with quotes doubled (E'' form when a backslash is inside). */
struct herd_buf;
void herd_pg_quote_literal(struct herd_buf *out, const char *s);
void herd_pg_quote_ident(struct herd_buf *out, const char *s);
