/*
 * callbacks.c - the user's scripts: callbacks (on_start ...), which run beside everything, and
 * hooks, which a task waits for.
 */
#define HERD_LOG_PART "patroni.postgresql.callback_executor"
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "agent/internal.h"
#include "base/buf.h"
#include "base/str.h"

struct herd_callbacks {
	struct herd_child *running; /* at most one; a new one ends the old */
};

struct hook {
	struct herd_agent *a;
	char *what;
	void (*fn)(void *arg, bool ok);
	void *arg;
	bool callback;
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

static void on_end(void *arg, int status, const char *output, size_t len)
{
	struct hook *h = arg;
	bool ok = WIFEXITED(status) && WEXITSTATUS(status) == 0;

	if (h->callback)
		h->a->callbacks->running = NULL;
	if (!ok)
		herd_warning(h->a->log, "%s failed with status %d: %.*s", h->what,
			     WIFEXITED(status) ? WEXITSTATUS(status) : -1, (int)len, output);
	else if (len)
		herd_debug(h->a->log, "%s: %.*s", h->what, (int)len, output);
	if (h->fn)
		h->fn(h->arg, ok);
	free(h->what);
	free(h);
}

static struct herd_child *run(struct herd_agent *a, const char *cmd, const char *const *more,
			      struct hook *h)
{
	struct herd_err err = HERD_ERR_INIT;
	struct herd_child *child = NULL;
	char **argv = split(cmd);
	size_t n = 0;

	while (argv && argv[n])
		n++;
	size_t words = n;

	for (size_t i = 0; argv && more && more[i] && n < words + 3; i++)
		argv[n++] = (char *)more[i];
	struct herd_child_opts o = { .argv = (const char *const *)argv, .output_fd = -1 };

	if (!argv || !words || herd_child_start(a->loop, &o, on_end, h, &child, &err) < 0)
		herd_log_err(a->log, HERD_LOG_ERROR, &err, "could not run %s", h->what);
	for (size_t i = 0; argv && i < words; i++)
		free(argv[i]);
	free(argv);
	herd_err_clear(&err);
	return child;
}

void herd_agent_callback(struct herd_agent *a, const char *action, const char *role)
{
	char *key = herd_str_printf("postgresql.callbacks.%s", action);
	const char *cmd = herd_agent_config_str(a->cfg, key, NULL);
	const char *more[] = { action, role, herd_agent_config_str(a->cfg, "scope", ""), NULL };
	struct hook *h;

	free(key);
	if (!cmd)
		return;
	if (!a->callbacks)
		a->callbacks = calloc(1, sizeof(*a->callbacks));
	h = calloc(1, sizeof(*h));
	if (!a->callbacks || !h) {
		free(h);
		return;
	}
	*h = (struct hook){ .a = a,
			    .what = herd_str_printf("callback %s", action),
			    .callback = strcmp(action, "on_reload") != 0 };
	if (h->callback && a->callbacks->running)
		herd_child_signal(a->callbacks->running, 9);
	struct herd_child *child = run(a, cmd, more, h);

	if (!child) {
		free(h->what);
		free(h);
	} else if (h->callback) {
		a->callbacks->running = child;
	}
}

void herd_agent_hook(struct herd_agent *a, const char *key, void (*fn)(void *arg, bool ok),
		     void *arg)
{
	const char *cmd = herd_agent_config_str(a->cfg, key, NULL);
	struct hook *h = cmd ? calloc(1, sizeof(*h)) : NULL;

	if (!cmd) {
		fn(arg, true);
		return;
	}
	if (!h) {
		fn(arg, false);
		return;
	}
	*h = (struct hook){ .a = a, .what = herd_str_dup(key), .fn = fn, .arg = arg };
	if (!run(a, cmd, NULL, h)) {
		free(h->what);
		free(h);
		fn(arg, false);
	}
}
