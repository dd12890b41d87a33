/*
 * pg/proc.h - which processes belong to a data directory, from /proc. Never kill(pid, 0): a zombie
 * answers to that, and so does whoever has the number now.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

/* The lines of postmaster.pid. */
struct herd_pg_pidfile {
	pid_t pid; /* a stand-alone backend writes it negative */
	int64_t start_epoch;
	int port;
	char status[16]; /* starting, stopping, ready, standby; "" while not written */
};
int herd_pg_pidfile_parse(const char *text, struct herd_pg_pidfile *ret);
/* -ENOENT: no file; -EINVAL: not (yet) whole. */
int herd_pg_pidfile_read(const char *data_dir, struct herd_pg_pidfile *ret);

/* A process with this number lives and is no zombie. */
bool herd_pg_proc_alive(pid_t pid);
/* True when pid lives (no zombie), runs postgres and has data_dir as its directory. */
bool herd_pg_proc_is_server(pid_t pid, const char *data_dir);
/* And is a postmaster or stand-alone backend, not the child of one. */
bool herd_pg_proc_is_postmaster(pid_t pid, const char *data_dir);
/* Up to max pids of all of them but `except`; the number found (may be more than max). */
size_t herd_pg_proc_list(const char *data_dir, pid_t except, pid_t *pids, size_t max);
/* Does any process of the directory serve a client (not a standby)? By their titles. */
bool herd_pg_proc_has_clients(const char *data_dir);
/*
 * A process of the server itself (none that serves a client) that is stopped (SIGSTOP, a debugger);
 * 0: none. title is malloc'd, or NULL.
 */
pid_t herd_pg_proc_stopped(const char *data_dir, char **title);
/* The process of the server whose title begins so ("startup"); 0: none. */
pid_t herd_pg_proc_titled(const char *data_dir, const char *what);
/* The pid in a stale postmaster.pid is somebody else's: without help, postgres would not start. */
bool herd_pg_proc_foreign(pid_t pid, const char *data_dir);
