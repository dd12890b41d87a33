/*
 * observe.c - from events to a step: gathers PostgreSQL's status and, when it is due, a fresh view
 * of the store, both at once and bounded in time; then lets the core decide.
 */
#define HERD_LOG_PART "patroni.ha"
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "agent/internal.h"
#include "agent/notify.h"
#include "agent/progress.h"
#include "agent/rest.h"
#include "agent/sharding.h"
#include "base/json.h"
#include "base/str.h"
#include "pg/clone.h"

#define PG_QUERY_MS 2500
/* A setting is in force everywhere by then. */
#define SSN_AGAIN_MS 1000
#define MIN_STEP_GAP_MS 2
#define STATUS_REUSE_MS 50

static void start(struct herd_agent *a, bool heartbeat);

/* --- gathering -------------------------------------------------------------------------------- */

static void gathered(struct herd_agent *a)
{
	if (!a->observing || a->dcs_pending || a->pg_pending)
		return;
	/* Through the timer, so that a step never runs inside somebody's callback. */
	herd_timer_set(a->observe_timer, 0);
}

static void on_view(void *arg, enum herd_dcs_result result, struct herd_dcs_view *view,
		    const struct herd_err *err)
{
	struct herd_agent *a = arg;

	a->dcs_pending = false;
	a->dcs_ok = result == HERD_DCS_OK;
	if (a->dcs_ok) {
		herd_agent_set_scope(a, view);
		a->dcs_seen_wall_ms = herd_wall_ms();
	} else {
		herd_log_err(a->log, HERD_LOG_WARNING, err, "Can not get cluster from dcs");
	}
	if (a->observing)
		gathered(a);
	else
		herd_agent_wake(a);
}

/* What is to be remembered of a standby when it cannot be asked, or streams no more. */
static void take_standby(struct herd_agent *a)
{
	if (!a->st.in_recovery)
		return;
	a->receive_lsn = a->st.receive_lsn;
	a->replay_lsn = a->st.replay_lsn;
	if (a->streamed_start_ms != a->st.start_time_ms) {
		a->streamed_start_ms = a->st.start_time_ms;
		a->streamed_tl = 0;
	}
	if (a->st.receiver_tli > a->streamed_tl)
		a->streamed_tl = a->st.receiver_tli;
	if (a->st.timeline < a->streamed_tl)
		a->st.timeline = (uint32_t)a->streamed_tl;
}

/*
 * A commit that waits for a standby that has left synchronous_standby_names is released by the next
 * word of one that is in it. When that one has everything and nobody writes, this word comes only
 * after wal_receiver_status_interval (10 s): so there is something to send, now and once more when
 * every process must have read the new setting.
 */
static void release_waiting_commits(struct herd_agent *a)
{
	const char *ssn = a->st.synchronous_standby_names;
	int64_t now = herd_now_ms();

	if (a->st.in_recovery || !ssn || !*ssn) {
		herd_str_set(&a->ssn_seen, NULL);
		return;
	}
	if (!herd_str_eq(a->ssn_seen, ssn)) {
		herd_str_set(&a->ssn_seen, ssn);
		a->ssn_again_ms = now + SSN_AGAIN_MS;
	} else if (a->ssn_again_ms > 0 && now >= a->ssn_again_ms) {
		a->ssn_again_ms = 0;
	} else {
		return;
	}
	herd_pg_query(herd_pg_session(a->pg),
		      "SELECT pg_catalog.set_config('synchronous_commit', 'local', true), "
		      "pg_catalog.pg_logical_emit_message(true, 'pgherd', '')",
		      0, NULL, PG_QUERY_MS, NULL, NULL);
}

static void on_status(void *arg, int rc, struct herd_pg_status *st, const struct herd_err *err)
{
	struct herd_agent *a = arg;

	a->pg_pending = false;
	if (rc == 0 && st->in_recovery && a->st_sent_ms <= a->promoted_ms) {
		/* Asked before the end of a promotion: that was another server, so to speak. */
		a->wake_again = true;
	} else if (rc == 0) {
		herd_pg_status_clear(&a->st);
		herd_pg_status_move(&a->st, st);
		a->st_fresh = true;
		a->st_known = true;
		a->st_ms = herd_now_ms();
		a->st_stale = false;
		a->st_failures = 0;
		take_standby(a);
		release_waiting_commits(a);
		herd_agent_adopted(a);
	} else if (rc != -ECANCELED) {
		a->st_failures++;
		herd_debug(a->log, "status of PostgreSQL: %s", herd_err_text(err));
	}
	if (rc != -ECANCELED)
		herd_progress_answered(a->progress, rc == 0);
	gathered(a);
}

