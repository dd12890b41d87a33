/* The main thread: options, privileges, signals, the DCS, and the order of beginning and end. */
#include "proxy/proxy.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <grp.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/str.h"
#include "loop/loop.h"
#include "proxy/admin.h"
#include "proxy/cancel.h"
#include "proxy/dns.h"
#include "proxy/doors.h"
#include "proxy/handover.h"
#include "proxy/helpers.h"
#include "proxy/metrics.h"
#include "proxy/pools.h"
#include "proxy/sderive.h"
#include "proxy/suspend.h"
#include "proxy/systemd.h"
#include "proxy/target.h"
#include "proxy/topology.h"
#include "proxy/verdict.h"

enum { TICK_MS = 200, DEFAULT_MAX_WORKERS = 4, MAX_BLOCKED = 8, MAX_DERIVERS = 2 };

struct options {
	const char *file, *user;
	bool daemon, quiet, reboot;
	int verbose;
};

struct main_state {
	struct herd_px *px;
	struct herd_loop *loop;
	struct herd_timer *tick;
	struct herd_io *stop_io;
	struct herd_signal *signals[6];
	struct herd_metrics *metrics;
	int64_t period_us;
	bool doors_closed, ending;
};

static const char usage_text[] =
	"Usage: pgherd proxy [OPTION]... FILE.ini\n"
	"Pools, routes and holds connections to PostgreSQL; takes the place of PgBouncer.\n"
	"\n"
	"  -d, --daemon         run in background (as a daemon)\n"
	"  -R, --reboot         do an online reboot: take over from the running process\n"
	"  -q, --quiet          run quietly: nothing goes to standard error\n"
	"  -u, --user=USER      assume the identity of USER\n"
	"  -v, --verbose        log more; may be repeated\n"
	"  -V, --version        show the version\n"
	"  -h, --help           show this help\n";

static int parse_options(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{ "daemon", no_argument, NULL, 'd' },     { "quiet", no_argument, NULL, 'q' },
		{ "user", required_argument, NULL, 'u' }, { "verbose", no_argument, NULL, 'v' },
		{ "version", no_argument, NULL, 'V' },    { "help", no_argument, NULL, 'h' },
		{ "reboot", no_argument, NULL, 'R' },     { NULL, 0, NULL, 0 }
	};
	int c;

	while ((c = getopt_long(argc, argv, "dqu:vVhR", longs, NULL)) != -1) {
		switch (c) {
		case 'd':
			o->daemon = true;
			break;
		case 'q':
			o->quiet = true;
			break;
		case 'u':
			o->user = optarg;
			break;
		case 'v':
			o->verbose++;
			break;
		case 'V':
			printf("PgBouncer " HERD_PGBOUNCER_VERSION " (pgherd %s)\n",
			       PGHERD_VERSION);
			return 1;
		case 'h':
			fputs(usage_text, stdout);
			return 1;
		case 'R':
			o->reboot = true;
			break;
		default:
			fputs("Try \"pgherd proxy --help\" for more information.\n", stderr);
			return -EINVAL;
		}
	}
	if (optind != argc - 1) {
		fputs("pgherd proxy: need one configuration file\n"
		      "Try \"pgherd proxy --help\" for more information.\n",
		      stderr);
		return -EINVAL;
	}
	o->file = argv[optind];
	return 0;
}

/* For a moment: the other side of a unix socket sees whom we are then. */
static int seteuid_of(const char *user, struct herd_err *err)
{
	struct passwd *pw = user && *user ? getpwnam(user) : NULL;

	if (!pw)
		return herd_err_set(err, -EPERM, "will not run as root");
	if (seteuid(pw->pw_uid) < 0)
		return herd_err_set(err, -errno, "could not become user \"%s\": %s", user,
				    strerror(errno));
	return 0;
}

/* Who is not root cannot become another one, and should not serve as somebody unexpected. */
static int check_user(const char *user, struct herd_err *err)
{
	struct passwd *pw = user && *user ? getpwnam(user) : NULL;

	if (!user || !*user || (pw && pw->pw_uid == geteuid()))
		return 0;
	if (!pw)
		return herd_err_set(err, -ENOENT, "could not find user \"%s\"", user);
	return herd_err_set(err, -EPERM, "could not become user \"%s\": %s", user, strerror(EPERM));
}

