#include "agent/schema.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "agent/value.h"
#include "base/buf.h"
#include "base/json.h"
#include "base/str.h"
#include "base/yaml.h"

/* clang-format off */
#define AUTH(section, prefix) \
	{ "postgresql.authentication." section ".username", HERD_KEY_STR, prefix "USERNAME" }, \
	{ "postgresql.authentication." section ".password", HERD_KEY_STR, prefix "PASSWORD" }, \
	{ "postgresql.authentication." section ".sslmode", HERD_KEY_STR, prefix "SSLMODE" }, \
	{ "postgresql.authentication." section ".sslkey", HERD_KEY_STR, prefix "SSLKEY" }, \
	{ "postgresql.authentication." section ".sslpassword", HERD_KEY_STR, prefix "SSLPASSWORD" }, \
	{ "postgresql.authentication." section ".sslcert", HERD_KEY_STR, prefix "SSLCERT" }, \
	{ "postgresql.authentication." section ".sslrootcert", HERD_KEY_STR, prefix "SSLROOTCERT" }, \
	{ "postgresql.authentication." section ".sslcrl", HERD_KEY_STR, prefix "SSLCRL" }, \
	{ "postgresql.authentication." section ".sslcrldir", HERD_KEY_STR, prefix "SSLCRLDIR" }, \
	{ "postgresql.authentication." section ".sslnegotiation", HERD_KEY_STR, prefix "SSLNEGOTIATION" }, \
	{ "postgresql.authentication." section ".gssencmode", HERD_KEY_STR, prefix "GSSENCMODE" }, \
	{ "postgresql.authentication." section ".channel_binding", HERD_KEY_STR, prefix "CHANNEL_BINDING" }

#define ETCD(section) \
	{ section ".host", HERD_KEY_STR, "" }, \
	{ section ".hosts", HERD_KEY_LIST, "" }, \
	{ section ".port", HERD_KEY_INT, "", 1, 65535 }, \
	{ section ".url", HERD_KEY_STR, "" }, \
	{ section ".proxy", HERD_KEY_STR, "" }, \
	{ section ".use_proxies", HERD_KEY_BOOL, "" }, \
	{ section ".srv", HERD_KEY_STR, "" }, \
	{ section ".srv_suffix", HERD_KEY_STR, "" }, \
	{ section ".discovery_srv", HERD_KEY_STR, NULL }, \
	{ section ".srv_domain", HERD_KEY_STR, NULL }, \
	{ section ".protocol", HERD_KEY_STR, "" }, \
	{ section ".username", HERD_KEY_STR, "" }, \
	{ section ".password", HERD_KEY_STR, "" }, \
	{ section ".cacert", HERD_KEY_STR, "" }, \
	{ section ".cert", HERD_KEY_STR, "" }, \
	{ section ".key", HERD_KEY_STR, "" }

