/*
 * rest_actions.c - requests that change something in the store: configuration, switchover and
 * failover. Their words are Patroni's, since people and tools look for them.
 */
#define HERD_LOG_PART "patroni.api"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "agent/rest_internal.h"
#include "base/json.h"
#include "base/str.h"
#include "model/time.h"

/* --- /config ---------------------------------------------------------------------------------- */

struct config_write {
	struct herd_http_exchange *x;
	json_t *config;
	bool patch;
};

static void on_config(void *arg, enum herd_dcs_result result, int64_t version,
		      const struct herd_err *err)
{
	struct config_write *w = arg;

	if (result == HERD_DCS_OK)
		herd_rest_json(w->x, 200, w->config);
	else if (result == HERD_DCS_CONFLICT)
		herd_rest_page(w->x, 409, NULL, "The configuration was changed by somebody else");
	else
		herd_rest_page(w->x, w->patch ? 503 : 502, NULL, err ? herd_err_text(err) : NULL);
	json_decref(w->config);
	free(w);
}

/* False when the new configuration cannot be used: then it was answered, and nothing is stored. */
static bool may_store(struct herd_http_exchange *x, const json_t *config, const json_t *old)
{
	struct herd_err err = HERD_ERR_INIT;
	int rc = herd_schema_may_store(config, old, &err);

	if (rc < 0)
		herd_rest_text(x, 400, herd_err_text(&err));
	herd_err_clear(&err);
	return rc == 0;
}

/* Steals config. version -1: whatever is there. */
static void write_config(struct herd_rest *r, struct herd_http_exchange *x, json_t *config,
			 int64_t version, bool patch)
{
	struct config_write *w = calloc(1, sizeof(*w));
	char *key = herd_cluster_key(r->a->group, "config");
	char *text = herd_json_dump(config);
	struct herd_dcs_change c = {
		.key = key,
		.value = text,
		.cond = version < 0 ? HERD_DCS_ANY : HERD_DCS_AT_VERSION,
		.version = version,
	};

	if (!w || !key || !text) {
		herd_rest_page(x, 503, NULL, "Out of memory");
		json_decref(config);
		free(w);
	} else {
		*w = (struct config_write){ x, config, patch };
		herd_dcs_change(r->a->dcs, &c, on_config, w);
	}
	free(key);
	free(text);
}

void herd_rest_patch_config(struct herd_rest *r, struct herd_http_exchange *x)
{
	const struct herd_cluster *c = herd_agent_cluster(r->a);
	json_t *patch = herd_rest_body(x, false);
	json_t *config;

	if (!patch)
		return;
	if (!c || !c->config_key.version || c->config_key.bad) {
		herd_rest_page(x, 503, NULL, "There is no configuration in the store yet");
		json_decref(patch);
		return;
	}
	config = json_deep_copy(c->config.raw);
	if (!herd_json_patch(config, patch)) {
		herd_rest_json(x, 200, config);
		json_decref(config);
	} else if (may_store(x, config, c->config.raw)) {
		write_config(r, x, config, c->config_key.version, true);
	} else {
		json_decref(config);
	}
	json_decref(patch);
}

void herd_rest_put_config(struct herd_rest *r, struct herd_http_exchange *x)
{
	const struct herd_cluster *c = herd_agent_cluster(r->a);
	json_t *config = herd_rest_body(x, false);

	if (!config)
		return;
	if (c && c->config_key.version && json_equal(config, c->config.raw)) {
		herd_rest_json(x, 200, config);
		json_decref(config);
		return;
	}
	if (!may_store(x, config, NULL)) {
		json_decref(config);
		return;
	}
	write_config(r, x, config, -1, false);
}

/* --- switchover and failover: asking candidates ----------------------------------------------- */

static const char *action_name(bool switchover)
{
	return switchover ? "switchover" : "failover";
}

static const char *Action_name(bool switchover)
{
	return switchover ? "Switchover" : "Failover";
}

void herd_rest_refuse(struct herd_http_exchange *x, int status, const char *fmt, const char *word)
{
	char *text = herd_str_printf(fmt, word);

	herd_rest_text(x, status, text ? text : "");
	free(text);
}

static void probe_free(struct rest_probe *p)
{
	herd_list_remove(&p->node);
	free(p->leader);
	free(p->candidate);
	free(p->scheduled_at);
	free(p);
}

static void wait_free(struct rest_wait *w)
{
	herd_list_remove(&w->node);
	free(w->leader);
	free(w->candidate);
	free(w);
}

static void on_wait_timer(void *arg)
{
	herd_rest_check_waits(arg);
}

