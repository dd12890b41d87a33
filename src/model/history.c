#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "model/docs.h"
#include "model/lsn.h"

int herd_history_add(struct herd_history *h, const struct herd_history_line *line)
{
	struct herd_history_line *grown = realloc(h->line, (h->n + 1) * sizeof(*grown));
	struct herd_history_line l = { .timeline = line->timeline, .lsn = line->lsn };

	if (!grown)
		return -ENOMEM;
	h->line = grown;
	if (!herd_str_set(&l.reason, line->reason) || !herd_str_set(&l.time, line->time) ||
	    !herd_str_set(&l.leader, line->leader)) {
		free(l.reason);
		free(l.time);
		return -ENOMEM;
	}
	h->line[h->n++] = l;
	return 0;
}

int herd_history_copy(const struct herd_history *from, struct herd_history *ret)
{
	struct herd_history h = { 0 };

	for (size_t i = 0; i < from->n; i++) {
		if (herd_history_add(&h, &from->line[i]) < 0) {
			herd_history_clear(&h);
			return -ENOMEM;
		}
	}
	*ret = h;
	return 0;
}

void herd_history_clear(struct herd_history *h)
{
	for (size_t i = 0; i < h->n; i++) {
		free(h->line[i].reason);
		free(h->line[i].time);
		free(h->line[i].leader);
	}
	free(h->line);
	*h = (struct herd_history){ 0 };
}

int64_t herd_history_timeline(const struct herd_history *h)
{
	return h->n > 0 ? h->line[h->n - 1].timeline + 1 : 1;
}

/* A line of the document, borrowed from v. False when it is not one. */
static bool line_of(const json_t *v, struct herd_history_line *ret)
{
	json_t *tl = json_array_get(v, 0), *lsn = json_array_get(v, 1);

	if (!json_is_integer(tl) || !json_is_integer(lsn) || json_integer_value(tl) < 1 ||
	    json_integer_value(tl) > UINT32_MAX || json_integer_value(lsn) < 0)
		return false;
	ret->timeline = json_integer_value(tl);
	ret->lsn = (uint64_t)json_integer_value(lsn);
	ret->reason = (char *)json_string_value(json_array_get(v, 2));
	ret->time = (char *)json_string_value(json_array_get(v, 3));
	ret->leader = (char *)json_string_value(json_array_get(v, 4));
	return true;
}

int herd_history_parse(const char *text, size_t len, struct herd_history *ret, struct herd_err *err)
{
	struct herd_history h = { 0 };
	json_t *list = herd_json_parse(text, len, err), *v;
	int r = 0;
	size_t i;

	if (!list)
		return herd_err_prefix(err, "history document"), -EINVAL;
	if (!json_is_array(list))
		r = herd_err_set(err, -EINVAL, "history document is not a JSON array");
	json_array_foreach(list, i, v)
	{
		struct herd_history_line l = { 0 };

		if (r < 0)
			break;
		if (!line_of(v, &l))
			r = herd_err_set(err, -EINVAL,
					 "history line %zu is not [timeline, lsn, ...]", i + 1);
		else if (h.n > 0 && l.timeline <= h.line[h.n - 1].timeline)
			r = herd_err_set(err, -EINVAL, "history line %zu is out of order", i + 1);
		else if (herd_history_add(&h, &l) < 0)
			r = herd_err_set(err, -ENOMEM, "out of memory");
	}
	json_decref(list);
	if (r < 0)
		herd_history_clear(&h);
	else
		*ret = h;
	return r;
}

char *herd_history_print(const struct herd_history *h)
{
	json_t *list = json_array();

	for (size_t i = 0; i < h->n; i++) {
		const struct herd_history_line *l = &h->line[i];
		json_t *v = json_array();

		json_array_append_new(v, json_integer(l->timeline));
		json_array_append_new(v, json_integer((json_int_t)l->lsn));
		json_array_append_new(v, json_string(l->reason ? l->reason : ""));
		if (l->time)
			json_array_append_new(v, json_string(l->time));
		if (l->time && l->leader)
			json_array_append_new(v, json_string(l->leader));
		json_array_append_new(list, v);
	}
	char *text = list ? herd_json_dump(list) : NULL;

	json_decref(list);
	return text;
}

int herd_history_parse_file(const char *text, struct herd_history *ret, struct herd_err *err)
{
	struct herd_history h = { 0 };
	char *copy = strdup(text), *save = NULL;
	int r = copy ? 0 : herd_err_set(err, -ENOMEM, "out of memory");

	for (char *s = copy ? strtok_r(copy, "\n", &save) : NULL; s && r == 0;
	     s = strtok_r(NULL, "\n", &save)) {
		char *fields = herd_str_trim(s), *rest = NULL;
		struct herd_history_line l = { 0 };

		if (*fields == '\0' || *fields == '#')
			continue;
		char *tl = strtok_r(fields, "\t ", &rest), *lsn = strtok_r(NULL, "\t ", &rest);

		l.reason = rest ? herd_str_trim(rest) : NULL;
		if (!lsn || herd_str_to_i64(tl, &l.timeline) < 0 || l.timeline < 1 ||
		    l.timeline > UINT32_MAX || herd_lsn_parse(lsn, &l.lsn) < 0 ||
		    (h.n > 0 && l.timeline <= h.line[h.n - 1].timeline))
			r = herd_err_set(err, -EINVAL, "invalid line in timeline history");
		else if (herd_history_add(&h, &l) < 0)
			r = herd_err_set(err, -ENOMEM, "out of memory");
	}
	free(copy);
	if (r < 0)
		herd_history_clear(&h);
	else
		*ret = h;
	return r;
}
