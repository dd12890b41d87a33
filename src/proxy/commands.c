/* The console's commands other than SHOW. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"
#include "proxy/console.h"
#include "proxy/handover.h"
#include "proxy/suspend.h"

/* Work for every worker: idle servers of a database, and for KILL its clients and busy servers. */
struct sweep {
	char *db;
	bool kill;
};

struct drain_arg {
	struct herd_worker *w;
	const char *db;
};

static bool is_db(const struct herd_db *db, const char *name)
{
	return !name || strcmp(db->name, name) == 0;
}

static void drain_pool(struct herd_pool *p, void *arg)
{
	struct drain_arg *d = arg;

	if (is_db(p->db, d->db))
		herd_pool_drain(d->w, p);
}

static void sweep_each(struct herd_worker *w, void *arg)
{
	struct sweep *s = arg;
	struct drain_arg d = { .w = w, .db = s->db };

	herd_pools_each(w->px, drain_pool, &d);
	herd_list_for_each(it, &w->servers)
	{
		struct herd_server *srv = herd_container_of(it, struct herd_server, node);

		if (is_db(srv->pool->db, s->db))
			atomic_store(&srv->close_needed, true);
	}
	if (!s->kill)
		return;
	herd_list_for_each_safe(it, &w->clients)
	{
		struct herd_client *c = herd_container_of(it, struct herd_client, node);

		if (c->state != HERD_CLIENT_ADMIN && c->db && is_db(c->db, s->db))
			herd_client_fail(c, "57P01", "database removed");
	}
}

static void sweep_done(struct herd_worker *w, void *arg)
{
	struct sweep *s = arg;

	(void)w;
	free(s->db);
	free(s);
}

static int start_sweep(struct herd_worker *w, const char *db, bool kill, struct herd_err *err)
{
	struct sweep *s = calloc(1, sizeof(*s));

	if (s) {
		s->db = herd_str_dup(db);
		s->kill = kill;
	}
	if (!s || herd_worker_fanout(w, sweep_each, sweep_done, s) < 0) {
		if (s)
			sweep_done(w, s);
		return herd_err_set(err, -ENOMEM, "out of memory");
	}
	return 0;
}

enum flag { PAUSED, DISABLED };

struct flag_arg {
	const char *name;
	enum flag flag;
	bool on;
	bool found;
};

static void set_flag(struct herd_pool *p, void *arg)
{
	struct flag_arg *f = arg;

	if (!is_db(p->db, f->name))
		return;
	f->found = true;
	atomic_store(f->flag == PAUSED ? &p->db->paused : &p->db->disabled, f->on);
}

static void find_db(struct herd_pool *p, void *arg)
{
	struct flag_arg *f = arg;

	f->found |= is_db(p->db, f->name);
}

/* Sets a flag of a database, in all of its pools and for those to come. */
static int flag_db(struct herd_worker *w, const char *name, enum flag flag, bool on,
		   struct herd_err *err)
{
	struct flag_arg f = { .name = name, .flag = flag, .on = on };

	herd_pools_each(w->px, set_flag, &f);
	if (herd_pconf_database(w->live->config, name)) {
		struct herd_db *db = herd_db_get(w->px, name, NULL);

		if (!db)
			return herd_err_set(err, -ENOMEM, "out of memory");
		atomic_store(flag == PAUSED ? &db->paused : &db->disabled, on);
		f.found = true;
	}
	if (!f.found)
		return herd_err_set(err, -ENOENT, "no such database: %s", name);
	return 0;
}

static void kick_pool(struct herd_pool *p, void *arg)
{
	herd_pool_kick(arg, p);
}

static void kick_each(struct herd_worker *w, void *arg)
{
	(void)arg;
	if (w->id == 0)
		herd_pools_each(w->px, kick_pool, w);
}

static void nothing(struct herd_worker *w, void *arg)
{
	(void)w;
	(void)arg;
}

/* An entry of the configuration, or a database that somebody uses. what is the word of the error.
 */
static int check_db(struct herd_worker *w, const char *db, const char *what, struct herd_err *err)
{
	struct flag_arg f = { .name = db };

	if (!db)
		return 0;
	if (strcmp(db, "pgbouncer") == 0 || strcmp(db, "pgherd") == 0)
		return herd_err_set(err, -EINVAL, "cannot %s admin db: %s", what, db);
	herd_pools_each(w->px, find_db, &f);
	if (!f.found && !herd_pconf_database(w->live->config, db))
		return herd_err_set(err, -ENOENT, "no such database: %s", db);
	return 0;
}

