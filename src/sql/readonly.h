/*
 * sql/readonly.h - is a statement a read, as far as its text can tell?
 *
 * A real parser (libpg_query, PostgreSQL's own grammar) takes the text apart; what it finds is
 * checked against a list of what reads are made of. Whatever is not in the list is not a read. What
 * only the catalog knows (is the function volatile, is the relation a view?) comes back as names to
 * be looked up.
 *
 * Pure, but hungry: a text nests as deep as it is long, so the caller's stack must have
 * HERD_READONLY_STACK bytes.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

enum { HERD_READONLY_MAX_BYTES = 32 * 1024, HERD_READONLY_STACK = 64 << 20 };

/* Kinds of names; the letters are those that the catalog's query is given. */
enum herd_name_kind {
	HERD_NAME_FUNCTION = 'f',
	HERD_NAME_RELATION = 'r',
	HERD_NAME_CTE = 'c', /* a relation, or a WITH query of this statement */
	HERD_NAME_OPERATOR = 'o',
	HERD_NAME_TYPE = 't',
	HERD_NAME_FIELD = 'a' /* x.name: a column, or a function called like one */
};

struct herd_name {
	char kind;    /* enum herd_name_kind */
	char *schema; /* NULL: found by search_path */
	char *name;
};

struct herd_readonly {
	bool maybe; /* a read if the catalog agrees with all names */
	char *why;  /* why not; NULL when maybe */
	size_t n;
	struct herd_name *names; /* each once */
};

/* Is the parser there? Without it nothing is a read. */
bool herd_readonly_available(void);
/* Total: never fails, whatever the text is. Several statements: all must be reads. */
void herd_readonly_check(const char *text, size_t len, struct herd_readonly *ret);
void herd_readonly_free(struct herd_readonly *r);
