/*
 * base/log.h - log lines for the shells (agent, ctl, proxy). Libraries below them do not log.
 *
 * A logger is an object: its owner passes it on. It begins simple (a style and a descriptor, each
 * line one write(2), so several threads may share it); herd_log_configure makes it one with a
 * format, a file that is rotated, levels by part, and a queue: nothing that happens to a log file
 * or to the reader of a pipe blocks the program.
 */
#pragma once
#include <jansson.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"

enum herd_log_level {
	HERD_LOG_DEBUG = 0,
	HERD_LOG_INFO,
	HERD_LOG_WARNING,
	HERD_LOG_ERROR,
	HERD_LOG_CRITICAL,
	HERD_LOG_NONE
};

/* How a line looks. */
enum herd_log_style {
	HERD_LOG_PATRONI,   /* 2026-11-22 05:04:00,123 INFO: text */
	HERD_LOG_PGBOUNCER, /* 2026-11-22 05:04:00.123 UTC [pid] LOG text */
	HERD_LOG_JSON
};

struct herd_log;

/* fd is borrowed unless path is given to herd_log_reopen. NULL when out of memory. */
struct herd_log *herd_log_new(int fd, enum herd_log_style style, enum herd_log_level level);
/* What is queued is written first, as far as that is possible at once. */
void herd_log_free(struct herd_log *log);
/* Appends to a file from now on (also after rotation by others: call again with the same path). */
int herd_log_reopen(struct herd_log *log, const char *path, struct herd_err *err);
/* Simple loggers: lines go to standard error, too, whatever the file is. */
void herd_log_echo(struct herd_log *log, bool yes);
/* ... and to the system's log under this name; ident NULL: no more. 0 or -ENOMEM. */
int herd_log_syslog(struct herd_log *log, const char *ident, int facility);
/* "daemon", "local0", ... for herd_log_syslog; -EINVAL for others. */
int herd_log_facility(const char *name);
void herd_log_set_level(struct herd_log *log, enum herd_log_level level);
enum herd_log_level herd_log_level_of(const struct herd_log *log);
/* DEBUG (NOTSET), INFO, WARNING (WARN), ERROR, CRITICAL (FATAL), any case; -EINVAL otherwise. */
int herd_log_parse_level(const char *text, enum herd_log_level *ret);

struct herd_log_opts {
	bool json;
	enum herd_log_level level;
	bool details;           /* DETAIL and HINT of errors also above DEBUG */
	const char *format;     /* Python's % style; NULL: the usual */
	const json_t *fields;   /* json: list of names and {name: other name}; NULL: by format */
	const json_t *statics;  /* json: fields that every line gets, or NULL */
	const char *dateformat; /* strftime; NULL: 2026-11-22 05:04:00,123 */
	const char *path;       /* NULL: the descriptor of herd_log_new */
	int mode;               /* of the files; -1: what the umask leaves of 0666 */
	int keep;               /* older files, path.1 ...; 0: no rotation */
	int64_t max_bytes;      /* when a new file begins; 0: never */
	size_t max_queue;       /* lines that wait while the log cannot be written */
	const json_t *levels;   /* {"patroni.ha": "DEBUG"}: levels by part, or NULL */
};

/*
 * -EINVAL for a format that is none; nothing has changed then. A path that cannot be opened is no
 * error of the call: err (code set) tells why, lines go to the descriptor until it can be opened.
 */
int herd_log_configure(struct herd_log *log, const struct herd_log_opts *o, struct herd_err *err);
/* Is it a format? 0 or -EINVAL with the field that is not known. */
int herd_log_check_format(const char *format, struct herd_err *err);
/* Would a line of that part and level be written? */
bool herd_log_wants(const struct herd_log *log, const char *part, enum herd_log_level level);
/* Writes what is queued as far as possible without waiting; returns the lines that are left. */
size_t herd_log_flush(struct herd_log *log);
size_t herd_log_queued(const struct herd_log *log);
uint64_t herd_log_lost(const struct herd_log *log);   /* lines that were dropped, ever */
bool herd_log_overflowed(const struct herd_log *log); /* the queue is full */

/* Where a line comes from. A file that is to have its own name defines HERD_LOG_PART first. */
struct herd_log_site {
	const char *part, *file, *function;
	int line;
};
#ifndef HERD_LOG_PART
#define HERD_LOG_PART "patroni"
#endif
#define HERD_LOG_HERE (&(const struct herd_log_site){ HERD_LOG_PART, __FILE__, __func__, __LINE__ })

void herd_log_write(struct herd_log *log, const struct herd_log_site *site,
		    enum herd_log_level level, const struct herd_err *err, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));

#define herd_log_at(log, level, ...) herd_log_write(log, HERD_LOG_HERE, level, NULL, __VA_ARGS__)
/* "text: err's message", then its detail and hint as lines of their own. */
#define herd_log_err(log, level, err, ...)                                                         \
	herd_log_write(log, HERD_LOG_HERE, level, err, __VA_ARGS__)

#define herd_debug(log, ...) herd_log_at(log, HERD_LOG_DEBUG, __VA_ARGS__)
#define herd_info(log, ...) herd_log_at(log, HERD_LOG_INFO, __VA_ARGS__)
#define herd_warning(log, ...) herd_log_at(log, HERD_LOG_WARNING, __VA_ARGS__)
#define herd_error(log, ...) herd_log_at(log, HERD_LOG_ERROR, __VA_ARGS__)