static enum herd_pg_run run_of(struct herd_agent *a)
{
	/* A server that one of these runs for itself (crash recovery alone) serves nobody. */
	if (a->task.running == HERD_TASK_BOOTSTRAP || a->task.running == HERD_TASK_CLONE ||
	    a->task.running == HERD_TASK_REWIND)
		return HERD_RUN_DOWN;
	switch (herd_pg_phase(a->pg)) {
	case HERD_PG_PHASE_STARTING:
		return HERD_RUN_STARTING;
	case HERD_PG_PHASE_RUNNING:
		return HERD_RUN_RUNNING;
	case HERD_PG_PHASE_STOPPING:
		return HERD_RUN_STOPPING;
	case HERD_PG_PHASE_STOPPED:
		break;
	}
	return HERD_RUN_DOWN;
}

/*
 * A postmaster that was killed leaves sessions behind that finish their statement, and tell their
 * client so. For the core DOWN means that nobody writes. Tasks end what they stop themselves.
 */
static void end_leftovers(struct herd_agent *a)
{
	enum herd_task t = a->task.running;

	if (t == HERD_TASK_NONE || t == HERD_TASK_PROMOTE || t == HERD_TASK_CHECKPOINT)
		herd_pg_kill(a->pg);
}

static void look_at_postmaster(struct herd_agent *a)
{
	enum herd_pg_run run = run_of(a);
	int64_t now = herd_now_ms();

	if (run == HERD_RUN_DOWN && a->run != HERD_RUN_DOWN) {
		a->down_since_ms = now;
		end_leftovers(a);
	}
	if (run == HERD_RUN_STARTING && a->run != HERD_RUN_STARTING)
		a->starting_since_ms = now;
	if (run == HERD_RUN_DOWN)
		a->st_known = false;
	else
		a->crashed = false;
	a->run = run;
	a->control_known =
		herd_pg_datadir(a->pg, NULL) == HERD_PG_DATADIR_VALID &&
		herd_pg_control_peek(herd_pg_config(a->pg)->data_dir, &a->control, NULL) == 0;
}

static void start(struct herd_agent *a, bool heartbeat)
{
	int64_t now = herd_now_ms();
	int64_t loop_wait = 1000 * herd_agent_config_i64(a->cfg, "loop_wait", 10);
	int64_t ttl = 1000 * herd_agent_config_i64(a->cfg, "ttl", 30);
	int64_t limit = ttl / 12 < 250 ? 250 : ttl / 12 > 1000 ? 1000 : ttl / 12;

	bool reuse = a->st_reuse && !heartbeat;

	a->observing = true;
	a->st_reuse = false;
	a->wake_again = false;
	a->st_fresh = false;
	herd_timer_set(a->observe_timer, limit);
	look_at_postmaster(a);
	if (reuse && a->run == HERD_RUN_RUNNING && !a->pg_pending && a->st_known) {
		a->st_fresh = true;
	} else if (a->run == HERD_RUN_RUNNING && !a->pg_pending) {
		a->pg_pending = true;
		a->st_sent_ms = now;
		if (herd_pg_status_query(herd_pg_session(a->pg), PG_QUERY_MS, on_status, a) < 0)
			a->pg_pending = false;
	}
	if ((heartbeat || a->exec.reread || !a->scope || now - a->heartbeat_ms >= loop_wait) &&
	    !a->dcs_pending) {
		a->exec.reread = false;
		a->dcs_pending = true;
		a->heartbeat_ms = now;
		herd_dcs_read(a->dcs, "", on_view, a);
	}
	gathered(a);
}

void herd_agent_wake(struct herd_agent *a)
{
	if (a->exiting)
		return;
	if (a->observing || a->exec.waiting) {
		a->wake_again = true;
		return;
	}
	start(a, false);
}

void herd_agent_wake_store(struct herd_agent *a)
{
	a->st_reuse = !a->exiting && !a->observing && !a->exec.waiting && !a->st_stale &&
		      herd_now_ms() - a->st_ms < STATUS_REUSE_MS;
	herd_agent_wake(a);
}

