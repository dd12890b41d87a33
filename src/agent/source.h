/*
 * agent/source.h - where a configuration comes from: files, the environment; and for every value
 * the place that it was read from, for messages.
 */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct herd_source_file {
	char *name;
	char *text;
	size_t len;
};

struct herd_source {
	json_t *config;   /* everything merged; later files and the environment win */
	json_t *from_env; /* dotted path -> name of the variable */
	struct herd_source_file *file;
	size_t n;
};

typedef void (*herd_source_warn_fn)(void *arg, const char *text);

/* PATRONI_* and PGHERD_* out of the environment, so that no child inherits a password. New. */
json_t *herd_source_take_environment(void);

/*
 * path: a YAML file, or a directory whose *.yml and *.yaml are merged in the order of their names;
 * NULL: PATRONI_CONFIGURATION of env, or else only the variables. 0 or a negative errno; err then
 * names file and line.
 */
int herd_source_read(const char *path, const json_t *env, herd_source_warn_fn warn, void *arg,
		     struct herd_source *ret, struct herd_err *err);
void herd_source_clear(struct herd_source *s);

/* "file.yml:12", "variable PATRONI_X" or "": where the value at path was read from; malloc'd. */
char *herd_source_where(const struct herd_source *s, const char *path);
