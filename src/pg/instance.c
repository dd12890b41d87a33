#include "pg/instance.h"

#include <dirent.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/str.h"
#include "pg/command.h"
#include "pg/file.h"
#include "pg/private.h"
#include "pg/proc.h"
#include "pg/slots.h"

static void on_postmaster_exit(void *arg, pid_t pid)
{
	struct herd_pg *pg = arg;
	bool expected = pg->stopping;

	waitpid(pid, NULL, WNOHANG); /* ours when we are pid 1 or a subreaper */
	herd_pidwatch_free(pg->watch);
	pg->watch = NULL;
	pg->pid = 0;
	pg->start_epoch = 0;
	pg->stopping = false;
	if (pg->events.exited != NULL)
		pg->events.exited(pg->events.arg, expected);
	if (pg->op.name != NULL && pg->op.on_exit != NULL && pg->pid == 0)
		pg->op.on_exit(pg);
}

int herd_pg_adopt(struct herd_pg *pg, pid_t pid)
{
	struct herd_pidwatch *watch;
	struct herd_pg_pidfile f;
	int rc = herd_pidwatch_new(pg->loop, pid, on_postmaster_exit, pg, &watch);

	if (rc < 0)
		return rc;
	herd_pidwatch_free(pg->watch);
	pg->watch = watch;
	pg->pid = pid;
	pg->stopping = false;
	pg->start_epoch =
		herd_pg_pidfile_read(pg->cfg.data_dir, &f) == 0 && f.pid == pid ? f.start_epoch : 0;
	return 0;
}

pid_t herd_pg_pid(struct herd_pg *pg)
{
	struct herd_pg_pidfile f;

	/* The pidfd holds on to the one we know, also while it is so young that it looks like
	 * nothing. */
	if (pg->pid > 0)
		return herd_pg_proc_alive(pg->pid) ? pg->pid : 0;
	if (herd_pg_pidfile_read(pg->cfg.data_dir, &f) < 0 || f.pid <= 0 ||
	    !herd_pg_proc_is_postmaster(f.pid, pg->cfg.data_dir) || herd_pg_adopt(pg, f.pid) < 0)
		return 0;
	return pg->pid;
}

int64_t herd_pg_start_epoch(struct herd_pg *pg)
{
	struct herd_pg_pidfile f;

	if (herd_pg_pid(pg) == 0)
		return 0;
	if (pg->start_epoch == 0 && herd_pg_pidfile_read(pg->cfg.data_dir, &f) == 0 &&
	    f.pid == pg->pid)
		pg->start_epoch = f.start_epoch;
	return pg->start_epoch;
}

enum herd_pg_phase herd_pg_phase(struct herd_pg *pg)
{
	struct herd_pg_pidfile f;
	pid_t pid = herd_pg_pid(pg);

	if (pid == 0)
		return HERD_PG_PHASE_STOPPED;
	if (pg->stopping)
		return HERD_PG_PHASE_STOPPING;
	if (herd_pg_pidfile_read(pg->cfg.data_dir, &f) < 0 || f.pid != pid)
		return HERD_PG_PHASE_STARTING;
	if (strcmp(f.status, "ready") == 0)
		return HERD_PG_PHASE_RUNNING;
	return strcmp(f.status, "stopping") == 0 ? HERD_PG_PHASE_STOPPING : HERD_PG_PHASE_STARTING;
}

void herd_pg_notice(struct herd_pg *pg, const char *fmt, ...)
{
	va_list ap;

	if (pg->events.notice == NULL)
		return;
	va_start(ap, fmt);
	char *text = herd_str_vprintf(fmt, ap);
	va_end(ap);
	if (text == NULL)
		return;
	pg->events.notice(pg->events.arg, text);
	free(text);
}

void herd_pg_notice_lines(struct herd_pg *pg, const char *lines)
{
	while (*lines != '\0') {
		size_t len = strcspn(lines, "\n");

		if (len > 0)
			herd_pg_notice(pg, "%.*s", (int)len, lines);
		lines += len + (lines[len] == '\n');
	}
}

