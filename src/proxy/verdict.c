#include "proxy/verdict.h"

#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "proxy/drift.h"
#include "proxy/proof.h"
#include "proxy/split.h"
#include "sql/glance.h"
#include "sql/readonly.h"

enum {
	SHARDS = 16,
	BUCKETS = 256,          /* of a shard */
	SHARD_MAX = 256,        /* statements in a shard */
	FRONT = 256,            /* of a worker */
	QUEUE_MAX = 256,        /* statements that wait to be looked at */
	ASKING_MAX = 4,         /* questions to catalogs at a time */
	TEXT_MAX = 8 * 1024,    /* longer ones are not remembered, and are no reads */
	TTL_US = 60000000,      /* then it is looked at again */
	RETRY_US = 2000000,     /* the question failed */
	REFUSED_US = 300000000, /* a standby refused it */
	FRONT_US = 1000000
};

struct entry {
	struct entry *next; /* in its bucket */
	struct herd_list lru;
	uint64_t hash;
	struct herd_db *db;
	enum herd_verdict verdict;
	char *why;
	uint64_t uses, schema; /* as of which generation of the schema the verdict is */
	int64_t checked_us, again_us;
	bool busy; /* a job points here */
	size_t len;
	char text[];
};

struct shard {
	pthread_mutex_t lock;
	struct entry *bucket[BUCKETS];
	struct herd_list lru; /* used last first */
	int count;
};

struct front {
	uint64_t hash, schema, uses;
	struct herd_db *db;
	int64_t until_us;
	enum herd_verdict verdict;
};

struct job {
	struct herd_list node;
	struct herd_note note;
	struct herd_worker *w;
	struct herd_verdicts *all;
	struct entry *entry;
	struct shard *shard;
	struct herd_db *db;
	uint64_t schema; /* when it was made: what changes meanwhile makes the verdict old */
	char *user;
	struct herd_readonly found;
	size_t len;
	char text[]; /* as the client wrote it, with its constants */
};

struct herd_verdicts {
	struct herd_px *px;
	uint64_t seed;
	struct shard shard[SHARDS];
	struct front *front; /* FRONT of each worker */

	pthread_t thread;
	pthread_mutex_t lock; /* of what follows */
	bool running;
	pthread_cond_t changed;
	struct herd_list queue;
	int queued, asking;
	bool quit;
};

static uint64_t hash_of(uint64_t seed, const struct herd_db *db, const char *text, size_t n)
{
	uint64_t h = seed ^ (uint64_t)(uintptr_t)db * 0x9e3779b97f4a7c15ULL;

	for (; n >= 8; n -= 8, text += 8) {
		uint64_t word;

		memcpy(&word, text, 8);
		h = (h ^ word) * 0xff51afd7ed558ccdULL;
		h ^= h >> 32;
	}
	for (; n > 0; n--, text++)
		h = (h ^ (uint8_t)*text) * 0xff51afd7ed558ccdULL;
	h ^= h >> 29;
	return h * 0xc4ceb9fe1a85ec53ULL;
}

static struct shard *shard_of(struct herd_verdicts *v, uint64_t hash)
{
	return &v->shard[hash >> 60 & (SHARDS - 1)];
}

static void free_entry(struct entry *e)
{
	free(e->why);
	free(e);
}

static void free_job(struct job *j)
{
	herd_readonly_free(&j->found);
	free(j->user);
	free(j);
}

/* The shard's lock is held in the functions down to the next such line. */

static struct entry *find(struct shard *s, uint64_t hash, const struct herd_db *db,
			  const char *text, size_t n)
{
	for (struct entry *e = s->bucket[hash % BUCKETS]; e; e = e->next) {
		if (e->hash == hash && e->db == db && e->len == n && memcmp(e->text, text, n) == 0)
			return e;
	}
	return NULL;
}

static void drop_entry(struct shard *s, struct entry *e)
{
	struct entry **at = &s->bucket[e->hash % BUCKETS];

	while (*at != e)
		at = &(*at)->next;
	*at = e->next;
	herd_list_remove(&e->lru);
	s->count--;
	free_entry(e);
}

