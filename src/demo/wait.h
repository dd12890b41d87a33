/*
 * demo/wait.h - waits until a demo herd serves, and shows how far it is.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "demo/layout.h"

/* Set by a signal handler: waiting ends with -EINTR. */
extern volatile int demo_interrupted;

/*
 * Returns when every member runs, all nodes are registered and the three endpoints answer; -EINTR,
 * -ETIMEDOUT (err says what is missing) or -ESRCH when one of our programs ended meanwhile.
 */
int demo_wait_ready(const struct demo *d, int64_t timeout_ms, struct herd_err *err);
/* Until etcd accepts connections. */
int demo_wait_etcd(const struct demo *d, struct herd_err *err);
/* A line of progress with the time since the first one. */
void demo_progress(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
