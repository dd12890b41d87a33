/*
 * model/schema.h - which keys a configuration may hold: type, range, default, name in the
 * environment, what a change at run time does. Pure.
 *
 * The tables are the documentation: docs/agent.md's reference is printed from them
 * (scripts/settings-reference), and checking walks a configuration along them.
 */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum herd_key_type {
	HERD_KEY_STR = 0, /* text; numbers and booleans become text */
	HERD_KEY_CHOICE,  /* one of choices, in any case; becomes their spelling */
	HERD_KEY_ADDRESS, /* host[,host][:port] */
	HERD_KEY_OCTAL,   /* a file mode: 0640 or '0640' */
	HERD_KEY_INT,     /* a number */
	HERD_KEY_SECONDS, /* a number of seconds or a time with a unit */
	HERD_KEY_BYTES,   /* a number of bytes or a size with a unit */
	HERD_KEY_BOOL,
	HERD_KEY_SYNC,     /* off, on, quorum */
	HERD_KEY_MAP,      /* free keys */
	HERD_KEY_SETTINGS, /* free keys, each with a single value; others are refused one by one */
	HERD_KEY_SLOTS,    /* permanent replication slots: null, or a map with type, database ... */
	HERD_KEY_LIST,     /* of text; a comma-separated text is taken apart */
	HERD_KEY_LINES,    /* of text, where commas mean nothing; a text is taken line by line */
	HERD_KEY_LIST_MAP, /* a list or a map, kept as it is */
	HERD_KEY_FORMAT,   /* a text, or a list of texts and one-key maps */
	HERD_KEY_ANY
};

/* When a new value counts. */
enum herd_key_when {
	HERD_KEY_RELOAD = 0, /* from the next reload on (SIGHUP, POST /reload) */
	HERD_KEY_START,      /* when the agent is started anew */
	HERD_KEY_NEW,        /* only when a new herd or member is made */
	HERD_KEY_NO_EFFECT,  /* accepted, because files of Patroni have it */
	HERD_KEY_OLD         /* former spelling of another key, still read; not in the reference */
};

struct herd_schema_key {
	const char *path; /* "restapi.listen" */
	enum herd_key_type type;
	const char *env; /* NULL: none; "": PATRONI_ and the path in upper case; else the name */
	enum herd_key_when when;
	const char *fallback; /* the default, as the reference shows it; "": none */
	const char *help;
	int64_t min, max;    /* for the numbers; max 0: no upper limit */
	const char *choices; /* "none|optional|required" */
	bool clamp;          /* a number below min counts as min, with a warning; else refused */
	bool keep;           /* checked, but left as it is written */
	bool required;
};

/* Keys of the local file, and those of the dynamic configuration; both end with a NULL path. */
extern const struct herd_schema_key herd_schema_local[];
extern const struct herd_schema_key herd_schema_dynamic[];

/* path: "postgresql.pg_ctl_timeout"; fatal: the value cannot be used; else it is a warning. */
typedef void (*herd_schema_report_fn)(void *arg, bool fatal, const char *path, const char *reason);

/*
 * Checks v (an object) against the table and turns scalars into their JSON types in place. Values
 * that are refused are reported and removed, so is null; unknown keys are reported, with the
 * nearest known name, and kept. prefix goes before the paths in reports. Returns the number of
 * refused values.
 */
int herd_schema_check(json_t *v, const struct herd_schema_key *table, const char *prefix,
		      herd_schema_report_fn fn, void *arg);
/*
 * The same for a whole dynamic configuration: former names are replaced by today's, and what stands
 * under postgresql is checked as in the local file, without the keys that are taken from there
 * only.
 */
int herd_schema_check_dynamic(json_t *v, const char *prefix, herd_schema_report_fn fn, void *arg);
/*
 * May fresh take the place of old (NULL: none) in the store? 0, or -EINVAL with all refused values
 * that old did not have already, a line each. Neither is changed.
 */
int herd_schema_may_store(const json_t *fresh, const json_t *old, struct herd_err *err);

/* Name of the key in the environment, malloc'd; NULL when it has none. */
char *herd_schema_env_name(const struct herd_schema_key *k);
/* The key of that path, or NULL. */
const struct herd_schema_key *herd_schema_find(const struct herd_schema_key *table,
					       const char *path);
/* A text with commas as a list of trimmed texts, new. */
json_t *herd_schema_split(const char *text);
/* Puts value at a dotted path, making maps on the way; steals value. -ENOMEM or -EINVAL. */
int herd_schema_put(json_t *v, const char *path, json_t *value);

/*
 * The reference as Markdown: a table of the local keys, one of the dynamic ones. malloc'd.
 */
char *herd_schema_reference(void);
