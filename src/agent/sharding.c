/*
 * sharding.c - settings, bootstrap and the messages between workers and coordinator.
 */
#define HERD_LOG_PART "patroni.postgresql.mpp.citus"
#include "agent/sharding.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "agent/sharding_internal.h"
#include "base/json.h"
#include "base/str.h"
#include "pg/conninfo.h"

/* --- settings --------------------------------------------------------------------------------- */

/* Citus itself; pgherd's extension under that name requires pgherd. */
static bool has_citus(const char *sharedir)
{
	char *path = herd_str_printf("%s/extension/citus.control", sharedir);
	FILE *f = path ? fopen(path, "re") : NULL;
	char line[256];
	bool there = f != NULL;

	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, "requires", 8) == 0 && strstr(line, "pgherd"))
			there = false;
	if (f)
		fclose(f);
	free(path);
	return there;
}

/*
 * citus.extension; else Citus where it is installed with these binaries (nobody has it by accident,
 * and a herd that was made with it must go on with it), else ours.
 */
static const char *extension_of(const struct herd_agent *a, const char *bin_dir)
{
	const char *given = herd_agent_config_str(a->cfg, "citus.extension", NULL);
	char *cmd, *dir = NULL;
	const char *found = "pgherd";
	size_t cap = 0;
	FILE *f;

	if (given)
		return strcmp(given, "citus") == 0 ? "citus" : found;
	cmd = herd_str_printf("\"%s%spg_config\" --sharedir 2>/dev/null", bin_dir ? bin_dir : "",
			      bin_dir && *bin_dir ? "/" : "");
	f = cmd ? popen(cmd, "re") : NULL;
	if (f && getline(&dir, &cap, f) > 0) {
		dir[strcspn(dir, "\n")] = '\0';
		if (has_citus(dir))
			found = "citus";
	}
	if (f)
		pclose(f);
	free(dir);
	free(cmd);
	return found;
}

static void prepend_library(struct herd_pg_config *c, const char *extension)
{
	const char *old = herd_pg_settings_get(&c->parameters, "shared_preload_libraries");
	struct herd_buf b = { 0 };
	char *copy = herd_str_dup(old ? old : "");
	char *save = NULL;

	herd_buf_addstr(&b, extension);
	for (char *w = strtok_r(copy, ",", &save); w; w = strtok_r(NULL, ",", &save)) {
		w = herd_str_trim(w);
		if (*w && strcmp(w, extension) != 0)
			herd_buf_printf(&b, ",%s", w);
	}
	herd_pg_settings_set(&c->parameters, "shared_preload_libraries", herd_buf_str(&b));
	herd_buf_free(&b);
	free(copy);
}

/* The address at which the server reaches itself. */
static char *local_host(const struct herd_pg_config *c)
{
	char *host = herd_str_dup(c->listen);
	char *comma = host ? strchr(host, ',') : NULL;

	if (comma)
		*comma = '\0';
	if (host &&
	    (strcmp(host, "*") == 0 || strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0))
		herd_str_set(&host, "localhost");
	return host;
}

void herd_sharding_parameters(const struct herd_agent *a, struct herd_pg_config *c)
{
	const char *text;
	int64_t connections = 100, prepared = 0;
	char *value, *host;

	if (a->group == HERD_NO_GROUP)
		return;
	prepend_library(c, extension_of(a, c->bin_dir));
	text = herd_pg_settings_get(&c->parameters, "max_connections");
	if (text)
		herd_str_to_i64(text, &connections);
	text = herd_pg_settings_get(&c->parameters, "max_prepared_transactions");
	if (text)
		herd_str_to_i64(text, &prepared);
	if (prepared == 0) {
		value = herd_str_printf("%" PRId64, 2 * connections);
		herd_pg_settings_set(&c->parameters, "max_prepared_transactions", value);
		free(value);
	}
	herd_pg_settings_set(&c->parameters, "wal_level", "logical");
	host = local_host(c);
	herd_pg_settings_set(&c->parameters, "citus.local_hostname", host);
	free(host);
}

