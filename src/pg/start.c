#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "pg/command.h"
#include "pg/file.h"
#include "pg/private.h"
#include "pg/proc.h"

enum { DEFAULT_TIMEOUT_MS = 60000, POLL_FAST_MS = 3, POLL_MS = 20, FAST_FOR_MS = 2000 };

/* The stage is over; it may be started again from within next. */
static void stage_end(struct herd_pg *pg, int rc, const struct herd_err *err)
{
	herd_pg_role_clear(&pg->start.role);
	herd_pg_settings_clear(&pg->start.settings);
	pg->op.on_exit = NULL;
	pg->start.next(pg, rc, err);
}

static void fail(struct herd_pg *pg, struct herd_err *err)
{
	stage_end(pg, err->code, err);
	herd_err_clear(err);
}

/* The last lines that the server wrote since it was started. */
static void last_words(struct herd_pg *pg, struct herd_err *err)
{
	char text[2048], *from;
	ssize_t n = -1;
	int fd = pg->cfg.log_file != NULL ? open(pg->cfg.log_file, O_RDONLY | O_CLOEXEC) : -1;
	off_t end = fd >= 0 ? lseek(fd, 0, SEEK_END) : 0;
	off_t start = end > pg->start.log_offset + (off_t)sizeof(text) - 1
			      ? end - (off_t)sizeof(text) + 1
			      : pg->start.log_offset;

	if (fd >= 0) {
		n = pread(fd, text, sizeof(text) - 1, start);
		close(fd);
	}
	if (n <= 0) {
		herd_err_hint(err, "See the server's log.");
		return;
	}
	text[n] = '\0';
	from = herd_str_trim(text);
	if (start > pg->start.log_offset && strchr(from, '\n') != NULL)
		from = strchr(from, '\n') + 1;
	herd_err_detail(err, "%s", from);
}

static void on_exit_while_starting(struct herd_pg *pg)
{
	struct herd_err err = HERD_ERR_INIT;

	herd_err_set(&err, -ESRCH, "the server stopped while it was starting");
	last_words(pg, &err);
	fail(pg, &err);
}

static void poll_ready(struct herd_pg *pg)
{
	int64_t waited = herd_now_ms() - pg->start.began_ms;
	struct herd_err err = HERD_ERR_INIT;
	struct herd_pg_pidfile f;

	if (herd_pg_pidfile_read(pg->cfg.data_dir, &f) == 0 && f.pid == pg->pid) {
		pg->start_epoch = f.start_epoch;
		if (strcmp(f.status, "ready") == 0) {
			if (herd_pg_conf_backup(&pg->cfg, &err) < 0)
				herd_pg_notice(pg, "%s", herd_err_text(&err));
			herd_err_clear(&err);
			/* Now it compares the file with what the command line gave it. */
			if (pg->start.raised)
				kill(pg->pid, SIGHUP);
			pg->start.raised = false;
			stage_end(pg, 0, NULL);
			return;
		}
	}
	if (waited >= pg->start.timeout_ms) {
		herd_err_set(&err, -ETIMEDOUT,
			     "the server did not accept connections within %lld ms",
			     (long long)pg->start.timeout_ms);
		fail(pg, &err);
		return;
	}
	herd_pg_op_after(pg, waited < FAST_FOR_MS ? POLL_FAST_MS : POLL_MS, poll_ready);
}

void herd_pg_stage_ready(struct herd_pg *pg, int64_t timeout_ms, herd_pg_next_fn next)
{
	pg->start.next = next;
	pg->start.began_ms = herd_now_ms();
	pg->start.timeout_ms = timeout_ms > 0                 ? timeout_ms
			       : pg->cfg.start_timeout_ms > 0 ? pg->cfg.start_timeout_ms
							      : DEFAULT_TIMEOUT_MS;
	pg->op.on_exit = on_exit_while_starting;
	herd_pg_op_after(pg, POLL_FAST_MS, poll_ready);
}

/*
 * postgres takes any process that has the number in a stale lock file for a running server: another
 * program, or its own predecessor as a zombie that nobody reaps. We have looked closer.
 */
int herd_pg_remove_stale_pidfile(struct herd_pg *pg, struct herd_err *err)
{
	struct herd_pg_pidfile f;
	char *path;
	int rc;

	if (herd_pg_pidfile_read(pg->cfg.data_dir, &f) < 0 ||
	    !herd_pg_proc_foreign(f.pid, pg->cfg.data_dir))
		return 0;
	path = herd_str_printf("%s/postmaster.pid", pg->cfg.data_dir);
	rc = path != NULL ? herd_pg_file_remove(path, err) : -ENOMEM;
	free(path);
	return rc;
}

/* The lock of a socket holds the same lines as postmaster.pid: only one of our directory is ours.
 */
