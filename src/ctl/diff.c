/*
 * ctl/diff.c - the unified diff of two short texts (configurations), line by line.
 */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "ctl/internal.h"

enum { CONTEXT = 3, MAX_LINES = 5000 };

struct lines {
	size_t n;
	char **line; /* point into text */
	char *text;
};

static bool split(const char *text, struct lines *l)
{
	size_t max = 1;

	for (const char *s = text; *s; s++)
		max += *s == '\n';
	*l = (struct lines){ .text = strdup(text), .line = calloc(max, sizeof(char *)) };
	if (!l->text || !l->line)
		return false;
	for (char *s = l->text; *s;) {
		size_t len = strcspn(s, "\n");
		bool last = s[len] == '\0';

		l->line[l->n++] = s;
		s[len] = '\0';
		s += len + !last;
	}
	return true;
}

/* One step of the way from the old text to the new one. */
struct step {
	char sign; /* ' ', '-' or '+' */
	const char *line;
	size_t old_line, new_line; /* counted from 0 */
};

struct path {
	size_t n;
	struct step *steps;
};

/* Longest common subsequence; common[i][j] for the rests from line i and j on. */
static bool walk(const struct lines *a, const struct lines *b, struct path *p)
{
	size_t width = b->n + 1, i, j;
	unsigned *common = calloc((a->n + 1) * width, sizeof(*common));

	p->steps = calloc(a->n + b->n + 1, sizeof(*p->steps));
	if (!common || !p->steps) {
		free(common);
		return false;
	}
	for (i = a->n; i-- > 0;)
		for (j = b->n; j-- > 0;) {
			unsigned down = common[(i + 1) * width + j],
				 right = common[i * width + j + 1];

			common[i * width + j] = strcmp(a->line[i], b->line[j]) == 0
							? common[(i + 1) * width + j + 1] + 1
						: down > right ? down
							       : right;
		}
	for (i = j = 0; i < a->n || j < b->n;) {
		if (i < a->n && j < b->n && strcmp(a->line[i], b->line[j]) == 0) {
			p->steps[p->n++] = (struct step){ ' ', a->line[i], i, j };
			i++, j++;
		} else if (j == b->n ||
			   (i < a->n && common[(i + 1) * width + j] >= common[i * width + j + 1])) {
			p->steps[p->n++] = (struct step){ '-', a->line[i], i, j };
			i++;
		} else {
			p->steps[p->n++] = (struct step){ '+', b->line[j], i, j };
			j++;
		}
	}
	free(common);
	return true;
}

static void add_range(struct herd_buf *out, char sign, size_t start, size_t len)
{
	/* An empty range names the line before it. */
	herd_buf_printf(out, "%c%zu", sign, start + (len > 0));
	if (len != 1)
		herd_buf_printf(out, ",%zu", len);
}

static void add_hunk(struct herd_buf *out, const struct path *p, size_t from, size_t to)
{
	size_t olds = 0, news = 0;

	for (size_t i = from; i < to; i++) {
		olds += p->steps[i].sign != '+';
		news += p->steps[i].sign != '-';
	}
	herd_buf_addstr(out, "@@ ");
	add_range(out, '-', p->steps[from].old_line, olds);
	herd_buf_addc(out, ' ');
	add_range(out, '+', p->steps[from].new_line, news);
	herd_buf_addstr(out, " @@\n");
	for (size_t i = from; i < to; i++)
		herd_buf_printf(out, "%c%s\n", p->steps[i].sign, p->steps[i].line);
}

static void add_hunks(struct herd_buf *out, const struct path *p)
{
	for (size_t i = 0; i < p->n; i++) {
		if (p->steps[i].sign == ' ')
			continue;
		size_t from = i > CONTEXT ? i - CONTEXT : 0, last = i;

		/* Changes nearer than two contexts share a hunk. */
		for (size_t j = i; j < p->n && j <= last + 2 * CONTEXT; j++)
			if (p->steps[j].sign != ' ')
				last = j;
		size_t to = last + CONTEXT + 1 < p->n ? last + CONTEXT + 1 : p->n;

		if (out->len == 0)
			herd_buf_addstr(out, "--- \n+++ \n");
		add_hunk(out, p, from, to);
		i = last;
	}
}

char *ctl_diff(const char *before, const char *after)
{
	struct lines a = { 0 }, b = { 0 };
	struct path p = { 0 };
	struct herd_buf out = { 0 };

	if (!split(before, &a) || !split(after, &b))
		out.failed = true;
	else if (a.n > MAX_LINES || b.n > MAX_LINES)
		herd_buf_addstr(&out, "(too long to show the differences)\n");
	else if (walk(&a, &b, &p))
		add_hunks(&out, &p);
	else
		out.failed = true;
	free(a.text);
	free(a.line);
	free(b.text);
	free(b.line);
	free(p.steps);
	return herd_buf_steal(&out);
}
