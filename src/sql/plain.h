/*
 * sql/plain.h - texts that do nothing to their session, told without a look at their tokens.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

/*
 * Most texts: one statement that reads or changes rows, and has none of the words that
 * herd_sql_classify (sql/classify.h) looks for inside of such statements: it has nothing to note
 * then, in whatever dialect. False: not told.
 */
bool herd_sql_plain(const char *text, size_t n);
