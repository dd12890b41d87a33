/*
 * dcs/etcd3_rpc.c - one call to etcd: endpoints in turn, back-off, authentication, and the question
 * that decides everything afterwards: may it have been done?
 */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "dcs/etcd3_internal.h"

enum { FIRST_BACKOFF_MS = 100, MAX_BACKOFF_MS = 1000, MIN_ATTEMPT_MS = 300, DEFAULT_KEEP_MS = 10 };

/* gRPC status codes, as the gateway passes them on. */
enum { GRPC_NOT_FOUND = 5, GRPC_UNAVAILABLE = 14, GRPC_UNAUTHENTICATED = 16 };

static void attempt(struct etcd3_rpc *r);

void etcd3_rpc_free(struct etcd3_rpc *r)
{
	if (!r)
		return;
	herd_list_remove(&r->node);
	if (r->call)
		herd_http_cancel(r->call);
	herd_timer_free(r->timer);
	free(r->body);
	free(r->text);
	free(r);
}

static void finish(struct etcd3_rpc *r, enum herd_dcs_result result, json_t *reply,
		   const struct herd_err *err)
{
	/* The callback may free the whole store: the rpc must not be found by it any more. */
	herd_list_remove(&r->node);
	r->fn(r, result, reply, err);
	etcd3_rpc_free(r);
}

void etcd3_rotate(struct etcd3 *e, size_t failed)
{
	if (e->cur != failed || e->nurls < 2)
		return;
	e->cur = (e->cur + 1) % e->nurls;
	herd_list_for_each_safe(it, &e->watches)
	{
		etcd3_watch_restart(etcd3_watch_of(it));
	}
}

static void on_timer(void *arg)
{
	attempt(arg);
}

/* Tries again, elsewhere, or ends with `result` when the time is over. */
static void again(struct etcd3_rpc *r, enum herd_dcs_result result, const struct herd_err *err)
{
	int64_t left_ms = r->deadline_ms - herd_now_ms();

	etcd3_rotate(r->e, r->endpoint);
	if (left_ms <= r->backoff_ms) {
		finish(r, result, NULL, err);
		return;
	}
	/* The other endpoints are asked at once; only a second round waits. */
	herd_timer_set(r->timer, r->e->nurls > 1 && r->backoff_ms == FIRST_BACKOFF_MS
					 ? DEFAULT_KEEP_MS
					 : r->backoff_ms);
	r->backoff_ms = r->backoff_ms * 2 > MAX_BACKOFF_MS ? MAX_BACKOFF_MS : r->backoff_ms * 2;
}

static bool says(const char *message, const char *words)
{
	return message && strstr(message, words) != NULL;
}

static void on_auth(void *arg, const struct herd_http_response *resp);

static void authenticate(struct etcd3_rpc *r)
{
	struct etcd3 *e = r->e;
	json_t *o = json_pack("{s:s, s:s}", "name", e->username, "password",
			      e->password ? e->password : "");
	char *body = o ? herd_json_dump(o) : NULL;
	char *url = herd_str_printf("%s/v3/auth/authenticate", e->urls[r->endpoint]);
	int64_t left_ms = r->deadline_ms - herd_now_ms();
	struct herd_http_request req = { .method = "POST",
					 .url = url,
					 .body = body,
					 .timeout_ms = left_ms > 0 ? left_ms : 1,
					 .on_done = on_auth,
					 .arg = r };

	r->authenticating = r->logged_in = true;
	r->call = url && body ? herd_http_send(e->http, &req) : NULL;
	if (!r->call)
		herd_timer_set(r->timer, r->backoff_ms);
	if (body)
		herd_str_wipe(body, strlen(body));
	free(body);
	free(url);
	json_decref(o);
}

/* Why etcd refuses. What stands before the gateway answers with a sentence, not with JSON. */
static const char *message_of(const struct herd_http_response *resp, const json_t *reply)
{
	const char *text = herd_json_str(reply, "message", herd_json_str(reply, "error", NULL));

	if (!text && !reply)
		text = resp->body;
	return text && *text ? text : "no reason given";
}

static void on_auth(void *arg, const struct herd_http_response *resp)
{
	struct etcd3_rpc *r = arg;
	struct herd_err err = HERD_ERR_INIT;
	json_t *v = resp->status ? json_loadb(resp->body, resp->len, 0, NULL) : NULL;
	const char *token = resp->status == 200 ? herd_json_str(v, "token", NULL) : NULL;
	const char *message = message_of(resp, v);

	r->call = NULL;
	r->authenticating = false;
	if (token && herd_str_set(&r->e->token, token)) {
		json_decref(v);
		attempt(r);
		return;
	}
	if (resp->status == 0 || resp->status >= 500) {
		if (resp->status)
			herd_err_set(&err, -EIO, "etcd at %s could not authenticate: %.200s",
				     r->e->urls[r->endpoint], message);
		json_decref(v);
		r->logged_in = false;
		again(r, HERD_DCS_UNREACHABLE, resp->status ? &err : resp->err);
		herd_err_clear(&err);
		return;
	}
	if (says(message, "authentication is not enabled")) {
		r->e->no_login = true;
		json_decref(v);
		attempt(r);
		return;
	}
	herd_err_set(&err, -EACCES, "etcd refused user \"%s\": %.200s", r->e->username, message);
	json_decref(v);
	herd_err_hint(&err, "Check username and password in section etcd3.");
	finish(r, HERD_DCS_REFUSED, NULL, &err);
	herd_err_clear(&err);
}

