/*
 * proxy/hostname.h - the name of a client's address, for lines of the hba file that have names.
 *
 * As PostgreSQL does it: the address is looked up, and the name counts only when the address is
 * among its own. The system's resolver is asked, by a helper thread (helpers.h), since it may
 * block.
 */
#pragma once
#include "proxy/client.h"

struct herd_hostname;

/*
 * Begins; the login goes on (herd_auth_begin) when login->host is known. False when out of memory.
 */
bool herd_hostname_start(struct herd_client *c);
/* The client leaves. NULL is a no-op. */
void herd_hostname_forget(struct herd_hostname *h);
