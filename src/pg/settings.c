#include "pg/settings.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

void herd_pg_settings_clear(struct herd_pg_settings *s)
{
	for (size_t i = 0; i < s->n; i++) {
		free(s->v[i].name);
		free(s->v[i].value);
	}
	free(s->v);
	*s = (struct herd_pg_settings){ 0 };
}

static size_t find(const struct herd_pg_settings *s, const char *name)
{
	size_t i = 0;

	while (i < s->n && strcasecmp(s->v[i].name, name) != 0)
		i++;
	return i;
}

int herd_pg_settings_add(struct herd_pg_settings *s, const char *name, const char *value)
{
	struct herd_pg_setting new;

	if (s->n == s->cap) {
		size_t cap = s->cap > 0 ? 2 * s->cap : 8;
		struct herd_pg_setting *v = realloc(s->v, cap * sizeof(*v));

		if (v == NULL)
			return -ENOMEM;
		s->v = v;
		s->cap = cap;
	}
	new.name = strdup(name);
	new.value = strdup(value);
	if (new.name == NULL || new.value == NULL) {
		free(new.name);
		free(new.value);
		return -ENOMEM;
	}
	s->v[s->n++] = new;
	return 0;
}

int herd_pg_settings_set(struct herd_pg_settings *s, const char *name, const char *value)
{
	size_t i = find(s, name);
	char *copy;

	if (value == NULL) {
		herd_pg_settings_remove(s, name);
		return 0;
	}
	if (i == s->n)
		return herd_pg_settings_add(s, name, value);
	copy = strdup(value);
	if (copy == NULL)
		return -ENOMEM;
	free(s->v[i].value);
	s->v[i].value = copy;
	return 0;
}

const char *herd_pg_settings_get(const struct herd_pg_settings *s, const char *name)
{
	size_t i = find(s, name);

	return i < s->n ? s->v[i].value : NULL;
}

bool herd_pg_settings_remove(struct herd_pg_settings *s, const char *name)
{
	size_t i = find(s, name);

	if (i == s->n)
		return false;
	free(s->v[i].name);
	free(s->v[i].value);
	memmove(&s->v[i], &s->v[i + 1], (s->n - i - 1) * sizeof(*s->v));
	s->n--;
	return true;
}

int herd_pg_settings_merge(struct herd_pg_settings *dst, const struct herd_pg_settings *src)
{
	for (size_t i = 0; i < src->n; i++) {
		int rc = herd_pg_settings_set(dst, src->v[i].name, src->v[i].value);

		if (rc < 0)
			return rc;
	}
	return 0;
}

bool herd_pg_settings_eq(const struct herd_pg_settings *a, const struct herd_pg_settings *b)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++) {
		const char *other = herd_pg_settings_get(b, a->v[i].name);

		if (other == NULL || strcmp(other, a->v[i].value) != 0)
			return false;
	}
	return true;
}

static int compare(const void *a, const void *b)
{
	const struct herd_pg_setting *x = a, *y = b;

	return strcasecmp(x->name, y->name);
}

void herd_pg_settings_sort(struct herd_pg_settings *s)
{
	if (s->n > 1)
		qsort(s->v, s->n, sizeof(*s->v), compare);
}

void herd_pg_lines_clear(struct herd_pg_lines *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->v[i]);
	free(l->v);
	*l = (struct herd_pg_lines){ 0 };
}

int herd_pg_lines_add(struct herd_pg_lines *l, const char *line)
{
	if (l->n == l->cap) {
		size_t cap = l->cap > 0 ? 2 * l->cap : 8;
		char **v = realloc(l->v, cap * sizeof(*v));

		if (v == NULL)
			return -ENOMEM;
		l->v = v;
		l->cap = cap;
	}
	l->v[l->n] = strdup(line);
	if (l->v[l->n] == NULL)
		return -ENOMEM;
	l->n++;
	return 0;
}

int herd_pg_lines_end(struct herd_pg_lines *l)
{
	int rc = herd_pg_lines_add(l, "");

	if (rc == 0) {
		free(l->v[--l->n]);
		l->v[l->n] = NULL;
	}
	return rc;
}
