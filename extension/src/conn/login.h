/*
 * conn/login.h - as whom this server logs in to another, see login.c.
 */
#pragma once
#include "postgres.h"

#include "catalog/metadata.h"

/* From _PG_init. */
extern void herd_login_init(void);
/* The role that logs in for the user: the user, or the owner of the extension. */
extern const char *herd_login_for(const HerdNode *node, const char *user);
/*
 * The node has asked a password of the user that is not there. True when it makes sense to ask
 * herd_login_for again.
 */
extern bool herd_login_instead(const HerdNode *node, const char *user);
/* What gives the session of the extension's owner to the user, palloc'd. */
extern char *herd_login_bind_sql(const char *user);
