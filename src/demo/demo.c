#include "demo/demo.h"

#include <fcntl.h>
#include <ftw.h>
#include <getopt.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/str.h"
#include "demo/layout.h"
#include "demo/process.h"
#include "demo/wait.h"

static const char usage[] =
	"pgherd demo: a sharded, highly available PostgreSQL on this machine\n"
	"\n"
	"Usage:\n"
	"  demo [start] [OPTIONS]   create the herd, or start it again\n"
	"  demo status              members, endpoints\n"
	"  demo psql [ARGUMENTS]    psql through the endpoint for writes\n"
	"  demo stop                stop it, keep the data\n"
	"  demo destroy             stop it and remove the data\n"
	"\n"
	"Options:\n"
	"  --dir DIR        where everything is kept (default: /var/lib/pgherd-demo as root,\n"
	"                   else ~/pgherd-demo)\n"
	"  --base-port N    first port; endpoints are N (writes), N+1 (workers), N+2 (reads),\n"
	"                   the rest from N+3 on (default: 5000)\n"
	"  --workers N      worker groups (default: 2)\n"
	"  --replicas M     members of a worker group; the coordinator has one more (default: 2)\n"
	"  --force          destroy without asking\n"
	"  --help           this text\n";

enum {
	DEFAULT_BASE_PORT = 5000,
	READY_TIMEOUT_MS = 180000,
	STOP_TIMEOUT_MS = 30000,
	MIB_PER_MEMBER = 200,
	PASSWORD_BYTES = 18
};

struct options {
	const char *verb;
	char *dir;
	int base_port, workers, replicas; /* 0: not given */
	bool force;
	char **rest; /* arguments of psql */
	int nrest;
};

static void complain(const struct herd_err *err)
{
	fprintf(stderr, "pgherd demo: %s\n", herd_err_text(err));
	if (err->detail)
		fprintf(stderr, "DETAIL: %s\n", err->detail);
	if (err->hint)
		fprintf(stderr, "HINT: %s\n", err->hint);
}

static int parse_number(const char *name, const char *text, int *ret)
{
	int64_t n;

	if (herd_str_to_i64(text, &n) < 0 || n < 1 || n > 65535) {
		fprintf(stderr, "pgherd demo: --%s must be a number from 1 to 65535, not \"%s\"\n",
			name, text);
		return -EINVAL;
	}
	*ret = (int)n;
	return 0;
}

static int parse_options(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{ "dir", required_argument, NULL, 'd' },
		{ "base-port", required_argument, NULL, 'b' },
		{ "workers", required_argument, NULL, 'w' },
		{ "replicas", required_argument, NULL, 'r' },
		{ "force", no_argument, NULL, 'f' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int c, rc = 0;

	/* '+': what follows the verb psql belongs to psql. */
	for (optind = 1; rc == 0;) {
		c = getopt_long(argc, argv, "+h", longs, NULL);
		if (c == -1) {
			if (optind >= argc)
				break;
			if (o->verb) {
				fprintf(stderr, "pgherd demo: unexpected argument \"%s\"\n",
					argv[optind]);
				return -EINVAL;
			}
			o->verb = argv[optind++];
			if (strcmp(o->verb, "psql") != 0)
				continue;
			if (optind + 1 < argc && strcmp(argv[optind], "--dir") == 0) {
				rc = herd_str_set(&o->dir, argv[optind + 1]) ? 0 : -ENOMEM;
				optind += 2;
			}
			break;
		}
		if (c == 'd')
			rc = herd_str_set(&o->dir, optarg) ? 0 : -ENOMEM;
		else if (c == 'b')
			rc = parse_number("base-port", optarg, &o->base_port);
		else if (c == 'w')
			rc = parse_number("workers", optarg, &o->workers);
		else if (c == 'r')
			rc = parse_number("replicas", optarg, &o->replicas);
		else if (c == 'f')
			o->force = true;
		else if (c == 'h')
			o->verb = "help";
		else
			rc = -EINVAL;
	}
	o->rest = argv + optind;
	o->nrest = argc - optind;
	if (!o->verb)
		o->verb = "start";
	return rc;
}

/* The directory, absolute: children change theirs. */
static int choose_dir(struct options *o, struct herd_err *err)
{
	if (!o->dir) {
		const char *home = getenv("HOME");

		o->dir = getuid() == 0 ? strdup("/var/lib/pgherd-demo")
				       : herd_str_printf("%s/pgherd-demo", home ? home : "/tmp");
	} else if (o->dir[0] != '/') {
		char *cwd = getcwd(NULL, 0);
		char *abs = cwd ? herd_str_printf("%s/%s", cwd, o->dir) : NULL;

		free(cwd);
		free(o->dir);
		o->dir = abs;
	}
	if (!o->dir)
		return herd_err_set(err, -ENOMEM, "out of memory");
	/* The sockets' names are <dir>/run/.s.PGSQL.65535, and sun_path has 107 usable bytes. */
	if (strlen(o->dir) > 80)
		return herd_err_set(err, -ENAMETOOLONG,
				    "directory name \"%s\" is too long for Unix sockets", o->dir);
	return 0;
}

static int copy_file(const char *from, const char *to, struct herd_err *err)
{
	int in = open(from, O_RDONLY | O_CLOEXEC);
	char *tmp = herd_str_printf("%s.new", to);
	int out = tmp ? open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755) : -1;
	char chunk[65536];
	ssize_t n = -1;
	int rc = 0;

	while (in >= 0 && out >= 0 && (n = read(in, chunk, sizeof(chunk))) > 0) {
		if (write(out, chunk, (size_t)n) != n) {
			n = -1;
			break;
		}
	}
	if (n != 0 || rename(tmp, to) < 0)
		rc = herd_err_set(err, -errno, "could not copy \"%s\" to \"%s\": %s", from, to,
				  strerror(errno));
	if (in >= 0)
		close(in);
	if (out >= 0)
		close(out);
	if (rc < 0 && tmp)
		unlink(tmp);
	free(tmp);
	return rc;
}

