/*
 * base/log_file.c - a log file: made, rotated, and looked for again when somebody has moved it.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log_internal.h"
#include "base/str.h"

/* Between two attempts to open a file that could not be opened. */
enum { RETRY_S = 5 };

static void make_directory(const char *path)
{
	char *dir = herd_str_dup(path);

	for (char *p = dir ? dir + 1 : NULL; p && (p = strchr(p, '/')); p++) {
		*p = '\0';
		mkdir(dir, 0777);
		*p = '/';
	}
	free(dir);
}

static bool open_file(struct log_file *f, struct herd_err *err)
{
	struct stat st;

	f->tried = time(NULL);
	make_directory(f->path);
	f->fd = open(f->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK,
		     f->mode >= 0 ? f->mode : 0666);
	if (f->fd < 0 || fstat(f->fd, &st) < 0) {
		herd_err_set(err, -errno, "could not open log file \"%s\": %s", f->path,
			     strerror(errno));
		if (f->fd >= 0)
			close(f->fd);
		f->fd = -1;
		return false;
	}
	if (f->mode >= 0)
		fchmod(f->fd, (mode_t)f->mode); /* whatever the umask is */
	f->bytes = st.st_size;
	f->dev = st.st_dev;
	f->ino = st.st_ino;
	return true;
}

static void close_file(struct log_file *f)
{
	if (f->fd >= 0)
		close(f->fd);
	f->fd = -1;
}

void log_file_set(struct log_file *f, const struct herd_log_opts *o, struct herd_err *err)
{
	log_file_clear(f);
	f->mode = o->mode;
	f->keep = o->keep;
	f->max_bytes = o->max_bytes;
	f->path = herd_str_dup(o->path);
	if (f->path)
		open_file(f, err);
}

void log_file_clear(struct log_file *f)
{
	if (f->path)
		close_file(f);
	free(f->path);
	*f = (struct log_file){ .fd = -1 };
}

/* path.1 becomes path.2 and so on; path becomes path.1. */
static void rotate(struct log_file *f)
{
	for (int i = f->keep; i > 0; i--) {
		char *from =
			i > 1 ? herd_str_printf("%s.%d", f->path, i - 1) : herd_str_dup(f->path);
		char *to = herd_str_printf("%s.%d", f->path, i);

		if (from && to)
			rename(from, to);
		free(from);
		free(to);
	}
	close_file(f);
}

/* Moved or removed by somebody else, its directory perhaps with it. */
static bool has_gone(const struct log_file *f)
{
	struct stat st;

	return stat(f->path, &st) < 0 || st.st_dev != f->dev || st.st_ino != f->ino;
}

bool log_file_write(struct log_file *f, const char *text, size_t len, struct herd_err *err)
{
	ssize_t n;

	if (f->fd >= 0 && has_gone(f))
		close_file(f);
	if (f->fd >= 0 && f->keep > 0 && f->max_bytes > 0 && f->bytes > 0 &&
	    f->bytes + (int64_t)len > f->max_bytes)
		rotate(f);
	if (f->fd < 0 && time(NULL) - f->tried < RETRY_S && f->tried && !f->bytes)
		return false;
	if (f->fd < 0 && !open_file(f, err)) {
		f->bytes = 0;
		return false;
	}
	n = write(f->fd, text, len);
	if (n == (ssize_t)len) {
		f->bytes += n;
		return true;
	}
	herd_err_set(err, n < 0 ? -errno : -ENOSPC, "could not write log file \"%s\": %s", f->path,
		     strerror(n < 0 ? errno : ENOSPC));
	/* Half a line is no line. */
	if (n > 0 && ftruncate(f->fd, f->bytes) < 0)
		f->bytes += n;
	return false;
}
