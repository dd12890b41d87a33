/*
 * proxy/topology.h - who leads which group, kept up to date for the threads of the proxy.
 *
 * Snapshots (pool/topo.h) are published whole by herd_topology_publish, from the main thread, by
 * the DCS watch (proxy/feed.h). All other calls may come from any thread.
 */
#pragma once
#include "pool/route.h"
#include "pool/topo.h"
#include "proxy/mates.h"
#include "proxy/worker.h"

struct herd_loop;
struct herd_topology;

struct herd_topology *herd_topology_new(struct herd_px *px); /* NULL when out of memory */
void herd_topology_free(struct herd_topology *t);
/*
 * Takes the reference. When it returns, the pools hold, release and redirect accordingly: no server
 * of a held group is handed out any more.
 */
void herd_topology_publish(struct herd_topology *t, struct herd_topo *snapshot);
/* A reference to the last snapshot; NULL before the first. */
struct herd_topo *herd_topology_get(struct herd_topology *t);
/* What this process has met of the members. */
struct herd_mates *herd_topology_mates(struct herd_topology *t);
/* Grows with every snapshot; no lock. */
uint64_t herd_topology_serial(struct herd_topology *t);

/* Questions about the last snapshot. */
bool herd_topology_fits(struct herd_topology *t, const struct herd_route *r, const char *scope,
			int group, const char *member);
/* *why is malloc'd (NULL when out of memory). */
bool herd_topology_held(struct herd_topology *t, const struct herd_route *r, char **why);
/* How many members would do equally well: what serves several of them keeps a connection to each.
 */
int herd_topology_choices(struct herd_topology *t, const struct herd_route *r, const char *zone);
/* Would a new connection go there, load aside? */
bool herd_topology_favours(struct herd_topology *t, const struct herd_route *r, const char *zone,
			   const char *scope, int group, const char *member);
/* Is there a candidate to connect to in advance? */
bool herd_topology_warm(struct herd_topology *t, const struct herd_route *r);

/* The configuration changed: follows clusters that it names now. Any thread. */
void herd_topology_config(struct herd_topology *t);
/* Something at the servers says that the snapshot may be old: ask the members, soon. */
void herd_topology_ask(struct herd_topology *t);

/* Follows the clusters that the configuration names. Main thread. See settings dcs, namespace. */
int herd_topology_start(struct herd_topology *t, struct herd_loop *loop, struct herd_err *err);
void herd_topology_stop(struct herd_topology *t);
