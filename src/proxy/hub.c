#include "proxy/hub.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "proxy/pools_internal.h"
#include "proxy/session.h"
#include "proxy/topology.h"
#include "wire/msg.h"

enum {
	RETRY_US = 300 * 1000,
	RETRY_MAX_US = 5 * 1000000,
	PATIENCE_US = 15 * 1000000,
	OWN_US = 1000000,
	NSENDERS = 64
};

enum listening { WANTED = 0, ASKED, ACTIVE };

struct channel {
	char *name;
	int users; /* members that want it or listen to it */
	enum listening state;
};

/* One of a member's channels. */
struct ear {
	struct channel *channel;
	bool open; /* notifications are delivered: its LISTEN is committed */
};

struct herd_hub_member {
	struct herd_list node;
	struct herd_client *client;
	struct herd_hub *hub;
	struct ear *ear;
	size_t n;
	bool waiting, refused;
	int64_t since_us;
	/* the client's thread only */
	struct herd_buf kept;  /* notifications for later */
	struct herd_buf early; /* those for channels that may be open in a moment */
	bool commits;          /* its transaction may be committed already */
};

/* Which client notified by which server, to give its own notifications its own process id. */
struct sender {
	uint32_t server_pid, client_pid;
	int64_t us;
};

/* What was asked and not answered yet, in order. */
struct asked {
	struct asked *next;
	char *listen; /* NULL: an UNLISTEN */
	char *error;
};

struct herd_hub {
	struct herd_hub *next; /* px->hubs */
	struct herd_px *px;
	struct herd_db *db;
	struct herd_worker *w; /* whose thread has the connection */
	pthread_mutex_t lock;
	struct herd_pool *pool; /* whose login is used for the next connection */
	struct herd_map *channels;
	struct herd_list members;
	struct sender sender[NSENDERS];
	unsigned next_sender;
	struct herd_note work;
	bool posted;

	/* its thread only */
	struct herd_server *s;
	bool up;
	int64_t retry_us, pause_us; /* when to try again; how long after that */
	struct asked *first, **last;
	struct herd_route route;
};

/* A notification on its way to the clients of one thread. */
struct news {
	struct herd_note note;
	struct herd_hub *hub;
	char *channel;
	uint32_t pid; /* as clients know the sender */
	struct herd_buf message;
};

static void work_note(struct herd_worker *w, struct herd_note *n);

static void free_channel(void *p)
{
	struct channel *ch = p;

	free(ch->name);
	free(ch);
}

/* The database's hub, made at the first LISTEN. */
static struct herd_hub *hub_of(struct herd_client *c)
{
	struct herd_px *px = c->w->px;
	struct herd_hub *h = atomic_load(&c->db->hub);

	if (h)
		return h;
	pthread_mutex_lock(&px->pools_lock);
	h = atomic_load(&c->db->hub);
	if (!h) {
		h = calloc(1, sizeof(*h));
		if (h)
			h->channels = herd_map_new(free_channel);
		if (h && !h->channels) {
			free(h);
			h = NULL;
		}
		if (h) {
			h->px = px;
			h->db = c->db;
			atomic_store(&h->db->pinned, true);
			h->w = c->w;
			h->pool = c->pool;
			h->last = &h->first;
			pthread_mutex_init(&h->lock, NULL);
			herd_list_init(&h->members);
			h->next = atomic_load(&px->hubs);
			atomic_store(&px->hubs, h);
			atomic_store(&c->db->hub, h);
		}
	}
	pthread_mutex_unlock(&px->pools_lock);
	return h;
}

/* The lock is held in all of the functions down to the next such line. */

static void post_work(struct herd_hub *h)
{
	if (h->posted)
		return;
	h->posted = true;
	h->work.fn = work_note;
	herd_worker_post(h->w, &h->work);
}

static struct ear *find_ear(const struct herd_hub_member *m, const char *channel)
{
	for (size_t i = 0; i < m->n; i++) {
		if (strcmp(m->ear[i].channel->name, channel) == 0)
			return &m->ear[i];
	}
	return NULL;
}

static struct channel *get_channel(struct herd_hub *h, const char *name)
{
	struct channel *ch = herd_map_get(h->channels, name);

