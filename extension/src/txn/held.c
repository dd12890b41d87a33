/*
 * txn/held.c - cursors WITH HOLD of a transaction that fails at its end.
 */
#include "txn/held.h"

#include "access/xact.h"
#include "nodes/parsenodes.h"
#include "utils/memutils.h"
#include "utils/portal.h"

/* Of this transaction, in its memory; some may be gone again. */
static List *declared;

void herd_held_declared(const char *name)
{
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);

	declared = lappend(declared, pstrdup(name));
	MemoryContextSwitchTo(old);
}

/* Those that PostgreSQL has not taken into a transaction's end it closes itself. */
static void close_held(void)
{
	ListCell *lc;

	foreach (lc, declared) {
		Portal portal = GetPortalByName(lfirst(lc));

		if (PortalIsValid(portal) && portal->holdStore != NULL &&
		    portal->createSubid == InvalidSubTransactionId && !portal->portalPinned)
			PortalDrop(portal, false);
	}
}

static void forget(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_ABORT)
		close_held();
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		declared = NIL;
}

void herd_held_init(void)
{
	RegisterXactCallback(forget, NULL);
}
