/*
 * pg/settings.h - an ordered list of name = value pairs: GUCs, recovery parameters, connection
 * words, command options. Names compare without case, as PostgreSQL's GUC names do.
 *
 * A zeroed struct is an empty list. All texts are owned by it.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct herd_pg_setting {
	char *name;
	char *value; /* never NULL */
};

struct herd_pg_settings {
	struct herd_pg_setting *v;
	size_t n, cap;
};

void herd_pg_settings_clear(struct herd_pg_settings *s);
/* Replaces or appends; value NULL removes. 0 or -ENOMEM. */
int herd_pg_settings_set(struct herd_pg_settings *s, const char *name, const char *value);
/* Appends even when the name is there (lists of options may repeat). 0 or -ENOMEM. */
int herd_pg_settings_add(struct herd_pg_settings *s, const char *name, const char *value);
const char *herd_pg_settings_get(const struct herd_pg_settings *s, const char *name); /* or NULL */
bool herd_pg_settings_remove(struct herd_pg_settings *s, const char *name);
/* dst gets every pair of src (set, so src wins). 0 or -ENOMEM. */
int herd_pg_settings_merge(struct herd_pg_settings *dst, const struct herd_pg_settings *src);
/* The same pairs, in any order. Names that repeat are not looked at beyond the first. */
bool herd_pg_settings_eq(const struct herd_pg_settings *a, const struct herd_pg_settings *b);
void herd_pg_settings_sort(struct herd_pg_settings *s);

/* A list of lines (pg_hba.conf, pg_ident.conf) or words. Zeroed: empty. */
struct herd_pg_lines {
	char **v;
	size_t n, cap;
};
void herd_pg_lines_clear(struct herd_pg_lines *l);
int herd_pg_lines_add(struct herd_pg_lines *l, const char *line);
/* Puts a NULL behind the last one, so that v is an argv; nothing may be added then. */
int herd_pg_lines_end(struct herd_pg_lines *l);
