#include "proxy/systemd.h"

#include <fcntl.h>
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

enum { FIRST_FD = 3 };

int herd_systemd_sockets(void)
{
	const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
	int64_t mine, n;

	if (!pid || !fds || herd_str_to_i64(pid, &mine) < 0 || mine != getpid() ||
	    herd_str_to_i64(fds, &n) < 0 || n < 1 || n > 1024)
		return 0;
	for (int fd = FIRST_FD; fd < FIRST_FD + n; fd++) {
		fcntl(fd, F_SETFD, FD_CLOEXEC);
		fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	}
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	return (int)n;
}

void herd_systemd_notify(const char *text)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct timeval patience = { .tv_usec = 100000 };
	size_t n = path ? strlen(path) : 0;

	if (n < 2 || n >= sizeof(un.sun_path) || (path[0] != '/' && path[0] != '@'))
		return;
	memcpy(un.sun_path, path, n + 1);
	if (path[0] == '@')
		un.sun_path[0] = '\0';
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return;
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	/* What cannot be told is not worth an error: the manager asks again, or gives up. */
	if (sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&un,
		   (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + (path[0] == '/'))) < 0)
		text = NULL;
	close(fd);
}

void herd_systemd_reloading(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	char *text = herd_str_printf("RELOADING=1\nMONOTONIC_USEC=%lld",
				     (long long)ts.tv_sec * 1000000 + ts.tv_nsec / 1000);

	if (text)
		herd_systemd_notify(text);
	free(text);
}