	if (ch)
		return ch;
	ch = calloc(1, sizeof(*ch));
	if (!ch)
		return NULL;
	ch->name = strdup(name);
	if (!ch->name || herd_map_put(h->channels, name, ch) < 0) {
		free_channel(ch);
		return NULL;
	}
	return ch;
}

static struct ear *add_ear(struct herd_hub_member *m, const char *name)
{
	struct ear *grown = realloc(m->ear, (m->n + 1) * sizeof(*grown));

	if (!grown)
		return NULL;
	m->ear = grown;
	struct channel *ch = get_channel(m->hub, name);

	if (!ch)
		return NULL;
	ch->users++;
	m->ear[m->n] = (struct ear){ .channel = ch };
	return &m->ear[m->n++];
}

static void drop_ear(struct herd_hub_member *m, size_t i)
{
	struct channel *ch = m->ear[i].channel;

	m->ear[i] = m->ear[--m->n];
	if (--ch->users == 0)
		post_work(m->hub);
}

static bool wake_one(struct herd_hub_member *m, bool refuse)
{
	if (!m->waiting)
		return false;
	m->waiting = false;
	m->refused = refuse;
	return true;
}

/* Here the locked functions end. */

/* Some members on this thread need not wait any longer; the others do not mind. */
static void wake_note(struct herd_worker *w, struct herd_note *n)
{
	struct news *news = herd_container_of(n, struct news, note);
	struct herd_hub *h = news->hub;

	free(news);
	pthread_mutex_lock(&h->lock);
	herd_list_for_each(it, &h->members)
	{
		struct herd_hub_member *m = herd_container_of(it, struct herd_hub_member, node);

		if (m->client->w == w && !m->waiting)
			herd_client_wake(m->client);
	}
	pthread_mutex_unlock(&h->lock);
}

static void post_wakes(struct herd_hub *h, const bool *which)
{
	for (int i = 0; i < h->px->nworkers; i++) {
		struct news *n = which[i] ? calloc(1, sizeof(*n)) : NULL;

		if (!n)
			continue; /* out of memory: the client's janitor looks again */
		n->hub = h;
		n->note.fn = wake_note;
		herd_worker_post(&h->px->workers[i], &n->note);
	}
}

/* Wakes those who wait: all, or those who have waited too long. refuse: they do without us. */
static void wake(struct herd_hub *h, bool refuse, int64_t since_us)
{
	bool which[HERD_MAX_WORKERS] = { false };

	pthread_mutex_lock(&h->lock);
	herd_list_for_each(it, &h->members)
	{
		struct herd_hub_member *m = herd_container_of(it, struct herd_hub_member, node);

		if (m->since_us <= since_us && wake_one(m, refuse))
			which[m->client->w->id] = true;
	}
	pthread_mutex_unlock(&h->lock);
	post_wakes(h, which);
}

static struct herd_hub_member *join(struct herd_client *c)
{
	struct herd_kept *k = c->kept;

	if (k->hub)
		return k->hub;
	struct herd_hub *h = hub_of(c);
	struct herd_hub_member *m = h ? calloc(1, sizeof(*m)) : NULL;

	if (!m)
		return NULL;
	m->client = c;
	m->hub = h;
	pthread_mutex_lock(&h->lock);
	herd_list_push_back(&h->members, &m->node);
	pthread_mutex_unlock(&h->lock);
	k->hub = m;
	return m;
}

enum herd_hub_answer herd_hub_want(struct herd_client *c, const char *channel)
{
	struct herd_hub_member *m = join(c);
	enum herd_hub_answer answer = HERD_HUB_WAIT;

	if (!m)
		return HERD_HUB_NO;
	pthread_mutex_lock(&m->hub->lock);
	struct ear *ear = find_ear(m, channel);

	if (!ear)
		ear = add_ear(m, channel);
	if (!ear || m->refused) {
		answer = HERD_HUB_NO;
		m->refused = false;
	} else if (ear->channel->state == ACTIVE) {
		answer = HERD_HUB_READY;
	} else if (!m->waiting) {
		m->waiting = true;
		if (m->since_us == 0)
			m->since_us = c->w->now_us;
		m->hub->pool = c->pool;
		post_work(m->hub);
	}
	if (answer != HERD_HUB_WAIT)
		m->since_us = 0;
	pthread_mutex_unlock(&m->hub->lock);
	c->kept->hub_asked = true;
	return answer;
}

