#include "proxy/times.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/pools.h"

struct herd_times *herd_times_new(int nworkers)
{
	size_t bytes = sizeof(struct herd_times) * (size_t)nworkers;
	struct herd_times *t = aligned_alloc(_Alignof(struct herd_times), bytes);

	if (t)
		memset(t, 0, bytes);
	return t;
}

void herd_times_read(const struct herd_pool *p, struct herd_times_sum *ret)
{
	memset(ret, 0, sizeof(*ret));
	for (int w = 0; w < p->px->nworkers; w++) {
		for (int i = 0; i < HERD_TIME_NR; i++)
			herd_histogram_read(&p->times[w].of[i], &ret->of[i]);
	}
}

void herd_times_period(struct herd_pool *p)
{
	if (!p->times_then)
		p->times_then = calloc(2, sizeof(*p->times_then));
	if (!p->times_then)
		return;
	p->times_then[0] = p->times_then[1];
	herd_times_read(p, &p->times_then[1]);
}

void herd_times_recent(const struct herd_pool *p, struct herd_times_sum *ret)
{
	struct herd_times_sum now;

	herd_times_read(p, &now);
	*ret = now;
	for (int i = 0; p->times_then && i < HERD_TIME_NR; i++)
		herd_histogram_since(&now.of[i], &p->times_then[0].of[i], &ret->of[i]);
}

const char *herd_time_name(enum herd_time t)
{
	static const char *const names[] = { "wait", "query", "transaction" };

	return names[t];
}
