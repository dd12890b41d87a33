/*
 * move/limit.h - citus.max_intermediate_result_size.
 */
#pragma once
#include "postgres.h"

/* Raises when a result of a part of a statement has grown beyond it. */
extern void herd_result_check_size(int64 bytes);
/* What a part of a statement that is read to this node may have; 0: no limit. */
extern int64 herd_result_read_limit(void);
