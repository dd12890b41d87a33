/*
 * core/ssn.c - synchronous_standby_names as text, in the forms that Patroni writes.
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/str.h"
#include "core/core.h"

static const char *skip(const char *s)
{
	while (isspace((unsigned char)*s))
		s++;
	return s;
}

/* One name, quoted or not. Advances *s; NULL when there is none (or no memory). */
static char *read_name(const char **s)
{
	struct herd_buf b = { 0 };
	const char *p = skip(*s);

	if (*p == '"') {
		for (p++; *p && (*p != '"' || p[1] == '"'); p++) {
			herd_buf_addc(&b, *p);
			if (*p == '"')
				p++;
		}
		if (*p != '"' || b.len == 0) {
			herd_buf_free(&b);
			return NULL;
		}
		p++;
	} else {
		while (*p && !isspace((unsigned char)*p) && !strchr("(),\"", *p))
			herd_buf_addc(&b, *p++);
		if (b.len == 0)
			return NULL;
	}
	*s = skip(p);
	return herd_buf_steal(&b);
}

/* "a, b" up to the byte stop. */
static bool read_list(const char **s, char stop, struct herd_ssn *ret)
{
	for (;;) {
		bool quoted = *skip(*s) == '"';
		char *name = read_name(s);

		if (!name)
			return false;
		if (!quoted && strcmp(name, "*") == 0)
			ret->kind = HERD_SSN_STAR;
		else if (herd_names_add(&ret->names, name) < 0)
			ret->kind = HERD_SSN_BAD;
		free(name);
		if (**s == stop)
			return true;
		if (**s != ',')
			return false;
		(*s)++;
	}
}

void herd_ssn_parse(const char *text, struct herd_ssn *ret)
{
	struct herd_ssn ssn = { .kind = HERD_SSN_FIRST, .num = 1 };
	const char *s = skip(text ? text : ""), *after = s;
	char *word, *end = NULL;
	bool ok;

	if (*s == '\0') {
		*ret = (struct herd_ssn){ .kind = HERD_SSN_NONE };
		return;
	}
	/* A leading ANY, FIRST or number counts only when a list in parentheses follows. */
	if (strchr(s, '(')) {
		word = *s == '"' ? NULL : read_name(&after);
		if (word && (strcasecmp(word, "any") == 0 || strcasecmp(word, "first") == 0)) {
			if (strcasecmp(word, "any") == 0)
				ssn.kind = HERD_SSN_ANY;
			free(word);
			word = read_name(&after);
		}
		long n = word ? strtol(word, &end, 10) : 0;

		ok = word && *end == '\0' && n > 0 && n < 10000 && *after == '(';
		ssn.num = (int)n;
		free(word);
		s = after + (*after == '(');
		ok = ok && read_list(&s, ')', &ssn) && *skip(s + 1) == '\0';
	} else {
		ok = read_list(&s, '\0', &ssn);
	}
	if (!ok)
		ssn.kind = HERD_SSN_BAD;
	*ret = ssn;
}

static bool needs_quotes(const char *name)
{
	if (strcasecmp(name, "first") == 0 || strcasecmp(name, "any") == 0)
		return true;
	if (!isalpha((unsigned char)*name) && *name != '_')
		return true;
	for (const char *c = name; *c; c++)
		if (!isalnum((unsigned char)*c) && *c != '_' && *c != '$')
			return true;
	return false;
}

char *herd_ssn_print(const struct herd_ssn *s)
{
	struct herd_buf b = { 0 };
	struct herd_names sorted = { 0 };
	bool list = s->kind == HERD_SSN_ANY || s->names.n > 1;

	if (s->kind == HERD_SSN_STAR)
		return strdup("*");
	if (s->kind == HERD_SSN_ANY_STAR)
		return strdup("ANY 1 (*)");
	if (s->kind == HERD_SSN_NONE || s->kind == HERD_SSN_BAD || s->names.n == 0)
		return strdup("");
	if (herd_names_copy(&s->names, &sorted) < 0)
		return NULL;
	herd_names_sort(&sorted);
	if (list)
		herd_buf_printf(&b, "%s%d (", s->kind == HERD_SSN_ANY ? "ANY " : "", s->num);
	for (size_t i = 0; i < sorted.n; i++) {
		const char *name = sorted.name[i];

		if (i > 0)
			herd_buf_addc(&b, ',');
		if (!needs_quotes(name)) {
			herd_buf_addstr(&b, name);
			continue;
		}
		herd_buf_addc(&b, '"');
		for (; *name; name++) {
			if (*name == '"')
				herd_buf_addc(&b, '"');
			herd_buf_addc(&b, *name);
		}
		herd_buf_addc(&b, '"');
	}
	if (list)
		herd_buf_addc(&b, ')');
	herd_names_clear(&sorted);
	return herd_buf_steal(&b);
}

void herd_ssn_clear(struct herd_ssn *s)
{
	herd_names_clear(&s->names);
	*s = (struct herd_ssn){ 0 };
}
