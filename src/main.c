/*
 * main.c - one executable; the first argument, or the name it is called by, picks the program.
 */
#include <stdio.h>
#include <string.h>

#include "agent/agent.h"
#include "ctl/ctl.h"
#include "demo/demo.h"
#include "proxy/proxy.h"
#include "sim/sim.h"
#include "tools/tools.h"

struct program {
	char *command;     /* pgherd COMMAND */
	char *full_name;   /* what it calls itself then, in messages and help */
	const char *alias; /* the peer's program that it stands in for; NULL: none */
	const char *summary;
	int (*main)(int argc, char **argv);
};

static const struct program programs[] = {
	{ "agent", "pgherd agent", "patroni", "runs one PostgreSQL instance of a herd",
	  herd_agent_main },
	{ "ctl", "pgherd ctl", "patronictl", "operates a herd: list, switchover, restart, ...",
	  herd_ctl_main },
	{ "proxy", "pgherd proxy", "pgbouncer",
	  "the one endpoint: pools, routes and holds connections", herd_proxy_main },
	{ "demo", "pgherd demo", NULL, "a whole herd on this machine, to try it out",
	  herd_demo_main },
	{ "sim", "pgherd sim", NULL, "the agents' decisions in a simulated herd with faults",
	  herd_sim_main },
	{ "barman", "pgherd barman", "patroni_barman",
	  "restores a backup of a Barman server, or switches its configuration", herd_barman_main },
	{ "wale-restore", "pgherd wale-restore", "patroni_wale_restore",
	  "creates a replica from a WAL-E backup", herd_wale_main },
	{ "aws", "pgherd aws", "patroni_aws", "tags an EC2 instance with its role", herd_aws_main },
};

enum { NPROGRAMS = sizeof(programs) / sizeof(*programs) };

static void usage(FILE *out)
{
	fputs("pgherd: PostgreSQL that scales out, stays up and answers on one address\n"
	      "\n"
	      "Usage:\n"
	      "  pgherd COMMAND [ARGUMENTS]      pgherd COMMAND --help for more\n"
	      "  pgherd --help | --version\n"
	      "\n"
	      "Commands:\n",
	      out);
	for (int i = 0; i < NPROGRAMS; i++) {
		fprintf(out, "  %-12s %s", programs[i].command, programs[i].summary);
		if (programs[i].alias)
			fprintf(out, " (also when called as %s)", programs[i].alias);
		fputc('\n', out);
	}
}

static const struct program *by_alias(const char *argv0)
{
	const char *slash = strrchr(argv0, '/');
	const char *name = slash ? slash + 1 : argv0;

	for (int i = 0; i < NPROGRAMS; i++) {
		if (programs[i].alias && strcmp(name, programs[i].alias) == 0)
			return &programs[i];
	}
	/* pgherdctl is the short form of pgherd ctl. */
	for (int i = 0; i < NPROGRAMS; i++) {
		if (strncmp(name, "pgherd", 6) == 0 && strcmp(name + 6, programs[i].command) == 0)
			return &programs[i];
	}
	return NULL;
}

int main(int argc, char **argv)
{
	const struct program *p = argc > 0 ? by_alias(argv[0]) : NULL;

	if (p)
		return p->main(argc, argv);
	if (argc > 1 && strcmp(argv[1], "--version") == 0) {
		printf("pgherd %s\n", PGHERD_VERSION);
		return 0;
	}
	if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
		usage(stdout);
		return 0;
	}
	for (int i = 0; argc > 1 && i < NPROGRAMS; i++) {
		if (strcmp(argv[1], programs[i].command) == 0) {
			argv[1] = programs[i].full_name;
			return programs[i].main(argc - 1, argv + 1);
		}
	}
	if (argc > 1)
		fprintf(stderr,
			"pgherd: unknown command \"%s\"\n"
			"Try \"pgherd --help\" for more information.\n",
			argv[1]);
	else
		usage(stderr);
	return 2;
}
