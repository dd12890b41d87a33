/*
 * base/yaml_line.c - where a key stands in a text, for messages about its value.
 */
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/buf.h"
#include "base/yaml.h"

struct finder {
	yaml_parser_t parser;
	const char *path;
	int line;
};

/* Reads up to the end of the mapping that has begun; at is its path with a dot at the end. */
static bool read_mapping(struct finder *f, const char *at)
{
	yaml_event_t ev;
	bool ok = true;

	while (ok && yaml_parser_parse(&f->parser, &ev)) {
		struct herd_buf b = { 0 };
		bool end = ev.type == YAML_MAPPING_END_EVENT;
		int line = (int)ev.start_mark.line + 1, depth = 0;

		ok = end || ev.type == YAML_SCALAR_EVENT; /* other keys: no configuration */
		if (ok && !end)
			herd_buf_printf(&b, "%s%s", at, (const char *)ev.data.scalar.value);
		yaml_event_delete(&ev);
		if (end || !ok) {
			herd_buf_free(&b);
			return end;
		}
		if (strcmp(herd_buf_str(&b), f->path) == 0)
			f->line = line;
		herd_buf_addc(&b, '.');
		do {
			ok = ok && yaml_parser_parse(&f->parser, &ev);
			if (!ok)
				break;
			yaml_event_type_t type = ev.type;

			yaml_event_delete(&ev);
			if (type == YAML_MAPPING_START_EVENT && depth == 0 &&
			    strncmp(f->path, herd_buf_str(&b), b.len) == 0) {
				ok = read_mapping(f, herd_buf_str(&b));
			} else if (type == YAML_MAPPING_START_EVENT ||
				   type == YAML_SEQUENCE_START_EVENT) {
				depth++;
			} else if (type == YAML_MAPPING_END_EVENT ||
				   type == YAML_SEQUENCE_END_EVENT) {
				depth--;
			}
			ok = ok && type != YAML_NO_EVENT && type != YAML_STREAM_END_EVENT;
		} while (ok && depth > 0);
		herd_buf_free(&b);
	}
	return false;
}

int herd_yaml_line(const char *text, size_t len, const char *path)
{
	struct finder f = { .path = path };
	yaml_event_t ev;
	yaml_event_type_t type = YAML_NO_EVENT;

	if (!yaml_parser_initialize(&f.parser))
		return 0;
	yaml_parser_set_input_string(&f.parser, (const unsigned char *)text, len);
	while (type != YAML_MAPPING_START_EVENT && type != YAML_STREAM_END_EVENT &&
	       yaml_parser_parse(&f.parser, &ev)) {
		type = ev.type;
		yaml_event_delete(&ev);
		if (type == YAML_SCALAR_EVENT || type == YAML_SEQUENCE_START_EVENT)
			break;
	}
	if (type == YAML_MAPPING_START_EVENT)
		read_mapping(&f, "");
	yaml_parser_delete(&f.parser);
	return f.line;
}
