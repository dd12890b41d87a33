#include "proxy/told.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "http/client.h"
#include "loop/loop.h"
#include "model/member.h"
#include "model/time.h"
#include "pool/witness.h"
#include "proxy/config.h"

enum { TIMEOUT_MS = 2000, MIN_SPACING_MS = 100, FRESH_MS = 5000, MAX_ANSWER = 4 << 20 };

struct herd_told_seed {
	int group;
	char *url; /* of /cluster */
	struct herd_told *rest;
	struct herd_http_call *call;
};

static void free_member(struct herd_told_member *m)
{
	char *const texts[] = { m->name,  m->host,      m->api_url, m->role,
				m->state, m->system_id, m->zone };

	if (m->call)
		herd_http_cancel(m->call);
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		free(texts[i]);
	free(m);
}

void herd_told_free(struct herd_told *r)
{
	if (!r)
		return;
	for (size_t i = 0; i < r->n; i++)
		free_member(r->member[i]);
	for (size_t i = 0; i < r->nseeds; i++) {
		if (r->seeds[i].call)
			herd_http_cancel(r->seeds[i].call);
		free(r->seeds[i].url);
	}
	herd_http_client_free(r->http);
	herd_timer_free(r->timer);
	free(r->member);
	free(r->seeds);
	free(r->scope);
	free(r);
}

/* "host:port", "https://host:port", with "group@" before it. */
static int add_seed(struct herd_told *r, char *word, struct herd_err *err)
{
	char *at = strchr(word, '@');
	int64_t group = -1;

	if (at)
		*at = '\0';
	if (at && (herd_str_to_i64(word, &group) < 0 || group < 0 || group > INT32_MAX))
		/* not what stands there: it may be a password */
		return herd_err_set(
			err, -EINVAL,
			"setting \"rest\" takes host:port or group@host:port, group being "
			"a number (members tell who leads without a user and password)");
	const char *where = at ? at + 1 : word;
	bool scheme = strstr(where, "://") != NULL;

	if (!strchr(scheme ? strstr(where, "://") + 3 : where, ':'))
		return herd_err_set(err, -EINVAL,
				    "invalid address \"%s\" in setting \"rest\": needs host:port",
				    where);
	struct herd_told_seed *s = realloc(r->seeds, (r->nseeds + 1) * sizeof(*s));

	if (!s)
		return herd_err_set(err, -ENOMEM, "out of memory");
	r->seeds = s;
	s[r->nseeds] =
		(struct herd_told_seed){ .group = (int)group,
					 .url = herd_str_printf("%s%s/cluster",
								scheme ? "" : "http://", where) };
	return s[r->nseeds++].url ? 0 : herd_err_set(err, -ENOMEM, "out of memory");
}

static int add_seeds(struct herd_told *r, const char *list, struct herd_err *err)
{
	char *copy = strdup(list), *save = NULL;
	int rc = copy ? 0 : herd_err_set(err, -ENOMEM, "out of memory");

	for (char *w = rc == 0 ? strtok_r(copy, ", ", &save) : NULL; rc == 0 && w;
	     w = strtok_r(NULL, ", ", &save))
		rc = add_seed(r, w, err);
	free(copy);
	for (size_t i = 0; i < r->nseeds; i++)
		r->seeds[i].rest = r;
	return rc;
}

static void on_timer(void *arg);

static const char *given(const char *text)
{
	return *text ? text : NULL;
}

int herd_told_new(struct herd_loop *loop, struct herd_log *log, const struct herd_settings *set,
		  const char *scope, void (*news)(void *arg), void *arg, struct herd_told **ret,
		  struct herd_err *err)
{
	struct herd_http_tls tls = { .cacert = given(set->rest_ca_file),
				     .cert = given(set->rest_cert_file),
				     .key = given(set->rest_key_file),
				     .insecure = set->rest_insecure };
	struct herd_told *r = calloc(1, sizeof(*r));

