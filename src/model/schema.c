#include "model/schema.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/str.h"
#include "model/value.h"

const struct herd_schema_key *herd_schema_find(const struct herd_schema_key *table,
					       const char *path)
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

/* --- values ----------------------------------------------------------------------------------- */

static char *type_name(const struct herd_schema_key *k)
{
	switch (k->type) {
	case HERD_KEY_STR:
		return herd_str_dup("a text");
	case HERD_KEY_CHOICE: {
		struct herd_buf b = { 0 };

		herd_buf_addstr(&b, "one of ");
		for (const char *p = k->choices; *p; p++) {
			if (*p == '|')
				herd_buf_addstr(&b, ", ");
			else
				herd_buf_addc(&b, *p);
		}
		return herd_buf_steal(&b);
	}
	case HERD_KEY_ADDRESS:
		return herd_str_dup("host:port");
	case HERD_KEY_OCTAL:
		return herd_str_dup("a file mode such as 0640");
	case HERD_KEY_INT:
		return herd_str_dup("an integer");
	case HERD_KEY_SECONDS:
		return herd_str_dup("a time in seconds or with a unit (ms, s, min, h, d)");
	case HERD_KEY_BYTES:
		return herd_str_dup("a size in bytes or with a unit (kB, MB, GB, TB)");
	case HERD_KEY_BOOL:
		return herd_str_dup("a boolean (on or off)");
	case HERD_KEY_SYNC:
		return herd_str_dup("off, on or quorum");
	case HERD_KEY_MAP:
	case HERD_KEY_SETTINGS:
		return herd_str_dup("a map");
	case HERD_KEY_SLOTS:
		return herd_str_dup("a map of slots");
	case HERD_KEY_LIST:
		return herd_str_dup("a list of texts");
	case HERD_KEY_LINES:
		return herd_str_dup("a list of lines");
	case HERD_KEY_LIST_MAP:
		return herd_str_dup("a list or a map");
	case HERD_KEY_FORMAT:
		return herd_str_dup("a text, or a list of texts and maps of one text");
	case HERD_KEY_ANY:
		break;
	}
	return herd_str_dup("a value");
}

static json_t *split(const char *text, const char *at)
{
	json_t *list = json_array();
	char *copy = herd_str_dup(text);
	char *save = NULL;

	for (char *w = strtok_r(copy, at, &save); w; w = strtok_r(NULL, at, &save)) {
		w = herd_str_trim(w);
		if (*w)
			json_array_append_new(list, json_string(w));
	}
	free(copy);
	return list;
}

json_t *herd_schema_split(const char *text)
{
	return split(text, ",");
}

static json_t *take_text(const json_t *v)
{
	char *text = herd_value_text(v);
	json_t *ret = text ? json_string(text) : NULL;

	free(text);
	return ret;
}

/* "off" of YAML is a boolean. */
static json_t *take_choice(const json_t *v, const char *choices)
{
	char *text = json_is_boolean(v) ? herd_str_dup(json_is_true(v) ? "on" : "off")
					: herd_value_text(v);
	json_t *ret = NULL;

	for (const char *p = choices; text && *p && !ret;) {
		size_t n = strcspn(p, "|");

		if (strlen(text) == n && strncasecmp(text, p, n) == 0)
			ret = json_stringn(p, n);
		p += n + (p[n] == '|');
	}
	free(text);
	return ret;
}

/* What stands behind the last colon outside of brackets must be a port. */
static json_t *take_address(const json_t *v)
{
	const char *text = json_string_value(v);
	const char *bracket = text ? strrchr(text, ']') : NULL;
	const char *colon = text ? strrchr(text, ':') : NULL;
	int64_t port;

	if (!text || !*text || text == colon || strstr(text, "://"))
		return NULL;
	if (colon && (!bracket || colon > bracket) &&
	    (text[0] == '[' || strchr(text, ':') == colon) &&
	    (herd_str_to_i64(colon + 1, &port) < 0 || port < 0 || port > 65535))
		return NULL;
	return json_incref((json_t *)v);
}

static json_t *take_mode(const json_t *v)
{
	const char *text = json_string_value(v);
	char *end = NULL;
	int64_t n = json_is_integer(v) ? json_integer_value(v) : -1;

	if (text && *text) {
		n = strtol(text, &end, 8);
		if (*end)
			return NULL;
	}
	return n >= 0 && n <= 0777 ? json_integer(n) : NULL;
}

