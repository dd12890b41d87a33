/*
 * ingest/where.h - the condition of COPY .. FROM .. WHERE.
 */
#pragma once
#include "postgres.h"

#include "parser/parse_node.h"

/*
 * The raw condition, analysed over the one relation in pstate, as the executor's list of
 * conditions; NULL without one.
 */
extern Node *herd_copy_where(ParseState *pstate, Node *where);
