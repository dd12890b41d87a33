/*
 * ctl/rows.c - the members' table of `list` and `topology`: the same columns, words and order as
 * patronictl's.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/str.h"
#include "base/yaml.h"
#include "ctl/internal.h"
#include "model/lsn.h"

enum { MAX_REASON = 50, MAX_DEPTH = 32, DEFAULT_PORT = 5432 };
static const uint64_t megabyte = 1024 * 1024;

struct maker {
	const struct herd_scope *scope;
	const char *name;
	int group;
	enum ctl_format format;
	bool sharded, with_port, topology;
	json_t *rows;
};

const char *ctl_role_text(const struct herd_cluster *g, const struct herd_member *m)
{
	if (herd_str_eq(g->leader, m->name))
		return g->config.standby_cluster ? "Standby Leader" : "Leader";
	if (g->config.synchronous_mode != HERD_SYNC_OFF && g->sync.leader &&
	    herd_names_has(&g->sync.standby, m->name))
		return g->config.synchronous_mode == HERD_SYNC_QUORUM ? "Quorum Standby"
								      : "Sync Standby";
	return "Replica";
}

static void set_text(json_t *row, const char *key, char *text)
{
	if (text)
		json_object_set_new(row, key, json_string(text));
	free(text);
}

static void set_lsn(json_t *row, const char *lsn_key, const char *lag_key, uint64_t lsn,
		    uint64_t leader_lsn, bool old)
{
	char text[HERD_LSN_TEXT];

	if (lsn == 0) {
		json_object_set_new(row, lsn_key, json_string("unknown"));
		if (old)
			json_object_set_new(row, lag_key, json_string("unknown"));
		return;
	}
	uint64_t lag = herd_lsn_lag(leader_lsn, lsn);

	json_object_set_new(row, lsn_key, json_string(herd_lsn_print(lsn, text)));
	json_object_set_new(row, lag_key,
			    json_integer((json_int_t)((lag + megabyte / 2) / megabyte)));
}

/* A value of a setting as text: what a member publishes may be of any type. */
static char *plain(const json_t *v)
{
	if (json_is_string(v))
		return strdup(json_string_value(v));
	return v ? json_dumps(v, JSON_ENCODE_ANY) : strdup("");
}

static char *pending_reason(const json_t *reasons, bool pretty)
{
	struct herd_buf b = { 0 };
	const char *guc;
	json_t *change;

	json_object_foreach((json_t *)reasons, guc, change)
	{
		char *before = plain(json_object_get(change, "old_value"));
		char *after = plain(json_object_get(change, "new_value"));
		char *text = herd_str_printf("%s: %s->%s", guc, before ? before : "",
					     after ? after : "");

		if (b.len > 0)
			herd_buf_addc(&b, '\n');
		if (text && pretty && strlen(text) > MAX_REASON)
			herd_buf_printf(&b, "%s: [hidden - too long]", guc);
		else
			herd_buf_addstr(&b, text ? text : "");
		free(text);
		free(before);
		free(after);
	}
	return herd_buf_steal(&b);
}

/* YAML in one line, without its end; malloc'd. */
static char *flow_text(const json_t *v)
{
	char *text = herd_yaml_dump_flow(v);
	size_t len = text ? strlen(text) : 0;

	if (len > 0 && text[len - 1] == '\n')
		text[len - 1] = '\0';
	return text;
}

static void set_extras(const struct maker *mk, json_t *row, const struct herd_member *m)
{
	if (m->pending_restart)
		json_object_set_new(row, "Pending restart", json_string("*"));
	if (json_object_size(m->pending_restart_reason) > 0)
		set_text(row, "Pending restart reason",
			 pending_reason(m->pending_restart_reason, mk->format == CTL_PRETTY));
	const char *when = herd_json_str(m->scheduled_restart, "schedule", NULL);
	const char *version = herd_json_str(m->scheduled_restart, "postgres_version", NULL);

	if (when)
		set_text(row, "Scheduled restart",
			 herd_str_printf("%s%s%s", when, version ? " if version < " : "",
					 version ? version : ""));
	if (json_object_size(m->tags.raw) == 0)
		return;
	/* In a tree a member has one line. */
	json_t *sorted = mk->topology ? ctl_sorted(m->tags.raw) : NULL;

	if (sorted)
		set_text(row, "Tags", flow_text(sorted));
	else
		json_object_set(row, "Tags", m->tags.raw);
	json_decref(sorted);
}

