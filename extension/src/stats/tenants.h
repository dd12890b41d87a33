/*
 * stats/tenants.h - how much is done for each value of a distribution column: citus_stat_tenants.
 *
 * Statements of one shard that this node has planned are counted by their value, in periods, while
 * citus.stat_tenants_track is "all". Twice as many tenants are kept as citus.stat_tenants_limit
 * says; the busiest ones are shown.
 */
#pragma once
#include "postgres.h"

#include "datatype/timestamp.h"

#include "plan/remote.h"

/* Settings and shared memory; from _PG_init. */
extern void herd_tenants_init(void);

typedef struct HerdTenant HerdTenant;
/* A statement begins; NULL when it is not counted. In CurrentMemoryContext. */
extern HerdTenant *herd_tenant_begin(const HerdRemote *remote, ParamListInfo params);
/* It has ended. */
extern void herd_tenant_end(const HerdTenant *tenant);