/* Takes what it needs out of p. */
static void begin_wait(struct herd_rest *r, struct rest_probe *p)
{
	int64_t loop_wait = herd_agent_config_i64(r->a->cfg, "loop_wait", 10);
	struct rest_wait *w = calloc(1, sizeof(*w));

	if (!w) {
		herd_rest_text(p->x, 503, "out of memory");
		return;
	}
	w->x = p->x;
	w->switchover = p->switchover;
	w->leader = herd_str_dup(p->leader);
	w->candidate = herd_str_dup(p->candidate);
	w->seconds = 2 * (loop_wait > 10 ? loop_wait : 10);
	w->until_ms = herd_now_ms() + 1000 * w->seconds;
	herd_list_push_back(&r->waits, &w->node);
	if (!r->wait_timer)
		r->wait_timer = herd_timer_new(r->a->loop, on_wait_timer, r);
	herd_timer_set(r->wait_timer, 1000);
}

static void on_failover_key(void *arg, enum herd_dcs_result result, int64_t version,
			    const struct herd_err *err)
{
	struct rest_probe *p = arg;
	struct herd_rest *r = p->r;

	if (!p->x) {
		/* the server has gone */
	} else if (result != HERD_DCS_OK) {
		herd_rest_text(p->x, 503, "failed to write failover key into DCS");
	} else if (p->scheduled_at) {
		herd_rest_text(p->x, 202, "Switchover scheduled");
	} else {
		begin_wait(r, p);
	}
	if (p->x) {
		r->a->exec.reread = true;
		herd_agent_wake(r->a);
	}
	probe_free(p);
}

static void write_failover(struct rest_probe *p)
{
	struct herd_agent *a = p->r->a;
	const struct herd_cluster *c = herd_agent_cluster(a);
	int64_t version = c ? c->failover_key.version : 0;
	struct herd_failover f = {
		.leader = p->switchover ? p->leader : NULL,
		.candidate = p->candidate,
		.scheduled_at = p->scheduled_at,
	};
	char *key = herd_cluster_key(a->group, "failover");
	char *text = herd_failover_print(&f);
	struct herd_dcs_change change = {
		.key = key,
		.value = text,
		.cond = version ? HERD_DCS_AT_VERSION : HERD_DCS_ABSENT,
		.version = version,
	};

	herd_info(a->log, "received %s request with leader=%s candidate=%s scheduled_at=%s",
		  action_name(p->switchover), p->leader ? p->leader : "None",
		  p->candidate ? p->candidate : "None", p->scheduled_at ? p->scheduled_at : "None");
	herd_dcs_change(a->dcs, &change, on_failover_key, p);
	free(key);
	free(text);
}

static void on_candidate(void *arg, const struct herd_http_response *resp)
{
	struct rest_probe *p = arg;
	json_t *v = resp->status ? herd_json_parse(resp->body, resp->len, NULL) : NULL;
	json_t *tags = json_object_get(v, "tags");
	struct herd_tags t = { 0 };

	if (json_is_object(v) && herd_tags_from_json(tags, &t) == 0) {
		if (herd_tags_failover_priority(&t) > 0 &&
		    !herd_json_bool(v, "watchdog_failed", false) &&
		    strcmp(herd_json_str(v, "state", ""), "running") == 0)
			p->found = true;
		herd_tags_clear(&t);
	}
	json_decref(v);
	if (--p->left > 0)
		return;
	if (!p->x) {
		probe_free(p);
	} else if (p->found) {
		write_failover(p);
	} else {
		herd_rest_refuse(p->x, 412,
				 "%s is not possible: no good candidates have been found",
				 action_name(p->switchover));
		probe_free(p);
	}
}

static bool may_take_over(const struct rest_probe *p, const struct herd_cluster *c,
			  const struct herd_member *m)
{
	if (herd_str_eq(m->name, c->leader))
		return false;
	if (p->candidate)
		return strcmp(p->candidate, m->name) == 0;
	if (p->switchover && c->config.synchronous_mode == HERD_SYNC_ON)
		return herd_names_has(&c->sync.standby, m->name);
	return true;
}

static void ask_candidates(struct rest_probe *p, const struct herd_cluster *c)
{
	size_t n = 0;

	p->left = 1; /* held until all are sent */
	for (size_t i = 0; i < c->n_members; i++) {
		const struct herd_member *m = &c->members[i];
		struct herd_http_request req = {
			.method = "GET",
			.url = m->api_url,
			.timeout_ms = 2000,
			.on_done = on_candidate,
			.arg = p,
		};

		if (!may_take_over(p, c, m) || !m->api_url)
			continue;
		if (herd_http_send(p->r->a->http, &req)) {
			p->left++;
			n++;
		}
	}
	if (n == 0) {
		herd_rest_refuse(p->x, 412,
				 "%s is not possible: no good candidates have been found",
				 action_name(p->switchover));
		probe_free(p);
		return;
	}
	p->left--;
}

