/*
 * deparse/casts.h - casts that nobody wrote, as text that means the same.
 *
 * A value that is assigned to a column of type varchar(3) is cast by the parser so that a longer
 * one is an error. Printed as value::varchar(3), and read again, it would be cut.
 */
#pragma once
#include "postgres.h"

#include "nodes/parsenodes.h"

/* Changes a cast in place; other nodes stay. */
extern void herd_spell_cast(Node *node);

/* VALUES are printed without the casts that make them of one type: they become explicit. */
extern void herd_spell_values(RangeTblEntry *rte);
