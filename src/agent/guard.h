/*
 * agent/guard.h - the guard: a tiny process beside the agent that shuts PostgreSQL down when the
 * agent has not moved the deadline in time (it died, hangs, or was stopped).
 *
 * Agent and guard share one page: the postmaster, and the CLOCK_BOOTTIME millisecond until which it
 * may accept writes. At the deadline the guard sends SIGQUIT (immediate shutdown) and, a moment
 * later, SIGKILL to every process of the instance; and to whatever starts there until the agent
 * moves the deadline. The page lies in a file of its own (/dev/shm), so an agent that is started
 * again finds it: its own guard announces itself, that of the predecessor leaves, and the deadline
 * in the page goes on to count meanwhile. The file goes with the agent, or by the guard when the
 * agent is dead and nothing is left to watch.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "agent/helper.h"
#include "base/err.h"

struct herd_guard;

/*
 * What the guard may take although it is not root: locked memory, the lowest real-time priority,
 * safety from the OOM killer. Before the privileges are dropped; the agent does not use it itself.
 * Returns a descriptor (-1: none) for herd_guard_limits_set, which is called when they are.
 */
int herd_guard_limits_allow(char **score);
void herd_guard_limits_set(int fd, char *score); /* frees score */

/*
 * Starts the guard process for the instance in data_dir (absolute). The helper stays the caller's
 * and must live as long. Waits (2 s at most) until the guard watches.
 */
int herd_guard_start(struct herd_helper *helper, const char *data_dir, struct herd_guard **ret,
		     struct herd_err *err);
/* The guard's pid: watch it, and call herd_guard_restart when it died. */
pid_t herd_guard_pid(const struct herd_guard *g);
/* Reaps the former one (or kills it, when it hangs) and starts another. */
int herd_guard_restart(struct herd_guard *g, struct herd_err *err);
/* It lives, but has not looked at the page for seconds: stopped by somebody. */
bool herd_guard_hangs(const struct herd_guard *g);
/* What the guard could not get: "memory is not locked (...)", ...; malloc'd, NULL: it has all. */
char *herd_guard_missing(const struct herd_guard *g);

/* The postmaster (0: not known) may write until deadline_ms. */
void herd_guard_arm(struct herd_guard *g, pid_t postmaster, int64_t deadline_ms);
void herd_guard_disarm(struct herd_guard *g);
bool herd_guard_armed(const struct herd_guard *g);
/* How often the guard of this instance had to act since the page was made. */
unsigned herd_guard_fired(const struct herd_guard *g);

/* For tests: the page and its file. */
void *herd_guard_page(const struct herd_guard *g);
const char *herd_guard_file(const struct herd_guard *g);
/*
 * Ends the guard process and removes the page. A guard that is armed stays and acts at its
 * deadline, unless another agent comes. NULL is a no-op.
 */
void herd_guard_free(struct herd_guard *g);
