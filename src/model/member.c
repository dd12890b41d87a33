#include "model/member.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "base/str.h"

static const char *const state_texts[] = {
	[HERD_STATE_INITDB] = "initializing new cluster",
	[HERD_STATE_INITDB_FAILED] = "initdb failed",
	[HERD_STATE_CUSTOM_BOOTSTRAP] = "running custom bootstrap script",
	[HERD_STATE_CUSTOM_BOOTSTRAP_FAILED] = "custom bootstrap failed",
	[HERD_STATE_CREATING_REPLICA] = "creating replica",
	[HERD_STATE_RUNNING] = "running",
	[HERD_STATE_STARTING] = "starting",
	[HERD_STATE_BOOTSTRAP_STARTING] = "starting after custom bootstrap",
	[HERD_STATE_START_FAILED] = "start failed",
	[HERD_STATE_RESTARTING] = "restarting",
	[HERD_STATE_RESTART_FAILED] = "restart failed",
	[HERD_STATE_STOPPING] = "stopping",
	[HERD_STATE_STOPPED] = "stopped",
	[HERD_STATE_STOP_FAILED] = "stop failed",
	[HERD_STATE_CRASHED] = "crashed",
	[HERD_STATE_UNKNOWN] = "unknown",
};

static const char *const role_texts[] = {
	[HERD_ROLE_UNINITIALIZED] = "uninitialized",
	[HERD_ROLE_REPLICA] = "replica",
	[HERD_ROLE_PRIMARY] = "primary",
	[HERD_ROLE_STANDBY_LEADER] = "standby_leader",
	[HERD_ROLE_PROMOTED] = "promoted",
	[HERD_ROLE_DEMOTED] = "demoted",
	[HERD_ROLE_UNKNOWN] = "unknown",
};

const char *herd_member_state_text(enum herd_member_state s)
{
	return state_texts[s];
}

enum herd_member_state herd_member_state_parse(const char *text)
{
	for (int i = 0; text && i < HERD_STATE_UNKNOWN; i++)
		if (strcmp(text, state_texts[i]) == 0)
			return (enum herd_member_state)i;
	return HERD_STATE_UNKNOWN;
}

const char *herd_role_text(enum herd_role r)
{
	return role_texts[r];
}

enum herd_role herd_role_parse(const char *text)
{
	if (herd_str_eq(text, "master"))
		return HERD_ROLE_PRIMARY;
	for (int i = 0; text && i < HERD_ROLE_UNKNOWN; i++)
		if (strcmp(text, role_texts[i]) == 0)
			return (enum herd_role)i;
	return HERD_ROLE_UNKNOWN;
}

/* Patroni's parse_bool: words as well as JSON booleans; anything else is no. */
static bool tag_bool(const json_t *tags, const char *key)
{
	return herd_json_bool(tags, key, false);
}

/* Given, and not true: that beats a number that says the opposite. */
static bool tag_refused(const json_t *tags, const char *key)
{
	const json_t *v = json_object_get(tags, key);

	return v && !json_is_null(v) && !tag_bool(tags, key);
}

static bool tag_int(const json_t *tags, const char *key, int *ret)
{
	int64_t n = herd_json_i64(tags, key, INT64_MIN);

	if (n == INT64_MIN)
		return false;
	*ret = n > 1000000 ? 1000000 : n < -1000000 ? -1000000 : (int)n;
	return true;
}

int herd_tags_from_json(const json_t *obj, struct herd_tags *ret)
{
	struct herd_tags t = { 0 };

	if (json_is_object(obj)) {
		const char *from = herd_json_str(obj, "replicatefrom", NULL);

		t.nofailover = tag_bool(obj, "nofailover");
		t.failover_allowed = tag_refused(obj, "nofailover");
		t.noloadbalance = tag_bool(obj, "noloadbalance");
		t.clonefrom = tag_bool(obj, "clonefrom");
		t.nosync = tag_bool(obj, "nosync");
		t.sync_allowed = tag_refused(obj, "nosync");
		t.nostream = tag_bool(obj, "nostream");
		t.has_failover_priority = tag_int(obj, "failover_priority", &t.failover_priority);
		t.has_sync_priority = tag_int(obj, "sync_priority", &t.sync_priority);
		t.raw = json_deep_copy(obj);
		if (!t.raw || !herd_str_set(&t.replicatefrom, from)) {
			herd_tags_clear(&t);
			return -ENOMEM;
		}
	}
	*ret = t;
	return 0;
}

int herd_tags_copy(const struct herd_tags *from, struct herd_tags *ret)
{
	return herd_tags_from_json(from->raw, ret);
}

void herd_tags_clear(struct herd_tags *t)
{
	free(t->replicatefrom);
	json_decref(t->raw);
	*t = (struct herd_tags){ 0 };
}

