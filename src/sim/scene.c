/*
 * sim/scene.c - the setting of a run: groups, members, clocks, tags, the configuration.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "sim/world.h"

static const char *pick(struct sim *w, const char *const *list, int n)
{
	return list[sim_fate(w, 0, n - 1)];
}

char *sim_random_config(struct sim *w)
{
	static const int ttls[] = { 3, 5, 10, 20 };
	static const char *const modes[] = { "false", "true", "true", "\"quorum\"", "\"quorum\"" };
	static const char *const slots[] = {
		"",
		"",
		",\"slots\":{\"perm\":{\"type\":\"physical\"}}",
		(",\"slots\":{\"perm\":{\"type\":\"physical\"},\"logic\":{\"type\":\"logical\","
		 "\"database\":\"app\",\"plugin\":\"pgoutput\"}}"),
	};
	static const char *const kept[] = { "0", "3", "30min", "30min" };
	static const int starts[] = { 300, 300, 0, 4 };
	int ttl = ttls[sim_fate(w, 0, 3)];

	return herd_str_printf(
		"{\"ttl\":%d,\"loop_wait\":%d,\"retry_timeout\":%d,"
		"\"maximum_lag_on_failover\":%d,\"maximum_lag_on_syncnode\":%d,"
		"\"synchronous_mode\":%s,\"synchronous_mode_strict\":%s,"
		"\"synchronous_node_count\":%d,\"check_timeline\":%s,"
		"\"primary_start_timeout\":%d,\"failsafe_mode\":%s,\"member_slots_ttl\":\"%s\","
		"\"probe\":{\"mode\":\"%s\"},\"ignore_slots\":[{\"name\":\"foreign\"}]%s,"
		"\"postgresql\":{\"use_pg_rewind\":true,\"use_slots\":%s}}",
		ttl, ttl > 5 ? 2 : 1, ttl > 5 ? 3 : 1, (int)sim_fate(w, 0, 20) * SIM_RECORD,
		sim_fate(w, 0, 3) ? -1 : 500, pick(w, modes, 5),
		sim_fate(w, 0, 4) ? "false" : "true", (int)sim_fate(w, 1, 3),
		sim_fate(w, 0, 1) ? "false" : "true", starts[sim_fate(w, 0, 3)],
		sim_fate(w, 0, 9) < 4 ? "true" : "false", pick(w, kept, 4),
		w->seed % 2 ? "report" : "failover", pick(w, slots, 4),
		sim_fate(w, 0, 5) ? "true" : "false");
}

/* Tags as JSON. The first member of a group has none: somebody must be able to lead. */
static char *random_tags(struct sim *w, int upstream)
{
	switch (sim_fate(w, 0, 9)) {
	case 0:
		return strdup("{\"nofailover\":true}");
	case 1:
		return strdup("{\"nosync\":true}");
	case 2:
	case 3:
		return herd_str_printf("{\"failover_priority\":%d}", (int)sim_fate(w, 0, 3));
	case 4:
		return herd_str_printf("{\"sync_priority\":%d}", (int)sim_fate(w, 0, 3));
	case 5:
	case 6:
		return herd_str_printf("{\"replicatefrom\":\"n%d\"}", upstream + 1);
	case 7:
		return strdup("{\"clonefrom\":true}");
	default:
		return strdup("{}");
	}
}

static void build_node(struct sim *w, int i, int group, bool tagged, int first)
{
	/* Both what a bad clock does and what no clock does. */
	int ppm = w->opt->calm || sim_fate(w, 0, 1) ? 500 : 20000;
	struct sim_node *n = &w->nodes[i];

	n->index = i;
	n->group = group;
	snprintf(n->name, sizeof(n->name), "n%d", i + 1);
	n->rate = 1.0 + (double)sim_fate(w, -ppm, ppm) / 1e6;
	n->offset = sim_fate(w, 1000, 1000000);
	n->up = true;
	n->slow = 1;
	n->step_at = INT64_MAX;
	n->pg.following = -1;
	if (!w->opt->calm && sim_fate(w, 0, 3) == 0)
		n->lag = n->usual_lag = (int)sim_fate(w, 20, 1500);
	n->self.name = strdup(n->name);
	n->self.conn_url = herd_str_printf("postgres://10.0.0.%d:5432/postgres", i + 1);
	n->self.api_url = herd_str_printf("http://10.0.0.%d:8008/patroni", i + 1);
	n->self.version = strdup("4.1.0");
	n->self.checkpoint_after_promote = -1;
	n->self.pgherd = json_pack("{s:s}", "guard", "on");
	if (tagged && i > first) {
		char *text = random_tags(w, (int)sim_fate(w, first, i - 1));
		json_t *tags = json_loads(text, 0, NULL);

		herd_tags_from_json(tags, &n->self.tags);
		sim_trace(w, n->name, "tags %s", text);
		json_decref(tags);
		free(text);
	}
}

