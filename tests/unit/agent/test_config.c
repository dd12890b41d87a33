/* The agent's configuration: files, environment, types, the dynamic part, timing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/config.h"
#include "base/buf.h"
#include "base/json.h"
#include "base/str.h"
#include "model/value.h"

static const char good[] = "scope: demo\n"
			   "name: coord1\n"
			   "restapi:\n"
			   "  listen: 127.0.0.1:8008\n"
			   "  authentication: {username: admin, password: secret}\n"
			   "postgresql:\n"
			   "  listen: 127.0.0.1:5432\n"
			   "  data_dir: /tmp/none\n"
			   "  parameters: {max_connections: 7, work_mem: 1MB}\n"
			   "  own_method: {command: /bin/true}\n"
			   "bootstrap:\n"
			   "  dcs: {ttl: 30}\n"
			   "tags: {clonefrom: true, rack: a}\n";

static void collect(void *arg, const char *text)
{
	herd_buf_printf(arg, "%s\n", text);
}

static char *write_file(const char *text)
{
	char *path = herd_str_dup("/tmp/herd-config-XXXXXX");
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	return path;
}

static int load(const char *text, struct herd_agent_config **ret, struct herd_buf *warnings,
		struct herd_err *err)
{
	char *path = write_file(text);
	int rc = herd_agent_config_load(path, collect, warnings, ret, err);

	unlink(path);
	free(path);
	return rc;
}

static void test_good(void **state)
{
	struct herd_agent_config *c = NULL;
	struct herd_buf w = { 0 };
	struct herd_err err = HERD_ERR_INIT;

	setenv("PATRONI_NAME", "other", 1);
	setenv("PATRONI_ETCD3_HOSTS", "a:1, b:2", 1);
	setenv("PATRONI_SUPERUSER_PASSWORD", "pw", 1);
	setenv("PGHERD_GUARD", "off", 1);
	assert_int_equal(load(good, &c, &w, &err), 0);
	assert_string_equal(herd_buf_str(&w), "");
	assert_string_equal(herd_agent_config_str(c, "name", ""), "other");
	assert_int_equal(json_array_size(herd_agent_config_get(c, "etcd3.hosts")), 2);
	assert_string_equal(
		herd_agent_config_str(c, "postgresql.authentication.superuser.password", ""), "pw");
	assert_null(getenv("PATRONI_SUPERUSER_PASSWORD"));
	assert_false(c->guard);
	/* Protected parameters count only from the DCS. */
	assert_null(herd_agent_config_get(c, "postgresql.parameters.max_connections"));
	assert_string_equal(herd_agent_config_str(c, "postgresql.parameters.work_mem", ""), "1MB");
	assert_int_equal(herd_agent_config_i64(c, "ttl", 0), 30);
	char *printed = herd_agent_config_print(c);

	assert_null(strstr(printed, "secret"));
	assert_null(strstr(printed, "pw\n"));
	free(printed);
	herd_agent_config_free(c);
	herd_buf_free(&w);
}

