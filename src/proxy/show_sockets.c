/* SHOW CLIENTS, SERVERS, SOCKETS: what every worker has. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "loop/loop.h"
#include "proxy/cancel.h"
#include "proxy/console.h"
#include "proxy/named.h"
#include "proxy/repl.h"
#include "proxy/session.h"
#include "proxy/tls.h"

#define SOCKET_COLUMNS                                                                             \
	"type", "user", "database", "replication", "state", "addr", "port:4", "local_addr",        \
		"local_port:4", "connect_time", "request_time", "wait:4", "wait_us:4",             \
		"close_needed:4", "ptr", "link", "remote_pid:4", "tls", "application_name",        \
		"prepared_statements:4", "id:8"
static const char *const sockets_columns[] = { SOCKET_COLUMNS, NULL };
static const char *const clients_columns[] = { SOCKET_COLUMNS, "pinned", NULL };
static const char *const long_sockets_columns[] = { SOCKET_COLUMNS, "recv_pos:4",   "pkt_pos:4",
						    "pkt_remain:4", "send_pos:4",   "send_remain:4",
						    "pkt_avail:4",  "send_avail:4", NULL };
static void row_time(struct herd_row *row, struct herd_worker *w, int64_t us)
{
	time_t t = (time_t)((herd_wall_ms() - (w->now_us - us) / 1000) / 1000);
	struct tm tm;
	char text[64]; /* a date of fixed shape */

	localtime_r(&t, &tm);
	strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S %Z", &tm);
	herd_row_text(row, text);
}

static void row_ptr(struct herd_row *row, uint64_t id)
{
	char text[24]; /* 0x and 16 digits */

	snprintf(text, sizeof(text), "0x%llx", (unsigned long long)id);
	herd_row_text(row, id ? text : "");
}

static void row_tls(struct herd_row *row, SSL *tls)
{
	char *text = tls ? herd_tls_text(tls) : NULL;

	herd_row_text(row, text ? text : "");
	free(text);
}

static void more_columns(struct herd_row *row, const struct herd_conn *c)
{
	if (row->r->show->columns != long_sockets_columns)
		return;
	herd_row_int(row, (int64_t)c->in.len);
	herd_row_int(row, 0);
	herd_row_int(row, 0);
	herd_row_int(row, (int64_t)c->out_pos);
	herd_row_int(row, (int64_t)(c->out.len - c->out_pos));
	herd_row_int(row, 0);
	herd_row_int(row, 0);
}

/* SOCKETS has the names of PgBouncer's lists, where an idle client is among the active ones. */
static void row_state(struct herd_row *row, bool client, const char *state)
{
	char text[64]; /* the longest state has 19 letters */

	if (row->r->show->columns != long_sockets_columns) {
		herd_row_text(row, state);
		return;
	}
	if (client && strcmp(state, "idle") == 0)
		state = "active";
	else if (!client && strcmp(state, "new") == 0)
		state = "login";
	snprintf(text, sizeof(text), "%s_%s", client ? "cl" : "sv", state);
	herd_row_text(row, text);
}

/* As SHOW POOLS counts them. */
static const char *server_state(const struct herd_worker *w, const struct herd_server *s)
{
	int64_t delay = herd_worker_settings(w)->server_check_delay;
	int state = atomic_load(&s->state);

	return state == HERD_SERVER_IDLE && delay > 0 && s->released_us < w->now_us - delay
		       ? "used"
		       : herd_server_state_name(state);
}

/* Why it keeps its server to itself. */
static void row_pins(struct herd_row *row, const struct herd_client *c)
{
	struct herd_buf b = { 0 };

	if (c->kept)
		herd_session_pins_text(c->kept->s.pins, &b);
	herd_row_text(row, herd_buf_str(&b));
	herd_buf_free(&b);
}

static void client_row(struct herd_worker *w, struct herd_result *r, struct herd_client *c)
{
	struct herd_row row = herd_row_begin(r);
	bool waits = c->state == HERD_CLIENT_WAITING || c->state == HERD_CLIENT_WELCOME;
	int64_t wait = waits ? w->now_us - c->wait_us : 0;
	const char *app = herd_vars_get(&c->vars, &w->px->vars, "application_name");
	const struct herd_map *names = herd_named_all(c);

	herd_row_text(&row, "C");
	herd_row_text(&row, c->user ? c->user : "(nouser)");
	herd_row_text(&row, c->dbname ? c->dbname : "(nodb)");
	herd_row_text(&row, herd_repl_name(c));
	row_state(&row, true, herd_client_state_name(c));
	herd_row_text(&row, c->addr.host);
	herd_row_int(&row, c->addr.port);
	herd_row_text(&row, c->local.host);
	herd_row_int(&row, c->local.port);
	row_time(&row, w, c->connect_us);
	row_time(&row, w, c->query_us ? c->query_us : c->connect_us);
	herd_row_int(&row, wait / 1000000);
	herd_row_int(&row, wait % 1000000);
	herd_row_int(&row, 0);
	row_ptr(&row, c->id);
	row_ptr(&row, c->server ? c->server->id : 0);
	herd_row_int(&row, 0);
	row_tls(&row, c->conn.tls);
	herd_row_text(&row, app ? app : "");
	herd_row_int(&row, names ? (int64_t)herd_map_size(names) : 0);
	herd_row_int(&row, (int64_t)c->id);
	more_columns(&row, &c->conn);
	if (r->show->columns == clients_columns)
		row_pins(&row, c);
	herd_row_end(&row);
}