/* --- switchover and failover: the request ----------------------------------------------------- */

char *herd_rest_schedule(struct herd_http_exchange *x, const json_t *v, const char *what)
{
	const char *text = json_string_value(v);
	bool zoned = false;
	int64_t ms;
	char *iso;

	if (!text || herd_time_parse(text, &ms, &zoned) < 0) {
		herd_rest_text(x, 422,
			       "Unable to parse scheduled timestamp. It should be in an "
			       "unambiguous format, e.g. ISO 8601");
		return NULL;
	}
	if (!zoned) {
		herd_rest_refuse(x, 400, "Timezone information is mandatory for the scheduled %s",
				 what);
		return NULL;
	}
	if (ms < herd_wall_ms()) {
		herd_rest_refuse(x, 422, "Cannot schedule %s in the past", what);
		return NULL;
	}
	iso = herd_time_normal(text);
	if (!iso)
		herd_rest_page(x, 503, NULL, "Out of memory");
	return iso;
}

/* What is wrong with the words alone; *status. NULL: nothing. */
static const char *check_words(const struct herd_cluster *c, bool switchover, const char *leader,
			       const char *candidate, bool at)
{
	if (switchover && !leader)
		return "Switchover could be performed only from a specific leader";
	if (!switchover && !candidate)
		return "Failover could be performed only to a specific candidate";
	if (at && !switchover)
		return "Failover can't be scheduled";
	if (at && c->config.pause)
		return "Can't schedule switchover in the paused state";
	if (switchover && c->config.pause && !candidate)
		return "Switchover is possible only to a specific candidate in a paused state";
	if (switchover && candidate && strcmp(leader, candidate) == 0)
		return "Switchover target and source are the same";
	return NULL;
}

/* Answers with 412 and returns false when the group is not as the request supposes. */
static bool check_cluster(struct herd_http_exchange *x, const struct herd_cluster *c,
			  bool switchover, const char *leader, const char *candidate)
{
	bool sync = c->config.synchronous_mode == HERD_SYNC_ON;

	if (leader && !herd_str_eq(c->leader, leader)) {
		herd_rest_text(x, 412, "leader name does not match");
		return false;
	}
	if (candidate) {
		if (switchover && sync && !herd_names_has(&c->sync.standby, candidate)) {
			herd_rest_text(x, 412, "candidate name does not match with sync_standby");
			return false;
		}
		if (!herd_cluster_member(c, candidate)) {
			herd_rest_text(x, 412, "candidate does not exists");
			return false;
		}
		return true;
	}
	if (switchover && sync && c->sync.standby.n == 0) {
		herd_rest_refuse(x, 412, "%s is not possible: can not find sync_standby",
				 action_name(switchover));
		return false;
	}
	if (c->n_members < 2) {
		herd_rest_refuse(x, 412,
				 "%s is not possible: cluster does not have members except leader",
				 action_name(switchover));
		return false;
	}
	return true;
}

/* Text that is not empty, or NULL. */
static const char *word(const json_t *body, const char *key)
{
	const char *text = herd_json_str(body, key, NULL);

	return text && *text ? text : NULL;
}

/* Takes at. */
static void begin(struct herd_rest *r, struct herd_http_exchange *x, const struct herd_cluster *c,
		  struct rest_probe from)
{
	struct rest_probe *p = calloc(1, sizeof(*p));

	if (!p) {
		herd_rest_page(x, 503, NULL, "Out of memory");
		free(from.scheduled_at);
		return;
	}
	p->r = r;
	p->x = x;
	p->switchover = from.switchover;
	p->leader = herd_str_dup(from.leader ? from.leader : c->leader);
	p->candidate = herd_str_dup(from.candidate);
	p->scheduled_at = from.scheduled_at;
	herd_list_push_back(&r->probes, &p->node);
	ask_candidates(p, c);
}