static void test_refused(void **state)
{
	static const struct {
		const char *text, *want;
	} rows[] = {
		{ "name: a\n", "scope is not defined." },
		{ "postgresql: 5\n", "postgresql must be a map" },
		{ "postgresql: {pg_ctl_timeout: soon}\n", "postgresql.pg_ctl_timeout must be" },
		{ "postgresql: {use_pg_rewind: maybe}\n", "must be a boolean (on or off)" },
		{ "citus: {group: -1}\n", "citus.group must be between 0" },
		{ "guard: {mode: perhaps}\n",
		  "guard.mode must be one of off, automatic, required, on" },
		{ "bootstrap: {dcs: {ttl: x}}\n", "bootstrap.dcs.ttl must be" },
		{ "bootstrap: {dcs: {postgresql: {use_slots: perhaps}}}\n",
		  "bootstrap.dcs.postgresql.use_slots must be a boolean" },
		{ "postgresql: {parameters: {work_mem: [1]}}\n",
		  "postgresql.parameters.work_mem must be a single value, not [1]" },
		{ "postgresql: {listen: '127.0.0.1:99999'}\n",
		  ":1: postgresql.listen must be host:port, not \"127.0.0.1:99999\"" },
		{ "restapi: {listen: [1]}\n", "restapi.listen must be host:port, not [1]" },
		{ "name: a\nlog:\n  type: xml\n", ":3: log.type must be one of plain, json, not" },
		{ "log: {mode: 9999}\n", "log.mode must be a file mode such as 0640" },
		{ "log: {format: [a, {b: 1}]}\n", "log.format must be a text, or a list" },
		{ "bootstrap: {dcs: {slots: {a: {type: odd}}}}\n",
		  "bootstrap.dcs.slots.a must be {type: physical or logical" },
		{ "name: __patroni_strict_sync_replica_placeholder__\n", "name is reserved" },
		{ "watchdog: {mode: sometimes}\n", "watchdog.mode must be one of off, automatic" },
		{ "restapi: {authentication: {password: [secret]}}\n",
		  "restapi.authentication.password must be a text, not what it is" },
		{ "- a\n", "is not a map" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct herd_agent_config *c = NULL;
		struct herd_buf w = { 0 };
		struct herd_err err = HERD_ERR_INIT;

		assert_true(load(rows[i].text, &c, &w, &err) < 0);
		assert_null(c);
		assert_non_null(strstr(herd_err_text(&err), rows[i].want));
		herd_err_clear(&err);
		herd_buf_free(&w);
	}
}

static void test_unknown(void **state)
{
	struct herd_agent_config *c = NULL;
	struct herd_buf w = { 0 };
	struct herd_err err = HERD_ERR_INIT;
	char *text = herd_str_printf("%swatchdgo: {mode: off}\nttl: 30\n"
				     "standby_cluster: {host: a}\nfoo: 1\n",
				     good);

	assert_int_equal(load(text, &c, &w, &err), 0);
	assert_non_null(strstr(herd_buf_str(&w), ":14: watchdgo is not a known setting and has no "
						 "effect; did you mean watchdog?"));
	assert_non_null(strstr(herd_buf_str(&w), ":15: ttl counts in the dynamic configuration"));
	assert_non_null(strstr(herd_buf_str(&w), "standby_cluster counts in the dynamic"));
	assert_non_null(strstr(herd_buf_str(&w), "foo is not a known setting and has no effect\n"));
	free(text);
	herd_agent_config_free(c);
	herd_buf_free(&w);
}

static void test_dynamic(void **state)
{
	struct herd_agent_config *c = NULL;
	struct herd_buf w = { 0 };
	struct herd_err err = HERD_ERR_INIT;
	json_t *dyn =
		json_pack("{s:i,s:i,s:i,s:s,s:{s:n},s:{s:s,s:{s:i,s:s}},s:i}", "ttl", 5,
			  "loop_wait", 1, "retry_timeout", 1, "synchronous_mode", "quorum", "slots",
			  "a", "postgresql", "data_dir", "/evil", "parameters", "max_connections",
			  200, "work_mem", "9MB", "master_start_timeout", 7);
	json_t *bad = json_pack("{s:{s:i}}", "postgresql", "parameters", 3);

	assert_int_equal(load(good, &c, &w, &err), 0);
	assert_int_equal(herd_agent_config_set_dynamic(c, dyn, collect, &w, &err), 0);
	assert_string_equal(herd_buf_str(&w),
			    "configuration: postgresql.data_dir counts in the local file only\n");
	assert_int_equal(herd_agent_config_i64(c, "ttl", 0), 5);
	assert_int_equal(herd_agent_config_i64(c, "primary_start_timeout", 0), 7);
	assert_string_equal(herd_agent_config_str(c, "synchronous_mode", ""), "quorum");
	assert_string_equal(herd_agent_config_str(c, "postgresql.data_dir", ""), "/tmp/none");
	assert_string_equal(herd_agent_config_str(c, "postgresql.parameters.work_mem", ""), "1MB");
	assert_int_equal(herd_agent_config_i64(c, "postgresql.parameters.max_connections", 0), 200);
	assert_true(json_is_null(herd_agent_config_get(c, "slots.a")));

	assert_true(herd_agent_config_set_dynamic(c, bad, collect, &w, &err) < 0);
	assert_int_equal(herd_agent_config_i64(c, "ttl", 0), 5);
	json_decref(bad);
	json_decref(dyn);
	herd_err_clear(&err);
	herd_agent_config_free(c);
	herd_buf_free(&w);
}

static void test_may_store(void **state)
{
	static const struct {
		const char *fresh, *old, *want; /* want NULL: may */
	} rows[] = {
		{ "{\"ttl\": 20, \"synchronous_mode\": true}", NULL, NULL },
		{ "{\"ttl\": \"1min\", \"maximum_lag_on_failover\": \"1MB\"}", NULL, NULL },
		{ "{\"slots\": {\"a\": 0, \"b\": null, \"c\": {\"type\": \"logical\"}}}", NULL,
		  NULL },
		{ "{\"own\": {\"key\": 1}, \"pause\": null}", NULL, NULL },
		{ "{\"ttl\": 1, \"synchronous_node_count\": 0}", NULL, NULL },
		{ "{\"ttl\": [30]}", NULL, "ttl must be a time in seconds" },
		{ "{\"pause\": \"maybe\"}", NULL, "pause must be a boolean (on or off), not \"ma" },
		{ "{\"postgresql\": {\"parameters\": [1]}}", NULL,
		  "postgresql.parameters must be a map, not [1]" },
		{ "{\"postgresql\": 7}", NULL, "postgresql must be a map, not 7" },
		{ "{\"postgresql\": {\"parameters\": {\"a\": {}}}}", NULL,
		  "postgresql.parameters.a must be a single value" },
		{ "{\"slots\": {\"a\": [1]}}", NULL, "slots.a must be {type:" },
		{ "{\"standby_cluster\": {\"port\": [5432]}}", NULL,
		  "standby_cluster.port must be" },
		/* What was there before must not block other changes. */
		{ "{\"ttl\": \"x\", \"loop_wait\": 3}", "{\"ttl\": \"x\"}", NULL },
		{ "{\"ttl\": \"y\"}", "{\"ttl\": \"x\"}", "ttl must be" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct herd_err err = HERD_ERR_INIT;
		json_t *fresh = json_loads(rows[i].fresh, 0, NULL);
		json_t *old = rows[i].old ? json_loads(rows[i].old, 0, NULL) : NULL;
		int rc = herd_schema_may_store(fresh, old, &err);

		assert_non_null(fresh);
		assert_int_equal(rc, rows[i].want ? -EINVAL : 0);
		if (rows[i].want)
			assert_non_null(strstr(herd_err_text(&err), rows[i].want));
		herd_err_clear(&err);
		json_decref(fresh);
		json_decref(old);
	}
}

static void test_directory(void **state)
{
	static const struct {
		const char *name, *text;
	} files[] = {
		{ "a.yml", "name: a\nscope: s\nlog: {level: DEBUG, dir: /x}\n" },
		{ "b.yaml", "log: {dir: null, level: error}\nname: A\n" },
		{ "c.yml.bak", "name: [\n" },
		{ "d.yml", "restapi: {listen: '*:8008'}\npostgresql:\n  listen: '*'\n"
			   "  data_dir: /d\n" },
	};
	char dir[] = "/tmp/herd-dir-XXXXXX";
	struct herd_agent_config *c = NULL;
	struct herd_err err = HERD_ERR_INIT;
	struct herd_buf w = { 0 };

	assert_non_null(mkdtemp(dir));
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		char *path = herd_str_printf("%s/%s", dir, files[i].name);
		FILE *f = fopen(path, "w");

		fputs(files[i].text, f);
		fclose(f);
		free(path);
	}
	assert_int_equal(herd_agent_config_load(dir, collect, &w, &c, &err), 0);
	assert_string_equal(herd_agent_config_str(c, "name", ""), "A");
	assert_string_equal(herd_agent_config_str(c, "log.level", ""), "ERROR");
	assert_null(herd_agent_config_get(c, "log.dir"));
	herd_agent_config_free(c);
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		char *path = herd_str_printf("%s/%s", dir, files[i].name);

		unlink(path);
		free(path);
	}
	c = NULL;
	assert_true(herd_agent_config_load(dir, collect, &w, &c, &err) < 0);
	assert_non_null(strstr(herd_err_text(&err), "has no *.yml or *.yaml"));
	rmdir(dir);
	herd_err_clear(&err);
	herd_buf_free(&w);
}