const struct herd_schema_key herd_schema_local[] = {
	{ "name", HERD_KEY_STR, "" },
	{ "scope", HERD_KEY_STR, "" },
	{ "namespace", HERD_KEY_STR, "" },
	{ "thread_pool_size", HERD_KEY_INT, "", 1, 0 },
	{ "thread_stack_size", HERD_KEY_BYTES, "", 0, 0 },
	/* Read only from the DCS; a local value is accepted and has no effect. */
	{ "ttl", HERD_KEY_ANY, NULL },
	{ "loop_wait", HERD_KEY_ANY, NULL },
	{ "retry_timeout", HERD_KEY_ANY, NULL },

	{ "log.type", HERD_KEY_STR, "" },
	{ "log.level", HERD_KEY_STR, "" },
	{ "log.traceback_level", HERD_KEY_STR, "" },
	{ "log.format", HERD_KEY_ANY, "" },
	{ "log.dateformat", HERD_KEY_STR, "" },
	{ "log.static_fields", HERD_KEY_MAP, "" },
	{ "log.max_queue_size", HERD_KEY_INT, "", 0, 0 },
	{ "log.dir", HERD_KEY_STR, "" },
	{ "log.mode", HERD_KEY_ANY, "" },
	{ "log.file_num", HERD_KEY_INT, "", 0, 0 },
	{ "log.file_size", HERD_KEY_BYTES, "", 0, 0 },
	{ "log.loggers", HERD_KEY_MAP, "" },
	{ "log.deduplicate_heartbeat_logs", HERD_KEY_BOOL, "" },

	{ "restapi.listen", HERD_KEY_STR, "" },
	{ "restapi.connect_address", HERD_KEY_STR, "" },
	{ "restapi.authentication.username", HERD_KEY_STR, "PATRONI_RESTAPI_USERNAME" },
	{ "restapi.authentication.password", HERD_KEY_STR, "PATRONI_RESTAPI_PASSWORD" },
	{ "restapi.certfile", HERD_KEY_STR, "" },
	{ "restapi.keyfile", HERD_KEY_STR, "" },
	{ "restapi.keyfile_password", HERD_KEY_STR, "" },
	{ "restapi.cafile", HERD_KEY_STR, "" },
	{ "restapi.ciphers", HERD_KEY_STR, "" },
	{ "restapi.verify_client", HERD_KEY_STR, "" },
	{ "restapi.allowlist", HERD_KEY_LIST, "" },
	{ "restapi.allowlist_include_members", HERD_KEY_BOOL, "" },
	{ "restapi.http_extra_headers", HERD_KEY_MAP, "" },
	{ "restapi.https_extra_headers", HERD_KEY_MAP, "" },
	{ "restapi.request_queue_size", HERD_KEY_INT, "", 0, 4096 },
	{ "restapi.server_tokens", HERD_KEY_STR, "" },
	{ "restapi.thread_pool_size", HERD_KEY_INT, "", 1, 0 },

	{ "ctl.authentication.username", HERD_KEY_STR, "PATRONI_CTL_USERNAME" },
	{ "ctl.authentication.password", HERD_KEY_STR, "PATRONI_CTL_PASSWORD" },
	{ "ctl.insecure", HERD_KEY_BOOL, "" },
	{ "ctl.cacert", HERD_KEY_STR, "" },
	{ "ctl.certfile", HERD_KEY_STR, "" },
	{ "ctl.keyfile", HERD_KEY_STR, "" },
	{ "ctl.keyfile_password", HERD_KEY_STR, "" },

	{ "postgresql.listen", HERD_KEY_STR, "" },
	{ "postgresql.connect_address", HERD_KEY_STR, "" },
	{ "postgresql.proxy_address", HERD_KEY_STR, "" },
	{ "postgresql.data_dir", HERD_KEY_STR, "" },
	{ "postgresql.config_dir", HERD_KEY_STR, "" },
	{ "postgresql.bin_dir", HERD_KEY_STR, "" },
	{ "postgresql.bin_name.pg_ctl", HERD_KEY_STR, "PATRONI_POSTGRESQL_BIN_PG_CTL" },
	{ "postgresql.bin_name.initdb", HERD_KEY_STR, "PATRONI_POSTGRESQL_BIN_INITDB" },
	{ "postgresql.bin_name.pg_controldata", HERD_KEY_STR, "PATRONI_POSTGRESQL_BIN_PG_CONTROLDATA" },
	{ "postgresql.bin_name.pg_basebackup", HERD_KEY_STR, "PATRONI_POSTGRESQL_BIN_PG_BASEBACKUP" },
	{ "postgresql.bin_name.postgres", HERD_KEY_STR, "PATRONI_POSTGRESQL_BIN_POSTGRES" },
	{ "postgresql.bin_name.pg_isready", HERD_KEY_STR, "PATRONI_POSTGRESQL_BIN_PG_ISREADY" },
	{ "postgresql.bin_name.pg_rewind", HERD_KEY_STR, "PATRONI_POSTGRESQL_BIN_PG_REWIND" },
	{ "postgresql.pgpass", HERD_KEY_STR, "" },
	{ "postgresql.use_unix_socket", HERD_KEY_BOOL, NULL },
	{ "postgresql.use_unix_socket_repl", HERD_KEY_BOOL, NULL },
	AUTH("superuser", "PATRONI_SUPERUSER_"),
	AUTH("replication", "PATRONI_REPLICATION_"),
	AUTH("rewind", "PATRONI_REWIND_"),
	{ "postgresql.superuser", HERD_KEY_MAP, NULL },
	{ "postgresql.replication", HERD_KEY_MAP, NULL },
	{ "postgresql.pg_rewind", HERD_KEY_MAP, NULL },
	{ "postgresql.callbacks.on_start", HERD_KEY_STR, NULL },
	{ "postgresql.callbacks.on_stop", HERD_KEY_STR, NULL },
	{ "postgresql.callbacks.on_restart", HERD_KEY_STR, NULL },
	{ "postgresql.callbacks.on_reload", HERD_KEY_STR, NULL },
	{ "postgresql.callbacks.on_role_change", HERD_KEY_STR, NULL },
	{ "postgresql.create_replica_methods", HERD_KEY_LIST, NULL },
	{ "postgresql.create_replica_method", HERD_KEY_LIST, NULL },
	{ "postgresql.basebackup", HERD_KEY_LIST_MAP, NULL },
	{ "postgresql.rewind", HERD_KEY_LIST_MAP, NULL },
	{ "postgresql.recovery_conf", HERD_KEY_SETTINGS, NULL },
	{ "postgresql.custom_conf", HERD_KEY_STR, NULL },
	{ "postgresql.parameters", HERD_KEY_SETTINGS, NULL },
	{ "postgresql.parameters_primary", HERD_KEY_SETTINGS, NULL },
	{ "postgresql.parameters_replica", HERD_KEY_SETTINGS, NULL },
	{ "postgresql.parameters_standby_leader", HERD_KEY_SETTINGS, NULL },
	{ "postgresql.pg_hba", HERD_KEY_LIST_MAP, NULL },
	{ "postgresql.pg_ident", HERD_KEY_LIST_MAP, NULL },
	{ "postgresql.pg_hba_primary", HERD_KEY_LIST_MAP, NULL },
	{ "postgresql.pg_hba_replica", HERD_KEY_LIST_MAP, NULL },
	{ "postgresql.pg_hba_standby_leader", HERD_KEY_LIST_MAP, NULL },
	{ "postgresql.pg_ident_primary", HERD_KEY_LIST_MAP, NULL },
	{ "postgresql.pg_ident_replica", HERD_KEY_LIST_MAP, NULL },
	{ "postgresql.pg_ident_standby_leader", HERD_KEY_LIST_MAP, NULL },
	{ "postgresql.pg_ctl_timeout", HERD_KEY_SECONDS, NULL, 0, 0 },
	{ "postgresql.use_pg_rewind", HERD_KEY_BOOL, NULL },
	{ "postgresql.use_slots", HERD_KEY_BOOL, NULL },
	{ "postgresql.remove_data_directory_on_rewind_failure", HERD_KEY_BOOL, NULL },
	{ "postgresql.remove_data_directory_on_diverged_timelines", HERD_KEY_BOOL, NULL },
	{ "postgresql.pre_promote", HERD_KEY_STR, NULL },
	{ "postgresql.before_stop", HERD_KEY_STR, NULL },
	{ "postgresql.database", HERD_KEY_STR, NULL },
	{ "postgresql.config_base_name", HERD_KEY_STR, NULL },
	{ "postgresql.krbsrvname", HERD_KEY_STR, NULL },

	{ "bootstrap.dcs", HERD_KEY_MAP, NULL },
	{ "bootstrap.method", HERD_KEY_STR, NULL },
	{ "bootstrap.initdb", HERD_KEY_LIST_MAP, NULL },
	{ "bootstrap.post_bootstrap", HERD_KEY_STR, NULL },
	{ "bootstrap.post_init", HERD_KEY_STR, NULL },
	{ "bootstrap.pg_hba", HERD_KEY_LIST_MAP, NULL },

	{ "tags", HERD_KEY_MAP, NULL },
	{ "watchdog.mode", HERD_KEY_STR, NULL },
	{ "watchdog.device", HERD_KEY_STR, NULL },
	{ "watchdog.safety_margin", HERD_KEY_SECONDS, NULL, -1, 0 },
	{ "watchdog.driver", HERD_KEY_STR, NULL },
	{ "guard.mode", HERD_KEY_BOOL, "PGHERD_GUARD" },
	{ "citus.group", HERD_KEY_INT, "", 0, INT32_MAX },
	{ "citus.database", HERD_KEY_STR, "" },
	{ "citus.use_proxy", HERD_KEY_BOOL, "" },
	ETCD("etcd3"),
	ETCD("etcd"),
	{ "consul", HERD_KEY_MAP, NULL },
	{ "zookeeper", HERD_KEY_MAP, NULL },
	{ "exhibitor", HERD_KEY_MAP, NULL },
	{ "kubernetes", HERD_KEY_MAP, NULL },
	{ "raft", HERD_KEY_MAP, NULL },
	{ NULL },
};

