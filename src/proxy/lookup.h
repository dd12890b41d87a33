/*
 * proxy/lookup.h - auth_query: asking the database for a user's secret.
 */
#pragma once
#include "proxy/client.h"

/* Runs auth_query for c->user as auth_user; herd_login_secret follows, unless c goes away first. */
void herd_lookup_start(struct herd_client *c, const char *auth_user);

/* login.c: the answer. secret NULL: no password; error: the query failed. */
void herd_login_secret(struct herd_client *c, bool found, const char *secret, const char *error);
