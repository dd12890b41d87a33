#include "pg/history.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "model/lsn.h"

void herd_pg_history_clear(struct herd_pg_history *h)
{
	for (size_t i = 0; i < h->n; i++)
		free(h->v[i].reason);
	free(h->v);
	*h = (struct herd_pg_history){ 0 };
}

/* "1<tab>0/23000028<tab>no recovery target specified". 0 for a line that holds nothing. */
static int parse_line(char *line, struct herd_pg_history_line *ret)
{
	char *tli = herd_str_trim(line), *lsn, *reason, *end;
	unsigned long n;

	if (*tli == '\0' || *tli == '#')
		return 0;
	lsn = tli + strcspn(tli, " \t");
	if (*lsn == '\0')
		return -EINVAL;
	*lsn++ = '\0';
	lsn += strspn(lsn, " \t");
	reason = lsn + strcspn(lsn, " \t");
	if (*reason != '\0')
		*reason++ = '\0';
	errno = 0;
	n = strtoul(tli, &end, 10);
	if (errno != 0 || *end != '\0' || tli[0] == '-' || n == 0 || n > UINT32_MAX)
		return -EINVAL;
	if (herd_lsn_parse(lsn, &ret->end_lsn) < 0)
		return -EINVAL;
	ret->tli = (uint32_t)n;
	ret->reason = strdup(herd_str_trim(reason));
	return ret->reason != NULL ? 1 : -ENOMEM;
}

static int append(struct herd_pg_history *h, const struct herd_pg_history_line *line)
{
	struct herd_pg_history_line *v = realloc(h->v, (h->n + 1) * sizeof(*v));

	if (v == NULL)
		return -ENOMEM;
	h->v = v;
	h->v[h->n++] = *line;
	return 0;
}

int herd_pg_history_parse(const char *text, struct herd_pg_history *ret, struct herd_err *err)
{
	struct herd_pg_history h = { 0 };
	char *copy = strdup(text), *save = NULL;
	int rc = copy != NULL ? 0 : -ENOMEM;

	for (char *line = rc == 0 ? strtok_r(copy, "\n", &save) : NULL; line != NULL;
	     line = strtok_r(NULL, "\n", &save)) {
		struct herd_pg_history_line parsed;

		rc = parse_line(line, &parsed);
		if (rc < 0)
			break;
		if (rc == 0)
			continue;
		/* Each timeline is younger than its parent. */
		if (h.n > 0 && parsed.tli <= h.v[h.n - 1].tli)
			rc = -EINVAL;
		else
			rc = append(&h, &parsed);
		if (rc < 0) {
			free(parsed.reason);
			break;
		}
	}
	free(copy);
	if (rc < 0) {
		size_t n = h.n;

		herd_pg_history_clear(&h);
		if (rc == -ENOMEM)
			return herd_err_set(err, rc, "out of memory");
		return herd_err_set(err, rc, "timeline history is invalid after %zu entries", n);
	}
	*ret = h;
	return 0;
}
