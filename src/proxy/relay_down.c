/* From the server to the client, and what happens when the server dies. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "proxy/handover.h"
#include "proxy/hub.h"
#include "proxy/named.h"
#include "proxy/relay.h"
#include "proxy/repl.h"
#include "proxy/session.h"
#include "proxy/slow.h"
#include "proxy/split.h"
#include "proxy/topology.h"
#include "wire/msg.h"

struct down {
	struct herd_worker *w;
	struct herd_server *s;
	struct herd_client *c;
	struct herd_gather g;
	bool release;     /* the transaction is over */
	bool refuse;      /* statement pooling: a transaction was begun */
	bool astray;      /* no primary any more, and nothing was done yet */
	bool unset;       /* what the client had set could not be set again */
	uint32_t skipped; /* of the client's names, by this message */
};

static void unref_stmt(struct herd_worker *w, struct herd_stmt *stmt)
{
	pthread_mutex_lock(&w->px->stmts_lock);
	herd_stmts_unref(w->px->stmts, stmt);
	pthread_mutex_unlock(&w->px->stmts_lock);
}

/*
 * The request failed, or the server threw it away: what it would have done did not happen. A
 * statement of a Parse is not there; one that we wanted to close at eviction still is.
 */
static void on_lost(void *arg, const struct herd_flight_item *item)
{
	struct down *d = arg;
	struct herd_stmt *stmt = item->stmt;

	if (item->noted)
		herd_session_over(&d->c->kept->s);
	if (!stmt)
		return;
	d->skipped += item->act != HERD_FLIGHT_DROP;
	if (item->act == HERD_FLIGHT_FAKE)
		return;
	if (item->type == 'P') {
		for (uint32_t n = herd_flight_disown(&d->s->flight, stmt); n > 0; n--)
			unref_stmt(d->w, stmt);
		if (herd_held_remove(&d->s->held, stmt))
			unref_stmt(d->w, stmt);
	} else if (!herd_held_use(&d->s->held, stmt)) {
		if (herd_held_add(&d->s->held, stmt) == 0)
			return; /* with the reference of the request */
		/* It is there and we cannot note it: its next Parse would fail. */
		atomic_store(&d->s->close_needed, true);
	}
	unref_stmt(d->w, stmt);
}

static enum herd_flight_act answered(struct down *d, char type, struct herd_flight_item *done)
{
	d->skipped = 0;
	enum herd_flight_act act = herd_flight_answer(&d->s->flight, type, on_lost, d, done);

	herd_named_skipped(d->c, d->skipped);
	return act;
}

/* After a SET of ours: what still differs is how the server spells the client's value. */
static void adopt_vars(struct down *d)
{
	const struct herd_var_names *names = &d->w->px->vars;

	for (int i = 0; d->s->vars.value && i < names->n; i++) {
		const char *was = d->c->vars.value ? d->c->vars.value[i] : NULL;
		const char *is = d->s->vars.value[i];

		if (!was || !is || strcmp(was, is) == 0)
			continue;
		herd_client_log(d->c, HERD_LOG_DEBUG,
				"varcache_set_canonical: setting %s to its canonical version "
				"%s -> %s",
				names->name[i], was, is);
		herd_vars_set(&d->c->vars, names, names->name[i], is);
	}
}

static void count_round(struct down *d)
{
	struct herd_client *c = d->c;
	struct herd_stats *st = &c->db->stats[d->w->id];
	struct herd_times *times = &d->s->pool->times[d->w->id];

	if (c->in_query) {
		herd_stat_add(&st->query_count, 1);
		herd_stat_add(&st->query_time, (uint64_t)(d->w->now_us - c->query_us));
		herd_histogram_add(&times->of[HERD_TIME_QUERY], d->w->now_us - c->query_us);
		if (herd_slow_on(d->w))
			herd_slow_end(d->w, c, d->s);
		c->in_query = false;
	}
	if (d->s->tx == 'I' && c->in_xact) {
		herd_stat_add(&st->xact_count, 1);
		herd_stat_add(&st->xact_time, (uint64_t)(d->w->now_us - c->xact_us));
		herd_histogram_add(&times->of[HERD_TIME_XACT], d->w->now_us - c->xact_us);
		c->in_xact = false;
	}
}

