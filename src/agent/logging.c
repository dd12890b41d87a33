#include "agent/logging.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"

/* Each name in the list as a format of its own, so that one check knows all fields. */
static int check_field(const char *name, struct herd_err *err)
{
	char *format = herd_str_printf("%%(%s)s", name);
	int rc = format ? herd_log_check_format(format, err) : -ENOMEM;

	free(format);
	return rc;
}

int herd_logging_check(const json_t *config, struct herd_err *err)
{
	const json_t *format = herd_json_path(config, "log.format");
	bool json =
		strcmp(herd_json_str(json_object_get(config, "log"), "type", "plain"), "json") == 0;
	size_t i;
	json_t *item, *as;
	const char *key;
	int rc = 0;

	if (json_is_string(format))
		return herd_log_check_format(json_string_value(format), err);
	if (format && !json)
		return herd_err_set(err, -EINVAL, "a list is for log.type json");
	json_array_foreach((json_t *)format, i, item)
	{
		if (rc == 0 && json_is_string(item))
			rc = check_field(json_string_value(item), err);
		json_object_foreach(item, key, as)
		{
			if (rc == 0)
				rc = check_field(key, err);
		}
	}
	return rc;
}

static enum herd_log_level level_of(const struct herd_agent_config *cfg, const char *path,
				    enum herd_log_level fallback)
{
	const char *text = herd_agent_config_str(cfg, path, NULL);
	enum herd_log_level level = fallback;

	if (text)
		herd_log_parse_level(text, &level);
	return level;
}

void herd_logging_configure(struct herd_log *log, const struct herd_agent_config *cfg)
{
	const char *dir = herd_agent_config_str(cfg, "log.dir", NULL);
	const json_t *format = herd_agent_config_get(cfg, "log.format");
	char *path = dir ? herd_str_printf("%s/patroni.log", dir) : NULL;
	struct herd_err err = HERD_ERR_INIT;
	struct herd_log_opts o = {
		.json = strcmp(herd_agent_config_str(cfg, "log.type", "plain"), "json") == 0,
		.level = level_of(cfg, "log.level", HERD_LOG_INFO),
		.details = level_of(cfg, "log.traceback_level", HERD_LOG_ERROR) > HERD_LOG_DEBUG,
		.format = json_string_value(format),
		.fields = json_is_array(format) ? format : NULL,
		.statics = herd_agent_config_get(cfg, "log.static_fields"),
		.dateformat = herd_agent_config_str(cfg, "log.dateformat", NULL),
		.path = path,
		.mode = (int)herd_agent_config_i64(cfg, "log.mode", -1),
		.keep = (int)herd_agent_config_i64(cfg, "log.file_num", 4),
		.max_bytes = herd_agent_config_i64(cfg, "log.file_size", 25000000),
		.max_queue = (size_t)herd_agent_config_i64(cfg, "log.max_queue_size", 1000),
		.levels = herd_agent_config_get(cfg, "log.loggers"),
	};

	herd_log_configure(log, &o, &err);
	if (err.code)
		herd_log_err(log, HERD_LOG_WARNING, &err, "log");
	herd_err_clear(&err);
	free(path);
}
