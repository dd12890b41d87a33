/*
 * LOCK TABLE: statements of all nodes wait for it, so every node locks its own table.
 */
#include "ddl/utility.h"

#include "access/xlog.h"
#include "ddl/local.h"
#include "ddl/shape.h"
#include "nodes/parsenodes.h"

static const char *mode_name(LOCKMODE mode)
{
	static const char *const names[] = { "",
					     "ACCESS SHARE",
					     "ROW SHARE",
					     "ROW EXCLUSIVE",
					     "SHARE UPDATE EXCLUSIVE",
					     "SHARE",
					     "SHARE ROW EXCLUSIVE",
					     "EXCLUSIVE",
					     "ACCESS EXCLUSIVE" };

	return names[mode];
}

bool herd_utility_lock(HerdUtility *u)
{
	LockStmt *stmt = castNode(LockStmt, u->stmt);
	List *commands = NIL;
	ListCell *lc;

	if (u->applying)
		return false;
	foreach (lc, stmt->relations) {
		const HerdTable *table = herd_utility_table(lfirst(lc), NoLock);

		if (table != NULL)
			commands = lappend(commands, psprintf("LOCK TABLE %s IN %s MODE%s",
							      herd_shape_name(table->relid, 0),
							      mode_name(stmt->mode),
							      stmt->nowait ? " NOWAIT" : ""));
	}
	if (commands == NIL)
		return false;
	/* this node first: two sessions of it do not meet on the others */
	herd_utility_run(u);
	/* on a standby there is nothing that could be locked against */
	if (!RecoveryInProgress())
		herd_ddl_send(NULL, commands);
	return true;
}
