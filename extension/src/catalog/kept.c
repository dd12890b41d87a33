#include "catalog/kept.h"

#include "attach/attach.h"
#include "ddl/local.h"
#include "ddl/partition.h"
#include "ddl/shape.h"
#include "utils/builtins.h"

static char *oid_list(List *oids)
{
	StringInfoData out;
	ListCell *lc;

	initStringInfo(&out);
	foreach (lc, oids)
		appendStringInfo(&out, "%s%u", out.len ? ", " : "", lfirst_oid(lc));
	return out.data;
}

char *herd_kept_with_partitions(List *tables)
{
	List *all = NIL;
	ListCell *lc;

	foreach (lc, tables)
		all = list_concat_unique_oid(all, herd_partition_tree(lfirst_oid(lc)));
	return oid_list(all);
}

void herd_kept_take_away(HerdKept *kept)
{
	char *oids = herd_kept_with_partitions(kept->tables);
	ListCell *lc;

	if (kept->tables == NIL)
		return;
	foreach (lc,
		 herd_sql_rows("SELECT conrelid::oid::text, conname::text, "
			       "pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = "
			       "'f' AND conparentid = 0 AND conrelid <> confrelid AND (conrelid "
			       "IN (%s) OR confrelid IN (%s)) ORDER BY oid",
			       oids, oids)) {
		char **row = lfirst(lc);

		row[0] = herd_shape_name(atooid(row[0]), 0);
		kept->keys = lappend(kept->keys, row);
	}
	foreach (lc,
		 herd_sql_rows(
			 "WITH RECURSIVE v AS (SELECT r.ev_class AS oid FROM pg_depend d JOIN "
			 "pg_rewrite r ON r.oid = d.objid WHERE d.classid = 'pg_rewrite'::regclass "
			 "AND d.refclassid = 'pg_class'::regclass AND d.refobjid IN (%s) AND "
			 "r.ev_class <> d.refobjid UNION SELECT r.ev_class FROM v JOIN pg_depend d "
			 "ON d.refobjid = v.oid AND d.refclassid = 'pg_class'::regclass AND "
			 "d.classid = 'pg_rewrite'::regclass JOIN pg_rewrite r ON r.oid = d.objid) "
			 "SELECT format('SELECT citus_internal.try_ddl(NULL, %%L::text[])', "
			 "citus_internal.view_commands(c.oid)) FROM v JOIN pg_class c USING (oid) "
			 "WHERE c.relkind = 'v' ORDER BY c.oid",
			 oids))
		kept->views = lappend(kept->views, ((char **)lfirst(lc))[0]);
	foreach (lc, kept->keys) {
		char **key = lfirst(lc);

		herd_sql_exec("ALTER TABLE %s DROP CONSTRAINT %s", key[0],
			      quote_identifier(key[1]));
	}
	kept->policies = herd_attach_policies_reading(oids);
	foreach (lc, kept->policies)
		herd_sql_exec("%s", ((char **)lfirst(lc))[0]);
}

void herd_kept_put_back(const HerdKept *kept)
{
	ListCell *lc;

	foreach (lc, kept->keys) {
		char **key = lfirst(lc);

		herd_sql_exec("ALTER TABLE %s ADD CONSTRAINT %s %s", key[0],
			      quote_identifier(key[1]), key[2]);
	}
	herd_ddl_send(NULL, kept->views);
	foreach (lc, kept->policies)
		herd_sql_exec("%s", ((char **)lfirst(lc))[1]);
}