const struct herd_schema_key herd_schema_dynamic[] = {
	{ "ttl", HERD_KEY_SECONDS, NULL, 1, 0 },
	{ "loop_wait", HERD_KEY_SECONDS, NULL, 0, 0 },
	{ "retry_timeout", HERD_KEY_SECONDS, NULL, 0, 0 },
	{ "maximum_lag_on_failover", HERD_KEY_BYTES, NULL, 0, 0 },
	{ "maximum_lag_on_syncnode", HERD_KEY_BYTES, NULL, -1, 0 },
	{ "max_timelines_history", HERD_KEY_INT, NULL, 0, 0 },
	{ "primary_start_timeout", HERD_KEY_SECONDS, NULL, 0, 0 },
	{ "primary_stop_timeout", HERD_KEY_SECONDS, NULL, 0, 0 },
	{ "master_start_timeout", HERD_KEY_SECONDS, NULL, 0, 0 },
	{ "master_stop_timeout", HERD_KEY_SECONDS, NULL, 0, 0 },
	{ "primary_race_backoff", HERD_KEY_SECONDS, NULL, 0, 0 },
	{ "synchronous_mode", HERD_KEY_SYNC, NULL },
	{ "synchronous_mode_strict", HERD_KEY_BOOL, NULL },
	{ "synchronous_node_count", HERD_KEY_INT, NULL, 1, 0 },
	{ "failsafe_mode", HERD_KEY_BOOL, NULL },
	{ "check_timeline", HERD_KEY_BOOL, NULL },
	{ "pause", HERD_KEY_BOOL, NULL },
	{ "member_slots_ttl", HERD_KEY_SECONDS, NULL, 0, 0 },
	{ "slots", HERD_KEY_MAP, NULL },
	{ "permanent_replication_slots", HERD_KEY_MAP, NULL },
	{ "permanent_slots", HERD_KEY_MAP, NULL },
	{ "ignore_slots", HERD_KEY_LIST_MAP, NULL },
	{ "standby_cluster", HERD_KEY_MAP, NULL },
	{ "handover.acks", HERD_KEY_SECONDS, NULL, 0, 0 },
	{ "handover.transactions", HERD_KEY_SECONDS, NULL, 0, 0 },
	{ "postgresql", HERD_KEY_MAP, NULL },
	{ NULL },
};
/* clang-format on */