/* The step that is due, whatever the last plan still waits for. */
void herd_agent_heartbeat(void *arg)
{
	struct herd_agent *a = arg;

	if (a->exiting)
		return;
	if (a->observing) {
		a->wake_again = true;
		return;
	}
	a->exec.gen++;
	a->exec.waiting = false;
	start(a, true);
}

/* --- the observation -------------------------------------------------------------------------- */

struct herd_agent_obs_buf {
	struct herd_obs_sender *senders;
	struct herd_obs_slot *slots;
	struct herd_member self;
	char *bootstrap;
	char *user_ssn;
};

void herd_agent_obs_free(struct herd_agent_obs_buf *buf)
{
	if (!buf)
		return;
	free(buf->senders);
	free(buf->slots);
	free(buf->bootstrap);
	free(buf->user_ssn);
	herd_member_clear(&buf->self);
	free(buf);
}

/* The tags that are published: false ones with a meaning are left out. */
static json_t *published_tags(const struct herd_agent *a)
{
	static const char *const bools[] = { "clonefrom", "nofailover", "noloadbalance", "nosync",
					     "nostream" };
	json_t *tags = json_deep_copy(herd_agent_config_get(a->cfg, "tags"));

	for (size_t i = 0; i < sizeof(bools) / sizeof(bools[0]); i++) {
		bool keep =
			(strcmp(bools[i], "nofailover") == 0 &&
			 json_object_get(tags, "failover_priority")) ||
			(strcmp(bools[i], "nosync") == 0 && json_object_get(tags, "sync_priority"));

		if (tags && !keep && !herd_json_bool(tags, bools[i], false))
			json_object_del(tags, bools[i]);
	}
	return tags;
}

static json_t *pending_reason(const struct herd_agent *a)
{
	json_t *reason = json_object();

	for (size_t i = 0; i < a->st.pending_n; i++) {
		const struct herd_pg_pending *p = &a->st.pending[i];

		json_object_set_new(
			reason, p->name,
			json_pack("{s:s, s:s}", "old_value", p->now, "new_value", p->then));
	}
	return reason;
}

int herd_agent_self(const struct herd_agent *a, struct herd_member *ret)
{
	struct herd_member m = { 0 };
	json_t *tags = published_tags(a);
	int rc = herd_tags_from_json(tags, &m.tags);

	json_decref(tags);
	m.name = herd_str_dup(a->name);
	m.conn_url = herd_str_dup(a->self_conn_url);
	m.api_url = herd_str_dup(a->self_api_url);
	m.proxy_url = herd_str_dup(a->self_proxy_url);
	m.version = herd_str_dup(AGENT_VERSION);
	m.checkpoint_after_promote = -1;
	herd_conn_url_parse(m.conn_url, &m.host, &m.port);
	if (a->st_known && a->st.pending_n) {
		m.pending_restart_reason = pending_reason(a);
		m.pending_restart = json_object_size(m.pending_restart_reason) > 0;
		if (!m.pending_restart) {
			json_decref(m.pending_restart_reason);
			m.pending_restart_reason = NULL;
		}
	}
	m.scheduled_restart = json_incref(a->scheduled_restart);
	m.pgherd = json_pack("{s:s}", "guard", herd_fence_guard_state(a));
	if (herd_progress_stalled(a->progress))
		json_object_set_new(m.pgherd, "stalled",
				    json_string(herd_progress_stalled(a->progress)));
	if (a->rejoin)
		json_object_set(m.pgherd, "rejoin", a->rejoin);
	if (rc < 0) {
		herd_member_clear(&m);
		return rc;
	}
	*ret = m;
	return 0;
}

static const char *member_at(const struct herd_agent *a, const char *host, const char *port)
{
	const struct herd_cluster *c = herd_agent_cluster(a);
	int64_t n = 5432;

	if (!c || !host || (port && herd_str_to_i64(port, &n) < 0))
		return NULL;
	for (size_t i = 0; i < c->n_members; i++) {
		const struct herd_member *m = &c->members[i];

		if (m->host && strcasecmp(m->host, host) == 0 && m->port == n)
			return m->name;
	}
	return NULL;
}

/* Are the recovery parameters those of standby_cluster? */
static bool follows_remote(struct herd_agent *a)
{
	const struct herd_pg_role *role = herd_pg_role(a->pg);
	struct herd_pg_role want = { 0 };
	bool same;

	if (!herd_agent_dynamic(a)->standby_cluster || !role || !role->standby ||
	    herd_agent_role(a, true, HERD_REMOTE, &want) < 0)
		return false;
	same = herd_pg_addr_eq(&role->primary, &want.primary) &&
	       herd_str_eq(role->primary_slot_name, want.primary_slot_name) &&
	       herd_pg_settings_eq(&role->recovery, &want.recovery);
	herd_pg_role_clear(&want);
	return same;
}

