/*
 * model/schema_reference.c - the tables as text for docs/agent.md.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/str.h"
#include "model/schema.h"

static const char *const when_texts[] = {
	[HERD_KEY_RELOAD] = "reload",
	[HERD_KEY_START] = "start",
	[HERD_KEY_NEW] = "new herd",
	[HERD_KEY_NO_EFFECT] = "no effect",
};

static void add_type(struct herd_buf *b, const struct herd_schema_key *k)
{
	static const char *const names[] = {
		[HERD_KEY_STR] = "text",          [HERD_KEY_ADDRESS] = "address",
		[HERD_KEY_OCTAL] = "mode",        [HERD_KEY_INT] = "integer",
		[HERD_KEY_SECONDS] = "time",      [HERD_KEY_BYTES] = "size",
		[HERD_KEY_BOOL] = "boolean",      [HERD_KEY_SYNC] = "off, on, quorum",
		[HERD_KEY_MAP] = "map",           [HERD_KEY_SETTINGS] = "map",
		[HERD_KEY_SLOTS] = "map",         [HERD_KEY_LIST] = "list",
		[HERD_KEY_LINES] = "list",        [HERD_KEY_LIST_MAP] = "list, map",
		[HERD_KEY_FORMAT] = "text, list", [HERD_KEY_ANY] = "any",
	};

	if (k->type == HERD_KEY_CHOICE) {
		for (const char *p = k->choices; *p; p++)
			herd_buf_addstr(b, *p == '|' ? ", " : (const char[]){ *p, '\0' });
		return;
	}
	herd_buf_addstr(b, names[k->type]);
	if (k->max)
		herd_buf_printf(b, " %" PRId64 "..%" PRId64, k->min, k->max);
	else if (k->type >= HERD_KEY_INT && k->type <= HERD_KEY_BYTES && k->min > INT64_MIN)
		herd_buf_printf(b, " >= %" PRId64, k->min);
}

static void add_row(struct herd_buf *b, const struct herd_schema_key *k, bool local)
{
	char *env = herd_schema_env_name(k);

	herd_buf_printf(b, "| %s | ", k->path);
	add_type(b, k);
	herd_buf_printf(b, " | %s%s%s | ", *k->fallback ? "`" : "", k->fallback,
			*k->fallback ? "`" : "");
	if (local)
		herd_buf_printf(b, "%s | %s | ", env ? env : "", when_texts[k->when]);
	herd_buf_printf(b, "%s%s |\n", k->required ? "required. " : "", k->help);
	free(env);
}

static size_t section_of(const char *path)
{
	return strcspn(path, ".");
}

char *herd_schema_reference(void)
{
	struct herd_buf b = { 0 };
	const char *last = "";

	herd_buf_addstr(&b, "### Local settings\n\n"
			    "| key | type | default | variable | new value counts | |\n"
			    "|---|---|---|---|---|---|\n");
	for (const struct herd_schema_key *k = herd_schema_local; k->path; k++) {
		size_t n = section_of(k->path);

		if (k->when == HERD_KEY_OLD)
			continue;
		if (k->path[n] == '.' && (strncmp(last, k->path, n) != 0 || last[n] != k->path[n]))
			herd_buf_printf(&b, "| **%.*s** | | | | | |\n", (int)n, k->path);
		last = k->path;
		add_row(&b, k, true);
	}
	herd_buf_addstr(&b, "\n### Dynamic settings\n\n"
			    "| key | type | default | |\n"
			    "|---|---|---|---|\n");
	for (const struct herd_schema_key *k = herd_schema_dynamic; k->path; k++)
		if (k->when != HERD_KEY_OLD)
			add_row(&b, k, false);
	return herd_buf_steal(&b);
}
