/*
 * base/yaml_scalar.h - how YAML 1.1 scalars become values, in the reading of PyYAML's resolver.
 * Used by yaml.c only.
 */
#pragma once
#include <jansson.h>
#include <stdbool.h>

/*
 * The value of an unquoted scalar. Timestamps, infinities and integers beyond 64 bits, which JSON
 * does not have, stay text. NULL when out of memory.
 */
json_t *herd_yaml_scalar_plain(const char *text);
/* The same under an explicit tag. NULL with *why (static) when the tag does not take the text. */
json_t *herd_yaml_scalar_tagged(const char *tag, const char *text, const char **why);
/* Whether a string may be printed without quotes and be read as a string again. */
bool herd_yaml_plain_is_string(const char *text);
/* Text of a null, boolean or number, as PyYAML prints it; malloc'd. */
char *herd_yaml_scalar_text(const json_t *v);
