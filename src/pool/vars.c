#include "pool/vars.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"

static const char *const always[] = { "client_encoding", "DateStyle", "TimeZone",
				      "standard_conforming_strings", "application_name" };

static int add_name(struct herd_var_names *names, const char *name)
{
	if (*name == '\0' || herd_var_names_find(names, name) >= 0)
		return 0;
	if (names->n == HERD_VARS_MAX)
		return -E2BIG;
	names->name[names->n] = strdup(name);
	if (!names->name[names->n])
		return -ENOMEM;
	names->n++;
	return 0;
}

int herd_var_names_init(struct herd_var_names *names, const char *extra)
{
	char *copy = strdup(extra ? extra : ""), *save = NULL;
	int rc = copy ? 0 : -ENOMEM;

	*names = (struct herd_var_names){ 0 };
	for (size_t i = 0; rc == 0 && i < sizeof(always) / sizeof(always[0]); i++)
		rc = add_name(names, always[i]);
	for (char *w = copy ? strtok_r(copy, ",", &save) : NULL; rc == 0 && w;
	     w = strtok_r(NULL, ",", &save))
		rc = add_name(names, herd_str_trim(w));
	free(copy);
	if (rc < 0)
		herd_var_names_free(names);
	return rc;
}

void herd_var_names_free(struct herd_var_names *names)
{
	for (int i = 0; i < names->n; i++)
		free(names->name[i]);
	*names = (struct herd_var_names){ 0 };
}

int herd_var_names_find(const struct herd_var_names *names, const char *name)
{
	for (int i = 0; i < names->n; i++) {
		/* Most differ in the first letter; bit 5 is the case of a letter. */
		if (((names->name[i][0] ^ *name) & ~0x20) == 0 &&
		    strcasecmp(names->name[i], name) == 0)
			return i;
	}
	return -1;
}

void herd_vars_free(struct herd_vars *v)
{
	for (int i = 0; v->value && i < HERD_VARS_MAX; i++)
		free(v->value[i]);
	free(v->value);
	*v = (struct herd_vars){ 0 };
}

/* The sum of these over all values is the hash, so that one change costs one pair of them. */
static uint64_t hash_one(int i, const char *value)
{
	uint64_t h = 14695981039346656037ULL + (uint64_t)i * 0x9e3779b97f4a7c15ULL;

	if (!value)
		return 0;
	for (; *value; value++)
		h = (h ^ (uint8_t)*value) * 1099511628211ULL;
	return h ^ h >> 31;
}

static int set_at(struct herd_vars *v, int i, const char *value)
{
	if (!v->value) {
		v->value = calloc(HERD_VARS_MAX, sizeof(char *));
		if (!v->value)
			return -ENOMEM;
	}
	if (herd_str_eq(v->value[i], value))
		return 0;
	uint64_t hash = v->hash - hash_one(i, v->value[i]) + hash_one(i, value);

	if (!herd_str_set(&v->value[i], value))
		return -ENOMEM;
	v->hash = hash;
	return 1;
}

int herd_vars_set(struct herd_vars *v, const struct herd_var_names *names, const char *name,
		  const char *value)
{
	int i = herd_var_names_find(names, name);

	return i < 0 ? 0 : set_at(v, i, value);
}

const char *herd_vars_get(const struct herd_vars *v, const struct herd_var_names *names,
			  const char *name)
{
	int i = herd_var_names_find(names, name);

	return i < 0 || !v->value ? NULL : v->value[i];
}

int herd_vars_fill(struct herd_vars *v, const struct herd_vars *defaults,
		   const struct herd_var_names *names)
{
	for (int i = 0; defaults->value && i < names->n; i++) {
		if (!defaults->value[i] || (v->value && v->value[i]))
			continue;
		int rc = set_at(v, i, defaults->value[i]);

		if (rc < 0)
			return rc;
	}
	return 0;
}

void herd_sql_literal(struct herd_buf *sql, const char *value)
{
	/* E'' means the same whatever standard_conforming_strings says. */
	if (strchr(value, '\\'))
		herd_buf_addc(sql, 'E');
	herd_buf_addc(sql, '\'');
	for (; *value; value++) {
		if (*value == '\'' || *value == '\\')
			herd_buf_addc(sql, *value);
		herd_buf_addc(sql, *value);
	}
	herd_buf_addc(sql, '\'');
}

int herd_vars_diff(const struct herd_vars *server, const struct herd_vars *client,
		   const struct herd_var_names *names, struct herd_buf *sql)
{
	int n = 0;

	if (!client->value || client->hash == server->hash)
		return 0;
	for (int i = 0; i < names->n; i++) {
		const char *want = client->value[i];

		/* What the server does not report can neither be compared nor followed. */
		if (!want || !server->value || !server->value[i] ||
		    herd_str_eq(want, server->value[i]))
			continue;
		herd_buf_printf(sql, "SET %s=", names->name[i]);
		herd_sql_literal(sql, want);
		herd_buf_addc(sql, ';');
		n++;
	}
	return n;
}
