#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"
#include "pg/conf.h"

static int guc_compare(const void *a, const void *b)
{
	const struct herd_pg_guc *x = a, *y = b;

	return strcasecmp(x->name, y->name);
}

void herd_pg_guc_table_clear(struct herd_pg_guc_table *t)
{
	for (size_t i = 0; i < t->n; i++)
		free(t->v[i].name); /* the other texts are in the same piece of memory */
	free(t->v);
	*t = (struct herd_pg_guc_table){ 0 };
}

/* name, context, group, type, default, min, max, descriptions: parted by tabs. */
static int guc_line(const char *line, size_t len, struct herd_pg_guc *ret)
{
	char *copy = strndup(line, len), *part[7], *p = copy;

	if (copy == NULL)
		return -ENOMEM;
	for (int i = 0; i < 7; i++) {
		part[i] = strsep(&p, "\t");
		if (part[i] == NULL) {
			free(copy);
			return 0;
		}
	}
	*ret = (struct herd_pg_guc){ part[0], part[1], part[3], part[5], part[6] };
	return 1;
}

int herd_pg_guc_table_parse(const char *text, struct herd_pg_guc_table *ret, struct herd_err *err)
{
	struct herd_pg_guc_table t = { 0 };
	size_t cap = 0;

	while (*text != '\0') {
		size_t len = strcspn(text, "\n");
		struct herd_pg_guc guc;
		int rc = guc_line(text, len, &guc);

		if (rc > 0 && t.n == cap) {
			size_t more = cap > 0 ? 2 * cap : 256;
			struct herd_pg_guc *v = realloc(t.v, more * sizeof(*v));

			if (v == NULL) {
				free(guc.name);
				rc = -ENOMEM;
			} else {
				t.v = v;
				cap = more;
			}
		}
		if (rc < 0) {
			herd_pg_guc_table_clear(&t);
			return herd_err_set(err, rc, "out of memory");
		}
		if (rc > 0)
			t.v[t.n++] = guc;
		text += len + (text[len] == '\n');
	}
	if (t.n < 100) {
		herd_pg_guc_table_clear(&t);
		return herd_err_set(err, -EINVAL, "could not understand the list of settings");
	}
	qsort(t.v, t.n, sizeof(*t.v), guc_compare);
	*ret = t;
	return 0;
}

const struct herd_pg_guc *herd_pg_guc_find(const struct herd_pg_guc_table *t, const char *name)
{
	struct herd_pg_guc key = { .name = (char *)name };

	return t->n > 0 ? bsearch(&key, t->v, t->n, sizeof(*t->v), guc_compare) : NULL;
}

/* Settings that `postgres --describe-config` leaves out (flagged not to be shown in samples). */
static const char *const hidden[] = {
	"allow_in_place_tablespaces",
	"application_name",
	"allow_system_table_mods",
	"backtrace_functions",
	"check_function_bodies",
	"commit_timestamp_buffers",
	"data_checksums",
	"data_directory_mode",
	"debug_copy_parse_plan_trees",
	"debug_deadlocks",
	"debug_discard_caches",
	"debug_io_direct",
	"debug_logical_replication_streaming",
	"debug_parallel_query",
	"debug_raw_expression_coverage_test",
	"debug_write_read_parse_plan_trees",
	"default_with_oids",
	"enable_group_by_reordering",
	"enable_partition_pruning",
	"event_triggers",
	"force_parallel_mode",
	"gin_pending_list_limit",
	"hot_standby_feedback",
	"huge_page_size",
	"huge_pages_status",
	"ignore_checksum_failure",
	"ignore_invalid_pages",
	"ignore_system_indexes",
	"is_superuser",
	"jit_debugging_support",
	"jit_dump_bitcode",
	"jit_expressions",
	"jit_profiling_support",
	"jit_tuple_deforming",
	"log_btree_build_stats",
	"logical_replication_mode",
	"max_notify_queue_pages",
	"optimize_bounded_sort",
	"post_auth_delay",
	"pre_auth_delay",
	"recovery_init_sync_method",
	"remove_temp_files_after_crash",
	"restrict_nonsystem_relation_kind",
	"send_abort_for_crash",
	"send_abort_for_kill",
	"ssl_renegotiation_limit",
	"stats_fetch_consistency",
	"synchronize_seqscans",
	"trace_connection_negotiation",
	"trace_lock_oidmin",
	"trace_locks",
	"trace_lwlocks",
	"trace_notify",
	"trace_recovery_messages",
	"trace_sort",
	"trace_syncscan",
	"trace_userlocks",
	"transaction_deferrable",
	"transaction_isolation",
	"transaction_read_only",
	"wal_consistency_checking",
	"wal_debug",
	"zero_damaged_pages",
};

