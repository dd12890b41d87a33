/*
 * exec/serial.h - tasks whose node is busy with the others of the same statement.
 *
 * A node that has as many tasks of a statement as processors needs no parallel query in each of
 * them: its workers would only take turns. Such a task's text ends with a mark, by which the
 * planner of its node knows. The mark is part of the text, so that of a prepared statement and its
 * plans too.
 */
#pragma once
#include "postgres.h"

#include "exec/exec.h"

/*
 * Processors that the group's primary has for itself: those of a host are taken to be as many as
 * this server's, and nodes with shards on the same host (by its name) share them. At least 1.
 */
extern int herd_node_processors(int32 groupid);

/*
 * Is the job's task one of so many of its group? Never that of a statement of one task, of a write,
 * of a job whose tasks go through one connection, or when citus.max_tasks_per_node is 1.
 */
extern bool herd_task_is_serial(const HerdJob *job, const HerdTask *task);

/* The text with the mark; palloc'd. */
extern char *herd_serial_text(const char *sql);

/* On the node: does a statement's text, which may be NULL, end with the mark? */
extern bool herd_serial_is_wanted(const char *source);