static void server_row(struct herd_worker *w, struct herd_result *r, struct herd_server *s)
{
	struct herd_row row = herd_row_begin(r);
	const char *app = herd_vars_get(&s->vars, &w->px->vars, "application_name");

	herd_row_text(&row, "S");
	herd_row_text(&row, s->pool->user);
	herd_row_text(&row, s->pool->db->name);
	herd_row_text(&row, s->client ? herd_repl_name(s->client) : "none");
	row_state(&row, false, server_state(w, s));
	herd_row_text(&row, s->addr.host);
	herd_row_int(&row, s->addr.port);
	herd_row_text(&row, s->local.host);
	herd_row_int(&row, s->local.port);
	row_time(&row, w, s->connected_us);
	row_time(&row, w, s->request_us);
	herd_row_int(&row, 0);
	herd_row_int(&row, 0);
	herd_row_int(&row, atomic_load(&s->close_needed));
	row_ptr(&row, s->id);
	row_ptr(&row, s->client ? s->client->id : 0);
	herd_row_int(&row, s->backend_pid);
	row_tls(&row, s->conn.tls);
	herd_row_text(&row, app ? app : "");
	herd_row_int(&row, s->held.count);
	herd_row_int(&row, (int64_t)s->id);
	more_columns(&row, &s->conn);
	herd_row_end(&row);
}

static void each_clients(struct herd_worker *w, struct herd_result *r)
{
	bool active = strcmp(r->show->what, "active_sockets") == 0;

	herd_list_for_each(it, &w->clients)
	{
		struct herd_client *c = herd_container_of(it, struct herd_client, node);

		if (!c->internal && (!active || c->state == HERD_CLIENT_ACTIVE))
			client_row(w, r, c);
	}
}

/* The idle ones of this worker's loop; nobody takes them while the pool is locked. */
static void idle_rows(struct herd_pool *p, void *arg)
{
	struct herd_show_arg *a = arg;

	pthread_mutex_lock(&p->lock);
	herd_list_for_each(it, &p->idle[a->w->id])
		server_row(a->w, a->r, herd_container_of(it, struct herd_server, pool_node));
	herd_list_for_each(it, &p->warm)
	{
		struct herd_server *s = herd_container_of(it, struct herd_server, pool_node);

		if (atomic_load(&s->home) == a->w->id)
			server_row(a->w, a->r, s);
	}
	pthread_mutex_unlock(&p->lock);
}

static void cancel_row(void *arg, const struct herd_cancel_info *i)
{
	struct herd_show_arg *a = arg;
	struct herd_row row = herd_row_begin(a->r);

	herd_row_text(&row, "S");
	herd_row_text(&row, i->user);
	herd_row_text(&row, i->database);
	herd_row_text(&row, "none");
	row_state(&row, false, "active_cancel");
	herd_row_text(&row, i->addr->host);
	herd_row_int(&row, i->addr->port);
	herd_row_text(&row, "");
	herd_row_int(&row, 0);
	row_time(&row, a->w, i->since_us);
	row_time(&row, a->w, i->since_us);
	herd_row_int(&row, 0);
	herd_row_int(&row, 0);
	herd_row_int(&row, 0);
	row_ptr(&row, i->id);
	row_ptr(&row, i->server);
	herd_row_int(&row, 0);
	herd_row_text(&row, i->tls);
	herd_row_text(&row, "");
	herd_row_int(&row, 0);
	herd_row_int(&row, (int64_t)i->id);
	more_columns(&row, i->conn);
	herd_row_end(&row);
}

static void each_servers(struct herd_worker *w, struct herd_result *r)
{
	struct herd_show_arg a = { w, r };
	bool active = strcmp(r->show->what, "active_sockets") == 0;

	herd_list_for_each(it, &w->servers)
		server_row(w, r, herd_container_of(it, struct herd_server, node));
	herd_cancel_each(w, cancel_row, &a);
	if (!active)
		herd_pools_each(w->px, idle_rows, &a);
}

static void each_sockets(struct herd_worker *w, struct herd_result *r)
{
	each_clients(w, r);
	each_servers(w, r);
}

const struct herd_show herd_shows_sockets[] = {
	{ "active_sockets", long_sockets_columns, NULL, each_sockets, false },
	{ "clients", clients_columns, NULL, each_clients, false },
	{ "servers", sockets_columns, NULL, each_servers, false },
	{ "sockets", long_sockets_columns, NULL, each_sockets, false },
	{ NULL, NULL, NULL, NULL, false },
};
