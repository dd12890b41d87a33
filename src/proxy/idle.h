/*
 * proxy/idle.h - databases and pools that nobody needs any more go.
 */
#pragma once
#include "proxy/client.h"

/* Of any worker; the first does the work. */
void herd_idle_janitor(struct herd_worker *w);
