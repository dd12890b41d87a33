/* What one process tells the next of a client or a server, and making objects of that. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/str.h"
#include "proxy/admin.h"
#include "proxy/cancel.h"
#include "proxy/handover.h"
#include "proxy/login.h"
#include "proxy/mates.h"
#include "proxy/named.h"
#include "proxy/pools_internal.h"
#include "proxy/session.h"
#include "proxy/split.h"
#include "proxy/topology.h"
#include "wire/msg.h"

/* --- writing ---------------------------------------------------------------------------------- */

static void add_vars(struct herd_record *r, const char *name, const struct herd_px *px,
		     const struct herd_vars *v)
{
	struct herd_buf b = { 0 };

	for (int i = 0; v->value && i < px->vars.n; i++) {
		if (!v->value[i])
			continue;
		herd_buf_reset(&b);
		herd_wr_str(&b, px->vars.name[i]);
		herd_wr_str(&b, v->value[i]);
		herd_record_add(r, name, herd_buf_str(&b), b.len);
	}
	herd_buf_free(&b);
}

/* A statement by the number that servers know it by. client_name NULL: one that a server holds. */
static void add_stmt(struct herd_record *r, const char *field, const char *client_name,
		     const struct herd_stmt *stmt)
{
	struct herd_buf b = { 0 };

	if (client_name)
		herd_wr_str(&b, client_name);
	herd_wr_u32(&b, (uint32_t)(stmt->id >> 32));
	herd_wr_u32(&b, (uint32_t)stmt->id);
	herd_buf_add(&b, stmt->body, stmt->len);
	herd_record_add(r, field, herd_buf_str(&b), b.len);
	herd_buf_free(&b);
}

static void add_sets(struct herd_record *r, const char *field, const struct herd_sets *sets)
{
	struct herd_buf b = { 0 };

	for (size_t i = 0; sets && i < sets->n; i++) {
		herd_buf_reset(&b);
		herd_wr_str(&b, sets->item[i].name);
		herd_wr_str(&b, sets->item[i].text);
		herd_record_add(r, field, herd_buf_str(&b), b.len);
	}
	herd_buf_free(&b);
}

/* The descriptor leaves this process's loop for good. */
static void take_fd(struct herd_record *r, struct herd_worker *home, struct herd_conn *c)
{
	herd_worker_unwatch(home, c);
	herd_record_fd(r, c->fd);
	c->fd = -1;
}

static void put_server(struct herd_record *r, struct herd_worker *w, struct herd_server *s)
{
	struct herd_stmt *stmt;

	herd_record_text(r, "s.db", s->pool->db->name);
	herd_record_text(r, "s.listener", s->pool->db->listener);
	herd_record_text(r, "s.user", s->pool->user);
	herd_record_number(r, "s.reads", s->pool->home != NULL);
	herd_record_text(r, "s.host", s->target_host);
	herd_record_number(r, "s.target_port", s->target_port);
	herd_record_text(r, "s.addr", s->addr.host);
	herd_record_number(r, "s.family", s->addr.family);
	herd_record_number(r, "s.port", s->addr.port);
	herd_record_text(r, "s.scope", s->scope);
	herd_record_text(r, "s.member", s->member);
	herd_record_number(r, "s.group", s->group);
	herd_record_number(r, "s.primary", s->want_primary);
	herd_record_number(r, "s.want_standby", s->want_standby);
	herd_record_number(r, "s.standby", s->standby);
	herd_record_number(r, "s.reads_only", s->reads_only);
	herd_record_number(r, "s.tells", s->tells);
	herd_record_number(r, "s.pid", s->backend_pid);
	herd_record_add(r, "s.key", s->cancel_key, s->cancel_key_len);
	herd_record_add(r, "s.params", herd_buf_str(&s->params), s->params.len);
	herd_record_number(r, "s.tx", s->tx);
	herd_record_number(r, "s.used", s->used);
	herd_record_number(r, "s.age", w->now_us - s->connected_us);
	add_vars(r, "s.var", w->px, &s->vars);
	add_sets(r, "s.set", s->sets);
	add_sets(r, "s.base", s->sets_base);
	herd_record_number(r, "s.dirty", s->dirty);
	herd_record_number(r, "s.asks", s->asks);
	/* The one used longest ago first, as they are taken up again. */
	while ((stmt = herd_held_oldest(&s->held))) {
		add_stmt(r, "s.held", NULL, stmt);
		herd_held_remove(&s->held, stmt);
		pthread_mutex_lock(&w->px->stmts_lock);
		herd_stmts_unref(w->px->stmts, stmt);
		pthread_mutex_unlock(&w->px->stmts_lock);
	}
	atomic_fetch_add(&s->pool->elsewhere, 1);
	take_fd(r, &w->px->workers[atomic_load(&s->home)], &s->conn);
}

