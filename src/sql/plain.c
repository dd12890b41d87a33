#include "sql/plain.h"

#include <stdint.h>
#include <string.h>

#include "sql/lex.h"

/* Pairs of letters: each word that classify.c looks for inside of statements has one of them. */
#define PAIR(a, b) [(a) - 'a' + 1] = 1U << ((b) - 'a' + 1)
static const uint32_t telling[32] = {
	PAIR('d', 'v'),            /* advisory */
	PAIR('e', 'e'),            /* setseed */
	PAIR('f', 'y'),            /* notify */
	PAIR('i', 'g'),            /* origin */
	PAIR('m', 'p'),            /* temp */
	[14] = 1U << 6 | 1U << 11, /* nf: config, nk: dblink */
	PAIR('r', 'v'),            /* currval */
	PAIR('t', 'v'),            /* lastval */
};
#undef PAIR

/* Looks again where "mp" may have been that of a timestamp. */
static bool tells(const char *text, size_t n)
{
	for (size_t i = 1; i < n; i++) {
		uint8_t prev = (uint8_t)text[i - 1] & 31, c = (uint8_t)text[i] & 31;

		if ((telling[prev] >> c & 1) && (prev != 13 || (i > 1 && (text[i - 2] & 31) == 5)))
			return true;
	}
	return false;
}

/* Sixteen bytes at once; gcc and clang make of it what the processor has. */
typedef uint8_t bytes16 __attribute__((vector_size(16)));

static inline bytes16 load(const char *p)
{
	bytes16 v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static inline bool any(bytes16 v)
{
	uint64_t half[2];

	memcpy(half, &v, sizeof(half));
	return (half[0] | half[1]) != 0;
}

#define AT(v, letter) (bytes16)((v) == ((letter) - 'a' + 1))
/* The pairs of telling among 17 bytes, and semicolons among the last 16. */
static inline void look16(const char *p, bytes16 *pairs, bytes16 *semicolons)
{
	bytes16 a = load(p) & 31, text = load(p + 1), b = text & 31;

	*pairs |= (AT(b, 'v') & (AT(a, 'd') | AT(a, 'r') | AT(a, 't'))) |
		  (AT(a, 'e') & AT(b, 'e')) | (AT(a, 'f') & AT(b, 'y')) |
		  (AT(a, 'i') & AT(b, 'g')) | (AT(a, 'm') & AT(b, 'p')) |
		  (AT(a, 'n') & (AT(b, 'f') | AT(b, 'k')));
	*semicolons |= (bytes16)(text == ';');
}
#undef AT

/* The same for a text shorter than that. */
static bool look_short(const char *text, size_t n, bool *semicolon)
{
	bool pairs = false;

	for (size_t i = 1; i < n; i++) {
		pairs |= telling[(uint8_t)text[i - 1] & 31] >> ((uint8_t)text[i] & 31) & 1;
		*semicolon |= text[i] == ';';
	}
	return pairs;
}

static bool look(const char *text, size_t n, bool *semicolon)
{
	bytes16 pairs = { 0 }, semicolons = { 0 };

	*semicolon = false;
	if (n < 17)
		return look_short(text, n, semicolon);
	for (size_t i = 0; i + 17 < n; i += 16)
		look16(text + i, &pairs, &semicolons);
	look16(text + n - 17, &pairs, &semicolons);
	*semicolon = any(semicolons);
	return any(pairs);
}

static const char plain_words[][7] = { "select", "insert", "update", "delete", "values" };
enum { NPLAIN = sizeof(plain_words) / sizeof(plain_words[0]) };

/* Nearly all: a word of six letters and a blank. */
static bool begins_at_once(const char *text, size_t n)
{
	const uint64_t lower = UINT64_C(0x2020202020202020);
	uint64_t word = 0, known = 0;

	if (n < 7 || text[6] != ' ')
		return false;
	memcpy(&word, text, 6);
	for (int i = 0; i < NPLAIN; i++) {
		memcpy(&known, plain_words[i], 6);
		if ((word | lower) == (known | lower))
			return true;
	}
	return false;
}

/* Does it begin with the word of a statement that reads or changes rows? */
static bool begins_plainly(const char *text, size_t n)
{
	struct herd_sql_lex l = herd_sql_lex_init(text, n < 16 ? n : 16, false, HERD_SQL_SAFE);
	struct herd_sql_token t;

	if (begins_at_once(text, n))
		return true;
	herd_sql_next(&l, &t);
	for (int i = 0; i < NPLAIN; i++) {
		if (herd_sql_is(&t, plain_words[i]))
			return true;
	}
	return herd_sql_is(&t, "with");
}

bool herd_sql_plain(const char *text, size_t n)
{
	bool semicolon, pairs;

	if (!begins_plainly(text, n))
		return false;
	pairs = look(text, n, &semicolon);
	while (n > 0 && (text[n - 1] == '\0' || text[n - 1] == ' ' || text[n - 1] == '\n'))
		n--;
	if (n == 0 || (pairs && tells(text, n)))
		return false;
	return !semicolon || memchr(text, ';', n) == text + n - 1;
}
