/*
 * base/log_format.c - a log line in Python's % style, or as JSON.
 */
#include <ctype.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/log_internal.h"
#include "base/str.h"

static const char usual[] = "%(asctime)s %(levelname)s: %(message)s";

static const char *const names[] = {
	"name",        "levelno",         "levelname", "pathname",   "filename",
	"module",      "lineno",          "funcName",  "created",    "asctime",
	"msecs",       "relativeCreated", "thread",    "threadName", "process",
	"processName", "message",         "taskName",  "exc_info",   "stack_info",
};

static bool is_field(const char *name, size_t n)
{
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strlen(names[i]) == n && strncmp(names[i], name, n) == 0)
			return true;
	return false;
}

/* Takes a directive apart that begins at p ("%..."). Returns its end, or NULL when it is none. */
static const char *directive(const char *p, const char **name, size_t *n, const char **flags,
			     size_t *n_flags)
{
	const char *end;

	*n = 0;
	if (p[1] == '%') {
		*name = "%";
		return p + 2;
	}
	if (p[1] != '(' || !(end = strchr(p, ')')))
		return NULL;
	*name = p + 2;
	*n = (size_t)(end - *name);
	*flags = end + 1;
	*n_flags = strspn(*flags, "#0123456789.+- ");
	p = *flags + *n_flags;
	return *p && strchr("diouxXeEfFgGcrsa", *p) ? p + 1 : NULL;
}

int herd_log_check_format(const char *format, struct herd_err *err)
{
	const char *name, *flags;
	size_t n, n_flags;

	for (const char *p = format; *p;) {
		if (*p != '%') {
			p++;
			continue;
		}
		const char *end = directive(p, &name, &n, &flags, &n_flags);

		if (!end)
			return herd_err_set(err, -EINVAL, "\"%s\" is no field of a log format", p);
		if (n && !is_field(name, n))
			return herd_err_set(err, -EINVAL, "log lines have no field \"%.*s\"",
					    (int)n, name);
		if (n && n_flags > 12)
			return herd_err_set(err, -EINVAL, "the width of \"%.*s\" is too large",
					    (int)n, name);
		p = end;
	}
	return 0;
}

void log_add_time(struct herd_buf *b, const struct timeval *tv, const char *fmt)
{
	struct tm tm;
	size_t room = strlen(fmt) * 16 + 64;

	localtime_r(&tv->tv_sec, &tm);
	if (herd_buf_reserve(b, room)) {
		b->len += strftime(b->data + b->len, room, fmt, &tm);
		b->data[b->len] = '\0';
	}
}