struct herd_record *herd_parcel_server(struct herd_worker *w, struct herd_server *s)
{
	struct herd_record *r = herd_record_new(HERD_RECORD_SERVER);

	if (!r)
		return NULL;
	put_server(r, w, s);
	herd_server_drop(w, s, NULL);
	return r;
}

static void put_client(struct herd_record *r, struct herd_worker *w, struct herd_client *c)
{
	const struct herd_map *names = herd_named_all(c);
	size_t pos = 0;
	const char *name;
	void *stmt;

	herd_record_text(r, "user", c->user);
	herd_record_text(r, "dbname", c->dbname);
	herd_record_text(r, "listener", c->listener);
	herd_record_number(r, "port", c->local.port);
	herd_record_add(r, "key", c->key, sizeof(c->key));
	herd_record_number(r, "long_key", c->long_key);
	herd_record_number(r, "strange_key", c->strange_key);
	herd_record_number(r, "age", w->now_us - c->connect_us);
	herd_record_number(r, "idle", w->now_us - c->query_us);
	herd_record_number(r, "skip_to_sync", c->skip_to_sync);
	herd_record_add(r, "in", herd_buf_str(&c->conn.in), c->conn.in.len);
	add_vars(r, "var", w->px, &c->vars);
	add_sets(r, "set", c->kept ? c->kept->s.sets : NULL);
	herd_record_number(r, "carried", c->carried);
	if (c->split) {
		herd_record_number(r, "asked", c->split->asked);
		herd_record_number(r, "wrote", (int64_t)c->split->wrote);
		herd_record_number(r, "owes", c->split->owes);
		herd_record_number(r, "wrote_timeline", c->split->wrote_timeline);
	}
	if (c->state == HERD_CLIENT_ADMIN)
		herd_record_number(r, "console", herd_admin_full(c));
	while (names && herd_map_next(names, &pos, &name, &stmt))
		add_stmt(r, "stmt", name, stmt);
}

struct herd_record *herd_parcel_client(struct herd_worker *w, struct herd_client *c)
{
	struct herd_server *s = c->server;
	struct herd_record *r = herd_record_new(
		c->state == HERD_CLIENT_STARTUP ? HERD_RECORD_FRESH : HERD_RECORD_CLIENT);

	if (!r)
		return NULL;
	put_client(r, w, c);
	take_fd(r, w, &c->conn);
	if (s) {
		c->server = NULL;
		s->client = NULL;
		put_server(r, w, s);
		herd_server_drop(w, s, NULL);
	}
	herd_client_close(c, NULL);
	return r;
}

/* --- reading ---------------------------------------------------------------------------------- */

static void set_var(struct herd_px *px, struct herd_vars *v, const struct herd_field *f)
{
	struct herd_rd rd = herd_rd_init(f->data, f->n);
	const char *name = herd_rd_str(&rd), *value = herd_rd_str(&rd);

	if (herd_rd_ok(&rd))
		herd_vars_set(v, &px->vars, name, value);
}

/* One setting more. False when out of memory: then what is known is not all. */
static bool set_set(struct herd_sets **sets, const struct herd_field *f)
{
	struct herd_rd rd = herd_rd_init(f->data, f->n);
	const char *name = herd_rd_str(&rd), *text = herd_rd_str(&rd);
	struct herd_sets *more = NULL;

	if (!herd_rd_ok(&rd) || herd_sets_set(*sets, name, text, &more) < 0)
		return false;
	herd_sets_unref(*sets);
	*sets = more;
	return true;
}

