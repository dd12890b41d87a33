/*
 * write_test.c - can the file systems of the data directory be written? A process of its own, as a
 * disk that hangs keeps whoever writes to it.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/helper.h"

#define FILE_NAME "pgherd.probe" /* base backups of a moment later may hold one */
#define BLOCK 8192

static int test(const char *dir)
{
	static char block[BLOCK];
	char path[PATH_MAX];
	int rc = 0, fd;

	if (snprintf(path, sizeof(path), "%s/" FILE_NAME, dir) >= (int)sizeof(path))
		return ENAMETOOLONG;
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return errno;
	/* Not zeros: some file systems would not store them. */
	memset(block, 'p', sizeof(block));
	ssize_t n = write(fd, block, sizeof(block));

	if (n != BLOCK)
		rc = n < 0 ? errno : ENOSPC;
	if (rc == 0 && fsync(fd) < 0)
		rc = errno;
	if (close(fd) < 0 && rc == 0)
		rc = errno;
	if (unlink(path) < 0 && rc == 0)
		rc = errno;
	return rc;
}

int herd_write_test_process(int argc, char **argv)
{
	int rc = 0;

	for (int i = 1; i < argc && rc == 0; i++)
		rc = test(argv[i]);
	return rc;
}
