/*
 * agent/guard.h - the guard: a tiny process beside the agent that shuts PostgreSQL down when the
 * agent has not moved the deadline in time (it died, hangs, or was stopped).
 *
 * Agent and guard share one page: the postmaster and the CLOCK_BOOTTIME millisecond until which it
 * may accept writes. At the deadline the guard sends SIGQUIT (immediate shutdown) and, a moment
 * later, SIGKILL to every process of the instance. The page lives in a file of its own (/dev/shm),
 * so an agent that is started again finds it: the guard of its predecessor sees the new owner and
 * gives way to the new guard, and the deadline in the page goes on to count meanwhile.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

struct herd_guard;

/* Starts the guard process for the instance in data_dir (absolute). */
int herd_guard_start(const char *data_dir, struct herd_guard **ret, struct herd_err *err);
/* The guard's pid: watch it, and call herd_guard_restart when it died. */
pid_t herd_guard_pid(const struct herd_guard *g);
int herd_guard_restart(struct herd_guard *g, struct herd_err *err);

/* The postmaster may write until deadline_ms; moves an earlier deadline. */
void herd_guard_arm(struct herd_guard *g, pid_t postmaster, int64_t deadline_ms);
void herd_guard_disarm(struct herd_guard *g);
bool herd_guard_armed(const struct herd_guard *g);
/* How often the guard of this instance had to act since the page was made. */
unsigned herd_guard_fired(const struct herd_guard *g);

/* Disarms and ends the guard process. NULL is a no-op. */
void herd_guard_free(struct herd_guard *g);
