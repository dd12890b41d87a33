/*
 * model/lsn.h - PostgreSQL's log sequence numbers and the names that derive from member names.
 *
 * An LSN is a uint64_t; 0 (PostgreSQL's InvalidXLogRecPtr) means "not known". JSON documents hold
 * them as plain integers, PostgreSQL prints them as two hexadecimal halves.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* Room for "FFFFFFFF/FFFFFFFF" and the NUL: the longest text there is. */
#define HERD_LSN_TEXT 18

/* "16/B374D848" (1 to 8 hexadecimal digits on each side, nothing else). 0 or -EINVAL. */
int herd_lsn_parse(const char *text, uint64_t *ret);
/* Writes the text into out and returns out. */
const char *herd_lsn_print(uint64_t lsn, char out[HERD_LSN_TEXT]);
/* How far behind is (0 when not behind at all or unknown). */
static inline uint64_t herd_lsn_lag(uint64_t ahead, uint64_t behind)
{
	return ahead > behind ? ahead - behind : 0;
}

/*
 * The physical replication slot of a member, as Patroni names it: lower case, '-' and '.' become
 * '_', any other character outside [a-z0-9_] becomes 'u' and its code point in at least four
 * decimal digits, cut to 63 bytes. Invalid UTF-8 is taken byte by byte. malloc'd, NULL when out of
 * memory.
 */
char *herd_slot_name(const char *member);