	if (!r)
		return herd_err_set(err, -ENOMEM, "out of memory");
	r->log = log;
	r->news = news;
	r->arg = arg;
	r->scope = strdup(scope);
	r->http = herd_http_client_new(loop, &tls);
	r->timer = herd_timer_new(loop, on_timer, r);
	int rc = r->scope && r->http && r->timer ? add_seeds(r, set->rest, err)
						 : herd_err_set(err, -ENOMEM, "out of memory");

	if (rc < 0) {
		herd_told_free(r);
		return rc;
	}
	*ret = r;
	return 0;
}

static struct herd_told_member *find(const struct herd_told *r, int group, const char *name)
{
	for (size_t i = 0; i < r->n; i++) {
		if (r->member[i]->group == group && strcmp(r->member[i]->name, name) == 0)
			return r->member[i];
	}
	return NULL;
}

const struct herd_told_member *herd_told_find(const struct herd_told *r, int group,
					      const char *name)
{
	return find(r, group, name);
}

bool herd_told_fresh(const struct herd_told *r, const struct herd_told_member *m)
{
	int64_t limit = FRESH_MS > 3 * r->pace_ms ? FRESH_MS : 3 * r->pace_ms;

	return m && m->answered_ms > 0 && herd_now_ms() - m->answered_ms < limit;
}

static struct herd_told_member *know(struct herd_told *r, int group, const char *name,
				     const char *host, int port, const char *api_url)
{
	struct herd_told_member *m = find(r, group, name), **grown;

	if (!m) {
		grown = realloc(r->member, (r->n + 1) * sizeof(struct herd_told_member *));
		m = calloc(1, sizeof(*m));
		if (grown)
			r->member = grown;
		if (!grown || !m) {
			free(m);
			return NULL;
		}
		m->rest = r;
		m->group = group;
		m->name = strdup(name);
		if (!m->name) {
			free(m);
			return NULL;
		}
		r->member[r->n++] = m;
	}
	m->seen = true;
	m->port = port;
	return herd_str_set(&m->host, host) && (!api_url || herd_str_set(&m->api_url, api_url))
		       ? m
		       : NULL;
}

bool herd_told_know(struct herd_told *r, int group, const char *name, const char *host, int port,
		    const char *api_url)
{
	struct herd_told_member *m = know(r, group, name, host, port, api_url);

	if (m)
		m->found = false;
	return m != NULL;
}

void herd_told_sweep(struct herd_told *r)
{
	size_t keep = 0;

	for (size_t i = 0; i < r->n; i++) {
		struct herd_told_member *m = r->member[i];

		if (!m->seen && !m->found) {
			free_member(m);
			continue;
		}
		m->seen = false;
		r->member[keep++] = m;
	}
	r->n = keep;
}

int herd_told_read(struct herd_told_member *m, const char *scope, const char *text, size_t len)
{
	json_t *v = herd_json_parse(text, len, NULL);
	const json_t *about = json_object_get(v, "patroni"), *xlog = json_object_get(v, "xlog");
	const json_t *tags = json_object_get(v, "tags");

	if (!json_is_object(v) || strcmp(herd_json_str(about, "scope", scope), scope) != 0 ||
	    strcmp(herd_json_str(about, "name", m->name), m->name) != 0) {
		json_decref(v);
		return -EINVAL;
	}
	const char *role = herd_json_str(v, "role", NULL), *state = herd_json_str(v, "state", NULL);
	const char *when = herd_json_str(xlog, "replayed_timestamp", NULL);

	herd_str_set(&m->role, role);
	herd_str_set(&m->state, state);
	herd_str_set(&m->system_id, herd_json_str(v, "database_system_identifier", NULL));
	herd_str_set(&m->zone, herd_json_str(tags, "zone", NULL));
	m->noloadbalance = herd_json_bool(tags, "noloadbalance", false);
	m->running = state && herd_member_state_parse(state) == HERD_STATE_RUNNING;
	m->primary = m->running && role && herd_role_parse(role) == HERD_ROLE_PRIMARY;
	m->timeline = herd_json_i64(v, "timeline", 0);
	m->lsn = (uint64_t)herd_json_i64(xlog, "location",
					 herd_json_i64(xlog, "replayed_location", 0));
	m->replayed_ms = 0;
	if (when && herd_time_parse(when, &m->replayed_ms, NULL) < 0)
		m->replayed_ms = 0;
	json_decref(v);
	return 0;
}

