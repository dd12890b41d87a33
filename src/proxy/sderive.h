/*
 * proxy/sderive.h - the keys of a password, for SCRAM with servers.
 *
 * To derive them takes a millisecond or more (PBKDF2, as many rounds as the server says), so that
 * is done by a helper thread (helpers.h). They are remembered per user and password for as long as
 * the server's salt stays the same, so it happens once for each.
 */
#pragma once
#include "proxy/server.h"

struct herd_sderive;

/*
 * Answers the server that asked (its challenge was taken): at once where the keys are known, else
 * later, on this worker. 0, or a negative errno with err.
 */
int herd_sderive_start(struct herd_worker *w, struct herd_server *s, const char *password,
		       const struct herd_scram_secret *asked, struct herd_err *err);
/* The server is about to be closed. NULL is a no-op. */
void herd_sderive_forget(struct herd_sderive *d);
/* Frees what is remembered. */
void herd_sderive_free(struct herd_px *px);
