/*
 * exec/internal.h - between the files of exec/, and for conn/.
 */
#pragma once
#include "postgres.h"

#include "exec/exec.h"
#include "utils/tuplestore.h"

/* Reads all that is outstanding into the exec's own store: somebody needs its connections. */
extern void herd_exec_keep_rows(HerdExec *exec);

/* -- decode.c: rows of a PGresult into Datums -------------------------------------------------- */

/*
 * Values go between nodes in the encoding of this database, whatever the client's is; send and
 * receive functions think that they talk to the client. Work is done with that as its encoding.
 */
extern void herd_in_server_encoding(void (*work)(void *arg), void *arg);

typedef struct HerdDecoder HerdDecoder;

extern HerdDecoder *herd_decoder_new(TupleDesc tupdesc);
extern bool herd_decoder_binary(const HerdDecoder *d);
struct pg_result;
/* Rows come in blocks, one in each row of a result: asked for before the first is decoded. */
extern bool herd_decoder_pack(HerdDecoder *d);
/* True if there is a row at *row of the result, or in the block before; moves *row to blocks. */
extern bool herd_decoder_has_row(HerdDecoder *d, const struct pg_result *res, int *row);
/*
 * Fills values/isnull from the row that is there and moves *row on; by-reference values are in
 * CurrentMemoryContext.
 */
extern void herd_decoder_row(HerdDecoder *d, const struct pg_result *res, int *row, Datum *values,
			     bool *isnull);
/* Rows of a result, also in blocks. */
extern int64 herd_decoder_count(const HerdDecoder *d, const struct pg_result *res);

struct HerdParams;
/* Parameters as libpq takes them, in CurrentMemoryContext; NULL without parameters. */
extern struct HerdParams *herd_encode_params(ParamListInfo params);
/* Both ways: true when the value means the same in binary on every node. */
extern bool herd_type_is_portable(Oid type);

/* -- local.c: tasks on this server's own shards ------------------------------------------------ */

/* Runs the task; rows are put into the store (made by the caller). Returns rows processed. */
extern uint64 herd_local_run(const HerdJob *job, const HerdTask *task, Tuplestorestate *store);
/* Statements without rows, by SPI. */
extern void herd_local_exec(const char *sql);
