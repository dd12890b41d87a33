#include "proxy/ident.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "proxy/words.h"

struct line {
	struct line *next;
	char *map, *name, *user;
	bool all; /* user is everybody */
};

struct herd_ident {
	struct line *first, **last;
};

static void free_line(struct line *l)
{
	free(l->map);
	free(l->name);
	free(l->user);
	free(l);
}

static int parse_line(void *arg, const char *text, struct herd_err *err)
{
	struct herd_ident *i = arg;
	struct herd_words w[4] = { 0 };
	struct line *l = NULL;
	int rc = 0;

	for (int k = 0; k < 4 && rc == 0; k++)
		rc = herd_words_next(&text, &w[k]);

	const char *map = herd_words_only(&w[0]), *name = herd_words_only(&w[1]),
		   *user = herd_words_only(&w[2]);

	if (rc == 0 && w[0].n == 0)
		goto out;
	if (rc < 0 || !map || !name || !user || w[3].n > 0) {
		rc = herd_err_set(err, -EINVAL,
				  "a line has three words: map, system user, database user");
		goto out;
	}
	if ((!w[1].word[0].quoted && *name == '/') ||
	    (!w[2].word[0].quoted && (*user == '/' || *user == '+'))) {
		rc = herd_err_set(err, -EINVAL,
				  "regular expressions and groups are not supported: \"%s\" \"%s\"",
				  name, user);
		goto out;
	}
	l = calloc(1, sizeof(*l));
	if (!l || !herd_str_set(&l->map, map) || !herd_str_set(&l->name, name) ||
	    !herd_str_set(&l->user, user)) {
		if (l)
			free_line(l);
		rc = herd_err_set(err, -ENOMEM, "out of memory");
		goto out;
	}
	l->all = herd_words_have(&w[2], "all", true);
	*i->last = l;
	i->last = &l->next;
out:
	for (int k = 0; k < 4; k++)
		herd_words_free(&w[k]);
	return rc;
}

int herd_ident_load(const char *path, struct herd_ident **ret, struct herd_err *err)
{
	struct herd_ident *i = calloc(1, sizeof(*i));
	int rc;

	if (!i)
		return herd_err_set(err, -ENOMEM, "out of memory");
	i->last = &i->first;
	rc = herd_words_lines(path, parse_line, i, err);
	if (rc < 0)
		herd_ident_free(i);
	else
		*ret = i;
	return rc;
}

void herd_ident_free(struct herd_ident *i)
{
	if (!i)
		return;
	for (struct line *l = i->first, *next; l; l = next) {
		next = l->next;
		free_line(l);
	}
	free(i);
}

bool herd_ident_may(const struct herd_ident *i, const char *map, const char *name, const char *user)
{
	for (const struct line *l = i ? i->first : NULL; l; l = l->next) {
		if (herd_str_eq(l->map, map) && herd_str_eq(l->name, name) &&
		    (l->all || herd_str_eq(l->user, user)))
			return true;
	}
	return false;
}