/* The statement with a reference; NULL when it cannot be had. *id is what the elder calls it. */
static struct herd_stmt *get_stmt(struct herd_px *px, struct herd_rd *rd, uint64_t *id)
{
	uint64_t high = herd_rd_u32(rd);

	*id = high << 32 | herd_rd_u32(rd);
	if (!herd_rd_ok(rd))
		return NULL;
	pthread_mutex_lock(&px->stmts_lock);
	struct herd_stmt *stmt =
		herd_stmts_import(px->stmts, *id, rd->p, (size_t)(rd->end - rd->p));
	pthread_mutex_unlock(&px->stmts_lock);
	return stmt;
}

static void unref(struct herd_px *px, struct herd_stmt *stmt)
{
	pthread_mutex_lock(&px->stmts_lock);
	herd_stmts_unref(px->stmts, stmt);
	pthread_mutex_unlock(&px->stmts_lock);
}

/* What a server holds is of use only under the name that it knows. */
static void set_held(struct herd_px *px, struct herd_server *s, const struct herd_field *f)
{
	struct herd_rd rd = herd_rd_init(f->data, f->n);
	uint64_t id;
	struct herd_stmt *stmt = get_stmt(px, &rd, &id);

	if (stmt && (stmt->id != id || herd_held_add(&s->held, stmt) < 0))
		unref(px, stmt);
}

static void set_stmt(struct herd_px *px, struct herd_client *c, const struct herd_field *f)
{
	struct herd_rd rd = herd_rd_init(f->data, f->n);
	const char *name = herd_rd_str(&rd);
	uint64_t id;
	struct herd_stmt *stmt = get_stmt(px, &rd, &id);

	if (stmt)
		herd_named_add(c, name, stmt);
}

static void fill_server(struct herd_worker *w, struct herd_server *s, const struct herd_record *r)
{
	struct herd_field f;
	size_t pos = 0;

	s->target_host = herd_str_dup(herd_record_str(r, "s.host"));
	s->target_port = (int)herd_record_get(r, "s.target_port", 0);
	s->addr.family = (sa_family_t)herd_record_get(r, "s.family", AF_UNSPEC);
	s->addr.port = (int)herd_record_get(r, "s.port", 0);
	if (herd_record_find(r, "s.addr", &f) && f.n < sizeof(s->addr.host))
		memcpy(s->addr.host, f.data, f.n + 1);
	s->scope = herd_str_dup(herd_record_str(r, "s.scope"));
	s->member = herd_str_dup(herd_record_str(r, "s.member"));
	s->group = (int)herd_record_get(r, "s.group", -1);
	s->want_primary = herd_record_get(r, "s.primary", 0);
	s->want_standby = herd_record_get(r, "s.want_standby", 0);
	s->standby = herd_record_get(r, "s.standby", 0);
	s->reads_only = herd_record_get(r, "s.reads_only", 0);
	s->tells = herd_record_get(r, "s.tells", 0);
	s->backend_pid = (uint32_t)herd_record_get(r, "s.pid", 0);
	if (herd_record_find(r, "s.key", &f) && f.n <= sizeof(s->cancel_key)) {
		memcpy(s->cancel_key, f.data, f.n);
		s->cancel_key_len = (uint32_t)f.n;
	}
	if (herd_record_find(r, "s.params", &f))
		herd_buf_add(&s->params, f.data, f.n);
	s->tx = (char)herd_record_get(r, "s.tx", 'I');
	s->used = herd_record_get(r, "s.used", 1);
	s->dirty = herd_record_get(r, "s.dirty", 0);
	s->asks = (uint8_t)herd_record_get(r, "s.asks", 0);
	/* One of PgBouncer's: nobody knows what else is prepared and set there. */
	if (herd_record_get(r, "s.foreign", 0))
		atomic_store(&s->close_needed, true);
	s->let_in = true;
	s->connected_us = s->opened_us = w->now_us - herd_record_get(r, "s.age", 0);
	while (herd_record_next(r, &pos, &f)) {
		if (strcmp(f.name, "s.var") == 0)
			set_var(w->px, &s->vars, &f);
		else if (strcmp(f.name, "s.held") == 0)
			set_held(w->px, s, &f);
		else if ((strcmp(f.name, "s.set") == 0 && !set_set(&s->sets, &f)) ||
			 (strcmp(f.name, "s.base") == 0 && !set_set(&s->sets_base, &f)))
			atomic_store(&s->close_needed, true);
	}
	s->login_done = s->ready = true;
	s->conn.can_read = s->conn.can_write = true;
	if (s->scope && s->member) {
		s->mate = herd_mates_get(herd_topology_mates(w->px->topology), s->scope, s->group,
					 s->member);
		if (s->mate)
			atomic_fetch_add(&s->mate->conns, 1);
	}
}

