/*
 * How this server logs in to others on behalf of a role.
 *
 * A role logs in as itself where it can. Where it cannot, because it may not log in at all or
 * pg_dist_authinfo has no credentials for it, the owner of the extension logs in and gives the
 * session to the role for good (citus_internal.bind_session): from then on it has the role's
 * rights and no others, whatever a function of the role tries.
 */
#include "conn/session.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "commands/dbcommands.h"
#include "conn/login.h"
#include "conn/options.h"
#include "fmgr.h"
#include "guc.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/guc_tables.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

/* -- connection parameters --------------------------------------------------------------------- */

typedef struct ParamList {
	int n, size;
	const char **keys;
	const char **values;
} ParamList;

static void param_set(ParamList *list, const char *key, const char *value)
{
	for (int i = 0; i < list->n; i++) {
		if (strcmp(list->keys[i], key) == 0) {
			list->values[i] = value;
			return;
		}
	}
	if (list->n + 1 >= list->size) {
		list->size = list->size ? list->size * 2 : 16;
		list->keys = list->keys ? repalloc(list->keys, list->size * sizeof(char *))
					: palloc(list->size * sizeof(char *));
		list->values = list->values ? repalloc(list->values, list->size * sizeof(char *))
					    : palloc(list->size * sizeof(char *));
	}
	list->keys[list->n] = key;
	list->values[list->n++] = value;
	list->keys[list->n] = NULL;
	list->values[list->n] = NULL;
}

/* libpq's complaint is not shown: it may quote a password. */
static void param_set_conninfo(ParamList *list, const char *conninfo, const char *what)
{
	PQconninfoOption *options;
	char *error = NULL;

	if (!conninfo || !conninfo[0])
		return;
	options = PQconninfoParse(conninfo, &error);
	if (!options) {
		PQfreemem(error);
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("%s is not a valid connection string", what)));
	}
	for (PQconninfoOption *o = options; o->keyword; o++) {
		if (o->val && o->val[0])
			param_set(list, pstrdup(o->keyword), pstrdup(o->val));
	}
	PQconninfoFree(options);
}

/* Identifies this backend on the other side: node id and process id in one number. */
static char *internal_name(void)
{
	const HerdNode *self = herd_node_primary(herd_local_group());
	int64 gpid = (self ? self->nodeid : 0) * INT64CONST(10000000000) + MyProcPid;

	return psprintf("citus_internal gpid=" INT64_FORMAT, gpid);
}

/* pooled: through the pooler that pg_dist_poolinfo names, if it names one. */
static void connection_params(ParamList *list, const HerdNode *node, const char *dbname,
			      const char *user, bool pooled)
{
	param_set(list, "tcp_user_timeout", psprintf("%d", herd_node_connection_timeout_ms));
	/* libpq would look for a ticket and ask first: a round trip, and a third of a login */
	param_set(list, "gssencmode", "disable");
	param_set_conninfo(list, herd_node_conninfo, "citus.node_conninfo");
	param_set_conninfo(list, herd_node_authinfo(node->nodeid, user),
			   "pg_dist_authinfo.authinfo");
	param_set(list, "host", node->host);
	param_set(list, "port", psprintf("%d", node->port));
	param_set(list, "dbname", dbname);
	if (pooled)
		param_set_conninfo(list, herd_node_poolinfo(node->nodeid),
				   "pg_dist_poolinfo.poolinfo");
	param_set(list, "user", user);
	param_set(list, "client_encoding", GetDatabaseEncodingName());
	param_set(list, "application_name", internal_name());
}

PGconn *herd_conn_connect(const HerdNode *node, const char *dbname, const char *user, bool pooled)
{
	ParamList params = { 0 };

	connection_params(&params, node, dbname, user, pooled);
	return PQconnectStartParams(params.keys, params.values, false);
}

/* -- who logs in ------------------------------------------------------------------------------- */

/* Roles that a node has asked a password of which we do not have. */
typedef struct NoPassword {
	int32 nodeid;
	char *user;
} NoPassword;

