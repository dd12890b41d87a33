/*
 * dcs/view.h - building views; for backends only.
 */
#pragma once
#include "dcs/dcs.h"

/* An empty view with room for n keys; NULL when out of memory. */
struct herd_dcs_view *herd_dcs_view_new(size_t n);
/* Appends (keys must come in ascending order); copies. False when out of memory. */
bool herd_dcs_view_add(struct herd_dcs_view *v, const char *key, const char *value, size_t len,
		       int64_t version, const char *lease);
/*
 * A copy of v with one key put (value not NULL) or removed. NULL when out of memory.
 */
struct herd_dcs_view *herd_dcs_view_with(const struct herd_dcs_view *v, const char *key,
					 const char *value, size_t len, int64_t version,
					 const char *lease);