static void handover(struct herd_rest *r, struct herd_http_exchange *x, bool switchover)
{
	const struct herd_cluster *c = herd_agent_cluster(r->a);
	json_t *body = herd_rest_body(x, false);
	const char *leader = word(body, "leader");
	const char *candidate =
		word(body, "candidate") ? word(body, "candidate") : word(body, "member");
	const json_t *at = json_object_get(body, "scheduled_at");
	char *iso = NULL;
	const char *wrong;

	if (!body)
		return;
	if (at && (json_is_null(at) || herd_str_eq(json_string_value(at), "")))
		at = NULL;
	/* /failover with a leader is a switchover. */
	switchover = switchover || leader;
	if (!c) {
		herd_rest_page(x, 503, NULL, "The store has not been read yet");
		goto out;
	}
	wrong = check_words(c, switchover, leader, candidate, at != NULL);
	if (wrong) {
		herd_rest_text(x, 400, wrong);
		goto out;
	}
	if ((at && !(iso = herd_rest_schedule(x, at, action_name(switchover)))))
		goto out;
	if (!check_cluster(x, c, switchover, leader, candidate)) {
		free(iso);
		goto out;
	}
	begin(r, x, c,
	      (struct rest_probe){ .switchover = switchover,
				   .leader = (char *)leader,
				   .candidate = (char *)candidate,
				   .scheduled_at = iso });
out:
	json_decref(body);
}

void herd_rest_switchover(struct herd_rest *r, struct herd_http_exchange *x)
{
	handover(r, x, true);
}

void herd_rest_failover(struct herd_rest *r, struct herd_http_exchange *x)
{
	handover(r, x, false);
}

/* True when it was answered. */
static bool answer_wait(struct herd_rest *r, struct rest_wait *w)
{
	const struct herd_cluster *c = herd_agent_cluster(r->a);
	const struct herd_member *m = c ? herd_cluster_leader(c) : NULL;
	bool pending = c && (!herd_failover_empty(&c->failover) || c->handover_key.version);
	char *text = NULL;

	if (pending)
		w->key_seen = true;
	bool leads = m && (m->role == HERD_ROLE_PRIMARY || m->role == HERD_ROLE_STANDBY_LEADER);

	if (leads && !herd_str_eq(c->leader, w->leader)) {
		if (!w->candidate || strcmp(w->candidate, c->leader) == 0)
			text = herd_str_printf("Successfully %s over to \"%s\"",
					       w->switchover ? "switched" : "failed", c->leader);
		else
			text = herd_str_printf("%s over to \"%s\" instead of \"%s\"",
					       w->switchover ? "Switched" : "Failed", c->leader,
					       w->candidate);
		herd_rest_text(w->x, 200, text);
	} else if (c && w->key_seen && !pending && herd_str_eq(c->leader, w->leader)) {
		herd_rest_refuse(w->x, 503, "%s failed", Action_name(w->switchover));
	} else if (herd_now_ms() >= w->until_ms) {
		text = herd_str_printf("%s status unknown after %" PRId64
				       " seconds; operation may still be in progress",
				       Action_name(w->switchover), w->seconds);
		herd_rest_text(w->x, 503, text);
	} else {
		return false;
	}
	free(text);
	return true;
}

void herd_rest_check_waits(struct herd_rest *r)
{
	herd_list_for_each_safe(it, &r->waits)
	{
		struct rest_wait *w = herd_container_of(it, struct rest_wait, node);

		if (answer_wait(r, w))
			wait_free(w);
	}
	if (!herd_list_empty(&r->waits))
		herd_timer_set(r->wait_timer, 1000);
}

void herd_rest_drop_waits(struct herd_rest *r)
{
	herd_list_for_each_safe(it, &r->waits)
	{
		struct rest_wait *w = herd_container_of(it, struct rest_wait, node);

		herd_rest_text(w->x, 503, "the agent is shutting down");
		wait_free(w);
	}
	/* Their requests are under way and come back to find no exchange. */
	herd_list_for_each_safe(it, &r->probes)
	{
		struct rest_probe *p = herd_container_of(it, struct rest_probe, node);

		herd_list_remove(&p->node);
		p->x = NULL;
	}
}

static void on_delete_switchover(void *arg, enum herd_dcs_result result, int64_t version,
				 const struct herd_err *err)
{
	if (result == HERD_DCS_OK)
		herd_rest_text(arg, 200, "scheduled switchover deleted");
	else
		herd_rest_text(arg, result == HERD_DCS_CONFLICT ? 409 : 503,
			       "failed to delete scheduled switchover");
}

void herd_rest_delete_switchover(struct herd_rest *r, struct herd_http_exchange *x)
{
	const struct herd_cluster *c = herd_agent_cluster(r->a);
	char *key;

	if (!c || !c->failover.scheduled_at) {
		herd_rest_text(x, 404, "no switchover is scheduled");
		return;
	}
	key = herd_cluster_key(r->a->group, "failover");
	struct herd_dcs_change change = { .key = key,
					  .value = "{}",
					  .cond = HERD_DCS_AT_VERSION,
					  .version = c->failover_key.version };

	herd_dcs_change(r->a->dcs, &change, on_delete_switchover, x);
	free(key);
}
