#include "ingest/raw.h"

#include "access/sysattr.h"
#include "catalog/pg_type.h"
#include "commands/copyfrom_internal.h"
#include "commands/progress.h"
#include "ddl/shape.h"
#include "exec/shardcopy.h"
#include "executor/executor.h"
#include "ingest/lines.h"
#include "ingest/source.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "utils/backend_progress.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"

/* The expression for a column that the data does not have (defmap's element i). */
#if PG_VERSION_NUM >= 160000
#define DEFAULT_EXPR(cstate, i) ((cstate)->defexprs[(cstate)->defmap[i]])
#else
#define DEFAULT_EXPR(cstate, i) ((cstate)->defexprs[i])
#endif

typedef struct Raw {
	CopyFromState cstate;
	const HerdTable *table;
	HerdShardCopy *copy;
	HerdLines lines;
	int key; /* field of the distribution column, -1 without one */
	Form_pg_attribute keyatt;
	bool force_notnull, force_null;
	StringInfoData field, value, prefix;
	FmgrInfo *outputs; /* of the defaults */
	EState *estate;
	MemoryContext row_cxt;
	uint64 rows;
} Raw;

/* -- when and how ------------------------------------------------------------------------------ */

static int field_of(CopyFromState cstate, AttrNumber attno)
{
	ListCell *lc;

	foreach (lc, cstate->attnumlist)
		if (lfirst_int(lc) == attno)
			return foreach_current_index(lc);
	return -1;
}

/* The nodes must come to the same, and know all the names in it. */
static bool where_can_travel(Node *where)
{
	Bitmapset *columns = NULL;

	if (where == NULL)
		return true;
	if (contain_mutable_functions(where))
		return false;
	pull_varattnos(where, 1, &columns);
	return bms_next_member(columns, -1) > -FirstLowInvalidHeapAttributeNumber ||
	       bms_is_empty(columns);
}

static bool changes_errors(CopyFromState cstate)
{
#if PG_VERSION_NUM >= 170000
	if (cstate->opts.on_error != COPY_ON_ERROR_STOP)
		return true;
#endif
#if PG_VERSION_NUM >= 160000
	if (cstate->opts.default_print != NULL)
		return true;
#endif
	return false;
}

bool herd_copy_raw_possible(CopyFromState cstate, const HerdTable *table, Node *where)
{
	return !cstate->opts.binary && !cstate->need_transcoding &&
	       cstate->file_encoding == GetDatabaseEncoding() && !changes_errors(cstate) &&
	       cstate->attnumlist != NIL &&
	       (table->keyattno == 0 || field_of(cstate, table->keyattno) >= 0) &&
	       where_can_travel(where);
}

static const char *char_literal(const char *s)
{
	return quote_literal_cstr(pnstrdup(s, 1));
}

static void append_columns(StringInfo out, const char *option, CopyFromState cstate,
			   const bool *flags)
{
	TupleDesc desc = RelationGetDescr(cstate->rel);
	const char *sep = "";

	for (int i = 0; i < desc->natts; i++) {
		if (!flags[i])
			continue;
		if (!*sep)
			appendStringInfo(out, ", %s (", option);
		appendStringInfo(out, "%s%s", sep,
				 quote_identifier(NameStr(TupleDescAttr(desc, i)->attname)));
		sep = ", ";
	}
	if (*sep)
		appendStringInfoChar(out, ')');
}

const char *herd_copy_common_options(CopyFromState cstate)
{
	return cstate->opts.freeze ? ", FREEZE" : "";
}