static bool listens(const struct herd_session *s, const char *channel)
{
	for (size_t i = 0; i < s->nchannels; i++) {
		if (strcmp(s->channel[i], channel) == 0)
			return true;
	}
	return false;
}

void herd_hub_commits(struct herd_client *c)
{
	if (c->kept->hub)
		c->kept->hub->commits = true;
}

/* What came early for channels that are open now is for the client, the rest never was. */
static void take_early(struct herd_hub_member *m)
{
	const char *p = herd_buf_str(&m->early);
	struct herd_msg_head h;

	for (size_t left = m->early.len; herd_msg_head_parse(p, left, &h) == 0;) {
		struct herd_rd r = herd_rd_init(p + HERD_MSG_HEAD_BYTES, h.len);

		herd_rd_u32(&r);
		if (find_ear(m, herd_rd_str(&r)))
			herd_buf_add(&m->kept, p, HERD_MSG_HEAD_BYTES + h.len);
		p += HERD_MSG_HEAD_BYTES + h.len;
		left -= HERD_MSG_HEAD_BYTES + h.len;
	}
	herd_buf_free(&m->early);
}

void herd_hub_sync(struct herd_client *c)
{
	struct herd_hub_member *m = c->kept->hub;

	c->kept->s.channels_changed = c->kept->hub_asked = false;
	if (!m)
		return;
	m->commits = false;
	pthread_mutex_lock(&m->hub->lock);
	for (size_t i = 0; i < m->n;) {
		if (listens(&c->kept->s, m->ear[i].channel->name))
			m->ear[i++].open = true;
		else
			drop_ear(m, i);
	}
	pthread_mutex_unlock(&m->hub->lock);
	if (m->early.len > 0)
		take_early(m);
}

void herd_hub_leave(struct herd_client *c)
{
	struct herd_hub_member *m = c->kept ? c->kept->hub : NULL;

	if (!m)
		return;
	pthread_mutex_lock(&m->hub->lock);
	while (m->n > 0)
		drop_ear(m, 0);
	herd_list_remove(&m->node);
	pthread_mutex_unlock(&m->hub->lock);
	free(m->ear);
	herd_buf_free(&m->kept);
	herd_buf_free(&m->early);
	free(m);
	c->kept->hub = NULL;
}

static uint32_t pid_of(const struct herd_client *c)
{
	return (uint32_t)c->key[0] << 24 | (uint32_t)c->key[1] << 16 | (uint32_t)c->key[2] << 8 |
	       c->key[3];
}

void herd_hub_notifies(struct herd_client *c)
{
	struct herd_hub *h = atomic_load(&c->db->hub);
	struct sender *slot = NULL;

	if (!h || !c->server)
		return;
	c->server->notified_by = c->id;
	pthread_mutex_lock(&h->lock);
	for (int i = 0; i < NSENDERS && !slot; i++) {
		if (h->sender[i].server_pid == c->server->backend_pid)
			slot = &h->sender[i];
	}
	if (!slot) {
		slot = &h->sender[h->next_sender++ % NSENDERS];
		*slot = (struct sender){ .server_pid = c->server->backend_pid,
					 .client_pid = pid_of(c) };
	}
	slot->us = c->w->now_us;
	pthread_mutex_unlock(&h->lock);
}

void herd_hub_passed_on(struct herd_server *s)
{
	struct herd_hub *h = atomic_load(&s->pool->db->hub);

	s->notified_by = 0;
	if (!h)
		return;
	pthread_mutex_lock(&h->lock);
	for (int i = 0; i < NSENDERS; i++) {
		if (h->sender[i].server_pid == s->backend_pid)
			h->sender[i] = (struct sender){ 0 };
	}
	pthread_mutex_unlock(&h->lock);
}

/* The process id that clients know the sender by. */
static uint32_t known_as(struct herd_hub *h, uint32_t server_pid, int64_t now_us)
{
	uint32_t pid = server_pid;

	pthread_mutex_lock(&h->lock);
	for (int i = 0; i < NSENDERS; i++) {
		const struct sender *s = &h->sender[i];

		if (s->server_pid == server_pid && server_pid != 0 && now_us - s->us < OWN_US)
			pid = s->client_pid;
	}
	pthread_mutex_unlock(&h->lock);
	return pid;
}

