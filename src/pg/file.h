/*
 * pg/file.h - small files, whole: read, replace, copy. For configuration, not for data.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"

/* Appends the file's bytes. -ENOENT without a text in err when absent; -EFBIG over 16 MB. */
int herd_pg_file_read(const char *path, struct herd_buf *out, struct herd_err *err);
/*
 * Nothing when the file holds just that; else replaces it by rename, without fsync, and sets
 * *changed (which may be NULL and is never set to false). Follows links.
 */
int herd_pg_file_write(const char *path, const char *data, size_t len, mode_t mode, bool *changed,
		       struct herd_err *err);
/* As write, with the contents of another file. -ENOENT without text when that is absent. */
int herd_pg_file_copy(const char *from, const char *to, mode_t mode, struct herd_err *err);
bool herd_pg_file_exists(const char *path);
/* An absent file is no error. */
int herd_pg_file_remove(const char *path, struct herd_err *err);
