#include "agent/config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/internal.h"
#include "agent/logging.h"
#include "agent/source.h"
#include "base/buf.h"
#include "base/json.h"
#include "base/str.h"
#include "base/yaml.h"

/* Settings of PostgreSQL that all members must share: a local value does not count. */
static const char *const dcs_only_gucs[] = {
	"max_connections",
	"max_locks_per_transaction",
	"max_worker_processes",
	"max_wal_senders",
	"max_prepared_transactions",
	"max_replication_slots",
	"wal_level",
	"hot_standby",
	"track_commit_timestamp",
	"wal_log_hints",
	"wal_keep_segments",
	"wal_keep_size",
	"listen_addresses",
	"port",
	"cluster_name",
};
static const char *const dcs_only_top[] = { "ttl", "loop_wait", "retry_timeout",
					    "standby_cluster" };

/* --- loading ---------------------------------------------------------------------------------- */

struct problems {
	struct herd_buf fatal;
	json_t *refused;                  /* paths, as keys */
	const struct herd_source *source; /* NULL: not from files */
	herd_agent_config_warn_fn warn;
	void *arg;
};

static void on_report(void *arg, bool fatal, const char *path, const char *reason)
{
	struct problems *p = arg;
	char *where = p->source ? herd_source_where(p->source, path) : NULL;
	bool known = where && *where;

	if (fatal) {
		json_object_set_new(p->refused, path, json_true());
		herd_buf_printf(&p->fatal, "%s%s%s%s %s", p->fatal.len ? "\n" : "",
				known ? where : "", known ? ": " : "", path, reason);
	} else if (p->warn) {
		char *text = herd_str_printf("configuration: %s%s%s %s", known ? where : "",
					     known ? ": " : "", path, reason);

		p->warn(p->arg, text);
		free(text);
	}
	free(where);
}

/* postgresql.{superuser,replication,pg_rewind} and others, where older files have them. */
static void move_legacy(json_t *local)
{
	static const char *const auth[][2] = {
		{ "superuser", "postgresql.authentication.superuser" },
		{ "replication", "postgresql.authentication.replication" },
		{ "pg_rewind", "postgresql.authentication.rewind" },
	};
	json_t *pg = json_object_get(local, "postgresql");

	for (size_t i = 0; i < sizeof(auth) / sizeof(auth[0]); i++) {
		json_t *v = json_object_get(pg, auth[i][0]);

		if (json_is_object(v) && !herd_json_path(local, auth[i][1]))
			herd_schema_put(local, auth[i][1], json_incref(v));
		json_object_del(pg, auth[i][0]);
	}
	json_t *methods = json_object_get(pg, "create_replica_method");

	if (methods && !json_object_get(pg, "create_replica_methods"))
		json_object_set(pg, "create_replica_methods", methods);
	json_object_del(pg, "create_replica_method");
}

static void check_required(const json_t *local, struct problems *p)
{
	static const char *const paths[] = { "name", "scope", "postgresql.data_dir",
					     "postgresql.listen", "restapi.listen" };

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		const char *s = json_string_value(herd_json_path(local, paths[i]));

		/* A value that was refused is not there any more, and told already. */
		if ((!s || !*s) && !json_object_get(p->refused, paths[i]))
			on_report(p, true, paths[i], "is not defined.");
	}

	const char *name = herd_json_str(local, "name", "");

	if (strcmp(name, "__patroni_strict_sync_replica_placeholder__") == 0)
		on_report(p, true, "name", "is reserved");
	else if (strchr(name, '/') || strlen(name) > 200)
		on_report(p, true, "name", "must not hold a slash or be longer than 200 bytes");
}

/* A boolean tag and a number that say the opposite: the boolean holds. */
static void check_tags(const json_t *tags, const char *flag, const char *number, struct problems *p)
{
	bool set = herd_json_bool(tags, flag, false);
	int64_t n = herd_json_i64(tags, number, INT64_MIN);

	if (!json_object_get(tags, flag) || n == INT64_MIN || set == (n <= 0) || !p->warn)
		return;
	char *text = herd_str_printf("Conflicting configuration between %s: %s and %s: %" PRId64
				     ". Defaulting to %s: %s",
				     flag, set ? "True" : "False", number, n, flag,
				     set ? "True" : "False");

	if (text)
		p->warn(p->arg, text);
	free(text);
}

