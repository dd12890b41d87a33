#include "http/client.h"
#include "http/server.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/str.h"

enum { LONG_MS = 20000 };

struct world {
	struct herd_loop *loop;
	struct herd_http_server *server;
	struct herd_http_client *client;
	struct herd_http_exchange *kept;
	int requests;
	bool has_cert;
};

struct answer {
	bool done;
	int calls;
	int status;
	char *body;
	char *error;
	int code;
	bool maybe_sent;
	struct herd_buf stream;
	struct herd_http_call *cancel; /* from inside on_data */
};

/* Says what it saw. */
static void handler(void *arg, struct herd_http_exchange *x)
{
	struct world *w = arg;
	struct herd_buf b = { 0 };
	size_t len, pos = 0;
	const char *body = herd_http_body(x, &len), *name, *value;

	w->requests++;
	w->has_cert = herd_http_peer_has_cert(x);
	if (strcmp(herd_http_path(x), "/later") == 0) {
		w->kept = x;
		return;
	}
	if (strcmp(herd_http_path(x), "/empty") == 0) {
		herd_http_reply(x, 503, NULL, NULL, 0);
		return;
	}
	herd_buf_printf(&b, "%s %s", herd_http_method(x), herd_http_path(x));
	while (herd_http_query_next(x, &pos, &name, &value))
		herd_buf_printf(&b, " %s=%s", name, value);
	if (herd_http_header(x, "authorization"))
		herd_buf_printf(&b, " %s", herd_http_header(x, "Authorization"));
	herd_buf_printf(&b, " %s %zu:%s", herd_http_peer(x), len, len < 100 ? body : "...");
	herd_http_set_header(x, "Server", "test");
	herd_http_reply(x, 200, "text/plain", b.data, b.len);
	herd_buf_free(&b);
}

static void open_world(struct world *w, const struct herd_http_server_opts *more,
		       const struct herd_http_tls *tls)
{
	struct herd_http_server_opts o = *more;
	struct herd_err err = HERD_ERR_INIT;

	*w = (struct world){ .loop = herd_loop_new() };
	if (!o.address)
		o.address = "127.0.0.1:0";
	if (herd_http_server_new(w->loop, &o, handler, w, &w->server, &err) != 0)
		fail_msg("%s", herd_err_text(&err));
	assert_true(herd_http_server_port(w->server) > 0);
	w->client = herd_http_client_new(w->loop, tls);
}

static void close_world(struct world *w)
{
	herd_http_client_free(w->client);
	herd_http_server_free(w->server);
	herd_loop_free(w->loop);
}

static void on_done(void *arg, const struct herd_http_response *r)
{
	struct answer *a = arg;

	a->status = r->status;
	a->body = strdup(r->body);
	a->error = r->err ? strdup(herd_err_text(r->err)) : NULL;
	a->code = r->err ? r->err->code : 0;
	a->maybe_sent = r->maybe_sent;
	a->done = true;
	a->calls++;
}

static void answer_clear(struct answer *a)
{
	free(a->body);
	free(a->error);
	herd_buf_free(&a->stream);
	*a = (struct answer){ 0 };
}

static void ask(struct world *w, struct herd_http_request r, const char *scheme, const char *path,
		struct answer *a)
{
	char *url = herd_str_printf("%s://127.0.0.1:%d%s", scheme, herd_http_server_port(w->server),
				    path);

	r.url = url;
	r.on_done = on_done;
	r.arg = a;
	if (!r.timeout_ms)
		r.timeout_ms = LONG_MS;
	assert_non_null(herd_http_send(w->client, &r));
	assert_int_equal(a->calls, 0);
	free(url);
	assert_true(herd_loop_run_until(w->loop, &a->done, LONG_MS));
	assert_int_equal(a->calls, 1);
}

