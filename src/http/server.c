#include "http/server.h"

#include <assert.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <event2/listener.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/list.h"
#include "base/str.h"
#include "http/listen.h"

enum {
	DEFAULT_MAX_BODY = 1 << 20,
	DEFAULT_TIMEOUT_MS = 30000,
	DEFAULT_CONNECTIONS = 512,
	MAX_HEAD = 64 << 10,
	SWEEP_MS = 500
};

/*
 * One that was accepted. evhttp does not tell when it closes a connection that has not sent a
 * request; we hold a reference to its bufferevent and look now and then whether evhttp has let go.
 */
struct conn {
	struct herd_list node;
	struct bufferevent *bev;
	int64_t until_ms; /* the next request must be complete by then */
	int busy;         /* requests that are not answered yet: no limit meanwhile */
};

struct header {
	struct header *next;
	char *name, *value;
};

struct herd_http_server {
	struct herd_loop *loop;
	struct evhttp *http;
	struct evconnlistener *listener;
	SSL_CTX *tls; /* NULL: plain */
	int port;
	herd_http_handler fn;
	void *arg;
	struct header *headers;
	struct herd_list exchanges; /* not answered yet */
	struct herd_list conns;     /* oldest first */
	struct herd_timer *sweep;
	int64_t timeout_ms;
	int n_conns, max_connections;
};

struct herd_http_exchange {
	struct herd_list node;
	struct herd_http_server *server; /* NULL: it was freed */
	struct conn *conn;
	struct evhttp_request *req;
	char *path;
	char *peer;
	struct evkeyvalq query;
	struct herd_buf body;
};

static void conn_free(struct herd_http_server *s, struct conn *c)
{
	herd_list_remove(&c->node);
	bufferevent_decref(c->bev);
	free(c);
	s->n_conns--;
}

/* evhttp clears the callbacks when it frees its reference. */
static bool conn_is_gone(const struct conn *c)
{
	bufferevent_data_cb read_cb, write_cb;
	bufferevent_event_cb event_cb;
	void *arg;

	bufferevent_getcb(c->bev, &read_cb, &write_cb, &event_cb, &arg);
	return !read_cb && !write_cb && !event_cb;
}

/* evhttp sees the end of the connection, and frees it. */
static void conn_kick(struct conn *c)
{
	evutil_socket_t fd = bufferevent_getfd(c->bev);

	if (fd >= 0)
		shutdown(fd, SHUT_RDWR);
	c->until_ms = INT64_MAX;
}

static void sweep(struct herd_http_server *s)
{
	int64_t now = herd_now_ms();

	herd_list_for_each_safe(it, &s->conns)
	{
		struct conn *c = herd_container_of(it, struct conn, node);

		if (c->busy)
			continue;
		if (conn_is_gone(c))
			conn_free(s, c);
		else if (c->until_ms <= now)
			conn_kick(c);
	}
	if (s->listener && s->n_conns < s->max_connections)
		evconnlistener_enable(s->listener);
	if (!herd_list_empty(&s->conns))
		herd_timer_set(s->sweep, SWEEP_MS);
}

static void on_sweep(void *arg)
{
	sweep(arg);
}

/* All places are taken: the one that has been silent for longest goes. */
static void make_room(struct herd_http_server *s)
{
	sweep(s);
	if (s->n_conns < s->max_connections)
		return;
	herd_list_for_each_safe(it, &s->conns)
	{
		struct conn *c = herd_container_of(it, struct conn, node);

		if (!c->busy && c->until_ms != INT64_MAX) {
			conn_kick(c);
			return;
		}
	}
	if (s->listener)
		evconnlistener_disable(s->listener);
}

static void conn_new(struct herd_http_server *s, struct bufferevent *bev)
{
	struct conn *c = calloc(1, sizeof(*c));

	if (!c)
		return;
	bufferevent_incref(bev);
	c->bev = bev;
	c->until_ms = herd_now_ms() + s->timeout_ms;
	if (herd_list_empty(&s->conns))
		herd_timer_set(s->sweep, SWEEP_MS);
	herd_list_push_back(&s->conns, &c->node);
	if (++s->n_conns >= s->max_connections)
		make_room(s);
}