/* A number with an optional unit; *unit tells whether one was there. */
static bool number(const char *value, bool integer, double *ret, bool *unit)
{
	static const char *const units[] = { "B",  "kB", "MB",  "GB", "TB", "us",
					     "ms", "s",  "min", "h",  "d" };
	char *end;

	*ret = strtod(value, &end);
	if (end == value || *ret != *ret)
		return false;
	if (integer && (value[0] == '0' && value[1] >= '0' && value[1] <= '7'))
		*ret = (double)strtol(value, &end, 8);
	while (*end == ' ')
		end++;
	*unit = *end != '\0';
	if (!*unit)
		return true;
	for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++) {
		if (strcmp(end, units[i]) == 0)
			return true;
	}
	return false;
}

/* PostgreSQL also takes unique beginnings of the words. */
static bool is_bool(const char *value)
{
	static const char *const words[] = { "true", "false", "yes", "no", "on", "off", "1", "0" };
	size_t len = strlen(value);

	for (size_t i = 0; i < sizeof(words) / sizeof(*words) && len > 0; i++) {
		if (strncasecmp(value, words[i], len) == 0 && len <= strlen(words[i]) &&
		    strcasecmp(value, "o") != 0)
			return true;
	}
	return false;
}

static bool value_fits(const struct herd_pg_guc *g, const char *value)
{
	double n;
	bool unit;

	if (strcmp(g->type, "BOOLEAN") == 0)
		return is_bool(value);
	if (strcmp(g->type, "INTEGER") != 0 && strcmp(g->type, "REAL") != 0)
		return true;
	if (!number(value, g->type[0] == 'I', &n, &unit))
		return false;
	/* The unit of the limits is not told, so a value with a unit is left to the server. */
	return unit || (n >= strtod(g->min, NULL) && n <= strtod(g->max, NULL));
}

/* 1 keep, 0 drop (with a warning). */
static bool guc_ok(const struct herd_pg_guc_table *table, const char *name, const char *value,
		   struct herd_buf *warnings)
{
	const struct herd_pg_guc *g;

	if (strpbrk(value, "\n\r") != NULL) {
		herd_buf_printf(warnings,
				"parameter \"%s\" is ignored: its value has a line feed\n", name);
		return false;
	}
	if (table == NULL || strchr(name, '.') != NULL)
		return true;
	g = herd_pg_guc_find(table, name);
	if (g == NULL) {
		for (size_t i = 0; i < sizeof(hidden) / sizeof(*hidden); i++) {
			if (strcasecmp(hidden[i], name) == 0)
				return true;
		}
		herd_buf_printf(warnings,
				"parameter \"%s\" is ignored: this version of PostgreSQL "
				"does not know it\n",
				name);
		return false;
	}
	if (strcmp(g->context, "internal") == 0 || !value_fits(g, value)) {
		herd_buf_printf(warnings,
				"value \"%s\" of parameter \"%s\" is ignored: it is not "
				"valid\n",
				value, name);
		return false;
	}
	return true;
}

