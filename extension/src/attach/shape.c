#include "attach/attach.h"

#include "attach/farkey.h"
#include "attach/localkey.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "ddl/local.h"
#include "ddl/shape.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#define FUNCTION_CLAUSE " EXECUTE FUNCTION "

static void refuse(Oid relid, const char *what, const char *name, const char *why)
{
	ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			errmsg("%s \"%s\" on distributed table \"%s\" is not supported", what, name,
			       get_rel_name(relid)),
			errdetail("%s", why)));
}

/* What stands behind the table's name, without DEFERRABLE: attach/trigger_later.h. */
static char *not_deferrable(const char *clause)
{
	static const char *const all[] = { "DEFERRABLE INITIALLY DEFERRED ",
					   "DEFERRABLE INITIALLY IMMEDIATE " };
	const char *end = strstr(clause, "FOR EACH ");

	for (int i = 0; i < lengthof(all); i++) {
		const char *at = strstr(clause, all[i]);

		if (at != NULL && at < end && (at - clause < 4 || strncmp(at - 4, "NOT ", 4) != 0))
			return psprintf("%.*s%s", (int)(at - clause), clause, at + strlen(all[i]));
	}
	return pstrdup(clause);
}

/* The same trigger for a shard: with the shard's name and our function, which takes no arguments.
 */
static char *trigger_for_shard(Oid relid, uint64 shardid, const char *name, const char *def)
{
	char *table = psprintf(" ON %s ", herd_shape_name(relid, 0));
	const char *on = strstr(def, table);
	const char *function = on ? strstr(on, FUNCTION_CLAUSE) : NULL;
	const char *after = on ? on + strlen(table) : NULL;
	const char *plain = "CREATE TRIGGER ", *constraint = "CREATE CONSTRAINT TRIGGER ";
	char *clause, *immediate;

	if (function == NULL || strstr(function + 1, FUNCTION_CLAUSE) != NULL)
		refuse(relid, "trigger", name,
		       "Its definition has the words EXECUTE FUNCTION inside of a literal.");
	clause = pnstrdup(after, function - after);
	immediate = not_deferrable(clause);
	/* no constraint of that name, which SET CONSTRAINTS would find */
	if (strcmp(immediate, clause) != 0 && strncmp(clause, "FROM ", strlen("FROM ")) != 0 &&
	    strncmp(def, constraint, strlen(constraint)) == 0)
		plain = constraint;
	if (strncmp(def, plain, strlen(plain)) == 0)
		def = psprintf("CREATE OR REPLACE TRIGGER %.*s", (int)(on - def - strlen(plain)),
			       def + strlen(plain));
	else
		def = pnstrdup(def, on - def);
	return psprintf("%s ON %s %s%scitus_internal.shard_trigger()", def,
			herd_shape_name(relid, shardid), immediate, FUNCTION_CLAUSE);
}

/* Whatever the trigger asks for, all rows of the statement come back: attach/capture.h. */
static char *capture_for_shard(Oid relid, uint64 shardid, const char *name, int type)
{
	bool inserts = (type & TRIGGER_TYPE_INSERT) != 0,
	     deletes = (type & TRIGGER_TYPE_DELETE) != 0;

	return psprintf("CREATE OR REPLACE TRIGGER %s AFTER %s ON %s REFERENCING%s%s FOR EACH "
			"STATEMENT EXECUTE FUNCTION citus_internal.shard_transition()",
			quote_identifier(name),
			inserts   ? "INSERT"
			: deletes ? "DELETE"
				  : "UPDATE",
			herd_shape_name(relid, shardid), inserts ? "" : " OLD TABLE AS herd_old",
			deletes ? "" : " NEW TABLE AS herd_new");
}

static char *trigger_state(Oid relid, uint64 shardid, const char *name, char state)
{
	const char *verb = NULL;

	switch (state) {
	case TRIGGER_DISABLED:
		verb = "DISABLE";
		break;
	case TRIGGER_FIRES_ON_REPLICA:
		verb = "ENABLE REPLICA";
		break;
	case TRIGGER_FIRES_ALWAYS:
		verb = "ENABLE ALWAYS";
		break;
	default:
		return NULL;
	}
	return psprintf("ALTER TABLE %s %s TRIGGER %s", herd_shape_name(relid, shardid), verb,
			quote_identifier(name));
}

List *herd_attach_triggers(Oid relid, uint64 shardid, const char *only)
{
	List *out = NIL;
	ListCell *lc;

	foreach (lc, herd_sql_rows("SELECT tgname, pg_get_triggerdef(oid), tgenabled, tgtype, "
				   "tgoldtable IS NOT NULL OR tgnewtable IS NOT NULL FROM "
				   "pg_trigger WHERE tgrelid = %u AND NOT tgisinternal AND "
				   "tgparentid = 0 AND (%s OR tgtype & 1 = 1 OR tgoldtable IS NOT "
				   "NULL OR tgnewtable IS NOT NULL) AND tgname = "
				   "coalesce(%s, tgname) "
				   "ORDER BY tgname",
				   relid, shardid ? "false" : "true",
				   only ? quote_literal_cstr(only) : "NULL")) {
		char **row = lfirst(lc);
		char *state = trigger_state(relid, shardid, row[0], row[2][0]);

		if (shardid && row[4][0] == 't')
			out = lappend(out, capture_for_shard(relid, shardid, row[0], atoi(row[3])));
		else
			out = lappend(out,
				      shardid ? trigger_for_shard(relid, shardid, row[0], row[1])
					      : row[1]);
		if (state)
			out = lappend(out, state);
	}
	return out;
}

static List *rules(Oid relid)
{
	List *out = NIL;
	ListCell *lc;

	foreach (lc, herd_sql_rows("SELECT pg_get_ruledef(oid), ev_enabled, quote_ident(rulename) "
				   "FROM pg_rewrite WHERE ev_class = %u ORDER BY rulename",
				   relid)) {
		char **row = lfirst(lc);

		out = lappend(out, row[0]);
		if (row[1][0] == 'D')
			out = lappend(out, psprintf("ALTER TABLE %s DISABLE RULE %s",
						    herd_shape_name(relid, 0), row[2]));
	}
	return out;
}

List *herd_attach_shape(Oid relid, uint64 shardid)
{
	int level = herd_shape_begin();
	List *out = herd_attach_triggers(relid, shardid, NULL);

	if (shardid) {
		out = list_concat(out, herd_far_key_shape(relid, shardid, false));
		out = list_concat(out, herd_local_key_shape(relid, shardid));
	} else {
		out = list_concat(out, rules(relid));
	}
	out = list_concat(out, herd_attach_policies(relid, shardid));
	herd_shape_end(level);
	return out;
}
