#include "model/explain.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/str.h"
#include "model/lsn.h"

/* One member looked at. */
struct look {
	const struct herd_cluster *c;
	const struct herd_member *m; /* NULL: not in the store */
	const struct herd_explain_local *l;
	const char *name;
	bool holder; /* of the leader key */
	json_t *reasons, *notes;
};

static void reason(struct look *k, const char *code, const char *remedy, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

static void reason(struct look *k, const char *code, const char *remedy, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	char *text = herd_str_vprintf(fmt, ap);

	va_end(ap);
	json_array_append_new(k->reasons, json_pack("{s:s,s:s,s:s}", "code", code, "text",
						    text ? text : "", "remedy", remedy));
	free(text);
}

static void note(struct look *k, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void note(struct look *k, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	char *text = herd_str_vprintf(fmt, ap);

	va_end(ap);
	json_array_append_new(k->notes, json_string(text ? text : ""));
	free(text);
}

static uint64_t place_of(const struct herd_member *m)
{
	uint64_t max = m->receive_lsn > m->replay_lsn ? m->receive_lsn : m->replay_lsn;

	return m->xlog_location > max ? m->xlog_location : max;
}

static uint64_t leader_lsn(const struct herd_cluster *c)
{
	const struct herd_member *leader = herd_cluster_leader(c);
	uint64_t lsn = c->status.optime;

	return leader && leader->xlog_location > lsn ? leader->xlog_location : lsn;
}

/* "1 byte", "312 bytes", "4.5 MB"; malloc'd. */
static char *size_text(uint64_t bytes)
{
	if (bytes < 1024 * 1024)
		return herd_str_printf("%" PRIu64 " byte%s", bytes, bytes == 1 ? "" : "s");
	return herd_str_printf("%.1f MB", (double)bytes / (1024 * 1024));
}

/* --- what stands in the way ------------------------------------------------------------------- */

static void look_at_server(struct look *k)
{
	const struct herd_member *m = k->m;

	if (m->state == HERD_STATE_RUNNING)
		return;
	const char *remedy = "Its agent goes on trying; PostgreSQL's own log says what is wrong.";

	if (m->state == HERD_STATE_CREATING_REPLICA || m->state == HERD_STATE_STARTING ||
	    m->state == HERD_STATE_RESTARTING)
		remedy = "Wait until it runs.";
	else if (k->c->config.pause)
		remedy = "In maintenance mode nothing is started: resume, or start it by hand.";
	reason(k, "state", remedy, "its PostgreSQL does not run: it is \"%s\"",
	       m->state_text ? m->state_text : "unknown");
}

/* The progress probe; a leader too is told about it. */
static void look_at_progress(struct look *k)
{
	const char *why = k->m ? herd_json_str(k->m->pgherd, "stalled", NULL) : NULL;

	if (why && k->c->config.probe_failover && !k->holder)
		reason(k, "stalled", "See its PostgreSQL's log, its disk and its processes.",
		       "its PostgreSQL makes no progress: %s", why);
	else if (why)
		note(k, "its PostgreSQL makes no progress: %s", why);
}

static void look_at_tags(struct look *k)
{
	const struct herd_tags *t = &k->m->tags;

	if (herd_tags_failover_priority(t) > 0)
		return;
	if (t->nofailover)
		reason(k, "nofailover", "Remove the tag from its configuration and reload it.",
		       "it has the tag nofailover");
	else
		reason(k, "failover_priority", "Give it a failover_priority above 0 and reload it.",
		       "its failover_priority is %d", t->failover_priority);
}

static void look_at_place(struct look *k)
{
	const struct herd_cluster *c = k->c;
	uint64_t ahead = leader_lsn(c), place = place_of(k->m);
	uint64_t lag = herd_lsn_lag(ahead, place);
	int64_t timeline = herd_cluster_timeline(c);
	char *far = size_text(lag), *limit = size_text((uint64_t)c->config.maximum_lag_on_failover);

	if (place == 0)
		note(k, "where it is in the WAL is not known");
	else if (lag > (uint64_t)c->config.maximum_lag_on_failover)
		reason(k, "lag", "Wait until it has caught up, or raise maximum_lag_on_failover.",
		       "it is %s behind the leader, and maximum_lag_on_failover allows %s",
		       far ? far : "", limit ? limit : "");
	free(far);
	free(limit);
	if (k->m->timeline > 0 && timeline > k->m->timeline) {
		if (c->config.check_timeline)
			reason(k, "timeline", "Wait until it follows the leader's timeline.",
			       "it is on timeline %" PRId64 ", the cluster on %" PRId64
			       ", and check_timeline is on",
			       k->m->timeline, timeline);
		else
			note(k, "it is on timeline %" PRId64 ", the cluster on %" PRId64,
			     k->m->timeline, timeline);
	}
}

static void look_at_sync(struct look *k)
{
	const struct herd_cluster *c = k->c;
	bool in = herd_names_has(&c->sync.standby, k->name) ||
		  (c->sync.leader && herd_str_ieq(c->sync.leader, k->name));
	char *list = herd_names_join(&c->sync.standby, ", ");

	if (c->config.synchronous_mode == HERD_SYNC_OFF || !c->sync.leader ||
	    c->config.standby_cluster) {
		/* Nobody is synchronous. */
	} else if (c->config.synchronous_mode == HERD_SYNC_ON) {
		if (!in)
			reason(k, "sync",
			       "Wait until it is chosen, or raise synchronous_node_count; a "
			       "failover "
			       "to it by name may lose transactions.",
			       "it is not synchronous: only %s may take over",
			       list && *list ? list : c->sync.leader);
		else
			note(k, "it is synchronous: it has every transaction that was confirmed");
	} else {
		note(k, "%s the quorum: %d of %s must not be ahead of it",
		     in ? "it is in" : "it is not in", c->sync.quorum,
		     list && *list ? list : "nobody");
	}
	free(list);
}

static void look_at_herd(struct look *k)
{
	const struct herd_cluster *c = k->c;

	if (c->config.failsafe_mode && c->failsafe.n && !herd_failsafe_url(&c->failsafe, k->name))
		reason(k, "failsafe", "Wait for the leader to write it into the key failsafe.",
		       "failsafe_mode is on, and the key failsafe does not name it");
	if (c->config.pause)
		reason(k, "pause", "Resume, or ask for a failover to it by name.",
		       "maintenance mode is on: nobody is promoted by itself");
	if (k->l && k->l->watchdog_failed)
		reason(k, "watchdog", "Make the watchdog device usable, or do not require it.",
		       "its watchdog is required and does not work");
	if (k->l && k->l->guard_failed)
		reason(k, "guard", "See its log for why the guard cannot be started.",
		       "its guard cannot be started");
	if (k->l && !k->l->dcs_ok && !k->holder)
		reason(k, "store", "Make the store reachable from there.",
		       "its agent cannot reach the store");
}

/* Who would go first. */
static void look_at_others(struct look *k)
{
	const struct herd_cluster *c = k->c;
	int mine = herd_tags_failover_priority(&k->m->tags);

	for (size_t i = 0; i < c->n_members; i++) {
		const struct herd_member *o = &c->members[i];
		int theirs = herd_tags_failover_priority(&o->tags);

		if (o == k->m || herd_str_eq(o->name, c->leader) || theirs <= 0 ||
		    o->state != HERD_STATE_RUNNING)
			continue;
		if (place_of(o) > place_of(k->m))
			note(k, "%s has more WAL and would go first", o->name);
		else if (place_of(o) == place_of(k->m) && theirs > mine)
			note(k, "%s would go first: its failover_priority is %d, not %d", o->name,
			     theirs, mine);
	}
}

static void look_at_all(struct look *k)
{
	if (!k->m) {
		reason(k, "member", "Start its agent.", "it is not registered in the store");
		return;
	}
	look_at_server(k);
	look_at_progress(k);
	look_at_tags(k);
	look_at_place(k);
	look_at_sync(k);
	look_at_herd(k);
}

/* Who could take over from the leader, and who could not and why (the first reason). */
static void look_at_leader(struct look *k)
{
	const struct herd_cluster *c = k->c;
	struct herd_buf can = { 0 }, cannot = { 0 };

	look_at_progress(k);
	for (size_t i = 0; i < c->n_members; i++) {
		struct look o = { .c = c,
				  .m = &c->members[i],
				  .name = c->members[i].name,
				  .reasons = json_array(),
				  .notes = json_array() };

		look_at_all(&o);
		if (herd_str_eq(o.name, c->leader))
			; /* the one that goes */
		else if (json_array_size(o.reasons) == 0)
			herd_buf_printf(&can, "%s%s", can.len ? " or " : "", o.name);
		else
			herd_buf_printf(&cannot, "%s%s: %s", cannot.len ? "; " : "", o.name,
					herd_json_str(json_array_get(o.reasons, 0), "text", ""));
		json_decref(o.reasons);
		json_decref(o.notes);
	}
	note(k, "if it went away now, %s could take over", can.len ? herd_buf_str(&can) : "nobody");
	if (cannot.len)
		note(k, "not %s", herd_buf_str(&cannot));
	if (k->l && !k->l->leads)
		note(k, "its lease is not good at the moment: it does not act as leader");
	herd_buf_free(&can);
	herd_buf_free(&cannot);
}

static void look_at_requests(struct look *k)
{
	const struct herd_failover *f = &k->c->failover;
	const char *to = f->candidate ? f->candidate : "any member";

	if (f->scheduled_at)
		note(k, "a switchover to %s is scheduled at %s", to, f->scheduled_at);
	else if (!herd_failover_empty(f))
		note(k, "a %s to %s was asked for", f->leader ? "switchover" : "failover", to);
}

/* --- the document ----------------------------------------------------------------------------- */

static char *summary(const struct look *k, bool eligible)
{
	const char *leader = k->c->leader;

	if (k->holder && k->c->config.standby_cluster)
		return herd_str_printf("%s is the standby leader: it holds the leader key, and the "
				       "cluster follows another one",
				       k->name);
	if (k->holder)
		return herd_str_printf("%s is the leader: it holds the leader key", k->name);
	if (leader)
		return herd_str_printf(
			"%s is not the leader: %s holds the leader key. %s", k->name, leader,
			eligible ? "It could take over now" : "It could not take over now");
	return herd_str_printf("nobody is the leader. %s %s", k->name,
			       eligible ? "may become it" : "may not become it");
}

static void add_lsn(json_t *v, const char *key, uint64_t lsn)
{
	char text[HERD_LSN_TEXT];

	if (lsn)
		json_object_set_new(v, key, json_string(herd_lsn_print(lsn, text)));
}

static json_t *position(const struct look *k)
{
	json_t *v = json_object();
	uint64_t ahead = leader_lsn(k->c), place = place_of(k->m);

	if (k->holder) {
		add_lsn(v, "location", place);
	} else {
		add_lsn(v, "received", k->m->receive_lsn);
		add_lsn(v, "replayed", k->m->replay_lsn);
		if (place)
			json_object_set_new(v, "lag",
					    json_integer((json_int_t)herd_lsn_lag(ahead, place)));
	}
	add_lsn(v, "leader", ahead);
	if (k->m->timeline)
		json_object_set_new(v, "timeline", json_integer(k->m->timeline));
	if (herd_cluster_timeline(k->c))
		json_object_set_new(v, "cluster_timeline",
				    json_integer(herd_cluster_timeline(k->c)));
	return v;
}

static json_t *sync_state(const struct look *k)
{
	static const char *const modes[] = {
		[HERD_SYNC_OFF] = "off", [HERD_SYNC_ON] = "on", [HERD_SYNC_QUORUM] = "quorum"
	};
	const struct herd_sync *s = &k->c->sync;
	json_t *list = json_array();

	for (size_t i = 0; i < s->standby.n; i++)
		json_array_append_new(list, json_string(s->standby.name[i]));
	return json_pack("{s:s,s:s?,s:o,s:i}", "mode", modes[k->c->config.synchronous_mode],
			 "leader", s->leader, "members", list, "quorum", s->quorum);
}

static json_t *agent_state(const struct herd_explain_local *l)
{
	json_t *v = json_pack("{s:s,s:s,s:s?,s:b,s:f,s:s,s:b,s:f}", "rule", l->rule ? l->rule : "",
			      "why", l->why ? l->why : "", "warning", l->warning, "leads", l->leads,
			      "lease_seconds", (double)l->lease_ms / 1000, "guard",
			      l->guard ? l->guard : "off", "store_reachable", l->dcs_ok,
			      "store_seconds", (double)l->dcs_age_ms / 1000);

	if (l->task) {
		json_object_set_new(v, "task", json_string(l->task));
		json_object_set_new(v, "task_seconds", json_real((double)l->task_ms / 1000));
	}
	if (l->waiting)
		json_object_set_new(v, "waiting", json_string(l->waiting));
	return v;
}

static void describe(struct look *k, json_t *doc)
{
	const char *guard = json_string_value(json_object_get(k->m->pgherd, "guard"));

	json_object_set_new(doc, "role", json_string(herd_role_text(k->m->role)));
	json_object_set_new(doc, "state",
			    json_string(k->m->replication_state && !k->holder
						? k->m->replication_state
					: k->m->state_text ? k->m->state_text
							   : "unknown"));
	json_object_set_new(doc, "position", position(k));
	json_object_set_new(doc, "tags",
			    k->m->tags.raw ? json_incref(k->m->tags.raw) : json_object());
	if (guard)
		json_object_set_new(doc, "guard", json_string(guard));
}

json_t *herd_explain(const struct herd_cluster *c, const char *name,
		     const struct herd_explain_local *local)
{
	struct look k = { .c = c,
			  .m = herd_cluster_member(c, name),
			  .l = local,
			  .name = name,
			  .holder = herd_str_eq(c->leader, name),
			  .reasons = json_array(),
			  .notes = json_array() };
	json_t *doc = json_pack("{s:s,s:s?,s:b}", "member", name, "leader", c->leader, "is_leader",
				k.holder);

	if (k.m)
		describe(&k, doc);
	if (k.holder) {
		look_at_leader(&k);
	} else {
		look_at_all(&k);
		if (k.m && json_array_size(k.reasons) == 0)
			look_at_others(&k);
	}
	look_at_requests(&k);
	bool eligible = !k.holder && json_array_size(k.reasons) == 0;
	char *text = summary(&k, eligible);

	json_object_set_new(doc, "eligible", json_boolean(eligible));
	json_object_set_new(doc, "summary", json_string(text ? text : ""));
	json_object_set_new(doc, "reasons", k.reasons);
	json_object_set_new(doc, "notes", k.notes);
	json_object_set_new(doc, "sync", sync_state(&k));
	if (local)
		json_object_set_new(doc, "agent", agent_state(local));
	free(text);
	return doc;
}

/* --- as lines --------------------------------------------------------------------------------- */

static void position_text(struct herd_buf *b, const json_t *p)
{
	const char *received = herd_json_str(p, "received", NULL);
	const char *replayed = herd_json_str(p, "replayed", NULL);
	const char *location = herd_json_str(p, "location", NULL);
	char *lag = size_text((uint64_t)herd_json_i64(p, "lag", 0));

	if (location)
		herd_buf_printf(b, "  WAL: at %s", location);
	else if (received || replayed)
		herd_buf_printf(b, "  WAL: received %s, replayed %s, %s behind the leader",
				received ? received : "unknown", replayed ? replayed : "unknown",
				lag ? lag : "");
	else
		herd_buf_addstr(b, "  WAL: unknown");
	if (json_object_get(p, "timeline"))
		herd_buf_printf(b, "; timeline %" PRId64, herd_json_i64(p, "timeline", 0));
	herd_buf_addc(b, '\n');
	free(lag);
}

static void agent_text(struct herd_buf *b, const json_t *doc)
{
	const json_t *a = json_object_get(doc, "agent");
	const char *why = herd_json_str(a, "why", ""), *task = herd_json_str(a, "task", NULL);
	const char *guard = herd_json_str(a, "guard", herd_json_str(doc, "guard", NULL));
	const char *waiting = herd_json_str(a, "waiting", NULL);
	double lease = json_number_value(json_object_get(a, "lease_seconds"));

	if (*why)
		herd_buf_printf(b, "  its agent: %s  [%s]\n", why, herd_json_str(a, "rule", ""));
	if (herd_json_str(a, "warning", NULL))
		herd_buf_printf(b, "  its agent warns: %s\n", herd_json_str(a, "warning", ""));
	if (task)
		herd_buf_printf(b, "  under way: %s, for %.0f s\n", task,
				json_number_value(json_object_get(a, "task_seconds")));
	if (waiting)
		herd_buf_printf(b, "  waits for: %s\n", waiting);
	if (a && !herd_json_bool(a, "store_reachable", true))
		herd_buf_printf(b, "  the store was last read %.0f s ago\n",
				json_number_value(json_object_get(a, "store_seconds")));
	if (lease > 0 && herd_json_bool(a, "leads", false))
		herd_buf_printf(b, "  lease: good for %.1f s more\n", lease);
	if (guard)
		herd_buf_printf(b, "  guard: %s%s\n", guard,
				strcmp(guard, "paused") == 0 ? " (off in maintenance mode)" : "");
}

char *herd_explain_text(const json_t *doc)
{
	struct herd_buf b = { 0 };
	json_t *v;
	size_t i;

	herd_buf_printf(&b, "%s%s\n", herd_json_str(doc, "summary", ""),
			json_array_size(json_object_get(doc, "reasons")) ? ":" : ".");
	json_array_foreach(json_object_get(doc, "reasons"), i, v)
	{
		herd_buf_printf(&b, "  - %s.\n    %s\n", herd_json_str(v, "text", ""),
				herd_json_str(v, "remedy", ""));
	}
	json_array_foreach(json_object_get(doc, "notes"), i, v)
	{
		herd_buf_printf(&b, "  %s\n", json_string_value(v));
	}
	if (json_object_get(doc, "position"))
		position_text(&b, json_object_get(doc, "position"));
	agent_text(&b, doc);
	return herd_buf_steal(&b);
}
