/*
 * deparse/joins.h - joins whose items have other columns than PostgreSQL knows of.
 */
#pragma once
#include "postgres.h"

#include "nodes/parsenodes.h"

/*
 * In place, in the query and all below it: a join that does not list the columns of its items as
 * they are, because something else stands for a table that had lost columns, is made to. Nothing
 * reads columns of the joins of such a query afterwards; USING and aliases of joins are spelt out.
 * PostgreSQL takes for granted, when it prints joins, that both lists agree.
 */
extern void herd_fit_joins(Query *query);
