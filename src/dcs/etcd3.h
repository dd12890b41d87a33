/*
 * dcs/etcd3.h - etcd v3 through its JSON gateway (etcd 3.4 and later).
 */
#pragma once
#include "dcs/dcs.h"
#include "http/client.h"

struct herd_etcd3_opts {
	char **hosts; /* "host:port"; borrowed for the call */
	size_t nhosts;
	int port; /* for hosts without one; only dcs.c looks at it */
	bool https;
	const char *username, *password; /* NULL: no authentication */
	struct herd_http_tls tls;
};

/* root ends with a slash; copied, like everything in o. */
int herd_etcd3_open(struct herd_loop *l, const struct herd_etcd3_opts *o, const char *root,
		    struct herd_dcs **ret, struct herd_err *err);
