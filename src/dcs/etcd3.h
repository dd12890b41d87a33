/*
 * dcs/etcd3.h - etcd v3 through its JSON gateway (etcd 3.4 and later).
 */
#pragma once
#include <resolv.h>

#include "dcs/dcs.h"
#include "http/client.h"

/* Where the servers are and how we speak to them; everything is owned by the struct. */
struct herd_etcd3_opts {
	char **urls; /* "http://host:port" */
	size_t nurls;
	char *username, *password; /* NULL: no authentication */
	struct herd_http_tls tls;  /* its texts are ours, too */
	bool fixed;                /* proxies: do not ask for the members behind them */
};

/*
 * Out of a section etcd3. Patroni's order: proxy, url, srv, hosts, host. For srv the domain's
 * records are looked up, which blocks for as long as the resolver takes: -EAGAIN when there are
 * none now.
 */
int herd_etcd3_opts_read(const struct json_t *section, struct herd_etcd3_opts *ret,
			 struct herd_err *err);
/* Out of "scheme://[user:password@]host:port[,host:port...]"; schemes: etcd3, etcd, http, https. */
int herd_etcd3_opts_read_url(const char *url, struct herd_etcd3_opts *ret, struct herd_err *err);
void herd_etcd3_opts_clear(struct herd_etcd3_opts *o);

/* root ends with a slash; copied, like everything in o. */
int herd_etcd3_open(struct herd_loop *l, const struct herd_etcd3_opts *o, const char *root,
		    struct herd_dcs **ret, struct herd_err *err);

/* One SRV record. */
struct herd_srv {
	char *host;
	int port, priority, weight;
};
/* The records of name, best first. 0 also when there are none; -EAGAIN when nobody can say. */
int herd_srv_lookup(res_state state, const char *name, struct herd_srv **ret, size_t *n);
void herd_srv_free(struct herd_srv *list, size_t n);
/*
 * Patroni's names below domain, one after the other, until one has records: adds their URLs. The
 * records of etcd's own traffic name peers, who are asked for the members' client URLs.
 */
int herd_etcd3_discover_srv(res_state state, const char *domain, const char *suffix,
			    struct herd_etcd3_opts *o, struct herd_err *err);
