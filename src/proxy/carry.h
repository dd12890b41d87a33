/*
 * proxy/carry.h - may a session be taken to another server when its own goes away?
 *
 * In session pooling a client keeps its server. Of a cluster it can lose it to a change of leader;
 * as long as its session holds nothing but parameters that are tracked (pool/vars.h) and statements
 * prepared by the protocol, another server is as good. Whatever else it does (PREPARE, temporary
 * tables, LISTEN, session locks, other settings) roots it to its server, until it ends.
 */
#pragma once
#include "proxy/client.h"
#include "wire/msg.h"

/* The client got a server: c->carried says whether what it does must be looked at. */
void herd_carry_begin(struct herd_client *c);
/*
 * A named Parse (or Close of a statement): remembers (forgets) it. body: as in the message. NULL:
 * it is not to be noted; else the statement that the request has, with a reference for it.
 */
struct herd_stmt *herd_carry_parse(struct herd_client *c, const struct herd_stmt_names *n,
				   const char *body, size_t len);
void herd_carry_close(struct herd_client *c, const char *name);
/* The client got another server: appends what prepares its statements there; how many rounds. */
int herd_carry_restore(struct herd_client *c, struct herd_buf *msg);
/* A request of these types: Q, P, F. n bytes of the body are here; whole: all of it. */
void herd_carry_look(struct herd_client *c, char type, const char *body, size_t n, bool whole);