static void add_row(struct maker *mk, const struct herd_cluster *g, const struct herd_member *m,
		    int depth)
{
	json_t *row = json_object();
	bool leader = herd_str_eq(g->leader, m->name);
	bool standby = !leader || g->config.standby_cluster;
	const char *state = standby && m->replication_state ? m->replication_state : m->state_text;

	json_object_set_new(row, "Cluster", json_string(mk->name));
	if (g->group != HERD_NO_GROUP)
		json_object_set_new(row, "Group", json_integer(g->group));
	set_text(row, "Member",
		 herd_str_printf("%*s%s%s", depth > 1 ? 2 * (depth - 1) : 0, "",
				 depth > 0 ? "+ " : "", m->name));
	if (m->host && mk->with_port)
		set_text(row, "Host", herd_str_printf("%s:%d", m->host, m->port));
	else if (m->host)
		json_object_set_new(row, "Host", json_string(m->host));
	json_object_set_new(row, "Role", json_string(ctl_role_text(g, m)));
	json_object_set_new(row, "State", json_string(state ? state : ""));
	if (m->timeline > 0)
		json_object_set_new(row, "TL", json_integer(m->timeline));
	if (!leader) {
		/* Before 4.1 a member told one position only. */
		bool old = m->xlog_location && !m->receive_lsn && !m->replay_lsn;
		uint64_t replay = m->replay_lsn;

		set_lsn(row, "Receive LSN", "Receive Lag", m->receive_lsn, g->status.optime, old);
		set_lsn(row, "Replay LSN", "Replay Lag", replay, g->status.optime, old);
	}
	set_extras(mk, row, m);
	json_array_append_new(mk->rows, row);
}

/* Keys at the top of a sharded scope (proxies) are no group. */
static bool shown(const struct maker *mk, const struct herd_cluster *g)
{
	if (!mk->sharded || mk->group != HERD_NO_GROUP)
		return g->group == mk->group;
	return g->group != HERD_NO_GROUP;
}

/* Ports are shown when one is not the usual one, or when only they tell members apart. */
static bool need_ports(const struct maker *mk)
{
	bool need = false;

	for (size_t i = 0; i < mk->scope->n_groups; i++) {
		const struct herd_cluster *g = &mk->scope->groups[i];

		for (size_t j = 0; shown(mk, g) && j < g->n_members; j++) {
			need |= g->members[j].port != DEFAULT_PORT;
			for (size_t o = 0; o < j; o++)
				need |= g->members[j].host &&
					herd_str_eq(g->members[j].host, g->members[o].host);
		}
	}
	return need;
}

/* Whom a member follows in the tree: the leader when it names nobody who is there. */
static const char *parent_of(const struct herd_cluster *g, const struct herd_member *m)
{
	const char *from = m->tags.replicatefrom;

	if (herd_str_eq(m->name, g->leader))
		return NULL;
	if (from && !herd_str_eq(from, m->name) && herd_cluster_member(g, from))
		return from;
	return herd_cluster_leader(g) ? g->leader : NULL;
}

static void add_tree(struct maker *mk, const struct herd_cluster *g, const char *parent, bool *done,
		     int depth)
{
	for (size_t i = 0; i < g->n_members && depth < MAX_DEPTH; i++) {
		if (done[i] || !herd_str_eq(parent_of(g, &g->members[i]), parent))
			continue;
		done[i] = true;
		add_row(mk, g, &g->members[i], depth);
		add_tree(mk, g, g->members[i].name, done, depth + 1);
	}
}

static void add_group(struct maker *mk, const struct herd_cluster *g, bool topology)
{
	bool *done = calloc(g->n_members + 1, sizeof(*done));

	if (topology && done)
		add_tree(mk, g, NULL, done, herd_cluster_leader(g) ? 0 : 1);
	/* What a circle of replicatefrom keeps out of the tree, too. */
	for (size_t i = 0; i < g->n_members; i++)
		if (!done || !done[i])
			add_row(mk, g, &g->members[i], 0);
	free(done);
}

/* Members whose guard is in a state, "a, b"; malloc'd, "" when there is none. */
static char *guards(const struct herd_cluster *g, const char *state)
{
	struct herd_buf b = { 0 };

	for (size_t i = 0; i < g->n_members; i++)
		if (strcmp(herd_json_str(g->members[i].pgherd, "guard", ""), state) == 0)
			herd_buf_printf(&b, "%s%s", b.len ? ", " : "", g->members[i].name);
	return herd_buf_steal(&b);
}

/* What patronictl has no line for: only in herds of ours, and only when something is to be known.
 */
static void add_guards(struct herd_buf *b, const struct herd_cluster *g)
{
	char *paused = guards(g, "paused"), *failed = guards(g, "failed");

	if (g->config.pause && paused && *paused)
		herd_buf_printf(b, " Guard: off (%s)\n", paused);
	if (failed && *failed)
		herd_buf_printf(b, " Guard: failed (%s)\n", failed);
	free(paused);
	free(failed);
}

