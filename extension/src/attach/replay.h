/*
 * attach/replay.h - rows that came back from shards meet the triggers that fire on this node.
 *
 * PostgreSQL queues and calls the triggers: it is given the rows as it is given those of a foreign
 * table, which has no versions to look up either. So names order triggers, WHEN, session_
 * replication_role, pg_trigger_depth() and transition tables are its own.
 */
#pragma once
#include "postgres.h"

#include "commands/trigger.h"
#include "nodes/execnodes.h"

#include "attach/capture.h"

typedef struct HerdReplay HerdReplay;

/*
 * After AfterTriggerBeginQuery: for the statement's target, whose ResultRelInfo is info; it is
 * added to what estate has opened. moves: rows may have left their shards.
 */
extern HerdReplay *herd_replay_begin(EState *estate, ResultRelInfo *info, bool moves);
/* Its transition tables, or NULL: it has none. */
extern TransitionCaptureState *herd_replay_tables(HerdReplay *replay);
/* Fills the transition tables, and queues the row triggers, of what came. Frees captured. */
extern void herd_replay_rows(HerdReplay *replay, HerdCaptured *captured);
/* Queues the statement triggers of other tables whose rows came: foreign keys acted on them. */
extern void herd_replay_others(HerdReplay *replay);
/* After AfterTriggerEndQuery. */
extern void herd_replay_end(HerdReplay *replay);
