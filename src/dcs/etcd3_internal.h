/*
 * dcs/etcd3_internal.h - shared by the etcd3_*.c files only.
 */
#pragma once
#include <jansson.h>

#include "base/buf.h"
#include "base/list.h"
#include "dcs/etcd3.h"
#include "loop/loop.h"

struct etcd3 {
	struct herd_dcs base; /* first */
	struct herd_loop *loop;
	struct herd_http_client *http;
	char **urls;        /* "http://host:port" */
	size_t nurls;       /* in use; those that were configured come first */
	size_t nconfigured; /* the others were told by etcd */
	size_t nslots;      /* of the array: what was in use once stays readable */
	bool fixed;         /* nobody is asked for more */
	bool asking;        /* for the members */
	int64_t asked_ms;
	size_t cur; /* the one in use */
	char *root;
	char *username, *password; /* NULL: no authentication */
	char *token;               /* NULL until authenticated */
	bool no_login;             /* the server has no authentication */
	int64_t timeout_ms;
	struct herd_list rpcs;    /* of struct etcd3_rpc */
	struct herd_list watches; /* of struct herd_dcs_watch */
	/* A member that was cut off answers with an old term: its word does not count. */
	char *cluster_id;
	int64_t raft_term;
};

enum etcd3_kind {
	ETCD3_REPEATABLE, /* doing it twice is doing it once: retried after any failure */
	ETCD3_CHANGE      /* not repeated once it may have been done */
};

struct etcd3_rpc;
/* reply is NULL unless OK. The rpc is freed after the call. */
typedef void (*etcd3_rpc_fn)(struct etcd3_rpc *r, enum herd_dcs_result result, json_t *reply,
			     const struct herd_err *err);

struct etcd3_rpc {
	struct herd_list node;
	struct etcd3 *e;
	const char *path; /* static text */
	char *body;
	enum etcd3_kind kind;
	etcd3_rpc_fn fn;
	int64_t deadline_ms;
	int64_t sent_ms; /* of the last attempt */
	int64_t backoff_ms;
	size_t endpoint; /* index of the last attempt */
	bool authenticating;
	bool logged_in; /* has authenticated once already */
	struct herd_http_call *call;
	struct herd_timer *timer;
	/* the caller's */
	union {
		herd_dcs_view_fn view;
		herd_dcs_put_fn put;
		herd_dcs_lease_fn lease;
		herd_dcs_done_fn done;
	} user_fn;
	void *user_arg;
	char *text; /* a lease id; freed with the rpc */
};

/* Sends body (stolen reference). NULL when out of memory. */
struct etcd3_rpc *etcd3_rpc_start(struct etcd3 *e, const char *path, json_t *body,
				  enum etcd3_kind kind, etcd3_rpc_fn fn);
void etcd3_rpc_free(struct etcd3_rpc *r);
/* The next endpoint, when `failed` is still the one in use; watches on it start again. */
void etcd3_rotate(struct etcd3 *e, size_t failed);

/* Asks for the members from time to time, so that those that were not configured are known, too. */
void etcd3_discover(struct etcd3 *e);
/* Appends a copy unless it is there already, without slashes at its end. False: no memory. */
bool etcd3_add_url(struct herd_etcd3_opts *o, const char *url);

json_t *etcd3_b64(const char *data, size_t len);
/* Decoded bytes, malloc'd and NUL-terminated; NULL when v is no base64 text. */
char *etcd3_unb64(const json_t *v, size_t *len);
/* {"key":..,"range_end":..} of everything below root + prefix. */
json_t *etcd3_range(const struct etcd3 *e, const char *prefix);
/* Key of a kv object relative to the root; NULL when it is not below it. */
char *etcd3_relative_key(const struct etcd3 *e, const json_t *kv);
/* Lease id of a kv object as text, malloc'd; NULL for none. */
char *etcd3_lease_of(const json_t *kv);
/* Range reply to view; NULL when malformed or out of memory. */
struct herd_dcs_view *etcd3_view(const struct etcd3 *e, const json_t *reply, int64_t read_ms);

struct herd_dcs_watch *etcd3_watch(struct herd_dcs *d, const char *prefix, herd_dcs_view_fn fn,
				   void *arg);
void etcd3_watch_free(struct herd_dcs *d, struct herd_dcs_watch *w);
/* The endpoint in use has changed: begin again there. */
void etcd3_watch_restart(struct herd_dcs_watch *w);
struct herd_list *etcd3_watch_node(struct herd_dcs_watch *w);
struct herd_dcs_watch *etcd3_watch_of(struct herd_list *node);
