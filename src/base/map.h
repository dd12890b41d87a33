/*
 * base/map.h - a hash map from strings to pointers. Keys are copied, values are the caller's.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct herd_map;

/* NULL when out of memory. free_value is called for values that are replaced or left; may be NULL.
 */
struct herd_map *herd_map_new(void (*free_value)(void *));
void herd_map_free(struct herd_map *m);
/* 0 or -ENOMEM (the value then still belongs to the caller). Replaces. */
int herd_map_put(struct herd_map *m, const char *key, void *value);
void *herd_map_get(const struct herd_map *m, const char *key); /* NULL when absent */
bool herd_map_remove(struct herd_map *m, const char *key);
size_t herd_map_size(const struct herd_map *m);
/* Walks in no particular order; *pos starts at 0. False at the end. No changes while walking. */
bool herd_map_next(const struct herd_map *m, size_t *pos, const char **key, void **value);