/* Whom primary_conninfo names: what the server says, else what was written last. */
const char *herd_agent_following(struct herd_agent *a)
{
	const struct herd_pg_role *role = herd_pg_role(a->pg);
	const char *found = NULL;

	if (follows_remote(a))
		return HERD_REMOTE;
	if (a->st_known && a->st.primary_conninfo && *a->st.primary_conninfo) {
		struct herd_pg_settings words = { 0 };

		if (herd_pg_conninfo_parse(a->st.primary_conninfo, &words, NULL) == 0)
			found = member_at(a, herd_pg_settings_get(&words, "host"),
					  herd_pg_settings_get(&words, "port"));
		herd_pg_settings_clear(&words);
	} else if (!a->st_known && role && role->standby) {
		found = member_at(a, role->primary.host, role->primary.port);
	}
	return found;
}

static enum herd_control control_of(const struct herd_agent *a)
{
	if (!a->control_known)
		return HERD_CONTROL_UNKNOWN;
	switch (a->control.state) {
	case HERD_PG_DB_SHUTDOWNED:
		return HERD_CONTROL_SHUT_DOWN;
	case HERD_PG_DB_SHUTDOWNED_IN_RECOVERY:
		return HERD_CONTROL_SHUT_DOWN_IN_RECOVERY;
	case HERD_PG_DB_SHUTDOWNING:
		return HERD_CONTROL_SHUTTING_DOWN;
	case HERD_PG_DB_IN_CRASH_RECOVERY:
		return HERD_CONTROL_CRASH_RECOVERY;
	case HERD_PG_DB_IN_ARCHIVE_RECOVERY:
		return HERD_CONTROL_ARCHIVE_RECOVERY;
	case HERD_PG_DB_IN_PRODUCTION:
		return HERD_CONTROL_IN_PRODUCTION;
	case HERD_PG_DB_STARTUP:
	case HERD_PG_DB_UNKNOWN:
		break;
	}
	return HERD_CONTROL_UNKNOWN;
}

static bool has_file(const struct herd_agent *a, const char *name)
{
	char *path = herd_str_printf("%s/%s", herd_pg_config(a->pg)->data_dir, name);
	bool yes = path && access(path, F_OK) == 0;

	free(path);
	return yes;
}

static bool was_torn(const struct herd_agent *a)
{
	char *mark = herd_agent_rewind_mark(a);
	bool yes = mark && access(mark, F_OK) == 0;

	free(mark);
	return yes;
}

/* The history of a timeline never changes, so it is read once. */
static void read_history(struct herd_agent *a, int64_t tl)
{
	char *path, *text = NULL;
	size_t cap = 0;
	FILE *f;

	if (tl == a->history_tl)
		return;
	herd_history_clear(&a->history);
	a->history_tl = 0;
	if (tl <= 1)
		return;
	path = herd_str_printf("%s/pg_wal/%08X.history", herd_pg_config(a->pg)->data_dir,
			       (unsigned)tl);
	f = fopen(path, "re");
	free(path);
	if (!f)
		return;
	if (getdelim(&text, &cap, '\0', f) > 0 &&
	    herd_history_parse_file(text, &a->history, NULL) == 0)
		a->history_tl = tl;
	free(text);
	fclose(f);
}

