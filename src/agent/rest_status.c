/*
 * rest_status.c - what GET requests say: status and cluster, and the facts of health checks.
 */
#define HERD_LOG_PART "patroni.api"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "agent/progress.h"
#include "agent/rest_internal.h"
#include "base/json.h"
#include "base/str.h"
#include "model/lsn.h"
#include "model/time.h"

bool herd_rest_leads(const struct herd_agent *a)
{
	return a->leader && herd_now_ms() < a->leader_until_ms;
}

static bool dcs_known(const struct herd_agent *a)
{
	int64_t ttl = 1000 * herd_agent_config_i64(a->cfg, "ttl", 30);

	return a->scope && herd_now_ms() - a->view_ms < ttl;
}

/* It ran when it was last asked. */
static bool was_running(const struct herd_agent *a)
{
	return a->run == HERD_RUN_RUNNING && a->st_known;
}

bool herd_rest_running(const struct herd_agent *a)
{
	/* One answer that is late says nothing; a server that hangs serves nobody. */
	return was_running(a) && a->st_failures < 2;
}

bool herd_rest_is_primary(const struct herd_agent *a)
{
	return was_running(a) && !a->st.in_recovery;
}

void herd_rest_sync_role(const struct herd_agent *a, bool *sync, bool *quorum)
{
	const struct herd_cluster *c = herd_agent_cluster(a);

	*sync = *quorum = false;
	if (!c || !dcs_known(a) || c->config.synchronous_mode == HERD_SYNC_OFF || !c->sync.leader ||
	    !herd_str_ieq(c->sync.leader, c->leader) || !herd_names_has(&c->sync.standby, a->name))
		return;
	*quorum = c->config.synchronous_mode == HERD_SYNC_QUORUM;
	*sync = !*quorum;
}

const char *herd_rest_state(const struct herd_agent *a)
{
	switch (a->task.running) {
	case HERD_TASK_BOOTSTRAP:
		if (herd_str_eq(herd_agent_config_str(a->cfg, "bootstrap.method", "initdb"),
				"initdb"))
			return herd_member_state_text(HERD_STATE_INITDB);
		return herd_member_state_text(a->task.recovering ? HERD_STATE_BOOTSTRAP_STARTING
								 : HERD_STATE_CUSTOM_BOOTSTRAP);
	case HERD_TASK_CLONE:
		return herd_member_state_text(HERD_STATE_CREATING_REPLICA);
	case HERD_TASK_RESTART:
		return herd_member_state_text(HERD_STATE_RESTARTING);
	default:
		break;
	}
	switch (a->run) {
	case HERD_RUN_RUNNING:
		return herd_member_state_text(!a->st_known || herd_rest_running(a)
						      ? HERD_STATE_RUNNING
						      : HERD_STATE_UNKNOWN);
	case HERD_RUN_STARTING:
		return herd_member_state_text(HERD_STATE_STARTING);
	case HERD_RUN_STOPPING:
		return herd_member_state_text(HERD_STATE_STOPPING);
	default:
		return herd_member_state_text(a->crashed ? HERD_STATE_CRASHED : HERD_STATE_STOPPED);
	}
}

bool herd_rest_standby_cluster(const struct herd_agent *a)
{
	const struct herd_cluster *c = herd_agent_cluster(a);

	return c && c->config.standby_cluster;
}

const char *herd_rest_role(const struct herd_agent *a)
{
	if (herd_rest_is_primary(a))
		return "primary";
	if (herd_rest_leads(a) && herd_rest_standby_cluster(a))
		return "standby_leader";
	/* One that falls or starts as a primary is one, to who asks whether he may lead. */
	if ((a->run != HERD_RUN_RUNNING || !a->st_known) &&
	    (herd_rest_leads(a) || herd_agent_is_primary(a)))
		return "primary";
	return "replica";
}

static json_t *replication(const struct herd_agent *a)
{
	json_t *list = json_array();

	for (size_t i = 0; i < a->st.standby_n; i++) {
		const struct herd_pg_standby *s = &a->st.standby[i];

		json_array_append_new(
			list, json_pack("{s:s,s:s,s:s,s:s,s:s,s:i}", "usename", s->usename,
					"application_name", s->application_name, "client_addr",
					s->client_addr, "state", s->state, "sync_state",
					s->sync_state, "sync_priority", s->sync_priority));
	}
	return list;
}

static json_t *xlog(const struct herd_agent *a)
{
	if (!a->st.in_recovery)
		return json_pack("{s:I}", "location", (json_int_t)a->st.flush_lsn);
	json_t *v = json_pack(
		"{s:I,s:I,s:o,s:b}", "received_location", (json_int_t)a->st.receive_lsn,
		"replayed_location", (json_int_t)a->st.replay_lsn, "replayed_timestamp",
		a->st.last_xact_replay ? json_string(a->st.last_xact_replay) : json_null(),
		"paused", a->st.replay_paused);
	return v;
}

