/*
 * pg/status.h - all that one look at a running server tells, asked for in one round trip.
 */
#pragma once
#include "pg/query.h"

/* A row of pg_stat_replication (walsenders only). */
struct herd_pg_standby {
	char *application_name, *client_addr, *state, *sync_state, *usename; /* never NULL */
	int sync_priority, pid;
	uint64_t sent_lsn, write_lsn, flush_lsn, replay_lsn;
};

struct herd_pg_slot {
	char *name, *type, *database, *plugin; /* database and plugin NULL for physical */
	bool active, temporary, failover, synced, has_xmin, catalog_xmin_valid;
	uint32_t catalog_xmin;
	uint64_t restart_lsn, confirmed_lsn; /* 0: none */
	char *wal_status;                    /* NULL: none */
};

/* A setting that waits for a restart: as people write the values ("128MB"). */
struct herd_pg_pending {
	char *name, *now, *then;
};

struct herd_pg_status {
	int server_version; /* 150018 */
	uint64_t system_identifier;
	bool in_recovery, replay_paused;
	uint32_t timeline;    /* primary: of its WAL; standby: of the walreceiver, else of the
				 checkpoint */
	uint64_t current_lsn; /* primary: pg_current_wal_lsn; 0 on a standby */
	uint64_t flush_lsn;   /* primary: pg_current_wal_flush_lsn */
	uint64_t receive_lsn, replay_lsn, latest_end_lsn; /* standby; 0 unknown */
	char *replication_state; /* walreceiver: streaming, "in archive recovery", or NULL */
	char *primary_conninfo_used, *slot_used; /* of the walreceiver; NULL: none */
	char *receiver_host;
	int receiver_port;
	uint32_t receiver_tli;       /* 0: no walreceiver */
	int64_t start_time_ms;       /* pg_postmaster_start_time, epoch */
	char *start_time;            /* as text with zone, PostgreSQL's form */
	char *last_xact_replay;      /* pg_last_xact_replay_timestamp as text; NULL */
	int64_t client_transactions; /* clients inside a transaction, ours and walsenders not
					counted */
	int64_t client_backends;
	char *synchronous_standby_names, *synchronous_commit;
	char *primary_conninfo, *primary_slot_name, *restore_command, *hot_standby_feedback;
	uint64_t checkpoint_lsn;
	uint32_t checkpoint_tli;
	int max_slots;               /* max_replication_slots */
	bool logical_wal, slot_sync; /* wal_level = logical; sync_replication_slots */
	struct herd_pg_standby *standby;
	size_t standby_n;
	struct herd_pg_slot *slot;
	size_t slot_n;
	struct herd_pg_pending *pending;
	size_t pending_n;
};
void herd_pg_status_clear(struct herd_pg_status *st);

/* Moves the contents to dst (which is overwritten); src is empty then. */
void herd_pg_status_move(struct herd_pg_status *dst, struct herd_pg_status *src);

/* st is the callee's to read or to take with herd_pg_status_move; NULL when rc < 0. */
typedef void (*herd_pg_status_fn)(void *arg, int rc, struct herd_pg_status *st,
				  const struct herd_err *err);
/* -ETIME: the server's statement timeout struck, so the server lives: keep what you knew. */
int herd_pg_status_query(struct herd_pg_session *s, int64_t timeout_ms, herd_pg_status_fn fn,
			 void *arg);