static struct conn *conn_find(const struct herd_http_server *s, const struct bufferevent *bev)
{
	for (struct herd_list *n = s->conns.next; n != &s->conns; n = n->next) {
		struct conn *c = herd_container_of(n, struct conn, node);

		if (c->bev == bev)
			return c;
	}
	return NULL;
}

static struct bufferevent *on_connection(struct event_base *base, void *arg)
{
	struct herd_http_server *s = arg;
	SSL *ssl = s->tls ? SSL_new(s->tls) : NULL;
	struct bufferevent *bev;

	if (s->tls && !ssl)
		return NULL;
	if (ssl)
		bev = bufferevent_openssl_socket_new(base, -1, ssl, BUFFEREVENT_SSL_ACCEPTING,
						     BEV_OPT_CLOSE_ON_FREE);
	else
		bev = bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
	if (!bev) {
		SSL_free(ssl);
		return NULL;
	}
	if (ssl)
		bufferevent_openssl_set_allow_dirty_shutdown(bev, 1);
	conn_new(s, bev);
	return bev;
}

static void exchange_free(struct herd_http_exchange *x)
{
	herd_list_remove(&x->node);
	if (x->conn && x->server) {
		x->conn->busy--;
		x->conn->until_ms = herd_now_ms() + x->server->timeout_ms;
	}
	evhttp_clear_headers(&x->query);
	herd_buf_free(&x->body);
	free(x->path);
	free(x->peer);
	free(x);
}

static char *peer_of(struct evhttp_connection *con)
{
	char *address = NULL;
	uint16_t port;

	evhttp_connection_get_peer(con, &address, &port);
	if (!address)
		return strdup("");
	/* IPv4 on a socket for both families. */
	return strdup(herd_str_starts(address, "::ffff:") ? address + 7 : address);
}

/* Not evhttp's own, which drops everything when one parameter has no value. */
static void parse_query(const char *query, struct evkeyvalq *to)
{
	char *copy = strdup(query), *save = NULL;

	for (char *part = copy ? strtok_r(copy, "&", &save) : NULL; part;
	     part = strtok_r(NULL, "&", &save)) {
		char *value = strchr(part, '=');

		if (value)
			*value++ = '\0';
		char *name = evhttp_uridecode(part, 1, NULL);
		char *text = evhttp_uridecode(value ? value : "", 1, NULL);

		if (name && text)
			evhttp_add_header(to, name, text);
		free(name);
		free(text);
	}
	free(copy);
}

static struct herd_http_exchange *exchange_new(struct herd_http_server *s,
					       struct evhttp_request *req)
{
	struct herd_http_exchange *x = calloc(1, sizeof(*x));
	const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(req);
	const char *path = uri ? evhttp_uri_get_path(uri) : NULL;
	const char *query = uri ? evhttp_uri_get_query(uri) : NULL;
	struct evbuffer *in = evhttp_request_get_input_buffer(req);
	size_t len = evbuffer_get_length(in);

	if (!x)
		return NULL;
	herd_list_init(&x->node);
	TAILQ_INIT(&x->query);
	x->server = s;
	x->req = req;
	x->path = evhttp_uridecode(path && *path ? path : "/", 0, NULL);
	x->peer = peer_of(evhttp_request_get_connection(req));
	if (query)
		parse_query(query, &x->query);
	if (len > 0 && herd_buf_reserve(&x->body, len)) {
		evbuffer_remove(in, x->body.data, len);
		x->body.len = len;
		x->body.data[len] = '\0';
	}
	if (!x->path || !x->peer || !herd_buf_ok(&x->body)) {
		exchange_free(x);
		return NULL;
	}
	return x;
}

static void on_request(struct evhttp_request *req, void *arg)
{
	struct herd_http_server *s = arg;

	struct herd_http_exchange *x = exchange_new(s, req);

	if (!x) {
		evhttp_send_error(req, HTTP_INTERNAL, NULL);
		return;
	}
	x->conn =
		conn_find(s, evhttp_connection_get_bufferevent(evhttp_request_get_connection(req)));
	if (x->conn)
		x->conn->busy++;
	herd_list_push_back(&s->exchanges, &x->node);
	s->fn(s->arg, x);
}

