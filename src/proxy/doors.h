/*
 * proxy/doors.h - the sockets that clients come in by.
 */
#pragma once
#include "proxy/worker.h"

/* Opens what listen_addr, listen_port, unix_socket_dir and [listeners] name. 0 or negative errno.
 */
int herd_doors_open(struct herd_px *px, const struct herd_pconf *config, struct herd_err *err);
/* No new clients from now on; workers may be running. Harmless when done twice. */
void herd_doors_shut(struct herd_px *px);
/* Closes them; no worker runs, and no client refers to its door any more. */
void herd_doors_close(struct herd_px *px);
