/*
 * plan/plan.h - the planner hook: which of the tiers runs a statement (see ARCHITECTURE.md).
 */
#pragma once

/* Installs planner_hook, CustomScan methods and the EXPLAIN support; once from _PG_init. */
extern void herd_plan_init(void);
