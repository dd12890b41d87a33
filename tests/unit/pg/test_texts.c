/* The texts that src/pg writes and reads: connection strings, password files, configuration. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/str.h"
#include "pg/archive.h"
#include "pg/command.h"
#include "pg/conf.h"
#include "pg/conninfo.h"
#include "pg/query.h"

static void escapes(void **state)
{
	static const char *const rows[][2] = {
		{ "plain", "plain" },
		{ "", "''" },
		{ "a b", "a\\ b" },
		{ "it's", "it\\'s" },
		{ "back\\slash", "back\\\\slash" },
		{ " '\\", "\\ \\'\\\\" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct herd_pg_settings back = { 0 };
		struct herd_buf b = { 0 };
		char *text;

		herd_pg_conninfo_escape(&b, rows[i][0]);
		assert_string_equal(herd_buf_str(&b), rows[i][1]);
		text = herd_str_printf("user=%s host=h", herd_buf_str(&b));
		assert_int_equal(herd_pg_conninfo_parse(text, &back, NULL), 0);
		assert_string_equal(herd_pg_settings_get(&back, "user"), rows[i][0]);
		herd_pg_settings_clear(&back);
		free(text);
		herd_buf_free(&b);
	}
}

static void conninfo_order(void **state)
{
	struct herd_pg_addr addr = { .host = "10.0.0.1,10.0.0.2",
				     .port = "5432",
				     .target_session_attrs = "read-write" };
	struct herd_pg_auth auth = { .username = "rep",
				     .password = "p w",
				     .sslmode = "verify-ca",
				     .sslcert = "/c",
				     .sslkey = "/k",
				     .sslrootcert = "/r",
				     .sslcrldir = "/d" };
	struct herd_pg_conninfo_opts opts = { .dbname = "postgres",
					      .application_name = "n1",
					      .passfile = "/home/p/pgpass",
					      .server_version = 17,
					      .defaults = true };
	struct herd_buf b = { 0 };

	assert_int_equal(herd_pg_conninfo_build(&addr, &auth, &opts, &b), 0);
	assert_string_equal(
		herd_buf_str(&b),
		"dbname=postgres user=rep passfile=/home/p/pgpass host=10.0.0.1,10.0.0.2 "
		"port=5432 sslmode=verify-ca sslcert=/c sslkey=/k sslrootcert=/r "
		"sslcrldir=/d application_name=n1 gssencmode=prefer "
		"channel_binding=prefer target_session_attrs=read-write "
		"sslnegotiation=postgres");
	herd_buf_reset(&b);
	opts = (struct herd_pg_conninfo_opts){ .with_password = true, .server_version = 12 };
	assert_int_equal(herd_pg_conninfo_build(&addr, &auth, &opts, &b), 0);
	assert_string_equal(herd_buf_str(&b),
			    "user=rep password=p\\ w host=10.0.0.1,10.0.0.2 port=5432 "
			    "sslmode=verify-ca sslcert=/c sslkey=/k sslrootcert=/r "
			    "target_session_attrs=read-write");
	herd_buf_free(&b);
}

/* Each version gets the words it knows. */
static void conninfo_versions(void **state)
{
	static const struct {
		const char *word;
		int from;
	} rows[] = {
		{ "sslmode=", 9 },          { "gssencmode=", 12 }, { "channel_binding=", 13 },
		{ "sslpassword=", 13 },     { "sslcrldir=", 14 },  { "sslnegotiation=", 17 },
		{ "application_name=", 9 }, { "user=", 9 },
	};
	struct herd_pg_addr addr = { .host = "h" };
	struct herd_pg_auth auth = { .username = "rep", .sslcrldir = "/d", .sslpassword = "p" };

	for (int version = 10; version <= 18; version++) {
		struct herd_pg_conninfo_opts opts = { .application_name = "n1",
						      .server_version = version,
						      .defaults = true };
		struct herd_buf b = { 0 };

		assert_int_equal(herd_pg_conninfo_build(&addr, &auth, &opts, &b), 0);
		for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
			if ((strstr(herd_buf_str(&b), rows[i].word) != NULL) !=
			    (version >= rows[i].from))
				fail_msg("%s in %d: %s", rows[i].word, version, herd_buf_str(&b));
		herd_buf_free(&b);
	}
}

