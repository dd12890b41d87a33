/*
 * pool/witness.h - who leads, when only the members themselves can be asked.
 *
 * Pure. The store names one leader; members only tell what each of them is. So the answer is no
 * better than they are: two that both claim to lead on the highest timeline are none.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct herd_witness {
	const char *name;
	bool fresh;    /* its answer is new enough to count */
	bool answered; /* it has answered before, so that its silence says something */
	bool primary;  /* claims to run as primary */
	int64_t timeline;
};

struct herd_witness_obs {
	const char *leader; /* as last known from the store; NULL: nobody */
	int64_t timeline;   /* the highest that was ever told; 0: not known */
	bool store;         /* there is a store that told this */
};

/*
 * Index of the one that leads, or -1. *why gets a static text in both cases. The last known leader
 * stays one while nobody can be asked about it: a firewall before the REST API is no failure.
 */
int herd_witness_decide(const struct herd_witness *w, size_t n, const struct herd_witness_obs *o,
			const char **why);
