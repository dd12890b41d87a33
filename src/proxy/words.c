#include "proxy/words.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/str.h"

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

enum { FILES_DEEP = 10 };

/* Where a file named inside of another one is. Caller frees. */
static char *beside(const char *path, const char *name)
{
	const char *slash = strrchr(path, '/');

	if (*name == '/' || !slash)
		return strdup(name);
	return herd_str_printf("%.*s/%s", (int)(slash - path), path, name);
}

struct names {
	struct herd_words words;
	const char *path;
	int deep;
};

static int expand(struct herd_words *w, const char *path, int deep, struct herd_err *err);

static int take_names(void *arg, const char *line, struct herd_err *err)
{
	struct names *n = arg;

	for (;;) {
		struct herd_words w = { 0 };
		int rc = herd_words_next(&line, &w);

		if (rc < 0)
			return herd_err_set(
				err, rc, rc == -ENOMEM ? "out of memory" : "a quote is not closed");
		if (w.n == 0) {
			herd_words_free(&w);
			return 0;
		}
		rc = expand(&w, n->path, n->deep, err);

		struct herd_word *grown =
			rc == 0 ? realloc(n->words.word, (n->words.n + w.n) * sizeof(*grown))
				: NULL;

		if (!grown) {
			herd_words_free(&w);
			return rc < 0 ? rc : herd_err_set(err, -ENOMEM, "out of memory");
		}
		if (w.n > 0)
			memcpy(grown + n->words.n, w.word, w.n * sizeof(*grown));
		n->words.word = grown;
		n->words.n += w.n;
		free(w.word);
	}
}

static int expand(struct herd_words *w, const char *path, int deep, struct herd_err *err)
{
	for (size_t i = 0; i < w->n;) {
		if (w->word[i].quoted || w->word[i].text[0] != '@' || !w->word[i].text[1]) {
			i++;
			continue;
		}
		char *file = beside(path, w->word[i].text + 1);
		struct names n = { .path = file, .deep = deep + 1 };
		int rc = file ? 0 : herd_err_set(err, -ENOMEM, "out of memory");

		if (rc == 0 && deep == FILES_DEEP)
			rc = herd_err_set(err, -ELOOP, "too many files inside of each other");
		if (rc == 0)
			rc = herd_words_lines(file, take_names, &n, err);
		free(file);

		size_t total = w->n - 1 + n.words.n;
		struct herd_word *all = rc == 0 ? calloc(total + 1, sizeof(*all)) : NULL;

		if (!all) {
			herd_words_free(&n.words);
			return rc < 0 ? rc : herd_err_set(err, -ENOMEM, "out of memory");
		}
		memcpy(all, w->word, i * sizeof(*all));
		if (n.words.n > 0)
			memcpy(all + i, n.words.word, n.words.n * sizeof(*all));
		memcpy(all + i + n.words.n, w->word + i + 1, (w->n - i - 1) * sizeof(*all));
		free(w->word[i].text);
		free(w->word);
		free(n.words.word);
		w->word = all;
		w->n = total;
		i += n.words.n; /* those are expanded already */
	}
	return 0;
}

int herd_words_expand(struct herd_words *w, const char *path, struct herd_err *err)
{
	return expand(w, path, 0, err);
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
