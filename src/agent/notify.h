/*
 * agent/notify.h - telling systemd how we are (sd_notify's protocol, without libsystemd).
 */
#pragma once

/*
 * Takes NOTIFY_SOCKET out of the environment, so that no child speaks for us. Nothing is sent when
 * it is not set. Call once, before threads and children.
 */
void herd_notify_init(void);
/* "READY=1", several separated by newlines. What cannot be sent is lost. */
void herd_notify(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* RELOADING=1 with the time that Type=notify-reload wants. */
void herd_notify_reloading(void);