static char *make_footer(const struct maker *mk)
{
	struct herd_buf b = { 0 };

	for (size_t i = 0; i < mk->scope->n_groups; i++) {
		const struct herd_cluster *g = &mk->scope->groups[i];
		const struct herd_failover *f = &g->failover;

		struct herd_buf more = { 0 };

		if (!shown(mk, g))
			continue;
		add_guards(&more, g);
		if (mk->sharded && mk->group == HERD_NO_GROUP &&
		    (g->config.pause || f->scheduled_at || more.len))
			herd_buf_printf(&b, "Citus group: %d\n", g->group);
		if (g->config.pause)
			herd_buf_addstr(&b, " Maintenance mode: on\n");
		herd_buf_addstr(&b, herd_buf_str(&more));
		herd_buf_free(&more);
		if (!f->scheduled_at)
			continue;
		herd_buf_printf(&b, " Switchover scheduled at: %s\n", f->scheduled_at);
		if (f->leader)
			herd_buf_printf(&b, "%24s: %s\n", "from", f->leader);
		if (f->candidate)
			herd_buf_printf(&b, "%24s: %s\n", "to", f->candidate);
	}
	return herd_buf_steal(&b);
}

static char *make_title(const struct maker *mk)
{
	const struct herd_cluster *g = herd_scope_group(mk->scope, mk->group);
	const char *id = g ? g->initialize : NULL;

	if (!id)
		id = "uninitialized";
	else if (!*id)
		id = "initializing";
	if (!mk->sharded && mk->group == HERD_NO_GROUP)
		return herd_str_printf(" Cluster: %s (%s) ", mk->name, id);
	if (mk->group == HERD_NO_GROUP)
		return herd_str_printf(" Citus cluster: %s ", mk->name);
	return herd_str_printf(" Citus cluster: %s (group: %d, %s) ", mk->name, mk->group, id);
}

static bool any_row_has(const json_t *rows, const char *key)
{
	size_t i;
	json_t *row;

	json_array_foreach(rows, i, row)
	{
		if (json_object_get(row, key))
			return true;
	}
	return false;
}

static void make_columns(struct ctl_listing *l, const struct maker *mk, bool extended)
{
	static const struct {
		struct ctl_column col;
		bool optional;
	} all[] = {
		{ { "Cluster", "Cluster", false }, false },
		{ { "Group", "Group", true }, false },
		{ { "Member", "Member", false }, false },
		{ { "Host", "Host", false }, false },
		{ { "Role", "Role", false }, false },
		{ { "State", "State", false }, false },
		{ { "TL", "TL", true }, false },
		{ { "Receive LSN", "Receive LSN", true }, false },
		{ { "Receive Lag", "Lag", true }, false },
		{ { "Replay LSN", "Replay LSN", true }, false },
		{ { "Replay Lag", "Lag", true }, false },
		{ { "Pending restart", "Pending restart", false }, true },
		{ { "Pending restart reason", "Pending restart reason", false }, true },
		{ { "Scheduled restart", "Scheduled restart", false }, true },
		{ { "Tags", "Tags", false }, true },
	};
	bool pretty = mk->format == CTL_PRETTY;

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		const char *key = all[i].col.key;

		if (i == 0 && pretty)
			continue;
		if (i == 1 && (!mk->sharded || (pretty && mk->group != HERD_NO_GROUP)))
			continue;
		if (all[i].optional && !extended && !any_row_has(mk->rows, key))
			continue;
		assert(l->n_cols < sizeof(l->cols) / sizeof(l->cols[0]));
		l->cols[l->n_cols++] = all[i].col;
	}
}

int ctl_listing_make(const struct herd_scope *scope, const char *name, int group,
		     enum ctl_format format, bool extended, bool topology, struct ctl_listing *ret)
{
	struct maker mk = { .scope = scope,
			    .name = name,
			    .group = group,
			    .format = format,
			    .topology = topology,
			    .rows = json_array() };

	*ret = (struct ctl_listing){ .rows = mk.rows };
	mk.sharded =
		scope->n_groups > 0 && scope->groups[scope->n_groups - 1].group != HERD_NO_GROUP;
	mk.with_port = need_ports(&mk);
	for (size_t i = 0; i < scope->n_groups; i++) {
		const struct herd_cluster *g = &scope->groups[i];

		if (shown(&mk, g))
			add_group(&mk, g, topology);
	}
	ret->title = make_title(&mk);
	ret->footer = make_footer(&mk);
	make_columns(ret, &mk, extended);
	if (ret->title && ret->footer && ret->rows)
		return 0;
	ctl_listing_clear(ret);
	return -ENOMEM;
}

void ctl_listing_clear(struct ctl_listing *l)
{
	json_decref(l->rows);
	free(l->title);
	free(l->footer);
	*l = (struct ctl_listing){ 0 };
}

int ctl_print_members(const struct ctl_cluster *k, int group, enum ctl_format format, bool extended,
		      bool topology)
{
	struct ctl_listing l;

	if (ctl_listing_make(k->scope, k->name, group, format, extended, topology, &l) < 0)
		return ctl_fail("out of memory");
	char *text = ctl_table_print(format, l.title, l.cols, l.n_cols, l.rows);

	if (text)
		fputs(text, stdout);
	if (format == CTL_PRETTY)
		fputs(l.footer, stdout);
	fflush(stdout);
	free(text);
	ctl_listing_clear(&l);
	return text ? 0 : ctl_fail("out of memory");
}
