#include "proxy/named.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "pool/prepared.h"
#include "proxy/server.h"

struct herd_named {
	struct herd_map *stmts;    /* name -> struct herd_stmt with a reference */
	struct herd_map *failed;   /* the same for those whose Parse failed */
	struct herd_map *unsure;   /* name -> the newest change that is under way */
	struct herd_list underway; /* struct change, the oldest first */
	struct herd_list done;     /* those that would be made again */
};

struct change {
	struct herd_list node;
	struct change
		*older; /* of the same name and under way; in the same batch, for others wait */
	struct herd_stmt *stmt; /* of a Close: what had the name, with its reference; else NULL */
	uint32_t batch;         /* of herd_flight.batch */
	bool sent;              /* a Parse that the server gets */
	char name[];
};

static void unref(struct herd_client *c, struct herd_stmt *stmt)
{
	struct herd_px *px = c->w->px;

	pthread_mutex_lock(&px->stmts_lock);
	herd_stmts_unref(px->stmts, stmt);
	pthread_mutex_unlock(&px->stmts_lock);
}

static struct herd_named *names_of(struct herd_client *c)
{
	struct herd_named *n = c->named;

	if (n)
		return n;
	n = calloc(1, sizeof(*n));
	if (!n)
		return NULL;
	n->stmts = herd_map_new(NULL);
	n->failed = herd_map_new(NULL);
	n->unsure = herd_map_new(NULL);
	herd_list_init(&n->underway);
	herd_list_init(&n->done);
	c->named = n;
	if (!n->stmts || !n->failed || !n->unsure)
		herd_named_free(c);
	return c->named;
}

struct herd_stmt *herd_named_get(const struct herd_client *c, const char *name)
{
	return c->named ? herd_map_get(c->named->stmts, name) : NULL;
}

struct herd_stmt *herd_named_find(const struct herd_client *c, const char *name)
{
	struct herd_stmt *stmt = herd_named_get(c, name);

	return stmt || !c->named ? stmt : herd_map_get(c->named->failed, name);
}

const struct herd_map *herd_named_all(const struct herd_client *c)
{
	return c->named ? c->named->stmts : NULL;
}

static const struct change *earlier(const struct herd_client *c, const char *name)
{
	const struct change *ch;

	/* as for every statement that was prepared once and is used now */
	if (!c->named || herd_list_empty(&c->named->underway))
		return NULL;
	ch = herd_map_get(c->named->unsure, name);
	return ch && ch->batch != c->server->flight.batch ? ch : NULL;
}

bool herd_named_undecided(const struct herd_client *c, const char *name)
{
	return earlier(c, name);
}

bool herd_named_unclear(const struct herd_client *c, const char *name, const struct herd_stmt *stmt)
{
	const struct change *ch = earlier(c, name);

	if (ch && ch->sent && !ch->older)
		return stmt && !herd_held_use(&c->server->held, stmt); /* evicted since */
	return ch || (stmt && herd_flight_changing(&c->server->flight, stmt));
}

static void drop_failed(struct herd_client *c, const char *name)
{
	struct herd_stmt *stmt = c->named ? herd_map_get(c->named->failed, name) : NULL;

	if (!stmt)
		return;
	herd_map_remove(c->named->failed, name);
	unref(c, stmt);
}

int herd_named_add(struct herd_client *c, const char *name, struct herd_stmt *stmt)
{
	struct herd_named *n = names_of(c);
	struct herd_stmt *old = herd_named_get(c, name);
	int rc = n ? herd_map_put(n->stmts, name, stmt) : -ENOMEM;

	if (rc < 0)
		unref(c, stmt);
	else if (old)
		unref(c, old);
	return rc;
}

void herd_named_drop(struct herd_client *c, const char *name)
{
	struct herd_stmt *stmt = herd_named_get(c, name);

	if (!stmt)
		return;
	herd_map_remove(c->named->stmts, name);
	unref(c, stmt);
}

static struct change *begin(struct herd_client *c, const char *name)
{
	struct herd_named *n = names_of(c);
	size_t len = strlen(name) + 1;
	struct change *ch = n ? malloc(sizeof(*ch) + len) : NULL;

	if (!ch)
		return NULL;
	*ch = (struct change){ .older = herd_map_get(n->unsure, name),
			       .batch = c->server->flight.batch };
	memcpy(ch->name, name, len);
	if (herd_map_put(n->unsure, name, ch) < 0) {
		free(ch);
		return NULL;
	}
	herd_list_push_back(&n->underway, &ch->node);
	return ch;
}