/* In session pooling, too, the first statement of a transaction may be sent to another server. */
static void begin_anew(struct herd_client *c)
{
	c->replayable = true;
	herd_buf_free(&c->replay);
}

/* ReadyForQuery. */
static enum herd_flight_act round_over(struct down *d, const char *body, size_t n)
{
	struct herd_flight_item done;
	enum herd_flight_act act = answered(d, 'Z', &done);

	herd_stream_end(d->s);
	d->s->tx = n > 0 ? *body : 'I';
	d->s->request_us = d->w->now_us;
	if (act == HERD_FLIGHT_DROP && done.mark == HERD_MARK_PINS) {
		d->release = herd_session_probed(d->c) && !(d->c->split && herd_split_ends(d->c));
		return act;
	}
	if (act == HERD_FLIGHT_DROP && done.mark == HERD_MARK_PREPARES)
		return act;
	if (act == HERD_FLIGHT_DROP && done.mark) {
		d->s->ready = true;
		d->release = herd_causal_answered(d->c, done.mark);
		return act;
	}
	if (act == HERD_FLIGHT_DROP) {
		if (d->s->restoring > 0) {
			d->s->restoring--;
			return act;
		}
		if (d->s->vars_sent)
			adopt_vars(d);
		else if (d->s->sets_sent)
			d->unset = herd_session_assigned(d->c) < 0;
		d->s->vars_sent = false;
		return act;
	}
	if (d->c->kept) {
		if (done.noted)
			herd_session_over(&d->c->kept->s);
		herd_session_round(d->c, d->s->tx);
	}
	if (d->c->split && d->c->split->ddl && d->s->tx == 'I')
		herd_split_schema(d->c);
	if (d->c->split && d->c->split->again) {
		d->s->ready = d->release = true;
		return HERD_FLIGHT_DROP;
	}
	count_round(d);
	d->c->midway = false;
	if (!herd_flight_idle(&d->s->flight))
		return act;
	herd_named_settled(d->c);
	d->s->ready = true;
	int mode = herd_pool_mode(d->w->live, d->c->pool);

	if (d->c->internal)
		d->release = true;
	else if (d->s->tx == 'I')
		d->release = mode != HERD_MODE_SESSION && !herd_session_pinned(d->c) &&
			     !(d->c->split && herd_split_ends(d->c));
	else if (mode == HERD_MODE_STATEMENT)
		return d->refuse = true, HERD_FLIGHT_DROP;
	if (d->s->tx == 'I' && mode != HERD_MODE_SESSION && herd_session_pinned(d->c))
		herd_session_probe(d->c);
	if (d->c->split && d->s->tx != 'I' && d->c->split->blocked) {
		d->c->split->blocked = false;
		herd_client_wake(d->c);
	}
	return act;
}

/* "DEALLOCATE ALL" and "DISCARD ALL" by the client's own SQL. */
static void look_at_tag(struct down *d, const char *body, size_t n)
{
	static const char *const tags[] = { "DEALLOCATE ALL", "DISCARD ALL" };

	/* One name, which is not known here: what is remembered of the session may be wrong. */
	if (d->c->carried && n == sizeof("DEALLOCATE") && memcmp(body, "DEALLOCATE", n) == 0)
		d->c->carried = false;
	for (size_t i = 0; i < 2; i++) {
		if (n == strlen(tags[i]) + 1 && memcmp(body, tags[i], n) == 0) {
			herd_server_forget_stmts(d->w, d->s);
			herd_named_free(d->c);
			herd_session_forget_stmts(d->c);
		}
	}
}

static void keep_error(struct herd_server *s, const struct herd_report *e)
{
	s->errored = true;
	herd_str_set(&s->error_text, e->msg);
	memset(s->error_state, 0, sizeof(s->error_state));
	strncpy(s->error_state, e->sqlstate, sizeof(s->error_state) - 1);
}

/*
 * 25006 of a server that should lead. If it says that the session only reads by the user's own
 * wish, it is nothing; else it is given up, and the herd is asked anew. True when the statement is
 * to be sent to whoever leads.
 */