static void drop(json_t *obj, const char *const *keys, size_t n)
{
	for (size_t i = 0; i < n; i++)
		json_object_del(obj, keys[i]);
}
#define DROP(obj, keys) drop(obj, keys, sizeof(keys) / sizeof((keys)[0]))

/* What goes to the DCS stays as the user wrote it; only its problems are told. */
static void check_bootstrap(const json_t *local, struct problems *p)
{
	json_t *dcs = herd_json_path(local, "bootstrap.dcs");
	json_t *copy = dcs ? json_deep_copy(dcs) : NULL;

	if (copy)
		herd_schema_check_dynamic(copy, "bootstrap.dcs.", on_report, p);
	json_decref(copy);
}

int herd_agent_config_check(const struct herd_source *source, herd_schema_report_fn fn, void *arg)
{
	json_t *local = json_deep_copy(source->config);
	json_t *dcs;
	int refused;

	move_legacy(local);
	refused = herd_schema_check(local, herd_schema_local, "", fn, arg);
	dcs = herd_json_path(local, "bootstrap.dcs");
	if (dcs)
		refused += herd_schema_check_dynamic(dcs, "bootstrap.dcs.", fn, arg);
	json_decref(local);
	return refused;
}

/* Shards are worth nothing when one of them has lost rows. */
static void add_sharding_default(json_t *local)
{
	if (herd_json_path(local, "citus.group") &&
	    !herd_json_path(local, "bootstrap.dcs.synchronous_mode"))
		herd_schema_put(local, "bootstrap.dcs.synchronous_mode", json_string("quorum"));
}

/* What PostgreSQL and its programs get, too, must mean the same in their working directory. */
static void make_absolute(json_t *local)
{
	static const char *const names[] = { "data_dir", "config_dir", "pgpass" };
	json_t *pg = json_object_get(local, "postgresql");
	char *here = getcwd(NULL, 0);

	for (size_t i = 0; here && i < sizeof(names) / sizeof(names[0]); i++) {
		const char *given = json_string_value(json_object_get(pg, names[i]));
		char *path =
			given && *given && *given != '/'
				? herd_str_printf("%s/%s", strcmp(here, "/") ? here : "", given)
				: NULL;

		if (path)
			json_object_set_new(pg, names[i], json_string(path));
		free(path);
	}
	free(here);
}

static int read_local(const char *path, json_t *env, struct problems *p, json_t **ret,
		      struct herd_err *err)
{
	struct herd_source source = { 0 };
	struct herd_err log = HERD_ERR_INIT;
	int rc = herd_source_read(path, env, p->warn, p->arg, &source, err);
	json_t *local;

	if (rc < 0)
		return rc;
	local = json_incref(source.config);
	p->source = &source;
	p->refused = json_object();
	move_legacy(local);
	herd_schema_check(local, herd_schema_local, "", on_report, p);
	check_bootstrap(local, p);
	check_required(local, p);
	if (herd_logging_check(local, &log) < 0)
		on_report(p, true, "log.format", herd_err_text(&log));
	herd_err_clear(&log);
	p->source = NULL;
	json_decref(p->refused);
	p->refused = NULL;
	herd_source_clear(&source);
	if (p->fatal.len) {
		json_decref(local);
		herd_err_set(err, -EINVAL, "%s", herd_buf_str(&p->fatal));
		herd_buf_free(&p->fatal);
		return -EINVAL;
	}
	make_absolute(local);
	add_sharding_default(local);
	check_tags(json_object_get(local, "tags"), "nofailover", "failover_priority", p);
	check_tags(json_object_get(local, "tags"), "nosync", "sync_priority", p);
	*ret = local;
	return 0;
}

bool herd_agent_config_is_shared(const char *guc)
{
	for (size_t i = 0; i < sizeof(dcs_only_gucs) / sizeof(dcs_only_gucs[0]); i++)
		if (strcmp(dcs_only_gucs[i], guc) == 0)
			return true;
	return false;
}

static int merge(struct herd_agent_config *c, json_t *local, const json_t *dynamic,
		 herd_agent_config_warn_fn warn, void *arg, struct herd_err *err);

int herd_agent_config_load(const char *path, herd_agent_config_warn_fn warn, void *arg,
			   struct herd_agent_config **ret, struct herd_err *err)
{
	struct problems p = { .warn = warn, .arg = arg };
	struct herd_agent_config *c = calloc(1, sizeof(*c));
	json_t *env = herd_source_take_environment();
	json_t *local = NULL;
	int rc;