static void test_environment(void **state)
{
	struct herd_agent_config *c = NULL;
	struct herd_buf w = { 0 };
	struct herd_err err = HERD_ERR_INIT;

	setenv("PATRONI_LOG_LOGGERS", "{patroni.ha: DEBUG, urllib3: WARNING}", 1);
	setenv("PATRONI_LOG_FORMAT", "[message, {levelname: level}]", 1);
	setenv("PATRONI_LOG_TYPE", "json", 1);
	setenv("PATRONI_LOGLEVEL", "warning", 1);
	setenv("PATRONI_LOG_MODE", "0644", 1);
	setenv("PATRONI_RESTAPI_ALLOWLIST", "'10.0.0.1', 10.1.0.0/16", 1);
	setenv("PATRONI_POSTGRESQL_BIN_IS_READY", "my_isready", 1);
	setenv("PATRONI_ADMIN_PASSWORD", "x", 1);
	setenv("PATRONI_NONSENSE", "x", 1);
	setenv("PATRONI_CONSUL_HOST", "x", 1);
	assert_int_equal(load(good, &c, &w, &err), 0);
	assert_string_equal(herd_agent_config_str(c, "log.level", ""), "WARNING");
	assert_int_equal(herd_agent_config_i64(c, "log.mode", 0), 0644);
	assert_int_equal(json_array_size(herd_agent_config_get(c, "log.format")), 2);
	assert_int_equal(json_object_size(herd_agent_config_get(c, "log.loggers")), 2);
	assert_int_equal(json_array_size(herd_agent_config_get(c, "restapi.allowlist")), 2);
	assert_string_equal(herd_agent_config_str(c, "postgresql.bin_name.pg_isready", ""),
			    "my_isready");
	assert_true(json_is_object(herd_agent_config_get(c, "consul")));
	assert_non_null(strstr(herd_buf_str(&w), "PATRONI_ADMIN_PASSWORD has no effect: users"));
	assert_non_null(strstr(herd_buf_str(&w), "PATRONI_NONSENSE is not known"));
	assert_null(getenv("PATRONI_ADMIN_PASSWORD"));
	herd_agent_config_free(c);
	herd_buf_free(&w);

	c = NULL;
	w = (struct herd_buf){ 0 };
	setenv("PATRONI_LOG_LOGGERS", "{a: [", 1);
	assert_true(load(good, &c, &w, &err) < 0);
	assert_non_null(strstr(herd_err_text(&err), "environment: PATRONI_LOG_LOGGERS: line"));
	setenv("PATRONI_RESTAPI_REQUEST_QUEUE_SIZE", "many", 1);
	assert_true(load(good, &c, &w, &err) < 0);
	assert_non_null(strstr(herd_err_text(&err), "variable PATRONI_RESTAPI_REQUEST_QUEUE_SIZE: "
						    "restapi.request_queue_size must be"));
	/* A whole configuration in one variable: the others do not count. */
	setenv("PATRONI_CONFIGURATION", good, 1);
	setenv("PATRONI_NAME", "other", 1);
	assert_int_equal(herd_agent_config_load(NULL, collect, &w, &c, &err), 0);
	assert_string_equal(herd_agent_config_str(c, "name", ""), "coord1");
	herd_agent_config_free(c);
	herd_err_clear(&err);
	herd_buf_free(&w);
}