static bool between_messages(const struct herd_client *c)
{
	const struct herd_server *s = c->server;

	if (c->state == HERD_CLIENT_IDLE || c->state == HERD_CLIENT_WAITING)
		return !s;
	return c->state == HERD_CLIENT_ACTIVE && s && s->ready && s->tx == 'I' &&
	       s->pass_left == 0 && herd_flight_idle(&s->flight);
}

static void send_kept(struct herd_client *c)
{
	struct herd_hub_member *m = c->kept->hub;

	herd_conn_send_buf(&c->conn, &m->kept);
	herd_buf_free(&m->kept);
	if (c->conn.out.len - c->conn.out_pos > HERD_HUB_MAX_QUEUED)
		herd_client_close(c, "client does not read its notifications");
}

void herd_hub_flush(struct herd_client *c)
{
	if (c->kept && c->kept->hub && c->kept->hub->kept.len > 0 && between_messages(c))
		send_kept(c);
}

/* Only the client's thread opens its ears, so what is true here stays true for now. */
static void give(struct herd_client *c, const struct news *n)
{
	struct herd_hub_member *m = c->kept->hub;
	const struct ear *ear = find_ear(m, n->channel);
	bool open = ear && ear->open;

	if (!open && !m->commits && n->pid != pid_of(c))
		return;
	struct herd_buf *b = open ? &m->kept : &m->early;

	herd_buf_add(b, herd_buf_str(&n->message), n->message.len);
	if (!herd_buf_ok(b) || b->len > HERD_HUB_MAX_QUEUED)
		herd_client_close(c, "too many notifications wait for the end of its transaction");
	else
		herd_hub_flush(c);
}

/*
 * Members on this thread that have asked for the channel: they are not gone before this function
 * ends, for they are ours.
 */
static size_t hearers(struct herd_worker *w, struct herd_hub *h, const char *channel,
		      struct herd_client **list, size_t room)
{
	size_t n = 0;

	pthread_mutex_lock(&h->lock);
	herd_list_for_each(it, &h->members)
	{
		struct herd_hub_member *m = herd_container_of(it, struct herd_hub_member, node);

		if (m->client->w != w || !find_ear(m, channel))
			continue;
		if (n < room)
			list[n] = m->client;
		n++;
	}
	pthread_mutex_unlock(&h->lock);
	return n;
}

static void news_note(struct herd_worker *w, struct herd_note *note)
{
	struct news *n = herd_container_of(note, struct news, note);
	size_t count = hearers(w, n->hub, n->channel, NULL, 0);
	struct herd_client **list = count ? malloc(count * sizeof(struct herd_client *)) : NULL;

	if (list)
		count = hearers(w, n->hub, n->channel, list, count);
	else if (count)
		herd_warning(w->px->log, "out of memory: a notification is lost");
	for (size_t i = 0; list && i < count; i++) {
		if (list[i]->state != HERD_CLIENT_CLOSED)
			give(list[i], n);
	}
	free(list);
	herd_buf_free(&n->message);
	free(n->channel);
	free(n);
}

static void publish(struct herd_hub *h, uint32_t pid, const char *channel, const char *payload)
{
	bool which[HERD_MAX_WORKERS] = { false };

	pid = known_as(h, pid, h->w->now_us);
	pthread_mutex_lock(&h->lock);
	herd_list_for_each(it, &h->members)
	{
		struct herd_hub_member *m = herd_container_of(it, struct herd_hub_member, node);

		if (find_ear(m, channel))
			which[m->client->w->id] = true;
	}
	pthread_mutex_unlock(&h->lock);
	for (int i = 0; i < h->px->nworkers; i++) {
		struct news *n = which[i] ? calloc(1, sizeof(*n)) : NULL;

		if (!which[i])
			continue;
		if (n) {
			size_t mark = herd_wr_begin(&n->message, 'A');

			herd_wr_u32(&n->message, pid);
			herd_wr_str(&n->message, channel);
			herd_wr_str(&n->message, payload);
			herd_wr_end(&n->message, mark);
			n->pid = pid;
			n->channel = strdup(channel);
		}
		if (!n || !n->channel || !herd_buf_ok(&n->message)) {
			herd_warning(h->px->log, "out of memory: a notification is lost");
			if (n) {
				herd_buf_free(&n->message);
				free(n->channel);
			}
			free(n);
			continue;
		}
		n->hub = h;
		n->note.fn = news_note;
		herd_worker_post(&h->px->workers[i], &n->note);
	}
}

