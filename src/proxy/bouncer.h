/*
 * proxy/bouncer.h - taking over from a running PgBouncer (-R), by its own means.
 *
 * At its console it is told SUSPEND, then SHOW FDS, whose rows come with the descriptors they tell
 * of (SCM_RIGHTS), and SHUTDOWN at last. It tells little of a session: of a client its database,
 * user, cancel key and four parameters. So its idle servers, which know prepared statements by
 * names like ours, are not taken, and those of clients in a transaction end with it.
 */
#pragma once
#include "proxy/doors.h"
#include "proxy/handover.h"

struct herd_bouncer;

/*
 * sock: its console, logged in. Suspends it and takes what it has; the listening sockets are added
 * to doors. When we end before herd_bouncer_finish it goes on as if nothing had been.
 */
int herd_bouncer_take(int sock, const struct herd_settings *s, struct herd_bouncer **ret,
		      struct herd_doors_given *doors, struct herd_err *err);
/*
 * Ends the other process, waits until it has gone, and puts what it had to use. pool gets a record
 * for each user whose secrets came along. Blocks; not on a worker's thread.
 */
void herd_bouncer_finish(struct herd_bouncer *b, struct herd_px *px, int sock, int pid,
			 void (*pool)(struct herd_px *px, const struct herd_record *r));
/* Closes what was not put to use. NULL is a no-op. */
void herd_bouncer_free(struct herd_bouncer *b);
