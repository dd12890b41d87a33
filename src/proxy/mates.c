#include "proxy/mates.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "loop/loop.h"
#include "proxy/pools.h"
#include "proxy/server.h"

struct herd_mates {
	pthread_mutex_t lock;
	struct herd_map *map; /* "scope/group/member" -> struct herd_mate */
};

static int64_t now_ms(void)
{
	return herd_clock_us() / 1000;
}

static void free_mate(void *p)
{
	struct herd_mate *m = p;

	pthread_mutex_destroy(&m->lock);
	free(m->scope);
	free(m->member);
	free(m->last_error);
	free(m);
}

struct herd_mates *herd_mates_new(void)
{
	struct herd_mates *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->map = herd_map_new(free_mate);
	if (!m->map) {
		free(m);
		return NULL;
	}
	pthread_mutex_init(&m->lock, NULL);
	return m;
}

void herd_mates_free(struct herd_mates *m)
{
	if (!m)
		return;
	herd_map_free(m->map);
	pthread_mutex_destroy(&m->lock);
	free(m);
}

static struct herd_mate *find_or_make(struct herd_mates *all, const char *scope, int group,
				      const char *member, bool make)
{
	char *key = herd_str_printf("%s/%d/%s", scope, group, member);
	struct herd_mate *m = NULL;

	if (!key)
		return NULL;
	pthread_mutex_lock(&all->lock);
	m = herd_map_get(all->map, key);
	if (!m && make) {
		m = calloc(1, sizeof(*m));
		if (m) {
			pthread_mutex_init(&m->lock, NULL);
			m->scope = strdup(scope);
			m->member = strdup(member);
			m->group = group;
		}
		if (m && (!m->scope || !m->member || herd_map_put(all->map, key, m) < 0)) {
			free_mate(m);
			m = NULL;
		}
	}
	pthread_mutex_unlock(&all->lock);
	free(key);
	return m;
}

struct herd_mate *herd_mates_get(struct herd_mates *m, const char *scope, int group,
				 const char *member)
{
	return find_or_make(m, scope, group, member, true);
}

struct herd_mate *herd_mates_find(struct herd_mates *m, const char *scope, int group,
				  const char *member)
{
	return find_or_make(m, scope, group, member, false);
}

bool herd_mate_failed(struct herd_mate *m, const char *text, bool eject, bool leave)
{
	bool news = false;

	pthread_mutex_lock(&m->lock);
	herd_str_set(&m->last_error, text);
	m->last_error_ms = herd_wall_ms();
	if (eject) {
		news = herd_health_failed(&m->health, now_ms());
		atomic_store(&m->out, true);
		if (leave)
			atomic_store(&m->leave, true);
	}
	pthread_mutex_unlock(&m->lock);
	return news;
}

bool herd_mate_worked(struct herd_mate *m)
{
	bool was = false;

	if (!atomic_load(&m->out))
		return false;
	pthread_mutex_lock(&m->lock);
	was = herd_health_worked(&m->health);
	atomic_store(&m->out, false);
	atomic_store(&m->leave, false);
	pthread_mutex_unlock(&m->lock);
	return was;
}

bool herd_mate_out(struct herd_mate *m)
{
	if (!atomic_load(&m->out))
		return false;
	pthread_mutex_lock(&m->lock);
	bool out = herd_health_out(&m->health, now_ms());

	pthread_mutex_unlock(&m->lock);
	return out;
}

void herd_mate_read(struct herd_mate *m, struct herd_mate_state *ret)
{
	*ret = (struct herd_mate_state){ .conns = atomic_load(&m->conns) };
	pthread_mutex_lock(&m->lock);
	int64_t left = m->health.until_ms - now_ms();

	ret->fails = m->health.fails;
	ret->out_ms = left > 0 ? left : 0;
	ret->last_error = herd_str_dup(m->last_error);
	ret->last_error_ms = m->last_error_ms;
	pthread_mutex_unlock(&m->lock);
}

void herd_mates_look(void *arg, const struct herd_topo_group *g, const struct herd_topo_member *m,
		     struct herd_route_look *ret)
{
	struct herd_mates_view *v = arg;
	struct herd_mate *mate = herd_mates_find(v->mates, g->scope, g->group, m->name);

	if (!mate)
		return;
	ret->out = herd_mate_out(mate);
	ret->all_conns = atomic_load(&mate->conns);
	if (!v->pool)
		return;
	herd_list_for_each(it, &v->pool->all)
	{
		struct herd_server *s = herd_container_of(it, struct herd_server, all_node);

		ret->own_conns += s->mate == mate;
	}
}
