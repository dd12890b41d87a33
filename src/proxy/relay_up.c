/* From the client to the server. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "proxy/carry.h"
#include "proxy/hub.h"
#include "proxy/named.h"
#include "proxy/relay.h"
#include "proxy/repl.h"
#include "proxy/session.h"
#include "proxy/slow.h"
#include "proxy/split.h"
#include "wire/msg.h"

void herd_relay_read(struct herd_worker *w, struct herd_conn *c, struct herd_chunk *ret)
{
	size_t carry = c->in.len;

	*ret = (struct herd_chunk){ .got = -EAGAIN };
	if (carry < w->scratch_bytes / 4) {
		if (carry > 0)
			memcpy(w->scratch, c->in.data, carry);
		if (c->in.data)
			herd_buf_free(&c->in);
		ret->data = w->scratch;
		if (c->can_read)
			ret->got = herd_conn_read(c, w->scratch + carry, w->scratch_bytes - carry);
	} else {
		ret->own = true;
		if (c->can_read && herd_buf_reserve(&c->in, w->scratch_bytes))
			ret->got = herd_conn_read(c, c->in.data + carry, w->scratch_bytes);
		if (ret->got > 0)
			c->in.len += (size_t)ret->got;
		ret->data = c->in.data;
	}
	ret->len = carry + (ret->got > 0 ? (size_t)ret->got : 0);
}

int herd_relay_keep(struct herd_conn *c, const struct herd_chunk *chunk, size_t used)
{
	if (chunk->own)
		herd_buf_consume(&c->in, used);
	else if (used < chunk->len)
		herd_buf_add(&c->in, chunk->data + used, chunk->len - used);
	return herd_buf_ok(&c->in) ? 0 : -ENOMEM;
}

bool herd_relay_maps(const struct herd_client *c)
{
	return !c->internal && herd_worker_settings(c->w)->max_prepared_statements > 0 &&
	       herd_pool_mode(c->w->live, c->pool) != HERD_MODE_SESSION;
}

void herd_relay_fakes(struct herd_client *c)
{
	struct herd_buf b = { 0 };
	struct herd_flight_item done;
	char type;

	while (c->server && (type = herd_flight_take_fake(&c->server->flight, &done))) {
		if (done.stmt)
			herd_named_done(c);
		if (!c->split || herd_split_passes(c, type))
			herd_wr_empty(&b, type);
	}
	if (b.len > 0)
		herd_conn_send_buf(&c->conn, &b);
	herd_buf_free(&b);
}

/* Another server than the session had: it gets the statements that were prepared there. */
static void restore_stmts(struct herd_client *c)
{
	struct herd_server *s = c->server;
	struct herd_buf msg = { 0 };
	int rounds = herd_carry_restore(c, &msg);

	if (rounds < 0 || (rounds > 0 && herd_conn_send_buf(&s->conn, &msg) < 0))
		s->conn.broken = true;
	if (rounds > 0) {
		s->restoring = rounds;
		s->ready = false;
	}
	herd_buf_free(&msg);
}

/*
 * A server was just linked: brings its parameters to what the client expects. False: what the
 * client sent has to wait.
 */
static bool start_assignment(struct herd_client *c)
{
	struct herd_worker *w = c->w;
	struct herd_server *s = c->server;
	const struct herd_database *conf = herd_db_conf(w->live, c->db);
	struct herd_buf sql = { 0 }, msg = { 0 };

	c->state = HERD_CLIENT_ACTIVE;
	c->active_us = c->xact_us = w->now_us;
	c->in_query = c->in_xact = false;
	c->notified = false;
	c->midway = false;
	c->replayable = conf && conf->route.cluster && !c->internal;
	herd_carry_begin(c);
	if (c->carried && herd_named_all(c))
		restore_stmts(c);
	herd_buf_reset(&c->replay);
	s->request_us = w->now_us;
	s->used = true;
	herd_stat_add(&c->db->stats[w->id].server_assignment_count, 1);
	if (c->internal || herd_vars_diff(&s->vars, &c->vars, &w->px->vars, &sql) == 0)
		goto out;
	if (herd_log_level_of(w->px->log) <= HERD_LOG_DEBUG)
		herd_client_log(c, HERD_LOG_DEBUG, "varcache_apply: %s", herd_buf_str(&sql));
	herd_wr_query(&msg, herd_buf_str(&sql));
	if (herd_flight_push(&s->flight, 'Q', HERD_FLIGHT_DROP, NULL) < 0 ||
	    herd_conn_send_buf(&s->conn, &msg) < 0)
		s->conn.broken = true;
	s->vars_sent = true;
	s->ready = false;
out:
	if (s->notified_by && s->notified_by != c->id)
		herd_hub_passed_on(s);
	if (c->kept || s->sets)
		herd_session_assign(c);
	herd_buf_free(&sql);
	herd_buf_free(&msg);
	return !c->split || herd_split_assigned(c);
}

