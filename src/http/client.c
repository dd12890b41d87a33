#include "http/client.h"

#include <assert.h>
#include <ctype.h>
#include <curl/curl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "base/list.h"
#include "base/str.h"

enum { DEFAULT_MAX_BODY = 16 << 20, MAX_IDLE_CONNECTIONS = 32 };
/* A stream whose other end lost its power ends after 10 + 3 * 5 s. */
enum { KEEPALIVE_IDLE_S = 10, KEEPALIVE_EVERY_S = 5, KEEPALIVE_TRIES = 3 };

struct herd_http_client {
	struct herd_loop *loop;
	CURLM *multi;
	struct herd_timer *timer;
	struct herd_list calls; /* under way */
	struct herd_list ready; /* with data or an end to hand out */
	struct herd_http_tls tls;
	bool busy;  /* inside deliver */
	bool freed; /* herd_http_client_free was called inside a callback */
};

struct herd_http_call {
	struct herd_list node; /* in calls or ready */
	struct herd_http_client *client;
	CURL *easy;
	struct curl_slist *headers;
	char *request;
	size_t request_len, request_sent;
	struct herd_buf body;
	size_t max_body;
	bool too_large;
	bool done;
	CURLcode result;
	char *method;
	char error[CURL_ERROR_SIZE];
	void (*on_data)(void *arg, const char *data, size_t len);
	void (*on_done)(void *arg, const struct herd_http_response *resp);
	void *arg;
};

const char *herd_http_response_header(const struct herd_http_response *resp, const char *name)
{
	struct curl_header *h = NULL;

	if (!resp->handle || curl_easy_header(resp->handle, name, 0, CURLH_HEADER, -1, &h) != 0)
		return NULL;
	return h->value;
}

static void call_free(struct herd_http_call *call)
{
	herd_list_remove(&call->node);
	if (call->easy) {
		curl_multi_remove_handle(call->client->multi, call->easy);
		curl_easy_cleanup(call->easy);
	}
	curl_slist_free_all(call->headers);
	if (call->request)
		herd_str_wipe(call->request, call->request_len);
	free(call->request);
	free(call->method);
	herd_buf_free(&call->body);
	free(call);
}

static int errno_of(CURLcode code)
{
	switch (code) {
	case CURLE_OPERATION_TIMEDOUT:
		return -ETIMEDOUT;
	case CURLE_COULDNT_CONNECT:
		return -ECONNREFUSED;
	case CURLE_COULDNT_RESOLVE_HOST:
		return -EHOSTUNREACH;
	case CURLE_OUT_OF_MEMORY:
		return -ENOMEM;
	case CURLE_URL_MALFORMAT:
	case CURLE_UNSUPPORTED_PROTOCOL:
		return -EINVAL;
	default:
		return -EIO;
	}
}

static void set_error(const struct herd_http_call *call, struct herd_err *err)
{
	const char *text = call->error[0] ? call->error : curl_easy_strerror(call->result);

	if (call->too_large)
		herd_err_set(err, -EMSGSIZE, "%s request failed: answer is longer than %zu bytes",
			     call->method, call->max_body);
	else
		herd_err_set(err, errno_of(call->result), "%s request failed: %c%s", call->method,
			     tolower((unsigned char)text[0]), text + 1);
}

/* The last thing a call does. */
static void finish(struct herd_http_call *call)
{
	struct herd_err err = HERD_ERR_INIT;
	struct herd_http_response resp = { .body = "", .handle = call->easy };
	struct herd_buf body = call->body;
	long status = 0, sent = 0;

	curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(call->easy, CURLINFO_REQUEST_SIZE, &sent);
	call->body = (struct herd_buf){ 0 };
	if (call->result == CURLE_OK && status > 0) {
		resp.status = (int)status;
		resp.body = herd_buf_str(&body);
		resp.len = body.len;
	} else {
		set_error(call, &err);
		resp.err = &err;
		resp.maybe_sent = sent > 0;
	}
	void (*on_done)(void *, const struct herd_http_response *) = call->on_done;
	void *arg = call->arg;

	/* The answer's headers live in the handle, and the client may be gone after the call. */
	curl_multi_remove_handle(call->client->multi, call->easy);
	call->easy = NULL;
	call_free(call);
	on_done(arg, &resp);
	curl_easy_cleanup(resp.handle);
	herd_buf_free(&body);
	herd_err_clear(&err);
}