static int make_dir(const char *path, struct herd_err *err)
{
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return herd_err_set(err, -errno, "could not create directory \"%s\": %s", path,
				    strerror(errno));
	return 0;
}

/* As root: the directory becomes postgres's, and so do we, for good. */
static int drop_root(const struct demo *d, bool create, struct herd_err *err)
{
	struct passwd *pw;

	if (getuid() != 0)
		return 0;
	pw = getpwnam("postgres");
	if (!pw) {
		herd_err_set(err, -ENOENT, "there is no user \"postgres\" to run PostgreSQL as");
		herd_err_hint(err,
			      "Install PostgreSQL's package, or run as another user than root.");
		return -ENOENT;
	}
	if (create && chown(d->dir, pw->pw_uid, pw->pw_gid) < 0)
		return herd_err_set(err, -errno, "could not give \"%s\" to postgres: %s", d->dir,
				    strerror(errno));
	if (initgroups(pw->pw_name, pw->pw_gid) < 0 || setgid(pw->pw_gid) < 0 ||
	    setuid(pw->pw_uid) < 0)
		return herd_err_set(err, -errno, "could not become user postgres: %s",
				    strerror(errno));
	setenv("HOME", pw->pw_dir, 1);
	setenv("USER", pw->pw_name, 1);
	setenv("LOGNAME", pw->pw_name, 1);
	return 0;
}

static int check_space(const struct demo *d, struct herd_err *err)
{
	struct statvfs fs;

	if (statvfs(d->dir, &fs) < 0)
		return herd_err_set(err, -errno, "could not look at \"%s\": %s", d->dir,
				    strerror(errno));
	unsigned long long mib = (unsigned long long)fs.f_bavail * fs.f_frsize >> 20;
	unsigned long long need = d->nmembers * MIB_PER_MEMBER;

	if (mib < need) {
		herd_err_set(err, -ENOSPC, "not enough space in \"%s\": %llu MiB free, %llu needed",
			     d->dir, mib, need);
		herd_err_hint(err, "Choose another directory with --dir.");
		return -ENOSPC;
	}
	return 0;
}

static int check_ports(const struct demo *d, struct herd_err *err)
{
	int last = d->base_port + DEMO_PORT_MEMBERS + 2 * (int)d->nmembers;

	for (int port = d->base_port; port < last; port++) {
		bool used = port <= d->base_port + DEMO_PORT_CONSOLE ||
			    port >= d->base_port + DEMO_PORT_MEMBERS;

		if (used && !demo_port_free(port)) {
			herd_err_set(err, -EADDRINUSE, "port %d is in use", port);
			herd_err_hint(err, "Choose other ports with --base-port, for example: "
					   "./demo --base-port 6000");
			return -EADDRINUSE;
		}
	}
	return 0;
}

