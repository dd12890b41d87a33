#include "ctl/ctl.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/internal.h"

static const struct ctl_verb *const verbs[] = {
	&ctl_demote_cluster,  &ctl_dsn,         &ctl_edit_config,
	&ctl_explain,         &ctl_failover,    &ctl_flush,
	&ctl_history,         &ctl_list,        &ctl_pause,
	&ctl_promote_cluster, &ctl_query,       &ctl_reinit,
	&ctl_reload,          &ctl_remove,      &ctl_restart,
	&ctl_resume,          &ctl_show_config, &ctl_switchover,
	&ctl_topology,        &ctl_version,
};

enum { NVERBS = sizeof(verbs) / sizeof(verbs[0]) };

static const struct ctl_opt global_opts[] = {
	{ 'c', "config-file", NULL, "FILE", "Configuration file." },
	{ 'd', "dcs-url", "dcs", "URL", "The store, as etcd3://host:port[,host:port]/namespace." },
	{ 'k', "insecure", NULL, NULL, "Do not verify the certificates of the REST API." },
	{ 0 },
};

static void usage(FILE *out, const char *prog)
{
	fprintf(out, "Usage: %s [OPTIONS] COMMAND [ARGS]...\n\n", prog);
	fputs("  Operates a herd of PostgreSQL servers.\n", out);
	ctl_args_print_opts(out, global_opts);
	fputs("\nCommands:\n", out);
	for (int i = 0; i < NVERBS; i++)
		fprintf(out, "  %-15s  %s\n", verbs[i]->name, verbs[i]->summary);
}

int ctl_usage_error(const char *prog, const struct ctl_verb *v, const char *why)
{
	fprintf(stderr, "Usage: %s %s%s%s\nTry '%s %s%s--help' for help.\n\nError: %s\n", prog,
		v ? v->name : "[OPTIONS] COMMAND [ARGS]...", v ? " [OPTIONS] " : "",
		v ? v->arguments : "", prog, v ? v->name : "", v ? " " : "", why ? why : "");
	return CTL_USAGE;
}

static const struct ctl_verb *find_verb(const char *name)
{
	for (int i = 0; i < NVERBS; i++)
		if (strcmp(verbs[i]->name, name) == 0)
			return verbs[i];
	return NULL;
}

static int run_verb(struct ctl *c, const struct ctl_verb *v, int argc, char **argv)
{
	bool help;
	char *why;
	struct ctl_args *a = ctl_args_parse(v->opts, argc, argv, false, NULL, &help, &why);
	int words = a ? (int)ctl_args_words(a) : 0, rc;

	if (help) {
		printf("Usage: %s %s [OPTIONS] %s\n\n  %s\n", c->prog, v->name, v->arguments,
		       v->summary);
		ctl_args_print_opts(stdout, v->opts);
		rc = CTL_OK;
	} else if (!a) {
		rc = ctl_usage_error(c->prog, v, why);
	} else if (words < v->min_words) {
		why = ctl_args_missing(v, words);
		rc = ctl_usage_error(c->prog, v, why);
	} else if (v->max_words >= 0 && words > v->max_words) {
		why = ctl_args_extra(v, a);
		rc = ctl_usage_error(c->prog, v, why);
	} else {
		rc = v->run(c, a);
	}
	ctl_args_free(a);
	free(why);
	return rc;
}

/* --help of a command works without any configuration. */
static bool asks_help(int argc, char **argv)
{
	for (int i = 0; i < argc; i++)
		if (strcmp(argv[i], "--help") == 0)
			return true;
	return false;
}

static int run_configured(struct ctl *c, const struct ctl_args *global, const struct ctl_verb *v,
			  int argc, char **argv)
{
	struct herd_err err = HERD_ERR_INIT;
	const char *file = ctl_args_get(global, "config-file");
	const char *url = ctl_args_get(global, "dcs-url");
	int rc = CTL_FAILED;

	if (!file)
		file = getenv("PATRONICTL_CONFIG_FILE");
	if (!url)
		url = getenv("DCS_URL");
	if (!asks_help(argc, argv))
		c->config = ctl_config_load(file && *file ? file : NULL, url && *url ? url : NULL,
					    &err);
	if (!c->config && !asks_help(argc, argv)) {
		ctl_fail_err(&err, NULL);
		herd_err_clear(&err);
		return CTL_FAILED;
	}
	c->insecure = ctl_args_has(global, "insecure");
	c->loop = herd_loop_new();
	if (c->loop)
		rc = run_verb(c, v, argc, argv);
	else
		ctl_fail("out of memory");
	herd_http_client_free(c->http);
	herd_loop_free(c->loop);
	json_decref(c->config);
	return rc;
}

static const char *program_name(const char *argv0)
{
	const char *slash = strrchr(argv0, '/');
	const char *name = slash ? slash + 1 : argv0;

	return strcmp(name, "pgherd ctl") == 0 ? "pgherdctl" : name;
}

int herd_ctl_main(int argc, char **argv)
{
	struct ctl c = { .prog = program_name(argv[0]) };
	int used = 0, rc;
	bool help;
	char *why;
	struct ctl_args *global =
		ctl_args_parse(global_opts, argc - 1, argv + 1, true, &used, &help, &why);

	signal(SIGPIPE, SIG_IGN);
	if (help) {
		usage(stdout, c.prog);
		rc = CTL_OK;
	} else if (!global) {
		rc = ctl_usage_error(c.prog, NULL, why);
	} else if (used >= argc - 1) {
		rc = ctl_usage_error(c.prog, NULL, "Missing command.");
	} else {
		const char *name = argv[1 + used];
		const struct ctl_verb *v = find_verb(name);

		if (v) {
			rc = run_configured(&c, global, v, argc - 2 - used, argv + 2 + used);
		} else {
			fprintf(stderr,
				"Usage: %s [OPTIONS] COMMAND [ARGS]...\nTry '%s --help' for "
				"help.\n\nError: No such command '%s'.\n",
				c.prog, c.prog, name);
			rc = CTL_USAGE;
		}
	}
	ctl_args_free(global);
	free(why);
	return rc;
}