int herd_http_server_new(struct herd_loop *l, const struct herd_http_server_opts *opts,
			 herd_http_handler fn, void *arg, struct herd_http_server **ret,
			 struct herd_err *err)
{
	struct herd_http_server *s = calloc(1, sizeof(*s));
	int rc = -ENOMEM, fd;

	if (!s)
		return herd_err_set(err, -ENOMEM, "out of memory");
	herd_list_init(&s->exchanges);
	herd_list_init(&s->conns);
	s->loop = l;
	s->fn = fn;
	s->arg = arg;
	s->timeout_ms = opts->timeout_ms ? opts->timeout_ms : DEFAULT_TIMEOUT_MS;
	s->max_connections = opts->max_connections ? opts->max_connections : DEFAULT_CONNECTIONS;
	s->sweep = herd_timer_new(l, on_sweep, s);
	s->http = evhttp_new(herd_loop_base(l));
	if (!s->sweep || !s->http) {
		herd_err_set(err, rc, "out of memory");
		goto failed;
	}
	if (opts->certfile && (rc = herd_http_tls_new(opts, &s->tls, err)) < 0)
		goto failed;
	rc = fd = herd_http_listen(opts->address, opts->backlog, &s->port, err);
	if (rc < 0)
		goto failed;
	s->listener = evconnlistener_new(herd_loop_base(l), NULL, NULL,
					 LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, -1, fd);
	if (!s->listener || !evhttp_bind_listener(s->http, s->listener)) {
		if (s->listener)
			evconnlistener_free(s->listener);
		else
			close(fd);
		rc = herd_err_set(err, -ENOMEM, "out of memory");
		goto failed;
	}
	/* The time limits are ours (conn.until_ms): evhttp's begins anew with every byte. */
	struct timeval tv = { .tv_sec = 24 * 3600 };

	evhttp_set_timeout_tv(s->http, &tv);
	evhttp_set_max_headers_size(s->http, MAX_HEAD);
	evhttp_set_max_body_size(s->http,
				 (ssize_t)(opts->max_body ? opts->max_body : DEFAULT_MAX_BODY));
	/* Also methods that evhttp does not know: the handler says what they get. */
	evhttp_set_allowed_methods(s->http, UINT16_MAX);
	evhttp_set_bevcb(s->http, on_connection, s);
	evhttp_set_gencb(s->http, on_request, s);
	*ret = s;
	return 0;
failed:
	herd_http_server_free(s);
	return rc;
}

int herd_http_server_reload_tls(struct herd_http_server *s,
				const struct herd_http_server_opts *opts, struct herd_err *err)
{
	SSL_CTX *fresh = NULL;
	int rc = opts->certfile ? herd_http_tls_new(opts, &fresh, err) : 0;

	if (rc < 0)
		return rc;
	/* Connections that are open hold a reference of their own to the old one. */
	SSL_CTX_free(s->tls);
	s->tls = fresh;
	return 0;
}

static void headers_free(struct herd_http_server *s)
{
	while (s->headers) {
		struct header *h = s->headers;

		s->headers = h->next;
		free(h->name);
		free(h->value);
		free(h);
	}
}

void herd_http_server_clear_headers(struct herd_http_server *s)
{
	headers_free(s);
}

void herd_http_server_add_header(struct herd_http_server *s, const char *name, const char *value)
{
	struct header *h = calloc(1, sizeof(*h));

	if (!h)
		return;
	h->name = strdup(name);
	h->value = strdup(value);
	h->next = s->headers;
	s->headers = h;
}

void herd_http_server_free(struct herd_http_server *s)
{
	if (!s)
		return;
	while (!herd_list_empty(&s->exchanges)) {
		struct herd_http_exchange *x =
			herd_container_of(s->exchanges.next, struct herd_http_exchange, node);

		/* evhttp frees requests that have a connection; x waits for its reply. */
		if (!evhttp_request_get_connection(x->req))
			evhttp_request_free(x->req);
		x->req = NULL;
		x->server = NULL;
		x->conn = NULL;
		herd_list_remove(&x->node);
	}
	/* It is evhttp's; connections that close now must not touch it. */
	s->listener = NULL;
	if (s->http)
		evhttp_free(s->http);
	while (!herd_list_empty(&s->conns))
		conn_free(s, herd_container_of(s->conns.next, struct conn, node));
	herd_timer_free(s->sweep);
	headers_free(s);
	SSL_CTX_free(s->tls);
	free(s);
}

