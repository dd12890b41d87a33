/* RESTART: the program, as it is on the disk by now, is started and takes over from us. */
#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proxy/handover.h"

extern char **environ;

static bool has_flag(char **argv)
{
	for (; *argv; argv++) {
		if (strcmp(*argv, "-R") == 0 || strcmp(*argv, "--reboot") == 0)
			return true;
	}
	return false;
}

/* As we were called, with -R before the file, which is the last word. The texts are in line. */
static char **arguments(struct herd_buf *line)
{
	FILE *f = fopen("/proc/self/cmdline", "re");
	size_t n = 0, got;
	char **argv;

	if (!f)
		return NULL;
	do {
		if (!herd_buf_reserve(line, 4096))
			break;
		got = fread(line->data + line->len, 1, 4096, f);
		line->len += got;
	} while (got > 0);
	fclose(f);
	for (size_t i = 0; i < line->len; i++)
		n += line->data[i] == '\0';
	argv = n > 1 ? calloc(n + 2, sizeof(*argv)) : NULL;
	if (!argv)
		return NULL;
	for (size_t i = 0, at = 0; i < n; i++, at += strlen(line->data + at) + 1)
		argv[i] = line->data + at;
	if (!has_flag(argv)) {
		argv[n] = argv[n - 1];
		argv[n - 1] = (char *)"-R";
	}
	return argv;
}

int herd_restart_spawn(struct herd_px *px, struct herd_err *err)
{
	posix_spawnattr_t attr;
	sigset_t none;
	pid_t pid;

	if (!*atomic_load(&px->live)->config->s.unix_socket_dir)
		return herd_err_set(err, -EINVAL, "cannot reboot if unix dir not configured");
	if (atomic_load(&px->leave) || atomic_load(&px->spawned))
		return herd_err_set(err, -EBUSY, "another process is taking over");
	struct herd_buf line = { 0 };
	char **argv = arguments(&line);

	if (!argv) {
		herd_buf_free(&line);
		return herd_err_set(err, -ENOMEM, "could not find out how we were started");
	}
	/* Threads of ours block all signals; the new process must not. */
	sigemptyset(&none);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
	int rc = posix_spawnp(&pid, argv[0], NULL, &attr, argv, environ);

	posix_spawnattr_destroy(&attr);
	if (rc != 0)
		herd_err_set(err, -rc, "could not start \"%s\": %s", argv[0], strerror(rc));
	free(argv);
	herd_buf_free(&line);
	if (rc != 0)
		return -rc;
	atomic_store(&px->spawned, pid);
	herd_info(px->log, "started process %d to take over", (int)pid);
	return 0;
}

void herd_restart_look(struct herd_px *px)
{
	int pid = atomic_load(&px->spawned), status;

	if (pid == 0 || waitpid(pid, &status, WNOHANG) == 0)
		return;
	atomic_store(&px->spawned, 0);
	/* With -d it goes to the background at once, which is no failure. */
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		herd_error(px->log, "process %d, which was to take over, has failed", pid);
}