int herd_tags_failover_priority(const struct herd_tags *t)
{
	if (t->nofailover)
		return 0;
	if (!t->has_failover_priority || (t->failover_allowed && t->failover_priority <= 0))
		return 1;
	return t->failover_priority;
}

int herd_tags_sync_priority(const struct herd_tags *t)
{
	if (t->nosync)
		return 0;
	if (!t->has_sync_priority || (t->sync_allowed && t->sync_priority <= 0))
		return 1;
	return t->sync_priority;
}

int herd_conn_url_parse(const char *url, char **host, int *port)
{
	int64_t n = 5432;

	if (!url ||
	    (!herd_str_starts(url, "postgres://") && !herd_str_starts(url, "postgresql://")))
		return -EINVAL;
	const char *s = strstr(url, "://") + 3;
	const char *end = s + strcspn(s, "/?");
	const char *at = memchr(s, '@', (size_t)(end - s));

	if (at)
		s = at + 1;
	const char *host_end = end, *port_start = NULL;

	if (*s == '[') {
		host_end = memchr(s, ']', (size_t)(end - s));
		if (!host_end)
			return -EINVAL;
		if (host_end[1] == ':')
			port_start = host_end + 2;
		else if (host_end + 1 != end)
			return -EINVAL;
		s++;
	} else {
		const char *colon = memchr(s, ':', (size_t)(end - s));

		if (colon) {
			host_end = colon;
			port_start = colon + 1;
		}
	}
	if (port_start && port_start != end) {
		char *text = strndup(port_start, (size_t)(end - port_start));

		if (!text)
			return -ENOMEM;
		int r = herd_str_to_i64(text, &n);

		free(text);
		if (r < 0 || n < 1 || n > 65535)
			return -EINVAL;
	}
	if (host_end == s)
		return -EINVAL;
	char *copy = strndup(s, (size_t)(host_end - s));

	if (!copy)
		return -ENOMEM;
	*host = copy;
	*port = (int)n;
	return 0;
}

/* "postgres://host:port/db?application_name=http://...": what Patroni wrote before JSON. */
static int parse_ancient(const char *text, struct herd_member *m)
{
	static const char mark[] = "application_name=";
	size_t len = strcspn(text, "?");
	const char *q = text[len] ? strstr(text + len, mark) : NULL;

	m->conn_url = strndup(text, len);
	if (!m->conn_url)
		return -ENOMEM;
	if (q) {
		q += sizeof(mark) - 1;
		m->api_url = strndup(q, strcspn(q, "&"));
		if (!m->api_url)
			return -ENOMEM;
	}
	m->state = HERD_STATE_UNKNOWN;
	m->role = HERD_ROLE_UNKNOWN;
	return 0;
}

static uint64_t lsn_of(const json_t *obj, const char *key)
{
	int64_t n = herd_json_i64(obj, key, 0);

	return n > 0 ? (uint64_t)n : 0;
}

static json_t *object_copy(const json_t *obj, const char *key)
{
	json_t *v = json_object_get(obj, key);

	return json_is_object(v) ? json_deep_copy(v) : NULL;
}

static int from_json(const json_t *obj, struct herd_member *m)
{
	const char *role = herd_json_str(obj, "role", NULL);
	const json_t *cap = json_object_get(obj, "checkpoint_after_promote");
	int64_t tl = herd_json_i64(obj, "timeline", 0);

	if (!herd_str_set(&m->conn_url, herd_json_str(obj, "conn_url", NULL)) ||
	    !herd_str_set(&m->api_url, herd_json_str(obj, "api_url", NULL)) ||
	    !herd_str_set(&m->proxy_url, herd_json_str(obj, "proxy_url", NULL)) ||
	    !herd_str_set(&m->state_text, herd_json_str(obj, "state", NULL)) ||
	    !herd_str_set(&m->version, herd_json_str(obj, "version", NULL)) ||
	    !herd_str_set(&m->replication_state, herd_json_str(obj, "replication_state", NULL)) ||
	    herd_tags_from_json(json_object_get(obj, "tags"), &m->tags) < 0)
		return -ENOMEM;
	m->state = herd_member_state_parse(m->state_text);
	m->role = herd_role_parse(role);
	m->xlog_location = lsn_of(obj, "xlog_location");
	m->receive_lsn = lsn_of(obj, "receive_lsn");
	m->replay_lsn = lsn_of(obj, "replay_lsn");
	m->timeline = tl > 0 && tl <= UINT32_MAX ? tl : 0;
	m->checkpoint_after_promote = json_is_boolean(cap) ? json_is_true(cap) : -1;
	m->pending_restart = herd_json_bool(obj, "pending_restart", false);
	m->pause = herd_json_bool(obj, "pause", false);
	m->pending_restart_reason = object_copy(obj, "pending_restart_reason");
	m->scheduled_restart = object_copy(obj, "scheduled_restart");
	m->pgherd = object_copy(obj, "pgherd");
	return 0;
}