/* Room for one more: the one used longest ago goes. */
static bool make_room(struct shard *s)
{
	if (s->count < SHARD_MAX)
		return true;
	for (struct herd_list *it = s->lru.prev; it != &s->lru; it = it->prev) {
		struct entry *e = herd_container_of(it, struct entry, lru);

		if (!e->busy) {
			drop_entry(s, e);
			return true;
		}
	}
	return false;
}

static struct entry *add_entry(struct shard *s, uint64_t hash, struct herd_db *db, const char *text,
			       size_t n)
{
	struct entry *e = make_room(s) ? calloc(1, sizeof(*e) + n) : NULL;

	if (!e)
		return NULL;
	/* The address stands for the database: it must not become another one's. */
	atomic_store(&db->pinned, true);
	e->hash = hash;
	e->db = db;
	e->len = n;
	memcpy(e->text, text, n);
	e->next = s->bucket[hash % BUCKETS];
	s->bucket[hash % BUCKETS] = e;
	herd_list_push_front(&s->lru, &e->lru);
	s->count++;
	return e;
}

/* Here the locked functions end. */

static void settle(struct job *j, enum herd_verdict verdict, char *why, int64_t again_us)
{
	struct entry *e = j->entry;

	pthread_mutex_lock(&j->shard->lock);
	e->busy = false;
	e->checked_us = herd_clock_us();
	e->again_us = e->checked_us + again_us;
	/* A question that failed leaves what was known before. */
	if (verdict != HERD_VERDICT_NONE) {
		free(e->why);
		e->why = why;
		e->verdict = verdict;
		e->schema = j->schema;
	} else {
		free(why);
	}
	pthread_mutex_unlock(&j->shard->lock);
}

static void asked_one_less(struct herd_verdicts *v)
{
	pthread_mutex_lock(&v->lock);
	v->asking--;
	pthread_cond_signal(&v->changed);
	pthread_mutex_unlock(&v->lock);
}

/* The catalog has answered. */
static void proved(void *arg, char *why, const char *error)
{
	struct job *j = arg;

	if (error)
		herd_warning(j->all->px->log, "could not ask whether a statement only reads: %s",
			     error);
	if (error) {
		free(why);
		settle(j, HERD_VERDICT_NONE, NULL, RETRY_US);
	} else {
		settle(j, why ? HERD_VERDICT_NO : HERD_VERDICT_READ, why, TTL_US);
	}
	asked_one_less(j->all);
	free_job(j);
}

static void ask_note(struct herd_worker *w, struct herd_note *n)
{
	struct job *j = herd_container_of(n, struct job, note);

	if (atomic_load(&w->px->quit))
		proved(j, NULL, "the proxy ends");
	else
		herd_proof_start(w, j->db, j->user, &j->found, proved, j);
}

static void parse(struct job *j)
{
	herd_readonly_check(j->text, j->len, &j->found);
	if (!j->found.maybe) {
		settle(j, HERD_VERDICT_NO, j->found.why, TTL_US);
		j->found.why = NULL;
		free_job(j);
	} else if (j->found.n == 0) {
		settle(j, HERD_VERDICT_READ, NULL, TTL_US);
		free_job(j);
	} else {
		pthread_mutex_lock(&j->all->lock);
		j->all->asking++;
		pthread_mutex_unlock(&j->all->lock);
		j->note.fn = ask_note;
		herd_worker_post(j->w, &j->note);
	}
}

static void *parse_all(void *arg)
{
	struct herd_verdicts *v = arg;

	pthread_mutex_lock(&v->lock);
	while (!v->quit) {
		if (herd_list_empty(&v->queue) || v->asking >= ASKING_MAX) {
			pthread_cond_wait(&v->changed, &v->lock);
			continue;
		}
		struct job *j = herd_container_of(v->queue.next, struct job, node);

		herd_list_remove(&j->node);
		v->queued--;
		pthread_mutex_unlock(&v->lock);
		parse(j);
		pthread_mutex_lock(&v->lock);
	}
	pthread_mutex_unlock(&v->lock);
	return NULL;
}

/* A job for the thread; NULL when there is no memory, or too many wait. */
static struct job *new_job(struct herd_client *c, struct shard *s, const char *text, size_t n)
{
	struct job *j = calloc(1, sizeof(*j) + n);

