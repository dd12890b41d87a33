#include "exec/shardcopy.h"
#include "compat.h"

#include "access/table.h"
#include "access/xact.h"
#include "attach/attach.h"
#include "catalog/namespace.h"
#include "commands/copy.h"
#include "commands/progress.h"
#include "conn/adopt.h"
#include "conn/names.h"
#include "conn/session.h"
#include "exec/copybin.h"
#include "exec/exec.h"
#include "exec/internal.h"
#include "ingest/where.h"
#include "miscadmin.h"
#include "parser/parse_relation.h"
#include "parser/parser.h"
#include "pgstat.h"
#include "port/pg_bswap.h"
#include "storage/latch.h"
#include "txn/internal.h"
#include "utils/backend_progress.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

/* An idle node is sent a buffer from this size on, */
#define WORTH_BYTES (128 * 1024)
/* and so much may wait in all buffers. */
#define TOTAL_BYTES (16 * 1024 * 1024)
/* and so much in one. */
#define CHUNK_BYTES (4 * 1024 * 1024)
/* New bytes after which it is looked whether nodes are idle. */
#define LOOK_BYTES (64 * 1024)
/* So much goes to libpq at a time, and so early the node can begin. */
#define SLICE_BYTES (64 * 1024)

/* Where a row ends: the node's count of lines, from 1 in each command, and the client's. */
typedef struct RowLine {
	uint32 node;
	uint32 client; /* from the first row's on */
} RowLine;

typedef struct Chunk {
	StringInfoData data;
	RowLine *lines;
	int nlines, size;
	uint64 first_line;
} Chunk;

typedef struct ShardBuffer {
	const HerdShard *shard;
	char *relation; /* qualified and quoted, NULL before the first row */
	Chunk chunk;
	int before; /* bytes it had when the caller got it */
} ShardBuffer;

typedef enum StreamState {
	STREAM_IDLE,
	STREAM_ASKED, /* COPY was sent, the node has not said yes */
	STREAM_SENT   /* all data was given to libpq */
} StreamState;

/* The way to one group. */
typedef struct Stream {
	HerdShardCopy *sc;
	int32 groupid;
	HerdConn *conn;
	StreamState state;
	bool counts;
	int shard;    /* whose rows are under way, */
	Chunk *chunk; /* in own, or in the buffer itself when several nodes get them */
	Chunk own;
	bool gone; /* idle, and its connection was lost: nobody waits for it */
} Stream;

struct HerdShardCopy {
	MemoryContext cxt;
	const HerdTable *table;
	Oid namespace;
	char *relname;
	char *tail;
	char *what;
	bool binary, raising;
	bool code;   /* triggers run on the shards */
	int nhidden; /* fields of each line, see herd_shard_copy_hide */
	char delim, quote;
	ShardBuffer *buffers; /* by shard */
	Stream *streams;
	int nstreams;
	int *stream_of; /* by shard: of its first group */
	Size total;     /* in the buffers */
	Size unseen;    /* added since it was looked whether nodes are idle */
	uint64 rows;
	WaitEventSet *set;
};

static void forget_set(void *arg)
{
	HerdShardCopy *sc = arg;

	if (sc->set)
		FreeWaitEventSet(sc->set);
	sc->set = NULL;
}

static int stream_for(HerdShardCopy *sc, int32 groupid)
{
	Stream *s;

	for (int i = 0; i < sc->nstreams; i++)
		if (sc->streams[i].groupid == groupid)
			return i;
	sc->streams = sc->streams ? repalloc(sc->streams, (sc->nstreams + 1) * sizeof(Stream))
				  : palloc(sizeof(Stream));
	s = &sc->streams[sc->nstreams];
	memset(s, 0, sizeof(*s));
	s->groupid = groupid;
	s->sc = sc;
	return sc->nstreams++;
}