static void log_command(struct herd_worker *w, const char *verb, const char *db)
{
	if (db)
		herd_info(w->px->log, "%s '%s' command issued", verb, db);
	else
		herd_info(w->px->log, "%s command issued", verb);
}

static bool suspended_or_paused(struct herd_px *px)
{
	return atomic_load(&px->paused_all) || atomic_load(&px->suspended);
}

static int cmd_pause(struct herd_client *c, const char *db, struct herd_err *err)
{
	log_command(c->w, "PAUSE", db);
	if (db) {
		int rc = check_db(c->w, db, "pause", err);

		if (rc == 0)
			rc = flag_db(c->w, db, PAUSED, true, err);
		if (rc < 0)
			return rc;
	} else if (suspended_or_paused(c->w->px)) {
		return herd_err_set(err, -EALREADY, "already suspended/paused");
	} else {
		atomic_store(&c->w->px->paused_all, true);
	}
	int rc = start_sweep(c->w, db, false, err);

	return rc < 0 ? rc : 1;
}

static int cmd_resume(struct herd_client *c, const char *db, struct herd_err *err)
{
	struct herd_px *px = c->w->px;

	if (atomic_load(&px->stop) != HERD_STOP_NO)
		return herd_err_set(err, -ESHUTDOWN, "pooler is shutting down");
	log_command(c->w, "RESUME", db);
	if (db) {
		struct herd_db *known = herd_pconf_database(c->w->live->config, db)
						? herd_db_get(px, db, NULL)
						: NULL;

		if (known && !atomic_load(&known->paused))
			return herd_err_set(err, -EALREADY, "database %s is not paused", db);
		int rc = flag_db(c->w, db, PAUSED, false, err);

		if (rc < 0)
			return rc;
	} else if (!suspended_or_paused(px)) {
		return herd_err_set(err, -EALREADY, "pooler is not paused/suspended");
	} else {
		herd_suspend_end(px);
		atomic_store(&px->paused_all, false);
	}
	herd_worker_fanout(c->w, kick_each, nothing, NULL);
	return 0;
}

void herd_command_undo(struct herd_worker *w, const char *verb, const char *db)
{
	struct herd_err ignored = HERD_ERR_INIT;

	if (strcasecmp(verb, "pause") == 0 && db)
		flag_db(w, db, PAUSED, false, &ignored);
	else if (strcasecmp(verb, "pause") == 0)
		atomic_store(&w->px->paused_all, false);
	else if (strcasecmp(verb, "suspend") == 0)
		herd_suspend_end(w->px);
	else
		return;
	herd_info(w->px->log, "%s was cancelled, going on", verb);
	herd_err_clear(&ignored);
	herd_worker_fanout(w, kick_each, nothing, NULL);
}

static void find_running(struct herd_pool *p, void *arg)
{
	struct flag_arg *f = arg;

	f->found |= is_db(p->db, f->name) && !atomic_load(&p->db->paused);
}

bool herd_command_overtaken(struct herd_worker *w, const char *verb, const char *db)
{
	struct flag_arg f = { .name = db };

	if (strcasecmp(verb, "suspend") == 0)
		return !atomic_load(&w->px->suspended);
	if (strcasecmp(verb, "pause") != 0)
		return false;
	if (!db)
		return !atomic_load(&w->px->paused_all);
	herd_pools_each(w->px, find_running, &f);
	return f.found;
}

static void find_paused(struct herd_pool *p, void *arg)
{
	*(bool *)arg |= atomic_load(&p->db->paused);
}

static int cmd_suspend(struct herd_client *c, struct herd_err *err)
{
	bool paused = false;

	if (suspended_or_paused(c->w->px))
		return herd_err_set(err, -EALREADY, "already suspended/paused");
	herd_pools_each(c->w->px, find_paused, &paused);
	if (paused)
		return herd_err_set(err, -EINVAL, "cannot suspend with paused databases");
	log_command(c->w, "SUSPEND", NULL);
	herd_suspend_begin(c->w->px);
	c->console->suspends_us = atomic_load(&c->w->px->suspend_us);
	return 1;
}

static int cmd_sweep(struct herd_client *c, const char *db, struct herd_err *err)
{
	int rc = check_db(c->w, db, "reconnect", err);

	log_command(c->w, "RECONNECT", db);
	return rc < 0 ? rc : start_sweep(c->w, db, false, err);
}

