#include "move/limit.h"

#include "guc.h"

void herd_result_check_size(int64 bytes)
{
	if (herd_max_intermediate_kb < 0 || bytes <= herd_max_intermediate_kb * INT64CONST(1024))
		return;
	ereport(ERROR,
		(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
		 errmsg("the intermediate result size exceeds citus.max_intermediate_result_size "
			"(currently %d kB)",
			herd_max_intermediate_kb),
		 errdetail("A part of the statement is computed first, and its rows are sent to "
			   "other nodes or collected on this one."),
		 errhint("Set citus.max_intermediate_result_size to a higher value, or to -1 for "
			 "no limit.")));
}

int64 herd_result_read_limit(void)
{
	if (herd_max_intermediate_kb < 0 ||
	    herd_max_intermediate_kb == HERD_INTERMEDIATE_DEFAULT_KB)
		return 0;
	return Max(herd_max_intermediate_kb * INT64CONST(1024), 1);
}
