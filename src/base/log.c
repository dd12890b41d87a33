#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log_internal.h"
#include "base/str.h"

static const char *const patroni_names[] = { "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL" };
static const char *const bouncer_names[] = { "DEBUG", "LOG", "WARNING", "ERROR", "FATAL" };

const char *log_level_name(enum herd_log_level level)
{
	return patroni_names[level];
}

struct herd_log *herd_log_new(int fd, enum herd_log_style style, enum herd_log_level level)
{
	struct herd_log *log = calloc(1, sizeof(*log));

	if (!log)
		return NULL;
	log->fd = fd;
	log->level = (int)level;
	log->style = style;
	log->format.json = style == HERD_LOG_JSON;
	log->file.fd = -1;
	log->syslog_fd = -1;
	pthread_mutex_init(&log->lock, NULL);
	return log;
}

void herd_log_free(struct herd_log *log)
{
	if (!log)
		return;
	if (log->configured)
		herd_log_flush(log);
	for (size_t i = 0; i < log->queued; i++)
		free(log->queue[i]);
	free(log->queue);
	log_file_clear(&log->file);
	log_format_clear(&log->format);
	json_decref(log->levels);
	if (log->owns_fd)
		close(log->fd);
	if (log->syslog_fd >= 0)
		close(log->syslog_fd);
	free(log->ident);
	pthread_mutex_destroy(&log->lock);
	free(log);
}

int herd_log_reopen(struct herd_log *log, const char *path, struct herd_err *err)
{
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0) {
		int code = -errno;

		return herd_err_set(err, code, "could not open log file \"%s\": %s", path,
				    strerror(-code));
	}
	if (log->owns_fd) {
		/* dup2 keeps the number, so a thread that is writing never meets a closed one. */
		dup3(fd, log->fd, O_CLOEXEC);
		close(fd);
	} else {
		log->fd = fd;
		log->owns_fd = true;
	}
	return 0;
}

void herd_log_echo(struct herd_log *log, bool yes)
{
	atomic_store(&log->echo, yes);
}

void herd_log_set_level(struct herd_log *log, enum herd_log_level level)
{
	log->level = (int)level;
}

enum herd_log_level herd_log_level_of(const struct herd_log *log)
{
	return (enum herd_log_level)log->level;
}

int herd_log_parse_level(const char *text, enum herd_log_level *ret)
{
	static const struct {
		const char *name;
		enum herd_log_level level;
	} others[] = { { "warn", HERD_LOG_WARNING },
		       { "fatal", HERD_LOG_CRITICAL },
		       { "notset", HERD_LOG_DEBUG } };

	for (int i = HERD_LOG_DEBUG; i <= HERD_LOG_CRITICAL; i++) {
		if (strcasecmp(text, patroni_names[i]) == 0)
			return *ret = (enum herd_log_level)i, 0;
	}
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		if (strcasecmp(text, others[i].name) == 0)
			return *ret = others[i].level, 0;
	}
	return -EINVAL;
}

/* --- configuration ---------------------------------------------------------------------------- */

/* The level of a part: that of its own name, else of the nearest name above it, else the root's. */
static int level_of_part(const struct herd_log *log, const char *part)
{
	const char *name;
	json_t *v;
	size_t best = 0;
	int level = log->root_level;

	json_object_foreach(log->levels, name, v)
	{
		size_t n = strlen(name);

		if (n > best && strncmp(part, name, n) == 0 && (!part[n] || part[n] == '.')) {
			best = n;
			level = (int)json_integer_value(v);
		}
	}
	return level;
}

bool herd_log_wants(const struct herd_log *log, const char *part, enum herd_log_level level)
{
	return (int)level >= (log->configured ? level_of_part(log, part) : log->level);
}

