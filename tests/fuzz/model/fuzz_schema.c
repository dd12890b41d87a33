/* Any YAML as a local file, as a dynamic configuration, and as one that is to be stored. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "base/yaml.h"
#include "model/config.h"
#include "model/schema.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct text {
	const char *data;
	size_t len;
};

static void on_report(void *arg, bool fatal, const char *path, const char *reason)
{
	const struct text *t = arg;

	assert(path && *reason); /* the path of an empty key is empty */
	herd_yaml_line(t->data, t->len, path);
}

/* What was checked once and stayed is fine the second time. */
static void check_twice(const json_t *v, struct text *t)
{
	json_t *copy = json_deep_copy(v);

	herd_schema_check(copy, herd_schema_local, "", on_report, t);
	assert(herd_schema_check(copy, herd_schema_local, "", on_report, t) == 0);
	json_decref(copy);
	copy = json_deep_copy(v);
	herd_schema_check_dynamic(copy, "", on_report, t);
	assert(herd_schema_check_dynamic(copy, "", on_report, t) == 0);
	json_decref(copy);
}

static void read_dynamic(json_t *v, bool guard)
{
	struct herd_config c;

	if (herd_config_from_json(v, guard, &c) < 0)
		return;
	assert(c.loop_wait_ms >= 1000 && c.ttl_ms >= (guard ? 3000 : 20000));
	assert(c.loop_wait_ms + 2 * c.retry_timeout_ms <= c.ttl_ms);
	assert(c.synchronous_node_count >= 1 && c.maximum_lag_on_failover >= 0);
	herd_config_clear(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct text t = { (const char *)data, size };
	struct herd_err err = HERD_ERR_INIT;
	json_t *v = herd_yaml_parse("fuzz", t.data, t.len, &err);

	if (json_is_object(v)) {
		check_twice(v, &t);
		assert(herd_schema_may_store(v, v, NULL) == 0);
		herd_schema_may_store(v, NULL, &err);
		read_dynamic(v, true);
		read_dynamic(v, false);
		const char *format = json_string_value(herd_json_path(v, "log.format"));

		if (format)
			herd_log_check_format(format, &err);
	}
	json_decref(v);
	herd_err_clear(&err);
	return 0;
}
