/* Read your writes: how far the client wrote, and how far a replica is. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "model/lsn.h"
#include "proxy/mates.h"
#include "proxy/split.h"
#include "proxy/topology.h"
#include "wire/msg.h"

/*
 * The position up to which WAL is written (inserted, not flushed) is at or behind the commit record
 * of everything that was acknowledged, with synchronous_commit off, too.
 */
static const char wrote_sql[] =
	"SELECT pg_catalog.pg_current_wal_insert_lsn(), 0 /* pgherd: causal_reads */";
/* A replica that was promoted meanwhile is asked how far it wrote. */
#define REPLAYED_SQL                                                                               \
	"CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() "       \
	"ELSE pg_catalog.pg_current_wal_insert_lsn() END, "                                        \
	"(EXTRACT(epoch FROM pg_catalog.pg_postmaster_start_time()) * 1000000)::bigint"            \
	" /* pgherd: causal_reads */"
static const char replayed_sql[] = "SELECT " REPLAYED_SQL;
/* The server sleeps between two looks, so that nobody here needs a timer. */
static const char later_sql[] = "SELECT " REPLAYED_SQL " FROM pg_catalog.pg_sleep(0.002)";

/*
 * A question, as a statement that the server keeps: to parse and plan it each time would be most of
 * what it costs. One Sync stands for all of its messages, which are nobody else's.
 */
static void write_question(struct herd_server *s, enum herd_question q, struct herd_buf *b)
{
	static const struct {
		const char *name, *sql;
	} known[] = { [HERD_ASK_WROTE] = { "pgherd_wrote", wrote_sql },
		      [HERD_ASK_REPLAYED] = { "pgherd_replayed", replayed_sql },
		      [HERD_ASK_LATER] = { "pgherd_replayed_later", later_sql } };

	if (!(s->asks >> q & 1)) {
		herd_wr_parse_sql(b, known[q].name, known[q].sql);
		s->asks |= (uint8_t)(1U << q);
	}
	size_t mark = herd_wr_begin(b, 'B');

	herd_wr_str(b, "");
	herd_wr_str(b, known[q].name);
	herd_wr_u16(b, 0);
	herd_wr_u16(b, 0);
	herd_wr_u16(b, 0);
	herd_wr_end(b, mark);
	herd_wr_execute(b);
}

static bool ask(struct herd_client *c, enum herd_question q, uint8_t mark)
{
	struct herd_server *s = c->server;
	struct herd_buf b = { 0 };

	if (herd_flight_push(&s->flight, 'S', HERD_FLIGHT_DROP, NULL) < 0)
		return false;
	write_question(s, q, &b);
	herd_flight_mark(&s->flight, mark);
	s->ready = false;
	if (herd_conn_send_buf(&s->conn, &b) < 0)
		s->conn.broken = true;
	herd_buf_free(&b);
	c->split->asking = c->split->blocked = true;
	c->split->got = 0;
	return true;
}

bool herd_causal_ask_wrote(struct herd_client *c)
{
	return ask(c, HERD_ASK_WROTE, HERD_MARK_WROTE);
}

/* Has it replayed that much, as far as is known? That only rises, until its postmaster starts anew.
 */
static bool known(struct herd_server *s, uint64_t lsn)
{
	if (s->replayed < lsn && s->mate && s->started != 0) {
		pthread_mutex_lock(&s->mate->lock);
		if (s->mate->started == s->started && s->mate->replayed > s->replayed)
			s->replayed = s->mate->replayed;
		pthread_mutex_unlock(&s->mate->lock);
	}
	return s->replayed >= lsn;
}

static void learn(struct herd_server *s, uint64_t lsn, int64_t started)
{
	s->started = started;
	if (lsn > s->replayed)
		s->replayed = lsn;
	if (!s->mate)
		return;
	pthread_mutex_lock(&s->mate->lock);
	if (s->mate->started != started) {
		s->mate->started = started;
		s->mate->replayed = 0;
	}
	if (s->replayed > s->mate->replayed)
		s->mate->replayed = s->replayed;
	pthread_mutex_unlock(&s->mate->lock);
}

