/*
 * loop/loop.h - one event loop per thread, over libevent: timers, descriptors, signals, children.
 *
 * Callbacks run to their end on the loop's thread; nothing in them may block. Handles may be freed
 * inside their own callback. Time is CLOCK_BOOTTIME in milliseconds: it goes on while the machine
 * sleeps, which is what leases need.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

struct event_base;
struct herd_loop;

struct herd_loop *herd_loop_new(void); /* NULL when out of memory or descriptors */
void herd_loop_free(struct herd_loop *l);
/* Runs until herd_loop_stop. */
void herd_loop_run(struct herd_loop *l);
/* Runs until *done is true or the time is over (-1: never). Returns *done. For command-line tools.
 */
bool herd_loop_run_until(struct herd_loop *l, const bool *done, int64_t timeout_ms);
void herd_loop_stop(struct herd_loop *l);
struct event_base *herd_loop_base(struct herd_loop *l);
int64_t herd_now_ms(void);  /* CLOCK_BOOTTIME */
int64_t herd_now_us(void);  /* CLOCK_BOOTTIME */
int64_t herd_wall_ms(void); /* since the epoch; only for what people read */

struct herd_timer;
struct herd_timer *herd_timer_new(struct herd_loop *l, void (*fn)(void *arg), void *arg);
void herd_timer_free(struct herd_timer *t);
/* Fires once after delay_ms (>= 0); replaces an earlier setting. */
void herd_timer_set(struct herd_timer *t, int64_t delay_ms);
void herd_timer_cancel(struct herd_timer *t);

enum { HERD_IO_READ = 1, HERD_IO_WRITE = 2 };
struct herd_io;
/* Level triggered; fd stays the caller's. */
struct herd_io *herd_io_new(struct herd_loop *l, int fd, void (*fn)(void *arg, int events),
			    void *arg);
void herd_io_free(struct herd_io *io);
/* HERD_IO_* or 0 to sleep. */
void herd_io_want(struct herd_io *io, int events);

struct herd_signal;
struct herd_signal *herd_signal_new(struct herd_loop *l, int signo,
				    void (*fn)(void *arg, int signo), void *arg);
void herd_signal_free(struct herd_signal *s);

/* The end of any process, also one that is not our child (pidfd). -errno when it is gone already.
 */
struct herd_pidwatch;
int herd_pidwatch_new(struct herd_loop *l, pid_t pid, void (*fn)(void *arg, pid_t pid), void *arg,
		      struct herd_pidwatch **ret);
void herd_pidwatch_free(struct herd_pidwatch *w);

/*
 * A child process. Its output is collected (the last MiB of it) or goes to a descriptor; it gets a
 * session of its own, no other descriptors than 0 to 2, and dies with us only when die_with_parent
 * is set (with the thread that started it, to be exact). ret may be NULL.
 */
struct herd_child;
struct herd_child_opts {
	const char *const *argv; /* argv[0] is looked up in PATH unless it holds a slash */
	const char *const *env;  /* NULL: inherit; else NAME=value ..., NULL at the end */
	const char *cwd;         /* NULL: inherit */
	const char *input;       /* written to its stdin; NULL: /dev/null */
	int output_fd;           /* stdout and stderr; -1: collected and handed to the callback */
	int64_t timeout_ms;      /* then SIGTERM, 5 s later SIGKILL to its session's first
				    process group; 0: none */
	bool die_with_parent;
};
/* status as from waitpid; output NUL-terminated, valid during the call. */
typedef void (*herd_child_fn)(void *arg, int status, const char *output, size_t len);
int herd_child_start(struct herd_loop *l, const struct herd_child_opts *opts, herd_child_fn fn,
		     void *arg, struct herd_child **ret, struct herd_err *err);
pid_t herd_child_pid(const struct herd_child *c);
void herd_child_signal(struct herd_child *c, int signo);
/* Kills (SIGKILL to its group) and forgets it: the callback is not called. Freed by itself else. */
void herd_child_abandon(struct herd_child *c);