static int cmd_wait_close(struct herd_client *c, const char *db, struct herd_err *err)
{
	int rc = 0;

	log_command(c->w, "WAIT_CLOSE", db);
	if (db && strcmp(db, "pgbouncer") == 0)
		rc = herd_err_set(err, -EINVAL, "cannot wait in admin db: %s", db);
	else
		rc = check_db(c->w, db, "wait in", err);
	return rc < 0 ? rc : 1;
}

static int cmd_allow(struct herd_client *c, const char *db, bool disable, struct herd_err *err)
{
	int rc = db ? check_db(c->w, db, disable ? "disable" : "enable", err)
		    : herd_err_set(err, -EINVAL, "a database is required");

	if (rc < 0)
		return rc;
	log_command(c->w, disable ? "DISABLE" : "ENABLE", db);
	return flag_db(c->w, db, DISABLED, disable, err);
}

static int no_such_command(const struct herd_command *cmd, struct herd_err *err)
{
	return herd_err_set(err, -ENOSYS, "invalid command '%s', use SHOW HELP;", cmd->text);
}

static int cmd_shutdown(struct herd_client *c, const struct herd_command *cmd, struct herd_err *err)
{
	enum herd_stop how = HERD_STOP_NOW;

	if (cmd->n > 1 && strcasecmp(cmd->word[1], "wait_for_servers") == 0)
		how = HERD_STOP_SERVERS;
	else if (cmd->n > 1 && strcasecmp(cmd->word[1], "wait_for_clients") == 0)
		how = HERD_STOP_CLIENTS;
	else if (cmd->n > 1)
		return no_such_command(cmd, err);
	log_command(c->w,
		    how == HERD_STOP_SERVERS   ? "SHUTDOWN WAIT_FOR_SERVERS"
		    : how == HERD_STOP_CLIENTS ? "SHUTDOWN WAIT_FOR_CLIENTS"
					       : "SHUTDOWN",
		    NULL);
	/* All that we have is another process's by now. */
	if (how == HERD_STOP_NOW && c->console->handed_out && atomic_load(&c->w->px->suspended))
		atomic_store(&c->w->px->given_away, true);
	herd_proxy_stop(c->w->px, how);
	return 0;
}

static int cmd_set(struct herd_client *c, struct herd_command *cmd, struct herd_err *err)
{
	struct herd_px *px = c->w->px;
	struct herd_pconf *config = NULL;

	if (cmd->n < 3)
		return no_such_command(cmd, err);
	/* Drivers say how they want their session; the console has none. */
	if (herd_var_names_find(&px->vars, cmd->word[1]) >= 0 ||
	    strcasecmp(cmd->word[1], "extra_float_digits") == 0 ||
	    strcasecmp(cmd->word[1], "session") == 0)
		return 0;
	const char *value = cmd->word[2];

	if (cmd->n > 3 && strcasecmp(value, "to") == 0)
		value = cmd->word[3];
	pthread_mutex_lock(&px->reload_lock);
	int rc = herd_pconf_set(atomic_load(&px->live)->config, px->config_path, cmd->word[1],
				value, &config, err);

	if (rc == 0)
		rc = herd_live_replace(px, config, true, err);
	pthread_mutex_unlock(&px->reload_lock);
	snprintf(cmd->tag, sizeof(cmd->tag), "SET %s=%s", cmd->word[1], value);
	return rc;
}

struct kill_arg {
	uint64_t id, console;
	_Atomic bool found;
};

static void kill_client_each(struct herd_worker *w, void *arg)
{
	struct kill_arg *k = arg;

	herd_list_for_each_safe(it, &w->clients)
	{
		struct herd_client *c = herd_container_of(it, struct herd_client, node);

		if (c->id == k->id && !c->internal) {
			atomic_store(&k->found, true);
			herd_client_fail(c, "57P01", "admin forced disconnect");
			break;
		}
	}
}

static void kill_client_done(struct herd_worker *w, void *arg)
{
	struct kill_arg *k = arg;

	herd_console_answer(w, k->console, "KILL_CLIENT",
			    atomic_load(&k->found) ? NULL : "client not found");
	free(k);
}