static int make_password(char **ret, struct herd_err *err)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	unsigned char raw[PASSWORD_BYTES];
	char text[PASSWORD_BYTES + 1] = "";

	if (getrandom(raw, sizeof(raw), 0) != sizeof(raw))
		return herd_err_set(err, -EIO, "could not get random bytes");
	for (size_t i = 0; i < sizeof(raw); i++)
		text[i] = digits[raw[i] & 63];
	*ret = strdup(text);
	herd_str_wipe(text, sizeof(text));
	return *ret ? 0 : herd_err_set(err, -ENOMEM, "out of memory");
}

static int find_postgres(struct demo *d, struct herd_err *err)
{
	const char *config = getenv("PG_CONFIG");
	const char *slash = config ? strrchr(config, '/') : NULL;

	d->bin_dir = slash ? strndup(config, (size_t)(slash - config))
			   : strdup("/usr/lib/postgresql/15/bin");
	char *postgres = d->bin_dir ? herd_str_printf("%s/postgres", d->bin_dir) : NULL;
	int rc = 0;

	if (!postgres) {
		rc = herd_err_set(err, -ENOMEM, "out of memory");
	} else if (access(postgres, X_OK) < 0) {
		rc = herd_err_set(err, -ENOENT, "could not find PostgreSQL's server program \"%s\"",
				  postgres);
		herd_err_hint(err, "Set PG_CONFIG to the pg_config of the PostgreSQL to use.");
	}
	free(postgres);
	return rc;
}

static int start_etcd(const struct demo *d, struct herd_err *err)
{
	int client = d->base_port + DEMO_PORT_ETCD, peer = d->base_port + DEMO_PORT_ETCD_PEER;
	char *data = demo_path(d, "etcd");
	char *client_url = herd_str_printf("http://127.0.0.1:%d", client);
	char *peer_url = herd_str_printf("http://127.0.0.1:%d", peer);
	char *cluster = herd_str_printf("demo=%s", peer_url);
	const char *const argv[] = { "etcd",        "--name",
				     "demo",        "--data-dir",
				     data,          "--listen-client-urls",
				     client_url,    "--advertise-client-urls",
				     client_url,    "--listen-peer-urls",
				     peer_url,      "--initial-advertise-peer-urls",
				     peer_url,      "--initial-cluster",
				     cluster,       "--initial-cluster-token",
				     "pgherd-demo", "--auto-compaction-retention",
				     "1",           "--log-level",
				     "warn",        NULL };
	int rc = demo_start(d, "etcd", argv, err);

	free(data);
	free(client_url);
	free(peer_url);
	free(cluster);
	return rc;
}

static int start_agent(const struct demo *d, const struct demo_member *m, struct herd_err *err)
{
	char *config = demo_path(d, "%s.yml", m->name);
	const char *const argv[] = { d->exe, "agent", config, NULL };
	int rc = demo_start(d, m->name, argv, err);

	free(config);
	return rc;
}

static int start_proxy(const struct demo *d, struct herd_err *err)
{
	char *config = demo_path(d, "proxy.ini");
	const char *const argv[] = { d->exe, "proxy", config, NULL };
	int rc = demo_start(d, "proxy", argv, err);

	free(config);
	return rc;
}

static int start_programs(const struct demo *d, struct herd_err *err)
{
	int rc = 0;

	if (!demo_running(d, "etcd"))
		rc = start_etcd(d, err);
	if (rc == 0)
		rc = demo_wait_etcd(d, err);
	if (rc == 0)
		demo_progress("etcd: ready");
	for (size_t i = 0; i < d->nmembers && rc == 0; i++) {
		if (!demo_running(d, d->members[i].name))
			rc = start_agent(d, &d->members[i], err);
	}
	if (rc == 0 && !demo_running(d, "proxy"))
		rc = start_proxy(d, err);
	if (rc == 0)
		demo_progress("%zu agents and the proxy: started", d->nmembers);
	return rc;
}

