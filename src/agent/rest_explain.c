/*
 * rest_explain.c - GET /explain: why this member is or is not the leader, by its own last decision.
 */
#include <stdlib.h>
#include <string.h>

#include "agent/rest_internal.h"
#include "base/str.h"
#include "model/explain.h"

static struct herd_explain_local local(const struct herd_agent *a)
{
	const struct herd_plan *p = &a->exec.plan;
	int64_t now = herd_now_ms();
	int64_t lease = a->lease_id ? a->lease_sent_ms + a->lease_ttl_ms - now : 0;
	const char *guard = herd_fence_guard_state(a);
	bool why = p->why && *p->why;

	return (struct herd_explain_local){
		.rule = p->rule,
		.why = why ? p->why : a->last_why,
		.warning = p->warning,
		.leads = herd_rest_leads(a),
		.lease_ms = lease > 0 ? lease : 0,
		.guard = guard,
		.guard_failed = herd_fence_guard_failed(a),
		.watchdog_failed = herd_fence_watchdog_failed(a),
		.dcs_ok = a->dcs_ok,
		.dcs_age_ms = now - a->view_ms,
		.task = a->task.running != HERD_TASK_NONE ? herd_agent_task_text(a->task.running)
							  : NULL,
		.task_ms = now - a->task.since_ms,
		.waiting = a->poll.left > 0 ? "answers of other members about their WAL" : NULL,
	};
}

void herd_rest_explain(struct herd_rest *r, struct herd_http_exchange *x)
{
	const struct herd_agent *a = r->a;
	const struct herd_cluster *c = herd_agent_cluster(a);
	struct herd_explain_local l = local(a);
	json_t *doc = c ? herd_explain(c, a->name, &l) : NULL;

	if (!doc) {
		herd_rest_page(x, 503, NULL, "The store holds nothing about this cluster yet");
		return;
	}
	if (a->rejoin)
		json_object_set(doc, "rejoin", a->rejoin);
	herd_rest_json(x, 200, doc);
	json_decref(doc);
}
