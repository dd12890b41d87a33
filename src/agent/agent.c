/*
 * agent.c - the agent's life: start, reload, end.
 */
#define HERD_LOG_PART "patroni.__main__"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/helper.h"
#include "agent/internal.h"
#include "agent/logging.h"
#include "agent/notify.h"
#include "agent/progress.h"
#include "agent/rest.h"
#include "agent/sharding.h"
#include "base/json.h"
#include "base/str.h"

/* What was logged could not be written: Patroni's status for it. */
enum { EXIT_LOG_LOST = 5 };

/* --- configuration ---------------------------------------------------------------------------- */

void herd_agent_warn(void *arg, const char *text)
{
	static const struct herd_log_site site = { "patroni.config", __FILE__, "warn", __LINE__ };
	struct herd_agent *a = arg;

	herd_log_write(a->log, &site, HERD_LOG_WARNING, NULL, "%s", text);
}

const struct herd_cluster *herd_agent_cluster(const struct herd_agent *a)
{
	return a->scope ? herd_scope_group(a->scope, a->group) : NULL;
}

static char *url_of(const char *address, int fallback_port, const char *fmt)
{
	char *host = NULL;
	char *url = NULL;
	int port = 0;

	if (address && herd_agent_split_address(address, fallback_port, &host, &port) == 0) {
		bool v6 = strchr(host, ':') != NULL;
		char *full = herd_str_printf("%s%s%s:%d", v6 ? "[" : "", host, v6 ? "]" : "", port);

		url = herd_str_printf(fmt, full);
		free(full);
	}
	free(host);
	return url;
}

static void set_addresses(struct herd_agent *a)
{
	const char *pg =
		herd_agent_config_str(a->cfg, "postgresql.connect_address",
				      herd_agent_config_str(a->cfg, "postgresql.listen", NULL));
	const char *api =
		herd_agent_config_str(a->cfg, "restapi.connect_address",
				      herd_agent_config_str(a->cfg, "restapi.listen", NULL));
	const char *proxy = herd_agent_config_str(a->cfg, "postgresql.proxy_address", NULL);
	bool tls = herd_agent_config_str(a->cfg, "restapi.certfile", NULL) != NULL;

	free(a->self_conn_url);
	free(a->self_api_url);
	free(a->self_proxy_url);
	a->self_conn_url = url_of(pg, 5432, "postgres://%s/postgres");
	a->self_api_url = url_of(api, 8008, tls ? "https://%s/patroni" : "http://%s/patroni");
	a->self_proxy_url = url_of(proxy, 5432, "postgres://%s/postgres");
}

static int reload_as(struct herd_agent *a, bool standby, bool force, struct herd_err *err)
{
	struct herd_pg_role role = { 0 };
	int rc = herd_agent_role(a, standby, standby ? herd_agent_following(a) : NULL, &role);

	if (rc == 0)
		rc = herd_pg_reload(a->pg, &role, force, err);
	herd_pg_role_clear(&role);
	return rc;
}

int herd_agent_apply_config(struct herd_agent *a, bool force_reload)
{
	struct herd_pg_config c = { 0 };
	struct herd_err err = HERD_ERR_INIT;
	const struct herd_pg_role *last = herd_pg_role(a->pg);
	int rc;

	herd_dcs_set_timeout(a->dcs, 1000 * herd_agent_config_i64(a->cfg, "retry_timeout", 10));
	set_addresses(a);
	rc = herd_agent_pg_config(a, &c, &err);
	if (rc == 0)
		rc = herd_pg_set_config(a->pg, &c, &err);
	/* A start writes the files itself; what else runs lets us do it when it has ended. */
	a->conf_stale = herd_pg_phase(a->pg) == HERD_PG_PHASE_RUNNING;
	if (rc == 0 && a->conf_stale && !herd_pg_operation(a->pg) && (last || a->st_known)) {
		a->conf_stale = false;
		rc = reload_as(a, last ? last->standby : a->st.in_recovery, force_reload, &err);
	}
	if (rc < 0)
		herd_log_err(a->log, HERD_LOG_ERROR, &err, "could not apply the configuration");
	herd_err_clear(&err);
	herd_pg_config_clear(&c);
	return rc;
}

