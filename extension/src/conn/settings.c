#include "conn/settings.h"

#include "attach/farkey_later.h"
#include "attach/named.h"
#include "catalog/metadata.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_proc.h"
#include "commands/trigger.h"
#include "conn/options.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "pgtime.h"
#include "storage/proc.h"
#include "tsearch/ts_cache.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/bytea.h"
#include "utils/float.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/guc_tables.h"
#include "utils/memutils.h"
#include "utils/rls.h"
#include "utils/varlena.h"
#include "utils/xml.h"

/* utils/pg_locale.h has them, and needs the headers of ICU since 17. */
extern PGDLLIMPORT char *locale_monetary;
extern PGDLLIMPORT char *locale_numeric;
extern PGDLLIMPORT char *locale_time;

/* -- settings that are known here -------------------------------------------------------------- */

enum {
	DATE_STYLE,
	INTERVAL_STYLE,
	BYTEA_OUTPUT,
	LOCK_TIMEOUT,
	FLOAT_DIGITS,
	XML_BINARY,
	XML_OPTION,
	ARRAY_NULLS,
	ROW_SECURITY,
	REPLICATION_ROLE,
	NINTS,
	TIME_ZONE = NINTS,
	SEARCH_PATH,
	TEXT_SEARCH,
	MONETARY,
	NUMERIC,
	TIME,
	NSETTINGS,
	NSTRINGS = NSETTINGS - SEARCH_PATH
};

/* always: also when it is the default here, as the default may be another there. */
static const struct {
	const char *name;
	bool always;
} known[NSETTINGS] = {
	[DATE_STYLE] = { "DateStyle", true },
	[INTERVAL_STYLE] = { "IntervalStyle", true },
	[BYTEA_OUTPUT] = { "bytea_output", true },
	[LOCK_TIMEOUT] = { "lock_timeout", true },
	[FLOAT_DIGITS] = { "extra_float_digits", true },
	[XML_BINARY] = { "xmlbinary", false },
	[XML_OPTION] = { "xmloption", false },
	[ARRAY_NULLS] = { "array_nulls", false },
	[ROW_SECURITY] = { "row_security", false },
	[REPLICATION_ROLE] = { "session_replication_role", false },
	[TIME_ZONE] = { "TimeZone", true },
	[SEARCH_PATH] = { "search_path", true },
	[TEXT_SEARCH] = { "default_text_search_config", true },
	[MONETARY] = { "lc_monetary", false },
	[NUMERIC] = { "lc_numeric", false },
	[TIME] = { "lc_time", false },
};

/* Of one connection: what its session was last given. */
struct HerdSettings {
	bool known; /* false: after a rollback nobody can tell */
	int ints[NINTS];
	const void *timezone;
	char *strings[NSTRINGS];
	bool given[NSETTINGS]; /* at some time */
	uint64 custom_seen;
	HTAB *custom; /* of Custom; NULL before the first */
};

typedef struct Custom {
	char name[NAMEDATALEN * 2];
	char *value;
} Custom;

static void look_at_ints(int *ints)
{
	ints[DATE_STYLE] = DateStyle * 16 + DateOrder;
	ints[INTERVAL_STYLE] = IntervalStyle;
	ints[BYTEA_OUTPUT] = bytea_output;
	ints[LOCK_TIMEOUT] = LockTimeout;
	ints[FLOAT_DIGITS] = extra_float_digits;
	ints[XML_BINARY] = xmlbinary;
	ints[XML_OPTION] = xmloption;
	ints[ARRAY_NULLS] = Array_nulls;
	ints[ROW_SECURITY] = row_security;
	ints[REPLICATION_ROLE] = SessionReplicationRole;
}

static void look_at_strings(const char **strings)
{
	strings[0] = namespace_search_path;
	strings[TEXT_SEARCH - SEARCH_PATH] = TSCurrentConfig;
	strings[MONETARY - SEARCH_PATH] = locale_monetary;
	strings[NUMERIC - SEARCH_PATH] = locale_numeric;
	strings[TIME - SEARCH_PATH] = locale_time;
}

