#include "pool/session.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct herd_session_batch {
	struct herd_sql_acts *acts;
	unsigned stmt; /* the next to be completed */
};

/* One act that was done; the acts are held. */
struct herd_session_change {
	struct herd_sql_acts *acts;
	const struct herd_sql_act *act;
};

static void drop_changes(struct herd_session *s, size_t from)
{
	while (s->nchanges > from)
		herd_sql_acts_unref(s->change[--s->nchanges].acts);
}

static void drop_channels(struct herd_session *s)
{
	s->channels_changed = s->channels_changed || s->nchannels > 0;
	while (s->nchannels > 0)
		free(s->channel[--s->nchannels]);
}

void herd_session_free(struct herd_session *s)
{
	herd_session_lost(s);
	drop_channels(s);
	free(s->channel);
	free(s->sent);
	free(s->change);
	herd_sets_unref(s->sets);
	*s = (struct herd_session){ 0 };
}

bool herd_session_idle(const struct herd_session *s)
{
	return !s->sets && !s->pins && s->nchannels == 0 && s->nsent == 0 && s->nchanges == 0;
}

int herd_session_sent(struct herd_session *s, struct herd_sql_acts *acts)
{
	if (s->nsent == s->room_sent) {
		size_t room = s->room_sent ? s->room_sent * 2 : 2;
		struct herd_session_batch *grown = realloc(s->sent, room * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		s->sent = grown;
		s->room_sent = room;
	}
	s->sent[s->nsent++] = (struct herd_session_batch){ .acts = herd_sql_acts_ref(acts) };
	s->pins |= acts->pins;
	return 0;
}

/* Not knowing a setting any more, we keep the server that has it. */
static void lose_track(struct herd_session *s)
{
	s->pins |= HERD_PIN_SETTING;
}

static size_t find_channel(const struct herd_session *s, const char *name)
{
	size_t i = 0;

	while (i < s->nchannels && strcmp(s->channel[i], name) != 0)
		i++;
	return i;
}

static void listen(struct herd_session *s, const char *name)
{
	if (find_channel(s, name) < s->nchannels)
		return;
	char **grown = realloc(s->channel, (s->nchannels + 1) * sizeof(char *));

	if (grown)
		s->channel = grown;
	char *copy = grown ? strdup(name) : NULL;

	if (!copy) {
		lose_track(s);
		return;
	}
	s->channel[s->nchannels++] = copy;
	s->channels_changed = true;
}

static void unlisten(struct herd_session *s, const char *name)
{
	size_t i = find_channel(s, name);

	if (i == s->nchannels)
		return;
	free(s->channel[i]);
	s->channel[i] = s->channel[--s->nchannels];
	s->channels_changed = true;
}

static void replace_sets(struct herd_session *s, int rc, struct herd_sets *sets)
{
	if (rc < 0) {
		lose_track(s);
		return;
	}
	herd_sets_unref(s->sets);
	s->sets = sets;
}

static void prepare(struct herd_session *s, const struct herd_sql_act *a)
{
	struct herd_sets *sets = NULL;

	/* Too many or too long: the server that has it is kept. */
	if (herd_sets_prepare(s->sets, a->name, a->text, &sets) < 0) {
		s->pins |= HERD_PIN_PREPARE;
		return;
	}
	replace_sets(s, 0, sets);
	s->prepared = true;
}

/* NULL: all. */
static void deallocate(struct herd_session *s, const char *name)
{
	struct herd_sets *sets = NULL;
	int rc = herd_sets_deallocate(s->sets, name, &sets);

	replace_sets(s, rc, sets);
	s->prepared = herd_sets_prepared(s->sets);
}

static void apply_one(struct herd_session *s, const struct herd_sql_act *a,
		      herd_session_skip_fn skip, void *arg)
{
	struct herd_sets *sets = NULL;
	int rc;

	switch (a->kind) {
	case HERD_ACT_SET:
		if (skip && skip(arg, a->name))
			break;
		rc = herd_sets_set(s->sets, a->name, a->text, &sets);
		replace_sets(s, rc, sets);
		break;
	case HERD_ACT_RESET:
		rc = herd_sets_reset(s->sets, a->name, &sets);
		replace_sets(s, rc, sets);
		break;
	case HERD_ACT_RESET_ALL:
		rc = herd_sets_reset_all(s->sets, &sets);
		replace_sets(s, rc, sets);
		break;
	case HERD_ACT_DISCARD_ALL:
		herd_sets_unref(s->sets);
		s->sets = NULL;
		s->prepared = false;
		s->cleared = true;
		drop_channels(s);
		break;
	case HERD_ACT_LISTEN:
		listen(s, a->name);
		break;
	case HERD_ACT_UNLISTEN:
		if (a->name)
			unlisten(s, a->name);
		else
			drop_channels(s);
		if (!a->name)
			s->pins &= ~(unsigned)HERD_PIN_LISTEN;
		break;
	default:
		break;
	}
}

static void apply(struct herd_session *s, herd_session_skip_fn skip, void *arg)
{
	for (size_t i = 0; i < s->nchanges; i++)
		apply_one(s, s->change[i].act, skip, arg);
	drop_changes(s, 0);
}

static void keep(struct herd_session *s, struct herd_sql_acts *acts, const struct herd_sql_act *a)
{
	if (s->nchanges == s->room_changes) {
		size_t room = s->room_changes ? s->room_changes * 2 : 4;
		struct herd_session_change *grown = realloc(s->change, room * sizeof(*grown));

		if (!grown) {
			lose_track(s);
			return;
		}
		s->change = grown;
		s->room_changes = room;
	}
	s->change[s->nchanges++] =
		(struct herd_session_change){ .acts = herd_sql_acts_ref(acts), .act = a };
}

/* Where the changes since the savepoint begin: its own mark, or the start, for then it is older. */
static size_t since_savepoint(const struct herd_session *s, const char *name, bool *found)
{
	for (size_t i = s->nchanges; i > 0; i--) {
		const struct herd_sql_act *a = s->change[i - 1].act;

		if (a->kind == HERD_ACT_SAVEPOINT && strcmp(a->name, name) == 0) {
			*found = true;
			return i - 1;
		}
	}
	*found = false;
	return 0;
}

/* The marks go, what was changed stays with the transaction around. */
static void release(struct herd_session *s, const char *name)
{
	bool found;
	size_t from = since_savepoint(s, name, &found), to = from;

	for (size_t i = from; found && i < s->nchanges; i++) {
		if (s->change[i].act->kind == HERD_ACT_SAVEPOINT)
			herd_sql_acts_unref(s->change[i].acts);
		else
			s->change[to++] = s->change[i];
	}
	if (found)
		s->nchanges = to;
}

static bool tag_is(const char *tag, size_t n, const char *want)
{
	return n >= strlen(want) && memcmp(tag, want, strlen(want)) == 0;
}

int herd_session_done(struct herd_session *s, const char *tag, size_t n, herd_session_skip_fn skip,
		      void *arg)
{
	int first = -1;

	if (s->nsent == 0)
		return -1;
	struct herd_session_batch *b = &s->sent[0];
	bool found;

	for (size_t i = 0; i < b->acts->n; i++) {
		const struct herd_sql_act *a = &b->acts->act[i];

		if (a->stmt != b->stmt)
			continue;
		if (first < 0)
			first = a->kind;
		switch (a->kind) {
		case HERD_ACT_COMMIT:
			if (!tag_is(tag, n, "ROLLBACK")) {
				apply(s, skip, arg);
				break;
			}
			drop_changes(s, 0);
			s->maybe_unpinned = s->pins != 0;
			break;
		case HERD_ACT_SAVEPOINT:
			if (s->nchanges > 0)
				keep(s, b->acts, a);
			break;
		case HERD_ACT_RELEASE:
			release(s, a->name);
			break;
		case HERD_ACT_ROLLBACK_TO: {
			size_t from = since_savepoint(s, a->name, &found);

			drop_changes(s, found ? from + 1 : 0);
			break;
		}
		case HERD_ACT_PIN:
			/* Again: an UNPIN before it may have been completed since. */
			s->pins |= a->pins;
			break;
		case HERD_ACT_UNPIN:
			s->pins &= ~a->pins;
			break;
		case HERD_ACT_MAYBE:
			s->maybe_unpinned = true;
			break;
		case HERD_ACT_PREPARE:
			prepare(s, a);
			break;
		case HERD_ACT_DEALLOCATE:
			deallocate(s, a->name);
			break;
		case HERD_ACT_NOTIFY:
		case HERD_ACT_SEQUENCE:
			break;
		case HERD_ACT_DISCARD_ALL:
			s->pins = 0;
			keep(s, b->acts, a);
			break;
		default:
			keep(s, b->acts, a);
			break;
		}
	}
	b->stmt++;
	return first;
}

void herd_session_tag(struct herd_session *s, const char *tag, size_t n, herd_session_skip_fn skip,
		      void *arg)
{
	if (s->prepared && tag_is(tag, n, "DEALLOCATE ALL"))
		deallocate(s, NULL);
	else if (s->prepared && tag_is(tag, n, "DEALLOCATE"))
		s->pins |= HERD_PIN_PREPARE; /* one of them, only the server knows which */
	if (s->nchanges == 0)
		return;
	if (tag_is(tag, n, "COMMIT"))
		apply(s, skip, arg);
	else if (tag_is(tag, n, "ROLLBACK"))
		s->doubt = true;
}

void herd_session_over(struct herd_session *s)
{
	if (s->nsent == 0)
		return;
	herd_sql_acts_unref(s->sent[0].acts);
	s->nsent--;
	memmove(s->sent, s->sent + 1, s->nsent * sizeof(*s->sent));
}

void herd_session_ready(struct herd_session *s, char tx, herd_session_skip_fn skip, void *arg)
{
	if (s->doubt && tx != 'I')
		lose_track(s); /* to which savepoint? */
	if (s->errored && s->pins)
		s->maybe_unpinned = true;
	if (s->doubt || (tx == 'I' && s->errored))
		drop_changes(s, 0);
	else if (tx == 'I')
		apply(s, skip, arg);
	s->errored = s->doubt = false;
}

void herd_session_lost(struct herd_session *s)
{
	while (s->nsent > 0)
		herd_session_over(s);
	drop_changes(s, 0);
	s->errored = s->doubt = false;
}

void herd_session_pins_text(unsigned pins, struct herd_buf *ret)
{
	bool first = true;

	for (int i = 0; i < HERD_NPINS; i++) {
		if (!(pins >> i & 1))
			continue;
		herd_buf_printf(ret, "%s%s", first ? "" : ", ", herd_sql_pin_name(1U << i));
		first = false;
	}
}
