#include "conn/rights.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/metadata.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "common/hmac.h"
#include "common/sha2.h"
#include "compat.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "parser/analyze.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define SIGNATURE_LENGTH (PG_SHA256_DIGEST_LENGTH * 2)

/* -- the message ------------------------------------------------------------------------------- */

/* Words of a message, by HerdRowPart. */
static const char *const part_words[] = { "", "fired", "leaving", "moved" };

/*
 * An array as text: words ("usage", one of part_words), then schema, table and role of each (the
 * first superuser: "").
 */
static char *message_of(const List *relids, const List *roles, HerdRowPart part)
{
	Datum *parts = palloc((list_length(relids) * 3 + 1) * sizeof(Datum));
	bool usage = false;
	ArrayType *array;
	ListCell *rel, *role;
	Oid output;
	bool varlena;
	int n = 1;

	forboth(rel, relids, role, roles)
	{
		Oid schema = get_rel_namespace(lfirst_oid(rel));

		if (!OidIsValid(schema))
			ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", lfirst_oid(rel))));
		if (!herd_may_use_schema(schema, GetUserId()))
			usage = true;
		parts[n++] = CStringGetTextDatum(get_namespace_name(schema));
		parts[n++] = CStringGetTextDatum(get_rel_name(lfirst_oid(rel)));
		/* nodes may call their first superuser otherwise */
		parts[n++] =
			CStringGetTextDatum(lfirst_oid(role) == BOOTSTRAP_SUPERUSERID
						    ? ""
						    : GetUserNameFromId(lfirst_oid(role), false));
	}
	parts[0] = CStringGetTextDatum(psprintf("%s%s", usage ? "usage " : "", part_words[part]));
	array = construct_array(parts, n, TEXTOID, -1, false, TYPALIGN_INT);
	getTypeOutputInfo(TEXTARRAYOID, &output, &varlena);
	return OidOutputFunctionCall(output, PointerGetDatum(array));
}

char *herd_rights_message(const List *relids, const List *roles)
{
	return message_of(relids, roles, HERD_ROW_WHOLE);
}

char *herd_rights_message_part(const List *relids, const List *roles, HerdRowPart part)
{
	return message_of(relids, roles, part);
}

/* Read below SQL: only superusers may look at it. */
static char *node_secret(void)
{
	Oid schema = get_namespace_oid("citus_internal", true);
	Oid oid = OidIsValid(schema) ? get_relname_relid("node_secret", schema) : InvalidOid;
	char *secret = NULL;
	Relation rel;
	SysScanDesc scan;
	HeapTuple tuple;
	bool isnull;

	if (!OidIsValid(oid))
		return NULL;
	rel = table_open(oid, AccessShareLock);
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		secret =
			TextDatumGetCString(heap_getattr(tuple, 1, RelationGetDescr(rel), &isnull));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return secret;
}

static void add(pg_hmac_ctx *ctx, const char *part)
{
	/* with the zero, so that parts cannot be joined otherwise */
	if (pg_hmac_update(ctx, (const uint8 *)part, strlen(part) + 1) < 0)
		elog(ERROR, "could not sign a message");
}

/* Of a message for a text, or with NULL of the message itself. False without a secret. */
static bool sign(char *signature, const char *head, const char *message, const char *sql)
{
	char *secret = node_secret();
	uint8 digest[PG_SHA256_DIGEST_LENGTH];
	pg_hmac_ctx *ctx;

	if (secret == NULL)
		return false;
	ctx = pg_hmac_create(PG_SHA256);
	if (ctx == NULL || pg_hmac_init(ctx, (const uint8 *)secret, strlen(secret)) < 0)
		elog(ERROR, "could not sign a message");
	add(ctx, head);
	add(ctx, message);
	if (sql != NULL)
		add(ctx, sql);
	if (pg_hmac_final(ctx, digest, sizeof(digest)) < 0)
		elog(ERROR, "could not sign a message");
	pg_hmac_free(ctx);
	(void)hex_encode((const char *)digest, sizeof(digest), signature);
	signature[SIGNATURE_LENGTH] = '\0';
	return true;
}

