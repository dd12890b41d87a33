/* Whatever a file or program of PostgreSQL's holds: the first byte picks the reader. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "pg/command.h"
#include "pg/conf.h"
#include "pg/control.h"
#include "pg/history.h"
#include "pg/proc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_configuration(const char *text)
{
	struct herd_pg_settings s = { 0 };
	struct herd_pg_guc_table t = { 0 };
	struct herd_buf out = { 0 };
	bool changed;

	if (herd_pg_conf_parse(text, &s) == 0)
		herd_pg_settings_clear(&s);
	herd_pg_conf_clean_auto(text, &out, &changed);
	herd_buf_reset(&out);
	herd_pg_conf_quote(text, &out);
	herd_buf_free(&out);
	if (herd_pg_guc_table_parse(text, &t, NULL) == 0)
		herd_pg_guc_table_clear(&t);
}

/* A value: the second byte picks the type. */
static void read_value(const char *text)
{
	static const char *const units[] = { NULL, "8kB", "ms", "min" };
	struct herd_pg_settings s = { 0 };
	struct herd_buf out = { 0 };
	enum herd_pg_guc_type type = (enum herd_pg_guc_type)((unsigned char)text[0] % 5);
	const char *value = text[0] != '\0' ? text + 1 : text;

	for (int i = 0; i < 4; i++) {
		herd_pg_guc_judge(type, units[i], "on,off,try", "-1", "100", value);
		herd_pg_guc_human(type, units[i], value, &out);
		herd_buf_reset(&out);
	}
	herd_pg_guc_fact(value);
	herd_pg_guc_recovery_name(value, 15);
	herd_pg_settings_set(&s, type % 2 ? "wal_keep_size" : "wal_keep_segments", value);
	herd_pg_guc_wal_keep(&s, 15, &out);
	herd_pg_settings_clear(&s);
	herd_buf_free(&out);
}

static void read_state(const char *text)
{
	struct herd_pg_controldata c;
	struct herd_pg_history h = { 0 };
	struct herd_pg_pidfile f;

	herd_pg_control_parse(text, &c, NULL);
	herd_pg_pidfile_parse(text, &f);
	if (herd_pg_history_parse(text, &h, NULL) == 0)
		herd_pg_history_clear(&h);
}

static void read_words(const char *text)
{
	struct herd_pg_lines words = { 0 };
	struct herd_pg_addr addr = { 0 };
	struct herd_pg_settings s = { 0 };

	if (herd_pg_command_split(text, &words, NULL) == 0)
		herd_pg_lines_clear(&words);
	if (herd_pg_addr_parse_url(text, &addr, NULL) == 0)
		herd_pg_addr_clear(&addr);
	if (herd_pg_conninfo_parse(text, &s, NULL) == 0)
		herd_pg_settings_clear(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = size > 0 ? strndup((const char *)data + 1, size - 1) : NULL;

	if (text == NULL)
		return 0;
	switch (data[0] % 4) {
	case 0:
		read_configuration(text);
		break;
	case 1:
		read_state(text);
		break;
	case 2:
		read_value(text);
		break;
	default:
		read_words(text);
		break;
	}
	free(text);
	return 0;
}
