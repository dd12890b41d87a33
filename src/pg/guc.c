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
	*ret = (struct herd_pg_guc){ part[0], part[1], part[4],
				     part[5], part[6], herd_pg_guc_type_parse(part[3]) };
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

/* What is to be written for a value: itself, a limit of its range, or NULL: it is dropped. */
static const char *checked(const struct herd_pg_guc_table *table, int version, const char *name,
			   const char *value, struct herd_buf *warnings)
{
	const struct herd_pg_guc *g = table != NULL ? herd_pg_guc_find(table, name) : NULL;
	const struct herd_pg_guc_fact *f = herd_pg_guc_fact(name);
	enum herd_pg_guc_type type = g != NULL ? g->type : f != NULL ? f->type : HERD_PG_GUC_STRING;
	const char *unit = f != NULL ? f->unit : NULL;

	if (strpbrk(value, "\n\r") != NULL) {
		herd_buf_printf(
			warnings,
			"Removing parameter=%s from the config because its value has a line "
			"feed\n",
			name);
		return NULL;
	}
	if (table == NULL || strchr(name, '.') != NULL)
		return value;
	if (g == NULL ? !herd_pg_guc_undescribed(name, version)
		      : strcmp(g->context, "internal") == 0) {
		herd_buf_printf(warnings,
				"Removing unexpected parameter=%s value=%s from the config\n", name,
				value);
		return NULL;
	}
	switch (herd_pg_guc_judge(type, unit, f != NULL ? f->words : NULL,
				  g != NULL ? g->min : NULL, g != NULL ? g->max : NULL, value)) {
	case HERD_PG_GUC_GOOD:
		return value;
	case HERD_PG_GUC_LOW:
		herd_buf_printf(warnings,
				"Value=%s of parameter=%s is too low, increasing to %s%s\n", value,
				name, g->min, unit != NULL ? unit : "");
		return g->min;
	case HERD_PG_GUC_HIGH:
		herd_buf_printf(warnings,
				"Value=%s of parameter=%s is too big, decreasing to %s%s\n", value,
				name, g->max, unit != NULL ? unit : "");
		return g->max;
	case HERD_PG_GUC_BAD:
		break;
	}
	herd_buf_printf(warnings,
			"Removing %s parameter=%s from the config due to the invalid value=%s\n",
			herd_pg_guc_type_text(type), name, value);
	return NULL;
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
					"postgresql parameter %s=%s failed validation, defaulting "
					"to %s\n",
					p->name, value, p->fallback);
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

int herd_pg_conf_raise(struct herd_pg_settings *s, const struct herd_pg_controldata *c,
		       bool *raised)
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
		if (raised != NULL)
			*raised = true;
	}
	return rc;
}

/* These come from the role, never from the parameters. */
static bool is_recovery_only(const char *name)
{
	return strcasecmp(name, "primary_conninfo") == 0 ||
	       strcasecmp(name, "primary_slot_name") == 0 ||
	       strncasecmp(name, "recovery_target", strlen("recovery_target")) == 0;
}

/* Those of a role: never what all members must agree on. */
static int merge_role(struct herd_pg_settings *s, const struct herd_pg_settings *of_role,
		      struct herd_buf *warnings)
{
	int rc = 0;

	for (size_t i = 0; i < of_role->n && rc == 0; i++) {
		const char *name = of_role->v[i].name;

		if (herd_pg_conf_is_protected(name) || strcasecmp(name, "wal_keep_segments") == 0 ||
		    strcasecmp(name, "wal_keep_size") == 0)
			herd_buf_printf(warnings,
					"Parameter %s cannot be set by role and is ignored\n",
					name);
		else
			rc = herd_pg_settings_set(s, name, of_role->v[i].value);
	}
	return rc;
}

static int filter(struct herd_pg_settings *s, const struct herd_pg_settings *given,
		  const struct herd_pg_guc_table *table, int version, struct herd_buf *warnings)
{
	int rc = 0;

	for (size_t i = 0; i < given->n && rc == 0; i++) {
		const char *name = given->v[i].name, *value = given->v[i].value;

		if (herd_pg_conf_is_protected(name) || is_recovery_only(name))
			continue;
		value = checked(table, version, name, value, warnings);
		if (value != NULL)
			rc = herd_pg_settings_set(s, name, value);
	}
	return rc;
}

static void unknown_recovery(const struct herd_pg_settings *s, int version,
			     struct herd_buf *warnings)
{
	for (size_t i = 0; i < s->n; i++)
		if (herd_pg_guc_recovery_name(s->v[i].name, version) == NULL &&
		    strcasecmp(s->v[i].name, "standby_mode") != 0)
			herd_buf_printf(
				warnings,
				"Removing unexpected parameter=%s value=%s from the config\n",
				s->v[i].name, s->v[i].value);
}

int herd_pg_conf_effective(const struct herd_pg_config *cfg, const struct herd_pg_role *role,
			   const struct herd_pg_guc_table *table, int server_version,
			   struct herd_pg_settings *ret, struct herd_buf *warnings)
{
	struct herd_pg_settings given = { 0 }, s = { 0 };
	char port[16];
	int rc;

	snprintf(port, sizeof(port), "%d", cfg->port);
	rc = herd_pg_settings_merge(&given, &cfg->parameters);
	if (rc == 0)
		rc = merge_role(&given, &cfg->of_role[herd_pg_role_kind(role)].parameters,
				warnings);
	if (rc == 0)
		rc = herd_pg_settings_merge(&given, &role->parameters);
	if (rc == 0)
		rc = herd_pg_guc_wal_keep(&given, server_version, warnings);
	if (rc == 0)
		rc = filter(&s, &given, table, server_version, warnings);
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
	if (rc == 0)
		unknown_recovery(&cfg->recovery_conf, server_version, warnings);
	if (rc == 0 && role->force_hot_standby_feedback)
		rc = herd_pg_settings_set(&s, "hot_standby_feedback", "on");
	herd_pg_settings_clear(&given);
	if (rc < 0 || !herd_buf_ok(warnings)) {
		herd_pg_settings_clear(&s);
		return -ENOMEM;
	}
	*ret = s;
	return 0;
}
