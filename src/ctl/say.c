#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/str.h"
#include "ctl/internal.h"
#include "model/time.h"

enum { SILENT_MS = 2000, TICK_MS = 1000 };

int ctl_fail(const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	fputs("Error: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return -1;
}

int ctl_fail_err(const struct herd_err *err, const char *what)
{
	ctl_fail("%s%s%s", what ? what : "", what ? ": " : "", herd_err_text(err));
	if (err->detail)
		fprintf(stderr, "%s\n", err->detail);
	if (err->hint)
		fprintf(stderr, "Hint: %s\n", err->hint);
	return -1;
}

char *ctl_timestamp(int digits)
{
	int64_t us = herd_wall_ms() * 1000;
	struct timespec ts;
	struct tm tm;

	if (clock_gettime(CLOCK_REALTIME, &ts) == 0)
		us = ts.tv_sec * INT64_C(1000000) + ts.tv_nsec / 1000;
	time_t t = (time_t)(us / 1000000);

	localtime_r(&t, &tm);
	char *text = herd_str_printf("%04d-%02d-%02d %02d:%02d:%02d.%06d", tm.tm_year + 1900,
				     tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
				     (int)(us % 1000000));

	if (text)
		text[digits ? strlen(text) - 6 + (size_t)digits : strlen(text) - 7] = '\0';
	return text;
}

static void aborted(void)
{
	fputs(isatty(STDERR_FILENO) ? "\nAborted!\n" : "Aborted!\n", stderr);
}

char *ctl_prompt(const char *question, const char *default_answer)
{
	struct herd_buf b = { 0 };
	int ch;

	for (;;) {
		if (default_answer)
			printf("%s [%s]: ", question, default_answer);
		else
			printf("%s: ", question);
		fflush(stdout);
		herd_buf_reset(&b);
		while ((ch = getchar()) != EOF && ch != '\n')
			herd_buf_addc(&b, (char)ch);
		if (ch == EOF && b.len == 0) {
			aborted();
			herd_buf_free(&b);
			return NULL;
		}
		char *text = herd_buf_steal(&b),
		     *trimmed = text ? strdup(herd_str_trim(text)) : NULL;

		free(text);
		if (!trimmed || *trimmed)
			return trimmed;
		free(trimmed);
		if (default_answer)
			return strdup(default_answer);
	}
}

int ctl_confirm(const char *question)
{
	for (;;) {
		char *asked = herd_str_printf("%s [y/N]", question);
		char line[8] = "";
		int ch, n = 0;

		printf("%s: ", asked ? asked : question);
		free(asked);
		fflush(stdout);
		while ((ch = getchar()) != EOF && ch != '\n')
			if (n < (int)sizeof(line) - 1 && !isspace(ch))
				line[n++] = (char)tolower(ch);
		if (ch == EOF && n == 0) {
			aborted();
			return -1;
		}
		if (n == 0 || strcmp(line, "n") == 0 || strcmp(line, "no") == 0)
			return 0;
		if (strcmp(line, "y") == 0 || strcmp(line, "yes") == 0)
			return 1;
		puts("Error: invalid input");
	}
}

struct progress {
	struct herd_timer *timer;
	const char *what;
	int64_t start_ms;
	bool shown;
};

static void on_progress(void *arg)
{
	struct progress *p = arg;

	fprintf(stderr, "\r%s: %d s", p->what, (int)((herd_now_ms() - p->start_ms) / 1000));
	fflush(stderr);
	p->shown = true;
	herd_timer_set(p->timer, TICK_MS);
}

bool ctl_wait(struct ctl *c, const bool *done, int64_t timeout_ms, const char *what)
{
	struct progress p = { .what = what, .start_ms = herd_now_ms() };

	if (what && isatty(STDERR_FILENO))
		p.timer = herd_timer_new(c->loop, on_progress, &p);
	if (p.timer)
		herd_timer_set(p.timer, SILENT_MS);
	bool ok = herd_loop_run_until(c->loop, done, timeout_ms);

	if (p.shown)
		fputs("\r\033[K", stderr);
	herd_timer_free(p.timer);
	return ok;
}

int ctl_when(const char *text, char **iso, int64_t *ms)
{
	bool zoned;

	if (herd_str_ieq(text, "now")) {
		*iso = NULL;
		*ms = 0;
		return 0;
	}
	if (herd_time_parse(text, ms, &zoned) < 0)
		return -EINVAL;
	time_t t = (time_t)(*ms / 1000);
	struct tm tm;
	long offset = 0;

	if (!zoned) {
		/* The same numbers on a clock of this place. */
		gmtime_r(&t, &tm);
		tm.tm_isdst = -1;
		time_t local = mktime(&tm);

		localtime_r(&local, &tm);
		offset = tm.tm_gmtoff;
		*ms -= offset * 1000;
	}
	char *utc = herd_time_print(*ms + offset * 1000);

	if (!utc)
		return -ENOMEM;
	/* As Python prints it: no decimals when they are zero. */
	char *zeros = strstr(utc, ".000000");

	if (zeros)
		memmove(zeros, zeros + 7, strlen(zeros + 7) + 1);
	if (!zoned && offset != 0) {
		char *plus = strrchr(utc, '+');

		if (plus)
			*plus = '\0';
		*iso = herd_str_printf("%s%c%02ld:%02ld", utc, offset < 0 ? '-' : '+',
				       labs(offset) / 3600, labs(offset) / 60 % 60);
		free(utc);
	} else {
		*iso = utc;
	}
	return *iso ? 0 : -ENOMEM;
}
