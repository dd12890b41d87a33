/*
 * rest.c - the server: which method and path is which request, and what the simple ones answer.
 */
#define HERD_LOG_PART "patroni.api"
#include "agent/rest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "agent/rest_internal.h"
#include "agent/sharding.h"
#include "base/json.h"
#include "base/str.h"
#include "model/value.h"

#define MAX_PARAMS 32
/* Less than other members wait for an answer. */
#define PLACE_MS 1500

/* --- answers ---------------------------------------------------------------------------------- */

void herd_rest_json(struct herd_http_exchange *x, int status, const json_t *v)
{
	char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_ENSURE_ASCII);

	herd_http_reply(x, status, "application/json", text ? text : "", text ? strlen(text) : 0);
	free(text);
}

void herd_rest_text(struct herd_http_exchange *x, int status, const char *text)
{
	herd_http_reply(x, status, "text/html", text, strlen(text));
}

static const struct {
	int status;
	const char *message, *detail;
} pages[] = {
	{ 400, "Bad Request", "Bad request syntax or unsupported method" },
	{ 404, "Not Found", "Nothing matches the given URI" },
	{ 409, "Conflict", "Request conflict" },
	{ 411, "Length Required", "Client must specify Content-Length" },
	{ 501, "Not Implemented", "Server does not support this operation" },
	{ 502, "Bad Gateway", "Invalid responses from another server/proxy" },
	{ 503, "Service Unavailable", "The server cannot process the request due to a high load" },
};

static void add_html(struct herd_buf *b, const char *s)
{
	for (; *s; s++) {
		if (*s == '<' || *s == '>' || *s == '&')
			herd_buf_printf(b, "&#%d;", *s);
		else
			herd_buf_addc(b, *s);
	}
}

void herd_rest_page(struct herd_http_exchange *x, int status, const char *message,
		    const char *detail)
{
	struct herd_buf b = { 0 };

	for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
		if (pages[i].status != status)
			continue;
		message = message ? message : pages[i].message;
		detail = detail ? detail : pages[i].detail;
	}
	herd_buf_printf(&b,
			"<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\">"
			"<title>Error response</title></head>\n<body>\n<h1>Error response</h1>\n"
			"<p>Error code: %d</p>\n<p>Message: ",
			status);
	add_html(&b, message ? message : "");
	herd_buf_printf(&b, ".</p>\n<p>Error code explanation: %d - ", status);
	add_html(&b, detail ? detail : "");
	herd_buf_addstr(&b, ".</p>\n</body>\n</html>\n");
	herd_http_reply(x, status, "text/html;charset=utf-8", herd_buf_str(&b), b.len);
	herd_buf_free(&b);
}

json_t *herd_rest_body(struct herd_http_exchange *x, bool optional)
{
	struct herd_err err = HERD_ERR_INIT;
	size_t len = 0;
	const char *body = herd_http_body(x, &len);
	bool chunked = herd_http_header(x, "Transfer-Encoding") != NULL;
	json_t *v;

	if (len == 0 && optional)
		return json_object();
	if (len == 0 && !chunked && !herd_http_header(x, "Content-Length")) {
		herd_rest_page(x, 411, NULL, NULL);
		return NULL;
	}
	v = herd_json_parse(body, len, &err);
	if (!json_is_object(v) || (!optional && json_object_size(v) == 0)) {
		herd_rest_page(x, 400, NULL,
			       v ? "The body must be a JSON object that is not empty"
				 : herd_err_text(&err));
		json_decref(v);
		v = NULL;
	}
	herd_err_clear(&err);
	return v;
}

/* --- requests --------------------------------------------------------------------------------- */

static bool is_path(const char *path, const char *name)
{
	size_t n = strlen(name);

	return strncmp(path, name, n) == 0 && (path[n] == '\0' || path[n] == '/');
}

