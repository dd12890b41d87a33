/*
 * agent/progress.h - the progress probe: does PostgreSQL still do its work? A postmaster that lives
 * may hang, its disk may be full or not answer, its WAL may stand still. Looks every third part of
 * probe.timeout, reports what has been wrong for longer than that, and clears it when it is right
 * again. It decides nothing: the core does (obs.pg.stalled).
 *
 * What is looked at: status queries are answered; a new connection is answered; a file in the data
 * directory (and in pg_wal, where that is elsewhere) can be written and synced; as primary, WAL
 * that was inserted is flushed (a commit of the probe's own tells, when it looks as if not); no
 * process of the server itself is stopped.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct herd_agent;
struct herd_progress;

/* NULL when out of memory. Begins by itself; the agent's loop, configuration and pg must be there.
 */
struct herd_progress *herd_progress_new(struct herd_agent *a);
void herd_progress_free(struct herd_progress *p);
/* A status query has ended. */
void herd_progress_answered(struct herd_progress *p, bool ok);
/* What is wrong, in words; NULL: nothing, as far as is known. */
const char *herd_progress_stalled(const struct herd_progress *p);
