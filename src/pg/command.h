/*
 * pg/command.h - running PostgreSQL's own programs in a clean environment.
 */
#pragma once
#include "base/buf.h"
#include "loop/loop.h"

/*
 * Our environment for a program of PostgreSQL: without PATRONI_*, PGHERD_*, KUBERNETES_* and
 * NOTIFY_SOCKET, plus set ("NAME=value", NULL at the end; may be NULL).
 * One array, freed by herd_pg_env_free. NULL when out of memory.
 */
char **herd_pg_env(const char *const *set);
void herd_pg_env_free(char **env);

/* herd_child_start with that environment; the output comes to fn; it dies with us. */
int herd_pg_command_start(struct herd_loop *l, const char *const *argv, const char *const *set,
			  int64_t timeout_ms, herd_child_fn fn, void *arg, struct herd_child **ret,
			  struct herd_err *err);
/* 0 for exit code 0; else -EIO (-ENOENT: not found) with the program's last lines as detail. */
int herd_pg_command_check(const char *name, int status, const char *output, struct herd_err *err);

/* Splits a command line as a POSIX shell splits words (quotes, backslashes; nothing else). */
struct herd_pg_lines;
int herd_pg_command_split(const char *line, struct herd_pg_lines *ret, struct herd_err *err);