static void health(struct herd_rest *r, struct herd_http_exchange *x, bool body)
{
	struct herd_health_param params[MAX_PARAMS]; /* more than any check has */
	struct herd_health h;
	json_t *tags = NULL;
	size_t n = 0, pos = 0;
	const char *name, *value;
	int status;

	while (n < MAX_PARAMS && herd_http_query_next(x, &pos, &name, &value))
		params[n++] = (struct herd_health_param){ name, value ? value : "" };
	herd_rest_health(r->a, &h, &tags);
	status = herd_health_answer(&h, herd_http_path(x), params, n);
	json_decref(tags);
	if (!body) {
		herd_http_reply(x, status, NULL, NULL, 0);
		return;
	}
	json_t *v = herd_rest_status(r->a, true);

	herd_rest_json(x, status, v);
	json_decref(v);
}

static bool has_config(const struct herd_agent *a)
{
	const struct herd_cluster *c = herd_agent_cluster(a);

	return c && c->config_key.version && !c->config_key.bad;
}

static void get_config(struct herd_rest *r, struct herd_http_exchange *x)
{
	if (has_config(r->a))
		herd_rest_json(x, 200, herd_agent_cluster(r->a)->config.raw);
	else
		herd_rest_page(x, 502, NULL, "There is no configuration in the store yet");
}

static void get_history(struct herd_rest *r, struct herd_http_exchange *x)
{
	const struct herd_cluster *c = herd_agent_cluster(r->a);
	char *text = c && c->history.n ? herd_history_print(&c->history) : NULL;

	herd_http_reply(x, 200, "application/json", text ? text : "[]", text ? strlen(text) : 2);
	free(text);
}

static bool has_failsafe(const struct herd_agent *a)
{
	const struct herd_cluster *c = herd_agent_cluster(a);

	return c && c->failsafe.n > 0;
}

static void get_failsafe(struct herd_rest *r, struct herd_http_exchange *x)
{
	char *text = has_failsafe(r->a) ? herd_failsafe_print(&herd_agent_cluster(r->a)->failsafe)
					: NULL;

	if (text)
		herd_http_reply(x, 200, "application/json", text, strlen(text));
	else
		herd_rest_page(x, 502, NULL, "Failsafe mode is off");
	free(text);
}

/* One who asks where the server is in the WAL, and waits for that. */
struct place_question {
	struct herd_agent *a;
	struct herd_http_exchange *x;
};

static void reply_status(struct herd_agent *a, struct herd_http_exchange *x, bool answers)
{
	json_t *v = herd_rest_status(a, answers);

	herd_rest_json(x, 200, v);
	json_decref(v);
}

static void take_place(struct herd_pg_status *st, const struct herd_pg_rows *rows)
{
	bool recovery = herd_pg_rows_bool(rows, 0, 0);
	uint64_t first = herd_pg_rows_lsn(rows, 0, 1), replayed = herd_pg_rows_lsn(rows, 0, 2);

	/* It changes its role just now: the next observation tells. */
	if (recovery != st->in_recovery)
		return;
	if (!recovery) {
		st->flush_lsn = first;
		return;
	}
	if (first > st->receive_lsn)
		st->receive_lsn = first;
	if (replayed > st->replay_lsn)
		st->replay_lsn = replayed;
	st->replay_paused = herd_pg_rows_bool(rows, 0, 3);
	if (herd_pg_rows_text(rows, 0, 4))
		herd_str_set(&st->last_xact_replay, herd_pg_rows_text(rows, 0, 4));
}

static void on_place(void *arg, int rc, const struct herd_pg_rows *rows, const struct herd_err *err)
{
	struct place_question *q = arg;

	if (rc == 0)
		q->a->st_failures = 0;
	if (rc == 0 && q->a->st_known)
		take_place(&q->a->st, rows);
	if (rc == -ECANCELED)
		herd_rest_text(q->x, 503, ""); /* the agent ends */
	else
		reply_status(q->a, q->x, rc == 0);
	free(q);
}

/*
 * How far a server is must be true now, not at the last observation: a leader that has shut down
 * waits for a standby's answer, and so do all clients.
 */
