#include "agent/source.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/str.h"
#include "base/yaml.h"
#include "model/schema.h"

extern char **environ;

/* More than any configuration has: what is longer is something else, named by mistake. */
enum { MAX_FILE = 16 << 20 };

/* --- files ------------------------------------------------------------------------------------ */

static int read_text(const char *path, struct herd_buf *b, struct herd_err *err)
{
	FILE *f = fopen(path, "re");
	size_t n = 1;
	int rc = 0;

	if (!f)
		return herd_err_set(err, -errno, "could not open configuration file \"%s\": %s",
				    path, strerror(errno));
	while (n > 0 && b->len <= MAX_FILE && herd_buf_reserve(b, BUFSIZ)) {
		n = fread(b->data + b->len, 1, BUFSIZ, f);
		b->len += n;
	}
	if (ferror(f))
		rc = herd_err_set(err, -errno, "could not read configuration file \"%s\": %s", path,
				  strerror(errno));
	else if (b->len > MAX_FILE)
		rc = herd_err_set(err, -EFBIG, "configuration file \"%s\" is longer than %d bytes",
				  path, MAX_FILE);
	else if (!herd_buf_ok(b))
		rc = herd_err_set(err, -ENOMEM, "out of memory");
	fclose(f);
	return rc;
}

/* Later files win, whatever the type; null takes a key away again. */
static void merge(json_t *into, const json_t *from, bool later)
{
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)from, key, v)
	{
		json_t *old = json_object_get(into, key);

		if (later && json_is_null(v))
			json_object_del(into, key);
		else if (json_is_object(v) && json_is_object(old))
			merge(old, v, later);
		else
			json_object_set_new(into, key, json_deep_copy(v));
	}
}

/* Parses text, merges it into s and keeps it. Steals the buffer. */
static int add_text(struct herd_source *s, const char *name, struct herd_buf *b,
		    struct herd_err *err)
{
	struct herd_source_file *more = realloc(s->file, (s->n + 1) * sizeof(*more));
	json_t *v;

	if (!more) {
		herd_buf_free(b);
		return herd_err_set(err, -ENOMEM, "out of memory");
	}
	s->file = more;
	s->file[s->n] = (struct herd_source_file){ .name = herd_str_dup(name), .len = b->len };
	s->file[s->n].text = herd_buf_steal(b);
	s->n++;
	v = herd_yaml_parse(name, s->file[s->n - 1].text, s->file[s->n - 1].len, err);
	if (!v)
		return err && err->code ? err->code : -EINVAL;
	if (!json_is_object(v)) {
		json_decref(v);
		return herd_err_set(err, -EINVAL, "%s: the configuration is not a map", name);
	}
	merge(s->config, v, s->n > 1);
	json_decref(v);
	return 0;
}

static int add_file(struct herd_source *s, const char *path, struct herd_err *err)
{
	struct herd_buf b = { 0 };
	int rc = read_text(path, &b, err);

	if (rc < 0) {
		herd_buf_free(&b);
		return rc;
	}
	return add_text(s, path, &b, err);
}

static int is_yaml_name(const struct dirent *d)
{
	const char *dot = strrchr(d->d_name, '.');

	return dot && (strcmp(dot, ".yml") == 0 || strcmp(dot, ".yaml") == 0);
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int add_directory(struct herd_source *s, const char *path, struct herd_err *err)
{
	struct dirent **names = NULL;
	int n = scandir(path, &names, is_yaml_name, by_bytes);
	int rc = 0;

	if (n < 0)
		return herd_err_set(err, -errno,
				    "could not read configuration directory \"%s\": %s", path,
				    strerror(errno));
	if (n == 0)
		rc = herd_err_set(err, -ENOENT,
				  "configuration directory \"%s\" has no *.yml or *.yaml", path);
	for (int i = 0; i < n; i++) {
		char *file = herd_str_printf("%s/%s", path, names[i]->d_name);

		if (rc == 0)
			rc = add_file(s, file, err);
		free(file);
		free(names[i]);
	}
	free(names);
	return rc;
}

static int add_path(struct herd_source *s, const char *path, struct herd_err *err)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return herd_err_set(err, -errno, "could not open configuration file \"%s\": %s",
				    path, strerror(errno));
	return S_ISDIR(st.st_mode) ? add_directory(s, path, err) : add_file(s, path, err);
}

/* --- environment ------------------------------------------------------------------------------ */

json_t *herd_source_take_environment(void)
{
	json_t *taken = json_object();
	const char *key;
	json_t *v;

	for (char **e = environ; *e; e++) {
		const char *eq = strchr(*e, '=');

		if (!eq || (!herd_str_starts(*e, "PATRONI_") && !herd_str_starts(*e, "PGHERD_")))
			continue;
		char *name = strndup(*e, (size_t)(eq - *e));

		if (name)
			json_object_set_new(taken, name, json_string(eq + 1));
		free(name);
	}
	json_object_foreach(taken, key, v) unsetenv(key);
	return taken;
}

/* Old spellings that Patroni still reads. */
static void take_old_names(json_t *env)
{
	static const char *const names[][2] = {
		{ "PATRONI_LOGLEVEL", "PATRONI_LOG_LEVEL" },
		{ "PATRONI_LOGFORMAT", "PATRONI_LOG_FORMAT" },
		{ "PATRONI_LOG_DATEFMT", "PATRONI_LOG_DATEFORMAT" },
		{ "PATRONI_POSTGRESQL_BIN_IS_READY", "PATRONI_POSTGRESQL_BIN_PG_ISREADY" },
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		json_t *v = json_object_get(env, names[i][0]);

		if (v && !json_object_get(env, names[i][1]))
			json_object_set(env, names[i][1], v);
		json_object_del(env, names[i][0]);
	}
}

