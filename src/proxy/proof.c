#include "proxy/proof.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "wire/msg.h"

/*
 * Everything that can run a function: the functions called and the defaults of their arguments,
 * aggregates' parts, operators, the input and output of types, casts, domains' checks, fields that
 * may be functions of a row, and all of that in views and policies. Function oids inside stored
 * expressions are read from their text form, since dependencies on built-in ones are not recorded.
 */
#define IN_TEXT(text, keys) "pg_catalog.regexp_matches(" text "::text, ':(?:" keys ") (\\d+)', 'g')"
#define CALLS "funcid|opfuncid|winfnoid|aggfnoid"

/* clang-format off */
static const char proof_sql[] =
	"WITH RECURSIVE n AS (SELECT k, NULLIF(s, '') AS s, nm FROM ROWS FROM "
	"(pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[]), "
	"pg_catalog.unnest($3::text[])) AS u(k, s, nm)), volatile_proc AS MATERIALIZED (SELECT "
	"oid, proname FROM pg_catalog.pg_proc WHERE provolatile = 'v' AND NOT (pronamespace = "
	"11 AND proname IN ('random', 'clock_timestamp', 'timeofday', 'gen_random_uuid', "
	"'pg_sleep'))), "
	/* volatile by itself or by a part of it */
	"bad_proc AS MATERIALIZED (SELECT oid FROM volatile_proc UNION SELECT a.aggfnoid FROM "
	"pg_catalog.pg_aggregate a JOIN volatile_proc v ON v.oid IN (a.aggtransfn, "
	"a.aggfinalfn, a.aggcombinefn, a.aggserialfn, a.aggdeserialfn, a.aggmtransfn, "
	"a.aggminvtransfn, a.aggmfinalfn) UNION SELECT p.oid FROM pg_catalog.pg_proc p, LATERAL "
	IN_TEXT("p.proargdefaults", CALLS) " m WHERE p.pronargdefaults > 0 AND m[1]::oid IN "
	"(SELECT oid FROM volatile_proc)), bad_type AS MATERIALIZED (SELECT t.oid, t.typname, "
	"t.typnamespace FROM pg_catalog.pg_type t WHERE t.typinput IN (SELECT oid FROM "
	"volatile_proc) OR t.typoutput IN (SELECT oid FROM volatile_proc) OR t.typreceive IN "
	"(SELECT oid FROM volatile_proc) OR t.typsend IN (SELECT oid FROM volatile_proc) OR "
	"EXISTS (SELECT 1 FROM pg_catalog.pg_cast c WHERE c.casttarget = t.oid AND c.castfunc "
	"IN (SELECT oid FROM volatile_proc)) OR EXISTS (SELECT 1 FROM pg_catalog.pg_constraint "
	"k, LATERAL " IN_TEXT("k.conbin", CALLS) " m WHERE k.contypid = t.oid AND m[1]::oid IN "
	"(SELECT oid FROM bad_proc))), rel AS (SELECT c.oid FROM n JOIN pg_catalog.pg_class c "
	"ON c.relname = n.nm JOIN pg_catalog.pg_namespace ns ON ns.oid = c.relnamespace WHERE "
	"n.k IN ('r', 'c') AND (n.s IS NULL OR ns.nspname = n.s) AND c.relkind IN ('r', 'p', "
	"'v', 'm', 'f', 'S') UNION SELECT x.oid FROM rel, LATERAL (SELECT i.inhrelid AS oid "
	"FROM pg_catalog.pg_inherits i WHERE i.inhparent = rel.oid UNION ALL SELECT m[1]::oid "
	"FROM pg_catalog.pg_rewrite w, pg_catalog.pg_class v, LATERAL "
	IN_TEXT("w.ev_action", "relid") " m WHERE w.ev_class = rel.oid AND v.oid = rel.oid AND "
	"v.relkind = 'v' AND m[1] <> '0') x), "
	/* the expressions behind them */
	"stored AS (SELECT rel.oid, w.ev_action::text AS t FROM rel JOIN pg_catalog.pg_rewrite "
	"w ON w.ev_class = rel.oid JOIN pg_catalog.pg_class v ON v.oid = rel.oid AND v.relkind "
	"= 'v' UNION ALL SELECT rel.oid, p.polqual::text FROM rel JOIN pg_catalog.pg_policy p "
	"ON p.polrelid = rel.oid) SELECT pg_catalog.min(why) FROM (SELECT 'function ' || nm || "
	"' is not known' AS why FROM n WHERE k = 'f' AND NOT EXISTS (SELECT 1 FROM "
	"pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace ns ON ns.oid = p.pronamespace WHERE "
	"p.proname = n.nm AND (n.s IS NULL OR ns.nspname = n.s)) UNION ALL SELECT 'function ' "
	"|| nm || ' is volatile' FROM n WHERE k = 'f' AND EXISTS (SELECT 1 FROM "
	"pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace ns ON ns.oid = p.pronamespace JOIN "
	"bad_proc b ON b.oid = p.oid WHERE p.proname = n.nm AND (n.s IS NULL OR ns.nspname = "
	"n.s)) UNION ALL SELECT 'operator ' || nm || ' is not known' FROM n WHERE k = 'o' AND "
	"NOT EXISTS (SELECT 1 FROM pg_catalog.pg_operator o WHERE o.oprname = n.nm) UNION ALL "
	"SELECT 'operator ' || nm || ' is volatile' FROM n WHERE k = 'o' AND EXISTS (SELECT 1 "
	"FROM pg_catalog.pg_operator o JOIN bad_proc b ON b.oid = o.oprcode WHERE o.oprname = "
	"n.nm) UNION ALL SELECT 'type ' || nm || ' is not known' FROM n WHERE k = 't' AND NOT "
	"EXISTS (SELECT 1 FROM pg_catalog.pg_type t WHERE t.typname = n.nm) UNION ALL SELECT "
	"'type ' || nm || ' has volatile functions' FROM n WHERE k = 't' AND EXISTS (SELECT 1 "
	"FROM bad_type b WHERE b.typname = n.nm) UNION ALL SELECT 'an implicit cast is "
	"volatile' FROM pg_catalog.pg_cast c WHERE c.castcontext = 'i' AND c.castfunc IN "
	"(SELECT oid FROM volatile_proc) UNION ALL SELECT 'field ' || nm || ' may be a volatile "
	"function' FROM n WHERE k = 'a' AND EXISTS (SELECT 1 FROM pg_catalog.pg_proc p JOIN "
	"bad_proc b ON b.oid = p.oid JOIN pg_catalog.pg_type t ON t.oid = p.proargtypes[0] "
	"WHERE p.proname = n.nm AND p.pronargs > 0 AND p.pronargs - p.pronargdefaults <= 1 AND "
	"t.typtype IN ('c', 'p')) UNION ALL SELECT 'relation ' || nm || ' is not known' FROM n "
	"WHERE k = 'r' AND NOT EXISTS (SELECT 1 FROM n q WHERE q.k = 'c' AND q.nm = n.nm) AND "
	"NOT EXISTS (SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace ns ON "
	"ns.oid = c.relnamespace WHERE c.relname = n.nm AND (n.s IS NULL OR ns.nspname = n.s)) "
	"UNION ALL SELECT 'relation ' || c.relname || CASE WHEN c.relpersistence = 't' THEN ' "
	"is temporary' WHEN c.relpersistence = 'u' THEN ' is unlogged' WHEN c.relkind = 'f' "
	"THEN ' is a foreign table' WHEN c.relkind = 'S' THEN ' is a sequence' ELSE ' tells of "
	"the server' END FROM rel JOIN pg_catalog.pg_class c ON c.oid = rel.oid WHERE "
	"c.relpersistence <> 'p' OR c.relkind NOT IN ('r', 'p', 'v', 'm') OR (c.relnamespace = "
	"11 AND c.relkind = 'v') UNION ALL SELECT 'relation ' || c.relname || ' calls volatile "
	"functions' FROM stored s JOIN pg_catalog.pg_class c ON c.oid = s.oid, LATERAL "
	IN_TEXT("s.t", CALLS) " m WHERE m[1]::oid IN (SELECT oid FROM bad_proc) UNION ALL "
	"SELECT 'relation ' || c.relname || ' casts by volatile functions' FROM stored s JOIN "
	"pg_catalog.pg_class c ON c.oid = s.oid, LATERAL " IN_TEXT("s.t", "resulttype") " m "
	"WHERE m[1]::oid IN (SELECT oid FROM bad_type) UNION ALL SELECT 'relation ' || "
	"c.relname || ' locks rows' FROM stored s JOIN pg_catalog.pg_class c ON c.oid = s.oid "
	"WHERE s.t LIKE '%:hasForUpdate true%' UNION ALL SELECT 'relation ' || c.relname || ' "
	"has columns with volatile functions' FROM rel JOIN pg_catalog.pg_class c ON c.oid = "
	"rel.oid JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT "
	"a.attisdropped WHERE a.atttypid IN (SELECT oid FROM bad_type)) reasons";
