/*
 * sharding_nodes.c - pg_dist_node against the store (pure), and the transactions that keep
 * statements waiting while a worker changes its leader.
 */
#define HERD_LOG_PART "patroni.postgresql.mpp.citus"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "agent/sharding_internal.h"
#include "base/json.h"
#include "base/str.h"

void herd_shard_nodes_clear(struct shard_nodes *s)
{
	for (size_t i = 0; i < s->n; i++)
		free(s->v[i].host);
	free(s->v);
	memset(s, 0, sizeof(*s));
}

int herd_shard_nodes_add(struct shard_nodes *s, const struct shard_node *node)
{
	struct shard_node *v = realloc(s->v, (s->n + 1) * sizeof(*v));

	if (!v)
		return -ENOMEM;
	s->v = v;
	v[s->n] = *node;
	v[s->n].host = herd_str_dup(node->host ? node->host : "");
	v[s->n].used = false;
	s->n++;
	return 0;
}

/* --- what the store says ---------------------------------------------------------------------- */

static bool is_primary(const struct herd_cluster *c, const struct herd_member *m)
{
	return m->host && m->state == HERD_STATE_RUNNING && m->role == HERD_ROLE_PRIMARY &&
	       herd_str_ieq(c->leader, m->name);
}

static bool is_secondary(const struct herd_cluster *c, const struct herd_member *m)
{
	return m->host && m->state == HERD_STATE_RUNNING && m->role == HERD_ROLE_REPLICA &&
	       !m->tags.noloadbalance && !herd_str_ieq(c->leader, m->name);
}

void herd_shard_signature(const struct herd_scope *scope, struct herd_buf *out)
{
	for (size_t g = 0; g < scope->n_groups; g++) {
		const struct herd_cluster *c = &scope->groups[g];

		for (size_t i = 0; i < c->n_members; i++) {
			const struct herd_member *m = &c->members[i];

			if (is_primary(c, m) || is_secondary(c, m))
				herd_buf_printf(out, "%d %d %s:%d\n", c->group, is_primary(c, m),
						m->host, m->port);
		}
	}
}

/* Node ids are the same on all nodes, so what holds here holds there. */
void herd_shard_poolinfo(const char *pattern, const char *extension, struct herd_buf *out)
{
	struct herd_buf fill = { 0 };

	if (!pattern || !*pattern)
		return;
	herd_buf_addstr(&fill, "DELETE FROM pg_catalog.pg_dist_poolinfo p WHERE NOT EXISTS (SELECT "
			       "FROM pg_catalog.pg_dist_node n WHERE n.nodeid = p.nodeid AND "
			       "n.groupid > 0 AND n.noderole = 'primary');\n"
			       "INSERT INTO pg_catalog.pg_dist_poolinfo AS p (nodeid, poolinfo) "
			       "SELECT n.nodeid, replace(replace(replace(");
	herd_shard_literal(&fill, pattern);
	herd_buf_addstr(&fill,
			", '{group}', n.groupid::text), '{host}', n.nodename), '{port}', "
			"n.nodeport::text) FROM pg_catalog.pg_dist_node n WHERE n.groupid > 0 AND "
			"n.noderole = 'primary' ON CONFLICT (nodeid) DO UPDATE SET poolinfo = "
			"EXCLUDED.poolinfo WHERE p.poolinfo <> EXCLUDED.poolinfo;\n");
	herd_buf_addstr(out, herd_buf_str(&fill));
	/* Workers plan queries, too, once they have the catalogs. */
	if (strcmp(extension, "pgherd") == 0) {
		herd_buf_addstr(out, "SELECT pg_catalog.run_command_on_workers(");
		herd_shard_literal(out, herd_buf_str(&fill));
		herd_buf_addstr(out, ");\n");
	}
	herd_buf_free(&fill);
}

static struct shard_node *find_at(struct shard_nodes *s, int group, const char *host, int port)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->v[i].group == group && s->v[i].port == port &&
		    strcasecmp(s->v[i].host, host) == 0)
			return &s->v[i];
	return NULL;
}

static struct shard_node *find_primary(struct shard_nodes *s, int group)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->v[i].group == group && s->v[i].primary)
			return &s->v[i];
	return NULL;
}

static void add_update(struct herd_buf *out, int64_t id, const char *host, const char *suffix,
		       int port, int cooldown_ms)
{
	char *full = herd_str_printf("%s%s", host, suffix);

	herd_buf_printf(out, "SELECT pg_catalog.citus_update_node(%" PRId64 ", ", id);
	herd_shard_literal(out, full);
	herd_buf_printf(out, ", %d, true, %d);\n", port, cooldown_ms);
	free(full);
}

