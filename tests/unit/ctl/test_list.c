#include "ctl/internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/str.h"

struct pair {
	const char *key, *value;
};

/* Pairs must ascend by key. */
static char *render(const struct pair *pairs, int group, enum ctl_format f, bool extended,
		    bool topology)
{
	struct herd_kv kv[32];
	size_t n = 0;

	for (; pairs[n].key; n++)
		kv[n] = (struct herd_kv){ pairs[n].key, pairs[n].value, strlen(pairs[n].value),
					  (int64_t)n + 1, NULL };
	struct herd_scope *s = herd_scope_build(kv, n, 1, true);
	struct ctl_listing l;

	assert_int_equal(ctl_listing_make(s, "demo", group, f, extended, topology, &l), 0);
	char *table = ctl_table_print(f, l.title, l.cols, l.n_cols, l.rows);
	char *text = herd_str_printf("%s%s", table, f == CTL_PRETTY ? l.footer : "");

	free(table);
	ctl_listing_clear(&l);
	herd_scope_unref(s);
	return text;
}

static void shows(const struct pair *pairs, int group, enum ctl_format f, bool topology,
		  const char *want)
{
	char *text = render(pairs, group, f, false, topology);

	assert_string_equal(text, want);
	free(text);
}

#define MEMBER(host, port, rest)                                                                   \
	"{\"conn_url\":\"postgres://" host ":" port "/postgres\",\"api_url\":\"http://" host       \
	":8008/patroni\",\"version\":\"4.1.0\"," rest "}"
#define LEADER                                                                                     \
	"\"state\":\"running\",\"role\":\"primary\",\"xlog_location\":68733704,\"timeline\":1"
#define STREAM(lsn)                                                                                \
	"\"state\":\"running\",\"role\":\"replica\",\"xlog_location\":" lsn ",\"replay_lsn\":" lsn \
	",\"receive_lsn\":" lsn ",\"replication_state\":\"streaming\",\"timeline\":1"

/* clang-format off */
static const struct pair seed[] = {
	{ "0/config", "{\"synchronous_mode\":true}" },
	{ "0/initialize", "7197024670041272347" },
	{ "0/leader", "coord2" },
	{ "0/members/coord1", MEMBER("127.0.0.11", "5432", STREAM("68733704")) },
	{ "0/members/coord2", MEMBER("127.0.0.12", "5432", LEADER) },
	{ "0/members/coord3", MEMBER("127.0.0.13", "5432", STREAM("68733704")) },
	{ "0/status", "{\"optime\":68733704}" },
	{ "0/sync", "{\"leader\":\"coord2\",\"sync_standby\":\"coord1\"}" },
	{ "2/config", "{\"synchronous_mode\":\"quorum\",\"pause\":true}" },
	{ "2/failover", "{\"leader\":\"work2-1\",\"member\":\"work2-2\",\"scheduled_at\":\"2026-11-22T05:04:00+00:00\"}" },
	{ "2/initialize", "7197024670041272349" },
	{ "2/leader", "work2-1" },
	{ "2/members/work2-1", MEMBER("127.0.0.16", "5432", LEADER) },
	{ "2/members/work2-2", MEMBER("127.0.0.17", "5432", "\"state\":\"stopped\",\"role\":\"replica\"") },
	{ "2/status", "{\"optime\":68733704}" },
	{ NULL, NULL },
};

static const struct pair plain[] = {
	{ "initialize", "72" },
	{ "leader", "a" },
	{ "members/a", MEMBER("127.0.0.1", "5432", LEADER) },
	{ "members/b", MEMBER("127.0.0.1", "5433", STREAM("65587976") ",\"tags\":{\"clonefrom\":true,\"replicatefrom\":\"c\"}") },
	{ "members/c", MEMBER("127.0.0.1", "5434", STREAM("68733704") ",\"pending_restart\":true,"
	  "\"pending_restart_reason\":{\"max_connections\":{\"old_value\":\"100\",\"new_value\":\"200\"}},"
	  "\"scheduled_restart\":{\"schedule\":\"2026-11-22T05:04:00+00:00\",\"postgres_version\":\"15.9\"}") },
	{ "status", "{\"optime\":68733704}" },
	{ NULL, NULL },
};
static const struct pair nothing[] = { { NULL, NULL } };
/* clang-format on */