static void gucs_done(void *arg, int status, const char *output, size_t len)
{
	struct herd_pg *pg = arg;
	struct herd_err err = HERD_ERR_INIT;
	struct herd_pg_guc_table t = { 0 };
	int rc = herd_pg_command_check("postgres --describe-config", status, output, &err);

	pg->gucs_child = NULL;
	if (rc == 0)
		rc = herd_pg_guc_table_parse(output, &t, &err);
	if (rc == 0) {
		herd_pg_guc_table_clear(&pg->gucs);
		pg->gucs = t;
	} else {
		herd_pg_notice(pg, "parameters are not checked: %s", herd_err_text(&err));
	}
	herd_err_clear(&err);
}

static int describe_gucs(struct herd_pg *pg, struct herd_err *err)
{
	char *bin = herd_pg_config_bin(&pg->cfg, HERD_PG_BIN_POSTGRES);
	const char *argv[] = { bin, "--describe-config", NULL };
	int rc;

	if (bin == NULL)
		return herd_err_set(err, -ENOMEM, "out of memory");
	rc = herd_pg_command_start(pg->loop, argv, NULL, 10000, gucs_done, pg, &pg->gucs_child,
				   err);
	free(bin);
	return rc;
}

/* "$HOME/pgpass", which the walreceiver reads too; the data directory without a slash at its end.
 */
static int complete_config(struct herd_pg_config *cfg)
{
	const char *home = getenv("HOME");
	size_t len = strlen(cfg->data_dir);

	while (len > 1 && cfg->data_dir[len - 1] == '/')
		cfg->data_dir[--len] = '\0';

	if (cfg->pgpass == NULL)
		cfg->pgpass = herd_str_printf("%s/pgpass", home != NULL ? home : "");
	return cfg->pgpass != NULL ? 0 : -ENOMEM;
}

int herd_pg_new(struct herd_loop *l, struct herd_pg_config *cfg,
		const struct herd_pg_events *events, struct herd_pg **ret, struct herd_err *err)
{
	struct herd_pg *pg;
	int rc = herd_pg_config_check(cfg, err);

	if (rc < 0)
		return rc;
	pg = calloc(1, sizeof(*pg));
	if (pg == NULL || complete_config(cfg) < 0) {
		free(pg);
		return herd_err_set(err, -ENOMEM, "out of memory");
	}
	pg->loop = l;
	if (events != NULL)
		pg->events = *events;
	pg->cfg = *cfg;
	*cfg = (struct herd_pg_config){ 0 };
	rc = describe_gucs(pg, err);
	if (rc < 0) {
		*cfg = pg->cfg;
		free(pg);
		return rc;
	}
	herd_pg_pid(pg); /* adopts the one that runs */
	*ret = pg;
	return 0;
}

void herd_pg_free(struct herd_pg *pg)
{
	if (pg == NULL)
		return;
	if (pg->op.name != NULL)
		herd_pg_op_drop(pg);
	herd_child_abandon(pg->gucs_child);
	herd_pidwatch_free(pg->watch);
	herd_pg_session_free(pg->session);
	herd_pg_guc_table_clear(&pg->gucs);
	herd_pg_role_clear(&pg->role);
	herd_pg_role_clear(&pg->start.role);
	herd_pg_settings_clear(&pg->start.settings);
	herd_pg_settings_clear(&pg->validated);
	herd_pg_settings_clear(&pg->written);
	herd_pg_settings_clear(&pg->recovery);
	herd_pg_lines_clear(&pg->refused);
	herd_pg_lines_clear(&pg->archive.files);
	free(pg->archive.command);
	herd_pg_config_clear(&pg->cfg);
	free(pg->warned);
	free(pg);
}