static void add_running(struct herd_agent *a, json_t *v)
{
	if (a->st.start_time)
		json_object_set_new(v, "postmaster_start_time", json_string(a->st.start_time));
	json_object_set_new(v, "role", json_string(herd_rest_role(a)));
	json_object_set_new(v, "server_version", json_integer(a->st.server_version));
	json_object_set_new(v, "xlog", xlog(a));
	json_object_set_new(v, "timeline", json_integer(a->st.timeline));
	if (a->st.in_recovery && a->st.replication_state)
		json_object_set_new(v, "replication_state", json_string(a->st.replication_state));
	if (a->st.standby_n)
		json_object_set_new(v, "replication", replication(a));
}

bool herd_rest_pending_restart(const struct herd_agent *a)
{
	struct herd_member self = { 0 };
	bool pending;

	if (herd_agent_self(a, &self) < 0)
		return false;
	pending = self.pending_restart;
	herd_member_clear(&self);
	return pending;
}

json_t *herd_rest_status(struct herd_agent *a, bool answers)
{
	const struct herd_cluster *c = herd_agent_cluster(a);
	json_t *v = json_object();
	struct herd_member self = { 0 };
	bool sync, quorum;

	answers = answers && herd_rest_running(a);
	json_object_set_new(
		v, "state",
		json_string(answers || !was_running(a) ? herd_rest_state(a) : "unknown"));
	if (answers)
		add_running(a, v);
	else
		json_object_set_new(v, "role", json_string(herd_rest_role(a)));
	herd_rest_sync_role(a, &sync, &quorum);
	if (sync || quorum)
		json_object_set_new(v, sync ? "sync_standby" : "quorum_standby", json_true());
	if (c && c->config.pause)
		json_object_set_new(v, "pause", json_true());
	if (!c || !c->leader)
		json_object_set_new(v, "cluster_unlocked", json_true());
	if (a->failsafe_active)
		json_object_set_new(v, "failsafe_mode_is_active", json_true());
	json_object_set_new(v, "dcs_last_seen", json_integer(a->dcs_seen_wall_ms / 1000));
	herd_agent_self(a, &self);
	if (json_object_size(self.tags.raw))
		json_object_set(v, "tags", self.tags.raw);
	if (a->control_known) {
		char *sysid = herd_str_printf("%" PRIu64, a->control.system_identifier);

		json_object_set_new(v, "database_system_identifier", json_string(sysid));
		free(sysid);
	}
	if (self.pending_restart) {
		json_object_set_new(v, "pending_restart", json_true());
		json_object_set(v, "pending_restart_reason", self.pending_restart_reason);
	}
	herd_member_clear(&self);
	if (herd_fence_watchdog_failed(a))
		json_object_set_new(v, "watchdog_failed", json_true());
	if (herd_progress_stalled(a->progress))
		json_object_set_new(v, "stalled", json_string(herd_progress_stalled(a->progress)));
	json_object_set_new(v, "guard", json_string(herd_fence_guard_state(a)));
	if (a->rejoin)
		json_object_set(v, "rejoin", a->rejoin);
	json_object_set_new(v, "patroni",
			    json_pack("{s:s,s:s,s:s}", "version", AGENT_VERSION, "scope",
				      herd_agent_config_str(a->cfg, "scope", ""), "name", a->name));
	if (herd_log_queued(a->log) > 2)
		json_object_set_new(v, "logger_queue_size",
				    json_integer((json_int_t)herd_log_queued(a->log)));
	if (herd_log_lost(a->log))
		json_object_set_new(v, "logger_records_lost",
				    json_integer((json_int_t)herd_log_lost(a->log)));
	if (a->scheduled_restart) {
		json_t *s = json_copy(a->scheduled_restart);

		json_object_del(s, "postmaster_start_time");
		json_object_set_new(v, "scheduled_restart", s);
	}
	return v;
}

/* --- /cluster --------------------------------------------------------------------------------- */

static const char *cluster_role(const struct herd_cluster *c, const struct herd_member *m)
{
	if (herd_str_eq(c->leader, m->name))
		return c->config.standby_cluster ? "standby_leader" : "leader";
	if (c->config.synchronous_mode != HERD_SYNC_OFF && c->sync.leader &&
	    herd_names_has(&c->sync.standby, m->name))
		return c->config.synchronous_mode == HERD_SYNC_QUORUM ? "quorum_standby"
								      : "sync_standby";
	return "replica";
}

static void add_lsn(json_t *v, const char *what, const char *lag, uint64_t lsn, uint64_t leader)
{
	char text[HERD_LSN_TEXT];

	json_object_set_new(v, what, json_string(lsn ? herd_lsn_print(lsn, text) : "unknown"));
	json_object_set_new(v, lag,
			    lsn ? json_integer((json_int_t)herd_lsn_lag(leader, lsn))
				: json_string("unknown"));
}