static bool is_leader(const struct demo *d, const struct demo_member *m)
{
	/* A standby holds standby.signal; what is left is a primary. */
	char *path = demo_path(d, "data/%s/standby.signal", m->name);
	bool leader = access(path, F_OK) < 0;

	free(path);
	return leader;
}

/* Standbys first: a leader that goes while they run would be succeeded by one of them. */
static void stop_programs(const struct demo *d)
{
	demo_signal(d, "proxy", SIGINT);
	for (size_t i = 0; i < d->nmembers; i++) {
		if (!is_leader(d, &d->members[i]))
			demo_signal(d, d->members[i].name, SIGTERM);
	}
	for (size_t i = 0; i < d->nmembers; i++) {
		if (!is_leader(d, &d->members[i]))
			demo_wait_gone(d, d->members[i].name, STOP_TIMEOUT_MS);
	}
	for (size_t i = 0; i < d->nmembers; i++)
		demo_signal(d, d->members[i].name, SIGTERM);
	for (size_t i = 0; i < d->nmembers; i++)
		demo_wait_gone(d, d->members[i].name, STOP_TIMEOUT_MS);
	demo_signal(d, "proxy", SIGTERM);
	demo_wait_gone(d, "proxy", 2000);
	demo_signal(d, "etcd", SIGTERM);
	demo_wait_gone(d, "etcd", STOP_TIMEOUT_MS);
	demo_kill_leftovers(d);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path) < 0 && errno != ENOENT ? -1 : 0;
}

static void remove_tree(const char *dir)
{
	if (chdir("/") < 0)
		return;
	nftw(dir, remove_one, 32, FTW_DEPTH | FTW_PHYS);
}

static bool all_running(const struct demo *d)
{
	for (size_t i = 0; i < d->nmembers; i++) {
		if (!demo_running(d, d->members[i].name))
			return false;
	}
	return demo_running(d, "etcd") && demo_running(d, "proxy");
}

static bool any_running(const struct demo *d)
{
	for (size_t i = 0; i < d->nmembers; i++) {
		if (demo_running(d, d->members[i].name))
			return true;
	}
	return demo_running(d, "etcd") || demo_running(d, "proxy");
}

