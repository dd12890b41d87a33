/*
 * attach/localkey.h - foreign keys of tables that are not in the metadata.
 *
 * Such a table is on the coordinator only, and rows that it gets are checked by PostgreSQL's own
 * triggers, whose query on a table of the metadata is planned like any other. What happens to rows
 * of a reference table it sees in the copy that the coordinator has, which every statement changes,
 * wherever it was typed: that copy has triggers with transition tables, which do what the foreign
 * key says. A distributed table has no rows there: create_distributed_table says so in a NOTICE.
 */
#pragma once
#include "postgres.h"

#include "nodes/pg_list.h"

/* Foreign keys (Oid of pg_constraint) of tables outside of the metadata that refer to the table. */
extern List *herd_local_keys(Oid target);

/*
 * Commands (char *) for the copy of a reference table on this node so that it has the triggers if
 * it needs them; NIL on other nodes than the coordinator, and for other tables.
 */
extern List *herd_local_key_shape(Oid relid, uint64 shardid);

/* After a command of a user: gives them to reference tables that new foreign keys refer to. */
extern void herd_local_key_after_command(void);

extern void herd_local_key_init(void);
