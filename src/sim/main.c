#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/str.h"
#include "base/yaml.h"
#include "sim/runner.h"
#include "sim/sim.h"

static const char usage[] =
	"Usage:\n"
	"  pgherd sim [--seeds N|A-B] [-j N] [--config FILE] [--members N]\n"
	"  pgherd sim --seed N [--trace | --minimize] [--config FILE] [--members N]\n"
	"  pgherd sim --report [--seeds N|A-B] [-j N] [--config FILE] [--members N]\n"
	"\n"
	"Runs the decisions of the agents in a simulated herd with faults and checks that nothing\n"
	"acknowledged is lost, that no two servers take writes, and that the herd recovers.\n"
	"\n"
	"  --seeds N|A-B  run the seeds 1 to N (default 100), or A to B\n"
	"  --seed N       run one seed\n"
	"  -j, --jobs N   on N processes (default: one for every processor)\n"
	"  --trace        print what happens: time, member, what it decides and why\n"
	"  --minimize     leave out all faults that a failing seed does not need, then trace it\n"
	"  --config FILE  YAML with a dynamic configuration, or an agent's file with "
	"bootstrap.dcs:\n"
	"                 try your own timing and modes; prints the report as well\n"
	"  --members N    so many members (2 to 8) instead of random ones\n"
	"  --no-guard     without the guard process, as with guard: {mode: off}\n"
	"  --report       how long writes stop after each kind of event, one event at a time\n"
	"                 (without --config: ttl 5, loop_wait 1, retry_timeout 1; 3 members)\n"
	"  --no-report    with --config: only the faults and checks\n"
	"\n"
	"Exit status: 0 every check held, 1 one did not (its seed is printed), 2 bad usage.\n";

/* What `pgherd demo` writes; the report's timing when nobody gives another. */
static const char demo_timing[] = "{\"ttl\":5,\"loop_wait\":1,\"retry_timeout\":1}";

struct options {
	struct sim_job job;
	const char *file;
	bool report, no_report;
};

static bool number(const char *text, int64_t least, int64_t *ret)
{
	return text && herd_str_to_i64(text, ret) == 0 && *ret >= least;
}

/* "100" or "5-20". */
static bool range(const char *text, struct sim_job *job)
{
	const char *dash = text ? strchr(text, '-') : NULL;
	char *first;
	bool ok;

	if (!dash) {
		job->first = 1;
		return number(text, 1, &job->last);
	}
	first = strndup(text, (size_t)(dash - text));
	ok = number(first, 1, &job->first) && number(dash + 1, job->first, &job->last);
	free(first);
	return ok;
}

/* An option with a value. False: it is none, or its value is not allowed. */
static bool valued(const char *name, const char *value, struct options *o)
{
	int64_t n;

	if (strcmp(name, "--seeds") == 0)
		return range(value, &o->job);
	if (strcmp(name, "--seed") == 0) {
		bool ok = number(value, 1, &o->job.first);

		o->job.last = o->job.first;
		return ok;
	}
	if (strcmp(name, "--config") == 0) {
		o->file = value;
		return value != NULL;
	}
	if (strcmp(name, "-j") == 0 || strcmp(name, "--jobs") == 0) {
		if (!number(value, 1, &n) || n > 1024)
			return false;
		o->job.workers = (int)n;
		return true;
	}
	if (strcmp(name, "--members") == 0) {
		if (!number(value, 2, &n) || n > SIM_NODES)
			return false;
		o->job.opt.members = (int)n;
		return true;
	}
	return false;
}

/* 0: go on; 1: help was printed; 2: bad usage. */
static int parse_options(int argc, char **argv, struct options *o)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	*o = (struct options){ .job = { .first = 1,
					.last = 100,
					.workers = cpus > 0 ? (int)cpus : 1,
					.opt = { .guard = true } } };
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
			fputs(usage, stdout);
			return 1;
		} else if (strcmp(argv[i], "--trace") == 0) {
			o->job.opt.trace = true;
		} else if (strcmp(argv[i], "--minimize") == 0) {
			o->job.minimize = true;
		} else if (strcmp(argv[i], "--no-guard") == 0) {
			o->job.opt.guard = false;
		} else if (strcmp(argv[i], "--report") == 0) {
			o->report = true;
		} else if (strcmp(argv[i], "--no-report") == 0) {
			o->no_report = true;
		} else if (valued(argv[i], argv[i + 1], o)) {
			i++;
		} else {
			fprintf(stderr,
				"pgherd sim: invalid argument: %s\n"
				"Try \"pgherd sim --help\" for more information.\n",
				argv[i]);
			return 2;
		}
	}
	return 0;
}

static bool guard_off(const json_t *all)
{
	const char *env = getenv("PGHERD_GUARD");
	const json_t *mode = herd_json_path((json_t *)all, "guard.mode");

	return (env && strcmp(env, "off") == 0) || json_is_false(mode) ||
	       (json_is_string(mode) && strcmp(json_string_value(mode), "off") == 0);
}

