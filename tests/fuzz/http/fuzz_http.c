/*
 * Bytes as a client sends them to the REST API's server: head, query, body, several requests in one
 * connection. The handler looks at everything, health checks and JSON bodies included.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/health.h"
#include "base/json.h"
#include "http/server.h"
#include "model/time.h"

enum { MAX_PARAMS = 32, WAIT_MS = 200 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct client {
	struct herd_io *io;
	const uint8_t *data;
	size_t left;
	int fd;
	bool done;
};

static void look_at_body(struct herd_http_exchange *x)
{
	size_t len;
	const char *body = herd_http_body(x, &len);
	json_t *v = herd_json_parse(body, len, NULL);
	char *iso = herd_time_normal(herd_json_str(v, "schedule", body));

	free(iso);
	json_decref(v);
}

static void handler(void *arg, struct herd_http_exchange *x)
{
	struct herd_health_param params[MAX_PARAMS];
	struct herd_health h = { .leader = false,
				 .running = true,
				 .dcs_known = true,
				 .replication_state = "streaming",
				 .leader_lsn = 1000,
				 .replayed_lsn = 900,
				 .maximum_lag = 1000,
				 .tags = arg };
	const char *name, *value;
	size_t n = 0, pos = 0;

	while (n < MAX_PARAMS && herd_http_query_next(x, &pos, &name, &value))
		params[n++] = (struct herd_health_param){ name, value };
	int status = herd_health_answer(&h, herd_http_path(x), params, n);

	assert(status == 200 || status == 503);
	assert(herd_http_method(x) && herd_http_path(x) && herd_http_peer(x));
	herd_http_header(x, "Authorization");
	look_at_body(x);
	herd_http_set_header(x, "X", herd_http_path(x));
	herd_http_reply(x, status, n % 2 ? "text/plain" : NULL, "body", 4);
}

static void on_client(void *arg, int events)
{
	struct client *c = arg;
	char buf[4096];
	ssize_t n;

	if (events & HERD_IO_WRITE && c->left > 0) {
		n = send(c->fd, c->data, c->left, MSG_NOSIGNAL);
		if (n > 0) {
			c->data += n;
			c->left -= (size_t)n;
		}
		if (n < 0 || c->left == 0) {
			shutdown(c->fd, SHUT_WR);
			c->left = 0;
			herd_io_want(c->io, HERD_IO_READ);
		}
	}
	if (events & HERD_IO_READ && (n = recv(c->fd, buf, sizeof(buf), 0)) <= 0)
		c->done = true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct herd_loop *loop;
	static struct herd_http_server *server;
	static json_t *tags;
	struct herd_http_server_opts o = { .address = "127.0.0.1:0", .max_body = 4096 };
	struct client c = { .data = data, .left = size };

	if (!loop) {
		loop = herd_loop_new();
		tags = json_pack("{s:s,s:b,s:i}", "zone", "a", "noloadbalance", 0, "n", 3);
		assert(herd_http_server_new(loop, &o, handler, tags, &server, NULL) == 0);
	}
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_port = htons((uint16_t)herd_http_server_port(server)),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	c.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert(c.fd >= 0 && connect(c.fd, (struct sockaddr *)&to, sizeof(to)) == 0);
	fcntl(c.fd, F_SETFL, O_NONBLOCK);
	/* No TIME_WAIT: thousands of connections would use the ports up. */
	struct linger gone = { .l_onoff = 1 };

	setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &gone, sizeof(gone));
	c.io = herd_io_new(loop, c.fd, on_client, &c);
	herd_io_want(c.io, HERD_IO_READ | HERD_IO_WRITE);
	herd_loop_run_until(loop, &c.done, WAIT_MS);
	herd_io_free(c.io);
	close(c.fd);
	return 0;
}
