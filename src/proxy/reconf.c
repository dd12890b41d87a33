#include "proxy/reconf.h"

#include "base/str.h"
#include "proxy/pools.h"
#include "proxy/server.h"
#include "proxy/tls.h"

struct change {
	const struct herd_live *old, *now;
	bool tls;
};

static bool same(const struct herd_database *a, const struct herd_database *b)
{
	return herd_str_eq(a->host, b->host) && a->port == b->port &&
	       herd_str_eq(a->dbname, b->dbname) && herd_str_eq(a->user, b->user) &&
	       herd_str_eq(a->password, b->password) &&
	       herd_str_eq(a->connect_query, b->connect_query) &&
	       herd_str_eq(a->client_encoding, b->client_encoding) &&
	       herd_str_eq(a->datestyle, b->datestyle) && herd_str_eq(a->timezone, b->timezone) &&
	       herd_str_eq(a->application_name, b->application_name) &&
	       herd_str_eq(a->cluster, b->cluster) && a->route.group == b->route.group &&
	       a->route.role == b->route.role;
}

static void mark(struct herd_pool *p, void *arg)
{
	const struct change *c = arg;
	const struct herd_database *a = herd_db_conf(c->old, p->db),
				   *b = herd_db_conf(c->now, p->db);

	if (!a || !b || (!c->tls && same(a, b)))
		return;
	pthread_mutex_lock(&p->lock);
	herd_list_for_each(it, &p->all)
	{
		struct herd_server *s = herd_container_of(it, struct herd_server, all_node);

		atomic_store(&s->close_needed, true);
	}
	/* What failed before may work now: nobody waits for server_login_retry. */
	p->last_fail_us = 0;
	p->fails = 0;
	pthread_mutex_unlock(&p->lock);
}

void herd_reconf_servers(struct herd_px *px, const struct herd_live *old,
			 const struct herd_live *now)
{
	struct change c = { .old = old,
			    .now = now,
			    .tls = !herd_tls_same_servers(&old->config->s, &now->config->s) };

	if (c.tls)
		herd_info(px->log, "server TLS settings changed, closing server connections");
	herd_pools_each(px, mark, &c);
}
