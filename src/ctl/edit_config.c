/*
 * ctl/edit_config.c - edit-config and show-config: the dynamic configuration of a group.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/str.h"
#include "base/yaml.h"
#include "ctl/internal.h"
#include "model/schema.h"

static const struct ctl_opt edit_opts[] = {
	{ '\0', "group", NULL, "INTEGER", "Citus group." },
	{ 'q', "quiet", NULL, NULL, "Do not show changes." },
	{ 's', "set", NULL, "TEXT",
	  "Set specific configuration value. Can be specified multiple times." },
	{ 'p', "pg", NULL, "TEXT",
	  "Set specific PostgreSQL parameter value. Shorthand for -s postgresql.parameters. "
	  "Can be specified multiple times." },
	{ '\0', "apply", NULL, "FILE", "Apply configuration from file. Use - for stdin." },
	{ '\0', "replace", NULL, "FILE",
	  "Apply configuration from file, replacing existing "
	  "configuration. Use - for stdin." },
	{ '\0', "force", NULL, NULL, "Do not ask for confirmation at any point." },
	{ 0 },
};

static const struct ctl_opt show_opts[] = {
	{ '\0', "group", NULL, "INTEGER", "Citus group." },
	{ 0 },
};

static char *as_yaml(const json_t *v)
{
	json_t *sorted = ctl_sorted(v);
	char *text = herd_yaml_dump(sorted);

	json_decref(sorted);
	return text;
}

static json_t *read_stdin(struct herd_err *err)
{
	struct herd_buf b = { 0 };
	int ch;

	while ((ch = getchar()) != EOF)
		herd_buf_addc(&b, (char)ch);
	/* Nothing is no configuration: a command before the pipe has failed. */
	json_t *v = b.len ? herd_yaml_parse("standard input", herd_buf_str(&b), b.len, err)
			  : json_null();

	herd_buf_free(&b);
	return v;
}

/* A map from a file, "-": standard input. NULL after a message. */
static json_t *read_map(const char *path)
{
	struct herd_err err = HERD_ERR_INIT;
	json_t *v = strcmp(path, "-") == 0 ? read_stdin(&err) : herd_yaml_read(path, &err);

	if (!v)
		ctl_fail_err(&err, NULL);
	else if (!json_is_object(v))
		ctl_fail("%s holds no map", path);
	herd_err_clear(&err);
	if (json_is_object(v))
		return v;
	json_decref(v);
	return NULL;
}

/* "a.b.c" and a value as the map that herd_json_patch takes: {a: {b: {c: value}}}. */
static json_t *nested(char *path, json_t *value)
{
	char *dot;

	while ((dot = strrchr(path, '.'))) {
		value = json_pack("{s:o}", dot + 1, value);
		*dot = '\0';
	}
	return json_pack("{s:o}", path, value);
}

static int set_one(json_t *config, const char *prefix, const char *text)
{
	struct herd_err err = HERD_ERR_INIT;
	const char *eq = strchr(text, '=');
	json_t *value = NULL;

	if (!eq || eq == text)
		return ctl_fail("Invalid parameter setting %s%s", prefix, text);
	/* No value means the same as null: the setting is removed. */
	if (!eq[1])
		value = json_null();
	else
		value = herd_yaml_parse(text, eq + 1, strlen(eq + 1), &err);
	if (!value) {
		ctl_fail_err(&err, "Invalid parameter setting");
		herd_err_clear(&err);
		return -1;
	}
	char *path = herd_str_printf("%s%.*s", prefix, (int)(eq - text), text);

	if (path && json_is_null(value) && !herd_json_path(config, path)) {
		/* Nothing to remove; a patch would leave empty maps on the way. */
		json_decref(value);
		free(path);
		return 0;
	}
	json_t *patch = path ? nested(path, value) : NULL;

	free(path);
	if (!patch)
		return ctl_fail("Invalid parameter setting %s", text);
	herd_json_patch(config, patch);
	json_decref(patch);
	return 0;
}

