#include "sim/report.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const kinds[SIM_KIND_NR] = {
	[SIM_KIND_SWITCHOVER] = "switchover",
	[SIM_KIND_RESTART] = "restart of the primary",
	[SIM_KIND_POSTGRES_KILLED] = "postgres killed",
	[SIM_KIND_AGENT_KILLED] = "agent killed, back after 2 s",
	[SIM_KIND_AGENT_FROZEN] = "agent frozen for 2 ttl",
	[SIM_KIND_MACHINE_LOST] = "machine lost",
	[SIM_KIND_MACHINE_FROZEN] = "machine frozen for 2 ttl",
	[SIM_KIND_LEADER_CUT] = "leader cut from the store",
	[SIM_KIND_STORE_DOWN] = "store down for 2 ttl",
	[SIM_KIND_STANDBY_LOST] = "a standby's machine lost",
};

bool sim_report_outage(struct sim_report *r, enum sim_kind kind, int64_t ms)
{
	struct sim_outages *o = &r->outages[kind];

	if (o->n == o->cap) {
		size_t cap = o->cap ? o->cap * 2 : 16;
		int64_t *grown = realloc(o->ms, cap * sizeof(*grown));

		if (!grown)
			return false;
		o->ms = grown;
		o->cap = cap;
	}
	o->ms[o->n++] = ms;
	return true;
}

bool sim_report_add(struct sim_report *to, const struct sim_report *from)
{
	bool ok = true;

	to->n_steps += from->n_steps;
	to->n_commits += from->n_commits;
	to->n_promotions += from->n_promotions;
	to->n_handovers += from->n_handovers;
	to->n_lost += from->n_lost;
	to->n_faults += from->n_faults;
	to->overlap_ms += from->overlap_ms;
	if (from->slowest_heal_ms > to->slowest_heal_ms)
		to->slowest_heal_ms = from->slowest_heal_ms;
	for (int k = 0; k < SIM_KIND_NR; k++)
		for (size_t i = 0; i < from->outages[k].n; i++)
			ok &= sim_report_outage(to, (enum sim_kind)k, from->outages[k].ms[i]);
	return ok;
}

static int ascending(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

/* Seconds; what was not over when the run ended is shown as longer than that. */
static void print_ms(int64_t ms)
{
	printf(" %6" PRId64 ".%02d", ms / 1000, (int)(ms % 1000 / 10));
}

void sim_report_print(struct sim_report *r)
{
	printf("\n%-30s %6s %9s %9s %9s\n", "writes not possible, in s", "events", "median", "p99",
	       "longest");
	for (int k = 1; k < SIM_KIND_NR; k++) {
		struct sim_outages *o = &r->outages[k];

		if (o->n == 0)
			continue;
		qsort(o->ms, o->n, sizeof(*o->ms), ascending);
		printf("%-30s %6zu", kinds[k], o->n);
		print_ms(o->ms[o->n / 2]);
		print_ms(o->ms[o->n * 99 / 100]);
		print_ms(o->ms[o->n - 1]);
		putchar('\n');
	}
}

void sim_report_clear(struct sim_report *r)
{
	for (int k = 0; k < SIM_KIND_NR; k++)
		free(r->outages[k].ms);
	*r = (struct sim_report){ 0 };
}
