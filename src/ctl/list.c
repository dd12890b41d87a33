#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/str.h"
#include "ctl/internal.h"

static const struct ctl_opt list_opts[] = {
	{ '\0', "group", NULL, "INTEGER", "Citus group." },
	{ 'e', "extended", NULL, NULL, "Show some extra information." },
	{ 't', "timestamp", NULL, NULL, "Print timestamp." },
	{ 'f', "format", NULL, CTL_FORMATS, "Output format." },
	{ 'W', "W", NULL, NULL, "Auto update the screen every 2 seconds." },
	{ 'w', "watch", NULL, "FLOAT", "Auto update the screen every X seconds." },
	{ 0 },
};

static const struct ctl_opt topology_opts[] = {
	{ '\0', "group", NULL, "INTEGER", "Citus group." },
	{ 'W', "W", NULL, NULL, "Auto update the screen every 2 seconds." },
	{ 'w', "watch", NULL, "FLOAT", "Auto update the screen every X seconds." },
	{ 0 },
};

struct view {
	enum ctl_format format;
	int group;
	bool extended, timestamp, topology;
};

static int show_one(struct ctl *c, const char *name, const struct view *v)
{
	struct ctl_cluster k;

	if (ctl_open(c, name, &k) < 0)
		return -1;
	int rc = ctl_print_members(&k, v->group, v->format, v->extended, v->topology);

	ctl_close(&k);
	return rc;
}

static int show(struct ctl *c, const struct ctl_args *a, const struct view *v)
{
	size_t words = ctl_args_words(a);
	int rc = 0;

	if (v->timestamp) {
		char *now = ctl_timestamp(0);

		puts(now ? now : "");
		free(now);
	}
	if (words == 0 && !herd_json_str(c->config, "scope", NULL)) {
		fputs("WARNING: Listing members: No cluster names were provided\n", stderr);
		return 0;
	}
	if (words == 0)
		return show_one(c, NULL, v);
	for (size_t i = 0; i < words && rc == 0; i++)
		rc = show_one(c, ctl_args_word(a, i), v);
	return rc;
}

static int run(struct ctl *c, const struct ctl_args *a, bool topology)
{
	struct view v = { .format = CTL_PRETTY,
			  .extended = ctl_args_has(a, "extended"),
			  .timestamp = ctl_args_has(a, "timestamp"),
			  .topology = topology };
	const char *format = ctl_args_get(a, "format"), *watch = ctl_args_get(a, "watch");
	double seconds = ctl_args_has(a, "W") ? 2 : 0;

	if (ctl_group_option(c, a, false, &v.group) < 0)
		return CTL_USAGE;
	if (format && ctl_format_parse(format, &v.format) < 0)
		return CTL_USAGE;
	if (watch)
		seconds = strtod(watch, NULL);
	for (;;) {
		bool never = false;

		if (seconds > 0 && isatty(STDOUT_FILENO))
			fputs("\033[H\033[2J", stdout);
		int rc = show(c, a, &v);

		fflush(stdout);
		if (seconds <= 0 || rc < 0 || ferror(stdout))
			return rc < 0 ? CTL_FAILED : CTL_OK;
		herd_loop_run_until(c->loop, &never, (int64_t)(seconds * 1000));
	}
}

static int run_list(struct ctl *c, const struct ctl_args *a)
{
	return run(c, a, false);
}

static int run_topology(struct ctl *c, const struct ctl_args *a)
{
	return run(c, a, true);
}

const struct ctl_verb ctl_list = {
	"list", "[CLUSTER_NAMES]...", "List the members of a cluster", list_opts, 0, -1, run_list,
};

const struct ctl_verb ctl_topology = {
	"topology",
	"[CLUSTER_NAMES]...",
	"Show the members as a tree of who follows whom",
	topology_opts,
	0,
	-1,
	run_topology,
};
