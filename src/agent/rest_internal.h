/*
 * agent/rest_internal.h - shared by the rest*.c files only.
 */
#pragma once
#include "agent/health.h"
#include "agent/internal.h"
#include "agent/rest.h"
#include "base/buf.h"
#include "base/list.h"
#include "http/server.h"

/* A request whose answer waits for what happens. */
struct rest_wait {
	struct herd_list node;
	struct herd_http_exchange *x;
	bool switchover; /* else failover */
	char *leader, *candidate;
	int64_t until_ms;
	int64_t seconds; /* of the limit, for the answer */
	bool key_seen;   /* the request was read back from the store */
};

/* A switchover whose candidates are being asked whether they can. */
struct rest_probe {
	struct herd_list node;
	struct herd_rest *r;
	struct herd_http_exchange *x;
	char *leader, *candidate, *scheduled_at;
	bool switchover;
	size_t left;
	bool found;
};

struct herd_rest {
	struct herd_agent *a;
	struct herd_http_server *server;
	char *bound;                     /* listen and certfile that server was made for */
	struct herd_list names, pending; /* rest_access.c */
	struct herd_list waits, probes;
	struct herd_timer *timer;
	struct herd_http_exchange *restart; /* POST /restart that waits */
	struct herd_timer *restart_timer;
	struct herd_timer *scheduled_timer;
	struct herd_timer *wait_timer;
};

typedef void (*rest_handler)(struct herd_rest *r, struct herd_http_exchange *x);

/* rest_access.c */
/*
 * Calls fn when the peer may change something, else answers; both perhaps later. members: also
 * restapi.allowlist_include_members counts.
 */
void herd_rest_admit(struct herd_rest *r, struct herd_http_exchange *x, rest_handler fn,
		     bool members);
void herd_rest_forget_names(struct herd_rest *r);
void herd_rest_drop_pending(struct herd_rest *r);

/* rest.c */
void herd_rest_json(struct herd_http_exchange *x, int status, const json_t *v);
void herd_rest_text(struct herd_http_exchange *x, int status, const char *text);
/* An error page; message NULL: the usual words for the status, detail NULL: likewise. */
void herd_rest_page(struct herd_http_exchange *x, int status, const char *message,
		    const char *detail);
/* The body as a map; NULL after a 400 or 411 was sent. optional: no body is an empty map. */
json_t *herd_rest_body(struct herd_http_exchange *x, bool optional);

/* rest_status.c */
/* answers: the server does, as far as is known. */
json_t *herd_rest_status(struct herd_agent *a, bool answers);
json_t *herd_rest_cluster(struct herd_agent *a);
void herd_rest_health(struct herd_agent *a, struct herd_health *ret, json_t **tags);
/* Facts that several answers need. */
bool herd_rest_leads(const struct herd_agent *a);   /* the leader key is ours, the lease good */
bool herd_rest_running(const struct herd_agent *a); /* PostgreSQL answers */
bool herd_rest_is_primary(const struct herd_agent *a);
bool herd_rest_standby_cluster(const struct herd_agent *a);
bool herd_rest_pending_restart(const struct herd_agent *a);
/* synchronous or quorum standby, by /sync. */
void herd_rest_sync_role(const struct herd_agent *a, bool *sync, bool *quorum);
const char *herd_rest_state(const struct herd_agent *a); /* running, starting, ... */
const char *herd_rest_role(const struct herd_agent *a);  /* primary, standby_leader, replica, ... */

/* rest_metrics.c */
void herd_rest_metrics(struct herd_agent *a, struct herd_buf *out);

/* failsafe.c: POST /failsafe */
void herd_rest_failsafe(struct herd_rest *r, struct herd_http_exchange *x);

/* rest_actions.c */
void herd_rest_patch_config(struct herd_rest *r, struct herd_http_exchange *x);
void herd_rest_put_config(struct herd_rest *r, struct herd_http_exchange *x);
void herd_rest_switchover(struct herd_rest *r, struct herd_http_exchange *x);
void herd_rest_failover(struct herd_rest *r, struct herd_http_exchange *x);
void herd_rest_delete_switchover(struct herd_rest *r, struct herd_http_exchange *x);
void herd_rest_check_waits(struct herd_rest *r);
void herd_rest_drop_waits(struct herd_rest *r);
/* An answer of one sentence with one word in it. */
void herd_rest_refuse(struct herd_http_exchange *x, int status, const char *fmt, const char *word);
/* A time in the future as ISO text with its zone, malloc'd; NULL after a 400 or 422 was sent. */
char *herd_rest_schedule(struct herd_http_exchange *x, const json_t *v, const char *what);

/* rest_explain.c */
void herd_rest_explain(struct herd_rest *r, struct herd_http_exchange *x);

/* rest_restart.c */
void herd_rest_restart(struct herd_rest *r, struct herd_http_exchange *x);
void herd_rest_delete_restart(struct herd_rest *r, struct herd_http_exchange *x);
void herd_rest_reinitialize(struct herd_rest *r, struct herd_http_exchange *x);
/* After every step: is the scheduled restart still wanted, and when is it due? */
void herd_rest_check_schedule(struct herd_rest *r);
