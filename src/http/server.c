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
#include <unistd.h>

#include "base/buf.h"
#include "base/list.h"
#include "base/str.h"
#include "http/listen.h"

enum {
	DEFAULT_MAX_BODY = 1 << 20,
	DEFAULT_TIMEOUT_MS = 30000,
	DEFAULT_CONNECTIONS = 512,
	MAX_HEAD = 64 << 10
};

struct herd_http_server {
	struct herd_loop *loop;
	struct evhttp *http;
	struct evconnlistener *listener;
	SSL_CTX *tls; /* NULL: plain */
	int port;
	herd_http_handler fn;
	void *arg;
	struct herd_list exchanges; /* not answered yet */
	struct herd_list speakers;  /* connections that sent a request */
	struct herd_list silent;    /* accepted, no request seen; oldest first */
	struct herd_timer *timer;   /* ends the oldest of silent */
	int64_t timeout_ms;
	int connections, max_connections;
};

/*
 * A connection that counts. evhttp tells when one is closed only after its first request; until
 * then it counts for the time limit, within which evhttp drops a connection that says nothing.
 */
struct silent {
	struct herd_list node;
	int64_t until_ms;
};

struct speaker {
	struct herd_list node;
	const struct evhttp_connection *con;
};

struct herd_http_exchange {
	struct herd_list node;
	struct herd_http_server *server; /* NULL: it was freed */
	struct evhttp_request *req;
	char *path;
	char *peer;
	struct evkeyvalq query;
	struct herd_buf body;
};

static void count_changed(struct herd_http_server *s)
{
	if (!s->listener)
		return;
	if (s->connections >= s->max_connections)
		evconnlistener_disable(s->listener);
	else
		evconnlistener_enable(s->listener);
}

static void silent_drop(struct herd_http_server *s)
{
	struct silent *first = herd_container_of(s->silent.next, struct silent, node);

	herd_list_remove(&first->node);
	free(first);
}

static void on_silent_timer(void *arg)
{
	struct herd_http_server *s = arg;

	while (!herd_list_empty(&s->silent)) {
		struct silent *first = herd_container_of(s->silent.next, struct silent, node);
		int64_t left = first->until_ms - herd_now_ms();

		if (left > 0) {
			herd_timer_set(s->timer, left);
			break;
		}
		silent_drop(s);
		s->connections--;
	}
	count_changed(s);
}

static struct bufferevent *on_connection(struct event_base *base, void *arg)
{
	struct herd_http_server *s = arg;
	struct silent *silent = calloc(1, sizeof(*silent));
	SSL *ssl = s->tls ? SSL_new(s->tls) : NULL;

	if (silent) {
		silent->until_ms = herd_now_ms() + s->timeout_ms;
		if (herd_list_empty(&s->silent))
			herd_timer_set(s->timer, s->timeout_ms);
		herd_list_push_back(&s->silent, &silent->node);
		s->connections++;
		count_changed(s);
	}
	if (!ssl)
		return bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
	struct bufferevent *bev = bufferevent_openssl_socket_new(
		base, -1, ssl, BUFFEREVENT_SSL_ACCEPTING, BEV_OPT_CLOSE_ON_FREE);

	if (bev)
		bufferevent_openssl_set_allow_dirty_shutdown(bev, 1);
	else
		SSL_free(ssl);
	return bev;
}

static struct speaker *speaker_find(const struct herd_http_server *s,
				    const struct evhttp_connection *con)
{
	for (struct herd_list *n = s->speakers.next; n != &s->speakers; n = n->next) {
		struct speaker *sp = herd_container_of(n, struct speaker, node);

		if (sp->con == con)
			return sp;
	}
	return NULL;
}

static void on_close(struct evhttp_connection *con, void *arg)
{
	struct herd_http_server *s = arg;
	struct speaker *sp = speaker_find(s, con);

	if (!sp)
		return;
	herd_list_remove(&sp->node);
	free(sp);
	s->connections--;
	count_changed(s);
}

/* The first request of a connection turns it from silent into one whose end we are told. */
static void count_speaker(struct herd_http_server *s, struct evhttp_connection *con)
{
	if (speaker_find(s, con))
		return;
	struct speaker *sp = calloc(1, sizeof(*sp));

	if (!sp)
		return;
	sp->con = con;
	herd_list_push_back(&s->speakers, &sp->node);
	if (!herd_list_empty(&s->silent))
		silent_drop(s);
	else
		s->connections++;
	evhttp_connection_set_closecb(con, on_close, s);
}

static void exchange_free(struct herd_http_exchange *x)
{
	herd_list_remove(&x->node);
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

	count_speaker(s, evhttp_request_get_connection(req));
	struct herd_http_exchange *x = exchange_new(s, req);

	if (!x) {
		evhttp_send_error(req, HTTP_INTERNAL, NULL);
		return;
	}
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
	herd_list_init(&s->silent);
	herd_list_init(&s->speakers);
	s->loop = l;
	s->fn = fn;
	s->arg = arg;
	s->timeout_ms = opts->timeout_ms ? opts->timeout_ms : DEFAULT_TIMEOUT_MS;
	s->max_connections = opts->max_connections ? opts->max_connections : DEFAULT_CONNECTIONS;
	s->timer = herd_timer_new(l, on_silent_timer, s);
	s->http = evhttp_new(herd_loop_base(l));
	if (!s->timer || !s->http) {
		herd_err_set(err, rc, "out of memory");
		goto failed;
	}
	if (opts->certfile && (rc = herd_http_tls_new(opts, &s->tls, err)) < 0)
		goto failed;
	rc = fd = herd_http_listen(opts->address, &s->port, err);
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
	struct timeval tv = { .tv_sec = s->timeout_ms / 1000,
			      .tv_usec = s->timeout_ms % 1000 * 1000 };

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
	SSL_CTX *fresh;
	int rc = herd_http_tls_new(opts, &fresh, err);

	if (rc < 0)
		return rc;
	/* Connections that are open hold a reference of their own to the old one. */
	SSL_CTX_free(s->tls);
	s->tls = fresh;
	return 0;
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
		herd_list_remove(&x->node);
	}
	/* It is evhttp's; connections that close now must not touch it. */
	s->listener = NULL;
	if (s->http)
		evhttp_free(s->http);
	while (!herd_list_empty(&s->silent))
		silent_drop(s);
	herd_timer_free(s->timer);
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
