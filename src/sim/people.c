/*
 * sim/people.c - clients that write, and operators that ask for things: switchovers, restarts,
 * other settings, pauses, members that come and go.
 */
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "model/time.h"
#include "sim/world.h"

static void on_client(struct sim *w, struct sim_event *e)
{
	int64_t next = w->opt->calm ? sim_rand(w, 5, 20) : sim_rand(w, 20, 150);

	for (int i = 0; i < w->n_nodes; i++)
		if (w->nodes[i].up)
			sim_server_write(w, i);
	sim_at(w, w->now + next, on_client, -1, 0, 0);
}

void sim_switchover(struct sim *w, struct sim_group *g, const char *candidate, bool forced,
		    int64_t at)
{
	struct herd_failover f = { .candidate = (char *)candidate };
	const struct sim_key *leader = sim_get(w, g, "leader");
	char *when = at ? herd_time_print(INT64_C(1700000000000) + at) : NULL;

	if (!leader || sim_get(w, g, "failover") || w->store.down) {
		free(when);
		return;
	}
	f.leader = forced ? NULL : leader->value;
	f.scheduled_at = when;
	char *text = herd_failover_print(&f);

	if (forced)
		g->forced_until = w->now + 60000;
	sim_store_put(w, g, "failover", text);
	free(text);
	free(when);
}

static void reconfigure(struct sim *w, struct sim_group *g, bool pause)
{
	char *text = w->reconfigures ? sim_random_config(w) : strdup(g->config_text);
	json_t *c = json_loads(text, 0, NULL);

	free(text);
	if (pause)
		json_object_set_new(c, "pause", json_true());
	text = json_dumps(c, JSON_COMPACT);
	sim_store_put(w, g, "config", text);
	free(text);
	json_decref(c);
}

static void stop_agent(struct sim *w, struct sim_node *n, bool away)
{
	if (!n->agent_up)
		return;
	sim_trace(w, n->name, "agent is asked to end%s", away ? ", and stays away" : "");
	n->want_exit = true;
	n->stays_away = away;
	n->steady_since = w->now;
	sim_agent_wake(w, n->index, 1);
}

static void retag(struct sim *w, struct sim_node *n, int what)
{
	static const char *const texts[] = { "{\"nofailover\":true}", "{\"nosync\":true}", "{}",
					     "{\"failover_priority\":2}" };
	json_t *tags = json_loads(texts[what], 0, NULL);

	/* The first of a group may always lead. */
	if (n->index > 0 && w->nodes[n->index - 1].group == n->group) {
		n->retagged = true;
		herd_tags_clear(&n->self.tags);
		herd_tags_from_json(tags, &n->self.tags);
		sim_trace(w, n->name, "tags %s", texts[what]);
		sim_agent_wake(w, n->index, 1);
	}
	json_decref(tags);
}

static void make_slot(struct sim *w, int node, bool foreign)
{
	struct herd_action a = { .slot = foreign ? "foreign" : "stray" };

	if (w->nodes[node].pg.n_slots < SIM_SLOTS - 4 &&
	    (!foreign || sim_group_of(w, node)->config.n_ignore > 0))
		sim_slot_create(w, node, &a);
}

static void ask(struct sim *w, int what, int node, int64_t later)
{
	struct sim_node *n = &w->nodes[node];
	struct sim_group *g = sim_group_of(w, node);

	if (what < 25) {
		sim_switchover(w, g, what < 12 ? n->name : NULL, false, 0);
	} else if (what < 32) {
		sim_switchover(w, g, what < 28 ? n->name : NULL, false, w->now + later);
	} else if (what < 37) {
		sim_switchover(w, g, n->name, true, 0);
	} else if (what < 52) {
		n->want_restart = n->agent_up;
		sim_trace(w, n->name, "a restart is asked for");
		sim_agent_wake(w, node, 1);
	} else if (what < 60) {
		n->want_reinit = n->agent_up && sim_leader(w, g) != node;
		sim_trace(w, n->name, "a reinitialize is asked for");
		sim_agent_wake(w, node, 1);
	} else if (what < 72) {
		stop_agent(w, n, what < 64);
		if (what < 64)
			sim_agent_start_later(w, node, later + 5000);
	} else if (what < 76) {
		retag(w, n, what - 72);
	} else if (what < 80) {
		make_slot(w, node, what < 78);
	} else if (what < 82) {
		if (sim_get(w, g, "failover") && !w->store.down)
			sim_store_put(w, g, "failover", NULL);
	} else if (what < 85 && n->absent) {
		n->absent = false;
		sim_agent_start(w, node);
	} else if (w->store.down) {
		return;
	} else if (what < 95 && w->reconfigures) {
		reconfigure(w, g, g->config.pause);
	} else if (w->pauses) {
		reconfigure(w, g, !g->config.pause);
	}
}

static void on_operator(struct sim *w, struct sim_event *e)
{
	int what = (int)sim_fate(w, 0, 99), node = (int)sim_fate(w, 0, w->n_nodes - 1);
	int64_t later = sim_fate(w, 500, 8000);

	if (!w->faults)
		return;
	sim_at(w, w->now + sim_fate(w, 2000, 14000), on_operator, -1, 0, 0);
	if (!sim_skipped(w))
		ask(w, what, node, later);
}

void sim_people_start(struct sim *w)
{
	sim_at(w, 1, on_client, -1, 0, 0);
	if (!w->opt->calm)
		sim_at(w, sim_fate(w, 5000, 20000), on_operator, -1, 0, 0);
}

/* Nobody stays away, and nothing stays paused. */
void sim_people_heal(struct sim *w)
{
	for (int i = 0; i < w->n_groups; i++) {
		struct sim_group *g = &w->groups[i];

		if (g->config.pause)
			sim_store_put(w, g, "config", g->config_text);
	}
	for (int i = 0; i < w->n_nodes; i++) {
		w->nodes[i].stays_away = false;
		if (w->nodes[i].retagged)
			retag(w, &w->nodes[i], 2);
	}
}