static int take_rows(struct herd_agent *a, struct herd_obs_pg *pg, struct herd_agent_obs_buf *buf)
{
	buf->senders = calloc(a->st.standby_n + 1, sizeof(*buf->senders));
	buf->slots = calloc(a->st.slot_n + 1, sizeof(*buf->slots));
	if (!buf->senders || !buf->slots)
		return -ENOMEM;
	for (size_t i = 0; i < a->st.standby_n; i++) {
		const struct herd_pg_standby *s = &a->st.standby[i];

		buf->senders[i] = (struct herd_obs_sender){
			.application_name = s->application_name,
			.streaming = strcmp(s->state, "streaming") == 0,
			.sync = strcmp(s->sync_state, "sync") == 0 ||
				strcmp(s->sync_state, "quorum") == 0,
			.write_lsn = s->write_lsn,
			.flush_lsn = s->flush_lsn,
			.replay_lsn = s->replay_lsn,
		};
	}
	for (size_t i = 0; i < a->st.slot_n; i++) {
		const struct herd_pg_slot *s = &a->st.slot[i];
		bool logical = strcmp(s->type, "logical") == 0;

		buf->slots[i] = (struct herd_obs_slot){
			.name = s->name,
			.type = logical ? HERD_SLOT_LOGICAL : HERD_SLOT_PHYSICAL,
			.database = s->database,
			.plugin = s->plugin,
			.restart_lsn = logical ? s->confirmed_lsn : s->restart_lsn,
			.active = s->active,
			.temporary = s->temporary,
			.lost = herd_str_eq(s->wal_status, "lost"),
			.failover = s->failover,
			.synced = s->synced,
			.has_xmin = s->has_xmin,
			.catalog_xmin = s->catalog_xmin_valid ? s->catalog_xmin : 0,
			.stuck = herd_agent_slot_stuck(a, s->name),
		};
	}
	pg->senders = buf->senders;
	pg->n_senders = a->st.standby_n;
	pg->slots = buf->slots;
	pg->n_slots = a->st.slot_n;
	pg->slots_known = true;
	return 0;
}

static void take_history(const struct herd_agent *a, struct herd_obs_pg *pg)
{
	pg->history = a->history_tl && a->history_tl == pg->timeline ? &a->history : NULL;
}

static bool differs(const struct herd_agent *a, const char *name, const char *in_force)
{
	const char *written = herd_pg_written_recovery(a->pg, name);

	return written && strcmp(written, in_force ? in_force : "") != 0;
}

/* Does the standby go by what was written for it? */
static void take_recovery(const struct herd_agent *a, struct herd_obs_pg *pg)
{
	bool source = differs(a, "primary_conninfo", a->st.primary_conninfo) ||
		      differs(a, "primary_slot_name", a->st.primary_slot_name);
	const char *command = herd_pg_written_recovery(a->pg, "restore_command");
	/* One that we do not write may be the base configuration's. */
	bool restore = command && *command && differs(a, "restore_command", a->st.restore_command);

	pg->recovery_differs = pg->in_recovery && (source || restore);
	pg->recovery_restart = pg->recovery_differs && ((source && a->st.server_version < 130000) ||
							(restore && a->st.server_version < 140000));
}

/* What stands in the configuration counts from the next start on. */
static void take_slot_limits(const struct herd_agent *a, struct herd_obs_pg *pg)
{
	const struct herd_pg_role *role = herd_pg_role(a->pg);
	const char *level = herd_pg_written(a->pg, "wal_level");
	const char *max = herd_pg_written(a->pg, "max_replication_slots");
	int64_t n;

	pg->logical = a->st.logical_wal && (!level || strcmp(level, "logical") == 0);
	pg->max_slots = a->st.max_slots;
	if (herd_str_to_i64(max ? max : "", &n) == 0 && n < pg->max_slots)
		pg->max_slots = (int)n;
	pg->slot_sync = a->st.slot_sync;
	pg->feedback = role && role->force_hot_standby_feedback;
}

