#include "model/value.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

/* Factors to the base unit: bytes, or seconds. Upper and lower case differ, as in PostgreSQL. */
static const struct {
	const char *name;
	enum herd_unit unit;
	double factor;
} units[] = {
	{ "B", HERD_UNIT_BYTE, 1 },
	{ "kB", HERD_UNIT_BYTE, 1024 },
	{ "MB", HERD_UNIT_BYTE, 1024.0 * 1024 },
	{ "GB", HERD_UNIT_BYTE, 1024.0 * 1024 * 1024 },
	{ "TB", HERD_UNIT_BYTE, 1024.0 * 1024 * 1024 * 1024 },
	{ "us", HERD_UNIT_SECOND, 1e-6 },
	{ "ms", HERD_UNIT_SECOND, 1e-3 },
	{ "s", HERD_UNIT_SECOND, 1 },
	{ "min", HERD_UNIT_SECOND, 60 },
	{ "h", HERD_UNIT_SECOND, 3600 },
	{ "d", HERD_UNIT_SECOND, 86400 },
};

static int from_double(double d, int64_t *ret)
{
	if (!isfinite(d))
		return -EINVAL;
	if (d >= 9.2e18 || d <= -9.2e18)
		return -ERANGE;
	*ret = (int64_t)(d < 0 ? d - 0.5 : d + 0.5);
	return 0;
}

static int from_text(const char *s, enum herd_unit unit, int64_t *ret)
{
	char *end;
	double d;
	double factor = 1;

	while (*s == ' ' || *s == '\t')
		s++;
	if (herd_str_to_i64(s, ret) == 0)
		return 0;
	if (!((*s >= '0' && *s <= '9') || *s == '-' || *s == '+' || *s == '.'))
		return -EINVAL;
	d = strtod(s, &end);
	if (end == s)
		return -EINVAL;
	while (*end == ' ' || *end == '\t')
		end++;
	if (*end) {
		size_t i;

		for (i = 0; i < sizeof(units) / sizeof(units[0]); i++)
			if (units[i].unit == unit && strcmp(units[i].name, end) == 0)
				break;
		if (i == sizeof(units) / sizeof(units[0]))
			return -EINVAL;
		factor = units[i].factor;
	}
	return from_double(d * factor, ret);
}

int herd_value_i64(const json_t *v, enum herd_unit unit, int64_t *ret)
{
	switch (json_typeof(v)) {
	case JSON_INTEGER:
		*ret = json_integer_value(v);
		return 0;
	case JSON_REAL:
		return from_double(json_real_value(v), ret);
	case JSON_STRING:
		return from_text(json_string_value(v), unit, ret);
	default:
		return -EINVAL;
	}
}

int herd_value_bool(const json_t *v, bool *ret)
{
	switch (json_typeof(v)) {
	case JSON_TRUE:
	case JSON_FALSE:
		*ret = json_is_true(v);
		return 0;
	case JSON_INTEGER:
		if (json_integer_value(v) != 0 && json_integer_value(v) != 1)
			return -EINVAL;
		*ret = json_integer_value(v) == 1;
		return 0;
	case JSON_STRING:
		return herd_str_to_bool(json_string_value(v), ret);
	default:
		return -EINVAL;
	}
}

char *herd_value_text(const json_t *v)
{
	switch (v ? json_typeof(v) : JSON_NULL) {
	case JSON_STRING:
		return herd_str_dup(json_string_value(v));
	case JSON_INTEGER:
		return herd_str_printf("%" JSON_INTEGER_FORMAT, json_integer_value(v));
	case JSON_REAL:
		return herd_str_printf("%.17g", json_real_value(v));
	case JSON_TRUE:
		return herd_str_dup("true");
	case JSON_FALSE:
		return herd_str_dup("false");
	default:
		return NULL;
	}
}
