/*
 * dcs/dcs.h - the distributed configuration store, one interface over etcd v3 (and others).
 *
 * Keys are text relative to a root, "/<namespace>/<scope>/". Values are bytes. Every change gives a
 * key a new version; conditions compare it. Everything is asynchronous on one loop: a call returns
 * at once and its callback comes exactly once (unless the handle is freed first), never from inside
 * the call. Callers look at capabilities and results, never at a backend's name.
 *
 * A result of HERD_DCS_UNKNOWN means that the change may or may not have been made (the reply was
 * lost): read back before acting on it.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum herd_dcs_result {
	HERD_DCS_OK = 0,
	HERD_DCS_CONFLICT,    /* the condition did not hold; nothing was changed */
	HERD_DCS_LEASE_GONE,  /* the lease has expired or was revoked; nothing was changed */
	HERD_DCS_UNKNOWN,     /* no reply within the time limit after the request was sent */
	HERD_DCS_UNREACHABLE, /* no server could be asked; nothing was changed */
	HERD_DCS_REFUSED      /* the server refuses for good (authentication, too large): see err */
};

enum herd_dcs_cond {
	HERD_DCS_ANY = 0,
	HERD_DCS_ABSENT,     /* the key does not exist */
	HERD_DCS_AT_VERSION, /* the key's version is the given one */
	HERD_DCS_AT_VALUE    /* the key's value is the given text */
};

/* One key of a snapshot. */
struct herd_dcs_kv {
	char *key;   /* relative to the root, no leading slash: "members/coord1", "2/leader" */
	char *value; /* NUL-terminated, len bytes */
	size_t len;
	int64_t version; /* of the last change of this key */
	char *lease;     /* id of the lease it dies with, or NULL */
};

/* What the store held at one moment. Immutable, counted. */
struct herd_dcs_view {
	int refs;
	size_t n;
	struct herd_dcs_kv *kv; /* ascending by key */
	int64_t revision;       /* of the whole store; grows with every change */
	int64_t read_ms; /* loop time at which the request that gave it was sent (or event came) */
};
struct herd_dcs_view *herd_dcs_view_ref(struct herd_dcs_view *v);
void herd_dcs_view_unref(struct herd_dcs_view *v);
const struct herd_dcs_kv *herd_dcs_view_get(const struct herd_dcs_view *v, const char *key);

enum herd_dcs_caps {
	HERD_DCS_CAP_WATCH = 1,       /* changes are pushed */
	HERD_DCS_CAP_LEASE_SHARED = 2 /* several keys may hang on one lease */
};

/* One conditional change. value NULL deletes. Strings are borrowed for the call. */
struct herd_dcs_change {
	const char *key;
	const char *value;
	enum herd_dcs_cond cond;
	int64_t version;    /* for HERD_DCS_AT_VERSION */
	const char *expect; /* for HERD_DCS_AT_VALUE */
	const char *lease;  /* attach to this lease; NULL: permanent */
};

typedef void (*herd_dcs_done_fn)(void *arg, enum herd_dcs_result result,
				 const struct herd_err *err);
/* version: of the key after a successful put. */
typedef void (*herd_dcs_put_fn)(void *arg, enum herd_dcs_result result, int64_t version,
				const struct herd_err *err);
/* view is NULL unless OK; take a ref to keep it. */
typedef void (*herd_dcs_view_fn)(void *arg, enum herd_dcs_result result, struct herd_dcs_view *view,
				 const struct herd_err *err);
/* lease: the id, when OK. granted_ms: loop time at which the request was sent. */
typedef void (*herd_dcs_lease_fn)(void *arg, enum herd_dcs_result result, const char *lease,
				  int64_t sent_ms, const struct herd_err *err);

struct herd_dcs;
struct herd_dcs_watch;