int herd_http_server_port(const struct herd_http_server *s)
{
	return s->port;
}

const char *herd_http_method(const struct herd_http_exchange *x)
{
	if (!x->req)
		return "";
	switch (evhttp_request_get_command(x->req)) {
	case EVHTTP_REQ_GET:
		return "GET";
	case EVHTTP_REQ_POST:
		return "POST";
	case EVHTTP_REQ_HEAD:
		return "HEAD";
	case EVHTTP_REQ_PUT:
		return "PUT";
	case EVHTTP_REQ_DELETE:
		return "DELETE";
	case EVHTTP_REQ_OPTIONS:
		return "OPTIONS";
	case EVHTTP_REQ_PATCH:
		return "PATCH";
	case EVHTTP_REQ_TRACE:
		return "TRACE";
	case EVHTTP_REQ_CONNECT:
		return "CONNECT";
	}
	return "";
}

const char *herd_http_path(const struct herd_http_exchange *x)
{
	return x->path;
}

bool herd_http_query_next(const struct herd_http_exchange *x, size_t *pos, const char **name,
			  const char **value)
{
	size_t i = 0;
	const struct evkeyval *kv;

	TAILQ_FOREACH(kv, &x->query, next)
	{
		if (i++ < *pos)
			continue;
		*pos = i;
		*name = kv->key;
		*value = kv->value;
		return true;
	}
	return false;
}

const char *herd_http_query(const struct herd_http_exchange *x, const char *name)
{
	const char *key, *value;
	size_t pos = 0;

	while (herd_http_query_next(x, &pos, &key, &value))
		if (strcmp(key, name) == 0)
			return value;
	return NULL;
}

const char *herd_http_header(const struct herd_http_exchange *x, const char *name)
{
	return x->req ? evhttp_find_header(evhttp_request_get_input_headers(x->req), name) : NULL;
}

const char *herd_http_body(const struct herd_http_exchange *x, size_t *len)
{
	if (len)
		*len = x->body.len;
	return herd_buf_str(&x->body);
}

const char *herd_http_peer(const struct herd_http_exchange *x)
{
	return x->peer;
}

bool herd_http_peer_has_cert(const struct herd_http_exchange *x)
{
	struct evhttp_connection *con = x->req ? evhttp_request_get_connection(x->req) : NULL;
	SSL *ssl = con && x->server->tls
			   ? bufferevent_openssl_get_ssl(evhttp_connection_get_bufferevent(con))
			   : NULL;
	X509 *cert = ssl ? SSL_get1_peer_certificate(ssl) : NULL;
	bool ok = cert && SSL_get_verify_result(ssl) == X509_V_OK;

	X509_free(cert);
	return ok;
}

void herd_http_set_header(struct herd_http_exchange *x, const char *name, const char *value)
{
	if (!x->req)
		return;
	struct evkeyvalq *headers = evhttp_request_get_output_headers(x->req);

	evhttp_remove_header(headers, name);
	evhttp_add_header(headers, name, value);
}

void herd_http_reply(struct herd_http_exchange *x, int status, const char *content_type,
		     const char *body, size_t len)
{
	if (x->req && !evhttp_request_get_connection(x->req)) {
		/* The client has gone away. */
		evhttp_request_free(x->req);
	} else if (x->req) {
		struct evkeyvalq *headers = evhttp_request_get_output_headers(x->req);
		struct evbuffer *out = content_type ? evbuffer_new() : NULL;

		if (content_type && !evhttp_find_header(headers, "Content-Type"))
			evhttp_add_header(headers, "Content-Type", content_type);
		for (struct header *h = content_type ? x->server->headers : NULL; h; h = h->next)
			if (h->name && h->value && !evhttp_find_header(headers, h->name))
				evhttp_add_header(headers, h->name, h->value);
		if (out)
			evbuffer_add(out, body, len);
		else
			evhttp_add_header(headers, "Content-Length", "0");
		evhttp_send_reply(x->req, status, NULL, out);
		if (out)
			evbuffer_free(out);
	}
	exchange_free(x);
}