static int take_pg(struct herd_agent *a, struct herd_obs_pg *pg, struct herd_agent_obs_buf *buf)
{
	pg->down_since_ms = a->down_since_ms;
	pg->stalled = herd_progress_stalled(a->progress);
	/* What a bootstrap makes counts only when it is whole: not there until then. */
	if (a->task.running == HERD_TASK_BOOTSTRAP || has_file(a, "pgherd.bootstrap")) {
		pg->data = HERD_DATA_EMPTY;
		pg->run = HERD_RUN_DOWN;
		return 0;
	}
	switch (herd_pg_datadir(a->pg, NULL)) {
	case HERD_PG_DATADIR_MISSING:
		pg->data = HERD_DATA_EMPTY;
		break;
	case HERD_PG_DATADIR_VALID:
		pg->data = a->control_known ? HERD_DATA_VALID : HERD_DATA_BROKEN;
		break;
	case HERD_PG_DATADIR_BROKEN:
		/* Half a copy is nothing; half a rewind is still somebody's data. */
		pg->data = herd_pg_is_half_copied(a->pg) ? HERD_DATA_EMPTY : HERD_DATA_BROKEN;
		break;
	}
	pg->run = a->run;
	pg->sysid = a->control_known ? a->control.system_identifier : 0;
	pg->control = control_of(a);
	pg->checkpoint_lsn = a->control_known ? a->control.checkpoint_lsn : 0;
	pg->checkpoint_tl = a->control_known ? a->control.checkpoint_tli : 0;
	pg->starting_since_ms = a->starting_since_ms;
	pg->crashed = a->crashed;
	pg->receive_lsn = a->receive_lsn;
	pg->replay_lsn = a->replay_lsn;
	pg->following = herd_agent_following(a);
	pg->user_ssn = buf->user_ssn;
	pg->fresh = has_file(a, "pgherd.fresh");
	pg->torn = a->task.running != HERD_TASK_REWIND && was_torn(a);
	if (a->run == HERD_RUN_DOWN && has_file(a, "backup_label")) {
		/*
		 * A base backup that was never started: pg_control is the running source's and says
		 * nothing about a crash. It is a standby, and recovery begins at the label.
		 */
		pg->in_recovery = true;
		pg->control = HERD_CONTROL_ARCHIVE_RECOVERY;
		pg->timeline = pg->checkpoint_tl;
		return 0;
	}
	if (a->run != HERD_RUN_RUNNING || !a->st_known) {
		pg->in_recovery = has_file(a, "standby.signal");
		pg->timeline = pg->checkpoint_tl;
		read_history(a, pg->timeline);
		take_history(a, pg);
		return 0;
	}
	pg->queryable = a->st_fresh;
	pg->in_recovery = a->st.in_recovery;
	pg->timeline = a->st.timeline;
	read_history(a, pg->timeline);
	take_history(a, pg);
	pg->flush_lsn = a->st.flush_lsn;
	pg->streaming = herd_str_eq(a->st.replication_state, "streaming");
	pg->archive = !pg->streaming && a->st.replication_state != NULL;
	pg->replay_paused = a->st.replay_paused;
	pg->ssn = a->st.synchronous_standby_names;
	pg->remote_apply = herd_str_eq(a->st.synchronous_commit, "remote_apply");
	pg->remote_write = herd_str_eq(a->st.synchronous_commit, "remote_write");
	pg->transactions = (int)a->st.client_transactions;
	take_slot_limits(a, pg);
	take_recovery(a, pg);
	return take_rows(a, pg, buf);
}

static bool was_put_aside(const struct herd_agent *a)
{
	char *path = herd_str_printf("%s.diverged", herd_pg_config(a->pg)->data_dir);
	bool yes = path && access(path, F_OK) == 0;

	free(path);
	return yes;
}

/*
 * What may become of diverged data. A user who has not said that they may be removed, nor that they
 * may not, finds them beside the data directory.
 */
static void take_repair(const struct herd_agent *a, struct herd_obs *obs)
{
	static const char *const keys[] = {
		"postgresql.remove_data_directory_on_diverged_timelines",
		"postgresql.remove_data_directory_on_rewind_failure",
	};
	bool said = false;

	for (size_t i = 0; i < 2; i++)
		said = said || herd_agent_config_get(a->cfg, keys[i]);
	obs->reclone_diverged = herd_agent_config_bool(a->cfg, keys[0], false);
	/* Once: what was put aside before is the user's to look at, and disks are finite. */
	obs->reclone_aside = !said && !a->aside_failed && !was_put_aside(a);
	obs->clone_without_leader = herd_pg_clone_without_leader(herd_pg_config(a->pg));
}

/*
 * What becomes the key config when there is none: of a new herd bootstrap.dcs; of one that had a
 * configuration and has lost it, what we know of it.
 */
static const json_t *initial_dynamic(const struct herd_agent *a)
{
	const struct herd_cluster *c = herd_agent_cluster(a);
	bool old = c && c->initialize && *c->initialize;

	return old && json_object_size(a->cfg->dynamic)
		       ? a->cfg->dynamic
		       : herd_agent_config_get(a->cfg, "bootstrap.dcs");
}

/*
 * The same, read. A herd whose key config was deleted, or made unreadable, goes on with what it
 * said: by that a standby cluster must not be promoted, nor one that was promoted be demoted.
 */
static void take_boot(struct herd_agent *a, const json_t *dcs)
{
	const struct herd_cluster *c = herd_agent_cluster(a);
	struct herd_config fresh = { 0 };

	if (c && c->config_key.version && !c->config_key.bad)
		return;
	if (a->boot.raw && dcs && json_equal(a->boot.raw, dcs))
		return;
	if (herd_config_from_json((json_t *)dcs, a->cfg->guard, &fresh) < 0)
		return;
	herd_config_clear(&a->boot);
	a->boot = fresh;
}