void herd_relay_linked(struct herd_client *c)
{
	herd_stat_add(&c->db->stats[c->w->id].wait_time, (uint64_t)(c->w->now_us - c->wait_us));
	herd_histogram_add(&c->server->pool->times[c->w->id].of[HERD_TIME_WAIT],
			   c->w->now_us - c->wait_us);
	start_assignment(c);
	if (c->internal) {
		struct herd_buf b = { 0 };

		c->internal->start(c, &b);
		herd_flight_push(&c->server->flight, 'S', HERD_FLIGHT_PASS, NULL);
		c->server->ready = false;
		herd_conn_send_buf(&c->server->conn, &b);
		herd_buf_free(&b);
		return;
	}
	herd_client_wake(c);
}

/* What one message came to. */
enum fate {
	TAKEN, /* consumed, *used says how much */
	LATER, /* needs more data, or a server: stop here */
	CLOSED /* the client is gone */
};

struct up {
	struct herd_client *c;
	struct herd_gather g;
	const char *p; /* the message */
	size_t avail;  /* bytes of it that are here */
	struct herd_msg_head h;
	size_t used;
	/* The same as the client sent it, with all that is here of what follows. */
	const char *raw;
	size_t raw_avail;
};

static size_t total_of(const struct up *u)
{
	return HERD_MSG_HEAD_BYTES + (size_t)u->h.len;
}

static bool complete(const struct up *u)
{
	return u->avail >= total_of(u);
}

/* Takes the message, or as much of it as is here; the rest is dropped when it comes. */
static enum fate drop(struct up *u)
{
	u->used = complete(u) ? total_of(u) : u->avail;
	u->c->pass_left = (uint32_t)(total_of(u) - u->used);
	u->c->pass_drop = true;
	return TAKEN;
}

/* Passes the message on, of which skip bytes are replaced by what was written already. */
static enum fate pass_from(struct up *u, size_t skip)
{
	u->used = complete(u) ? total_of(u) : u->avail;
	u->c->pass_left = (uint32_t)(total_of(u) - u->used);
	u->c->pass_drop = false;
	herd_gather_add(&u->g, u->p + skip, u->used - skip);
	return TAKEN;
}

/* Is enough of it here to begin? Small messages go whole, long ones as they come. */
static bool enough(const struct up *u)
{
	return complete(u) || (u->h.len > HERD_RELAY_WHOLE_BYTES && u->avail >= 1024);
}

static enum fate oom(struct up *u)
{
	herd_client_fail(u->c, "53200", "out of memory");
	return CLOSED;
}

/* Notes a request that was sent with a statement; the request has a reference of its own. */
static int push_stmt(struct up *u, char type, enum herd_flight_act act, struct herd_stmt *stmt)
{
	struct herd_px *px = u->c->w->px;
	int rc = herd_flight_push(&u->c->server->flight, type, act, stmt);

	if (rc == 1 && act != HERD_FLIGHT_FAKE) {
		pthread_mutex_lock(&px->stmts_lock);
		herd_stmts_ref(px->stmts, stmt);
		pthread_mutex_unlock(&px->stmts_lock);
	}
	return rc;
}

/* Closes one on the server. When an error makes the server skip that, it is held again. */
static void forget_held(struct up *u, struct herd_stmt *old)
{
	struct herd_worker *w = u->c->w;
	struct herd_server *s = u->c->server;

	if (push_stmt(u, 'C', HERD_FLIGHT_DROP, old) != 1)
		return;
	herd_wr_close(herd_gather_buf(&u->g), old);
	herd_held_remove(&s->held, old);
	pthread_mutex_lock(&w->px->stmts_lock);
	herd_stmts_unref(w->px->stmts, old);
	pthread_mutex_unlock(&w->px->stmts_lock);
}