/* The server of the record, of this worker and counted as active; takes fd. NULL: it is of no use.
 */
static struct herd_server *make_server(struct herd_worker *w, const struct herd_record *r, int fd)
{
	const char *name = herd_record_str(r, "s.db"), *user = herd_record_str(r, "s.user");
	const char *listener = herd_record_str(r, "s.listener");
	struct sockaddr_storage local;
	socklen_t len = sizeof(local);
	struct herd_db *db = name ? herd_db_get(w->px, name, listener) : NULL;
	struct herd_pool *p = db && user ? herd_pool_get(w->px, db, user) : NULL;

	if (p && herd_record_get(r, "s.reads", 0))
		p = herd_pool_reads(p);
	struct herd_server *s =
		p && herd_db_conf(w->live, db) ? herd_server_new(w, p, false) : NULL;

	if (p && atomic_load(&p->elsewhere) > 0)
		atomic_fetch_sub(&p->elsewhere, 1);
	if (!s) {
		close(fd);
		return NULL;
	}
	s->conn.fd = fd;
	s->counted = HERD_COUNT_NONE;
	pthread_mutex_lock(&p->lock);
	herd_list_push_back(&p->all, &s->all_node);
	herd_pool_count_total(p, 1);
	herd_pool_count_as(p, s, HERD_COUNT_ACTIVE);
	pthread_mutex_unlock(&p->lock);
	atomic_store(&s->state, HERD_SERVER_ACTIVE);
	fill_server(w, s, r);
	/* PgBouncer does not tell the directory of a socket. */
	if (s->addr.family == AF_UNIX && herd_record_get(r, "s.foreign", 0))
		herd_str_set(&s->target_host, herd_db_conf(w->live, db)->host);
	if (getsockname(fd, (struct sockaddr *)&local, &len) == 0)
		herd_addr_of((struct sockaddr *)&local, &s->local);
	if (s->addr.family == AF_UNIX)
		s->local.port = s->addr.port;
	if (!s->target_host || herd_worker_watch(w, &s->conn, true) < 0) {
		herd_server_drop(w, s, "could not take the connection over");
		return NULL;
	}
	pthread_mutex_lock(&p->lock);
	bool greets = p->have_welcome;

	pthread_mutex_unlock(&p->lock);
	if (!greets && s->params.len > 0)
		herd_pool_greeting(w, s);
	herd_server_log(w, s, HERD_LOG_DEBUG, "taken over");
	return s;
}

static void open_server(struct herd_worker *w, struct herd_record *r)
{
	struct herd_server *s = make_server(w, r, r->fds[0]);

	r->fds[0] = -1;
	if (s)
		herd_pool_put(w, s);
}

/* What SET has made of its session. False when out of memory. */
static bool fill_session(struct herd_client *c, const struct herd_record *r)
{
	struct herd_field f;
	size_t pos = 0;

	while (herd_record_next(r, &pos, &f)) {
		if (strcmp(f.name, "set") != 0)
			continue;
		if (!c->kept)
			c->kept = calloc(1, sizeof(*c->kept));
		if (!c->kept || !set_set(&c->kept->s.sets, &f))
			return false;
	}
	if (c->kept)
		c->kept->s.prepared = herd_sets_prepared(c->kept->s.sets);
	if (c->split) {
		c->split->asked = (int)herd_record_get(r, "asked", c->split->asked);
		c->split->wrote = (uint64_t)herd_record_get(r, "wrote", 0);
		c->split->wrote_timeline = (uint32_t)herd_record_get(r, "wrote_timeline", 0);
		c->split->owes = herd_record_get(r, "owes", 0) != 0;
	}
	c->carried = herd_record_get(r, "carried", 0);
	return true;
}

