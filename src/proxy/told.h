/*
 * proxy/told.h - what the members of one cluster say of themselves by their REST API (GET
 * /patroni of ours and of Patroni).
 *
 * Members are known from the store, or found by GET /cluster of the addresses in the setting
 * "rest". Everything is asked at a pace, one request per member at a time, each with a time limit.
 * Main thread.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "pool/topo.h"

struct herd_log;
struct herd_loop;
struct herd_settings;

struct herd_told_member {
	int group;
	char *name, *host, *api_url; /* api_url may be NULL: not asked */
	int port;
	struct herd_http_call *call;
	struct herd_told *rest;
	bool seen;           /* mark of herd_told_sweep */
	bool found;          /* by /cluster, not by the store */
	int64_t answered_ms; /* herd_now_ms() of the last answer; 0: never */
	/* the last answer */
	char *role, *state, *system_id, *zone;
	bool running, primary, noloadbalance;
	int64_t timeline;
	uint64_t lsn;        /* of a standby what it has replayed; 0: not told */
	int64_t replayed_ms; /* wall clock of the last transaction it replayed; 0: not told */
};

struct herd_told {
	struct herd_log *log;
	char *scope;
	struct herd_http_client *http;
	struct herd_timer *timer;
	int64_t pace_ms, asked_ms;
	size_t nseeds;
	struct herd_told_seed *seeds;
	size_t n;
	struct herd_told_member **member;
	void (*news)(void *arg);
	void *arg;
};

/* news is called after answers that may change something. */
int herd_told_new(struct herd_loop *loop, struct herd_log *log, const struct herd_settings *set,
		  const char *scope, void (*news)(void *arg), void *arg, struct herd_told **ret,
		  struct herd_err *err);
void herd_told_free(struct herd_told *r);
/* Says that the store knows this member; false when out of memory. */
bool herd_told_know(struct herd_told *r, int group, const char *name, const char *host, int port,
		    const char *api_url);
/* Forgets those of the store that were not said since the last call. */
void herd_told_sweep(struct herd_told *r);
/* Asks that often; 0: not at all. */
void herd_told_pace(struct herd_told *r, int64_t ms);
/* Asks now, unless it just did. */
void herd_told_ask(struct herd_told *r);
const struct herd_told_member *herd_told_find(const struct herd_told *r, int group,
					      const char *name);
/* Is the last answer new enough to be trusted? */
bool herd_told_fresh(const struct herd_told *r, const struct herd_told_member *m);

/* Puts fresher figures (lag) than the store has into the group. */
void herd_told_overlay(const struct herd_told *r, struct herd_topo_group *g);
/*
 * The store does not answer: makes the group's leader the one the members name. timeline: the
 * highest ever told. by_store: the group is what the store said last.
 */
void herd_told_judge(const struct herd_told *r, struct herd_topo_group *g, bool by_store);
/* Adds the groups of members found by /cluster. False when out of memory. */
bool herd_told_add(const struct herd_told *r, struct herd_topo *t);

/* Reads the answer to GET /patroni into m. 0 or -EINVAL, also when it is of another scope. */
int herd_told_read(struct herd_told_member *m, const char *scope, const char *text, size_t len);