static int drop_privileges(const char *user, struct herd_err *err)
{
	if (getuid() != 0)
		return check_user(user, err);
	if (!user || !*user) {
		herd_err_set(err, -EPERM, "will not run as root");
		herd_err_hint(err, "Name a user by -u or by the setting \"user\".");
		return -EPERM;
	}
	struct passwd *pw = getpwnam(user);

	if (!pw)
		return herd_err_set(err, -ENOENT, "could not find user \"%s\"", user);
	if (pw->pw_uid == 0)
		return herd_err_set(err, -EPERM, "user \"%s\" is root, too", user);
	if (initgroups(user, pw->pw_gid) < 0 || setgid(pw->pw_gid) < 0 || setuid(pw->pw_uid) < 0)
		return herd_err_set(err, -errno, "could not become user \"%s\": %s", user,
				    strerror(errno));
	return 0;
}

/*
 * 0: the file may be written. elder: the process that we take over from, 0: none. Who is not ours
 * runs as well (EPERM), and a file that holds something else is not a pidfile: somebody gave a
 * wrong name. One that is empty was cut short by a full disk.
 */
static int check_pidfile(const char *path, int elder, struct herd_log *log, struct herd_err *err)
{
	FILE *old = *path ? fopen(path, "re") : NULL;
	int pid = 0, rc = 0;

	if (!old)
		return 0;
	int got = fscanf(old, "%d", &pid);

	fclose(old);
	if (got == 0 || (got == 1 && pid <= 0))
		rc = herd_err_set(err, -EINVAL, "file \"%s\" is no pidfile", path);
	else if (got == 1 && pid != getpid() && pid != elder &&
		 (kill(pid, 0) == 0 || errno == EPERM))
		rc = herd_err_set(err, -EEXIST,
				  "pidfile \"%s\" exists, another instance is running (pid %d)",
				  path, pid);
	else if (got == 1 && pid != getpid() && pid != elder)
		herd_info(log, "stale pidfile, removing");
	return rc;
}

static int write_pidfile(const char *path, struct herd_err *err)
{
	if (!*path)
		return 0;
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0)
		return herd_err_set(err, -errno, "could not open pidfile \"%s\": %s", path,
				    strerror(errno));
	int rc = dprintf(fd, "%d\n", (int)getpid()) > 0
			 ? 0
			 : herd_err_set(err, -errno, "could not write pidfile \"%s\": %s", path,
					strerror(errno));

	close(fd);
	return rc;
}

/* Ours is removed; by now it may be that of the process that took over. */
static void remove_pidfile(const char *path)
{
	FILE *f = *path ? fopen(path, "re") : NULL;
	int pid = 0;

	if (!f)
		return;
	if (fscanf(f, "%d", &pid) == 1 && pid == getpid())
		unlink(path);
	fclose(f);
}

static int check_daemon(const struct options *o, const struct herd_settings *s,
			struct herd_log *log, struct herd_err *err)
{
	if (!o->daemon)
		return 0;
	if (!*s->pidfile)
		return herd_err_set(err, -EINVAL, "daemon needs pidfile configured");
	if (!*s->logfile && !s->use_syslog)
		herd_warning(log, "neither logfile nor syslog is set, nothing will be logged");
	return 0;
}

static void tell_door(struct herd_px *px, const struct herd_door *d)
{
	const char *what = d->listener ? d->listener : "", *word = d->listener ? " for " : "";

	if (d->path)
		herd_info(px->log, "listening on unix:%s%s%s", d->path, word, what);
	else
		herd_info(px->log, "listening on %s:%d%s%s", d->addr.host, d->addr.port, word,
			  what);
}

