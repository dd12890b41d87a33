/*
 * proxy/dns.h - the addresses of host names that servers are configured by.
 *
 * Workers ask what is known; the main thread asks DNS servers (loop/names.h). A name is asked for
 * again when it is needed after dns_max_ttl (dns_nxdomain_ttl when it was not found), and when its
 * zone has changed (proxy/zones.h). Servers at an address that a name has no longer are closed as
 * they are returned.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/err.h"

struct herd_dns;
struct herd_dns_wait;
struct herd_loop;
struct herd_px;
struct herd_worker;

struct herd_dns *herd_dns_new(struct herd_px *px); /* NULL when out of memory or descriptors */
void herd_dns_free(struct herd_dns *d);
/* Main thread; resolv_conf "": the system's. 0 or negative errno. */
int herd_dns_start(struct herd_dns *d, struct herd_loop *loop, const char *resolv_conf,
		   struct herd_err *err);
void herd_dns_stop(struct herd_dns *d);
/* Main thread, now and then. */
void herd_dns_tick(struct herd_dns *d);

/*
 * An address of the host, without port; each call gives the next one. 0; -EINPROGRESS: it is being
 * asked for, and fn is called on this worker when to try again (unless *wait is forgotten);
 * -EHOSTUNREACH with err: it has none.
 */
int herd_dns_next(struct herd_worker *w, const char *host,
		  void (*fn)(struct herd_worker *w, void *arg), void *arg,
		  struct herd_dns_wait **wait, struct sockaddr_storage *ret, struct herd_err *err);
/* One that is known already, however old, for those who cannot wait. 0 or -EAGAIN: it is asked. */
int herd_dns_peek(struct herd_worker *w, const char *host, struct sockaddr_storage *ret);
/* fn is not called any more. Only by the worker that waits; NULL is a no-op. */
void herd_dns_forget(struct herd_dns_wait *wait);

struct herd_dns_counts {
	size_t names, zones, queries;
};
struct herd_dns_counts herd_dns_count(struct herd_dns *d);
/* For SHOW: a name and its addresses, comma-separated; ttl_us: until it is asked for again. */
void herd_dns_each_name(struct herd_dns *d, int64_t now_us,
			void (*fn)(void *arg, const char *host, int64_t ttl_us, const char *addrs),
			void *arg);
/* As herd_zones_each. */
void herd_dns_each_zone(struct herd_dns *d,
			void (*fn)(void *arg, const char *zone, uint32_t serial, size_t names),
			void *arg);