/* *clamped: the number was out of range and the nearest allowed one is returned. */
static json_t *take_number(const json_t *v, const struct herd_schema_key *k, char **reason,
			   bool *clamped)
{
	static const enum herd_unit unit_of[] = {
		[HERD_KEY_INT] = HERD_UNIT_NONE,
		[HERD_KEY_SECONDS] = HERD_UNIT_SECOND,
		[HERD_KEY_BYTES] = HERD_UNIT_BYTE,
	};
	int64_t n;

	if (herd_value_i64(v, unit_of[k->type], &n) < 0)
		return NULL;
	if (n >= k->min && (!k->max || n <= k->max))
		return json_integer(n);
	if (k->max)
		*reason =
			herd_str_printf("must be between %" PRId64 " and %" PRId64, k->min, k->max);
	else
		*reason = herd_str_printf("must be at least %" PRId64, k->min);
	*clamped = k->clamp;
	return k->clamp ? json_integer(n < k->min ? k->min : k->max) : NULL;
}

static bool is_text_list(const json_t *v)
{
	size_t i;
	json_t *item;

	if (!json_is_array(v))
		return false;
	json_array_foreach((json_t *)v, i, item)
	{
		if (!json_is_string(item))
			return false;
	}
	return true;
}

static bool is_format(const json_t *v)
{
	size_t i;
	json_t *item, *name;
	const char *key;

	if (json_is_string(v))
		return true;
	if (json_array_size(v) == 0)
		return false;
	json_array_foreach((json_t *)v, i, item)
	{
		if (!json_is_string(item) && json_object_size(item) != 1)
			return false;
		json_object_foreach(item, key, name)
		{
			if (!json_is_string(name))
				return false;
		}
	}
	return true;
}

static bool word_in(const json_t *slot, const char *key, const char *a, const char *b)
{
	const json_t *v = json_object_get(slot, key);
	const char *text = json_string_value(v);

	return !v || json_is_null(v) ||
	       (text && (!a || strcmp(text, a) == 0 || strcmp(text, b) == 0));
}

/* Anything but a map stands for a physical slot: people write `name: 0`. */
static bool is_slot(const json_t *slot)
{
	if (!json_is_object(slot))
		return !json_is_array(slot);
	return word_in(slot, "type", "physical", "logical") &&
	       word_in(slot, "cluster_type", "primary", "standby") &&
	       word_in(slot, "database", NULL, NULL) && word_in(slot, "plugin", NULL, NULL);
}

static json_t *take_list(json_t *v, const char *at)
{
	if (json_is_string(v))
		return split(json_string_value(v), at);
	return is_text_list(v) ? json_incref(v) : NULL;
}

/* The value in its type, new; NULL when refused (then *reason may be set, malloc'd). */
static json_t *take(json_t *v, const struct herd_schema_key *k, char **reason, bool *clamped)
{
	bool b;

	switch (k->type) {
	case HERD_KEY_STR:
		return take_text(v);
	case HERD_KEY_CHOICE:
		return take_choice(v, k->choices);
	case HERD_KEY_ADDRESS:
		return take_address(v);
	case HERD_KEY_OCTAL:
		return take_mode(v);
	case HERD_KEY_INT:
	case HERD_KEY_SECONDS:
	case HERD_KEY_BYTES:
		return take_number(v, k, reason, clamped);
	case HERD_KEY_BOOL:
		return herd_value_bool(v, &b) == 0 ? json_boolean(b) : NULL;
	case HERD_KEY_SYNC:
		if (json_is_string(v) && strcasecmp(json_string_value(v), "quorum") == 0)
			return json_string("quorum");
		return herd_value_bool(v, &b) == 0 ? json_boolean(b) : NULL;
	case HERD_KEY_MAP:
	case HERD_KEY_SETTINGS:
	case HERD_KEY_SLOTS:
		return json_is_object(v) ? json_incref(v) : NULL;
	case HERD_KEY_LIST:
		return take_list(v, ",");
	case HERD_KEY_LINES:
		return take_list(v, "\n");
	case HERD_KEY_LIST_MAP:
		return json_is_object(v) || json_is_array(v) ? json_incref(v) : NULL;
	case HERD_KEY_FORMAT:
		return is_format(v) ? json_incref(v) : NULL;
	case HERD_KEY_ANY:
		return json_incref(v);
	}
	return NULL;
}

/* --- the nearest known name ------------------------------------------------------------------- */