/* The timeline that a replica follows, as its member tells; looked up once per snapshot. */
static int64_t timeline_told(struct herd_worker *w, struct herd_server *s)
{
	uint64_t serial = herd_topology_serial(w->px->topology);

	if (s->told_serial == serial)
		return s->told_timeline;
	struct herd_topo *t = herd_topology_get(w->px->topology);
	const struct herd_topo_group *g = herd_topo_find(t, s->scope, s->group);
	const struct herd_topo_member *m = g ? herd_topo_member(g, s->member) : NULL;

	s->told_timeline = m ? m->timeline : 0;
	s->told_serial = serial;
	herd_topo_unref(t);
	return s->told_timeline;
}

/* Positions of two timelines cannot be compared: a replica may follow one that was given up. */
static bool other_timeline(struct herd_client *c)
{
	int64_t told = timeline_told(c->w, c->server);

	return told > 0 && c->split->wrote_timeline > 0 &&
	       told != (int64_t)c->split->wrote_timeline;
}

bool herd_causal_fits(struct herd_client *c)
{
	struct herd_split *p = c->split;

	if (p->wrote == 0 || !herd_worker_settings(c->w)->causal_reads)
		return true;
	if (known(c->server, p->wrote) && !other_timeline(c))
		return true;
	p->wait_until_us = c->w->now_us + herd_worker_settings(c->w)->causal_wait;
	if (!ask(c, HERD_ASK_REPLAYED, HERD_MARK_REPLAYED))
		c->server->conn.broken = true;
	return false;
}

void herd_causal_row(struct herd_client *c, const void *body, size_t n)
{
	struct herd_rd r = herd_rd_init(body, n);
	char text[2][32] = { "", "" };

	if (herd_rd_u16(&r) < 2)
		return;
	for (int i = 0; i < 2; i++) {
		uint32_t len = herd_rd_u32(&r);
		const char *v = len < sizeof(text[0]) ? herd_rd_bytes(&r, len) : NULL;

		if (!v)
			return;
		memcpy(text[i], v, len);
	}
	if (herd_lsn_parse(text[0], &c->split->got) < 0)
		c->split->got = 0;
	c->split->got_started = strtoll(text[1], NULL, 10);
}

static uint32_t timeline_of(const struct herd_server *s)
{
	return s->verify_row[2] ? (uint32_t)strtoul(s->verify_row[2], NULL, 16) : 0;
}

static bool wrote_known(struct herd_client *c)
{
	struct herd_split *p = c->split;

	p->asking = p->blocked = p->owes = false;
	p->wrote = p->got > 0 ? p->got : UINT64_MAX;
	p->wrote_timeline = timeline_of(c->server);
	if (p->got == 0)
		herd_client_log(c, HERD_LOG_WARNING,
				"the primary does not tell its WAL position: reads stay there");
	return true;
}

bool herd_causal_answered(struct herd_client *c, uint8_t mark)
{
	struct herd_split *p = c->split;
	struct herd_server *s = c->server;

	/* Whatever is wrong with its session, its next client gets another one. */
	if (p->got == 0)
		atomic_store(&s->close_needed, true);
	if (mark == HERD_MARK_WROTE)
		return wrote_known(c);
	if (p->got > 0)
		learn(s, p->got, p->got_started);
	bool other = other_timeline(c);

	if (p->got >= p->wrote && !other) {
		p->asking = p->blocked = false;
		herd_split_inject(c);
		herd_client_wake(c);
		return false;
	}
	if (p->got > 0 && !other && c->w->now_us < p->wait_until_us &&
	    ask(c, HERD_ASK_LATER, HERD_MARK_REPLAYED))
		return false;
	p->asking = p->blocked = false;
	p->go_home = true;
	p->why_home = HERD_WHY_BEHIND;
	return true;
}
