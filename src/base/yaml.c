#include "base/yaml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/buf.h"
#include "base/map.h"
#include "base/yaml_scalar.h"

enum {
	MAX_DEPTH = 200,
	MAX_NODES = 1000000, /* after aliases are expanded: stops the "billion laughs" */
	DUMP_WIDTH = 200     /* of patronictl's show-config */
};

struct reader {
	yaml_parser_t parser;
	const char *name;
	struct herd_err *err;
	struct herd_map *anchors; /* name -> json_t, owned by the map */
	long nodes;
	int depth;
};

static void free_value(void *v)
{
	json_decref(v);
}

static json_t *fail(struct reader *r, const yaml_mark_t *at, const char *why)
{
	herd_err_set(r->err, -EINVAL, "%s: line %zu column %zu: %s", r->name, at->line + 1,
		     at->column + 1, why);
	return NULL;
}

static json_t *no_memory(struct reader *r)
{
	herd_err_set(r->err, -ENOMEM, "%s: out of memory", r->name);
	return NULL;
}

static bool next_event(struct reader *r, yaml_event_t *ev)
{
	if (yaml_parser_parse(&r->parser, ev))
		return true;
	const yaml_parser_t *p = &r->parser;
	const char *why = p->problem ? p->problem : "cannot be parsed";

	if (p->error == YAML_MEMORY_ERROR)
		no_memory(r);
	else if (p->error == YAML_READER_ERROR)
		herd_err_set(r->err, -EINVAL, "%s: byte %zu: %s", r->name, p->problem_offset, why);
	else
		fail(r, &p->problem_mark, why);
	return false;
}

static json_t *read_node(struct reader *r, yaml_event_t *ev);

/* Counts v and what is in it against the limit on nodes. */
static bool count_nodes(struct reader *r, const json_t *v)
{
	if (++r->nodes > MAX_NODES)
		return false;
	const char *key;
	json_t *child;
	size_t i;

	json_object_foreach((json_t *)v, key, child)
	{
		if (!count_nodes(r, child))
			return false;
	}
	json_array_foreach(v, i, child)
	{
		if (!count_nodes(r, child))
			return false;
	}
	return true;
}

/* A copy, because our users change values in place. */
static json_t *read_alias(struct reader *r, const yaml_event_t *ev)
{
	json_t *v = herd_map_get(r->anchors, (const char *)ev->data.alias.anchor);

	if (!v)
		return fail(r, &ev->start_mark, "alias without an anchor before it");
	if (!count_nodes(r, v))
		return fail(r, &ev->start_mark, "aliases expand to too many values");
	json_t *copy = json_deep_copy(v);

	return copy ? copy : no_memory(r);
}

static json_t *read_scalar(struct reader *r, const yaml_event_t *ev)
{
	const char *text = (const char *)ev->data.scalar.value;
	const char *tag = (const char *)ev->data.scalar.tag, *why = NULL;
	size_t len = ev->data.scalar.length;

	if (memchr(text, '\0', len))
		return fail(r, &ev->start_mark, "a text cannot hold a NUL character");
	bool plain =
		ev->data.scalar.plain_implicit && ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
	json_t *v = tag ? herd_yaml_scalar_tagged(tag, text, &why)
			: (plain ? herd_yaml_scalar_plain(text) : json_string(text));

	if (!v)
		return why ? fail(r, &ev->start_mark, why) : no_memory(r);
	return v;
}

static json_t *read_sequence(struct reader *r)
{
	json_t *array = json_array();
	yaml_event_t ev;

	if (!array)
		return no_memory(r);
	while (next_event(r, &ev)) {
		if (ev.type == YAML_SEQUENCE_END_EVENT) {
			yaml_event_delete(&ev);
			return array;
		}
		json_t *item = read_node(r, &ev);

		if (!item)
			break;
		if (json_array_append_new(array, item) != 0) {
			no_memory(r);
			break;
		}
	}
	json_decref(array);
	return NULL;
}

