/*
 * agent/health.h - what the health check paths of the REST API answer. Pure.
 */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct herd_health {
	bool leader;          /* holds the leader key, and its lease is good */
	bool standby_cluster; /* the group follows another one */
	bool running;         /* PostgreSQL accepts connections */
	bool primary;         /* ... and is not in recovery */
	bool dcs_known;       /* the store could be read within the ttl */
	bool stream_known;    /* the leader told by streaming how far it is */
	bool failsafe;        /* failsafe mode keeps the leader while the store is away */
	bool paused;
	bool sync_standby, quorum_standby;
	bool live;                     /* the loop turns */
	const char *replication_state; /* or NULL */
	uint64_t leader_lsn;           /* what the leader has, as far as it is known; 0 unknown */
	uint64_t received_lsn, replayed_lsn;
	int64_t maximum_lag; /* maximum_lag_on_failover */
	const json_t *tags;  /* as published; NULL: none */
};

struct herd_health_param {
	const char *name, *value;
};

/* 200 or 503. path without the query; every path that is no other request is a health check. */
int herd_health_answer(const struct herd_health *h, const char *path,
		       const struct herd_health_param *params, size_t n);