static bool same(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

/*
 * A list of names as SET takes it. pg_catalog, if it is in it, comes first: shard queries name
 * what is in it without a schema. Parts of search_path that do not exist on the node do no harm.
 */
static char *identifier_list(const char *value)
{
	char *copy = pstrdup(value ? value : "");
	StringInfoData list;
	List *names;
	ListCell *lc;

	initStringInfo(&list);
	if (!SplitIdentifierString(copy, ',', &names) || names == NIL)
		return pstrdup("''");
	foreach (lc, names) {
		if (strcmp(lfirst(lc), "pg_catalog") == 0) {
			names = lcons(lfirst(lc), names);
			break;
		}
	}
	foreach (lc, names)
		appendStringInfo(&list, "%s%s", list.len > 0 ? ", " : "",
				 lfirst(lc) && ((char *)lfirst(lc))[0]
					 ? quote_identifier(lfirst(lc))
					 : "''");
	return list.data;
}

static void send_known(HerdConn *c, int i)
{
	char *value = i == SEARCH_PATH
			      ? identifier_list(namespace_search_path)
			      : quote_literal_cstr(GetConfigOption(known[i].name, false, false));

	/* SET, as poolers know it, and it takes no snapshot. */
	herd_conn_send_plain(c, psprintf("SET %s = %s", known[i].name, value));
	c->settings->given[i] = true;
}

/* When it is not known what the node has, its own default is left alone if ours is in force. */
static bool is_due(const HerdConn *c, int i, bool changed)
{
	const char *now, *reset;

	if (c->settings->known)
		return changed;
	if (known[i].always || c->settings->given[i])
		return true;
	now = GetConfigOption(known[i].name, false, false);
	reset = GetConfigOptionResetString(known[i].name);
	return !same(now, reset);
}

static void keep(HerdConn *c, const int *ints, const char **strings)
{
	HerdSettings *s = c->settings;

	memcpy(s->ints, ints, sizeof(s->ints));
	s->timezone = session_timezone;
	for (int i = 0; i < NSTRINGS; i++) {
		if (same(s->strings[i], strings[i]))
			continue;
		if (s->strings[i])
			pfree(s->strings[i]);
		s->strings[i] = strings[i] ? MemoryContextStrdup(c->cxt, strings[i]) : NULL;
	}
	s->known = true;
}

/* -- settings of the user's own ---------------------------------------------------------------- */

/*
 * Rises whenever one may have changed: at SET, set_config() and the end of a transaction that had
 * either. To look at all settings for each statement would take longer than the statement.
 */
static uint64 custom_seq = 1;
static bool custom_touched; /* in this transaction */
static object_access_hook_type next_access;

static void touched(void)
{
	custom_seq++;
	custom_touched = true;
}

static void saw_function(ObjectAccessType access, Oid classid, Oid objid, int subid, void *arg)
{
	if (next_access)
		next_access(access, classid, objid, subid, arg);
	if (access == OAT_FUNCTION_EXECUTE && objid == F_SET_CONFIG)
		touched();
}

static bool is_custom(const struct config_generic *setting)
{
	if (setting->group != CUSTOM_OPTIONS || setting->context != PGC_USERSET ||
	    setting->source <= PGC_S_FILE)
		return false;
	return strncmp(setting->name, "citus.", 6) != 0 &&
	       strlen(setting->name) < sizeof(((Custom *)0)->name);
}

static char *quoted_name(const char *name)
{
	StringInfoData quoted;
	char *copy = pstrdup(name), *rest = copy, *part;

	initStringInfo(&quoted);
	while ((part = strsep(&rest, ".")))
		appendStringInfo(&quoted, "%s%s", quoted.len > 0 ? "." : "",
				 quote_identifier(part));
	return quoted.data;
}

static Custom *custom_entry(HerdConn *c, const char *name, bool *found)
{
	char key[sizeof(((Custom *)0)->name)] = "";

	if (!c->settings->custom) {
		HASHCTL ctl = { .keysize = sizeof(key),
				.entrysize = sizeof(Custom),
				.hcxt = c->cxt };

		c->settings->custom = hash_create("pgherd settings", 16, &ctl,
						  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	strlcpy(key, name, sizeof(key));
	return hash_search(c->settings->custom, key, HASH_ENTER, found);
}

static void send_custom(HerdConn *c, const struct config_generic *setting)
{
	const char *value = GetConfigOption(setting->name, true, false);
	bool found;
	Custom *entry = custom_entry(c, setting->name, &found);

	if (!found)
		entry->value = NULL;
	if (found && c->settings->known && same(entry->value, value))
		return;
	if (entry->value)
		pfree(entry->value);
	entry->value = value ? MemoryContextStrdup(c->cxt, value) : NULL;
	herd_conn_send_plain(c, psprintf("SET %s = %s", quoted_name(setting->name),
					 value ? quote_literal_cstr(value) : "DEFAULT"));
}

static void send_customs(HerdConn *c)
{
	struct config_generic **vars;
	int n;

	/* A function that sets one may do so again without a sign. */
	if (c->settings->known && !custom_touched && c->settings->custom_seen == custom_seq)
		return;
#if PG_VERSION_NUM >= 160000
	vars = get_guc_variables(&n);
#else
	vars = get_guc_variables();
	n = GetNumConfigOptions();
#endif
	for (int i = 0; i < n; i++) {
		bool was_sent = c->settings->custom && vars[i]->group == CUSTOM_OPTIONS &&
				strncmp(vars[i]->name, "citus.", 6) != 0 &&
				strlen(vars[i]->name) < sizeof(((Custom *)0)->name);

		if (was_sent) {
			bool found;
			char key[sizeof(((Custom *)0)->name)] = "";

			strlcpy(key, vars[i]->name, sizeof(key));
			(void)hash_search(c->settings->custom, key, HASH_FIND, &found);
			was_sent = found;
		}
		if (was_sent || is_custom(vars[i]))
			send_custom(c, vars[i]);
	}
	c->settings->custom_seen = custom_seq;
}

/* -- all of them ------------------------------------------------------------------------------- */

static bool nothing_changed(const HerdSettings *s, const int *ints, const char **strings)
{
	if (!s->known || custom_touched || s->custom_seen != custom_seq ||
	    s->timezone != session_timezone || memcmp(s->ints, ints, sizeof(s->ints)) != 0)
		return false;
	for (int i = 0; i < NSTRINGS; i++) {
		if (!same(s->strings[i], strings[i]))
			return false;
	}
	return true;
}

void herd_settings_send(HerdConn *c)
{
	int ints[NINTS];
	const char *strings[NSTRINGS];
	MemoryContext temp, old;
	HerdSettings *s = c->settings;

	look_at_ints(ints);
	look_at_strings(strings);
	if (s && nothing_changed(s, ints, strings))
		return;
	if (!s)
		s = c->settings = MemoryContextAllocZero(c->cxt, sizeof(*s));
	temp = AllocSetContextCreate(CurrentMemoryContext, "pgherd settings", ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(temp);
	for (int i = 0; i < NINTS; i++) {
		if (is_due(c, i, s->ints[i] != ints[i]))
			send_known(c, i);
	}
	if (is_due(c, TIME_ZONE, s->timezone != session_timezone))
		send_known(c, TIME_ZONE);
	for (int i = 0; i < NSTRINGS; i++) {
		if (is_due(c, SEARCH_PATH + i, !same(s->strings[i], strings[i])))
			send_known(c, SEARCH_PATH + i);
	}
	send_customs(c);
	keep(c, ints, strings);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(temp);
	/* Outside a block they are to stay, whatever becomes of the command that follows. */
	if (c->level == 0)
		herd_conn_send_sync(c);
}

void herd_settings_forget(HerdConn *c)
{
	if (c->settings)
		c->settings->known = false;
	c->locals_seen = 0;
	if (c->moment != 0)
		c->moment = PG_UINT64_MAX;
}

/* -- SET LOCAL and SET CONSTRAINTS ------------------------------------------------------------- */

typedef struct Local {
	char *name;      /* of the setting; NULL: */
	const char *sql; /* the statement that goes to the nodes as it is */
	int32 group;     /* to this one only, or HERD_INVALID_GROUP */
	int level;       /* of the transaction in which it was set */
} Local;

static List *locals; /* of Local, in TopTransactionContext; in order */

bool herd_settings_need_block(void)
{
	return locals != NIL;
}

/* Who is who and what belongs to this transaction alone is not passed on. */
static bool travels(const char *name)
{
	static const char *const not [] = { "role",
					    "session_authorization",
					    "client_encoding",
					    "application_name",
					    "transaction_isolation",
					    "transaction_read_only",
					    "transaction_deferrable",
					    "statement_timeout",
					    "idle_in_transaction_session_timeout" };

	if (pg_strncasecmp(name, "citus.", 6) == 0 || pg_strncasecmp(name, "pgherd.", 7) == 0)
		return false;
	for (int i = 0; i < lengthof(not ); i++) {
		if (pg_strcasecmp(name, not [i]) == 0)
			return false;
	}
	return true;
}

static void note_local(const char *name, const char *sql, int32 group)
{
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);
	Local *local = palloc(sizeof(*local));

	local->name = name ? pstrdup(name) : NULL;
	local->sql = sql ? pstrdup(sql) : NULL;
	local->group = group;
	local->level = GetCurrentTransactionNestLevel();
	locals = lappend(locals, local);
	MemoryContextSwitchTo(old);
}

/* Nodes where this transaction has written look at their constraints now, not at its end. */
static void check_constraints_now(void)
{
	dlist_iter iter;

	dlist_foreach(iter, &herd_conns)
	{
		HerdConn *c = dlist_container(HerdConn, link, iter.cur);

		if (c->level == 0 || c->wrote_level == 0 || c->lost || c->simple ||
		    herd_conn_busy(c))
			continue;
		herd_conn_send_setup(c, true, true);
		herd_conn_send_sync(c);
		herd_conn_finish(c);
	}
}

/* Of single constraints shards have others, under names of their own. */
static void saw_named_constraints(const ConstraintsSetStmt *stmt)
{
	ListCell *lc;

	foreach (lc, herd_constraints_groups(stmt)) {
		int32 group = lfirst_int(lc);
		List *names = herd_constraints_of_shards(stmt, group);

		if (group == herd_local_group()) {
			ConstraintsSetStmt own = *stmt;

			own.constraints = names;
			AfterTriggerSetState(&own);
		} else {
			note_local(NULL, herd_constraints_text(names, stmt->deferred), group);
		}
	}
}

static void saw_constraints(const ConstraintsSetStmt *stmt)
{
	herd_far_key_set(stmt);
	if (stmt->constraints != NIL)
		saw_named_constraints(stmt);
	else
		note_local(NULL,
			   stmt->deferred ? "SET CONSTRAINTS ALL DEFERRED"
					  : "SET CONSTRAINTS ALL IMMEDIATE",
			   HERD_INVALID_GROUP);
	if (!stmt->deferred)
		check_constraints_now();
}

void herd_settings_saw(Node *stmt)
{
	VariableSetStmt *set = (VariableSetStmt *)stmt;

	if (IsA(stmt, ConstraintsSetStmt)) {
		saw_constraints(castNode(ConstraintsSetStmt, stmt));
		return;
	}
	if (!IsA(stmt, VariableSetStmt)) {
		if (IsA(stmt, DiscardStmt))
			touched();
		return;
	}
	touched();
	if (!herd_propagate_set_local || !set->is_local || !IsTransactionBlock() || !set->name ||
	    (set->kind != VAR_SET_VALUE && set->kind != VAR_SET_DEFAULT &&
	     set->kind != VAR_SET_CURRENT) ||
	    !travels(set->name))
		return;
	note_local(set->name, NULL, HERD_INVALID_GROUP);
}

void herd_settings_send_local(HerdConn *c)
{
	for (; c->locals_seen < list_length(locals); c->locals_seen++) {
		const Local *local = list_nth(locals, c->locals_seen);
		const char *value;
		bool list;
		char *sql;

		if (local->name == NULL && local->group != HERD_INVALID_GROUP &&
		    local->group != c->groupid)
			continue;
		if (local->name == NULL) {
			herd_conn_send_plain(c, local->sql);
			continue;
		}
		value = GetConfigOption(local->name, true, false);
		if (!value)
			continue;
		list = (GetConfigOptionFlags(local->name, true) & GUC_LIST_QUOTE) != 0;
		sql = psprintf("SET LOCAL %s = %s", quoted_name(local->name),
			       list ? identifier_list(value) : quote_literal_cstr(value));
		herd_conn_send_plain(c, sql);
		pfree(sql);
	}
}

static void forget_locals_from(int n)
{
	dlist_iter iter;

	locals = n == 0 ? NIL : list_truncate(locals, n);
	dlist_foreach(iter, &herd_conns)
	{
		HerdConn *c = dlist_container(HerdConn, link, iter.cur);

		c->locals_seen = Min(c->locals_seen, n);
	}
}

static void end_of_transaction(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	if (custom_touched)
		custom_seq++;
	custom_touched = false;
	if (locals != NIL)
		forget_locals_from(0);
}

static void end_of_subtransaction(SubXactEvent event, SubTransactionId self,
				  SubTransactionId parent, void *arg)
{
	int level = GetCurrentTransactionNestLevel(), n = 0;
	ListCell *lc;

	if (event == SUBXACT_EVENT_ABORT_SUB && custom_touched)
		custom_seq++;
	if (locals == NIL)
		return;
	foreach (lc, locals) {
		Local *local = lfirst(lc);

		if (event == SUBXACT_EVENT_COMMIT_SUB && local->level >= level)
			local->level = level - 1;
		n += local->level < level;
	}
	if (event == SUBXACT_EVENT_ABORT_SUB)
		forget_locals_from(n);
}

void herd_settings_init(void)
{
	next_access = object_access_hook;
	object_access_hook = saw_function;
	RegisterXactCallback(end_of_transaction, NULL);
	RegisterSubXactCallback(end_of_subtransaction, NULL);
}