/* "(a, b) FROM STDIN WITH (..) WHERE .." */
static char *command_tail(CopyFromState cstate, Node *where)
{
	TupleDesc desc = RelationGetDescr(cstate->rel);
	CopyFormatOptions *opts = &cstate->opts;
	StringInfoData out;
	ListCell *lc;

	initStringInfo(&out);
	for (int i = 0; i < cstate->num_defaults; i++)
		appendStringInfo(
			&out, "%s%s", out.len ? ", " : "(",
			quote_identifier(NameStr(TupleDescAttr(desc, cstate->defmap[i])->attname)));
	foreach (lc, cstate->attnumlist)
		appendStringInfo(&out, "%s%s", out.len ? ", " : "(",
				 quote_identifier(NameStr(
					 TupleDescAttr(desc, lfirst_int(lc) - 1)->attname)));
	appendStringInfo(&out, ") FROM STDIN WITH (FORMAT %s, DELIMITER %s, NULL %s",
			 opts->csv_mode ? "csv" : "text", char_literal(opts->delim),
			 quote_literal_cstr(opts->null_print));
	if (opts->csv_mode) {
		appendStringInfo(&out, ", QUOTE %s, ESCAPE %s", char_literal(opts->quote),
				 char_literal(opts->escape));
		append_columns(&out, "FORCE_NOT_NULL", cstate, opts->force_notnull_flags);
		append_columns(&out, "FORCE_NULL", cstate, opts->force_null_flags);
	}
	appendStringInfo(&out, "%s)", herd_copy_common_options(cstate));
	if (where) {
		Oid relid = RelationGetRelid(cstate->rel);
		List *context = deparse_context_for(RelationGetRelationName(cstate->rel), relid);
		int level = herd_shape_begin();

		appendStringInfo(&out, " WHERE %s",
				 deparse_expression((Node *)make_ands_explicit((List *)where),
						    context, false, false));
		herd_shape_end(level);
	}
	return out.data;
}

/* -- one line ---------------------------------------------------------------------------------- */

/* For the context of an error about the whole line. */
static void show_line(Raw *r, const HerdLine *line)
{
	CopyFromState cstate = r->cstate;

	if (line->start != cstate->line_buf.data) {
		resetStringInfo(&cstate->line_buf);
		appendBinaryStringInfo(&cstate->line_buf, line->start, line->len);
	}
	cstate->line_buf_valid = true;
}

/* Plain decimal integers; others take the type's way. */
static bool simple_integer(const char *s, int len, int digits, int64 *out)
{
	bool negative = len > 0 && *s == '-';
	int64 value = 0;

	if (negative) {
		s++;
		len--;
	}
	if (len == 0 || len > digits)
		return false;
	for (int i = 0; i < len; i++) {
		if (s[i] < '0' || s[i] > '9')
			return false;
		value = value * 10 + (s[i] - '0');
	}
	*out = negative ? -value : value;
	return true;
}

static Datum key_value(Raw *r, const char *s, int len)
{
	CopyFromState cstate = r->cstate;
	int att = r->table->keyattno - 1;
	MemoryContext old;
	int64 number;
	Datum value;

	if (r->table->keytype == INT4OID && simple_integer(s, len, 9, &number))
		return Int32GetDatum((int32)number);
	if (r->table->keytype == INT8OID && simple_integer(s, len, 18, &number))
		return Int64GetDatum(number);
	if (r->value.data != s) {
		resetStringInfo(&r->value);
		appendBinaryStringInfo(&r->value, s, len);
	}
	cstate->cur_attname = NameStr(r->keyatt->attname);
	cstate->cur_attval = r->value.data;
	MemoryContextReset(r->row_cxt);
	old = MemoryContextSwitchTo(r->row_cxt);
	value = InputFunctionCall(&cstate->in_functions[att], r->value.data,
				  cstate->typioparams[att], r->keyatt->atttypmod);
	MemoryContextSwitchTo(old);
	cstate->cur_attname = cstate->cur_attval = NULL;
	return value;
}

/* A null key has no shard: whichever gets it says that the column is NOT NULL, if it is. */
static int null_shard(Raw *r, const HerdLine *line)
{
	if (r->keyatt->attnotnull)
		return 0;
	show_line(r, line);
	ereport(ERROR, (errcode(ERRCODE_NOT_NULL_VIOLATION),
			errmsg("the distribution column of table \"%s\" cannot be null",
			       RelationGetRelationName(r->cstate->rel))));
}

