/*
 * agent/schema.h - which keys a configuration may hold, of which type, and the name each has in the
 * environment. The table is the documentation; checking walks a configuration against it.
 */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum herd_key_type {
	HERD_KEY_STR = 0, /* text; numbers and booleans become text */
	HERD_KEY_INT,     /* a number */
	HERD_KEY_SECONDS, /* a number of seconds or a time with a unit */
	HERD_KEY_BYTES,   /* a number of bytes or a size with a unit */
	HERD_KEY_BOOL,
	HERD_KEY_SYNC,     /* off, on, quorum */
	HERD_KEY_MAP,      /* free keys */
	HERD_KEY_SETTINGS, /* free keys, each with a single value; others are refused one by one */
	HERD_KEY_LIST,     /* of text; a comma-separated text is taken apart */
	HERD_KEY_LIST_MAP, /* a list or a map, kept as it is */
	HERD_KEY_ANY
};

struct herd_schema_key {
	const char *path; /* "restapi.listen" */
	enum herd_key_type type;
	const char *env;  /* NULL: none; "": PATRONI_ and the path in upper case; else the name */
	int64_t min, max; /* for the numbers; max 0: no upper limit */
};

/* Keys of the local file, and those of the dynamic configuration; both end with a NULL path. */
extern const struct herd_schema_key herd_schema_local[];
extern const struct herd_schema_key herd_schema_dynamic[];

/* path: "postgresql.pg_ctl_timeout"; fatal: the value cannot be used; else it is only unknown. */
typedef void (*herd_schema_report_fn)(void *arg, bool fatal, const char *path, const char *reason);

/*
 * Checks v (an object) against the table and turns scalars into their JSON types in place. Values
 * that are refused are reported and removed; unknown keys are reported and kept. prefix goes before
 * the paths in reports. Returns the number of refused values.
 */
int herd_schema_check(json_t *v, const struct herd_schema_key *table, const char *prefix,
		      herd_schema_report_fn fn, void *arg);

/*
 * Puts what the environment says into v (PATRONI_*; getenv is passed in so that tests need none).
 * Values that are no valid YAML for a list or map are reported.
 */
void herd_schema_env(json_t *v, const char *(*get)(void *env, const char *name), void *env,
		     herd_schema_report_fn fn, void *arg);

/* Puts value at a dotted path, making maps on the way; steals value. -ENOMEM or -EINVAL. */
int herd_schema_put(json_t *v, const char *path, json_t *value);
