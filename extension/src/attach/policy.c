/*
 * Policies: those of a table are made anew for each of its shards. What they read is on every node
 * (reference tables), or in the shard of a co-located table beside it. Others are false there, so
 * that who reads a shard himself sees rather too little; statements on the table itself have their
 * conditions from the node that plans: plan/policies.h.
 */
#include "attach/attach.h"

#include "access/attmap.h"
#include "access/relation.h"
#include "access/sysattr.h"
#include "ddl/local.h"
#include "ddl/shape.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parsetree.h"
#include "plan/leaves.h"
#include "plan/part.h"
#include "rewrite/rewriteManip.h"
#include "rewrite/rowsecurity.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"

static void refuse(Oid relid, const char *name, const char *why, const char *hint)
{
	ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			errmsg("%s \"%s\" on distributed table \"%s\" is not supported", "policy",
			       name, get_rel_name(relid)),
			errdetail("%s", why), errhint("%s", hint)));
}

/* Other nodes do not have it. */
static void refuse_reading(Oid relid, const char *name, Oid read)
{
	char *what = quote_qualified_identifier(get_namespace_name(get_rel_namespace(read)),
						get_rel_name(read));

	if (get_rel_relkind(read) == RELKIND_VIEW)
		refuse(relid, name, psprintf("It reads temporary view %s.", what),
		       "Write the view's query into the policy.");
	if (get_rel_relkind(read) == RELKIND_MATVIEW)
		refuse(relid, name, psprintf("It reads materialized view %s.", what),
		       "Use a view, or a reference or distributed table.");
	refuse(relid, name, psprintf("It reads local table %s.", what),
	       "Use citus_add_local_table_to_metadata for it, or make it a reference or a "
	       "distributed table.");
}

static Oid shard_of(Oid relid, uint64 shardid)
{
	Oid shard = get_relname_relid(herd_shard_name(get_rel_name(relid), shardid),
				      get_rel_namespace(relid));

	if (!OidIsValid(shard))
		elog(ERROR, "shard " UINT64_FORMAT " of table \"%s\" is not on this node", shardid,
		     get_rel_name(relid));
	return shard;
}

static void refuse_join(Oid relid)
{
	ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			errmsg("policies with joins are not supported on distributed table \"%s\"",
			       get_rel_name(relid)),
			errdetail("Columns were dropped before it was distributed."),
			errhint("Undistribute and distribute it again, or use IN or EXISTS.")));
}

/*
 * PostgreSQL prints the columns of an expression with a subquery, and whole rows, under the name of
 * their table, so it is printed for the shard itself, which is on this node. Columns that had been
 * dropped before a table was distributed are not in its shards, and later ones have other numbers.
 */
static Node *columns_of_shard(Node *node, int varno, Oid relid, Oid shard, bool joins)
{
	Relation a = relation_open(relid, AccessShareLock);
	Relation b = relation_open(shard, AccessShareLock);
	TupleDesc table = RelationGetDescr(a), own = RelationGetDescr(b);
	AttrMap *map = make_attrmap(table->natts);
	bool whole, differs = table->natts != own->natts;

	for (int i = 0; differs && i < table->natts; i++) {
		Form_pg_attribute att = TupleDescAttr(table, i);

		if (!att->attisdropped)
			map->attnums[i] = get_attnum(shard, NameStr(att->attname));
	}
	if (differs && joins)
		refuse_join(relid);
	if (differs)
		node = map_variable_attnos(node, varno, 0, map, InvalidOid, &whole);
	free_attrmap(map);
	relation_close(b, NoLock);
	relation_close(a, NoLock);
	return node;
}

static bool has_join(const Query *query)
{
	const ListCell *lc;

	foreach (lc, query->rtable)
		if (lfirst_node(RangeTblEntry, lc)->rtekind == RTE_JOIN)
			return true;
	return false;
}

static bool is_sharded(Oid relid)
{
	const HerdTable *table = herd_table_get(relid);

	return table != NULL && table->kind != HERD_TABLE_REFERENCE;
}

static bool sharded_walker(Node *node, void *context)
{
	ListCell *lc;

	if (node == NULL)
		return false;
	if (!IsA(node, Query))
		return expression_tree_walker(node, sharded_walker, context);
	foreach (lc, ((Query *)node)->rtable) {
		RangeTblEntry *rte = lfirst(lc);

		if (rte->rtekind == RTE_RELATION && is_sharded(rte->relid))
			return true;
	}
	return query_tree_walker((Query *)node, sharded_walker, context, 0);
}

