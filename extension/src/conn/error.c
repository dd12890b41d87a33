#include "attach/capture.h"
#include "conn/names.h"
#include "conn/session.h"

#include "conn/options.h"
#include "guc.h"
#include "utils/elog.h"

static char *field(const PGresult *res, int code)
{
	const char *value = PQresultErrorField(res, code);

	return value ? pstrdup(value) : NULL;
}

static int sqlstate_of(const char *s, int fallback)
{
	if (!s || strlen(s) != 5)
		return fallback;
	return MAKE_SQLSTATE(s[0], s[1], s[2], s[3], s[4]);
}

/* The first line of libpq's text; the others guess at reasons. */
static char *first_line(const char *message)
{
	return pnstrdup(message ? message : "", strcspn(message ? message : "", "\n"));
}

static int copy_object_fields(const char *schema, const char *table, const char *column,
			      const char *datatype, const char *constraint)
{
	if (schema)
		err_generic_string(PG_DIAG_SCHEMA_NAME, schema);
	if (table)
		err_generic_string(PG_DIAG_TABLE_NAME, table);
	if (column)
		err_generic_string(PG_DIAG_COLUMN_NAME, column);
	if (datatype)
		err_generic_string(PG_DIAG_DATATYPE_NAME, datatype);
	if (constraint)
		err_generic_string(PG_DIAG_CONSTRAINT_NAME, constraint);
	return 0;
}

void herd_conn_raise(HerdConn *c, PGresult *res)
{
	int code = sqlstate_of(PQresultErrorField(res, PG_DIAG_SQLSTATE), 0);
	char *message = field(res, PG_DIAG_MESSAGE_PRIMARY);
	char *detail = field(res, PG_DIAG_MESSAGE_DETAIL);
	char *hint = field(res, PG_DIAG_MESSAGE_HINT);
	char *context = field(res, PG_DIAG_CONTEXT);
	char *schema = field(res, PG_DIAG_SCHEMA_NAME);
	char *table = field(res, PG_DIAG_TABLE_NAME);
	char *column = field(res, PG_DIAG_COLUMN_NAME);
	char *datatype = field(res, PG_DIAG_DATATYPE_NAME);
	char *constraint = field(res, PG_DIAG_CONSTRAINT_NAME);

	PQclear(res);
	/* Without a code the error is libpq's own: the connection went away under the command. */
	if (code == 0 || PQstatus(c->pg) == CONNECTION_BAD) {
		if (c->level > 0)
			c->lost = true;
		if (code == 0)
			herd_conn_raise_lost(c);
	}
	message = herd_names_of_tables(message);
	detail = herd_names_of_tables(detail);
	hint = herd_names_of_tables(hint);
	table = herd_names_of_tables(table);
	constraint = herd_names_of_tables(constraint);
	ereport(ERROR, (errcode(code), errmsg_internal("%s", message ? message : "unknown error"),
			detail ? errdetail_internal("%s", detail) : 0,
			hint ? errhint("%s", hint) : 0, context ? errcontext("%s", context) : 0,
			errcontext("while executing a command on %s:%d", c->host, c->port),
			copy_object_fields(schema, table, column, datatype, constraint)));
}

/*
 * "terminating connection due to administrator command" comes before the server has completed the
 * command: it commits after that. A crash elsewhere may end the session at any point.
 */
bool herd_conn_is_loss(HerdConn *c, const PGresult *res)
{
	const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);
	const char *severity = PQresultErrorField(res, PG_DIAG_SEVERITY_NONLOCALIZED);
	const char *message = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);

	if (!state)
		return PQstatus(c->pg) == CONNECTION_BAD;
	if (!severity || strcmp(severity, "FATAL") != 0 ||
	    (strncmp(state, "57P", 3) != 0 && strncmp(state, "08", 2) != 0))
		return false;
	c->loss_had_no_effect = strcmp(state, "57P01") == 0;
	c->loss = MemoryContextStrdup(c->cxt, message ? message : "");
	return true;
}

bool herd_conn_is_standbys(HerdConn *c, HerdCmd cmd, const PGresult *res)
{
	static const char *const states[] = { "40001", "40P01", "25006", "55000" };
	const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);
	const char *message = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
	bool found = cmd == HERD_CMD_CHECK;

	if (!c->standby || herd_secondaries_only || !state)
		return false;
	for (int i = 0; i < lengthof(states) && !found; i++)
		found = strcmp(state, states[i]) == 0;
	if (found)
		c->loss = MemoryContextStrdup(c->cxt, message ? message : "");
	return found;
}

void herd_conn_raise_lost(HerdConn *c)
{
	char *why = c->loss ? pstrdup(c->loss) : first_line(PQerrorMessage(c->pg));

	if (c->level > 0)
		c->lost = true;
	ereport(ERROR, (errcode(ERRCODE_CONNECTION_FAILURE),
			errmsg("connection to node %s:%d was lost", c->host, c->port),
			why[0] ? errdetail_internal("%s", why) : 0));
}

static int level_of(const char *severity)
{
	if (strcmp(severity, "WARNING") == 0)
		return WARNING;
	if (strcmp(severity, "NOTICE") == 0)
		return NOTICE;
	if (strcmp(severity, "INFO") == 0)
		return INFO;
	return DEBUG1;
}

void herd_conn_notice(void *arg, const PGresult *res)
{
	HerdConn *c = arg;
	const char *severity = PQresultErrorField(res, PG_DIAG_SEVERITY_NONLOCALIZED);
	const char *message = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
	const char *detail = PQresultErrorField(res, PG_DIAG_MESSAGE_DETAIL);
	const char *hint = PQresultErrorField(res, PG_DIAG_MESSAGE_HINT);
	int level = c->forward_notices && severity ? level_of(severity) : DEBUG1;

	if (herd_capture_notice(c->groupid, res))
		return;
	if (level < herd_worker_min_messages && level != INFO)
		level = DEBUG1;
	ereport(level,
		(errcode(sqlstate_of(PQresultErrorField(res, PG_DIAG_SQLSTATE), 0)),
		 errmsg_internal("%s", message ? message : ""),
		 detail ? errdetail_internal("%s", detail) : 0, hint ? errhint("%s", hint) : 0));
}

void herd_conn_log(const HerdConn *c, const char *sql)
{
	if (herd_log_remote_commands)
		ereport(NOTICE,
			(errmsg_internal("issuing %s", sql),
			 errdetail_internal("on server %s@%s:%d", c->user, c->host, c->port)));
}
