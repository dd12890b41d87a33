/*
 * pg/guc_value.h - values of the server's parameters: is one valid, and how would PostgreSQL show
 * it. Pure. The rules are PostgreSQL's (parse_int, parse_real, parse_bool, its enums).
 */
#pragma once
#include <stdbool.h>

#include "base/buf.h"
#include "pg/settings.h"

enum herd_pg_guc_type {
	HERD_PG_GUC_STRING = 0,
	HERD_PG_GUC_BOOL,
	HERD_PG_GUC_INTEGER,
	HERD_PG_GUC_REAL,
	HERD_PG_GUC_ENUM
};
/* "BOOLEAN" or "bool" ...; anything unknown is a string. */
enum herd_pg_guc_type herd_pg_guc_type_parse(const char *text);
const char *herd_pg_guc_type_text(enum herd_pg_guc_type t); /* "integer", as pg_settings */

/* What `postgres --describe-config` does not tell about a parameter. */
struct herd_pg_guc_fact {
	const char *name;
	enum herd_pg_guc_type type;
	const char *unit;  /* kB, 8kB, MB, B, ms, s, min; NULL: none */
	const char *words; /* of an enum, of all versions: "off,on,try"; NULL: not known */
	int from, till;    /* major versions that have it, till not included; 0: all we know */
};
/* Any case. NULL when there is nothing to tell. */
const struct herd_pg_guc_fact *herd_pg_guc_fact(const char *name);
/* A parameter that a version has and does not describe (`postgres --describe-config`). */
bool herd_pg_guc_undescribed(const char *name, int version);

enum herd_pg_guc_verdict {
	HERD_PG_GUC_GOOD = 0,
	HERD_PG_GUC_LOW,  /* a number below min */
	HERD_PG_GUC_HIGH, /* above max */
	HERD_PG_GUC_BAD
};
/* unit, words, min and max may be NULL: then they are not looked at (no unit: none is allowed). */
enum herd_pg_guc_verdict herd_pg_guc_judge(enum herd_pg_guc_type type, const char *unit,
					   const char *words, const char *min, const char *max,
					   const char *value);
/*
 * As people write it: a number in the greatest unit that holds it exactly ("16384" of unit 8kB is
 * "128MB"), a boolean as on or off, anything else as it is. -ENOMEM.
 */
int herd_pg_guc_human(enum herd_pg_guc_type type, const char *unit, const char *value,
		      struct herd_buf *out);
/* PostgreSQL's booleans: also beginnings of the words, as long as they are unique. */
int herd_pg_guc_bool(const char *value, bool *ret); /* 0 or -EINVAL */

/*
 * A parameter of recovery by its name in this version: trigger_file was promote_trigger_file from
 * 12 on and is gone since 16. NULL: this version does not know it.
 */
const char *herd_pg_guc_recovery_name(const char *name, int version);
/*
 * How much WAL is kept for standbys, in this version's words: wal_keep_size since 13,
 * wal_keep_segments (of 16 MB) before. Invalid values become the default with a warning.
 */
int herd_pg_guc_wal_keep(struct herd_pg_settings *s, int version, struct herd_buf *warnings);
