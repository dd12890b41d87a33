/*
 * attach/farkey_wait.h - waits for rows that are about to refer to those that end.
 */
#pragma once
#include "postgres.h"

#include "catalog/metadata.h"

/*
 * Until all that is prepared now on the nodes with shards of the table, which has the foreign key,
 * has ended. The next statement sees its rows (in READ COMMITTED).
 */
extern void herd_far_key_wait(const HerdTable *table);