static void on_member(void *arg, const struct herd_http_response *resp)
{
	struct herd_told_member *m = arg;

	m->call = NULL;
	/* The status is the answer to another question: a standby says 503 to GET /patroni. */
	if (resp->status == 0 || herd_told_read(m, m->rest->scope, resp->body, resp->len) < 0)
		return;
	m->answered_ms = herd_now_ms();
	m->rest->news(m->rest->arg);
}

static struct herd_http_call *get(struct herd_told *r, const char *url,
				  void (*done)(void *arg, const struct herd_http_response *resp),
				  void *arg)
{
	struct herd_http_request q = { .method = "GET",
				       .url = url,
				       .timeout_ms = TIMEOUT_MS,
				       .max_body = MAX_ANSWER,
				       .on_done = done,
				       .arg = arg };

	return herd_http_send(r->http, &q);
}

static void ask_member(struct herd_told *r, struct herd_told_member *m)
{
	if (!m->call && m->api_url)
		m->call = get(r, m->api_url, on_member, m);
}

/* Of GET /cluster: who is there, and where. */
static void on_cluster(void *arg, const struct herd_http_response *resp)
{
	struct herd_told_seed *s = arg;
	struct herd_told *r = s->rest;
	json_t *v = resp->status == 200 ? herd_json_parse(resp->body, resp->len, NULL) : NULL;
	const json_t *members = json_object_get(v, "members"), *one;
	size_t i;

	s->call = NULL;
	if (strcmp(herd_json_str(v, "scope", r->scope), r->scope) != 0)
		members = NULL;
	json_array_foreach(members, i, one)
	{
		const char *name = herd_json_str(one, "name", NULL);
		const char *host = herd_json_str(one, "host", NULL);
		int64_t port = herd_json_i64(one, "port", 5432);
		const char *url = herd_json_str(one, "api_url", NULL);

		if (!name || !host || !url || port < 1 || port > 65535)
			continue;
		struct herd_told_member *m = know(r, s->group, name, host, (int)port, url);

		if (!m)
			continue;
		m->found = true;
		if (m->answered_ms == 0)
			ask_member(r, m);
	}
	json_decref(v);
}

static void ask_all(struct herd_told *r)
{
	r->asked_ms = herd_now_ms();
	for (size_t i = 0; i < r->nseeds; i++) {
		if (!r->seeds[i].call)
			r->seeds[i].call = get(r, r->seeds[i].url, on_cluster, &r->seeds[i]);
	}
	for (size_t i = 0; i < r->n; i++)
		ask_member(r, r->member[i]);
}

static void on_timer(void *arg)
{
	struct herd_told *r = arg;

	ask_all(r);
	/* Also when nobody answered: silence gets old, and that is news. */
	r->news(r->arg);
	if (r->pace_ms > 0)
		herd_timer_set(r->timer, r->pace_ms);
}

void herd_told_pace(struct herd_told *r, int64_t ms)
{
	if (r->pace_ms == ms)
		return;
	r->pace_ms = ms;
	if (ms == 0)
		herd_timer_cancel(r->timer);
	else
		herd_timer_set(r->timer, 0);
}

void herd_told_ask(struct herd_told *r)
{
	int64_t since = herd_now_ms() - r->asked_ms;

	herd_timer_set(r->timer, since < MIN_SPACING_MS ? MIN_SPACING_MS - since : 0);
}

