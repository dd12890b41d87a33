#include "pool/sets.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct herd_sets *herd_sets_ref(struct herd_sets *s)
{
	if (s)
		atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
	return s;
}

void herd_sets_unref(struct herd_sets *s)
{
	if (!s || atomic_fetch_sub(&s->refs, 1) != 1)
		return;
	for (size_t i = 0; i < s->n; i++) {
		free(s->item[i].name);
		free(s->item[i].text);
	}
	free(s);
}

static bool same_item(const struct herd_set *a, const struct herd_set *b)
{
	return strcmp(a->name, b->name) == 0 && strcmp(a->text, b->text) == 0;
}

bool herd_sets_same(const struct herd_sets *a, const struct herd_sets *b)
{
	if (a == b)
		return true;
	if (!a || !b || a->hash != b->hash || a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++) {
		if (!same_item(&a->item[i], &b->item[i]))
			return false;
	}
	return true;
}

static uint64_t hash_text(uint64_t h, const char *p)
{
	do
		h = (h ^ (uint8_t)*p) * 1099511628211ULL;
	while (*p++);
	return h;
}

static bool order_matters(const char *name)
{
	return strcmp(name, HERD_SET_ROLE) == 0 || strcmp(name, HERD_SET_AUTHORIZATION) == 0 ||
	       strcmp(name, HERD_SET_CHARACTERISTICS) == 0;
}

static int append(struct herd_sets *s, const char *name, const char *text)
{
	struct herd_set *item = &s->item[s->n];

	item->name = strdup(name);
	item->text = strdup(text);
	s->n++;
	if (!item->name || !item->text)
		return -ENOMEM;
	s->hash = hash_text(hash_text(s->hash, name), text);
	s->bytes += strlen(name) + strlen(text);
	s->ordered = s->ordered || order_matters(name);
	return 0;
}

/* A list with room for one more than old has, and of old those for which keep says so. */
static struct herd_sets *copy(const struct herd_sets *old,
			      bool (*keep)(const struct herd_set *item, const char *name,
					   const char *text),
			      const char *name, const char *text)
{
	size_t n = (old ? old->n : 0) + 1;
	struct herd_sets *s = calloc(1, sizeof(*s) + n * sizeof(struct herd_set));

	if (!s)
		return NULL;
	atomic_init(&s->refs, 1);
	s->hash = 14695981039346656037ULL;
	for (size_t i = 0; old && i < old->n; i++) {
		const struct herd_set *item = &old->item[i];

		if (keep(item, name, text) && append(s, item->name, item->text) < 0) {
			herd_sets_unref(s);
			return NULL;
		}
	}
	return s;
}

/* Does an item stay when name is set by text (NULL: reset)? */
static bool stays(const struct herd_set *item, const char *name, const char *text)
{
	if (strcmp(name, HERD_SET_AUTHORIZATION) == 0 && strcmp(item->name, HERD_SET_ROLE) == 0)
		return false;
	if (strcmp(item->name, name) != 0)
		return true;
	/* Each of these says something of several settings. */
	return text && strcmp(name, HERD_SET_CHARACTERISTICS) == 0 && strcmp(item->text, text) != 0;
}

static bool is_prepared(const struct herd_set *item)
{
	return strncmp(item->name, HERD_SET_PREPARED, sizeof(HERD_SET_PREPARED) - 1) == 0;
}

static bool stays_in_all(const struct herd_set *item, const char *name, const char *text)
{
	(void)name;
	(void)text;
	return strcmp(item->name, HERD_SET_ROLE) == 0 ||
	       strcmp(item->name, HERD_SET_AUTHORIZATION) == 0 || is_prepared(item);
}

static bool is_setting(const struct herd_set *item, const char *name, const char *text)
{
	(void)name;
	(void)text;
	return !is_prepared(item);
}

static int give(struct herd_sets *s, int rc, struct herd_sets **ret)
{
	if (rc == 0 && (s->n > HERD_SETS_MAX || s->bytes > HERD_SETS_MAX_BYTES))
		rc = -E2BIG;
	if (rc < 0 || s->n == 0) {
		herd_sets_unref(s);
		s = NULL;
	}
	if (rc == 0)
		*ret = s;
	return rc;
}

int herd_sets_set(const struct herd_sets *old, const char *name, const char *text,
		  struct herd_sets **ret)
{
	struct herd_sets *s = copy(old, stays, name, text);

	return s ? give(s, append(s, name, text), ret) : -ENOMEM;
}

static const struct herd_set *find(const struct herd_sets *s, const char *name)
{
	for (size_t i = 0; s && i < s->n; i++) {
		if (strcmp(s->item[i].name, name) == 0)
			return &s->item[i];
	}
	return NULL;
}

static void add_name(struct herd_buf *sql, const char *name)
{
	herd_buf_addc(sql, '"');
	for (; *name; name++) {
		if (*name == '.')
			herd_buf_addstr(sql, "\".\"");
		else if (*name == '"')
			herd_buf_addstr(sql, "\"\"");
		else
			herd_buf_addc(sql, *name);
	}
	herd_buf_addc(sql, '"');
}

/* Returns how many statements. */
static int add_reset(struct herd_buf *sql, const char *name)
{
	if (strcmp(name, HERD_SET_CHARACTERISTICS) == 0) {
		herd_buf_addstr(sql, "RESET default_transaction_isolation;"
				     "RESET default_transaction_read_only;"
				     "RESET default_transaction_deferrable;");
		return 3;
	}
	herd_buf_addstr(sql, "RESET ");
	if (strcmp(name, HERD_SET_ROLE) == 0)
		herd_buf_addstr(sql, "ROLE");
	else if (strcmp(name, HERD_SET_AUTHORIZATION) == 0)
		herd_buf_addstr(sql, "SESSION AUTHORIZATION");
	else
		add_name(sql, name);
	herd_buf_addc(sql, ';');
	return 1;
}

