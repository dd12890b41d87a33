/*
 * pg/history.h - timeline history files. Pure.
 */
#pragma once
#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

struct herd_pg_history_line {
	uint32_t tli;     /* the parent timeline ... */
	uint64_t end_lsn; /* ... ended here */
	char *reason;
};
struct herd_pg_history {
	struct herd_pg_history_line *v;
	size_t n;
};
/* Lines that are empty or comments are skipped; -EINVAL names the line that is wrong. */
int herd_pg_history_parse(const char *text, struct herd_pg_history *ret, struct herd_err *err);
void herd_pg_history_clear(struct herd_pg_history *h);
