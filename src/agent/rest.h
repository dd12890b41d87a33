/*
 * agent/rest.h - the REST API of one agent, Patroni's. GET requests are answered from what the last
 * observation said; nothing waits for the store, and only /patroni on a standby asks PostgreSQL
 * (for its place in the WAL, for a bounded time).
 */
#pragma once
#include <stdbool.h>

#include "base/err.h"

struct herd_agent;
struct herd_rest;

int herd_rest_start(struct herd_agent *a, struct herd_rest **ret, struct herd_err *err);
void herd_rest_free(struct herd_rest *r);
/* Settings and certificates again. */
void herd_rest_reload(struct herd_rest *r);
/* After every step: answers requests that waited for what has happened now. */
void herd_rest_step(struct herd_rest *r);
/* The restart that was asked for has ended. */
void herd_rest_done_restart(struct herd_rest *r, bool ok);
