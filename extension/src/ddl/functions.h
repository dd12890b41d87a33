/*
 * ddl/functions.h - functions that create_distributed_function was called for.
 */
#pragma once
#include "postgres.h"

#include "nodes/pg_list.h"

/* Statements that make another node, which has the functions, note them as this one does. */
extern List *herd_function_commands(void);

/* In the sql_drop trigger: functions that are gone are no longer noted. */
extern void herd_functions_forget(void);
