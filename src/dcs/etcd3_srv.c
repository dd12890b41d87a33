/*
 * dcs/etcd3_srv.c - etcd's servers by the SRV records of a domain.
 */
#include <arpa/nameser.h>
#include <errno.h>
#include <netdb.h>
#include <resolv.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "dcs/etcd3_internal.h"
#include "http/client.h"

/* An answer over TCP; longer ones are cut by the resolver. */
enum { MAX_ANSWER = 65535, ASK_PEER_MS = 5000 };

static int compare(const void *a, const void *b)
{
	const struct herd_srv *x = a, *y = b;

	if (x->priority != y->priority)
		return x->priority < y->priority ? -1 : 1;
	return x->weight > y->weight ? -1 : x->weight < y->weight;
}

/* False when the record is none that can be used. */
static bool read_record(ns_msg *msg, int i, struct herd_srv *ret)
{
	char host[NS_MAXDNAME];
	ns_rr rr;

	if (ns_parserr(msg, ns_s_an, i, &rr) < 0 || ns_rr_type(rr) != ns_t_srv ||
	    ns_rr_rdlen(rr) < 7)
		return false;
	const unsigned char *p = ns_rr_rdata(rr);

	if (dn_expand(ns_msg_base(*msg), ns_msg_end(*msg), p + 6, host, sizeof(host)) < 0)
		return false;
	*ret = (struct herd_srv){ .priority = ns_get16(p),
				  .weight = ns_get16(p + 2),
				  .port = ns_get16(p + 4) };
	/* "." says that the service is not there. */
	if (!*host || strcmp(host, ".") == 0 || ret->port == 0)
		return false;
	ret->host = strdup(host);
	return ret->host != NULL;
}

int herd_srv_lookup(res_state state, const char *name, struct herd_srv **ret, size_t *n)
{
	unsigned char *answer = malloc(MAX_ANSWER);
	struct herd_srv *list = NULL;
	ns_msg msg;
	int len, count;
	size_t found = 0;

	*ret = NULL;
	*n = 0;
	if (!answer)
		return -ENOMEM;
	len = res_nquery(state, name, ns_c_in, ns_t_srv, answer, MAX_ANSWER);
	if (len < 0 || ns_initparse(answer, len, &msg) < 0) {
		free(answer);
		return state->res_h_errno == HOST_NOT_FOUND || state->res_h_errno == NO_DATA
			       ? 0
			       : -EAGAIN;
	}
	count = ns_msg_count(msg, ns_s_an);
	list = calloc(count > 0 ? (size_t)count : 1, sizeof(*list));
	for (int i = 0; list && i < count; i++)
		found += read_record(&msg, i, &list[found]);
	free(answer);
	if (!list)
		return -ENOMEM;
	qsort(list, found, sizeof(*list), compare);
	*ret = list;
	*n = found;
	return 0;
}

void herd_srv_free(struct herd_srv *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(list[i].host);
	free(list);
}

/* --- peers ------------------------------------------------------------------------------------ */

struct question {
	struct herd_etcd3_opts *o;
	bool done;
};

static void on_members(void *arg, const struct herd_http_response *resp)
{
	struct question *q = arg;
	json_t *v = resp->status == 200 ? json_loadb(resp->body, resp->len, 0, NULL) : NULL;
	json_t *member, *url;
	size_t i, k;

	json_array_foreach(v, i, member)
	{
		json_array_foreach(json_object_get(member, "clientURLs"), k, url)
		{
			if (json_is_string(url))
				etcd3_add_url(q->o, json_string_value(url));
		}
	}
	json_decref(v);
	q->done = true;
}

/* Asks a peer for all members. On a loop of its own: the caller's may not run yet, or run us. */
static void ask_peer(const char *url, struct herd_etcd3_opts *o)
{
	struct herd_loop *l = herd_loop_new();
	struct herd_http_client *http = l ? herd_http_client_new(l, &o->tls) : NULL;
	struct question q = { o, false };
	struct herd_http_request r = { .method = "GET",
				       .url = url,
				       .timeout_ms = ASK_PEER_MS,
				       .on_done = on_members,
				       .arg = &q };

	if (http && herd_http_send(http, &r))
		herd_loop_run_until(l, &q.done, ASK_PEER_MS + 1000);
	herd_http_client_free(http);
	herd_loop_free(l);
}

/* --- all -------------------------------------------------------------------------------------- */

static void take_records(const struct herd_srv *list, size_t n, const char *scheme, bool peers,
			 struct herd_etcd3_opts *o)
{
	for (size_t i = 0; i < n && !(peers && o->nurls); i++) {
		bool v6 = strchr(list[i].host, ':') != NULL;
		char *url = herd_str_printf("%s://%s%s%s:%d%s", scheme, v6 ? "[" : "", list[i].host,
					    v6 ? "]" : "", list[i].port, peers ? "/members" : "");

		if (url && peers)
			ask_peer(url, o);
		else if (url)
			etcd3_add_url(o, url);
		free(url);
	}
}

int herd_etcd3_discover_srv(res_state state, const char *domain, const char *suffix,
			    struct herd_etcd3_opts *o, struct herd_err *err)
{
	static const struct {
		const char *name, *scheme;
		bool peers;
	} services[] = {
		{ "etcd-client-ssl", "https", false }, { "etcd-client", "http", false },
		{ "etcd-ssl", "https", false },        { "etcd", "http", false },
		{ "etcd-server-ssl", "https", true },  { "etcd-server", "http", true },
	};
	bool silent = false;

	for (size_t i = 0; i < sizeof(services) / sizeof(services[0]) && !o->nurls; i++) {
		char *name = herd_str_printf("_%s%s%s._tcp.%s", services[i].name, suffix ? "-" : "",
					     suffix ? suffix : "", domain);
		struct herd_srv *list = NULL;
		size_t n = 0;
		int rc = name ? herd_srv_lookup(state, name, &list, &n) : -ENOMEM;

		silent = silent || rc == -EAGAIN;
		take_records(list, n, services[i].scheme, services[i].peers, o);
		herd_srv_free(list, n);
		free(name);
	}
	if (o->nurls)
		return 0;
	return herd_err_set(err, -EAGAIN,
			    silent ? "no name server answers for the SRV records of \"%s\""
				   : "\"%s\" has no SRV records of etcd",
			    domain);
}
