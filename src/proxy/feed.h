/*
 * proxy/feed.h - the DCS as the source of the topology, and the place of our acknowledgements.
 *
 * Beside it the members' REST API (told.h) tells lags, and who leads when the DCS does not answer
 * or when there is none.
 *
 * One watch per cluster that the configuration names. Every change builds a snapshot of all of them
 * and publishes it; then the key proxies/<id> of the cluster, which hangs on a lease of ours, says
 * which announced handovers are being held for.
 */
#pragma once
#include "base/err.h"
#include "pool/topo.h"

struct herd_feed;
struct herd_loop;
struct herd_px;
struct herd_scope;
struct herd_topology;

/* 0 with *ret NULL when no cluster is named. Main thread. */
int herd_feed_start(struct herd_px *px, struct herd_topology *t, struct herd_loop *loop,
		    struct herd_feed **ret, struct herd_err *err);
void herd_feed_free(struct herd_feed *f);
/* Follows the clusters that the configuration names by now, too. */
int herd_feed_reload(struct herd_feed *f, struct herd_err *err);
/* Asks the members themselves, soon. */
void herd_feed_ask(struct herd_feed *f);

/*
 * Adds the groups of one cluster to a snapshot. wall_ms: handovers past their deadline do not
 * count. *next_ms gets the nearest deadline that still counts, if it is earlier. False when out of
 * memory.
 */
bool herd_feed_add(struct herd_topo *t, const char *name, const struct herd_scope *scope,
		   int64_t wall_ms, int64_t *next_ms);
