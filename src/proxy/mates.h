/*
 * proxy/mates.h - the members of the herd as this process has met them: connections, failures.
 *
 * Made when first connected to, kept as long as the proxy: pointers stay valid. Any thread.
 */
#pragma once
#include <pthread.h>
#include <stdatomic.h>

#include "base/map.h"
#include "pool/health.h"
#include "pool/route.h"

struct herd_px;
struct herd_pool;

struct herd_mate {
	char *scope, *member;
	int group;
	_Atomic int conns;  /* server connections of all pools */
	_Atomic bool leave; /* it failed: who uses it goes elsewhere when there is an elsewhere */
	_Atomic bool out;   /* not picked; until when stands below */
	_Atomic int64_t suspect_until_us; /* a connection died unasked: look before use */
	_Atomic int64_t doubt_us;         /* when the last one died that had been usable */

	pthread_mutex_t lock; /* of what follows */
	struct herd_health health;
	int64_t started;       /* of its postmaster, us since the epoch; 0: not known */
	uint64_t replayed;     /* since then it has replayed at least this much WAL */
	char *last_error;      /* NULL: none so far */
	int64_t last_error_ms; /* wall clock */
};

struct herd_mates;
struct herd_mates *herd_mates_new(void); /* NULL when out of memory */
void herd_mates_free(struct herd_mates *m);
/* NULL when out of memory. */
struct herd_mate *herd_mates_get(struct herd_mates *m, const char *scope, int group,
				 const char *member);
/* The one that is there already, or NULL. */
struct herd_mate *herd_mates_find(struct herd_mates *m, const char *scope, int group,
				  const char *member);

/*
 * A connection to it could not be opened or was refused, text says why. eject: it is left alone for
 * a while; leave: those that have a connection go, too. True when it was in until now.
 */
bool herd_mate_failed(struct herd_mate *m, const char *text, bool eject, bool leave);
/* A connection to it passed all checks. True when it is readmitted by this. */
bool herd_mate_worked(struct herd_mate *m);
bool herd_mate_out(struct herd_mate *m);

/* For the console. last_error is malloc'd or NULL. */
struct herd_mate_state {
	int conns, fails;
	int64_t out_ms; /* how much longer it is left alone; 0: it is not */
	char *last_error;
	int64_t last_error_ms;
};
void herd_mate_read(struct herd_mate *m, struct herd_mate_state *ret);

/* For herd_route_pick: what this process knows, on behalf of a pool (NULL: of none). */
struct herd_mates_view {
	struct herd_mates *mates;
	struct herd_pool *pool; /* its lock is held by the caller */
};
void herd_mates_look(void *arg /* struct herd_mates_view */, const struct herd_topo_group *g,
		     const struct herd_topo_member *m, struct herd_route_look *ret);
