#include "pg/guc_value.h"

#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"

static const char *const type_texts[] = {
	[HERD_PG_GUC_STRING] = "string",   [HERD_PG_GUC_BOOL] = "bool",
	[HERD_PG_GUC_INTEGER] = "integer", [HERD_PG_GUC_REAL] = "real",
	[HERD_PG_GUC_ENUM] = "enum",
};

enum herd_pg_guc_type herd_pg_guc_type_parse(const char *text)
{
	if (text != NULL && strcasecmp(text, "boolean") == 0)
		return HERD_PG_GUC_BOOL;
	for (int i = HERD_PG_GUC_BOOL; text != NULL && i <= HERD_PG_GUC_ENUM; i++)
		if (strcasecmp(text, type_texts[i]) == 0)
			return (enum herd_pg_guc_type)i;
	return HERD_PG_GUC_STRING;
}

const char *herd_pg_guc_type_text(enum herd_pg_guc_type t)
{
	return type_texts[t];
}

/* --- words ------------------------------------------------------------------------------------ */

int herd_pg_guc_bool(const char *value, bool *ret)
{
	static const struct {
		const char *word;
		size_t least; /* letters that make it unique */
		bool on;
	} words[] = {
		{ "true", 1, true }, { "false", 1, false }, { "yes", 1, true }, { "no", 1, false },
		{ "on", 2, true },   { "off", 2, false },   { "1", 1, true },   { "0", 1, false },
	};
	size_t len = strlen(value);

	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
		if (len >= words[i].least && strncasecmp(value, words[i].word, len) == 0) {
			*ret = words[i].on;
			return 0;
		}
	}
	return -EINVAL;
}

static bool among(const char *words, const char *value)
{
	size_t len = strlen(value);

	for (const char *w = words;; w += strcspn(w, ",") + 1) {
		if (strcspn(w, ",") == len && strncasecmp(w, value, len) == 0)
			return true;
		if (w[strcspn(w, ",")] == '\0')
			return false;
	}
}

/* An enum with on and off takes their other words, too. */
static bool is_word(const char *words, const char *value)
{
	bool b;

	return among(words, value) ||
	       (among(words, "on") && (herd_str_ieq(value, "true") || herd_str_ieq(value, "yes") ||
				       strcmp(value, "1") == 0)) ||
	       (among(words, "off") && herd_pg_guc_bool(value, &b) == 0 && !b);
}

/* --- numbers ---------------------------------------------------------------------------------- */

/* In bytes or microseconds: greatest first. */
static const struct unit {
	const char *name;
	double base;
	bool memory;
} units[] = {
	{ "TB", 1024.0 * 1024 * 1024 * 1024, true },
	{ "GB", 1024.0 * 1024 * 1024, true },
	{ "MB", 1024.0 * 1024, true },
	{ "kB", 1024.0, true },
	{ "B", 1.0, true },
	{ "d", 86400e6, false },
	{ "h", 3600e6, false },
	{ "min", 60e6, false },
	{ "s", 1e6, false },
	{ "ms", 1e3, false },
	{ "us", 1.0, false },
};
enum { UNITS_N = sizeof(units) / sizeof(*units) };

static const struct unit *unit_of(const char *name)
{
	for (size_t i = 0; i < UNITS_N; i++)
		if (strcmp(units[i].name, name) == 0)
			return &units[i];
	return NULL;
}

/* "8kB": how much one is, and of which kind. */
static bool base_unit(const char *text, double *ret, bool *memory)
{
	char *end;
	double n = strtod(text, &end);
	const struct unit *u = unit_of(end == text ? text : end);

	if (u == NULL)
		return false;
	*ret = (end == text ? 1 : n) * u->base;
	*memory = u->memory;
	return true;
}

/* PostgreSQL: strtol with base 0, so 0x10 and 010 are known; what has a point is a real number. */
static bool number(const char *value, bool integer, double *ret, const char **rest)
{
	char *end;

	while (*value == ' ')
		value++;
	if (integer) {
		errno = 0;
		long n = strtol(value, &end, 0);

		if (end != value && errno == 0 && *end != '.' && *end != 'e' && *end != 'E') {
			*ret = (double)n;
			*rest = end;
			return true;
		}
	}
	*ret = strtod(value, &end);
	*rest = end;
	return end != value && isfinite(*ret);
}

/* A value in base units; false when it is none. */
static bool in_base(enum herd_pg_guc_type type, const char *unit, const char *value, double *ret)
{
	const struct unit *u;
	const char *rest;
	double base;
	bool memory;

	if (!number(value, type == HERD_PG_GUC_INTEGER, ret, &rest))
		return false;
	rest += strspn(rest, " \t\n");
	if (*rest != '\0') {
		size_t len = strcspn(rest, " \t\n");
		char name[4] = "";

		if (len >= sizeof(name) || rest[len + strspn(rest + len, " \t\n")] != '\0')
			return false;
		memcpy(name, rest, len);
		u = unit_of(name);
		if (u == NULL || unit == NULL || !base_unit(unit, &base, &memory) ||
		    memory != u->memory)
			return false;
		*ret = *ret * u->base / base;
	}
	if (type == HERD_PG_GUC_INTEGER)
		*ret = rint(*ret);
	return isfinite(*ret);
}