/* Notes that the server holds it from now on. */
static int hold_stmt(struct up *u, struct herd_stmt *stmt)
{
	struct herd_worker *w = u->c->w;
	struct herd_server *s = u->c->server;
	uint32_t max = (uint32_t)herd_worker_settings(w)->max_prepared_statements;

	while (s->held.count >= max && s->held.count > 0) {
		uint32_t before = s->held.count;

		forget_held(u, herd_held_oldest(&s->held));
		if (s->held.count == before)
			break;
	}
	if (herd_held_add(&s->held, stmt) < 0)
		return -ENOMEM;
	pthread_mutex_lock(&w->px->stmts_lock);
	herd_stmts_ref(w->px->stmts, stmt);
	pthread_mutex_unlock(&w->px->stmts_lock);
	return 0;
}

/* The message waits for the server's next answer. */
static enum fate wait_for_answer(struct up *u)
{
	u->c->unsettled = true;
	return LATER;
}

/* Sees to it that the server knows the statement, by a Parse of ours when needed. */
static int ensure_stmt(struct up *u, struct herd_stmt *stmt)
{
	struct herd_server *s = u->c->server;

	if (herd_held_use(&s->held, stmt))
		return 0;
	int rc = push_stmt(u, 'P', HERD_FLIGHT_DROP, stmt);

	if (rc <= 0)
		return rc;
	herd_wr_parse(herd_gather_buf(&u->g), stmt);
	herd_stat_add(&u->c->db->stats[u->c->w->id].server_parse_count, 1);
	return hold_stmt(u, stmt);
}

/*
 * The name is taken. The server says so itself, in its turn, and ignores what follows up to the
 * next Sync: it gets a statement under a name that it holds.
 */
static enum fate duplicate_parse(struct up *u, const struct herd_stmt_names *n,
				 struct herd_stmt *stmt)
{
	if (herd_flight_changing(&u->c->server->flight, stmt))
		return wait_for_answer(u);
	int rc = ensure_stmt(u, stmt);

	if (rc >= 0)
		rc = herd_flight_push(&u->c->server->flight, 'P', HERD_FLIGHT_PASS, NULL);
	if (rc < 0)
		return oom(u);
	herd_client_log(u->c, HERD_LOG_WARNING, "prepared statement '%s' was already prepared",
			n->stmt);
	if (rc == 0)
		return drop(u);
	/* With the new text: an error of its syntax comes first. */
	herd_stmt_names_rewrite(herd_gather_buf(&u->g), 'P', u->p + HERD_MSG_HEAD_BYTES, u->h.len,
				n, stmt->name);
	return pass_from(u, HERD_MSG_HEAD_BYTES + n->head_bytes);
}

static enum fate named_parse(struct up *u, const struct herd_stmt_names *n)
{
	struct herd_client *c = u->c;
	struct herd_server *s = c->server;
	const char *body = u->p + HERD_MSG_HEAD_BYTES;
	struct herd_stmt *stmt;

	if (!complete(u))
		return LATER;
	if (herd_named_undecided(c, n->stmt))
		return wait_for_answer(u);
	stmt = herd_named_get(c, n->stmt);
	if (stmt)
		return duplicate_parse(u, n, stmt);
	pthread_mutex_lock(&c->w->px->stmts_lock);
	stmt = herd_stmts_intern(c->w->px->stmts, body + n->head_bytes, u->h.len - n->head_bytes);
	pthread_mutex_unlock(&c->w->px->stmts_lock);
	if (!stmt)
		return oom(u);
	bool held = herd_held_use(&s->held, stmt);
	/* it may be there still: our Close of it in this batch may be skipped with the Parse */
	bool known = held || herd_flight_changes(&s->flight, stmt);
	int rc = herd_flight_changing(&s->flight, stmt) ? -EAGAIN : 1;

