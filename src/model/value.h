/*
 * model/value.h - reading scalars of a configuration the way Patroni reads them: booleans by their
 * words, integers with PostgreSQL's units. Pure.
 */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* What a bare number means; the result is in this unit. */
enum herd_unit { HERD_UNIT_NONE = 0, HERD_UNIT_SECOND, HERD_UNIT_BYTE };

/*
 * Takes a JSON integer, a real (rounded) or text such as "30", "30min", "1GB". Fractions of the
 * unit are rounded to the nearest. 0, -EINVAL (no number or a foreign unit) or -ERANGE.
 */
int herd_value_i64(const json_t *v, enum herd_unit unit, int64_t *ret);
/* JSON booleans, 0 and 1, and the words on/true/yes, off/false/no in any case. 0 or -EINVAL. */
int herd_value_bool(const json_t *v, bool *ret);
/* The scalar as text, malloc'd: integers in decimal, booleans as "true" and "false". NULL for maps,
 * lists and null. */
char *herd_value_text(const json_t *v);
