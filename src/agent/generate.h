/*
 * agent/generate.h - a configuration to begin with: pgherd agent --generate-sample-config and
 * --generate-config.
 */
#pragma once
#include "base/err.h"

/* path NULL: to stdout. Files are made 0600; an existing one is replaced. */
int herd_generate_sample(const char *path, struct herd_err *err);
/* Out of the server that dsn (NULL: libpq's environment) leads to; asks for a password on /dev/tty.
 */
int herd_generate(const char *path, const char *dsn, struct herd_err *err);
