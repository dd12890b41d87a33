#include "postgres.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/file_perm.h"
#include "common/file_utils.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/memutils.h"

#include "move/store.h"

/* The server empties this directory when it starts, and base backups leave it out. */
#define TEMP_DIRECTORY "base/" PG_TEMP_FILES_DIR

enum { MAX_ID = 64, LOCK_POLL_US = 1000 };

char *herd_result_directory(const char *id)
{
	size_t n = strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");

	if (n == 0 || id[n] != '\0' || n > MAX_ID)
		ereport(ERROR, (errcode(ERRCODE_INVALID_NAME),
				errmsg("\"%s\" is not the name of an intermediate result", id)));
	/* the role is in the name: nobody reads what somebody else has moved */
	return psprintf(TEMP_DIRECTORY "/" PG_TEMP_FILE_PREFIX "_herd_%u_%s", GetUserId(), id);
}

void herd_result_make_directory(const char *path)
{
	if (MakePGDirectory(path) == 0)
		return;
	if (errno == ENOENT && (MakePGDirectory(TEMP_DIRECTORY) == 0 || errno == EEXIST) &&
	    MakePGDirectory(path) == 0)
		return;
	ereport(ERROR,
		(errcode_for_file_access(), errmsg("could not create directory \"%s\": %m", path)));
}

void herd_result_remove_directory(const char *path)
{
	DIR *dir = AllocateDir(path);
	struct dirent *de;

	if (dir == NULL)
		return;
	while ((de = ReadDirExtended(dir, path, WARNING)) != NULL) {
		char *file;

		if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0)
			continue;
		file = psprintf("%s/%s", path, de->d_name);
		if (unlink(file) != 0 && errno != ENOENT)
			ereport(WARNING, (errcode_for_file_access(),
					  errmsg("could not remove file \"%s\": %m", file)));
		pfree(file);
	}
	FreeDir(dir);
	if (rmdir(path) != 0 && errno != ENOENT)
		ereport(WARNING, (errcode_for_file_access(),
				  errmsg("could not remove directory \"%s\": %m", path)));
}

static void gone(const char *id)
{
	ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
			errmsg("intermediate result \"%s\" does not exist", id),
			errdetail("It is removed at the end of the transaction that holds it.")));
}

static bool wanted(int part, const int32 *parts, int nparts)
{
	if (parts == NULL)
		return true;
	for (int i = 0; i < nparts; i++)
		if (parts[i] == part)
			return true;
	return false;
}

List *herd_result_files(const char *id, int move, const int32 *parts, int nparts)
{
	char *path = herd_result_directory(id);
	DIR *dir = AllocateDir(path);
	struct dirent *de;
	List *files = NIL;

	if (dir == NULL && errno == ENOENT)
		gone(id);
	while ((de = ReadDir(dir, path)) != NULL) {
		HerdResultFile file;
		int of_move, end = 0;

		if (sscanf(de->d_name, "%d.%d.%d%n", &of_move, &file.part, &file.group, &end) !=
			    3 ||
		    de->d_name[end] != '\0' || of_move != move || !wanted(file.part, parts, nparts))
			continue;
		file.path = psprintf("%s/%s", path, de->d_name);
		files = lappend(files, memcpy(palloc(sizeof(file)), &file, sizeof(file)));
	}
	FreeDir(dir);
	return files;
}

List *herd_result_own_files(List *files, int group)
{
	List *own = NIL;
	ListCell *lc;

	foreach (lc, files)
		if (((HerdResultFile *)lfirst(lc))->group == group)
			own = lappend(own, lfirst(lc));
	return own;
}

static void write_all(int fd, const char *path, const void *data, size_t n)
{
	while (n > 0) {
		ssize_t done = write(fd, data, n);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0) {
			if (done == 0)
				errno = ENOSPC;
			ereport(ERROR, (errcode_for_file_access(),
					errmsg("could not write to file \"%s\": %m", path)));
		}
		data = (const char *)data + done;
		n -= done;
	}
}

void herd_result_append(const char *id, int move, const HerdResultFile *file,
			const HerdBlock *block, const char *data)
{
	char *path =
		psprintf("%s/%d.%d.%d", herd_result_directory(id), move, file->part, file->group);
	int fd = OpenTransientFile(path, O_WRONLY | O_CREAT | O_APPEND | PG_BINARY);

	if (fd < 0 && errno == ENOENT)
		gone(id);
	if (fd < 0)
		ereport(ERROR, (errcode_for_file_access(),
				errmsg("could not create file \"%s\": %m", path)));
	/* Tasks share the file: a block must stay in one piece. The lock ends with the descriptor.
	 */
	while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		if (errno != EINTR && errno != EWOULDBLOCK)
			ereport(ERROR, (errcode_for_file_access(),
					errmsg("could not lock file \"%s\": %m", path)));
		/* who holds it may stand still: flock() itself would hold us as well */
		CHECK_FOR_INTERRUPTS();
		pg_usleep(LOCK_POLL_US);
	}
	write_all(fd, path, block, sizeof(*block));
	write_all(fd, path, data, block->bytes);
	if (CloseTransientFile(fd) != 0)
		ereport(ERROR, (errcode_for_file_access(),
				errmsg("could not close file \"%s\": %m", path)));
	pfree(path);
}

static size_t read_all(int fd, const char *path, void *data, size_t n)
{
	size_t got = 0;

	while (got < n) {
		ssize_t done = read(fd, (char *)data + got, n - got);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			ereport(ERROR, (errcode_for_file_access(),
					errmsg("could not read file \"%s\": %m", path)));
		if (done == 0)
			break;
		got += done;
	}
	return got;
}

static void cut_off(const char *path)
{
	ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
			errmsg("file \"%s\" of an intermediate result is cut off", path)));
}

int herd_result_open(const HerdResultFile *file)
{
	int fd = OpenTransientFile(file->path, O_RDONLY | PG_BINARY);

	if (fd < 0)
		ereport(ERROR, (errcode_for_file_access(),
				errmsg("could not open file \"%s\": %m", file->path)));
	return fd;
}

bool herd_result_read_block(int fd, const char *path, HerdBlock *block, StringInfo data)
{
	size_t got = read_all(fd, path, block, sizeof(*block));

	if (got == 0)
		return false;
	if (got < sizeof(*block) || block->bytes >= MaxAllocSize)
		cut_off(path);
	resetStringInfo(data);
	enlargeStringInfo(data, (int)block->bytes);
	if (read_all(fd, path, data->data, block->bytes) != block->bytes)
		cut_off(path);
	data->len = (int)block->bytes;
	data->data[data->len] = '\0';
	return true;
}

double herd_result_count(const char *id, int move, int part)
{
	double rows = 0;
	ListCell *lc;

	foreach (lc, herd_result_files(id, move, &part, 1)) {
		HerdResultFile *file = lfirst(lc);
		int fd = OpenTransientFile(file->path, O_RDONLY | PG_BINARY);
		HerdBlock block;

		if (fd < 0)
			continue;
		while (read_all(fd, file->path, &block, sizeof(block)) == sizeof(block) &&
		       lseek(fd, block.bytes, SEEK_CUR) >= 0)
			rows += block.rows;
		CloseTransientFile(fd);
	}
	return rows;
}
