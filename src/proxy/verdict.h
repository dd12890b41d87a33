/*
 * proxy/verdict.h - which statements are proved to be reads, remembered by their text.
 *
 * The first time a statement is met (constants aside) its text goes to a thread of its own, which
 * parses it (sql/readonly.h); then the catalog of the primary is asked about what it names
 * (proxy/proof.h). Until the answer is there the statement is for the primary. A verdict is looked
 * at again after a minute, at once when the schema changes through this proxy, and soon when it
 * changes otherwise (proxy/drift.h).
 *
 * Each worker has a small table of its own in front, so that a hot statement meets no lock.
 */
#pragma once
#include "proxy/client.h"

enum herd_verdict {
	HERD_VERDICT_NONE = 0, /* not known yet */
	HERD_VERDICT_READ,
	HERD_VERDICT_NO
};

struct herd_verdicts;
struct herd_verdicts *herd_verdicts_new(struct herd_px *px); /* NULL when out of memory */
/* Ends its thread. What it posted to workers is theirs to run. */
void herd_verdicts_stop(struct herd_verdicts *v);
/* No worker runs any more, and it was stopped. */
void herd_verdicts_free(struct herd_verdicts *v);

/* Of a text of this client; one that is not known is looked at from now on. */
enum herd_verdict herd_verdict_get(struct herd_client *c, const char *text, size_t n);
/* A standby refused it: whatever was proved, it is none for a while. */
void herd_verdict_refused(struct herd_client *c, const char *text, size_t n);
/* The schema of the database changes: everything is looked at again. */
void herd_verdict_forget(struct herd_db *db);

/* For SHOW SPLIT. */
struct herd_verdict_view {
	const char *db, *why, *text; /* why: NULL, or what keeps it from being a read */
	enum herd_verdict verdict;
	uint64_t uses;
	int64_t age_us; /* since it was last looked at */
};
void herd_verdicts_each(struct herd_verdicts *v,
			void (*fn)(void *arg, const struct herd_verdict_view *view), void *arg);
