#include "base/yaml_scalar.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/str.h"

enum kind {
	TEXT = 0,
	EMPTY,
	BOOL,
	INT,
	FLOAT,
	OTHER /* timestamp, "=", "<<", .inf: kept as text */
};

static bool one_of(const char *text, const char *const *words)
{
	for (; *words; words++)
		if (strcmp(text, *words) == 0)
			return true;
	return false;
}

static bool is_true(const char *s)
{
	static const char *const words[] = { "yes",  "Yes", "YES", "true", "True",
					     "TRUE", "on",  "On",  "ON",   NULL };
	return one_of(s, words);
}

static bool is_false(const char *s)
{
	static const char *const words[] = { "no",    "No",  "NO",  "false", "False",
					     "FALSE", "off", "Off", "OFF",   NULL };
	return one_of(s, words);
}

static const char *skip_sign(const char *s)
{
	return *s == '-' || *s == '+' ? s + 1 : s;
}

static size_t span(const char *s, const char *set)
{
	return strspn(s, set);
}

/* (:[0-5]?[0-9])+ ; returns what follows, NULL when there is not one. */
static const char *skip_sixties(const char *s)
{
	const char *start = s;

	while (*s == ':') {
		if (s[1] >= '0' && s[1] <= '5' && s[2] >= '0' && s[2] <= '9')
			s += 3;
		else if (s[1] >= '0' && s[1] <= '9')
			s += 2;
		else
			return NULL;
	}
	return s > start ? s : NULL;
}

static bool is_int(const char *text)
{
	const char *s = skip_sign(text), *rest;

	if (s[0] == '0') {
		if (s[1] == 'b')
			return s[2] && !s[2 + span(s + 2, "01_")];
		if (s[1] == 'x')
			return s[2] && !s[2 + span(s + 2, "0123456789abcdefABCDEF_")];
		return !s[1 + span(s + 1, "01234567_")];
	}
	if (*s < '1' || *s > '9')
		return false;
	s += span(s, "0123456789_");
	if (!*s)
		return true;
	rest = skip_sixties(s);
	return rest && !*rest;
}

/* [eE][-+][0-9]+ or nothing, and then the end. */
static bool is_exponent_or_end(const char *s)
{
	if (!*s)
		return true;
	if ((*s != 'e' && *s != 'E') || (s[1] != '-' && s[1] != '+'))
		return false;
	return s[2] && !s[2 + span(s + 2, "0123456789")];
}

static bool is_float(const char *text)
{
	const char *s = skip_sign(text);

	if (*s == '.')
		return s == text && s[1] >= '0' && s[1] <= '9' &&
		       is_exponent_or_end(s + 1 + span(s + 1, "0123456789_"));
	if (*s < '0' || *s > '9')
		return false;
	s += span(s, "0123456789_");
	if (*s == '.')
		return is_exponent_or_end(s + 1 + span(s + 1, "0123456789_"));
	s = skip_sixties(s);
	return s && *s == '.' && !s[1 + span(s + 1, "0123456789_")];
}

static bool is_digits(const char *s, int n)
{
	for (int i = 0; i < n; i++)
		if (s[i] < '0' || s[i] > '9')
			return false;
	return true;
}

/* Close enough for quoting: what starts as a date, PyYAML may take for one. */
static bool is_other(const char *s)
{
	static const char *const words[] = { "=",     "<<",    ".inf",  ".Inf",  ".INF",
					     "-.inf", "-.Inf", "-.INF", "+.inf", "+.Inf",
					     "+.INF", ".nan",  ".NaN",  ".NAN",  NULL };

	if (one_of(s, words))
		return true;
	return is_digits(s, 4) && s[4] == '-' && is_digits(s + 5, 1);
}

static enum kind kind_of(const char *s)
{
	static const char *const nulls[] = { "", "~", "null", "Null", "NULL", NULL };

	if (one_of(s, nulls))
		return EMPTY;
	if (is_true(s) || is_false(s))
		return BOOL;
	if (is_int(s))
		return INT;
	if (is_float(s))
		return FLOAT;
	return is_other(s) ? OTHER : TEXT;
}

bool herd_yaml_plain_is_string(const char *text)
{
	return kind_of(text) == TEXT;
}

/* Without underscores; malloc'd. */
static char *digits_of(const char *text)
{
	char *copy = strdup(text), *to = copy;

	for (const char *s = text; copy && *s; s++)
		if (*s != '_')
			*to++ = *s;
	if (copy)
		*to = '\0';
	return copy;
}

static bool parse_sixties(const char *s, uint64_t *ret)
{
	uint64_t sum = 0;

	for (;;) {
		char *end;
		uint64_t part = strtoull(s, &end, 10);

		if (__builtin_mul_overflow(sum, 60, &sum) ||
		    __builtin_add_overflow(sum, part, &sum))
			return false;
		if (*end != ':') {
			*ret = sum;
			return true;
		}
		s = end + 1;
	}
}