struct herd_dcs_ops {
	unsigned caps;
	void (*free)(struct herd_dcs *d);
	void (*read)(struct herd_dcs *d, const char *prefix, herd_dcs_view_fn fn, void *arg);
	void (*change)(struct herd_dcs *d, const struct herd_dcs_change *c, herd_dcs_put_fn fn,
		       void *arg);
	void (*lease_grant)(struct herd_dcs *d, int64_t ttl_ms, herd_dcs_lease_fn fn, void *arg);
	void (*lease_renew)(struct herd_dcs *d, const char *lease, herd_dcs_lease_fn fn, void *arg);
	void (*lease_revoke)(struct herd_dcs *d, const char *lease, herd_dcs_done_fn fn, void *arg);
	struct herd_dcs_watch *(*watch)(struct herd_dcs *d, const char *prefix, herd_dcs_view_fn fn,
					void *arg);
	void (*watch_free)(struct herd_dcs *d, struct herd_dcs_watch *w);
	void (*set_timeout)(struct herd_dcs *d, int64_t retry_timeout_ms);
};

/* Backends embed this as their first member. */
struct herd_dcs {
	const struct herd_dcs_ops *ops;
};

static inline unsigned herd_dcs_caps(const struct herd_dcs *d)
{
	return d->ops->caps;
}
void herd_dcs_free(struct herd_dcs *d);
/* All keys under root + prefix ("" for all), linearizable. Retries within the retry timeout. */
void herd_dcs_read(struct herd_dcs *d, const char *prefix, herd_dcs_view_fn fn, void *arg);
/* Compare-and-set put or delete. A retry never repeats a change whose fate is unknown. */
void herd_dcs_change(struct herd_dcs *d, const struct herd_dcs_change *c, herd_dcs_put_fn fn,
		     void *arg);
void herd_dcs_lease_grant(struct herd_dcs *d, int64_t ttl_ms, herd_dcs_lease_fn fn, void *arg);
void herd_dcs_lease_renew(struct herd_dcs *d, const char *lease, herd_dcs_lease_fn fn, void *arg);
void herd_dcs_lease_revoke(struct herd_dcs *d, const char *lease, herd_dcs_done_fn fn, void *arg);
/*
 * Keeps a view of root + prefix up to date: fn is called with the first view and then after every
 * change with the whole new view, and with an error when the connection is lost (the last view may
 * be stale until the next call). It reconnects by itself, for ever.
 */
struct herd_dcs_watch *herd_dcs_watch(struct herd_dcs *d, const char *prefix, herd_dcs_view_fn fn,
				      void *arg);
void herd_dcs_watch_free(struct herd_dcs *d, struct herd_dcs_watch *w);
/* How long one call may take, retries on other endpoints included. */
void herd_dcs_set_timeout(struct herd_dcs *d, int64_t retry_timeout_ms);

struct herd_loop;
struct herd_log;
struct json_t;

/*
 * Opens the store that a configuration names: its section etcd3. The sections of other stores
 * are refused with an error that says so. -EAGAIN: its SRV records cannot be had now. namespace_
 * and scope make the root.
 */
int herd_dcs_open(struct herd_loop *l, const struct json_t *config, const char *namespace_,
		  const char *scope, struct herd_dcs **ret, struct herd_err *err);
/* "etcd3://host:port[,host:port...]"; the scheme may be missing. */
int herd_dcs_open_url(struct herd_loop *l, const char *url, const char *namespace_,
		      const char *scope, struct herd_dcs **ret, struct herd_err *err);
/* Wraps a store (and owns it): every call and every answer becomes a line of debug log. */
struct herd_dcs *herd_dcs_trace(struct herd_dcs *inner, struct herd_log *log);

/* A store in this process, for tests. Several handles may share one. */
struct herd_dcs_mem;
struct herd_dcs_mem *herd_dcs_mem_new(struct herd_loop *l);
void herd_dcs_mem_free(struct herd_dcs_mem *m); /* after all handles */
struct herd_dcs *herd_dcs_mem_open(struct herd_dcs_mem *m);
/* While off, every call ends UNREACHABLE (lost_replies: changes are made, and end UNKNOWN). */
void herd_dcs_mem_set_reachable(struct herd_dcs_mem *m, bool reachable, bool lost_replies);
