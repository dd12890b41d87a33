/*
 * dcs/etcd3_watch.c - a view that follows the store: read all, then an endless /v3/watch from the
 * next revision on. Whatever goes wrong, it begins again with a read.
 *
 * A silent stream may be a dead one: the machine behind it lost its power, or its etcd is cut off
 * from the others and hears of no change. So from time to time a linearizable request asks for the
 * newest change below the prefix. When nobody answers there, the endpoint is changed, and with it
 * the watch; when twice in a row it tells what the view does not have, the watch begins again.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "dcs/etcd3_internal.h"
#include "dcs/view.h"

enum { FIRST_BACKOFF_MS = 50, MAX_BACKOFF_MS = 1000, MAX_LINE_BYTES = 64 << 20 };
enum { MAX_PROBE_MS = 5000, MIN_PROBE_MS = 500 };

struct herd_dcs_watch {
	struct herd_list node;
	struct etcd3 *e;
	char *prefix;
	herd_dcs_view_fn fn;
	void *arg;
	struct herd_dcs_view *view; /* NULL until read */
	struct etcd3_rpc *reading;
	struct herd_http_call *stream;
	struct herd_buf line;
	struct herd_timer *timer;
	int64_t backoff_ms;
	size_t endpoint;
	struct herd_timer *probe_timer;
	struct etcd3_rpc *probe;
	int64_t behind; /* revision of the view when a probe found it behind; -1: it is not */
	bool *freed;    /* set when the watch goes away inside its callback */
};

static void begin(struct herd_dcs_watch *w);

struct herd_list *etcd3_watch_node(struct herd_dcs_watch *w)
{
	return &w->node;
}

struct herd_dcs_watch *etcd3_watch_of(struct herd_list *node)
{
	return herd_container_of(node, struct herd_dcs_watch, node);
}

/* Calls the owner; false when it has freed the watch meanwhile. */
static bool tell(struct herd_dcs_watch *w, enum herd_dcs_result result, struct herd_dcs_view *v,
		 const struct herd_err *err)
{
	bool freed = false;

	w->freed = &freed;
	w->fn(w->arg, result, v, err);
	if (freed)
		return false;
	w->freed = NULL;
	return true;
}

static void on_timer(void *arg)
{
	begin(arg);
}

/* A probe goes on: it may be the one by whose failure the watch moves to another endpoint. */
static void stop(struct herd_dcs_watch *w)
{
	if (w->reading)
		etcd3_rpc_free(w->reading);
	if (w->stream)
		herd_http_cancel(w->stream);
	w->reading = NULL;
	w->stream = NULL;
	w->behind = -1;
	herd_buf_reset(&w->line);
	herd_timer_cancel(w->timer);
	herd_timer_cancel(w->probe_timer);
}

static void later(struct herd_dcs_watch *w)
{
	herd_timer_set(w->timer, w->backoff_ms);
	w->backoff_ms = w->backoff_ms * 2 > MAX_BACKOFF_MS ? MAX_BACKOFF_MS : w->backoff_ms * 2;
}

void etcd3_watch_restart(struct herd_dcs_watch *w)
{
	/* A read that is under way moves on by itself. */
	if (w->reading || w->endpoint == w->e->cur)
		return;
	stop(w);
	herd_timer_set(w->timer, 0);
}

/* One event; the new view, or NULL when out of memory. */
static struct herd_dcs_view *apply(struct herd_dcs_watch *w, struct herd_dcs_view *v,
				   const json_t *event)
{
	const json_t *kv = json_object_get(event, "kv");
	bool gone = strcmp(herd_json_str(event, "type", "PUT"), "DELETE") == 0;
	char *key = etcd3_relative_key(w->e, kv), *lease = etcd3_lease_of(kv);
	const json_t *raw = json_object_get(kv, "value");
	size_t len = 0;
	char *value = raw ? etcd3_unb64(raw, &len) : strdup("");
	struct herd_dcs_view *next = NULL;

	if (key && value)
		next = herd_dcs_view_with(v, key, gone ? NULL : value, len,
					  herd_json_i64(kv, "mod_revision", v->revision), lease);
	free(key);
	free(value);
	free(lease);
	return next;
}

