/*
 * model/explain.h - in words: why a member is or is not the leader, what stands in its way, and
 * what would remove that.
 *
 * Made from the documents of the store; a member's own agent adds what only it knows. The rules are
 * those of core/election.c, told instead of applied.
 */
#pragma once
#include <jansson.h>

#include "model/cluster.h"

/* What only the member's agent knows. Texts are borrowed. */
struct herd_explain_local {
	const char *rule, *why; /* of the last decision; "" when there was nothing to say */
	const char *warning;    /* or NULL */
	bool leads;             /* the leader key is its own, and the lease is good ... */
	int64_t lease_ms;       /* ... for so long; 0: there is none */
	const char *guard;      /* on, off, paused, failed */
	bool watchdog_failed;   /* required, and does not work */
	bool guard_failed;      /* likewise */
	bool dcs_ok;
	int64_t dcs_age_ms;  /* of its view of the store */
	const char *task;    /* long work under way, or NULL */
	int64_t task_ms;     /* since when */
	const char *waiting; /* what the work under way or the rule waits for, or NULL */
};

/*
 * {"member", "leader", "is_leader", "role", "state", "eligible", "summary",
 *  "reasons": [{"code", "text", "remedy"}], "notes": [text], "position": {...}, "sync": {...},
 *  "tags": {...}, "agent": {...}}
 *
 * reasons is what keeps a member from taking over now, empty when eligible. local NULL: the agent
 * was not asked, and "agent" is missing. NULL when out of memory.
 */
json_t *herd_explain(const struct herd_cluster *c, const char *name,
		     const struct herd_explain_local *local);
/* The document as lines for people, malloc'd. */
char *herd_explain_text(const json_t *doc);
