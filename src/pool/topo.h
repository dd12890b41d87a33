/*
 * pool/topo.h - who is who in the herd, as the proxy last heard: an immutable, counted snapshot.
 *
 * Built by proxy/topology.c from the DCS (or by a test), published whole, never changed after. The
 * reference count is atomic: snapshots are shared by threads.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum herd_topo_phase {
	HERD_HANDOVER_NONE = 0,
	HERD_HANDOVER_HOLD /* the leader is about to go: hand out nothing of it */
};

struct herd_topo_member {
	char *name;
	char *host; /* from conn_url */
	int port;
	bool running;       /* state is "running" or streaming */
	bool noloadbalance; /* tag */
	bool standby;       /* its own idea: role is not primary/master */
	int64_t timeline;   /* 0: not told */
	int64_t lsn;        /* replayed or written, 0: not told */
	int64_t lag;        /* bytes that it has to replay; -1: not known */
	int64_t lag_ms;     /* age of what it shows; -1: not known */
	char *role, *state; /* as told, for the console */
	char *zone;         /* tag; NULL: none */
	char *api_url;      /* of its REST API; NULL: not told */
};

struct herd_topo_group {
	char *scope;
	int group;          /* -1: the cluster is not sharded */
	char *leader;       /* member that holds the leader key, NULL: nobody */
	char *no_leader;    /* why nobody leads, when there is more to say; NULL otherwise */
	int64_t leader_ver; /* version of the leader key: grows at every change */
	char *system_id;    /* NULL: not known */
	size_t n;
	struct herd_topo_member *members;
	enum herd_topo_phase phase;
	char *handover_id, *handover_from, *handover_to;
	bool by_rest; /* told by the members themselves, not by the store */
};

struct herd_topo {
	_Atomic int refs;
	uint64_t serial; /* grows with every snapshot */
	size_t n;
	struct herd_topo_group *groups;
};

/* An empty one with one reference; NULL when out of memory. */
struct herd_topo *herd_topo_new(void);
struct herd_topo *herd_topo_ref(struct herd_topo *t);
void herd_topo_unref(struct herd_topo *t);
/* Before it is published: adds a group or member. NULL when out of memory. Pointers move. */
struct herd_topo_group *herd_topo_add_group(struct herd_topo *t, const char *scope, int group);
struct herd_topo_member *herd_topo_add_member(struct herd_topo_group *g, const char *name,
					      const char *host, int port);
/* Do both name the same leaders and announce the same handovers? a and b may be NULL. */
bool herd_topo_same_leads(const struct herd_topo *a, const struct herd_topo *b);
const struct herd_topo_group *herd_topo_find(const struct herd_topo *t, const char *scope,
					     int group);
const struct herd_topo_member *herd_topo_member(const struct herd_topo_group *g, const char *name);