static int remove_stale_lock(struct herd_pg *pg, const char *dir, struct herd_err *err)
{
	char *path = herd_str_printf("%s/.s.PGSQL.%d.lock", dir, pg->cfg.port);
	struct herd_buf text = { 0 };
	struct herd_pg_pidfile f;
	const char *second;
	size_t len = strlen(pg->cfg.data_dir);
	int rc = path != NULL ? 0 : herd_err_set(err, -ENOMEM, "out of memory");

	if (rc == 0 && herd_pg_file_read(path, &text, NULL) == 0 &&
	    herd_pg_pidfile_parse(herd_buf_str(&text), &f) == 0 &&
	    (second = strchr(herd_buf_str(&text), '\n')) != NULL &&
	    strncmp(second + 1, pg->cfg.data_dir, len) == 0 && second[1 + len] == '\n' &&
	    herd_pg_proc_foreign(f.pid, pg->cfg.data_dir))
		rc = herd_pg_file_remove(path, err);
	herd_buf_free(&text);
	free(path);
	return rc;
}

static int remove_stale_locks(struct herd_pg *pg, const struct herd_pg_settings *settings,
			      struct herd_err *err)
{
	const char *given = herd_pg_settings_get(settings, "unix_socket_directories");
	/* The second and third are what PostgreSQL is usually built with. */
	char *dirs = herd_str_printf("%s,/var/run/postgresql,/tmp", given != NULL ? given : "");
	char *rest = dirs, *dir;
	int rc = dirs != NULL ? 0 : herd_err_set(err, -ENOMEM, "out of memory");

	while (rc == 0 && (dir = strsep(&rest, ",")) != NULL) {
		dir = herd_str_trim(dir);
		if (dir[0] == '/')
			rc = remove_stale_lock(pg, dir, err);
	}
	free(dirs);
	return rc;
}

int herd_pg_server_argv(struct herd_pg *pg, const struct herd_pg_settings *settings,
			struct herd_pg_lines *argv)
{
	char *bin = herd_pg_config_bin(&pg->cfg, HERD_PG_BIN_POSTGRES);
	char *conf = herd_pg_config_file(&pg->cfg, ".conf");
	char *conf_arg = conf != NULL ? herd_str_printf("--config-file=%s", conf) : NULL;
	int rc = bin == NULL || conf_arg == NULL ? -ENOMEM : herd_pg_lines_add(argv, bin);

	if (rc == 0)
		rc = herd_pg_lines_add(argv, "-D");
	if (rc == 0)
		rc = herd_pg_lines_add(argv, pg->cfg.data_dir);
	if (rc == 0)
		rc = herd_pg_lines_add(argv, conf_arg);
	for (const char *const *p = herd_pg_conf_protected; *p != NULL && rc == 0; p++) {
		const char *value = herd_pg_settings_get(settings, *p);
		char *arg = value != NULL ? herd_str_printf("--%s=%s", *p, value) : NULL;

		rc = arg != NULL ? herd_pg_lines_add(argv, arg) : -ENOMEM;
		free(arg);
	}
	free(bin);
	free(conf);
	free(conf_arg);
	return rc;
}