static int shard_of(Raw *r, const HerdLine *line)
{
	CopyFromState cstate = r->cstate;
	const char *s;
	bool isnull;
	int len, n;

	if (r->key < 0)
		return 0;
	n = herd_lines_field(&r->lines, line, r->key, &r->field, &s, &len, &isnull);
	if (n <= r->key) {
		AttrNumber attno = list_nth_int(cstate->attnumlist, n);

		show_line(r, line);
		ereport(ERROR,
			(errcode(ERRCODE_BAD_COPY_FILE_FORMAT),
			 errmsg("missing data for column \"%s\"",
				NameStr(TupleDescAttr(RelationGetDescr(cstate->rel), attno - 1)
						->attname))));
	}
	if (isnull && r->force_notnull) {
		isnull = false;
	} else if (!isnull && r->force_null && len == r->lines.null_len &&
		   memcmp(s, r->lines.null_print, len) == 0) {
		isnull = true;
	}
	if (isnull)
		return null_shard(r, line);
	return herd_table_shard_index(r->table, herd_table_hash(r->table, key_value(r, s, len)));
}

/* What stands before the line: the columns it does not have. */
static void append_defaults(Raw *r, StringInfo out)
{
	CopyFromState cstate = r->cstate;
	ExprContext *econtext = GetPerTupleExprContext(r->estate);
	MemoryContext old;

	ResetPerTupleExprContext(r->estate);
	old = MemoryContextSwitchTo(GetPerTupleMemoryContext(r->estate));
	for (int i = 0; i < cstate->num_defaults; i++) {
		bool isnull;
		Datum value = ExecEvalExpr(DEFAULT_EXPR(cstate, i), econtext, &isnull);

		herd_lines_append(&r->lines, out,
				  isnull ? NULL : OutputFunctionCall(&r->outputs[i], value));
	}
	MemoryContextSwitchTo(old);
}

static void put_line(Raw *r, const HerdLine *line)
{
	CopyFromState cstate = r->cstate;
	StringInfo out;
	int shard;

	cstate->cur_lineno = r->lines.lineno;
	shard = shard_of(r, line);
	if (cstate->num_defaults > 0) {
		/* First: a default may run statements, even on the shards. */
		resetStringInfo(&r->prefix);
		append_defaults(r, &r->prefix);
	}
	out = herd_shard_copy_buffer(r->copy, shard);
	enlargeStringInfo(out, r->prefix.len + line->len + 1);
	memcpy(out->data + out->len, r->prefix.data, r->prefix.len);
	out->len += r->prefix.len;
	memcpy(out->data + out->len, line->start, line->len);
	out->len += line->len;
	out->data[out->len++] = '\n';
	r->rows++;
	herd_shard_copy_added(r->copy, shard, cstate->cur_lineno, line->nlines, line->nfirst);
}

/* -- all lines --------------------------------------------------------------------------------- */

static uint32 count(const HerdLine *line, char c)
{
	uint32 n = 0;

	for (int i = 0; i < line->len; i++)
		n += line->start[i] == c;
	return n;
}

/* PostgreSQL reads the header and the first line, and so finds the kind of line ends. */
static bool put_first(Raw *r)
{
	CopyFromState cstate = r->cstate;
	HerdLine line = { .nlines = 1, .nfirst = 1 };
	char **fields;
	int nfields;

	if (!NextCopyFromRawFields(cstate, &fields, &nfields))
		return false;
	herd_lines_init(&r->lines, cstate);
	line.start = cstate->line_buf.data;
	line.len = cstate->line_buf.len;
	line.plain = memchr(line.start, r->lines.csv ? r->lines.quote : '\\', line.len) == NULL;
	if (r->lines.csv) {
		line.nlines += count(&line, '\n');
		line.nfirst += count(&line, '\r');
	}
	put_line(r, &line);
	return true;
}

