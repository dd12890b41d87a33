#include "conn/secondary.h"

#include "conn/options.h"
#include "guc.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "compat.h"

typedef struct Avoided {
	int32 nodeid;
	TimestampTz until;
} Avoided;

enum { MAX_AVOIDED = 16 };

static Avoided avoided[MAX_AVOIDED];
static int navoided;

static LocalTransactionId wrote_in = InvalidLocalTransactionId;
static bool wrote;

void herd_secondary_avoid(int32 nodeid, int ms)
{
	TimestampTz now = GetCurrentTimestamp();
	int slot = 0;

	for (int i = 0; i < navoided; i++) {
		if (avoided[i].nodeid == nodeid) {
			slot = i;
			break;
		}
		if (avoided[i].until < avoided[slot].until)
			slot = i;
	}
	if (navoided < MAX_AVOIDED && (navoided == 0 || avoided[slot].nodeid != nodeid))
		slot = navoided++;
	avoided[slot] = (Avoided){ nodeid, TimestampTzPlusMilliseconds(now, ms) };
}

static bool is_avoided(int32 nodeid)
{
	for (int i = 0; i < navoided; i++) {
		if (avoided[i].nodeid == nodeid)
			return avoided[i].until > GetCurrentTimestamp();
	}
	return false;
}

int herd_assign_place(int n, int32 what)
{
	static uint8 turns[64];

	switch (herd_assignment_policy) {
	case HERD_ASSIGN_ROUND_ROBIN:
		return turns[(uint32)what % lengthof(turns)]++ % n;
	case HERD_ASSIGN_FIRST_REPLICA:
		return 0;
	default:
		return MyProcPid % n;
	}
}

const HerdNode *herd_secondary_of(int32 groupid, bool any)
{
	List *good = NIL, *bad = NIL;
	const HerdNode *found;
	ListCell *lc;

	foreach (lc, herd_nodes()) {
		HerdNode *node = lfirst(lc);

		if (node->groupid != groupid || node->primary || !node->active ||
		    strcmp(node->cluster, herd_cluster_name) != 0)
			continue;
		if (is_avoided(node->nodeid))
			bad = lappend(bad, node);
		else
			good = lappend(good, node);
	}
	if (good == NIL && any)
		good = bad;
	if (good == NIL)
		return NULL;
	found = list_nth(good, herd_assign_place(list_length(good), groupid));
	list_free(good);
	return found;
}

void herd_session_writes(void)
{
	wrote_in = herd_lxid();
	wrote = true;
}

bool herd_session_writes_now(void)
{
	return wrote && wrote_in == herd_lxid();
}

bool herd_session_wrote(void)
{
	bool was = wrote;

	wrote = false;
	return was;
}
