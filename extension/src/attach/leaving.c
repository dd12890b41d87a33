#include "attach/leaving.h"

#include "commands/trigger.h"
#include "conn/rights.h"
#include "nodes/execnodes.h"
#include "txn/internal.h"

/* The copy of the triggers that is the statement's own. */
static void disable_foreign_keys(TriggerDesc *desc)
{
	for (int i = 0; desc != NULL && i < desc->numtriggers; i++)
		if (RI_FKey_trigger_type(desc->triggers[i].tgfoid) != RI_TRIGGER_NONE)
			desc->triggers[i].tgenabled = TRIGGER_DISABLED;
}

void herd_leaving_started(QueryDesc *query)
{
	HerdRowPart part = herd_rights_part(query->sourceText);
	ListCell *lc;

	if (part != HERD_ROW_LEAVING && part != HERD_ROW_MOVED)
		return;
	foreach (lc, query->estate->es_opened_result_relations) {
		ResultRelInfo *info = lfirst(lc);

		if (part == HERD_ROW_MOVED)
			info->ri_TrigDesc = NULL;
		else
			disable_foreign_keys(info->ri_TrigDesc);
	}
}

bool herd_leaving_runs(void)
{
	const EState *estate = herd_txn_running();

	return estate != NULL && herd_rights_part(estate->es_sourceText) == HERD_ROW_LEAVING;
}
