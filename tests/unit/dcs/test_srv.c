/* Servers of etcd out of SRV records, asked of a name server of our own; and the forms of a
 * section. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <jansson.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dcs/etcd3.h"

struct record {
	const char *name;
	int priority, weight, port;
	const char *target;
};

static const struct record zone[] = {
	{ "_etcd-client._tcp.one.test", 10, 5, 2379, "b.one.test" },
	{ "_etcd-client._tcp.one.test", 10, 9, 2479, "c.one.test" },
	{ "_etcd-client._tcp.one.test", 0, 0, 2379, "a.one.test" },
	{ "_etcd-client-ssl-x._tcp.two.test", 0, 0, 2379, "s.two.test" },
	{ "_etcd-client-x._tcp.two.test", 0, 0, 2379, "t.two.test" },
};

static unsigned char *put_name(unsigned char *p, const char *name)
{
	while (*name) {
		size_t n = strcspn(name, ".");

		*p++ = (unsigned char)n;
		memcpy(p, name, n);
		p += n;
		name += n + (name[n] == '.');
	}
	*p++ = 0;
	return p;
}

static unsigned char *put16(unsigned char *p, int v)
{
	*p++ = (unsigned char)(v >> 8);
	*p++ = (unsigned char)v;
	return p;
}

/* The reply into out; its length. */
static size_t answer(const unsigned char *q, size_t len, unsigned char *out)
{
	unsigned char want[256], *p = out + len;
	int found = 0;

	memcpy(out, q, len);
	for (size_t i = 0; i < sizeof(zone) / sizeof(zone[0]); i++) {
		size_t n = (size_t)(put_name(want, zone[i].name) - want);

		if (len < 12 + n || memcmp(q + 12, want, n) != 0)
			continue;
		found++;
		p = put16(put16(put16(p, 0xc00c), 33), 1);
		p = put16(put16(p, 0), 60);
		p = put16(p, (int)(6 + put_name(want, zone[i].target) - want));
		p = put16(put16(put16(p, zone[i].priority), zone[i].weight), zone[i].port);
		p = put_name(p, zone[i].target);
	}
	out[2] = 0x81;
	out[3] = found ? 0x80 : 0x83;
	put16(out + 6, found);
	put16(put16(out + 8, 0), 0);
	/* What follows the question (EDNS) is left out. */
	return (size_t)(p - out);
}

static pid_t name_server(int *port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	pid_t pid;

	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	*port = ntohs(a.sin_port);
	pid = fork();
	assert_true(pid >= 0);
	const bool server = pid == 0;

	while (server) {
		unsigned char in[512], out[2048];
		struct sockaddr_in from;
		socklen_t from_len = sizeof(from);
		ssize_t n = recvfrom(fd, in, sizeof(in), 0, (struct sockaddr *)&from, &from_len);
		size_t m = n > 12 ? answer(in, (size_t)n, out) : 0;

		if (m)
			sendto(fd, out, m, 0, (struct sockaddr *)&from, from_len);
	}
	close(fd);
	return pid;
}

static void ask_at(struct __res_state *state, int port)
{
	memset(state, 0, sizeof(*state));
	assert_int_equal(res_ninit(state), 0);
	state->nscount = 1;
	state->nsaddr_list[0].sin_family = AF_INET;
	state->nsaddr_list[0].sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	state->nsaddr_list[0].sin_port = htons((uint16_t)port);
	state->retrans = 1;
	state->retry = 1;
	state->options &= ~(RES_USE_EDNS0 | RES_DNSRCH | RES_DEFNAMES);
}

static void test_records(void **unused)
{
	struct __res_state state;
	struct herd_etcd3_opts o = { 0 };
	struct herd_err err = HERD_ERR_INIT;
	int port;
	pid_t pid = name_server(&port);

	ask_at(&state, port);
	assert_int_equal(herd_etcd3_discover_srv(&state, "one.test", NULL, &o, &err), 0);
	assert_int_equal(o.nurls, 3);
	assert_string_equal(o.urls[0], "http://a.one.test:2379");
	assert_string_equal(o.urls[1], "http://c.one.test:2479");
	assert_string_equal(o.urls[2], "http://b.one.test:2379");
	herd_etcd3_opts_clear(&o);
	/* With a suffix, and TLS goes before none. */
	assert_int_equal(herd_etcd3_discover_srv(&state, "two.test", "x", &o, &err), 0);
	assert_int_equal(o.nurls, 1);
	assert_string_equal(o.urls[0], "https://s.two.test:2379");
	herd_etcd3_opts_clear(&o);
	assert_int_equal(herd_etcd3_discover_srv(&state, "none.test", NULL, &o, &err), -EAGAIN);
	assert_non_null(strstr(herd_err_text(&err), "has no SRV records"));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	assert_int_equal(herd_etcd3_discover_srv(&state, "one.test", NULL, &o, &err), -EAGAIN);
	assert_non_null(strstr(herd_err_text(&err), "no name server answers"));
	herd_err_clear(&err);
	res_nclose(&state);
}

static void test_forms(void **unused)
{
	static const struct {
		const char *section, *urls, *user, *password;
	} rows[] = {
		{ "{\"host\": \"a\"}", "http://a:2379 ", NULL, NULL },
		{ "{\"host\": \"a:1\", \"protocol\": \"https\"}", "https://a:1 ", NULL, NULL },
		{ "{\"hosts\": \"a, b:7,[::1],[::2]:9\", \"port\": 5}",
		  "http://a:5 http://b:7 http://[::1]:5 http://[::2]:9 ", NULL, NULL },
		{ "{\"hosts\": [\"a:1\", \"a:1\", \"b\"], \"host\": \"c\"}",
		  "http://a:1 http://b:2379 ", NULL, NULL },
		{ "{\"url\": \"https://u%40x:p%3aq@h:1/\", \"hosts\": \"z\"}", "https://h:1 ",
		  "u@x", "p:q" },
		{ "{\"proxy\": \"http://p:9\", \"url\": \"http://q\"}", "http://p:9 ", NULL, NULL },
		{ "{\"host\": \"a\", \"username\": \"u\", \"password\": \"w\"}", "http://a:2379 ",
		  "u", "w" },
		{ "{}", NULL, NULL, NULL },
		{ "{\"hosts\": []}", NULL, NULL, NULL },
		{ "{\"hosts\": [1]}", NULL, NULL, NULL },
		{ "{\"hosts\": {\"a\": 1}}", NULL, NULL, NULL },
		{ "[]", NULL, NULL, NULL },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		json_t *v = json_loads(rows[i].section, 0, NULL);
		struct herd_etcd3_opts o = { 0 };
		struct herd_err err = HERD_ERR_INIT;
		char all[256] = "";
		int rc = herd_etcd3_opts_read(v, &o, &err);

		assert_int_equal(rc, rows[i].urls ? 0 : -EINVAL);
		for (size_t k = 0; k < o.nurls; k++)
			strcat(strcat(all, o.urls[k]), " ");
		assert_string_equal(all, rows[i].urls ? rows[i].urls : "");
		if (rows[i].user) {
			assert_string_equal(o.username, rows[i].user);
			assert_string_equal(o.password, rows[i].password);
		}
		herd_etcd3_opts_clear(&o);
		herd_err_clear(&err);
		json_decref(v);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_records),
		cmocka_unit_test(test_forms),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