static const struct herd_schema_key *find(const struct herd_schema_key *table, const char *path)
{
	for (const struct herd_schema_key *k = table; k->path; k++)
		if (strcmp(k->path, path) == 0)
			return k;
	return NULL;
}

/* Is path a map on the way to keys of the table? */
static bool is_branch(const struct herd_schema_key *table, const char *path)
{
	size_t n = strlen(path);

	for (const struct herd_schema_key *k = table; k->path; k++)
		if (strncmp(k->path, path, n) == 0 && k->path[n] == '.')
			return true;
	return false;
}

static const char *type_name(enum herd_key_type type)
{
	switch (type) {
	case HERD_KEY_STR:
		return "a text";
	case HERD_KEY_INT:
		return "an integer";
	case HERD_KEY_SECONDS:
		return "a time in seconds or with a unit (ms, s, min, h, d)";
	case HERD_KEY_BYTES:
		return "a size in bytes or with a unit (kB, MB, GB, TB)";
	case HERD_KEY_BOOL:
		return "a boolean (on or off)";
	case HERD_KEY_SYNC:
		return "off, on or quorum";
	case HERD_KEY_MAP:
	case HERD_KEY_SETTINGS:
		return "a map";
	case HERD_KEY_LIST:
		return "a list";
	case HERD_KEY_LIST_MAP:
		return "a list or a map";
	case HERD_KEY_ANY:
		break;
	}
	return "a value";
}