static int run_and_wait(const char *const *argv)
{
	fflush(NULL);
	pid_t pid = fork();
	int status = 0;

	if (pid == 0) {
		execv(argv[0], (char *const *)argv);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* What should run and does not: killed, or ended by itself. */
static void show_missing(const struct demo *d)
{
	for (size_t i = 0; i < d->nmembers; i++) {
		if (!demo_running(d, d->members[i].name))
			printf("Not running: the agent of %s; ./demo starts it again.\n",
			       d->members[i].name);
	}
	if (!demo_running(d, "proxy"))
		printf("Not running: the proxy; ./demo starts it again.\n");
}

static int show_status(const struct demo *d)
{
	char *config = demo_path(d, "ctl.yml");
	const char *const argv[] = { d->exe, "ctl", "-c", config, "list", NULL };
	int rc = demo_running(d, "etcd") ? run_and_wait(argv) : -1, base = d->base_port;

	free(config);
	if (rc == 0)
		show_missing(d);
	if (rc != 0)
		printf("The herd in %s is %s.\n", d->dir,
		       any_running(d) ? "only partly running" : "stopped");
	else
		printf("\n"
		       "Endpoints (user postgres, database citus, password in %s/pgpass):\n"
		       "  writes   127.0.0.1:%d   the coordinator's primary\n"
		       "  workers  127.0.0.1:%d   balanced over the workers' primaries\n"
		       "  reads    127.0.0.1:%d   the coordinator's standbys\n"
		       "\n"
		       "Connect:   PGPASSFILE=%s/pgpass psql -h 127.0.0.1 -p %d -U postgres citus\n"
		       "Operate:   %s ctl -c %s/ctl.yml list | switchover | ...\n",
		       d->dir, base + DEMO_PORT_WRITES, base + DEMO_PORT_WORKERS,
		       base + DEMO_PORT_READS, d->dir, base + DEMO_PORT_WRITES, d->exe, d->dir);
	return rc == 0 ? 0 : 1;
}

static void on_signal(int signo)
{
	demo_interrupted = signo;
}

static int make_tree(struct demo *d, struct herd_err *err)
{
	static const char *const names[] = { "bin", "data", "log", "run", "etcd" };
	int rc = 0;

	for (size_t i = 0; i < sizeof(names) / sizeof(*names) && rc == 0; i++) {
		char *path = demo_path(d, "%s", names[i]);

		rc = make_dir(path, err);
		free(path);
	}
	return rc;
}

/* Checks and writes everything that comes before the first program. */
static int prepare(struct demo *d, const struct options *o, bool fresh, struct herd_err *err)
{
	int rc = 0;

	if (fresh) {
		d->base_port = o->base_port ? o->base_port : DEFAULT_BASE_PORT;
		d->workers = o->workers ? o->workers : 2;
		d->replicas = o->replicas ? o->replicas : 2;
		rc = demo_layout_members(d, err);
		if (rc == 0)
			rc = find_postgres(d, err);
		if (rc == 0)
			rc = make_password(&d->password, err);
	} else if ((o->base_port && o->base_port != d->base_port) ||
		   (o->workers && o->workers != d->workers) ||
		   (o->replicas && o->replicas != d->replicas)) {
		herd_err_set(err, -EEXIST, "the herd in \"%s\" was made with other numbers",
			     d->dir);
		herd_err_hint(err, "Remove it first (./demo destroy), or choose another --dir.");
		rc = -EEXIST;
	}
	if (rc == 0)
		rc = check_space(d, err);
	if (rc == 0 && !any_running(d))
		rc = check_ports(d, err);
	if (rc == 0)
		rc = make_tree(d, err);
	if (rc == 0)
		rc = demo_write_files(d, err);
	if (rc == 0)
		rc = demo_layout_save(d, err);
	return rc;
}

/* Makes the directory and the copy of this program while we may still be root. */
static int take_dir(struct demo *d, struct herd_err *err)
{
	char *bin = demo_path(d, "bin");
	int rc = make_dir(d->dir, err);

	if (rc == 0)
		rc = make_dir(bin, err);
	/* Running programs keep their old copy: the file is replaced, not written over. */
	if (rc == 0)
		rc = copy_file("/proc/self/exe", d->exe, err);
	if (rc == 0 && getuid() == 0) {
		struct passwd *pw = getpwnam("postgres");

		if (pw && (chown(bin, pw->pw_uid, pw->pw_gid) < 0 ||
			   chown(d->exe, pw->pw_uid, pw->pw_gid) < 0))
			rc = herd_err_set(err, -errno, "could not give \"%s\" to postgres: %s", bin,
					  strerror(errno));
	}
	free(bin);
	if (rc == 0)
		rc = drop_root(d, true, err);
	if (rc == 0 && chdir(d->dir) < 0)
		rc = herd_err_set(err, -errno, "could not enter \"%s\": %s", d->dir,
				  strerror(errno));
	return rc;
}

/* The start itself, as the user that the herd runs as. */
static int start_herd(struct demo *d, const struct options *o, bool fresh, struct herd_err *err)
{
	/* A reader that goes away must not leave a half-started herd. */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	int rc = prepare(d, o, fresh, err);

	if (rc < 0)
		return rc;
	rc = start_programs(d, err);
	if (rc == 0)
		rc = demo_wait_ready(d, READY_TIMEOUT_MS, err);
	if (rc < 0) {
		complain(err);
		fprintf(stderr, "pgherd demo: stopping what was started\n");
		stop_programs(d);
		return 1;
	}
	putchar('\n');
	return show_status(d);
}

/*
 * In a child: it gives up root for good, and what a failed first start leaves is removed by the
 * parent, which still may. Returns an exit status.
 */
static int start_in_child(struct demo *d, const struct options *o, bool fresh, bool made_dir)
{
	int status = 1 << 8;

	fflush(NULL);
	pid_t pid = fork();

	if (pid == 0) {
		struct herd_err err = HERD_ERR_INIT;
		int rc = take_dir(d, &err);

		if (rc == 0)
			rc = start_herd(d, o, fresh, &err);
		if (rc < 0)
			complain(&err);
		exit(rc == 0 ? 0 : 1);
	}
	/* The terminal's interrupt goes to both; the child cleans up, and is waited for. */
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	if (pid > 0)
		waitpid(pid, &status, 0);
	int code = WIFEXITED(status) ? WEXITSTATUS(status) : 1;

	if (code != 0 && made_dir)
		remove_tree(d->dir);
	return code;
}

static int verb_start(struct demo *d, const struct options *o, bool fresh, struct herd_err *err)
{
	if (!fresh && all_running(d)) {
		printf("The herd in %s is running already.\n\n", d->dir);
		return drop_root(d, false, err) < 0 ? -1 : show_status(d);
	}
	bool made_dir = fresh && access(d->dir, F_OK) < 0;

	return start_in_child(d, o, fresh, made_dir);
}

static int verb_destroy(struct demo *d, const struct options *o)
{
	if (!o->force && isatty(0)) {
		printf("Remove the herd in %s and all its data? [y/N]: ", d->dir);
		fflush(stdout);
		int c = getchar();

		if (c != 'y' && c != 'Y') {
			puts("Nothing was changed.");
			return 1;
		}
	}
	stop_programs(d);
	remove_tree(d->dir);
	printf("The herd in %s is gone.\n", d->dir);
	return 0;
}

static int verb_psql(const struct demo *d, const struct options *o, struct herd_err *err)
{
	char *passfile = demo_path(d, "pgpass");
	char *port = herd_str_printf("%d", d->base_port + DEMO_PORT_WRITES);
	char **argv = calloc((size_t)o->nrest + 2, sizeof(*argv));

	if (!port || !argv)
		return herd_err_set(err, -ENOMEM, "out of memory");
	/* Defaults, so that a -p or -d among the arguments still counts. */
	setenv("PGPASSFILE", passfile, 1);
	setenv("PGHOST", "127.0.0.1", 1);
	setenv("PGPORT", port, 1);
	setenv("PGUSER", "postgres", 1);
	setenv("PGDATABASE", "citus", 1);
	argv[0] = "psql";
	memcpy(argv + 1, o->rest, (size_t)o->nrest * sizeof(*argv));
	if (chdir(d->dir) < 0)
		fprintf(stderr, "pgherd demo: could not enter \"%s\"\n", d->dir);
	execvp("psql", argv);
	int rc = herd_err_set(err, -errno, "could not execute psql: %s", strerror(errno));

	free(argv);
	free(port);
	free(passfile);
	return rc;
}

static int run(struct demo *d, const struct options *o, struct herd_err *err)
{
	int rc = demo_layout_load(d, err);

	if (strcmp(o->verb, "start") == 0) {
		if (rc < 0 && rc != -ENOENT)
			return rc;
		herd_err_clear(err);
		return verb_start(d, o, rc == -ENOENT, err);
	}
	if (rc < 0)
		return rc;
	if (strcmp(o->verb, "destroy") == 0)
		return verb_destroy(d, o);
	rc = drop_root(d, false, err);
	if (rc < 0)
		return rc;
	if (strcmp(o->verb, "status") == 0)
		return show_status(d);
	if (strcmp(o->verb, "psql") == 0)
		return verb_psql(d, o, err);
	stop_programs(d);
	printf("The herd in %s is stopped; start it again with: ./demo start\n", d->dir);
	return 0;
}

int herd_demo_main(int argc, char **argv)
{
	static const char *const verbs[] = { "start", "status", "psql", "stop", "destroy" };
	struct herd_err err = HERD_ERR_INIT;
	struct options o = { 0 };
	struct demo d = { 0 };
	bool known = false;
	int rc = parse_options(argc, argv, &o);

	if (rc == 0 && strcmp(o.verb, "help") == 0) {
		fputs(usage, stdout);
		free(o.dir);
		return 0;
	}
	for (size_t i = 0; rc == 0 && i < sizeof(verbs) / sizeof(*verbs); i++)
		known |= strcmp(verbs[i], o.verb) == 0;
	if (rc < 0 || !known) {
		if (rc == 0)
			fprintf(stderr, "pgherd demo: unknown command \"%s\"\n", o.verb);
		fputs("Try \"pgherd demo --help\" for more information.\n", stderr);
		free(o.dir);
		return 2;
	}
	rc = choose_dir(&o, &err);
	if (rc == 0) {
		d.dir = o.dir;
		d.exe = demo_path(&d, "bin/pgherd");
		rc = run(&d, &o, &err);
	}
	if (rc < 0) {
		complain(&err);
		rc = 1;
	}
	herd_err_clear(&err);
	demo_layout_free(&d);
	return rc;
}
