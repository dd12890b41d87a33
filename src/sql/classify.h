/*
 * sql/classify.h - what the statements of a text do to the session they run in.
 *
 * Told from the text alone, exactly where a statement says it (SET, LISTEN, PREPARE, ...), and
 * from the names of the functions that it calls (pg_advisory_lock, set_config, ...). What functions
 * and procedures do inside cannot be seen; of DO the body is read.
 */
#pragma once
#include <stdatomic.h>

#include "sql/lex.h"

enum herd_sql_act_kind {
	HERD_ACT_SET = 0, /* name, text to run for the same effect */
	HERD_ACT_RESET,   /* name */
	HERD_ACT_RESET_ALL,
	HERD_ACT_DISCARD_ALL,
	HERD_ACT_LISTEN,   /* name: the channel */
	HERD_ACT_UNLISTEN, /* name; NULL: all */
	HERD_ACT_NOTIFY,   /* also pg_notify() */
	HERD_ACT_COMMIT,   /* or what ends a transaction in any other way; its tag says which */
	HERD_ACT_SAVEPOINT,
	HERD_ACT_RELEASE,
	HERD_ACT_ROLLBACK_TO,
	HERD_ACT_SEQUENCE,   /* lastval() or currval() of an earlier statement */
	HERD_ACT_PREPARE,    /* name, text to run for the same effect; takes place outside of
				transactions */
	HERD_ACT_DEALLOCATE, /* name; NULL: all */
	HERD_ACT_PIN,        /* pins */
	HERD_ACT_UNPIN,      /* pins: these are gone */
	HERD_ACT_MAYBE       /* pins: some of these may be gone, or never came: the server knows */
};
/* Bits of herd_sql_acts.kinds. */
#define HERD_ACT_BIT(kind) (1U << (kind))
/*
 * These alone matter only to a session that is pinned, has prepared statements, or has something
 * that is not settled.
 */
#define HERD_ACTS_THAT_END                                                                         \
	(HERD_ACT_BIT(HERD_ACT_COMMIT) | HERD_ACT_BIT(HERD_ACT_SAVEPOINT) |                        \
	 HERD_ACT_BIT(HERD_ACT_RELEASE) | HERD_ACT_BIT(HERD_ACT_ROLLBACK_TO) |                     \
	 HERD_ACT_BIT(HERD_ACT_UNPIN) | HERD_ACT_BIT(HERD_ACT_MAYBE) |                             \
	 HERD_ACT_BIT(HERD_ACT_DEALLOCATE))

/* State that only one server has. */
enum herd_sql_pin {
	HERD_PIN_TEMP = 1,      /* temporary objects */
	HERD_PIN_ADVISORY = 2,  /* advisory locks of the session */
	HERD_PIN_HOLD = 4,      /* cursors WITH HOLD */
	HERD_PIN_PREPARE = 8,   /* PREPARE of what may mean something else when it is made again */
	HERD_PIN_SETTING = 16,  /* a setting whose value the text does not tell */
	HERD_PIN_SEQUENCE = 32, /* lastval(), currval() */
	HERD_PIN_LISTEN = 64,   /* LISTEN that the shared listener cannot serve */
	HERD_PIN_SESSION = 128  /* LOAD, setseed(), dblink_connect(), ... */
};
enum { HERD_NPINS = 8 };
/* "temporary objects", of one bit. */
const char *herd_sql_pin_name(unsigned bit);

struct herd_sql_act {
	enum herd_sql_act_kind kind;
	unsigned stmt; /* of the text's statements that are not empty: 0 is the first */
	unsigned pins;
	char *name; /* identifiers folded as the server does, settings in lower case */
	char *text;
	size_t from, len; /* where the statement stands in the text */
};

/* Immutable, counted; the count is atomic. */
struct herd_sql_acts {
	_Atomic unsigned refs;
	unsigned kinds; /* HERD_ACT_BIT of all */
	unsigned pins;  /* of all HERD_ACT_PIN */
	size_t n;
	struct herd_sql_act act[];
};

/* How the text is to be read: settings of the session it is for. */
struct herd_sql_dialect {
	bool backslash; /* standard_conforming_strings is off */
	enum herd_sql_bytes bytes;
	bool settled; /* nothing in the session could end: HERD_ACTS_THAT_END are not noted */
};

/*
 * 0 and *ret NULL: nothing to note; else one reference. -ENOMEM. Costs no memory when there is
 * nothing to note.
 */
int herd_sql_classify(const char *text, size_t n, struct herd_sql_dialect d,
		      struct herd_sql_acts **ret);
struct herd_sql_acts *herd_sql_acts_ref(struct herd_sql_acts *a); /* NULL is passed through */
void herd_sql_acts_unref(struct herd_sql_acts *a);                /* NULL is a no-op */
