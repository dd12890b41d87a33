/* SHOW PEERS, PEER_POOLS. */
#include "proxy/cancel.h"
#include "proxy/console.h"

static const char *const peers_columns[] = { "peer_id:4", "host", "port:4", "pool_size:4", NULL };
static const char *const peer_pools_columns[] = { "peer_id:4",
						  "cl_active_cancel_req:4",
						  "cl_waiting_cancel_req:4",
						  "sv_active_cancel:4",
						  "sv_login:4",
						  NULL };

static void show_peers(struct herd_worker *w, struct herd_result *r)
{
	const struct herd_pconf *conf = w->live->config;

	for (size_t i = 0; i < conf->npeers; i++) {
		const struct herd_peer *p = &conf->peers[i];
		struct herd_row row = herd_row_begin(r);

		herd_row_int(&row, p->id);
		herd_row_text(&row, p->host);
		herd_row_int(&row, p->port);
		herd_row_int(&row, p->pool_size >= 0 ? p->pool_size : conf->s.default_pool_size);
		herd_row_end(&row);
	}
}

static void peer_pool_row(const struct herd_peer_pool *p, void *arg)
{
	struct herd_result *r = arg;
	struct herd_cancel_queue *q = (struct herd_cancel_queue *)&p->queue;
	struct herd_row row = herd_row_begin(r);

	pthread_mutex_lock(&q->lock);
	herd_row_int(&row, p->id);
	herd_row_int(&row, q->nactive);
	herd_row_int(&row, q->nwaiting);
	herd_row_int(&row, q->nactive - q->nlogin);
	herd_row_int(&row, q->nlogin);
	pthread_mutex_unlock(&q->lock);
	herd_row_end(&row);
}

static void show_peer_pools(struct herd_worker *w, struct herd_result *r)
{
	herd_peer_pools_each(w->px, peer_pool_row, r);
}

const struct herd_show herd_shows_peers[] = {
	{ "peer_pools", peer_pools_columns, show_peer_pools, NULL, false },
	{ "peers", peers_columns, show_peers, NULL, false },
	{ NULL, NULL, NULL, NULL, false },
};
