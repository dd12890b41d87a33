/*
 * proxy/settings.h - the table of settings behind proxy/config.h.
 */
#pragma once
#include "proxy/config.h"

enum { HERD_MAX_WORKERS = 16, HERD_MAX_PEER_ID = 16383 };

/* Index of the setting or -1; ours: of [pgherd]. */
int herd_settings_find(const char *name, bool ours);
/* Checks and stores. 0 or -EINVAL with err. */
int herd_settings_store(struct herd_settings *s, int i, const char *text, struct herd_err *err);
/* The value as it is in force, for people and for SET. Uses buf (32 bytes) if need be. */
const char *herd_settings_show(const struct herd_settings *s, int i, char *buf, size_t size);
void herd_settings_free(struct herd_settings *s);
/* Seconds with fractions -> microseconds. 0 or -EINVAL. */
int herd_settings_time(const char *text, int64_t *ret);
/* off, transaction, auto. 0 or -EINVAL. */
int herd_settings_split(const char *text, int *ret);
int herd_settings_mode(const char *text, int *ret);
int herd_settings_auth(const char *text, int *ret);
int herd_settings_session(const char *text, int *ret);