/* "<<": a mapping or several; the first of several wins, and the mapping's own keys win over all.
 */
static bool merge(struct reader *r, json_t *into, json_t *from, const yaml_mark_t *at)
{
	if (json_is_object(from))
		return json_object_update(into, from) == 0 || no_memory(r);
	if (!json_is_array(from))
		return fail(r, at, "expected a mapping or a list of mappings for merging");
	for (size_t i = json_array_size(from); i-- > 0;) {
		json_t *item = json_array_get(from, i);

		if (!json_is_object(item))
			return fail(r, at, "expected a mapping for merging");
		if (json_object_update(into, item) != 0)
			return no_memory(r);
	}
	return true;
}

static bool is_merge_key(const yaml_event_t *ev)
{
	return ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
	       strcmp((const char *)ev->data.scalar.value, "<<") == 0;
}

/* Reads the value that belongs to the key in *ev (which it consumes) into own or merged. */
static bool read_pair(struct reader *r, yaml_event_t *ev, json_t *own, json_t *merged)
{
	yaml_mark_t at = ev->start_mark;
	yaml_event_t value_ev;
	char *key = NULL;
	bool merging = false, ok = false;

	if (ev->type == YAML_SCALAR_EVENT) {
		const char *text = (const char *)ev->data.scalar.value;

		merging = is_merge_key(ev);
		if (memchr(text, '\0', ev->data.scalar.length))
			fail(r, &at, "a key cannot hold a NUL character");
		else if (!(key = strdup(text)))
			no_memory(r);
	} else if (ev->type == YAML_ALIAS_EVENT) {
		const json_t *v = herd_map_get(r->anchors, (const char *)ev->data.alias.anchor);

		if (!json_is_string(v))
			fail(r, &at, "found unhashable key");
		else if (!(key = strdup(json_string_value(v))))
			no_memory(r);
	} else {
		fail(r, &at, "found unhashable key");
	}
	yaml_event_delete(ev);
	if (!key || !next_event(r, &value_ev))
		goto out;
	json_t *value = read_node(r, &value_ev);

	if (!value)
		goto out;
	if (merging) {
		ok = merge(r, merged, value, &at);
		json_decref(value);
	} else {
		ok = json_object_set_new(own, key, value) == 0 || no_memory(r);
	}
out:
	free(key);
	return ok;
}

static json_t *read_mapping(struct reader *r)
{
	json_t *own = json_object(), *merged = json_object(), *ret = NULL;
	yaml_event_t ev;

	if (!own || !merged) {
		no_memory(r);
		goto out;
	}
	while (next_event(r, &ev)) {
		if (ev.type == YAML_MAPPING_END_EVENT) {
			yaml_event_delete(&ev);
			if (json_object_update(merged, own) == 0)
				ret = json_incref(merged);
			else
				no_memory(r);
			break;
		}
		if (!read_pair(r, &ev, own, merged))
			break;
	}
out:
	json_decref(own);
	json_decref(merged);
	return ret;
}

static const char *collection_tag(const yaml_event_t *ev)
{
	return (const char *)(ev->type == YAML_MAPPING_START_EVENT ? ev->data.mapping_start.tag
								   : ev->data.sequence_start.tag);
}

static json_t *read_collection(struct reader *r, const yaml_event_t *ev)
{
	bool map = ev->type == YAML_MAPPING_START_EVENT;
	const char *tag = collection_tag(ev);

	if (tag && strcmp(tag, "!") != 0 && strcmp(tag, map ? YAML_MAP_TAG : YAML_SEQ_TAG) != 0)
		return fail(r, &ev->start_mark, "could not determine a constructor for the tag");
	if (++r->depth > MAX_DEPTH)
		return fail(r, &ev->start_mark, "nested too deeply");
	json_t *v = map ? read_mapping(r) : read_sequence(r);

	r->depth--;
	return v;
}

