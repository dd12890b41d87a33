#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/str.h"
#include "base/yaml.h"
#include "ctl/internal.h"

/* Variables of the environment and where they go; lists and maps are YAML in one line. */
static const struct {
	const char *env, *path;
} variables[] = {
	{ "PATRONI_SCOPE", "scope" },
	{ "PATRONI_NAMESPACE", "namespace" },
	{ "PATRONI_CITUS_GROUP", "citus.group" },
	{ "PATRONI_CTL_INSECURE", "ctl.insecure" },
	{ "PATRONI_CTL_CACERT", "ctl.cacert" },
	{ "PATRONI_CTL_CERTFILE", "ctl.certfile" },
	{ "PATRONI_CTL_KEYFILE", "ctl.keyfile" },
	{ "PATRONI_CTL_KEYFILE_PASSWORD", "ctl.keyfile_password" },
	{ "PATRONI_CTL_USERNAME", "ctl.authentication.username" },
	{ "PATRONI_CTL_PASSWORD", "ctl.authentication.password" },
	{ "PATRONI_RESTAPI_USERNAME", "restapi.authentication.username" },
	{ "PATRONI_RESTAPI_PASSWORD", "restapi.authentication.password" },
	{ "PATRONI_RESTAPI_CAFILE", "restapi.cafile" },
	{ "PATRONI_ETCD3_HOST", "etcd3.host" },
	{ "PATRONI_ETCD3_HOSTS", "etcd3.hosts" },
	{ "PATRONI_ETCD3_URL", "etcd3.url" },
	{ "PATRONI_ETCD3_PROTOCOL", "etcd3.protocol" },
	{ "PATRONI_ETCD3_USERNAME", "etcd3.username" },
	{ "PATRONI_ETCD3_PASSWORD", "etcd3.password" },
	{ "PATRONI_ETCD3_CACERT", "etcd3.cacert" },
	{ "PATRONI_ETCD3_CERT", "etcd3.cert" },
	{ "PATRONI_ETCD3_KEY", "etcd3.key" },
	{ "PATRONI_ETCD_HOST", "etcd.host" },
	{ "PATRONI_ETCD_HOSTS", "etcd.hosts" },
	{ "PATRONI_ETCD_URL", "etcd.url" },
	{ "PATRONI_ETCD_PROTOCOL", "etcd.protocol" },
	{ "PATRONI_ETCD_USERNAME", "etcd.username" },
	{ "PATRONI_ETCD_PASSWORD", "etcd.password" },
	{ "PATRONI_ETCD_CACERT", "etcd.cacert" },
	{ "PATRONI_ETCD_CERT", "etcd.cert" },
	{ "PATRONI_ETCD_KEY", "etcd.key" },
	{ "PATRONI_CONSUL_HOST", "consul.host" },
	{ "PATRONI_ZOOKEEPER_HOSTS", "zookeeper.hosts" },
};

static void set_path(json_t *config, const char *path, const char *text)
{
	char *copy = strdup(path), *save = NULL;
	json_t *at = config;
	json_t *value = text[0] == '[' || text[0] == '{'
				? herd_yaml_parse("environment", text, strlen(text), NULL)
				: NULL;

	for (char *step = copy ? strtok_r(copy, ".", &save) : NULL, *next; step; step = next) {
		next = strtok_r(NULL, ".", &save);
		if (!next) {
			json_object_set_new(at, step, value ? value : json_string(text));
			value = NULL;
			break;
		}
		json_t *child = json_object_get(at, step);

		if (!json_is_object(child)) {
			child = json_object();
			json_object_set_new(at, step, child);
		}
		at = child;
	}
	json_decref(value);
	free(copy);
}

static const char *const stores[] = { "etcd3",     "etcd",       "consul", "zookeeper",
				      "exhibitor", "kubernetes", "raft",   NULL };

/* "scheme://host:port[,host:port]/namespace" takes the place of the store in the file. */
static int set_store(json_t *config, const char *url, struct herd_err *err)
{
	const char *sep = strstr(url, "://");
	char *scheme = sep ? strndup(url, (size_t)(sep - url)) : strdup("etcd3");
	const char *hosts = sep ? sep + 3 : url;
	const char *slash = strchr(hosts, '/');
	char *list = strndup(hosts, slash ? (size_t)(slash - hosts) : strlen(hosts));
	bool known = false;
	json_t *section;

	for (const char *const *s = stores; scheme && *s; s++)
		known |= strcmp(scheme, *s) == 0;
	if (!known) {
		herd_err_set(err, -EINVAL, "unknown kind of store: \"%s\"", scheme ? scheme : "");
		herd_err_hint(err, "Write --dcs-url as etcd3://host:port.");
	} else {
		/* Credentials of the file stay. */
		section = json_deep_copy(json_object_get(config, scheme));
		if (!json_is_object(section)) {
			json_decref(section);
			section = json_object();
		}
		json_object_del(section, "host");
		json_object_del(section, "url");
		json_object_set_new(section, "hosts", json_string(list ? list : ""));
		for (const char *const *s = stores; *s; s++)
			json_object_del(config, *s);
		json_object_set_new(config, scheme, section);
		if (slash && slash[1])
			json_object_set_new(config, "namespace", json_string(slash));
	}
	free(scheme);
	free(list);
	return known ? 0 : -EINVAL;
}

static char *default_file(void)
{
	const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");

	if (config && *config)
		return herd_str_printf("%s/patroni/patronictl.yaml", config);
	return herd_str_printf("%s/.config/patroni/patronictl.yaml", home ? home : "");
}

json_t *ctl_config_load(const char *file, const char *dcs_url, struct herd_err *err)
{
	char *path = file ? strdup(file) : default_file();
	json_t *config = NULL;

	if (path && access(path, R_OK) == 0)
		config = herd_yaml_read(path, err);
	else if (file)
		herd_err_set(err, -ENOENT,
			     "Provided config file %s not existing or no read rights. Check the "
			     "-c/--config-file parameter",
			     file);
	else
		config = json_object();
	if (config && !json_is_object(config)) {
		herd_err_set(err, -EINVAL, "%s: the configuration must be a map", path);
		json_decref(config);
		config = NULL;
	}
	free(path);
	if (!config)
		return NULL;
	for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++) {
		const char *text = getenv(variables[i].env);

		if (text && *text)
			set_path(config, variables[i].path, text);
	}
	if (dcs_url && set_store(config, dcs_url, err) < 0) {
		json_decref(config);
		return NULL;
	}
	return config;
}