static void urls(void **state)
{
	struct herd_pg_addr a = { 0 };
	struct herd_err err = HERD_ERR_INIT;

	assert_int_equal(herd_pg_addr_parse_url("postgres://127.0.0.1:5433/postgres", &a, NULL), 0);
	assert_string_equal(a.host, "127.0.0.1");
	assert_string_equal(a.port, "5433");
	assert_string_equal(a.dbname, "postgres");
	herd_pg_addr_clear(&a);
	assert_int_equal(herd_pg_addr_parse_url("postgres://[::1]/x%20y", &a, NULL), 0);
	assert_string_equal(a.host, "::1");
	assert_null(a.port);
	assert_string_equal(a.dbname, "x y");
	herd_pg_addr_clear(&a);
	assert_int_equal(herd_pg_addr_parse_url("http://x", &a, &err), -EINVAL);
	herd_err_clear(&err);
	assert_int_equal(herd_pg_addr_parse_url("postgres://u:secret@[::1", &a, &err), -EINVAL);
	assert_null(strstr(herd_err_text(&err), "secret"));
	herd_err_clear(&err);
	assert_int_equal(herd_pg_addr_parse_url("postgres:///db", &a, &err), -EINVAL);
	herd_err_clear(&err);
}

static void pgpass(void **state)
{
	struct herd_pg_addr addr = { .host = "h1,/run/pg,fe80::1", .port = "1,2,3" };
	struct herd_pg_auth auth = { .username = "u:x", .password = "a\\b:c" };
	struct herd_buf b = { 0 };

	assert_int_equal(herd_pg_pgpass_lines(&addr, &auth, &b), 0);
	assert_string_equal(herd_buf_str(&b), "h1:1:*:u\\:x:a\\\\b\\:c\n"
					      "/run/pg:2:*:u\\:x:a\\\\b\\:c\n"
					      "localhost:2:*:u\\:x:a\\\\b\\:c\n"
					      "fe80\\:\\:1:3:*:u\\:x:a\\\\b\\:c\n");
	herd_buf_reset(&b);
	addr = (struct herd_pg_addr){ .host = "a,b" };
	assert_int_equal(herd_pg_pgpass_lines(&addr, &auth, &b), 0);
	assert_string_equal(herd_buf_str(&b),
			    "a:5432:*:u\\:x:a\\\\b\\:c\nb:5432:*:u\\:x:a\\\\b\\:c\n");
	herd_buf_reset(&b);
	auth.password = NULL;
	assert_int_equal(herd_pg_pgpass_lines(&addr, &auth, &b), 0);
	assert_int_equal(b.len, 0);
	herd_buf_free(&b);
}

static struct herd_pg_config config(void)
{
	struct herd_pg_config c = { .scope = "demo",
				    .name = "Node-1.x",
				    .data_dir = "/data",
				    .listen = "127.0.0.1",
				    .port = 5432,
				    .pgpass = "/home/p/pgpass",
				    .replication = { .username = "rep", .password = "pw" },
				    .use_slots = true };

	return c;
}

