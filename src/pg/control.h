/*
 * pg/control.h - what pg_control says about a data directory.
 *
 * herd_pg_control_read runs pg_controldata (all fields, a few milliseconds); herd_pg_control_peek
 * reads the first fields of global/pg_control itself (same layout in PostgreSQL 13 to 18) in
 * microseconds: for the milliseconds that a switchover waits for the shutdown checkpoint.
 */
#pragma once
#include "loop/loop.h"
#include "pg/config.h"

enum herd_pg_control_state { /* as DBState in PostgreSQL's pg_control.h */
			     HERD_PG_DB_STARTUP = 0,
			     HERD_PG_DB_SHUTDOWNED,
			     HERD_PG_DB_SHUTDOWNED_IN_RECOVERY,
			     HERD_PG_DB_SHUTDOWNING,
			     HERD_PG_DB_IN_CRASH_RECOVERY,
			     HERD_PG_DB_IN_ARCHIVE_RECOVERY,
			     HERD_PG_DB_IN_PRODUCTION,
			     HERD_PG_DB_UNKNOWN
};

struct herd_pg_controldata {
	uint64_t system_identifier;
	enum herd_pg_control_state state;
	uint64_t checkpoint_lsn, redo_lsn;
	uint32_t checkpoint_tli, prev_tli;
	/* the rest only from herd_pg_control_read */
	uint64_t min_recovery_lsn; /* 0: none */
	uint32_t min_recovery_tli;
	uint64_t backup_start_lsn;
	char wal_level[16];
	bool wal_log_hints, track_commit_timestamp;
	int max_connections, max_worker_processes, max_wal_senders, max_prepared_xacts,
		max_locks_per_xact;
	uint32_t data_checksums; /* 0: none */
	int64_t wal_segment_bytes;
	uint32_t control_version, catalog_version;
};

const char *herd_pg_control_state_name(enum herd_pg_control_state s); /* as pg_controldata prints */
/* True when the instance that wrote it was not stopped cleanly: recovery is needed before rewind.
 */
bool herd_pg_control_dirty(const struct herd_pg_controldata *c);
/* Parses the output of pg_controldata under LC_ALL=C. */
int herd_pg_control_parse(const char *text, struct herd_pg_controldata *ret, struct herd_err *err);
/* -ENOENT: no data directory; -EINVAL: unknown layout or a torn read; the first five lines above.
 */
int herd_pg_control_peek(const char *data_dir, struct herd_pg_controldata *ret,
			 struct herd_err *err);

typedef void (*herd_pg_control_fn)(void *arg, int rc, const struct herd_pg_controldata *c,
				   const struct herd_err *err);
/* fn is called once, later, unless this fails. */
int herd_pg_control_read(struct herd_loop *l, const struct herd_pg_config *cfg,
			 herd_pg_control_fn fn, void *arg, struct herd_err *err);
