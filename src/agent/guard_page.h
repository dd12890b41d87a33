/*
 * agent/guard_page.h - what the agent and its guard share: one page in a file of its own, so that
 * an agent that is started again finds it. The guard is a program of its own (helper_main.c) and
 * uses libc only.
 *
 * Every field stands for itself: the agent may be stopped between any two writes, so none of them
 * makes sense only together with another. The layout is for ever; a change gets a new magic number
 * and with it a new file name.
 */
#pragma once
#include <stdatomic.h>
#include <stdint.h>

#define HERD_GUARD_MAGIC 0x70676832u
#define HERD_GUARD_PAGE_BYTES 4096
#define HERD_GUARD_GONE (-1) /* in `agent`: the file is being removed, make a new one */

struct herd_guard_page {
	_Atomic uint32_t magic;
	_Atomic int32_t agent; /* the agent that owns the page */
	_Atomic int32_t guard; /* the guard that acts; one that finds another here leaves */
	_Atomic int32_t ready; /* the guard for which the errors below are true */
	/*
	 * CLOCK_BOOTTIME in ms; 0: none. Until the agent moves it, nothing of the instance may run
	 * once it has passed: it goes on to count after the guard has acted.
	 */
	_Atomic int64_t deadline_ms;
	_Atomic uint64_t postmaster_start; /* ticks since boot: tells a pid that was used again */
	_Atomic int32_t postmaster;
	_Atomic uint32_t fired;      /* how often the guard had to act */
	_Atomic int64_t fired_ms;    /* when it did so last; CLOCK_BOOTTIME */
	_Atomic int64_t beat_ms;     /* when the guard last looked; CLOCK_BOOTTIME */
	_Atomic int32_t lock_error;  /* errno of mlockall; 0: locked */
	_Atomic int32_t sched_error; /* errno of sched_setscheduler; 0: real-time */
	_Atomic int32_t oom_error;   /* errno of setting oom_score_adj; 0: set */
	char data_dir[1024];         /* for people who look at the file; may be cut */
};

/* Descriptors that the guard program starts with, after 0 to 2. */
enum { HERD_GUARD_FD_PAGE = 3, HERD_GUARD_FD_NUDGE, HERD_GUARD_FD_READY, HERD_GUARD_FDS };
