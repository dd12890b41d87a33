/*
 * core/quorum.c - synchronous_mode: quorum. Commits wait for any n of the set S
 * (synchronous_standby_names), and a candidate needs q further nodes of the voters V (/sync).
 *
 * A candidate of V sees q + 1 nodes of V. It meets every commit when q + 1 + n > |V u S|, that is
 *
 *	|V u S| <= q + n
 *
 * at every moment, also between two changes. So voters and q grow before S and n change in ways
 *that need it, and shrink only after the nodes that stay have confirmed what was committed before.
 *
 * q is always less than |V|: a stock Patroni takes anything else for a fault and stops deciding. So
 *the first nodes come the other way: while V is empty nobody may be elected, and S and n are free.
 */
#include "base/str.h"
#include "core/step.h"

static size_t n_union(const struct herd_names *a, const struct herd_names *b)
{
	size_t n = a->n;

	for (size_t i = 0; i < b->n; i++)
		n += !herd_names_has(a, b->name[i]);
	return n;
}

/* What commits wait for now: ANY and FIRST differ only in who, not in how many. */
static int in_force(const struct herd_step *s, struct herd_ssn *ret)
{
	herd_ssn_parse(s->o->pg.ssn, ret);
	if (ret->kind != HERD_SSN_ANY && ret->kind != HERD_SSN_FIRST) {
		herd_ssn_clear(ret);
		return 0;
	}
	return ret->num < (int)ret->names.n ? ret->num : (int)ret->names.n;
}

/*
 * Nobody is left: first nobody may be elected, then commits go on alone. Strict, they wait: for
 * those that are named, else for whoever comes.
 */
static bool nobody(struct herd_step *s)
{
	const struct herd_sync *sync = &s->cl->sync;
	struct herd_ssn none = { .kind = HERD_SSN_NONE };

	if (s->cfg->synchronous_mode_strict) {
		none.kind = HERD_SSN_ANY_STAR;
		return s->o->pg.ssn && *s->o->pg.ssn == '\0' && herd_sync_set(s, &none);
	}
	if (sync->standby.n > 0 || sync->quorum > 0)
		return herd_sync_write(s, NULL, 0);
	return herd_sync_set(s, &none);
}

/* V is empty: commits wait for the first n nodes; those become voters when they have everything. */
static bool first_nodes(struct herd_step *s, const struct herd_names *want,
			const struct herd_ssn *now, int n)
{
	struct herd_ssn ssn = { .kind = HERD_SSN_ANY, .num = n };
	bool done = false;

	for (int i = 0; i < n; i++)
		if (herd_names_add(&ssn.names, want->name[i]) < 0)
			goto out;
	if (now->kind != HERD_SSN_ANY || now->num != n ||
	    !herd_names_equal(&now->names, &ssn.names))
		done = herd_sync_set(s, &ssn);
	else if (herd_sync_confirmed(s, &ssn.names) >= n)
		done = herd_sync_write(s, &ssn.names, 0);
	else
		herd_step_at(s, s->o->now_ms + 100);
out:
	herd_ssn_clear(&ssn);
	return done;
}

bool herd_quorum_step(struct herd_step *s, const struct herd_names *want)
{
	const struct herd_sync *sync = &s->cl->sync;
	int count = s->cfg->synchronous_node_count;
	int n_new = count < (int)want->n ? count : (int)want->n;
	struct herd_ssn ssn = { .kind = HERD_SSN_ANY, .num = n_new, .names = *want }, now;
	struct herd_names voters = { 0 };
	int n_now = in_force(s, &now), q;
	bool done = false;

	/* What is written now must hold for what commits wait for now. */
	if (herd_sync_changing(s)) {
		done = herd_sync_set_text(s, herd_plan_text(s->p, "%s", s->c->ssn_ordered));
		goto out;
	}
	if (want->n == 0) {
		done = nobody(s);
		goto out;
	}
	if (sync->standby.n == 0) {
		done = first_nodes(s, want, &now, n_new);
		goto out;
	}
	if (herd_names_copy(&sync->standby, &voters) < 0)
		goto out;
	for (size_t i = 0; i < want->n; i++)
		herd_names_add(&voters, want->name[i]);
	bool same_set =
		herd_names_equal(&now.names, want) && n_now == n_new && now.kind == HERD_SSN_ANY;

	/* Grow: new voters, and as many more votes; and votes for what will be in force. */
	q = sync->quorum + (int)(voters.n - sync->standby.n);
	if (!same_set && (int)n_union(&voters, want) > q + n_new)
		q = (int)n_union(&voters, want) - n_new;
	if ((int)n_union(&voters, &now.names) > q + n_now)
		q = (int)n_union(&voters, &now.names) - n_now;
	if (q >= (int)voters.n) {
		done = herd_sync_write(s, NULL, 0);
	} else if (voters.n != sync->standby.n || (!same_set && q != sync->quorum)) {
		done = herd_sync_write(s, &voters, q);
	} else if (!same_set) {
		done = herd_sync_set(s, &ssn);
	} else if (!herd_names_equal(&sync->standby, want) ||
		   sync->quorum != (int)want->n - n_new) {
		/* Shrink, when everything from before is on enough of those that stay. */
		if (herd_sync_confirmed(s, want) >= n_new)
			done = herd_sync_write(s, want, (int)want->n - n_new);
		else
			herd_step_at(s, s->o->now_ms + 100);
	}
out:
	herd_ssn_clear(&now);
	herd_names_clear(&voters);
	return done;
}
