#include "model/time.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

/* Days from the epoch to a date of the proleptic Gregorian calendar (Howard Hinnant's algorithm).
 */
static int64_t days_from_civil(int64_t y, int m, int d)
{
	y -= m <= 2;
	int64_t era = (y >= 0 ? y : y - 399) / 400;
	int64_t yoe = y - era * 400;
	int64_t doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
	int64_t doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;

	return era * 146097 + doe - 719468;
}

static void civil_from_days(int64_t z, int64_t *y, int *m, int *d)
{
	z += 719468;
	int64_t era = (z >= 0 ? z : z - 146096) / 146097;
	int64_t doe = z - era * 146097;
	int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	int64_t mp = (5 * doy + 2) / 153;

	*d = (int)(doy - (153 * mp + 2) / 5 + 1);
	*m = (int)(mp < 10 ? mp + 3 : mp - 9);
	*y = yoe + era * 400 + (*m <= 2);
}

/* Exactly n digits; advances *s. -1 when they are not there. */
static int digits(const char **s, int n)
{
	int v = 0;

	for (int i = 0; i < n; i++, (*s)++) {
		if (**s < '0' || **s > '9')
			return -1;
		v = v * 10 + (**s - '0');
	}
	return v;
}

static bool skip(const char **s, char c)
{
	if (**s != c)
		return false;
	(*s)++;
	return true;
}

static int days_in(int64_t y, int m)
{
	static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };

	return m == 2 && ((y % 4 == 0 && y % 100 != 0) || y % 400 == 0) ? 29 : days[m - 1];
}

static int parse_zone(const char **s, int64_t *offset_s, bool *zoned)
{
	*offset_s = 0;
	*zoned = **s != '\0';
	if (!*zoned || skip(s, 'Z') || skip(s, 'z'))
		return 0;
	int sign = **s == '-' ? -1 : 1;

	if (!skip(s, '+') && !skip(s, '-'))
		return -EINVAL;
	int h = digits(s, 2), m = 0;

	if (**s == ':' || **s != '\0') {
		skip(s, ':');
		m = digits(s, 2);
	}
	if (h < 0 || h > 23 || m < 0 || m > 59)
		return -EINVAL;
	*offset_s = sign * (h * 3600 + m * 60);
	return 0;
}

int herd_time_parse(const char *text, int64_t *ms, bool *zoned)
{
	const char *s = text;
	int sec = 0, frac_ms = 0;
	int64_t offset;
	bool has_zone;

	if (!s)
		return -EINVAL;
	int y = digits(&s, 4);

	if (y < 1 || !skip(&s, '-'))
		return -EINVAL;
	int mon = digits(&s, 2);

	if (mon < 1 || mon > 12 || !skip(&s, '-'))
		return -EINVAL;
	int day = digits(&s, 2);

	if (day < 1 || day > days_in(y, mon) || (!skip(&s, 'T') && !skip(&s, ' ')))
		return -EINVAL;
	int h = digits(&s, 2);

	if (h < 0 || h > 23 || !skip(&s, ':'))
		return -EINVAL;
	int min = digits(&s, 2);

	if (min < 0 || min > 59)
		return -EINVAL;
	if (skip(&s, ':') && ((sec = digits(&s, 2)) < 0 || sec > 60))
		return -EINVAL;
	if (skip(&s, '.')) {
		if (*s < '0' || *s > '9')
			return -EINVAL;
		for (int scale = 100; *s >= '0' && *s <= '9'; s++, scale /= 10)
			frac_ms += scale * (*s - '0');
	}
	skip(&s, ' ');
	if (parse_zone(&s, &offset, &has_zone) < 0 || *s != '\0')
		return -EINVAL;
	*ms = ((days_from_civil(y, mon, day) * 24 + h) * 3600 + min * 60 + sec - offset) * 1000 +
	      frac_ms;
	if (zoned)
		*zoned = has_zone;
	return 0;
}

char *herd_time_print(int64_t ms)
{
	int64_t s = ms / 1000, frac = ms % 1000, y;
	int m, d;

	if (frac < 0) {
		frac += 1000;
		s--;
	}
	int64_t day = s / 86400, rest = s % 86400;

	if (rest < 0) {
		rest += 86400;
		day--;
	}
	civil_from_days(day, &y, &m, &d);
	return herd_str_printf("%04" PRId64 "-%02d-%02dT%02d:%02d:%02d.%03d000+00:00", y, m, d,
			       (int)(rest / 3600), (int)(rest / 60 % 60), (int)(rest % 60),
			       (int)frac);
}

char *herd_time_normal(const char *text)
{
	bool zoned;
	int64_t ms, offset;
	const char *zone;
	char *utc, *zeros, *ret;

	if (herd_time_parse(text, &ms, &zoned) < 0)
		return NULL;
	/* The date's dashes end at the tenth character; what follows the time is the zone. */
	zone = text + 10 + strcspn(text + 10, "Zz+-");
	if (parse_zone(&zone, &offset, &zoned) < 0)
		return NULL;
	utc = herd_time_print(ms + offset * 1000);
	if (!utc)
		return NULL;
	utc[strlen(utc) - 6] = '\0';
	zeros = strstr(utc, ".000000");
	if (zeros)
		*zeros = '\0';
	ret = herd_str_printf("%s%c%02d:%02d", utc, offset < 0 ? '-' : '+',
			      (int)((offset < 0 ? -offset : offset) / 3600),
			      (int)((offset < 0 ? -offset : offset) / 60 % 60));
	free(utc);
	return ret;
}