/* clang-format off */
static void seeds(void **state)
{
	shows(seed, HERD_NO_GROUP, CTL_PRETTY, false,
	      "+ Citus cluster: demo ---------+--------------+-----------+----+-------------+-----+------------+-----+\n"
	      "| Group | Member  | Host       | Role         | State     | TL | Receive LSN | Lag | Replay LSN | Lag |\n"
	      "+-------+---------+------------+--------------+-----------+----+-------------+-----+------------+-----+\n"
	      "|     0 | coord1  | 127.0.0.11 | Sync Standby | streaming |  1 |   0/418CB08 |   0 |  0/418CB08 |   0 |\n"
	      "|     0 | coord2  | 127.0.0.12 | Leader       | running   |  1 |             |     |            |     |\n"
	      "|     0 | coord3  | 127.0.0.13 | Replica      | streaming |  1 |   0/418CB08 |   0 |  0/418CB08 |   0 |\n"
	      "|     2 | work2-1 | 127.0.0.16 | Leader       | running   |  1 |             |     |            |     |\n"
	      "|     2 | work2-2 | 127.0.0.17 | Replica      | stopped   |    |     unknown |     |    unknown |     |\n"
	      "+-------+---------+------------+--------------+-----------+----+-------------+-----+------------+-----+\n"
	      "Citus group: 2\n"
	      " Maintenance mode: on\n"
	      " Switchover scheduled at: 2026-11-22T05:04:00+00:00\n"
	      "                    from: work2-1\n"
	      "                      to: work2-2\n");
}

static void one_group(void **state)
{
	shows(seed, 2, CTL_PRETTY, false,
	      "+ Citus cluster: demo (group: 2, 7197024670041272349) --------+-----+------------+-----+\n"
	      "| Member  | Host       | Role    | State   | TL | Receive LSN | Lag | Replay LSN | Lag |\n"
	      "+---------+------------+---------+---------+----+-------------+-----+------------+-----+\n"
	      "| work2-1 | 127.0.0.16 | Leader  | running |  1 |             |     |            |     |\n"
	      "| work2-2 | 127.0.0.17 | Replica | stopped |    |     unknown |     |    unknown |     |\n"
	      "+---------+------------+---------+---------+----+-------------+-----+------------+-----+\n"
	      " Maintenance mode: on\n"
	      " Switchover scheduled at: 2026-11-22T05:04:00+00:00\n"
	      "                    from: work2-1\n"
	      "                      to: work2-2\n");
}

static void ports_and_extras(void **state)
{
	shows(plain, HERD_NO_GROUP, CTL_PRETTY, false,
	      "+ Cluster: demo (72) -----+---------+-----------+----+-------------+-----+------------+-----+-----------------+---------------------------+---------------------------------------------+------------------+\n"
	      "| Member | Host           | Role    | State     | TL | Receive LSN | Lag | Replay LSN | Lag | Pending restart | Pending restart reason    | Scheduled restart                           | Tags             |\n"
	      "+--------+----------------+---------+-----------+----+-------------+-----+------------+-----+-----------------+---------------------------+---------------------------------------------+------------------+\n"
	      "| a      | 127.0.0.1:5432 | Leader  | running   |  1 |             |     |            |     |                 |                           |                                             |                  |\n"
	      "+--------+----------------+---------+-----------+----+-------------+-----+------------+-----+-----------------+---------------------------+---------------------------------------------+------------------+\n"
	      "| b      | 127.0.0.1:5433 | Replica | streaming |  1 |   0/3E8CB08 |   3 |  0/3E8CB08 |   3 |                 |                           |                                             | clonefrom: true  |\n"
	      "|        |                |         |           |    |             |     |            |     |                 |                           |                                             | replicatefrom: c |\n"
	      "+--------+----------------+---------+-----------+----+-------------+-----+------------+-----+-----------------+---------------------------+---------------------------------------------+------------------+\n"
	      "| c      | 127.0.0.1:5434 | Replica | streaming |  1 |   0/418CB08 |   0 |  0/418CB08 |   0 | *               | max_connections: 100->200 | 2026-11-22T05:04:00+00:00 if version < 15.9 |                  |\n"
	      "+--------+----------------+---------+-----------+----+-------------+-----+------------+-----+-----------------+---------------------------+---------------------------------------------+------------------+\n");
}

