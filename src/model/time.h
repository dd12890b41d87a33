/*
 * model/time.h - wall-clock times as documents hold them. Milliseconds since the epoch, UTC.
 *
 * Pure arithmetic: no clock is read, no time zone database is used.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/*
 * ISO 8601 as Python's isoformat() prints it: "2026-11-22T05:04:00.123456+00:00"; the separator may
 * be a space, the fraction, the seconds and the zone ("Z", "+01:00", "+0100", "+01") may be absent.
 * *zoned (may be NULL) says whether a zone was given; UTC is taken otherwise. 0 or -EINVAL.
 */
int herd_time_parse(const char *text, int64_t *ms, bool *zoned);
/* "2026-11-22T05:04:00.123000+00:00", malloc'd; NULL when out of memory. */
char *herd_time_print(int64_t ms);
/*
 * The time as Python's isoformat() prints it, in the zone that text gives (UTC without one):
 * "2026-11-22 05:04Z" is "2026-11-22T05:04:00+00:00". malloc'd; NULL when it is no time.
 */
char *herd_time_normal(const char *text);