/* clang-format on */

struct proof {
	struct herd_buf query; /* Parse to Sync */
	char *why, *error;
	herd_proof_fn fn;
	void *arg;
};

static void free_proof(struct proof *p)
{
	herd_buf_free(&p->query);
	free(p->why);
	free(p->error);
	free(p);
}

/* A text[] in text form. */
static void array_item(struct herd_buf *b, bool first, const char *text)
{
	herd_buf_addstr(b, first ? "{\"" : ",\"");
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			herd_buf_addc(b, '\\');
		herd_buf_addc(b, *text);
	}
	herd_buf_addc(b, '"');
}

static void bind_array(struct herd_buf *b, const struct herd_readonly *r, int which)
{
	struct herd_buf a = { 0 };

	for (size_t i = 0; i < r->n; i++) {
		const struct herd_name *n = &r->names[i];
		char kind[2] = { n->kind, '\0' };

		array_item(&a, i == 0,
			   which == 0   ? kind
			   : which == 1 ? (n->schema ? n->schema : "")
					: n->name);
	}
	herd_buf_addstr(&a, "}");
	herd_wr_u32(b, (uint32_t)a.len);
	herd_buf_add(b, herd_buf_str(&a), a.len);
	if (!herd_buf_ok(&a))
		b->failed = true;
	herd_buf_free(&a);
}

