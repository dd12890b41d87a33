/*
 * callbacks.c - the user's scripts: callbacks (on_start ...), which run beside everything, and
 * hooks, which a task waits for.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/internal.h"
#include "base/buf.h"
#include "base/str.h"

enum { LINES = 50, OUTPUT = 65536 }; /* of a script's words in the log */

/* Which of them exclude each other: on_reload is apart, scripts that move addresses are not to be
 * ended by it. */
enum kind { CALLBACK = 0, RELOAD, HOOK };

struct herd_callbacks {
	struct herd_child *running[HOOK]; /* at most one of a kind; a new one ends the old */
};

struct script {
	struct herd_agent *a;
	enum kind kind;
	char *what; /* "callback on_start replica" */
	struct herd_child *child;
	int out; /* memfd */
	void (*fn)(void *arg, bool ok);
	void *arg;
};

/* Splits a command as a shell would: blanks, both kinds of quotes, backslash. NULL-terminated. */
static char **split(const char *cmd)
{
	char **v = calloc(strlen(cmd) / 2 + 8, sizeof(*v));
	size_t n = 0;

	while (v && *cmd) {
		struct herd_buf word = { 0 };
		char quote = 0;
		bool any = false;

		while (*cmd == ' ' || *cmd == '\t')
			cmd++;
		for (; *cmd && (quote || (*cmd != ' ' && *cmd != '\t')); cmd++, any = true) {
			if (!quote && (*cmd == '\'' || *cmd == '"'))
				quote = *cmd;
			else if (quote && *cmd == quote)
				quote = 0;
			else if (*cmd == '\\' && quote != '\'' && cmd[1])
				herd_buf_addc(&word, *++cmd);
			else
				herd_buf_addc(&word, *cmd);
		}
		if (any)
			v[n++] = herd_buf_steal(&word);
		herd_buf_free(&word);
	}
	return v;
}

static void script_free(struct script *s)
{
	if (s->out >= 0)
		close(s->out);
	free(s->what);
	free(s);
}

static void log_output(const struct script *s, bool ok)
{
	char *text = malloc(OUTPUT), *save = NULL;
	ssize_t n = text ? pread(s->out, text, OUTPUT - 1, 0) : -1;
	int lines = 0;

	if (text)
		text[n > 0 ? n : 0] = '\0';
	for (char *line = text ? strtok_r(text, "\n", &save) : NULL; line && lines < LINES;
	     lines++) {
		herd_log_at(s->a->log, ok ? HERD_LOG_INFO : HERD_LOG_WARNING, "%s: %s", s->what,
			    line);
		line = strtok_r(NULL, "\n", &save);
	}
	free(text);
}

static void on_end(void *arg, int status, const char *output, size_t len)
{
	struct script *s = arg;
	bool ok = WIFEXITED(status) && WEXITSTATUS(status) == 0;

	/* One that was ended for its successor ends when that runs already. */
	if (s->kind != HOOK && s->a->callbacks->running[s->kind] == s->child)
		s->a->callbacks->running[s->kind] = NULL;
	log_output(s, ok);
	if (WIFEXITED(status) && !ok)
		herd_warning(s->a->log, "%s failed with exit code %d", s->what,
			     WEXITSTATUS(status));
	else if (WIFSIGNALED(status))
		herd_warning(s->a->log, "%s was ended by signal %d", s->what, WTERMSIG(status));
	if (s->fn)
		s->fn(s->arg, ok);
	script_free(s);
}

/*
 * Its words go to a file in memory, which we read at the end: with a pipe, a script that outlives
 * us (on_stop at our end) would die of its next word.
 */