/* Sends LISTEN or UNLISTEN. False: not now. */
static bool ask(struct herd_hub *h, const char *channel, bool listen)
{
	struct asked *a = calloc(1, sizeof(*a));
	struct herd_buf sql = { 0 }, msg = { 0 };

	if (!a || (listen && !(a->listen = strdup(channel)))) {
		free(a);
		return false; /* the janitor asks again */
	}
	herd_buf_addstr(&sql, listen ? "LISTEN \"" : "UNLISTEN \"");
	for (const char *p = channel; *p; p++) {
		if (*p == '"')
			herd_buf_addc(&sql, '"');
		herd_buf_addc(&sql, *p);
	}
	herd_buf_addc(&sql, '"');
	herd_wr_query(&msg, herd_buf_str(&sql));
	if (herd_conn_send_buf(&h->s->conn, &msg) < 0)
		h->s->conn.broken = true;
	herd_buf_free(&sql);
	herd_buf_free(&msg);
	*h->last = a;
	h->last = &a->next;
	return true;
}

/* Asks for what is wanted, lets go what is not wanted any more. */
static void ask_all(struct herd_hub *h)
{
	size_t pos = 0;
	const char *name;
	void *value;
	struct channel *unused;

	pthread_mutex_lock(&h->lock);
	do {
		unused = NULL;
		pos = 0;
		while (!unused && herd_map_next(h->channels, &pos, &name, &value)) {
			struct channel *ch = value;

			if (ch->users == 0 && ch->state != ASKED)
				unused = ch;
		}
		if (unused) {
			if (h->up && unused->state == ACTIVE)
				ask(h, unused->name, false);
			herd_map_remove(h->channels, unused->name);
		}
	} while (unused);
	pos = 0;
	while (h->up && herd_map_next(h->channels, &pos, &name, &value)) {
		struct channel *ch = value;

		if (ch->state == WANTED && ask(h, ch->name, true))
			ch->state = ASKED;
	}
	pthread_mutex_unlock(&h->lock);
}

static bool wanted(struct herd_hub *h)
{
	pthread_mutex_lock(&h->lock);
	bool any = herd_map_size(h->channels) > 0;

	pthread_mutex_unlock(&h->lock);
	return any;
}

static void open_one(struct herd_worker *w, struct herd_hub *h)
{
	struct herd_pool *p;

	if (h->s || w->now_us < h->retry_us || atomic_load(&w->px->quit) ||
	    atomic_load(&w->px->paused_all) || atomic_load(&h->db->paused))
		return;
	pthread_mutex_lock(&h->lock);
	p = h->pool;
	pthread_mutex_unlock(&h->lock);
	if (atomic_load(&p->held))
		return;
	pthread_mutex_lock(&p->lock);
	p->nhub++;
	herd_pool_count_total(p, 1);
	pthread_mutex_unlock(&p->lock);
	herd_server_open_hub(w, p, h);
}

static void work(struct herd_worker *w, struct herd_hub *h)
{
	ask_all(h);
	if (!h->s && wanted(h))
		open_one(w, h);
}

static void work_note(struct herd_worker *w, struct herd_note *n)
{
	struct herd_hub *h = herd_container_of(n, struct herd_hub, work);

	pthread_mutex_lock(&h->lock);
	h->posted = false;
	pthread_mutex_unlock(&h->lock);
	work(w, h);
}

void herd_hub_opens(struct herd_hub *h, struct herd_server *s)
{
	s->hub = h;
	h->s = s;
}

void herd_hub_linked(struct herd_worker *w, struct herd_server *s)
{
	struct herd_hub *h = s->hub;

	atomic_store(&s->state, HERD_SERVER_HUB);
	h->up = true;
	herd_server_log(w, s, HERD_LOG_INFO, "listens for the clients of database %s", h->db->name);
	ask_all(h);
}

/* What was asked first is answered. */
static void answered(struct herd_hub *h)
{
	struct asked *a = h->first;

	if (!a)
		return;
	h->first = a->next;
	if (!h->first)
		h->last = &h->first;
	if (a->listen) {
		pthread_mutex_lock(&h->lock);
		struct channel *ch = herd_map_get(h->channels, a->listen);

		if (ch)
			ch->state = a->error ? WANTED : ACTIVE;
		pthread_mutex_unlock(&h->lock);
		if (a->error)
			herd_warning(h->px->log, "database %s: could not listen to \"%s\": %s",
				     h->db->name, a->listen, a->error);
		wake(h, a->error != NULL, INT64_MAX);
		ask_all(h);
	}
	free(a->listen);
	free(a->error);
	free(a);
}