/* One message of the stream. False: begin again (or the watch is gone, see *alive). */
static bool on_message(struct herd_dcs_watch *w, const char *text, size_t len, bool *alive)
{
	json_t *v = json_loadb(text, len, 0, NULL);
	const json_t *result = json_object_get(v, "result"), *events;
	bool ok = json_is_object(result) && !json_is_true(json_object_get(result, "canceled")) &&
		  herd_json_i64(result, "compact_revision", 0) == 0;
	json_t *event;
	size_t i;

	events = json_object_get(result, "events");
	if (ok && json_array_size(events) > 0) {
		struct herd_dcs_view *cur = herd_dcs_view_ref(w->view);

		json_array_foreach((json_t *)events, i, event)
		{
			struct herd_dcs_view *next = ok ? apply(w, cur, event) : NULL;

			ok = ok && next;
			if (next) {
				herd_dcs_view_unref(cur);
				cur = next;
			}
		}
		if (ok) {
			cur->read_ms = herd_now_ms();
			herd_dcs_view_unref(w->view);
			w->view = herd_dcs_view_ref(cur);
			*alive = tell(w, HERD_DCS_OK, cur, NULL);
		}
		herd_dcs_view_unref(cur);
	}
	json_decref(v);
	return ok && *alive;
}

static void on_data(void *arg, const char *data, size_t len)
{
	struct herd_dcs_watch *w = arg;
	bool alive = true, ok = true;

	herd_buf_add(&w->line, data, len);
	while (ok) {
		char *text = w->line.data;
		char *end = text ? memchr(text, '\n', w->line.len) : NULL;

		if (!end) {
			ok = herd_buf_ok(&w->line) && w->line.len <= MAX_LINE_BYTES;
			break;
		}
		size_t n = (size_t)(end - text);

		ok = on_message(w, text, n, &alive);
		if (!alive)
			return;
		if (ok)
			herd_buf_consume(&w->line, n + 1);
	}
	if (!ok) {
		stop(w);
		herd_timer_set(w->timer, 0);
	}
}

static void on_end(void *arg, const struct herd_http_response *resp)
{
	struct herd_dcs_watch *w = arg;
	struct herd_err err = HERD_ERR_INIT;

	w->stream = NULL;
	if (resp->status == 0)
		herd_err_set(&err, -EPIPE, "the watch was interrupted: %s",
			     resp->err ? herd_err_text(resp->err) : "no reason given");
	else
		herd_err_set(&err, -EPIPE, "etcd ended the watch (status %d)", resp->status);
	stop(w);
	later(w);
	etcd3_rotate(w->e, w->endpoint);
	tell(w, HERD_DCS_UNREACHABLE, NULL, &err);
	herd_err_clear(&err);
}

static void follow(struct herd_dcs_watch *w)
{
	struct etcd3 *e = w->e;
	json_t *create = etcd3_range(e, w->prefix);
	char *from = herd_str_printf("%" PRId64, w->view->revision + 1);
	char *url = herd_str_printf("%s/v3/watch", e->urls[w->endpoint]);
	char *auth = e->token ? herd_str_printf("Authorization: %s", e->token) : NULL;
	const char *headers[] = { auth, NULL };

	json_object_set_new(create, "start_revision", json_string(from ? from : "0"));
	json_t *request = json_pack("{s:o}", "create_request", create);
	char *body = request ? herd_json_dump(request) : NULL;
	struct herd_http_request req = {
		.method = "POST",
		.url = url,
		.body = body,
		.headers = headers,
		.connect_timeout_ms = e->timeout_ms,
		.on_data = on_data,
		.on_done = on_end,
		.arg = w,
	};

	herd_buf_reset(&w->line);
	w->stream = url && body ? herd_http_send(e->http, &req) : NULL;
	if (!w->stream)
		later(w);
	json_decref(request);
	free(body);
	free(auth);
	free(url);
	free(from);
}

static void probe_later(struct herd_dcs_watch *w)
{
	int64_t ms = w->e->timeout_ms / 2;

	herd_timer_set(w->probe_timer, ms > MAX_PROBE_MS   ? MAX_PROBE_MS
				       : ms < MIN_PROBE_MS ? MIN_PROBE_MS
							   : ms);
}

