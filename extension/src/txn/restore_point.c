/*
 * citus_create_restore_point(name): a place in the WAL of every node to which all can be restored
 * together.
 *
 * A commit over several nodes is decided by the row in pg_dist_transaction of the node that
 * decides it, in the transaction that commits there. While that table is locked against new rows
 * on all nodes no commit is decided, and what was is in the WAL of its node. So of a transaction
 * that is restored prepared on one node, the node that decides has the row or will not have it,
 * and recovery (recover.c) ends it as it ends others.
 */
#include "postgres.h"

#include "catalog/metadata.h"
#include "conn/conn.h"
#include "ddl/local.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"

/* Not compatible with itself either: two of these do not wait for each other in a circle. */
#define BLOCK_COMMITS "LOCK TABLE pg_catalog.pg_dist_transaction IN SHARE ROW EXCLUSIVE MODE"

static void block_commits(void)
{
	List *groups = lappend_int(herd_other_groups(), herd_local_group());

	if (list_member_int(groups, HERD_COORDINATOR_GROUP))
		herd_remote_exec_groups(list_make1_int(HERD_COORDINATOR_GROUP), BLOCK_COMMITS);
	groups = list_delete_int(groups, HERD_COORDINATOR_GROUP);
	if (groups != NIL)
		herd_remote_exec_groups(groups, BLOCK_COMMITS);
}

PG_FUNCTION_INFO_V1(herd_create_restore_point);
PGDLLEXPORT Datum herd_create_restore_point(PG_FUNCTION_ARGS)
{
	text *name = PG_GETARG_TEXT_PP(0);
	List *others = herd_other_groups();

	block_commits();
	if (others != NIL)
		herd_remote_exec_groups(others,
					psprintf("SELECT pg_catalog.pg_create_restore_point(%s)",
						 quote_literal_cstr(text_to_cstring(name))));
	return OidFunctionCall1(F_PG_CREATE_RESTORE_POINT, PointerGetDatum(name));
}