int herd_member_parse(const char *name, const char *text, size_t len, struct herd_member *ret,
		      struct herd_err *err)
{
	struct herd_member m = { .checkpoint_after_promote = -1 };
	json_t *obj = NULL;
	int r;

	if (herd_str_starts(text, "postgres")) {
		r = parse_ancient(text, &m);
	} else {
		obj = herd_json_parse(text, len, err);
		if (!obj)
			return -EINVAL;
		if (!json_is_object(obj)) {
			json_decref(obj);
			return herd_err_set(err, -EINVAL, "member document is not a JSON object");
		}
		r = from_json(obj, &m);
		json_decref(obj);
	}
	if (r == 0 && !herd_str_set(&m.name, name))
		r = -ENOMEM;
	if (r == 0 && m.conn_url && herd_conn_url_parse(m.conn_url, &m.host, &m.port) == -ENOMEM)
		r = -ENOMEM;
	if (r < 0) {
		herd_member_clear(&m);
		return herd_err_set(err, r, "out of memory");
	}
	*ret = m;
	return 0;
}

static void put_str(json_t *obj, const char *key, const char *value)
{
	if (value)
		json_object_set_new(obj, key, json_string(value));
}

static void put_lsn(json_t *obj, const char *key, uint64_t lsn)
{
	if (lsn > 0)
		json_object_set_new(obj, key, json_integer((json_int_t)lsn));
}

char *herd_member_print(const struct herd_member *m)
{
	json_t *obj = json_object();
	const char *state = m->state == HERD_STATE_UNKNOWN && m->state_text
				    ? m->state_text
				    : herd_member_state_text(m->state);

	put_str(obj, "conn_url", m->conn_url);
	put_str(obj, "api_url", m->api_url);
	put_str(obj, "state", state);
	put_str(obj, "role", herd_role_text(m->role));
	put_str(obj, "version", m->version);
	put_str(obj, "proxy_url", m->proxy_url);
	if (m->checkpoint_after_promote >= 0)
		json_object_set_new(obj, "checkpoint_after_promote",
				    json_boolean(m->checkpoint_after_promote));
	if (json_object_size(m->tags.raw) > 0)
		json_object_set(obj, "tags", m->tags.raw);
	if (m->pending_restart)
		json_object_set_new(obj, "pending_restart", json_true());
	if (m->pending_restart && m->pending_restart_reason)
		json_object_set(obj, "pending_restart_reason", m->pending_restart_reason);
	put_lsn(obj, "xlog_location", m->xlog_location);
	put_lsn(obj, "replay_lsn", m->replay_lsn);
	put_lsn(obj, "receive_lsn", m->receive_lsn);
	put_str(obj, "replication_state", m->replication_state);
	if (m->timeline > 0)
		json_object_set_new(obj, "timeline", json_integer(m->timeline));
	if (m->scheduled_restart)
		json_object_set(obj, "scheduled_restart", m->scheduled_restart);
	if (m->pause)
		json_object_set_new(obj, "pause", json_true());
	if (json_object_size(m->pgherd) > 0)
		json_object_set(obj, "pgherd", m->pgherd);
	char *text = obj ? herd_json_dump(obj) : NULL;

	json_decref(obj);
	return text;
}

int herd_member_copy(const struct herd_member *from, struct herd_member *ret)
{
	struct herd_member m = *from;

	m.name = m.conn_url = m.api_url = m.proxy_url = m.host = m.state_text = m.version = NULL;
	m.replication_state = NULL;
	m.tags = (struct herd_tags){ 0 };
	m.pending_restart_reason = json_deep_copy(from->pending_restart_reason);
	m.scheduled_restart = json_deep_copy(from->scheduled_restart);
	m.pgherd = json_deep_copy(from->pgherd);
	if (!herd_str_set(&m.name, from->name) || !herd_str_set(&m.conn_url, from->conn_url) ||
	    !herd_str_set(&m.api_url, from->api_url) ||
	    !herd_str_set(&m.proxy_url, from->proxy_url) || !herd_str_set(&m.host, from->host) ||
	    !herd_str_set(&m.state_text, from->state_text) ||
	    !herd_str_set(&m.version, from->version) ||
	    !herd_str_set(&m.replication_state, from->replication_state) ||
	    herd_tags_copy(&from->tags, &m.tags) < 0) {
		herd_member_clear(&m);
		return -ENOMEM;
	}
	*ret = m;
	return 0;
}

void herd_member_clear(struct herd_member *m)
{
	free(m->name);
	free(m->conn_url);
	free(m->api_url);
	free(m->proxy_url);
	free(m->host);
	free(m->state_text);
	free(m->version);
	free(m->replication_state);
	herd_tags_clear(&m->tags);
	json_decref(m->pending_restart_reason);
	json_decref(m->scheduled_restart);
	json_decref(m->pgherd);
	*m = (struct herd_member){ 0 };
}