int herd_agent_obs(struct herd_agent *a, struct herd_obs *obs, struct herd_agent_obs_buf **ret)
{
	struct herd_agent_obs_buf *buf = calloc(1, sizeof(*buf));
	const json_t *dcs = initial_dynamic(a);
	const char *ssn = herd_agent_config_str(
		a->cfg, "postgresql.parameters.synchronous_standby_names", NULL);

	memset(obs, 0, sizeof(*obs));
	if (!buf || herd_agent_self(a, &buf->self) < 0) {
		free(buf);
		return -ENOMEM;
	}
	buf->user_ssn = herd_str_dup(ssn);
	buf->bootstrap = dcs ? herd_json_dump(dcs) : NULL;
	take_boot(a, dcs);
	obs->now_ms = herd_now_ms();
	obs->wall_ms = herd_wall_ms();
	obs->name = a->name;
	obs->group = a->group;
	obs->self = &buf->self;
	obs->scope = a->scope;
	obs->view_ms = a->view_ms;
	obs->dcs_ok = a->dcs_ok;
	obs->lease = (struct herd_obs_lease){
		.id = a->lease_id,
		.sent_ms = a->lease_sent_ms,
		.ttl_ms = a->lease_ttl_ms,
		.busy = a->lease_busy,
		.adopted_version = a->lease_adopted,
	};
	obs->can_pass = (herd_dcs_caps(a->dcs) & HERD_DCS_CAP_LEASE_SHARED) != 0;
	obs->task = (struct herd_obs_task){
		.running = a->task.running,
		.since_ms = a->task.since_ms,
		.last = a->task.last,
		.last_ok = a->task.last_ok,
		.last_ms = a->task.last_ms,
		.failures = a->task.failures,
		.error = a->task.error,
		.last_again = a->task.last_again,
		.custom = !herd_str_eq(herd_agent_config_str(a->cfg, "bootstrap.method", "initdb"),
				       "initdb"),
		.recovering = a->task.recovering,
	};
	if (a->poll.left == 0 && a->poll.id)
		obs->poll = (struct herd_obs_poll){ a->poll.id, a->poll.asked_ms, a->poll.n,
						    a->poll.answers };
	if (!a->probe.busy && a->probe.id)
		obs->probe = (struct herd_obs_probe){
			.id = a->probe.id,
			.name = a->probe.name,
			.ok = a->probe.ok,
			.sysid = a->probe.sysid,
			.in_recovery = a->probe.in_recovery,
			.timeline = a->probe.timeline,
			.history = a->probe.timeline > 1 ? &a->probe.history : NULL,
		};
	if (!a->ask.busy)
		obs->asked_slots = (struct herd_obs_asked_slots){ a->ask.id, a->ask.ok, a->ask.n,
								  a->ask.slots };
	obs->failsafe = (struct herd_obs_failsafe){
		.id = a->failsafe.left == 0 ? a->failsafe.id : 0,
		.accepted = a->failsafe.accepted,
		.refused = a->failsafe.refused,
		.n = a->failsafe.n,
		.accepts = a->failsafe.accepts,
		.leader = a->failsafe.leader,
		.asked_ms = a->failsafe.asked_ms,
		.ttl_ms = a->failsafe.leader_ttl_ms,
		.status = &a->failsafe.status,
	};
	herd_fence_observe(a, obs);
	obs->rewind_possible = a->rewind_possible;
	take_repair(a, obs);
	obs->bootstrap_config = buf->bootstrap;
	obs->bootstrap = &a->boot;
	obs->want_restart = a->want_restart;
	obs->want_reinit = a->want_reinit;
	obs->reinit_force = a->want_reinit && a->reinit_force;
	obs->reinit_from_leader = a->want_reinit && a->reinit_from_leader;
	obs->want_exit = a->want_exit;
	if (take_pg(a, &obs->pg, buf) < 0) {
		herd_agent_obs_free(buf);
		return -ENOMEM;
	}
	*ret = buf;
	return 0;
}

/* --- the step --------------------------------------------------------------------------------- */

