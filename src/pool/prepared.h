/*
 * pool/prepared.h - protocol-level prepared statements that survive a change of server.
 *
 * Three tables: one store for the whole proxy, which gives equal texts (with equal parameter types)
 * one identity and one name; per client the names it chose; per server connection which statements
 * it holds, with the least recently used ones at the end.
 *
 * Nothing here locks. The store is shared: its calls (and the unref) need the caller's lock; a
 * statement is immutable while somebody holds a reference.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "wire/msg.h"

struct herd_stmt {
	struct herd_stmt *next; /* in the store's bucket */
	uint64_t id, hash;
	uint32_t refs;
	size_t len;     /* of body */
	char name[32];  /* on servers: "PGBOUNCER_<id>" */
	uint8_t body[]; /* the Parse message behind its name: text, zero, types */
};

struct herd_stmts;
struct herd_stmts *herd_stmts_new(void); /* NULL when out of memory */
void herd_stmts_free(struct herd_stmts *s);
/* The statement with this body, one reference for the caller; NULL when out of memory. */
struct herd_stmt *herd_stmts_intern(struct herd_stmts *s, const void *body, size_t len);
/*
 * The same for a statement that servers know by this number already. It may come back with another
 * one, which it got here before: then what those servers hold is of no use.
 */
struct herd_stmt *herd_stmts_import(struct herd_stmts *s, uint64_t id, const void *body,
				    size_t len);
/* Numbers up to id are not given any more. */
void herd_stmts_reserve(struct herd_stmts *s, uint64_t id);
uint64_t herd_stmts_last_id(const struct herd_stmts *s);
void herd_stmts_ref(struct herd_stmts *s, struct herd_stmt *stmt);
void herd_stmts_unref(struct herd_stmts *s, struct herd_stmt *stmt);
size_t herd_stmts_count(const struct herd_stmts *s);

/* What one server connection holds. A zeroed struct is empty. References are the caller's matter.
 */
struct herd_held;
struct herd_held_set {
	struct herd_held **buckets; /* allocated at the first statement */
	struct herd_list lru;       /* front: used last; valid when buckets is set */
	uint32_t count;
};
/* True, and moved to the front, when it is there. */
bool herd_held_use(struct herd_held_set *h, const struct herd_stmt *stmt);
/* 0 or -ENOMEM. It must not be there. */
int herd_held_add(struct herd_held_set *h, struct herd_stmt *stmt);
bool herd_held_remove(struct herd_held_set *h, const struct herd_stmt *stmt);
/* The one used longest ago, NULL when empty. */
struct herd_stmt *herd_held_oldest(const struct herd_held_set *h);
void herd_held_free(struct herd_held_set *h);

/* The names of P, B, D and C messages. Texts point into the body. */
struct herd_stmt_names {
	char kind;          /* of D and C: 'S' statement, 'P' portal; of others 'S' */
	const char *stmt;   /* "" for the unnamed one or a portal */
	size_t head_bytes;  /* bytes of the body up to and with the statement's name */
	size_t stmt_offset; /* where the name starts in the body */
};
/* type is P, B, D or C; n bytes of the body are there. 0, -EAGAIN (names not complete), -EBADMSG.
 */
int herd_stmt_names_parse(char type, const void *body, size_t n, struct herd_stmt_names *ret);
/* Appends the head of the message with another statement name; the body's rest follows unchanged.
 */
void herd_stmt_names_rewrite(struct herd_buf *b, char type, const void *body, uint32_t body_len,
			     const struct herd_stmt_names *names, const char *stmt);
/* A whole Parse (from a stored statement) or Close message. */
void herd_wr_parse(struct herd_buf *b, const struct herd_stmt *stmt);
void herd_wr_close(struct herd_buf *b, const struct herd_stmt *stmt);
