#include "agent/health.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "model/value.h"

static const char *param(const struct herd_health_param *p, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(p[i].name, name) == 0)
			return p[i].value;
	return NULL;
}

static uint64_t behind(uint64_t ahead, uint64_t lsn)
{
	return ahead > lsn ? ahead - lsn : 0;
}

/* "1MB", "1048576". What is no size is as if it were not there, as in Patroni. */
static bool lag_limit(const char *text, int64_t *ret)
{
	json_t *v = text ? json_string(text) : NULL;
	int rc = v ? herd_value_i64(v, HERD_UNIT_BYTE, ret) : -EINVAL;

	json_decref(v);
	return rc == 0;
}

static bool lag_ok(const struct herd_health *h, const char *text)
{
	int64_t limit;

	if (!lag_limit(text, &limit))
		return true;
	return limit >= 0 && behind(h->leader_lsn, h->replayed_lsn) <= (uint64_t)limit;
}

static bool tags_ok(const struct herd_health *h, const struct herd_health_param *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (!herd_str_starts(p[i].name, "tag_"))
			continue;
		const json_t *tag = json_object_get(h->tags, p[i].name + 4);
		char *text = tag ? herd_value_text(tag) : NULL;
		bool same = text && strcmp(text, p[i].value) == 0;

		free(text);
		if (!same)
			return false;
	}
	return true;
}

static bool replica_ok(const struct herd_health *h, const struct herd_health_param *p, size_t n)
{
	const char *state = param(p, n, "replication_state");

	return h->running && !h->primary && !(h->leader && h->standby_cluster) &&
	       !herd_json_bool(h->tags, "noloadbalance", false) && lag_ok(h, param(p, n, "lag")) &&
	       (!state || herd_str_eq(state, h->replication_state)) && tags_ok(h, p, n);
}

static bool ready(const struct herd_health *h, const struct herd_health_param *p, size_t n)
{
	const char *mode = param(p, n, "mode");
	const char *text = param(p, n, "lag");
	bool write = mode && strcmp(mode, "write") == 0;
	int64_t limit = h->maximum_lag;

	if (h->leader)
		return true;
	lag_limit(text, &limit);
	return limit >= 0 && h->running && (h->dcs_known || h->stream_known || h->failsafe) &&
	       herd_str_eq(h->replication_state, "streaming") &&
	       behind(h->leader_lsn, write ? h->received_lsn : h->replayed_lsn) <= (uint64_t)limit;
}

static bool has(const char *path, const char *word)
{
	return strstr(path, word) != NULL;
}

/* First component, which is all that counts. */
static bool is(const char *path, const char *name)
{
	size_t n = strlen(name);

	return strncmp(path, name, n) == 0 && (path[n] == '\0' || path[n] == '/');
}

int herd_health_answer(const struct herd_health *h, const char *path,
		       const struct herd_health_param *p, size_t n)
{
	bool primary = h->leader && !h->standby_cluster;
	bool standby_leader = h->leader && h->standby_cluster && !h->primary;
	bool replica = replica_ok(h, p, n);
	bool sync = h->dcs_known && h->sync_standby && replica;
	bool quorum = h->dcs_known && h->quorum_standby && replica;
	bool ok = false;

	/* Without the store, in pause, the role of the server is all there is to go by. */
	if (h->paused && !h->dcs_known && h->primary)
		primary = !h->standby_cluster;
	if (is(path, "/liveness"))
		ok = h->live;
	else if (is(path, "/readiness"))
		ok = ready(h, p, n);
	else if (has(path, "standby_leader") || has(path, "standby-leader"))
		ok = standby_leader;
	else if (has(path, "leader"))
		ok = primary || standby_leader || h->leader;
	else if (strcmp(path, "/") == 0 || has(path, "master") || has(path, "primary") ||
		 has(path, "read-write"))
		ok = primary;
	else if (has(path, "replica"))
		ok = replica;
	else if (is(path, "/read-only-sync") || is(path, "/read-only-synchronous"))
		ok = primary || standby_leader || sync;
	else if (is(path, "/read-only-quorum"))
		ok = primary || standby_leader || quorum;
	else if (has(path, "read-only"))
		ok = primary || standby_leader || replica;
	else if (has(path, "health"))
		ok = h->running;
	else if (is(path, "/sync") || is(path, "/synchronous"))
		ok = sync;
	else if (is(path, "/quorum"))
		ok = quorum;
	else if (is(path, "/async") || is(path, "/asynchronous"))
		ok = h->dcs_known && !h->sync_standby && !h->quorum_standby && replica;
	return ok ? 200 : 503;
}
