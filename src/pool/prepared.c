#include "pool/prepared.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_BUCKETS = 256, HELD_BUCKETS = 64 };

struct herd_stmts {
	struct herd_stmt **buckets;
	size_t nbuckets, count;
	uint64_t next_id;
};

struct herd_held {
	struct herd_held *next;
	struct herd_list node;
	struct herd_stmt *stmt;
};

/* FNV-1a over eight bytes at a time would need alignment care; statements are hashed once. */
static uint64_t hash_bytes(const uint8_t *p, size_t n)
{
	uint64_t h = 14695981039346656037ULL;

	for (size_t i = 0; i < n; i++)
		h = (h ^ p[i]) * 1099511628211ULL;
	return h ^ h >> 29;
}

struct herd_stmts *herd_stmts_new(void)
{
	struct herd_stmts *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->nbuckets = FIRST_BUCKETS;
	s->buckets = calloc(s->nbuckets, sizeof(*s->buckets));
	if (!s->buckets) {
		free(s);
		return NULL;
	}
	return s;
}

void herd_stmts_free(struct herd_stmts *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->nbuckets; i++) {
		for (struct herd_stmt *stmt = s->buckets[i], *next; stmt; stmt = next) {
			next = stmt->next;
			free(stmt);
		}
	}
	free(s->buckets);
	free(s);
}

/* Failing to grow costs speed only. */
static void grow(struct herd_stmts *s)
{
	size_t n = s->nbuckets * 2;
	struct herd_stmt **buckets = calloc(n, sizeof(*buckets));

	if (!buckets)
		return;
	for (size_t i = 0; i < s->nbuckets; i++) {
		for (struct herd_stmt *stmt = s->buckets[i], *next; stmt; stmt = next) {
			next = stmt->next;
			stmt->next = buckets[stmt->hash & (n - 1)];
			buckets[stmt->hash & (n - 1)] = stmt;
		}
	}
	free(s->buckets);
	s->buckets = buckets;
	s->nbuckets = n;
}

static struct herd_stmt *find(const struct herd_stmts *s, uint64_t hash, const void *body,
			      size_t len)
{
	struct herd_stmt *stmt = s->buckets[hash & (s->nbuckets - 1)];

	while (stmt &&
	       !(stmt->hash == hash && stmt->len == len && memcmp(stmt->body, body, len) == 0))
		stmt = stmt->next;
	return stmt;
}

static struct herd_stmt *add(struct herd_stmts *s, uint64_t id, uint64_t hash, const void *body,
			     size_t len)
{
	if (s->count >= s->nbuckets)
		grow(s);
	struct herd_stmt *stmt = malloc(sizeof(*stmt) + len);

	if (!stmt)
		return NULL;
	stmt->id = id;
	stmt->hash = hash;
	stmt->refs = 1;
	stmt->len = len;
	snprintf(stmt->name, sizeof(stmt->name), "PGBOUNCER_%llu", (unsigned long long)stmt->id);
	memcpy(stmt->body, body, len);
	stmt->next = s->buckets[hash & (s->nbuckets - 1)];
	s->buckets[hash & (s->nbuckets - 1)] = stmt;
	s->count++;
	return stmt;
}

struct herd_stmt *herd_stmts_intern(struct herd_stmts *s, const void *body, size_t len)
{
	return herd_stmts_import(s, s->next_id + 1, body, len);
}

struct herd_stmt *herd_stmts_import(struct herd_stmts *s, uint64_t id, const void *body, size_t len)
{
	uint64_t hash = hash_bytes(body, len);
	struct herd_stmt *stmt = find(s, hash, body, len);

	if (stmt) {
		stmt->refs++;
		return stmt;
	}
	stmt = add(s, id, hash, body, len);
	if (stmt)
		herd_stmts_reserve(s, id);
	return stmt;
}

uint64_t herd_stmts_last_id(const struct herd_stmts *s)
{
	return s->next_id;
}

void herd_stmts_reserve(struct herd_stmts *s, uint64_t id)
{
	if (s->next_id < id)
		s->next_id = id;
}

void herd_stmts_ref(struct herd_stmts *s, struct herd_stmt *stmt)
{
	(void)s;
	assert(stmt->refs > 0);
	stmt->refs++;
}

void herd_stmts_unref(struct herd_stmts *s, struct herd_stmt *stmt)
{
	assert(stmt->refs > 0);
	if (--stmt->refs > 0)
		return;
	struct herd_stmt **p = &s->buckets[stmt->hash & (s->nbuckets - 1)];

	while (*p != stmt)
		p = &(*p)->next;
	*p = stmt->next;
	s->count--;
	free(stmt);
}