/* A list may stand there without brackets, its items in quotes: a,b or 'a','b'. */
static json_t *env_list(const char *text)
{
	struct herd_buf b = { 0 };
	json_t *list;

	for (const char *p = text; *p; p++)
		if (*p != '\'' && *p != '"')
			herd_buf_addc(&b, *p);
	list = herd_schema_split(herd_buf_str(&b));
	herd_buf_free(&b);
	return list;
}

static json_t *env_value(const struct herd_schema_key *k, const char *name, const char *text,
			 struct herd_err *err)
{
	switch (k->type) {
	case HERD_KEY_LIST:
	case HERD_KEY_LINES:
		if (text[0] != '[' && text[0] != '-')
			return env_list(text);
		break;
	case HERD_KEY_MAP:
	case HERD_KEY_SETTINGS:
	case HERD_KEY_SLOTS:
	case HERD_KEY_LIST_MAP:
		break;
	case HERD_KEY_FORMAT:
		if (text[0] != '[' && text[0] != '-')
			return json_string(text);
		break;
	default:
		return json_string(text);
	}
	return herd_yaml_parse(name, text, strlen(text), err);
}

/* The stores that are not there yet: their variables count as their section. */
static const char *store_of(const char *name)
{
	static const char *const stores[] = { "consul",     "etcd", "exhibitor",
					      "kubernetes", "raft", "zookeeper" };

	for (size_t i = 0; i < sizeof(stores) / sizeof(stores[0]); i++) {
		size_t n = strlen(stores[i]);

		if (strncasecmp(name + strlen("PATRONI_"), stores[i], n) == 0 &&
		    name[strlen("PATRONI_") + n] == '_')
			return stores[i];
	}
	return NULL;
}

static bool ends_with(const char *s, const char *tail)
{
	size_t n = strlen(s), m = strlen(tail);

	return n >= m && strcmp(s + n - m, tail) == 0;
}

static void take_rest(struct herd_source *s, const json_t *env, herd_source_warn_fn warn, void *arg)
{
	const char *name;
	json_t *v;

	json_object_foreach((json_t *)env, name, v)
	{
		const char *store;
		char *text;

		if (!herd_str_starts(name, "PATRONI_") ||
		    strcmp(name, "PATRONI_CONFIGURATION") == 0)
			continue;
		store = store_of(name);
		if (store) {
			if (!json_object_get(s->config, store))
				json_object_set_new(s->config, store, json_object());
			continue;
		}
		text = herd_str_printf(
			ends_with(name, "_PASSWORD") || ends_with(name, "_OPTIONS")
				? "configuration: variable %s has no effect: users are not "
				  "created from the environment any more, use "
				  "bootstrap.post_bootstrap"
				: "configuration: variable %s is not known and has no effect",
			name);
		if (warn && text)
			warn(arg, text);
		free(text);
	}
}

static int add_environment(struct herd_source *s, const json_t *env, herd_source_warn_fn warn,
			   void *arg, struct herd_err *err)
{
	json_t *left = json_deep_copy(env);
	int rc = 0;

	take_old_names(left);
	for (const struct herd_schema_key *k = herd_schema_local; k->path && rc == 0; k++) {
		char *name = herd_schema_env_name(k);
		const json_t *v = name ? json_object_get(left, name) : NULL;

		if (v) {
			json_t *value = env_value(k, name, json_string_value(v), err);

			if (value) {
				herd_schema_put(s->config, k->path, value);
				json_object_set_new(s->from_env, k->path, json_string(name));
			} else {
				herd_err_prefix(err, "environment");
				rc = -EINVAL;
			}
			json_object_del(left, name);
		}
		free(name);
	}
	if (rc == 0)
		take_rest(s, left, warn, arg);
	json_decref(left);
	return rc;
}

/* --- all -------------------------------------------------------------------------------------- */

int herd_source_read(const char *path, const json_t *env, herd_source_warn_fn warn, void *arg,
		     struct herd_source *ret, struct herd_err *err)
{
	const char *whole = json_string_value(json_object_get(env, "PATRONI_CONFIGURATION"));
	struct herd_source s = { .config = json_object(), .from_env = json_object() };
	struct herd_buf b = { 0 };
	int rc = 0;

	if (path) {
		rc = add_path(&s, path, err);
	} else if (whole) {
		herd_buf_addstr(&b, whole);
		rc = add_text(&s, "PATRONI_CONFIGURATION", &b, err);
	}
	if (rc == 0 && (path || !whole))
		rc = add_environment(&s, env, warn, arg, err);
	if (rc < 0) {
		herd_source_clear(&s);
		return rc;
	}
	*ret = s;
	return 0;
}

void herd_source_clear(struct herd_source *s)
{
	json_decref(s->config);
	json_decref(s->from_env);
	for (size_t i = 0; i < s->n; i++) {
		if (s->file[i].text)
			herd_str_wipe(s->file[i].text, s->file[i].len);
		free(s->file[i].text);
		free(s->file[i].name);
	}
	free(s->file);
	*s = (struct herd_source){ 0 };
}

char *herd_source_where(const struct herd_source *s, const char *path)
{
	const char *name = json_string_value(json_object_get(s->from_env, path));

	if (name)
		return herd_str_printf("variable %s", name);
	for (size_t i = s->n; i-- > 0;) {
		int line = herd_yaml_line(s->file[i].text, s->file[i].len, path);

		if (line)
			return herd_str_printf("%s:%d", s->file[i].name, line);
	}
	return herd_str_dup("");
}