/* --- bootstrap -------------------------------------------------------------------------------- */

void herd_shard_literal(struct herd_buf *b, const char *text)
{
	herd_pg_quote_literal(b, text);
}

static void boot_end(struct herd_sharding *s, int rc, const struct herd_err *err)
{
	herd_pg_done_fn done = s->boot_done;

	s->boot_done = NULL;
	if (s->boot)
		herd_pg_session_free(s->boot);
	s->boot = NULL;
	if (done)
		done(s->boot_arg, rc, err);
}

static void on_objects(void *arg, int rc, const struct herd_pg_rows *rows,
		       const struct herd_err *err)
{
	struct herd_err e = HERD_ERR_INIT;

	if (rc < 0)
		herd_err_set(&e, rc, "could not create the sharding extension: %s",
			     herd_err_text(err));
	if (rc != -ECANCELED)
		boot_end(arg, rc, rc < 0 ? &e : NULL);
	herd_err_clear(&e);
}

/* How nodes log in to one another: password and certificate of the superuser. */
static void add_authinfo(const struct herd_agent *a, struct herd_buf *sql)
{
	const struct herd_pg_auth *auth = &herd_pg_config(a->pg)->superuser;
	const struct {
		const char *word, *value;
	} words[] = {
		{ "password", auth->password },
		{ "sslcert", auth->sslcert },
		{ "sslkey", auth->sslkey },
	};
	struct herd_buf info = { 0 };

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (!words[i].value)
			continue;
		herd_buf_printf(&info, "%s%s=", info.len ? " " : "", words[i].word);
		herd_pg_conninfo_escape(&info, words[i].value);
	}
	if (info.len) {
		herd_buf_addstr(sql, "INSERT INTO pg_catalog.pg_dist_authinfo VALUES (0, "
				     "current_user, ");
		herd_pg_quote_literal(sql, herd_buf_str(&info));
		herd_buf_addstr(sql, ");\n");
	}
	herd_str_wipe(info.data, info.len);
	herd_buf_free(&info);
}

static void create_objects(struct herd_sharding *s)
{
	struct herd_agent *a = s->a;
	struct herd_err err = HERD_ERR_INIT;
	struct herd_buf sql = { 0 };
	char *host = NULL;
	int port = 0;
	int rc;

	if (s->boot)
		herd_pg_session_free(s->boot);
	s->boot = NULL;
	rc = herd_pg_session_local(a->pg, "Patroni citus", s->database, &s->boot, &err);
	if (rc < 0) {
		boot_end(s, rc, &err);
		herd_err_clear(&err);
		return;
	}
	herd_buf_addstr(&sql, "SET log_statement TO none;\n"
			      "SET log_min_duration_statement TO -1;\n"
			      "SET log_min_error_statement TO panic;\n"
			      "SET statement_timeout TO 0;\n");
	herd_buf_printf(&sql, "CREATE EXTENSION IF NOT EXISTS %s;\n", s->extension);
	add_authinfo(a, &sql);
	if (a->group == 0 && herd_conn_url_parse(a->self_conn_url, &host, &port) == 0) {
		herd_buf_addstr(&sql, "SELECT pg_catalog.citus_set_coordinator_host(");
		herd_pg_quote_literal(&sql, host);
		herd_buf_printf(&sql, ", %d, 'primary', 'default');\n", port);
	}
	free(host);
	rc = herd_pg_query(s->boot, herd_buf_str(&sql), 0, NULL, 60000, on_objects, s);
	herd_str_wipe(sql.data, sql.len);
	herd_buf_free(&sql);
	if (rc < 0)
		boot_end(s, rc, NULL);
}

static void on_database(void *arg, int rc, const struct herd_pg_rows *rows,
			const struct herd_err *err)
{
	struct herd_sharding *s = arg;

	if (rc == -ECANCELED)
		return;
	if (rc < 0 && strcmp(herd_pg_rows_sqlstate(rows), "42P04") != 0)
		boot_end(s, rc, err);
	else
		create_objects(s);
}

