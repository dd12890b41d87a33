#include "proxy/metrics.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "http/server.h"
#include "proxy/handover.h"
#include "proxy/pools.h"
#include "proxy/topology.h"

enum { MAX_CONNECTIONS = 32, MAX_BODY_BYTES = 4096 };

struct herd_metrics {
	struct herd_px *px;
	struct herd_loop *loop;
	struct herd_http_server *server; /* NULL: the other process of a restart has the address */
	bool told;                       /* why it cannot be had, though it should */
	char address[];
};

static void say(struct herd_http_exchange *x, int status, const char *text)
{
	herd_http_reply(x, status, "text/plain; charset=utf-8", text, strlen(text));
}

/* Why nobody should be sent here; NULL: no reason. */
static const char *unhealthy(const struct herd_px *px)
{
	if (atomic_load(&px->stop) != HERD_STOP_NO)
		return "shutting down\n";
	if (atomic_load(&px->suspended))
		return "suspended\n";
	return NULL;
}

static void find_blind(struct herd_pool *p, void *arg)
{
	bool *blind = arg;
	const struct herd_database *conf = herd_db_conf(atomic_load(&p->px->live), p->db);

	*blind |= conf && conf->cluster;
}

/* The same, and why those who come would only wait. */
static const char *unready(struct herd_px *px)
{
	const char *why = unhealthy(px);
	bool blind = false;

	if (why)
		return why;
	if (atomic_load(&px->paused_all))
		return "paused\n";
	struct herd_topo *t = herd_topology_get(px->topology);

	if (!t)
		herd_pools_each(px, find_blind, &blind);
	herd_topo_unref(t);
	return blind ? "the store has not been read yet\n" : NULL;
}

static void handle(void *arg, struct herd_http_exchange *x)
{
	struct herd_metrics *m = arg;
	const char *method = herd_http_method(x), *path = herd_http_path(x);
	const char *why = NULL;

	if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0) {
		herd_http_set_header(x, "Allow", "GET, HEAD");
		say(x, 405, "only GET and HEAD\n");
		return;
	}
	if (strcmp(path, "/metrics") == 0) {
		struct herd_buf b = { 0 };

		herd_metrics_text(m->px, &b);
		if (herd_buf_ok(&b))
			herd_http_reply(x, 200, "text/plain; version=0.0.4; charset=utf-8",
					herd_buf_str(&b), b.len);
		else
			say(x, 500, "out of memory\n");
		herd_buf_free(&b);
		return;
	}
	if (strcmp(path, "/health") == 0)
		why = unhealthy(m->px);
	else if (strcmp(path, "/ready") == 0)
		why = unready(m->px);
	else {
		say(x, 404, "there is /metrics, /health and /ready\n");
		return;
	}
	say(x, why ? 503 : 200, why ? why : "ok\n");
}

static int serve(struct herd_metrics *m, struct herd_err *err)
{
	struct herd_http_server_opts o = { .address = m->address,
					   .max_body = MAX_BODY_BYTES,
					   .max_connections = MAX_CONNECTIONS };

	return herd_http_server_new(m->loop, &o, handle, m, &m->server, err);
}

int herd_metrics_start(struct herd_px *px, struct herd_loop *loop, const char *address,
		       struct herd_metrics **ret, struct herd_err *err)
{
	struct herd_metrics *m;

	*ret = NULL;
	if (!*address)
		return 0;
	m = calloc(1, sizeof(*m) + strlen(address) + 1);
	if (!m)
		return herd_err_set(err, -ENOMEM, "out of memory");
	m->px = px;
	m->loop = loop;
	memcpy(m->address, address, strlen(address) + 1);
	int rc = serve(m, err);

	/* The process that we take over from lets go of it when it has been told that we are ready.
	 */
	if (rc == -EADDRINUSE && herd_takeover_pid(px) > 0) {
		herd_err_clear(err);
		rc = 0;
	}
	if (rc < 0) {
		free(m);
		return rc;
	}
	*ret = m;
	return 0;
}

void herd_metrics_look(struct herd_metrics *m)
{
	struct herd_err err = HERD_ERR_INIT;

	if (!m)
		return;
	if (herd_leaving(m->px)) {
		herd_http_server_free(m->server);
		m->server = NULL;
		return;
	}
	/* Who answers again can be asked to be taken over again. */
	if (m->server || atomic_load(&m->px->leave))
		return;
	/* An elder of before this was done keeps it to its end. */
	if (serve(m, &err) < 0 && !m->told && !herd_takeover_pending(m->px)) {
		herd_log_err(m->px->log, HERD_LOG_WARNING, &err, "no metrics for now");
		m->told = true;
	}
	herd_err_clear(&err);
}

void herd_metrics_stop(struct herd_metrics *m)
{
	if (!m)
		return;
	herd_http_server_free(m->server);
	free(m);
}