const struct herd_config *herd_agent_dynamic(const struct herd_agent *a)
{
	const struct herd_cluster *c = herd_agent_cluster(a);

	return c && c->config_key.version && !c->config_key.bad ? &c->config : &a->boot;
}

void herd_agent_keep_conf(struct herd_agent *a)
{
	const struct herd_pg_role *last = herd_pg_role(a->pg);
	struct herd_err err = HERD_ERR_INIT;
	bool standby = a->st.in_recovery;

	if (a->run != HERD_RUN_RUNNING || !a->st_fresh || a->task.running != HERD_TASK_NONE ||
	    herd_pg_operation(a->pg))
		return;
	if (!a->conf_stale && (!last || (last->standby == standby &&
					 last->leader == herd_agent_leads_standby(a, standby))))
		return;
	a->conf_stale = false;
	if (reload_as(a, standby, false, &err) < 0)
		herd_log_err(a->log, HERD_LOG_ERROR, &err, "could not apply the configuration");
	herd_err_clear(&err);
}

/* The dynamic configuration has changed in the store. */
static void take_dynamic(struct herd_agent *a, const json_t *raw)
{
	struct herd_err err = HERD_ERR_INIT;

	if (json_equal(raw, a->cfg->dynamic))
		return;
	if (herd_agent_config_set_dynamic(a->cfg, raw, herd_agent_warn, a, &err) < 0) {
		herd_log_err(a->log, HERD_LOG_ERROR, &err, "dynamic configuration not taken");
		herd_err_clear(&err);
		return;
	}
	if (a->pg)
		herd_agent_apply_config(a, false);
	herd_agent_keep_cache(a);
}

void herd_agent_keep_cache(struct herd_agent *a)
{
	const struct herd_cluster *c = herd_agent_cluster(a);
	struct herd_err err = HERD_ERR_INIT;

	/* While a copy is made the directory is not ours to write into. */
	if (!a->pg || !c || !c->config_key.version || c->config_key.bad || a->task.running)
		return;
	if ((a->cached == a->cfg->dynamic && herd_agent_config_is_cached(a->cfg)) ||
	    herd_pg_datadir(a->pg, NULL) != HERD_PG_DATADIR_VALID)
		return;
	if (herd_agent_config_cache_write(a->cfg, &err) == 0) {
		json_decref(a->cached);
		a->cached = json_incref(a->cfg->dynamic);
	} else if (a->cached != a->cfg->dynamic || !a->cache_failed) {
		herd_log_err(a->log, HERD_LOG_WARNING, &err, "dynamic configuration not kept");
	}
	a->cache_failed = err.code != 0;
	herd_err_clear(&err);
}

void herd_agent_set_scope(struct herd_agent *a, struct herd_dcs_view *view)
{
	struct herd_kv *kv;
	struct herd_scope *scope;
	const struct herd_cluster *c;

	if (a->scope && view->revision < a->view_revision)
		return;
	if (view->read_ms > a->view_ms)
		a->view_ms = view->read_ms;
	if (a->scope && view->revision == a->view_revision)
		return;
	kv = calloc(view->n + 1, sizeof(*kv));
	if (!kv)
		return;
	for (size_t i = 0; i < view->n; i++)
		kv[i] = (struct herd_kv){ view->kv[i].key, view->kv[i].value, view->kv[i].len,
					  view->kv[i].version, view->kv[i].lease };
	scope = herd_scope_build(kv, view->n, view->revision, a->cfg->guard);
	free(kv);
	if (!scope)
		return;
	for (size_t i = 0; i < scope->n_problems; i++)
		herd_debug(a->log, "key %s: %s", scope->problems[i].key, scope->problems[i].reason);
	herd_scope_unref(a->scope);
	a->scope = scope;
	a->view_revision = view->revision;
	c = herd_agent_cluster(a);
	if (c && c->config_key.version && !c->config_key.bad)
		take_dynamic(a, c->config.raw);
}

/* --- what wakes ------------------------------------------------------------------------------- */

static bool same_member(const struct herd_member *m, const struct herd_member *n)
{
	return strcmp(m->name, n->name) == 0 && m->state == n->state && m->role == n->role &&
	       m->timeline == n->timeline && herd_str_eq(m->conn_url, n->conn_url) &&
	       herd_str_eq(m->api_url, n->api_url) && json_equal(m->tags.raw, n->tags.raw) &&
	       m->checkpoint_after_promote == n->checkpoint_after_promote &&
	       herd_str_eq(m->replication_state, n->replication_state);
}

