/*
 * proxy/metrics.h - [pgherd] metrics_listen: /metrics for Prometheus, /health and /ready, by HTTP.
 *
 * Served by the main thread. Names of pgbouncer_exporter are kept where it has one; ours begin with
 * pgherd_.
 */
#pragma once
#include "base/buf.h"
#include "proxy/worker.h"

struct herd_loop;
struct herd_metrics;

/*
 * address "": none is started, and *ret is NULL. 0 or negative errno with err. An address that the
 * process has that we take over from is no error: herd_metrics_look gets it.
 */
int herd_metrics_start(struct herd_px *px, struct herd_loop *loop, const char *address,
		       struct herd_metrics **ret, struct herd_err *err);
/* Now and then: lets go of the address when another process takes over, or gets it. NULL: no-op. */
void herd_metrics_look(struct herd_metrics *m);
void herd_metrics_stop(struct herd_metrics *m); /* NULL is a no-op */

/* metrics_text.c: what /metrics says. Main thread. */
void herd_metrics_text(struct herd_px *px, struct herd_buf *out);