/* A line that is longer than what was read before: so much more that it is not seen too often. */
static void read_more(Raw *r, HerdSource *s)
{
	int had = s->len - s->pos;

	do {
		herd_source_more(s);
		pgstat_progress_update_param(PROGRESS_COPY_BYTES_PROCESSED, s->bytes);
	} while (!s->eof && had > 64 * 1024 && s->len - s->pos < 2 * had);
	pgstat_progress_update_param(PROGRESS_COPY_TUPLES_PROCESSED, r->rows);
	herd_lines_moved(&r->lines);
}

static void put_rest(Raw *r)
{
	HerdSource source;
	bool ended = false;

	herd_source_begin(&source, r->cstate);
	while (!ended) {
		HerdLine line = { 0 };

		r->cstate->line_buf_valid = false;
		r->cstate->cur_lineno = r->lines.lineno + 1;
		switch (herd_lines_next(&r->lines, source.data + source.pos,
					source.len - source.pos, source.eof, &line)) {
		case HERD_LINE_MORE:
			read_more(r, &source);
			break;
		case HERD_LINE_ROW:
			put_line(r, &line);
			ended = line.consumed < 0;
			source.pos += line.consumed;
			break;
		case HERD_LINE_END:
			ended = true;
			break;
		}
	}
	herd_source_drain(&source);
}

static void context_callback(void *arg)
{
	Raw *r = arg;

	if (!herd_shard_copy_raising(r->copy))
		CopyFromErrorCallback(r->cstate);
}

static void init(Raw *r, CopyFromState cstate, const HerdTable *table, Node *where)
{
	TupleDesc desc = RelationGetDescr(cstate->rel);

	memset(r, 0, sizeof(*r));
	r->cstate = cstate;
	r->table = table;
	r->key = table->keyattno > 0 ? field_of(cstate, table->keyattno) : -1;
	if (r->key >= 0) {
		r->keyatt = TupleDescAttr(desc, table->keyattno - 1);
		r->force_notnull = cstate->opts.csv_mode &&
				   cstate->opts.force_notnull_flags[table->keyattno - 1];
		r->force_null =
			cstate->opts.csv_mode && cstate->opts.force_null_flags[table->keyattno - 1];
	}
	initStringInfo(&r->field);
	initStringInfo(&r->value);
	initStringInfo(&r->prefix);
	r->outputs = palloc0(Max(cstate->num_defaults, 1) * sizeof(FmgrInfo));
	for (int i = 0; i < cstate->num_defaults; i++) {
		bool varlena;
		Oid function;

		getTypeOutputInfo(TupleDescAttr(desc, cstate->defmap[i])->atttypid, &function,
				  &varlena);
		fmgr_info(function, &r->outputs[i]);
	}
	r->estate = CreateExecutorState();
	r->row_cxt = AllocSetContextCreate(CurrentMemoryContext, "pgherd copy row",
					   ALLOCSET_SMALL_SIZES);
	r->copy = herd_shard_copy_begin(table, command_tail(cstate, where), false,
					RelationGetRelationName(cstate->rel));
	herd_shard_copy_hide(r->copy, cstate->num_defaults, cstate->opts.delim[0],
			     cstate->opts.csv_mode ? cstate->opts.quote[0] : '\0');
}

uint64 herd_copy_raw(CopyFromState cstate, const HerdTable *table, Node *where, uint64 *excluded)
{
	ErrorContextCallback context = { .previous = error_context_stack };
	uint64 inserted;
	Raw r;

	init(&r, cstate, table, where);
	context.callback = context_callback;
	context.arg = &r;
	error_context_stack = &context;
	if (put_first(&r))
		put_rest(&r);
	inserted = herd_shard_copy_end(r.copy);
	error_context_stack = context.previous;
	FreeExecutorState(r.estate);
	*excluded = where ? r.rows - inserted : 0;
	return inserted;
}