static void set_levels(struct herd_log *log, const struct herd_log_opts *o)
{
	const char *name;
	json_t *v;
	int lowest = (int)o->level;

	json_decref(log->levels);
	log->levels = json_object();
	log->root_level = (int)o->level;
	json_object_foreach((json_t *)o->levels, name, v)
	{
		enum herd_log_level level;

		if (!json_is_string(v) || herd_log_parse_level(json_string_value(v), &level) < 0)
			continue;
		json_object_set_new(log->levels, name, json_integer(level));
		if ((int)level < lowest)
			lowest = (int)level;
	}
	log->level = lowest;
}

static bool same_file(const struct log_file *f, const struct herd_log_opts *o)
{
	return f->fd >= 0 && herd_str_eq(f->path, o->path) && f->mode == o->mode;
}

int herd_log_configure(struct herd_log *log, const struct herd_log_opts *o, struct herd_err *err)
{
	int rc = log_format_set(&log->format, o, err);

	if (rc < 0)
		return rc;
	pthread_mutex_lock(&log->lock);
	log->details = o->details;
	set_levels(log, o);
	log->max_queue = o->max_queue;
	log->fell_back = false;
	if (same_file(&log->file, o)) {
		log->file.keep = o->keep;
		log->file.max_bytes = o->max_bytes;
	} else {
		log_file_set(&log->file, o, err);
	}
	log->configured = true;
	pthread_mutex_unlock(&log->lock);
	return 0;
}

/* --- writing ---------------------------------------------------------------------------------- */

/* As many bytes as go without waiting; a pipe whose reader sleeps takes none. */
static size_t write_some(int fd, const char *text, size_t len)
{
	size_t done = 0;

	while (done < len) {
		struct pollfd p = { .fd = fd, .events = POLLOUT };
		size_t piece = len - done < PIPE_BUF ? len - done : PIPE_BUF;

		if (poll(&p, 1, 0) <= 0)
			break;
		ssize_t n = write(fd, text + done, piece);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			break;
		if (n < 0)
			return len; /* nobody will ever read it */
		done += (size_t)n;
	}
	return done;
}

/* The line is written whole, or it stays in the queue. */
static bool put_out(struct herd_log *log, const char *text)
{
	size_t len = strlen(text);
	struct herd_err err = HERD_ERR_INIT;

	if (log->file.path && log_file_write(&log->file, text, len, &err)) {
		log->fell_back = false;
		return true;
	}
	if (err.code && !log->fell_back) {
		char *words = herd_str_printf("%s; the log goes to standard error meanwhile\n",
					      herd_err_text(&err));

		write_some(log->fd, words ? words : "", words ? strlen(words) : 0);
		free(words);
		log->fell_back = true;
	}
	herd_err_clear(&err);
	log->begun += write_some(log->fd, text + log->begun, len - log->begun);
	if (log->begun < len)
		return false;
	log->begun = 0;
	return true;
}

static size_t flush(struct herd_log *log)
{
	size_t done = 0;

	while (done < log->queued && put_out(log, log->queue[done]))
		free(log->queue[done++]);
	log->queued -= done;
	memmove(log->queue, log->queue + done, log->queued * sizeof(*log->queue));
	return log->queued;
}

size_t herd_log_flush(struct herd_log *log)
{
	size_t left;

	pthread_mutex_lock(&log->lock);
	left = log->queued ? flush(log) : 0;
	pthread_mutex_unlock(&log->lock);
	return left;
}

size_t herd_log_queued(const struct herd_log *log)
{
	return log->queued;
}

uint64_t herd_log_lost(const struct herd_log *log)
{
	return log->lost;
}

bool herd_log_overflowed(const struct herd_log *log)
{
	return log->configured && log->queued >= log->max_queue;
}

/* Steals text. */
static void enqueue(struct herd_log *log, char *text)
{
	char **more = NULL;

	if (log->queued < log->max_queue)
		more = realloc(log->queue, (log->queued + 1) * sizeof(*more));
	if (!more) {
		log->lost++;
		free(text);
		return;
	}
	log->queue = more;
	log->queue[log->queued++] = text;
}

