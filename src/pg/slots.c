#include "pg/slots.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

void herd_pg_slots_plan_clear(struct herd_pg_slots_plan *p)
{
	herd_pg_lines_clear(&p->create);
	herd_pg_lines_clear(&p->drop);
	herd_pg_settings_clear(&p->advance);
}

struct apply {
	void (*fn)(void *arg, int rc, const struct herd_err *err);
	void *arg;
	size_t waiting;
	struct herd_err first; /* of the failures */
};

/* One statement of the plan; its callback needs to know which. */
struct step {
	struct apply *apply;
	char text[128];
};

static void step_done(void *arg, int rc, const struct herd_pg_rows *rows,
		      const struct herd_err *err)
{
	struct step *step = arg;
	struct apply *a = step->apply;

	if (rc < 0 && a->first.code == 0) {
		herd_err_set(&a->first, rc, "could not %s: %s", step->text, herd_err_text(err));
		if (err->detail != NULL)
			herd_err_detail(&a->first, "%s", err->detail);
	}
	free(step);
	if (--a->waiting > 0)
		return;
	a->fn(a->arg, a->first.code, &a->first);
	herd_err_clear(&a->first);
	free(a);
}

static int send(struct herd_pg_session *s, struct apply *a, const char *what, const char *sql,
		const char *name, const char *lsn, int64_t timeout_ms)
{
	const char *params[] = { name, lsn };
	struct step *step = calloc(1, sizeof(*step));
	int rc;

	if (step == NULL)
		return -ENOMEM;
	step->apply = a;
	snprintf(step->text, sizeof(step->text), "%s replication slot \"%.63s\"", what, name);
	a->waiting++;
	rc = herd_pg_query(s, sql, lsn != NULL ? 2 : 1, params, timeout_ms, step_done, step);
	if (rc < 0) {
		a->waiting--;
		free(step);
	}
	return rc;
}

/* Each looks for itself whether there is anything to do, so that a repetition does no harm. */
static const char create_sql[] =
	"SELECT pg_catalog.pg_create_physical_replication_slot($1::name, true) WHERE NOT EXISTS"
	" (SELECT FROM pg_catalog.pg_replication_slots WHERE slot_name = $1::name)";
static const char drop_sql[] = "SELECT pg_catalog.pg_drop_replication_slot(slot_name)"
			       " FROM pg_catalog.pg_replication_slots WHERE slot_name = $1::name";
/* A slot whose WAL is gone, or which somebody uses, cannot be moved. */
static const char advance_sql[] =
	"SELECT pg_catalog.pg_replication_slot_advance(slot_name, $2::pg_lsn)"
	" FROM pg_catalog.pg_replication_slots WHERE slot_name = $1::name AND NOT active"
	" AND restart_lsn < $2::pg_lsn";

int herd_pg_slots_apply(struct herd_pg_session *s, const struct herd_pg_slots_plan *plan,
			int64_t timeout_ms, void (*fn)(void *arg, int rc, const struct herd_err *),
			void *arg)
{
	struct apply *a = calloc(1, sizeof(*a));
	int rc = 0;

	if (a == NULL)
		return -ENOMEM;
	a->fn = fn;
	a->arg = arg;
	for (size_t i = 0; i < plan->drop.n && rc == 0; i++)
		rc = send(s, a, "drop", drop_sql, plan->drop.v[i], NULL, timeout_ms);
	for (size_t i = 0; i < plan->create.n && rc == 0; i++)
		rc = send(s, a, "create", create_sql, plan->create.v[i], NULL, timeout_ms);
	for (size_t i = 0; i < plan->advance.n && rc == 0; i++)
		rc = send(s, a, "advance", advance_sql, plan->advance.v[i].name,
			  plan->advance.v[i].value, timeout_ms);
	if (a->waiting == 0) { /* nothing to do, or no memory for the first: fn is not called */
		free(a);
		return rc < 0 ? rc : -EALREADY;
	}
	if (rc < 0)
		herd_err_set(&a->first, rc, "out of memory");
	return 0;
}