static void conf_golden(void **state)
{
	struct herd_pg_config c = config();
	struct herd_pg_role role = { .standby = true,
				     .primary = { .host = "10.0.0.1", .port = "5433" } };
	struct herd_pg_settings s = { 0 };
	struct herd_buf b = { 0 };

	herd_pg_settings_set(&s, "work_mem", "4MB");
	herd_pg_settings_set(&s, "archive_command", "cp '%p' \"c:\\x\"");
	herd_pg_settings_set(&c.recovery_conf, "restore_command", "cp %f");
	herd_pg_settings_set(&c.recovery_conf, "recovery_target_time", "now");
	herd_pg_settings_set(&c.recovery_conf, "primary_conninfo", "mine");
	assert_int_equal(herd_pg_conf_text(&c, &role, &s, 15, &b), 0);
	assert_string_equal(herd_buf_str(&b),
			    "# Do not edit this file manually!\n"
			    "# It will be overwritten by Patroni!\n"
			    "include 'postgresql.base.conf'\n"
			    "\n"
			    "archive_command = 'cp ''%p'' \"c:\\\\x\"'\n"
			    "work_mem = '4MB'\n"
			    "hba_file = '/data/pg_hba.conf'\n"
			    "ident_file = '/data/pg_ident.conf'\n"
			    "\n"
			    "# recovery.conf\n"
			    "primary_conninfo = 'dbname=postgres user=rep passfile=/home/p/pgpass "
			    "host=10.0.0.1 "
			    "port=5433 sslmode=prefer application_name=Node-1.x gssencmode=prefer "
			    "channel_binding=prefer'\n"
			    "primary_slot_name = 'node_1_x'\n"
			    "recovery_target = ''\n"
			    "recovery_target_lsn = ''\n"
			    "recovery_target_name = ''\n"
			    "recovery_target_time = ''\n"
			    "recovery_target_timeline = 'latest'\n"
			    "recovery_target_xid = ''\n"
			    "restore_command = 'cp %f'\n");
	herd_buf_reset(&b);
	role.standby = false;
	herd_pg_settings_set(&s, "hba_file", "/etc/hba");
	herd_pg_settings_remove(&s, "archive_command");
	assert_int_equal(herd_pg_conf_text(&c, &role, &s, 15, &b), 0);
	assert_string_equal(herd_buf_str(&b), "# Do not edit this file manually!\n"
					      "# It will be overwritten by Patroni!\n"
					      "include 'postgresql.base.conf'\n"
					      "\n"
					      "hba_file = '/etc/hba'\n"
					      "work_mem = '4MB'\n"
					      "ident_file = '/data/pg_ident.conf'\n");
	herd_buf_free(&b);
	herd_pg_settings_clear(&s);
	herd_pg_settings_clear(&c.recovery_conf);
}

static void hba(void **state)
{
	struct herd_pg_lines l = { 0 };
	struct herd_buf b = { 0 };

	herd_pg_lines_add(&l, "local all all trust");
	herd_pg_lines_add(&l, "host all all all scram-sha-256");
	assert_int_equal(herd_pg_conf_lines_text(&l, &b), 0);
	assert_string_equal(herd_buf_str(&b), "# Do not edit this file manually!\n"
					      "# It will be overwritten by Patroni!\n"
					      "local all all trust\n"
					      "host all all all scram-sha-256\n");
	herd_pg_lines_add(&l, "two\nlines");
	assert_int_equal(herd_pg_conf_lines_text(&l, &b), -EINVAL);
	herd_pg_lines_clear(&l);
	herd_buf_free(&b);
}

static struct herd_pg_guc_table table(void)
{
	struct herd_pg_guc_table t = { 0 };
	struct herd_buf b = { 0 };

	herd_buf_addstr(&b, "work_mem\tuser\tM\tINTEGER\t4096\t64\t2147483647\tx\t\n"
			    "jit\tuser\tM\tBOOLEAN\tTRUE\t\t\tx\t\n"
			    "log_statement\tsuperuser\tM\tENUM\tnone\t\t\tx\t\n"
			    "seq_page_cost\tuser\tM\tREAL\t1\t0\t1.79769e+308\tx\t\n"
			    "synchronous_standby_names\tsighup\tM\tSTRING\t\t\t\tx\t\n"
			    "wal_keep_size\tsighup\tM\tINTEGER\t0\t0\t2147483647\tx\t\n"
			    "block_size\tinternal\tM\tINTEGER\t8192\t8192\t8192\tx\t\n");
	for (int i = 0; i < 100; i++)
		herd_buf_printf(&b, "filler_%d\tuser\tM\tSTRING\t\t\t\tx\t\n", i);
	assert_int_equal(herd_pg_guc_table_parse(herd_buf_str(&b), &t, NULL), 0);
	herd_buf_free(&b);
	return t;
}

