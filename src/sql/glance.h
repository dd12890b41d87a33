/*
 * sql/glance.h - what the text of a request says about where it may run, by its first words.
 *
 * Pure and cheap: a lexer, no parser. Comments before the first word may hold a hint.
 */
#pragma once
#include "base/buf.h"
#include "sql/lex.h"

enum herd_glance_kind {
	HERD_GLANCE_OTHER = 0, /* anything may happen */
	HERD_GLANCE_EMPTY,
	HERD_GLANCE_BEGIN,       /* opens a transaction that says nothing of READ ONLY */
	HERD_GLANCE_BEGIN_READ,  /* opens a READ ONLY transaction that a standby can run */
	HERD_GLANCE_BEGIN_WRITE, /* says READ WRITE, or is SERIALIZABLE, which no standby can do */
	HERD_GLANCE_SET_READ,    /* SET TRANSACTION ... READ ONLY, alone */
	HERD_GLANCE_COMMIT,      /* COMMIT or END, alone */
	HERD_GLANCE_ROLLBACK,    /* alone */
	HERD_GLANCE_CHANGE,      /* one INSERT, UPDATE, DELETE or MERGE, alone */
	HERD_GLANCE_QUERY,       /* all its statements are SELECT, WITH, VALUES, TABLE or EXPLAIN */
	HERD_GLANCE_SESSION      /* SET, RESET, SHOW and the like: nothing that a reader must see */
};

enum herd_glance_hint {
	HERD_HINT_NONE = 0,
	HERD_HINT_PRIMARY, /* "NO LOAD BALANCE" or "pgherd: primary" */
	HERD_HINT_REPLICA  /* "pgherd: replica" */
};

struct herd_glance {
	enum herd_glance_kind kind;
	enum herd_glance_hint hint;
	bool writes; /* contains READ WRITE or default_transaction_read_only somewhere */
	bool temp; /* contains the word TEMP or TEMPORARY: the session may get tables of its own */
};

/* n bytes, in an encoding that is safe, with standard_conforming_strings on. Total. */
struct herd_glance herd_glance(const char *text, size_t n);
/*
 * Appends the text with its constants replaced by '?', lists of them shortened to one, comments
 * left out and white space made one: texts that differ in nothing else are read only together.
 * False when the text is not lexically sound.
 */
bool herd_glance_normalize(const char *text, size_t n, struct herd_buf *out);
