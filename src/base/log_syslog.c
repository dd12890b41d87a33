/* Lines for the system's log: its protocol, spoken without waiting for anybody. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/syslog.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/log_internal.h"
#include "base/str.h"

static const struct {
	const char *name;
	int code;
} facilities[] = {
	{ "auth", LOG_AUTH },     { "authpriv", LOG_AUTHPRIV }, { "daemon", LOG_DAEMON },
	{ "user", LOG_USER },     { "local0", LOG_LOCAL0 },     { "local1", LOG_LOCAL1 },
	{ "local2", LOG_LOCAL2 }, { "local3", LOG_LOCAL3 },     { "local4", LOG_LOCAL4 },
	{ "local5", LOG_LOCAL5 }, { "local6", LOG_LOCAL6 },     { "local7", LOG_LOCAL7 },
};

int herd_log_facility(const char *name)
{
	for (size_t i = 0; i < sizeof(facilities) / sizeof(facilities[0]); i++) {
		if (strcasecmp(facilities[i].name, name) == 0)
			return facilities[i].code;
	}
	return -EINVAL;
}

int herd_log_syslog(struct herd_log *log, const char *ident, int facility)
{
	char *copy = herd_str_dup(ident);

	if (ident && !copy)
		return -ENOMEM;
	pthread_mutex_lock(&log->lock);
	free(log->ident);
	log->ident = copy;
	log->facility = facility;
	if (!copy && log->syslog_fd >= 0) {
		close(log->syslog_fd);
		log->syslog_fd = -1;
	}
	atomic_store(&log->to_syslog, copy != NULL);
	pthread_mutex_unlock(&log->lock);
	return 0;
}

/* The socket may have gone with the daemon behind it: it is opened once more. */
static bool send_line(struct herd_log *log, const char *text, size_t len, bool again)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX, .sun_path = "/dev/log" };

	if (log->syslog_fd < 0) {
		log->syslog_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (log->syslog_fd < 0)
			return false;
		if (connect(log->syslog_fd, (struct sockaddr *)&un, sizeof(un)) < 0) {
			close(log->syslog_fd);
			log->syslog_fd = -1;
			return false;
		}
	}
	if (send(log->syslog_fd, text, len, MSG_NOSIGNAL) >= 0 || errno == EAGAIN)
		return true;
	close(log->syslog_fd);
	log->syslog_fd = -1;
	return again && send_line(log, text, len, false);
}

void log_to_syslog(struct herd_log *log, const struct log_record *r)
{
	static const int levels[] = { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERR, LOG_CRIT };
	struct herd_buf b = { 0 };

	pthread_mutex_lock(&log->lock);
	if (log->ident) {
		herd_buf_printf(&b, "<%d>", log->facility | levels[r->level]);
		log_add_time(&b, &r->time, "%b %e %H:%M:%S ");
		herd_buf_printf(&b, "%s[%d]: %s", log->ident, (int)getpid(), r->message);
		if (herd_buf_ok(&b))
			send_line(log, b.data, b.len, true);
	}
	pthread_mutex_unlock(&log->lock);
	herd_buf_free(&b);
}
