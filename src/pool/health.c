#include "pool/health.h"

enum { FIRST_MS = 1000, LONGEST_MS = 60000 };

int64_t herd_health_pause_ms(int fails)
{
	int64_t ms = FIRST_MS;

	for (int i = 1; i < fails && ms < LONGEST_MS; i++)
		ms *= 2;
	return ms < LONGEST_MS ? ms : LONGEST_MS;
}

bool herd_health_failed(struct herd_health *h, int64_t now_ms)
{
	/* Several connections that fail together are one failure. */
	if (herd_health_out(h, now_ms))
		return false;
	h->fails++;
	h->until_ms = now_ms + herd_health_pause_ms(h->fails);
	return true;
}

bool herd_health_worked(struct herd_health *h)
{
	bool was = h->fails > 0;

	h->fails = 0;
	h->until_ms = 0;
	return was;
}