	/* In a failed transaction a Parse is refused, by the server. */
	if (rc == 1 && held && s->tx == 'E') {
		forget_held(u, stmt);
		held = herd_held_use(&s->held, stmt);
	}
	if (rc == 1)
		rc = push_stmt(u, 'P', held ? HERD_FLIGHT_FAKE : HERD_FLIGHT_PASS, stmt);
	if (rc == 1) {
		if (!held) {
			herd_wr_parse(herd_gather_buf(&u->g), stmt);
			herd_stat_add(&c->db->stats[c->w->id].server_parse_count, 1);
			rc = hold_stmt(u, stmt) < 0 ? -ENOMEM : 1;
		}
		if (herd_named_parse(c, n->stmt, stmt, !known) < 0)
			rc = -ENOMEM;
	} else {
		pthread_mutex_lock(&c->w->px->stmts_lock);
		herd_stmts_unref(c->w->px->stmts, stmt);
		pthread_mutex_unlock(&c->w->px->stmts_lock);
	}
	if (rc == -EAGAIN)
		return wait_for_answer(u);
	if (rc < 0)
		return oom(u);
	u->used = total_of(u);
	return TAKEN;
}

/* Bind and Describe of a named statement: under the name that servers know. */
static enum fate use_stmt(struct up *u, const struct herd_stmt_names *n)
{
	struct herd_client *c = u->c;
	struct herd_stmt *stmt = herd_named_find(c, n->stmt);
	int rc;

	if (herd_named_unclear(c, n->stmt, stmt))
		return wait_for_answer(u);
	if (stmt) {
		rc = ensure_stmt(u, stmt);
		if (rc < 0)
			return oom(u);
	}
	rc = herd_flight_push(&c->server->flight, u->h.type, HERD_FLIGHT_PASS, NULL);
	if (rc < 0)
		return oom(u);
	if (rc == 0)
		return drop(u);
	if (!stmt)
		return pass_from(u, 0);
	herd_stmt_names_rewrite(herd_gather_buf(&u->g), u->h.type, u->p + HERD_MSG_HEAD_BYTES,
				u->h.len, n, stmt->name);
	return pass_from(u, HERD_MSG_HEAD_BYTES + n->head_bytes);
}

/* Close of a named statement is answered by us: other clients may use it on this server. */
static enum fate close_stmt(struct up *u, const struct herd_stmt_names *n)
{
	struct herd_client *c = u->c;
	struct herd_flight *f = &c->server->flight;

	if (herd_named_undecided(c, n->stmt))
		return wait_for_answer(u);
	int rc = herd_flight_push(f, 'C', HERD_FLIGHT_FAKE, NULL);

	if (rc < 0)
		return oom(u);
	if (rc > 0)
		herd_flight_carry(f, herd_named_close(c, n->stmt));
	return drop(u);
}

static enum fate push_and_pass(struct up *u, char type)
{
	int rc = herd_flight_push(&u->c->server->flight, type, HERD_FLIGHT_PASS, NULL);

	if (rc < 0)
		return oom(u);
	/* What the server would ignore need not travel, except for the end of COPY data. */
	return rc == 0 && type != 'c' ? drop(u) : pass_from(u, 0);
}

/* Session pooling, of a session that may have to be taken to another server. */
static enum fate carried_message(struct up *u, const struct herd_stmt_names *n)
{
	struct herd_client *c = u->c;

	if (!complete(u))
		return LATER;
	if (u->h.type == 'C') {
		herd_carry_close(c, n->stmt);
		return push_and_pass(u, 'C');
	}
	struct herd_stmt *stmt = herd_carry_parse(c, n, u->p + HERD_MSG_HEAD_BYTES, u->h.len);
	int rc = herd_flight_push(&c->server->flight, 'P', HERD_FLIGHT_PASS, stmt);

	if (rc != 1 && stmt) {
		herd_named_unsent(c);
		pthread_mutex_lock(&c->w->px->stmts_lock);
		herd_stmts_unref(c->w->px->stmts, stmt);
		pthread_mutex_unlock(&c->w->px->stmts_lock);
	}
	return rc < 0 ? oom(u) : rc == 0 ? drop(u) : pass_from(u, 0);
}

