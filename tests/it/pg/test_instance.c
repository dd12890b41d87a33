/*
 * Real servers on private ports: what src/pg does to them. Run as root it becomes postgres, as the
 * agent does. Times are printed for people; nothing is asserted on them.
 */
#include <arpa/inet.h>
#include <grp.h>
#include <pwd.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/str.h"
#include "loop/loop.h"
#include "pg/clone.h"
#include "pg/file.h"
#include "pg/initdb.h"
#include "pg/proc.h"
#include "pg/rewind.h"
#include "pg/slots.h"
#include "pg/status.h"

enum { PATIENCE_MS = 20000 };

static char root[] = "/tmp/pgherd-it-pg-XXXXXX";
static struct herd_loop *loop;

/* What the last callback said. */
static struct {
	bool done;
	int rc;
	char text[512];
} last;

struct node {
	const char *name;
	int port;
	char *dir;
	struct herd_pg *pg;
	int exits, unexpected;
	uint64_t shut_down_lsn;
};
static struct node a = { .name = "node-a" }, b = { .name = "node-b" };

static const char *bindir(void)
{
	const char *dir = getenv("PG_BINDIR");

	return dir != NULL ? dir : "/usr/lib/postgresql/15/bin";
}

static int free_port(void)
{
	struct sockaddr_in sa = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sa);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_true(fd >= 0 && bind(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	close(fd);
	return ntohs(sa.sin_port);
}

static void on_exited(void *arg, bool expected)
{
	struct node *n = arg;

	n->exits++;
	n->unexpected += !expected;
}

static void on_notice(void *arg, const char *text)
{
	struct node *n = arg;

	printf("# %s: %s\n", n->name, text);
}

static void on_done(void *arg, int rc, const struct herd_err *err)
{
	last.done = true;
	last.rc = rc;
	snprintf(last.text, sizeof(last.text), "%s%s%s", herd_err_text(err),
		 err->detail != NULL ? ": " : "", err->detail != NULL ? err->detail : "");
}

static void on_shut_down(void *arg, uint64_t lsn, uint32_t tli)
{
	struct node *n = arg;

	n->shut_down_lsn = lsn;
}

static void set_config(struct node *n, struct herd_pg_config *c)
{
	*c = (struct herd_pg_config){ 0 };
	c->scope = strdup("it");
	c->name = strdup(n->name);
	c->data_dir = strdup(n->dir);
	c->bin_dir = strdup(bindir());
	c->listen = strdup("127.0.0.1");
	c->port = n->port;
	c->pgpass = herd_str_printf("%s/%s.pgpass", root, n->name);
	c->log_file = herd_str_printf("%s/%s.log", root, n->name);
	c->superuser.username = strdup("postgres");
	c->superuser.password = strdup("su 'p:a\\ss");
	c->replication.username = strdup("replicator");
	c->replication.password = strdup("rep'\\:l");
	c->rewind.username = strdup("rewinder");
	c->rewind.password = strdup("rew");
	c->use_pg_rewind = c->use_slots = true;
	herd_pg_settings_set(&c->parameters, "unix_socket_directories", root);
	herd_pg_settings_set(&c->parameters, "wal_retrieve_retry_interval", "50ms");
	herd_pg_settings_set(&c->parameters, "shared_buffers", "16MB");
	herd_pg_settings_set(&c->parameters, "no_such_parameter", "1");
	herd_pg_settings_set(&c->parameters, "work_mem", "junk");
	herd_pg_settings_set(&c->parameters, "log_statement", "sometimes");
	herd_pg_settings_set(&c->parameters, "bytea_output", "paper");
	herd_pg_lines_add(&c->pg_hba, "host replication replicator 127.0.0.1/32 scram-sha-256");
	herd_pg_lines_add(&c->pg_hba, "host all all 127.0.0.1/32 scram-sha-256");
}

static void node_open(struct node *n)
{
	struct herd_pg_events events = { .exited = on_exited, .notice = on_notice, .arg = n };
	struct herd_pg_config c;
	struct herd_err err = HERD_ERR_INIT;

	if (n->dir == NULL) {
		n->dir = herd_str_printf("%s/%s", root, n->name);
		n->port = free_port();
	}
	set_config(n, &c);
	if (herd_pg_new(loop, &c, &events, &n->pg, &err) < 0)
		fail_msg("%s", herd_err_text(&err));
}

static void wait_done(const char *what)
{
	if (!herd_loop_run_until(loop, &last.done, PATIENCE_MS))
		fail_msg("%s does not end", what);
	if (last.rc < 0)
		print_message("# %s: %s\n", what, last.text);
}

/* Runs one operation to its end; the macro starts it with `on_done` in scope. */
#define RUN(what, call)                                                                            \
	do {                                                                                       \
		struct herd_err err_ = HERD_ERR_INIT, *err = &err_;                                \
		int64_t began_ = herd_now_us();                                                    \
		last.done = false;                                                                 \
		last.text[0] = '\0';                                                               \
		if ((call) < 0)                                                                    \
			fail_msg("%s: %s", what, herd_err_text(err));                              \
		wait_done(what);                                                                   \
		if (strcmp(what, "status") != 0)                                                   \
			print_message("# %-28s %7.1f ms\n", what,                                  \
				      (double)(herd_now_us() - began_) / 1000);                    \
	} while (0)

static struct herd_pg_role standby_of(const struct node *n)
{
	struct herd_pg_role role = { .standby = true };

	role.primary.host = strdup("127.0.0.1");
	role.primary.port = herd_str_printf("%d", n->port);
	return role;
}

static void start(struct node *n, const struct node *primary)
{
	struct herd_pg_role role = { 0 };

	if (primary != NULL)
		role = standby_of(primary);
	RUN(primary != NULL ? "start standby" : "start primary",
	    herd_pg_start(n->pg, &role, 30000, on_done, n, err));
	herd_pg_role_clear(&role);
	assert_int_equal(last.rc, 0);
}

static void stop(struct node *n, enum herd_pg_stop_mode mode)
{
	struct herd_pg_stop_opts opts = {
		.mode = mode, .timeout_ms = 20000, .escalate = true, .shut_down = on_shut_down
	};

	n->shut_down_lsn = 0;
	RUN("stop", herd_pg_stop(n->pg, &opts, on_done, n, err));
	assert_int_equal(last.rc, 0);
	assert_int_equal(herd_pg_phase(n->pg), HERD_PG_PHASE_STOPPED);
	assert_int_equal(herd_pg_proc_list(n->dir, 0, NULL, 0), 0);
}

static struct herd_pg_status seen;

static void on_status(void *arg, int rc, struct herd_pg_status *st, const struct herd_err *err)
{
	herd_pg_status_clear(&seen);
	if (rc == 0)
		herd_pg_status_move(&seen, st);
	on_done(arg, rc, err);
}

static void look(struct node *n)
{
	RUN("status",
	    herd_pg_status_query(herd_pg_session(n->pg), 5000, on_status, n) + 0 * err->code);
}

/* Looks again and again until the condition holds. */
#define LOOK_UNTIL(n, condition)                                                                   \
	do {                                                                                       \
		int64_t limit_ = herd_now_ms() + PATIENCE_MS;                                      \
		for (;;) {                                                                         \
			look(n);                                                                   \
			if (last.rc == 0 && (condition))                                           \
				break;                                                             \
			assert_true(herd_now_ms() < limit_);                                       \
			usleep(20000);                                                             \
		}                                                                                  \
	} while (0)

static char value[256];

static void on_rows(void *arg, int rc, const struct herd_pg_rows *rows, const struct herd_err *err)
{
	const char *text = rc == 0 ? herd_pg_rows_text(rows, 0, 0) : NULL;

	snprintf(value, sizeof(value), "%s", text != NULL ? text : "");
	if (!herd_str_eq(arg, "unwatched"))
		on_done(arg, rc, err);
}

static const char *query(struct node *n, const char *sql)
{
	RUN(sql,
	    herd_pg_query(herd_pg_session(n->pg), sql, 0, NULL, 10000, on_rows, n) + 0 * err->code);
	assert_int_equal(last.rc, 0);
	return value;
}

static void test_initdb(void **state)
{
	struct herd_pg_settings options = { 0 };
	struct herd_pg_bootstrap boot = { .initdb = &options };
	struct stat st;
	char *path = herd_str_printf("%s/pg_hba.conf", a.dir);

	herd_pg_settings_set(&options, "encoding", "UTF8");
	herd_pg_settings_set(&options, "locale", "C");
	herd_pg_settings_set(&options, "auth", "scram-sha-256");
	assert_int_equal(herd_pg_datadir(a.pg, NULL), HERD_PG_DATADIR_MISSING);
	RUN("initdb", herd_pg_initdb(a.pg, &boot, on_done, &a, err));
	assert_int_equal(last.rc, 0);
	assert_int_equal(herd_pg_datadir(a.pg, NULL), HERD_PG_DATADIR_VALID);
	start(&a, NULL);
	RUN("post bootstrap", herd_pg_post_bootstrap(a.pg, NULL, on_done, &a, err));
	assert_int_equal(last.rc, 0);
	RUN("post bootstrap again",
	    herd_pg_post_bootstrap(a.pg, "/bin/echo 'a b'", on_done, &a, err));
	assert_int_equal(last.rc, 0);
	look(&a);
	assert_int_equal(last.rc, 0);
	assert_false(seen.in_recovery);
	assert_int_equal(seen.timeline, 1);
	assert_true(seen.system_identifier != 0 && seen.current_lsn != 0);
	assert_int_equal(seen.server_version / 10000, herd_pg_major(a.pg));
	assert_string_equal(query(&a,
				  "SELECT string_agg(rolname, ',' ORDER BY rolname) FROM pg_roles "
				  "WHERE rolname !~ '^pg_'"),
			    "postgres,replicator,rewinder");
	assert_string_equal(query(&a, "SHOW cluster_name"), "it");
	assert_string_equal(query(&a, "SHOW wal_log_hints"), "on");
	assert_string_equal(query(&a, "SHOW log_statement"), "none");
	assert_string_equal(query(&a, "SHOW wal_retrieve_retry_interval"), "50ms");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	free(path);
	herd_pg_settings_clear(&options);
}

static void clone_b(void)
{
	struct herd_pg_clone_opts opts = { 0 };
	struct herd_pg_role role = standby_of(&a);

	opts.source = role.primary;
	RUN("clone", herd_pg_clone(b.pg, &opts, on_done, &b, err));
	assert_int_equal(last.rc, 0);
	herd_pg_role_clear(&role);
}

static void test_clone(void **state)
{
	struct herd_pg_slots_plan plan = { 0 };

	herd_pg_lines_add(&plan.create, "node_b");
	herd_pg_lines_add(&plan.create, "node_x");
	RUN("slots",
	    herd_pg_slots_apply(herd_pg_session(a.pg), &plan, 5000, on_done, &a) + 0 * err->code);
	assert_int_equal(last.rc, 0);
	RUN("slots again",
	    herd_pg_slots_apply(herd_pg_session(a.pg), &plan, 5000, on_done, &a) + 0 * err->code);
	assert_int_equal(last.rc, 0);
	herd_pg_slots_plan_clear(&plan);
	herd_pg_lines_add(&plan.drop, "node_x");
	RUN("drop slot",
	    herd_pg_slots_apply(herd_pg_session(a.pg), &plan, 5000, on_done, &a) + 0 * err->code);
	assert_int_equal(last.rc, 0);
	herd_pg_slots_plan_clear(&plan);
	clone_b();
	start(&b, &a);
	LOOK_UNTIL(&b, herd_str_eq(seen.replication_state, "streaming"));
	assert_true(seen.in_recovery);
	assert_string_equal(seen.slot_used, "node_b");
	LOOK_UNTIL(&a, seen.standby_n == 1);
	assert_string_equal(seen.standby[0].application_name, "node-b");
	assert_int_equal(seen.slot_n, 1);
	assert_true(seen.slot[0].active);
	assert_true(seen.slot[0].restart_lsn != 0);
}

/* A backend that does not look up from its work when its postmaster dies. */
static void test_crash_with_busy_backend(void **state)
{
	struct herd_pg_session *busy;
	struct herd_err err = HERD_ERR_INIT;
	pid_t pid = herd_pg_pid(a.pg), pids[64];
	bool never = false;
	size_t left;
	int exits = a.unexpected;

	assert_int_equal(herd_pg_session_local(a.pg, "busy", NULL, &busy, &err), 0);
	herd_pg_query(busy,
		      "SET statement_timeout = 0; SELECT count(*) FROM "
		      "generate_series(1, 1000000000) a(i) WHERE md5(i::text) = 'x'",
		      0, NULL, 0, on_rows, "unwatched");
	herd_loop_run_until(loop, &never, 500);
	kill(pid, SIGKILL);
	for (int64_t limit = herd_now_ms() + 5000; a.unexpected == exits && herd_now_ms() < limit;)
		herd_loop_run_until(loop, &never, 1);
	assert_int_equal(a.unexpected, exits + 1);
	assert_int_equal(herd_pg_phase(a.pg), HERD_PG_PHASE_STOPPED);
	left = herd_pg_proc_list(a.dir, 0, pids, 64);
	print_message("# leftovers after SIGKILL       %zu\n", left);
	assert_true(left > 0);
	start(&a, NULL);
	for (size_t i = 0; i < left && i < 64; i++)
		assert_false(herd_pg_proc_is_server(pids[i], a.dir) &&
			     pids[i] != herd_pg_pid(a.pg));
	herd_pg_session_free(busy);
	look(&a);
	assert_false(seen.in_recovery);
}

static struct {
	enum herd_pg_divergence d;
	uint32_t tli;
	char why[128];
} checked;

static void on_check(void *arg, int rc, enum herd_pg_divergence d, const char *why,
		     const struct herd_pg_leader_facts *leader, const struct herd_err *err)
{
	struct herd_err none = HERD_ERR_INIT;

	checked.d = d;
	checked.tli = leader != NULL ? leader->tli : 0;
	snprintf(checked.why, sizeof(checked.why), "%s", why);
	on_done(arg, rc, err != NULL ? err : &none);
}

static enum herd_pg_divergence check(struct node *n, const struct node *leader)
{
	struct herd_pg_role role = standby_of(leader);

	RUN("divergence check", herd_pg_divergence_check(n->pg, &role.primary, on_check, n, err));
	assert_int_equal(last.rc, 0);
	print_message("# %s\n", checked.why);
	herd_pg_role_clear(&role);
	return checked.d;
}

static void promote(struct node *n)
{
	RUN("promote", herd_pg_promote(n->pg, 10000, on_done, n, err));
	assert_int_equal(last.rc, 0);
	look(n);
	assert_int_equal(last.rc, 0);
	assert_false(seen.in_recovery);
}

static void create_slot(struct node *n, const char *name)
{
	struct herd_pg_slots_plan plan = { 0 };

	herd_pg_lines_add(&plan.create, name);
	RUN("slot",
	    herd_pg_slots_apply(herd_pg_session(n->pg), &plan, 5000, on_done, n) + 0 * err->code);
	assert_int_equal(last.rc, 0);
	herd_pg_slots_plan_clear(&plan);
}

static void test_switchover(void **state)
{
	LOOK_UNTIL(&a, seen.standby_n == 1 && herd_str_eq(seen.standby[0].state, "streaming"));
	stop(&a, HERD_PG_FAST);
	assert_true(a.shut_down_lsn != 0);
	LOOK_UNTIL(&b, seen.replay_lsn > a.shut_down_lsn);
	promote(&b);
	assert_int_equal(seen.timeline, 2);
	create_slot(&b, "node_a");
	/* A clean switchover: the former primary may follow as it is. */
	assert_int_equal(check(&a, &b), HERD_PG_DIVERGED_NO);
	start(&a, &b);
	LOOK_UNTIL(&a, herd_str_eq(seen.replication_state, "streaming") && seen.timeline == 2);
}

static void run_rewind(struct node *n, const struct node *source)
{
	struct herd_pg_role role = standby_of(source);

	RUN("rewind", herd_pg_rewind(n->pg, &role.primary, on_done, n, err));
	assert_int_equal(last.rc, 0);
	herd_pg_role_clear(&role);
}

static void test_failover_and_rewind(void **state)
{
	uint64_t written;

	/* b, the primary, writes what a does not get, and dies. */
	query(&b, "CREATE TABLE public.t AS SELECT generate_series(1, 1000) AS i");
	look(&b);
	written = seen.flush_lsn;
	LOOK_UNTIL(&a, seen.replay_lsn >= written);
	stop(&a, HERD_PG_FAST);
	query(&b, "INSERT INTO public.t SELECT generate_series(1, 100000)");
	herd_pg_kill(b.pg);
	start(&a, &b);
	promote(&a);
	assert_int_equal(seen.timeline, 3);
	create_slot(&a, "node_b");
	stop(&b, HERD_PG_FAST); /* waits for what the kill left */
	assert_int_equal(check(&b, &a), HERD_PG_DIVERGED_YES);
	run_rewind(&b, &a);
	start(&b, &a);
	LOOK_UNTIL(&b, herd_str_eq(seen.replication_state, "streaming") && seen.timeline == 3);
	assert_string_equal(query(&b, "SELECT count(*) FROM public.t"), "1000");
}

static void test_follow_by_reload(void **state)
{
	struct herd_pg_role nobody = { .standby = true }, of_a = standby_of(&a);
	pid_t pid = herd_pg_pid(b.pg);

	RUN("follow nobody", herd_pg_follow(b.pg, &nobody, 10000, on_done, &b, err));
	assert_int_equal(last.rc, 0);
	LOOK_UNTIL(&b, seen.replication_state == NULL);
	RUN("follow", herd_pg_follow(b.pg, &of_a, 10000, on_done, &b, err));
	assert_int_equal(last.rc, 0);
	LOOK_UNTIL(&b, herd_str_eq(seen.replication_state, "streaming"));
	assert_int_equal(herd_pg_pid(b.pg), pid);
	RUN("restart", herd_pg_restart(b.pg, &of_a, 10000, on_done, &b, err));
	assert_int_equal(last.rc, 0);
	assert_int_not_equal(herd_pg_pid(b.pg), pid);
	herd_pg_role_clear(&of_a);
}

/* The agent may go away and come back: its server lives on, and is found again. */
static void test_adopt(void **state)
{
	pid_t pid = herd_pg_pid(b.pg);

	herd_pg_free(b.pg);
	node_open(&b);
	assert_int_equal(herd_pg_pid(b.pg), pid);
	assert_int_equal(herd_pg_phase(b.pg), HERD_PG_PHASE_RUNNING);
	assert_int_not_equal(getpgid(pid), getpgid(0));
	stop(&b, HERD_PG_IMMEDIATE);
}

static void write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static char *read_file(const char *path)
{
	struct herd_buf text = { 0 };

	assert_int_equal(herd_pg_file_read(path, &text, NULL), 0);
	return herd_buf_steal(&text);
}

/* The first method fails, the second is a command with words of its own; links are cleared, too. */
static void test_replica_methods(void **state)
{
	struct herd_pg_config c;
	char *script = herd_str_printf("%s/method.sh", root),
	     *said = herd_str_printf("%s/said", root), *wal = herd_str_printf("%s/wal of b", root),
	     *old = herd_str_printf("%s/0001", wal), *link = herd_str_printf("%s/pg_wal", b.dir),
	     *text, *want;

	want = herd_str_printf(
		"for a; do echo \"$a\" >> %s; case $a in --datadir=*) "
		"d=${a#--datadir=};; --connstring=*) c=${a#--connstring=};; esac; done\n"
		"exec %s/pg_basebackup -D \"$d\" -d \"$c\" -w -c fast\n",
		said, bindir());
	write_file(script, want);
	free(want);
	RUN("remove", herd_pg_remove_data(b.pg, on_done, &b, err));
	assert_int_equal(last.rc, 0);
	assert_int_equal(herd_pg_datadir(b.pg, NULL), HERD_PG_DATADIR_MISSING);
	assert_int_equal(mkdir(wal, 0700), 0);
	write_file(old, "x");
	assert_int_equal(symlink(wal, link), 0);
	set_config(&b, &c);
	c.method = calloc(2, sizeof(*c.method));
	c.method_n = 2;
	c.method[0].name = strdup("broken");
	c.method[0].command = strdup("sh -c 'echo no backup today; exit 2'");
	c.method[1].name = strdup("script");
	c.method[1].command = herd_str_printf("sh '%s'", script);
	herd_pg_settings_set(&c.method[1].params, "level", "a b");
	assert_int_equal(herd_pg_set_config(b.pg, &c, NULL), 0);
	clone_b();
	text = read_file(said);
	want = herd_str_printf(
		"--level=a b\n--scope=it\n--role=replica\n--datadir=%s\n"
		"--connstring=dbname=postgres user=replicator host=127.0.0.1 port=%d\n",
		b.dir, a.port);
	assert_string_equal(text, want);
	assert_int_not_equal(access(old, F_OK), 0);
	start(&b, &a);
	free(want);
	free(text);
	free(script);
	free(said);
	free(wal);
	free(old);
	free(link);
}

/* Errors of a session: the server's, its statement timeout, ours, and the server's end. */
static void test_session(void **state)
{
	char *conninfo = herd_pg_local_conninfo(b.pg, &herd_pg_config(b.pg)->superuser, NULL, NULL);
	struct herd_pg_session_opts opts = { .conninfo = conninfo,
					     .statement_timeout_ms = 100,
					     .name = "it" };
	struct herd_pg_session *s;
	struct herd_err none = HERD_ERR_INIT;
	static const char *const param[] = { "it's", NULL };
	pid_t pid;

	assert_int_equal(herd_pg_session_new(loop, &opts, &s, &none), 0);
	RUN("wrong",
	    herd_pg_query(s, "SELECT nothing", 0, NULL, 5000, on_rows, "x") + 0 * err->code);
	assert_int_equal(last.rc, -EPROTO);
	assert_non_null(strstr(last.text, "\"nothing\" does not exist"));
	RUN("timeout",
	    herd_pg_query(s, "SELECT pg_sleep(9)", 0, NULL, 5000, on_rows, "x") + 0 * err->code);
	assert_int_equal(last.rc, -ETIME);
	assert_true(herd_pg_session_connected(s));
	RUN("ours", herd_pg_query(s, "SET statement_timeout = 0; SELECT pg_sleep(9)", 0, NULL, 50,
				  on_rows, "x") +
			    0 * err->code);
	assert_int_equal(last.rc, -ETIMEDOUT);
	assert_false(herd_pg_session_connected(s));
	RUN("params",
	    herd_pg_query(s, "SELECT $1::text", 1, param, 5000, on_rows, "x") + 0 * err->code);
	assert_int_equal(last.rc, 0);
	assert_string_equal(value, "it's");
	pid = herd_pg_session_backend_pid(s);
	kill(pid, SIGTERM);
	RUN("gone",
	    herd_pg_query(s, "SELECT pg_sleep(0.05)", 0, NULL, 5000, on_rows, "x") + 0 * err->code);
	assert_true(last.rc == -ECONNRESET || last.rc == 0);
	RUN("again", herd_pg_query(s, "SELECT 2", 0, NULL, 5000, on_rows, "x") + 0 * err->code);
	assert_int_equal(last.rc, 0);
	assert_string_equal(value, "2");
	stop(&b, HERD_PG_IMMEDIATE);
	RUN("down", herd_pg_query(s, "SELECT 3", 0, NULL, 5000, on_rows, "x") + 0 * err->code);
	assert_true(last.rc == -ECONNREFUSED || last.rc == -ECONNRESET);
	last.done = false;
	herd_pg_query(s, "SELECT 4", 0, NULL, 5000, on_rows, "x");
	herd_pg_session_free(s);
	assert_true(last.done);
	assert_int_equal(last.rc, -ECANCELED);
	free(conninfo);
}

/* A clone that is cancelled leaves nothing running, and the next one works. */
static void test_cancel(void **state)
{
	struct herd_pg_role role = standby_of(&a);
	struct herd_pg_clone_opts opts = { .source = role.primary };
	struct herd_err err = HERD_ERR_INIT;
	bool never = false;

	last.done = false;
	assert_int_equal(herd_pg_clone(b.pg, &opts, on_done, &b, &err), 0);
	assert_string_equal(herd_pg_operation(b.pg), "creating replica");
	herd_loop_run_until(loop, &never, 60);
	herd_pg_cancel(b.pg);
	assert_true(last.done);
	assert_int_equal(last.rc, -ECANCELED);
	assert_null(herd_pg_operation(b.pg));
	assert_int_not_equal(herd_pg_datadir(b.pg, NULL), HERD_PG_DATADIR_VALID);
	clone_b();
	herd_pg_role_clear(&role);
}

static int overridden;

static void on_overridden(void *arg, int rc, const struct herd_err *err)
{
	overridden = rc;
}

/* What runs gives way to a harder order. */
static void test_stop_overrides(void **state)
{
	struct herd_pg_stop_opts smart = { .mode = HERD_PG_SMART };
	struct herd_err err = HERD_ERR_INIT;
	struct herd_pg_session *idle;
	bool never = false;

	start(&b, &a);
	assert_int_equal(herd_pg_session_local(b.pg, "idle", NULL, &idle, &err), 0);
	herd_pg_query(idle, "SELECT 1", 0, NULL, 5000, on_rows, "unwatched");
	herd_loop_run_until(loop, &never, 200);
	assert_int_equal(herd_pg_stop(b.pg, &smart, on_overridden, &b, &err), 0);
	assert_int_equal(herd_pg_stop(b.pg, &smart, on_overridden, &b, &err), -EBUSY);
	herd_err_clear(&err);
	herd_loop_run_until(loop, &never, 200);
	assert_int_equal(overridden, 0);
	assert_int_equal(herd_pg_phase(b.pg), HERD_PG_PHASE_STOPPING);
	stop(&b, HERD_PG_FAST);
	assert_int_equal(overridden, -ECANCELED);
	herd_pg_session_free(idle);
}

static void test_start_fails(void **state)
{
	struct herd_pg_role role = { 0 };
	char *path = herd_str_printf("%s/postgresql.base.conf", b.dir);
	FILE *f = fopen(path, "a");

	fputs("shared_buffers_typo = 1\n", f);
	fclose(f);
	RUN("failing start", herd_pg_start(b.pg, &role, 10000, on_done, &b, err));
	assert_int_equal(last.rc, -ESRCH);
	assert_non_null(strstr(last.text, "shared_buffers_typo"));
	free(path);
	clone_b(); /* what is there goes */
}

static int setup(void **state)
{
	loop = herd_loop_new();
	assert_non_null(loop);
	assert_non_null(mkdtemp(root));
	node_open(&a);
	node_open(&b);
	return 0;
}

static void put_away(struct node *n)
{
	if (n->pg != NULL) {
		herd_pg_kill(n->pg);
		herd_pg_free(n->pg);
	}
}

static int teardown(void **state)
{
	char *command = herd_str_printf("rm -rf '%s'", root);
	bool never = false;

	put_away(&a);
	put_away(&b);
	herd_loop_run_until(loop, &never, 100);
	herd_pg_status_clear(&seen);
	herd_loop_free(loop);
	if (getenv("KEEP") == NULL && system(command) != 0)
		print_message("# could not remove %s\n", root);
	free(command);
	free(a.dir);
	free(b.dir);
	return 0;
}

static bool become_postgres(void)
{
	struct passwd *pw = getpwnam("postgres");

	if (geteuid() != 0)
		return true;
	return pw != NULL && setgroups(0, NULL) == 0 && setgid(pw->pw_gid) == 0 &&
	       setuid(pw->pw_uid) == 0 && chdir("/") == 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_initdb),
		cmocka_unit_test(test_clone),
		cmocka_unit_test(test_crash_with_busy_backend),
		cmocka_unit_test(test_switchover),
		cmocka_unit_test(test_failover_and_rewind),
		cmocka_unit_test(test_follow_by_reload),
		cmocka_unit_test(test_adopt),
		cmocka_unit_test(test_stop_overrides),
		cmocka_unit_test(test_replica_methods),
		cmocka_unit_test(test_session),
		cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_start_fails),
	};

	if (!become_postgres()) {
		fprintf(stderr, "could not become the user postgres\n");
		return 1;
	}
	return cmocka_run_group_tests_name("pg", tests, setup, teardown);
}
