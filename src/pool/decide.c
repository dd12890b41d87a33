#include "pool/decide.h"

#include <assert.h>
#include <string.h>

static bool limit_reached(int limit, int count)
{
	return limit > 0 && count >= limit;
}

/* Is one more connection wanted, whatever the limits? */
static bool wanted(const struct herd_pool_obs *o)
{
	if (o->waiting > o->opening + o->idle)
		return true;
	int open = o->idle + o->active + o->opening;

	/* One member serves a pool by any connection. */
	if (o->members > 1 && open < o->members && open + o->closing < o->pool_size)
		return true;
	return o->keep_min && open < o->min_size;
}

enum herd_pool_why herd_pool_decide(const struct herd_pool_obs *o)
{
	int total = o->idle + o->active + o->opening + o->closing;
	bool reserve = false;

	assert(o->idle >= 0 && o->active >= 0 && o->opening >= 0 && o->closing >= 0);
	assert(o->waiting >= 0);

	if (!wanted(o))
		return HERD_POOL_NOTHING;
	if (o->paused)
		return HERD_POOL_PAUSED;
	if (o->held)
		return HERD_POOL_HELD;
	if (o->last_fail_ms > 0) {
		int64_t pause = o->topology ? herd_pool_backoff_ms(o->fails_in_row) : o->retry_ms;

		if (o->now_ms - o->last_fail_ms < pause)
			return HERD_POOL_RETRY;
		/* One scout goes first: a server that is down is not stormed by a whole queue. */
		if (o->opening > 0)
			return HERD_POOL_RETRY;
	}
	if (total >= o->pool_size) {
		reserve = total < o->pool_size + o->reserve_size && o->waiting > 0 &&
			  o->oldest_wait_ms >= o->reserve_timeout_ms;
		if (!reserve)
			return HERD_POOL_FULL;
	}
	if (limit_reached(o->max_db_conns, o->db_conns))
		return HERD_POOL_DB_FULL;
	if (limit_reached(o->max_user_conns, o->user_conns))
		return HERD_POOL_USER_FULL;
	return reserve ? HERD_POOL_OPEN_RESERVE : HERD_POOL_OPEN;
}

const char *herd_pool_why_text(enum herd_pool_why why)
{
	static const char *const text[HERD_POOL_WHY_NR] = {
		[HERD_POOL_NOTHING] = "nothing to do",
		[HERD_POOL_OPEN] = "opening a server connection",
		[HERD_POOL_OPEN_RESERVE] = "taking connection from reserve_pool",
		[HERD_POOL_FULL] = "pool_size reached",
		[HERD_POOL_DB_FULL] = "max_db_connections reached",
		[HERD_POOL_USER_FULL] = "max_user_connections reached",
		[HERD_POOL_PAUSED] = "paused",
		[HERD_POOL_HELD] = "held",
		[HERD_POOL_RETRY] = "last attempt failed",
	};

	return text[why];
}

int64_t herd_pool_backoff_ms(int fails_in_row)
{
	int64_t ms = 20;

	for (int i = 1; i < fails_in_row && ms < 500; i++)
		ms *= 2;
	return ms < 500 ? ms : 500;
}

bool herd_hold_sqlstate(const char *sqlstate)
{
	/* admin shutdown, crash shutdown, cannot connect now, read only transaction */
	static const char *const codes[] = { "57P01", "57P02", "57P03", "25006", "53300" };

	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		if (strcmp(sqlstate, codes[i]) == 0)
			return true;
	}
	return false;
}

enum herd_wait herd_wait_decide(const struct herd_wait_obs *o)
{
	if (o->held) {
		if (o->hold_timeout_ms > 0 && o->waited_ms >= o->hold_timeout_ms)
			return HERD_WAIT_HOLD_TIMEOUT;
		return HERD_WAIT_ON;
	}
	if (o->query_wait_timeout_ms > 0 && o->waited_ms >= o->query_wait_timeout_ms)
		return HERD_WAIT_TIMEOUT;
	return HERD_WAIT_ON;
}
