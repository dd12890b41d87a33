#include "ctl/table.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/str.h"
#include "base/yaml.h"

int ctl_format_parse(const char *text, enum ctl_format *ret)
{
	static const struct {
		const char *name;
		enum ctl_format format;
	} names[] = { { "pretty", CTL_PRETTY },
		      { "tsv", CTL_TSV },
		      { "json", CTL_JSON },
		      { "yaml", CTL_YAML },
		      { "yml", CTL_YAML } };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(text, names[i].name) == 0) {
			*ret = names[i].format;
			return 0;
		}
	}
	return -EINVAL;
}

/* Characters, not bytes. */
static size_t width_of(const char *s, size_t len)
{
	size_t width = 0;

	for (size_t i = 0; i < len; i++)
		width += ((unsigned char)s[i] & 0xC0) != 0x80;
	return width;
}

static char *cell_text(const json_t *row, const char *key, bool flow)
{
	const json_t *v = json_object_get(row, key);

	if (!v || json_is_null(v))
		return strdup("");
	if (json_is_string(v))
		return strdup(json_string_value(v));
	if (json_is_object(v) || json_is_array(v)) {
		json_t *sorted = ctl_sorted(v);
		char *text = flow ? herd_yaml_dump_flow(sorted) : herd_yaml_dump(sorted);
		size_t len = text ? strlen(text) : 0;

		if (len > 0 && text[len - 1] == '\n')
			text[len - 1] = '\0';
		json_decref(sorted);
		return text;
	}
	return json_dumps(v, JSON_ENCODE_ANY);
}

/* The cells of one line of the table (the head, when row is NULL); n texts, ours to free. */
static char **make_cells(const struct ctl_column *cols, size_t n, const json_t *row)
{
	char **cells = calloc(n ? n : 1, sizeof(*cells));

	for (size_t i = 0; cells && i < n; i++)
		cells[i] = row ? cell_text(row, cols[i].key, false) : strdup(cols[i].head);
	return cells;
}

static void free_cells(char **cells, size_t n)
{
	for (size_t i = 0; cells && i < n; i++)
		free(cells[i]);
	free(cells);
}

struct box {
	const struct ctl_column *cols;
	size_t n, rows;
	char ***cells; /* rows + 1, the head first */
	size_t *widths;
	bool ruled; /* a rule between all rows, because some have several lines */
};

static void box_clear(struct box *b)
{
	for (size_t r = 0; b->cells && r <= b->rows; r++)
		free_cells(b->cells[r], b->n);
	free(b->cells);
	free(b->widths);
}

static bool measure(struct box *b, const json_t *rows)
{
	b->rows = json_array_size(rows);
	b->cells = calloc(b->rows + 1, sizeof(*b->cells));
	b->widths = calloc(b->n ? b->n : 1, sizeof(*b->widths));
	if (!b->cells || !b->widths)
		return false;
	for (size_t r = 0; r <= b->rows; r++) {
		b->cells[r] = make_cells(b->cols, b->n, r ? json_array_get(rows, r - 1) : NULL);
		for (size_t i = 0; i < b->n; i++) {
			if (!b->cells[r] || !b->cells[r][i])
				return false;
			for (const char *s = b->cells[r][i]; s;) {
				size_t len = strcspn(s, "\n"), width = width_of(s, len);

				if (width > b->widths[i])
					b->widths[i] = width;
				b->ruled |= s[len] != '\0';
				s = s[len] ? s + len + 1 : NULL;
			}
		}
	}
	return true;
}

static void add_times(struct herd_buf *out, char c, size_t n)
{
	while (n-- > 0)
		herd_buf_addc(out, c);
}

static void add_rule(struct herd_buf *out, const struct box *b)
{
	herd_buf_addc(out, '+');
	for (size_t i = 0; i < b->n; i++) {
		add_times(out, '-', b->widths[i] + 2);
		herd_buf_addc(out, '+');
	}
	herd_buf_addc(out, '\n');
}

/* The upper border with the title over it; the corners stay. */
static void add_title(struct herd_buf *out, const struct box *b, const char *title)
{
	struct herd_buf rule = { 0 };

	add_rule(&rule, b);
	size_t room = rule.len > 3 ? rule.len - 3 : 0, len = strlen(title), width;

	while (len > 0 && width_of(title, len) > room)
		len--;
	width = width_of(title, len);
	herd_buf_addc(out, '+');
	herd_buf_add(out, title, len);
	if (herd_buf_ok(&rule))
		herd_buf_addstr(out, rule.data + 1 + width);
	herd_buf_free(&rule);
}

