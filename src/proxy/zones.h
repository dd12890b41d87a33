/*
 * proxy/zones.h - the DNS zones of the host names that servers are configured by.
 *
 * Every dns_zone_check_period each zone is asked for its serial (loop/zone.h, on a helper thread,
 * one after the other). When that has changed all names in it are looked up, also when nobody
 * needs them; so they are when it cannot be had. A name's zone is what follows its first dot.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

struct herd_px;
struct herd_zones;

/* renew: the names of the zone may have changed; any thread. NULL when out of memory. */
struct herd_zones *herd_zones_new(struct herd_px *px,
				  void (*renew)(struct herd_px *px, const char *zone));
void herd_zones_free(struct herd_zones *z);
/* resolv_conf "": the system's. 0 or -ENOMEM. */
int herd_zones_start(struct herd_zones *z, const char *resolv_conf);

/* NULL: the host is in none. */
const char *herd_zone_of(const char *host);
/* A name that is new. Any thread. */
void herd_zones_add(struct herd_zones *z, const char *host);
/* Main thread, now and then. */
void herd_zones_tick(struct herd_zones *z);

size_t herd_zones_count(struct herd_zones *z);
/* For SHOW; serial 0: not known. fn must not call back. */
void herd_zones_each(struct herd_zones *z,
		     void (*fn)(void *arg, const char *zone, uint32_t serial, size_t names),
		     void *arg);
