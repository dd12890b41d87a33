/*
 * agent/config.h - the configuration of one agent: local file and environment, the dynamic part
 * from the DCS, and what both together mean.
 *
 * Weakest first: built-in defaults, the dynamic configuration (DCS /config), the local file, the
 * environment. Timing and everything of the herd as a whole comes only from the DCS; addresses,
 * directories and credentials only from the local side.
 */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "agent/source.h"
#include "base/err.h"
#include "model/config.h"
#include "model/schema.h"

struct herd_agent_config {
	char *path;         /* file or directory; NULL: from PATRONI_CONFIGURATION */
	json_t *local;      /* checked; scalars in their types */
	json_t *dynamic;    /* as it stands in the DCS; never NULL */
	json_t *effective;  /* local and dynamic together: what every part reads */
	bool guard;         /* guard.mode is not off, and it runs; decides the smallest ttl */
	bool guard_lost;    /* it cannot be started */
	char *env_snapshot; /* PATRONI_* that were taken from the environment, as JSON */
};

/* Words for the log that are no errors: unknown keys, repaired timing. */
typedef void (*herd_agent_config_warn_fn)(void *arg, const char *text);

/*
 * Reads the file (or each *.yml and *.yaml of a directory, merged in the order of their names) and
 * the environment, whose PATRONI_* variables are removed. name, scope, postgresql.data_dir,
 * postgresql.listen and restapi.listen must be there. err lists all that is wrong, a line each.
 */
int herd_agent_config_load(const char *path, herd_agent_config_warn_fn warn, void *arg,
			   struct herd_agent_config **ret, struct herd_err *err);
/* The file again with the same environment; *c is only changed on success. */
int herd_agent_config_reload(struct herd_agent_config *c, herd_agent_config_warn_fn warn, void *arg,
			     struct herd_err *err);
/* Takes a new dynamic configuration. -EINVAL when it is unusable; the old one then stays. */
int herd_agent_config_set_dynamic(struct herd_agent_config *c, const json_t *dynamic,
				  herd_agent_config_warn_fn warn, void *arg, struct herd_err *err);
/* The guard cannot be started, or can again: the smallest ttl changes with it. */
int herd_agent_config_set_guard(struct herd_agent_config *c, bool lost,
				herd_agent_config_warn_fn warn, void *arg, struct herd_err *err);
void herd_agent_config_free(struct herd_agent_config *c);

/* Everything that is wrong with the types and names in it; returns the number of refused values. */
int herd_agent_config_check(const struct herd_source *source, herd_schema_report_fn fn, void *arg);

/* A setting of PostgreSQL that all members share: it counts only in the dynamic configuration. */
bool herd_agent_config_is_shared(const char *guc);

/* By what this agent logs in to other members' REST: ctl's, else restapi's; NULL without. */
const char *herd_agent_config_ctl_user(const struct herd_agent_config *c);
const char *herd_agent_config_ctl_password(const struct herd_agent_config *c);

/* Readers on effective, by dotted path. */
const char *herd_agent_config_str(const struct herd_agent_config *c, const char *path,
				  const char *fallback);
int64_t herd_agent_config_i64(const struct herd_agent_config *c, const char *path,
			      int64_t fallback);
bool herd_agent_config_bool(const struct herd_agent_config *c, const char *path, bool fallback);
json_t *herd_agent_config_get(const struct herd_agent_config *c,
			      const char *path); /* borrowed or NULL */

/* <data_dir>/patroni.dynamic.json: written with the data directory's owner and mode. */
int herd_agent_config_cache_write(const struct herd_agent_config *c, struct herd_err *err);
bool herd_agent_config_is_cached(const struct herd_agent_config *c); /* the file is there */
/* NULL when there is none or it cannot be read. */
json_t *herd_agent_config_cache_read(const struct herd_agent_config *c);

/* The whole local configuration as YAML with secrets hidden, malloc'd. */
char *herd_agent_config_print(const struct herd_agent_config *c);