HerdShardCopy *herd_shard_copy_begin(const HerdTable *table, const char *tail, bool binary,
				     const char *what)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "pgherd shard copy",
						  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cxt);
	HerdShardCopy *sc = palloc0(sizeof(*sc));
	MemoryContextCallback *callback = palloc0(sizeof(*callback));

	if (herd_exec_before_write)
		herd_exec_before_write();
	sc->cxt = cxt;
	sc->table = table;
	sc->namespace = get_rel_namespace(table->relid);
	sc->relname = get_rel_name(table->relid);
	sc->code = herd_attach_has_code(table->relid);
	sc->tail = pstrdup(tail);
	sc->what = what ? pstrdup(what) : NULL;
	sc->binary = binary;
	sc->buffers = palloc0(table->nshards * sizeof(ShardBuffer));
	sc->stream_of = palloc0(table->nshards * sizeof(int));
	for (int i = 0; i < table->nshards; i++) {
		const HerdShard *shard = &table->shards[i];

		sc->buffers[i].shard = shard;
		for (int g = shard->ngroups - 1; g >= 0; g--)
			sc->stream_of[i] = stream_for(sc, shard->groups[g]);
	}
	callback->func = forget_set;
	callback->arg = sc;
	MemoryContextRegisterResetCallback(cxt, callback);
	MemoryContextSwitchTo(old);
	return sc;
}

/* -- errors of nodes --------------------------------------------------------------------------- */

static uint64 client_line(const Chunk *chunk, uint64 node)
{
	int low = 0, high = chunk->nlines - 1;

	if (chunk->nlines == 0)
		return node;
	while (low < high) {
		int middle = (low + high) / 2;

		if (chunk->lines[middle].node >= node)
			high = middle;
		else
			low = middle + 1;
	}
	return chunk->first_line + chunk->lines[low].client;
}

void herd_shard_copy_hide(HerdShardCopy *sc, int nfields, char delim, char quote)
{
	sc->nhidden = nfields;
	sc->delim = delim;
	sc->quote = quote;
}

/* Behind the hidden fields of a quoted line, which may be cut short. */
static const char *visible(const HerdShardCopy *sc, const char *p)
{
	bool quoted = false;

	for (int n = sc->nhidden; n > 0 && *p; p++) {
		if (sc->quote && *p == sc->quote)
			quoted = !quoted;
		else if (!sc->quote && *p == '\\' && p[1])
			p++;
		else if (*p == sc->delim && !quoted)
			n--;
	}
	return p;
}

/* "COPY t_102008, line 3, column .." becomes "COPY t, line 57, column .."; or is left out. */
static char *own_context(const HerdShardCopy *sc, const Chunk *chunk, const HerdShard *of,
			 const char *context)
{
	char *shard = herd_shard_name(sc->relname, of->shardid);
	char *prefix = psprintf("COPY %s, line ", shard);
	const char *at = strstr(context, prefix), *rest;
	StringInfoData out;
	char *end;
	uint64 line;

	if (!at)
		return pstrdup(context);
	line = strtou64(at + strlen(prefix), &end, 10);
	rest = end;
	initStringInfo(&out);
	appendBinaryStringInfo(&out, context, at - context);
	if (sc->what) {
		appendStringInfo(&out, "COPY %s, line " UINT64_FORMAT, sc->what,
				 client_line(chunk, line));
		if (sc->nhidden > 0 && strncmp(rest, ": \"", 3) == 0) {
			appendStringInfoString(&out, ": \"");
			rest = visible(sc, rest + 3);
		} else if (sc->nhidden < 0 && strncmp(rest, ": \"", 3) == 0) {
			rest += strcspn(rest, "\n");
		}
		appendStringInfoString(&out, rest);
	} else {
		rest += strcspn(rest, "\n");
		appendStringInfoString(&out, rest[0] ? rest + 1 : rest);
	}
	return out.data;
}

/* For PG_CATCH: the error goes on with the context of the client's data. */
static void rethrow(HerdShardCopy *sc, const Chunk *chunk, const HerdShard *shard,
		    MemoryContext cxt) HERD_NORETURN;

