/* The etcd backend on a real etcd: the common tests, restarts, and what it says without one. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/dcs/store_tests.h"

struct etcd {
	char *dir, *client, *peer, *dead_host;
	pid_t pid;
};

static int free_port(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	close(fd);
	return ntohs(a.sin_port);
}

static void start(struct etcd *e)
{
	e->pid = fork();
	assert_true(e->pid >= 0);
	if (e->pid > 0)
		return;
	char *cluster = herd_str_printf("t=%s", e->peer);
	int null = open("/dev/null", O_RDWR);

	dup2(null, 1);
	dup2(null, 2);
	execlp("etcd", "etcd", "--name", "t", "--data-dir", e->dir, "--listen-client-urls",
	       e->client, "--advertise-client-urls", e->client, "--listen-peer-urls", e->peer,
	       "--initial-advertise-peer-urls", e->peer, "--initial-cluster", cluster,
	       (char *)NULL);
	_exit(127);
}

static void stop(struct etcd *e)
{
	kill(e->pid, SIGKILL);
	waitpid(e->pid, NULL, 0);
}

static int setup(void **state)
{
	struct etcd *e = calloc(1, sizeof(*e));
	char dir[] = "/tmp/pgherd-etcd.XXXXXX";

	e->dir = strdup(mkdtemp(dir));
	e->client = herd_str_printf("http://127.0.0.1:%d", free_port());
	e->peer = herd_str_printf("http://127.0.0.1:%d", free_port());
	e->dead_host = herd_str_printf("127.0.0.1:%d", free_port());
	start(e);
	*state = e;
	return 0;
}

static int teardown(void **state)
{
	struct etcd *e = *state;
	char *command = herd_str_printf("rm -rf %s", e->dir);

	stop(e);
	if (system(command) != 0)
		fprintf(stderr, "could not remove %s\n", e->dir);
	free(command);
	free(e->dir);
	free(e->client);
	free(e->peer);
	free(e->dead_host);
	free(e);
	return 0;
}

static struct herd_dcs *open_store(struct herd_loop *l, const char *url, const char *scope)
{
	struct herd_err err = HERD_ERR_INIT;
	struct herd_dcs *d = NULL;

	assert_int_equal(herd_dcs_open_url(l, url, "/service/", scope, &d, &err), 0);
	herd_dcs_set_timeout(d, 10000);
	return d;
}

static void common(void **state)
{
	struct etcd *e = *state;
	struct herd_loop *l = herd_loop_new();
	struct herd_dcs *a = open_store(l, e->client, "common"),
			*b = open_store(l, e->client, "common");

	store_tests(l, a, b);
	herd_dcs_free(a);
	herd_dcs_free(b);
	herd_loop_free(l);
}

static void survives_a_restart_and_a_dead_member(void **state)
{
	struct etcd *e = *state;
	struct herd_loop *l = herd_loop_new();
	char *url = herd_str_printf("etcd3://%s,%s", e->dead_host, e->client + strlen("http://"));
	struct herd_dcs *d = open_store(l, url, "restart");
	struct answer w = { 0 };
	struct herd_dcs_watch *watch = herd_dcs_watch(d, "", keep_view, &w);

	assert_int_equal(put(l, d, "k", "1", HERD_DCS_ANY, 0, NULL, NULL), HERD_DCS_OK);
	wait_watch(l, &w, "k", "1");
	stop(e);
	herd_dcs_set_timeout(d, 500);
	assert_int_equal(put(l, d, "k", "2", HERD_DCS_ABSENT, 0, NULL, NULL), HERD_DCS_UNREACHABLE);
	start(e);
	herd_dcs_set_timeout(d, 15000);
	assert_int_equal(put(l, d, "k", "3", HERD_DCS_ANY, 0, NULL, NULL), HERD_DCS_OK);
	wait_watch(l, &w, "k", "3");
	herd_dcs_watch_free(d, watch);
	herd_dcs_view_unref(w.view);
	herd_dcs_free(d);
	herd_loop_free(l);
	free(url);
}

/* A frozen server takes the request and never answers: nobody knows whether it was done. */
static void frozen_means_unknown(void **state)
{
	struct etcd *e = *state;
	struct herd_loop *l = herd_loop_new();
	struct herd_dcs *d = open_store(l, e->client, "frozen");

	assert_int_equal(put(l, d, "k", "1", HERD_DCS_ANY, 0, NULL, NULL), HERD_DCS_OK);
	kill(e->pid, SIGSTOP);
	herd_dcs_set_timeout(d, 600);
	assert_int_equal(put(l, d, "new", "1", HERD_DCS_ABSENT, 0, NULL, NULL), HERD_DCS_UNKNOWN);
	kill(e->pid, SIGCONT);
	herd_dcs_set_timeout(d, 10000);
	assert_int_equal(put(l, d, "k", "2", HERD_DCS_ANY, 0, NULL, NULL), HERD_DCS_OK);
	herd_dcs_free(d);
	herd_loop_free(l);
}

