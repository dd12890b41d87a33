#include "pg/file.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"

#define FILE_MAX_BYTES (16 * 1024 * 1024)

int herd_pg_file_read(const char *path, struct herd_buf *out, struct herd_err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int rc = 0;

	if (fd < 0 && errno == ENOENT)
		return -ENOENT;
	if (fd < 0)
		return herd_err_set(err, -errno, "could not open file \"%s\": %s", path,
				    strerror(errno));
	for (;;) {
		ssize_t n;

		if (!herd_buf_reserve(out, 8192)) {
			rc = herd_err_set(err, -ENOMEM, "out of memory");
			break;
		}
		n = read(fd, out->data + out->len, 8192);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			rc = herd_err_set(err, -errno, "could not read file \"%s\": %s", path,
					  strerror(errno));
		if (n <= 0)
			break;
		out->len += (size_t)n;
		if (out->len > FILE_MAX_BYTES) {
			rc = herd_err_set(err, -EFBIG, "file \"%s\" is too large", path);
			break;
		}
	}
	if (out->data != NULL)
		out->data[out->len] = '\0';
	close(fd);
	return rc;
}

static int write_all(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

static bool same(const char *path, const char *data, size_t len)
{
	struct herd_buf old = { 0 };
	bool eq = herd_pg_file_read(path, &old, NULL) == 0 && old.len == len &&
		  (len == 0 || memcmp(old.data, data, len) == 0);

	herd_buf_free(&old);
	return eq;
}

static int replace(const char *path, const char *data, size_t len, mode_t mode,
		   struct herd_err *err)
{
	char *tmp = herd_str_printf("%s.pgherd-tmp", path);
	int fd, rc;

	if (tmp == NULL)
		return herd_err_set(err, -ENOMEM, "out of memory");
	unlink(tmp); /* of an earlier crash, perhaps with other permissions */
	fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	rc = fd < 0 ? -errno : write_all(fd, data, len);
	if (fd >= 0) {
		if (rc == 0 && fchmod(fd, mode) < 0)
			rc = -errno;
		if (close(fd) < 0 && rc == 0)
			rc = -errno;
		if (rc == 0 && rename(tmp, path) < 0)
			rc = -errno;
		if (rc < 0)
			unlink(tmp);
	}
	free(tmp);
	if (rc < 0)
		herd_err_set(err, rc, "could not write file \"%s\": %s", path, strerror(-rc));
	return rc;
}

int herd_pg_file_write(const char *path, const char *data, size_t len, mode_t mode, bool *changed,
		       struct herd_err *err)
{
	char *real;
	struct stat st;
	int rc;

	if (stat(path, &st) == 0 && (st.st_mode & 07777) == mode && same(path, data, len))
		return 0;
	real = realpath(path, NULL);
	rc = replace(real != NULL ? real : path, data, len, mode, err);
	free(real);
	if (rc == 0 && changed != NULL)
		*changed = true;
	return rc;
}

int herd_pg_file_copy(const char *from, const char *to, mode_t mode, struct herd_err *err)
{
	struct herd_buf b = { 0 };
	int rc = herd_pg_file_read(from, &b, err);

	if (rc == 0)
		rc = herd_pg_file_write(to, herd_buf_str(&b), b.len, mode, NULL, err);
	herd_buf_free(&b);
	return rc;
}

bool herd_pg_file_exists(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

int herd_pg_file_remove(const char *path, struct herd_err *err)
{
	if (unlink(path) == 0 || errno == ENOENT)
		return 0;
	return herd_err_set(err, -errno, "could not remove file \"%s\": %s", path, strerror(errno));
}
