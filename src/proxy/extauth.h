/*
 * proxy/extauth.h - logins that somebody outside decides: PAM and LDAP, on helper threads.
 */
#pragma once
#include "proxy/login.h"

/* Asks about the password that the client sent; the login goes on or fails when the answer is
 * there. */
void herd_extauth_start(struct herd_client *c, const char *password);
/* The client goes away: nobody waits for the answer. */
void herd_extauth_forget(struct herd_extauth *e);
