/*
 * agent/helper.h - small processes beside the agent that must not depend on it: the guard, and the
 * write test of the progress probe.
 *
 * They run a tiny program that is part of pgherd's executable (from a memfd, so that an upgrade of
 * the package never mixes versions). Where that may not be executed the agent forks and goes on in
 * the same code.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"

/* The first argument of the program. */
#define HERD_HELPER_GUARD "pgherd-guard"
#define HERD_HELPER_WRITE "pgherd-write-test"

struct herd_helper;

/* fork_only: never execute the program (for tests). NULL when out of memory. */
struct herd_helper *herd_helper_new(bool fork_only);
void herd_helper_free(struct herd_helper *h);
/*
 * Starts argv (argv[0] is one of HERD_HELPER_*) with the n descriptors as 3, 4, ...; 1 and 2 stay,
 * all others are closed. It is our child: waitpid is the caller's. A session of its own.
 */
int herd_helper_spawn(struct herd_helper *h, const char *const *argv, const int *fds, size_t n,
		      pid_t *ret, struct herd_err *err);

/* --- the program's side: libc only --- */
int herd_helper_main(int argc, char **argv);
int herd_guard_process(int argc, char **argv);      /* DATA_DIR PAGE_FILE AGENT_PID */
int herd_write_test_process(int argc, char **argv); /* DIR...; exit status 0 or an errno */