/* True when the answer comes from a member that lags behind what we have heard already. */
static bool is_stale(struct etcd3 *e, const json_t *reply)
{
	const json_t *header = json_object_get(reply, "header");
	const char *cluster = herd_json_str(header, "cluster_id", NULL);
	int64_t term = herd_json_i64(header, "raft_term", 0);

	if (!cluster)
		return false;
	if (!herd_str_eq(cluster, e->cluster_id)) {
		herd_str_set(&e->cluster_id, cluster);
		e->raft_term = term;
		return false;
	}
	if (term < e->raft_term)
		return true;
	e->raft_term = term;
	return false;
}

/* An answer that is an error: what it means for this call. */
static void on_refusal(struct etcd3_rpc *r, const struct herd_http_response *resp,
		       const json_t *reply)
{
	struct herd_err err = HERD_ERR_INIT;
	const char *message = message_of(resp, reply);
	int status = resp->status;
	int64_t code = herd_json_i64(reply, "code", herd_json_i64(reply, "grpc_code", -1));

	herd_err_set(&err, -EIO, "etcd at %s answered %d: %.200s", r->e->urls[r->endpoint], status,
		     message);
	if (says(message, "lease not found")) {
		finish(r, HERD_DCS_LEASE_GONE, NULL, &err);
	} else if (r->e->username && !r->logged_in &&
		   (code == GRPC_UNAUTHENTICATED || says(message, "user name is empty") ||
		    says(message, "invalid auth token") || says(message, "permission denied") ||
		    says(message, "revision of auth store is old"))) {
		r->e->no_login = false;
		authenticate(r);
	} else if (says(message, "etcdserver: no leader") ||
		   (r->kind == ETCD3_REPEATABLE && (code == GRPC_UNAVAILABLE || status >= 500 ||
						    says(message, "not a primary lessor")))) {
		again(r, HERD_DCS_UNREACHABLE, &err);
	} else if (code == GRPC_UNAVAILABLE || status >= 500) {
		/* "request timed out", "leader changed": it may still be in the log. */
		etcd3_rotate(r->e, r->endpoint);
		finish(r, HERD_DCS_UNKNOWN, NULL, &err);
	} else {
		finish(r, HERD_DCS_REFUSED, NULL, &err);
	}
	herd_err_clear(&err);
}

static void on_done(void *arg, const struct herd_http_response *resp)
{
	struct etcd3_rpc *r = arg;

	r->call = NULL;
	if (resp->status == 0) {
		if (r->kind == ETCD3_CHANGE && resp->maybe_sent) {
			etcd3_rotate(r->e, r->endpoint);
			finish(r, HERD_DCS_UNKNOWN, NULL, resp->err);
		} else {
			again(r, HERD_DCS_UNREACHABLE, resp->err);
		}
		return;
	}
	json_t *reply = json_loadb(resp->body, resp->len, 0, NULL);

	if (resp->status != 200 || !json_is_object(reply) || json_object_get(reply, "error")) {
		const json_t *inner = json_object_get(reply, "error");

		on_refusal(r, resp, json_is_object(inner) ? inner : reply);
	} else if (is_stale(r->e, reply)) {
		struct herd_err err = HERD_ERR_INIT;

		herd_err_set(&err, -ESTALE, "etcd at %s is behind the others",
			     r->e->urls[r->endpoint]);
		if (r->kind == ETCD3_CHANGE)
			finish(r, HERD_DCS_UNKNOWN, NULL, &err);
		else
			again(r, HERD_DCS_UNREACHABLE, &err);
		herd_err_clear(&err);
	} else {
		finish(r, HERD_DCS_OK, reply, NULL);
	}
	json_decref(reply);
}

static void attempt(struct etcd3_rpc *r)
{
	struct etcd3 *e = r->e;
	int64_t left_ms = r->deadline_ms - herd_now_ms();

	r->endpoint = e->cur;
	r->sent_ms = herd_now_ms();
	if (e->username && !e->token && !e->no_login && !r->logged_in) {
		authenticate(r);
		return;
	}
	int64_t share_ms = left_ms / (int64_t)e->nurls;
	char *url = herd_str_printf("%s%s", e->urls[r->endpoint], r->path);
	char *auth = e->token ? herd_str_printf("Authorization: %s", e->token) : NULL;
	const char *headers[] = { auth, NULL };
	struct herd_http_request req = {
		.method = "POST",
		.url = url,
		.body = r->body,
		.headers = headers,
		.timeout_ms = share_ms > MIN_ATTEMPT_MS ? share_ms : MIN_ATTEMPT_MS,
		.on_done = on_done,
		.arg = r,
	};

	r->call = url ? herd_http_send(e->http, &req) : NULL;
	if (!r->call)
		herd_timer_set(r->timer, r->backoff_ms);
	free(url);
	free(auth);
}

struct etcd3_rpc *etcd3_rpc_start(struct etcd3 *e, const char *path, json_t *body,
				  enum etcd3_kind kind, etcd3_rpc_fn fn)
{
	struct etcd3_rpc *r = calloc(1, sizeof(*r));

	if (r) {
		herd_list_init(&r->node);
		r->e = e;
		r->path = path;
		r->kind = kind;
		r->fn = fn;
		r->body = body ? herd_json_dump(body) : NULL;
		r->deadline_ms = herd_now_ms() + e->timeout_ms;
		r->backoff_ms = FIRST_BACKOFF_MS;
		r->timer = herd_timer_new(e->loop, on_timer, r);
	}
	json_decref(body);
	if (!r || !r->body || !r->timer) {
		if (r)
			etcd3_rpc_free(r);
		return NULL;
	}
	herd_list_push_back(&e->rpcs, &r->node);
	attempt(r);
	return r;
}