static void gucs_checked(void **state)
{
	static const struct {
		const char *name, *value;
		bool kept;
	} rows[] = {
		{ "work_mem", "64MB", true },
		{ "work_mem", "64", true },
		{ "work_mem", "63", true }, /* as its limit */
		{ "WORK_MEM", "100", true },
		{ "work_mem", "x", false },
		{ "work_mem", "10 parsecs", false },
		{ "work_mem", "", false },
		{ "jit", "of", true },
		{ "jit", "o", false },
		{ "jit", "maybe", false },
		{ "seq_page_cost", "0.5", true },
		{ "seq_page_cost", "-1", true },
		{ "seq_page_cost", "nan", false },
		{ "log_statement", "ddl", true },
		{ "block_size", "8192", false },
		{ "nonsense", "1", false },
		{ "my.nonsense", "1", true },
		{ "zero_damaged_pages", "on", true },
		{ "log_statement", "a\nb", false },
		{ "primary_conninfo", "x", false },
		{ "recovery_target_time", "x", false },
	};
	struct herd_pg_guc_table t = table();
	struct herd_pg_role role = { 0 };

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct herd_pg_config c = config();
		struct herd_pg_settings s = { 0 };
		struct herd_buf w = { 0 };

		herd_pg_settings_set(&c.parameters, rows[i].name, rows[i].value);
		assert_int_equal(herd_pg_conf_effective(&c, &role, &t, 15, &s, &w), 0);
		if ((herd_pg_settings_get(&s, rows[i].name) != NULL) != rows[i].kept)
			fail_msg("%s = %s: %s", rows[i].name, rows[i].value, herd_buf_str(&w));
		herd_pg_settings_clear(&s);
		herd_pg_settings_clear(&c.parameters);
		herd_buf_free(&w);
	}
	herd_pg_guc_table_clear(&t);
}

static const char *effective(const char *name, const char *value, const char *want, bool standby,
			     const struct herd_pg_controldata *control, bool *raised)
{
	static char text[64];
	struct herd_pg_config c = config();
	struct herd_pg_role role = { .standby = standby };
	struct herd_pg_settings s = { 0 };
	struct herd_buf w = { 0 };

	if (value != NULL)
		herd_pg_settings_set(&c.parameters, name, value);
	assert_int_equal(herd_pg_conf_effective(&c, &role, NULL, 15, &s, &w), 0);
	if (standby && control != NULL)
		assert_int_equal(herd_pg_conf_raise(&s, control, raised), 0);
	strncpy(text, herd_pg_settings_get(&s, want) != NULL ? herd_pg_settings_get(&s, want) : "",
		sizeof(text) - 1);
	herd_pg_settings_clear(&s);
	herd_pg_settings_clear(&c.parameters);
	herd_buf_free(&w);
	return text;
}

static void protected_gucs(void **state)
{
	static const char *const rows[][4] = {
		{ "max_connections", NULL, "max_connections", "100" },
		{ "max_connections", "25", "max_connections", "25" },
		{ "max_connections", "24", "max_connections", "100" },
		{ "MAX_Connections", "50", "max_connections", "50" },
		{ "max_connections", "300000", "max_connections", "100" },
		{ "wal_level", NULL, "wal_level", "replica" },
		{ "wal_level", "hot_standby", "wal_level", "replica" },
		{ "wal_level", "logical", "wal_level", "logical" },
		{ "wal_level", "minimal", "wal_level", "replica" },
		{ "hot_standby", "off", "hot_standby", "on" },
		{ "wal_log_hints", "false", "wal_log_hints", "off" },
		{ "track_commit_timestamp", "yes", "track_commit_timestamp", "on" },
		{ "port", "1", "port", "5432" },
		{ "listen_addresses", "*", "listen_addresses", "127.0.0.1" },
		{ "cluster_name", "x", "cluster_name", "demo" },
		{ "wal_keep_segments", "100", "wal_keep_size", "1600MB" },
		{ "wal_keep_segments", "100", "wal_keep_segments", "" },
		{ "wal_keep_size", "1GB", "wal_keep_size", "1GB" },
		{ "work_mem", NULL, "wal_keep_size", "128MB" },
	};
	struct herd_pg_controldata control = { .max_connections = 200,
					       .max_worker_processes = 4,
					       .max_wal_senders = 10 };
	bool raised = false;

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		assert_string_equal(
			effective(rows[i][0], rows[i][1], rows[i][2], false, NULL, &raised),
			rows[i][3]);
	assert_false(raised);
	assert_string_equal(
		effective("max_connections", "50", "max_connections", true, &control, &raised),
		"200");
	assert_true(raised);
	assert_string_equal(
		effective("max_connections", "50", "max_connections", false, &control, &raised),
		"50");
	assert_string_equal(effective("x", NULL, "max_worker_processes", true, &control, &raised),
			    "8");
}

