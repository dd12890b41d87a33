/*
 * dcs/trace.c - a store around a store: every call and every answer becomes a line of debug log.
 */
#define HERD_LOG_PART "patroni.dcs"
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/list.h"
#include "base/log.h"
#include "base/str.h"
#include "dcs/dcs.h"

struct trace {
	struct herd_dcs base; /* first */
	struct herd_dcs_ops ops;
	struct herd_dcs *inner;
	struct herd_log *log;
	struct herd_list notes; /* calls under way */
};

/* A call under way. */
struct note {
	struct herd_list node;
	struct trace *t;
	char *what;
	union {
		herd_dcs_view_fn view;
		herd_dcs_put_fn put;
		herd_dcs_lease_fn lease;
		herd_dcs_done_fn done;
	} fn;
	void *arg;
};

static const char *const result_names[] = {
	[HERD_DCS_OK] = "ok",
	[HERD_DCS_CONFLICT] = "conflict",
	[HERD_DCS_LEASE_GONE] = "lease gone",
	[HERD_DCS_UNKNOWN] = "unknown",
	[HERD_DCS_UNREACHABLE] = "unreachable",
	[HERD_DCS_REFUSED] = "refused",
};

static struct note *note_new(struct trace *t, char *what, void *arg)
{
	struct note *n = calloc(1, sizeof(*n));

	assert(n && what);
	*n = (struct note){ .t = t, .what = what, .arg = arg };
	herd_list_push_back(&t->notes, &n->node);
	herd_debug(t->log, "dcs: %s", what);
	return n;
}

static void answer(const struct note *n, enum herd_dcs_result result, const struct herd_err *err)
{
	herd_debug(n->t->log, "dcs: %s: %s%s%s", n->what, result_names[result], err ? ": " : "",
		   err ? herd_err_text(err) : "");
}

static void note_free(struct note *n)
{
	herd_list_remove(&n->node);
	free(n->what);
	free(n);
}

static void on_view(void *arg, enum herd_dcs_result result, struct herd_dcs_view *v,
		    const struct herd_err *err)
{
	struct note *n = arg;

	answer(n, result, err);
	herd_list_remove(&n->node);
	n->fn.view(n->arg, result, v, err);
	note_free(n);
}

static void on_put(void *arg, enum herd_dcs_result result, int64_t version,
		   const struct herd_err *err)
{
	struct note *n = arg;

	answer(n, result, err);
	herd_list_remove(&n->node);
	n->fn.put(n->arg, result, version, err);
	note_free(n);
}

static void on_lease(void *arg, enum herd_dcs_result result, const char *lease, int64_t sent_ms,
		     const struct herd_err *err)
{
	struct note *n = arg;

	answer(n, result, err);
	herd_list_remove(&n->node);
	n->fn.lease(n->arg, result, lease, sent_ms, err);
	note_free(n);
}

static void on_done(void *arg, enum herd_dcs_result result, const struct herd_err *err)
{
	struct note *n = arg;

	answer(n, result, err);
	herd_list_remove(&n->node);
	n->fn.done(n->arg, result, err);
	note_free(n);
}

static void trace_read(struct herd_dcs *d, const char *prefix, herd_dcs_view_fn fn, void *arg)
{
	struct trace *t = (struct trace *)d;
	struct note *n = note_new(t, herd_str_printf("read \"%s\"", prefix), arg);

	n->fn.view = fn;
	herd_dcs_read(t->inner, prefix, on_view, n);
}

static void trace_change(struct herd_dcs *d, const struct herd_dcs_change *c, herd_dcs_put_fn fn,
			 void *arg)
{
	static const char *const conds[] = { "", " if absent", " at version", " at value" };
	struct trace *t = (struct trace *)d;
	struct note *n = note_new(
		t,
		herd_str_printf("%s \"%s\"%s", c->value ? "put" : "delete", c->key, conds[c->cond]),
		arg);

	n->fn.put = fn;
	herd_dcs_change(t->inner, c, on_put, n);
}

static void trace_grant(struct herd_dcs *d, int64_t ttl_ms, herd_dcs_lease_fn fn, void *arg)
{
	struct trace *t = (struct trace *)d;
	struct note *n =
		note_new(t, herd_str_printf("grant a lease of %" PRId64 " ms", ttl_ms), arg);

	n->fn.lease = fn;
	herd_dcs_lease_grant(t->inner, ttl_ms, on_lease, n);
}

static void trace_renew(struct herd_dcs *d, const char *lease, herd_dcs_lease_fn fn, void *arg)
{
	struct trace *t = (struct trace *)d;
	struct note *n = note_new(t, herd_str_printf("renew lease %s", lease), arg);

	n->fn.lease = fn;
	herd_dcs_lease_renew(t->inner, lease, on_lease, n);
}

static void trace_revoke(struct herd_dcs *d, const char *lease, herd_dcs_done_fn fn, void *arg)
{
	struct trace *t = (struct trace *)d;
	struct note *n = note_new(t, herd_str_printf("revoke lease %s", lease), arg);

	n->fn.done = fn;
	herd_dcs_lease_revoke(t->inner, lease, on_done, n);
}

/* Watches go to the inner store as they are: their lines would drown the others. */
static struct herd_dcs_watch *trace_watch(struct herd_dcs *d, const char *prefix,
					  herd_dcs_view_fn fn, void *arg)
{
	struct trace *t = (struct trace *)d;

	herd_debug(t->log, "dcs: watch \"%s\"", prefix);
	return herd_dcs_watch(t->inner, prefix, fn, arg);
}

static void trace_set_timeout(struct herd_dcs *d, int64_t ms)
{
	herd_dcs_set_timeout(((struct trace *)d)->inner, ms);
}

static void trace_watch_free(struct herd_dcs *d, struct herd_dcs_watch *w)
{
	herd_dcs_watch_free(((struct trace *)d)->inner, w);
}

static void trace_free(struct herd_dcs *d)
{
	struct trace *t = (struct trace *)d;

	herd_dcs_free(t->inner);
	while (!herd_list_empty(&t->notes))
		note_free(herd_container_of(t->notes.next, struct note, node));
	free(t);
}

struct herd_dcs *herd_dcs_trace(struct herd_dcs *inner, struct herd_log *log)
{
	static const struct herd_dcs_ops template = {
		.free = trace_free,
		.read = trace_read,
		.change = trace_change,
		.lease_grant = trace_grant,
		.lease_renew = trace_renew,
		.lease_revoke = trace_revoke,
		.watch = trace_watch,
		.watch_free = trace_watch_free,
		.set_timeout = trace_set_timeout,
	};
	struct trace *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	/* The capabilities are the inner store's, so the table is one of this object's own. */
	t->ops = template;
	t->ops.caps = herd_dcs_caps(inner);
	t->base.ops = &t->ops;
	t->inner = inner;
	t->log = log;
	herd_list_init(&t->notes);
	return &t->base;
}