/* Consumes *ev. */
static json_t *read_node(struct reader *r, yaml_event_t *ev)
{
	const yaml_char_t *anchor = NULL;
	json_t *v = NULL;

	if (++r->nodes > MAX_NODES) {
		fail(r, &ev->start_mark, "too many values");
	} else if (ev->type == YAML_ALIAS_EVENT) {
		v = read_alias(r, ev);
	} else if (ev->type == YAML_SCALAR_EVENT) {
		anchor = ev->data.scalar.anchor;
		v = read_scalar(r, ev);
	} else {
		anchor = ev->type == YAML_MAPPING_START_EVENT ? ev->data.mapping_start.anchor
							      : ev->data.sequence_start.anchor;
		v = read_collection(r, ev);
	}
	if (v && anchor) {
		json_t *copy = count_nodes(r, v) ? json_deep_copy(v) : NULL;

		if (!copy || herd_map_put(r->anchors, (const char *)anchor, copy) != 0) {
			json_decref(copy);
			json_decref(v);
			v = no_memory(r);
		}
	}
	yaml_event_delete(ev);
	return v;
}

/* The only document of the stream, or {} when there is none. */
static json_t *read_stream(struct reader *r)
{
	json_t *v = NULL;

	for (;;) {
		yaml_event_t ev;

		if (!next_event(r, &ev))
			break;
		switch (ev.type) {
		case YAML_STREAM_END_EVENT:
			yaml_event_delete(&ev);
			if (!v && !(v = json_object()))
				no_memory(r);
			return v;
		case YAML_STREAM_START_EVENT:
		case YAML_DOCUMENT_END_EVENT:
			yaml_event_delete(&ev);
			continue;
		case YAML_DOCUMENT_START_EVENT:
			if (v)
				fail(r, &ev.start_mark, "expected a single document");
			yaml_event_delete(&ev);
			if (v || !next_event(r, &ev) || !(v = read_node(r, &ev)))
				goto out;
			continue;
		default:
			fail(r, &ev.start_mark, "unexpected content");
			yaml_event_delete(&ev);
			goto out;
		}
	}
out:
	json_decref(v);
	return NULL;
}

json_t *herd_yaml_parse(const char *name, const char *text, size_t len, struct herd_err *err)
{
	struct reader r = { .name = name, .err = err };
	json_t *v = NULL;

	if (!yaml_parser_initialize(&r.parser))
		return no_memory(&r);
	r.anchors = herd_map_new(free_value);
	if (r.anchors) {
		yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, len);
		v = read_stream(&r);
	} else {
		no_memory(&r);
	}
	herd_map_free(r.anchors);
	yaml_parser_delete(&r.parser);
	return v;
}

json_t *herd_yaml_read(const char *path, struct herd_err *err)
{
	struct herd_buf b = { 0 };
	json_t *v = NULL;
	FILE *f = fopen(path, "re");

	if (!f) {
		int e = errno;

		herd_err_set(err, -e, "could not open file \"%s\": %s", path, strerror(e));
		return NULL;
	}
	size_t n = 1;

	while (n > 0 && herd_buf_reserve(&b, BUFSIZ)) {
		n = fread(b.data + b.len, 1, BUFSIZ, f);
		b.len += n;
	}
	if (ferror(f)) {
		int e = errno;

		herd_err_set(err, -e, "could not read file \"%s\": %s", path, strerror(e));
	} else if (!herd_buf_ok(&b)) {
		herd_err_set(err, -ENOMEM, "%s: out of memory", path);
	} else {
		v = herd_yaml_parse(path, b.data, b.len, err);
	}
	fclose(f);
	herd_buf_free(&b);
	return v;
}

static int write_out(void *arg, unsigned char *data, size_t len)
{
	struct herd_buf *b = arg;

	herd_buf_add(b, data, len);
	return herd_buf_ok(b);
}