/* True if each shard has all that the condition asks of other tables about its own rows. */
static bool stays_in_shard(Oid relid, Node *condition)
{
	Query *query = makeNode(Query);
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	RangeTblRef *ref = makeNode(RangeTblRef);
	HerdLevel level = { .query = query };
	HerdPart part;
	List *facts;
	ListCell *lc;

	rte->rtekind = RTE_RELATION;
	rte->relid = relid;
	rte->relkind = get_rel_relkind(relid);
	rte->rellockmode = AccessShareLock;
	rte->eref = makeAlias(get_rel_name(relid), NIL);
	ref->rtindex = 1;
	query->commandType = CMD_SELECT;
	query->rtable = list_make1(rte);
	query->jointree = makeFromExpr(list_make1(ref), condition);
	query->hasSubLinks = true;
	facts = herd_facts_of_query(&level, NIL);
	part = herd_part_from(&level, (Node *)query->jointree, facts);
	foreach (lc, herd_part_bad_sublinks(&level, &part, facts, NULL))
		if (sharded_walker(((HerdSublink *)lfirst(lc))->sublink->subselect, NULL))
			return false;
	return true;
}

static bool tableoid_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
		return ((Var *)node)->varattno == TableOidAttributeNumber;
	if (IsA(node, Query))
		return query_tree_walker((Query *)node, tableoid_walker, context, 0);
	return expression_tree_walker(node, tableoid_walker, context);
}

static bool elsewhere_walker(Node *node, void *context)
{
	const HerdTable *table = context;
	ListCell *lc;

	if (node == NULL)
		return false;
	if (!IsA(node, Query))
		return expression_tree_walker(node, elsewhere_walker, context);
	foreach (lc, ((Query *)node)->rtable) {
		RangeTblEntry *rte = lfirst(lc);
		const HerdTable *other;

		if (rte->rtekind != RTE_RELATION)
			continue;
		other = herd_table_get(rte->relid);
		if (other == NULL ||
		    (other->kind != HERD_TABLE_REFERENCE && other->relid != table->relid &&
		     (other->kind != table->kind || table->colocationid == 0 ||
		      other->colocationid != table->colocationid)))
			return true;
	}
	return query_tree_walker((Query *)node, elsewhere_walker, context, 0);
}

/* True if a shard of the table lacks rows that the condition reads. */
static bool is_far(const HerdTable *table, Node *condition)
{
	if (elsewhere_walker(condition, (void *)table))
		return true;
	return table->kind == HERD_TABLE_HASH && sharded_walker(condition, NULL) &&
	       !stays_in_shard(table->relid, condition);
}

bool herd_attach_policies_far(Oid relid)
{
	const HerdTable *table = herd_table_get(relid);
	Relation rel = relation_open(relid, NoLock);
	bool far = false;
	ListCell *lc;

	foreach (lc, rel->rd_rsdesc ? rel->rd_rsdesc->policies : NIL) {
		const RowSecurityPolicy *policy = lfirst(lc);

		far = far ||
		      (policy->hassublinks && (is_far(table, (Node *)policy->qual) ||
					       is_far(table, (Node *)policy->with_check_qual)));
	}
	relation_close(rel, NoLock);
	return far;
}

static void check_condition(Oid relid, const char *name, Node *condition)
{
	if (tableoid_walker(condition, NULL))
		refuse(relid, name, "It uses tableoid, and shards have tableoids of their own.",
		       "Compare a column.");
}

/* Tables of the query become the shards beside this one. context: the index of it. */
static bool to_shards_walker(Node *node, void *context)
{
	Query *query = (Query *)node;

	if (node == NULL)
		return false;
	if (!IsA(node, Query))
		return expression_tree_walker(node, to_shards_walker, context);
	for (int varno = 1; varno <= list_length(query->rtable); varno++) {
		RangeTblEntry *rte = rt_fetch(varno, query->rtable);
		const HerdTable *table;
		Oid relid = rte->relid, shard;

		if (rte->rtekind != RTE_RELATION || !is_sharded(relid))
			continue;
		table = herd_table_get(relid);
		shard = shard_of(relid, table->shards[*(int *)context].shardid);
		rte->relid = shard;
		*query = *(Query *)columns_of_shard((Node *)query, varno, relid, shard,
						    has_join(query));
	}
	return query_tree_walker(query, to_shards_walker, context, 0);
}

