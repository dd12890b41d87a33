#include "pool/flight.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_CAP = 16, MAX_CAP = 1 << 24 };

void herd_flight_check(const struct herd_flight *f)
{
	assert(f->cap == 0 || (f->cap & (f->cap - 1)) == 0);
	assert(f->count <= f->cap);
	assert(f->cap == 0 || f->head < f->cap);
	assert((f->cap == 0) == (f->ring == NULL));
	assert(f->syncs + f->changes <= f->count);
}

void herd_flight_free(struct herd_flight *f)
{
	free(f->ring);
	*f = (struct herd_flight){ 0 };
}

void herd_flight_reset(struct herd_flight *f)
{
	f->head = f->count = f->syncs = f->changes = 0;
	f->skipping = f->copying = false;
}

static struct herd_flight_item *at(const struct herd_flight *f, uint32_t i)
{
	assert(i < f->count);
	return &f->ring[(f->head + i) & (f->cap - 1)];
}

uint32_t herd_flight_forget_stmts(struct herd_flight *f, herd_flight_lost_fn fn, void *arg)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < f->count; i++) {
		struct herd_flight_item *item = at(f, i);

		if (item->stmt && item->act != HERD_FLIGHT_FAKE) {
			fn(arg, item);
			n++;
		}
		item->stmt = NULL;
	}
	f->changes = 0;
	return n;
}

static bool changes(const struct herd_flight_item *item)
{
	return item->stmt && item->act != HERD_FLIGHT_FAKE;
}

static void pop(struct herd_flight *f)
{
	assert(f->count > 0);
	f->syncs -= at(f, 0)->type == 'S';
	f->changes -= changes(at(f, 0));
	f->head = (f->head + 1) & (f->cap - 1);
	f->count--;
}

static bool is_round_end(char type)
{
	return type == 'S' || type == 'Q' || type == 'F';
}

static int grow(struct herd_flight *f)
{
	uint32_t cap = f->cap ? f->cap * 2 : FIRST_CAP;

	if (cap > MAX_CAP)
		return -ENOMEM;
	struct herd_flight_item *ring = malloc(cap * sizeof(*ring));

	if (!ring)
		return -ENOMEM;
	for (uint32_t i = 0; i < f->count; i++)
		ring[i] = *at(f, i);
	free(f->ring);
	f->ring = ring;
	f->cap = cap;
	f->head = 0;
	return 0;
}

int herd_flight_push(struct herd_flight *f, char type, enum herd_flight_act act,
		     struct herd_stmt *stmt)
{
	if (f->copying) {
		/* The server is in COPY: Sync and Flush are ignored until the data ends. */
		if (type == 'c')
			f->copying = false;
		if (type == 'S' || type == 'c')
			return 0;
	}
	if (f->skipping) {
		if (type != 'S')
			return 0;
		f->skipping = false;
	}
	/* A mark says something only behind an Execute or Query that may yet turn out to be COPY.
	 */
	if (type == 'c' && f->count == 0)
		return 0;
	if (f->count == f->cap && grow(f) < 0)
		return -ENOMEM;
	f->count++;
	*at(f, f->count - 1) =
		(struct herd_flight_item){ .stmt = stmt, .type = type, .act = (uint8_t)act };
	f->syncs += type == 'S';
	f->batch += type == 'S';
	f->changes += changes(at(f, f->count - 1));
	return 1;
}

void herd_flight_push_query(struct herd_flight *f)
{
	herd_flight_push(f, 'P', HERD_FLIGHT_PASS, NULL);
	herd_flight_push(f, 'B', HERD_FLIGHT_PASS, NULL);
	herd_flight_push(f, 'E', HERD_FLIGHT_PASS, NULL);
}

void herd_flight_note(struct herd_flight *f)
{
	assert(f->count > 0);
	at(f, f->count - 1)->noted = true;
}

void herd_flight_mark(struct herd_flight *f, uint8_t mark)
{
	assert(f->count > 0);
	at(f, f->count - 1)->mark = mark;
}

void herd_flight_carry(struct herd_flight *f, struct herd_stmt *stmt)
{
	assert(f->count > 0 && at(f, f->count - 1)->act == HERD_FLIGHT_FAKE);
	at(f, f->count - 1)->stmt = stmt;
}

static void drop_marks(struct herd_flight *f)
{
	while (f->count > 0 && at(f, 0)->type == 'c')
		pop(f);
}

/* After an error the server throws away everything up to the next Sync. */
static void discard_to_sync(struct herd_flight *f, herd_flight_lost_fn lost, void *arg)
{
	uint32_t n = 0;

	while (n < f->count && at(f, n)->type != 'S')
		n++;
	for (uint32_t i = n; lost && i > 0; i--)
		lost(arg, at(f, i - 1));
	while (n-- > 0)
		pop(f);
	if (f->count == 0)
		f->skipping = true;
}

