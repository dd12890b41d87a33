/*
 * plan/security.h - policies, security barriers and check options, before a statement is planned.
 */
#pragma once
#include "postgres.h"

#include "nodes/parsenodes.h"

#include "attach/attach.h"

/*
 * Changes the statement, and the queries in it, so that it says itself what PostgreSQL keeps beside
 * it: conditions of a security barrier view on the target of a write become part of WHERE, the
 * check option of a view part of the first column of RETURNING, or its only one, which is junk
 * then. Policies are checked by the shards.
 */
extern void herd_prepare_security(Query *query);

/* True if RETURNING has columns for the user, not only checks. */
extern bool herd_returns_rows(const Query *query);

/* The statement triggers that the write fires; NULL: none. */
extern HerdFire *herd_fire_of(const Query *query);

/* The same for the writes in its WITH: true if there is one with such triggers. */
extern bool herd_ctes_fire(const Query *query);
