/*
 * loop/zone.h - the serial of a DNS zone, which tells whether anything in it may have changed.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * Asks for the SOA record of the domain, or of the zone that it is in. Blocks as long as the name
 * servers' timeout and attempts let it (glibc's resolver): for helper threads. conf NULL:
 * /etc/resolv.conf; of another file the lines nameserver (IPv4, maybe with :port; three at most)
 * and options timeout: and attempts: count. 0; -ENOENT: no server said anything of a zone; or
 * another negative errno; with err.
 */
int herd_zone_serial(const char *conf, const char *domain, uint32_t *ret, struct herd_err *err);

/* From a server's answer. 0 or -ENOENT: there is no SOA record in it, or it is cut or garbled. */
int herd_zone_serial_of(const unsigned char *answer, size_t len, uint32_t *ret);
