#include "base/map.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct entry {
	struct entry *next;
	uint64_t hash;
	void *value;
	char key[];
};

struct herd_map {
	struct entry **slots;
	size_t nslots; /* a power of two */
	size_t size;
	void (*free_value)(void *);
};

enum { FIRST_SLOTS = 16 };

static uint64_t hash_of(const char *s)
{
	uint64_t h = UINT64_C(14695981039346656037); /* FNV-1a */

	for (; *s; s++)
		h = (h ^ (unsigned char)*s) * UINT64_C(1099511628211);
	return h ^ h >> 32;
}

struct herd_map *herd_map_new(void (*free_value)(void *))
{
	struct herd_map *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->nslots = FIRST_SLOTS;
	m->slots = calloc(m->nslots, sizeof(*m->slots));
	m->free_value = free_value;
	if (!m->slots) {
		free(m);
		return NULL;
	}
	return m;
}

static void entry_free(struct herd_map *m, struct entry *e)
{
	if (m->free_value)
		m->free_value(e->value);
	free(e);
}

void herd_map_free(struct herd_map *m)
{
	if (!m)
		return;
	for (size_t i = 0; i < m->nslots; i++) {
		for (struct entry *e = m->slots[i], *next; e; e = next) {
			next = e->next;
			entry_free(m, e);
		}
	}
	free(m->slots);
	free(m);
}

static struct entry **find(const struct herd_map *m, const char *key, uint64_t hash)
{
	struct entry **p = &m->slots[hash & (m->nslots - 1)];

	while (*p && ((*p)->hash != hash || strcmp((*p)->key, key) != 0))
		p = &(*p)->next;
	return p;
}

static void grow(struct herd_map *m)
{
	size_t nslots = m->nslots * 2;
	struct entry **slots = calloc(nslots, sizeof(*slots));

	if (!slots)
		return; /* longer chains, nothing worse */
	for (size_t i = 0; i < m->nslots; i++) {
		for (struct entry *e = m->slots[i], *next; e; e = next) {
			next = e->next;
			e->next = slots[e->hash & (nslots - 1)];
			slots[e->hash & (nslots - 1)] = e;
		}
	}
	free(m->slots);
	m->slots = slots;
	m->nslots = nslots;
}

int herd_map_put(struct herd_map *m, const char *key, void *value)
{
	uint64_t hash = hash_of(key);
	struct entry **p = find(m, key, hash);

	if (*p) {
		if (m->free_value && (*p)->value != value)
			m->free_value((*p)->value);
		(*p)->value = value;
		return 0;
	}
	size_t len = strlen(key) + 1;
	struct entry *e = malloc(sizeof(*e) + len);

	if (!e)
		return -ENOMEM;
	*e = (struct entry){ .hash = hash, .value = value };
	memcpy(e->key, key, len);
	*p = e;
	if (++m->size > m->nslots)
		grow(m);
	return 0;
}

void *herd_map_get(const struct herd_map *m, const char *key)
{
	struct entry *e = *find(m, key, hash_of(key));

	return e ? e->value : NULL;
}

bool herd_map_remove(struct herd_map *m, const char *key)
{
	struct entry **p = find(m, key, hash_of(key));
	struct entry *e = *p;

	if (!e)
		return false;
	*p = e->next;
	m->size--;
	entry_free(m, e);
	return true;
}

size_t herd_map_size(const struct herd_map *m)
{
	return m->size;
}

bool herd_map_next(const struct herd_map *m, size_t *pos, const char **key, void **value)
{
	/* The position is the number of entries passed; chains are short, so counting is cheap. */
	size_t n = 0;

	for (size_t i = 0; i < m->nslots; i++) {
		for (struct entry *e = m->slots[i]; e; e = e->next) {
			if (n++ < *pos)
				continue;
			*pos = n;
			*key = e->key;
			if (value)
				*value = e->value;
			return true;
		}
	}
	return false;
}
