#include "proxy/ident.h"

#include <errno.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "proxy/words.h"

struct line {
	struct line *next;
	char *map, *name, *user;
	bool all;         /* user is everybody */
	regex_t *name_re; /* name is a pattern; NULL: it is itself */
	regex_t *user_re;
};

struct herd_ident {
	struct line *first, **last;
};

static void free_pattern(regex_t *re)
{
	if (re)
		regfree(re);
	free(re);
}

/* "/pattern"; anything else is no pattern and leaves *ret NULL. */
static int compile(const char *text, regex_t **ret, struct herd_err *err)
{
	char why[128]; /* cut by regerror when longer */

	if (*text != '/')
		return 0;
	regex_t *re = calloc(1, sizeof(*re));

	if (!re)
		return herd_err_set(err, -ENOMEM, "out of memory");
	int rc = regcomp(re, text + 1, REG_EXTENDED);

	if (rc == 0) {
		*ret = re;
		return 0;
	}
	regerror(rc, re, why, sizeof(why));
	free(re);
	return herd_err_set(err, -EINVAL, "invalid regular expression \"%s\": %s", text + 1, why);
}

static void free_line(struct line *l)
{
	free_pattern(l->name_re);
	free_pattern(l->user_re);
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
	if (!w[2].word[0].quoted && *user == '+') {
		rc = herd_err_set(err, -EINVAL, "groups are not supported: \"%s\"", user);
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
	rc = compile(name, &l->name_re, err);
	if (rc == 0)
		rc = compile(user, &l->user_re, err);
	if (rc == 0 && !l->user_re && strstr(user, "\\1") && l->name_re && l->name_re->re_nsub < 1)
		rc = herd_err_set(err, -EINVAL,
				  "regular expression \"%s\" has no subexpressions as requested by "
				  "backreference in \"%s\"",
				  name + 1, user);
	if (rc < 0) {
		free_line(l);
		goto out;
	}
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

/* The first \1 of the line's user stands for what the name's first parentheses matched. */
static bool user_fits(const struct line *l, const char *name, const regmatch_t *m, const char *user)
{
	const char *ref = l->name_re ? strstr(l->user, "\\1") : NULL;

	if (l->all)
		return true;
	if (l->user_re)
		return regexec(l->user_re, user, 0, NULL, 0) == 0;
	if (!ref)
		return herd_str_eq(l->user, user);
	if (m[1].rm_so < 0)
		return false;
	char *want = herd_str_printf("%.*s%.*s%s", (int)(ref - l->user), l->user,
				     (int)(m[1].rm_eo - m[1].rm_so), name + m[1].rm_so, ref + 2);
	bool fits = want && strcmp(want, user) == 0;

	free(want);
	return fits;
}

bool herd_ident_may(const struct herd_ident *i, const char *map, const char *name, const char *user)
{
	regmatch_t m[2] = { { -1, -1 }, { -1, -1 } };

	for (const struct line *l = i ? i->first : NULL; l; l = l->next) {
		if (!herd_str_eq(l->map, map))
			continue;
		bool named = l->name_re ? regexec(l->name_re, name, 2, m, 0) == 0
					: herd_str_eq(l->name, name);

		if (named && user_fits(l, name, m, user))
			return true;
	}
	return false;
}