static json_t *cluster_member(const struct herd_cluster *c, const struct herd_member *m,
			      uint64_t leader_lsn)
{
	const char *role = cluster_role(c, m);
	bool leads = herd_str_eq(c->leader, m->name);
	json_t *v = json_pack("{s:s,s:s,s:s}", "name", m->name, "role", role, "state",
			      (!leads || c->config.standby_cluster) && m->replication_state
				      ? m->replication_state
			      : m->state_text ? m->state_text
					      : "unknown");

	if (m->api_url)
		json_object_set_new(v, "api_url", json_string(m->api_url));
	if (m->host) {
		json_object_set_new(v, "host", json_string(m->host));
		json_object_set_new(v, "port", json_integer(m->port));
	}
	if (m->timeline)
		json_object_set_new(v, "timeline", json_integer(m->timeline));
	if (m->pending_restart) {
		json_object_set_new(v, "pending_restart", json_true());
		if (m->pending_restart_reason)
			json_object_set(v, "pending_restart_reason", m->pending_restart_reason);
	}
	if (m->scheduled_restart)
		json_object_set(v, "scheduled_restart", m->scheduled_restart);
	if (json_object_size(m->tags.raw))
		json_object_set(v, "tags", m->tags.raw);
	if (!leads) {
		uint64_t max = m->receive_lsn > m->replay_lsn ? m->receive_lsn : m->replay_lsn;

		add_lsn(v, "receive_lsn", "receive_lag", m->receive_lsn, leader_lsn);
		add_lsn(v, "replay_lsn", "replay_lag", m->replay_lsn, leader_lsn);
		add_lsn(v, "lsn", "lag", m->xlog_location ? m->xlog_location : max, leader_lsn);
	}
	return v;
}

json_t *herd_rest_cluster(struct herd_agent *a)
{
	const struct herd_cluster *c = herd_agent_cluster(a);
	const struct herd_member *leader = c ? herd_cluster_leader(c) : NULL;
	json_t *members = json_array();
	json_t *v = json_pack("{s:o}", "members", members);
	uint64_t lsn = c ? c->status.optime : 0;

	if (leader && leader->xlog_location > lsn)
		lsn = leader->xlog_location;
	for (size_t i = 0; c && i < c->n_members; i++)
		json_array_append_new(members, cluster_member(c, &c->members[i], lsn));
	if (c && c->config.pause)
		json_object_set_new(v, "pause", json_true());
	if (c && c->failover.scheduled_at) {
		json_t *s = json_pack("{s:s}", "at", c->failover.scheduled_at);

		if (c->failover.leader)
			json_object_set_new(s, "from", json_string(c->failover.leader));
		if (c->failover.candidate)
			json_object_set_new(s, "to", json_string(c->failover.candidate));
		json_object_set_new(v, "scheduled_switchover", s);
	}
	json_object_set_new(v, "scope", json_string(herd_agent_config_str(a->cfg, "scope", "")));
	return v;
}

/* --- health ----------------------------------------------------------------------------------- */

void herd_rest_health(struct herd_agent *a, struct herd_health *ret, json_t **tags)
{
	const struct herd_cluster *c = herd_agent_cluster(a);
	int64_t ttl = 1000 * herd_agent_config_i64(a->cfg, "ttl", 30);
	struct herd_member self = { 0 };
	uint64_t leader_lsn = c ? c->status.optime : 0;

	if (herd_rest_running(a) && a->st.latest_end_lsn > leader_lsn)
		leader_lsn = a->st.latest_end_lsn;
	*ret = (struct herd_health){
		.leader = herd_rest_leads(a),
		.standby_cluster = herd_rest_standby_cluster(a),
		.running = herd_rest_running(a),
		.primary = herd_rest_is_primary(a),
		.dcs_known = dcs_known(a),
		.failsafe = a->failsafe_active,
		.stream_known = herd_rest_running(a) && a->st.latest_end_lsn > 0,
		.paused = c && c->config.pause,
		.live = (c && c->config.pause) ||
			a->next_run_ms + ttl * (herd_rest_is_primary(a) ? 1 : 2) > herd_now_ms(),
		.replication_state = herd_rest_running(a) ? a->st.replication_state : NULL,
		.leader_lsn = leader_lsn,
		.received_lsn = a->st.receive_lsn,
		.replayed_lsn = a->st.replay_lsn,
		.maximum_lag = c ? c->config.maximum_lag_on_failover : 1048576,
	};
	herd_rest_sync_role(a, &ret->sync_standby, &ret->quorum_standby);
	if (herd_agent_self(a, &self) == 0) {
		*tags = json_incref(self.tags.raw);
		ret->tags = *tags;
		herd_member_clear(&self);
	}
}