/* The server of a bootstrap is stopped again: clients are not to find it. */
static void listening(void **state)
{
	for (int i = 0; i < 4; i++) {
		struct herd_pg_config c = config();
		struct herd_pg_role role = { .trust_only_hba = i & 1 };
		struct herd_pg_settings s = { 0 };
		struct herd_buf w = { 0 };

		c.use_unix_socket = i & 2;
		assert_int_equal(herd_pg_conf_effective(&c, &role, NULL, 15, &s, &w), 0);
		assert_string_equal(herd_pg_settings_get(&s, "listen_addresses"),
				    i == 3 ? "" : "127.0.0.1");
		herd_pg_settings_clear(&s);
		herd_buf_free(&w);
	}
}

static void auto_conf(void **state)
{
	struct herd_buf b = { 0 };
	bool changed;

	assert_int_equal(herd_pg_conf_clean_auto("# head\nwork_mem = '1MB'\n"
						 "primary_conninfo = 'host=''x'' #'\n"
						 " Recovery_Target_Time='x'\nlast = 1",
						 &b, &changed),
			 0);
	assert_true(changed);
	assert_string_equal(herd_buf_str(&b), "# head\nwork_mem = '1MB'\nlast = 1");
	herd_buf_reset(&b);
	assert_int_equal(herd_pg_conf_clean_auto("a = 1\n", &b, &changed), 0);
	assert_false(changed);
	herd_buf_free(&b);
}

static void conf_parse(void **state)
{
	struct herd_pg_settings s = { 0 };

	assert_int_equal(herd_pg_conf_parse("a = 1 # one\n#b = 2\nc 'it''s \\' d'\ninclude 'x'\n"
					    "d.e=on\na = 2\n\nunfinished = 'x",
					    &s),
			 0);
	assert_int_equal(s.n, 4);
	assert_string_equal(herd_pg_settings_get(&s, "A"), "2");
	assert_string_equal(herd_pg_settings_get(&s, "c"), "it's ' d");
	assert_string_equal(herd_pg_settings_get(&s, "d.e"), "on");
	assert_string_equal(herd_pg_settings_get(&s, "unfinished"), "x");
	herd_pg_settings_clear(&s);
}

static void split(void **state)
{
	struct herd_pg_lines l = { 0 };
	struct herd_err err = HERD_ERR_INIT;

	assert_int_equal(herd_pg_command_split("  a 'b c' \"d \\\"e\\x\" f\\ g''h ", &l, NULL), 0);
	assert_int_equal(l.n, 4);
	assert_string_equal(l.v[0], "a");
	assert_string_equal(l.v[1], "b c");
	assert_string_equal(l.v[2], "d \"e\\x");
	assert_string_equal(l.v[3], "f gh");
	herd_pg_lines_clear(&l);
	assert_int_equal(herd_pg_command_split("a 'b", &l, &err), -EINVAL);
	herd_err_clear(&err);
	assert_int_equal(herd_pg_command_split("  ", &l, &err), -EINVAL);
	herd_err_clear(&err);
}

static void quotes(void **state)
{
	struct herd_buf b = { 0 };

	herd_pg_quote_literal(&b, "it's");
	herd_pg_quote_literal(&b, "a\\'b");
	herd_pg_quote_ident(&b, "a\"b");
	assert_string_equal(herd_buf_str(&b), "'it''s'E'a\\\\''b'\"a\"\"b\"");
	herd_buf_free(&b);
}

static void archive_words(void **state)
{
	static const struct {
		const char *command, *want;
	} rows[] = {
		{ "cp %p /a/%f", "cp pg_wal/X /a/X" },
		{ "a 100%% %x", "a 100% %x" },
		{ "%", "%" },
		{ "", "" },
		{ "%f%f%p", "XXpg_wal/X" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *got = herd_pg_archive_words(rows[i].command, "pg_wal/X", "X");

		assert_string_equal(got, rows[i].want);
		free(got);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(archive_words),  cmocka_unit_test(escapes),
		cmocka_unit_test(conninfo_order), cmocka_unit_test(urls),
		cmocka_unit_test(pgpass),         cmocka_unit_test(conninfo_versions),
		cmocka_unit_test(conf_golden),    cmocka_unit_test(hba),
		cmocka_unit_test(gucs_checked),   cmocka_unit_test(protected_gucs),
		cmocka_unit_test(listening),      cmocka_unit_test(auto_conf),
		cmocka_unit_test(conf_parse),     cmocka_unit_test(split),
		cmocka_unit_test(quotes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
