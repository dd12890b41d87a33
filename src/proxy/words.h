/*
 * proxy/words.h - the words of a line of an hba or ident file.
 *
 * Words are set apart by white space; "double quotes" keep it and take away the meaning of
 * keywords, two of them inside are one. '#' starts a comment.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct herd_word {
	char *text;
	bool quoted; /* no keyword */
};

/* A field of a line: one word, or several with commas between. n is 0 at the end of the line. */
struct herd_words {
	size_t n;
	struct herd_word *word;
};

/* Reads the next field from *p. 0, -EINVAL (a quote is not closed) or -ENOMEM. */
int herd_words_next(const char **p, struct herd_words *ret);
void herd_words_free(struct herd_words *w);
/*
 * Calls fn for each line of a file until it returns an error, which gets "file:line" before it.
 * 0, or a negative errno with err.
 */
int herd_words_lines(const char *path, int (*fn)(void *arg, const char *line, struct herd_err *err),
		     void *arg, struct herd_err *err);
/*
 * Puts the names that the file holds in the place of each "@file" (not quoted); path is the file
 * that the words stand in: others are looked for beside it. 0, or a negative errno with err.
 */
int herd_words_expand(struct herd_words *w, const char *path, struct herd_err *err);
/* Is text one of them? keyword: only when it stands without quotes. */
bool herd_words_have(const struct herd_words *w, const char *text, bool keyword);
/* The one word of a field that must have just one; NULL otherwise. */
const char *herd_words_only(const struct herd_words *w);