static void clear_tls(struct herd_http_tls *tls)
{
	free((char *)tls->cacert);
	free((char *)tls->cert);
	free((char *)tls->key);
	if (tls->key_password)
		herd_str_wipe((char *)tls->key_password, strlen(tls->key_password));
	free((char *)tls->key_password);
	*tls = (struct herd_http_tls){ 0 };
}

static void copy_tls(struct herd_http_tls *to, const struct herd_http_tls *tls)
{
	to->cacert = herd_str_dup(tls->cacert);
	to->cert = herd_str_dup(tls->cert);
	to->key = herd_str_dup(tls->key);
	to->key_password = herd_str_dup(tls->key_password);
	to->insecure = tls->insecure;
}

void herd_http_client_set_tls(struct herd_http_client *c, const struct herd_http_tls *tls)
{
	clear_tls(&c->tls);
	copy_tls(&c->tls, tls);
}

static void client_destroy(struct herd_http_client *c)
{
	curl_multi_cleanup(c->multi);
	herd_timer_free(c->timer);
	clear_tls(&c->tls);
	free(c);
}

static void mark_ready(struct herd_http_call *call)
{
	herd_list_remove(&call->node);
	herd_list_push_back(&call->client->ready, &call->node);
}

/*
 * Hands out what libcurl gave, outside of libcurl, so that callbacks may start and cancel requests
 * or free the client.
 */
static void deliver(struct herd_http_client *c)
{
	CURLMsg *msg;
	int left;

	while ((msg = curl_multi_info_read(c->multi, &left))) {
		struct herd_http_call *call = NULL;

		if (msg->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&call);
		call->done = true;
		call->result = msg->data.result;
		mark_ready(call);
	}
	if (c->busy)
		return;
	c->busy = true;
	while (!herd_list_empty(&c->ready)) {
		struct herd_http_call *call =
			herd_container_of(c->ready.next, struct herd_http_call, node);

		if (call->on_data && call->body.len > 0) {
			struct herd_buf data = call->body;

			/* The call stays in ready when it is done: its turn comes again. */
			call->body = (struct herd_buf){ 0 };
			if (!call->done) {
				herd_list_remove(&call->node);
				herd_list_push_back(&c->calls, &call->node);
			}
			call->on_data(call->arg, data.data, data.len);
			herd_buf_free(&data);
		} else {
			assert(call->done);
			finish(call);
		}
	}
	c->busy = false;
	if (c->freed)
		client_destroy(c);
}

static void on_socket(void *arg, int events);

struct sock {
	struct herd_http_client *client;
	struct herd_io *io;
	curl_socket_t fd;
};

static int socket_cb(CURL *easy, curl_socket_t fd, int what, void *arg, void *sockarg)
{
	struct herd_http_client *c = arg;
	struct sock *s = sockarg;

	if (what == CURL_POLL_REMOVE) {
		if (s) {
			herd_io_free(s->io);
			free(s);
			curl_multi_assign(c->multi, fd, NULL);
		}
		return 0;
	}
	if (!s) {
		s = calloc(1, sizeof(*s));
		if (!s || !(s->io = herd_io_new(c->loop, fd, on_socket, s))) {
			free(s);
			return -1;
		}
		s->client = c;
		s->fd = fd;
		curl_multi_assign(c->multi, fd, s);
	}
	herd_io_want(s->io, (what & CURL_POLL_IN ? HERD_IO_READ : 0) |
				    (what & CURL_POLL_OUT ? HERD_IO_WRITE : 0));
	return 0;
}