/* Is there anything to decide? LSNs move all the time; the heartbeat looks at them. */
static bool same_cluster(const struct herd_cluster *c, const struct herd_cluster *d)
{
	if (c->initialize_key.version != d->initialize_key.version ||
	    c->config_key.version != d->config_key.version ||
	    c->leader_key.version != d->leader_key.version ||
	    c->failover_key.version != d->failover_key.version ||
	    c->sync_key.version != d->sync_key.version ||
	    c->history_key.version != d->history_key.version ||
	    c->failsafe_key.version != d->failsafe_key.version ||
	    c->handover_key.version != d->handover_key.version || c->n_members != d->n_members)
		return false;
	for (size_t i = 0; i < c->n_members; i++)
		if (!same_member(&c->members[i], &d->members[i]))
			return false;
	return true;
}

static bool same_scope(const struct herd_scope *s, const struct herd_scope *t)
{
	if (!s || !t || s->n_groups != t->n_groups || s->n_proxies != t->n_proxies)
		return false;
	for (size_t i = 0; i < s->n_groups; i++)
		if (s->groups[i].group != t->groups[i].group ||
		    !same_cluster(&s->groups[i], &t->groups[i]))
			return false;
	for (size_t i = 0; i < s->n_proxies; i++) {
		const struct herd_proxy *p = &s->proxies[i], *q = &t->proxies[i];

		if (strcmp(p->id, q->id) != 0 || p->n_acks != q->n_acks)
			return false;
		for (size_t k = 0; k < p->n_acks; k++)
			if (!herd_str_eq(p->acks[k].handover, q->acks[k].handover))
				return false;
	}
	return true;
}

static void on_watch(void *arg, enum herd_dcs_result result, struct herd_dcs_view *view,
		     const struct herd_err *err)
{
	struct herd_agent *a = arg;
	struct herd_scope *before;

	if (result != HERD_DCS_OK) {
		herd_debug(a->log, "watch: %s", herd_err_text(err));
		herd_agent_wake(a);
		return;
	}
	before = a->scope ? herd_scope_ref(a->scope) : NULL;
	herd_agent_set_scope(a, view);
	if (!same_scope(before, a->scope))
		herd_agent_wake(a);
	herd_scope_unref(before);
}

static void on_exited(void *arg, bool expected)
{
	struct herd_agent *a = arg;

	/* A server that an earlier agent had started counts as ours for systemd, too. */
	if (expected && !a->exiting && !a->want_exit)
		herd_notify("READY=1");
	if (!expected) {
		a->crashed = true;
		herd_warning(a->log, "PostgreSQL is not running any more");
	}
	herd_agent_wake(a);
}

static void on_notice(void *arg, const char *text)
{
	static const struct herd_log_site site = { "patroni.postgresql", __FILE__, "on_notice",
						   __LINE__ };
	struct herd_agent *a = arg;

	herd_log_write(a->log, &site, HERD_LOG_WARNING, NULL, "%s", text);
}

static void on_info(void *arg, const char *text)
{
	static const struct herd_log_site site = { "patroni.postgresql", __FILE__, "on_info",
						   __LINE__ };
	struct herd_agent *a = arg;

	herd_log_write(a->log, &site, HERD_LOG_INFO, NULL, "%s", text);
}

static void on_end_signal(void *arg, int signo)
{
	struct herd_agent *a = arg;

	herd_notify("STOPPING=1");
	herd_info(a->log, "received signal %d, shutting down", signo);
	a->want_exit = true;
	if (!a->pg)
		herd_loop_stop(a->loop);
	else
		herd_agent_wake(a);
}

static struct herd_http_tls member_tls(const struct herd_agent *a)
{
	return (struct herd_http_tls){
		.cert = herd_agent_config_str(a->cfg, "ctl.certfile", NULL),
		.key = herd_agent_config_str(a->cfg, "ctl.keyfile", NULL),
		.key_password = herd_agent_config_str(a->cfg, "ctl.keyfile_password", NULL),
		/* Members are found by the store's word; certificates are the operator's choice. */
		.insecure = true,
	};
}