/* Edits that make one of the other; a large number when out of memory. */
static size_t distance(const char *a, size_t na, const char *b, size_t nb)
{
	size_t *row = calloc(nb + 1, sizeof(*row));
	size_t last;

	if (!row)
		return SIZE_MAX;
	for (size_t j = 0; j <= nb; j++)
		row[j] = j;
	for (size_t i = 1; i <= na; i++) {
		size_t corner = row[0];

		row[0] = i;
		for (size_t j = 1; j <= nb; j++) {
			size_t best = corner + (a[i - 1] != b[j - 1]);

			corner = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	last = row[nb];
	free(row);
	return last;
}

/* Of the names that can stand where path does, the one that is most like it; malloc'd or NULL. */
static char *nearest(const struct herd_schema_key *table, const char *path)
{
	const char *dot = strrchr(path, '.');
	size_t parent = dot ? (size_t)(dot - path) + 1 : 0, n = strlen(path + parent), best = n / 3;
	const char *found = NULL, *elsewhere = NULL;
	size_t found_n = 0;

	if (best < 1)
		best = 1;
	for (const struct herd_schema_key *k = table; k->path; k++) {
		const char *name = k->path + parent, *last = strrchr(k->path, '.');

		if (k->when == HERD_KEY_OLD)
			continue;
		if (strcmp(last ? last + 1 : k->path, path + parent) == 0)
			elsewhere = k->path;
		if (strlen(k->path) < parent || strncmp(k->path, path, parent) != 0)
			continue;
		size_t d = distance(path + parent, n, name, strcspn(name, "."));

		if (d <= best && (!found || d < best)) {
			best = d;
			found = k->path;
			found_n = parent + strcspn(name, ".");
		}
	}
	if (found)
		return strndup(found, found_n);
	return herd_str_dup(elsewhere);
}

/* --- walking ---------------------------------------------------------------------------------- */

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
	bool secret = strstr(path, "password") || strstr(path, "auth") ||
		      (text && strstr(text, "password"));
	char *why = herd_str_printf("must be %s, not %s", what, secret ? "what it is" : text);

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

static void walk_slots(struct walk *w, json_t *map, const char *at)
{
	const char *key;
	json_t *v;
	void *tmp;

	json_object_foreach_safe(map, tmp, key, v)
	{
		char *path = herd_str_printf("%s.%s", at, key);

		if (!is_slot(v))
			refuse(w, map, key, path,
			       "{type: physical or logical, database: text, plugin: text, "
			       "cluster_type: primary or standby}");
		free(path);
	}
}

static void unknown(struct walk *w, const char *path)
{
	bool dynamic =
		w->table == herd_schema_local && (herd_schema_find(herd_schema_dynamic, path) ||
						  is_branch(herd_schema_dynamic, path));
	char *like = dynamic ? NULL : nearest(w->table, path);
	char *why = like ? herd_str_printf("is not a known setting and has no effect; did you "
					   "mean %s%s?",
					   w->prefix, like)
			 : NULL;

	report(w, false, path,
	       why       ? why
	       : dynamic ? "counts in the dynamic configuration only; it has no effect here"
			 : "is not a known setting and has no effect");
	free(like);
	free(why);
}

static void walk(struct walk *w, json_t *obj, const char *at, bool free_keys);

/* A value of a known key. */
static void walk_value(struct walk *w, json_t *obj, const char *key, json_t *v, const char *path,
		       const struct herd_schema_key *k)
{
	char *reason = NULL;
	bool clamped = false;
	json_t *taken = take(v, k, &reason, &clamped);

	if (reason) {
		char *text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
		char *why = clamped ? herd_str_printf("%s (is %s), using %" JSON_INTEGER_FORMAT,
						      reason, text, json_integer_value(taken))
				    : herd_str_printf("%s (is %s)", reason, text);

		report(w, !clamped, path, why);
		free(why);
		free(text);
	}
	if (taken) {
		if (k->type == HERD_KEY_SETTINGS)
			walk_settings(w, taken, path);
		if (k->type == HERD_KEY_SLOTS)
			walk_slots(w, taken, path);
		if (k->type == HERD_KEY_MAP && is_branch(w->table, path))
			walk(w, taken, path, true);
		if (k->keep)
			json_decref(taken);
		else
			json_object_set_new(obj, key, taken);
	} else if (reason) {
		json_object_del(obj, key);
	} else {
		char *type = type_name(k);

		refuse(w, obj, key, path, type);
		free(type);
	}
	free(reason);
}

static void walk(struct walk *w, json_t *obj, const char *at, bool free_keys)
{
	const char *key;
	json_t *v;
	void *tmp;

	json_object_foreach_safe(obj, tmp, key, v)
	{
		char *path = *at ? herd_str_printf("%s.%s", at, key) : herd_str_dup(key);
		const struct herd_schema_key *k = herd_schema_find(w->table, path);

		if (json_is_null(v)) {
			json_object_del(obj, key);
		} else if (k) {
			walk_value(w, obj, key, v, path, k);
		} else if (is_branch(w->table, path)) {
			if (json_is_object(v))
				walk(w, v, path, false);
			else
				refuse(w, obj, key, path, "a map");
		} else if (!free_keys && !is_method(path, v)) {
			unknown(w, path);
		}
		free(path);
	}
}

int herd_schema_check(json_t *v, const struct herd_schema_key *table, const char *prefix,
		      herd_schema_report_fn fn, void *arg)
{
	struct walk w = { table, prefix, fn, arg, 0 };

	walk(&w, v, "", false);
	return w.refused;
}

/* --- the dynamic configuration ---------------------------------------------------------------- */

static void rename_key(json_t *obj, const char *from, const char *to)
{
	json_t *v = json_object_get(obj, from);
	const json_t *now = json_object_get(obj, to);

	if (v && (!now || json_is_null(now)))
		json_object_set(obj, to, v);
	json_object_del(obj, from);
}

/* What counts in the local file only. */
static void drop_local_only(json_t *pg, const char *prefix, herd_schema_report_fn fn, void *arg)
{
	static const char *const keys[] = {
		"connect_address", "proxy_address", "listen",         "config_dir",
		"data_dir",        "pgpass",        "authentication",
	};

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		char *path = herd_str_printf("%spostgresql.%s", prefix, keys[i]);

		if (json_object_get(pg, keys[i]) && fn && path)
			fn(arg, false, path, "counts in the local file only");
		json_object_del(pg, keys[i]);
		free(path);
	}
}

int herd_schema_check_dynamic(json_t *v, const char *prefix, herd_schema_report_fn fn, void *arg)
{
	int refused = herd_schema_check(v, herd_schema_dynamic, prefix, fn, arg);
	json_t *pg = json_object_get(v, "postgresql");
	json_t *wrap;

	rename_key(v, "master_start_timeout", "primary_start_timeout");
	rename_key(v, "master_stop_timeout", "primary_stop_timeout");
	rename_key(v, "permanent_replication_slots", "slots");
	rename_key(v, "permanent_slots", "slots");
	if (!pg)
		return refused;
	drop_local_only(pg, prefix, fn, arg);
	wrap = json_pack("{s:O}", "postgresql", pg);
	refused += herd_schema_check(wrap, herd_schema_local, prefix, fn, arg);
	json_decref(wrap);
	return refused;
}

static void collect(void *arg, bool fatal, const char *path, const char *reason)
{
	if (fatal) {
		char *line = herd_str_printf("%s %s", path, reason);

		json_array_append_new(arg, json_string(line ? line : path));
		free(line);
	}
}

static json_t *problems_of(const json_t *config)
{
	json_t *lines = json_array();
	json_t *copy = config ? json_deep_copy(config) : NULL;

	if (copy)
		herd_schema_check_dynamic(copy, "", collect, lines);
	json_decref(copy);
	return lines;
}

static bool has_line(const json_t *lines, const char *line)
{
	size_t i;
	json_t *v;

	json_array_foreach((json_t *)lines, i, v)
	{
		if (strcmp(json_string_value(v), line) == 0)
			return true;
	}
	return false;
}

int herd_schema_may_store(const json_t *fresh, const json_t *old, struct herd_err *err)
{
	json_t *now = problems_of(fresh), *before = problems_of(old);
	struct herd_buf b = { 0 };
	size_t i;
	json_t *v;
	int rc = 0;

	json_array_foreach(now, i, v)
	{
		if (!has_line(before, json_string_value(v)))
			herd_buf_printf(&b, "%s%s", b.len ? "\n" : "", json_string_value(v));
	}
	if (b.len)
		rc = herd_err_set(err, -EINVAL, "%s", herd_buf_str(&b));
	herd_buf_free(&b);
	json_decref(now);
	json_decref(before);
	return rc;
}

/* --- paths and names -------------------------------------------------------------------------- */

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

char *herd_schema_env_name(const struct herd_schema_key *k)
{
	struct herd_buf b = { 0 };

	if (!k->env)
		return NULL;
	if (*k->env)
		return herd_str_dup(k->env);
	herd_buf_addstr(&b, "PATRONI_");
	for (const char *p = k->path; *p; p++)
		herd_buf_addc(&b, *p == '.' ? '_' : (char)toupper((unsigned char)*p));
	return herd_buf_steal(&b);
}
