#include "pool/witness.h"

#include "base/str.h"

static int find(const struct herd_witness *w, size_t n, const char *name)
{
	for (size_t i = 0; name && i < n; i++) {
		if (herd_str_eq(w[i].name, name))
			return (int)i;
	}
	return -1;
}

int herd_witness_decide(const struct herd_witness *w, size_t n, const struct herd_witness_obs *o,
			const char **why)
{
	int best = -1, rivals = 0;

	for (size_t i = 0; i < n; i++) {
		if (!w[i].fresh || !w[i].primary || w[i].timeline < o->timeline)
			continue;
		if (best >= 0 && w[i].timeline == w[best].timeline) {
			rivals++;
		} else if (best < 0 || w[i].timeline > w[best].timeline) {
			best = (int)i;
			rivals = 0;
		}
	}
	if (rivals > 0)
		return *why = "two members say that they lead", -1;
	if (best >= 0)
		return *why = "leader, as it says itself", best;
	int known = find(w, n, o->leader);

	if (!o->store || !o->leader)
		return *why = "no member says that it leads", -1;
	if (known >= 0 && w[known].fresh)
		return *why = "the last known leader does not lead any more", -1;
	if (known >= 0 && w[known].answered)
		return *why = "neither the store nor the leader's agent answers", -1;
	return *why = "the last known leader", known;
}