static bool read_only_primary(struct down *d, const struct herd_report *e)
{
	struct herd_server *s = d->s;

	if (!s->want_primary || strcmp(e->sqlstate, "25006") != 0 ||
	    (s->tells && !s->standby && !s->reads_only))
		return false;
	if (!atomic_load(&s->close_needed))
		herd_server_log(d->w, s, HERD_LOG_WARNING,
				"the server is read only: not used as a primary any more");
	atomic_store(&s->close_needed, true);
	herd_topology_ask(d->w->px->topology);
	if (!s->standby || !d->c->replayable || d->c->internal)
		return false;
	keep_error(s, e);
	return d->astray = true;
}

/* ErrorResponse. A server that dies says so first; what the client hears is decided at its end. */
static enum herd_flight_act on_error(struct down *d, const char *body, size_t n)
{
	struct herd_report e = { "", "", "", "", "" };

	if (herd_report_parse(body, n, &e) == 0 &&
	    (strcmp(e.severity, "FATAL") == 0 || strcmp(e.severity, "PANIC") == 0)) {
		keep_error(d->s, &e);
		return HERD_FLIGHT_DROP;
	}
	if (read_only_primary(d, &e))
		return HERD_FLIGHT_DROP;
	const struct herd_flight_item *head = herd_flight_head(&d->s->flight);

	/* The server knows a statement of which we do not know: the next client gets another one.
	 */
	if (head && head->type == 'P' && head->stmt && strcmp(e.sqlstate, "42P05") == 0)
		atomic_store(&d->s->close_needed, true);
	/* A statement of the client's that we had to parse there counts as its own. */
	bool swallow = d->c->split && head &&
		       (head->act == HERD_FLIGHT_PASS || head->type != 'Q') &&
		       herd_split_swallows(d->c, e.sqlstate);
	bool prepares = head && head->mark == HERD_MARK_PREPARES;
	enum herd_flight_act act = answered(d, 'E', NULL);

	if (swallow) {
		if (d->c->kept)
			herd_session_error(&d->c->kept->s);
		herd_client_log(d->c, HERD_LOG_DEBUG, "asking the primary, for a standby says: %s",
				e.msg);
		return HERD_FLIGHT_DROP;
	}

	if (d->s->restoring > 0 || prepares)
		act = HERD_FLIGHT_DROP;
	else if (act == HERD_FLIGHT_DROP && d->s->sets_sent && !d->s->vars_sent)
		herd_str_set(&d->s->error_text, e.msg);
	else if (act == HERD_FLIGHT_PASS && d->c->kept)
		herd_session_error(&d->c->kept->s);
	if (act == HERD_FLIGHT_DROP)
		herd_server_log(d->w, d->s, HERD_LOG_WARNING, "error on a query of the proxy: %s",
				e.msg);
	return act;
}

/* CommandComplete for the client. True: we answer in its place. */
static bool statement_over(struct down *d, const char *body, size_t n)
{
	look_at_tag(d, body, n);
	if (!d->c->kept || !herd_session_complete(d->c, herd_flight_head(&d->s->flight), body, n))
		return false;
	herd_wr_complete(herd_gather_buf(&d->g), "LISTEN");
	d->c->midway = true;
	d->c->replayable = false;
	return true;
}

/* A whole message, or the beginning of a long one. What to do with it. */
static enum herd_flight_act look(struct down *d, char type, const char *body, size_t n)
{
	bool ours = herd_flight_drops(&d->s->flight);
	struct herd_flight_item done;
	bool instead = false;
	struct herd_rd r;

