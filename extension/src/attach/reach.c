/*
 * What the text of a function names.
 */
#include "attach/before.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "attach/capture.h"
#include "catalog/metadata.h"
#include "catalog/pg_class.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "nodes/nodeFuncs.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/formatting.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include <ctype.h>

/* Functions that call functions, so deep. */
#define MOST_DEEP 10

typedef struct Key {
	Oid function, relid;
} Key;

typedef struct Known {
	Key key;
	HerdReach reach;
} Known;

static HTAB *known;

typedef struct Text {
	const HerdTable *table; /* of the trigger */
	List *seen;             /* of Oid: functions */
	bool writes;
	bool reference; /* names a reference table */
	bool colocated; /* names such a table, or its own */
	bool itself;    /* names its own */
	bool elsewhere;
} Text;

static void look_at_function(Text *t, Oid function, int depth);

static void look_at_relation(Text *t, Oid relid, char relkind)
{
	const HerdTable *table;

	if (relid < FirstNormalObjectId)
		return;
	if (relkind != RELKIND_RELATION && relkind != RELKIND_PARTITIONED_TABLE &&
	    relkind != RELKIND_VIEW && relkind != RELKIND_MATVIEW &&
	    relkind != RELKIND_FOREIGN_TABLE)
		return;
	table = herd_table_get(relid);
	if (relid == t->table->relid)
		t->itself = t->colocated = true;
	else if (table != NULL && table->kind == HERD_TABLE_REFERENCE)
		t->reference = true;
	else if (table == NULL || table->colocationid != t->table->colocationid ||
		 table->colocationid == 0)
		t->elsewhere = true;
	else
		t->colocated = true;
}

static bool is_written_with(const char *word)
{
	static const char *const words[] = { "insert", "update", "delete",  "merge",
					     "copy",   "call",   "truncate" };

	for (size_t i = 0; i < lengthof(words); i++)
		if (pg_strcasecmp(word, words[i]) == 0)
			return true;
	return false;
}

static void look_at_name(Text *t, const char *word, int depth)
{
	CatCList *list = SearchSysCacheList1(RELNAMENSP, CStringGetDatum(word));

	for (int i = 0; i < list->n_members && !t->elsewhere; i++) {
		Form_pg_class class = (Form_pg_class)GETSTRUCT(&list->members[i]->tuple);

		look_at_relation(t, class->oid, class->relkind);
	}
	ReleaseSysCacheList(list);
	if (t->elsewhere)
		return;
	list = SearchSysCacheList1(PROCNAMEARGSNSP, CStringGetDatum(word));
	for (int i = 0; i < list->n_members && !t->elsewhere; i++)
		look_at_function(t, ((Form_pg_proc)GETSTRUCT(&list->members[i]->tuple))->oid,
				 depth + 1);
	ReleaseSysCacheList(list);
}

/* Also what stands in comments and literals: a name too many costs time only. */
static void look_at_text(Text *t, const char *at, int depth)
{
	while (*at && !t->elsewhere) {
		const char *end = at;
		char *word, *lower;

		while (isalnum((unsigned char)*end) || *end == '_' || IS_HIGHBIT_SET(*end))
			end++;
		if (end == at) {
			at++;
			continue;
		}
		word = pnstrdup(at, end - at);
		at = end;
		lower = asc_tolower(word, strlen(word));
		if (strlen(word) >= NAMEDATALEN)
			continue;
		/* a name that is made when it runs */
		if (strcmp(lower, "execute") == 0)
			t->elsewhere = true;
		if (is_written_with(lower))
			t->writes = true;
		look_at_name(t, lower, depth);
		if (strcmp(word, lower) != 0)
			look_at_name(t, word, depth);
	}
}