static void raise_nofile(struct herd_px *px, const struct herd_settings *s)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) < 0)
		return;
	lim.rlim_cur = lim.rlim_max;
	setrlimit(RLIMIT_NOFILE, &lim);
	if (lim.rlim_cur != RLIM_INFINITY && lim.rlim_cur < (rlim_t)s->max_client_conn + 100)
		herd_warning(px->log,
			     "only %llu file descriptors are allowed for max_client_conn = %d",
			     (unsigned long long)lim.rlim_cur, s->max_client_conn);
}

static void reload(struct herd_px *px)
{
	struct herd_err err = HERD_ERR_INIT;

	herd_systemd_reloading();
	if (herd_admin_reload(px, &err) < 0)
		herd_log_err(px->log, HERD_LOG_ERROR, &err, "could not reload");
	herd_err_clear(&err);
	herd_systemd_notify("READY=1");
}

/* A second signal while the first is being obeyed: then there is no more waiting. */
static bool stop_at_once(struct herd_px *px, const char *signal)
{
	const char *why = NULL;

	if (atomic_load(&px->stop) != HERD_STOP_NO)
		why = "while shutting down";
	else if (atomic_load(&px->suspended))
		why = "while suspended";
	if (!why)
		return false;
	herd_info(px->log, "got %s %s, fast exit", signal, why);
	herd_proxy_stop(px, HERD_STOP_NOW);
	return true;
}

static void go_on(struct herd_px *px)
{
	if (atomic_load(&px->stop) != HERD_STOP_NO) {
		herd_info(px->log, "got SIGUSR2 while shutting down, ignoring");
	} else if (herd_suspend_end(px)) {
		herd_info(px->log, "got SIGUSR2, continuing from SUSPEND");
	} else if (atomic_exchange(&px->paused_all, false)) {
		herd_info(px->log, "got SIGUSR2, continuing from PAUSE");
	} else {
		herd_info(px->log, "got SIGUSR2, but not paused/suspended");
	}
}

static void on_signal(void *arg, int signo)
{
	struct main_state *m = arg;
	struct herd_px *px = m->px;

	switch (signo) {
	case SIGHUP:
		herd_info(px->log, "got SIGHUP, re-reading config");
		reload(px);
		break;
	case SIGTERM:
		if (stop_at_once(px, "SIGTERM"))
			break;
		herd_info(px->log,
			  "got SIGTERM, shutting down, waiting for all clients disconnect");
		herd_proxy_stop(px, HERD_STOP_CLIENTS);
		break;
	case SIGINT:
		if (stop_at_once(px, "SIGINT"))
			break;
		herd_info(px->log, "got SIGINT, shutting down, waiting for all servers connections "
				   "to be released");
		herd_proxy_stop(px, HERD_STOP_SERVERS);
		break;
	case SIGQUIT:
		herd_info(px->log, "got SIGQUIT, fast exit");
		herd_proxy_stop(px, HERD_STOP_NOW);
		break;
	case SIGUSR1:
		if (atomic_load(&px->paused_all) || atomic_load(&px->suspended)) {
			herd_info(px->log, "got SIGUSR1, but already paused/suspended");
			break;
		}
		herd_info(px->log, "got SIGUSR1, pausing all activity");
		atomic_store(&px->paused_all, true);
		break;
	case SIGUSR2:
		go_on(px);
		break;
	default:
		break;
	}
}

static void count_busy(struct herd_pool *p, void *arg)
{
	int *busy = arg;

	pthread_mutex_lock(&p->lock);
	*busy += p->nactive + p->nrepl + p->nwaiting;
	pthread_mutex_unlock(&p->lock);
}

static void look_at_stop(struct main_state *m)
{
	struct herd_px *px = m->px;
	int how = atomic_load(&px->stop), busy = 0;

	if (how == HERD_STOP_NO)
		return;
	if (!m->doors_closed)
		herd_doors_shut(px);
	m->doors_closed = true;
	if (how == HERD_STOP_SERVERS)
		herd_pools_each(px, count_busy, &busy);
	else if (how == HERD_STOP_CLIENTS)
		busy = atomic_load(&px->nclients);
	if (busy > 0)
		return;
	if (how != HERD_STOP_NOW && !m->ending)
		herd_info(px->log, "%s connections dropped, exiting",
			  how == HERD_STOP_SERVERS ? "server" : "client");
	m->ending = true;
	herd_loop_stop(m->loop);
}

