/*
 * dcs/etcd3_members.c - the members that etcd itself knows, as further endpoints: whoever names one
 * server of three goes on when that one is gone.
 */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "dcs/etcd3_internal.h"

enum { ASK_EVERY_MS = 60000, MAX_MORE = 16 };

static bool is_known(const struct etcd3 *e, const char *url, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(e->urls[i], url) == 0)
			return true;
	return false;
}

static bool is_local(const char *url)
{
	return strstr(url, "//localhost") || strstr(url, "//127.") || strstr(url, "//[::1]");
}

/* An address that means "here" to etcd is another place for us, unless etcd is on this machine. */
static bool leads_nowhere(const struct etcd3 *e, const char *url)
{
	return strstr(url, "//0.0.0.0") || strstr(url, "//[::]:") ||
	       (is_local(url) && !is_local(e->urls[0]));
}

/* Puts url at place at. Strings of places that are not in use stay: calls may still name them. */
static bool set_slot(struct etcd3 *e, size_t at, const char *url)
{
	if (at < e->nslots)
		return herd_str_set(&e->urls[at], url);
	char **more = realloc(e->urls, (at + 1) * sizeof(*more));
	char *copy = strdup(url);

	if (more)
		e->urls = more;
	if (!more || !copy) {
		free(copy);
		return false;
	}
	e->urls[at] = copy;
	e->nslots = at + 1;
	return true;
}

static void take(struct etcd3 *e, const json_t *members)
{
	size_t n = e->nconfigured, i, k;
	json_t *member, *url;

	json_array_foreach((json_t *)members, i, member)
	{
		json_array_foreach(json_object_get(member, "clientURLs"), k, url)
		{
			const char *text = json_string_value(url);

			if (!text || n >= e->nconfigured + MAX_MORE || is_known(e, text, n) ||
			    leads_nowhere(e, text))
				continue;
			if (set_slot(e, n, text))
				n++;
		}
	}
	e->nurls = n;
	if (e->cur >= n)
		e->cur = 0;
}

static void on_members(struct etcd3_rpc *r, enum herd_dcs_result result, json_t *reply,
		       const struct herd_err *err)
{
	r->e->asking = false;
	if (result == HERD_DCS_OK && json_array_size(json_object_get(reply, "members")) > 0)
		take(r->e, json_object_get(reply, "members"));
}

void etcd3_discover(struct etcd3 *e)
{
	int64_t now = herd_now_ms();

	if (e->fixed || e->asking || (e->asked_ms && now - e->asked_ms < ASK_EVERY_MS))
		return;
	e->asked_ms = now;
	e->asking = etcd3_rpc_start(e, "/v3/cluster/member/list", json_object(), ETCD3_REPEATABLE,
				    on_members) != NULL;
}