/* clang-format off */
static const struct { const char *method, *path, *body; int status; const char *want; } rows[] = {
	{ "GET", "/a%20b?x=1&y=a%26b&z", NULL, 200, "GET /a b x=1 y=a&b z= 127.0.0.1 0:" },
	{ "GET", "", NULL, 200, "GET / 127.0.0.1 0:" },
	{ "POST", "/p", "{\"a\":1}", 200, "POST /p 127.0.0.1 7:{\"a\":1}" },
	{ "POST", "/p", NULL, 200, "POST /p 127.0.0.1 0:" },
	{ "PUT", "/p", "x", 200, "PUT /p 127.0.0.1 1:x" },
	{ "PATCH", "/p", "x", 200, "PATCH /p 127.0.0.1 1:x" },
	{ "DELETE", "/p", NULL, 200, "DELETE /p 127.0.0.1 0:" },
	{ "OPTIONS", "/p", NULL, 200, "OPTIONS /p 127.0.0.1 0:" },
	{ "HEAD", "/p", NULL, 200, "" },
	{ "HEAD", "/empty", NULL, 503, "" },
	{ "GET", "/empty", NULL, 503, "" },
	{ "BREW", "/pot", NULL, 200, " /pot 127.0.0.1 0:" },
};
/* clang-format on */

static void methods(void **state)
{
	struct world w;

	open_world(&w, &(struct herd_http_server_opts){ 0 }, NULL);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct answer a = { 0 };

		ask(&w,
		    (struct herd_http_request){ .method = rows[i].method, .body = rows[i].body },
		    "http", rows[i].path, &a);
		if (a.error)
			fail_msg("%s %s: %s", rows[i].method, rows[i].path, a.error);
		assert_int_equal(a.status, rows[i].status);
		assert_string_equal(a.body, rows[i].want);
		answer_clear(&a);
	}
	close_world(&w);
}

static void authentication(void **state)
{
	struct world w;
	struct answer a = { 0 };

	open_world(&w, &(struct herd_http_server_opts){ .address = "*:0" }, NULL);
	ask(&w, (struct herd_http_request){ .method = "GET", .user = "a", .password = "b:c" },
	    "http", "/", &a);
	assert_string_equal(a.body, "GET / Basic YTpiOmM= 127.0.0.1 0:");
	answer_clear(&a);
	close_world(&w);
}

static void limits(void **state)
{
	struct world w;
	struct answer a = { 0 };
	char *big = malloc(5000);

	memset(big, 'x', 4999);
	big[4999] = '\0';
	open_world(&w, &(struct herd_http_server_opts){ .max_body = 1000 }, NULL);
	ask(&w, (struct herd_http_request){ .method = "POST", .body = big }, "http", "/", &a);
	assert_true(a.status == 413 || a.maybe_sent);
	assert_int_equal(w.requests, 0);
	answer_clear(&a);
	ask(&w, (struct herd_http_request){ .method = "GET", .max_body = 3 }, "http", "/", &a);
	assert_int_equal(a.status, 0);
	assert_int_equal(a.code, -EMSGSIZE);
	answer_clear(&a);
	close_world(&w);
	free(big);
}

static void unreachable(void **state)
{
	struct world w;
	struct answer a = { 0 };

	open_world(&w, &(struct herd_http_server_opts){ 0 }, NULL);
	herd_http_client_free(w.client);
	w.client = herd_http_client_new(w.loop, NULL);
	int port = herd_http_server_port(w.server);

	herd_http_server_free(w.server);
	char *url = herd_str_printf("http://127.0.0.1:%d/", port);
	struct herd_http_request r = { .method = "POST",
				       .url = url,
				       .body = "x",
				       .on_done = on_done,
				       .arg = &a,
				       .timeout_ms = LONG_MS };

	assert_non_null(herd_http_send(w.client, &r));
	assert_true(herd_loop_run_until(w.loop, &a.done, LONG_MS));
	assert_int_equal(a.status, 0);
	assert_int_equal(a.code, -ECONNREFUSED);
	assert_false(a.maybe_sent);
	answer_clear(&a);
	r.url = "nonsense://x y";
	assert_non_null(herd_http_send(w.client, &r));
	assert_true(herd_loop_run_until(w.loop, &a.done, LONG_MS));
	assert_false(a.maybe_sent);
	answer_clear(&a);
	free(url);
	w.server = NULL;
	close_world(&w);
}

