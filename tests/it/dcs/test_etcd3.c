/* The etcd backend on a real etcd: the common tests, restarts, and what it says without one. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
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
		{ "{\"etcd3\":{}}", "neither hosts, host nor url" },
		{ "{\"etcd3\":{\"hosts\":\" , \"}}", "no host" },
		{ "{\"etcd3\":{\"hosts\":[1]}}", "list of text" },
		{ "{\"etcd3\":{\"srv\":\"example.org\"}}", "etcd3.srv is not available" },
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
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
