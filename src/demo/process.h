/*
 * demo/process.h - the programs of a demo herd: started detached, found again by their pid files.
 */
#pragma once
#include <stdbool.h>
#include <sys/types.h>

#include "demo/layout.h"

/*
 * Starts argv detached from this process and terminal, output appended to <dir>/log/<name>.log,
 * pid in <dir>/run/<name>.pid. Reports a program that cannot be executed.
 */
int demo_start(const struct demo *d, const char *name, const char *const *argv,
	       struct herd_err *err);
/* Pid of the running program, 0 when it is not running (a pid of somebody else does not count). */
pid_t demo_running(const struct demo *d, const char *name);
/* Runs argv to its end; what it printed, malloc'd, or NULL when it failed. */
char *demo_capture(const char *const *argv);
/* Sends signo; does not wait. */
void demo_signal(const struct demo *d, const char *name, int signo);
/* Waits until it has gone, timeout_ms at most, then SIGKILL. Removes the pid file. */
void demo_wait_gone(const struct demo *d, const char *name, int timeout_ms);
/* Kills every process below the directory that is left (postmasters of killed agents). */
void demo_kill_leftovers(const struct demo *d);
/* True when nobody listens on 127.0.0.1:port. */
bool demo_port_free(int port);
/* The last lines of a program's log, malloc'd; "" when there are none. */
char *demo_log_tail(const struct demo *d, const char *name, int lines);