bool herd_hub_message(struct herd_worker *w, struct herd_server *s, char type, const void *body,
		      size_t n)
{
	struct herd_hub *h = s->hub;
	struct herd_rd r = herd_rd_init(body, n);
	struct herd_report e;

	(void)w;
	if (type == 'A') {
		uint32_t pid = herd_rd_u32(&r);
		const char *channel = herd_rd_str(&r), *payload = herd_rd_str(&r);

		if (herd_rd_ok(&r))
			publish(h, pid, channel, payload);
	} else if (type == 'E') {
		bool ok = herd_report_parse(body, n, &e) == 0;

		if (h->first)
			herd_str_set(&h->first->error, ok ? e.msg : "malformed error message");
	} else if (type == 'Z') {
		answered(h);
	}
	return true;
}

void herd_hub_lost(struct herd_worker *w, struct herd_server *s, const char *why)
{
	struct herd_hub *h = s->hub;
	const struct herd_database *conf = herd_db_conf(w->live, h->db);
	bool was_up = h->up;
	size_t pos = 0;
	const char *name;
	void *value;

	h->s = NULL;
	s->hub = NULL;
	h->up = false;
	h->pause_us = was_up ? RETRY_US : h->pause_us * 2;
	/* A cluster comes back, and then at once. */
	if (h->pause_us < RETRY_US || (conf && conf->route.cluster))
		h->pause_us = RETRY_US;
	if (h->pause_us > RETRY_MAX_US)
		h->pause_us = RETRY_MAX_US;
	h->retry_us = was_up ? 0 : w->now_us + h->pause_us;
	while (h->first) {
		struct asked *a = h->first;

		h->first = a->next;
		free(a->listen);
		free(a->error);
		free(a);
	}
	h->last = &h->first;
	pthread_mutex_lock(&h->lock);
	while (herd_map_next(h->channels, &pos, &name, &value))
		((struct channel *)value)->state = WANTED;
	pthread_mutex_unlock(&h->lock);
	if (atomic_load(&w->px->quit))
		return;
	if (was_up)
		herd_warning(w->px->log,
			     "database %s: the listener's connection ended: %s; notifications are "
			     "lost until it is back",
			     h->db->name, why ? why : "closed");
	/* Clients of a cluster wait for its leader; others can still listen by themselves. */
	else if (!conf || !conf->route.cluster)
		wake(h, true, INT64_MAX);
}

const struct herd_route *herd_hub_route(struct herd_hub *h, const struct herd_database *conf)
{
	if (conf->route.role != HERD_ROUTE_REPLICA && conf->route.role != HERD_ROUTE_ANY)
		return &conf->route;
	/* No standby has notifications. */
	h->route = conf->route;
	h->route.role = HERD_ROUTE_PRIMARY;
	return &h->route;
}

void herd_hubs_janitor(struct herd_worker *w)
{
	for (struct herd_hub *h = atomic_load(&w->px->hubs); h; h = h->next) {
		const struct herd_database *conf = herd_db_conf(w->live, h->db);

		if (h->w != w)
			continue;
		if (h->s && h->up && (!conf || atomic_load(&h->s->close_needed)))
			herd_server_drop(w, h->s, "close_needed");
		else if (h->s && h->up && conf->route.cluster &&
			 !herd_topology_fits(w->px->topology, herd_hub_route(h, conf), h->s->scope,
					     h->s->group, h->s->member))
			herd_server_drop(w, h->s, "no longer the right member");
		else if (h->s && h->up && !wanted(h))
			herd_server_drop(w, h->s, "nobody listens any more");
		wake(h, true, w->now_us - PATIENCE_US);
		if (conf)
			work(w, h);
	}
}

void herd_hubs_free(struct herd_px *px)
{
	struct herd_hub *h = atomic_load(&px->hubs);

	while (h) {
		struct herd_hub *next = h->next;

		herd_map_free(h->channels);
		pthread_mutex_destroy(&h->lock);
		free(h);
		h = next;
	}
	atomic_store(&px->hubs, NULL);
}
