#include "exec/serial.h"

#include "catalog/metadata.h"
#include "guc.h"

#include <unistd.h>

#define MARK " /* serial */"

static int processors_of_host(void)
{
	static int processors;

	if (processors == 0)
		processors = Max((int)sysconf(_SC_NPROCESSORS_ONLN), 1);
	return processors;
}

int herd_node_processors(int32 groupid)
{
	const HerdNode *node = herd_node_primary(groupid);
	int sharing = 0;
	ListCell *lc;

	if (node == NULL)
		return processors_of_host();
	foreach (lc, herd_nodes()) {
		const HerdNode *other = lfirst(lc);

		if (other->primary && other->active && other->shouldhaveshards &&
		    strcmp(other->host, node->host) == 0)
			sharing++;
	}
	return Max(processors_of_host() / Max(sharing, 1), 1);
}

bool herd_task_is_serial(const HerdJob *job, const HerdTask *task)
{
	int enough, n = 0;

	if (job->modifies || job->all_in_txn || job->ntasks < 2 || herd_tasks_per_node == 1)
		return false;
	enough = herd_node_processors(task->groupid);
	for (int i = 0; i < job->ntasks && n < enough; i++)
		if (job->tasks[i].groupid == task->groupid)
			n++;
	return n == enough && herd_max_pool_size >= enough;
}

char *herd_serial_text(const char *sql)
{
	return psprintf("%s" MARK, sql);
}

bool herd_serial_is_wanted(const char *source)
{
	size_t len = source ? strlen(source) : 0, mark = strlen(MARK);

	return len > mark && memcmp(source + len - mark, MARK, mark) == 0;
}
