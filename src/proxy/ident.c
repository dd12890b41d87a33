#include "proxy/ident.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/str.h"

struct line {
	struct line *next;
	char *map, *name, *user;
	bool all; /* user is everybody */
};

struct herd_ident {
	struct line *first, **last;
};

char *herd_ident_word(char **p, bool *quoted)
{
	struct herd_buf b = { 0 };
	bool inside = false, any = false;

	*quoted = false;
	while (isspace((unsigned char)**p))
		(*p)++;
	for (; **p && (inside || !isspace((unsigned char)**p)); (*p)++) {
		if (**p == '#' && !inside)
			break;
		any = true;
		if (**p == '"') {
			inside = !inside;
			*quoted = true;
		} else {
			herd_buf_addc(&b, **p);
		}
	}
	if (any)
		return herd_buf_steal(&b);
	herd_buf_free(&b);
	return NULL;
}

static void free_line(struct line *l)
{
	free(l->map);
	free(l->name);
	free(l->user);
	free(l);
}

static int parse_line(struct herd_ident *i, char *text, struct herd_err *err)
{
	struct line *l = calloc(1, sizeof(*l));
	bool q_map, q_name, q_user, q_more;
	char *more;
	int rc = 0;

	if (!l)
		return herd_err_set(err, -ENOMEM, "out of memory");
	l->map = herd_ident_word(&text, &q_map);
	l->name = herd_ident_word(&text, &q_name);
	l->user = herd_ident_word(&text, &q_user);
	more = herd_ident_word(&text, &q_more);
	if (!l->map) {
		free_line(l);
		return 0;
	}
	if (!l->user || more)
		rc = herd_err_set(err, -EINVAL,
				  "a line has three words: map, system user, database user");
	else if ((!q_name && *l->name == '/') || (!q_user && (*l->user == '/' || *l->user == '+')))
		rc = herd_err_set(err, -EINVAL,
				  "regular expressions and groups are not supported: \"%s\" \"%s\"",
				  l->name, l->user);
	free(more);
	if (rc < 0) {
		free_line(l);
		return rc;
	}
	l->all = !q_user && strcmp(l->user, "all") == 0;
	*i->last = l;
	i->last = &l->next;
	return 0;
}

int herd_ident_load(const char *path, struct herd_ident **ret, struct herd_err *err)
{
	FILE *f = fopen(path, "re");
	struct herd_ident *i;
	char *line = NULL;
	size_t cap = 0;
	int rc = 0;

	if (!f)
		return herd_err_set(err, -errno, "could not open file \"%s\": %s", path,
				    strerror(errno));
	i = calloc(1, sizeof(*i));
	if (i)
		i->last = &i->first;
	else
		rc = herd_err_set(err, -ENOMEM, "out of memory");
	for (int no = 1; rc == 0 && getline(&line, &cap, f) >= 0; no++) {
		rc = parse_line(i, line, err);
		if (rc < 0)
			herd_err_prefix(err, "%s:%d", path, no);
	}
	free(line);
	fclose(f);
	if (rc < 0) {
		herd_ident_free(i);
		return rc;
	}
	*ret = i;
	return 0;
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
