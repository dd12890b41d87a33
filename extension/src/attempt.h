/*
 * attempt.h - work that may fail without failing the statement.
 */
#pragma once
#include "postgres.h"

/*
 * Runs work(arg) in a subtransaction, in the caller's memory context and resource owner. NULL when
 * it was done; else the error that it raised, after everything it did was rolled back: the caller
 * frees it (FreeErrorData) or raises it (ReThrowError).
 */
extern ErrorData *herd_attempt(void (*work)(void *arg), void *arg);

/*
 * Locks are waited for at most ms, at least 1, until AtEOXact_GUC(true, result): only within an
 * attempt, whose end takes the setting back when that was not reached.
 */
extern int herd_limit_lock_wait(int ms);