static void add_node(struct herd_buf *out, int group, const struct herd_member *m, bool primary)
{
	herd_buf_addstr(out, "SELECT pg_catalog.citus_add_node(");
	herd_shard_literal(out, m->host);
	herd_buf_printf(out, ", %d, %d, '%s', 'default');\n", m->port, group,
			primary ? "primary" : "secondary");
}

/* The primary's row keeps its id; a standby that was promoted gives its row to the old primary. */
static int move_primary(struct shard_nodes *have, struct shard_node *row,
			const struct herd_member *m, int cooldown_ms, struct herd_buf *out)
{
	struct shard_node *was = find_at(have, row->group, m->host, m->port);

	if (was == row)
		return 0;
	if (was)
		add_update(out, was->id, m->host, "-demoted", m->port, cooldown_ms);
	add_update(out, row->id, m->host, "", m->port, cooldown_ms);
	if (was) {
		char *old = row->host;
		int old_port = row->port;

		add_update(out, was->id, old, "", old_port, cooldown_ms);
		row->host = was->host;
		row->port = was->port;
		was->host = old;
		was->port = old_port;
	} else {
		herd_str_set(&row->host, m->host);
		row->port = m->port;
	}
	return 1;
}

/* Rows of standbys that are gone, for reuse. */
static struct shard_node *spare_row(struct shard_nodes *have, const struct herd_cluster *c)
{
	for (size_t i = 0; i < have->n; i++) {
		struct shard_node *row = &have->v[i];
		bool wanted = false;

		if (row->group != c->group || row->primary || row->used)
			continue;
		for (size_t k = 0; k < c->n_members; k++) {
			const struct herd_member *m = &c->members[k];

			wanted = wanted || (is_secondary(c, m) && m->port == row->port &&
					    strcasecmp(m->host, row->host) == 0);
		}
		if (!wanted)
			return row;
	}
	return NULL;
}

static bool has_primary(const struct herd_cluster *c)
{
	for (size_t i = 0; i < c->n_members; i++)
		if (is_primary(c, &c->members[i]))
			return true;
	return false;
}

/* all_up: nodes may be added and removed, which every primary of the herd has to take part in. */
static int diff_group(const struct herd_cluster *c, struct shard_nodes *have, bool all_up,
		      int cooldown_ms, struct herd_buf *out)
{
	struct shard_node *row = find_primary(have, c->group);
	bool registered = row != NULL;
	int n = 0;

	/* While nobody leads, nothing is known for good: the rows stay as they are. */
	if (!has_primary(c))
		return 0;

	for (size_t i = 0; i < c->n_members; i++) {
		const struct herd_member *m = &c->members[i];

		if (!is_primary(c, m))
			continue;
		if (row) {
			n += move_primary(have, row, m, cooldown_ms, out);
		} else {
			add_node(out, c->group, m, true);
			registered = true;
			n++;
		}
	}
	if (!registered || !all_up)
		return n;
	for (size_t i = 0; i < c->n_members; i++) {
		const struct herd_member *m = &c->members[i];

		if (!is_secondary(c, m))
			continue;
		row = find_at(have, c->group, m->host, m->port);
		if (row && row->primary)
			continue; /* its new primary is not known yet */
		if (row) {
			row->used = true;
			continue;
		}
		row = spare_row(have, c);
		if (row) {
			add_update(out, row->id, m->host, "", m->port, cooldown_ms);
			herd_str_set(&row->host, m->host);
			row->port = m->port;
			row->used = true;
		} else {
			add_node(out, c->group, m, false);
		}
		n++;
	}
	for (row = spare_row(have, c); row; row = spare_row(have, c)) {
		herd_buf_addstr(out, "SELECT pg_catalog.citus_remove_node(");
		herd_shard_literal(out, row->host);
		herd_buf_printf(out, ", %d);\n", row->port);
		row->used = true;
		n++;
	}
	return n;
}

int herd_shard_diff(const struct herd_scope *scope, struct shard_nodes *have, const int *held,
		    size_t nheld, int cooldown_ms, struct herd_buf *out)
{
	bool all_up = true;
	int n = 0;

	for (size_t g = 0; g < scope->n_groups; g++)
		if (find_primary(have, scope->groups[g].group))
			all_up = all_up && has_primary(&scope->groups[g]);
	/* Groups ascend, so the coordinator comes first: the others need it. */
	for (size_t g = 0; g < scope->n_groups; g++) {
		const struct herd_cluster *c = &scope->groups[g];
		bool skip = c->group == HERD_NO_GROUP;

		for (size_t i = 0; i < nheld; i++)
			skip = skip || held[i] == c->group;
		if (!skip)
			n += diff_group(c, have, all_up, cooldown_ms, out);
	}
	return n;
}

