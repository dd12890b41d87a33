/*
 * Where the function of a row trigger had better run, by a look at its text.
 */
#include "attach/capture.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "commands/proclang.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/formatting.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include <ctype.h>

typedef struct Known {
	Oid function;
	HerdPlace place;
} Known;

static HTAB *known;

static bool is_one_of(const char *word, const char *const *words)
{
	for (; *words; words++)
		if (pg_strcasecmp(word, *words) == 0)
			return true;
	return false;
}

/* What it calls may do anything, unless it is PostgreSQL's own. */
static bool is_users_function(const char *word)
{
	CatCList *list = SearchSysCacheList1(PROCNAMEARGSNSP, CStringGetDatum(word));
	bool found = false;

	for (int i = 0; i < list->n_members && !found; i++)
		found = ((Form_pg_proc)GETSTRUCT(&list->members[i]->tuple))->oid >=
			FirstNormalObjectId;
	ReleaseSysCacheList(list);
	return found;
}

/* The end of a literal, comment or dollar quote that begins there; NULL: none begins. */
static const char *skip_quoted(const char *at)
{
	const char *end;
	char *quote;

	if (*at == '\'') {
		end = strchr(at + 1, '\'');
		return end ? end + 1 : at + strlen(at);
	}
	if (strncmp(at, "--", 2) == 0) {
		end = strchr(at, '\n');
		return end ? end : at + strlen(at);
	}
	if (strncmp(at, "/*", 2) == 0) {
		end = strstr(at + 2, "*/");
		return end ? end + 2 : at + strlen(at);
	}
	if (*at != '$')
		return NULL;
	end = at + 1;
	while (isalnum((unsigned char)*end) || *end == '_')
		end++;
	if (*end != '$')
		return NULL;
	quote = pnstrdup(at, end + 1 - at);
	at = strstr(end + 1, quote);
	return at ? at + strlen(quote) : end + 1 + strlen(end + 1);
}

static bool is_word_byte(char c)
{
	return isalnum((unsigned char)c) || c == '_' || IS_HIGHBIT_SET(c);
}

/*
 * A function without a word of SQL and without calls of other users' functions computes from the
 * row. That may be wrong for what hides behind an operator or a cast; it fails then, as it would
 * in a BEFORE trigger.
 */
static HerdPlace place_of_text(const char *at)
{
	static const char *const sql[] = { "select",  "insert",  "update", "delete", "merge",
					   "perform", "execute", "call",   "copy",   "truncate",
					   "table",   "values",  "with",   "create", "drop",
					   "alter",   "refresh", "lock",   NULL };
	static const char *const speaks[] = { "notify", "pg_notify", NULL };
	HerdPlace place = HERD_PLACE_SHARD;

	while (*at) {
		const char *end = skip_quoted(at);

		if (end != NULL) {
			at = end;
			continue;
		}
		end = at;
		while (is_word_byte(*end))
			end++;
		if (end > at) {
			char *word = pnstrdup(at, end - at);

			if (is_one_of(word, speaks))
				return HERD_PLACE_HERE;
			if (is_one_of(word, sql))
				place = HERD_PLACE_TRY;
			while (isspace((unsigned char)*end) || *end == '"')
				end++;
			if (*end == '(' && place == HERD_PLACE_SHARD &&
			    (is_users_function(word) ||
			     is_users_function(asc_tolower(word, strlen(word)))))
				place = HERD_PLACE_TRY;
		}
		at = end > at ? end : at + 1;
	}
	return place;
}

static HerdPlace place_of(Oid function)
{
	HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	HerdPlace place = HERD_PLACE_TRY;
	Form_pg_proc proc;
	bool isnull;
	Datum source;

	if (!HeapTupleIsValid(tuple))
		return HERD_PLACE_SHARD;
	proc = (Form_pg_proc)GETSTRUCT(tuple);
	source = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosrc, &isnull);
	if (proc->prolang == ClanguageId || proc->prolang == INTERNALlanguageId)
		place = HERD_PLACE_SHARD;
	else if (!isnull && proc->prolang == get_language_oid("plpgsql", true))
		place = place_of_text(TextDatumGetCString(source));
	ReleaseSysCache(tuple);
	return place;
}

static void forget(Datum arg, int cacheid, uint32 hash)
{
	if (known != NULL)
		hash_destroy(known);
	known = NULL;
}

HerdPlace herd_function_place(Oid function)
{
	static bool registered;
	HerdPlace place;
	Known *entry;

	if (!registered)
		CacheRegisterSyscacheCallback(PROCOID, forget, (Datum)0);
	registered = true;
	if (known == NULL) {
		HASHCTL ctl = { .keysize = sizeof(Oid), .entrysize = sizeof(Known) };

		known = hash_create("herd places of triggers", 16, &ctl, HASH_ELEM | HASH_BLOBS);
	}
	entry = hash_search(known, &function, HASH_FIND, NULL);
	if (entry != NULL)
		return entry->place;
	/* looking may make the table be forgotten */
	place = place_of(function);
	if (known != NULL) {
		entry = hash_search(known, &function, HASH_ENTER, NULL);
		entry->place = place;
	}
	return place;
}

HerdPlace herd_trigger_place(const Trigger *trigger)
{
	return herd_function_place(trigger->tgfoid);
}