static void rethrow(HerdShardCopy *sc, const Chunk *chunk, const HerdShard *shard,
		    MemoryContext cxt)
{
	ErrorData *error;

	MemoryContextSwitchTo(cxt);
	error = CopyErrorData();
	FlushErrorState();
	if (error->context)
		error->context = own_context(sc, chunk, shard, error->context);
	ReThrowError(error);
}

static void raise_answer(Stream *s, PGresult *res)
{
	MemoryContext cxt = CurrentMemoryContext;
	HerdShardCopy *sc = s->sc;

	s->state = STREAM_IDLE;
	s->conn->settle = NULL;
	sc->raising = true;
	PG_TRY();
	{
		herd_conn_raise(s->conn, res);
	}
	PG_CATCH();
	{
		rethrow(sc, s->chunk, sc->buffers[s->shard].shard, cxt);
	}
	PG_END_TRY();
}

bool herd_shard_copy_raising(const HerdShardCopy *sc)
{
	return sc->raising;
}

/* -- one command ------------------------------------------------------------------------------- */

static void put_data(Stream *s)
{
	StringInfo data = &s->chunk->data;
	int done = 0;

	while (done < data->len) {
		int n = Min(SLICE_BYTES, data->len - done);

		if (PQputCopyData(s->conn->pg, data->data + done, n) != 1)
			herd_conn_raise_lost(s->conn);
		done += n;
	}
	if (PQputCopyEnd(s->conn->pg, NULL) != 1)
		herd_conn_raise_lost(s->conn);
	(void)herd_conn_flush(s->conn);
	s->state = STREAM_SENT;
}

static void set_idle(Stream *s)
{
	s->state = STREAM_IDLE;
	s->conn->settle = NULL;
	s->conn->simple = false;
	if (!PQenterPipelineMode(s->conn->pg))
		herd_conn_raise_lost(s->conn);
}

/* As far as it goes without waiting. */
static void step(Stream *s)
{
	HerdConn *c = s->conn;

	if (s->state != STREAM_IDLE)
		herd_conn_consume(c);
	while (s->state != STREAM_IDLE) {
		PGresult *res;

		if (PQisBusy(c->pg) && PQstatus(c->pg) != CONNECTION_BAD) {
			(void)herd_conn_flush(c);
			return;
		}
		res = PQgetResult(c->pg);
		switch (res ? PQresultStatus(res) : PGRES_EMPTY_QUERY) {
		case PGRES_EMPTY_QUERY:
			if (PQstatus(c->pg) == CONNECTION_BAD)
				herd_conn_raise_lost(c);
			set_idle(s);
			break;
		case PGRES_COPY_IN:
			put_data(s);
			break;
		case PGRES_COMMAND_OK:
			if (s->counts)
				s->sc->rows += strtou64(PQcmdTuples(res), NULL, 10);
			break;
		default:
			raise_answer(s, res);
		}
		PQclear(res);
	}
}

static void finish(Stream *s)
{
	step(s);
	while (s->state != STREAM_IDLE) {
		herd_conn_wait(s->conn);
		step(s);
	}
}

static void settle(HerdConn *c)
{
	finish(c->settle_arg);
}

/* Sends COPY for a chunk; the data follows when the node has agreed. */
static void start(Stream *s, const ShardBuffer *b, Chunk *chunk)
{
	HerdShardCopy *sc = s->sc;
	HerdConn *c = herd_conn_main(s->groupid);
	char *sql = psprintf("COPY %s %s", b->relation, sc->tail);

	herd_conn_send_setup(c, true, true);
	if (sc->code)
		herd_conn_send_adopt(c);
	if (herd_conn_busy(c)) {
		herd_conn_send_sync(c);
		herd_conn_finish(c);
	}
	if (s->conn != c)
		forget_set(sc);
	s->conn = c;
	s->chunk = chunk;
	s->shard = b - sc->buffers;
	herd_conn_log(c, sql);
	herd_conn_simple_start(c, sql);
	pfree(sql);
	if (c->lost)
		herd_conn_raise_lost(c);
	c->settle = settle;
	c->settle_arg = s;
	s->state = STREAM_ASKED;
}

