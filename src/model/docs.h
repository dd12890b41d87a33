/*
 * model/docs.h - the small documents of a group: sync, history, failover, status, failsafe,
 * handover, and the proxies' own.
 *
 * Key names and formats are Patroni 4.1's; handover and proxies/<id> are ours. Each has parse (0,
 * -EINVAL with err set when the text is unreadable, -ENOMEM; *ret untouched on failure), print
 * (malloc'd compact text, NULL when out of memory) and clear (takes zeroed structs, zeroes).
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* A list of names. */
struct herd_names {
	size_t n;
	char **name;
};
/* 0 or -ENOMEM. Appends, keeping duplicates out (case-insensitively). */
int herd_names_add(struct herd_names *l, const char *name);
/* Member names compare case-insensitively in /sync, as in PostgreSQL's own setting. */
bool herd_names_has(const struct herd_names *l, const char *name);
void herd_names_remove(struct herd_names *l, const char *name);
int herd_names_copy(const struct herd_names *from, struct herd_names *ret);
void herd_names_sort(struct herd_names *l);
bool herd_names_equal(const struct herd_names *a, const struct herd_names *b); /* as sets */
/* "a,b", malloc'd. */
char *herd_names_join(const struct herd_names *l, const char *sep);
void herd_names_clear(struct herd_names *l);

/* sync: {"leader":"a","quorum":0,"sync_standby":"b,c"} */
struct herd_sync {
	char *leader; /* NULL: as if the document were absent */
	int quorum;
	struct herd_names standby; /* never holds the leader; sorted when printed */
};
int herd_sync_parse(const char *text, size_t len, struct herd_sync *ret, struct herd_err *err);
char *herd_sync_print(const struct herd_sync *s);
void herd_sync_clear(struct herd_sync *s);

/* history: [[tl, lsn, "reason", "ISO time", "new leader"], ...] */
struct herd_history_line {
	int64_t timeline; /* that ended */
	uint64_t lsn;     /* where */
	char *reason;
	char *time;   /* NULL in old entries */
	char *leader; /* who began the next one; NULL in old entries */
};
struct herd_history {
	size_t n;
	struct herd_history_line *line; /* ascending by timeline */
};
int herd_history_parse(const char *text, size_t len, struct herd_history *ret,
		       struct herd_err *err);
char *herd_history_print(const struct herd_history *h);
int herd_history_add(struct herd_history *h, const struct herd_history_line *line); /* copies */
int herd_history_copy(const struct herd_history *from, struct herd_history *ret);
void herd_history_clear(struct herd_history *h);
/* The timeline the group is on: that of the last line + 1; 1 when there is no line. */
int64_t herd_history_timeline(const struct herd_history *h);
/*
 * Reads a <tl>.history file of PostgreSQL ("1\t0/3000000\tno recovery target specified\n"), or the
 * answer to TIMELINE_HISTORY. Unreadable lines make it -EINVAL.
 */
int herd_history_parse_file(const char *text, struct herd_history *ret, struct herd_err *err);

/* failover: {"leader":"..","member":"..","scheduled_at":"ISO8601"}, also "leader:candidate" */
struct herd_failover {
	char *leader;    /* NULL: a failover, whoever leads */
	char *candidate; /* NULL: any */
	char *scheduled_at;
	int64_t scheduled_ms; /* wall clock; 0 when not scheduled */
};
/* An empty object, an empty text and null parse as an all-NULL struct: no request. */
int herd_failover_parse(const char *text, size_t len, struct herd_failover *ret,
			struct herd_err *err);
char *herd_failover_print(const struct herd_failover *f);
static inline bool herd_failover_empty(const struct herd_failover *f)
{
	return !f->leader && !f->candidate;
}
void herd_failover_clear(struct herd_failover *f);

/* status: {"optime":1,"slots":{"a":1},"retain_slots":["b"]}; the text may be a bare LSN (legacy) */
struct herd_slot_lsn {
	char *name;
	uint64_t lsn;
};
struct herd_status {
	uint64_t optime; /* 0: unknown */
	size_t n_slots;
	struct herd_slot_lsn *slots;
	struct herd_names retain_slots;
};
int herd_status_parse(const char *text, size_t len, struct herd_status *ret, struct herd_err *err);
char *herd_status_print(const struct herd_status *s);
int herd_status_add_slot(struct herd_status *s, const char *name, uint64_t lsn);
uint64_t herd_status_slot(const struct herd_status *s, const char *name); /* 0: not there */
void herd_status_clear(struct herd_status *s);

/* failsafe: {"member":"api_url",...} */
struct herd_failsafe {
	size_t n;
	struct herd_failsafe_member {
		char *name, *api_url;
	} * member;
};
int herd_failsafe_parse(const char *text, size_t len, struct herd_failsafe *ret,
			struct herd_err *err);
char *herd_failsafe_print(const struct herd_failsafe *f);
int herd_failsafe_add(struct herd_failsafe *f, const char *name, const char *api_url);
const char *herd_failsafe_url(const struct herd_failsafe *f, const char *name); /* or NULL */
void herd_failsafe_clear(struct herd_failsafe *f);

/*
 * handover (ours, <group>/handover): a planned change of leader in progress. Written by the leader
 * that goes: PREPARE asks proxies to hold new work of the group and to open connections to `to`;
 * SHUTDOWN says that running work had its time and the server stops now; DONE says that `to` has
 * every byte of WAL and the leader key is being released to it (it may take the key without asking
 * anybody); ABORTED says that `from` goes on leading, or that it stays open who will. Deleted by
 * the next leader after its promotion. Proxies stop holding at ABORTED, when the document
 * disappears, when a leader other than `from` is named and usable, or at deadline_ms.
 */
enum herd_handover_phase {
	HERD_HANDOVER_PREPARE = 0,
	HERD_HANDOVER_SHUTDOWN,
	HERD_HANDOVER_DONE,
	HERD_HANDOVER_ABORTED
};
struct herd_handover {
	char *id; /* unique text; proxies acknowledge it */
	char *from, *to;
	enum herd_handover_phase phase;
	int64_t deadline_ms; /* wall clock */
};
const char *herd_handover_phase_text(enum herd_handover_phase p);
int herd_handover_parse(const char *text, size_t len, struct herd_handover *ret,
			struct herd_err *err);
char *herd_handover_print(const struct herd_handover *h);
int herd_handover_copy(const struct herd_handover *from, struct herd_handover *ret);
void herd_handover_clear(struct herd_handover *h);

/*
 * proxies/<id> (ours, under the scope, attached to the proxy's lease): {"id":"..","address":"..",
 * "acks":{"<group>":"<handover id>"}}. The group is "" without sharding. An ack means: I hand out
 * no server of that group's leader any more, and tell nothing to those that are in use.
 */
struct herd_proxy {
	char *id;
	char *address;
	size_t n_acks;
	struct herd_proxy_ack {
		char *group, *handover;
	} * acks;
};
int herd_proxy_parse(const char *id, const char *text, size_t len, struct herd_proxy *ret,
		     struct herd_err *err);
char *herd_proxy_print(const struct herd_proxy *p);
/* Sets, replaces or (handover NULL) removes the ack of a group. 0 or -ENOMEM. */
int herd_proxy_set_ack(struct herd_proxy *p, const char *group, const char *handover);
const char *herd_proxy_ack(const struct herd_proxy *p, const char *group); /* or NULL */
void herd_proxy_clear(struct herd_proxy *p);
