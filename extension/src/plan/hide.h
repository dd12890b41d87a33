/*
 * plan/hide.h - shards do not show up among the tables that clients list.
 *
 * What a client itself asks of pg_class (psql's \d, pg_dump, the tools that draw trees of tables;
 * also through views like pg_tables) goes without shards and their indexes. Code in functions,
 * sessions between nodes and statements that read distributed tables see all.
 *
 * Settings: citus.override_table_visibility (off: nothing is hidden) and
 * citus.show_shards_for_app_name_prefixes (a list of beginnings of application_name; '*': all).
 */
#pragma once
#include "postgres.h"

#include "nodes/parsenodes.h"

/* query is about to be planned and has no distributed table; source is its text. */
extern void herd_hide_shards(Query *query, const char *source);

/* Defines the settings; once from _PG_init. */
extern void herd_hide_init(void);
