/*
 * pg/archive.h - archiving WAL of a stopped server, which its own archiver had no time for.
 */
#pragma once
#include "pg/instance.h"

/*
 * The command for one file: %p and %f replaced, %% is a percent sign. malloc'd; NULL when out of
 * memory. Pure.
 */
char *herd_pg_archive_words(const char *command, const char *path, const char *file);
/*
 * Stopped only. Runs archive_command for every segment that waits for it (.ready) and, with last
 * set, for the one that holds the shutdown checkpoint of a server that was shut down cleanly.
 * Without archiving nothing is done. done gets 0 also when the command fails: that is a notice.
 */
int herd_pg_archive(struct herd_pg *pg, bool last, herd_pg_done_fn done, void *arg,
		    struct herd_err *err);
