/*
 * proxy/doors.h - the sockets that clients come in by.
 */
#pragma once
#include "proxy/worker.h"

/* Listening sockets of the process that we take over from. */
struct herd_doors_given {
	int n;
	struct {
		int fd; /* -1: taken */
		char *name, *listener;
	} door[HERD_MAX_LISTENERS];
};
/* Closes what was not taken. */
void herd_doors_given_free(struct herd_doors_given *g);

/*
 * Opens what listen_addr, listen_port, unix_socket_dir and [listeners] name, or takes it from given
 * (may be NULL) or from the service manager. 0 or negative errno.
 */
int herd_doors_open(struct herd_px *px, const struct herd_pconf *config,
		    struct herd_doors_given *given, struct herd_err *err);
/*
 * Does this worker accept? For SUSPEND, and while there are no descriptors. One that is run by
 * another's thread never does: the other accepts for it.
 */
void herd_doors_watch(struct herd_worker *w, bool open);
/* What may change at run time: the tcp_ settings, which clients inherit. */
void herd_doors_tune(struct herd_px *px, const struct herd_settings *s);
/* No worker accepts from now on, but the sockets go on to exist: they have another owner. */
void herd_doors_leave(struct herd_px *px);
/* What was taken from another process is ours from now on. */
void herd_doors_own(struct herd_px *px);
/* They accept again. */
void herd_doors_return(struct herd_px *px);
/* No new clients from now on; workers may be running. Harmless when done twice. */
void herd_doors_shut(struct herd_px *px);
/* Closes them; no worker runs, and no client refers to its door any more. */
void herd_doors_close(struct herd_px *px);