/* The server waits longer than its own limit for silent connections. */
static void later(void **state)
{
	struct world w;
	struct answer a = { 0 };
	bool never = false;

	open_world(&w, &(struct herd_http_server_opts){ .timeout_ms = 50 }, NULL);
	char *url = herd_str_printf("http://127.0.0.1:%d/later", herd_http_server_port(w.server));
	struct herd_http_request r = {
		.method = "GET", .url = url, .on_done = on_done, .arg = &a, .timeout_ms = LONG_MS
	};

	herd_http_send(w.client, &r);
	herd_loop_run_until(w.loop, &never, 200);
	assert_non_null(w.kept);
	assert_false(a.done);
	herd_http_reply(w.kept, 202, "text/plain", "ok", 2);
	assert_true(herd_loop_run_until(w.loop, &a.done, LONG_MS));
	assert_int_equal(a.status, 202);
	answer_clear(&a);

	/* The client gives up; the reply comes after that. */
	w.kept = NULL;
	r.timeout_ms = 50;
	herd_http_send(w.client, &r);
	assert_true(herd_loop_run_until(w.loop, &a.done, LONG_MS));
	assert_int_equal(a.code, -ETIMEDOUT);
	assert_true(a.maybe_sent);
	answer_clear(&a);
	herd_loop_run_until(w.loop, &never, 50);
	herd_http_reply(w.kept, 202, "text/plain", "ok", 2);
	herd_loop_run_until(w.loop, &never, 20);

	/* The server is freed before the reply. */
	w.kept = NULL;
	r.timeout_ms = LONG_MS;
	herd_http_send(w.client, &r);
	herd_loop_run_until(w.loop, &never, 50);
	herd_http_server_free(w.server);
	w.server = NULL;
	assert_string_equal(herd_http_method(w.kept), "");
	herd_http_reply(w.kept, 202, "text/plain", "ok", 2);
	assert_true(herd_loop_run_until(w.loop, &a.done, LONG_MS));
	assert_int_equal(a.status, 0);
	answer_clear(&a);
	free(url);
	close_world(&w);
}

static void on_data(void *arg, const char *data, size_t len)
{
	struct answer *a = arg;

	herd_buf_add(&a->stream, data, len);
	if (a->cancel) {
		herd_http_cancel(a->cancel);
		a->done = true;
	}
}

static void streams(void **state)
{
	struct world w;
	struct answer a = { 0 };

	open_world(&w, &(struct herd_http_server_opts){ 0 }, NULL);
	ask(&w, (struct herd_http_request){ .method = "GET", .on_data = on_data }, "http", "/s",
	    &a);
	assert_int_equal(a.status, 200);
	assert_string_equal(a.body, "");
	assert_string_equal(a.stream.data, "GET /s 127.0.0.1 0:");
	answer_clear(&a);
	/* Cancelled from inside: no end is told. */
	char *url = herd_str_printf("http://127.0.0.1:%d/s", herd_http_server_port(w.server));
	struct herd_http_request r = {
		.method = "GET", .url = url, .on_data = on_data, .on_done = on_done, .arg = &a
	};

	a.cancel = herd_http_send(w.client, &r);
	assert_true(herd_loop_run_until(w.loop, &a.done, LONG_MS));
	assert_int_equal(a.calls, 0);
	answer_clear(&a);
	free(url);
	close_world(&w);
}

static void free_client(void *arg, const struct herd_http_response *r)
{
	struct world *w = arg;

	herd_http_client_free(w->client);
	w->client = NULL;
	herd_loop_stop(w->loop);
}

