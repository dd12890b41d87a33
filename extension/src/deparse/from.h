/*
 * deparse/from.h - the order of the items of FROM.
 */
#pragma once
#include "postgres.h"

#include "nodes/parsenodes.h"

/*
 * Puts items that refer to others behind these, in place. A rule's action has the rule's VALUES
 * before the tables that NEW and OLD stand for, which PostgreSQL plans, but does not read when it
 * is printed.
 */
extern void herd_order_from(Query *query);