/* The local configuration was read again. */
static void take_local(struct herd_agent *a)
{
	struct herd_http_tls tls = member_tls(a);

	if (!a->pg)
		return;
	herd_http_client_set_tls(a->http, &tls);
	herd_agent_apply_config(a, true);
	herd_rest_reload(a->rest);
	herd_agent_callback(a, "on_reload", herd_agent_last_role(a));
	herd_agent_wake(a);
}

static void on_hup(void *arg, int signo)
{
	struct herd_agent *a = arg;
	struct herd_err err = HERD_ERR_INIT;

	herd_notify_reloading();
	herd_info(a->log, "reloading the configuration");
	if (herd_agent_config_reload(a->cfg, herd_agent_warn, a, &err) < 0) {
		herd_log_err(a->log, HERD_LOG_ERROR, &err, "configuration not reloaded");
		herd_err_clear(&err);
	} else {
		herd_logging_configure(a->log, a->cfg);
		take_local(a);
	}
	herd_notify("READY=1");
}

void herd_agent_reload(struct herd_agent *a)
{
	on_hup(a, SIGHUP);
}

/* --- start ------------------------------------------------------------------------------------ */

static void fail(struct herd_agent *a, const struct herd_err *err, const char *what)
{
	herd_log_err(a->log, HERD_LOG_CRITICAL, err, "%s", what);
	a->exit_code = 1;
	herd_loop_stop(a->loop);
}

/* synchronous_standby_names that an earlier agent has set must hold until the core says else. */
static void recall_ssn(struct herd_agent *a)
{
	const struct herd_pg_config *c = herd_pg_config(a->pg);
	const char *base = c->config_base_name ? c->config_base_name : "postgresql";
	const char *mine = herd_agent_config_str(
		a->cfg, "postgresql.parameters.synchronous_standby_names", "");
	char *path = herd_str_printf("%s/%s.conf", herd_pg_config_dir(c), base);
	struct herd_pg_settings s = { 0 };
	char *text = NULL;
	size_t cap = 0;
	FILE *f = fopen(path, "re");

	if (f && getdelim(&text, &cap, '\0', f) > 0 && herd_pg_conf_parse(text, &s) == 0) {
		const char *ssn = herd_pg_settings_get(&s, "synchronous_standby_names");

		if (ssn && strcmp(ssn, mine) != 0)
			a->ssn = herd_str_dup(ssn);
	}
	if (f)
		fclose(f);
	herd_pg_settings_clear(&s);
	free(text);
	free(path);
}

static void start_steps(struct herd_agent *a)
{
	a->watch = herd_dcs_watch(a->dcs, "", on_watch, a);
	herd_agent_look_at_control(a);
	herd_agent_wake(a);
}

static void on_adopted(void *arg, enum herd_dcs_result result, const char *lease, int64_t sent_ms,
		       const struct herd_err *err)
{
	struct herd_agent *a = arg;

	a->lease_busy = false;
	if (result == HERD_DCS_OK) {
		a->lease_sent_ms = sent_ms;
		herd_info(a->log, "the lease of an earlier run is still good, going on with it");
	} else {
		herd_str_set(&a->lease_id, NULL);
	}
	start_steps(a);
}

/* The leader key may still hang on the lease of an agent that died a moment ago: ours now. */
static void adopt_lease(struct herd_agent *a)
{
	const struct herd_cluster *c = herd_agent_cluster(a);

	if (!c || !herd_str_eq(c->leader, a->name) || !c->leader_key.lease) {
		start_steps(a);
		return;
	}
	herd_str_set(&a->lease_id, c->leader_key.lease);
	a->lease_adopted = c->leader_key.version;
	a->lease_ttl_ms = c->config.ttl_ms;
	a->lease_busy = true;
	herd_dcs_lease_renew(a->dcs, a->lease_id, on_adopted, a);
}

