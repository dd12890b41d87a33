/*
 * base/log_internal.h - shared by log.c, log_format.c and log_file.c only.
 */
#pragma once
#include <pthread.h>
#include <stdatomic.h>
#include <sys/time.h>

#include "base/buf.h"
#include "base/log.h"

/* One line, before it is text. */
struct log_record {
	const struct herd_log_site *site;
	enum herd_log_level level;
	const char *message, *detail, *hint; /* the last two may be NULL */
	struct timeval time;
};

/* A file that is written, rotated, and opened again when it has gone. */
struct log_file {
	char *path; /* NULL: none */
	int fd;     /* -1: could not be opened */
	int mode, keep;
	int64_t max_bytes, bytes;
	dev_t dev;
	ino_t ino;
	time_t tried; /* when opening was last tried */
};

struct log_format {
	bool json;
	char *text, *dateformat;
	json_t *fields, *statics;
};

struct herd_log {
	_Atomic int fd;
	_Atomic int level; /* the lowest of all parts: what is below it is nothing */
	enum herd_log_style style;
	bool owns_fd;
	_Atomic bool echo; /* also to standard error */
	_Atomic bool to_syslog;
	char *ident; /* this and the next two: guarded by lock */
	int facility, syslog_fd;

	/* once herd_log_configure was called */
	bool configured;
	pthread_mutex_t lock;
	struct log_format format;
	struct log_file file;
	bool details;
	int root_level;
	json_t *levels;
	char **queue;
	size_t queued, max_queue;
	size_t begun; /* bytes of the first queued line that are written already */
	uint64_t lost, lost_told;
	bool fell_back; /* the file cannot be written: the descriptor has the lines */
};

void log_to_syslog(struct herd_log *log, const struct log_record *r);

const char *log_level_name(enum herd_log_level level);
/* The line with its newline. */
void log_format_line(const struct log_format *f, const struct log_record *r, struct herd_buf *out);
int log_format_set(struct log_format *f, const struct herd_log_opts *o, struct herd_err *err);
void log_format_clear(struct log_format *f);
void log_add_time(struct herd_buf *b, const struct timeval *tv, const char *fmt);

void log_file_set(struct log_file *f, const struct herd_log_opts *o, struct herd_err *err);
/* False when the file cannot be written now; err then says why. */
bool log_file_write(struct log_file *f, const char *text, size_t len, struct herd_err *err);
void log_file_clear(struct log_file *f);
