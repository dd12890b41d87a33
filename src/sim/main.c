#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "base/yaml.h"
#include "sim/sim.h"
#include "sim/world.h"

static const char usage[] =
	"Usage:\n"
	"  pgherd sim [--seeds N] [--seed N] [--trace] [--config FILE]\n"
	"\n"
	"Runs the decisions of the agents in a simulated herd with faults and checks that nothing\n"
	"acknowledged is lost, that no two servers take writes, and that the herd recovers.\n"
	"\n"
	"  --seeds N      run the seeds 1 to N (default 100)\n"
	"  --seed N       run one seed\n"
	"  --trace        print what happens\n"
	"  --config FILE  YAML with a dynamic configuration, or an agent's file with "
	"bootstrap.dcs:\n"
	"                 try your own timing\n";

struct options {
	int64_t first, last;
	bool trace;
	const char *file;
};

static bool number(const char *text, int64_t *ret)
{
	return text && herd_str_to_i64(text, ret) == 0 && *ret >= 1;
}

static int parse_options(int argc, char **argv, struct options *o)
{
	*o = (struct options){ 1, 100, false, NULL };
	for (int i = 1; i < argc; i++) {
		const char *value = i + 1 < argc ? argv[i + 1] : NULL;

		if (strcmp(argv[i], "--help") == 0) {
			fputs(usage, stdout);
			return 1;
		} else if (strcmp(argv[i], "--trace") == 0) {
			o->trace = true;
		} else if (strcmp(argv[i], "--seeds") == 0 && number(value, &o->last)) {
			o->first = 1;
			i++;
		} else if (strcmp(argv[i], "--seed") == 0 && number(value, &o->first)) {
			o->last = o->first;
			i++;
		} else if (strcmp(argv[i], "--config") == 0 && value) {
			o->file = value;
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

/* The dynamic configuration of the file as JSON text, malloc'd; NULL after saying why. */
static char *read_config(const char *file)
{
	struct herd_err err = HERD_ERR_INIT;
	json_t *all = herd_yaml_read(file, &err);
	json_t *dcs = all ? herd_json_path(all, "bootstrap.dcs") : NULL;
	char *text = NULL;

	if (!all)
		fprintf(stderr, "pgherd sim: %s\n", herd_err_text(&err));
	else if (!json_is_object(dcs ? dcs : all))
		fprintf(stderr, "pgherd sim: %s holds no mapping\n", file);
	else
		text = herd_json_dump(dcs ? dcs : all);
	json_decref(all);
	herd_err_clear(&err);
	return text;
}

int herd_sim_main(int argc, char **argv)
{
	struct options o;
	int r = parse_options(argc, argv, &o);
	char *config = NULL;
	long failed = 0, promotions = 0, handovers = 0, acks = 0, steps = 0;

	if (r)
		return r == 1 ? 0 : 2;
	if (o.file && !(config = read_config(o.file)))
		return 1;
	for (int64_t seed = o.first; seed <= o.last; seed++) {
		struct sim *w = calloc(1, sizeof(*w));

		if (!w) {
			fprintf(stderr, "pgherd sim: out of memory\n");
			failed++;
			break;
		}
		if (!sim_run(w, (uint64_t)seed, config, o.trace))
			failed++;
		promotions += w->n_promotions;
		handovers += w->n_handovers;
		acks += (long)w->n_acks;
		steps += w->n_steps;
		sim_free(w);
		free(w);
	}
	free(config);
	printf("%" PRId64 " seeds, %ld failed: %ld steps, %ld commits, %ld promotions, %ld of them "
	       "handovers\n",
	       o.last - o.first + 1, failed, steps, acks, promotions, handovers);
	return failed ? 1 : 0;
}
