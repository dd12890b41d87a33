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
void herd_ssn_clear(struct herd_ssn *s);