enum rule { R_INT, R_BOOL, R_LEVEL, R_TRUE };
static const struct protected
{
	const char *name;
	const char *fallback;
	enum rule rule;
	int64_t min;
}
protected[] = {
	{ "wal_level", "replica", R_LEVEL, 0 },
	{ "hot_standby", "on", R_TRUE, 0 },
	{ "max_connections", "100", R_INT, 25 },
	{ "max_wal_senders", "10", R_INT, 3 },
	{ "max_prepared_transactions", "0", R_INT, 0 },
	{ "max_locks_per_transaction", "64", R_INT, 32 },
	{ "max_replication_slots", "10", R_INT, 4 },
	{ "max_worker_processes", "8", R_INT, 2 },
	{ "track_commit_timestamp", "off", R_BOOL, 0 },
	{ "wal_log_hints", "on", R_BOOL, 0 },
};
enum { PROTECTED_N = sizeof(protected) / sizeof(*protected) };

const char *const herd_pg_conf_protected[] = {
	"listen_addresses",
	"port",
	"cluster_name",
	"wal_level",
	"hot_standby",
	"max_connections",
	"max_wal_senders",
	"max_prepared_transactions",
	"max_locks_per_transaction",
	"max_replication_slots",
	"max_worker_processes",
	"track_commit_timestamp",
	"wal_log_hints",
	NULL,
};

bool herd_pg_conf_is_protected(const char *name)
{
	for (const char *const *p = herd_pg_conf_protected; *p != NULL; p++) {
		if (strcasecmp(*p, name) == 0)
			return true;
	}
	return false;
}

static bool protected_ok(const struct protected *p, const char *value)
{
	int64_t n;
	bool b;

	switch (p->rule) {
	case R_INT:
		return herd_str_to_i64(value, &n) == 0 && n >= p->min && n <= 262143;
	case R_BOOL:
		return herd_str_to_bool(value, &b) == 0;
	case R_TRUE:
		return herd_str_to_bool(value, &b) == 0 && b;
	case R_LEVEL:
		return herd_str_ieq(value, "hot_standby") || herd_str_ieq(value, "replica") ||
		       herd_str_ieq(value, "logical");
	}
	return false;
}

static int set_protected(struct herd_pg_settings *s, const struct herd_pg_settings *given,
			 struct herd_buf *warnings)
{
	int rc = 0;

	for (int i = 0; i < PROTECTED_N && rc == 0; i++) {
		const struct protected *p = &protected[i];
		const char *value = herd_pg_settings_get(given, p->name);

		if (value != NULL && !protected_ok(p, value)) {
			herd_buf_printf(warnings,
					"value \"%s\" of parameter \"%s\" is not allowed, "
					"\"%s\" is used\n",
					value, p->name, p->fallback);
			value = NULL;
		}
		if (value == NULL)
			value = p->fallback;
		if (p->rule == R_LEVEL && herd_str_ieq(value, "hot_standby"))
			value = "replica";
		if (p->rule == R_BOOL || p->rule == R_TRUE) {
			bool on = false;

			herd_str_to_bool(value, &on);
			value = on ? "on" : "off";
		}
		rc = herd_pg_settings_set(s, p->name, value);
	}
	return rc;
}

/* A standby refuses to start with less than its primary had when the WAL was written. */
static int raise(struct herd_pg_settings *s, const struct herd_pg_controldata *c, bool *raised)
{
	const struct {
		const char *name;
		int value;
	} floors[] = {
		{ "max_connections", c->max_connections },
		{ "max_worker_processes", c->max_worker_processes },
		{ "max_wal_senders", c->max_wal_senders },
		{ "max_prepared_transactions", c->max_prepared_xacts },
		{ "max_locks_per_transaction", c->max_locks_per_xact },
	};
	int rc = 0;

	for (size_t i = 0; i < sizeof(floors) / sizeof(*floors) && rc == 0; i++) {
		const char *now = herd_pg_settings_get(s, floors[i].name);
		char text[16];
		int64_t n;

		if (now == NULL || herd_str_to_i64(now, &n) < 0 || n >= floors[i].value)
			continue;
		snprintf(text, sizeof(text), "%d", floors[i].value);
		rc = herd_pg_settings_set(s, floors[i].name, text);
		*raised = true;
	}
	return rc;
}