static int set_all(json_t *config, const struct ctl_args *a)
{
	const char *text;

	for (size_t i = 0; (text = ctl_args_nth(a, "set", i)); i++)
		if (set_one(config, "", text) < 0)
			return -1;
	for (size_t i = 0; (text = ctl_args_nth(a, "pg", i)); i++)
		if (set_one(config, "postgresql.parameters.", text) < 0)
			return -1;
	return 0;
}

static const char *find_editor(void)
{
	const char *editor = getenv("EDITOR");

	if (editor && *editor)
		return editor;
	if (access("/usr/bin/editor", X_OK) == 0)
		return "/usr/bin/editor";
	return "vi";
}

/* The editor may be a command with arguments; the file is the shell's $1, never part of its text.
 */
static int run_editor(const char *path)
{
	const char *editor = find_editor();
	char *command = herd_str_printf("%s \"$1\"", editor);
	pid_t pid = command ? fork() : -1;
	int status = -1;

	if (pid == 0) {
		execl("/bin/sh", "sh", "-c", command, "sh", path, (char *)NULL);
		_exit(127);
	}
	free(command);
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		return ctl_fail("could not start the editor \"%s\"", editor);
	if (WIFEXITED(status) && WEXITSTATUS(status) != 0)
		return ctl_fail("Editor exited with return code %d", WEXITSTATUS(status));
	if (WIFSIGNALED(status))
		return ctl_fail("Editor was ended by signal %d", WTERMSIG(status));
	return 0;
}

static json_t *edit(const char *before)
{
	const char *tmp = getenv("TMPDIR");
	char *path = herd_str_printf("%s/pgherd-config-XXXXXX.yaml", tmp && *tmp ? tmp : "/tmp");
	json_t *v = NULL;

	int fd = path ? mkstemps(path, 5) : -1;

	if (fd < 0) {
		ctl_fail("could not create a temporary file: %s", strerror(errno));
		free(path);
		return NULL;
	}
	bool ok = write(fd, before, strlen(before)) == (ssize_t)strlen(before);

	close(fd);
	if (!ok)
		ctl_fail("could not write the temporary file");
	else if (run_editor(path) == 0)
		v = read_map(path);
	unlink(path);
	free(path);
	return v;
}

/* The configuration that is wanted. NULL after a message. */
static json_t *wanted(const struct ctl_args *a, const json_t *config, const char *before)
{
	const char *apply = ctl_args_get(a, "apply"), *replace = ctl_args_get(a, "replace");

	if (!apply && !replace && !ctl_args_has(a, "set") && !ctl_args_has(a, "pg"))
		return edit(before);
	json_t *v = replace ? read_map(replace) : json_deep_copy(config);
	json_t *patch = v && apply ? read_map(apply) : NULL;

	if (patch)
		herd_json_patch(v, patch);
	if (v && ((apply && !patch) || set_all(v, a) < 0)) {
		json_decref(v);
		v = NULL;
	}
	json_decref(patch);
	return v;
}

/* The differences, in colours when asked for. */
static void write_diff(FILE *out, const char *diff, bool colour)
{
	for (const char *s = diff; s && *s;) {
		size_t len = strcspn(s, "\n");
		const char *on = !colour                                   ? ""
				 : *s == '+' && !herd_str_starts(s, "+++") ? "\033[32m"
				 : *s == '-' && !herd_str_starts(s, "---") ? "\033[31m"
				 : *s == '@'                               ? "\033[36m"
									   : "";

		fprintf(out, "%s%.*s%s\n", on, (int)len, s, *on ? "\033[0m" : "");
		s += len + (s[len] == '\n');
	}
	fflush(out);
}

/* On a terminal by $PAGER, else less or more when they are there; else plain. */
static void print_diff(const char *before, const char *after)
{
	char *diff = ctl_diff(before, after);
	const char *pager = getenv("PAGER");
	FILE *out = NULL;

	if (isatty(STDOUT_FILENO)) {
		if (!pager || !*pager)
			pager = access("/usr/bin/less", X_OK) == 0   ? "/usr/bin/less"
				: access("/usr/bin/more", X_OK) == 0 ? "/usr/bin/more"
								     : NULL;
		/* Colours are kept, and what fits on one screen stays there. */
		setenv("LESS", "FRX", 0);
		fflush(stdout);
		out = pager ? popen(pager, "we") : NULL;
	}
	write_diff(out ? out : stdout, diff, isatty(STDOUT_FILENO));
	if (out)
		pclose(out);
	free(diff);
}

