/*
 * rest.c - the server: who may call, which path is which request.
 */
#include "agent/rest.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "agent/rest_internal.h"
#include "agent/sharding.h"
#include "base/json.h"
#include "base/str.h"

#define MAX_PARAMS 32
/* Less than other members wait for an answer. */
#define PLACE_MS 1500

/* --- answers ---------------------------------------------------------------------------------- */

void herd_rest_json(struct herd_http_exchange *x, int status, const json_t *v)
{
	char *text = json_dumps(v, JSON_ENCODE_ANY);

	herd_http_reply(x, status, "application/json", text ? text : "", text ? strlen(text) : 0);
	free(text);
}

void herd_rest_text(struct herd_http_exchange *x, int status, const char *text)
{
	herd_http_reply(x, status, "text/html", text, strlen(text));
}

json_t *herd_rest_body(struct herd_http_exchange *x, bool optional)
{
	struct herd_err err = HERD_ERR_INIT;
	size_t len = 0;
	const char *body = herd_http_body(x, &len);
	json_t *v;

	if (len == 0 && optional)
		return json_object();
	if (len == 0 && !herd_http_header(x, "Content-Length")) {
		herd_rest_text(x, 411, "Length Required");
		return NULL;
	}
	v = herd_json_parse(body, len, &err);
	if (!json_is_object(v) || (!optional && json_object_size(v) == 0)) {
		herd_rest_text(x, 400,
			       v ? "the body must be a JSON object that is not empty"
				 : herd_err_text(&err));
		json_decref(v);
		v = NULL;
	}
	herd_err_clear(&err);
	return v;
}

/* --- access ----------------------------------------------------------------------------------- */

static bool in_network(const char *peer, const char *entry)
{
	char *net = herd_str_dup(entry);
	char *slash = net ? strchr(net, '/') : NULL;
	unsigned char a[16], b[16];
	int family = strchr(peer, ':') ? AF_INET6 : AF_INET;
	int64_t bits = family == AF_INET ? 32 : 128;
	bool match = false;

	if (slash) {
		*slash = '\0';
		if (herd_str_to_i64(slash + 1, &bits) < 0 || bits < 0 ||
		    bits > (family == AF_INET ? 32 : 128))
			bits = -1;
	}
	if (net && bits >= 0 && inet_pton(family, peer, a) == 1 && inet_pton(family, net, b) == 1) {
		int whole = (int)bits / 8, rest = (int)bits % 8;

		match = memcmp(a, b, (size_t)whole) == 0 &&
			(rest == 0 || (a[whole] ^ b[whole]) >> (8 - rest) == 0);
	}
	free(net);
	return match;
}

static bool is_member_host(const struct herd_agent *a, const char *peer)
{
	for (size_t g = 0; a->scope && g < a->scope->n_groups; g++) {
		const struct herd_cluster *c = &a->scope->groups[g];

		for (size_t i = 0; i < c->n_members; i++)
			if (c->members[i].host && in_network(peer, c->members[i].host))
				return true;
	}
	return false;
}

static bool peer_allowed(const struct herd_agent *a, const char *peer)
{
	json_t *list = herd_agent_config_get(a->cfg, "restapi.allowlist");
	bool members = herd_agent_config_bool(a->cfg, "restapi.allowlist_include_members", false);
	size_t i;
	json_t *entry;

	if (json_array_size(list) == 0 && !members)
		return true;
	json_array_foreach(list, i, entry)
	{
		if (json_is_string(entry) && in_network(peer, json_string_value(entry)))
			return true;
	}
	return members && is_member_host(a, peer);
}

/* "Basic <base64 of user:password>"; compared whole, in constant time. */
static bool password_ok(const char *header, const char *user, const char *password)
{
	char *plain = herd_str_printf("%s:%s", user, password);
	size_t n = strlen(plain);
	unsigned char *coded = calloc(1, (n + 2) / 3 * 4 + 1);
	bool ok = false;

	if (coded && strncasecmp(header, "Basic ", 6) == 0) {
		EVP_EncodeBlock(coded, (const unsigned char *)plain, (int)n);
		ok = herd_str_equal_secret(header + 6, (const char *)coded);
	}
	herd_str_wipe(plain, n);
	free(plain);
	free(coded);
	return ok;
}

