/*
 * ctl/table.h - tables as text: a box of ASCII, tab-separated, JSON, YAML. Pure.
 *
 * A table is a JSON array of objects; a column names the member that it shows. Text may have
 * several lines; objects and lists are shown as YAML; absent and null cells are empty.
 */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct ctl_column {
	const char *key;
	const char *head; /* of the box; elsewhere the key is shown */
	bool right;       /* aligned */
};

enum ctl_format { CTL_PRETTY, CTL_TSV, CTL_JSON, CTL_YAML };

/* pretty, tsv, json, yaml or yml; -EINVAL. */
int ctl_format_parse(const char *text, enum ctl_format *ret);
/* All of these are malloc'd, lines end with a newline; NULL when out of memory. */
char *ctl_table_print(enum ctl_format f, const char *title, const struct ctl_column *cols, size_t n,
		      const json_t *rows);
/* title (may be NULL) is laid over the upper border: "+ title ---+". */
char *ctl_table_pretty(const char *title, const struct ctl_column *cols, size_t n,
		       const json_t *rows);
char *ctl_table_tsv(const struct ctl_column *cols, size_t n, const json_t *rows, bool head,
		    const char *delimiter);
/* A deep copy with the keys of every object in the order of the alphabet, as PyYAML prints them. */
json_t *ctl_sorted(const json_t *v);
