/* A herd of three as one agent ("a") sees it, to be changed by each row of a test. */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/str.h"
#include "core/core.h"

#define SYSID 7001
#define NOW 100000

struct fixture {
	struct herd_core *core;
	struct herd_plan plan;
	struct herd_obs obs;
	struct herd_member self;
	struct herd_scope *scope;
	struct herd_obs_answer answers[2];
	struct herd_obs_sender senders[2];
};

#define MEMBER(state, role)                                                                        \
	"{\"conn_url\":\"postgres://h:5432/postgres\",\"api_url\":\"http://h:8008/patroni\","      \
	"\"state\":\"" state "\",\"role\":\"" role "\",\"version\":\"4.1.0\",\"timeline\":1}"

static const char member_open[] =
	"{\"conn_url\":\"postgres://h:5432/postgres\",\"api_url\":\"http://h:8008/patroni\","
	"\"state\":\"running\",\"role\":\"replica\",\"version\":\"4.1.0\",\"timeline\":1";
static const char config_async[] = "{\"ttl\":30,\"loop_wait\":10,\"retry_timeout\":10}";

/* Which keys the store holds; NULL: absent. */
struct keys {
	const char *config, *failover, *handover, *history, *initialize, *leader, *leader_lease,
		*status, *sync, *proxy, *failsafe;
	bool initialize_ours, alone;
	int64_t sync_version; /* 0: 22 */
	int priority_c;       /* failover_priority of c; 0: none given */
};

static const struct keys healthy = {
	.config = config_async,
	.history = "[]",
	.initialize = "7001",
	.status = "{\"optime\":1000}",
};

static inline void see(struct fixture *f, const struct keys *k)
{
	struct herd_kv kv[16];
	size_t n = 0;
#define KEY(name, value, v, l)                                                                     \
	do {                                                                                       \
		const char *text_ = (value);                                                       \
		if (text_)                                                                         \
			kv[n++] = (struct herd_kv){ name, text_, strlen(text_), v, l };            \
	} while (0)
	KEY("config", k->config, 11, NULL);
	KEY("failover", k->failover, 12, NULL);
	KEY("failsafe", k->failsafe, 23, NULL);
	KEY("handover", k->handover, 13, NULL);
	KEY("history", k->history, 14, NULL);
	KEY("initialize", k->initialize, 15, k->initialize_ours ? "L1" : NULL);
	KEY("leader", k->leader, 16, k->leader_lease);
	KEY("members/a", MEMBER("running", "replica"), 17, "L1");
	KEY("members/b", k->alone ? NULL : MEMBER("running", "replica"), 18, "L2");
	char *c = k->priority_c ? herd_str_printf("%s,\"tags\":{\"failover_priority\":%d}}",
						  member_open, k->priority_c)
				: NULL;
	KEY("members/c", k->alone ? NULL : c ? c : MEMBER("running", "replica"), 19, "L3");
	KEY("proxies/p", k->proxy, 20, "L9");
	KEY("status", k->status, 21, NULL);
	KEY("sync", k->sync, k->sync_version ? k->sync_version : 22, NULL);
#undef KEY
	herd_scope_unref(f->scope);
	f->scope = herd_scope_build(kv, n, 30, true);
	free(c);
	assert_non_null(f->scope);
	f->obs.scope = f->scope;
}

static inline void fixture_open(struct fixture *f)
{
	*f = (struct fixture){ .core = herd_core_new(1) };
	assert_non_null(f->core);
	f->self = (struct herd_member){ .name = (char *)"a",
					.conn_url = (char *)"postgres://h:5432/postgres",
					.api_url = (char *)"http://h:8008/patroni",
					.version = (char *)"4.1.0",
					.checkpoint_after_promote = -1 };
	f->obs = (struct herd_obs){
		.now_ms = NOW,
		.wall_ms = INT64_C(1795323840000),
		.name = "a",
		.group = HERD_NO_GROUP,
		.self = &f->self,
		.view_ms = NOW,
		.dcs_ok = true,
		.guard = true,
		.rewind_possible = true,
		.lease = { .id = "L1", .sent_ms = NOW - 1000, .ttl_ms = 30000 },
		.pg = { .data = HERD_DATA_VALID,
			.run = HERD_RUN_RUNNING,
			.sysid = SYSID,
			.in_recovery = true,
			.timeline = 1,
			.flush_lsn = 1000,
			.receive_lsn = 1000,
			.replay_lsn = 1000,
			.control = HERD_CONTROL_ARCHIVE_RECOVERY,
			.checkpoint_lsn = 900,
			.checkpoint_tl = 1,
			.queryable = true,
			.ssn = "" },
	};
	see(f, &healthy);
}

static inline void fixture_close(struct fixture *f)
{
	herd_plan_clear(&f->plan);
	herd_core_free(f->core);
	herd_scope_unref(f->scope);
}

static inline void as_primary(struct fixture *f)
{
	f->obs.pg.in_recovery = false;
	f->obs.pg.receive_lsn = f->obs.pg.replay_lsn = 0;
	f->obs.pg.control = HERD_CONTROL_IN_PRODUCTION;
}

static inline void answers(struct fixture *f, uint64_t b, uint64_t c)
{
	f->answers[0] = (struct herd_obs_answer){ .name = "b",
						  .reachable = b > 0,
						  .running = true,
						  .in_recovery = true,
						  .lsn = b,
						  .timeline = 1 };
	f->answers[1] = (struct herd_obs_answer){ .name = "c",
						  .reachable = c > 0,
						  .running = true,
						  .in_recovery = true,
						  .lsn = c,
						  .timeline = 1 };
	f->obs.poll.n = 2;
	f->obs.poll.answers = f->answers;
}

/* It is connected to us and gets our WAL. */
static inline void streams(struct fixture *f, const char *name)
{
	f->senders[0] = (struct herd_obs_sender){ .application_name = name,
						  .streaming = true,
						  .write_lsn = 1000,
						  .flush_lsn = 1000,
						  .replay_lsn = 1000 };
	f->obs.pg.senders = f->senders;
	f->obs.pg.n_senders = 1;
}

/* Steps; a poll or probe that is asked is answered at once. "rule: ACTION; ACTION" */
static inline char *plan_of(struct fixture *f)
{
	struct herd_buf b = { 0 };

	herd_core_step(f->core, &f->obs, &f->plan);
	for (size_t i = 0; i < f->plan.n; i++) {
		if (f->plan.act[i].act == HERD_ACT_POLL && f->obs.poll.answers) {
			f->obs.poll.id = f->plan.act[i].id;
			f->obs.poll.asked_ms = f->obs.now_ms;
			return plan_of(f);
		}
		if (f->plan.act[i].act == HERD_ACT_PROBE && f->obs.probe.ok) {
			f->obs.probe.id = f->plan.act[i].id;
			return plan_of(f);
		}
	}
	herd_buf_addstr(&b, f->plan.rule);
	for (size_t i = 0; i < f->plan.n; i++) {
		const struct herd_action *a = &f->plan.act[i];
		char *text;

		/* Our own member document has its own test. */
		if (a->act == HERD_ACT_PUT && strcmp(a->key, "members/a") == 0)
			continue;
		text = herd_action_print(a);
		herd_buf_printf(&b, "; %s", text);
		free(text);
	}
	assert_non_null(f->plan.why);
	assert_true(f->plan.next_ms > f->obs.now_ms);
	return herd_buf_steal(&b);
}

static inline void expect(struct fixture *f, const char *want)
{
	char *got = plan_of(f);

	assert_string_equal(got, want);
	free(got);
}