	if (!c || !env) {
		rc = -ENOMEM;
		goto out;
	}
	rc = read_local(path, env, &p, &local, err);
	if (rc < 0)
		goto out;
	c->path = herd_str_dup(path);
	c->env_snapshot = herd_json_dump(env);
	c->dynamic = json_object();
	rc = merge(c, local, c->dynamic, NULL, NULL, err);
	if (rc < 0)
		goto out;
	*ret = c;
	c = NULL;
out:
	json_decref(env);
	herd_agent_config_free(c);
	return rc;
}

int herd_agent_config_reload(struct herd_agent_config *c, herd_agent_config_warn_fn warn, void *arg,
			     struct herd_err *err)
{
	struct problems p = { .warn = warn, .arg = arg };
	json_t *env = herd_json_parse(c->env_snapshot, strlen(c->env_snapshot), err);
	json_t *local = NULL;
	int rc;

	if (!env)
		return -ENOMEM;
	rc = read_local(c->path, env, &p, &local, err);
	if (rc == 0)
		rc = merge(c, local, c->dynamic, warn, arg, err);
	json_decref(env);
	return rc;
}

void herd_agent_config_free(struct herd_agent_config *c)
{
	if (!c)
		return;
	free(c->path);
	free(c->env_snapshot);
	json_decref(c->local);
	json_decref(c->dynamic);
	json_decref(c->effective);
	free(c);
}

/* --- merging ---------------------------------------------------------------------------------- */

static void repair_timing(json_t *eff, bool guard, herd_agent_config_warn_fn warn, void *arg)
{
	struct herd_timing t = {
		.ttl = herd_json_i64(eff, "ttl", 30),
		.loop_wait = herd_json_i64(eff, "loop_wait", 10),
		.retry_timeout = herd_json_i64(eff, "retry_timeout", 10),
	};
	struct herd_names words = { 0 };

	herd_timing_repair(&t, guard, &words);
	for (size_t i = 0; warn && i < words.n; i++)
		warn(arg, words.name[i]);
	herd_names_clear(&words);
	json_object_set_new(eff, "ttl", json_integer(t.ttl));
	json_object_set_new(eff, "loop_wait", json_integer(t.loop_wait));
	json_object_set_new(eff, "retry_timeout", json_integer(t.retry_timeout));
}

/* Steals local. */
static int merge(struct herd_agent_config *c, json_t *local, const json_t *dynamic,
		 herd_agent_config_warn_fn warn, void *arg, struct herd_err *err)
{
	struct problems p = { .warn = warn, .arg = arg };
	json_t *dyn = json_deep_copy(dynamic);
	json_t *own = json_deep_copy(local);
	json_t *params = herd_json_path(dyn, "postgresql.parameters");
	json_t *eff;

	if (!dyn || !own || (params && !json_is_object(params) && !json_is_null(params))) {
		json_decref(dyn);
		json_decref(own);
		if (local != c->local)
			json_decref(local);
		return herd_err_set(err, -EINVAL, "postgresql.parameters must be a map");
	}
	herd_schema_check_dynamic(dyn, "", on_report, &p);
	/* A value of the DCS that is refused counts as absent: the herd goes on with the default.
	 */
	if (p.fatal.len && warn) {
		char *text = herd_str_printf("dynamic configuration: %s", herd_buf_str(&p.fatal));

		warn(arg, text);
		free(text);
	}
	herd_buf_free(&p.fatal);

	DROP(own, dcs_only_top);
	json_object_del(json_object_get(own, "postgresql"), "use_slots");
	DROP(herd_json_path(own, "postgresql.parameters"), dcs_only_gucs);
	for (const struct herd_schema_key *k = herd_schema_dynamic; k->path; k++)
		if (strcmp(k->path, "postgresql") != 0)
			json_object_del(own, k->path);
	eff = dyn;
	herd_json_patch(eff, own);
	json_decref(own);

	c->guard = !c->guard_lost &&
		   strcmp(herd_json_str(json_object_get(eff, "guard"), "mode", "automatic"), "off");
	repair_timing(eff, c->guard, warn, arg);

	json_t *kept = dynamic == c->dynamic ? NULL : json_deep_copy(dynamic);

	if (kept) {
		json_decref(c->dynamic);
		c->dynamic = kept;
	}
	if (local != c->local) {
		json_decref(c->local);
		c->local = local;
	}
	json_decref(c->effective);
	c->effective = eff;
	return 0;
}

