/*
 * proxy/linger.h - how a worker waits for events: asleep, or awake for some microseconds first.
 *
 * With one client at work each message is answered within tens of microseconds, and to fall asleep
 * and be woken takes a good part of them. So a worker that serves one client only looks again and
 * again before it sleeps, as long as what came lately came that soon. Those who wait for its
 * processor run first, and at most every second processor has a worker that is awake for nothing.
 */
#pragma once
#include <stdint.h>

enum herd_await { HERD_AWAIT_ANYBODY = 0, HERD_AWAIT_SERVER, HERD_AWAIT_CLIENT };

/* One for each worker, for its own thread. */
struct herd_linger {
	enum herd_await awaits; /* whom the last pass leaves to wait for */
	const void *whom;       /* the client that was served last; only compared */
	uint32_t alone;         /* so many messages in a row were for it or from it */
	uint32_t usual[3];      /* by enum herd_await: eighths of the microseconds that it takes */
	int64_t yield_after_us;
	int64_t awake_us; /* in all: was awake to look */
};

void herd_linger_init(struct herd_linger *l);
/* The pass serves a message of this client, or one for it. */
void herd_linger_served(struct herd_linger *l, const void *client, enum herd_await awaits);
/* Waits like epoll_wait and returns how many events there are. */
typedef int (*herd_linger_wait_fn)(void *arg, int64_t timeout_us);
/*
 * wait, the first spin_us (0: none) of it awake if that pays. *now_us is the time at its end, by
 * herd_clock_us.
 */
int herd_linger_wait(struct herd_linger *l, herd_linger_wait_fn wait, void *arg, int64_t timeout_us,
		     int spin_us, int64_t *now_us);