	if (ours && type == 'D' && herd_flight_head(&d->s->flight)->mark == HERD_MARK_PINS)
		herd_session_probe_row(d->c, body, n);
	else if (ours && type == 'D' && herd_flight_head(&d->s->flight)->mark)
		herd_causal_row(d->c, body, n);
	switch (type) {
	case 'D':
	case 'd':
	case 'c':
	case 'N':
		return ours ? HERD_FLIGHT_DROP : HERD_FLIGHT_PASS;
	case 'A':
		return HERD_FLIGHT_PASS;
	case 'S':
		herd_server_parameter(d->w, d->s, body, n);
		r = herd_rd_init(body, n);
		const char *name = herd_rd_str(&r), *value = herd_rd_str(&r);

		if (herd_rd_ok(&r))
			herd_vars_set(&d->c->vars, &d->w->px->vars, name, value);
		return ours ? HERD_FLIGHT_DROP : HERD_FLIGHT_PASS;
	case 'Z':
		return round_over(d, body, n);
	case 'E':
		return on_error(d, body, n);
	case 'C':
		if (!ours && d->c->split)
			herd_split_tag(d->c, body, n);
		if (!ours)
			instead = statement_over(d, body, n);
		break;
	default:
		break;
	}
	enum herd_flight_act act = answered(d, type, &done);

	if (done.stmt) {
		if (done.act != HERD_FLIGHT_DROP)
			herd_named_done(d->c);
		unref_stmt(d->w, done.stmt);
	}
	if (done.noted)
		herd_session_over(&d->c->kept->s);
	return instead ? HERD_FLIGHT_DROP : act;
}

static void add_fakes(struct down *d)
{
	struct herd_flight_item done;
	char type;

	while ((type = herd_flight_take_fake(&d->s->flight, &done))) {
		if (done.stmt)
			herd_named_done(d->c);
		if (!d->c->split || herd_split_passes(d->c, type))
			herd_wr_empty(herd_gather_buf(&d->g), type);
	}
}

static void to_internal(struct down *d, char type, const char *body, size_t n)
{
	if (d->c->internal->message)
		d->c->internal->message(d->c, type, body, n);
}

static void deliver(struct down *d, const char *p, size_t n, const struct herd_msg_head *h)
{
	if (d->c->internal) {
		to_internal(d, h->type, p + HERD_MSG_HEAD_BYTES, n - HERD_MSG_HEAD_BYTES);
		return;
	}
	if (d->c->split) {
		if (!herd_split_passes(d->c, h->type)) {
			d->s->pass_drop = true;
			return;
		}
	} else {
		d->c->replayable = false;
	}
	herd_gather_add(&d->g, p, n);
	if (h->type != 'Z')
		d->c->midway = true;
	if (d->c->carried && h->type == 'Z' && d->s->ready && d->s->tx == 'I')
		begin_anew(d->c);
}

/* Returns the bytes used, or -EBADMSG. Stops behind the end of a transaction. */
static ssize_t process(struct down *d, const char *data, size_t n)
{
	struct herd_server *s = d->s;
	size_t used = 0;

	while (used < n && !d->release && !d->refuse && !d->astray && !d->unset) {
		const char *p = data + used;
		size_t avail = n - used;
		struct herd_msg_head h;

		if (s->pass_left > 0) {
			size_t take = avail < s->pass_left ? avail : s->pass_left;

			if (!s->pass_drop && !d->c->internal)
				herd_gather_add(&d->g, p, take);
			s->pass_left -= (uint32_t)take;
			used += take;
			continue;
		}
		int rc = herd_msg_head_parse(p, avail, &h);

		if (rc == -EAGAIN)
			break;
		if (rc < 0)
			return rc;
		size_t total = HERD_MSG_HEAD_BYTES + (size_t)h.len;
		bool whole = avail >= total;

		if (!whole && (h.len <= HERD_RELAY_WHOLE_BYTES || d->c->internal))
			break;
		size_t here = whole ? total : avail;
		enum herd_flight_act act =
			look(d, h.type, p + HERD_MSG_HEAD_BYTES, here - HERD_MSG_HEAD_BYTES);

		s->pass_left = (uint32_t)(total - here);
		s->pass_drop = act == HERD_FLIGHT_DROP;
		if (act == HERD_FLIGHT_PASS)
			deliver(d, p, here, &h);
		add_fakes(d);
		used += here;
	}
	return (ssize_t)used;
}

static void replay(struct herd_client *c)
{
	struct herd_buf all = { 0 };

	herd_buf_add(&all, herd_buf_str(&c->replay), c->replay.len);
	herd_buf_add(&all, herd_buf_str(&c->conn.in), c->conn.in.len);
	herd_buf_free(&c->replay);
	herd_buf_free(&c->conn.in);
	c->conn.in = all;
	c->state = HERD_CLIENT_IDLE;
	herd_named_again(c);
	herd_client_log(c, HERD_LOG_DEBUG, "no answer of that server has come: asking again");
	herd_client_wake(c);
}