static void on_socket(void *arg, int events)
{
	struct sock *s = arg;
	struct herd_http_client *c = s->client;
	int running;

	curl_multi_socket_action(c->multi, s->fd,
				 (events & HERD_IO_READ ? CURL_CSELECT_IN : 0) |
					 (events & HERD_IO_WRITE ? CURL_CSELECT_OUT : 0),
				 &running);
	deliver(c);
}

static void on_timer(void *arg)
{
	struct herd_http_client *c = arg;
	int running;

	curl_multi_socket_action(c->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	deliver(c);
}

static int timer_cb(CURLM *multi, long timeout_ms, void *arg)
{
	struct herd_http_client *c = arg;

	if (timeout_ms < 0)
		herd_timer_cancel(c->timer);
	else
		herd_timer_set(c->timer, timeout_ms);
	return 0;
}

struct herd_http_client *herd_http_client_new(struct herd_loop *l, const struct herd_http_tls *tls)
{
	struct herd_http_client *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	herd_list_init(&c->calls);
	herd_list_init(&c->ready);
	c->loop = l;
	c->timer = herd_timer_new(l, on_timer, c);
	c->multi = curl_multi_init();
	if (!c->timer || !c->multi) {
		client_destroy(c);
		return NULL;
	}
	if (tls)
		copy_tls(&c->tls, tls);
	curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, socket_cb);
	curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
	curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, timer_cb);
	curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
	curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, (long)MAX_IDLE_CONNECTIONS);
	return c;
}

void herd_http_client_free(struct herd_http_client *c)
{
	if (!c)
		return;
	while (!herd_list_empty(&c->calls))
		call_free(herd_container_of(c->calls.next, struct herd_http_call, node));
	while (!herd_list_empty(&c->ready))
		call_free(herd_container_of(c->ready.next, struct herd_http_call, node));
	if (c->busy)
		c->freed = true;
	else
		client_destroy(c);
}

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
	struct herd_http_call *call = arg;
	size_t len = size * n;

	if (!call->on_data && call->body.len + len > call->max_body) {
		call->too_large = true;
		return 0;
	}
	herd_buf_add(&call->body, data, len);
	if (!herd_buf_ok(&call->body))
		return 0;
	if (call->on_data)
		mark_ready(call);
	return len;
}

/*
 * The body is read through a callback that cannot rewind: else libcurl would send a request again
 * by itself when a kept connection breaks, although the server may have acted on the first one.
 */
static size_t on_upload(char *to, size_t size, size_t n, void *arg)
{
	struct herd_http_call *call = arg;
	size_t len = call->request_len - call->request_sent;

	if (len > size * n)
		len = size * n;
	memcpy(to, call->request + call->request_sent, len);
	call->request_sent += len;
	return len;
}

static bool add_header(struct herd_http_call *call, const char *text)
{
	struct curl_slist *list = curl_slist_append(call->headers, text);

	if (list)
		call->headers = list;
	return list != NULL;
}

static bool set_headers(struct herd_http_call *call, const struct herd_http_request *r)
{
	char *type = herd_str_printf("Content-Type: %s",
				     r->content_type ? r->content_type : "application/json");
	bool ok = type && add_header(call, "Expect:") && (!r->body || add_header(call, type));

	free(type);
	for (const char *const *h = r->headers; ok && h && *h; h++)
		ok = add_header(call, *h);
	return ok && curl_easy_setopt(call->easy, CURLOPT_HTTPHEADER, call->headers) == CURLE_OK;
}

