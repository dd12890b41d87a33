#include "ctl/args.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/str.h"

enum { SCREEN = 80, MAX_FIRST = 32 };

struct given {
	const struct ctl_opt *opt;
	const char *value;
};

struct ctl_args {
	size_t n_given, n_words;
	struct given *given; /* as many as there are words in argv: enough for all */
	const char **words;
};

static const struct ctl_opt *find_long(const struct ctl_opt *opts, const char *name, size_t len)
{
	for (; opts->name; opts++) {
		if (strlen(opts->name) == len && strncmp(opts->name, name, len) == 0)
			return opts;
		if (opts->alias && strlen(opts->alias) == len &&
		    strncmp(opts->alias, name, len) == 0)
			return opts;
	}
	return NULL;
}

static const struct ctl_opt *find_letter(const struct ctl_opt *opts, char letter)
{
	for (; opts->name; opts++)
		if (opts->letter == letter)
			return opts;
	return NULL;
}

struct reader {
	const struct ctl_opt *opts;
	int argc, i;
	char **argv;
	struct ctl_args *args;
	bool help;
	char **why;
};

/* "'--format' / '-f'", as messages name an option. */
static char *hint(const struct ctl_opt *o)
{
	char letter[] = { '-', o->letter, '\0' };

	return o->letter ? herd_str_printf("'--%s' / '%s'", o->name, letter)
			 : herd_str_printf("'--%s'", o->name);
}

/* Is the value one of "[a|b|c]"? */
static bool is_choice(const char *choices, const char *value)
{
	size_t len = strlen(value);

	for (const char *p = choices + 1; *p; p += strcspn(p, "|]") + 1) {
		if (strcspn(p, "|]") == len && strncmp(p, value, len) == 0)
			return true;
		if (p[strcspn(p, "|]")] == ']')
			break;
	}
	return false;
}

static char *choice_list(const char *choices)
{
	struct herd_buf b = { 0 };

	for (const char *p = choices + 1; *p && *p != ']';) {
		size_t len = strcspn(p, "|]");

		herd_buf_printf(&b, "%s'%.*s'", b.len ? ", " : "", (int)len, p);
		p += len + (p[len] == '|');
	}
	return herd_buf_steal(&b);
}

/* The metavar says what may be given. NULL: good; else the reason, malloc'd. */
static char *bad_value(const struct ctl_opt *o, const char *value)
{
	char *name, *list, *why = NULL, *end = NULL;
	int64_t number;

	if (strcmp(o->metavar, "INTEGER") == 0 && herd_str_to_i64(value, &number) < 0)
		list = herd_str_printf("'%s' is not a valid integer.", value);
	else if (strcmp(o->metavar, "FLOAT") == 0 && (strtod(value, &end), *end || end == value))
		list = herd_str_printf("'%s' is not a valid float.", value);
	else if (o->metavar[0] == '[' && !is_choice(o->metavar, value)) {
		char *all = choice_list(o->metavar);

		list = herd_str_printf("'%s' is not one of %s.", value, all ? all : "");
		free(all);
	} else {
		return NULL;
	}
	name = hint(o);
	why = herd_str_printf("Invalid value for %s: %s", name ? name : "", list ? list : "");
	free(name);
	free(list);
	return why;
}

static bool need_value(struct reader *r, const struct ctl_opt *o, const char *attached,
		       const char *shown)
{
	const char *value = attached;

	if (!value && r->i + 1 < r->argc)
		value = r->argv[++r->i];
	if (!value) {
		*r->why = herd_str_printf("Option '%s' requires an argument.", shown);
		return false;
	}
	*r->why = bad_value(o, value);
	if (*r->why)
		return false;
	r->args->given[r->args->n_given++] = (struct given){ o, value };
	return true;
}

static bool read_long(struct reader *r)
{
	const char *word = r->argv[r->i], *eq = strchr(word, '=');
	size_t len = eq ? (size_t)(eq - word) : strlen(word);
	const struct ctl_opt *o = find_long(r->opts, word + 2, len - 2);

	if (len == 6 && strncmp(word, "--help", 6) == 0) {
		r->help = true;
		return false;
	}
	if (!o) {
		*r->why = herd_str_printf("No such option: %.*s", (int)len, word);
		return false;
	}
	if (o->metavar)
		return need_value(r, o, eq ? eq + 1 : NULL, word);
	if (eq) {
		*r->why = herd_str_printf("Option '--%s' does not take a value.", o->name);
		return false;
	}
	r->args->given[r->args->n_given++] = (struct given){ o, "" };
	return true;
}

static bool read_letters(struct reader *r)
{
	const char *word = r->argv[r->i];

	for (const char *p = word + 1; *p; p++) {
		const struct ctl_opt *o = find_letter(r->opts, *p);

		if (!o) {
			*r->why = herd_str_printf("No such option: -%c", *p);
			return false;
		}
		if (o->metavar)
			return need_value(r, o, p[1] ? p + 1 : NULL, word);
		r->args->given[r->args->n_given++] = (struct given){ o, "" };
		if (p[1] && r->args->n_given >= (size_t)r->argc) {
			*r->why = herd_str_printf("Too many options in '%s'.", word);
			return false;
		}
	}
	return true;
}