/*
 * What COPY reads for a shard of this server: its callback has no argument. A trigger may run
 * another one meanwhile, and end it.
 */
static StringInfo local_source;

static int read_local(void *out, int minread, int maxread)
{
	int n = Min(maxread, local_source->len - local_source->cursor);

	memcpy(out, local_source->data + local_source->cursor, n);
	local_source->cursor += n;
	return n;
}

static uint64 run_local(HerdShardCopy *sc, ShardBuffer *b)
{
	char *sql = psprintf("COPY %s %s", b->relation, sc->tail);
	CopyStmt *stmt = castNode(CopyStmt,
				  linitial_node(RawStmt, raw_parser(sql, RAW_PARSE_DEFAULT))->stmt);
	char *name = herd_shard_name(sc->relname, b->shard->shardid);
	Oid relid = get_relname_relid(name, sc->namespace);
	ParseState *pstate = make_parsestate(NULL);
	ParseNamespaceItem *item;
	CopyFromState state;
	Relation rel;
	uint64 rows;

	if (!OidIsValid(relid))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
				errmsg("shard \"%s\" does not exist on this node", name)));
	herd_txn_use_local_group();
	rel = table_open(relid, RowExclusiveLock);
	item = addRangeTableEntryForRelation(pstate, rel, RowExclusiveLock, NULL, false, false);
	addNSItemToQuery(pstate, item, true, true, true);
	b->chunk.data.cursor = 0;
	local_source = &b->chunk.data;
	state = BeginCopyFrom(pstate, rel, herd_copy_where(pstate, stmt->whereClause), NULL, false,
			      read_local, stmt->attlist, stmt->options);
	rows = CopyFrom(state);
	EndCopyFrom(state);
	table_close(rel, NoLock);
	CommandCounterIncrement();
	return rows;
}

/* The same with the user's names in errors. */
static uint64 run_local_named(HerdShardCopy *sc, ShardBuffer *b)
{
	MemoryContext cxt = CurrentMemoryContext;
	StringInfo outer = local_source;
	uint64 rows = 0;

	PG_TRY();
	{
		rows = run_local(sc, b);
	}
	PG_CATCH();
	{
		local_source = outer;
		herd_names_rethrow(cxt);
	}
	PG_END_TRY();
	local_source = outer;
	return rows;
}

static uint64 copy_local(HerdShardCopy *sc, ShardBuffer *b)
{
	MemoryContext cxt = CurrentMemoryContext;
	uint64 rows = 0;

	herd_group_lock(herd_local_group(), false);
	sc->raising = true;
	PG_TRY();
	{
		rows = run_local_named(sc, b);
	}
	PG_CATCH();
	{
		rethrow(sc, &b->chunk, b->shard, cxt);
	}
	PG_END_TRY();
	sc->raising = false;
	return rows;
}

static bool is_here(int32 groupid)
{
	HerdConn *c;

	if (groupid != herd_local_group())
		return false;
	c = herd_conn_find_main(groupid);
	return !(c && c->level > 0);
}

/* -- buffers ----------------------------------------------------------------------------------- */

static void empty_chunk(Chunk *chunk)
{
	resetStringInfo(&chunk->data);
	chunk->nlines = 0;
}

/* To all replicas: first on the lowest group, as all writes, then side by side. */
static void send_replicas(HerdShardCopy *sc, ShardBuffer *b)
{
	for (int g = 0; g < b->shard->ngroups; g++) {
		Stream *s = &sc->streams[stream_for(sc, b->shard->groups[g])];

		s->counts = g == 0;
		if (is_here(s->groupid)) {
			uint64 rows = copy_local(sc, b);

			sc->rows += s->counts ? rows : 0;
			continue;
		}
		start(s, b, &b->chunk);
		if (g == 0)
			finish(s);
	}
	for (int i = 0; i < sc->nstreams; i++)
		finish(&sc->streams[i]);
}