static void look_at_function(Text *t, Oid function, int depth)
{
	HeapTuple tuple;
	Form_pg_proc proc;
	char *source = NULL;

	if (function < FirstNormalObjectId || list_member_oid(t->seen, function))
		return;
	t->seen = lappend_oid(t->seen, function);
	if (depth > MOST_DEEP) {
		t->elsewhere = true;
		return;
	}
	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	if (!HeapTupleIsValid(tuple))
		return;
	proc = (Form_pg_proc)GETSTRUCT(tuple);
	if (proc->prolang != ClanguageId && proc->prolang != INTERNALlanguageId) {
		bool isnull;
		Datum value = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosrc, &isnull);

		source = isnull ? NULL : TextDatumGetCString(value);
		/* a body that has been parsed already says nothing as text */
		(void)SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosqlbody, &isnull);
		if (!isnull)
			t->elsewhere = true;
	}
	ReleaseSysCache(tuple);
	if (source != NULL)
		look_at_text(t, source, depth);
}

static void forget(void)
{
	if (known != NULL)
		hash_destroy(known);
	known = NULL;
}

static void forget_function(Datum arg, int cacheid, uint32 hash)
{
	forget();
}

static void forget_relation(Datum arg, Oid relid)
{
	forget();
}

static HerdReach reach_of(Oid function, Oid relid)
{
	Text t = { .table = herd_table_get(relid) };

	if (t.table == NULL)
		return HERD_REACH_SHARD;
	look_at_function(&t, function, 0);
	if (t.elsewhere || (t.reference && t.writes))
		return HERD_REACH_FAR;
	/* it must not see what the statement has done in other shards of the node */
	if (t.itself && t.table->kind == HERD_TABLE_HASH &&
	    func_volatile(function) != PROVOLATILE_VOLATILE)
		return HERD_REACH_FAR;
	/* all rows of a table without a distribution column are in one place */
	return t.colocated && t.table->kind == HERD_TABLE_HASH ? HERD_REACH_MAYBE
							       : HERD_REACH_SHARD;
}

HerdReach herd_function_reaches(Oid function, Oid relid)
{
	static bool registered;
	Key key = { .function = function, .relid = relid };
	HerdPlace place;
	Known *entry;
	HerdReach result;

	if (function < FirstNormalObjectId)
		return HERD_REACH_SHARD;
	place = herd_function_place(function);
	if (place != HERD_PLACE_TRY)
		return place == HERD_PLACE_HERE ? HERD_REACH_FAR : HERD_REACH_SHARD;
	if (!registered) {
		CacheRegisterSyscacheCallback(PROCOID, forget_function, (Datum)0);
		CacheRegisterRelcacheCallback(forget_relation, (Datum)0);
	}
	registered = true;
	if (known == NULL) {
		HASHCTL ctl = { .keysize = sizeof(Key), .entrysize = sizeof(Known) };

		known = hash_create("herd reach of functions", 16, &ctl, HASH_ELEM | HASH_BLOBS);
	}
	entry = hash_search(known, &key, HASH_FIND, NULL);
	if (entry != NULL)
		return entry->reach;
	/* looking may make the table be forgotten */
	result = reach_of(function, relid);
	if (known != NULL) {
		entry = hash_search(known, &key, HASH_ENTER, NULL);
		entry->reach = result;
	}
	return result;
}

typedef struct Reach {
	Oid relid;
	HerdReach reach;
} Reach;

static bool reach_checker(Oid func, void *context)
{
	Reach *r = context;

	r->reach = Max(r->reach, herd_function_reaches(func, r->relid));
	return false;
}

static bool reach_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	(void)check_functions_in_node(node, reach_checker, context);
	if (IsA(node, Query))
		return query_tree_walker((Query *)node, reach_walker, context, 0);
	return expression_tree_walker(node, reach_walker, context);
}

HerdReach herd_expr_reaches(Node *expr, Oid relid)
{
	Reach r = { .relid = relid, .reach = HERD_REACH_SHARD };

	(void)reach_walker(expr, &r);
	return r.reach;
}
