/*
 * base/err.h - an error with its text, in PostgreSQL's form: message, detail, hint.
 *
 * Functions return 0 or a negative errno and take an optional struct herd_err * for the words. The
 * struct is a value: zero it (HERD_ERR_INIT), pass it, clear it once. All texts are owned by it.
 */
#pragma once
#include <errno.h>

struct herd_err {
	int code;     /* the negative errno that was returned, 0 when nothing is set */
	char *msg;    /* what failed and why; no full stop, no capital letter at the start */
	char *detail; /* NULL or full sentences with more facts */
	char *hint;   /* NULL or full sentences with the next step */
};

/* clang-format off */
#define HERD_ERR_INIT { 0, NULL, NULL, NULL }
/* clang-format on */

/* Sets message (replacing any); err may be NULL. Returns code, so `return herd_err_set(...)`. */
int herd_err_set(struct herd_err *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void herd_err_detail(struct herd_err *err, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
void herd_err_hint(struct herd_err *err, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* "context: message": puts words before the message that is set. Returns err->code. */
int herd_err_prefix(struct herd_err *err, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* The message, or the text of the errno, never NULL. */
const char *herd_err_text(const struct herd_err *err);
void herd_err_clear(struct herd_err *err);
