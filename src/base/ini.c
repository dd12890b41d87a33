#include "base/ini.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/str.h"

enum { MAX_DEPTH = 10, MAX_FILE_BYTES = 64 << 20 };

struct reader {
	herd_ini_fn fn;
	void *arg;
	char *section;
	int depth;
};

static int parse(struct reader *r, const char *name, char *text, struct herd_err *err);

static int read_file(const char *path, struct herd_buf *b, struct herd_err *err)
{
	FILE *f = fopen(path, "re");
	char chunk[8192];
	size_t n;

	if (!f)
		return herd_err_set(err, -errno, "could not open file \"%s\": %s", path,
				    strerror(errno));
	while ((n = fread(chunk, 1, sizeof(chunk), f)) > 0 && b->len <= MAX_FILE_BYTES)
		herd_buf_add(b, chunk, n);
	int failed = ferror(f);

	fclose(f);
	if (failed)
		return herd_err_set(err, -EIO, "could not read file \"%s\"", path);
	if (b->len > MAX_FILE_BYTES)
		return herd_err_set(err, -EFBIG, "file \"%s\" is too large", path);
	if (!herd_buf_ok(b))
		return herd_err_set(err, -ENOMEM, "out of memory");
	if (memchr(herd_buf_str(b), '\0', b->len))
		return herd_err_set(err, -EINVAL, "file \"%s\" holds a zero byte", path);
	return 0;
}

static int include(struct reader *r, const char *path, struct herd_err *err)
{
	struct herd_buf b = { 0 };

	if (r->depth >= MAX_DEPTH)
		return herd_err_set(err, -ELOOP, "%%include is nested more than %d deep",
				    MAX_DEPTH);
	int rc = read_file(path, &b, err);

	if (rc == 0) {
		char *text = herd_buf_steal(&b);

		r->depth++;
		rc = text ? parse(r, path, text, err) : herd_err_set(err, -ENOMEM, "out of memory");
		r->depth--;
		free(text);
	}
	herd_buf_free(&b);
	return rc;
}

/* Moves *line behind the header. */
static int take_header(struct reader *r, char **line, struct herd_err *err)
{
	char *end = strchr(*line, ']');

	if (!end)
		return herd_err_set(err, -EINVAL, "section header \"%s\" has no end", *line);
	*end = '\0';
	if (!herd_str_set(&r->section, *line + 1))
		return herd_err_set(err, -ENOMEM, "out of memory");
	*line = herd_str_trim(end + 1);
	return r->fn(r->arg, r->section, NULL, NULL, err);
}

/* "..." with doubled quotes inside becomes what it means. Returns what follows, NULL: no end. */
static char *unquote_key(char *line)
{
	char *to = line, *p = line + 1;

	for (; *p && (*p != '"' || p[1] == '"'); p++) {
		p += *p == '"';
		*to++ = *p;
	}
	if (*p == '\0')
		return NULL;
	p++;
	*to = '\0';
	while (isspace((unsigned char)*p))
		p++;
	return p;
}

static int parse_line(struct reader *r, char *line, struct herd_err *err)
{
	line = herd_str_trim(line);
	/* As with PgBouncer a comment, or even a key, may stand behind a header. */
	while (*line == '[') {
		int rc = take_header(r, &line, err);

		if (rc < 0)
			return rc;
	}
	if (*line == '\0' || *line == ';' || *line == '#')
		return 0;
	if (herd_str_starts(line, "%include") && isspace((unsigned char)line[8]))
		return include(r, herd_str_trim(line + 8), err);
	bool quoted = *line == '"';
	char *eq = quoted ? unquote_key(line) : strchr(line, '=');

	if (!eq || *eq != '=' || eq == line || *line == '\0')
		return herd_err_set(err, -EINVAL, "line is neither a section nor \"key = value\"");
	*eq = '\0';
	return r->fn(r->arg, r->section ? r->section : "", quoted ? line : herd_str_trim(line),
		     herd_str_trim(eq + 1), err);
}

static int parse(struct reader *r, const char *name, char *text, struct herd_err *err)
{
	int lineno = 0;

	for (char *line = text, *next; line; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		lineno++;
		int rc = parse_line(r, line, err);

		if (rc < 0) {
			herd_err_prefix(err, "%s:%d", name, lineno);
			return rc;
		}
	}
	return 0;
}

int herd_ini_read(const char *path, herd_ini_fn fn, void *arg, struct herd_err *err)
{
	struct reader r = { .fn = fn, .arg = arg };
	int rc = include(&r, path, err);

	free(r.section);
	return rc;
}

int herd_ini_parse(const char *name, const char *text, herd_ini_fn fn, void *arg,
		   struct herd_err *err)
{
	struct reader r = { .fn = fn, .arg = arg };
	char *copy = strdup(text);
	int rc = copy ? parse(&r, name, copy, err) : herd_err_set(err, -ENOMEM, "out of memory");

	free(copy);
	free(r.section);
	return rc;
}

/*
 * Copies one value into b and moves *p behind it; false when a quote is not closed, or
 * something stands right behind it. */
static bool take_value(const char **p, struct herd_buf *b)
{
	const char *s = *p;

	if (*s != '\'') {
		while (*s && !isspace((unsigned char)*s))
			herd_buf_addc(b, *s++);
		*p = s;
		return true;
	}
	for (s++; *s; s++) {
		if (*s == '\'' && *++s != '\'') {
			*p = s;
			return *s == '\0' || isspace((unsigned char)*s);
		}
		herd_buf_addc(b, *s);
	}
	return false;
}

int herd_ini_conninfo(const char *text, herd_ini_fn fn, void *arg, struct herd_err *err)
{
	struct herd_buf key = { 0 }, value = { 0 };
	int rc = 0;

	for (const char *p = text; rc == 0;) {
		while (isspace((unsigned char)*p))
			p++;
		if (*p == '\0')
			break;
		herd_buf_reset(&key);
		herd_buf_reset(&value);
		while (*p && *p != '=' && !isspace((unsigned char)*p))
			herd_buf_addc(&key, *p++);
		while (isspace((unsigned char)*p))
			p++;
		if (*p != '=') {
			rc = herd_err_set(err, -EINVAL, "\"%s\" is not followed by \"=\"",
					  herd_buf_str(&key));
			break;
		}
		p++;
		while (isspace((unsigned char)*p))
			p++;
		if (!take_value(&p, &value))
			rc = herd_err_set(
				err, -EINVAL,
				"quoted value of \"%s\" has no end, or no blank behind it",
				herd_buf_str(&key));
		else if (!herd_buf_ok(&key) || !herd_buf_ok(&value))
			rc = herd_err_set(err, -ENOMEM, "out of memory");
		else if (value.len == 0)
			rc = herd_err_set(err, -EINVAL, "value of \"%s\" is empty",
					  herd_buf_str(&key));
		else
			rc = fn(arg, NULL, herd_buf_str(&key), herd_buf_str(&value), err);
	}
	herd_buf_free(&key);
	herd_buf_free(&value);
	return rc;
}