static json_t *split_list(const char *text)
{
	json_t *list = json_array();
	char *copy = herd_str_dup(text);
	char *save = NULL;

	for (char *w = strtok_r(copy, ",", &save); w; w = strtok_r(NULL, ",", &save)) {
		w = herd_str_trim(w);
		if (*w)
			json_array_append_new(list, json_string(w));
	}
	free(copy);
	return list;
}

static json_t *take_text(const json_t *v)
{
	char *text = herd_value_text(v);
	json_t *ret = text ? json_string(text) : NULL;

	free(text);
	return ret;
}

static json_t *take_number(const json_t *v, const struct herd_schema_key *k, char **reason)
{
	static const enum herd_unit unit_of[] = {
		[HERD_KEY_INT] = HERD_UNIT_NONE,
		[HERD_KEY_SECONDS] = HERD_UNIT_SECOND,
		[HERD_KEY_BYTES] = HERD_UNIT_BYTE,
	};
	int64_t n;

	if (herd_value_i64(v, unit_of[k->type], &n) < 0)
		return NULL;
	if (n < k->min || (k->max && n > k->max)) {
		if (k->max)
			*reason = herd_str_printf("must be between %" PRId64 " and %" PRId64,
						  k->min, k->max);
		else
			*reason = herd_str_printf("must be at least %" PRId64, k->min);
		return NULL;
	}
	return json_integer(n);
}

/* The value in its type, new; NULL when refused (then *reason may be set, malloc'd). */
static json_t *take(json_t *v, const struct herd_schema_key *k, char **reason)
{
	bool b;

	switch (k->type) {
	case HERD_KEY_STR:
		return take_text(v);
	case HERD_KEY_INT:
	case HERD_KEY_SECONDS:
	case HERD_KEY_BYTES:
		return take_number(v, k, reason);
	case HERD_KEY_BOOL:
		return herd_value_bool(v, &b) == 0 ? json_boolean(b) : NULL;
	case HERD_KEY_SYNC:
		if (json_is_string(v) && strcasecmp(json_string_value(v), "quorum") == 0)
			return json_string("quorum");
		return herd_value_bool(v, &b) == 0 ? json_boolean(b) : NULL;
	case HERD_KEY_MAP:
	case HERD_KEY_SETTINGS:
		return json_is_object(v) ? json_incref(v) : NULL;
	case HERD_KEY_LIST:
		if (json_is_string(v))
			return split_list(json_string_value(v));
		return json_is_array(v) ? json_incref(v) : NULL;
	case HERD_KEY_LIST_MAP:
		return json_is_object(v) || json_is_array(v) ? json_incref(v) : NULL;
	case HERD_KEY_ANY:
		return json_incref(v);
	}
	return NULL;
}

struct walk {
	const struct herd_schema_key *table;
	const char *prefix;
	herd_schema_report_fn fn;
	void *arg;
	int refused;
};

static void report(struct walk *w, bool fatal, const char *path, const char *reason)
{
	char *full = herd_str_printf("%s%s", w->prefix, path);

	if (fatal)
		w->refused++;
	if (full && w->fn)
		w->fn(w->arg, fatal, full, reason);
	free(full);
}

/* Own sections that users name: replica methods and bootstrap methods. */
static bool is_method(const char *path, const json_t *v)
{
	return (herd_str_starts(path, "postgresql.") || herd_str_starts(path, "bootstrap.")) &&
	       json_is_object(v) && json_object_get(v, "command");
}

static void refuse(struct walk *w, json_t *obj, const char *key, const char *path, const char *what)
{
	char *text = json_dumps(json_object_get(obj, key), JSON_COMPACT | JSON_ENCODE_ANY);
	char *why = herd_str_printf("must be %s, not %s", what, text);

	report(w, true, path, why);
	free(why);
	free(text);
	json_object_del(obj, key);
}

static void walk_settings(struct walk *w, json_t *map, const char *at)
{
	const char *key;
	json_t *v;
	void *tmp;

	json_object_foreach_safe(map, tmp, key, v)
	{
		char *path = herd_str_printf("%s.%s", at, key);

		if (json_is_object(v) || json_is_array(v))
			refuse(w, map, key, path, "a single value");
		free(path);
	}
}

