/*
 * core/stalled.c - a primary that runs and makes no progress: another member leads in its place,
 * when that is configured and there is one that can.
 */
#include "core/step.h"

/* An immediate stop has killed everything by then; what is still there waits for a dead disk. */
enum { KILLED_MS = 5000 };
enum { AGAIN_MS = 5000 }; /* after nobody could take over */

/* It was stopped for this: the key goes as soon as nothing can write any more. */
static bool give_up(struct herd_step *s)
{
	struct herd_core *c = s->c;
	const struct herd_obs *o = s->o;

	if (o->pg.run != HERD_RUN_DOWN && o->now_ms - c->gave_up_ms < KILLED_MS) {
		herd_step_at(s, c->gave_up_ms + KILLED_MS);
		return false;
	}
	c->gives_up = false;
	c->no_race_before_ms = o->now_ms + s->cfg->ttl_ms;
	herd_release(s);
	return herd_answer(s, "stalled.release",
			   "released leader key because postgres makes no progress");
}

bool herd_rule_stalled(struct herd_step *s)
{
	struct herd_core *c = s->c;
	const struct herd_obs *o = s->o;

	if (!s->key_mine) {
		c->gives_up = false;
		return false;
	}
	if (c->gives_up)
		return give_up(s);
	if (!o->pg.stalled || !s->cfg->probe_failover || !s->holds || s->busy || !s->primary ||
	    o->pg.run != HERD_RUN_RUNNING || o->now_ms < c->stalled_next_ms)
		return false;
	if (herd_poll(s, HERD_POLL_RESCUE, NULL))
		return s->p->rule = "stalled.poll", true;
	bool rescuer = herd_rescuer_answered(s);

	c->poll_use = HERD_POLL_NONE;
	c->poll_next_ms = o->now_ms + 1000;
	if (!rescuer) {
		c->stalled_next_ms = o->now_ms + AGAIN_MS;
		herd_warn(s, "postgres makes no progress (%s), and nobody can take over",
			  o->pg.stalled);
		return false;
	}
	c->gives_up = true;
	c->gave_up_ms = o->now_ms;
	herd_stop(s, HERD_STOP_IMMEDIATE);
	return herd_answer(s, "stalled.stop",
			   "demoting self because postgres makes no progress: %s", o->pg.stalled);
}
