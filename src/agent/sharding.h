/*
 * agent/sharding.h - one PostgreSQL made of many groups: settings and objects that the sharding
 * extension (pgherd, or citus where that is what is installed) needs, the nodes' registration on
 * the coordinator, and statements that wait while a worker changes its leader.
 *
 * All functions take NULL for an agent without a `citus` section, and then do nothing (callbacks
 * are called at once).
 */
#pragma once
#include <jansson.h>

#include "pg/instance.h"

struct herd_agent;
struct herd_sharding;

struct herd_sharding *herd_sharding_new(struct herd_agent *a);
void herd_sharding_free(struct herd_sharding *s);

/* Puts the settings that the extension needs into c. */
void herd_sharding_parameters(const struct herd_agent *a, struct herd_pg_config *c);

/* On the running server of a bootstrap: database, extension, credentials. */
void herd_sharding_bootstrap(struct herd_sharding *s, herd_pg_done_fn done, void *arg);

/* After every step: the coordinator's leader keeps pg_dist_node as the store has it. */
void herd_sharding_step(struct herd_sharding *s);

/*
 * A worker's leader is about to stop on purpose: asks the coordinator to hold statements for this
 * group, and calls fn when it does, or does not answer in time.
 */
void herd_sharding_before_demote(struct herd_sharding *s, void (*fn)(void *arg), void *arg);
void herd_sharding_before_promote(struct herd_sharding *s);
void herd_sharding_after_promote(struct herd_sharding *s);

/* POST /citus on the coordinator's leader; fn when it may be answered. */
void herd_sharding_event(struct herd_sharding *s, const json_t *event, void (*fn)(void *arg),
			 void *arg);
