/*
 * agent/sharding_internal.h - shared by the sharding*.c files only.
 */
#pragma once
#include "agent/internal.h"
#include "agent/sharding.h"
#include "base/buf.h"
#include "base/list.h"

/* A node that cannot be reached must not keep the others waiting: the statement is tried again. */
#define SHARD_SESSION "SET statement_timeout TO 0; SET citus.node_connection_timeout TO 1500; "

/* A row of pg_dist_node. */
struct shard_node {
	int64_t id;
	int group;
	char *host;
	int port;
	bool primary;
	bool used; /* by the comparison */
};
struct shard_nodes {
	struct shard_node *v;
	size_t n;
};
void herd_shard_nodes_clear(struct shard_nodes *s);
int herd_shard_nodes_add(struct shard_nodes *s, const struct shard_node *node); /* copies */

/*
 * The statements that make `have` what the store says (pure). held: groups that a transaction of
 * ours works on are left alone. Returns the number of statements.
 */
int herd_shard_diff(const struct herd_scope *scope, struct shard_nodes *have, const int *held,
		    size_t nheld, int cooldown_ms, struct herd_buf *out);
/*
 * The statements that give the primaries of all workers the pooler's address in pg_dist_poolinfo,
 * on every node (pure). Empty without a template: rows of somebody else are left alone.
 */
void herd_shard_poolinfo(const char *pattern, const char *extension, struct herd_buf *out);
/* Everything the diff depends on, as text: equal texts need no second look. */
void herd_shard_signature(const struct herd_scope *scope, struct herd_buf *out);

/* A worker that changes its leader: an open transaction keeps statements for its group waiting. */
struct shard_hold {
	struct herd_list node;
	struct herd_sharding *s;
	int group;
	struct herd_pg_session *session;
	struct herd_timer *deadline;
	int64_t primary_id, new_id; /* rows of the old primary and of the next one's standby */
	char *old_host, *new_host;
	int old_port, new_port;
	int cooldown_ms;
	bool promote; /* before_promote: to new_host at once */
	bool busy;
	bool commit; /* as soon as it is not busy */
	void (*fn)(void *arg);
	void *arg;
};

struct herd_sharding {
	struct herd_agent *a;
	char *extension;
	char *database;
	struct herd_pg_session *session; /* to the database, for pg_dist_node */
	char *signature;                 /* of what was last written */
	bool busy;
	int64_t retry_ms;
	struct herd_list holds;
	/* bootstrap */
	herd_pg_done_fn boot_done;
	void *boot_arg;
	struct herd_pg_session *boot;
};

bool herd_sharding_leads(const struct herd_sharding *s); /* the coordinator's writable leader */
void herd_shard_hold_begin(struct herd_sharding *s, const json_t *event, bool promote,
			   void (*fn)(void *arg), void *arg);
struct shard_hold *herd_shard_hold_find(struct herd_sharding *s, int group);
void herd_shard_hold_promote(struct shard_hold *h, const json_t *event, void (*fn)(void *arg),
			     void *arg);
/* Its rows, written or to be, name the group's leader as the store has it. */
bool herd_shard_hold_names_leader(const struct shard_hold *h);
void herd_shard_hold_end(struct shard_hold *h, bool commit);
void herd_shard_literal(struct herd_buf *b, const char *text);