/* COPY data is read now: a Sync that was already sent, before the end of the data, gets no answer.
 */
static void start_copy_in(struct herd_flight *f)
{
	uint32_t keep = 1;
	bool marked = false;

	if (f->count == 0)
		return;
	for (uint32_t i = 1; i < f->count; i++) {
		struct herd_flight_item item = *at(f, i);

		if (!marked && item.type == 'c')
			marked = true;
		else if (marked || item.type != 'S')
			*at(f, keep++) = item;
		else
			f->syncs--;
	}
	f->count = keep;
	f->copying = !marked;
}

static void end_round(struct herd_flight *f, herd_flight_lost_fn lost, void *arg,
		      struct herd_flight_item *done)
{
	f->copying = false;
	f->skipping = false;
	while (f->count > 0) {
		struct herd_flight_item item = *at(f, 0);

		pop(f);
		if (is_round_end(item.type)) {
			*done = item;
			break;
		}
		if (lost)
			lost(arg, &item);
	}
	drop_marks(f);
}

/* The request that an answer of this type completes; 0: none by itself. */
static char request_of(char answer, char head)
{
	switch (answer) {
	case '1':
		return 'P';
	case '2':
		return 'B';
	case '3':
		return 'C';
	case 'T':
	case 'n':
		return head == 'D' ? 'D' : 0;
	case 'C':
	case 's':
	case 'I':
		return head == 'E' ? 'E' : 0;
	default:
		return 0;
	}
}

enum herd_flight_act herd_flight_answer(struct herd_flight *f, char type, herd_flight_lost_fn lost,
					void *arg, struct herd_flight_item *done)
{
	struct herd_flight_item none = { 0 };

	if (!done)
		done = &none;
	*done = none;
	drop_marks(f);
	if (f->count == 0) {
		if (type == 'Z')
			end_round(f, lost, arg, done);
		return HERD_FLIGHT_PASS;
	}
	struct herd_flight_item head = *at(f, 0);
	enum herd_flight_act act =
		head.act == HERD_FLIGHT_DROP ? HERD_FLIGHT_DROP : HERD_FLIGHT_PASS;

	switch (type) {
	case 'Z':
		end_round(f, lost, arg, done);
		break;
	case 'E':
		f->copying = false;
		if (is_round_end(head.type))
			break;
		act = HERD_FLIGHT_PASS;
		discard_to_sync(f, lost, arg);
		break;
	case 'G':
		start_copy_in(f);
		break;
	default:
		if (head.type == request_of(type, head.type)) {
			*done = head;
			pop(f);
			drop_marks(f);
			if (type == 'C' && head.type == 'E')
				f->copying = false;
		}
		break;
	}
	herd_flight_check(f);
	return act;
}

char herd_flight_take_fake(struct herd_flight *f, struct herd_flight_item *done)
{
	drop_marks(f);
	if (f->count == 0 || at(f, 0)->act != HERD_FLIGHT_FAKE)
		return 0;
	char type = at(f, 0)->type;

	if (done)
		*done = *at(f, 0);
	pop(f);
	return type == 'P' ? '1' : '3';
}

static bool changing(const struct herd_flight *f, const struct herd_stmt *stmt, bool earlier)
{
	for (uint32_t i = f->count; f->changes > 0 && i > 0; i--) {
		const struct herd_flight_item *item = at(f, i - 1);

		if (earlier && item->stmt == stmt && changes(item))
			return true;
		earlier = earlier || item->type == 'S';
	}
	return false;
}

bool herd_flight_changing(const struct herd_flight *f, const struct herd_stmt *stmt)
{
	return f->syncs > 0 && changing(f, stmt, false);
}

bool herd_flight_changes(const struct herd_flight *f, const struct herd_stmt *stmt)
{
	return changing(f, stmt, true);
}

uint32_t herd_flight_disown(struct herd_flight *f, const struct herd_stmt *stmt)
{
	bool later = false;
	uint32_t n = 0;

	for (uint32_t i = 0; f->changes > 0 && i < f->count; i++) {
		struct herd_flight_item *item = at(f, i);

		if (later && item->type == 'C' && item->stmt == stmt && changes(item)) {
			item->stmt = NULL;
			f->changes--;
			n++;
		}
		later = later || item->type == 'S';
	}
	return n;
}

uint32_t herd_flight_rounds(const struct herd_flight *f)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < f->count; i++)
		n += is_round_end(at(f, i)->type) && at(f, i)->act == HERD_FLIGHT_PASS;
	return n;
}

bool herd_flight_open_batch(const struct herd_flight *f)
{
	return f->skipping || (f->count > 0 && !is_round_end(at(f, f->count - 1)->type));
}
