/*
 * proxy/admin.h - the console: database "pgbouncer" (or "pgherd"), simple and extended protocol.
 */
#pragma once
#include "proxy/client.h"

/* The login is authentic; full: may change things, not only SHOW. Greets. */
void herd_admin_start(struct herd_client *c, bool full);
/* The same without a greeting: it had one, from another process. */
void herd_admin_resume(struct herd_client *c, bool full);
bool herd_admin_full(const struct herd_client *c);
/* No command is under way? */
bool herd_admin_resting(const struct herd_client *c);
/* Reads and answers what came. */
void herd_admin_run(struct herd_client *c);
/* A command that waits (PAUSE, WAIT_CLOSE): is it done? */
void herd_admin_check(struct herd_client *c);
/* Its client does not want to wait any longer: what it waits for is undone. */
void herd_admin_cancel(struct herd_client *c);
void herd_admin_close(struct herd_client *c);

/* Reads the configuration file again and makes it the live one. Any thread. */
int herd_admin_reload(struct herd_px *px, struct herd_err *err);
/* Log file and level as the settings in force say. */
void herd_admin_apply_log(struct herd_px *px);
/*
 * Makes config (whose reference it takes, also on failure) the live one. px->reload_lock is held.
 * piecemeal: a key and a certificate that do not belong together keep what was loaded before.
 */
int herd_live_replace(struct herd_px *px, struct herd_pconf *config, bool piecemeal,
		      struct herd_err *err);
