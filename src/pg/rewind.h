/*
 * pg/rewind.h - has this instance gone another way than the leader, and the way back.
 */
#pragma once
#include "pg/history.h"
#include "pg/instance.h"

enum herd_pg_divergence {
	HERD_PG_DIVERGED_NO = 0, /* it may follow as it is */
	HERD_PG_DIVERGED_YES,    /* rewind or clone */
	HERD_PG_DIVERGED_UNKNOWN
};
/* What the decision rests on. local: from pg_control (stopped) or the running standby. */
struct herd_pg_divergence_facts {
	uint32_t local_tli;
	uint64_t local_lsn; /* standby: replayed or min recovery end; primary: checkpoint record */
	uint64_t local_end_lsn; /* primary: end of the checkpoint record; 0: unknown */
	bool local_was_standby;
	uint32_t leader_tli;
	uint64_t leader_lsn;
	const struct herd_pg_history *history; /* of leader_tli; NULL when leader_tli is 1 */
};
/* Pure. A line of text why, static. */
enum herd_pg_divergence herd_pg_divergence(const struct herd_pg_divergence_facts *f,
					   const char **why);

struct herd_pg_leader_facts {
	uint64_t system_identifier;
	uint32_t tli;
	uint64_t lsn;
	struct herd_pg_history history;
};
void herd_pg_leader_facts_clear(struct herd_pg_leader_facts *f);
typedef void (*herd_pg_check_fn)(void *arg, int rc, enum herd_pg_divergence d, const char *why,
				 const struct herd_pg_leader_facts *leader,
				 const struct herd_err *err);
/*
 * Asks the leader (IDENTIFY_SYSTEM, TIMELINE_HISTORY over a replication connection) and pg_control
 * or the running local standby, and compares. rc < 0: the leader or pg_control could not be read.
 */
int herd_pg_divergence_check(struct herd_pg *pg, const struct herd_pg_addr *leader,
			     herd_pg_check_fn fn, void *arg, struct herd_err *err);

/* True when pg_rewind may be used: configured, and wal_log_hints or checksums are on. */
bool herd_pg_rewind_possible(const struct herd_pg *pg, const struct herd_pg_controldata *c);

/*
 * Stopped only. Finishes crash recovery in single-user mode when pg_control is dirty, makes the
 * source checkpoint when its control file is older than its timeline, runs pg_rewind. Failure:
 * the data directory is removed when configured so (err says it), else left as it is. -EAGAIN: the
 * source cannot be asked or is in recovery, nothing was touched.
 */
int herd_pg_rewind(struct herd_pg *pg, const struct herd_pg_addr *source, herd_pg_done_fn done,
		   void *arg, struct herd_err *err);
/* Crash recovery alone, in single-user mode, without archiving. */
int herd_pg_single_user_recovery(struct herd_pg *pg, herd_pg_done_fn done, void *arg,
				 struct herd_err *err);