static int cmd_kill_client(struct herd_client *c, const char *id, struct herd_err *err)
{
	struct kill_arg *k = calloc(1, sizeof(*k));
	char *end = NULL;

	if (k && id)
		k->id = strtoull(id, &end, strncmp(id, "0x", 2) == 0 ? 16 : 10);
	if (!k || !id || *end || end == id) {
		free(k);
		return herd_err_set(err, -EINVAL, "invalid client pointer supplied");
	}
	k->console = c->id;
	if (herd_worker_fanout(c->w, kill_client_each, kill_client_done, k) < 0) {
		free(k);
		return herd_err_set(err, -ENOMEM, "out of memory");
	}
	return 2;
}

static int cmd_kill(struct herd_client *c, const char *db, struct herd_err *err)
{
	int rc = check_db(c->w, db, "kill", err);

	log_command(c->w, "KILL", db);
	if (rc < 0)
		return rc;
	if (db)
		rc = flag_db(c->w, db, PAUSED, true, err);
	else
		atomic_store(&c->w->px->paused_all, true);
	return rc < 0 ? rc : start_sweep(c->w, db, true, err);
}

int herd_command_run(struct herd_client *c, struct herd_command *cmd, const char **tag,
		     struct herd_err *err)
{
	static const char *const verbs[] = { "PAUSE",    "RESUME",    "RELOAD",     "SHUTDOWN",
					     "SET",      "RECONNECT", "KILL",       "KILL_CLIENT",
					     "DISABLE",  "ENABLE",    "WAIT_CLOSE", "SUSPEND",
					     "TAKEOVER", "RESTART",   NULL };
	/* Words at most. */
	static const int most[] = { 2, 2, 1, 2, 4, 2, 2, 2, 2, 2, 2, 1, 1, 1 };
	const char *arg = cmd->n > 1 ? cmd->word[1] : NULL;
	int i = 0, rc;

	while (verbs[i] && strcasecmp(verbs[i], cmd->word[0]) != 0)
		i++;
	if (!verbs[i] || cmd->more || cmd->n > most[i])
		return no_such_command(cmd, err);
	if (!c->console->full)
		return herd_err_set(err, -EPERM, "admin access needed");
	*tag = verbs[i];
	switch (i) {
	case 0:
		return cmd_pause(c, arg, err);
	case 1:
		return cmd_resume(c, arg, err);
	case 2:
		herd_info(c->w->px->log, "RELOAD command issued");
		rc = herd_admin_reload(c->w->px, err);
		/* Who reads the log only has to know that the old settings stay. */
		if (rc < 0)
			herd_log_err(c->w->px->log, HERD_LOG_ERROR, err, "could not reload");
		return rc;
	case 3:
		return cmd_shutdown(c, cmd, err);
	case 4:
		rc = cmd_set(c, cmd, err);
		if (*cmd->tag)
			*tag = cmd->tag;
		return rc;
	case 5:
		return cmd_sweep(c, arg, err);
	case 6:
		return cmd_kill(c, arg, err);
	case 7:
		return cmd_kill_client(c, arg, err);
	case 8:
	case 9:
		return cmd_allow(c, arg, i == 8, err);
	case 10:
		return cmd_wait_close(c, arg, err);
	case 11:
		return cmd_suspend(c, err);
	case 12:
		return herd_leave_begin(c, err);
	default:
		log_command(c->w, "RESTART", NULL);
		return herd_restart_spawn(c->w->px, err);
	}
}

struct done_arg {
	const char *db;
	bool wait_close;
	bool busy;
};

static void look(struct herd_pool *p, void *arg)
{
	struct done_arg *d = arg;

	if (!is_db(p->db, d->db))
		return;
	pthread_mutex_lock(&p->lock);
	if (d->wait_close) {
		herd_list_for_each(it, &p->all)
		{
			struct herd_server *s = herd_container_of(it, struct herd_server, all_node);

			d->busy |= atomic_load(&s->close_needed);
		}
	} else {
		d->busy |= p->nactive + p->nidle + p->nopening + p->nclosing + p->nrepl > 0;
	}
	pthread_mutex_unlock(&p->lock);
}

bool herd_command_done(struct herd_worker *w, const char *verb, const char *db)
{
	if (strcasecmp(verb, "suspend") == 0)
		return herd_suspend_done(w->px);
	struct done_arg d = { .db = db, .wait_close = strcasecmp(verb, "wait_close") == 0 };

	herd_pools_each(w->px, look, &d);
	return !d.busy;
}
