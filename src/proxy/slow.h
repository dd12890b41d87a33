/*
 * proxy/slow.h - [pgherd] slow_query_ms: statements that took longer go to the log, without their
 * data.
 *
 * What runs is remembered at the server connection, and only while the setting is on.
 */
#pragma once
#include "proxy/client.h"

static inline bool herd_slow_on(const struct herd_worker *w)
{
	return w->live->config->s.slow_query_ms > 0;
}
/*
 * A message of a round begins on the client's server: n bytes of its body are here. Of a round of
 * several statements the first is told, and how many came after it.
 */
void herd_slow_begin(struct herd_client *c, char type, const char *body, size_t n);
/* The round is over. */
void herd_slow_end(struct herd_worker *w, struct herd_client *c, struct herd_server *s);
