/*
 * sim/runner.h - many seeds, on several processes.
 */
#pragma once
#include "sim/world.h"

struct sim_job {
	struct sim_options opt;
	int64_t first, last; /* seeds */
	int workers;
	bool minimize;
	bool progress; /* on stderr, for people who watch */
};

/* What came of it: the report of all, and how many seeds failed; each of them is told on stdout. */
struct sim_outcome {
	struct sim_report report;
	int64_t n_failed, first_failed;
};

/* 0, or a negative errno when the work could not be done at all. */
int sim_runner_run(const struct sim_job *job, struct sim_outcome *ret);