/* " USING (..)", or nothing. tree: as pg_policy has it, or NULL. */
static char *condition(Oid relid, uint64 shardid, const char *name, const char *clause, char *tree,
		       bool subquery)
{
	Node *node;
	const HerdTable *table;
	int index;
	Oid shard;

	if (tree == NULL)
		return "";
	node = stringToNode(tree);
	if (shardid && subquery) {
		check_condition(relid, name, node);
		if (!herd_shard_find(shardid, &table, &index))
			elog(ERROR, "shard " UINT64_FORMAT " is not known", shardid);
		if (is_far(table, node))
			return psprintf(" %s (false)", clause);
		shard = shard_of(relid, shardid);
		node = columns_of_shard(node, 1, relid, shard, false);
		relid = shard;
		to_shards_walker(node, &index);
	}
	return psprintf(" %s (%s)", clause,
			deparse_expression(node, deparse_context_for(get_rel_name(relid), relid),
					   false, false));
}

static char *policy(Oid relid, uint64 shardid, char **row)
{
	const char *command = "ALL";
	bool subquery = row[4][0] == 't';

	switch (row[1][0]) {
	case 'r':
		command = "SELECT";
		break;
	case 'a':
		command = "INSERT";
		break;
	case 'w':
		command = "UPDATE";
		break;
	case 'd':
		command = "DELETE";
		break;
	default:
		break;
	}
	return psprintf("CREATE POLICY %s ON %s AS %s FOR %s TO %s%s%s", row[0],
			herd_shape_name(relid, shardid),
			row[2][0] == 't' ? "PERMISSIVE" : "RESTRICTIVE", command, row[3],
			condition(relid, shardid, row[0], "USING", row[5], subquery),
			condition(relid, shardid, row[0], "WITH CHECK", row[6], subquery));
}

/* r: what each policy reads, itself and through views. */
#define POLICIES_READ                                                                              \
	"WITH RECURSIVE r(policy, oid) AS (SELECT p.oid, d.refobjid FROM pg_policy p JOIN "        \
	"pg_depend d ON d.classid = 'pg_policy'::regclass AND d.objid = p.oid AND d.refclassid "   \
	"= 'pg_class'::regclass WHERE d.refobjid <> p.polrelid UNION SELECT r.policy, d.refobjid " \
	"FROM r JOIN pg_rewrite w ON w.ev_class = r.oid AND w.ev_type = '1' JOIN pg_depend d ON "  \
	"d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid AND d.refclassid = "               \
	"'pg_class'::regclass AND d.refobjid <> r.oid) "

/*
 * row: name, command, permissive, roles, has a subquery or a whole row, conditions. reads: those
 * that read one of these tables ("1, 2"); NULL: all.
 */
static List *policy_rows(Oid relid, const char *reads)
{
	return herd_sql_rows(
		"%sSELECT quote_ident(polname), polcmd, polpermissive, (SELECT string_agg(CASE "
		"WHEN "
		"r = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(r)) END, ', ') FROM "
		"unnest(polroles) r), concat(polqual, polwithcheck) ~ '\\{SUBLINK |:varattno "
		"0 ', polqual, polwithcheck "
		"FROM pg_policy WHERE polrelid = %u%s ORDER BY polname",
		reads ? POLICIES_READ : "", relid,
		reads ? psprintf(" AND oid IN (SELECT policy FROM r WHERE oid <> %u AND oid IN "
				 "(%s))",
				 relid, reads)
		      : "");
}

List *herd_attach_policies_read(Oid relid)
{
	List *out = NIL;
	ListCell *lc;

	foreach (lc, herd_sql_rows(POLICIES_READ "SELECT DISTINCT r.oid FROM pg_policy p JOIN r ON "
						 "r.policy = p.oid WHERE polrelid = %u ORDER BY 1",
				   relid))
		out = lappend_oid(out, atooid(((char **)lfirst(lc))[0]));
	return out;
}

/* A new node has no views when it gets its tables: it takes those that it can. */
static List *views_read(Oid relid)
{
	List *out = NIL;
	ListCell *lc;

	foreach (lc,
		 herd_sql_rows(POLICIES_READ
			       "SELECT format('SELECT citus_internal.try_ddl(NULL, "
			       "%%L::text[])', citus_internal.view_commands(oid)) FROM pg_class "
			       "WHERE relkind = 'v' AND oid IN (SELECT r.oid FROM pg_policy p "
			       "JOIN r ON r.policy = p.oid WHERE polrelid = %u) AND "
			       "relnamespace <> 'information_schema'::regnamespace AND NOT "
			       "EXISTS (SELECT FROM pg_depend WHERE classid = "
			       "'pg_class'::regclass AND objid = pg_class.oid AND deptype = 'e') "
			       "ORDER BY oid",
			       relid))
		out = lappend(out, ((char **)lfirst(lc))[0]);
	return out;
}

