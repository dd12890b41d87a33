/*
 * failsafe.c - failsafe_mode between agents: the round of questions that a leader without the store
 * asks (POST /failsafe of every member), and the answer to such a question. Who may say yes, and
 * what it means, stands in core/core.h.
 */
#define HERD_LOG_PART "patroni.ha"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/internal.h"
#include "agent/rest_internal.h"
#include "base/json.h"
#include "base/str.h"
#include "model/lsn.h"

/* More than any ttl that somebody means. */
#define MAX_TTL_S 86400

void herd_agent_failsafe_clear(struct herd_agent_failsafe *f)
{
	for (size_t i = 0; i < f->n; i++)
		free((char *)f->accepts[i].name);
	free(f->accepts);
	free(f->leader);
	herd_status_clear(&f->status);
	memset(f, 0, sizeof(*f));
}

/* --- the leader's side ------------------------------------------------------------------------ */

struct question {
	struct herd_agent *a;
	int64_t id;
	size_t i;
};

static void on_answer(void *arg, const struct herd_http_response *resp)
{
	struct question *q = arg;
	struct herd_agent *a = q->a;
	struct herd_agent_failsafe *f = &a->failsafe;
	const char *lsn = resp->status ? herd_http_response_header(resp, "lsn") : NULL;
	int64_t n;

	if (q->id == f->id) {
		struct herd_obs_accept *ans = &f->accepts[q->i];

		if (lsn && herd_str_to_i64(lsn, &n) == 0 && n > 0)
			ans->lsn = (uint64_t)n;
		f->accepted = f->accepted && resp->status == 200;
		f->refused = f->refused || (resp->status && resp->status != 200);
		if (resp->status)
			herd_info(a->log, "Got response from %s: %.200s", ans->name, resp->body);
		else
			herd_log_err(a->log, HERD_LOG_WARNING, resp->err,
				     "Request failed to %s: POST /failsafe", ans->name);
		if (--f->left == 0)
			herd_agent_wake(a);
	}
	free(q);
}

/* Where the member's REST API is, by the key failsafe or its own key; malloc'd, or NULL. */
static char *url_of(const struct herd_cluster *c, const char *name)
{
	const struct herd_member *m = c ? herd_cluster_member(c, name) : NULL;
	const char *api = c ? herd_failsafe_url(&c->failsafe, name) : NULL;
	char *base = herd_str_dup(m && m->api_url ? m->api_url : api);
	char *tail = base ? strrchr(base, '/') : NULL;
	char *url = NULL;

	if (tail) {
		*tail = '\0';
		url = herd_str_printf("%s/failsafe", base);
	}
	free(base);
	return url;
}

/* {"name":..,"conn_url":..,"api_url":..,"slots":{..}}, as Patroni sends it, and our ttl. */
static char *question_text(const struct herd_agent *a, int64_t ttl_ms)
{
	json_t *slots = json_object();
	json_t *v = json_pack("{s:s,s:s,s:s,s:o,s:I}", "name", a->name, "conn_url",
			      a->self_conn_url ? a->self_conn_url : "", "api_url",
			      a->self_api_url ? a->self_api_url : "", "slots", slots, "ttl",
			      (json_int_t)((ttl_ms + 999) / 1000));
	char *own = herd_slot_name(a->name), *text;

	for (size_t i = 0; i < a->st.slot_n; i++) {
		const struct herd_pg_slot *s = &a->st.slot[i];
		uint64_t lsn = strcmp(s->type, "logical") == 0 ? s->confirmed_lsn : s->restart_lsn;

		if (!s->temporary && lsn > 0)
			json_object_set_new(slots, s->name, json_integer((json_int_t)lsn));
	}
	if (own && a->st.flush_lsn > 0)
		json_object_set_new(slots, own, json_integer((json_int_t)a->st.flush_lsn));
	free(own);
	text = herd_json_dump(v);
	json_decref(v);
	return text;
}

static bool ask_one(struct herd_agent *a, const struct herd_action *act, size_t i, const char *body)
{
	char *url = url_of(herd_agent_cluster(a), act->names[i]);
	struct question *q = url ? malloc(sizeof(*q)) : NULL;
	struct herd_http_request r = {
		.method = "POST",
		.url = url,
		.body = body,
		.user = herd_agent_config_ctl_user(a->cfg),
		.password = herd_agent_config_ctl_password(a->cfg),
		.timeout_ms = act->timeout_ms,
		.max_body = 1 << 16,
		.on_done = on_answer,
		.arg = q,
	};
	bool sent = false;

	if (q) {
		*q = (struct question){ a, act->id, i };
		sent = herd_http_send(a->http, &r) != NULL;
	}
	if (!sent)
		free(q);
	free(url);
	return sent;
}