/* Its turn has come, or never will. */
static void end(struct herd_named *n, struct change *ch)
{
	struct change *newest = herd_map_get(n->unsure, ch->name);

	if (newest == ch && ch->older) {
		herd_map_put(n->unsure, ch->name, ch->older);
	} else if (newest == ch) {
		herd_map_remove(n->unsure, ch->name);
	} else {
		while (newest->older != ch)
			newest = newest->older;
		newest->older = ch->older;
	}
	herd_list_remove(&ch->node);
}

int herd_named_parse(struct herd_client *c, const char *name, struct herd_stmt *stmt, bool sent)
{
	struct change *ch = begin(c, name);

	if (!ch) {
		unref(c, stmt);
		return -ENOMEM;
	}
	ch->sent = sent;
	drop_failed(c, name);
	int rc = herd_named_add(c, name, stmt);

	if (rc < 0)
		herd_named_unsent(c);
	return rc;
}

struct herd_stmt *herd_named_close(struct herd_client *c, const char *name)
{
	struct herd_stmt *stmt = herd_named_get(c, name);
	struct change *ch = stmt ? begin(c, name) : NULL;

	drop_failed(c, name);

	if (!ch) {
		herd_named_drop(c, name);
		return NULL;
	}
	ch->stmt = stmt;
	herd_map_remove(c->named->stmts, name);
	return stmt;
}

static void free_change(struct herd_client *c, struct change *ch)
{
	herd_list_remove(&ch->node);
	if (ch->stmt)
		unref(c, ch->stmt);
	free(ch);
}

static void free_all(struct herd_client *c, struct herd_list *changes)
{
	while (!herd_list_empty(changes))
		free_change(c, herd_container_of(changes->next, struct change, node));
}

void herd_named_done(struct herd_client *c)
{
	struct herd_named *n = c->named;

	if (!n || herd_list_empty(&n->underway))
		return;
	struct change *ch = herd_container_of(n->underway.next, struct change, node);

	end(n, ch);
	if (c->replayable) {
		herd_list_push_back(&n->done, &ch->node);
	} else {
		free_change(c, ch);
		free_all(c, &n->done);
	}
}

/* The newest of a batch first: so each finds the name as it had left it. */
static void undo(struct herd_client *c, struct change *ch)
{
	herd_named_drop(c, ch->name);
	if (ch->stmt)
		herd_named_add(c, ch->name, ch->stmt);
	ch->stmt = NULL;
	free_change(c, ch);
}

static void undo_all(struct herd_client *c, struct herd_list *changes)
{
	while (!herd_list_empty(changes))
		undo(c, herd_container_of(changes->prev, struct change, node));
}

/* What a Parse should have made is remembered. */
static void keep_failed(struct herd_client *c, const char *name)
{
	struct herd_stmt *stmt = herd_named_get(c, name);

	if (!stmt)
		return;
	drop_failed(c, name);
	if (herd_map_put(c->named->failed, name, stmt) == 0)
		herd_map_remove(c->named->stmts, name);
}

static void skip(struct herd_client *c, struct herd_list *it, bool keep)
{
	struct change *ch = herd_container_of(it, struct change, node);

	end(c->named, ch);
	if (keep && !ch->stmt)
		keep_failed(c, ch->name);
	undo(c, ch);
}

void herd_named_skipped(struct herd_client *c, uint32_t n)
{
	if (!c->named || n == 0)
		return;
	struct herd_list *head = &c->named->underway, *it = head->next;

	while (--n > 0 && it->next != head)
		it = it->next;
	while (it != head) {
		struct herd_list *before = it->prev;

		skip(c, it, true);
		it = before;
	}
}

void herd_named_unsent(struct herd_client *c)
{
	if (c->named && !herd_list_empty(&c->named->underway))
		skip(c, c->named->underway.prev, false);
}

void herd_named_lost(struct herd_client *c)
{
	if (!c->named)
		return;
	while (!herd_list_empty(&c->named->underway))
		herd_named_unsent(c);
	free_all(c, &c->named->done);
}

void herd_named_again(struct herd_client *c)
{
	if (!c->named)
		return;
	while (!herd_list_empty(&c->named->underway))
		herd_named_unsent(c);
	undo_all(c, &c->named->done);
}

void herd_named_settled(struct herd_client *c)
{
	if (c->named)
		free_all(c, &c->named->done);
}

void herd_named_free(struct herd_client *c)
{
	struct herd_named *n = c->named;
	size_t pos = 0;
	const char *name;
	void *stmt;

	if (!n)
		return;
	free_all(c, &n->underway);
	free_all(c, &n->done);
	while (n->stmts && herd_map_next(n->stmts, &pos, &name, &stmt))
		unref(c, stmt);
	pos = 0;
	while (n->failed && herd_map_next(n->failed, &pos, &name, &stmt))
		unref(c, stmt);
	herd_map_free(n->stmts);
	herd_map_free(n->failed);
	herd_map_free(n->unsure);
	free(n);
	c->named = NULL;
}
