#include "pg/wal.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"

/* PostgreSQL's xlog_internal.h: XLOG_BLCKSZ, SizeOfXLogShortPHD, SizeOfXLogLongPHD, MAXALIGN. */
enum { PAGE = 8192, SHORT_HEADER = 24, LONG_HEADER = 40, ALIGN = 8 };

uint64_t herd_pg_wal_end(uint64_t lsn, uint32_t tot_len, uint64_t segment_bytes)
{
	uint64_t end = lsn, left = tot_len;

	for (;;) {
		uint64_t room = PAGE - end % PAGE;

		if (left <= room) {
			end += left;
			break;
		}
		end += room;
		left -= room;
		end += end % segment_bytes == 0 ? LONG_HEADER : SHORT_HEADER;
	}
	return (end + ALIGN - 1) / ALIGN * ALIGN;
}

uint64_t herd_pg_wal_record_end(const char *data_dir, uint32_t tli, uint64_t lsn,
				uint64_t segment_bytes)
{
	uint64_t per_id, segment, ret = 0;
	uint32_t tot_len;
	char *path;
	int fd;

	if (segment_bytes < PAGE || lsn == 0)
		return 0;
	per_id = ((uint64_t)1 << 32) / segment_bytes;
	segment = lsn / segment_bytes;
	path = herd_str_printf("%s/pg_wal/%08X%08X%08X", data_dir, tli,
			       (unsigned int)(segment / per_id), (unsigned int)(segment % per_id));
	fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	free(path);
	if (fd < 0)
		return 0;
	/* A record begins with its length, which never crosses a page. */
	if (pread(fd, &tot_len, sizeof(tot_len), (off_t)(lsn % segment_bytes)) ==
		    (ssize_t)sizeof(tot_len) &&
	    tot_len >= SHORT_HEADER && tot_len < PAGE)
		ret = herd_pg_wal_end(lsn, tot_len, segment_bytes);
	close(fd);
	return ret;
}

bool herd_pg_wal_has(const char *data_dir, const char *segment)
{
	enum { TIMELINE = 8, NAME = 24 };
	char *path = herd_str_printf("%s/pg_wal", data_dir);
	DIR *dir = path != NULL ? opendir(path) : NULL;
	struct dirent *entry;
	bool found = false;

	while (dir != NULL && !found && (entry = readdir(dir)) != NULL)
		found = strlen(entry->d_name) == NAME &&
			strcmp(entry->d_name + TIMELINE, segment) == 0;
	if (dir != NULL)
		closedir(dir);
	free(path);
	return found;
}
