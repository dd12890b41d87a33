#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/str.h"
#include "model/docs.h"

int herd_names_add(struct herd_names *l, const char *name)
{
	if (herd_names_has(l, name))
		return 0;
	char **grown = realloc(l->name, (l->n + 1) * sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	l->name = grown;
	l->name[l->n] = strdup(name);
	if (!l->name[l->n])
		return -ENOMEM;
	l->n++;
	return 0;
}

bool herd_names_has(const struct herd_names *l, const char *name)
{
	for (size_t i = 0; name && i < l->n; i++)
		if (strcasecmp(l->name[i], name) == 0)
			return true;
	return false;
}

void herd_names_remove(struct herd_names *l, const char *name)
{
	for (size_t i = 0; i < l->n; i++) {
		if (strcasecmp(l->name[i], name) != 0)
			continue;
		free(l->name[i]);
		memmove(l->name + i, l->name + i + 1, (l->n - i - 1) * sizeof(*l->name));
		l->n--;
		return;
	}
}

int herd_names_copy(const struct herd_names *from, struct herd_names *ret)
{
	struct herd_names copy = { 0 };

	for (size_t i = 0; i < from->n; i++) {
		if (herd_names_add(&copy, from->name[i]) < 0) {
			herd_names_clear(&copy);
			return -ENOMEM;
		}
	}
	*ret = copy;
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

void herd_names_sort(struct herd_names *l)
{
	if (l->n > 1)
		qsort(l->name, l->n, sizeof(*l->name), by_name);
}

bool herd_names_equal(const struct herd_names *a, const struct herd_names *b)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++)
		if (!herd_names_has(b, a->name[i]))
			return false;
	return true;
}

char *herd_names_join(const struct herd_names *l, const char *sep)
{
	struct herd_buf b = { 0 };

	for (size_t i = 0; i < l->n; i++) {
		if (i > 0)
			herd_buf_addstr(&b, sep);
		herd_buf_addstr(&b, l->name[i]);
	}
	return herd_buf_steal(&b);
}

void herd_names_clear(struct herd_names *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->name[i]);
	free(l->name);
	*l = (struct herd_names){ 0 };
}
