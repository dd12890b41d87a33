/*
 * agent/notify.h - telling systemd how we are (sd_notify's protocol, without libsystemd).
 */
#pragma once
#include <stdbool.h>

/*
 * Takes NOTIFY_SOCKET out of the environment, so that no child speaks for us. Nothing is sent when
 * it is not set. Call once, before threads and children.
 */
void herd_notify_init(void);
/* "READY=1", several separated by newlines. What cannot be sent within 0.1 s is lost. */
void herd_notify(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* STATUS=... False: not now (the queue is full), try again later. */
bool herd_notify_status(const char *status);
/* RELOADING=1 with the time that Type=notify-reload wants. */
void herd_notify_reloading(void);