static void topology(void **state)
{
	shows(plain, HERD_NO_GROUP, CTL_PRETTY, true,
	      "+ Cluster: demo (72) -----+---------+-----------+----+-------------+-----+------------+-----+-----------------+---------------------------+---------------------------------------------+-------------------------------------+\n"
	      "| Member | Host           | Role    | State     | TL | Receive LSN | Lag | Replay LSN | Lag | Pending restart | Pending restart reason    | Scheduled restart                           | Tags                                |\n"
	      "+--------+----------------+---------+-----------+----+-------------+-----+------------+-----+-----------------+---------------------------+---------------------------------------------+-------------------------------------+\n"
	      "| a      | 127.0.0.1:5432 | Leader  | running   |  1 |             |     |            |     |                 |                           |                                             |                                     |\n"
	      "| + c    | 127.0.0.1:5434 | Replica | streaming |  1 |   0/418CB08 |   0 |  0/418CB08 |   0 | *               | max_connections: 100->200 | 2026-11-22T05:04:00+00:00 if version < 15.9 |                                     |\n"
	      "|   + b  | 127.0.0.1:5433 | Replica | streaming |  1 |   0/3E8CB08 |   3 |  0/3E8CB08 |   3 |                 |                           |                                             | {clonefrom: true, replicatefrom: c} |\n"
	      "+--------+----------------+---------+-----------+----+-------------+-----+------------+-----+-----------------+---------------------------+---------------------------------------------+-------------------------------------+\n");
}

static void tsv(void **state)
{
	shows(plain, HERD_NO_GROUP, CTL_TSV, false,
	      "Cluster\tMember\tHost\tRole\tState\tTL\tReceive LSN\tReceive Lag\tReplay LSN\tReplay Lag\tPending restart\tPending restart reason\tScheduled restart\tTags\n"
	      "demo\ta\t127.0.0.1:5432\tLeader\trunning\t1\t\t\t\t\t\t\t\t\n"
	      "demo\tb\t127.0.0.1:5433\tReplica\tstreaming\t1\t0/3E8CB08\t3\t0/3E8CB08\t3\t\t\t\t{clonefrom: true, replicatefrom: c}\n"
	      "demo\tc\t127.0.0.1:5434\tReplica\tstreaming\t1\t0/418CB08\t0\t0/418CB08\t0\t*\tmax_connections: 100->200\t2026-11-22T05:04:00+00:00 if version < 15.9\t\n");
}

static void json(void **state)
{
	shows(plain, HERD_NO_GROUP, CTL_JSON, false,
	      "[{\"Cluster\": \"demo\", \"Member\": \"a\", \"Host\": \"127.0.0.1:5432\", \"Role\": \"Leader\", \"State\": \"running\", \"TL\": 1}, {\"Cluster\": \"demo\", \"Member\": \"b\", \"Host\": \"127.0.0.1:5433\", \"Role\": \"Replica\", \"State\": \"streaming\", \"TL\": 1, \"Receive LSN\": \"0/3E8CB08\", \"Receive Lag\": 3, \"Replay LSN\": \"0/3E8CB08\", \"Replay Lag\": 3, \"Tags\": {\"clonefrom\": true, \"replicatefrom\": \"c\"}}, {\"Cluster\": \"demo\", \"Member\": \"c\", \"Host\": \"127.0.0.1:5434\", \"Role\": \"Replica\", \"State\": \"streaming\", \"TL\": 1, \"Receive LSN\": \"0/418CB08\", \"Receive Lag\": 0, \"Replay LSN\": \"0/418CB08\", \"Replay Lag\": 0, \"Pending restart\": \"*\", \"Pending restart reason\": \"max_connections: 100->200\", \"Scheduled restart\": \"2026-11-22T05:04:00+00:00 if version < 15.9\"}]\n");
}

static void yaml(void **state)
{
	shows(seed, 2, CTL_YAML, false,
	      "- Cluster: demo\n"
	      "  Group: 2\n"
	      "  Host: 127.0.0.16\n"
	      "  Member: work2-1\n"
	      "  Role: Leader\n"
	      "  State: running\n"
	      "  TL: 1\n"
	      "- Cluster: demo\n"
	      "  Group: 2\n"
	      "  Host: 127.0.0.17\n"
	      "  Member: work2-2\n"
	      "  Receive LSN: unknown\n"
	      "  Replay LSN: unknown\n"
	      "  Role: Replica\n"
	      "  State: stopped\n"
	      "\n");
}

static void empty(void **state)
{
	shows(nothing, HERD_NO_GROUP, CTL_PRETTY, false,
	      "+ Cluster: demo (uninitialized) ----+-------------+-----+------------+-----+\n"
	      "| Member | Host | Role | State | TL | Receive LSN | Lag | Replay LSN | Lag |\n"
	      "+--------+------+------+-------+----+-------------+-----+------------+-----+\n"
	      "+--------+------+------+-------+----+-------------+-----+------------+-----+\n");
}

/* clang-format on */

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(seeds),
		cmocka_unit_test(one_group),
		cmocka_unit_test(ports_and_extras),
		cmocka_unit_test(topology),
		cmocka_unit_test(tsv),
		cmocka_unit_test(json),
		cmocka_unit_test(yaml),
		cmocka_unit_test(empty),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
