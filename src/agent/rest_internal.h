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
	struct herd_list waits, probes;
	struct herd_timer *timer;
	struct herd_http_exchange *restart; /* POST /restart that waits */
	struct herd_timer *restart_timer;
	struct herd_timer *scheduled_timer;
	struct herd_timer *wait_timer;
};

/* rest.c */
void herd_rest_json(struct herd_http_exchange *x, int status, const json_t *v);
void herd_rest_text(struct herd_http_exchange *x, int status, const char *text);
/* The body as a map; NULL after a 400 was sent. optional: no body is an empty map. */
json_t *herd_rest_body(struct herd_http_exchange *x, bool optional);

/* rest_status.c */
json_t *herd_rest_status(struct herd_agent *a);
json_t *herd_rest_cluster(struct herd_agent *a);
void herd_rest_metrics(struct herd_agent *a, struct herd_buf *out);
void herd_rest_health(struct herd_agent *a, struct herd_health *ret, json_t **tags);

/* rest_actions.c */
void herd_rest_patch_config(struct herd_rest *r, struct herd_http_exchange *x);
void herd_rest_put_config(struct herd_rest *r, struct herd_http_exchange *x);
void herd_rest_switchover(struct herd_rest *r, struct herd_http_exchange *x, bool switchover);
void herd_rest_delete_switchover(struct herd_rest *r, struct herd_http_exchange *x);
void herd_rest_restart(struct herd_rest *r, struct herd_http_exchange *x);
void herd_rest_delete_restart(struct herd_rest *r, struct herd_http_exchange *x);
void herd_rest_reinitialize(struct herd_rest *r, struct herd_http_exchange *x);
void herd_rest_check_waits(struct herd_rest *r);
void herd_rest_drop_waits(struct herd_rest *r);