static List *no_passwords; /* in TopMemoryContext */

static bool has_no_password(int32 nodeid, const char *user)
{
	ListCell *lc;

	foreach (lc, no_passwords) {
		const NoPassword *np = lfirst(lc);

		if (np->nodeid == nodeid && strcmp(np->user, user) == 0)
			return true;
	}
	return false;
}

static bool may_log_in(const char *user)
{
	HeapTuple tuple = SearchSysCache1(AUTHNAME, CStringGetDatum(user));
	bool may = true;

	if (HeapTupleIsValid(tuple)) {
		may = ((Form_pg_authid)GETSTRUCT(tuple))->rolcanlogin;
		ReleaseSysCache(tuple);
	}
	return may;
}

/* A server connection of a pooler may serve somebody else next: it cannot be given away. */
static bool may_bind(const HerdNode *node, const char *user)
{
	return strcmp(user, herd_conn_superuser()) != 0 &&
	       herd_node_poolinfo(node->nodeid)[0] == '\0';
}

const char *herd_login_for(const HerdNode *node, const char *user)
{
	if ((has_no_password(node->nodeid, user) &&
	     herd_node_authinfo(node->nodeid, user)[0] == '\0') ||
	    !may_log_in(user))
		return may_bind(node, user) ? herd_conn_superuser() : user;
	return user;
}

bool herd_login_instead(const HerdNode *node, const char *user)
{
	MemoryContext old;
	NoPassword *np;

	if (!may_bind(node, user) || herd_node_authinfo(node->nodeid, user)[0] != '\0' ||
	    has_no_password(node->nodeid, user))
		return false;
	old = MemoryContextSwitchTo(TopMemoryContext);
	np = palloc(sizeof(*np));
	np->nodeid = node->nodeid;
	np->user = pstrdup(user);
	no_passwords = lappend(no_passwords, np);
	MemoryContextSwitchTo(old);
	return true;
}

char *herd_login_bind_sql(const char *user)
{
	return psprintf("SELECT citus_internal.bind_session(%s)", quote_literal_cstr(user));
}

/* -- the other side: a session that is given to a role ----------------------------------------- */

static bool session_is_bound;
static GucStringCheckHook next_check;

/* RESET goes to the role as well, as it has become the setting's default. */
static bool check_session_authorization(char **newval, void **extra, GucSource source)
{
	if (session_is_bound && source > PGC_S_OVERRIDE) {
		GUC_check_errcode(ERRCODE_INSUFFICIENT_PRIVILEGE);
		GUC_check_errmsg("the role of a session between nodes cannot be changed");
		return false;
	}
	return next_check(newval, extra, source);
}

static struct config_generic *find_setting(const char *name)
{
#if PG_VERSION_NUM >= 160000
	return find_option(name, false, false, PANIC);
#else
	struct config_generic **vars = get_guc_variables();

	for (int i = 0; i < GetNumConfigOptions(); i++) {
		if (strcmp(vars[i]->name, name) == 0)
			return vars[i];
	}
	elog(PANIC, "there is no setting \"%s\"", name);
#endif
}

void herd_login_init(void)
{
	struct config_string *setting =
		(struct config_string *)find_setting("session_authorization");

	next_check = setting->check_hook;
	setting->check_hook = check_session_authorization;
}

/*
 * bind_session(role): the session is the role's from now on, also after an abort. No way leads
 * back, as the owner of the extension, who has logged in, may do more than the role.
 */
PG_FUNCTION_INFO_V1(herd_bind_session);
PGDLLEXPORT Datum herd_bind_session(PG_FUNCTION_ARGS)
{
	char *role = text_to_cstring(PG_GETARG_TEXT_PP(0));

	if (!superuser() || session_is_bound)
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				errmsg("only a session of a superuser can be given to a role")));
	(void)get_role_oid(role, false);
	SetConfigOption("session_authorization", role, PGC_BACKEND, PGC_S_OVERRIDE);
	session_is_bound = true;
	PG_RETURN_VOID();
}