/* Lags by what the members said; the leader's end counts only when it is as new. */
void herd_told_overlay(const struct herd_told *r, struct herd_topo_group *g)
{
	const struct herd_told_member *leader = g->leader ? find(r, g->group, g->leader) : NULL;
	uint64_t end = herd_told_fresh(r, leader) ? leader->lsn : 0;

	for (size_t i = 0; i < g->n; i++) {
		struct herd_topo_member *t = &g->members[i];
		const struct herd_told_member *m = find(r, g->group, t->name);

		if (!herd_told_fresh(r, m) || m->primary || m->lsn == 0)
			continue;
		if (end > 0)
			t->lag = m->lsn < end ? (int64_t)(end - m->lsn) : 0;
		if (end > 0 && m->lsn >= end)
			t->lag_ms = 0;
		else if (m->replayed_ms > 0)
			t->lag_ms = herd_wall_ms() > m->replayed_ms
					    ? herd_wall_ms() - m->replayed_ms
					    : 0;
		t->lsn = (int64_t)m->lsn;
	}
}

static void take_answers(const struct herd_told *r, struct herd_topo_group *g)
{
	for (size_t i = 0; i < g->n; i++) {
		struct herd_topo_member *t = &g->members[i];
		const struct herd_told_member *m = find(r, g->group, t->name);

		if (!herd_told_fresh(r, m))
			continue;
		t->running = m->running;
		t->noloadbalance = m->noloadbalance;
		t->standby = !m->primary;
		if (m->timeline > 0)
			t->timeline = m->timeline;
		herd_str_set(&t->role, m->role);
		herd_str_set(&t->state, m->state);
		herd_str_set(&t->zone, m->zone);
		if (!g->system_id && m->system_id)
			g->system_id = herd_str_dup(m->system_id);
	}
}

void herd_told_judge(const struct herd_told *r, struct herd_topo_group *g, bool by_store)
{
	struct herd_witness *w = calloc(g->n ? g->n : 1, sizeof(*w));
	struct herd_witness_obs o = { .leader = g->leader, .store = by_store };
	const char *why = "out of memory";

	take_answers(r, g);
	for (size_t i = 0; w && i < g->n; i++) {
		const struct herd_told_member *m = find(r, g->group, g->members[i].name);

		w[i] = (struct herd_witness){ .name = g->members[i].name,
					      .fresh = herd_told_fresh(r, m),
					      .answered = m && m->answered_ms > 0,
					      .primary = m && m->primary,
					      .timeline = m ? m->timeline : 0 };
		if (g->members[i].timeline > o.timeline && !(w[i].fresh && w[i].primary))
			o.timeline = g->members[i].timeline;
	}
	int leader = w ? herd_witness_decide(w, g->n, &o, &why) : -1;

	g->by_rest = true;
	if (leader >= 0) {
		herd_str_set(&g->leader, g->members[leader].name);
	} else {
		herd_str_set(&g->leader, NULL);
		herd_str_set(&g->no_leader, why);
	}
	free(w);
}

bool herd_told_add(const struct herd_told *r, struct herd_topo *t)
{
	for (size_t i = 0; i < r->n; i++) {
		const struct herd_told_member *m = r->member[i];
		struct herd_topo_group *g = NULL;

		for (size_t k = 0; k < t->n; k++) {
			if (t->groups[k].group == m->group &&
			    strcmp(t->groups[k].scope, r->scope) == 0)
				g = &t->groups[k];
		}
		if (!g)
			g = herd_topo_add_group(t, r->scope, m->group);
		struct herd_topo_member *tm =
			g ? herd_topo_add_member(g, m->name, m->host, m->port) : NULL;

		if (!tm)
			return false;
		tm->api_url = herd_str_dup(m->api_url);
	}
	for (size_t k = 0; k < t->n; k++) {
		if (strcmp(t->groups[k].scope, r->scope) != 0)
			continue;
		herd_told_judge(r, &t->groups[k], false);
		herd_told_overlay(r, &t->groups[k]);
	}
	return true;
}