/* wal_keep_segments of old configurations: 16 MB each. */
static int wal_keep(struct herd_pg_settings *s)
{
	const char *segments = herd_pg_settings_get(s, "wal_keep_segments");
	const char *size = herd_pg_settings_get(s, "wal_keep_size");
	char text[32];
	int64_t n;
	int rc = 0;

	if (size == NULL && segments != NULL && herd_str_to_i64(segments, &n) == 0 && n >= 1 &&
	    n <= INT32_MAX / 16) {
		snprintf(text, sizeof(text), "%lldMB", (long long)n * 16);
		rc = herd_pg_settings_set(s, "wal_keep_size", text);
	} else if (size == NULL) {
		rc = herd_pg_settings_set(s, "wal_keep_size", "128MB");
	}
	herd_pg_settings_remove(s, "wal_keep_segments");
	return rc;
}

/* These come from the role, never from the parameters. */
static bool is_recovery_only(const char *name)
{
	return strcasecmp(name, "primary_conninfo") == 0 ||
	       strcasecmp(name, "primary_slot_name") == 0 ||
	       strncasecmp(name, "recovery_target", strlen("recovery_target")) == 0;
}

static int filter(struct herd_pg_settings *s, const struct herd_pg_settings *given,
		  const struct herd_pg_guc_table *table, struct herd_buf *warnings)
{
	int rc = 0;

	for (size_t i = 0; i < given->n && rc == 0; i++) {
		const char *name = given->v[i].name, *value = given->v[i].value;

		if (herd_pg_conf_is_protected(name) || is_recovery_only(name))
			continue;
		if (guc_ok(table, name, value, warnings))
			rc = herd_pg_settings_set(s, name, value);
	}
	return rc;
}

int herd_pg_conf_effective(const struct herd_pg_config *cfg, const struct herd_pg_role *role,
			   const struct herd_pg_controldata *control,
			   const struct herd_pg_guc_table *table, int server_version,
			   struct herd_pg_settings *ret, bool *raised, struct herd_buf *warnings)
{
	struct herd_pg_settings given = { 0 }, s = { 0 };
	char port[16];
	bool up = false;
	int rc;

	snprintf(port, sizeof(port), "%d", cfg->port);
	rc = herd_pg_settings_merge(&given, &cfg->parameters);
	if (rc == 0)
		rc = herd_pg_settings_merge(&given, &role->parameters);
	if (rc == 0 && server_version >= 13)
		rc = wal_keep(&given);
	if (rc == 0)
		rc = filter(&s, &given, table, warnings);
	if (rc == 0)
		rc = herd_pg_settings_set(
			&s, "listen_addresses",
			role->trust_only_hba && cfg->use_unix_socket ? "" : cfg->listen);
	if (rc == 0)
		rc = herd_pg_settings_set(&s, "port", port);
	if (rc == 0)
		rc = herd_pg_settings_set(&s, "cluster_name", cfg->scope);
	if (rc == 0)
		rc = set_protected(&s, &given, warnings);
	if (rc == 0 && role->force_hot_standby_feedback)
		rc = herd_pg_settings_set(&s, "hot_standby_feedback", "on");
	if (rc == 0 && role->standby && control != NULL)
		rc = raise(&s, control, &up);
	herd_pg_settings_clear(&given);
	if (rc < 0 || !herd_buf_ok(warnings)) {
		herd_pg_settings_clear(&s);
		return -ENOMEM;
	}
	if (raised != NULL)
		*raised = up;
	*ret = s;
	return 0;
}