/* Parse, Bind, Describe, Close. */
static enum fate named_message(struct up *u)
{
	struct herd_stmt_names n;
	struct herd_client *c = u->c;
	struct herd_stats *st = &c->db->stats[c->w->id];
	int rc = herd_stmt_names_parse(u->h.type, u->p + HERD_MSG_HEAD_BYTES,
				       (complete(u) ? total_of(u) : u->avail) - HERD_MSG_HEAD_BYTES,
				       &n);

	if (rc == -EAGAIN && !complete(u))
		return LATER;
	if (rc == 0 && c->carried && *n.stmt && n.kind == 'S' &&
	    (u->h.type == 'P' || u->h.type == 'C'))
		return carried_message(u, &n);
	/* Malformed ones are the server's to refuse. */
	if (rc < 0 || *n.stmt == '\0' || n.kind != 'S' || !herd_relay_maps(c))
		return push_and_pass(u, u->h.type);
	enum fate f = u->h.type == 'P'   ? named_parse(u, &n)
		      : u->h.type != 'C' ? use_stmt(u, &n)
		      : complete(u)      ? close_stmt(u, &n)
					 : LATER;

	if (f == TAKEN && u->h.type == 'P')
		herd_stat_add(&st->client_parse_count, 1);
	else if (f == TAKEN && u->h.type == 'B')
		herd_stat_add(&st->bind_count, 1);
	return f;
}

static void begin_query(struct herd_client *c)
{
	if (!c->in_query) {
		c->in_query = true;
		c->query_us = c->w->now_us;
	}
	if (!c->in_xact) {
		c->in_xact = true;
		c->xact_us = c->w->now_us;
	}
}

/* A server is linked. */
static enum fate forward(struct up *u)
{
	struct herd_client *c = u->c;
	enum fate f;

	if (!enough(u) || c->server->sets_sent)
		return LATER;
	switch (u->h.type) {
	case 'Q':
		if (herd_worker_settings(c->w)->disable_pqexec) {
			herd_client_fail(c, "08P01", "PQexec disallowed");
			return CLOSED;
		}
		f = push_and_pass(u, 'Q');
		break;
	case 'P':
	case 'B':
	case 'D':
	case 'C':
		f = named_message(u);
		break;
	case 'E':
	case 'S':
	case 'F':
		f = push_and_pass(u, u->h.type);
		break;
	case 'c':
	case 'f':
		f = push_and_pass(u, 'c');
		break;
	default: /* H, d */
		return pass_from(u, 0);
	}
	if (c->carried && (u->h.type == 'Q' || u->h.type == 'P' || u->h.type == 'F') && f == TAKEN)
		herd_carry_look(c, u->h.type, u->p + HERD_MSG_HEAD_BYTES,
				u->used - HERD_MSG_HEAD_BYTES, complete(u));
	if (f == TAKEN) {
		if (herd_slow_on(c->w))
			herd_slow_begin(c, u->h.type, u->p + HERD_MSG_HEAD_BYTES,
					(complete(u) ? total_of(u) : u->avail) -
						HERD_MSG_HEAD_BYTES);
		begin_query(c);
		c->server->ready = false;
	}
	return f;
}

/* No server is linked. */
static enum fate without_server(struct up *u)
{
	struct herd_client *c = u->c;
	struct herd_buf b = { 0 };

	switch (u->h.type) {
	case 'd':
	case 'c':
	case 'f':
	case 'H':
		return drop(u); /* the end of a COPY that failed, or nothing to flush */
	case 'S':
		herd_wr_ready(&b, 'I');
		herd_conn_send_buf(&c->conn, &b);
		herd_buf_free(&b);
		return drop(u);
	default:
		if (!enough(u))
			return LATER;
		if (atomic_load(&c->w->px->stop) == HERD_STOP_SERVERS) {
			herd_client_fail(c, "57P01", "server shutting down");
			return CLOSED;
		}
		if (c->split && herd_split_choose(c, u->raw, u->raw_avail) != HERD_SPLIT_GO)
			return LATER;
		if (!herd_pool_checkout(c->w, c))
			return c->state == HERD_CLIENT_CLOSED ? CLOSED : LATER;
		herd_histogram_add(&c->server->pool->times[c->w->id].of[HERD_TIME_WAIT], 0);
		u->g.to = &c->server->conn;
		if (!start_assignment(c))
			return LATER;
		if (c->split)
			c->split->first = false;
		return forward(u);
	}
}