static void start_local(struct herd_agent *a)
{
	struct herd_pg_config c = { 0 };
	struct herd_pg_events events = { on_exited, on_notice, on_info, a };
	struct herd_err err = HERD_ERR_INIT;
	json_t *cached;

	if (!json_object_size(a->cfg->dynamic)) {
		cached = herd_agent_config_cache_read(a->cfg);
		if (!cached)
			cached = json_incref(herd_agent_config_get(a->cfg, "bootstrap.dcs"));
		if (cached)
			herd_agent_config_set_dynamic(a->cfg, cached, herd_agent_warn, a, NULL);
		json_decref(cached);
	}
	herd_dcs_set_timeout(a->dcs, 1000 * herd_agent_config_i64(a->cfg, "retry_timeout", 10));
	if (herd_agent_pg_config(a, &c, &err) < 0 ||
	    herd_pg_new(a->loop, &c, &events, &a->pg, &err) < 0) {
		herd_pg_config_clear(&c);
		fail(a, &err, "could not start");
		herd_err_clear(&err);
		return;
	}
	a->down_since_ms = herd_now_ms();
	herd_config_from_json(herd_agent_config_get(a->cfg, "bootstrap.dcs"), a->cfg->guard,
			      &a->boot);
	recall_ssn(a);
	a->sharding = a->group == HERD_NO_GROUP ? NULL : herd_sharding_new(a);
	a->progress = herd_progress_new(a);
	if (herd_rest_start(a, &a->rest, &err) < 0) {
		fail(a, &err, "could not start the REST API");
		herd_err_clear(&err);
		return;
	}
	herd_notify("READY=1\nMAINPID=%d\nSTATUS=%s of %s is running", (int)getpid(), a->name,
		    herd_agent_config_str(a->cfg, "scope", ""));
	adopt_lease(a);
}

static void first_read(void *arg);

static void on_name_check(void *arg, const struct herd_http_response *resp)
{
	struct herd_agent *a = arg;

	if (resp->status) {
		herd_log_at(a->log, HERD_LOG_CRITICAL,
			    "Can't start; there is already a node named '%s' running", a->name);
		a->exit_code = 1;
		herd_loop_stop(a->loop);
		return;
	}
	start_local(a);
}

/* Somebody answers where the member of our name said it would: two agents share a name. */
static void check_name(struct herd_agent *a)
{
	const struct herd_cluster *c = herd_agent_cluster(a);
	const struct herd_member *m = c ? herd_cluster_member(c, a->name) : NULL;
	char *url = m && m->api_url ? herd_str_dup(m->api_url) : NULL;
	char *tail = url ? strrchr(url, '/') : NULL;
	char *live;

	if (!tail) {
		free(url);
		start_local(a);
		return;
	}
	*tail = '\0';
	live = herd_str_printf("%s/liveness", url);
	struct herd_http_request r = {
		.method = "GET", .url = live, .timeout_ms = 3000, .on_done = on_name_check, .arg = a
	};

	if (!herd_http_send(a->http, &r))
		start_local(a);
	free(live);
	free(url);
}

static void on_first_view(void *arg, enum herd_dcs_result result, struct herd_dcs_view *view,
			  const struct herd_err *err)
{
	struct herd_agent *a = arg;

	if (result != HERD_DCS_OK) {
		herd_log_err(a->log, HERD_LOG_WARNING, err, "Can not get cluster from dcs");
		herd_timer_set(a->step_timer, 5000);
		return;
	}
	a->dcs_ok = true;
	a->dcs_seen_wall_ms = herd_wall_ms();
	herd_agent_set_scope(a, view);
	herd_timer_free(a->step_timer);
	herd_agent_observe_init(a);
	check_name(a);
}

static void first_read(void *arg)
{
	struct herd_agent *a = arg;

	herd_dcs_read(a->dcs, "", on_first_view, a);
}

/* The store is waited for, however long it takes; so are the SRV records that name it. */
static int open_store(struct herd_agent *a, struct herd_err *err)
{
	int rc;

	while ((rc = herd_dcs_open(a->loop, a->cfg->local,
				   herd_agent_config_str(a->cfg, "namespace", "service"),
				   herd_agent_config_str(a->cfg, "scope", ""), &a->dcs, err)) ==
	       -EAGAIN) {
		herd_log_err(a->log, HERD_LOG_WARNING, err, "Can not get cluster from dcs");
		herd_err_clear(err);
		sleep(5);
	}
	if (rc == 0 && herd_log_wants(a->log, "patroni.dcs", HERD_LOG_DEBUG))
		a->dcs = herd_dcs_trace(a->dcs, a->log);
	return rc;
}

