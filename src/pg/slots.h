/*
 * pg/slots.h - replication slots of the running local server.
 */
#pragma once
#include "pg/status.h"

/* One after the other; a slot that is there already (or gone, for drop) is no error. */
struct herd_pg_slots_plan {
	struct herd_pg_lines create;     /* physical, WAL reserved at once */
	struct herd_pg_lines drop;       /* inactive ones; active ones are reported by err */
	struct herd_pg_settings advance; /* name = LSN; never backwards */
};
void herd_pg_slots_plan_clear(struct herd_pg_slots_plan *p);
/*
 * fn's rc is the first failure (its text names the slot); the others are still done. -EALREADY: the
 * plan is empty, fn is not called.
 */
int herd_pg_slots_apply(struct herd_pg_session *s, const struct herd_pg_slots_plan *plan,
			int64_t timeout_ms, void (*fn)(void *arg, int rc, const struct herd_err *),
			void *arg);

/*
 * Puts the state of a logical slot, as read from another server's pg_replslot/<name>/state, into a
 * data directory whose server is down. Durable. An old one of that name is replaced.
 */
int herd_pg_slot_put(const char *data_dir, const char *name, const char *state, size_t len,
		     struct herd_err *err);

/* Slots that lie in a data directory, used by a server or not. A start reads and counts them. */
struct herd_pg_slots_found {
	int n, logical;
};
struct herd_pg_slots_found herd_pg_slots_on_disk(const char *data_dir);
/*
 * A server does not start with fewer max_replication_slots than there are slots, or with logical
 * ones below wal_level logical. s is for its command line; *raised is set when something was.
 */
int herd_pg_slots_raise(struct herd_pg_settings *s, const struct herd_pg_slots_found *found,
			bool *raised);
