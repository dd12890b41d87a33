/*
 * proxy/pam.h - authentication by the machine's PAM modules.
 */
#pragma once
#include <stdbool.h>

#include "base/err.h"

/* False: this program was built without PAM. */
bool herd_pam_built(void);
/* The service's name: /etc/pam.d/pgbouncer. */
#define HERD_PAM_SERVICE "pgbouncer"
/* Blocks. 0: the password is right and the account may be used; else err says why not. */
int herd_pam_login(const char *service, const char *user, const char *password, const char *rhost,
		   struct herd_err *err);
