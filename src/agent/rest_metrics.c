/*
 * rest_metrics.c - GET /metrics, in Prometheus' text format with Patroni's names.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/progress.h"
#include "agent/rest_internal.h"
#include "base/str.h"
#include "model/time.h"

struct metrics {
	struct herd_buf *out;
	char *labels;
};

static void metric(struct metrics *m, const char *name, const char *type, const char *help,
		   const char *fmt, ...) __attribute__((format(printf, 5, 6)));

static void metric(struct metrics *m, const char *name, const char *type, const char *help,
		   const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	char *value = herd_str_vprintf(fmt, ap);
	va_end(ap);
	herd_buf_printf(m->out, "# HELP %s %s\n# TYPE %s %s\n%s%s %s\n", name, help, name, type,
			name, m->labels, value ? value : "0");
	free(value);
}

static void gauge_bool(struct metrics *m, const char *name, const char *help, bool v)
{
	metric(m, name, "gauge", help, "%d", v);
}

/* 4.1.4 -> 040104, 15.20 -> 150020 as the server counts. */
static char *padded_version(void)
{
	int a = 0, b = 0, c = 0;

	sscanf(AGENT_VERSION, "%d.%d.%d", &a, &b, &c);
	return herd_str_printf("%02d%02d%02d", a, b, c);
}

static char *label_text(const char *s)
{
	struct herd_buf b = { 0 };

	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			herd_buf_addc(&b, '\\');
		herd_buf_addc(&b, *s == '\n' ? ' ' : *s);
	}
	return herd_buf_steal(&b);
}

/* Seconds with their microseconds from "YYYY-MM-DD HH:MM:SS.ffffff+00:00"; 0 for NULL. */
static double epoch(const char *text)
{
	const char *dot = text ? strchr(text, '.') : NULL;
	int64_t ms = 0;
	int us = 0;

	if (!text || herd_time_parse(text, &ms, NULL) < 0)
		return 0;
	if (dot && strspn(dot + 1, "0123456789") == 6)
		sscanf(dot + 4, "%3d", &us);
	return (double)ms / 1e3 + us / 1e6;
}

static void metrics_postgres(struct herd_agent *a, struct metrics *m)
{
	bool up = herd_rest_running(a), primary = herd_rest_is_primary(a),
	     standby = up && a->st.in_recovery;
	bool leads = standby && herd_rest_leads(a) && herd_rest_standby_cluster(a);
	bool sync, quorum;

	herd_rest_sync_role(a, &sync, &quorum);
	gauge_bool(m, "patroni_postgres_running", "Value is 1 if Postgres is running, 0 otherwise.",
		   up);
	metric(m, "patroni_postmaster_start_time", "gauge", "Epoch seconds since Postgres started.",
	       "%.6f", up ? epoch(a->st.start_time) : 0.0);
	gauge_bool(m, "patroni_primary", "Value is 1 if this node is the leader, 0 otherwise.",
		   primary && herd_rest_leads(a));
	metric(m, "patroni_xlog_location", "counter",
	       "Current location of the Postgres transaction log, 0 if this node is not the "
	       "leader.",
	       "%" PRIu64, primary ? a->st.flush_lsn : 0);
	gauge_bool(m, "patroni_standby_leader",
		   "Value is 1 if this node is the standby_leader, 0 otherwise.", leads);
	gauge_bool(m, "patroni_replica", "Value is 1 if this node is a replica, 0 otherwise.",
		   standby && !leads);
	gauge_bool(m, "patroni_sync_standby",
		   "Value is 1 if this node is a sync standby, 0 otherwise.", sync);
	gauge_bool(m, "patroni_quorum_standby",
		   "Value is 1 if this node is a quorum standby, 0 otherwise.", quorum);
	metric(m, "patroni_xlog_received_location", "counter",
	       "Current location of the received Postgres transaction log, 0 if this node is not "
	       "a replica.",
	       "%" PRIu64, standby ? a->st.receive_lsn : 0);
	metric(m, "patroni_xlog_replayed_location", "counter",
	       "Current location of the replayed Postgres transaction log, 0 if this node is not "
	       "a replica.",
	       "%" PRIu64, standby ? a->st.replay_lsn : 0);
	metric(m, "patroni_xlog_replayed_timestamp", "gauge",
	       "Current timestamp of the replayed Postgres transaction log, 0 if null.", "%.6f",
	       standby ? epoch(a->st.last_xact_replay) : 0.0);
	gauge_bool(m, "patroni_xlog_paused",
		   "Value is 1 if the Postgres xlog is paused, 0 otherwise.",
		   standby && a->st.replay_paused);
	gauge_bool(m, "patroni_postgres_streaming",
		   "Value is 1 if Postgres is streaming, 0 otherwise.",
		   standby && herd_str_eq(a->st.replication_state, "streaming"));
	gauge_bool(m, "patroni_postgres_in_archive_recovery",
		   "Value is 1 if Postgres is replicating from archive, 0 otherwise.",
		   standby && herd_str_eq(a->st.replication_state, "in archive recovery"));
	metric(m, "patroni_postgres_server_version", "gauge",
	       "Version of Postgres (if running), 0 otherwise.", "%d",
	       up ? a->st.server_version : 0);
}