struct ctl_args *ctl_args_parse(const struct ctl_opt *opts, int argc, char **argv, bool until_word,
				int *used, bool *help, char **why)
{
	struct ctl_args *a = calloc(1, sizeof(*a));
	struct reader r = { .opts = opts, .argc = argc, .argv = argv, .args = a, .why = why };
	bool ok = a != NULL, only_words = false;

	*why = NULL;
	if (a) {
		a->given = calloc((size_t)argc + 1, sizeof(*a->given));
		a->words = calloc((size_t)argc + 1, sizeof(*a->words));
		ok = a->given && a->words;
	}
	for (; ok && r.i < argc; r.i++) {
		const char *word = argv[r.i];

		if (!only_words && strcmp(word, "--") == 0)
			only_words = true;
		else if (!only_words && herd_str_starts(word, "--"))
			ok = read_long(&r);
		else if (!only_words && word[0] == '-' && word[1])
			ok = read_letters(&r);
		else if (until_word)
			break;
		else
			a->words[a->n_words++] = word;
	}
	*help = r.help;
	if (used)
		*used = r.i;
	if (ok)
		return a;
	ctl_args_free(a);
	return NULL;
}

void ctl_args_free(struct ctl_args *a)
{
	if (!a)
		return;
	free(a->given);
	free(a->words);
	free(a);
}

const char *ctl_args_nth(const struct ctl_args *a, const char *name, size_t n)
{
	for (size_t i = 0; i < a->n_given; i++)
		if (strcmp(a->given[i].opt->name, name) == 0 && n-- == 0)
			return a->given[i].value;
	return NULL;
}

const char *ctl_args_get(const struct ctl_args *a, const char *name)
{
	const char *last = NULL;

	for (size_t i = 0; i < a->n_given; i++)
		if (strcmp(a->given[i].opt->name, name) == 0)
			last = a->given[i].value;
	return last;
}

bool ctl_args_has(const struct ctl_args *a, const char *name)
{
	return ctl_args_get(a, name) != NULL;
}

size_t ctl_args_words(const struct ctl_args *a)
{
	return a->n_words;
}

const char *ctl_args_word(const struct ctl_args *a, size_t n)
{
	return n < a->n_words ? a->words[n] : NULL;
}

static char *opt_words(const struct ctl_opt *o)
{
	char letter[] = { '-', o->letter, ',', ' ', '\0' };

	/* The letter's own name is for the code only. */
	if (o->letter && o->name[0] == o->letter && !o->name[1])
		return herd_str_printf("  -%c", o->letter);
	return herd_str_printf("  %s--%s%s%s%s%s", o->letter ? letter : "", o->name,
			       o->alias ? ", --" : "", o->alias ? o->alias : "",
			       o->metavar ? " " : "", o->metavar ? o->metavar : "");
}

/* Words wrapped into the room between a column and the right border. */
static void print_wrapped(FILE *out, const char *text, int column)
{
	int at = column;

	for (const char *p = text; *p;) {
		int len = (int)strcspn(p, " ");

		if (at > column && at + 1 + len > SCREEN) {
			fprintf(out, "\n%*s", column, "");
			at = column;
		}
		at += fprintf(out, "%s%.*s", at > column ? " " : "", len, p);
		p += len;
		p += strspn(p, " ");
	}
	fputc('\n', out);
}

static void print_opt(FILE *out, const char *words, const char *help, int width)
{
	if ((int)strlen(words) > width)
		fprintf(out, "%s\n%*s", words, width + 2, "");
	else
		fprintf(out, "%-*s  ", width, words);
	print_wrapped(out, help, width + 2);
}

void ctl_args_print_opts(FILE *out, const struct ctl_opt *opts)
{
	int width = 8;

	for (const struct ctl_opt *o = opts; o->name; o++) {
		char *words = opt_words(o);

		if (words && (int)strlen(words) > width)
			width = (int)strlen(words);
		free(words);
	}
	if (width > MAX_FIRST)
		width = MAX_FIRST;
	fputs("\nOptions:\n", out);
	for (const struct ctl_opt *o = opts; o->name; o++) {
		char *words = opt_words(o);

		if (words)
			print_opt(out, words, o->help, width);
		free(words);
	}
	print_opt(out, "  --help", "Show this message and exit.", width);
}

char *ctl_args_missing(const struct ctl_verb *v, int given)
{
	const char *p = v->arguments;

	/* Optional ones ("[A]", "[A]...") are no reason to complain. */
	for (int n = 0; *p; p += strcspn(p, " "), p += strspn(p, " ")) {
		size_t len = strcspn(p, " ");

		if (*p == '[' || n++ < given)
			continue;
		if (*p != '{')
			return herd_str_printf("Missing argument '%.*s'.", (int)len, p);
		struct herd_buf b = { 0 };

		herd_buf_printf(&b, "Missing argument '%.*s'. Choose from:\n\t", (int)len, p);
		for (const char *c = p + 1; c < p + len - 1; c++) {
			if (*c == '|')
				herd_buf_addstr(&b, ",\n\t");
			else
				herd_buf_addc(&b, *c);
		}
		return herd_buf_steal(&b);
	}
	return strdup("Missing argument.");
}

char *ctl_args_extra(const struct ctl_verb *v, const struct ctl_args *a)
{
	struct herd_buf b = { 0 };
	size_t first = (size_t)v->max_words;

	herd_buf_printf(&b, "Got unexpected extra argument%s (", a->n_words > first + 1 ? "s" : "");
	for (size_t i = first; i < a->n_words; i++)
		herd_buf_printf(&b, "%s%s", i > first ? " " : "", a->words[i]);
	herd_buf_addc(&b, ')');
	return herd_buf_steal(&b);
}
