/*
 * sim/report.h - what a run, and many of them, have shown: counts, and how long writes were not
 * possible after each kind of event.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Events that are measured. */
enum sim_kind {
	SIM_KIND_NONE = 0,
	SIM_KIND_SWITCHOVER,
	SIM_KIND_RESTART,
	SIM_KIND_POSTGRES_KILLED,
	SIM_KIND_AGENT_KILLED,
	SIM_KIND_AGENT_FROZEN,
	SIM_KIND_MACHINE_LOST,
	SIM_KIND_MACHINE_FROZEN,
	SIM_KIND_LEADER_CUT,
	SIM_KIND_STORE_DOWN,
	SIM_KIND_STANDBY_LOST,
	SIM_KIND_NR
};

struct sim_outages {
	size_t n, cap;
	int64_t *ms;
};

struct sim_report {
	long n_steps, n_commits, n_promotions, n_handovers, n_lost, n_faults;
	long overlap_ms; /* two servers took writes (only where nothing guards against it) */
	int64_t slowest_heal_ms; /* until a leader took writes after everything was healed */
	struct sim_outages outages[SIM_KIND_NR];
};

/* Adds what from holds. False: out of memory. */
bool sim_report_add(struct sim_report *to, const struct sim_report *from);
bool sim_report_outage(struct sim_report *r, enum sim_kind kind, int64_t ms);
/* The table of outages, as text on stdout. */
void sim_report_print(struct sim_report *r);
void sim_report_clear(struct sim_report *r);