	if (!j)
		return NULL;
	j->w = c->w;
	j->all = c->w->px->verdicts;
	j->shard = s;
	j->db = c->db;
	j->schema = atomic_load(&c->db->schema);
	j->user = herd_str_dup(c->split->home->user);
	j->len = n;
	memcpy(j->text, text, n);
	if (j->user)
		return j;
	free_job(j);
	return NULL;
}

static bool start_thread(struct herd_verdicts *v)
{
	pthread_attr_t attr;

	if (pthread_attr_init(&attr) != 0)
		return false;
	/* Address space only: what is not used of it is never there. */
	bool ok = pthread_attr_setstacksize(&attr, HERD_READONLY_STACK) == 0 &&
		  pthread_create(&v->thread, &attr, parse_all, v) == 0;

	pthread_attr_destroy(&attr);
	return ok;
}

/* The thread is started by the first one. */
static bool enqueue(struct herd_verdicts *v, struct job *j)
{
	pthread_mutex_lock(&v->lock);
	if (!v->running && !v->quit)
		v->running = start_thread(v);
	bool room = v->running && v->queued < QUEUE_MAX;

	if (room) {
		herd_list_push_back(&v->queue, &j->node);
		v->queued++;
		pthread_cond_signal(&v->changed);
	}
	pthread_mutex_unlock(&v->lock);
	return room;
}

/* What is known, and what is to be found out. */
static enum herd_verdict look_up(struct herd_client *c, struct front *f, const char *key,
				 size_t key_len, const char *text, size_t n)
{
	struct herd_verdicts *v = c->w->px->verdicts;
	struct shard *s = shard_of(v, f->hash);
	struct job *j = NULL;
	int64_t now = c->w->now_us;

	pthread_mutex_lock(&s->lock);
	struct entry *e = find(s, f->hash, c->db, key, key_len);

	if (!e)
		e = add_entry(s, f->hash, c->db, key, key_len);
	if (!e) {
		pthread_mutex_unlock(&s->lock);
		return HERD_VERDICT_NONE;
	}
	herd_list_remove(&e->lru);
	herd_list_push_front(&s->lru, &e->lru);
	e->uses += f->uses;
	f->uses = 0;
	bool fresh = e->schema == f->schema && e->verdict != HERD_VERDICT_NONE;

	if (!e->busy && (now >= e->again_us || (!fresh && e->verdict != HERD_VERDICT_NONE)))
		j = new_job(c, s, text, n);
	if (j) {
		j->entry = e;
		e->busy = true;
		if (!enqueue(v, j)) {
			e->busy = false;
			free_job(j);
		}
	}
	enum herd_verdict verdict = fresh ? e->verdict : HERD_VERDICT_NONE;

	pthread_mutex_unlock(&s->lock);
	return verdict;
}

enum herd_verdict herd_verdict_get(struct herd_client *c, const char *text, size_t n)
{
	struct herd_verdicts *v = c->w->px->verdicts;
	struct herd_buf *key = &c->w->verdict_key;

	if (!herd_readonly_available())
		return HERD_VERDICT_NONE;
	herd_buf_reset(key);
	if (n > TEXT_MAX || !herd_glance_normalize(text, n, key) || !herd_buf_ok(key))
		return HERD_VERDICT_NO;
	uint64_t hash = hash_of(v->seed, c->db, herd_buf_str(key), key->len);
	uint64_t schema = atomic_load_explicit(&c->db->schema, memory_order_acquire);
	struct front *f = &v->front[(size_t)c->w->id * FRONT + hash % FRONT];

	if (f->hash == hash && f->db == c->db && f->schema == schema &&
	    c->w->now_us < f->until_us) {
		f->uses++;
		return f->verdict;
	}
	if (f->hash != hash || f->db != c->db)
		f->uses = 0;
	f->uses++;
	f->hash = hash;
	f->db = c->db;
	f->schema = schema;
	f->verdict = look_up(c, f, herd_buf_str(key), key->len, text, n);
	herd_drift_look(c);
	/* What is being found out is asked for again by the next one. */
	f->until_us = f->verdict == HERD_VERDICT_NONE ? 0 : c->w->now_us + FRONT_US;
	return f->verdict;
}

