/*
 * proxy/repl.h - replication connections: each client gets a server connection of its own, opened
 * with the parameters it asked for, and bytes pass unread between the two until one of them ends.
 * Such a server counts for its pool and is never used again. In a cluster it is checked as any
 * other (who it is, whether it leads) before the client sees it.
 */
#pragma once
#include "proxy/client.h"

enum herd_repl_kind { HERD_REPL_LOGICAL = 1, HERD_REPL_PHYSICAL };

/*
 * The value of the startup parameter "replication": 0 none, a kind, or -EINVAL. The words are
 * PostgreSQL's: "database", or a boolean in any of its spellings.
 */
int herd_repl_parse(const char *value);
/* Makes it a replication connection that passes on the packet's parameters. 0 or -ENOMEM. */
int herd_repl_new(struct herd_client *c, enum herd_repl_kind kind, const struct herd_startup *s);
void herd_repl_free(struct herd_repl *r);

bool herd_repl_physical(const struct herd_client *c);
/* none, logical, physical: as SHOW CLIENTS has it; and no, database, yes: as the log has it. */
const char *herd_repl_name(const struct herd_client *c);
const char *herd_repl_word(const struct herd_client *c);

/* The client is authentic: opens its server, or waits until the pool has room for one. */
void herd_repl_begin(struct herd_client *c);
/* The startup packet of its server. 0 or -ENOMEM. */
int herd_repl_startup(struct herd_server *s, const struct herd_database *conf,
		      struct herd_buf *out);
/* What asks its server who it is, and the answer in the form of the usual question. */
const char *herd_repl_verify_sql(const struct herd_server *s, const char *usual);
void herd_repl_verified(struct herd_server *s);
/* Its server is logged in and checked. */
void herd_repl_linked(struct herd_worker *w, struct herd_server *s);
/* Its server could not be used. why NULL: try another one. */
void herd_repl_failed(struct herd_client *c, const char *state, const char *why);
/* Those that wait for room try again; called when a pool may have some. */
void herd_repl_kick(struct herd_worker *w, struct herd_pool *p);

void herd_repl_from_client(struct herd_client *c);
void herd_repl_from_server(struct herd_worker *w, struct herd_server *s);
