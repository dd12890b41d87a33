#include "proxy/lookup.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "wire/msg.h"

struct lookup {
	uint64_t client; /* id: it may leave meanwhile */
	char *user, *query;
	char *secret;
	char *error;
	bool found;
};

static void free_lookup(struct lookup *l)
{
	if (l->secret)
		herd_str_wipe(l->secret, strlen(l->secret));
	free(l->secret);
	free(l->error);
	free(l->user);
	free(l->query);
	free(l);
}

static void start(struct herd_client *ic, struct herd_buf *out)
{
	struct lookup *l = ic->internal->arg;

	/* It may be the second time: the first server went away. */
	herd_str_set(&l->error, NULL);
	herd_wr_parse_sql(out, "", l->query);
	size_t mark = herd_wr_begin(out, 'B');

	herd_wr_str(out, "");
	herd_wr_str(out, "");
	herd_wr_u16(out, 0);
	herd_wr_u16(out, 1);
	herd_wr_u32(out, (uint32_t)strlen(l->user));
	herd_buf_addstr(out, l->user);
	herd_wr_u16(out, 0);
	herd_wr_end(out, mark);
	herd_wr_execute(out);
	herd_flight_push_query(&ic->server->flight);
}

static void message(struct herd_client *ic, char type, const void *body, size_t n)
{
	struct lookup *l = ic->internal->arg;
	struct herd_rd r = herd_rd_init(body, n);
	struct herd_report e;

	if (type == 'E' && herd_report_parse(body, n, &e) == 0)
		herd_str_set(&l->error, e.msg);
	if (type != 'D' || herd_rd_u16(&r) < 2)
		return;
	uint32_t len = herd_rd_u32(&r);

	/* A query that always has a row says so that there is no such user. */
	if (len == UINT32_MAX)
		return;
	herd_rd_bytes(&r, len);
	len = herd_rd_u32(&r);
	const char *v = len == UINT32_MAX ? NULL : herd_rd_bytes(&r, len);

	l->found = true;
	free(l->secret);
	l->secret = v ? strndup(v, len) : NULL;
}

static void end(struct herd_client *ic, const char *error)
{
	struct lookup *l = ic->internal->arg;
	struct herd_worker *w = ic->w;

	herd_list_for_each(it, &w->clients)
	{
		struct herd_client *c = herd_container_of(it, struct herd_client, node);

		if (c->id != l->client)
			continue;
		/* That there is no server is told as to everybody; what it says of the query is
		 * not. */
		if (error && c->state == HERD_CLIENT_LOOKUP)
			herd_client_fail(c, "08P01", "%s", error);
		else
			herd_login_secret(c, l->found, l->secret, l->error);
		break;
	}
	free_lookup(l);
	herd_client_close(ic, NULL);
}

/* Where to ask: named, or the client's own. NULL: the login has failed. */
static struct herd_db *auth_db(struct herd_client *c, const char *dbname)
{
	if (!*dbname && c->db)
		return c->db;
	struct herd_db *db =
		*dbname && (c->listener || herd_pconf_database(c->w->live->config, dbname))
			? herd_db_get(c->w->px, dbname, c->listener)
			: NULL;

	if (!*dbname || strcmp(dbname, "pgbouncer") == 0) {
		herd_client_log(c, HERD_LOG_ERROR,
				"cannot use the reserved \"pgbouncer\" database as an auth_dbname");
		herd_client_fail(c, "08P01", "bouncer config error");
		return NULL;
	}
	if (!db) {
		herd_client_log(c, HERD_LOG_ERROR,
				"authentication database \"%s\" is not configured", dbname);
		herd_client_fail(c, "08P01", "bouncer config error");
	} else if (atomic_load(&db->disabled)) {
		herd_client_fail(c, "08P01", "authentication database \"%s\" is disabled", dbname);
		db = NULL;
	}
	return db;
}

void herd_lookup_start(struct herd_client *c, const char *auth_user)
{
	const struct herd_settings *set = herd_worker_settings(c->w);
	const struct herd_database *conf = c->db ? herd_db_conf(c->w->live, c->db) : NULL;
	const char *dbname = conf && conf->auth_dbname ? conf->auth_dbname : set->auth_dbname;
	struct herd_db *db = auth_db(c, dbname);
	if (!db)
		return;
	struct lookup *l = calloc(1, sizeof(*l));
	struct herd_internal in = { .message = message, .end = end, .start = start, .arg = l };

	if (l) {
		l->client = c->id;
		l->user = strdup(c->user);
		l->query =
			herd_str_dup(conf && conf->auth_query ? conf->auth_query : set->auth_query);
	}
	struct herd_client *ic =
		l && l->user && l->query ? herd_client_internal(c->w, db, auth_user, &in) : NULL;

	if (!ic) {
		if (l)
			free_lookup(l);
		herd_login_secret(c, false, NULL, "out of memory");
		return;
	}
	herd_client_wake(ic);
}
