/*
 * agent/watchdog.h - a watchdog device: it resets the machine unless it hears from us in time. Only
 * the device; when to use it is fence.c's.
 */
#pragma once
#include <stdbool.h>

#include "base/err.h"

struct herd_watchdog;

/*
 * Opens the device, which starts it. testing: a FIFO that gets "Ctimeout=<n>\n" instead of an
 * ioctl, as Patroni's tests have it. -EBUSY: somebody has it open.
 */
int herd_watchdog_open(const char *device, bool testing, struct herd_watchdog **ret,
		       struct herd_err *err);
/* Seconds, as the device took it: it may know only some values, or one. */
int herd_watchdog_timeout(const struct herd_watchdog *w);
int herd_watchdog_set_timeout(struct herd_watchdog *w, int timeout, struct herd_err *err);
int herd_watchdog_ping(struct herd_watchdog *w, struct herd_err *err);
/* Can it be stopped at all? Otherwise closing it ends in a reset. */
bool herd_watchdog_stoppable(const struct herd_watchdog *w);
/* Closes and frees; stop: it shall not fire any more. NULL is a no-op. */
void herd_watchdog_close(struct herd_watchdog *w, bool stop);