/* The stream must be idle. */
static void send_one(HerdShardCopy *sc, Stream *s, ShardBuffer *b)
{
	Chunk chunk = s->own;

	if (is_here(s->groupid)) {
		sc->rows += copy_local(sc, b);
		return;
	}
	s->own = b->chunk;
	b->chunk = chunk;
	if (!b->chunk.data.data) {
		MemoryContext old = MemoryContextSwitchTo(sc->cxt);

		initStringInfo(&b->chunk.data);
		MemoryContextSwitchTo(old);
	}
	s->counts = true;
	start(s, b, &s->own);
}

static void send_buffer(HerdShardCopy *sc, int shard)
{
	ShardBuffer *b = &sc->buffers[shard];

	sc->total -= b->chunk.data.len;
	if (sc->binary) {
		int16 trailer = -1;

		appendBinaryStringInfo(&b->chunk.data, (char *)&trailer, sizeof(trailer));
	}
	if (b->shard->ngroups > 1)
		send_replicas(sc, b);
	else
		send_one(sc, &sc->streams[sc->stream_of[shard]], b);
	empty_chunk(&b->chunk);
}

/* The fullest buffer of the stream; at the end the one with the first lines, as errors come so. */
static int choose(const HerdShardCopy *sc, const Stream *s, bool last)
{
	int found = -1;

	for (int i = 0; i < sc->table->nshards; i++) {
		const Chunk *chunk = &sc->buffers[i].chunk;

		if (&sc->streams[sc->stream_of[i]] != s || chunk->data.len == 0)
			continue;
		if (found < 0 || (last ? chunk->first_line < sc->buffers[found].chunk.first_line
				       : chunk->data.len > sc->buffers[found].chunk.data.len))
			found = i;
	}
	return found;
}

/* Gives idle streams what is worth it; returns whether one is busy. */
static bool feed(HerdShardCopy *sc, int worth, bool last)
{
	bool busy = false;

	for (int i = 0; i < sc->nstreams; i++) {
		Stream *s = &sc->streams[i];

		step(s);
		while (s->state == STREAM_IDLE) {
			int shard = choose(sc, s, last);

			if (shard < 0 || sc->buffers[shard].chunk.data.len < worth)
				break;
			send_buffer(sc, shard);
		}
		busy = busy || s->state != STREAM_IDLE;
	}
	return busy;
}

/* False when a busy stream's connection is lost: its next step raises. */
static bool look_for_lost(HerdShardCopy *sc)
{
	for (int i = 0; i < sc->nstreams; i++) {
		Stream *s = &sc->streams[i];
		bool lost = s->conn &&
			    (PQstatus(s->conn->pg) == CONNECTION_BAD || PQsocket(s->conn->pg) < 0);

		if (lost && s->state != STREAM_IDLE)
			return false;
		if (s->gone != lost)
			forget_set(sc);
		s->gone = lost;
	}
	return true;
}

