/*
 * tools/barman.c - operations of a Barman server through pg-backup-api: an operation is created by
 * one request, and asked for until it has ended.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "tools/tools.h"
#include "tools/web.h"

enum { REQUEST_TIMEOUT_MS = 60000, SWITCH_POLL_S = 5 };

/* What ends a command early; the two commands number these differently. */
enum outcome { DONE, FAILED, NOT_OK, HTTP_ERROR };

static const int recover_exits[] = { [DONE] = 0, [FAILED] = 1, [NOT_OK] = 2, [HTTP_ERROR] = 3 };
static const int switch_exits[] = { [DONE] = 0, [FAILED] = 2, [NOT_OK] = 3, [HTTP_ERROR] = 4 };
enum { EXIT_SKIPPED = 1, EXIT_ARGUMENTS = 5, EXIT_USAGE = 2, EXIT_NO_COMMAND = 255 };

struct barman {
	const char *api_url, *cert, *key, *log_file, *server;
	const char *backup_id, *ssh_command, *data_dir; /* recover */
	const char *model, *when;                       /* config-switch */
	bool reset;
	int64_t retry_wait, max_retries, loop_wait;
	const char *words[4]; /* command, and what the agent adds to a callback */
	size_t n_words;
	struct herd_log *log;
};

static json_t *ask(struct barman *b, const char *method, const char *path, const char *body,
		   struct herd_err *err)
{
	static const char *const headers[] = { "Content-Type: application/json", NULL };
	size_t len = strlen(b->api_url);
	char *url = herd_str_printf("%s%s%s", b->api_url,
				    len > 0 && b->api_url[len - 1] == '/' ? "" : "/", path);
	struct tools_request r = { .method = method,
				   .url = url,
				   .body = body,
				   .headers = body ? headers : NULL,
				   .cert = b->cert,
				   .key = b->key,
				   .timeout_ms = REQUEST_TIMEOUT_MS };
	struct herd_buf answer = { 0 };
	int status = 0;
	json_t *v = NULL;

	if (!url)
		herd_err_set(err, -ENOMEM, "out of memory");
	else if (tools_web_ask(&r, &status, &answer, err) == 0)
		v = json_loadb(herd_buf_str(&answer), answer.len, JSON_DECODE_ANY, NULL);
	if (!v && err->code == 0)
		herd_err_set(err, -EPROTO, "%s %s: status %d, and the answer is no JSON", method,
			     url, status);
	herd_buf_free(&answer);
	free(url);
	return v;
}

/* A text member of the answer, malloc'd; asks again while the answer does not have it. */
static char *ask_for(struct barman *b, const char *method, const char *path, const char *body,
		     const char *member)
{
	for (int64_t i = 1; i <= b->max_retries; i++) {
		struct herd_err err = HERD_ERR_INIT;
		json_t *v = ask(b, method, path, body, &err);
		char *text =
			herd_str_dup(json_is_object(v) ? herd_json_str(v, member, NULL) : NULL);
		bool answered = v != NULL;

		json_decref(v);
		if (text)
			return text;
		herd_warning(b->log, "attempt %lld of %lld: %s", (long long)i,
			     (long long)b->max_retries,
			     answered ? "the answer has no such member" : herd_err_text(&err));
		if (answered)
			herd_info(b->log, "expected member \"%s\" in the answer of %s", member,
				  path);
		herd_err_clear(&err);
		sleep((unsigned)b->retry_wait);
	}
	return NULL;
}

static bool api_is_ok(struct barman *b)
{
	struct herd_err err = HERD_ERR_INIT;
	json_t *v = ask(b, "GET", "status", NULL, &err);
	bool ok = json_is_string(v) && strcmp(json_string_value(v), "OK") == 0;

	if (!ok)
		herd_error(b->log, "pg-backup-api is not working at %s: %s", b->api_url,
			   v ? "its status is not OK" : herd_err_text(&err));
	json_decref(v);
	herd_err_clear(&err);
	return ok;
}

static enum outcome run_operation(struct barman *b, json_t *body, const char *name, int64_t wait_s)
{
	char *text = herd_json_dump(body);
	char *path = herd_str_printf("servers/%s/operations", b->server);
	char *id = text && path ? ask_for(b, "POST", path, text, "operation_id") : NULL;
	char *status_path = id ? herd_str_printf("%s/%s", path, id) : NULL;
	char *status = NULL;
	enum outcome out = HTTP_ERROR;

	if (id)
		herd_info(b->log, "Created the %s operation with ID %s", name, id);
	else
		herd_error(b->log, "could not create a %s operation", name);
	while (status_path) {
		free(status);
		status = ask_for(b, "GET", status_path, NULL, "status");
		if (!status || strcmp(status, "IN_PROGRESS") != 0)
			break;
		herd_info(b->log, "The %s operation %s is still in progress", name, id);
		sleep((unsigned)wait_s);
	}
	if (id && !status)
		herd_error(b->log, "Maximum number of retries exceeded, exiting.");
	if (status)
		out = strcmp(status, "DONE") == 0 ? DONE : FAILED;
	if (out == DONE)
		herd_info(b->log, "The %s operation finished successfully.", name);
	else if (out == FAILED)
		herd_error(b->log, "The %s operation failed.", name);
	free(status);
	free(status_path);
	free(id);
	free(path);
	free(text);
	return out;
}

