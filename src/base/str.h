/*
 * base/str.h - small helpers for C strings.
 */
#pragma once
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* printf into malloc'd memory; NULL when out of memory. */
char *herd_str_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
char *herd_str_vprintf(const char *fmt, va_list ap) __attribute__((format(printf, 1, 0)));
/* NULL-safe equality (two NULLs are equal) and its case-insensitive form (ASCII). */
bool herd_str_eq(const char *a, const char *b);
bool herd_str_ieq(const char *a, const char *b);
bool herd_str_starts(const char *s, const char *prefix);
/* strdup that takes NULL. */
char *herd_str_dup(const char *s);
/* Frees and replaces *slot by a copy of s (which may be NULL). False when out of memory. */
bool herd_str_set(char **slot, const char *s);
/* Removes white space at both ends in place; returns the start. */
char *herd_str_trim(char *s);
/* The whole text must be the number. Base 10. 0 or -EINVAL / -ERANGE. */
int herd_str_to_i64(const char *s, int64_t *ret);
/* on/true/yes/1, off/false/no/0 in any case. 0 or -EINVAL. */
int herd_str_to_bool(const char *s, bool *ret);
/* Compares in a time that depends on the lengths only: for secrets. */
bool herd_str_equal_secret(const char *a, const char *b);
/* Overwrites memory that held a secret in a way the compiler keeps. */
void herd_str_wipe(void *p, size_t len);