static void metric_state(struct metrics *m, enum herd_member_state state)
{
	struct herd_buf values = { 0 };

	for (int i = 0; i < HERD_STATE_UNKNOWN; i++)
		herd_buf_printf(&values, "%s%d = %s", i ? ", " : "", i,
				herd_member_state_text((enum herd_member_state)i));
	herd_buf_printf(m->out,
			"# HELP patroni_postgres_state Numeric representation of Postgres state.\n"
			"# Values: %s, -1 = unknown\n# TYPE patroni_postgres_state gauge\n"
			"patroni_postgres_state%s %d\n",
			herd_buf_str(&values), m->labels,
			state == HERD_STATE_UNKNOWN ? -1 : (int)state);
	herd_buf_free(&values);
}

/* failover_priority as it counts: 0 where the tags forbid it. */
static int failover_priority(const struct herd_agent *a)
{
	struct herd_member self = { 0 };
	int priority;

	if (herd_agent_self(a, &self) < 0)
		return 1;
	priority = herd_tags_failover_priority(&self.tags);
	herd_member_clear(&self);
	return priority > 0 ? priority : 0;
}

static void metrics_cluster(struct herd_agent *a, struct metrics *m)
{
	const struct herd_cluster *c = herd_agent_cluster(a);

	gauge_bool(m, "patroni_cluster_unlocked",
		   "Value is 1 if the cluster is unlocked, 0 if locked.", !c || !c->leader);
	gauge_bool(m, "patroni_failsafe_mode_is_active",
		   "Value is 1 if failsafe mode is active, 0 if inactive.", a->failsafe_active);
	gauge_bool(m, "patroni_failsafe_mode_enabled",
		   "Value is 1 if failsafe mode is enabled, 0 otherwise.",
		   c && c->config.failsafe_mode);
	gauge_bool(m, "patroni_failsafe_member",
		   "Value is 1 if this node is listed in the failsafe key, 0 otherwise.",
		   c && herd_failsafe_url(&c->failsafe, a->name));
	metric(m, "patroni_postgres_timeline", "gauge",
	       "Postgres timeline of this node (if running), 0 otherwise.", "%u",
	       herd_rest_running(a) ? a->st.timeline : 0);
	metric(m, "patroni_dcs_last_seen", "gauge",
	       "Epoch timestamp when DCS was last contacted successfully by Patroni.", "%" PRId64,
	       a->dcs_seen_wall_ms / 1000);
	gauge_bool(m, "patroni_pending_restart",
		   "Value is 1 if the node needs a restart, 0 otherwise.",
		   herd_rest_pending_restart(a));
	gauge_bool(m, "patroni_is_paused", "Value is 1 if auto failover is disabled, 0 otherwise.",
		   c && c->config.pause);
	metric_state(m, herd_member_state_parse(herd_rest_state(a)));
	gauge_bool(m, "pgherd_postgres_stalled",
		   "Value is 1 if Postgres runs and makes no progress, 0 otherwise.",
		   herd_progress_stalled(a->progress) != NULL);
	metric(m, "pgherd_guard_fired_total", "counter",
	       "How often the guard had to stop Postgres since the agent started first.", "%u",
	       herd_fence_fired(a));
	metric(m, "patroni_failover_priority", "gauge",
	       "Failover priority of this node, 0 if it must not become the leader.", "%d",
	       failover_priority(a));
}

void herd_rest_metrics(struct herd_agent *a, struct herd_buf *out)
{
	char *scope = label_text(herd_agent_config_str(a->cfg, "scope", ""));
	char *name = label_text(a->name);
	struct metrics m = { out, herd_str_printf("{scope=\"%s\",name=\"%s\"}", scope, name) };
	char *version = padded_version();

	metric(&m, "patroni_version", "gauge", "Patroni semver without periods.", "%s", version);
	metrics_postgres(a, &m);
	metrics_cluster(a, &m);
	free(version);
	free(m.labels);
	free(name);
	free(scope);
}
