/* How a worker waits: awake for a client that is quick, asleep for all others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "proxy/linger.h"

enum { SPIN_US = 1000 };

static int epfd, fd;

static int set_up(void **state)
{
	struct epoll_event ev = { .events = EPOLLIN };

	(void)state;
	epfd = epoll_create1(EPOLL_CLOEXEC);
	fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return epfd < 0 || fd < 0 || epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
	(void)state;
	close(fd);
	close(epfd);
	return 0;
}

static int64_t cpu_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static int wait_events(void *arg, int64_t timeout_us)
{
	struct epoll_event ev;

	(void)arg;
	return epoll_wait(epfd, &ev, 1, (int)(timeout_us / 1000));
}

static int wait_once(struct herd_linger *l, int timeout_ms)
{
	int64_t now_us;

	return herd_linger_wait(l, wait_events, NULL, (int64_t)timeout_ms * 1000, SPIN_US, &now_us);
}

/* n rounds of one client in which the server's answer is there at once. */
static void quick_rounds(struct herd_linger *l, const void *client, int n)
{
	uint64_t count;

	for (int i = 0; i < n; i++) {
		assert_int_equal(eventfd_write(fd, 1), 0);
		herd_linger_served(l, client, HERD_AWAIT_SERVER);
		assert_int_equal(wait_once(l, 1000), 1);
		assert_int_equal(eventfd_read(fd, &count), 0);
	}
}

static void test_events(void **state)
{
	struct herd_linger l;
	int client;

	(void)state;
	herd_linger_init(&l);
	assert_int_equal(wait_once(&l, 0), 0);
	assert_int_equal(wait_once(&l, 2), 0);
	quick_rounds(&l, &client, 200);
	/* Only that wait is known to be short. */
	assert_true(l.usual[HERD_AWAIT_SERVER] < l.usual[HERD_AWAIT_CLIENT]);
	/* Nobody comes: it sleeps, and ends in time. */
	herd_linger_served(&l, &client, HERD_AWAIT_SERVER);
	assert_int_equal(wait_once(&l, 5), 0);
	assert_int_equal(l.awaits, HERD_AWAIT_ANYBODY);
}

/* Answers that take long are waited for asleep, however quick they were before. */
static void test_long(void **state)
{
	struct herd_linger l;
	int client;

	(void)state;
	herd_linger_init(&l);
	quick_rounds(&l, &client, 200);
	for (int i = 0; i < 20; i++) {
		herd_linger_served(&l, &client, HERD_AWAIT_SERVER);
		assert_int_equal(wait_once(&l, 5), 0);
	}
	int64_t before = cpu_us();

	for (int i = 0; i < 20; i++) {
		herd_linger_served(&l, &client, HERD_AWAIT_SERVER);
		assert_int_equal(wait_once(&l, 5), 0);
	}
	assert_true(cpu_us() - before < 20 * SPIN_US / 2);
}

/* With several clients at work it does not stay awake. */
static void test_several(void **state)
{
	struct herd_linger l;
	int client[2];

	(void)state;
	herd_linger_init(&l);
	quick_rounds(&l, &client[0], 200);
	int64_t before = cpu_us();

	for (int i = 0; i < 40; i++) {
		herd_linger_served(&l, &client[i % 2], HERD_AWAIT_SERVER);
		assert_int_equal(wait_once(&l, 2), 0);
	}
	assert_true(cpu_us() - before < 40 * SPIN_US / 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_events, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_long, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_several, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