static struct herd_child *run(struct script *s, const char *cmd, const char *const *more,
			      int64_t timeout_ms)
{
	struct herd_err err = HERD_ERR_INIT;
	struct herd_child *child = NULL;
	char **argv = split(cmd);
	size_t n = 0;

	s->out = memfd_create("script", MFD_CLOEXEC);
	while (argv && argv[n])
		n++;
	size_t words = n;

	for (size_t i = 0; argv && more && more[i] && n < words + 3; i++)
		argv[n++] = (char *)more[i];
	struct herd_child_opts o = {
		.argv = (const char *const *)argv,
		.output_fd = s->out,
		.timeout_ms = timeout_ms,
	};

	if (!argv || !words || s->out < 0)
		herd_error(s->a->log, "could not run %s: %s", s->what,
			   words ? "out of memory or descriptors" : "it is empty");
	else if (herd_child_start(s->a->loop, &o, on_end, s, &child, &err) < 0)
		herd_log_err(s->a->log, HERD_LOG_ERROR, &err, "could not run %s", s->what);
	for (size_t i = 0; argv && i < words; i++)
		free(argv[i]);
	free(argv);
	herd_err_clear(&err);
	return child;
}

/* The children of pid and theirs, also those that have left its process group. */
static size_t descendants(pid_t pid, pid_t *list, size_t n, size_t max)
{
	char path[64], *text = NULL;
	size_t cap = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
	f = fopen(path, "re");
	if (f && getdelim(&text, &cap, '\0', f) > 0) {
		char *save = NULL;

		for (char *w = strtok_r(text, " ", &save); w && n < max;
		     w = strtok_r(NULL, " ", &save)) {
			list[n] = (pid_t)atoi(w);
			n = descendants(list[n], list, n + 1, max);
		}
	}
	if (f)
		fclose(f);
	free(text);
	return n;
}

static void end_tree(struct herd_child *c)
{
	enum { MANY = 256 };
	pid_t list[MANY];
	size_t n = herd_child_pid(c) > 0 ? descendants(herd_child_pid(c), list, 0, MANY) : 0;

	herd_child_signal(c, SIGKILL);
	for (size_t i = 0; i < n; i++)
		kill(list[i], SIGKILL);
}

static struct script *script_new(struct herd_agent *a, enum kind kind, char *what)
{
	struct script *s = calloc(1, sizeof(*s));

	if (!a->callbacks)
		a->callbacks = calloc(1, sizeof(*a->callbacks));
	if (!s || !what || !a->callbacks) {
		free(what);
		free(s);
		return NULL;
	}
	*s = (struct script){ .a = a, .kind = kind, .what = what, .out = -1 };
	return s;
}

void herd_agent_callback(struct herd_agent *a, const char *action, const char *role)
{
	char *key = herd_str_printf("postgresql.callbacks.%s", action);
	const char *cmd = key ? herd_agent_config_str(a->cfg, key, NULL) : NULL;
	const char *more[] = { action, role, herd_agent_config_str(a->cfg, "scope", ""), NULL };
	enum kind kind = strcmp(action, "on_reload") == 0 ? RELOAD : CALLBACK;
	struct script *s;

	free(key);
	if (!cmd)
		return;
	s = script_new(a, kind, herd_str_printf("callback %s %s", action, role));
	if (!s)
		return;
	if (a->callbacks->running[kind])
		end_tree(a->callbacks->running[kind]);
	s->child = a->callbacks->running[kind] = run(s, cmd, more, 0);
	if (!s->child)
		script_free(s);
}

void herd_agent_hook(struct herd_agent *a, const char *key, int64_t timeout_ms,
		     void (*fn)(void *arg, bool ok), void *arg)
{
	const char *cmd = herd_agent_config_str(a->cfg, key, NULL);
	const char *dot = strrchr(key, '.');
	struct script *s =
		cmd ? script_new(a, HOOK, herd_str_printf("%s script", dot ? dot + 1 : key)) : NULL;

	if (!s) {
		fn(arg, !cmd);
		return;
	}
	s->fn = fn;
	s->arg = arg;
	if (!run(s, cmd, NULL, timeout_ms)) {
		script_free(s);
		fn(arg, false);
	}
}