static void write_query(struct herd_buf *b, const struct herd_readonly *r)
{
	herd_wr_parse_sql(b, "", proof_sql);
	size_t mark = herd_wr_begin(b, 'B');

	herd_wr_str(b, "");
	herd_wr_str(b, "");
	herd_wr_u16(b, 0);
	herd_wr_u16(b, 3);
	for (int i = 0; i < 3; i++)
		bind_array(b, r, i);
	herd_wr_u16(b, 0);
	herd_wr_end(b, mark);
	herd_wr_execute(b);
}

static void start(struct herd_client *ic, struct herd_buf *out)
{
	struct proof *p = ic->internal->arg;

	/* It may be the second time: the first server went away. */
	herd_str_set(&p->error, NULL);
	herd_str_set(&p->why, NULL);
	herd_buf_add(out, herd_buf_str(&p->query), p->query.len);
	herd_flight_push_query(&ic->server->flight);
}

static void message(struct herd_client *ic, char type, const void *body, size_t n)
{
	struct proof *p = ic->internal->arg;
	struct herd_rd r = herd_rd_init(body, n);
	struct herd_report e;

	if (type == 'E' && herd_report_parse(body, n, &e) == 0)
		herd_str_set(&p->error, e.msg);
	if (type != 'D' || herd_rd_u16(&r) < 1)
		return;
	uint32_t len = herd_rd_u32(&r);
	const char *v = len == UINT32_MAX ? NULL : herd_rd_bytes(&r, len);

	free(p->why);
	p->why = v ? strndup(v, len) : NULL;
	if (v && !p->why)
		herd_str_set(&p->error, "out of memory");
}

static void end(struct herd_client *ic, const char *error)
{
	struct proof *p = ic->internal->arg;
	char *why = p->why;

	p->why = NULL;
	p->fn(p->arg, why, error ? error : p->error);
	free_proof(p);
	herd_client_close(ic, NULL);
}

void herd_proof_start(struct herd_worker *w, struct herd_db *db, const char *user,
		      const struct herd_readonly *r, herd_proof_fn fn, void *arg)
{
	struct proof *p = calloc(1, sizeof(*p));
	struct herd_internal in = { .message = message, .end = end, .start = start, .arg = p };
	struct herd_client *ic = NULL;

	if (p) {
		p->fn = fn;
		p->arg = arg;
		write_query(&p->query, r);
		if (herd_buf_ok(&p->query))
			ic = herd_client_internal(w, db, user, &in);
	}
	if (!ic) {
		if (p)
			free_proof(p);
		fn(arg, NULL, "out of memory");
		return;
	}
	herd_client_wake(ic);
}