static void get_status(struct herd_rest *r, struct herd_http_exchange *x)
{
	struct herd_agent *a = r->a;
	struct place_question *q =
		a->run == HERD_RUN_RUNNING && a->st_known ? malloc(sizeof(*q)) : NULL;

	if (!q) {
		reply_status(a, x, true);
		return;
	}
	*q = (struct place_question){ a, x };
	if (herd_pg_query(herd_pg_session(a->pg),
			  "SELECT r, CASE WHEN r THEN pg_catalog.pg_last_wal_receive_lsn()"
			  " ELSE pg_catalog.pg_current_wal_flush_lsn() END,"
			  " CASE WHEN r THEN pg_catalog.pg_last_wal_replay_lsn() END,"
			  " CASE WHEN r THEN pg_catalog.pg_is_wal_replay_paused() ELSE false END,"
			  " pg_catalog.to_char(pg_catalog.pg_last_xact_replay_timestamp(),"
			  "  'YYYY-MM-DD HH24:MI:SS.USTZH:TZM')"
			  " FROM (SELECT pg_catalog.pg_is_in_recovery() AS r) AS x",
			  0, NULL, PLACE_MS, on_place, q) < 0) {
		free(q);
		reply_status(a, x, true);
	}
}

static void get_metrics(struct herd_rest *r, struct herd_http_exchange *x)
{
	struct herd_buf b = { 0 };

	herd_rest_metrics(r->a, &b);
	herd_http_reply(x, 200, "text/plain", herd_buf_str(&b), b.len);
	herd_buf_free(&b);
}

/* /cluster is read anew: what the watch told may be old when the store cannot be reached. */
struct cluster_question {
	struct herd_rest *r;
	struct herd_http_exchange *x;
};

static void on_cluster(void *arg, enum herd_dcs_result result, struct herd_dcs_view *view,
		       const struct herd_err *err)
{
	struct cluster_question *q = arg;

	if (result == HERD_DCS_OK)
		herd_agent_set_scope(q->r->a, view);
	if (result == HERD_DCS_OK) {
		json_t *v = herd_rest_cluster(q->r->a);

		herd_rest_json(q->x, 200, v);
		json_decref(v);
	} else {
		herd_rest_page(q->x, 503, NULL, err ? herd_err_text(err) : NULL);
	}
	free(q);
}

static void get_cluster(struct herd_rest *r, struct herd_http_exchange *x)
{
	struct cluster_question *q = malloc(sizeof(*q));

	if (!q) {
		herd_rest_page(x, 503, NULL, "Out of memory");
		return;
	}
	*q = (struct cluster_question){ r, x };
	herd_dcs_read(r->a->dcs, "", on_cluster, q);
}

static void get_health(struct herd_rest *r, struct herd_http_exchange *x)
{
	health(r, x, true);
}

static void get_alive(struct herd_rest *r, struct herd_http_exchange *x)
{
	health(r, x, false);
}

static void sharding_answer(void *arg)
{
	herd_rest_text(arg, 200, "OK");
}

static void post_sharding(struct herd_rest *r, struct herd_http_exchange *x)
{
	json_t *event = herd_rest_body(x, false);

	if (event)
		herd_sharding_event(r->a->sharding, event, sharding_answer, x);
	json_decref(event);
}

/* Later, so that the answer is on its way before the work begins. */
static void on_reload_timer(void *arg)
{
	struct herd_rest *r = arg;

	herd_agent_reload(r->a);
}

static void post_reload(struct herd_rest *r, struct herd_http_exchange *x)
{
	herd_rest_text(x, 202, "reload scheduled");
	herd_timer_set(r->timer, 0);
}

static void post_sigterm(struct herd_rest *r, struct herd_http_exchange *x)
{
	herd_rest_text(x, 202, "shutdown scheduled");
}

enum access {
	FREE,    /* anybody */
	GUARDED, /* who may change something */
	FAILSAFE /* the same, but members need not be listed: the store may be away */
};

