/*
 * base/json.h - reading jansson values with types checked and errors that name the path.
 *
 * jansson itself (json_t) is the JSON type of the whole project; these are the readers on top.
 */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* Parses text of len bytes; duplicate keys and NULs refused, depth bounded. NULL with err set. */
json_t *herd_json_parse(const char *text, size_t len, struct herd_err *err);
/* Compact text ("," and ":" without spaces, keys in their order), malloc'd. */
char *herd_json_dump(const json_t *v);

/* Borrowed text of a string member, or fallback when absent, null or no string. */
const char *herd_json_str(const json_t *obj, const char *key, const char *fallback);
int64_t herd_json_i64(const json_t *obj, const char *key, int64_t fallback);
/* JSON true/false, and the words and numbers that Patroni takes for them. */
bool herd_json_bool(const json_t *obj, const char *key, bool fallback);
/* Nested member by "a.b.c"; NULL when any step is absent. */
json_t *herd_json_path(const json_t *obj, const char *path);

/*
 * Patroni's patch: members of patch replace or are merged into obj recursively, null deletes.
 * A map that is new comes as it is, with its nulls: that of a permanent slot means a physical one.
 * Scalars that are equal as text are no change. Returns true when obj changed.
 */
bool herd_json_patch(json_t *obj, const json_t *patch);
