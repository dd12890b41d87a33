#include "attach/farkey_later.h"

#include "access/xact.h"
#include "attach/named.h"
#include "attach/trigger_later.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* level: of the subtransaction. */
typedef struct Waiting {
	int level;
	Oid constraintid;
	bool refers;
	int n;
	Datum *data;
	MemoryContext memory; /* of all of it */
} Waiting;

typedef struct Setting {
	int level;
	Oid constraintid; /* InvalidOid: all */
	bool deferred;
} Setting;

static List *waiting;  /* in TopTransactionContext */
static List *settings; /* the same; the last that is about a constraint counts */

bool herd_far_key_waits(Oid constraintid, bool otherwise)
{
	for (int i = list_length(settings) - 1; i >= 0; i--) {
		const Setting *s = list_nth(settings, i);

		if (!OidIsValid(s->constraintid) || s->constraintid == constraintid)
			return s->deferred;
	}
	return otherwise;
}

void herd_far_key_keep(Oid constraintid, bool refers, int n, int columns, const Datum *data,
		       TypeCacheEntry *const *types)
{
	MemoryContext memory = AllocSetContextCreate(TopTransactionContext, "herd deferred keys",
						     ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(memory);
	Waiting *w = palloc0(sizeof(Waiting));

	w->level = GetCurrentTransactionNestLevel();
	w->constraintid = constraintid;
	w->refers = refers;
	w->n = n;
	w->memory = memory;
	w->data = palloc(n * columns * sizeof(Datum));
	for (int i = 0; i < n * columns; i++)
		w->data[i] = datumCopy(data[i], types[i % columns]->typbyval,
				       types[i % columns]->typlen);
	MemoryContextSwitchTo(TopTransactionContext);
	waiting = lappend(waiting, w);
	MemoryContextSwitchTo(old);
}

/* Looks at those that do not have to wait any more. New ones cannot come: it only reads. */
static void look(bool all)
{
	bool any = false;
	ListCell *lc;

	foreach (lc, waiting) {
		Waiting *w = lfirst(lc);

		/* declared so, or it would not be here */
		if (!all && herd_far_key_waits(w->constraintid, true))
			continue;
		if (!any) {
			CommandCounterIncrement();
			PushActiveSnapshot(GetTransactionSnapshot());
		}
		any = true;
		herd_far_key_look(w->constraintid, w->refers, w->n, w->data);
		waiting = foreach_delete_current(waiting, lc);
		MemoryContextDelete(w->memory);
	}
	if (any)
		PopActiveSnapshot();
}

/* -- SET CONSTRAINTS --------------------------------------------------------------------------- */

static void note(Oid constraintid, bool deferred)
{
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);
	Setting *s = palloc(sizeof(Setting));

	s->level = GetCurrentTransactionNestLevel();
	s->constraintid = constraintid;
	s->deferred = deferred;
	settings = lappend(settings, s);
	MemoryContextSwitchTo(old);
}

void herd_far_key_set(const ConstraintsSetStmt *stmt)
{
	ListCell *lc, *lr;

	if (stmt->constraints == NIL)
		note(InvalidOid, stmt->deferred);
	foreach (lc, stmt->constraints)
		foreach (lr, herd_constraints_named(lfirst_node(RangeVar, lc)))
			note(lfirst_oid(lr), stmt->deferred);
	if (stmt->deferred)
		return;
	(void)herd_trigger_fire_kept(false);
	look(false);
}

/* -- ends -------------------------------------------------------------------------------------- */

static void end_of_transaction(XactEvent event, void *arg)
{
	switch (event) {
	case XACT_EVENT_PRE_COMMIT:
	case XACT_EVENT_PRE_PREPARE:
		look(true);
		break;
	case XACT_EVENT_COMMIT:
	case XACT_EVENT_PREPARE:
	case XACT_EVENT_ABORT:
		waiting = settings = NIL;
		break;
	default:
		break;
	}
}

static void end_of_subtransaction(SubXactEvent event, SubTransactionId mine, SubTransactionId above,
				  void *arg)
{
	int level = GetCurrentTransactionNestLevel();
	ListCell *lc;

	if (event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB)
		return;
	foreach (lc, waiting) {
		Waiting *w = lfirst(lc);

		if (w->level < level)
			continue;
		if (event == SUBXACT_EVENT_COMMIT_SUB) {
			w->level = level - 1;
			continue;
		}
		waiting = foreach_delete_current(waiting, lc);
		MemoryContextDelete(w->memory);
	}
	foreach (lc, settings) {
		Setting *s = lfirst(lc);

		if (s->level < level)
			continue;
		if (event == SUBXACT_EVENT_COMMIT_SUB)
			s->level = level - 1;
		else
			settings = foreach_delete_current(settings, lc);
	}
}

void herd_far_key_init(void)
{
	RegisterXactCallback(end_of_transaction, NULL);
	RegisterSubXactCallback(end_of_subtransaction, NULL);
}