static int recover(struct barman *b)
{
	if (!api_is_ok(b))
		return recover_exits[NOT_OK];

	json_t *body = json_pack("{s:s, s:s, s:s, s:s}", "type", "recovery", "backup_id",
				 b->backup_id, "remote_ssh_command", b->ssh_command,
				 "destination_directory", b->data_dir);
	enum outcome out = run_operation(b, body, "recovery", b->loop_wait);

	json_decref(body);
	return recover_exits[out];
}

static bool one_of(const char *word, const char *const *list)
{
	for (; *list; list++)
		if (herd_str_eq(word, *list))
			return true;
	return false;
}

static int config_switch(struct barman *b)
{
	static const char *const promoted[] = { "master", "primary", "promoted", NULL };
	static const char *const demoted[] = { "replica", "demoted", NULL };
	const char *role = b->words[2];

	if ((strcmp(b->when, "promoted") == 0 && !one_of(role, promoted)) ||
	    (strcmp(b->when, "demoted") == 0 && !one_of(role, demoted))) {
		herd_info(b->log, "Config switch operation was skipped (role=%s, switch_when=%s).",
			  role, b->when);
		return EXIT_SKIPPED;
	}
	if (!b->model == !b->reset) {
		herd_error(b->log,
			   "one, and only one, of --barman-model and --reset must be given");
		return EXIT_ARGUMENTS;
	}
	if (!api_is_ok(b))
		return switch_exits[NOT_OK];

	json_t *body =
		b->model ? json_pack("{s:s, s:s}", "type", "config_switch", "model_name", b->model)
			 : json_pack("{s:s, s:b}", "type", "config_switch", "reset", 1);
	enum outcome out = run_operation(b, body, "config switch", SWITCH_POLL_S);

	json_decref(body);
	return switch_exits[out];
}

static void usage(FILE *out)
{
	fputs("patroni_barman: operations of a Barman server through pg-backup-api\n"
	      "\n"
	      "Usage:\n"
	      "  patroni_barman --api-url URL [OPTION]... recover --barman-server NAME\n"
	      "      --ssh-command COMMAND --datadir DIR [--backup-id ID] [--loop-wait S]\n"
	      "  patroni_barman --api-url URL [OPTION]... config-switch --barman-server NAME\n"
	      "      --barman-model NAME|--reset --switch-when WHEN ACTION ROLE CLUSTER\n"
	      "\n"
	      "Options:\n"
	      "  --api-url URL          where pg-backup-api answers, like http://localhost:7480\n"
	      "  --cert-file FILE       client certificate for the API\n"
	      "  --key-file FILE        its key\n"
	      "  --retry-wait S         pause before a request is made again (default 2)\n"
	      "  --max-retries N        attempts when an answer is malformed (default 5)\n"
	      "  --log-file FILE        where messages go (default: standard error)\n"
	      "  --barman-server NAME   the server as Barman knows it\n"
	      "\n"
	      "recover (a bootstrap or replica creation method):\n"
	      "  --backup-id ID         what Barman takes for a backup (default: latest)\n"
	      "  --ssh-command COMMAND  how Barman's host reaches this one\n"
	      "  --datadir DIR, --data-directory DIR\n"
	      "                         where the backup goes\n"
	      "  --loop-wait S          pause between questions for its state (default 10)\n"
	      "\n"
	      "config-switch (an on_role_change callback; the agent adds ACTION ROLE CLUSTER):\n"
	      "  --barman-model NAME    the configuration model to apply\n"
	      "  --reset                takes the active model away\n"
	      "  --switch-when WHEN     promoted (default), demoted or always\n",
	      out);
}

enum {
	O_URL = 256,
	O_CERT,
	O_KEY,
	O_WAIT,
	O_MAX,
	O_LOG,
	O_SERVER,
	O_BACKUP,
	O_SSH,
	O_DIR,
	O_LOOP,
	O_MODEL,
	O_RESET,
	O_WHEN
};

static bool number(const char *name, const char *text, int64_t *ret)
{
	if (herd_str_to_i64(text, ret) == 0 && *ret >= 0 && *ret <= 86400)
		return true;
	fprintf(stderr, "patroni_barman: invalid value for --%s: \"%s\" (0 to 86400)\n", name,
		text);
	return false;
}