static int save(struct ctl_cluster *k, const struct herd_cluster *g, const json_t *config)
{
	struct herd_err err = HERD_ERR_INIT;
	char *text = herd_json_dump(config);
	int rc = -1;

	switch (text ? ctl_change(k, g->group, "config", text, g->config_key.version, &err)
		     : HERD_DCS_UNREACHABLE) {
	case HERD_DCS_OK:
		puts("Configuration changed");
		rc = 0;
		break;
	case HERD_DCS_CONFLICT:
		ctl_fail("Config modification aborted due to concurrent changes");
		break;
	case HERD_DCS_UNKNOWN:
		ctl_fail("the store did not answer: the configuration may have been changed");
		break;
	default:
		ctl_fail_err(&err, "could not write the configuration");
	}
	herd_err_clear(&err);
	free(text);
	return rc;
}

static bool from_stdin(const struct ctl_args *a)
{
	return herd_str_eq(ctl_args_get(a, "apply"), "-") ||
	       herd_str_eq(ctl_args_get(a, "replace"), "-");
}

static int edit_group(struct ctl_cluster *k, const struct herd_cluster *g, const struct ctl_args *a)
{
	bool force = ctl_args_has(a, "force"), quiet = ctl_args_has(a, "quiet");
	char *before = as_yaml(g->config.raw), *after = NULL;
	json_t *v = before ? wanted(a, g->config.raw, before) : NULL;
	struct herd_err err = HERD_ERR_INIT;
	int rc = -1, yes;

	if (!v)
		goto out;
	after = as_yaml(v);
	if (!after)
		goto out;
	if (herd_schema_may_store(v, g->config.raw, &err) < 0) {
		ctl_fail("the configuration was not changed:\n%s", herd_err_text(&err));
		goto out;
	}
	rc = 0;
	if (json_equal(v, g->config.raw)) {
		if (!quiet)
			puts("Not changed");
		goto out;
	}
	if (!quiet)
		print_diff(before, after);
	if (from_stdin(a) && !force) {
		puts("Use --force option to apply changes");
		goto out;
	}
	yes = force ? 1 : ctl_confirm("Apply these changes?");
	rc = yes > 0 ? save(k, g, v) : yes;
out:
	herd_err_clear(&err);
	json_decref(v);
	free(before);
	free(after);
	return rc;
}

static int run(struct ctl *c, const struct ctl_args *a, bool change)
{
	struct ctl_cluster k;
	int group, rc = -1;

	if (ctl_group_option(c, a, true, &group) < 0)
		return CTL_USAGE;
	if (ctl_open(c, ctl_args_word(a, 0), &k) < 0)
		return CTL_FAILED;
	const struct herd_cluster *g = ctl_group(&k, group);

	if (g && !change) {
		char *text = as_yaml(g->config.raw);

		/* As patronictl: the text and an end of line. */
		if (text && g->config_key.version)
			puts(text);
		rc = text ? 0 : -1;
		free(text);
	} else if (g && g->config_key.version == 0) {
		ctl_fail("The config key does not exist in the cluster %s", k.name);
	} else if (g) {
		rc = edit_group(&k, g, a);
	}
	ctl_close(&k);
	return rc < 0 ? CTL_FAILED : CTL_OK;
}

static int run_edit(struct ctl *c, const struct ctl_args *a)
{
	return run(c, a, true);
}

static int run_show(struct ctl *c, const struct ctl_args *a)
{
	return run(c, a, false);
}

const struct ctl_verb ctl_edit_config = {
	"edit-config", "[CLUSTER_NAME]", "Edit cluster configuration", edit_opts, 0, 1, run_edit,
};

const struct ctl_verb ctl_show_config = {
	"show-config", "[CLUSTER_NAME]", "Show cluster configuration", show_opts, 0, 1, run_show,
};
