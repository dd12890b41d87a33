#include "proxy/drift.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "proxy/split.h"
#include "proxy/verdict.h"
#include "wire/msg.h"

enum { ASK_US = 2000000 };

/* pg_proc, pg_aggregate, pg_cast, pg_operator, pg_rewrite, pg_policy */
static const char drift_sql[] =
	"SELECT pg_catalog.sum(pg_catalog.pg_stat_get_tuples_inserted(c) + "
	"pg_catalog.pg_stat_get_tuples_updated(c) + pg_catalog.pg_stat_get_tuples_deleted(c))"
	"::bigint FROM pg_catalog.unnest('{1255,2600,2605,2617,2618,3256}'::pg_catalog.oid[]) c "
	"/* pgherd: changes of the catalog */";

struct drift {
	struct herd_db *db;
	int64_t count; /* -1: not told */
};

static void start(struct herd_client *ic, struct herd_buf *out)
{
	herd_wr_parse_sql(out, "", drift_sql);
	size_t mark = herd_wr_begin(out, 'B');

	herd_wr_str(out, "");
	herd_wr_str(out, "");
	for (int i = 0; i < 3; i++)
		herd_wr_u16(out, 0);
	herd_wr_end(out, mark);
	herd_wr_execute(out);
	herd_flight_push_query(&ic->server->flight);
}

static void message(struct herd_client *ic, char type, const void *body, size_t n)
{
	struct drift *d = ic->internal->arg;
	struct herd_rd r = herd_rd_init(body, n);
	char text[24]; /* any int64 */

	if (type != 'D' || herd_rd_u16(&r) < 1)
		return;
	uint32_t len = herd_rd_u32(&r);
	const char *v = len < sizeof(text) ? herd_rd_bytes(&r, len) : NULL;

	if (!v)
		return;
	memcpy(text, v, len);
	text[len] = '\0';
	if (herd_str_to_i64(text, &d->count) < 0)
		d->count = -1;
}

static void end(struct herd_client *ic, const char *error)
{
	struct drift *d = ic->internal->arg;

	if (!error && d->count >= 0) {
		int64_t was = atomic_exchange(&d->db->drift_count, d->count);

		if (was != 0 && was != d->count)
			herd_verdict_forget(d->db);
	}
	atomic_store(&d->db->drift_asking, false);
	free(d);
	herd_client_close(ic, NULL);
}

void herd_drift_look(struct herd_client *c)
{
	struct herd_db *db = c->db;
	int64_t now = c->w->now_us;

	if (now < atomic_load_explicit(&db->drift_next_us, memory_order_relaxed) ||
	    atomic_exchange(&db->drift_asking, true))
		return;
	atomic_store(&db->drift_next_us, now + ASK_US);
	struct drift *d = calloc(1, sizeof(*d));
	struct herd_internal in = { .message = message, .end = end, .start = start, .arg = d };
	struct herd_client *ic = NULL;

	if (d) {
		d->db = db;
		d->count = -1;
		ic = herd_client_internal(c->w, db, c->split->home->user, &in);
	}
	if (ic) {
		herd_client_wake(ic);
		return;
	}
	free(d);
	atomic_store(&db->drift_asking, false);
}
