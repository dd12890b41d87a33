/*
 * proxy/proof.h - asks the catalog whether what a statement names only reads.
 *
 * The question goes to the primary as an ordinary client of the pool. It is one query whatever the
 * number of names; it looks into views, policies, domains, aggregates and default arguments, and
 * takes any function of a name for the one that is meant.
 */
#pragma once
#include "proxy/client.h"
#include "sql/readonly.h"

/* why: malloc'd, NULL when all names only read; error: the question failed, nothing is known. */
typedef void (*herd_proof_fn)(void *arg, char *why, const char *error);

/* Calls fn once, later or at once, on this worker. r is not needed any more when it returns. */
void herd_proof_start(struct herd_worker *w, struct herd_db *db, const char *user,
		      const struct herd_readonly *r, herd_proof_fn fn, void *arg);