/* True when the call may change something; else it was answered. */
static bool may_write(struct herd_rest *r, struct herd_http_exchange *x)
{
	const struct herd_agent_config *cfg = r->a->cfg;
	const char *user = herd_agent_config_str(cfg, "restapi.authentication.username", NULL);
	const char *password = herd_agent_config_str(cfg, "restapi.authentication.password", NULL);
	const char *verify = herd_agent_config_str(cfg, "restapi.verify_client", "none");
	const char *header = herd_http_header(x, "Authorization");

	if (!peer_allowed(r->a, herd_http_peer(x))) {
		herd_rest_text(x, 403, "Access is denied");
		return false;
	}
	if (herd_agent_config_str(cfg, "restapi.certfile", NULL) && strcmp(verify, "none") != 0 &&
	    !herd_http_peer_has_cert(x)) {
		herd_rest_text(x, 403, "client certificate required");
		return false;
	}
	if (!user || !password)
		return true;
	if (header && password_ok(header, user, password))
		return true;
	herd_http_set_header(x, "WWW-Authenticate", "Basic realm=\"Patroni\"");
	herd_rest_text(x, 401, header ? "not authenticated" : "no auth header received");
	return false;
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
	json_t *v = herd_rest_status(r->a);

	herd_rest_json(x, status, v);
	json_decref(v);
}

static void get_config(struct herd_rest *r, struct herd_http_exchange *x)
{
	const struct herd_cluster *c = herd_agent_cluster(r->a);

	if (c && c->config_key.version && !c->config_key.bad)
		herd_rest_json(x, 200, c->config.raw);
	else
		herd_rest_text(x, 502, "");
}

static void get_history(struct herd_rest *r, struct herd_http_exchange *x)
{
	const struct herd_cluster *c = herd_agent_cluster(r->a);
	char *text = c && c->history.n ? herd_history_print(&c->history) : NULL;

	herd_http_reply(x, 200, "application/json", text ? text : "[]", text ? strlen(text) : 2);
	free(text);
}

static void get_failsafe(struct herd_rest *r, struct herd_http_exchange *x)
{
	const struct herd_cluster *c = herd_agent_cluster(r->a);
	char *text = c && c->failsafe.n ? herd_failsafe_print(&c->failsafe) : NULL;

	if (text)
		herd_http_reply(x, 200, "application/json", text, strlen(text));
	else
		herd_rest_text(x, 502, "");
	free(text);
}

/* One who asks a standby how far it is, and waits for that. */
struct place_question {
	struct herd_agent *a;
	struct herd_http_exchange *x;
};

static void reply_status(struct herd_agent *a, struct herd_http_exchange *x)
{
	json_t *v = herd_rest_status(a);

	herd_rest_json(x, 200, v);
	json_decref(v);
}

static void on_place(void *arg, int rc, const struct herd_pg_rows *rows, const struct herd_err *err)
{
	struct place_question *q = arg;

	if (rc == 0 && q->a->st_known && q->a->st.in_recovery) {
		uint64_t received = herd_pg_rows_lsn(rows, 0, 0);
		uint64_t replayed = herd_pg_rows_lsn(rows, 0, 1);

		if (received > q->a->st.receive_lsn)
			q->a->st.receive_lsn = received;
		if (replayed > q->a->st.replay_lsn)
			q->a->st.replay_lsn = replayed;
	}
	if (rc == -ECANCELED)
		herd_rest_text(q->x, 503, ""); /* the agent ends */
	else
		reply_status(q->a, q->x);
	free(q);
}

/*
 * How far a standby is must be true now, not at the last observation: a leader that has shut down
 * waits for this answer, and so do all clients.
 */
static void get_status(struct herd_agent *a, struct herd_http_exchange *x)
{
	bool standby = a->run == HERD_RUN_RUNNING && a->st_known && a->st.in_recovery;
	struct place_question *q = standby ? malloc(sizeof(*q)) : NULL;

	if (!q) {
		reply_status(a, x);
		return;
	}
	*q = (struct place_question){ a, x };
	if (herd_pg_query(herd_pg_session(a->pg),
			  "SELECT pg_catalog.pg_last_wal_receive_lsn(), "
			  "pg_catalog.pg_last_wal_replay_lsn()",
			  0, NULL, PLACE_MS, on_place, q) < 0) {
		free(q);
		reply_status(a, x);
	}
}