void herd_sharding_bootstrap(struct herd_sharding *s, herd_pg_done_fn done, void *arg)
{
	struct herd_buf sql = { 0 };
	struct herd_err err = HERD_ERR_INIT;
	int rc;

	if (!s) {
		done(arg, 0, NULL);
		return;
	}
	s->boot_done = done;
	s->boot_arg = arg;
	rc = herd_pg_session_local(s->a->pg, "Patroni citus", "postgres", &s->boot, &err);
	if (rc == 0) {
		herd_buf_addstr(&sql, "SET statement_timeout TO 0");
		herd_pg_query(s->boot, herd_buf_str(&sql), 0, NULL, 10000, NULL, NULL);
		herd_buf_reset(&sql);
		herd_buf_addstr(&sql, "CREATE DATABASE ");
		herd_pg_quote_ident(&sql, s->database);
		rc = herd_pg_query(s->boot, herd_buf_str(&sql), 0, NULL, 60000, on_database, s);
	}
	if (rc < 0)
		boot_end(s, rc, &err);
	herd_err_clear(&err);
	herd_buf_free(&sql);
}

/* --- pg_dist_node ----------------------------------------------------------------------------- */

bool herd_sharding_leads(const struct herd_sharding *s)
{
	const struct herd_agent *a = s->a;

	return a->group == 0 && a->leader && herd_now_ms() < a->leader_until_ms && a->st_known &&
	       a->run == HERD_RUN_RUNNING && !a->st.in_recovery &&
	       a->task.running == HERD_TASK_NONE;
}

static void forget(struct herd_sharding *s)
{
	herd_str_set(&s->signature, NULL);
	s->retry_ms = herd_now_ms() + 1000;
	s->busy = false;
}

static void on_written(void *arg, int rc, const struct herd_pg_rows *rows,
		       const struct herd_err *err)
{
	struct herd_sharding *s = arg;

	s->busy = false;
	if (rc == -ECANCELED)
		return;
	if (rc < 0) {
		herd_log_err(s->a->log, HERD_LOG_WARNING, err, "could not update pg_dist_node");
		/* The batch may have left its transaction open. */
		herd_pg_session_reset(s->session, NULL);
		forget(s);
		return;
	}
	herd_info(s->a->log, "pg_dist_node is up to date");
	herd_sharding_step(s);
}

/*
 * How long a statement may keep a change of address waiting before it is cancelled. What goes
 * through a pooler needs the new address for nothing.
 */
enum { COOLDOWN_MS = 500, POOLED_COOLDOWN_MS = 20000 };

static const char *poolinfo_of(const struct herd_sharding *s)
{
	const char *text = herd_agent_config_str(s->a->cfg, "citus.poolinfo", NULL);

	return text && *text ? text : NULL;
}

static void on_nodes(void *arg, int rc, const struct herd_pg_rows *rows, const struct herd_err *err)
{
	struct herd_sharding *s = arg;
	struct shard_nodes have = { 0 };
	struct herd_buf sql = { 0 };
	int held[64]; /* groups that change their leader at the same time; more are taken later */
	size_t nheld = 0;
	int n;

	if (rc < 0) {
		if (rc != -ECANCELED)
			herd_log_err(s->a->log, HERD_LOG_WARNING, err,
				     "could not read pg_dist_node");
		forget(s);
		return;
	}
	for (int i = 0; i < herd_pg_rows_count(rows); i++) {
		struct shard_node node = {
			.id = herd_pg_rows_i64(rows, i, 0, 0),
			.group = (int)herd_pg_rows_i64(rows, i, 1, 0),
			.host = (char *)herd_pg_rows_text(rows, i, 2),
			.port = (int)herd_pg_rows_i64(rows, i, 3, 0),
			.primary = strcmp(herd_pg_rows_text(rows, i, 4), "primary") == 0,
		};

		herd_shard_nodes_add(&have, &node);
	}
	herd_list_for_each(it, &s->holds)
	{
		if (nheld < sizeof(held) / sizeof(held[0]))
			held[nheld++] = herd_container_of(it, struct shard_hold, node)->group;
	}
	herd_buf_addstr(&sql, SHARD_SESSION "BEGIN;\n");
	n = herd_shard_diff(s->a->scope, &have, held, nheld,
			    poolinfo_of(s) ? POOLED_COOLDOWN_MS : COOLDOWN_MS, &sql);
	herd_buf_addstr(&sql, "COMMIT;\n");
	herd_shard_poolinfo(poolinfo_of(s), s->extension, &sql);
	herd_shard_nodes_clear(&have);
	if (n == 0 && !poolinfo_of(s)) {
		s->busy = false;
	} else {
		herd_debug(s->a->log, "pg_dist_node: %s", herd_buf_str(&sql));
		rc = herd_pg_query(s->session, herd_buf_str(&sql), 0, NULL, 60000, on_written, s);
		if (rc < 0)
			forget(s);
	}
	herd_buf_free(&sql);
}