int herd_agent_config_set_dynamic(struct herd_agent_config *c, const json_t *dynamic,
				  herd_agent_config_warn_fn warn, void *arg, struct herd_err *err)
{
	if (!json_is_object(dynamic))
		return herd_err_set(err, -EINVAL, "the dynamic configuration is not a map");
	return merge(c, c->local, dynamic, warn, arg, err);
}

/* --- reading ---------------------------------------------------------------------------------- */

json_t *herd_agent_config_get(const struct herd_agent_config *c, const char *path)
{
	return herd_json_path(c->effective, path);
}

const char *herd_agent_config_str(const struct herd_agent_config *c, const char *path,
				  const char *fallback)
{
	const char *s = json_string_value(herd_agent_config_get(c, path));

	return s && *s ? s : fallback;
}

const char *herd_agent_config_ctl_user(const struct herd_agent_config *c)
{
	return herd_agent_config_str(
		c, "ctl.authentication.username",
		herd_agent_config_str(c, "restapi.authentication.username", NULL));
}

const char *herd_agent_config_ctl_password(const struct herd_agent_config *c)
{
	return herd_agent_config_str(
		c, "ctl.authentication.password",
		herd_agent_config_str(c, "restapi.authentication.password", NULL));
}

int64_t herd_agent_config_i64(const struct herd_agent_config *c, const char *path, int64_t fallback)
{
	const json_t *v = herd_agent_config_get(c, path);

	return json_is_integer(v) ? json_integer_value(v) : fallback;
}

bool herd_agent_config_bool(const struct herd_agent_config *c, const char *path, bool fallback)
{
	const json_t *v = herd_agent_config_get(c, path);

	return json_is_boolean(v) ? json_is_true(v) : fallback;
}

/* --- cache ------------------------------------------------------------------------------------ */

static char *cache_path(const struct herd_agent_config *c)
{
	return herd_str_printf("%s/patroni.dynamic.json",
			       herd_agent_config_str(c, "postgresql.data_dir", ""));
}

int herd_agent_config_cache_write(const struct herd_agent_config *c, struct herd_err *err)
{
	char *path = cache_path(c);
	char *tmp = herd_str_printf("%s.tmp", path);
	char *text = herd_json_dump(c->dynamic);
	struct stat st;
	int rc = 0;
	int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);

	/* PostgreSQL may let its group read; then that holds for this file, too. */
	if (fd >= 0 && stat(herd_agent_config_str(c, "postgresql.data_dir", ""), &st) == 0 &&
	    (st.st_mode & 0050) == 0050)
		fchmod(fd, 0640);
	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text) ||
	    rename(tmp, path) < 0)
		rc = herd_err_set(err, -errno, "could not write \"%s\": %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
	free(text);
	free(tmp);
	free(path);
	return rc;
}

bool herd_agent_config_is_cached(const struct herd_agent_config *c)
{
	char *path = cache_path(c);
	bool there = path && access(path, F_OK) == 0;

	free(path);
	return there;
}

json_t *herd_agent_config_cache_read(const struct herd_agent_config *c)
{
	char *path = cache_path(c);
	json_t *v = json_load_file(path, JSON_REJECT_DUPLICATES, NULL);

	free(path);
	if (v && !json_is_object(v)) {
		json_decref(v);
		return NULL;
	}
	return v;
}

/* --- printing --------------------------------------------------------------------------------- */

static void hide_secrets(json_t *v)
{
	const char *key;
	json_t *member;
	size_t i;

	if (json_is_array(v)) {
		json_array_foreach(v, i, member) hide_secrets(member);
		return;
	}
	json_object_foreach(v, key, member)
	{
		bool secret = strstr(key, "password") || strcmp(key, "token") == 0;

		if (secret && !json_is_object(member))
			json_object_set_new(v, key, json_string("********"));
		else
			hide_secrets(member);
	}
}

char *herd_agent_config_print(const struct herd_agent_config *c)
{
	json_t *copy = json_deep_copy(c->local);
	char *text;

	hide_secrets(copy);
	text = herd_yaml_dump(copy);
	json_decref(copy);
	return text;
}

int herd_agent_config_set_guard(struct herd_agent_config *c, bool lost,
				herd_agent_config_warn_fn warn, void *arg, struct herd_err *err)
{
	c->guard_lost = lost;
	return merge(c, c->local, c->dynamic, warn, arg, err);
}