static void make_wait_set(HerdShardCopy *sc)
{
#if PG_VERSION_NUM >= 170000
	sc->set = CreateWaitEventSet(NULL, sc->nstreams + 2);
#else
	sc->set = CreateWaitEventSet(sc->cxt, sc->nstreams + 2);
#endif
	AddWaitEventToSet(sc->set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(sc->set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	for (int i = 0; i < sc->nstreams; i++)
		if (sc->streams[i].conn && !sc->streams[i].gone)
			AddWaitEventToSet(sc->set, WL_SOCKET_READABLE,
					  PQsocket(sc->streams[i].conn->pg), NULL,
					  sc->streams[i].conn);
}

/* Until a busy stream has something to say or to take. */
static void wait_any(HerdShardCopy *sc)
{
	WaitEvent event;
	int position = 2;

	CHECK_FOR_INTERRUPTS();
	if (!look_for_lost(sc))
		return;
	if (!sc->set)
		make_wait_set(sc);
	for (int i = 0; i < sc->nstreams; i++) {
		HerdConn *c = sc->streams[i].conn;

		if (!c || sc->streams[i].gone)
			continue;
		ModifyWaitEvent(sc->set, position++,
				WL_SOCKET_READABLE |
					(sc->streams[i].state != STREAM_IDLE && herd_conn_flush(c)
						 ? WL_SOCKET_WRITEABLE
						 : 0),
				NULL);
	}
	if (WaitEventSetWait(sc->set, -1, &event, 1, PG_WAIT_EXTENSION) < 1)
		return;
	if (event.events & WL_LATCH_SET) {
		ResetLatch(MyLatch);
		herd_deadlock_check_mark();
		CHECK_FOR_INTERRUPTS();
	} else if (event.events & WL_SOCKET_READABLE) {
		herd_conn_consume(event.user_data);
	}
}

static void look(HerdShardCopy *sc, const ShardBuffer *last)
{
	bool busy = feed(sc, WORTH_BYTES, false);

	sc->unseen = 0;
	while (sc->total >= TOTAL_BYTES || last->chunk.data.len >= CHUNK_BYTES) {
		if (busy)
			wait_any(sc);
		busy = feed(sc, busy ? WORTH_BYTES : 1, false);
	}
}

static void init_buffer(HerdShardCopy *sc, ShardBuffer *b)
{
	MemoryContext old = MemoryContextSwitchTo(sc->cxt);
	char *name = herd_shard_name(sc->relname, b->shard->shardid);

	b->relation = quote_qualified_identifier(get_namespace_name(sc->namespace), name);
	initStringInfo(&b->chunk.data);
	herd_shard_lock(b->shard->shardid, false);
	MemoryContextSwitchTo(old);
}

StringInfo herd_shard_copy_buffer(HerdShardCopy *sc, int shard)
{
	ShardBuffer *b = &sc->buffers[shard];

	if (!b->relation)
		init_buffer(sc, b);
	b->before = b->chunk.data.len;
	if (sc->binary && b->before == 0)
		appendBinaryStringInfo(&b->chunk.data, herd_copy_binary_head,
				       sizeof(herd_copy_binary_head));
	return &b->chunk.data;
}

static void note_line(HerdShardCopy *sc, Chunk *chunk, uint64 line, uint32 nlines, uint32 nfirst)
{
	RowLine *last;

	if (chunk->nlines == chunk->size) {
		chunk->size = Max(chunk->size * 2, 256);
		chunk->lines = chunk->lines
				       ? repalloc_huge(chunk->lines, chunk->size * sizeof(RowLine))
				       : MemoryContextAlloc(sc->cxt, chunk->size * sizeof(RowLine));
	}
	if (chunk->nlines == 0)
		chunk->first_line = line;
	last = &chunk->lines[chunk->nlines];
	last->node = chunk->nlines > 0 ? last[-1].node + nlines : nfirst;
	last->client = line - chunk->first_line;
	chunk->nlines++;
}

void herd_shard_copy_added(HerdShardCopy *sc, int shard, uint64 line, uint32 nlines, uint32 nfirst)
{
	ShardBuffer *b = &sc->buffers[shard];
	Size n = b->chunk.data.len - b->before;

	note_line(sc, &b->chunk, line, nlines, nfirst);
	sc->total += n;
	sc->unseen += n;
	if (sc->unseen >= LOOK_BYTES || b->chunk.data.len >= CHUNK_BYTES)
		look(sc, b);
}

uint64 herd_shard_copy_end(HerdShardCopy *sc)
{
	uint64 rows;

	while (feed(sc, 1, true))
		wait_any(sc);
	rows = sc->rows;
	MemoryContextDelete(sc->cxt);
	return rows;
}