static void add_cell(struct herd_buf *out, const struct box *b, size_t col, const char *s,
		     size_t len)
{
	size_t pad = b->widths[col] - width_of(s, len);

	herd_buf_addc(out, ' ');
	if (b->cols[col].right)
		add_times(out, ' ', pad);
	herd_buf_add(out, s, len);
	if (!b->cols[col].right)
		add_times(out, ' ', pad);
	herd_buf_addstr(out, " |");
}

static void add_row(struct herd_buf *out, const struct box *b, char **cells)
{
	const char **at = calloc(b->n ? b->n : 1, sizeof(*at));
	bool more = at != NULL;

	for (size_t i = 0; at && i < b->n; i++)
		at[i] = cells[i];
	while (more) {
		more = false;
		herd_buf_addc(out, '|');
		for (size_t i = 0; i < b->n; i++) {
			size_t len = strcspn(at[i], "\n");

			add_cell(out, b, i, at[i], len);
			at[i] += len + (at[i][len] == '\n');
			more |= *at[i] != '\0';
		}
		herd_buf_addc(out, '\n');
	}
	free(at);
}

char *ctl_table_pretty(const char *title, const struct ctl_column *cols, size_t n,
		       const json_t *rows)
{
	struct box b = { .cols = cols, .n = n };
	struct herd_buf out = { 0 };

	if (!measure(&b, rows)) {
		box_clear(&b);
		return NULL;
	}
	if (title)
		add_title(&out, &b, title);
	else
		add_rule(&out, &b);
	add_row(&out, &b, b.cells[0]);
	add_rule(&out, &b);
	for (size_t r = 1; r <= b.rows; r++) {
		add_row(&out, &b, b.cells[r]);
		if (b.ruled && r < b.rows)
			add_rule(&out, &b);
	}
	add_rule(&out, &b);
	box_clear(&b);
	return herd_buf_steal(&out);
}

char *ctl_table_tsv(const struct ctl_column *cols, size_t n, const json_t *rows, bool head,
		    const char *delimiter)
{
	struct herd_buf out = { 0 };
	size_t r;
	json_t *row;

	for (size_t i = 0; head && i < n; i++)
		herd_buf_printf(&out, "%s%s", i ? delimiter : "", cols[i].key);
	if (head)
		herd_buf_addc(&out, '\n');
	json_array_foreach(rows, r, row)
	{
		for (size_t i = 0; i < n; i++) {
			char *text = cell_text(row, cols[i].key, true);

			for (char *nl = text; nl && (nl = strchr(nl, '\n'));)
				*nl = ' ';
			herd_buf_printf(&out, "%s%s", i ? delimiter : "", text ? text : "");
			free(text);
		}
		herd_buf_addc(&out, '\n');
	}
	return herd_buf_steal(&out);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

json_t *ctl_sorted(const json_t *v)
{
	const char **keys;
	json_t *ret, *child;
	const char *key;
	size_t n = 0, i;

	if (json_is_array(v)) {
		ret = json_array();
		json_array_foreach(v, i, child)
		{
			json_array_append_new(ret, ctl_sorted(child));
		}
		return ret;
	}
	if (!json_is_object(v))
		return json_copy((json_t *)v);
	keys = calloc(json_object_size(v) + 1, sizeof(*keys));
	ret = json_object();
	if (!keys)
		return ret;
	json_object_foreach((json_t *)v, key, child)
	{
		keys[n++] = key;
	}
	qsort(keys, n, sizeof(*keys), by_name);
	for (i = 0; i < n; i++)
		json_object_set_new(ret, keys[i], ctl_sorted(json_object_get(v, keys[i])));
	free(keys);
	return ret;
}

static json_t *filtered(const struct ctl_column *cols, size_t n, const json_t *rows)
{
	json_t *ret = json_array(), *row;
	size_t r;

	json_array_foreach(rows, r, row)
	{
		json_t *o = json_object();

		for (size_t i = 0; i < n; i++) {
			json_t *v = json_object_get(row, cols[i].key);

			if (v && !json_is_null(v) && !(json_is_string(v) && !json_string_length(v)))
				json_object_set(o, cols[i].key, v);
		}
		json_array_append_new(ret, o);
	}
	return ret;
}

char *ctl_table_print(enum ctl_format f, const char *title, const struct ctl_column *cols, size_t n,
		      const json_t *rows)
{
	char *text, *line;

	if (f == CTL_PRETTY)
		return ctl_table_pretty(title, cols, n, rows);
	if (f == CTL_TSV)
		return ctl_table_tsv(cols, n, rows, true, "\t");
	json_t *v = filtered(cols, n, rows), *sorted = ctl_sorted(v);

	text = f == CTL_YAML ? herd_yaml_dump(sorted) : json_dumps(v, JSON_ENSURE_ASCII);
	json_decref(sorted);
	json_decref(v);
	if (!text)
		return NULL;
	line = herd_str_printf("%s\n", text);
	free(text);
	return line;
}