static void get(struct herd_rest *r, struct herd_http_exchange *x)
{
	const char *path = herd_http_path(x);
	struct herd_buf b = { 0 };
	json_t *v = NULL;

	if (is_path(path, "/patroni")) {
		get_status(r->a, x);
	} else if (is_path(path, "/cluster")) {
		v = herd_rest_cluster(r->a);
		herd_rest_json(x, 200, v);
	} else if (is_path(path, "/config")) {
		get_config(r, x);
	} else if (is_path(path, "/history")) {
		get_history(r, x);
	} else if (is_path(path, "/failsafe")) {
		get_failsafe(r, x);
	} else if (is_path(path, "/metrics")) {
		herd_rest_metrics(r->a, &b);
		herd_http_reply(x, 200, "text/plain", herd_buf_str(&b), b.len);
	} else if (is_path(path, "/liveness") || is_path(path, "/readiness")) {
		health(r, x, false);
	} else {
		health(r, x, true);
	}
	json_decref(v);
	herd_buf_free(&b);
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

static void post(struct herd_rest *r, struct herd_http_exchange *x)
{
	const char *path = herd_http_path(x);

	if (is_path(path, "/switchover")) {
		herd_rest_switchover(r, x, true);
	} else if (is_path(path, "/failover")) {
		herd_rest_switchover(r, x, false);
	} else if (is_path(path, "/restart")) {
		herd_rest_restart(r, x);
	} else if (is_path(path, "/reinitialize")) {
		herd_rest_reinitialize(r, x);
	} else if (is_path(path, "/reload")) {
		herd_rest_text(x, 202, "reload scheduled");
		herd_timer_set(r->timer, 0);
	} else if (is_path(path, "/citus") || is_path(path, "/mpp")) {
		post_sharding(r, x);
	} else if (is_path(path, "/sigterm")) {
		herd_rest_text(x, 202, "shutdown scheduled");
	} else if (is_path(path, "/failsafe")) {
		herd_rest_text(x, 502, "Failsafe mode is not enabled");
	} else {
		herd_rest_text(x, 501, "Server does not support this operation");
	}
}

static void handle(void *arg, struct herd_http_exchange *x)
{
	struct herd_rest *r = arg;
	const char *method = herd_http_method(x);
	const char *path = herd_http_path(x);

	if (strcmp(method, "GET") == 0) {
		get(r, x);
	} else if (strcmp(method, "HEAD") == 0 || strcmp(method, "OPTIONS") == 0) {
		health(r, x, false);
	} else if (strcmp(method, "POST") == 0) {
		if (may_write(r, x))
			post(r, x);
	} else if (strcmp(method, "PATCH") == 0 && is_path(path, "/config")) {
		if (may_write(r, x))
			herd_rest_patch_config(r, x);
	} else if (strcmp(method, "PUT") == 0 && is_path(path, "/config")) {
		if (may_write(r, x))
			herd_rest_put_config(r, x);
	} else if (strcmp(method, "DELETE") == 0 &&
		   (is_path(path, "/switchover") || is_path(path, "/restart"))) {
		if (!may_write(r, x))
			return;
		if (is_path(path, "/restart"))
			herd_rest_delete_restart(r, x);
		else
			herd_rest_delete_switchover(r, x);
	} else {
		herd_rest_text(x, 501, "Server does not support this operation");
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
		/* A switchover is answered when it is over. */
		.timeout_ms = 120000,
	};
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
	r->timer = herd_timer_new(a->loop, on_reload_timer, r);
	rc = herd_http_server_new(a->loop, &o, handle, r, &r->server, err);
	if (rc < 0) {
		herd_timer_free(r->timer);
		free(r);
		return rc;
	}
	*ret = r;
	return 0;
}

void herd_rest_reload(struct herd_rest *r)
{
	struct herd_http_server_opts o = server_opts(r->a);
	struct herd_err err = HERD_ERR_INIT;

	if (o.certfile && herd_http_server_reload_tls(r->server, &o, &err) < 0)
		herd_log_err(r->a->log, HERD_LOG_ERROR, &err, "certificates were not read again");
	herd_err_clear(&err);
}

void herd_rest_step(struct herd_rest *r)
{
	herd_rest_check_waits(r);
}

void herd_rest_free(struct herd_rest *r)
{
	if (!r)
		return;
	herd_rest_drop_waits(r);
	herd_http_server_free(r->server);
	herd_timer_free(r->timer);
	herd_timer_free(r->restart_timer);
	herd_timer_free(r->scheduled_timer);
	herd_timer_free(r->wait_timer);
	free(r);
}
