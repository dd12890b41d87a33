/*
 * ctl/args.h - options and arguments of a command, described by tables.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct ctl_opt {
	char letter;         /* '\0': none */
	const char *name;    /* without dashes */
	const char *alias;   /* another long name, or NULL */
	const char *metavar; /* NULL: a flag. INTEGER, FLOAT and [a|b|c] are checked */
	const char *help;
};

struct ctl;
struct ctl_args;

struct ctl_verb {
	const char *name;
	const char *arguments; /* for the usage line: "[CLUSTER_NAME]" */
	const char *summary;
	const struct ctl_opt *opts; /* ends with a NULL name */
	int min_words, max_words;   /* max_words -1: any number */
	int (*run)(struct ctl *c, const struct ctl_args *a);
};

/*
 * Reads argv[0 .. argc). until_word: stops at the first word that is no option (how many were read
 * goes to *used). NULL with the reason on stderr, or after --help (*help is then true).
 */
struct ctl_args *ctl_args_parse(const struct ctl_opt *opts, int argc, char **argv, bool until_word,
				int *used, bool *help, char **why);
void ctl_args_free(struct ctl_args *a);

/* The last value given, or NULL; borrowed. */
const char *ctl_args_get(const struct ctl_args *a, const char *name);
bool ctl_args_has(const struct ctl_args *a, const char *name);
/* The nth value of an option that may be repeated, or NULL. */
const char *ctl_args_nth(const struct ctl_args *a, const char *name, size_t n);
/* Words that are no options. */
size_t ctl_args_words(const struct ctl_args *a);
const char *ctl_args_word(const struct ctl_args *a, size_t n); /* or NULL */

void ctl_args_print_opts(FILE *out, const struct ctl_opt *opts);
/* What is wrong with the number of words, malloc'd. */
char *ctl_args_missing(const struct ctl_verb *v, int given);
char *ctl_args_extra(const struct ctl_verb *v, const struct ctl_args *a);

#define CTL_FORMATS "[pretty|tsv|json|yaml|yml]"
#define CTL_ROLES "[leader|primary|standby-leader|replica|standby|any]"
