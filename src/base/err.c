#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

static void replace(char **slot, const char *fmt, va_list ap)
{
	char *text = herd_str_vprintf(fmt, ap);

	free(*slot);
	*slot = text;
}

int herd_err_set(struct herd_err *err, int code, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return code;
	/* The new text may quote the old one, so the old one goes last. */
	struct herd_err old = *err;

	*err = (struct herd_err)HERD_ERR_INIT;
	err->code = code;
	va_start(ap, fmt);
	replace(&err->msg, fmt, ap);
	va_end(ap);
	herd_err_clear(&old);
	return code;
}

void herd_err_detail(struct herd_err *err, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return;
	va_start(ap, fmt);
	replace(&err->detail, fmt, ap);
	va_end(ap);
}

void herd_err_hint(struct herd_err *err, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return;
	va_start(ap, fmt);
	replace(&err->hint, fmt, ap);
	va_end(ap);
}

int herd_err_prefix(struct herd_err *err, const char *fmt, ...)
{
	va_list ap;
	char *joined;

	if (!err)
		return 0;
	va_start(ap, fmt);
	char *prefix = herd_str_vprintf(fmt, ap);
	va_end(ap);
	if (prefix && asprintf(&joined, "%s: %s", prefix, herd_err_text(err)) >= 0) {
		free(err->msg);
		err->msg = joined;
	}
	free(prefix);
	return err->code;
}

const char *herd_err_text(const struct herd_err *err)
{
	if (err->msg)
		return err->msg;
	return err->code ? strerror(-err->code) : "no error";
}

void herd_err_clear(struct herd_err *err)
{
	if (!err)
		return;
	free(err->msg);
	free(err->detail);
	free(err->hint);
	*err = (struct herd_err)HERD_ERR_INIT;
}