/* Behind a pooler nobody knows which backend it will be. */
static char *head_of(int pid, const char *number)
{
	return psprintf("%d %s", pid, number);
}

/* Rises with every message of this backend, so that none counts twice. */
static char *next_number(void)
{
	static int64 last;

	last = Max(last + 1, GetCurrentTimestamp());
	return psprintf(INT64_FORMAT, last);
}

/* head and message are signed; sql: with a second signature for it, or NULL. */
static void send_signed(HerdConn *c, const char *call, const char *message, const char *sql)
{
	char own[SIGNATURE_LENGTH + 1], signature[SIGNATURE_LENGTH + 1];
	int pid = c->pooled ? 0 : PQbackendPID(c->pg);
	Oid types[5] = { TEXTOID, INT8OID, INT4OID, TEXTOID, TEXTOID };
	const char *values[5] = { message, next_number(), psprintf("%d", pid), own, signature };
	int lengths[5] = { 0 }, formats[5] = { 0 };
	HerdParams params = { .n = sql ? 5 : 4,
			      .types = types,
			      .values = values,
			      .lengths = lengths,
			      .formats = formats };
	char *head = head_of(pid, values[1]);

	if (!sign(own, head, message, NULL) ||
	    (sql != NULL && !sign(signature, head, message, sql)))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("citus_internal.node_secret is empty")));
	herd_conn_send_plain_params(c, call, &params);
}

void herd_conn_send_rights(HerdConn *c, const char *message, const char *sql)
{
	send_signed(c, "SELECT citus_internal.use_rights($1, $2, $3, $4, $5)", message, sql);
}

void herd_conn_send_user(HerdConn *c)
{
	char *user = GetUserNameFromId(GetUserId(), false);

	if (c->acting || strcmp(user, c->user) != 0) {
		c->acting = true;
		send_signed(c, "SELECT citus_internal.act_as($1, $2, $3, $4)", user, NULL);
	}
	pfree(user);
}

/* -- on the node of the shard ------------------------------------------------------------------ */

/* What has been announced, for one text. */
static struct {
	MemoryContext memory; /* of all of it; NULL: nothing is */
	char *text;           /* in process: the text; else NULL: */
	char *head, *message; /* what was signed with the text, as */
	char signature[SIGNATURE_LENGTH + 1];
	int n;
	Oid *relids, *roles; /* of shells */
	bool found;          /* the text was met; it is planned next */
	HerdRowPart part;    /* what the statement leaves alone */
	bool lent;           /* names are looked up as superuser, until the text has been met */
	Oid user;
	int context;
} rights;

/* The last text that was met of which that was said; NULL: none in this transaction. */
static char *part_text;
static HerdRowPart part_of_text;

static post_parse_analyze_hook_type next_hook;

static void give_back(void)
{
	if (rights.lent)
		SetUserIdAndSecContext(rights.user, rights.context);
	rights.lent = false;
}

static void forget(void)
{
	give_back();
	if (rights.memory)
		MemoryContextDelete(rights.memory);
	memset(&rights, 0, sizeof(rights));
}

/*
 * Names in the text may be in schemas that the user may not look into: the view that was named
 * stands for them. No code of users can run before the text has been analyzed.
 */
static void lend(void)
{
	GetUserIdAndSecContext(&rights.user, &rights.context);
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID,
			       rights.context | SECURITY_LOCAL_USERID_CHANGE);
	rights.lent = true;
}

static Oid role_of(const char *name)
{
	return name[0] == '\0' ? BOOTSTRAP_SUPERUSERID : get_role_oid(name, true);
}