void herd_relay_cancel_queued(struct herd_client *c)
{
	struct herd_buf b = { 0 };
	struct herd_msg_head h;

	/* What waits is the first message it keeps. */
	if (c->state != HERD_CLIENT_WAITING ||
	    herd_msg_head_parse(herd_buf_str(&c->conn.in), c->conn.in.len, &h) < 0 ||
	    !herd_pool_leave(c->w, c))
		return; /* or a server is on its way already: too late */
	herd_wr_report(&b, 'E', "ERROR", "57014", "canceling statement due to user request", NULL,
		       NULL);
	if (h.type == 'Q' || h.type == 'F') {
		size_t total = HERD_MSG_HEAD_BYTES + (size_t)h.len;
		size_t here = total < c->conn.in.len ? total : c->conn.in.len;

		herd_buf_consume(&c->conn.in, here);
		c->pass_left = (uint32_t)(total - here);
		c->pass_drop = true;
		herd_wr_ready(&b, 'I');
	} else {
		c->skip_to_sync = true;
	}
	c->state = HERD_CLIENT_IDLE;
	herd_conn_send_buf(&c->conn, &b);
	herd_buf_free(&b);
	herd_client_wake(c);
}

static void remember(struct up *u)
{
	struct herd_client *c = u->c;

	if (!c->replayable)
		return;
	if (c->pass_left > 0 || c->replay.len + u->used > HERD_REPLAY_MAX_BYTES) {
		c->replayable = false;
		herd_buf_free(&c->replay);
		return;
	}
	herd_buf_add(&c->replay, u->p, u->used);
}

/* With a look at what it does to the session; another message may be sent in its place. */
static enum fate watched(struct up *u)
{
	struct herd_client *c = u->c;
	struct herd_session_msg m = { .type = u->h.type, .body = u->p + HERD_MSG_HEAD_BYTES };
	struct up was = *u;
	bool ignored = c->server && c->server->flight.skipping;
	enum fate f;

	if (!enough(u) || (!complete(u) && u->h.len <= HERD_SESSION_LOOK_BYTES))
		return LATER;
	m.partial = !complete(u);
	m.len = m.partial ? u->avail - HERD_MSG_HEAD_BYTES : u->h.len;
	switch (herd_session_look(c, &m)) {
	case HERD_LOOK_WAIT:
		return LATER;
	case HERD_LOOK_CLOSED:
		return CLOSED;
	case HERD_LOOK_GO:
		break;
	}
	if (m.instead.len > 0) {
		u->p = herd_buf_str(&m.instead);
		u->avail = m.instead.len;
		u->h.len = (uint32_t)(m.instead.len - HERD_MSG_HEAD_BYTES);
	}
	f = c->server ? forward(u) : without_server(u);
	if (f == TAKEN)
		herd_session_sent_msg(c, &m, ignored);
	if (m.instead.len > 0 && f != CLOSED) {
		/* What was gathered still points to it. */
		if (u->g.to)
			herd_gather_buf(&u->g);
		u->p = was.p;
		u->avail = was.avail;
		u->h = was.h;
		u->used = total_of(u);
	}
	herd_session_msg_free(&m);
	return f;
}

static bool is_watched(struct herd_client *c, char type)
{
	return herd_session_tracks(c) &&
	       (type == 'Q' || type == 'P' || type == 'B' || type == 'E' || type == 'C');
}

static enum fate one_message(struct up *u)
{
	struct herd_client *c = u->c;
	enum fate f;