static void add_asctime(const struct log_format *f, const struct log_record *r, struct herd_buf *b)
{
	if (f->dateformat) {
		log_add_time(b, &r->time, f->dateformat);
		return;
	}
	log_add_time(b, &r->time, "%Y-%m-%d %H:%M:%S");
	herd_buf_printf(b, ",%03d", (int)(r->time.tv_usec / 1000));
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static bool is(const char *name, size_t n, const char *what)
{
	return strlen(what) == n && strncmp(name, what, n) == 0;
}

/* The value of a field as text; *number says that it is one. */
static void add_value(const struct log_format *f, const struct log_record *r, const char *name,
		      size_t n, struct herd_buf *b, bool *number)
{
	double created = (double)r->time.tv_sec + (double)r->time.tv_usec / 1e6;
	const char *file = base_name(r->site->file);

	*number = true;
	if (is(name, n, "levelno"))
		herd_buf_printf(b, "%d", ((int)r->level + 1) * 10);
	else if (is(name, n, "lineno"))
		herd_buf_printf(b, "%d", r->site->line);
	else if (is(name, n, "created") || is(name, n, "relativeCreated"))
		herd_buf_printf(b, "%.6f", created);
	else if (is(name, n, "msecs"))
		herd_buf_printf(b, "%d", (int)(r->time.tv_usec / 1000));
	else if (is(name, n, "process"))
		herd_buf_printf(b, "%d", (int)getpid());
	else if (is(name, n, "thread"))
		herd_buf_printf(b, "%ld", (long)syscall(SYS_gettid));
	else
		*number = false;
	if (*number)
		return;
	if (is(name, n, "name"))
		herd_buf_addstr(b, r->site->part);
	else if (is(name, n, "levelname"))
		herd_buf_addstr(b, log_level_name(r->level));
	else if (is(name, n, "pathname"))
		herd_buf_addstr(b, r->site->file);
	else if (is(name, n, "filename"))
		herd_buf_addstr(b, file);
	else if (is(name, n, "module"))
		herd_buf_add(b, file, strcspn(file, "."));
	else if (is(name, n, "funcName"))
		herd_buf_addstr(b, r->site->function);
	else if (is(name, n, "asctime"))
		add_asctime(f, r, b);
	else if (is(name, n, "threadName"))
		herd_buf_addstr(b, "MainThread");
	else if (is(name, n, "processName"))
		herd_buf_addstr(b, "MainProcess");
	else if (is(name, n, "message"))
		herd_buf_addstr(b, r->message);
}

/* The value in its width: "-8", "05", ".3". */
static void add_padded(struct herd_buf *out, const char *value, bool number, const char *flags,
		       size_t n)
{
	bool left = memchr(flags, '-', n) != NULL;
	size_t i = strspn(flags, "#0+- "), len = strlen(value), width = 0;
	bool zero = number && !left && i > 0 && memchr(flags, '0', i < n ? i : n);

	if (i > n)
		i = n;
	while (i < n && isdigit((unsigned char)flags[i]) && width < 1000)
		width = width * 10 + (size_t)(flags[i++] - '0');
	if (i < n && flags[i] == '.' && !number) {
		size_t most = (size_t)strtoul(flags + i + 1, NULL, 10);

		if (len > most)
			len = most;
	}
	for (size_t k = len; !left && k < width; k++)
		herd_buf_addc(out, zero ? '0' : ' ');
	herd_buf_add(out, value, len);
	for (size_t k = len; left && k < width; k++)
		herd_buf_addc(out, ' ');
}

/* A line in % style, without its end. */
static void add_plain(const struct log_format *f, const struct log_record *r, struct herd_buf *out)
{
	const char *name, *flags = "";
	size_t n, n_flags = 0;

	for (const char *p = f->text ? f->text : usual; *p;) {
		const char *end = *p == '%' ? directive(p, &name, &n, &flags, &n_flags) : NULL;

		if (!end) {
			herd_buf_addc(out, *p++);
			continue;
		}
		p = end;
		if (!n) {
			herd_buf_addc(out, '%');
			continue;
		}
		struct herd_buf value = { 0 };
		bool number;

		add_value(f, r, name, n, &value, &number);
		add_padded(out, herd_buf_str(&value), number, flags, n_flags);
		herd_buf_free(&value);
	}
}

static void put_field(const struct log_format *f, const struct log_record *r, const char *name,
		      size_t n, const char *as, json_t *o)
{
	struct herd_buf value = { 0 };
	bool number;
	json_t *v;

	add_value(f, r, name, n, &value, &number);
	if (number)
		v = strchr(herd_buf_str(&value), '.') ? json_real(strtod(value.data, NULL))
						      : json_integer(strtoll(value.data, NULL, 10));
	else
		v = json_string(herd_buf_str(&value));
	/* What is no UTF-8 must not cost the line. */
	if (!v) {
		for (size_t i = 0; i < value.len; i++)
			if ((unsigned char)value.data[i] >= 0x80)
				value.data[i] = '?';
		v = json_string(herd_buf_str(&value));
	}
	json_object_set_new(o, as, v);
	herd_buf_free(&value);
}

static void put_listed(const struct log_format *f, const struct log_record *r, json_t *o)
{
	size_t i;
	json_t *item, *as;
	const char *key;

	json_array_foreach(f->fields, i, item)
	{
		const char *name = json_string_value(item);

		if (name)
			put_field(f, r, name, strlen(name), name, o);
		json_object_foreach(item, key, as)
			put_field(f, r, key, strlen(key), json_string_value(as), o);
	}
}

/* The fields that a format in % style names, in its order. */
static void put_named(const struct log_format *f, const struct log_record *r, json_t *o)
{
	const char *name, *flags;
	size_t n, n_flags;

	for (const char *p = f->text ? f->text : usual; (p = strchr(p, '%'));) {
		const char *end = directive(p, &name, &n, &flags, &n_flags);
		char *key = end && n ? strndup(name, n) : NULL;

		if (key)
			put_field(f, r, key, n, key, o);
		free(key);
		p = end ? end : p + 1;
	}
}

static void add_json(const struct log_format *f, const struct log_record *r, struct herd_buf *out)
{
	json_t *o = json_object();
	char *text;

	if (f->fields)
		put_listed(f, r, o);
	else
		put_named(f, r, o);
	if (f->statics)
		json_object_update(o, f->statics);
	if (r->detail)
		json_object_set_new(o, "detail", json_string(r->detail));
	if (r->hint)
		json_object_set_new(o, "hint", json_string(r->hint));
	text = json_dumps(o, 0);
	if (text)
		herd_buf_addstr(out, text);
	free(text);
	json_decref(o);
	herd_buf_addc(out, '\n');
}

void log_format_line(const struct log_format *f, const struct log_record *r, struct herd_buf *out)
{
	struct log_record more = *r;
	char *text;

	if (f->json) {
		add_json(f, r, out);
		return;
	}
	add_plain(f, r, out);
	herd_buf_addc(out, '\n');
	for (int i = 0; i < 2; i++) {
		const char *words = i ? r->hint : r->detail;

		text = words ? herd_str_printf("%s: %s", i ? "HINT" : "DETAIL", words) : NULL;
		if (!text)
			continue;
		more.message = text;
		add_plain(f, &more, out);
		herd_buf_addc(out, '\n');
		free(text);
	}
}

static int check_fields(const json_t *fields, struct herd_err *err)
{
	size_t i;
	json_t *item, *as;
	const char *key;

	json_array_foreach((json_t *)fields, i, item)
	{
		const char *name = json_string_value(item);

		json_object_foreach(item, key, as) name = json_is_string(as) ? key : NULL;
		if (!name || !is_field(name, strlen(name)))
			return herd_err_set(err, -EINVAL, "log lines have no field \"%s\"",
					    name ? name : "(not a text)");
	}
	return 0;
}

int log_format_set(struct log_format *f, const struct herd_log_opts *o, struct herd_err *err)
{
	int rc = herd_log_check_format(o->format ? o->format : usual, err);

	if (rc == 0 && o->fields)
		rc = check_fields(o->fields, err);
	if (rc < 0)
		return rc;
	log_format_clear(f);
	f->json = o->json;
	f->text = herd_str_dup(o->format);
	f->dateformat = herd_str_dup(o->dateformat);
	f->fields = o->fields ? json_deep_copy(o->fields) : NULL;
	f->statics = o->statics ? json_deep_copy(o->statics) : NULL;
	return 0;
}

void log_format_clear(struct log_format *f)
{
	free(f->text);
	free(f->dateformat);
	json_decref(f->fields);
	json_decref(f->statics);
	*f = (struct log_format){ 0 };
}