static void announce(const char *message)
{
	Datum *parts;
	bool *nulls;
	int n;
	Oid input, ioparam;
	ArrayType *array;
	MemoryContext old;

	forget();
	rights.memory =
		AllocSetContextCreate(TopMemoryContext, "pgherd rights", ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(rights.memory);
	rights.message = pstrdup(message);
	getTypeInputInfo(TEXTARRAYOID, &input, &ioparam);
	array = DatumGetArrayTypeP(OidInputFunctionCall(input, rights.message, ioparam, -1));
	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &parts, &nulls, &n);
	rights.relids = palloc0((n / 3 + 1) * sizeof(Oid));
	rights.roles = palloc0((n / 3 + 1) * sizeof(Oid));
	for (int i = 1; i + 2 < n; i += 3) {
		Oid schema = get_namespace_oid(TextDatumGetCString(parts[i]), true);

		rights.relids[rights.n] =
			OidIsValid(schema)
				? get_relname_relid(TextDatumGetCString(parts[i + 1]), schema)
				: InvalidOid;
		rights.roles[rights.n++] = role_of(TextDatumGetCString(parts[i + 2]));
	}
	MemoryContextSwitchTo(old);
	for (int part = HERD_ROW_FIRED; n > 0 && part <= HERD_ROW_MOVED; part++)
		if (strstr(TextDatumGetCString(parts[0]), part_words[part]) != NULL)
			rights.part = part;
	if (n > 0 && strncmp(TextDatumGetCString(parts[0]), "usage", 5) == 0)
		lend();
}

static void forget_part(void)
{
	if (part_text != NULL)
		pfree(part_text);
	part_text = NULL;
}

HerdRowPart herd_rights_part(const char *sql)
{
	return part_text != NULL && sql != NULL && strcmp(part_text, sql) == 0 ? part_of_text
									       : HERD_ROW_WHOLE;
}

void herd_rights_begin(const char *message, const char *sql)
{
	announce(message);
	rights.text = MemoryContextStrdup(rights.memory, sql);
}

void herd_rights_end(void)
{
	forget();
}

void herd_rights_planning(void)
{
	if (rights.memory != NULL && rights.found)
		forget();
}

/* Takes the same time whatever it is. */
static bool is_signature(const char *given, const char *head, const char *message, const char *sql)
{
	char signature[SIGNATURE_LENGTH + 1];
	uint8 differs = 0;

	if (strlen(given) != SIGNATURE_LENGTH || !sign(signature, head, message, sql))
		return false;
	for (int i = 0; i < SIGNATURE_LENGTH; i++)
		differs |= signature[i] ^ given[i];
	return differs == 0;
}

static bool is_announced(const char *sql)
{
	if (rights.text != NULL)
		return strcmp(rights.text, sql) == 0;
	return is_signature(rights.signature, rights.head, rights.message, sql);
}

/* The table of a shard by the number at the end of its name; InvalidOid when it is no shard. */
static Oid table_of_shard(Oid shard)
{
	const char *name = get_rel_name(shard);
	const char *number = name ? strrchr(name, '_') : NULL;
	const HerdTable *table;
	int index;

	if (number == NULL || !herd_shard_find(strtou64(number + 1, NULL, 10), &table, &index) ||
	    get_rel_namespace(table->relid) != get_rel_namespace(shard) ||
	    strcmp(name,
		   herd_shard_name(get_rel_name(table->relid), table->shards[index].shardid)) != 0)
		return InvalidOid;
	return table->relid;
}

static void check_as(Query *query, RangeTblEntry *rte, Oid role)
{
#if PG_VERSION_NUM >= 160000
	if (rte->perminfoindex != 0)
		getRTEPermissionInfo(query->rteperminfos, rte)->checkAsUser = role;
#else
	rte->checkAsUser = role;
#endif
}

static void set_rights(Query *query, RangeTblEntry *rte)
{
	Oid table = table_of_shard(rte->relid);

	for (int i = 0; OidIsValid(table) && i < rights.n; i++)
		if (rights.relids[i] == table && OidIsValid(rights.roles[i]))
			check_as(query, rte, rights.roles[i]);
	/* whether the user may change the row was asked when it got its new values */
	if (OidIsValid(table) && rights.part == HERD_ROW_MOVED)
		check_as(query, rte, BOOTSTRAP_SUPERUSERID);
}

static bool rights_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query)) {
		Query *query = (Query *)node;
		ListCell *lc;

		foreach (lc, query->rtable) {
			RangeTblEntry *rte = lfirst(lc);

			if (rte->rtekind == RTE_RELATION)
				set_rights(query, rte);
			else if (rte->rtekind == RTE_SUBQUERY && rte->alias != NULL &&
				 strncmp(rte->alias->aliasname, HERD_BARRIER,
					 strlen(HERD_BARRIER)) == 0)
				rte->security_barrier = true;
		}
		return query_tree_walker(query, rights_walker, context, 0);
	}
	return expression_tree_walker(node, rights_walker, context);
}