static int setup(struct herd_agent *a, struct herd_err *err)
{
	struct herd_http_tls tls = member_tls(a);
	int rc;

	a->name = herd_str_dup(herd_agent_config_str(a->cfg, "name", ""));
	a->group = (int)herd_agent_config_i64(a->cfg, "citus.group", HERD_NO_GROUP);
	a->down_since_ms = herd_now_ms();
	if (getrandom(&a->nonce, sizeof(a->nonce), 0) != sizeof(a->nonce))
		return herd_err_set(err, -errno, "no random numbers");
	rc = herd_fence_start(a, err);
	if (rc < 0)
		return rc;
	a->loop = herd_loop_new();
	a->core = herd_core_new(a->nonce);
	a->http = a->loop ? herd_http_client_new(a->loop, &tls) : NULL;
	if (!a->name || !a->core || !a->http)
		return herd_err_set(err, -ENOMEM, "out of memory");
	herd_fence_begin(a);
	set_addresses(a);
	return open_store(a, err);
}

static void free_texts(struct herd_agent *a)
{
	char *const texts[] = { a->name,         a->lease_id,       a->ssn,
				a->last_why,     a->last_warning,   a->self_conn_url,
				a->self_api_url, a->self_proxy_url, a->task.error,
				a->task.member,  a->probe.name };

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		free(texts[i]);
	free(a->callbacks);
}

static void teardown(struct herd_agent *a)
{
	herd_rest_free(a->rest);
	herd_progress_free(a->progress);
	a->progress = NULL;
	herd_sharding_free(a->sharding);
	if (a->dcs && a->watch)
		herd_dcs_watch_free(a->dcs, a->watch);
	herd_dcs_free(a->dcs);
	herd_http_client_free(a->http);
	herd_agent_slots_clear(a);
	if (a->pg)
		herd_pg_free(a->pg);
	herd_fence_free(a);
	herd_helper_free(a->helper);
	herd_core_free(a->core);
	herd_timer_free(a->step_timer);
	herd_timer_free(a->observe_timer);
	herd_plan_clear(&a->exec.plan);
	herd_agent_poll_clear(&a->poll);
	herd_agent_failsafe_clear(&a->failsafe);
	herd_history_clear(&a->probe.history);
	herd_history_clear(&a->history);
	herd_pg_status_clear(&a->st);
	herd_scope_unref(a->scope);
	json_decref(a->scheduled_restart);
	json_decref(a->cached);
	for (int i = 0; i < AGENT_NSIGNALS; i++)
		herd_signal_free(a->signals[i]);
	free_texts(a);
	herd_loop_free(a->loop);
	herd_log_free(a->log);
	herd_config_clear(&a->boot);
	json_decref(a->rejoin);
	herd_agent_config_free(a->cfg);
}

static int run(struct herd_agent *a)
{
	struct herd_err err = HERD_ERR_INIT;

	a->log = herd_log_new(2, HERD_LOG_PATRONI, HERD_LOG_INFO);
	if (a->log)
		herd_logging_configure(a->log, a->cfg);
	if (!a->log || setup(a, &err) < 0) {
		if (a->log)
			herd_log_err(a->log, HERD_LOG_CRITICAL, &err, "could not start");
		herd_err_clear(&err);
		teardown(a);
		return 1;
	}
	signal(SIGPIPE, SIG_IGN);
	a->signals[0] = herd_signal_new(a->loop, SIGTERM, on_end_signal, a);
	a->signals[1] = herd_signal_new(a->loop, SIGINT, on_end_signal, a);
	a->signals[2] = herd_signal_new(a->loop, SIGHUP, on_hup, a);
	a->step_timer = herd_timer_new(a->loop, first_read, a);
	herd_timer_set(a->step_timer, 0);
	herd_loop_run(a->loop);
	herd_info(a->log, "the agent ends");
	herd_log_flush(a->log);
	if (!a->exit_code && herd_log_overflowed(a->log))
		a->exit_code = EXIT_LOG_LOST;
	teardown(a);
	return a->exit_code;
}

int herd_agent_run(struct herd_agent_config *cfg)
{
	struct herd_agent *a = calloc(1, sizeof(*a));
	int rc;

	if (!a) {
		herd_agent_config_free(cfg);
		return 1;
	}
	a->cfg = cfg;
	a->last_role = HERD_ROLE_UNKNOWN;
	rc = run(a);
	free(a);
	return rc;
}
