/*
 * ask.c - questions to other members that a plan asks for: their REST API (POLL) and the leader's
 * server (PROBE). The answers come with a later observation.
 */
#define HERD_LOG_PART "patroni.ha"
#include <stdlib.h>
#include <string.h>

#include "agent/internal.h"
#include "base/json.h"
#include "base/str.h"
#include "pg/rewind.h"

#define POLL_MS 2000

void herd_agent_poll_clear(struct herd_agent_answers *p)
{
	for (size_t i = 0; i < p->n; i++)
		free((char *)p->answers[i].name);
	free(p->answers);
	memset(p, 0, sizeof(*p));
}

struct question {
	struct herd_agent *a;
	int64_t id;
	size_t i;
};

static uint64_t max_lsn(const json_t *xlog)
{
	int64_t received = herd_json_i64(xlog, "received_location", 0);
	int64_t replayed = herd_json_i64(xlog, "replayed_location", 0);
	int64_t location = herd_json_i64(xlog, "location", 0);
	int64_t max = received > replayed ? received : replayed;

	return (uint64_t)(location > max ? location : max);
}

static void take_answer(struct herd_obs_answer *ans, const struct herd_http_response *resp)
{
	json_t *v = resp->status ? herd_json_parse(resp->body, resp->len, NULL) : NULL;
	struct herd_tags tags = { 0 };

	if (!json_is_object(v)) {
		json_decref(v);
		return;
	}
	enum herd_role role = herd_role_parse(herd_json_str(v, "role", ""));

	ans->reachable = true;
	ans->running = strcmp(herd_json_str(v, "state", ""), "running") == 0;
	ans->in_recovery = role != HERD_ROLE_PRIMARY;
	ans->lsn = max_lsn(json_object_get(v, "xlog"));
	ans->timeline = herd_json_i64(v, "timeline", 0);
	ans->stalled = json_object_get(v, "stalled") != NULL;
	ans->watchdog_failed = herd_json_bool(v, "watchdog_failed", false);
	if (herd_tags_from_json(json_object_get(v, "tags"), &tags) == 0)
		ans->nofailover = herd_tags_failover_priority(&tags) <= 0;
	herd_tags_clear(&tags);
	json_decref(v);
}

static void on_answer(void *arg, const struct herd_http_response *resp)
{
	struct question *q = arg;
	struct herd_agent *a = q->a;

	if (q->id == a->poll.id) {
		struct herd_obs_answer *ans = &a->poll.answers[q->i];

		take_answer(ans, resp);
		if (ans->reachable)
			herd_info(a->log, "Got response from %s: status %d", ans->name,
				  resp->status);
		else
			herd_log_err(a->log, HERD_LOG_WARNING, resp->err,
				     "Request failed to %s: GET", ans->name);
		if (--a->poll.left == 0)
			herd_agent_wake(a);
	}
	free(q);
}

void herd_agent_poll(struct herd_agent *a, const struct herd_action *act)
{
	const struct herd_cluster *c = herd_agent_cluster(a);

	herd_agent_poll_clear(&a->poll);
	a->poll.id = act->id;
	a->poll.asked_ms = herd_now_ms();
	a->poll.answers = calloc(act->n_names + 1, sizeof(*a->poll.answers));
	if (!a->poll.answers)
		return;
	a->poll.n = a->poll.left = act->n_names;
	for (size_t i = 0; i < act->n_names; i++)
		a->poll.answers[i].name = herd_str_dup(act->names[i]);
	for (size_t i = 0; i < act->n_names; i++) {
		const struct herd_member *m = c ? herd_cluster_member(c, act->names[i]) : NULL;
		const char *url = m && m->api_url ? m->api_url
				  : c             ? herd_failsafe_url(&c->failsafe, act->names[i])
						  : NULL;
		struct question *q = url ? malloc(sizeof(*q)) : NULL;

		if (!q) {
			a->poll.left--;
			continue;
		}
		*q = (struct question){ a, act->id, i };
		struct herd_http_request r = {
			.method = "GET",
			.url = url,
			.timeout_ms = POLL_MS,
			.max_body = 1 << 20,
			.on_done = on_answer,
			.arg = q,
		};

		if (!herd_http_send(a->http, &r)) {
			free(q);
			a->poll.left--;
		}
	}
	if (a->poll.left == 0)
		a->wake_again = true;
}

static void take_history(const struct herd_pg_history *from, struct herd_history *ret)
{
	for (size_t i = 0; i < from->n; i++) {
		struct herd_history_line line = {
			.timeline = from->v[i].tli,
			.lsn = from->v[i].end_lsn,
			.reason = from->v[i].reason,
		};

		herd_history_add(ret, &line);
	}
}

static void on_probe(void *arg, int rc, enum herd_pg_divergence d, const char *why,
		     const struct herd_pg_leader_facts *leader, const struct herd_err *err)
{
	struct herd_agent *a = arg;
	const struct herd_cluster *c = herd_agent_cluster(a);
	const struct herd_member *m = c ? herd_cluster_member(c, a->probe.name) : NULL;

	a->probe.busy = false;
	a->probe.ok = rc == 0 && leader;
	if (a->probe.ok) {
		a->probe.sysid = leader->system_identifier;
		/* A physical replication connection cannot ask; the member's own word can. */
		a->probe.in_recovery = !herd_str_eq(a->probe.name, HERD_REMOTE) &&
				       (!m || m->role != HERD_ROLE_PRIMARY);
		a->probe.timeline = leader->tli;
		take_history(&leader->history, &a->probe.history);
	} else {
		herd_log_err(a->log, HERD_LOG_WARNING, err, "could not ask %s for its timeline",
			     herd_str_eq(a->probe.name, HERD_REMOTE) ? "the remote primary"
								     : a->probe.name);
	}
	herd_agent_wake(a);
}

void herd_agent_probe_start(struct herd_agent *a, const struct herd_action *act)
{
	struct herd_pg_addr addr = { 0 };
	struct herd_err err = HERD_ERR_INIT;

	/* The one under way answers for its own id; the core asks again. */
	if (a->probe.busy)
		return;
	herd_history_clear(&a->probe.history);
	a->probe.id = act->id;
	a->probe.ok = false;
	herd_str_set(&a->probe.name, act->member);
	if (herd_agent_source(a, act->member, &addr) == 0 && addr.host &&
	    herd_pg_divergence_check(a->pg, &addr, on_probe, a, &err) == 0)
		a->probe.busy = true;
	else
		a->wake_again = true;
	herd_err_clear(&err);
	herd_pg_addr_clear(&addr);
}
