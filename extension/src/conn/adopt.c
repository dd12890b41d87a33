#include "conn/adopt.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/guc_tables.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

static bool adopted;

bool herd_session_adopted(void)
{
	return adopted;
}

static void append_setting(StringInfo names, StringInfo values, const char *name, const char *value)
{
	const char *comma = names->len > 0 ? "," : "";

	appendStringInfo(names, "%s%s", comma, quote_literal_cstr(name));
	appendStringInfo(values, "%s%s", comma, quote_literal_cstr(value ? value : ""));
}

/* Settings that no library has defined: those of applications. */
static void append_placeholders(StringInfo names, StringInfo values)
{
	struct config_generic **all;
	int n;

#if PG_VERSION_NUM >= 160000
	all = get_guc_variables(&n);
#else
	all = get_guc_variables();
	n = GetNumConfigOptions();
#endif
	for (int i = 0; i < n; i++)
		if (all[i]->flags & GUC_CUSTOM_PLACEHOLDER)
			append_setting(names, values, all[i]->name,
				       GetConfigOption(all[i]->name, true, false));
}

static char *settings_text(void)
{
	StringInfoData names, values;

	initStringInfo(&names);
	initStringInfo(&values);
	append_setting(&names, &values, "search_path", namespace_search_path);
	append_setting(&names, &values, "default_text_search_config",
		       GetConfigOption("default_text_search_config", false, false));
	append_placeholders(&names, &values);
	return psprintf("ARRAY[%s]::pg_catalog.text[], ARRAY[%s]::pg_catalog.text[]", names.data,
			values.data);
}

void herd_conn_send_adopt(HerdConn *c)
{
	char *settings = settings_text();

	/* outside of a block what was set before has gone with its statement */
	if (c->level > 0 && c->adopted && strcmp(c->adopted, settings) == 0)
		return;
	if (c->adopted)
		pfree(c->adopted);
	c->adopted = MemoryContextStrdup(c->cxt, settings);
	herd_conn_send_plain(c,
			     psprintf("SELECT citus_internal.adopt_session(" INT64_FORMAT ", %s)",
				      GetCurrentTransactionStartTimestamp(), settings));
}

static void forget(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		adopted = false;
}

void herd_adopt_init(void)
{
	RegisterXactCallback(forget, NULL);
}

/* adopt_session(start of the transaction in microseconds, names, values) */
PG_FUNCTION_INFO_V1(herd_adopt_session);
PGDLLEXPORT Datum herd_adopt_session(PG_FUNCTION_ARGS)
{
	Datum *names, *values;
	bool *nulls;
	int n, m;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), TEXTOID, -1, false, TYPALIGN_INT, &names,
			  &nulls, &n);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(2), TEXTOID, -1, false, TYPALIGN_INT, &values,
			  &nulls, &m);
	for (int i = 0; i < Min(n, m); i++)
		(void)set_config_option(TextDatumGetCString(names[i]),
					TextDatumGetCString(values[i]), PGC_USERSET, PGC_S_SESSION,
					GUC_ACTION_LOCAL, true, 0, false);
#ifndef USE_ASSERT_CHECKING
	/* PostgreSQL has it for parallel workers, and asserts that it is in one */
	SetParallelStartTimestamps(PG_GETARG_INT64(0), GetCurrentStatementStartTimestamp());
#endif
	adopted = true;
	PG_RETURN_VOID();
}