static bool parse_int(const char *digits, int64_t *ret)
{
	const char *s = skip_sign(digits);
	uint64_t n;
	char *end = NULL;

	errno = 0;
	if (strchr(s, ':')) {
		if (!parse_sixties(s, &n))
			return false;
	} else if (s[0] == '0' && (s[1] == 'b' || s[1] == 'x')) {
		if (!s[2])
			return false;
		n = strtoull(s + 2, &end, s[1] == 'b' ? 2 : 16);
	} else {
		n = strtoull(s, &end, s[0] == '0' ? 8 : 10);
	}
	if (errno == ERANGE || (end && *end))
		return false;
	bool negative = *digits == '-';

	if (n > (uint64_t)INT64_MAX + negative)
		return false;
	*ret = negative ? (int64_t)(0 - n) : (int64_t)n;
	return true;
}

static bool parse_float(const char *digits, double *ret)
{
	const char *s = skip_sign(digits), *colon = strchr(s, ':');
	double v = 0;

	if (colon) {
		for (const char *part = s; part; part = colon ? colon + 1 : NULL) {
			colon = strchr(part, ':');
			v = v * 60 + strtod(part, NULL);
		}
	} else {
		v = strtod(s, NULL);
	}
	*ret = *digits == '-' ? -v : v;
	return isfinite(v);
}

static json_t *number(const char *text, enum kind kind)
{
	char *digits = digits_of(text);
	json_t *v = NULL;
	int64_t i;
	double d;

	if (!digits)
		return NULL;
	if (kind == INT && parse_int(digits, &i))
		v = json_integer(i);
	else if (kind == FLOAT && parse_float(digits, &d))
		v = json_real(d);
	else
		v = json_string(text);
	free(digits);
	return v;
}

json_t *herd_yaml_scalar_plain(const char *text)
{
	enum kind kind = kind_of(text);

	switch (kind) {
	case EMPTY:
		return json_null();
	case BOOL:
		return json_boolean(is_true(text));
	case INT:
	case FLOAT:
		return number(text, kind);
	case TEXT:
	case OTHER:
		break;
	}
	return json_string(text);
}

json_t *herd_yaml_scalar_tagged(const char *tag, const char *text, const char **why)
{
	enum kind kind = kind_of(text);

	if (strcmp(tag, YAML_STR_TAG) == 0 || strcmp(tag, "!") == 0 ||
	    strcmp(tag, YAML_TIMESTAMP_TAG) == 0)
		return json_string(text);
	if (strcmp(tag, YAML_NULL_TAG) == 0)
		return json_null();
	if (strcmp(tag, YAML_BOOL_TAG) == 0 && kind == BOOL)
		return json_boolean(is_true(text));
	if (strcmp(tag, YAML_INT_TAG) == 0 && kind == INT)
		return number(text, INT);
	if (strcmp(tag, YAML_FLOAT_TAG) == 0 && (kind == FLOAT || kind == INT)) {
		json_t *v = number(text, kind);

		if (!json_is_integer(v))
			return v;
		json_t *real = json_real((double)json_integer_value(v));

		json_decref(v);
		return real;
	}
	*why = "could not determine a value for the tag";
	return NULL;
}

/* The shortest decimal that reads back as the same number, in Python's repr form. */
static char *float_text(double d)
{
	char *text = NULL;

	for (int precision = 1; precision <= 17; precision++) {
		free(text);
		text = herd_str_printf("%.*e", precision - 1, d);
		if (!text || strtod(text, NULL) == d)
			break;
	}
	if (!text)
		return NULL;
	char *e = strchr(text, 'e');
	long exponent = strtol(e + 1, NULL, 10);
	char *ret;

	*e = '\0';
	if (exponent < -4 || exponent >= 16) {
		ret = herd_str_printf("%s%se%+03ld", text, strchr(text, '.') ? "" : ".0", exponent);
	} else {
		char *dot = strchr(text, '.');
		long decimals = (dot ? (long)strlen(dot + 1) : 0) - exponent;

		ret = herd_str_printf("%.*f", (int)(decimals > 0 ? decimals : 1), d);
	}
	free(text);
	return ret;
}

char *herd_yaml_scalar_text(const json_t *v)
{
	switch (json_typeof(v)) {
	case JSON_TRUE:
		return strdup("true");
	case JSON_FALSE:
		return strdup("false");
	case JSON_INTEGER:
		return herd_str_printf("%" JSON_INTEGER_FORMAT, json_integer_value(v));
	case JSON_REAL:
		return float_text(json_real_value(v));
	default:
		return strdup("null");
	}
}