/* The store is where the addresses come from: they need no standby's word to be safe. */
#define HOLD_BEGIN "BEGIN; SET LOCAL synchronous_commit TO local; "

/* --- holds ------------------------------------------------------------------------------------ */

struct shard_hold *herd_shard_hold_find(struct herd_sharding *s, int group)
{
	herd_list_for_each(it, &s->holds)
	{
		struct shard_hold *h = herd_container_of(it, struct shard_hold, node);

		if (h->group == group)
			return h;
	}
	return NULL;
}

static void answer(struct shard_hold *h)
{
	void (*fn)(void *arg) = h->fn;

	h->fn = NULL;
	if (fn)
		fn(h->arg);
}

static void hold_free(struct shard_hold *h)
{
	struct herd_sharding *s = h->s;

	answer(h);
	herd_list_remove(&h->node);
	herd_timer_free(h->deadline);
	if (h->session)
		herd_pg_session_free(h->session);
	free(h->old_host);
	free(h->new_host);
	free(h);
	herd_str_set(&s->signature, NULL);
	herd_agent_wake(s->a);
}

static void on_committed(void *arg, int rc, const struct herd_pg_rows *rows,
			 const struct herd_err *err)
{
	struct shard_hold *h = arg;

	if (rc == -ECANCELED)
		return;
	if (rc < 0)
		herd_log_err(h->s->a->log, HERD_LOG_WARNING, err,
			     "group %d: the new leader was not committed", h->group);
	hold_free(h);
}

void herd_shard_hold_end(struct shard_hold *h, bool commit)
{
	if (commit && h->busy) {
		h->commit = true; /* when what is under way has ended */
		return;
	}
	if (commit && h->new_host &&
	    herd_pg_query(h->session, "COMMIT", 0, NULL, 10000, on_committed, h) == 0)
		return;
	/* Closing the session rolls back, and statements go on with the old row. */
	hold_free(h);
}

static void on_deadline(void *arg)
{
	struct shard_hold *h = arg;

	herd_warning(h->s->a->log, "group %d: no new leader in time, statements go on", h->group);
	herd_shard_hold_end(h, false);
}

/* Where a member of the group listens. False when the store does not say. */
static bool take_host(struct shard_hold *h, const struct herd_member *m)
{
	if (!m || !m->host)
		return false;
	h->new_port = m->port;
	return herd_str_set(&h->new_host, m->host);
}

static const struct herd_cluster *group_of(const struct shard_hold *h)
{
	return herd_scope_group(h->s->a->scope, h->group);
}

/*
 * The rows can be written for the one who is to lead while the old leader still shuts down; they
 * count from the commit on, which comes when it has been promoted.
 */
static bool take_candidate(struct shard_hold *h)
{
	const struct herd_cluster *c = group_of(h);
	bool going = c && (c->handover.phase == HERD_HANDOVER_PREPARE ||
			   c->handover.phase == HERD_HANDOVER_SHUTDOWN);

	return going && c->handover.to && take_host(h, herd_cluster_member(c, c->handover.to));
}

static bool take_new_primary(struct shard_hold *h)
{
	const struct herd_cluster *c = group_of(h);

	return c && take_host(h, herd_cluster_leader(c));
}

bool herd_shard_hold_names_leader(const struct shard_hold *h)
{
	const struct herd_cluster *c = group_of(h);
	const struct herd_member *m = c ? herd_cluster_leader(c) : NULL;

	return m && m->host && h->new_host && h->new_port == m->port &&
	       strcasecmp(h->new_host, m->host) == 0;
}

static void read_rows(struct shard_hold *h, bool begin);

static void on_moved(void *arg, int rc, const struct herd_pg_rows *rows, const struct herd_err *err)
{
	struct shard_hold *h = arg;

	if (rc == -ECANCELED)
		return;
	h->busy = false;
	if (rc < 0) {
		herd_log_err(h->s->a->log, HERD_LOG_WARNING, err,
			     "group %d: statements are not held", h->group);
		hold_free(h);
		return;
	}
	answer(h);
	if (h->commit)
		herd_shard_hold_end(h, true);
	else if (!h->new_host && take_candidate(h))
		read_rows(h, false);
}

