#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/wait.h>

#include "base/str.h"
#include "pg/private.h"

enum { MANY_REFUSALS = 32 };

static void end(struct herd_pg *pg)
{
	herd_pg_next_fn next = pg->validate_next;

	next(pg, 0, NULL);
}

/* The agent writes this one itself, and changes it often. */
static bool compared(const char *name)
{
	return strcasecmp(name, "synchronous_standby_names") != 0;
}

static bool validated_before(const struct herd_pg *pg)
{
	const struct herd_pg_settings *now = &pg->start.settings, *then = &pg->validated;

	if (now->n != then->n)
		return false;
	for (size_t i = 0; i < now->n; i++) {
		const char *old = herd_pg_settings_get(then, now->v[i].name);

		if (old == NULL || (compared(now->v[i].name) && strcmp(old, now->v[i].value) != 0))
			return false;
	}
	return true;
}

/* The first setting of ours that the server's words name, whatever language they are in. */
static const char *named(const struct herd_pg *pg, const char *output)
{
	const char *first = NULL, *at = NULL;

	for (size_t i = 0; i < pg->start.settings.n; i++) {
		const char *name = pg->start.settings.v[i].name;
		char *quoted = herd_str_printf("\"%s\"", name);
		const char *found = quoted != NULL ? strcasestr(output, quoted) : NULL;

		free(quoted);
		if (found == NULL || herd_pg_conf_is_protected(name) || (at != NULL && found > at))
			continue;
		at = found;
		first = name;
	}
	return first;
}

static void validated(struct herd_pg *pg, int status, const char *output)
{
	struct herd_err err = HERD_ERR_INIT;
	const char *name;
	int rc;

	if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
		herd_pg_settings_clear(&pg->validated);
		herd_pg_settings_merge(&pg->validated, &pg->start.settings);
		end(pg);
		return;
	}
	name = named(pg, output);
	if (name == NULL || ++pg->start.refusals > MANY_REFUSALS) {
		end(pg); /* the start will fail, and say why better than we could */
		return;
	}
	herd_pg_notice(pg, "parameter \"%s\" is ignored: the server refuses it: %.*s", name,
		       (int)strcspn(output, "\n"), output);
	rc = herd_pg_lines_add(&pg->refused, name);
	herd_pg_settings_clear(&pg->start.settings);
	if (rc == 0)
		rc = herd_pg_write_role(pg, &pg->start.role,
					pg->start.have_control ? &pg->start.control : NULL,
					&pg->start.settings, NULL, &err);
	if (rc < 0)
		pg->validate_next(pg, rc, &err);
	else
		herd_pg_stage_validate(pg, pg->validate_next);
	herd_err_clear(&err);
}

void herd_pg_stage_validate(struct herd_pg *pg, herd_pg_next_fn next)
{
	/* -C prints one parameter, after all were read and checked, and needs no lock. */
	static const char *const env[] = { "LC_ALL=C", NULL };
	struct herd_pg_lines argv = { 0 };
	struct herd_err err = HERD_ERR_INIT;
	int rc;

	pg->validate_next = next;
	if (validated_before(pg)) {
		end(pg);
		return;
	}
	rc = herd_pg_server_argv(pg, &pg->start.settings, &argv);
	if (rc == 0)
		rc = herd_pg_lines_add(&argv, "-C");
	if (rc == 0)
		rc = herd_pg_lines_add(&argv, "data_directory");
	if (rc == 0)
		rc = herd_pg_lines_end(&argv);
	rc = rc < 0 ? herd_err_set(&err, rc, "out of memory")
		    : herd_pg_op_run(pg, (const char *const *)argv.v, env, 10000, validated, &err);
	herd_pg_lines_clear(&argv);
	if (rc < 0)
		next(pg, rc, &err);
	herd_err_clear(&err);
}
