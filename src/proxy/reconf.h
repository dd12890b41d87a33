/*
 * proxy/reconf.h - what a new configuration means for server connections that are open.
 */
#pragma once
#include "proxy/worker.h"

/*
 * Marks those to be closed, as soon as nobody uses them, that would be opened otherwise now:
 * another host, other credentials, another setting of server_tls_*. Failures of before are
 * forgotten. Any thread.
 */
void herd_reconf_servers(struct herd_px *px, const struct herd_live *old,
			 const struct herd_live *now);