static void walk(struct walk *w, json_t *obj, const char *at)
{
	const char *key;
	json_t *v;
	void *tmp;

	json_object_foreach_safe(obj, tmp, key, v)
	{
		char *path = *at ? herd_str_printf("%s.%s", at, key) : herd_str_dup(key);
		const struct herd_schema_key *k = find(w->table, path);
		char *reason = NULL;

		if (json_is_null(v)) {
			json_object_del(obj, key);
		} else if (k) {
			json_t *taken = take(v, k, &reason);

			if (taken) {
				if (k->type == HERD_KEY_SETTINGS)
					walk_settings(w, taken, path);
				json_object_set_new(obj, key, taken);
			} else if (reason) {
				char *text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
				char *why = herd_str_printf("%s (is %s)", reason, text);

				report(w, true, path, why);
				free(why);
				free(text);
				json_object_del(obj, key);
			} else {
				refuse(w, obj, key, path, type_name(k->type));
			}
		} else if (is_branch(w->table, path)) {
			if (json_is_object(v)) {
				walk(w, v, path);
			} else {
				report(w, true, path, "must be a map");
				json_object_del(obj, key);
			}
		} else if (!is_method(path, v)) {
			report(w, false, path, "is not a known setting and has no effect");
		}
		free(reason);
		free(path);
	}
}

int herd_schema_check(json_t *v, const struct herd_schema_key *table, const char *prefix,
		      herd_schema_report_fn fn, void *arg)
{
	struct walk w = { table, prefix, fn, arg, 0 };

	walk(&w, v, "");
	return w.refused;
}

int herd_schema_put(json_t *v, const char *path, json_t *value)
{
	const char *dot;

	while ((dot = strchr(path, '.'))) {
		char *key = strndup(path, (size_t)(dot - path));
		json_t *next = key ? json_object_get(v, key) : NULL;

		if (key && !json_is_object(next)) {
			next = json_object();
			if (json_object_set_new(v, key, next) < 0)
				next = NULL;
		}
		free(key);
		if (!next) {
			json_decref(value);
			return -ENOMEM;
		}
		v = next;
		path = dot + 1;
	}
	return json_object_set_new(v, path, value) == 0 ? 0 : -ENOMEM;
}

static char *env_name(const struct herd_schema_key *k)
{
	struct herd_buf b = { 0 };

	if (*k->env)
		return herd_str_dup(k->env);
	herd_buf_addstr(&b, "PATRONI_");
	for (const char *p = k->path; *p; p++)
		herd_buf_addc(&b, *p == '.' ? '_' : (char)toupper((unsigned char)*p));
	return herd_buf_steal(&b);
}

static json_t *env_value(const struct herd_schema_key *k, const char *text, struct herd_err *err)
{
	/* A host list may stand there without brackets: a,b or 'a','b'. */
	if (k->type == HERD_KEY_LIST && text[0] != '[' && text[0] != '-') {
		struct herd_buf b = { 0 };

		for (const char *p = text; *p; p++)
			if (*p != '\'' && *p != '"')
				herd_buf_addc(&b, *p);
		json_t *list = split_list(herd_buf_str(&b));

		herd_buf_free(&b);
		return list;
	}
	if (k->type < HERD_KEY_MAP)
		return json_string(text);
	return herd_yaml_parse("environment", text, strlen(text), err);
}

void herd_schema_env(json_t *v, const char *(*get)(void *env, const char *name), void *env,
		     herd_schema_report_fn fn, void *arg)
{
	for (const struct herd_schema_key *k = herd_schema_local; k->path; k++) {
		if (!k->env)
			continue;
		char *name = env_name(k);
		const char *text = name ? get(env, name) : NULL;
		struct herd_err err = HERD_ERR_INIT;

		if (text) {
			json_t *value = env_value(k, text, &err);

			if (value)
				herd_schema_put(v, k->path, value);
			else if (fn)
				fn(arg, true, name, herd_err_text(&err));
		}
		herd_err_clear(&err);
		free(name);
	}
}