static bool emit_text(yaml_emitter_t *e, const char *text, size_t len, bool is_string)
{
	yaml_event_t ev;
	bool plain = !is_string || herd_yaml_plain_is_string(text);

	return yaml_scalar_event_initialize(
		       &ev, NULL, (yaml_char_t *)(is_string ? YAML_STR_TAG : NULL),
		       (yaml_char_t *)text, (int)len, plain, is_string, YAML_ANY_SCALAR_STYLE) &&
	       yaml_emitter_emit(e, &ev);
}

static bool emit(yaml_emitter_t *e, const json_t *v, bool flow);

static bool emit_array(yaml_emitter_t *e, const json_t *v, bool flow)
{
	yaml_event_t ev;
	size_t i;
	json_t *child;

	if (!yaml_sequence_start_event_initialize(&ev, NULL, NULL, 1,
						  flow ? YAML_FLOW_SEQUENCE_STYLE
						       : YAML_BLOCK_SEQUENCE_STYLE) ||
	    !yaml_emitter_emit(e, &ev))
		return false;
	json_array_foreach(v, i, child)
	{
		if (!emit(e, child, flow))
			return false;
	}
	return yaml_sequence_end_event_initialize(&ev) && yaml_emitter_emit(e, &ev);
}

static bool emit_object(yaml_emitter_t *e, const json_t *v, bool flow)
{
	yaml_event_t ev;
	const char *key;
	json_t *child;

	if (!yaml_mapping_start_event_initialize(&ev, NULL, NULL, 1,
						 flow ? YAML_FLOW_MAPPING_STYLE
						      : YAML_BLOCK_MAPPING_STYLE) ||
	    !yaml_emitter_emit(e, &ev))
		return false;
	json_object_foreach((json_t *)v, key, child)
	{
		if (!emit_text(e, key, strlen(key), true) || !emit(e, child, flow))
			return false;
	}
	return yaml_mapping_end_event_initialize(&ev) && yaml_emitter_emit(e, &ev);
}

static bool emit(yaml_emitter_t *e, const json_t *v, bool flow)
{
	if (json_is_object(v))
		return emit_object(e, v, flow);
	if (json_is_array(v))
		return emit_array(e, v, flow);
	if (json_is_string(v))
		return emit_text(e, json_string_value(v), json_string_length(v), true);
	char *text = herd_yaml_scalar_text(v);
	bool ok = text && emit_text(e, text, strlen(text), false);

	free(text);
	return ok;
}

static char *dump(const json_t *v, bool flow, int width)
{
	struct herd_buf b = { 0 };
	yaml_emitter_t e;
	yaml_event_t ev;

	if (!yaml_emitter_initialize(&e))
		return NULL;
	yaml_emitter_set_output(&e, write_out, &b);
	yaml_emitter_set_unicode(&e, 1);
	yaml_emitter_set_width(&e, width);
	bool ok = yaml_stream_start_event_initialize(&ev, YAML_UTF8_ENCODING) &&
		  yaml_emitter_emit(&e, &ev) &&
		  yaml_document_start_event_initialize(&ev, NULL, NULL, NULL, 1) &&
		  yaml_emitter_emit(&e, &ev) && emit(&e, v, flow) &&
		  yaml_document_end_event_initialize(&ev, 1) && yaml_emitter_emit(&e, &ev) &&
		  yaml_stream_end_event_initialize(&ev) && yaml_emitter_emit(&e, &ev);

	yaml_emitter_delete(&e);
	if (!ok)
		b.failed = true;
	return herd_buf_steal(&b);
}

char *herd_yaml_dump(const json_t *v)
{
	return dump(v, false, DUMP_WIDTH);
}

char *herd_yaml_dump_flow(const json_t *v)
{
	char *text = dump(v, true, -1);
	char *end = text ? strchr(text, '\n') : NULL;

	if (end)
		*end = '\0';
	return text;
}
