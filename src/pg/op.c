#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "pg/command.h"
#include "pg/private.h"

const char *herd_pg_operation(const struct herd_pg *pg)
{
	return pg->op.name;
}

static void on_timer(void *arg)
{
	struct herd_pg *pg = arg;

	assert(pg->op.name != NULL && pg->op.tick != NULL);
	pg->op.tick(pg);
}

int herd_pg_op_begin(struct herd_pg *pg, const char *name, herd_pg_done_fn done, void *arg,
		     struct herd_err *err)
{
	if (pg->op.name != NULL)
		return herd_err_set(err, -EBUSY, "another operation is running: %s", pg->op.name);
	pg->op = (struct herd_pg_op){ .name = name, .done = done, .arg = arg };
	pg->op.timer = herd_timer_new(pg->loop, on_timer, pg);
	if (pg->op.timer == NULL) {
		pg->op.name = NULL;
		return herd_err_set(err, -ENOMEM, "out of memory");
	}
	return 0;
}

void herd_pg_op_drop(struct herd_pg *pg)
{
	struct herd_pg_op op = pg->op;

	assert(op.name != NULL);
	pg->op = (struct herd_pg_op){ 0 };
	herd_timer_free(op.timer);
	herd_child_abandon(op.child);
	/* Queries that it cancels reach stages of an operation that is over: pg->op.name says so.
	 */
	herd_pg_session_free(op.session);
	if (op.free_state != NULL)
		op.free_state(op.state);
}

void herd_pg_op_end(struct herd_pg *pg, int rc, const struct herd_err *err)
{
	herd_pg_done_fn done = pg->op.done;
	void *arg = pg->op.arg;
	struct herd_err none = HERD_ERR_INIT;

	herd_pg_op_drop(pg);
	if (done != NULL)
		done(arg, rc, err != NULL ? err : &none);
}

void herd_pg_op_finish(struct herd_pg *pg, int rc, const struct herd_err *err)
{
	herd_pg_op_end(pg, rc, err);
}

void herd_pg_cancel(struct herd_pg *pg)
{
	struct herd_err err = HERD_ERR_INIT;

	if (pg->op.name == NULL)
		return;
	herd_err_set(&err, -ECANCELED, "%s was cancelled", pg->op.name);
	herd_pg_op_end(pg, -ECANCELED, &err);
	herd_err_clear(&err);
}

void herd_pg_op_after(struct herd_pg *pg, int64_t ms, void (*tick)(struct herd_pg *pg))
{
	assert(pg->op.name != NULL);
	pg->op.tick = tick;
	herd_timer_set(pg->op.timer, ms);
}

static void on_child(void *arg, int status, const char *output, size_t len)
{
	struct herd_pg *pg = arg;

	pg->op.child = NULL; /* abandoned children do not come here */
	pg->op.child_done(pg, status, output);
}

int herd_pg_op_run(struct herd_pg *pg, const char *const *argv, const char *const *env,
		   int64_t timeout_ms,
		   void (*child_done)(struct herd_pg *pg, int status, const char *output),
		   struct herd_err *err)
{
	assert(pg->op.name != NULL && pg->op.child == NULL);
	pg->op.child_done = child_done;
	return herd_pg_command_start(pg->loop, argv, env, timeout_ms, on_child, pg, &pg->op.child,
				     err);
}