static void on_stop_fd(void *arg, int events)
{
	struct main_state *m = arg;
	uint64_t n;

	(void)events;
	if (read(m->px->stop_fd, &n, sizeof(n)) > 0)
		look_at_stop(m);
}

static void on_tick(void *arg)
{
	struct main_state *m = arg;
	int64_t now = herd_clock_us();
	const struct herd_settings *s = &atomic_load(&m->px->live)->config->s;

	herd_retire_sweep(m->px, false);
	herd_dns_tick(m->px->dns);
	if (s->stats_period > 0 && now - m->period_us >= s->stats_period) {
		herd_stats_period(m->px, now - m->period_us);
		m->period_us = now;
	}
	herd_restart_look(m->px);
	if (herd_leave_over(m->px))
		herd_loop_stop(m->loop);
	herd_metrics_look(m->metrics);
	look_at_stop(m);
	herd_timer_set(m->tick, TICK_MS);
}

static int default_workers(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	if (n < 1)
		n = 1;
	return n < DEFAULT_MAX_WORKERS ? (int)n : DEFAULT_MAX_WORKERS;
}

static struct herd_px *new_proxy(const struct options *o, struct herd_err *err)
{
	struct herd_px *px = calloc(1, sizeof(*px));
	pthread_mutexattr_t recursive;

	if (!px)
		goto nomem;
	px->log = herd_log_new(2, HERD_LOG_PGBOUNCER, HERD_LOG_INFO);
	px->config_path = strdup(o->file);
	pthread_mutex_init(&px->reload_lock, NULL);
	pthread_mutex_init(&px->stmts_lock, NULL);
	pthread_mutexattr_init(&recursive);
	pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&px->pools_lock, &recursive);
	pthread_mutexattr_destroy(&recursive);
	pthread_mutex_init(&px->scram_lock, NULL);
	pthread_mutex_init(&px->retire_lock, NULL);
	px->dns = herd_dns_new(px);
	px->targets = herd_targets_new();
	px->stmts = herd_stmts_new();
	px->dbs = herd_map_new(NULL);
	px->pools = herd_map_new(NULL);
	px->users = herd_map_new(NULL);
	px->topology = herd_topology_new(px);
	px->helpers = herd_helpers_new(MAX_BLOCKED);
	px->derivers = herd_helpers_new(MAX_DERIVERS);
	px->started_us = herd_clock_us();
	px->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	atomic_store(&px->verbose, o->verbose);
	if (px->log && px->config_path && px->stmts && px->dbs && px->pools && px->users &&
	    px->dns && px->targets && px->topology && px->helpers && px->derivers &&
	    px->stop_fd >= 0 && RAND_bytes(px->mock_seed, 16) == 1 &&
	    RAND_bytes(px->cancel_secret, sizeof(px->cancel_secret)) == 1)
		return px;
nomem:
	herd_err_set(err, -ENOMEM, "out of memory");
	return NULL;
}

static void free_proxy(struct herd_px *px)
{
	struct herd_live *l = atomic_load(&px->live);

	herd_helpers_free(px->helpers);
	herd_helpers_free(px->derivers);
	herd_topology_free(px->topology);
	herd_retire_sweep(px, true);
	herd_takeover_free(px);
	herd_peer_pools_free(px);
	herd_verdicts_free(px->verdicts);
	herd_pools_free(px);
	herd_stmts_free(px->stmts);
	herd_map_free(px->scram);
	herd_sderive_free(px);
	herd_dns_free(px->dns);
	herd_targets_free(px->targets);
	herd_var_names_free(&px->vars);
	if (l) {
		herd_pconf_unref(l->config);
		SSL_CTX_free(l->client_tls);
		SSL_CTX_free(l->server_tls);
		free(l);
	}
	free(px->workers);
	free(px->config_path);
	close(px->stop_fd);
	herd_log_free(px->log);
	free(px);
}

