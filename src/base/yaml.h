/*
 * base/yaml.h - YAML 1.1 as PyYAML's safe loader reads it, into and out of jansson values.
 */
#pragma once
#include <jansson.h>

#include "base/err.h"

/*
 * One document. Scalars resolve as in YAML 1.1: yes/no/on/off/true/false, null and ~, decimal,
 * octal (prefix 0), binary, hexadecimal and sexagesimal integers, floats; quoted ones stay text,
 * and so do timestamps, infinities and integers beyond 64 bits. Keys are taken as they are written.
 * Anchors, aliases and merge keys ("<<") are followed, bounded in size. An empty document is an
 * empty object. name stands for the file in messages. NULL with err set, naming line and column.
 */
json_t *herd_yaml_parse(const char *name, const char *text, size_t len, struct herd_err *err);
json_t *herd_yaml_read(const char *path, struct herd_err *err);

/*
 * Line (from 1) of the key with that dotted path ("postgresql.parameters.work_mem"; the last one,
 * where it stands twice); 0 when it is not there. For messages about values.
 */
int herd_yaml_line(const char *text, size_t len, const char *path);

/* Block style as yaml.safe_dump(default_flow_style=False) prints it; keys in their order. malloc'd.
 */
char *herd_yaml_dump(const json_t *v);
/* One line of flow style ({a: b}), as patronictl prints tags in tsv. malloc'd. */
char *herd_yaml_dump_flow(const json_t *v);