void herd_sharding_step(struct herd_sharding *s)
{
	struct herd_buf sig = { 0 };
	struct herd_err err = HERD_ERR_INIT;

	if (!s || s->busy || herd_now_ms() < s->retry_ms)
		return;
	if (!herd_sharding_leads(s)) {
		herd_str_set(&s->signature, NULL);
		if (s->a->group == 0 && !s->a->leader)
			while (!herd_list_empty(&s->holds))
				herd_shard_hold_end(
					herd_container_of(s->holds.next, struct shard_hold, node),
					false);
		return;
	}
	herd_shard_signature(s->a->scope, &sig);
	herd_list_for_each(it, &s->holds) herd_buf_printf(
		&sig, "hold %d\n", herd_container_of(it, struct shard_hold, node)->group);
	if (poolinfo_of(s))
		herd_buf_printf(&sig, "poolinfo %s\n", poolinfo_of(s));
	if (!herd_str_eq(s->signature, herd_buf_str(&sig))) {
		herd_str_set(&s->signature, herd_buf_str(&sig));
		if (s->session || herd_pg_session_local(s->a->pg, "Patroni citus", s->database,
							&s->session, &err) == 0) {
			s->busy = true;
			if (herd_pg_query(s->session,
					  "SELECT nodeid, groupid, nodename, nodeport, noderole "
					  "FROM pg_catalog.pg_dist_node ORDER BY nodeid",
					  0, NULL, 5000, on_nodes, s) < 0)
				forget(s);
		}
	}
	herd_err_clear(&err);
	herd_buf_free(&sig);
}

/* --- messages --------------------------------------------------------------------------------- */

struct message {
	void (*fn)(void *arg);
	void *arg;
	struct herd_agent *a;
	const char *type;
};

static void on_sent(void *arg, const struct herd_http_response *resp)
{
	struct message *m = arg;

	if (resp->status != 200)
		herd_log_err(m->a->log, HERD_LOG_WARNING, resp->err,
			     "the coordinator did not take \"%s\" (status %d)", m->type,
			     resp->status);
	if (m->fn)
		m->fn(m->arg);
	free(m);
}

/* To the coordinator's leader; fn (may be NULL) when it was answered or cannot be. */
static void send_message(struct herd_sharding *s, const char *type, int64_t timeout_ms,
			 void (*fn)(void *arg), void *arg)
{
	struct herd_agent *a = s->a;
	const struct herd_cluster *c = a->scope ? herd_scope_group(a->scope, 0) : NULL;
	const struct herd_member *m = c ? herd_cluster_leader(c) : NULL;
	char *url = m && m->api_url ? herd_str_dup(m->api_url) : NULL;
	char *tail = url ? strrchr(url, '/') : NULL;
	struct message *msg = tail ? calloc(1, sizeof(*msg)) : NULL;
	char *full, *body;
	json_t *v;

	if (!msg) {
		free(url);
		if (fn)
			fn(arg);
		return;
	}
	*tail = '\0';
	full = herd_str_printf("%s/citus", url);
	v = json_pack("{s:s,s:i,s:s,s:I,s:I}", "type", type, "group", a->group, "leader", a->name,
		      "timeout", (json_int_t)herd_agent_config_i64(a->cfg, "ttl", 30), "cooldown",
		      (json_int_t)herd_agent_config_i64(a->cfg, "retry_timeout", 10));
	body = herd_json_dump(v);
	*msg = (struct message){ fn, arg, a, type };
	struct herd_http_request r = {
		.method = "POST",
		.url = full,
		.body = body,
		.user = herd_agent_config_ctl_user(a->cfg),
		.password = herd_agent_config_ctl_password(a->cfg),
		.timeout_ms = timeout_ms,
		.on_done = on_sent,
		.arg = msg,
	};

	herd_debug(a->log, "telling the coordinator: %s", body);
	if (!herd_http_send(a->http, &r)) {
		free(msg);
		if (fn)
			fn(arg);
	}
	json_decref(v);
	free(body);
	free(full);
	free(url);
}

