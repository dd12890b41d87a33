/*
 * move/store.h - the files of results: between result.c and store.c.
 */
#pragma once
#include "postgres.h"

#include "lib/stringinfo.h"
#include "nodes/pg_list.h"

typedef struct HerdBlock {
	uint32 bytes;
	uint32 rows;
} HerdBlock;

typedef struct HerdResultFile {
	int part;
	int group; /* of the node that wrote it */
	char *path;
} HerdResultFile;

/* Raises for an id with other characters than letters, digits and underscores. */
extern char *herd_result_directory(const char *id);
/* Both take what that one returned. */
extern void herd_result_make_directory(const char *path);
/* Also when it is not there. Warns instead of raising. */
extern void herd_result_remove_directory(const char *path);

/* Files of a move whose part is in parts (NULL: all of them), of HerdResultFile. */
extern List *herd_result_files(const char *id, int move, const int32 *parts, int nparts);
/* A block as it travels, for store_block. */
extern bytea *herd_result_wrap(int part, int group, const HerdBlock *block, const char *data);

/* Those that the group wrote, without what was fetched from others. */
extern List *herd_result_own_files(List *files, int group);
/* Appends data to the file of that name, which is made when it is not there. */
extern void herd_result_append(const char *id, int move, const HerdResultFile *file,
			       const HerdBlock *block, const char *data);
/* Opens it for reading, as a transient file; raises when it cannot. */
extern int herd_result_open(const HerdResultFile *file);
/* The next block of an open file; false at the end. data is overwritten, without the header. */
extern bool herd_result_read_block(int fd, const char *path, HerdBlock *block, StringInfo data);
/* Rows in the files, from the headers of their blocks. */
extern double herd_result_count(const char *id, int move, int part);