void herd_agent_failsafe_ask(struct herd_agent *a, const struct herd_action *act)
{
	struct herd_agent_failsafe *f = &a->failsafe;
	char *body = question_text(a, act->ttl_ms);

	for (size_t i = 0; i < f->n; i++)
		free((char *)f->accepts[i].name);
	free(f->accepts);
	f->n = 0;
	f->accepts = calloc(act->n_names + 1, sizeof(*f->accepts));
	f->id = act->id;
	f->left = 1; /* held until all are sent */
	f->accepted = f->accepts && body;
	f->refused = false;
	for (size_t i = 0; f->accepted && i < act->n_names; i++) {
		f->accepts[i].name = herd_str_dup(act->names[i]);
		f->n++;
		f->left++;
	}
	for (size_t i = 0; i < f->n; i++) {
		if (!ask_one(a, act, i, body)) {
			f->accepted = false;
			f->left--;
		}
	}
	if (--f->left == 0)
		a->wake_again = true;
	free(body);
}

/* --- the member's side ------------------------------------------------------------------------ */

/* What was not begun must not begin any more: it may make a primary of us. */
static void drop_plan(struct herd_agent *a)
{
	struct herd_agent_exec *x = &a->exec;
	bool leads = false;

	for (size_t i = x->next; i < x->plan.n; i++) {
		const struct herd_action *act = &x->plan.act[i];

		leads |= act->act == HERD_ACT_TAKE || act->act == HERD_ACT_PROMOTE ||
			 (act->act == HERD_ACT_START && !act->standby);
	}
	if (!leads)
		return;
	x->gen++;
	x->next = x->plan.n;
	x->waiting = false;
}

static void take_question(struct herd_agent *a, const json_t *v, const char *name)
{
	struct herd_agent_failsafe *f = &a->failsafe;
	json_t *slots = json_object_get(v, "slots"), *lsn;
	int64_t ttl = herd_json_i64(v, "ttl", 0);
	const char *slot;

	herd_str_set(&f->leader, name);
	f->asked_ms = herd_now_ms();
	f->leader_ttl_ms = ttl < 0 || ttl > MAX_TTL_S ? 0 : 1000 * ttl;
	herd_status_clear(&f->status);
	json_object_foreach(slots, slot, lsn)
	{
		if (json_is_integer(lsn) && json_integer_value(lsn) > 0)
			herd_status_add_slot(&f->status, slot, (uint64_t)json_integer_value(lsn));
	}
}

bool herd_agent_is_primary(const struct herd_agent *a)
{
	char *path;
	bool standby = a->st.in_recovery;

	if (a->task.running == HERD_TASK_PROMOTE ||
	    (a->task.running == HERD_TASK_START && !a->task.standby))
		return true;
	if (a->run == HERD_RUN_DOWN)
		return false;
	if (!a->st_known) {
		path = herd_str_printf("%s/standby.signal", herd_pg_config(a->pg)->data_dir);
		standby = path && access(path, F_OK) == 0;
		free(path);
	}
	return !standby;
}

void herd_rest_failsafe(struct herd_rest *r, struct herd_http_exchange *x)
{
	struct herd_agent *a = r->a;
	json_t *v = herd_rest_body(x, false);
	const char *name = herd_json_str(v, "name", NULL);
	bool leads = a->leader && herd_now_ms() < a->leader_until_ms;
	char lsn[32];

	if (!v)
		return;
	switch (herd_failsafe_word(herd_agent_config_bool(a->cfg, "failsafe_mode", false), leads,
				   herd_agent_is_primary(a))) {
	case HERD_FAILSAFE_OFF:
		herd_rest_page(x, 502, NULL, "Failsafe mode is off");
		break;
	case HERD_FAILSAFE_LEADER:
		herd_rest_text(x, 500, "Running as a leader");
		break;
	case HERD_FAILSAFE_YES:
		if (!name) {
			herd_rest_text(x, 400, "the body must name the member that asks");
			break;
		}
		take_question(a, v, name);
		drop_plan(a);
		snprintf(lsn, sizeof(lsn), "%llu",
			 (unsigned long long)(a->receive_lsn > a->replay_lsn ? a->receive_lsn
									     : a->replay_lsn));
		herd_http_set_header(x, "lsn", lsn);
		herd_rest_text(x, 200, "Accepted");
		herd_agent_wake(a);
	}
	json_decref(v);
}