static void after_analysis(ParseState *pstate, Query *query, JumbleState *jstate)
{
	if (next_hook)
		next_hook(pstate, query, jstate);
	if (rights.memory == NULL)
		return;
	give_back();
	if (pstate->p_sourcetext == NULL || !is_announced(pstate->p_sourcetext))
		return;
	if (query->utilityStmt != NULL && IsA(query->utilityStmt, ExplainStmt))
		query = castNode(Query, ((ExplainStmt *)query->utilityStmt)->query);
	rights.found = true;
	forget_part();
	if (rights.part != HERD_ROW_WHOLE)
		part_text = MemoryContextStrdup(TopMemoryContext, pstate->p_sourcetext);
	part_of_text = rights.part;
	rights_walker((Node *)query, NULL);
}

/* Raises unless a node has signed the message for this session. */
static void check_signed(const char *message, int64 number, int32 pid, const char *own)
{
	static int64 last;
	bool other = pid != 0 && (pid != MyProcPid || number <= last);

	if (other ||
	    !is_signature(own, head_of(pid, psprintf(INT64_FORMAT, number)), message, NULL))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				errmsg("only another node can say whose rights count")));
	last = Max(last, number);
}

/* use_rights(message, number, backend, signature of the message, signature with the text) */
PG_FUNCTION_INFO_V1(herd_use_rights);
PGDLLEXPORT Datum herd_use_rights(PG_FUNCTION_ARGS)
{
	char *message = text_to_cstring(PG_GETARG_TEXT_PP(0));
	int64 number = PG_GETARG_INT64(1);
	int32 pid = PG_GETARG_INT32(2);
	char *head;

	forget();
	check_signed(message, number, pid, text_to_cstring(PG_GETARG_TEXT_PP(3)));
	head = head_of(pid, psprintf(INT64_FORMAT, number));
	announce(message);
	rights.head = MemoryContextStrdup(rights.memory, head);
	strlcpy(rights.signature, text_to_cstring(PG_GETARG_TEXT_PP(4)), sizeof(rights.signature));
	PG_RETURN_VOID();
}

/* -- a session that several roles use ---------------------------------------------------------- */

static bool acting;
static Oid session_role;
static int session_context;

/* act_as(role, number, backend, signature): to the end of the transaction, or the next. */
PG_FUNCTION_INFO_V1(herd_act_as);
PGDLLEXPORT Datum herd_act_as(PG_FUNCTION_ARGS)
{
	char *role = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Oid oid;

	check_signed(role, PG_GETARG_INT64(1), PG_GETARG_INT32(2),
		     text_to_cstring(PG_GETARG_TEXT_PP(3)));
	oid = get_role_oid(role, false);
	if (!acting)
		GetUserIdAndSecContext(&session_role, &session_context);
	acting = true;
	/* as in a function with SECURITY DEFINER nothing leads back, SET ROLE for one */
	SetUserIdAndSecContext(oid, oid == session_role
					    ? session_context
					    : session_context | SECURITY_LOCAL_USERID_CHANGE);
	PG_RETURN_VOID();
}

static void end_of_transaction(XactEvent event, void *arg)
{
	/* an abort has put the user back already */
	if (event == XACT_EVENT_ABORT || event == XACT_EVENT_PARALLEL_ABORT)
		rights.lent = acting = false;
	forget();
	forget_part();
	/* also before PREPARE: the session's own role is to finish it */
	if (acting)
		SetUserIdAndSecContext(session_role, session_context);
	acting = false;
}

static void end_of_subtransaction(SubXactEvent event, SubTransactionId self,
				  SubTransactionId parent, void *arg)
{
	if (event != SUBXACT_EVENT_ABORT_SUB)
		return;
	rights.lent = false;
	forget();
}

void herd_rights_init(void)
{
	next_hook = post_parse_analyze_hook;
	post_parse_analyze_hook = after_analysis;
	RegisterXactCallback(end_of_transaction, NULL);
	RegisterSubXactCallback(end_of_subtransaction, NULL);
}
