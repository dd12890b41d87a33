/*
 * sql/normalize.h - a statement as it may be told to people who must not see its data: constants
 * become parameters, comments go, any white space is one space.
 *
 * Pure. What is behind something that cannot be read (an unclosed string: the text may have been
 * cut) is left out.
 */
#pragma once
#include "base/buf.h"
#include "sql/lex.h"

/* Appends at most max bytes; "..." stands for what is left out. */
void herd_sql_normalize(struct herd_sql_lex lex, size_t max, struct herd_buf *out);