	switch (u->h.type) {
	case 'X':
		herd_client_close(c, "client close request");
		return CLOSED;
	case 'Q':
	case 'P':
	case 'B':
	case 'D':
	case 'E':
	case 'C':
	case 'S':
	case 'F':
	case 'H':
	case 'd':
	case 'c':
	case 'f':
		break;
	default:
		herd_client_log(c, HERD_LOG_ERROR, "unknown pkt from client: %u/0x%x",
				(uint8_t)u->h.type, (uint8_t)u->h.type);
		herd_client_fail(c, "08P01", "unknown pkt");
		return CLOSED;
	}
	if ((int64_t)total_of(u) > herd_worker_settings(c->w)->max_packet_size) {
		herd_client_fail(c, "08P01", "packet too large");
		return CLOSED;
	}
	/*
	 * Flush and CopyDone have no answer, but for an error when they are malformed: it would
	 * meet whoever has the server then, and the server would ignore that one's requests.
	 */
	if ((u->h.type == 'H' || u->h.type == 'c') && u->h.len > 0) {
		herd_client_fail(c, "08P01", "invalid message format");
		return CLOSED;
	}
	if (c->skip_to_sync) {
		if (u->h.type != 'S')
			return drop(u);
		c->skip_to_sync = false;
		return without_server(u);
	}
	if (c->split && c->server) {
		enum herd_split_step step = herd_split_goes_on(c, u->raw, u->raw_avail);

		if (step == HERD_SPLIT_LATER)
			return LATER;
		if (step == HERD_SPLIT_LEFT)
			u->g.to = NULL;
	}
	if (is_watched(c, u->h.type))
		f = watched(u);
	else
		f = c->server ? forward(u) : without_server(u);
	if (f == TAKEN && c->server)
		remember(u);
	return f;
}

/* Returns the bytes used; *closed when the client is gone. */
static size_t process(struct herd_client *c, const char *data, size_t n, bool *closed)
{
	struct up u = { .c = c };
	size_t used = 0;

	herd_gather_start(&u.g, c->server ? &c->server->conn : NULL, &c->w->aux, c->w->batching);
	while (used < n) {
		u.p = u.raw = data + used;
		u.avail = u.raw_avail = n - used;
		if (c->pass_left > 0) {
			size_t take = u.avail < c->pass_left ? u.avail : c->pass_left;

			if (!c->pass_drop && c->server)
				herd_gather_add(&u.g, u.p, take);
			c->pass_left -= (uint32_t)take;
			used += take;
			continue;
		}
		int rc = herd_msg_head_parse(u.p, u.avail, &u.h);

		if (rc == -EAGAIN)
			break;
		if (rc < 0) {
			herd_client_bad_header(c, u.p, u.avail);
			*closed = true;
			return used;
		}
		enum fate f = one_message(&u);

		if (f == CLOSED) {
			*closed = true;
			return used;
		}
		if (f == LATER)
			break;
		used += u.used;
	}
	if (u.g.to && herd_gather_end(&u.g) < 0) {
		herd_client_fail(c, "53200", "out of memory");
		*closed = true;
	} else {
		herd_relay_fakes(c);
	}
	return used;
}

void herd_relay_from_client(struct herd_client *c)
{
	struct herd_chunk chunk;

	if (c->repl) {
		herd_repl_from_client(c);
		return;
	}
	for (int loops = 0;; loops++) {
		bool closed = false;

		if (c->state != HERD_CLIENT_IDLE && c->state != HERD_CLIENT_ACTIVE)
			return;
		if (c->server && herd_conn_blocked(&c->server->conn))
			return;
		if (c->split && c->split->blocked)
			return;
		c->unsettled = c->unsettled && c->server;
		if (c->unsettled && c->conn.hung_up) {
			herd_client_close(c, "client unexpected eof");
			return;
		}
		if (c->unsettled)
			return;
		if (!c->conn.can_read && c->conn.in.len == 0)
			return;
		if (herd_relay_had_turn(c->w, loops)) {
			herd_client_wake(c);
			return;
		}
		herd_relay_read(c->w, &c->conn, &chunk);
		if (chunk.got > 0)
			herd_stat_add(&c->db->stats[c->w->id].received, (uint64_t)chunk.got);
		size_t used = chunk.len > 0 ? process(c, chunk.data, chunk.len, &closed) : 0;

		if (closed)
			return;
		if (herd_relay_keep(&c->conn, &chunk, used) < 0) {
			herd_client_fail(c, "53200", "out of memory");
			return;
		}
		if (chunk.got == 0 || (chunk.got < 0 && chunk.got != -EAGAIN)) {
			herd_client_close(c, "client unexpected eof");
			return;
		}
		if (chunk.got < 0 && used == 0)
			return;
	}
}
