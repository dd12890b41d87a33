#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/internal.h"
#include "agent/sharding.h"
#include "base/json.h"
#include "base/str.h"
#include "model/value.h"

int herd_agent_split_address(const char *text, int fallback_port, char **host, int *port)
{
	const char *colon = strrchr(text, ':');
	const char *bracket = strrchr(text, ']');
	int64_t n = fallback_port;
	size_t len = strlen(text);

	if (colon && (!bracket || colon > bracket) &&
	    (text[0] == '[' || strchr(text, ':') == colon || strchr(text, ','))) {
		if (herd_str_to_i64(colon + 1, &n) < 0 || n < 0 || n > 65535)
			return -EINVAL;
		len = (size_t)(colon - text);
	}
	if (len >= 2 && text[0] == '[' && text[len - 1] == ']') {
		text++;
		len -= 2;
	}
	if (len == 0)
		return -EINVAL;
	*host = strndup(text, len);
	*port = (int)n;
	return *host ? 0 : -ENOMEM;
}

/* A map of scalars into settings. */
static void take_map(const json_t *map, struct herd_pg_settings *ret)
{
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)map, key, v)
	{
		char *text = herd_value_text(v);

		if (text)
			herd_pg_settings_set(ret, key, text);
		free(text);
	}
}

/* Long options as a list of words and one-key maps, or as a map. */
static void take_options(const json_t *v, struct herd_pg_settings *ret)
{
	size_t i;
	json_t *item;
	const char *key;
	json_t *value;

	if (json_is_object(v)) {
		take_map(v, ret);
		return;
	}
	json_array_foreach((json_t *)v, i, item)
	{
		if (json_is_string(item)) {
			herd_pg_settings_add(ret, json_string_value(item), "");
			continue;
		}
		json_object_foreach(item, key, value)
		{
			char *text = herd_value_text(value);

			if (text)
				herd_pg_settings_add(ret, key, text);
			free(text);
		}
	}
}

static void take_lines(const json_t *v, struct herd_pg_lines *ret)
{
	size_t i;
	json_t *item;

	json_array_foreach((json_t *)v, i, item) if (json_is_string(item))
		herd_pg_lines_add(ret, json_string_value(item));
}

static void take_auth(const json_t *v, struct herd_pg_auth *ret)
{
	const struct {
		const char *key;
		char **slot;
	} words[] = {
		{ "username", &ret->username },       { "password", &ret->password },
		{ "sslmode", &ret->sslmode },         { "sslkey", &ret->sslkey },
		{ "sslpassword", &ret->sslpassword }, { "sslcert", &ret->sslcert },
		{ "sslrootcert", &ret->sslrootcert }, { "sslcrl", &ret->sslcrl },
		{ "sslcrldir", &ret->sslcrldir },     { "sslnegotiation", &ret->sslnegotiation },
		{ "gssencmode", &ret->gssencmode },   { "channel_binding", &ret->channel_binding },
	};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		herd_str_set(words[i].slot, herd_json_str(v, words[i].key, NULL));
}

/* What a script gets as --name=text. Scripts were written for what Python calls True and False. */
static char *parameter_text(const json_t *v)
{
	if (json_is_boolean(v))
		return herd_str_dup(json_is_true(v) ? "True" : "False");
	return herd_value_text(v);
}

/* Keys that a command is not given: a replica method's are held back only with no_params. */
static bool held_back(const struct herd_pg_method *m, const char *key, bool bootstrap)
{
	static const char *const of_bootstrap[] = { "no_params", "keep_existing_recovery_conf",
						    "recovery_conf", "scope", "datadir" };
	static const char *const of_replica[] = { "no_params", "no_leader", "no_master",
						  "keep_data" };

	if (strcmp(key, "command") == 0)
		return true;
	for (size_t i = 0; bootstrap && i < 5; i++)
		if (strcmp(key, of_bootstrap[i]) == 0)
			return true;
	for (size_t i = 0; !bootstrap && m->no_params && i < 4; i++)
		if (strcmp(key, of_replica[i]) == 0)
			return true;
	return false;
}

static void take_method(const char *name, const json_t *v, bool bootstrap, struct herd_pg_method *m)
{
	const char *key;
	json_t *value;

	m->name = herd_str_dup(name);
	if (!bootstrap && strcmp(name, "basebackup") == 0) {
		take_options(v, &m->params);
		return;
	}
	/* A method without a command is a program of its name. */
	m->command = herd_str_dup(herd_json_str(v, "command", name));
	m->keep_data = herd_json_bool(v, "keep_data", false);
	m->no_params = herd_json_bool(v, "no_params", false);
	m->no_leader =
		herd_json_bool(v, "no_leader", false) || herd_json_bool(v, "no_master", false);
	m->keep_existing_recovery_conf = herd_json_bool(v, "keep_existing_recovery_conf", false);
	take_map(json_object_get(v, "recovery_conf"), &m->recovery_conf);
	m->has_recovery_conf = json_is_object(json_object_get(v, "recovery_conf"));
	json_object_foreach((json_t *)v, key, value)
	{
		char *text = held_back(m, key, bootstrap) ? NULL : parameter_text(value);

		if (text)
			herd_pg_settings_add(&m->params, key, text);
		free(text);
	}
}

/* names: a list, or one name. Always at least one method unless out of memory. */
static void take_methods(const json_t *pg, const json_t *names, struct herd_pg_method **ret,
			 size_t *n)
{
	size_t want = json_array_size(names);

	*n = 0;
	*ret = calloc(want ? want : 1, sizeof(**ret));
	if (!*ret)
		return;
	if (want == 0) {
		const char *one = json_is_string(names) ? json_string_value(names) : "basebackup";

		take_method(one, json_object_get(pg, one), false, *ret);
		*n = 1;
		return;
	}
	for (size_t i = 0; i < want; i++) {
		const char *name = json_string_value(json_array_get(names, i));

		if (name)
			take_method(name, json_object_get(pg, name), false, &(*ret)[(*n)++]);
	}
}

