/*
 * plan/mergewise.h - MERGE row by row from the node that plans.
 *
 * For what neither shards can do nor one MERGE for each of them: rows that move to another shard
 * with triggers, policies or foreign keys; BEFORE row triggers and functions that use rows of other
 * nodes; what the copies of a reference table would each do otherwise. What the actions write is
 * computed for all rows (merge_here.c), the rows of the target are locked, and then each row is
 * written as plan/rowwise.h has it.
 */
#pragma once
#include "postgres.h"

#include "plan/rewrite.h"
#include "plan/rowwise.h"

/* The parts of a MERGE. Raises when it cannot be done so. */
extern void herd_mergewise(const Query *parse, HerdPlanning *planning, HerdRowwise *parts);