static void freed_inside(void **state)
{
	struct world w;
	struct answer a = { 0 };

	open_world(&w, &(struct herd_http_server_opts){ 0 }, NULL);
	char *url = herd_str_printf("http://127.0.0.1:%d/", herd_http_server_port(w.server));
	struct herd_http_request r = { .method = "GET",
				       .url = url,
				       .on_done = free_client,
				       .arg = &w,
				       .timeout_ms = LONG_MS };
	struct herd_http_request other = {
		.method = "GET", .url = url, .on_done = on_done, .arg = &a, .timeout_ms = LONG_MS
	};

	herd_http_send(w.client, &r);
	r.url = NULL;
	char *later_url = herd_str_printf("%slater", url);

	other.url = later_url;
	herd_http_send(w.client, &other);
	herd_loop_run(w.loop);
	assert_int_equal(a.calls, 0);
	if (w.kept)
		herd_http_reply(w.kept, 200, NULL, NULL, 0);
	free(later_url);
	free(url);
	close_world(&w);
}

/*
 * A server that answers the first request of a connection and closes it at the second: the second
 * must not be sent again by itself. Counts bytes "POST" it saw, over all connections.
 */
static void no_silent_retry(void **state)
{
	static const char reply[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
	struct herd_loop *loop = herd_loop_new();
	struct herd_http_client *client = herd_http_client_new(loop, NULL);
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001) };
	socklen_t len = sizeof(sin);
	int listener = socket(AF_INET, SOCK_STREAM, 0), counts[2];

	assert_int_equal(bind(listener, (struct sockaddr *)&sin, len), 0);
	assert_int_equal(listen(listener, 5), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&sin, &len), 0);
	assert_int_equal(pipe(counts), 0);
	pid_t pid = fork();

	if (pid == 0) {
		char buf[4096];

		alarm(20);
		for (;;) {
			int fd = accept(listener, NULL, NULL);

			for (int n = 0; n < 2; n++) {
				size_t got = 0;
				ssize_t r = 1;

				/* Up to the end of the body, which is "!". */
				while (r > 0 && (got == 0 || buf[got - 1] != '!'))
					if ((r = read(fd, buf + got, sizeof(buf) - got)) > 0)
						got += (size_t)r;
				if (r <= 0)
					break;
				if (write(counts[1], "x", 1) != 1 ||
				    (n == 0 && write(fd, reply, sizeof(reply) - 1) < 0))
					_exit(1);
			}
			close(fd);
		}
	}
	char *url = herd_str_printf("http://127.0.0.1:%d/", ntohs(sin.sin_port));
	struct answer a = { 0 };
	struct herd_http_request r = { .method = "POST",
				       .url = url,
				       .body = "hello!",
				       .on_done = on_done,
				       .arg = &a,
				       .timeout_ms = LONG_MS };

	herd_http_send(client, &r);
	assert_true(herd_loop_run_until(loop, &a.done, LONG_MS));
	assert_int_equal(a.status, 200);
	answer_clear(&a);
	herd_http_send(client, &r);
	assert_true(herd_loop_run_until(loop, &a.done, LONG_MS));
	assert_int_equal(a.status, 0);
	assert_true(a.maybe_sent);
	answer_clear(&a);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	char seen[16];

	assert_int_equal(read(counts[0], seen, sizeof(seen)), 2);
	free(url);
	close(listener);
	close(counts[0]);
	close(counts[1]);
	herd_http_client_free(client);
	herd_loop_free(loop);
}

static void many(void **state)
{
	struct world w;
	struct answer a[40] = { 0 };

	open_world(&w, &(struct herd_http_server_opts){ .max_connections = 3 }, NULL);
	char *url = herd_str_printf("http://127.0.0.1:%d/", herd_http_server_port(w.server));
	char *close_header[] = { (char *)"Connection: close", NULL };

	for (int i = 0; i < 40; i++) {
		struct herd_http_request r = { .method = "GET",
					       .url = url,
					       .on_done = on_done,
					       .arg = &a[i],
					       .timeout_ms = LONG_MS,
					       .headers = (const char *const *)close_header };

		assert_non_null(herd_http_send(w.client, &r));
	}
	for (int i = 0; i < 40; i++) {
		assert_true(herd_loop_run_until(w.loop, &a[i].done, LONG_MS));
		assert_int_equal(a[i].status, 200);
		answer_clear(&a[i]);
	}
	free(url);
	close_world(&w);
}

