/*
 * tools/web.h - one HTTP request, waited for. For programs that do nothing else meanwhile.
 */
#pragma once
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct tools_request {
	const char *method;         /* "GET", "POST", "PUT" */
	const char *url;            /* http or https; certificates are verified */
	const char *body;           /* or NULL */
	const char *const *headers; /* "Name: value" ..., NULL at the end; or NULL */
	const char *cert, *key;     /* client certificate files, or NULL */
	const char *sign;           /* AWS signature version 4: "aws:amz:REGION:SERVICE", or NULL */
	const char *user, *password; /* for sign: access key and secret key */
	int64_t timeout_ms;          /* of the whole request, > 0 */
};

/*
 * Answers up to 16 MiB. *status is the HTTP status, the answer's body is appended to *body.
 * 0, or a negative errno with err when there was no answer.
 */
int tools_web_ask(const struct tools_request *r, int *status, struct herd_buf *body,
		  struct herd_err *err);
