#include "pg/command.h"

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/str.h"
#include "pg/settings.h"

static bool inherited(const char *var, const char *const *set)
{
	static const char *const not_ours[] = { "PATRONI_", "PGHERD_", "KUBERNETES_",
						"NOTIFY_SOCKET=" };
	size_t name = strcspn(var, "=") + 1;

	for (size_t i = 0; i < sizeof(not_ours) / sizeof(*not_ours); i++) {
		if (herd_str_starts(var, not_ours[i]))
			return false;
	}
	for (; set != NULL && *set != NULL; set++) {
		if (strncmp(var, *set, name) == 0)
			return false;
	}
	return true;
}

static char *env_copy(const char *var)
{
	if (herd_str_starts(var, "PG_MALLOC_ARENA_MAX="))
		return strdup(var + strlen("PG_"));
	return strdup(var);
}

char **herd_pg_env(const char *const *set)
{
	size_t n = 0, i = 0;
	char **env;

	while (environ[n] != NULL)
		n++;
	for (const char *const *s = set; s != NULL && *s != NULL; s++)
		n++;
	env = calloc(n + 1, sizeof(*env));
	if (env == NULL)
		return NULL;
	for (char **var = environ; *var != NULL; var++) {
		if (!inherited(*var, set))
			continue;
		env[i] = env_copy(*var);
		if (env[i++] == NULL)
			goto fail;
	}
	for (; set != NULL && *set != NULL; set++) {
		env[i] = strdup(*set);
		if (env[i++] == NULL)
			goto fail;
	}
	return env;
fail:
	herd_pg_env_free(env);
	return NULL;
}

void herd_pg_env_free(char **env)
{
	for (char **var = env; var != NULL && *var != NULL; var++) {
		herd_str_wipe(*var, strlen(*var)); /* some hold passwords */
		free(*var);
	}
	free(env);
}

int herd_pg_command_start(struct herd_loop *l, const char *const *argv, const char *const *set,
			  int64_t timeout_ms, herd_child_fn fn, void *arg, struct herd_child **ret,
			  struct herd_err *err)
{
	char **env = herd_pg_env(set);
	struct herd_child_opts opts = {
		.argv = argv,
		.env = (const char *const *)env,
		.output_fd = -1,
		.timeout_ms = timeout_ms,
		.die_with_parent = true,
	};
	int rc;

	if (env == NULL)
		return herd_err_set(err, -ENOMEM, "out of memory");
	rc = herd_child_start(l, &opts, fn, arg, ret, err);
	herd_pg_env_free(env);
	return rc;
}

/* The last lines of a program's output, which say why it failed. */
static const char *last_lines(const char *output)
{
	size_t len = strlen(output);
	int lines = 0;

	while (len > 0) {
		if (output[len - 1] == '\n' && output[len] != '\0' && ++lines == 4)
			break;
		len--;
	}
	return output + len;
}

int herd_pg_command_check(const char *name, int status, const char *output, struct herd_err *err)
{
	char *tail;

	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		herd_err_set(err, -ENOENT, "could not run %s", name);
	else if (WIFSIGNALED(status))
		herd_err_set(err, -EIO, "%s was terminated by signal %d", name, WTERMSIG(status));
	else
		herd_err_set(err, -EIO, "%s failed with exit code %d", name, WEXITSTATUS(status));
	tail = strdup(output != NULL ? last_lines(output) : "");
	if (tail != NULL && *herd_str_trim(tail) != '\0')
		herd_err_detail(err, "%s", herd_str_trim(tail));
	free(tail);
	return WIFEXITED(status) && WEXITSTATUS(status) == 127 ? -ENOENT : -EIO;
}

/* Appends one word from *p on; false at an unfinished quote. */
static bool split_word(const char **p, struct herd_buf *word)
{
	char quote = '\0';
	const char *s = *p;

	for (; *s != '\0' && (quote != '\0' || strchr(" \t\n", *s) == NULL); s++) {
		if (quote == '\0' && (*s == '\'' || *s == '"')) {
			quote = *s;
		} else if (*s == quote) {
			quote = '\0';
		} else if (*s == '\\' && quote != '\'' && s[1] != '\0') {
			/* inside double quotes a backslash escapes only these */
			if (quote == '"' && strchr("\"\\$`", s[1]) == NULL)
				herd_buf_addc(word, '\\');
			herd_buf_addc(word, *++s);
		} else {
			herd_buf_addc(word, *s);
		}
	}
	*p = s;
	return quote == '\0';
}

int herd_pg_command_split(const char *line, struct herd_pg_lines *ret, struct herd_err *err)
{
	struct herd_pg_lines words = { 0 };
	struct herd_buf word = { 0 };
	int rc = 0;

	for (;;) {
		line += strspn(line, " \t\n");
		if (*line == '\0')
			break;
		herd_buf_reset(&word);
		if (!split_word(&line, &word)) {
			rc = herd_err_set(err, -EINVAL, "unterminated quote in a command");
			break;
		}
		rc = herd_buf_ok(&word) ? herd_pg_lines_add(&words, herd_buf_str(&word)) : -ENOMEM;
		if (rc < 0) {
			herd_err_set(err, rc, "out of memory");
			break;
		}
	}
	herd_buf_free(&word);
	if (rc == 0 && words.n == 0)
		rc = herd_err_set(err, -EINVAL, "command is empty");
	if (rc < 0) {
		herd_pg_lines_clear(&words);
		return rc;
	}
	*ret = words;
	return 0;
}