void herd_sharding_before_demote(struct herd_sharding *s, void (*fn)(void *arg), void *arg)
{
	/* The coordinator may be busy with another worker for as long as that one's ttl. */
	if (!s || s->a->group == 0)
		fn(arg);
	else
		send_message(s, "before_demote", 1000 * herd_agent_config_i64(s->a->cfg, "ttl", 30),
			     fn, arg);
}

void herd_sharding_before_promote(struct herd_sharding *s)
{
	if (s && s->a->group != 0)
		send_message(s, "before_promote", 2000, NULL, NULL);
}

void herd_sharding_after_promote(struct herd_sharding *s)
{
	if (s && s->a->group != 0)
		send_message(s, "after_promote", 2000, NULL, NULL);
}

void herd_sharding_event(struct herd_sharding *s, const json_t *event, void (*fn)(void *arg),
			 void *arg)
{
	const char *type = herd_json_str(event, "type", "");
	const char *leader = herd_json_str(event, "leader", "");
	int group = (int)herd_json_i64(event, "group", -1);
	const struct herd_cluster *c;
	struct shard_hold *h;

	c = s && s->a->scope && group > 0 ? herd_scope_group(s->a->scope, group) : NULL;
	/*
	 * The pooler holds the statements where they go through one. They have locked the group by
	 * then: a transaction of ours that waits for that lock would end them.
	 */
	if (!c || !herd_sharding_leads(s) || !herd_str_ieq(c->leader, leader) || poolinfo_of(s)) {
		fn(arg);
		return;
	}
	herd_debug(s->a->log, "group %d says %s", group, type);
	h = herd_shard_hold_find(s, group);
	if (strcmp(type, "before_demote") == 0 && !h) {
		herd_shard_hold_begin(s, event, false, fn, arg);
	} else if (strcmp(type, "before_promote") == 0) {
		if (!h)
			herd_shard_hold_begin(s, event, true, fn, arg);
		else
			herd_shard_hold_promote(h, event, fn, arg);
	} else {
		/* An old leader that came back instead has its row as it was. */
		if (strcmp(type, "after_promote") == 0 && h)
			herd_shard_hold_end(h, herd_shard_hold_names_leader(h));
		fn(arg);
	}
}

/* --- life ------------------------------------------------------------------------------------- */

struct herd_sharding *herd_sharding_new(struct herd_agent *a)
{
	struct herd_sharding *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->a = a;
	s->extension = herd_str_dup(extension_of(a, herd_pg_config(a->pg)->bin_dir));
	s->database = herd_str_dup(herd_agent_config_str(a->cfg, "citus.database", "postgres"));
	herd_list_init(&s->holds);
	return s;
}

void herd_sharding_free(struct herd_sharding *s)
{
	if (!s)
		return;
	while (!herd_list_empty(&s->holds))
		herd_shard_hold_end(herd_container_of(s->holds.next, struct shard_hold, node),
				    false);
	s->boot_done = NULL;
	if (s->boot)
		herd_pg_session_free(s->boot);
	if (s->session)
		herd_pg_session_free(s->session);
	free(s->extension);
	free(s->database);
	free(s->signature);
	free(s);
}
