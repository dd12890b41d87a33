/*
 * pg/wal.h - a look at the WAL files of a stopped server.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* The end of a record of total length tot_len that begins at lsn, page headers counted. Pure. */
uint64_t herd_pg_wal_end(uint64_t lsn, uint32_t tot_len, uint64_t segment_bytes);
/* The end of the record at lsn, read from pg_wal; 0 when it cannot be read. */
uint64_t herd_pg_wal_record_end(const char *data_dir, uint32_t tli, uint64_t lsn,
				uint64_t segment_bytes);
/* Is the segment there, on any timeline? Named by the last 16 digits of its file's name. */
bool herd_pg_wal_has(const char *data_dir, const char *segment);