static void build_group(struct sim *w, int id, int n)
{
	struct sim_group *g = &w->groups[w->n_groups++];
	bool tagged = !w->opt->calm && sim_fate(w, 0, 9) < 4;
	int first = w->n_nodes;

	*g = (struct sim_group){ .id = id, .last_ack_node = -1 };
	g->config_text = w->opt->config ? strdup(w->opt->config) : sim_random_config(w);
	assert(g->config_text);
	int r = herd_config_parse(g->config_text, strlen(g->config_text), w->opt->guard, &g->config,
				  NULL);

	assert(r == 0);
	(void)r;
	sim_trace(w, "scene", "group %d: %d members, %s", id, n, g->config_text);
	if (!w->opt->guard)
		g->exempt_until = INT64_MAX;
	for (int i = 0; i < n; i++, w->n_nodes++)
		build_node(w, w->n_nodes, w->n_groups - 1, tagged, first);
	/* One may join later. */
	if (!w->opt->calm && n > 2 && sim_fate(w, 0, 7) == 0)
		w->nodes[w->n_nodes - 1].absent = true;
	/* The members know the configuration from their files, as with bootstrap.dcs. */
	sim_store_put(w, g, "config", g->config_text);
}

static void on_heal(struct sim *w, struct sim_event *e)
{
	w->faults = false;
	w->store.down = false;
	w->store.slow_until = 0;
	for (int i = 0; i < w->n_nodes; i++) {
		struct sim_node *n = &w->nodes[i];
		n->up = true;
		n->absent = n->cut_store = n->cut_rest = n->pg.full = false;
		n->slow = 1;
		n->lag = 0;
		n->steady_since = w->now;
		memset(n->cut, 0, sizeof(n->cut));
	}
	sim_trace(w, "scene", "everything is healed");
	for (int i = 0; i < w->n_nodes; i++)
		sim_agent_start(w, i);
	sim_people_heal(w);
}

void sim_scene(struct sim *w)
{
	bool groups = !w->opt->calm && !w->opt->members && sim_fate(w, 0, 5) == 0;
	int64_t ttl = 0;

	w->rewind = sim_fate(w, 0, 4) > 0;
	w->with_proxy = sim_fate(w, 0, 1);
	w->can_pass = sim_fate(w, 0, 9) < 8;
	w->tempting = sim_fate(w, 0, 9) < 7;
	w->pauses = sim_fate(w, 0, 9) == 0;
	w->late = sim_fate(w, 0, 3) == 0 ? 100 : 15;
	w->reconfigures = !w->opt->config && sim_fate(w, 0, 2) == 0;
	if (groups) {
		build_group(w, 0, (int)sim_fate(w, 2, 3));
		build_group(w, 1, (int)sim_fate(w, 2, 3));
	} else if (w->opt->members) {
		build_group(w, HERD_NO_GROUP, w->opt->members);
	} else {
		build_group(w, HERD_NO_GROUP, (int)sim_fate(w, 2, 5));
	}
	for (int i = 0; i < w->n_groups; i++)
		if (w->groups[i].config.ttl_ms > ttl)
			ttl = w->groups[i].config.ttl_ms;
	if (w->with_proxy)
		sim_store_put(w, NULL, "proxies/p1", "{\"id\":\"p1\",\"acks\":{}}");
	for (int i = 0; i < w->n_nodes; i++)
		sim_agent_start(w, i);
	if (w->opt->calm) {
		sim_people_start(w);
		sim_calm_start(w);
		return;
	}
	w->heal_at = 15000 + sim_fate(w, 20000, 60000);
	w->end_at = w->heal_at + 25000 + 3 * (ttl < 20000 ? 20000 : ttl);
	sim_people_start(w);
	sim_faults_start(w);
	sim_at(w, w->heal_at, on_heal, -1, 0, 0);
}
