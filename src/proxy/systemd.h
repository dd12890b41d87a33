/*
 * proxy/systemd.h - the service manager: sockets it opened for us, and how we are (sd_listen_fds
 * and sd_notify without libsystemd). Main thread.
 */
#pragma once

/* How many sockets were passed, from descriptor 3 on; they are made ours (close on exec). */
int herd_systemd_sockets(void);
/* "READY=1", "STOPPING=1", "MAINPID=17"; nothing happens when nobody listens. */
void herd_systemd_notify(const char *text);
/* RELOADING=1 with the time that Type=notify-reload wants. */
void herd_systemd_reloading(void);