int herd_agent_remote_methods(const struct herd_agent *a, struct herd_pg_method **ret, size_t *n)
{
	const json_t *section = json_object_get(herd_agent_dynamic(a)->raw, "standby_cluster");
	const json_t *names = json_object_get(section, "create_replica_methods");

	*ret = NULL;
	*n = 0;
	if (json_array_size(names) == 0 && !json_is_string(names))
		return 0;
	take_methods(json_object_get(a->cfg->effective, "postgresql"), names, ret, n);
	return *ret ? 0 : -ENOMEM;
}

static void take_bins(const json_t *pg, struct herd_pg_config *ret)
{
	json_t *map = json_object_get(pg, "bin_name");

	for (int i = 0; i < HERD_PG_BIN_NR; i++)
		ret->bin_name[i] = herd_str_dup(herd_json_str(map, herd_pg_bin_names[i], NULL));
}

/* parameters_primary, pg_hba_replica ... */
static void take_roles(const json_t *pg, struct herd_pg_config *ret)
{
	for (int i = 0; i < HERD_PG_KIND_NR; i++) {
		char *parameters = herd_str_printf("parameters_%s", herd_pg_kind_names[i]);
		char *hba = herd_str_printf("pg_hba_%s", herd_pg_kind_names[i]);
		char *ident = herd_str_printf("pg_ident_%s", herd_pg_kind_names[i]);

		take_map(json_object_get(pg, parameters), &ret->of_role[i].parameters);
		take_lines(json_object_get(pg, hba), &ret->of_role[i].pg_hba);
		take_lines(json_object_get(pg, ident), &ret->of_role[i].pg_ident);
		free(parameters);
		free(hba);
		free(ident);
	}
}

int herd_agent_pg_config(const struct herd_agent *a, struct herd_pg_config *ret,
			 struct herd_err *err)
{
	const json_t *pg = json_object_get(a->cfg->effective, "postgresql");
	const json_t *auth = json_object_get(pg, "authentication");
	struct herd_pg_config c = { 0 };
	int rc;

	rc = herd_agent_split_address(herd_json_str(pg, "listen", ""), 5432, &c.listen, &c.port);
	if (rc < 0)
		return herd_err_set(err, rc, "postgresql.listen must be host:port, not \"%s\"",
				    herd_json_str(pg, "listen", ""));
	c.scope = herd_str_dup(herd_agent_config_str(a->cfg, "scope", ""));
	c.name = herd_str_dup(a->name);
	c.data_dir = herd_str_dup(herd_json_str(pg, "data_dir", ""));
	c.config_dir = herd_str_dup(herd_json_str(pg, "config_dir", NULL));
	c.bin_dir = herd_str_dup(herd_json_str(pg, "bin_dir", NULL));
	take_bins(pg, &c);
	c.use_unix_socket = herd_json_bool(pg, "use_unix_socket", false);
	c.use_unix_socket_repl = herd_json_bool(pg, "use_unix_socket_repl", false);
	c.pgpass = herd_str_dup(herd_json_str(pg, "pgpass", NULL));
	c.database = herd_str_dup(herd_json_str(pg, "database", NULL));
	c.config_base_name = herd_str_dup(herd_json_str(pg, "config_base_name", NULL));
	c.custom_conf = herd_str_dup(herd_json_str(pg, "custom_conf", NULL));
	c.krbsrvname = herd_str_dup(herd_json_str(pg, "krbsrvname", NULL));
	take_auth(json_object_get(auth, "superuser"), &c.superuser);
	take_auth(json_object_get(auth, "replication"), &c.replication);
	take_auth(json_object_get(auth, "rewind"), &c.rewind);
	if (!c.superuser.username)
		c.superuser.username = herd_str_dup("postgres");
	take_map(json_object_get(pg, "parameters"), &c.parameters);
	take_map(json_object_get(pg, "recovery_conf"), &c.recovery_conf);
	take_lines(json_object_get(pg, "pg_hba"), &c.pg_hba);
	take_lines(json_object_get(pg, "pg_ident"), &c.pg_ident);
	take_roles(pg, &c);
	take_options(json_object_get(pg, "rewind"), &c.rewind_options);
	take_methods(pg, json_object_get(pg, "create_replica_methods"), &c.method, &c.method_n);
	c.use_slots = herd_json_bool(pg, "use_slots", true);
	c.use_pg_rewind = herd_json_bool(pg, "use_pg_rewind", false);
	c.remove_data_directory_on_rewind_failure =
		herd_json_bool(pg, "remove_data_directory_on_rewind_failure", false);
	c.remove_data_directory_on_diverged_timelines =
		herd_json_bool(pg, "remove_data_directory_on_diverged_timelines", false);
	c.start_timeout_ms = 1000 * herd_json_i64(pg, "pg_ctl_timeout", 60);
	herd_sharding_parameters(a, &c);
	rc = herd_pg_config_check(&c, err);
	if (rc < 0) {
		herd_pg_config_clear(&c);
		return rc;
	}
	*ret = c;
	return 0;
}

int herd_agent_bootstrap(const struct herd_agent *a, struct herd_pg_settings *initdb,
			 struct herd_pg_method *method, bool *custom)
{
	const json_t *b = json_object_get(a->cfg->effective, "bootstrap");
	const char *name = herd_json_str(b, "method", "initdb");

	take_options(json_object_get(b, "initdb"), initdb);
	*custom = strcmp(name, "initdb") != 0;
	if (*custom)
		take_method(name, json_object_get(b, name), true, method);
	return 0;
}