int herd_pg_set_config(struct herd_pg *pg, struct herd_pg_config *cfg, struct herd_err *err)
{
	int rc = herd_pg_config_check(cfg, err);
	char *conninfo;

	if (rc < 0)
		return rc;
	if (complete_config(cfg) < 0)
		return herd_err_set(err, -ENOMEM, "out of memory");
	herd_pg_config_clear(&pg->cfg);
	herd_pg_lines_clear(&pg->refused);
	pg->cfg = *cfg;
	*cfg = (struct herd_pg_config){ 0 };
	if (pg->session == NULL)
		return 0;
	conninfo = herd_pg_local_conninfo(pg, &pg->cfg.superuser, NULL, NULL);
	rc = conninfo != NULL ? herd_pg_session_set_conninfo(pg->session, conninfo) : -ENOMEM;
	if (conninfo != NULL)
		herd_str_wipe(conninfo, strlen(conninfo));
	free(conninfo);
	return rc < 0 ? herd_err_set(err, rc, "out of memory") : 0;
}

const struct herd_pg_config *herd_pg_config(const struct herd_pg *pg)
{
	return &pg->cfg;
}

struct herd_loop *herd_pg_loop(const struct herd_pg *pg)
{
	return pg->loop;
}

const struct herd_pg_role *herd_pg_role(const struct herd_pg *pg)
{
	return pg->role_known ? &pg->role : NULL;
}

const char *herd_pg_written(const struct herd_pg *pg, const char *name)
{
	return herd_pg_settings_get(&pg->written, name);
}

const char *herd_pg_written_recovery(const struct herd_pg *pg, const char *name)
{
	const char *value = herd_pg_settings_get(&pg->recovery, name);

	if (!pg->role_known || !pg->role.standby)
		return NULL;
	/* It may stand among the parameters. */
	if (value == NULL)
		value = herd_pg_settings_get(&pg->written, name);
	return value != NULL ? value : "";
}

int herd_pg_major(struct herd_pg *pg)
{
	struct herd_buf text = { 0 };
	char *path = herd_str_printf("%s/PG_VERSION", pg->cfg.data_dir);
	int major = 0;

	if (path != NULL && herd_pg_file_read(path, &text, NULL) == 0)
		major = atoi(herd_buf_str(&text));
	herd_buf_free(&text);
	free(path);
	return major;
}

void herd_pg_mark_unfinished(struct herd_pg *pg, const char *what)
{
	char *path = herd_str_printf("%s.unfinished", pg->cfg.data_dir);

	if (path != NULL && what != NULL)
		herd_pg_file_write(path, what, strlen(what), 0600, NULL, NULL);
	else if (path != NULL)
		herd_pg_file_remove(path, NULL);
	free(path);
}

bool herd_pg_is_unfinished(const struct herd_pg *pg)
{
	char *path = herd_str_printf("%s.unfinished", pg->cfg.data_dir);
	bool ret = path != NULL && herd_pg_file_exists(path);

	free(path);
	return ret;
}

bool herd_pg_is_half_copied(const struct herd_pg *pg)
{
	struct herd_buf text = { 0 };
	char *path = herd_str_printf("%s.unfinished", pg->cfg.data_dir);
	bool ret = path != NULL && herd_pg_file_read(path, &text, NULL) == 0 &&
		   strcmp(herd_buf_str(&text), "copy") == 0;

	herd_buf_free(&text);
	free(path);
	return ret;
}

static int dir_is_empty(const char *path, bool *ret)
{
	DIR *dir = opendir(path);
	struct dirent *entry;

	*ret = true;
	if (dir == NULL)
		return errno == ENOENT ? 0 : -errno;
	while ((entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] != '.' && strcmp(entry->d_name, "lost+found") != 0)
			*ret = false;
	}
	closedir(dir);
	return 0;
}

static void unfinished(const char *dir, struct herd_err *err)
{
	herd_err_set(err, -EINVAL, "what filled data directory \"%s\" did not come to its end",
		     dir);
	herd_err_hint(err, "Remove file \"%s.unfinished\" if you know that the directory is whole.",
		      dir);
}