/* Copies bytes between one client after another (all at once) and etcd, until it is killed. */
static void relay(int listener, const struct sockaddr_in *to)
{
	struct pollfd p[64] = { { .fd = listener, .events = POLLIN } };
	int peer[64], n = 1;
	char buf[65536];

	signal(SIGPIPE, SIG_IGN);
	while (poll(p, (nfds_t)n, 60000) > 0) {
		for (int i = n - 1; i > 0; i--) {
			if (!p[i].revents)
				continue;
			ssize_t got = read(p[i].fd, buf, sizeof(buf));

			if (got <= 0)
				shutdown(peer[i], SHUT_WR);
			if (got <= 0 || write(peer[i], buf, (size_t)got) < 0)
				p[i].fd = -1;
		}
		if (p[0].revents && n + 2 <= 64) {
			p[n].fd = peer[n + 1] = accept(listener, NULL, NULL);
			p[n + 1].fd = peer[n] = socket(AF_INET, SOCK_STREAM, 0);
			p[n].events = p[n + 1].events = POLLIN;
			if (connect(peer[n], (const struct sockaddr *)to, sizeof(*to)) != 0)
				_exit(1);
			n += 2;
		}
	}
	_exit(0);
}

static pid_t start_relay(const char *target, int *port)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				  .sin_port = htons((uint16_t)atoi(strrchr(target, ':') + 1)) };
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(fd, 16), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	*port = ntohs(a.sin_port);
	pid_t pid = fork();

	if (pid == 0)
		relay(fd, &to);
	close(fd);
	return pid;
}

/*
 * The way to the member that is watched goes dead without a word. A process that makes no calls of
 * its own still hears of changes, by way of the other one.
 */
static void watch_leaves_a_dead_way(void **state)
{
	struct etcd *e = *state;
	struct herd_loop *l = herd_loop_new();
	int port;
	pid_t pid = start_relay(e->client, &port);
	char *url = herd_str_printf("etcd3://127.0.0.1:%d,%s", port, e->client + strlen("http://"));
	struct herd_dcs *d = open_store(l, url, "dead"), *other = open_store(l, e->client, "dead");
	struct answer w = { 0 };

	herd_dcs_set_timeout(d, 1000);
	struct herd_dcs_watch *watch = herd_dcs_watch(d, "", keep_view, &w);

	assert_int_equal(put(l, other, "k", "1", HERD_DCS_ANY, 0, NULL, NULL), HERD_DCS_OK);
	wait_watch(l, &w, "k", "1");
	kill(pid, SIGSTOP);
	assert_int_equal(put(l, other, "k", "2", HERD_DCS_ANY, 0, NULL, NULL), HERD_DCS_OK);
	wait_watch(l, &w, "k", "2");
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	herd_dcs_watch_free(d, watch);
	herd_dcs_view_unref(w.view);
	herd_dcs_free(d);
	herd_dcs_free(other);
	herd_loop_free(l);
	free(url);
}

/* What was deleted is gone from the view, also when etcd was away and compacted meanwhile. */
static void watch_survives_compaction(void **state)
{
	struct etcd *e = *state;
	struct herd_loop *l = herd_loop_new();
	struct herd_dcs *d = open_store(l, e->client, "compact");
	struct answer w = { 0 };
	struct herd_dcs_watch *watch = herd_dcs_watch(d, "", keep_view, &w);
	int64_t version = 0;

	assert_int_equal(put(l, d, "gone", "1", HERD_DCS_ANY, 0, NULL, NULL), HERD_DCS_OK);
	wait_watch(l, &w, "gone", "1");
	assert_int_equal(put(l, d, "gone", NULL, HERD_DCS_ANY, 0, NULL, NULL), HERD_DCS_OK);
	assert_int_equal(put(l, d, "k", "2", HERD_DCS_ANY, 0, NULL, &version), HERD_DCS_OK);
	char *compact = herd_str_printf("ETCDCTL_API=3 etcdctl --endpoints %s compact %lld "
					">/dev/null",
					e->client, (long long)version);

	assert_int_equal(system(compact), 0);
	stop(e);
	start(e);
	assert_int_equal(put(l, d, "k", "3", HERD_DCS_ANY, 0, NULL, NULL), HERD_DCS_OK);
	wait_watch(l, &w, "k", "3");
	assert_int_equal(w.view->n, 1);
	herd_dcs_watch_free(d, watch);
	herd_dcs_view_unref(w.view);
	herd_dcs_free(d);
	herd_loop_free(l);
	free(compact);
}

