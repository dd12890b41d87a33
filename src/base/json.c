#include "base/json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"

json_t *herd_json_parse(const char *text, size_t len, struct herd_err *err)
{
	json_error_t e;
	json_t *v = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &e);

	if (!v)
		herd_err_set(err, -EINVAL, "invalid JSON at line %d column %d: %s", e.line,
			     e.column, e.text);
	return v;
}

char *herd_json_dump(const json_t *v)
{
	return json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
}

const char *herd_json_str(const json_t *obj, const char *key, const char *fallback)
{
	const char *s = json_string_value(json_object_get(obj, key));

	return s ? s : fallback;
}

int64_t herd_json_i64(const json_t *obj, const char *key, int64_t fallback)
{
	const json_t *v = json_object_get(obj, key);
	int64_t n;

	if (json_is_integer(v))
		return json_integer_value(v);
	if (json_is_string(v) && herd_str_to_i64(json_string_value(v), &n) == 0)
		return n;
	/* The bounds are exact in a double; beyond them the conversion is undefined. */
	if (json_is_real(v) && json_real_value(v) >= -9.2e18 && json_real_value(v) <= 9.2e18)
		return (int64_t)json_real_value(v);
	return fallback;
}

bool herd_json_bool(const json_t *obj, const char *key, bool fallback)
{
	const json_t *v = json_object_get(obj, key);
	bool b;

	if (json_is_boolean(v))
		return json_is_true(v);
	if (json_is_integer(v))
		return json_integer_value(v) != 0;
	if (json_is_string(v) && herd_str_to_bool(json_string_value(v), &b) == 0)
		return b;
	return fallback;
}

json_t *herd_json_path(const json_t *obj, const char *path)
{
	char *copy = strdup(path), *save = NULL;
	json_t *v = (json_t *)obj;

	if (!copy)
		return NULL;
	for (char *step = strtok_r(copy, ".", &save); step && v; step = strtok_r(NULL, ".", &save))
		v = json_object_get(v, step);
	free(copy);
	return v;
}

/* How Python's str() shows a scalar, as far as comparing needs it. */
static char *scalar_text(const json_t *v)
{
	if (json_is_string(v))
		return strdup(json_string_value(v));
	return json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
}

static bool same_scalar(const json_t *a, const json_t *b)
{
	if (json_is_object(a) || json_is_array(a) || json_is_object(b) || json_is_array(b))
		return json_equal(a, b);
	char *ta = scalar_text(a), *tb = scalar_text(b);
	bool same = ta && tb && strcasecmp(ta, tb) == 0;

	free(ta);
	free(tb);
	return same;
}

bool herd_json_patch(json_t *obj, const json_t *patch)
{
	const char *key;
	json_t *value;
	bool changed = false;

	json_object_foreach((json_t *)patch, key, value)
	{
		json_t *old = json_object_get(obj, key);

		if (json_is_null(value)) {
			changed |= old != NULL;
			json_object_del(obj, key);
		} else if (json_is_object(value) && json_is_object(old)) {
			changed |= herd_json_patch(old, value);
		} else if (!old || !same_scalar(old, value)) {
			json_object_set_new(obj, key, json_deep_copy(value));
			changed = true;
		}
	}
	return changed;
}
