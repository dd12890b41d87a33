/*
 * base/ini.h - PgBouncer's ini files: [sections], key = value, ';' and '#' comments at the start of
 * a line or behind a header, %include of other files (also nested, 10 deep at most). A key may
 * stand in double quotes (doubled inside).
 */
#pragma once
#include "base/err.h"

/*
 * Called for every key; section is "" before the first header. Called for every header, too, with
 * key and value NULL. Return 0, or a negative errno after setting err: reading stops and file and
 * line are put before the message.
 */
typedef int (*herd_ini_fn)(void *arg, const char *section, const char *key, const char *value,
			   struct herd_err *err);

int herd_ini_read(const char *path, herd_ini_fn fn, void *arg, struct herd_err *err);
/* The same from memory; name stands for the file in messages; includes are relative to the cwd. */
int herd_ini_parse(const char *name, const char *text, herd_ini_fn fn, void *arg,
		   struct herd_err *err);

/*
 * Splits PgBouncer's connection strings: key=value with '' quoting (doubled inside), separated by
 * white space; an empty value is an error. fn gets section NULL. Errors name the offending word.
 */
int herd_ini_conninfo(const char *text, herd_ini_fn fn, void *arg, struct herd_err *err);
