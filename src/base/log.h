/*
 * base/log.h - log lines for the shells (agent, ctl, proxy). Libraries below them do not log.
 *
 * A logger is an object: its owner passes it on. Lines are written with one write(2), so several
 * threads may share a logger.
 */
#pragma once
#include <stdarg.h>
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
void herd_log_free(struct herd_log *log);
/* Appends to a file from now on (also after rotation by others: call again with the same path). */
int herd_log_reopen(struct herd_log *log, const char *path, struct herd_err *err);
void herd_log_set_level(struct herd_log *log, enum herd_log_level level);
enum herd_log_level herd_log_level_of(const struct herd_log *log);
/* DEBUG, INFO, WARNING (WARN), ERROR, CRITICAL (FATAL), any case; -EINVAL otherwise. */
int herd_log_parse_level(const char *text, enum herd_log_level *ret);

void herd_log_at(struct herd_log *log, enum herd_log_level level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* "text: err's message", then its detail and hint as lines of their own. */
void herd_log_err(struct herd_log *log, enum herd_log_level level, const struct herd_err *err,
		  const char *fmt, ...) __attribute__((format(printf, 4, 5)));

#define herd_debug(log, ...) herd_log_at(log, HERD_LOG_DEBUG, __VA_ARGS__)
#define herd_info(log, ...) herd_log_at(log, HERD_LOG_INFO, __VA_ARGS__)
#define herd_warning(log, ...) herd_log_at(log, HERD_LOG_WARNING, __VA_ARGS__)
#define herd_error(log, ...) herd_log_at(log, HERD_LOG_ERROR, __VA_ARGS__)