/* The dynamic configuration of the file as JSON text, malloc'd; NULL after saying why. */
static char *read_config(const char *file, bool *guard)
{
	struct herd_err err = HERD_ERR_INIT;
	json_t *all = herd_yaml_read(file, &err);
	json_t *dcs = all ? herd_json_path(all, "bootstrap.dcs") : NULL;
	char *text = NULL;

	if (!all) {
		fprintf(stderr, "pgherd sim: %s\n", herd_err_text(&err));
	} else if (!json_is_object(dcs ? dcs : all)) {
		fprintf(stderr, "pgherd sim: %s holds no mapping\n", file);
	} else {
		if (guard_off(all))
			*guard = false;
		if (json_object_del(dcs ? dcs : all, "standby_cluster") == 0)
			fprintf(stderr,
				"pgherd sim: warning: standby_cluster is left out: a cluster "
				"that takes writes is simulated\n");
		text = herd_json_dump(dcs ? dcs : all);
	}
	json_decref(all);
	herd_err_clear(&err);
	return text;
}

/* What was repaired in the user's settings, as an agent would say it. */
static void print_settings(const struct sim_options *opt)
{
	struct herd_config c;

	if (herd_config_parse(opt->config, strlen(opt->config), opt->guard, &c, NULL) < 0)
		return;
	for (size_t i = 0; i < c.warnings.n; i++)
		fprintf(stderr, "pgherd sim: warning: %s\n", c.warnings.name[i]);
	printf("ttl %" PRId64 " s, loop_wait %" PRId64 " s, retry_timeout %" PRId64
	       " s, synchronous_mode %s%s, guard %s\n",
	       c.ttl_ms / 1000, c.loop_wait_ms / 1000, c.retry_timeout_ms / 1000,
	       c.synchronous_mode == HERD_SYNC_OFF  ? "off"
	       : c.synchronous_mode == HERD_SYNC_ON ? "on"
						    : "quorum",
	       c.synchronous_mode_strict ? " (strict)" : "", opt->guard ? "on" : "off");
	herd_config_clear(&c);
}

/* 0: every check held; 1: not, or it could not be done. */
static int run(struct sim_job *job)
{
	struct sim_outcome o;
	int rc = sim_runner_run(job, &o);

	if (rc < 0)
		fprintf(stderr, "pgherd sim: could not run the seeds: %s\n", strerror(-rc));
	printf("%" PRId64 " seeds, %" PRId64 " failed: %ld steps, %ld %s, %ld commits, %ld "
	       "promotions, %ld of them handovers\n",
	       job->last - job->first + 1, o.n_failed, o.report.n_steps, o.report.n_faults,
	       job->opt.calm ? "events" : "faults", o.report.n_commits, o.report.n_promotions,
	       o.report.n_handovers);
	if (o.report.overlap_ms > 0)
		printf("two servers took writes for %.1f s in all%s\n",
		       (double)o.report.overlap_ms / 1000,
		       job->opt.guard ? " (where nothing is left that could prevent it)"
				      : " (there is no guard)");
	if (job->opt.calm && o.report.n_lost > 0)
		printf("%ld acknowledged commits were lost\n", o.report.n_lost);
	if (!job->opt.calm && o.report.slowest_heal_ms > 0)
		printf("after the last fault a leader took writes within %.1f s\n",
		       (double)o.report.slowest_heal_ms / 1000);
	if (o.n_failed > 0 && !job->minimize)
		printf("see what happened:  pgherd sim --seed %" PRId64 " --trace%s\n",
		       o.first_failed, job->opt.config ? " --config ..." : "");
	if (job->opt.calm)
		sim_report_print(&o.report);
	sim_report_clear(&o.report);
	return rc < 0 || o.n_failed > 0;
}

int herd_sim_main(int argc, char **argv)
{
	struct options o;
	int r = parse_options(argc, argv, &o);
	char *config = NULL;

	if (r)
		return r == 1 ? 0 : 2;
	if (o.file && !(config = read_config(o.file, &o.job.opt.guard)))
		return 2;
	o.job.opt.config = config;
	o.job.progress = isatty(STDERR_FILENO) && !o.job.opt.trace;
	if (config)
		print_settings(&o.job.opt);
	if (!o.report)
		r = run(&o.job);
	if ((o.report || (config && !o.no_report && !o.job.opt.trace && !o.job.minimize))) {
		o.job.opt.calm = true;
		if (!config) {
			o.job.opt.config = demo_timing;
			print_settings(&o.job.opt);
		}
		if (!o.job.opt.members)
			o.job.opt.members = 3;
		r |= run(&o.job);
	}
	free(config);
	return r;
}