enum herd_pg_guc_verdict herd_pg_guc_judge(enum herd_pg_guc_type type, const char *unit,
					   const char *words, const char *min, const char *max,
					   const char *value)
{
	double n;
	bool b;

	switch (type) {
	case HERD_PG_GUC_BOOL:
		return herd_pg_guc_bool(value, &b) == 0 ? HERD_PG_GUC_GOOD : HERD_PG_GUC_BAD;
	case HERD_PG_GUC_ENUM:
		return words == NULL || is_word(words, value) ? HERD_PG_GUC_GOOD : HERD_PG_GUC_BAD;
	case HERD_PG_GUC_INTEGER:
	case HERD_PG_GUC_REAL:
		break;
	case HERD_PG_GUC_STRING:
		return HERD_PG_GUC_GOOD;
	}
	if (!in_base(type, unit, value, &n))
		return HERD_PG_GUC_BAD;
	if (min != NULL && *min != '\0' && n < strtod(min, NULL))
		return HERD_PG_GUC_LOW;
	if (max != NULL && *max != '\0' && n > strtod(max, NULL))
		return HERD_PG_GUC_HIGH;
	return HERD_PG_GUC_GOOD;
}

int herd_pg_guc_human(enum herd_pg_guc_type type, const char *unit, const char *value,
		      struct herd_buf *out)
{
	double n, base;
	bool memory, b;

	if (type == HERD_PG_GUC_BOOL && herd_pg_guc_bool(value, &b) == 0) {
		herd_buf_addstr(out, b ? "on" : "off");
	} else if ((type == HERD_PG_GUC_INTEGER || type == HERD_PG_GUC_REAL) && unit != NULL &&
		   base_unit(unit, &base, &memory) && in_base(type, unit, value, &n) && n != 0) {
		const struct unit *u = units;

		/* The least unit takes what no greater one holds exactly. */
		while (u->memory != memory ||
		       (u->base > 1 &&
			fabs(rint(n * base / u->base) * u->base / (n * base) - 1) > 1e-8))
			u++;
		n = n * base / u->base;
		herd_buf_printf(out, "%.15g%s", fabs(rint(n) / n - 1) <= 1e-8 ? rint(n) : n,
				u->name);
	} else {
		herd_buf_addstr(out, value);
	}
	return herd_buf_ok(out) ? 0 : -ENOMEM;
}

/* --- names that changed ----------------------------------------------------------------------- */

const char *herd_pg_guc_recovery_name(const char *name, int version)
{
	static const struct {
		const char *name;
		int from, till; /* 0: for ever */
	} known[] = {
		{ "archive_cleanup_command", 0, 0 },
		{ "primary_conninfo", 0, 0 },
		{ "primary_slot_name", 0, 0 },
		{ "promote_trigger_file", 12, 16 },
		{ "recovery_end_command", 0, 0 },
		{ "recovery_min_apply_delay", 0, 0 },
		{ "recovery_target", 0, 0 },
		{ "recovery_target_action", 0, 0 },
		{ "recovery_target_inclusive", 0, 0 },
		{ "recovery_target_lsn", 10, 0 },
		{ "recovery_target_name", 0, 0 },
		{ "recovery_target_time", 0, 0 },
		{ "recovery_target_timeline", 0, 0 },
		{ "recovery_target_xid", 0, 0 },
		{ "restore_command", 0, 0 },
		{ "standby_mode", 0, 12 },
		{ "trigger_file", 0, 12 },
	};

	if (version >= 12 && strcasecmp(name, "trigger_file") == 0)
		name = "promote_trigger_file";
	else if (version < 12 && strcasecmp(name, "promote_trigger_file") == 0)
		name = "trigger_file";
	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
		if (strcasecmp(known[i].name, name) == 0 && version >= known[i].from &&
		    (known[i].till == 0 || version < known[i].till))
			return known[i].name;
	return NULL;
}

enum { SEGMENT_MB = 16, KEEP_MB = 128, KEEP_MAX_MB = INT32_MAX };

/* A number of megabytes from what either name says; 0: invalid. */
static int64_t kept_mb(const char *name, const char *value)
{
	bool segments = strcmp(name, "wal_keep_segments") == 0;
	double n;

	if (!in_base(HERD_PG_GUC_INTEGER, segments ? NULL : "MB", value, &n))
		return 0;
	if (segments)
		n *= SEGMENT_MB;
	return n >= SEGMENT_MB && n <= KEEP_MAX_MB ? (int64_t)n : 0;
}

int herd_pg_guc_wal_keep(struct herd_pg_settings *s, int version, struct herd_buf *warnings)
{
	static const char *const names[] = { "wal_keep_segments", "wal_keep_size" };
	bool size = version >= 13;
	/* This version's own word counts first. */
	const char *name = names[size], *value = herd_pg_settings_get(s, name);
	int64_t mb = KEEP_MB;
	char *text = NULL;
	int rc = 0;

	if (value == NULL) {
		name = names[!size];
		value = herd_pg_settings_get(s, name);
	}
	if (value != NULL && (mb = kept_mb(name, value)) == 0) {
		mb = KEEP_MB;
		herd_buf_printf(warnings,
				"postgresql parameter %s=%s failed validation, defaulting to %s\n",
				name, value, name == names[1] ? "128MB" : "8");
		value = NULL;
	}
	if (value != NULL && name == names[1] && size) { /* as it was written */
		herd_pg_settings_remove(s, names[0]);
		return 0;
	}
	text = size ? herd_str_printf("%lldMB", (long long)mb)
		    : herd_str_printf("%lld", (long long)((mb + SEGMENT_MB - 1) / SEGMENT_MB));
	rc = text != NULL ? herd_pg_settings_set(s, names[size], text) : -ENOMEM;
	free(text);
	herd_pg_settings_remove(s, names[!size]);
	return rc;
}
