/*
 * proxy/ident.h - auth_ident_file: which users of the database a name outside of it may be. The
 * name is that of the operating system's user (peer) or of the client's certificate (cert); lines
 * of the hba file choose a map by map=NAME.
 *
 * Lines: MAP SYSTEM-USERNAME DATABASE-USERNAME, words in double quotes when they have blanks. An
 * unquoted "all" stands for every user. A name that begins with a slash is a regular expression
 * (POSIX, extended), of which \1 in the user's name takes the first parentheses; a user's name may
 * be one, too. +groups are refused, not ignored: a map that lets in less than it says is an error
 * to be told.
 */
#pragma once
#include <stdbool.h>

#include "base/err.h"

struct herd_ident;
/* 0, or a negative errno with err naming file and line. */
int herd_ident_load(const char *path, struct herd_ident **ret, struct herd_err *err);
void herd_ident_free(struct herd_ident *i);
/* False also when there is no such map, or i is NULL. */
bool herd_ident_may(const struct herd_ident *i, const char *map, const char *name,
		    const char *user);
