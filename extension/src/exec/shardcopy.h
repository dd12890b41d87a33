/*
 * exec/shardcopy.h - COPY data of one table on its way to the shards.
 *
 * Whoever makes rows appends each to the buffer of its shard and says so with
 * herd_shard_copy_added. A node that has nothing to do is sent the fullest of its buffers, as one
 * COPY command over the group's main connection; while it works the buffers of its shards grow, so
 * slow nodes get few large commands. 16 MB at most are kept here. Shards of this server are filled
 * in process. The rows of a shard keep their order.
 *
 * Errors of a node are raised here with the line of the client's data for that of the command:
 * each row has a number, for which the caller's error context should stay silent (see
 * herd_shard_copy_raising).
 */
#pragma once
#include "postgres.h"

#include "catalog/metadata.h"
#include "lib/stringinfo.h"

typedef struct HerdShardCopy HerdShardCopy;

/*
 * tail: what follows "COPY <shard> ", from the column list on. binary: each command gets the header
 * and the trailer of that format. what: the name that the context of errors gives, "COPY <what>,
 * line n"; NULL: no such context. Memory: a child of CurrentMemoryContext.
 */
extern HerdShardCopy *herd_shard_copy_begin(const HerdTable *table, const char *tail, bool binary,
					    const char *what);

/*
 * Lines that errors quote begin with fields that the client did not send: so many, which end with
 * delim; quote: 0 in the text format. -1: the lines are not the client's at all.
 */
extern void herd_shard_copy_hide(HerdShardCopy *sc, int nfields, char delim, char quote);

/* The buffer to which the next row of the shard (its index) is appended. */
extern StringInfo herd_shard_copy_buffer(HerdShardCopy *sc, int shard);

/*
 * One row was appended: the client's line that it ends in, and how many lines it takes as the node
 * counts them, also when it is the first of a command. May send, and wait for nodes.
 */
extern void herd_shard_copy_added(HerdShardCopy *sc, int shard, uint64 line, uint32 nlines,
				  uint32 nfirst);

/* Sends the rest and waits for all nodes. Returns the rows they took. Frees sc. */
extern uint64 herd_shard_copy_end(HerdShardCopy *sc);

/* True while an error of a node is being raised, which has a context of its own. */
extern bool herd_shard_copy_raising(const HerdShardCopy *sc);
