/*
 * pool/vars.h - the parameters that follow a client from server to server.
 *
 * A server reports some settings (ParameterStatus); those in the list are remembered per client and
 * per server connection, and what differs is set when a client gets a server.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

enum { HERD_VARS_MAX = 32 };

/* The names, fixed for the life of the process. */
struct herd_var_names {
	int n;
	char *name[HERD_VARS_MAX];
};
/* The five that are always tracked and those of the comma-separated list extra (may be NULL). */
int herd_var_names_init(struct herd_var_names *names, const char *extra);
void herd_var_names_free(struct herd_var_names *names);
/* Index of the name (case does not matter) or -1. */
int herd_var_names_find(const struct herd_var_names *names, const char *name);

/* Values; a zeroed struct knows none. */
struct herd_vars {
	uint64_t hash; /* equal for equal values: a cheap first comparison */
	char **value;  /* HERD_VARS_MAX slots, allocated at the first value */
};
void herd_vars_free(struct herd_vars *v);
/* 1: changed, 0: the same or not tracked, -ENOMEM. */
int herd_vars_set(struct herd_vars *v, const struct herd_var_names *names, const char *name,
		  const char *value);
/* NULL when not known. */
const char *herd_vars_get(const struct herd_vars *v, const struct herd_var_names *names,
			  const char *name);
/* What the client has not set itself it takes from the server's defaults. 0 or -ENOMEM. */
int herd_vars_fill(struct herd_vars *v, const struct herd_vars *defaults,
		   const struct herd_var_names *names);
/* Appends "SET name='value';" for all that differ. Returns how many. */
int herd_vars_diff(const struct herd_vars *server, const struct herd_vars *client,
		   const struct herd_var_names *names, struct herd_buf *sql);
/* Appends the value as an SQL literal with its quotes, safe whatever the string settings are. */
void herd_sql_literal(struct herd_buf *sql, const char *value);