List *herd_attach_policies(Oid relid, uint64 shardid)
{
	Relation rel = relation_open(relid, AccessShareLock);
	char *name = herd_shape_name(relid, shardid);
	List *out = shardid ? NIL : views_read(relid);
	ListCell *lc;

	foreach (lc, policy_rows(relid, NULL)) {
		char **row = lfirst(lc);

		out = lappend(out, psprintf("DROP POLICY IF EXISTS %s ON %s", row[0], name));
		out = lappend(out, policy(relid, shardid, row));
	}
	if (rel->rd_rel->relrowsecurity)
		out = lappend(out, psprintf("ALTER TABLE %s ENABLE ROW LEVEL SECURITY", name));
	if (rel->rd_rel->relforcerowsecurity)
		out = lappend(out, psprintf("ALTER TABLE %s FORCE ROW LEVEL SECURITY", name));
	relation_close(rel, AccessShareLock);
	return out;
}

/* Other nodes have views of what they know. */
static bool nodes_have(Oid read)
{
	return herd_table_get(read) != NULL || (get_rel_relkind(read) == RELKIND_VIEW &&
						get_rel_persistence(read) != RELPERSISTENCE_TEMP);
}

void herd_attach_check(Oid relid)
{
	ListCell *lc;

	foreach (lc, herd_sql_rows(POLICIES_READ "SELECT DISTINCT polname, r.oid FROM pg_policy p "
						 "JOIN r ON r.policy = p.oid WHERE polrelid = %u",
				   relid)) {
		char **row = lfirst(lc);

		if (!nodes_have(atooid(row[1])))
			refuse_reading(relid, row[0], atooid(row[1]));
	}
	foreach (lc, policy_rows(relid, NULL)) {
		char **row = lfirst(lc);

		for (int i = 5; i < 7; i++)
			if (row[i] != NULL)
				check_condition(relid, row[0], stringToNode(row[i]));
	}
}

/* Of Oid: tables with policies that read one of these ("1, 2"), but their own. */
static List *readers_of(const char *oids)
{
	List *out = NIL;
	ListCell *lc;

	foreach (lc, herd_sql_rows(POLICIES_READ "SELECT DISTINCT polrelid FROM pg_policy p JOIN r "
						 "ON r.policy = p.oid WHERE polrelid <> r.oid AND "
						 "r.oid IN (%s) ORDER BY 1",
				   oids))
		out = lappend_oid(out, atooid(((char **)lfirst(lc))[0]));
	return out;
}

void herd_attach_check_view(Oid view)
{
	ListCell *lc;

	foreach (lc, readers_of(psprintf("%u", view)))
		if (herd_table_get(lfirst_oid(lc)) != NULL)
			herd_attach_check(lfirst_oid(lc));
}

List *herd_attach_policies_reading(const char *oids)
{
	int level = herd_shape_begin();
	List *out = NIL;
	ListCell *reader, *lc;

	foreach (reader, readers_of(oids)) {
		Oid relid = lfirst_oid(reader);

		foreach (lc, policy_rows(relid, oids)) {
			char **row = lfirst(lc), **both = palloc(2 * sizeof(char *));

			both[0] =
				psprintf("DROP POLICY %s ON %s", row[0], herd_shape_name(relid, 0));
			both[1] = policy(relid, 0, row);
			out = lappend(out, both);
		}
	}
	herd_shape_end(level);
	return out;
}

void herd_attach_check_undistribute(Oid relid)
{
	ListCell *lc;

	foreach (lc, readers_of(psprintf("%u", relid)))
		if (herd_table_get(lfirst_oid(lc)) != NULL)
			ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot undistribute table \"%s\": policies of table "
					"\"%s\" read it",
					get_rel_name(relid), get_rel_name(lfirst_oid(lc))),
				 errhint("Undistribute that table before, or drop the policies.")));
}

void herd_attach_new_colocation(Oid relid)
{
	ListCell *lc;

	foreach (lc, lcons_oid(relid, readers_of(psprintf("%u", relid)))) {
		const HerdTable *table = herd_table_get(lfirst_oid(lc));

		if (table == NULL || policy_rows(table->relid, NULL) == NIL)
			continue;
		herd_attach_policies_anew(table);
	}
}