static void test_timing(void **state)
{
	static const struct {
		struct herd_timing in, out;
		bool guard;
	} rows[] = {
		{ { 30, 10, 10 }, { 30, 10, 10 }, false }, { { 30, 10, 10 }, { 30, 10, 10 }, true },
		{ { 5, 1, 1 }, { 20, 1, 3 }, false },      { { 5, 1, 1 }, { 5, 1, 1 }, true },
		{ { 1, 0, 0 }, { 3, 1, 1 }, true },        { { 20, 10, 10 }, { 20, 1, 9 }, false },
		{ { 30, 15, 10 }, { 30, 10, 10 }, false },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct herd_timing t = rows[i].in;
		bool changed = herd_timing_repair(&t, rows[i].guard, NULL);

		assert_int_equal(changed, memcmp(&rows[i].in, &rows[i].out, sizeof(t)) != 0);
		assert_memory_equal(&t, &rows[i].out, sizeof(t));
		assert_true(t.loop_wait + 2 * t.retry_timeout <= t.ttl);
	}
}

static void test_values(void **state)
{
	static const struct {
		const char *text;
		enum herd_unit unit;
		int rc;
		int64_t want;
	} rows[] = {
		{ "30", HERD_UNIT_NONE, 0, 30 },        { "30min", HERD_UNIT_SECOND, 0, 1800 },
		{ "1500 ms", HERD_UNIT_SECOND, 0, 2 },  { "1MB", HERD_UNIT_BYTE, 0, 1048576 },
		{ "1mb", HERD_UNIT_BYTE, -EINVAL, 0 },  { "1MB", HERD_UNIT_SECOND, -EINVAL, 0 },
		{ "", HERD_UNIT_SECOND, -EINVAL, 0 },   { "nan", HERD_UNIT_SECOND, -EINVAL, 0 },
		{ "9e30", HERD_UNIT_BYTE, -ERANGE, 0 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		json_t *v = json_string(rows[i].text);
		int64_t n = 0;

		assert_int_equal(herd_value_i64(v, rows[i].unit, &n), rows[i].rc);
		if (rows[i].rc == 0)
			assert_int_equal(n, rows[i].want);
		json_decref(v);
	}
}

static void test_cache(void **state)
{
	char dir[] = "/tmp/herd-cache-XXXXXX";
	struct herd_agent_config *c = NULL;
	struct herd_buf w = { 0 };
	struct herd_err err = HERD_ERR_INIT;
	struct stat st;

	assert_non_null(mkdtemp(dir));
	setenv("PATRONI_POSTGRESQL_DATA_DIR", dir, 1);
	assert_int_equal(load(good, &c, &w, &err), 0);
	assert_null(herd_agent_config_cache_read(c));
	json_t *dyn = json_pack("{s:i}", "ttl", 33);

	assert_int_equal(herd_agent_config_set_dynamic(c, dyn, collect, &w, &err), 0);
	assert_int_equal(herd_agent_config_cache_write(c, &err), 0);
	json_t *back = herd_agent_config_cache_read(c);

	assert_true(json_equal(back, dyn));
	json_decref(back);
	json_decref(dyn);
	char *path = herd_str_printf("%s/patroni.dynamic.json", dir);

	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	unlink(path);
	rmdir(dir);
	free(path);
	herd_agent_config_free(c);
	herd_buf_free(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),      cmocka_unit_test(test_refused),
		cmocka_unit_test(test_unknown),   cmocka_unit_test(test_dynamic),
		cmocka_unit_test(test_timing),    cmocka_unit_test(test_values),
		cmocka_unit_test(test_cache),     cmocka_unit_test(test_may_store),
		cmocka_unit_test(test_directory), cmocka_unit_test(test_environment),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
