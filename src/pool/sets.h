/*
 * pool/sets.h - the settings that a client has made with SET, and what it has prepared with
 * PREPARE, to be made again on another server.
 *
 * An immutable, counted list in the order of the statements; NULL is the empty one. The count is
 * atomic, so clients and servers of several threads share one list: equal pointers mean nothing is
 * to be done.
 */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

/* Names with a meaning of their own, as sql/classify.h gives them. */
#define HERD_SET_ROLE "role"
#define HERD_SET_AUTHORIZATION "session_authorization"
#define HERD_SET_CHARACTERISTICS "session characteristics"
/* A statement's name goes behind it. */
#define HERD_SET_PREPARED "prepared "

struct herd_set {
	char *name;
	char *text; /* the statement that sets it */
};

struct herd_sets {
	_Atomic unsigned refs;
	bool ordered;  /* some of them must be made in this order */
	uint64_t hash; /* of all names and texts */
	size_t n, bytes;
	struct herd_set item[];
};

enum { HERD_SETS_MAX = 64, HERD_SETS_MAX_BYTES = 16 * 1024 };

struct herd_sets *herd_sets_ref(struct herd_sets *s);
void herd_sets_unref(struct herd_sets *s);
bool herd_sets_same(const struct herd_sets *a, const struct herd_sets *b);

/*
 * What old becomes by SET, RESET of one and RESET ALL; old stays as it is. 0 with one reference in
 * *ret, -ENOMEM, or -E2BIG: more than the limits above.
 */
int herd_sets_set(const struct herd_sets *old, const char *name, const char *text,
		  struct herd_sets **ret);
int herd_sets_reset(struct herd_sets *old, const char *name, struct herd_sets **ret);
int herd_sets_reset_all(const struct herd_sets *old, struct herd_sets **ret);
/* PREPARE and DEALLOCATE (NULL: ALL), in the same way. */
int herd_sets_prepare(const struct herd_sets *old, const char *name, const char *text,
		      struct herd_sets **ret);
int herd_sets_deallocate(struct herd_sets *old, const char *name, struct herd_sets **ret);
/* Is something prepared? */
bool herd_sets_prepared(const struct herd_sets *s);

/*
 * Appends what brings the settings of a session from one list to the other, each statement with its
 * semicolon. base is what the session was set up with (connect_query). Returns how many statements.
 */
int herd_sets_diff(const struct herd_sets *from, const struct herd_sets *to,
		   const struct herd_sets *base, struct herd_buf *sql);

/*
 * The same for what is prepared: fn gets each statement, to be sent by itself behind the settings,
 * since one that fails must not keep others from taking place.
 */
void herd_sets_diff_prepared(const struct herd_sets *from, const struct herd_sets *to,
			     void (*fn)(void *arg, const char *sql), void *arg);