enum herd_pg_datadir herd_pg_datadir(struct herd_pg *pg, struct herd_err *err)
{
	const char *dir = pg->cfg.data_dir;
	char *control = herd_str_printf("%s/global/pg_control", dir);
	enum herd_pg_datadir ret = HERD_PG_DATADIR_BROKEN;
	bool empty;
	int rc = dir_is_empty(dir, &empty);

	if (rc < 0)
		herd_err_set(err, rc, "could not open directory \"%s\": %s", dir, strerror(-rc));
	else if (empty)
		ret = HERD_PG_DATADIR_MISSING;
	else if (herd_pg_is_unfinished(pg))
		unfinished(dir, err);
	else if (control != NULL && herd_pg_major(pg) > 0 && access(control, R_OK) == 0)
		ret = HERD_PG_DATADIR_VALID;
	else
		herd_err_set(err, -EINVAL,
			     "directory \"%s\" is not empty but no data directory of "
			     "PostgreSQL",
			     dir);
	free(control);
	return ret;
}

/* A line that was said about the last configuration, too, tells nothing new. */
static void notice_once(struct herd_pg *pg, const char *lines)
{
	const char *said = pg->warned != NULL ? pg->warned : "";

	for (const char *at = lines; *at != '\0';) {
		size_t len = strcspn(at, "\n");
		char *line = strndup(at, len + (at[len] == '\n'));
		const char *found = line != NULL ? strstr(said, line) : said;

		if (found == NULL || (found != said && found[-1] != '\n'))
			herd_pg_notice_lines(pg, line);
		free(line);
		at += len + (at[len] == '\n');
	}
	herd_str_set(&pg->warned, lines);
}