int herd_sets_reset(struct herd_sets *old, const char *name, struct herd_sets **ret)
{
	struct herd_sets *s;
	int rc = 0;

	if (!find(old, name) && !find(old, HERD_SET_CHARACTERISTICS) &&
	    strcmp(name, HERD_SET_AUTHORIZATION) != 0) {
		*ret = herd_sets_ref(old);
		return 0;
	}
	s = copy(old, stays, name, NULL);
	if (!s)
		return -ENOMEM;
	/* What characteristics said of it is undone, and must be so again. */
	if (strncmp(name, "default_transaction_", 20) == 0 && find(s, HERD_SET_CHARACTERISTICS)) {
		struct herd_buf sql = { 0 };

		add_reset(&sql, name);
		if (herd_buf_ok(&sql)) {
			sql.data[--sql.len] = '\0';
			rc = append(s, name, herd_buf_str(&sql));
		} else {
			rc = -ENOMEM;
		}
		herd_buf_free(&sql);
	}
	return give(s, rc, ret);
}

int herd_sets_prepare(const struct herd_sets *old, const char *name, const char *text,
		      struct herd_sets **ret)
{
	struct herd_buf key = { 0 };

	herd_buf_printf(&key, "%s%s", HERD_SET_PREPARED, name);
	int rc = herd_buf_ok(&key) ? herd_sets_set(old, herd_buf_str(&key), text, ret) : -ENOMEM;

	herd_buf_free(&key);
	return rc;
}

int herd_sets_deallocate(struct herd_sets *old, const char *name, struct herd_sets **ret)
{
	struct herd_buf key = { 0 };
	struct herd_sets *s;

	herd_buf_printf(&key, "%s%s", HERD_SET_PREPARED, name ? name : "");
	if (!herd_buf_ok(&key)) {
		herd_buf_free(&key);
		return -ENOMEM;
	}
	if (name ? !find(old, herd_buf_str(&key)) : !herd_sets_prepared(old)) {
		herd_buf_free(&key);
		*ret = herd_sets_ref(old);
		return 0;
	}
	s = copy(old, name ? stays : is_setting, herd_buf_str(&key), NULL);
	herd_buf_free(&key);
	return s ? give(s, 0, ret) : -ENOMEM;
}

bool herd_sets_prepared(const struct herd_sets *s)
{
	for (size_t i = 0; s && i < s->n; i++) {
		if (is_prepared(&s->item[i]))
			return true;
	}
	return false;
}

int herd_sets_reset_all(const struct herd_sets *old, struct herd_sets **ret)
{
	struct herd_sets *s = copy(old, stays_in_all, NULL, NULL);

	return s ? give(s, 0, ret) : -ENOMEM;
}

static int add_set(struct herd_buf *sql, const struct herd_set *item)
{
	herd_buf_addstr(sql, item->text);
	herd_buf_addc(sql, ';');
	return 1;
}

static int undo(struct herd_buf *sql, const struct herd_set *item, const struct herd_sets *base)
{
	const struct herd_set *was = find(base, item->name);

	return was ? add_set(sql, was) : add_reset(sql, item->name);
}

static bool has(const struct herd_sets *s, const struct herd_set *item)
{
	const struct herd_set *same = find(s, item->name);

	return same && strcmp(same->text, item->text) == 0;
}

int herd_sets_diff(const struct herd_sets *from, const struct herd_sets *to,
		   const struct herd_sets *base, struct herd_buf *sql)
{
	int n = 0;

	if (herd_sets_same(from, to))
		return 0;
	/* With roles among them all is undone, the roles first, and made again from the start. */
	bool anew = (from && from->ordered) || (to && to->ordered);

	if (find(from, HERD_SET_AUTHORIZATION))
		n += add_reset(sql, HERD_SET_AUTHORIZATION);
	else if (find(from, HERD_SET_ROLE))
		n += add_reset(sql, HERD_SET_ROLE);
	for (size_t i = 0; from && i < from->n; i++) {
		const struct herd_set *item = &from->item[i];

		if (strcmp(item->name, HERD_SET_ROLE) == 0 ||
		    strcmp(item->name, HERD_SET_AUTHORIZATION) == 0 || is_prepared(item))
			continue;
		if (anew || !find(to, item->name))
			n += undo(sql, item, base);
	}
	for (size_t i = 0; to && i < to->n; i++) {
		if (!is_prepared(&to->item[i]) && (anew || !has(from, &to->item[i])))
			n += add_set(sql, &to->item[i]);
	}
	return n;
}

void herd_sets_diff_prepared(const struct herd_sets *from, const struct herd_sets *to,
			     void (*fn)(void *arg, const char *sql), void *arg)
{
	struct herd_buf sql = { 0 };

	for (size_t i = 0; from && i < from->n; i++) {
		const char *name = from->item[i].name + sizeof(HERD_SET_PREPARED) - 1;

		if (!is_prepared(&from->item[i]) || (to && has(to, &from->item[i])))
			continue;
		herd_buf_addstr(&sql, "DEALLOCATE \"");
		for (; *name; name++) {
			if (*name == '"')
				herd_buf_addc(&sql, '"');
			herd_buf_addc(&sql, *name);
		}
		herd_buf_addc(&sql, '"');
		fn(arg, herd_buf_str(&sql));
		herd_buf_reset(&sql);
	}
	herd_buf_free(&sql);
	for (size_t i = 0; to && i < to->n; i++) {
		if (is_prepared(&to->item[i]) && !(from && has(from, &to->item[i])))
			fn(arg, to->item[i].text);
	}
}