static void tls(void **state)
{
	char dir[] = "/tmp/herd-http-XXXXXX";
	struct world w;
	struct answer a = { 0 };

	assert_non_null(mkdtemp(dir));
	char *make =
		herd_str_printf("cd %s && openssl req -x509 -newkey rsa:2048 -nodes -keyout k.pem "
				"-out c.pem -days 2 -subj /CN=127.0.0.1 -addext "
				"subjectAltName=IP:127.0.0.1 2>/dev/null",
				dir);
	char *cert = herd_str_printf("%s/c.pem", dir), *key = herd_str_printf("%s/k.pem", dir);
	char *rm = herd_str_printf("rm -r %s", dir);

	assert_int_equal(system(make), 0);
	struct herd_http_server_opts o = { .certfile = cert,
					   .keyfile = key,
					   .cafile = cert,
					   .verify_client = HERD_HTTP_VERIFY_OPTIONAL };

	/* Verified both ways. */
	open_world(&w, &o, &(struct herd_http_tls){ .cacert = cert, .cert = cert, .key = key });
	ask(&w, (struct herd_http_request){ .method = "POST", .body = "x" }, "https", "/", &a);
	assert_int_equal(a.status, 200);
	assert_true(w.has_cert);
	answer_clear(&a);
	struct herd_err err = HERD_ERR_INIT;
	struct herd_http_server_opts gone = o;

	gone.certfile = "/nonexistent";
	assert_int_equal(herd_http_server_reload_tls(w.server, &gone, &err), -EINVAL);
	assert_string_equal(herd_err_text(&err),
			    "could not load certificate file \"/nonexistent\": "
			    "system lib");
	herd_err_clear(&err);
	assert_int_equal(herd_http_server_reload_tls(w.server, &o, NULL), 0);
	/* A client that does not know the authority; one that does not care. */
	herd_http_client_free(w.client);
	w.client = herd_http_client_new(w.loop, NULL);
	ask(&w, (struct herd_http_request){ .method = "GET" }, "https", "/", &a);
	assert_int_equal(a.status, 0);
	assert_false(a.maybe_sent);
	answer_clear(&a);
	herd_http_client_free(w.client);
	w.client = herd_http_client_new(w.loop, &(struct herd_http_tls){ .insecure = true });
	ask(&w, (struct herd_http_request){ .method = "GET" }, "https", "/", &a);
	assert_int_equal(a.status, 200);
	assert_false(w.has_cert);
	answer_clear(&a);
	close_world(&w);
	assert_int_equal(system(rm), 0);
	free(make);
	free(cert);
	free(key);
	free(rm);
}

static void bad_addresses(void **state)
{
	static const char *const bad[] = { "", "nonsense", "127.0.0.1:", "1.2.3.4.5:80",
					   "192.0.2.77:0" };
	struct herd_loop *loop = herd_loop_new();

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct herd_http_server_opts o = { .address = bad[i] };
		struct herd_http_server *s = NULL;
		struct herd_err err = HERD_ERR_INIT;

		assert_true(herd_http_server_new(loop, &o, handler, NULL, &s, &err) < 0);
		assert_non_null(strstr(herd_err_text(&err), "listen on"));
		herd_err_clear(&err);
	}
	herd_loop_free(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(methods),       cmocka_unit_test(authentication),
		cmocka_unit_test(limits),        cmocka_unit_test(unreachable),
		cmocka_unit_test(later),         cmocka_unit_test(streams),
		cmocka_unit_test(freed_inside),  cmocka_unit_test(no_silent_retry),
		cmocka_unit_test(many),          cmocka_unit_test(tls),
		cmocka_unit_test(bad_addresses),
	};
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
