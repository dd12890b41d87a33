/*
 * move/load.h - INSERT INTO t SELECT columns FROM read_result(..), as COPY would do it.
 *
 * The statement that other nodes send for rows they have moved here. Rows go into the table many
 * at a time, straight from the files; an INSERT would take them one by one out of a tuplestore.
 */
#pragma once
#include "postgres.h"

#include "nodes/parsenodes.h"
#include "nodes/plannodes.h"

/* The plan of such a statement, or NULL when it is something else. Cheap then. */
extern PlannedStmt *herd_load_plan(Query *query);

extern void herd_load_init(void);