size_t herd_stmts_count(const struct herd_stmts *s)
{
	return s->count;
}

static struct herd_held **held_slot(const struct herd_held_set *h, const struct herd_stmt *stmt)
{
	struct herd_held **p = &h->buckets[stmt->id % HELD_BUCKETS];

	while (*p && (*p)->stmt != stmt)
		p = &(*p)->next;
	return p;
}

bool herd_held_use(struct herd_held_set *h, const struct herd_stmt *stmt)
{
	struct herd_held *e = h->buckets ? *held_slot(h, stmt) : NULL;

	if (!e)
		return false;
	herd_list_remove(&e->node);
	herd_list_push_front(&h->lru, &e->node);
	return true;
}

int herd_held_add(struct herd_held_set *h, struct herd_stmt *stmt)
{
	if (!h->buckets) {
		h->buckets = calloc(HELD_BUCKETS, sizeof(struct herd_held *));
		if (!h->buckets)
			return -ENOMEM;
		herd_list_init(&h->lru);
	}
	struct herd_held **slot = held_slot(h, stmt);
	struct herd_held *e = malloc(sizeof(*e));

	assert(!*slot);
	if (!e)
		return -ENOMEM;
	*e = (struct herd_held){ .stmt = stmt };
	*slot = e;
	herd_list_push_front(&h->lru, &e->node);
	h->count++;
	return 0;
}

bool herd_held_remove(struct herd_held_set *h, const struct herd_stmt *stmt)
{
	struct herd_held **slot = h->buckets ? held_slot(h, stmt) : NULL;

	if (!slot || !*slot)
		return false;
	struct herd_held *e = *slot;

	*slot = e->next;
	herd_list_remove(&e->node);
	free(e);
	h->count--;
	return true;
}

struct herd_stmt *herd_held_oldest(const struct herd_held_set *h)
{
	if (h->count == 0)
		return NULL;
	return herd_container_of(h->lru.prev, struct herd_held, node)->stmt;
}

void herd_held_free(struct herd_held_set *h)
{
	for (int i = 0; h->buckets && i < HELD_BUCKETS; i++) {
		for (struct herd_held *e = h->buckets[i], *next; e; e = next) {
			next = e->next;
			free(e);
		}
	}
	free(h->buckets);
	*h = (struct herd_held_set){ 0 };
}

int herd_stmt_names_parse(char type, const void *body, size_t n, struct herd_stmt_names *ret)
{
	struct herd_rd r = herd_rd_init(body, n);

	ret->kind = 'S';
	if (type == 'D' || type == 'C') {
		ret->kind = (char)herd_rd_u8(&r);
		if (herd_rd_ok(&r) && ret->kind != 'S' && ret->kind != 'P')
			return -EBADMSG;
	} else if (type == 'B') {
		herd_rd_str(&r);
	}
	ret->stmt_offset = (size_t)(r.p - (const uint8_t *)body);
	ret->stmt = herd_rd_str(&r);
	ret->head_bytes = (size_t)(r.p - (const uint8_t *)body);
	if (!herd_rd_ok(&r))
		return -EAGAIN;
	if (ret->kind == 'P')
		ret->stmt = "";
	return 0;
}

void herd_stmt_names_rewrite(struct herd_buf *b, char type, const void *body, uint32_t body_len,
			     const struct herd_stmt_names *names, const char *stmt)
{
	size_t old = names->head_bytes - names->stmt_offset;

	assert(names->head_bytes <= body_len);
	herd_buf_addc(b, type);
	herd_wr_u32(b, (uint32_t)(4 + body_len - old + strlen(stmt) + 1));
	herd_buf_add(b, body, names->stmt_offset);
	herd_wr_str(b, stmt);
}

void herd_wr_parse(struct herd_buf *b, const struct herd_stmt *stmt)
{
	size_t mark = herd_wr_begin(b, 'P');

	herd_wr_str(b, stmt->name);
	herd_buf_add(b, stmt->body, stmt->len);
	herd_wr_end(b, mark);
}

void herd_wr_close(struct herd_buf *b, const struct herd_stmt *stmt)
{
	size_t mark = herd_wr_begin(b, 'C');

	herd_buf_addc(b, 'S');
	herd_wr_str(b, stmt->name);
	herd_wr_end(b, mark);
}