static void etcdctl(const struct etcd *e, const char *arguments)
{
	char *command = herd_str_printf("ETCDCTL_API=3 etcdctl --endpoints %s %s >/dev/null 2>&1",
					e->client, arguments);

	assert_int_equal(system(command), 0);
	free(command);
}

/* A name and a password; a token that the server forgot; a wrong password. */
static void authentication(void **state)
{
	struct etcd *e = *state;
	struct herd_loop *l = herd_loop_new();
	struct herd_dcs *d = NULL, *wrong = NULL;
	struct herd_err err = HERD_ERR_INIT;
	json_t *v = json_pack("{s:{s:s, s:s, s:s}}", "etcd3", "url", e->client, "username", "root",
			      "password", "secret");
	struct answer w = { 0 };

	etcdctl(e, "user add root:secret");
	etcdctl(e, "user grant-role root root");
	etcdctl(e, "auth enable");
	assert_int_equal(herd_dcs_open(l, v, "service", "auth", &d, &err), 0);
	struct herd_dcs_watch *watch = herd_dcs_watch(d, "", keep_view, &w);

	assert_int_equal(put(l, d, "k", "1", HERD_DCS_ANY, 0, NULL, NULL), HERD_DCS_OK);
	wait_watch(l, &w, "k", "1");
	/* Simple tokens live in the server's memory. */
	stop(e);
	start(e);
	herd_dcs_set_timeout(d, 15000);
	assert_int_equal(put(l, d, "k", "2", HERD_DCS_ANY, 0, NULL, NULL), HERD_DCS_OK);
	wait_watch(l, &w, "k", "2");
	json_object_set_new(json_object_get(v, "etcd3"), "password", json_string("wrong"));
	assert_int_equal(herd_dcs_open(l, v, "service", "auth", &wrong, &err), 0);
	assert_int_equal(put(l, wrong, "k", "3", HERD_DCS_ANY, 0, NULL, NULL), HERD_DCS_REFUSED);
	etcdctl(e, "--user root:secret auth disable");
	herd_dcs_free(wrong);
	herd_dcs_watch_free(d, watch);
	herd_dcs_view_unref(w.view);
	herd_dcs_free(d);
	json_decref(v);
	herd_loop_free(l);
}

static void freeing_early_is_safe(void **state)
{
	struct etcd *e = *state;
	struct herd_loop *l = herd_loop_new();
	struct herd_dcs *d = open_store(l, e->client, "early");
	struct answer a = { 0 }, never = { 0 };

	herd_dcs_watch(d, "", keep_view, &a);
	herd_dcs_read(d, "", keep_view, &a);
	herd_dcs_free(d);
	herd_loop_run_until(l, &never.done, 100);
	assert_int_equal(a.calls, 0);
	herd_loop_free(l);
}

static void configuration(void **state)
{
	static const struct {
		const char *json, *says;
	} rows[] = {
		{ "{}", "names no distributed configuration store" },
		{ "{\"consul\":{}}", "\"consul\" is not available" },
		{ "{\"etcd3\":[]}", "must be a map" },
		{ "{\"etcd3\":{}}", "names no server" },
		{ "{\"etcd3\":{\"hosts\":\" , \"}}", "no host" },
		{ "{\"etcd3\":{\"hosts\":[1]}}", "list of text" },
		{ "{\"etcd3\":{\"srv\":\"no-such-domain.invalid\"}}", "SRV records of" },
		{ "{\"etcd\":{\"host\":\"a\"}}", "API v2" },
		{ "{\"etcd3\":{\"host\":\"a\"},\"consul\":{}}", "\"consul\" is not available" },
		{ "{\"etcd3\":{\"host\":[]},\"raft\":{}}", "no host of etcd" },
	};
	struct herd_loop *l = herd_loop_new();

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct herd_err err = HERD_ERR_INIT;
		struct herd_dcs *d = NULL;
		json_t *v = json_loads(rows[i].json, 0, NULL);

		assert_true(herd_dcs_open(l, v, "service", "s", &d, &err) < 0);
		assert_null(d);
		if (!strstr(err.msg, rows[i].says))
			fail_msg("\"%s\" does not say \"%s\"", err.msg, rows[i].says);
		json_decref(v);
		herd_err_clear(&err);
	}
	herd_loop_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(configuration),
		cmocka_unit_test(common),
		cmocka_unit_test(survives_a_restart_and_a_dead_member),
		cmocka_unit_test(frozen_means_unknown),
		cmocka_unit_test(freeing_early_is_safe),
		cmocka_unit_test(watch_leaves_a_dead_way),
		cmocka_unit_test(watch_survives_compaction),
		cmocka_unit_test(authentication),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
