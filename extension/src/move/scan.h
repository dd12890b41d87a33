/*
 * move/scan.h - read_result in FROM, row by row from the files.
 *
 * A function in FROM would put all of its rows into a tuplestore first.
 */
#pragma once
#include "postgres.h"

#include "nodes/parsenodes.h"
#include "nodes/primnodes.h"

/* The call of read_result that the relation is, or NULL. Cheap when it is none. */
extern FuncExpr *herd_read_result_call(const RangeTblEntry *rte);

extern void herd_result_scan_init(void);