static int set_up_loop(struct main_state *m, struct herd_err *err)
{
	static const int signals[] = { SIGHUP, SIGTERM, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2 };

	m->loop = herd_loop_new();
	m->tick = m->loop ? herd_timer_new(m->loop, on_tick, m) : NULL;
	m->stop_io = m->loop ? herd_io_new(m->loop, m->px->stop_fd, on_stop_fd, m) : NULL;
	if (!m->tick || !m->stop_io)
		return herd_err_set(err, -ENOMEM, "out of memory");
	herd_io_want(m->stop_io, HERD_IO_READ);
	for (int i = 0; i < 6; i++) {
		m->signals[i] = herd_signal_new(m->loop, signals[i], on_signal, m);
		if (!m->signals[i])
			return herd_err_set(err, -ENOMEM, "out of memory");
	}
	signal(SIGPIPE, SIG_IGN);
	herd_timer_set(m->tick, TICK_MS);
	m->period_us = herd_clock_us();
	return 0;
}

static void tear_down_loop(struct main_state *m)
{
	for (int i = 0; i < 6; i++)
		herd_signal_free(m->signals[i]);
	herd_io_free(m->stop_io);
	herd_timer_free(m->tick);
	herd_loop_free(m->loop);
}

/*
 * -R: those of the process that runs, if there is one. It trusts nobody but its own user, so we
 * become that first.
 */
static int take_doors(struct herd_px *px, const struct options *o, const struct herd_pconf *c,
		      struct herd_err *err)
{
	struct herd_doors_given given = { 0 };
	uid_t me = getuid();
	int rc = me == 0 ? seteuid_of(o->user ? o->user : c->s.run_as, err) : 0;

	if (rc == 0)
		rc = herd_takeover_begin(px, c, &given, err);
	if (me == 0 && geteuid() != 0 && seteuid(0) < 0)
		rc = herd_err_set(err, -errno, "could not become root again");
	if (rc == -ENOENT) {
		herd_info(px->log, "no process to take over from, starting normally");
		return herd_doors_open(px, c, NULL, err);
	}
	if (rc == 0)
		rc = herd_doors_open(px, c, &given, err);
	herd_doors_given_free(&given);
	return rc;
}

/* Clients and servers are another process's by now: no goodbye to them. */
static void vanish(struct herd_px *px, const char *pidfile)
{
	remove_pidfile(pidfile);
	herd_info(px->log, "process down, another one has its connections");
	_exit(0);
}

