/*
 * core/core.h - the HA decisions of one agent. Reads no clock, socket, file, random source or
 * global: the same observations give the same plans.
 *
 * What must survive from one step to the next (which questions were asked, how far a handover is)
 * lives in struct herd_core. Losing it (the agent restarts) is always safe.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "core/obs.h"
#include "core/plan.h"

struct herd_core;

/* nonce: any number that differs between runs of the agent: it goes into handover ids. */
struct herd_core *herd_core_new(uint64_t nonce); /* NULL when out of memory */
void herd_core_free(struct herd_core *c);

/* Total: a plan for every observation. The rule order is the table in step.c. */
void herd_core_step(struct herd_core *c, const struct herd_obs *obs, struct herd_plan *plan);

/* False: this standby, or one that it streams from, has nostream. It keeps no logical slots. */
bool herd_slots_fed_by_stream(const struct herd_cluster *cl, const struct herd_tags *tags);
/*
 * Must a standby keep the rows that permanent logical slots may still need, for its own or for
 * those of members that stream from it? Then hot_standby_feedback is on, whatever is configured.
 */
bool herd_slots_need_feedback(const struct herd_cluster *cl, const char *name,
			      const struct herd_tags *tags);

/* ---- lease.h's arithmetic, for the shell, the guard and the REST API ---- */

/*
 * Counted from the moment the last successful renewal was sent, in thirds and twelfths of the ttl:
 *   renew   when a third (or loop_wait, if shorter) is over
 *   fast    at 8/12 without a renewal: stop PostgreSQL (fast)
 *   hard    at 9/12: stop it in immediate mode
 *   guard   at 10/12: the guard kills it whatever the agent does
 *   expiry  at 12/12 at the earliest: the store may give leadership to another
 */
struct herd_lease_times {
	int64_t renew_ms, fast_ms, hard_ms, guard_ms, expiry_ms;
};
struct herd_lease_times herd_lease_times(int64_t sent_ms, int64_t ttl_ms, int64_t loop_wait_ms);

/* ---- failsafe_mode (failsafe.c) ---- */

/*
 * Without the store a leader may go on by the word of all members, and there are still never two:
 *
 *  - The key failsafe names the members. Only the holder of the leader key writes it, always for a
 *    version it has read. The leader asks all that it names, and all that a write of ours may have
 *    put there unseen. Whoever is not in it may win the leader key only when everybody in it
 *    says for ttl that it does not lead and cannot.
 *  - A member says yes only while it neither leads, nor runs as primary, nor becomes one. With its
 *    yes it promises: for ttl from then on it is not promoted, not even when an earlier request
 *    for the key turns out to have succeeded. A member that was started a moment ago may have
 *    promised in its former life: it waits for ttl, unless all others tell it that they do not
 *    lead.
 *  - The leader counts from the moment when it SENT the first question of a round to which all said
 *    yes, as it does with the lease: no promise ends earlier than ttl after that. So the same
 *    twelfths hold (herd_lease_times), also for the guard. Who leads by the store did so after
 *    our right had ended, or was asked and said no.
 *  - Back at the store it takes the key again, if nobody has it: by then nobody else can have had
 *    it.
 *
 * What a member says to POST /failsafe. mode: failsafe_mode is on. leads: the last plan's leader,
 * and leader_until_ms is not over. primary: the server takes writes, or is about to (it is being
 * started as primary, or promoted). After a yes the shell must drop what was not begun of the plan,
 * put the question into obs.failsafe, and step.
 */
enum herd_failsafe_word { HERD_FAILSAFE_YES = 0, HERD_FAILSAFE_LEADER, HERD_FAILSAFE_OFF };
static inline enum herd_failsafe_word herd_failsafe_word(bool mode, bool leads, bool primary)
{
	return leads || primary ? HERD_FAILSAFE_LEADER
	       : mode           ? HERD_FAILSAFE_YES
				: HERD_FAILSAFE_OFF;
}

/* synchronous_standby_names, read and written. */
enum herd_ssn_kind {
	HERD_SSN_NONE = 0,
	HERD_SSN_FIRST,
	HERD_SSN_ANY,
	HERD_SSN_STAR,     /* any standby, also those we do not know */
	HERD_SSN_ANY_STAR, /* the same as it is written for a quorum; read as HERD_SSN_STAR */
	HERD_SSN_BAD
};
struct herd_ssn {
	enum herd_ssn_kind kind;
	int num;
	struct herd_names names;
};
void herd_ssn_parse(const char *text, struct herd_ssn *ret); /* BAD when it cannot be read */
char *herd_ssn_print(const struct herd_ssn *s);              /* malloc'd */
/* The setting with which a primary begins while it has no synchronous standby; static. */
const char *herd_sync_first(const struct herd_config *cfg);
void herd_ssn_clear(struct herd_ssn *s);