static void set_method(struct herd_http_call *call, const struct herd_http_request *r)
{
	CURL *e = call->easy;

	if (r->body && *r->body) {
		curl_easy_setopt(e, CURLOPT_POST, 1L);
		curl_easy_setopt(e, CURLOPT_READFUNCTION, on_upload);
		curl_easy_setopt(e, CURLOPT_READDATA, call);
		curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->request_len);
	} else if (strcmp(r->method, "POST") == 0 || strcmp(r->method, "PUT") == 0 ||
		   strcmp(r->method, "PATCH") == 0) {
		curl_easy_setopt(e, CURLOPT_POSTFIELDS, "");
	} else if (strcmp(r->method, "HEAD") == 0) {
		curl_easy_setopt(e, CURLOPT_NOBODY, 1L);
	}
	curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, r->method);
}

static void set_tls(CURL *e, const struct herd_http_tls *tls)
{
	if (tls->cacert)
		curl_easy_setopt(e, CURLOPT_CAINFO, tls->cacert);
	if (tls->cert) {
		curl_easy_setopt(e, CURLOPT_SSLCERT, tls->cert);
		curl_easy_setopt(e, CURLOPT_SSLKEY, tls->key ? tls->key : tls->cert);
	}
	if (tls->key_password)
		curl_easy_setopt(e, CURLOPT_KEYPASSWD, tls->key_password);
	curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, tls->insecure ? 0L : 1L);
	curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, tls->insecure ? 0L : 2L);
}

static int on_socket_made(void *arg, curl_socket_t fd, curlsocktype purpose)
{
	int on = 1, idle = KEEPALIVE_IDLE_S, every = KEEPALIVE_EVERY_S, tries = KEEPALIVE_TRIES;

	/* Without them a connection only takes longer to be found dead. */
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every, sizeof(every));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &tries, sizeof(tries));
	return CURL_SOCKOPT_OK;
}

static bool set_options(struct herd_http_call *call, const struct herd_http_request *r)
{
	CURL *e = call->easy;
	int64_t connect_ms = r->connect_timeout_ms ? r->connect_timeout_ms : r->timeout_ms;

	curl_easy_setopt(e, CURLOPT_PRIVATE, call);
	curl_easy_setopt(e, CURLOPT_ERRORBUFFER, call->error);
	curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
	/* One request, one connection: a stream must not share one with a put. */
	curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	/* The proxies of the environment are for browsing, not for the machines of a herd. */
	curl_easy_setopt(e, CURLOPT_PROXY, "");
	curl_easy_setopt(e, CURLOPT_SOCKOPTFUNCTION, on_socket_made);
	curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)r->timeout_ms);
	if (connect_ms > 0)
		curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)connect_ms);
	curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(e, CURLOPT_WRITEDATA, call);
	if (r->user) {
		curl_easy_setopt(e, CURLOPT_HTTPAUTH, CURLAUTH_BASIC);
		curl_easy_setopt(e, CURLOPT_USERNAME, r->user);
		curl_easy_setopt(e, CURLOPT_PASSWORD, r->password ? r->password : "");
	}
	set_method(call, r);
	set_tls(e, &call->client->tls);
	return set_headers(call, r) && curl_easy_setopt(e, CURLOPT_URL, r->url) == CURLE_OK;
}

struct herd_http_call *herd_http_send(struct herd_http_client *c, const struct herd_http_request *r)
{
	struct herd_http_call *call = calloc(1, sizeof(*call));

	if (!call)
		return NULL;
	herd_list_init(&call->node);
	call->client = c;
	call->on_data = r->on_data;
	call->on_done = r->on_done;
	call->arg = r->arg;
	call->max_body = r->max_body ? r->max_body : DEFAULT_MAX_BODY;
	call->easy = curl_easy_init();
	call->method = strdup(r->method);
	call->request = herd_str_dup(r->body);
	call->request_len = r->body ? strlen(r->body) : 0;
	if (!call->easy || !call->method || (r->body && !call->request) || !set_options(call, r) ||
	    curl_multi_add_handle(c->multi, call->easy) != CURLM_OK) {
		call_free(call);
		return NULL;
	}
	herd_list_push_back(&c->calls, &call->node);
	return call;
}

void herd_http_cancel(struct herd_http_call *call)
{
	if (call)
		call_free(call);
}
