#include "core/plan.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/str.h"
#include "core/step.h"
#include "model/lsn.h"

/* The texts of a plan: a chain of blocks freed together. */
struct block {
	struct block *next;
	char *text;
};

void herd_plan_clear(struct herd_plan *p)
{
	for (struct block *b = p->texts, *next; b; b = next) {
		next = b->next;
		free(b->text);
		free(b);
	}
	*p = (struct herd_plan){ .rule = "", .why = "" };
}

const char *herd_plan_keep(struct herd_plan *p, char *text)
{
	struct block *b = text ? malloc(sizeof(*b)) : NULL;

	if (!b) {
		free(text);
		p->failed = true;
		return "";
	}
	*b = (struct block){ p->texts, text };
	p->texts = b;
	return text;
}

static const char *keep_printf(struct herd_plan *p, const char *fmt, va_list ap)
{
	return herd_plan_keep(p, herd_str_vprintf(fmt, ap));
}

const char *herd_plan_text(struct herd_plan *p, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	const char *text = keep_printf(p, fmt, ap);

	va_end(ap);
	return text;
}

const char **herd_plan_names(struct herd_plan *p, size_t n)
{
	char *list = calloc(n + 1, sizeof(char *));
	const char *kept = herd_plan_keep(p, list);

	return kept == list ? (const char **)(void *)list : NULL;
}

struct herd_action *herd_plan_add(struct herd_step *s, enum herd_act act, bool wait)
{
	struct herd_plan *p = s->p;

	/* What does not fit comes with a later plan: every action is derived anew. */
	if (p->n == HERD_PLAN_MAX) {
		herd_step_at(s, s->o->now_ms);
		p->n--;
	}
	p->act[p->n] = (struct herd_action){ .act = act, .wait = wait };
	return &p->act[p->n++];
}

bool herd_answer(struct herd_step *s, const char *rule, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	s->p->why = keep_printf(s->p, fmt, ap);
	va_end(ap);
	s->p->rule = rule;
	return true;
}

bool herd_answer_regular(struct herd_step *s, const char *rule, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	s->p->why = keep_printf(s->p, fmt, ap);
	va_end(ap);
	s->p->rule = rule;
	s->p->heartbeat = true;
	return true;
}

void herd_warn(struct herd_step *s, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	s->p->warning = keep_printf(s->p, fmt, ap);
	va_end(ap);
}

void herd_step_at(struct herd_step *s, int64_t ms)
{
	if (ms < s->p->next_ms)
		s->p->next_ms = ms;
}

static const char *group_key(struct herd_step *s, const char *key)
{
	return herd_plan_keep(s->p, herd_cluster_key(s->o->group, key));
}

struct herd_action *herd_put(struct herd_step *s, const char *key, const char *value,
			     int64_t version)
{
	struct herd_action *a = herd_plan_add(s, HERD_ACT_PUT, true);

	a->key = group_key(s, key);
	a->value = value;
	a->cond = version < 0 ? HERD_IF_ANY : version == 0 ? HERD_IF_ABSENT : HERD_IF_VERSION;
	a->version = version > 0 ? version : 0;
	return a;
}

void herd_delete(struct herd_step *s, const char *key, int64_t version)
{
	struct herd_action *a = herd_plan_add(s, HERD_ACT_DELETE, true);

	a->key = group_key(s, key);
	a->cond = HERD_IF_VERSION;
	a->version = version;
}

static const char *const act_texts[HERD_ACT_NR] = {
	[HERD_ACT_LEASE_GRANT] = "LEASE_GRANT",
	[HERD_ACT_LEASE_RENEW] = "LEASE_RENEW",
	[HERD_ACT_TAKE] = "TAKE",
	[HERD_ACT_RELEASE] = "RELEASE",
	[HERD_ACT_PASS] = "PASS",
	[HERD_ACT_PUT] = "PUT",
	[HERD_ACT_DELETE] = "DELETE",
	[HERD_ACT_POLL] = "POLL",
	[HERD_ACT_PROBE] = "PROBE",
	[HERD_ACT_SLOTS_ASK] = "SLOTS_ASK",
	[HERD_ACT_FAILSAFE] = "FAILSAFE",
	[HERD_ACT_BOOTSTRAP] = "BOOTSTRAP",
	[HERD_ACT_CLONE] = "CLONE",
	[HERD_ACT_REWIND] = "REWIND",
	[HERD_ACT_START] = "START",
	[HERD_ACT_STOP] = "STOP",
	[HERD_ACT_RESTART] = "RESTART",
	[HERD_ACT_PROMOTE] = "PROMOTE",
	[HERD_ACT_CHECKPOINT] = "CHECKPOINT",
	[HERD_ACT_SLOTS_COPY] = "SLOTS_COPY",
	[HERD_ACT_FOLLOW] = "FOLLOW",
	[HERD_ACT_RESUME] = "RESUME",
	[HERD_ACT_SET_SSN] = "SET_SSN",
	[HERD_ACT_SLOT_CREATE] = "SLOT_CREATE",
	[HERD_ACT_SLOT_DROP] = "SLOT_DROP",
	[HERD_ACT_SLOT_ADVANCE] = "SLOT_ADVANCE",
	[HERD_ACT_WIPE] = "WIPE",
	[HERD_ACT_DONE_RESTART] = "DONE_RESTART",
	[HERD_ACT_DONE_REINIT] = "DONE_REINIT",
	[HERD_ACT_EXIT] = "EXIT",
};

const char *herd_act_text(enum herd_act a)
{
	return act_texts[a];
}

char *herd_action_print(const struct herd_action *a)
{
	struct herd_buf b = { 0 };
	char lsn[HERD_LSN_TEXT];

	herd_buf_addstr(&b, act_texts[a->act]);
	if (a->key)
		herd_buf_printf(&b, " %s", a->key);
	if (a->value)
		herd_buf_printf(&b, "=%s", a->value);
	if (a->act == HERD_ACT_SET_SSN && !a->value)
		herd_buf_addstr(&b, "=(user's)");
	if (a->cond == HERD_IF_ABSENT)
		herd_buf_addstr(&b, " if absent");
	if (a->cond == HERD_IF_VERSION)
		herd_buf_printf(&b, " if version %lld", (long long)a->version);
	if (a->on_lease)
		herd_buf_addstr(&b, " on lease");
	if (a->lease)
		herd_buf_printf(&b, " on lease %s", a->lease);
	if (a->act == HERD_ACT_START)
		herd_buf_addstr(&b, a->standby ? " standby" : " primary");
	if (a->act == HERD_ACT_STOP)
		herd_buf_addstr(&b, a->mode == HERD_STOP_FAST ? " fast" : " immediate");
	if (a->archive)
		herd_buf_addstr(&b, " archive");
	if (a->member)
		herd_buf_printf(&b, " %s", a->member);
	for (size_t i = 0; i < a->n_names; i++)
		herd_buf_printf(&b, "%s%s", i ? "," : " ", a->names[i]);
	if (a->slot)
		herd_buf_printf(&b, " %s", a->slot);
	if (a->lsn)
		herd_buf_printf(&b, " %s", herd_lsn_print(a->lsn, lsn));
	if (a->act == HERD_ACT_EXIT)
		herd_buf_printf(&b, " %d", a->exit_code);
	return herd_buf_steal(&b);
}