static void probed(struct etcd3_rpc *r, enum herd_dcs_result result, json_t *reply,
		   const struct herd_err *err)
{
	struct herd_dcs_watch *w = r->user_arg;
	const json_t *newest = json_array_get(json_object_get(reply, "kvs"), 0);

	w->probe = NULL;
	/* Being read again, which ends with a new probe. */
	if (!w->stream)
		return;
	/* Nobody could be asked: the endpoint in use has been changed, if there is another. */
	if (result != HERD_DCS_OK) {
		probe_later(w);
		return;
	}
	bool same = herd_json_i64(newest, "mod_revision", 0) <= w->view->revision &&
		    herd_json_i64(reply, "count", 0) == (int64_t)w->view->n;

	if (!same && w->behind == w->view->revision) {
		stop(w);
		herd_timer_set(w->timer, 0);
		return;
	}
	w->behind = same ? -1 : w->view->revision;
	probe_later(w);
}

static void on_probe_timer(void *arg)
{
	struct herd_dcs_watch *w = arg;

	/* The one under way sets the timer when it ends. */
	if (w->probe)
		return;
	json_t *range = etcd3_range(w->e, w->prefix);

	json_object_set_new(range, "limit", json_string("1"));
	json_object_set_new(range, "keys_only", json_true());
	json_object_set_new(range, "sort_target", json_string("MOD"));
	json_object_set_new(range, "sort_order", json_string("DESCEND"));
	w->probe = etcd3_rpc_start(w->e, "/v3/kv/range", range, ETCD3_REPEATABLE, probed);
	if (w->probe)
		w->probe->user_arg = w;
	else
		probe_later(w);
}

static void read_done(struct etcd3_rpc *r, enum herd_dcs_result result, json_t *reply,
		      const struct herd_err *err)
{
	struct herd_dcs_watch *w = r->user_arg;
	struct herd_dcs_view *v =
		result == HERD_DCS_OK ? etcd3_view(w->e, reply, r->sent_ms) : NULL;

	w->reading = NULL;
	w->endpoint = r->endpoint;
	if (!v) {
		later(w);
		tell(w, result == HERD_DCS_OK ? HERD_DCS_UNREACHABLE : result, NULL, err);
		return;
	}
	w->backoff_ms = FIRST_BACKOFF_MS;
	herd_dcs_view_unref(w->view);
	w->view = herd_dcs_view_ref(v);
	/* The stream first: the owner may free the watch. */
	follow(w);
	probe_later(w);
	etcd3_discover(w->e);
	tell(w, HERD_DCS_OK, v, NULL);
	herd_dcs_view_unref(v);
}

static void begin(struct herd_dcs_watch *w)
{
	w->reading = etcd3_rpc_start(w->e, "/v3/kv/range", etcd3_range(w->e, w->prefix),
				     ETCD3_REPEATABLE, read_done);
	if (!w->reading) {
		later(w);
		return;
	}
	w->reading->user_arg = w;
}

struct herd_dcs_watch *etcd3_watch(struct herd_dcs *d, const char *prefix, herd_dcs_view_fn fn,
				   void *arg)
{
	struct etcd3 *e = (struct etcd3 *)d;
	struct herd_dcs_watch *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->e = e;
	w->fn = fn;
	w->arg = arg;
	w->prefix = strdup(prefix);
	w->backoff_ms = FIRST_BACKOFF_MS;
	w->timer = herd_timer_new(e->loop, on_timer, w);
	w->probe_timer = herd_timer_new(e->loop, on_probe_timer, w);
	herd_list_init(&w->node);
	if (!w->prefix || !w->timer || !w->probe_timer) {
		etcd3_watch_free(d, w);
		return NULL;
	}
	herd_list_push_back(&e->watches, &w->node);
	herd_timer_set(w->timer, 0);
	return w;
}

void etcd3_watch_free(struct herd_dcs *d, struct herd_dcs_watch *w)
{
	if (!w)
		return;
	if (w->freed)
		*w->freed = true;
	herd_list_remove(&w->node);
	if (w->timer && w->probe_timer)
		stop(w);
	etcd3_rpc_free(w->probe);
	herd_timer_free(w->timer);
	herd_timer_free(w->probe_timer);
	herd_dcs_view_unref(w->view);
	herd_buf_free(&w->line);
	free(w->prefix);
	free(w);
}