/* Who leads, before a line that is not the ordinary one. */
static void log_owner(struct herd_agent *a, const char *why)
{
	const struct herd_cluster *c = herd_agent_cluster(a);
	const char *owner = c && c->leader && *c->leader ? c->leader : "None";

	if (herd_str_starts(why, "no action.") || herd_str_starts(why, "PAUSE: no action."))
		herd_debug(a->log, "Lock owner: %s; I am %s", owner, a->name);
	else
		herd_info(a->log, "Lock owner: %s; I am %s", owner, a->name);
}

static void log_plan(struct herd_agent *a, const struct herd_plan *p)
{
	bool once = herd_agent_config_bool(a->cfg, "log.deduplicate_heartbeat_logs", false);
	int64_t now = herd_now_ms();
	int64_t loop_wait = 1000 * herd_agent_config_i64(a->cfg, "loop_wait", 10);
	bool same = herd_str_eq(a->last_why, p->why);

	if (p->why && *p->why &&
	    (!same || (p->heartbeat && !once && now - a->last_why_ms >= loop_wait))) {
		log_owner(a, p->why);
		a->status_due |= !same;
		herd_info(a->log, "%s", p->why);
		herd_str_set(&a->last_why, p->why);
		a->last_why_ms = now;
	}
	/* The queue may be full when much happens at once: the last word must arrive all the same.
	 */
	if (a->status_due && a->last_why)
		a->status_due = !herd_notify_status(a->last_why);
	if (p->warning && !herd_str_eq(a->last_warning, p->warning))
		herd_warning(a->log, "%s", p->warning);
	herd_str_set(&a->last_warning, p->warning);
	for (size_t i = 0; i < p->n && herd_log_level_of(a->log) == HERD_LOG_DEBUG; i++) {
		char *text = herd_action_print(&p->act[i]);

		herd_debug(a->log, "%s: %s", p->rule, text);
		free(text);
	}
}

/*
 * Until when the last plan's right to act as leader holds, for what a task does later: a sixth of
 * ttl before the guard's deadline. Paused there is none, and the lease counts.
 */
static void set_act_until(struct herd_agent *a, const struct herd_plan *p)
{
	int64_t loop_wait = 1000 * herd_agent_config_i64(a->cfg, "loop_wait", 10);

	if (p->guard_ms > 0)
		a->act_until_ms = p->guard_ms - a->lease_ttl_ms / 6;
	else if (p->guard_ms == 0)
		a->act_until_ms =
			p->leader ? herd_lease_times(a->lease_sent_ms, a->lease_ttl_ms, loop_wait)
					    .fast_ms
				  : 0;
}

static void step(void *arg)
{
	struct herd_agent *a = arg;
	struct herd_agent_obs_buf *buf = NULL;
	struct herd_plan *p = &a->exec.plan;
	struct herd_obs obs;
	int64_t now = herd_now_ms();
	int64_t delay;

	if (a->exiting || !a->observing)
		return;
	a->observing = false;
	if (herd_agent_obs(a, &obs, &buf) < 0) {
		herd_timer_set(a->step_timer, 1000);
		return;
	}
	herd_core_step(a->core, &obs, p);
	if (p->failed) {
		herd_agent_obs_free(buf);
		herd_timer_set(a->step_timer, 1000);
		return;
	}
	if (!herd_fence_move(a, p)) {
		/* The next observation says so, and the core decides what that means. */
		p->n = 0;
		p->next_ms = now;
	}
	set_act_until(a, p);
	a->leader = p->leader;
	a->leader_until_ms = p->leader_until_ms;
	a->open_until_ms = p->open_until_ms;
	a->failsafe_active = p->failsafe;
	herd_agent_standby_role(a);
	log_plan(a, p);
	herd_agent_obs_free(buf);
	/* A floor under the gap between steps: a mistake must not burn a processor. */
	delay = p->next_ms - now < MIN_STEP_GAP_MS ? MIN_STEP_GAP_MS : p->next_ms - now;
	a->next_run_ms = now + delay;
	herd_timer_set(a->step_timer, delay);
	herd_agent_run_plan(a);
	if (a->exiting)
		return;
	herd_agent_keep_cache(a);
	herd_agent_keep_conf(a);
	if (a->rest)
		herd_rest_step(a->rest);
	if (a->sharding)
		herd_sharding_step(a->sharding);
	if (a->wake_again && !a->exec.waiting && !a->observing)
		herd_agent_wake(a);
}

void herd_agent_observe_init(struct herd_agent *a)
{
	a->observe_timer = herd_timer_new(a->loop, step, a);
	a->step_timer = herd_timer_new(a->loop, herd_agent_heartbeat, a);
}