/* The transaction is over: the server goes back, the client goes on. */
static void give_back(struct down *d)
{
	struct herd_client *c = d->c;
	struct herd_internal *in = c->internal;
	bool again = c->split && c->split->again;

	c->state = HERD_CLIENT_IDLE;
	if (!again)
		herd_buf_free(&c->replay);
	herd_server_release(d->w, d->s);
	if (again) {
		replay(c);
		return;
	}
	if (in) {
		in->end(c, NULL);
		return;
	}
	if (c->conn.in.len > 0 || c->conn.can_read || herd_leaving(d->w->px))
		herd_client_wake(c);
	if (c->kept)
		herd_hub_flush(c);
}

static void refuse_transaction(struct down *d)
{
	herd_server_drop(d->w, d->s, "transaction blocks not allowed in statement pooling mode");
	herd_client_fail(d->c, "08P01", "transaction blocks not allowed in statement pooling mode");
}

/* Going on without what the client has set would be wrong without a word. */
static void unset(struct down *d)
{
	char *why = herd_str_dup(d->s->error_text);

	if (d->c->internal) {
		d->c->internal->end(d->c, why ? why : "out of memory");
		free(why);
		return;
	}
	herd_client_fail(d->c, "08P01", "could not restore session state: %s",
			 why ? why : "out of memory");
	free(why);
}

/* May what was sent be sent again? Only while the server has said nothing but that it ends. */
static bool may_replay(const struct herd_client *c, const struct herd_server *s)
{
	return c->replayable && c->replay.len > 0 && herd_buf_ok(&c->replay) && s->errored &&
	       herd_hold_sqlstate(s->error_state) && c->pass_left == 0;
}

static void answer_rounds(struct herd_client *c, uint32_t rounds, bool open, const char *state,
			  const char *text)
{
	struct herd_buf b = { 0 };

	for (uint32_t i = 0; i < rounds; i++) {
		herd_wr_report(&b, 'E', "ERROR", state, text, NULL, NULL);
		herd_wr_ready(&b, 'I');
	}
	if (open) {
		herd_wr_report(&b, 'E', "ERROR", state, text, NULL, NULL);
		c->skip_to_sync = true;
	}
	herd_conn_send_buf(&c->conn, &b);
	herd_buf_free(&b);
}

/* Ends the link to a server whose connection ended. */
static void server_died(struct herd_worker *w, struct herd_server *s, const char *text)
{
	struct herd_client *c = s->client;
	const struct herd_database *conf = herd_db_conf(w->live, c->db);
	bool cluster = conf && conf->route.cluster;
	bool session = herd_pool_mode(w->live, c->pool) == HERD_MODE_SESSION
			       ? !c->carried
			       : !herd_session_server_lost(c);
	bool calm = s->ready && s->tx == 'I' && herd_flight_idle(&s->flight) && c->pass_left == 0;
	bool cut = s->pass_left > 0 && !s->pass_drop;
	uint32_t rounds = herd_flight_rounds(&s->flight);
	bool open = herd_flight_open_batch(&s->flight);
	bool again = may_replay(c, s) || (c->split && !session && herd_split_retries(c));
	bool nothing_lost = c->split && herd_split_survives(c) && !session;
	char *message = strdup(s->errored && s->error_text ? s->error_text : text);
	char state[6] = "08006";

	if (s->errored && s->error_state[0])
		memcpy(state, s->error_state, sizeof(state));
	s->client = NULL;
	c->server = NULL;
	if (!again)
		herd_named_lost(c);
	herd_pool_suspect(w, s, true);
	herd_server_drop(w, s, message);
	if (c->internal && cluster) {
		/* Our own queries only read: they are asked again, of whoever leads then. */
		c->state = HERD_CLIENT_IDLE;
		herd_client_wake(c);
	} else if (c->internal) {
		c->state = HERD_CLIENT_IDLE;
		c->internal->end(c, message ? message : text);
	} else if (again) {
		replay(c);
	} else if (nothing_lost) {
		c->state = HERD_CLIENT_IDLE;
		herd_client_wake(c);
	} else if (cluster && !session && !cut && (rounds > 0 || open) && message) {
		c->state = HERD_CLIENT_IDLE;
		c->in_query = c->in_xact = false;
		if (c->pass_left > 0)
			c->pass_drop = true;
		answer_rounds(c, rounds, open, state, message);
		herd_client_log(c, HERD_LOG_WARNING, "query in flight on a lost server: %s",
				message);
		herd_client_wake(c);
	} else if (c->carried && calm) {
		c->state = HERD_CLIENT_IDLE;
		herd_client_log(c, HERD_LOG_INFO, "the session goes on with another server: %s",
				message ? message : text);
		herd_client_wake(c);
	} else {
		/* In a transaction, or in the midst of a message: there is no honest way on. */
		herd_client_fail(c, state, "%s", message ? message : text);
	}
	free(message);
	herd_pool_kick(w, c->pool);
}

