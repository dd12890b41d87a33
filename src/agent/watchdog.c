#include "agent/watchdog.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/watchdog.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

struct herd_watchdog {
	int fd;
	bool testing;
	bool stoppable;
	int timeout;
};

int herd_watchdog_set_timeout(struct herd_watchdog *w, int timeout, struct herd_err *err)
{
	int value = timeout;

	if (w->testing) {
		if (dprintf(w->fd, "Ctimeout=%d\n", timeout) < 0)
			return herd_err_set(err, -errno, "could not set the watchdog's timeout: %s",
					    strerror(errno));
		w->timeout = timeout;
		return 0;
	}
	/* A device that cannot be set tells what it has. */
	if (ioctl(w->fd, WDIOC_SETTIMEOUT, &value) < 0 &&
	    ioctl(w->fd, WDIOC_GETTIMEOUT, &value) < 0)
		return herd_err_set(err, -errno, "could not set the watchdog's timeout: %s",
				    strerror(errno));
	w->timeout = value;
	return 0;
}

int herd_watchdog_open(const char *device, bool testing, struct herd_watchdog **ret,
		       struct herd_err *err)
{
	struct herd_watchdog *w = calloc(1, sizeof(*w));
	struct watchdog_info info = { 0 };
	int rc;

	if (!w)
		return herd_err_set(err, -ENOMEM, "out of memory");
	w->testing = testing;
	/* Not blocking: a FIFO that nobody reads must not keep us. */
	w->fd = open(device, O_WRONLY | O_CLOEXEC | O_NONBLOCK);
	if (w->fd < 0) {
		rc = herd_err_set(err, -errno, "could not open watchdog device \"%s\": %s", device,
				  strerror(errno));
		if (rc == -EACCES)
			herd_err_hint(err, "The user of the agent must be able to write to it.");
		free(w);
		return rc;
	}
	if (!testing && ioctl(w->fd, WDIOC_GETSUPPORT, &info) < 0) {
		rc = herd_err_set(err, -errno, "\"%s\" is no watchdog device: %s", device,
				  strerror(errno));
		herd_watchdog_close(w, true);
		return rc;
	}
	w->stoppable = testing || (info.options & WDIOF_MAGICCLOSE);
	*ret = w;
	return 0;
}

int herd_watchdog_timeout(const struct herd_watchdog *w)
{
	return w->timeout;
}

bool herd_watchdog_stoppable(const struct herd_watchdog *w)
{
	return w->stoppable;
}

int herd_watchdog_ping(struct herd_watchdog *w, struct herd_err *err)
{
	if (write(w->fd, "1", 1) != 1)
		return herd_err_set(err, -errno, "could not write to the watchdog device: %s",
				    strerror(errno));
	return 0;
}

void herd_watchdog_close(struct herd_watchdog *w, bool stop)
{
	if (!w)
		return;
	/* Whether it worked cannot be known: a kernel with nowayout ignores it. */
	if (stop && write(w->fd, "V", 1) < 0)
		w->stoppable = false;
	close(w->fd);
	free(w);
}
