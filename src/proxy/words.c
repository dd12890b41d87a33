#include "proxy/words.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

static const char *skip_blanks(const char *p)
{
	while (isspace((unsigned char)*p))
		p++;
	return p;
}

/* One word at p, which is at no blank. */
static int read_word(const char **p, struct herd_word *ret)
{
	struct herd_buf b = { 0 };
	bool inside = false;

	*ret = (struct herd_word){ 0 };
	for (; **p; (*p)++) {
		char c = **p;

		if (!inside && (isspace((unsigned char)c) || c == '#' || c == ','))
			break;
		if (c != '"') {
			herd_buf_addc(&b, c);
		} else if (inside && (*p)[1] == '"') {
			herd_buf_addc(&b, c);
			(*p)++;
		} else {
			inside = !inside;
			ret->quoted = true;
		}
	}
	ret->text = herd_buf_steal(&b);
	if (!ret->text)
		return -ENOMEM;
	if (inside) {
		free(ret->text);
		return -EINVAL;
	}
	return 0;
}

int herd_words_next(const char **p, struct herd_words *ret)
{
	bool more = true;

	*ret = (struct herd_words){ 0 };
	*p = skip_blanks(*p);
	while (more && **p && **p != '#') {
		struct herd_word *grown = realloc(ret->word, (ret->n + 1) * sizeof(*grown));
		int rc = -ENOMEM;

		if (grown) {
			ret->word = grown;
			rc = read_word(p, &ret->word[ret->n]);
		}
		if (rc < 0) {
			herd_words_free(ret);
			return rc;
		}
		ret->n++;

		const char *after = skip_blanks(*p);

		more = *after == ',';
		if (more)
			*p = skip_blanks(after + 1);
	}
	return 0;
}

void herd_words_free(struct herd_words *w)
{
	for (size_t i = 0; i < w->n; i++)
		free(w->word[i].text);
	free(w->word);
	*w = (struct herd_words){ 0 };
}

int herd_words_lines(const char *path, int (*fn)(void *arg, const char *line, struct herd_err *err),
		     void *arg, struct herd_err *err)
{
	FILE *f = fopen(path, "re");
	char *line = NULL;
	size_t cap = 0;
	int rc = 0;

	if (!f)
		return herd_err_set(err, -errno, "could not open file \"%s\": %s", path,
				    strerror(errno));
	for (int no = 1; rc == 0 && getline(&line, &cap, f) >= 0; no++) {
		rc = fn(arg, line, err);
		if (rc < 0)
			herd_err_prefix(err, "%s:%d", path, no);
	}
	free(line);
	fclose(f);
	return rc;
}

bool herd_words_have(const struct herd_words *w, const char *text, bool keyword)
{
	for (size_t i = 0; i < w->n; i++) {
		if (strcmp(w->word[i].text, text) == 0 && !(keyword && w->word[i].quoted))
			return true;
	}
	return false;
}

const char *herd_words_only(const struct herd_words *w)
{
	return w->n == 1 ? w->word[0].text : NULL;
}
