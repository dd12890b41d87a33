/*
 * main.c - the command line of the agent, and becoming the user that PostgreSQL runs as.
 */
#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/generate.h"
#include "agent/guard.h"
#include "agent/init.h"
#include "agent/internal.h"
#include "agent/notify.h"
#include "agent/validate.h"
#include "model/schema.h"

static const char usage[] =
	"Runs one PostgreSQL instance of a herd.\n"
	"\n"
	"Usage:\n"
	"  %s [OPTIONS] [CONFIG]\n"
	"\n"
	"CONFIG is a YAML file, or a directory of *.yml and *.yaml files. Without it the\n"
	"configuration comes from the environment (PATRONI_CONFIGURATION, or the other PATRONI_*\n"
	"variables).\n"
	"\n"
	"Options:\n"
	"  --validate-config          check the configuration and exit\n"
	"  -i, --ignore-listen-port   for --validate-config: ports may be in use\n"
	"  -p, --print                print the configuration, secrets hidden, and exit\n"
	"  --generate-sample-config   print a configuration to fill in, or write it to CONFIG\n"
	"  --generate-config          the same, out of a PostgreSQL that is running\n"
	"  --dsn DSN                  for --generate-config: how to connect; else by PGHOST ...\n"
	"  --user USER                started as root: run as USER (default: postgres)\n"
	"  --version                  print the version and exit\n"
	"  --help                     print this help and exit\n"
	"\n"
	"Exit status: 0 ended by a signal, or all is well; 1 an error; 2 wrong usage; 5 the log\n"
	"could not be written at the end.\n";

enum mode { RUN = 0, VALIDATE, SAMPLE, GENERATE };

struct options {
	const char *config, *user, *dsn;
	enum mode mode;
	bool print, ignore_port;
};

static int wrong_usage(char **argv, const char *why)
{
	fprintf(stderr, "%s: %s\nTry \"%s --help\" for more information.\n", argv[0], why, argv[0]);
	return 2;
}

static int print_reference(void)
{
	char *text = herd_schema_reference();

	fputs(text ? text : "", stdout);
	free(text);
	return 0;
}

static const struct option longs[] = {
	{ "validate-config", no_argument, NULL, 'V' },
	{ "ignore-listen-port", no_argument, NULL, 'i' },
	{ "print", no_argument, NULL, 'p' },
	{ "generate-sample-config", no_argument, NULL, 'S' },
	{ "generate-config", no_argument, NULL, 'G' },
	{ "dsn", required_argument, NULL, 'd' },
	{ "user", required_argument, NULL, 'u' },
	{ "version", no_argument, NULL, 'v' },
	{ "settings-reference", no_argument, NULL, 'R' }, /* for docs/agent.md */
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

/* Returns -1 to go on, else the exit status. */
static int parse_options(int argc, char **argv, struct options *o)
{
	int c;

	optind = 1;
	while ((c = getopt_long(argc, argv, "ip", longs, NULL)) != -1) {
		switch (c) {
		case 'V':
		case 'S':
		case 'G':
			if (o->mode != RUN)
				return wrong_usage(argv, "only one of --validate-config, "
							 "--generate-sample-config and "
							 "--generate-config can be given");
			o->mode = c == 'V' ? VALIDATE : c == 'S' ? SAMPLE : GENERATE;
			break;
		case 'i':
			o->ignore_port = true;
			break;
		case 'p':
			o->print = true;
			break;
		case 'd':
			o->dsn = optarg;
			break;
		case 'u':
			o->user = optarg;
			break;
		case 'v':
			printf("patroni %s (pgherd %s)\n", AGENT_VERSION, PGHERD_VERSION);
			return 0;
		case 'R':
			return print_reference();
		case 'h':
			printf(usage, argv[0]);
			return 0;
		default:
			fprintf(stderr, "Try \"%s --help\" for more information.\n", argv[0]);
			return 2;
		}
	}
	if (argc - optind > 1)
		return wrong_usage(argv, "only one configuration file or directory can be given");
	if (o->dsn && o->mode != GENERATE)
		return wrong_usage(argv, "--dsn is for --generate-config");
	o->config = argv[optind];
	return -1;
}

/* PostgreSQL refuses to run as root, so everything runs as its user. */
static int drop_privileges(const char *user, struct herd_err *err)
{
	const char *name = user ? user : "postgres";
	struct passwd *pw;
	char *score;
	int rc = 0, fd;

	if (geteuid() != 0)
		return 0;
	pw = getpwnam(name);
	if (!pw || pw->pw_uid == 0) {
		herd_err_set(err, -EINVAL, "cannot run as user \"%s\"", name);
		herd_err_hint(err, "PostgreSQL must not run as root. Give another user with "
				   "--user.");
		return -EINVAL;
	}
	fd = herd_guard_limits_allow(&score);
	if (initgroups(pw->pw_name, pw->pw_gid) < 0 || setgid(pw->pw_gid) < 0 ||
	    setuid(pw->pw_uid) < 0)
		rc = herd_err_set(err, -errno, "could not become user \"%s\": %s", name,
				  strerror(errno));
	herd_guard_limits_set(fd, score);
	if (rc < 0)
		return rc;
	setenv("HOME", pw->pw_dir, 1);
	setenv("USER", pw->pw_name, 1);
	setenv("LOGNAME", pw->pw_name, 1);
	return 0;
}

static int tell(const struct herd_err *err)
{
	fprintf(stderr, "%s\n", herd_err_text(err));
	if (err->hint)
		fprintf(stderr, "HINT: %s\n", err->hint);
	return 1;
}

static void warn_stderr(void *arg, const char *text)
{
	fprintf(stderr, "%s\n", text);
}

static int print(const struct herd_agent_config *cfg)
{
	char *text = herd_agent_config_print(cfg);

	fputs(text ? text : "", stdout);
	free(text);
	return 0;
}

/* Everything that needs no agent; else -1. */
static int run_tool(const struct options *o, struct herd_err *err)
{
	switch (o->mode) {
	case VALIDATE:
		return herd_validate(o->config, o->ignore_port);
	case SAMPLE:
		return herd_generate_sample(o->config, err) < 0 ? tell(err) : 0;
	case GENERATE:
		return herd_generate(o->config, o->dsn, err) < 0 ? tell(err) : 0;
	case RUN:
		break;
	}
	return -1;
}

int herd_agent_main(int argc, char **argv)
{
	struct herd_agent_config *cfg = NULL;
	struct options o = { 0 };
	struct herd_err err = HERD_ERR_INIT;
	int rc = parse_options(argc, argv, &o);

	if (rc >= 0)
		return rc;
	if (!o.config && o.mode <= VALIDATE && !getenv("PATRONI_CONFIGURATION") &&
	    !getenv("PATRONI_NAME")) {
		fprintf(stderr, usage, argv[0]);
		return 1;
	}
	umask(077);
	/* What only writes a file does it as whoever asked for it. */
	rc = o.mode < SAMPLE && drop_privileges(o.user, &err) < 0 ? tell(&err) : run_tool(&o, &err);
	if (rc < 0 && herd_agent_config_load(o.config, warn_stderr, NULL, &cfg, &err) < 0)
		rc = tell(&err);
	herd_err_clear(&err);
	if (rc >= 0)
		return rc;
	if (o.print) {
		rc = print(cfg);
		herd_agent_config_free(cfg);
		return rc;
	}
	herd_init_become();
	herd_notify_init();
	return herd_agent_run(cfg);
}