static void info(struct herd_pg *pg, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void info(struct herd_pg *pg, const char *fmt, ...)
{
	va_list ap;

	if (pg->events.info == NULL)
		return;
	va_start(ap, fmt);
	char *text = herd_str_vprintf(fmt, ap);
	va_end(ap);
	if (text == NULL)
		return;
	pg->events.info(pg->events.arg, text);
	free(text);
}

static void tell_change(struct herd_pg *pg, const char *name, const char *old, const char *new)
{
	const struct herd_pg_guc *g = pg->gucs.n > 0 ? herd_pg_guc_find(&pg->gucs, name) : NULL;

	/* That one is the agent's own, and changes often. */
	if (strcasecmp(name, "synchronous_standby_names") == 0)
		return;
	/* Of numbers and booleans the server does not describe the default truly. */
	if (old == NULL && g != NULL &&
	    (g->type == HERD_PG_GUC_ENUM || g->type == HERD_PG_GUC_STRING))
		old = g->def;
	info(pg, "Changed %s from '%s' to '%s'%s", name, old != NULL ? old : "None",
	     new != NULL ? new : "None",
	     g != NULL && strcmp(g->context, "postmaster") == 0 ? " (restart might be required)"
								: "");
}

/* What is written otherwise than the last time, for a server that runs. */
static void tell_changes(struct herd_pg *pg, const struct herd_pg_settings *new)
{
	const struct herd_pg_settings *old = &pg->written;

	if (old->n == 0 || herd_pg_pid(pg) == 0)
		return;
	for (size_t i = 0; i < new->n; i++) {
		const char *before = herd_pg_settings_get(old, new->v[i].name);

		if (before == NULL || strcmp(before, new->v[i].value) != 0)
			tell_change(pg, new->v[i].name, before, new->v[i].value);
	}
	for (size_t i = 0; i < old->n; i++)
		if (herd_pg_settings_get(new, old->v[i].name) == NULL)
			tell_change(pg, old->v[i].name, old->v[i].value, NULL);
}

/* The next start will ask for it: better a setting too much than no server. */
static int raise_for_slots(struct herd_pg *pg, struct herd_pg_settings *s)
{
	struct herd_pg_slots_found found = herd_pg_slots_on_disk(pg->cfg.data_dir);
	bool raised = false;
	int rc = herd_pg_slots_raise(s, &found, &raised);

	if (raised)
		herd_pg_notice(pg,
			       "replication slots that exist need wal_level=%s and "
			       "max_replication_slots=%s, which is not what is configured",
			       herd_pg_settings_get(s, "wal_level"),
			       herd_pg_settings_get(s, "max_replication_slots"));
	pg->start.raised |= raised;
	return rc;
}

int herd_pg_write_role(struct herd_pg *pg, const struct herd_pg_role *role,
		       const struct herd_pg_controldata *control, struct herd_pg_settings *ret,
		       bool *changed, struct herd_err *err)
{
	struct herd_pg_settings s = { 0 };
	struct herd_buf warnings = { 0 };
	struct herd_pg_role copy;
	int version = herd_pg_major(pg);
	int rc = herd_pg_conf_effective(&pg->cfg, role, pg->gucs.n > 0 ? &pg->gucs : NULL, version,
					&s, &warnings);

	for (size_t i = 0; i < pg->refused.n; i++)
		herd_pg_settings_remove(&s, pg->refused.v[i]);
	if (rc == 0)
		rc = herd_pg_role_copy(role, &copy);
	if (rc < 0) {
		herd_err_set(err, rc, "out of memory");
	} else {
		herd_pg_role_clear(&pg->role);
		pg->role = copy;
		pg->role_known = true;
		tell_changes(pg, &s);
		herd_pg_settings_clear(&pg->written);
		herd_pg_settings_merge(&pg->written, &s);
		herd_pg_settings_clear(&pg->recovery);
		if (role->standby)
			herd_pg_conf_recovery(&pg->cfg, role, version, &pg->recovery);
		notice_once(pg, herd_buf_str(&warnings));
		rc = herd_pg_conf_write(&pg->cfg, role, &s, version, herd_pg_pid(pg) > 0, changed,
					err);
	}
	herd_buf_free(&warnings);
	/* The file holds what is wanted, so that the server itself says that a restart is pending.
	 */
	if (rc == 0 && herd_pg_role_recovers(role) && control != NULL)
		rc = herd_pg_conf_raise(&s, control, &pg->start.raised);
	if (rc == 0 && ret != NULL)
		rc = raise_for_slots(pg, &s);
	if (rc == 0 && ret != NULL)
		*ret = s;
	else
		herd_pg_settings_clear(&s);
	return rc;
}

int herd_pg_reload(struct herd_pg *pg, const struct herd_pg_role *role, bool force,
		   struct herd_err *err)
{
	bool changed = force;
	pid_t pid;
	int rc = herd_pg_write_role(pg, role, NULL, NULL, &changed, err);

	if (rc < 0 || !changed)
		return rc;
	pid = herd_pg_pid(pg);
	if (pid == 0)
		return 0; /* the next start reads the files */
	info(pg, "Reloading PostgreSQL configuration.");
	if (kill(pid, SIGHUP) < 0)
		return herd_err_set(err, -errno, "could not signal process %d: %s", (int)pid,
				    strerror(errno));
	return 0;
}

/* libpq reaches the first of the listen addresses, localhost when it is among them. */
static int local_addr(const struct herd_pg *pg, struct herd_pg_addr *ret, bool *loopback)
{
	static const char *const any[] = { "*", "0.0.0.0", "127.0.0.1", "localhost" };
	const struct herd_pg_config *cfg = &pg->cfg;
	const char *dirs = herd_pg_settings_get(&cfg->parameters, "unix_socket_directories");
	char *listen = strdup(cfg->use_unix_socket ? (dirs != NULL ? dirs : "") : cfg->listen);
	char *rest = listen, *item, *host = NULL;

	*loopback = false;
	while (rest != NULL && (item = strsep(&rest, ",")) != NULL) {
		item = herd_str_trim(item);
		if (host == NULL && item[0] != '\0')
			host = item;
		for (size_t i = 0; i < 4 && !cfg->use_unix_socket; i++)
			*loopback = *loopback || strcmp(item, any[i]) == 0;
	}
	ret->host = herd_str_dup(*loopback ? "localhost" : host);
	ret->port = herd_str_printf("%d", cfg->port);
	free(listen);
	if (listen == NULL || ret->port == NULL)
		return -ENOMEM;
	return 0;
}

char *herd_pg_local_conninfo(struct herd_pg *pg, const struct herd_pg_auth *auth,
			     const char *dbname, const char *application_name)
{
	struct herd_pg_addr addr = { 0 };
	struct herd_pg_conninfo_opts opts = {
		.dbname = dbname != NULL ? dbname : herd_pg_config_database(&pg->cfg),
		.application_name = application_name,
		.with_password = true,
		.krbsrvname = pg->cfg.krbsrvname,
		.server_version = herd_pg_major(pg),
	};
	struct herd_buf text = { 0 };
	bool loopback;
	int rc = local_addr(pg, &addr, &loopback);

	if (rc == 0)
		rc = herd_pg_conninfo_build(&addr, auth, &opts, &text);
	if (rc == 0 && loopback) /* so that no name is looked up */
		herd_buf_addstr(&text, " hostaddr=127.0.0.1");
	herd_pg_addr_clear(&addr);
	if (rc < 0)
		herd_buf_free(&text);
	return rc == 0 ? herd_buf_steal(&text) : NULL;
}

static int make_session(struct herd_pg *pg, const char *name, const char *dbname, const char *gucs,
			struct herd_pg_session **ret, struct herd_err *err)
{
	char *conninfo = herd_pg_local_conninfo(pg, &pg->cfg.superuser, dbname, NULL);
	struct herd_pg_session_opts opts = { .conninfo = conninfo, .name = name, .gucs = gucs };
	int rc;

	if (conninfo == NULL)
		return herd_err_set(err, -ENOMEM, "out of memory");
	rc = herd_pg_session_new(pg->loop, &opts, ret, err);
	herd_str_wipe(conninfo, strlen(conninfo));
	free(conninfo);
	return rc;
}

struct herd_pg_session *herd_pg_session(struct herd_pg *pg)
{
	if (pg->session == NULL)
		make_session(pg, "Patroni heartbeat", NULL, "-c search_path=pg_catalog",
			     &pg->session, NULL);
	return pg->session;
}

int herd_pg_session_local(struct herd_pg *pg, const char *name, const char *dbname,
			  struct herd_pg_session **ret, struct herd_err *err)
{
	return make_session(pg, name, dbname, NULL, ret, err);
}

int herd_pg_session_patient(struct herd_pg *pg, const char *name, const char *dbname,
			    struct herd_pg_session **ret, struct herd_err *err)
{
	return make_session(pg, name, dbname, "-c statement_timeout=0", ret, err);
}

int herd_pg_session_remote(struct herd_pg *pg, const struct herd_pg_addr *addr, const char *name,
			   struct herd_pg_session **ret, struct herd_err *err)
{
	const struct herd_pg_config *cfg = &pg->cfg;
	const struct herd_pg_auth *auth =
		cfg->rewind.username != NULL ? &cfg->rewind : &cfg->superuser;
	struct herd_pg_conninfo_opts words = { .dbname = herd_pg_config_database(cfg),
					       .krbsrvname = cfg->krbsrvname,
					       .with_password = true,
					       .server_version = HERD_PG_CLIENT_MAJOR };
	struct herd_pg_session_opts opts = { .statement_timeout_ms = -1, .name = name };
	struct herd_buf text = { 0 };
	int rc = herd_pg_conninfo_build(addr, auth, &words, &text);

	opts.conninfo = herd_buf_str(&text);
	rc = rc < 0 ? herd_err_set(err, rc, "out of memory")
		    : herd_pg_session_new(pg->loop, &opts, ret, err);
	if (text.data != NULL)
		herd_str_wipe(text.data, text.len);
	herd_buf_free(&text);
	return rc;
}
