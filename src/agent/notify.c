#include "agent/notify.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/str.h"

/* The one process-wide thing in here is systemd's own: one service, one socket. */
static struct sockaddr_un address;
static socklen_t address_len;

void herd_notify_init(void)
{
	const char *path = getenv("NOTIFY_SOCKET");
	size_t n = path ? strlen(path) : 0;

	if (n > 1 && n < sizeof(address.sun_path) && (path[0] == '/' || path[0] == '@')) {
		address.sun_family = AF_UNIX;
		memcpy(address.sun_path, path, n + 1);
		/* "@" stands for the NUL of an abstract socket, whose name has no NUL at its end.
		 */
		if (path[0] == '@')
			address.sun_path[0] = '\0';
		address_len =
			(socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + (path[0] == '/'));
	}
	unsetenv("NOTIFY_SOCKET");
}

static bool send_text(const char *text, int flags)
{
	/* What systemd waits for is worth a moment, when its queue is full. */
	struct timeval patience = { .tv_usec = 100000 };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool sent = false;

	if (fd >= 0) {
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
		sent = sendto(fd, text, strlen(text), MSG_NOSIGNAL | flags,
			      (struct sockaddr *)&address, address_len) >= 0;
		close(fd);
	}
	return sent;
}

void herd_notify(const char *fmt, ...)
{
	va_list ap;

	if (!address_len)
		return;
	va_start(ap, fmt);
	char *text = herd_str_vprintf(fmt, ap);
	va_end(ap);
	if (!text)
		return;
	send_text(text, 0);
	free(text);
}

bool herd_notify_status(const char *status)
{
	char *text;
	bool sent;

	if (!address_len)
		return true;
	if (asprintf(&text, "STATUS=%s", status) < 0)
		return false;
	sent = send_text(text, MSG_DONTWAIT);
	free(text);
	return sent;
}

void herd_notify_reloading(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	herd_notify("RELOADING=1\nMONOTONIC_USEC=%lld",
		    (long long)ts.tv_sec * 1000000 + ts.tv_nsec / 1000);
}