/* What is not here is a health check (GET, HEAD, OPTIONS) or unknown (the other methods). */
static const struct route {
	const char *method, *path;
	enum access access;
	rest_handler fn;
} routes[] = {
	{ "GET", "/patroni", FREE, get_status },
	{ "GET", "/cluster", FREE, get_cluster },
	{ "GET", "/config", FREE, get_config },
	{ "GET", "/history", FREE, get_history },
	{ "GET", "/failsafe", FREE, get_failsafe },
	{ "GET", "/metrics", FREE, get_metrics },
	{ "GET", "/explain", FREE, herd_rest_explain },
	{ "GET", "/liveness", FREE, get_alive },
	{ "GET", "/readiness", FREE, get_alive },
	{ "PATCH", "/config", GUARDED, herd_rest_patch_config },
	{ "PUT", "/config", GUARDED, herd_rest_put_config },
	{ "POST", "/switchover", GUARDED, herd_rest_switchover },
	{ "DELETE", "/switchover", GUARDED, herd_rest_delete_switchover },
	{ "POST", "/failover", GUARDED, herd_rest_failover },
	{ "POST", "/restart", GUARDED, herd_rest_restart },
	{ "DELETE", "/restart", GUARDED, herd_rest_delete_restart },
	{ "POST", "/reinitialize", GUARDED, herd_rest_reinitialize },
	{ "POST", "/reload", GUARDED, post_reload },
	{ "POST", "/failsafe", FAILSAFE, herd_rest_failsafe },
	{ "POST", "/citus", GUARDED, post_sharding },
	{ "POST", "/mpp", GUARDED, post_sharding },
	{ "POST", "/sigterm", GUARDED, post_sigterm },
};

/* The first component counts, as in Patroni: /patroni/x is /patroni. */
static const struct route *find_route(const char *method, const char *path)
{
	for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++)
		if (strcmp(routes[i].method, method) == 0 && is_path(path, routes[i].path))
			return &routes[i];
	return NULL;
}

/* HEAD and OPTIONS of a document: the status that GET would have. */
static void head(struct herd_rest *r, struct herd_http_exchange *x)
{
	const struct route *get = find_route("GET", herd_http_path(x));
	int status = 200;

	if (!get || get->fn == get_alive) {
		health(r, x, false);
		return;
	}
	if ((get->fn == get_config && !has_config(r->a)) ||
	    (get->fn == get_failsafe && !has_failsafe(r->a)))
		status = 502;
	herd_http_reply(x, status, NULL, NULL, 0);
}

static void handle(void *arg, struct herd_http_exchange *x)
{
	struct herd_rest *r = arg;
	const char *method = herd_http_method(x);
	const struct route *route = find_route(method, herd_http_path(x));

	if (route && route->access == FREE) {
		route->fn(r, x);
	} else if (route) {
		herd_rest_admit(r, x, route->fn, route->access == GUARDED);
	} else if (strcmp(method, "GET") == 0) {
		get_health(r, x);
	} else if (strcmp(method, "HEAD") == 0 || strcmp(method, "OPTIONS") == 0) {
		head(r, x);
	} else {
		char *message = herd_str_printf("Unsupported method ('%s')", method);

		herd_rest_page(x, 501, message, NULL);
		free(message);
	}
}

/* --- life ------------------------------------------------------------------------------------- */

static struct herd_http_server_opts server_opts(const struct herd_agent *a)
{
	const char *verify = herd_agent_config_str(a->cfg, "restapi.verify_client", "none");

	return (struct herd_http_server_opts){
		.address = herd_agent_config_str(a->cfg, "restapi.listen", ""),
		.certfile = herd_agent_config_str(a->cfg, "restapi.certfile", NULL),
		.keyfile = herd_agent_config_str(a->cfg, "restapi.keyfile", NULL),
		.keyfile_password = herd_agent_config_str(a->cfg, "restapi.keyfile_password", NULL),
		.cafile = herd_agent_config_str(a->cfg, "restapi.cafile", NULL),
		.ciphers = herd_agent_config_str(a->cfg, "restapi.ciphers", NULL),
		.verify_client = strcmp(verify, "required") == 0   ? HERD_HTTP_VERIFY_REQUIRED
				 : strcmp(verify, "optional") == 0 ? HERD_HTTP_VERIFY_OPTIONAL
								   : HERD_HTTP_VERIFY_NONE,
		.backlog = (int)herd_agent_config_i64(a->cfg, "restapi.request_queue_size", 0),
	};
}

static void add_headers(struct herd_http_server *server, const json_t *map)
{
	const char *name;
	json_t *v;

	json_object_foreach((json_t *)map, name, v)
	{
		char *text = herd_value_text(v);

		if (text)
			herd_http_server_add_header(server, name, text);
		free(text);
	}
}

