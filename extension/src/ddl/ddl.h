/*
 * ddl/ddl.h - ProcessUtility hook: DDL, COPY, TRUNCATE on distributed tables, and its propagation.
 */
#pragma once

/* Installs ProcessUtility_hook; once from _PG_init. */
extern void herd_ddl_init(void);