void herd_relay_cut(struct herd_worker *w, struct herd_server *s, const char *text)
{
	/* What was sent may have been done: it is not ours to say that it was not. */
	s->client->replayable = false;
	s->errored = true;
	herd_str_set(&s->error_text, text);
	strcpy(s->error_state, "57P01");
	server_died(w, s, text);
}

void herd_relay_from_server(struct herd_worker *w, struct herd_server *s)
{
	struct herd_client *c = s->client;
	struct herd_chunk chunk;

	if (c->repl) {
		herd_repl_from_server(w, s);
		return;
	}
	if (herd_conn_blocked(&s->conn) && s->conn.can_write) {
		herd_conn_flush(&s->conn);
		if (!herd_conn_blocked(&s->conn))
			herd_client_wake(c);
	}
	for (int loops = 0; s->conn.can_read; loops++) {
		struct down d = { .w = w, .s = s, .c = c };

		if (herd_conn_blocked(&c->conn)) {
			herd_stream_end(s);
			return;
		}
		if (herd_relay_had_turn(w, loops)) {
			herd_client_wake(c);
			return;
		}
		herd_relay_read(w, &s->conn, &chunk);
		if (chunk.got > 0) {
			herd_stat_add(&c->db->stats[w->id].sent, (uint64_t)chunk.got);
			herd_stream_read(w, s, chunk.got);
		}
		herd_gather_start(&d.g, &c->conn, &w->aux, w->batching);
		ssize_t used = chunk.len > 0 ? process(&d, chunk.data, chunk.len) : 0;
		int rc = 0;

		/* the client is told why, and not that its transaction has begun */
		if (d.refuse)
			herd_gather_drop(&d.g);
		else
			rc = herd_gather_end(&d.g);
		if (used < 0) {
			server_died(w, s, "bad packet header");
			return;
		}
		if (herd_relay_keep(&s->conn, &chunk, (size_t)used) < 0 || rc < 0) {
			server_died(w, s, "out of memory");
			return;
		}
		if (c->unsettled) {
			c->unsettled = false;
			herd_client_wake(c);
		}
		if (d.astray) {
			server_died(w, s, "read only");
			return;
		}
		if (d.refuse) {
			refuse_transaction(&d);
			return;
		}
		if (d.unset) {
			unset(&d);
			return;
		}
		if (chunk.got == 0 || (chunk.got < 0 && chunk.got != -EAGAIN)) {
			if (d.release) {
				c->server = NULL;
				s->client = NULL;
				c->state = HERD_CLIENT_IDLE;
				herd_server_drop(w, s, "server conn crashed?");
				if (c->internal)
					c->internal->end(c, NULL);
				else if (c->split && c->split->again)
					replay(c);
				else
					herd_client_wake(c);
				return;
			}
			server_died(w, s, "server conn crashed?");
			return;
		}
		if (d.release) {
			give_back(&d);
			return;
		}
		if (c->conn.broken) {
			herd_client_close(c, "client unexpected eof");
			return;
		}
		if (chunk.got < 0)
			break;
	}
	if (c->kept)
		herd_hub_flush(c);
}