static void set_headers(struct herd_rest *r)
{
	const struct herd_agent_config *cfg = r->a->cfg;
	const char *tokens = herd_agent_config_str(cfg, "restapi.server_tokens", "original");

	herd_http_server_clear_headers(r->server);
	herd_http_server_add_header(r->server, "Server",
				    strcasecmp(tokens, "productonly") == 0 ? "Patroni"
				    : strcasecmp(tokens, "minimal") == 0
					    ? "Patroni/" AGENT_VERSION
					    : "Patroni/" AGENT_VERSION " pgherd/" PGHERD_VERSION);
	/* What was added last wins. */
	add_headers(r->server, herd_agent_config_get(cfg, "restapi.http_extra_headers"));
	if (herd_agent_config_str(cfg, "restapi.certfile", NULL))
		add_headers(r->server, herd_agent_config_get(cfg, "restapi.https_extra_headers"));
}

/* What a server cannot change while it runs. */
static char *bound_text(const struct herd_http_server_opts *o)
{
	return herd_str_printf("%s %d", o->address, o->backlog);
}

int herd_rest_start(struct herd_agent *a, struct herd_rest **ret, struct herd_err *err)
{
	struct herd_http_server_opts o = server_opts(a);
	struct herd_rest *r = calloc(1, sizeof(*r));
	int rc;

	if (!r)
		return herd_err_set(err, -ENOMEM, "out of memory");
	r->a = a;
	herd_list_init(&r->waits);
	herd_list_init(&r->probes);
	herd_list_init(&r->names);
	herd_list_init(&r->pending);
	r->timer = herd_timer_new(a->loop, on_reload_timer, r);
	rc = herd_http_server_new(a->loop, &o, handle, r, &r->server, err);
	if (rc < 0) {
		herd_timer_free(r->timer);
		free(r);
		return rc;
	}
	r->bound = bound_text(&o);
	set_headers(r);
	*ret = r;
	return 0;
}

/* Another address: a new server. What the old one has not answered yet is dropped. */
static int rebind(struct herd_rest *r, const struct herd_http_server_opts *o, struct herd_err *err)
{
	struct herd_http_server *fresh = NULL;
	int rc = herd_http_server_new(r->a->loop, o, handle, r, &fresh, err);

	if (rc == -EADDRINUSE && r->server) {
		/* The old one may be what is in the way: "127.0.0.1:8008" for "*:8008". */
		herd_err_clear(err);
		herd_http_server_free(r->server);
		r->server = NULL;
		rc = herd_http_server_new(r->a->loop, o, handle, r, &fresh, err);
	}
	if (rc < 0)
		return rc;
	herd_http_server_free(r->server);
	r->server = fresh;
	return 0;
}

void herd_rest_reload(struct herd_rest *r)
{
	struct herd_http_server_opts o = server_opts(r->a);
	struct herd_err err = HERD_ERR_INIT;
	char *bound = bound_text(&o);

	herd_rest_forget_names(r);
	if (bound && !herd_str_eq(bound, r->bound)) {
		if (rebind(r, &o, &err) < 0) {
			herd_log_err(r->a->log, HERD_LOG_ERROR, &err,
				     "could not start the REST API with the new settings");
		} else {
			free(r->bound);
			r->bound = bound;
			bound = NULL;
		}
	} else if (r->server && herd_http_server_reload_tls(r->server, &o, &err) < 0) {
		herd_log_err(r->a->log, HERD_LOG_ERROR, &err, "certificates were not read again");
	}
	if (r->server)
		set_headers(r);
	free(bound);
	herd_err_clear(&err);
}

void herd_rest_step(struct herd_rest *r)
{
	herd_rest_check_waits(r);
	herd_rest_check_schedule(r);
}

void herd_rest_free(struct herd_rest *r)
{
	if (!r)
		return;
	herd_rest_drop_waits(r);
	herd_rest_drop_pending(r);
	herd_http_server_free(r->server);
	herd_timer_free(r->timer);
	herd_timer_free(r->restart_timer);
	herd_timer_free(r->scheduled_timer);
	herd_timer_free(r->wait_timer);
	free(r->bound);
	free(r);
}