void herd_verdict_refused(struct herd_client *c, const char *text, size_t n)
{
	struct herd_verdicts *v = c->w->px->verdicts;
	struct herd_buf *key = &c->w->verdict_key;

	herd_buf_reset(key);
	if (n > TEXT_MAX || !herd_glance_normalize(text, n, key) || !herd_buf_ok(key))
		return;
	uint64_t hash = hash_of(v->seed, c->db, herd_buf_str(key), key->len);
	struct shard *s = shard_of(v, hash);

	pthread_mutex_lock(&s->lock);
	struct entry *e = find(s, hash, c->db, herd_buf_str(key), key->len);

	if (e && e->verdict == HERD_VERDICT_READ) {
		e->verdict = HERD_VERDICT_NO;
		herd_str_set(&e->why, "a standby refused it");
		e->again_us = c->w->now_us + REFUSED_US;
	}
	pthread_mutex_unlock(&s->lock);
	v->front[(size_t)c->w->id * FRONT + hash % FRONT].until_us = 0;
}

void herd_verdict_forget(struct herd_db *db)
{
	atomic_fetch_add(&db->schema, 1);
}

void herd_verdicts_each(struct herd_verdicts *v,
			void (*fn)(void *arg, const struct herd_verdict_view *view), void *arg)
{
	int64_t now = herd_clock_us();

	for (int i = 0; i < SHARDS; i++) {
		struct shard *s = &v->shard[i];

		pthread_mutex_lock(&s->lock);
		herd_list_for_each(it, &s->lru)
		{
			struct entry *e = herd_container_of(it, struct entry, lru);
			char *text = strndup(e->text, e->len);
			bool old = e->schema != atomic_load(&e->db->schema);
			struct herd_verdict_view view = {
				.db = e->db->name,
				.text = text,
				.verdict = old ? HERD_VERDICT_NONE : e->verdict,
				.why = e->why,
				.uses = e->uses,
				.age_us = e->checked_us > 0 ? now - e->checked_us : 0
			};

			if (text)
				fn(arg, &view);
			free(text);
		}
		pthread_mutex_unlock(&s->lock);
	}
}

struct herd_verdicts *herd_verdicts_new(struct herd_px *px)
{
	struct herd_verdicts *v = calloc(1, sizeof(*v));

	if (!v)
		return NULL;
	v->px = px;
	v->front = calloc((size_t)px->nworkers * FRONT, sizeof(*v->front));
	for (int i = 0; i < SHARDS; i++) {
		pthread_mutex_init(&v->shard[i].lock, NULL);
		herd_list_init(&v->shard[i].lru);
	}
	pthread_mutex_init(&v->lock, NULL);
	pthread_cond_init(&v->changed, NULL);
	herd_list_init(&v->queue);
	if (v->front && RAND_bytes((uint8_t *)&v->seed, sizeof(v->seed)) == 1)
		return v;
	herd_verdicts_free(v);
	return NULL;
}

void herd_verdicts_stop(struct herd_verdicts *v)
{
	if (!v)
		return;
	pthread_mutex_lock(&v->lock);
	bool running = v->running;

	v->quit = true;
	v->running = false;
	pthread_cond_signal(&v->changed);
	pthread_mutex_unlock(&v->lock);
	if (running)
		pthread_join(v->thread, NULL);
}

void herd_verdicts_free(struct herd_verdicts *v)
{
	if (!v)
		return;
	while (!herd_list_empty(&v->queue)) {
		struct job *j = herd_container_of(v->queue.next, struct job, node);

		herd_list_remove(&j->node);
		free_job(j);
	}
	for (int i = 0; i < SHARDS; i++) {
		while (!herd_list_empty(&v->shard[i].lru))
			drop_entry(&v->shard[i],
				   herd_container_of(v->shard[i].lru.next, struct entry, lru));
		pthread_mutex_destroy(&v->shard[i].lock);
	}
	pthread_mutex_destroy(&v->lock);
	pthread_cond_destroy(&v->changed);
	free(v->front);
	free(v);
}
