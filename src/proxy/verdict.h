/*
 * proxy/verdict.h - which statements are proved to be reads. None is, yet.
 */
#pragma once
#include "proxy/client.h"

enum herd_verdict {
	HERD_VERDICT_NONE = 0, /* not known */
	HERD_VERDICT_READ,
	HERD_VERDICT_NO
};

/* Of a text of this client. */
enum herd_verdict herd_verdict_get(struct herd_client *c, const char *text, size_t n);