static void tell_lost(struct herd_log *log, const struct log_record *like)
{
	struct herd_buf b = { 0 };
	char *words = herd_str_printf("%llu log records were lost",
				      (unsigned long long)(log->lost - log->lost_told));
	struct log_record r = { .site = like->site,
				.level = HERD_LOG_WARNING,
				.message = words ? words : "",
				.time = like->time };

	log->lost_told = log->lost;
	log_format_line(&log->format, &r, &b);
	enqueue(log, herd_buf_steal(&b));
	free(words);
}

static void write_configured(struct herd_log *log, const struct log_record *r)
{
	struct herd_buf b = { 0 };
	char *text;

	log_format_line(&log->format, r, &b);
	text = herd_buf_steal(&b);
	if (!text)
		return;
	pthread_mutex_lock(&log->lock);
	if (log->queued && flush(log) == 0 && log->lost > log->lost_told)
		tell_lost(log, r);
	enqueue(log, text);
	flush(log);
	pthread_mutex_unlock(&log->lock);
}

/* A full disk must not stop the program: a line that cannot be written is lost. */
static void write_simple(struct herd_log *log, const struct log_record *r)
{
	struct herd_buf b = { 0 };

	if (log->style == HERD_LOG_PGBOUNCER) {
		log_add_time(&b, &r->time, "%Y-%m-%d %H:%M:%S");
		herd_buf_printf(&b, ".%03d", (int)(r->time.tv_usec / 1000));
		log_add_time(&b, &r->time, " %Z");
		herd_buf_printf(&b, " [%d] %s %s\n", (int)getpid(), bouncer_names[r->level],
				r->message);
	} else {
		log_format_line(&log->format, r, &b);
	}
	if (herd_buf_ok(&b) && write(log->fd, b.data, b.len) < 0)
		errno = 0;
	if (atomic_load(&log->echo) && log->owns_fd && herd_buf_ok(&b) &&
	    write(STDERR_FILENO, b.data, b.len) < 0)
		errno = 0;
	if (atomic_load(&log->to_syslog))
		log_to_syslog(log, r);
	herd_buf_free(&b);
}

static void put_record(struct herd_log *log, struct log_record *r)
{
	const char *more[] = { r->detail, r->hint };

	gettimeofday(&r->time, NULL);
	if (log->configured) {
		write_configured(log, r);
		return;
	}
	write_simple(log, r);
	for (int i = 0; i < 2 && log->style == HERD_LOG_PGBOUNCER; i++) {
		struct log_record line = *r;
		char *text =
			more[i] ? herd_str_printf("%s: %s", i ? "HINT" : "DETAIL", more[i]) : NULL;

		line.message = text;
		if (text)
			write_simple(log, &line);
		free(text);
	}
}

void herd_log_write(struct herd_log *log, const struct herd_log_site *site,
		    enum herd_log_level level, const struct herd_err *err, const char *fmt, ...)
{
	struct herd_buf b = { 0 };
	va_list ap;

	if (!log || (int)level < log->level || level >= HERD_LOG_NONE)
		return;
	if (log->configured && (int)level < level_of_part(log, site->part))
		return;
	va_start(ap, fmt);
	char *text = herd_str_vprintf(fmt, ap);
	va_end(ap);
	if (!text)
		return;
	herd_buf_addstr(&b, text);
	free(text);
	if (err)
		herd_buf_printf(&b, ": %s", herd_err_text(err));
	bool all = err && (!log->configured || log->details || log->root_level == HERD_LOG_DEBUG);
	struct log_record r = { .site = site,
				.level = level,
				.message = herd_buf_str(&b),
				.detail = all ? err->detail : NULL,
				.hint = all ? err->hint : NULL };

	put_record(log, &r);
	herd_buf_free(&b);
}