/* Everything from a read configuration to the end. */
static int run(struct herd_px *px, const struct options *o, struct herd_err *err)
{
	struct main_state m = { .px = px };
	const struct herd_pconf *c = atomic_load(&px->live)->config;
	char *pidfile = strdup(c->s.pidfile); /* c may be gone at the end */
	int rc = pidfile ? check_daemon(o, &c->s, px->log, err)
			 : herd_err_set(err, -ENOMEM, "out of memory");

	/* What goes wrong from here on stands there, too. One of root's we could not write later.
	 */
	if (rc == 0 && *c->s.logfile && getuid() != 0)
		rc = herd_log_reopen(px->log, c->s.logfile, err);
	herd_log_echo(px->log, !o->quiet);
	if (rc == 0)
		rc = o->reboot ? take_doors(px, o, c, err) : herd_doors_open(px, c, NULL, err);
	if (rc == 0)
		rc = drop_privileges(o->user ? o->user : c->s.run_as, err);
	if (rc == 0 && *c->s.logfile)
		rc = herd_log_reopen(px->log, c->s.logfile, err);
	else if (rc == 0 && o->quiet)
		rc = herd_log_reopen(px->log, "/dev/null", err);
	herd_log_echo(px->log, !o->daemon && !o->quiet);
	if (rc == 0 && o->daemon && daemon(1, 0) < 0)
		rc = herd_err_set(err, -errno, "could not go to the background: %s",
				  strerror(errno));
	if (rc == 0)
		rc = set_up_loop(&m, err);
	if (rc == 0)
		rc = check_pidfile(c->s.pidfile, herd_takeover_pid(px), px->log, err);
	if (rc < 0) {
		tear_down_loop(&m);
		herd_takeover_stop(px);
		herd_doors_close(px);
		free(pidfile);
		return rc;
	}
	herd_admin_apply_log(px);
	raise_nofile(px, &c->s);
	for (int i = 0; i < px->ndoors; i++)
		tell_door(px, &px->doors[i]);
	rc = herd_dns_start(px->dns, m.loop, c->s.resolv_conf, err);
	if (rc == 0)
		rc = herd_workers_start(
			px, c->s.worker_threads > 0 ? c->s.worker_threads : default_workers(), err);
	if (rc == 0) {
		rc = herd_metrics_start(px, m.loop, c->s.metrics_listen, &m.metrics, err);
		if (rc == 0)
			rc = herd_topology_start(px->topology, m.loop, err);
		/* Who finds it may send a signal; and until now it may be that of the elder. */
		if (rc == 0)
			rc = write_pidfile(pidfile, err);
		if (rc == 0) {
			herd_info(px->log,
				  "process up: pgherd %s (PgBouncer " HERD_PGBOUNCER_VERSION
				  "), %d threads, %s",
				  PGHERD_VERSION, px->nworkers, OpenSSL_version(OPENSSL_VERSION));
			herd_takeover_ready(px);
			herd_systemd_notify("READY=1");
			herd_loop_run(m.loop);
			if (atomic_load(&px->given_away))
				vanish(px, pidfile);
			if (!herd_leaving(px))
				herd_systemd_notify("STOPPING=1");
		}
		herd_topology_stop(px->topology);
		herd_metrics_stop(m.metrics);
		herd_dns_stop(px->dns);
		herd_takeover_stop(px);
		herd_helpers_stop(px->helpers);
		herd_helpers_stop(px->derivers);
		herd_workers_stop(px);
		herd_leave_end(px);
	} else {
		herd_dns_stop(px->dns);
	}
	herd_doors_close(px);
	tear_down_loop(&m);
	remove_pidfile(pidfile);
	free(pidfile);
	if (rc == 0)
		herd_info(px->log, "process down");
	return rc;
}

static bool splits(const struct herd_pconf *c)
{
	size_t pos = 0;
	const char *name;
	void *value;
	bool any = c->s.split > HERD_SPLIT_OFF;

	while (!any && herd_map_next(c->databases, &pos, &name, &value))
		any = ((const struct herd_database *)value)->split > HERD_SPLIT_OFF;
	for (size_t i = 0; !any && i < c->nlisteners; i++)
		any = c->listeners[i].db->split > HERD_SPLIT_OFF;
	return any;
}

/* The parameters that are followed. That of READ ONLY sessions says where their reads go. */
static int track(struct herd_px *px, const struct herd_pconf *c)
{
	char *extra = herd_str_printf("%s%s", c->s.track_extra_parameters,
				      splits(c) ? ",default_transaction_read_only" : "");
	int rc = extra ? herd_var_names_init(&px->vars, extra) : -ENOMEM;

	free(extra);
	return rc;
}

int herd_proxy_main(int argc, char **argv)
{
	struct options o = { 0 };
	struct herd_err err = HERD_ERR_INIT;
	struct herd_pconf *config = NULL;
	int rc = parse_options(argc, argv, &o);

	if (rc != 0)
		return rc > 0 ? 0 : 1;
	struct herd_px *px = new_proxy(&o, &err);

	rc = px ? herd_pconf_load(o.file, &config, &err) : -ENOMEM;
	if (rc == 0)
		rc = track(px, config);
	if (rc == 0) {
		pthread_mutex_lock(&px->reload_lock);
		rc = herd_live_replace(px, config, false, &err);
		pthread_mutex_unlock(&px->reload_lock);
	} else {
		herd_pconf_unref(config);
	}
	if (rc == 0)
		rc = run(px, &o, &err);
	if (rc < 0 && px)
		herd_log_err(px->log, HERD_LOG_CRITICAL, &err, "cannot start");
	herd_err_clear(&err);
	if (px)
		free_proxy(px);
	return rc < 0 ? 1 : 0;
}