/* In the open transaction: the primary's row to the new host, the new host's row to the old. */
static void move_in_transaction(struct shard_hold *h)
{
	struct herd_buf sql = { 0 };

	if (h->new_id)
		add_update(&sql, h->new_id, h->new_host, "-promoted", h->new_port, h->cooldown_ms);
	add_update(&sql, h->primary_id, h->new_host, "", h->new_port, h->cooldown_ms);
	if (h->new_id)
		add_update(&sql, h->new_id, h->old_host, "", h->old_port, h->cooldown_ms);
	h->busy = true;
	if (herd_pg_query(h->session, herd_buf_str(&sql), 0, NULL, 30000, on_moved, h) < 0)
		hold_free(h);
	herd_buf_free(&sql);
}

static void on_rows(void *arg, int rc, const struct herd_pg_rows *rows, const struct herd_err *err)
{
	struct shard_hold *h = arg;
	struct herd_buf sql = { 0 };

	if (rc == -ECANCELED)
		return;
	h->busy = false;
	for (int i = 0; rc == 0 && i < herd_pg_rows_count(rows); i++) {
		const char *host = herd_pg_rows_text(rows, i, 1);
		int port = (int)herd_pg_rows_i64(rows, i, 2, 0);

		if (strcmp(herd_pg_rows_text(rows, i, 3), "primary") == 0) {
			h->primary_id = herd_pg_rows_i64(rows, i, 0, 0);
			/* Read again inside the transaction it is our own "-demoted". */
			if (!h->old_host) {
				herd_str_set(&h->old_host, host);
				h->old_port = port;
			}
		} else if (h->new_host && strcasecmp(h->new_host, host) == 0 &&
			   h->new_port == port) {
			h->new_id = herd_pg_rows_i64(rows, i, 0, 0);
		}
	}
	if (rc < 0 || !h->primary_id) {
		hold_free(h);
		return;
	}
	if (h->new_host) {
		if (h->old_port == h->new_port && strcasecmp(h->old_host, h->new_host) == 0)
			hold_free(h); /* it is the primary already */
		else
			move_in_transaction(h);
		return;
	}
	add_update(&sql, h->primary_id, h->old_host, "-demoted", h->old_port, h->cooldown_ms);
	h->busy = true;
	if (herd_pg_query(h->session, herd_buf_str(&sql), 0, NULL, 30000, on_moved, h) < 0)
		hold_free(h);
	herd_buf_free(&sql);
}

static void read_rows(struct shard_hold *h, bool begin)
{
	char *sql = herd_str_printf("%sSELECT nodeid, nodename, nodeport, noderole FROM "
				    "pg_catalog.pg_dist_node WHERE groupid = %d",
				    begin ? SHARD_SESSION HOLD_BEGIN : "", h->group);

	h->busy = true;
	if (!sql || herd_pg_query(h->session, sql, 0, NULL, 5000, on_rows, h) < 0)
		hold_free(h);
	free(sql);
}

void herd_shard_hold_begin(struct herd_sharding *s, const json_t *event, bool promote,
			   void (*fn)(void *arg), void *arg)
{
	struct shard_hold *h = calloc(1, sizeof(*h));
	int64_t timeout = herd_json_i64(event, "timeout", 30);
	int64_t cooldown = herd_json_i64(event, "cooldown", 10);

	if (!h) {
		fn(arg);
		return;
	}
	h->s = s;
	h->group = (int)herd_json_i64(event, "group", -1);
	h->cooldown_ms = promote ? 500 : (int)(cooldown < 1 ? 1000 : cooldown * 1000);
	h->fn = fn;
	h->arg = arg;
	herd_list_push_back(&s->holds, &h->node);
	h->deadline = herd_timer_new(s->a->loop, on_deadline, h);
	herd_timer_set(h->deadline, 1000 * (timeout < 1 ? 1 : timeout));
	if ((promote && !take_new_primary(h)) ||
	    herd_pg_session_local(s->a->pg, "Patroni citus", s->database, &h->session, NULL) < 0) {
		hold_free(h);
		return;
	}
	read_rows(h, true);
}

void herd_shard_hold_promote(struct shard_hold *h, const json_t *event, void (*fn)(void *arg),
			     void *arg)
{
	if (herd_shard_hold_names_leader(h)) {
		fn(arg);
	} else if (h->new_host || h->busy) {
		/* Another one than was expected: from the beginning. */
		struct herd_sharding *s = h->s;

		herd_shard_hold_end(h, false);
		herd_shard_hold_begin(s, event, true, fn, arg);
	} else {
		h->fn = fn;
		h->arg = arg;
		if (take_new_primary(h))
			read_rows(h, false);
		else
			answer(h);
	}
}
