#include "loop/names.h"

#include <errno.h>
#include <event2/dns.h>
#include <event2/util.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct herd_names {
	struct evdns_base *base;
	struct timespec hosts; /* when /etc/hosts was changed */
};

struct question {
	herd_names_fn fn;
	void *arg;
};

static const char hosts_file[] = "/etc/hosts";

int herd_names_new(struct herd_loop *l, const char *conf, struct herd_names **ret,
		   struct herd_err *err)
{
	struct herd_names *n = calloc(1, sizeof(*n));
	int rc = 0;

	if (n)
		n->base = evdns_base_new(herd_loop_base(l), EVDNS_BASE_DISABLE_WHEN_INACTIVE);
	if (!n || !n->base) {
		free(n);
		return herd_err_set(err, -ENOMEM, "out of memory");
	}
	/* Somebody waits: rather ask again soon. The file may say otherwise. */
	evdns_base_set_option(n->base, "timeout:", "1");
	evdns_base_set_option(n->base, "initial-probe-timeout:", "1");
	evdns_base_set_option(n->base, "attempts:", "2");
	rc = evdns_base_resolv_conf_parse(
		n->base, DNS_OPTION_SEARCH | DNS_OPTION_NAMESERVERS | DNS_OPTION_MISC,
		conf ? conf : "/etc/resolv.conf");
	/* Without a file, or without a server in it, the one at 127.0.0.1 is asked. */
	if (conf && rc != 0 && rc != 6) {
		herd_names_free(n);
		return herd_err_set(err, -EINVAL, "could not use resolv_conf \"%s\": %s", conf,
				    rc <= 2 ? "it cannot be read" : "it is too large");
	}
	*ret = n;
	return 0;
}

void herd_names_free(struct herd_names *n)
{
	if (!n)
		return;
	evdns_base_free(n->base, 1);
	free(n);
}

/* Somebody may have edited it. */
static void look_at_hosts(struct herd_names *n)
{
	struct stat st;

	if (stat(hosts_file, &st) < 0 ||
	    (st.st_mtim.tv_sec == n->hosts.tv_sec && st.st_mtim.tv_nsec == n->hosts.tv_nsec))
		return;
	n->hosts = st.st_mtim;
	evdns_base_clear_host_addresses(n->base);
	evdns_base_load_hosts(n->base, hosts_file);
}

static void on_answer(int rc, struct evutil_addrinfo *list, void *arg)
{
	struct question *q = arg;
	struct sockaddr_storage addr[HERD_NAMES_MAX];
	size_t n = 0;

	for (struct evutil_addrinfo *ai = rc == 0 ? list : NULL; ai && n < HERD_NAMES_MAX;
	     ai = ai->ai_next) {
		memset(&addr[n], 0, sizeof(addr[n]));
		memcpy(&addr[n++], ai->ai_addr, ai->ai_addrlen);
	}
	if (n > 0)
		q->fn(q->arg, HERD_NAMES_FOUND, addr, n, NULL);
	else if (rc == EVUTIL_EAI_NONAME || rc == EVUTIL_EAI_NODATA || rc == 0)
		q->fn(q->arg, HERD_NAMES_NONE, NULL, 0, "no such host");
	else
		q->fn(q->arg, HERD_NAMES_FAILED, NULL, 0, evutil_gai_strerror(rc));
	if (list)
		evutil_freeaddrinfo(list);
	free(q);
}

void herd_names_ask(struct herd_names *n, const char *host, herd_names_fn fn, void *arg)
{
	struct evutil_addrinfo hints = { .ai_family = AF_UNSPEC,
					 .ai_socktype = SOCK_STREAM,
					 .ai_flags = EVUTIL_AI_ADDRCONFIG };
	struct question *q = malloc(sizeof(*q));

	if (!q) {
		fn(arg, HERD_NAMES_FAILED, NULL, 0, "out of memory");
		return;
	}
	*q = (struct question){ fn, arg };
	look_at_hosts(n);
	evdns_getaddrinfo(n->base, host, NULL, &hints, on_answer, q);
}