static bool take_option(struct barman *b, int o, char *value)
{
	switch (o) {
	case O_WAIT:
		return number("retry-wait", value, &b->retry_wait);
	case O_MAX:
		return number("max-retries", value, &b->max_retries);
	case O_LOOP:
		return number("loop-wait", value, &b->loop_wait);
	case O_RESET:
		b->reset = true;
		return true;
	default:
		break;
	}

	const char **slot = o == O_URL      ? &b->api_url
			    : o == O_CERT   ? &b->cert
			    : o == O_KEY    ? &b->key
			    : o == O_LOG    ? &b->log_file
			    : o == O_SERVER ? &b->server
			    : o == O_BACKUP ? &b->backup_id
			    : o == O_SSH    ? &b->ssh_command
			    : o == O_DIR    ? &b->data_dir
			    : o == O_MODEL  ? &b->model
					    : &b->when;
	*slot = value;
	return true;
}

/* -1: go on; else the exit code. Options of others (--scope, --role ...) are let pass. */
static int read_arguments(struct barman *b, int argc, char **argv)
{
	static const struct option options[] = {
		{ "api-url", required_argument, NULL, O_URL },
		{ "cert-file", required_argument, NULL, O_CERT },
		{ "key-file", required_argument, NULL, O_KEY },
		{ "retry-wait", required_argument, NULL, O_WAIT },
		{ "max-retries", required_argument, NULL, O_MAX },
		{ "log-file", required_argument, NULL, O_LOG },
		{ "barman-server", required_argument, NULL, O_SERVER },
		{ "backup-id", required_argument, NULL, O_BACKUP },
		{ "ssh-command", required_argument, NULL, O_SSH },
		{ "data-directory", required_argument, NULL, O_DIR },
		{ "datadir", required_argument, NULL, O_DIR },
		{ "loop-wait", required_argument, NULL, O_LOOP },
		{ "barman-model", required_argument, NULL, O_MODEL },
		{ "reset", no_argument, NULL, O_RESET },
		{ "switch-when", required_argument, NULL, O_WHEN },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int o;

	opterr = 0;
	while ((o = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
		if (o == 'h') {
			usage(stdout);
			return 0;
		}
		if (o == ':') {
			fprintf(stderr, "patroni_barman: option \"%s\" requires an argument\n",
				argv[optind - 1]);
			return EXIT_USAGE;
		}
		if (o != '?' && !take_option(b, o, optarg))
			return EXIT_USAGE;
	}
	for (; optind < argc && b->n_words < 4; optind++)
		b->words[b->n_words++] = argv[optind];
	if (b->n_words > 0)
		return -1;
	usage(stderr);
	return EXIT_NO_COMMAND;
}

static bool complete(const struct barman *b, bool recovers)
{
	static const char *const whens[] = { "promoted", "demoted", "always", NULL };
	static const char *const actions[] = { "on_role_change", NULL };
	const char *missing = !b->api_url                   ? "--api-url"
			      : !b->server                  ? "--barman-server"
			      : recovers && !b->ssh_command ? "--ssh-command"
			      : recovers && !b->data_dir    ? "--datadir"
			      : !recovers && b->n_words < 4 ? "ACTION ROLE CLUSTER"
							    : NULL;

	if (missing) {
		fprintf(stderr, "patroni_barman: %s is missing\n", missing);
		return false;
	}
	if (recovers)
		return true;
	if (!one_of(b->when, whens)) {
		fprintf(stderr,
			"patroni_barman: invalid value for --switch-when: \"%s\" "
			"(promoted, demoted or always)\n",
			b->when);
		return false;
	}
	if (!one_of(b->words[1], actions)) {
		fprintf(stderr, "patroni_barman: config-switch is for on_role_change, not \"%s\"\n",
			b->words[1]);
		return false;
	}
	return true;
}

int herd_barman_main(int argc, char **argv)
{
	struct barman b = { .backup_id = "latest",
			    .when = "promoted",
			    .retry_wait = 2,
			    .max_retries = 5,
			    .loop_wait = 10 };
	int rc = read_arguments(&b, argc, argv);
	struct herd_err err = HERD_ERR_INIT;

	if (rc >= 0)
		return rc;

	bool recovers = strcmp(b.words[0], "recover") == 0;

	if (!recovers && strcmp(b.words[0], "config-switch") != 0) {
		fprintf(stderr, "patroni_barman: unknown command \"%s\" (recover, config-switch)\n",
			b.words[0]);
		return EXIT_USAGE;
	}
	if (!complete(&b, recovers))
		return EXIT_USAGE;
	b.log = herd_log_new(STDERR_FILENO, HERD_LOG_PATRONI, HERD_LOG_INFO);
	if (!b.log)
		return EXIT_USAGE;
	if (b.log_file && herd_log_reopen(b.log, b.log_file, &err) < 0) {
		fprintf(stderr, "patroni_barman: %s\n", herd_err_text(&err));
		rc = EXIT_USAGE;
	} else {
		rc = recovers ? recover(&b) : config_switch(&b);
	}
	herd_err_clear(&err);
	herd_log_free(b.log);
	return rc;
}