static void fill_client(struct herd_worker *w, struct herd_client *c, const struct herd_record *r)
{
	struct herd_field f;
	size_t pos = 0;

	c->user = herd_str_dup(herd_record_str(r, "user"));
	c->dbname = herd_str_dup(herd_record_str(r, "dbname"));
	c->long_key = herd_record_get(r, "long_key", 0);
	c->strange_key = herd_record_get(r, "strange_key", 0);
	c->connect_us = w->now_us - herd_record_get(r, "age", 0);
	c->query_us = w->now_us - herd_record_get(r, "idle", 0);
	c->skip_to_sync = herd_record_get(r, "skip_to_sync", 0);
	if (herd_record_find(r, "in", &f))
		herd_buf_add(&c->conn.in, f.data, f.n);
	if (herd_record_find(r, "key", &f) && f.n == HERD_KEY_BYTES)
		herd_key_restore(c, (const uint8_t *)f.data);
	while (herd_record_next(r, &pos, &f)) {
		if (strcmp(f.name, "var") == 0)
			set_var(w->px, &c->vars, &f);
		else if (strcmp(f.name, "stmt") == 0)
			set_stmt(w->px, c, &f);
	}
}

static void open_client(struct herd_worker *w, struct herd_record *r)
{
	struct herd_client *c = herd_client_adopt(w, r->fds[0], herd_record_str(r, "listener"),
						  (int)herd_record_get(r, "port", 0));
	int64_t console = herd_record_get(r, "console", -1);

	r->fds[0] = -1;
	if (!c || r->type == HERD_RECORD_FRESH)
		return;
	fill_client(w, c, r);
	c->conn.can_write = true;
	if (!c->user || !c->dbname || !herd_login_resume(c, console >= 0)) {
		herd_client_fail(c, "3D000", "no such database: %s", c->dbname ? c->dbname : "");
		return;
	}
	if (console < 0 && !c->repl && !herd_split_login(c, NULL))
		return;
	if (!fill_session(c, r)) {
		herd_client_fail(c, "53200", "out of memory");
		return;
	}
	herd_client_log(c, HERD_LOG_DEBUG, "taken over");
	if (console >= 0) {
		herd_admin_resume(c, console == 1);
		return;
	}
	c->state = HERD_CLIENT_IDLE;
	if (r->nfds > 1) {
		struct herd_server *s = make_server(w, r, r->fds[1]);

		r->fds[1] = -1;
		if (!s) {
			herd_client_fail(c, "08006", "its server could not be taken over");
			return;
		}
		s->client = c;
		c->server = s;
		c->state = HERD_CLIENT_ACTIVE;
		c->active_us = c->xact_us = s->request_us = w->now_us;
		c->in_xact = s->tx != 'I';
	}
	herd_client_wake(c);
}

struct parcel {
	struct herd_note note;
	struct herd_record *r;
};

static void parcel_note(struct herd_worker *w, struct herd_note *n)
{
	struct parcel *p = herd_container_of(n, struct parcel, note);

	if (p->r->type == HERD_RECORD_SERVER)
		open_server(w, p->r);
	else
		open_client(w, p->r);
	herd_record_free(p->r);
	free(p);
}

void herd_parcel_open(struct herd_px *px, struct herd_record *r)
{
	struct herd_worker *best = &px->workers[0];
	struct parcel *p = r->nfds > 0 ? calloc(1, sizeof(*p)) : NULL;

	if (!p) {
		herd_record_free(r);
		return;
	}
	for (int i = 1; i < px->nworkers; i++) {
		if (atomic_load(&px->workers[i].nclients) < atomic_load(&best->nclients))
			best = &px->workers[i];
	}
	if (r->type != HERD_RECORD_SERVER)
		atomic_fetch_add(&best->nclients, 1);
	p->r = r;
	p->note.fn = parcel_note;
	herd_worker_post(best, &p->note);
}