static int open_log(struct herd_pg *pg, int *ret, struct herd_err *err)
{
	*ret = -1;
	pg->start.log_offset = 0;
	if (pg->cfg.log_file == NULL)
		return 0;
	*ret = open(pg->cfg.log_file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (*ret < 0)
		return herd_err_set(err, -errno, "could not open file \"%s\": %s", pg->cfg.log_file,
				    strerror(errno));
	pg->start.log_offset = (long)lseek(*ret, 0, SEEK_END);
	return 0;
}

/* Children of a protected postmaster must not be protected from the OOM killer, too. */
static bool oom_protected(void)
{
	struct herd_buf text = { 0 };
	bool ret = herd_pg_file_read("/proc/self/oom_score_adj", &text, NULL) == 0 &&
		   atoi(herd_buf_str(&text)) < 0;

	herd_buf_free(&text);
	return ret && getenv("PG_OOM_ADJUST_FILE") == NULL;
}

static int launch(struct herd_pg *pg, const struct herd_pg_settings *settings, struct herd_err *err)
{
	char *gp = herd_str_printf("PG_GRANDPARENT_PID=%d", (int)getpid());
	const char *set[] = {
		gp, oom_protected() ? "PG_OOM_ADJUST_FILE=/proc/self/oom_score_adj" : NULL, NULL
	};
	char **env = gp != NULL ? herd_pg_env(set) : NULL;
	struct herd_pg_lines argv = { 0 };
	int log_fd = -1;
	pid_t pid = 0;
	int rc = env != NULL ? herd_pg_server_argv(pg, settings, &argv) : -ENOMEM;

	if (rc == 0)
		rc = herd_pg_lines_end(&argv);
	rc = rc < 0 ? herd_err_set(err, rc, "out of memory") : open_log(pg, &log_fd, err);
	if (rc == 0)
		rc = herd_pg_spawn((const char *const *)argv.v, env, log_fd, &pid, err);
	if (rc == 0 && herd_pg_adopt(pg, pid) < 0) {
		rc = herd_err_set(err, -ESRCH, "the server stopped while it was starting");
		last_words(pg, err);
	}
	if (log_fd >= 0)
		close(log_fd);
	herd_pg_lines_clear(&argv);
	herd_pg_env_free(env);
	free(gp);
	return rc;
}

static void after_validation(struct herd_pg *pg, int rc, const struct herd_err *why)
{
	struct herd_err err = HERD_ERR_INIT;

	if (rc < 0) {
		stage_end(pg, rc, why);
		return;
	}
	rc = herd_pg_conf_write_signals(&pg->cfg, &pg->start.role, &err);
	if (rc == 0)
		rc = remove_stale_locks(pg, &pg->start.settings, &err);
	if (rc == 0)
		rc = launch(pg, &pg->start.settings, &err);
	if (rc < 0)
		fail(pg, &err);
	else
		herd_pg_stage_ready(pg, pg->start.timeout_ms, pg->start.next);
}

static void begin(struct herd_pg *pg)
{
	struct herd_err err = HERD_ERR_INIT;
	int rc = herd_pg_remove_stale_pidfile(pg, &err);

	if (rc == 0)
		rc = herd_pg_write_role(pg, &pg->start.role,
					pg->start.have_control ? &pg->start.control : NULL,
					&pg->start.settings, NULL, &err);
	if (rc < 0)
		fail(pg, &err);
	else
		herd_pg_stage_validate(pg, after_validation);
}

static void after_leftovers(struct herd_pg *pg, int rc, const struct herd_err *err)
{
	if (rc < 0)
		stage_end(pg, rc, err);
	else
		begin(pg);
}

static void after_controldata(struct herd_pg *pg, int status, const char *output)
{
	struct herd_err err = HERD_ERR_INIT;
	int rc = herd_pg_command_check("pg_controldata", status, output, &err);

	if (rc == 0)
		rc = herd_pg_control_parse(output, &pg->start.control, &err);
	if (rc < 0) {
		fail(pg, &err);
		return;
	}
	pg->start.have_control = true;
	herd_pg_stage_leftovers(pg, after_leftovers);
}

static void read_control(struct herd_pg *pg)
{
	struct herd_err err = HERD_ERR_INIT;
	char *bin = herd_pg_config_bin(&pg->cfg, HERD_PG_BIN_CONTROLDATA);
	const char *argv[] = { bin, "-D", pg->cfg.data_dir, NULL };
	const char *env[] = { "LC_ALL=C", NULL };
	int rc = bin != NULL ? herd_pg_op_run(pg, argv, env, 10000, after_controldata, &err)
			     : herd_err_set(&err, -ENOMEM, "out of memory");

	free(bin);
	if (rc < 0)
		fail(pg, &err);
}

static void prepare(struct herd_pg *pg)
{
	struct herd_err err = HERD_ERR_INIT;

	/* The settings are still being described, or the end of the old postmaster being told. */
	if (pg->gucs_child != NULL || herd_pg_exit_pending(pg)) {
		herd_pg_op_after(pg, 1, prepare);
	} else if (herd_pg_pid(pg) != 0) {
		herd_err_set(&err, -EEXIST, "the server is already running with process ID %d",
			     (int)pg->pid);
		fail(pg, &err);
	} else if (herd_pg_datadir(pg, &err) != HERD_PG_DATADIR_VALID) {
		if (err.code == 0)
			herd_err_set(&err, -ENOENT, "data directory \"%s\" is empty",
				     pg->cfg.data_dir);
		fail(pg, &err);
	} else if (herd_pg_role_recovers(&pg->start.role)) {
		read_control(pg);
	} else {
		herd_pg_stage_leftovers(pg, after_leftovers);
	}
}

void herd_pg_stage_start(struct herd_pg *pg, const struct herd_pg_role *role, int64_t timeout_ms,
			 herd_pg_next_fn next)
{
	struct herd_pg_role copy = { 0 };
	struct herd_err err = HERD_ERR_INIT;
	int rc = herd_pg_role_copy(role, &copy);

	herd_pg_role_clear(&pg->start.role);
	herd_pg_settings_clear(&pg->start.settings);
	pg->start = (struct herd_pg_start_stage){ .role = copy,
						  .timeout_ms = timeout_ms,
						  .next = next };
	if (rc < 0) {
		herd_err_set(&err, rc, "out of memory");
		fail(pg, &err);
		return;
	}
	herd_pg_op_after(pg, 0, prepare);
}

int herd_pg_start(struct herd_pg *pg, const struct herd_pg_role *role, int64_t timeout_ms,
		  herd_pg_done_fn done, void *arg, struct herd_err *err)
{
	int rc = herd_pg_op_begin(pg, "starting", done, arg, err);

	if (rc == 0)
		herd_pg_stage_start(pg, role, timeout_ms, herd_pg_op_finish);
	return rc;
}
