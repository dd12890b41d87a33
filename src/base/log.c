#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"

struct herd_log {
	_Atomic int fd;
	_Atomic int level;
	enum herd_log_style style;
	bool owns_fd;
};

static const char *const patroni_names[] = { "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL" };
static const char *const bouncer_names[] = { "DEBUG", "LOG", "WARNING", "ERROR", "FATAL" };

struct herd_log *herd_log_new(int fd, enum herd_log_style style, enum herd_log_level level)
{
	struct herd_log *log = calloc(1, sizeof(*log));

	if (!log)
		return NULL;
	log->fd = fd;
	log->level = (int)level;
	log->style = style;
	return log;
}

void herd_log_free(struct herd_log *log)
{
	if (!log)
		return;
	if (log->owns_fd)
		close(log->fd);
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
	for (int i = HERD_LOG_DEBUG; i <= HERD_LOG_CRITICAL; i++) {
		if (strcasecmp(text, patroni_names[i]) == 0)
			return *ret = (enum herd_log_level)i, 0;
	}
	if (strcasecmp(text, "warn") == 0)
		return *ret = HERD_LOG_WARNING, 0;
	if (strcasecmp(text, "fatal") == 0)
		return *ret = HERD_LOG_CRITICAL, 0;
	return -EINVAL;
}

static void add_time(struct herd_buf *b, const char *fmt, char sep, bool zone)
{
	struct timeval tv;
	struct tm tm;
	char text[64]; /* a date of fixed shape */

	gettimeofday(&tv, NULL);
	localtime_r(&tv.tv_sec, &tm);
	strftime(text, sizeof(text), fmt, &tm);
	herd_buf_printf(b, "%s%c%03d", text, sep, (int)(tv.tv_usec / 1000));
	if (zone) {
		strftime(text, sizeof(text), " %Z", &tm);
		herd_buf_addstr(b, text);
	}
}

static void add_json_string(struct herd_buf *b, const char *s)
{
	herd_buf_addc(b, '"');
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			herd_buf_addc(b, '\\');
		if ((unsigned char)*s < 0x20)
			herd_buf_printf(b, "\\u%04x", (unsigned char)*s);
		else
			herd_buf_addc(b, *s);
	}
	herd_buf_addc(b, '"');
}

static void add_head(struct herd_log *log, enum herd_log_level level, struct herd_buf *b)
{
	switch (log->style) {
	case HERD_LOG_PATRONI:
		add_time(b, "%Y-%m-%d %H:%M:%S", ',', false);
		herd_buf_printf(b, " %s: ", patroni_names[level]);
		break;
	case HERD_LOG_PGBOUNCER:
		add_time(b, "%Y-%m-%d %H:%M:%S", '.', true);
		herd_buf_printf(b, " [%d] %s ", (int)getpid(), bouncer_names[level]);
		break;
	case HERD_LOG_JSON:
		herd_buf_addstr(b, "{\"asctime\":\"");
		add_time(b, "%Y-%m-%d %H:%M:%S", ',', false);
		herd_buf_printf(b, "\",\"levelname\":\"%s\",\"message\":", patroni_names[level]);
		break;
	}
}

static void write_line(struct herd_log *log, enum herd_log_level level, const char *text)
{
	struct herd_buf b = { 0 };

	add_head(log, level, &b);
	if (log->style == HERD_LOG_JSON) {
		add_json_string(&b, text);
		herd_buf_addc(&b, '}');
	} else {
		herd_buf_addstr(&b, text);
	}
	herd_buf_addc(&b, '\n');
	/* A full disk must not stop the program: a line that cannot be written is lost. */
	if (herd_buf_ok(&b) && write(log->fd, b.data, b.len) < 0)
		errno = 0;
	herd_buf_free(&b);
}

static void log_va(struct herd_log *log, enum herd_log_level level, const struct herd_err *err,
		   const char *fmt, va_list ap)
{
	char *text;

	if (!log || (int)level < log->level)
		return;
	if (vasprintf(&text, fmt, ap) < 0)
		return;
	struct herd_buf b = { 0 };

	herd_buf_addstr(&b, text);
	free(text);
	if (err)
		herd_buf_printf(&b, ": %s", herd_err_text(err));
	write_line(log, level, herd_buf_str(&b));
	if (err && err->detail) {
		herd_buf_reset(&b);
		herd_buf_printf(&b, "DETAIL: %s", err->detail);
		write_line(log, level, herd_buf_str(&b));
	}
	if (err && err->hint) {
		herd_buf_reset(&b);
		herd_buf_printf(&b, "HINT: %s", err->hint);
		write_line(log, level, herd_buf_str(&b));
	}
	herd_buf_free(&b);
}

void herd_log_at(struct herd_log *log, enum herd_log_level level, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_va(log, level, NULL, fmt, ap);
	va_end(ap);
}

void herd_log_err(struct herd_log *log, enum herd_log_level level, const struct herd_err *err,
		  const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_va(log, level, err, fmt, ap);
	va_end(ap);
}
