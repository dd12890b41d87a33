/* The parameters of the startup packet: tracked, ignored, or refused. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"
#include "proxy/login.h"
#include "proxy/repl.h"

static bool set_parameter(struct herd_client *c, const char *name, const char *value)
{
	const struct herd_settings *set = herd_worker_settings(c->w);

	if (herd_var_names_find(&c->w->px->vars, name) >= 0) {
		if (strcasecmp(name, "application_name") == 0 && set->application_name_add_host) {
			char *full =
				herd_str_printf("%s - %s:%d", value, c->addr.host, c->addr.port);

			if (full)
				herd_vars_set(&c->vars, &c->w->px->vars, name, full);
			free(full);
			return true;
		}
		return herd_vars_set(&c->vars, &c->w->px->vars, name, value) >= 0;
	}
	if (strcmp(name, "target_session_attrs") == 0)
		return herd_str_set(&c->login->session_attrs, value);
	return herd_pconf_in_list(set->ignore_startup_parameters, name) ||
	       strncmp(name, "_pq_.", 5) == 0;
}

/*
 * "-c name=value" and "--name=value"; a backslash keeps the next character. lenient: what is not
 * supported is passed over. False when it failed.
 */
static bool set_options(struct herd_client *c, const char *text, bool lenient)
{
	struct herd_buf word = { 0 };
	bool ok = true, expect = false;

	for (const char *p = text; ok && (*p || expect);) {
		herd_buf_reset(&word);
		while (isspace((unsigned char)*p))
			p++;
		while (*p && !isspace((unsigned char)*p)) {
			if (*p == '\\' && p[1])
				p++;
			herd_buf_addc(&word, *p++);
		}
		const char *w = herd_buf_str(&word);

		if (*w == '\0' && !expect)
			break;
		if (!expect && strcmp(w, "-c") == 0) {
			expect = true;
			continue;
		}
		if (!expect && (strncmp(w, "--", 2) == 0 || strncmp(w, "-c", 2) == 0))
			w += 2;
		else if (!expect)
			ok = false;
		expect = false;
		char *eq = ok ? strchr(w, '=') : NULL;

		if (!eq) {
			ok = lenient;
			if (!ok)
				herd_client_fail(c, "08P01",
						 "unsupported options startup parameter: only '-c "
						 "config=val' and '--config=val' are allowed");
			break;
		}
		*eq = '\0';
		ok = set_parameter(c, w, eq + 1) || lenient;
		if (!ok)
			herd_client_fail(c, "08P01", "unsupported startup parameter in options: %s",
					 w);
	}
	herd_buf_free(&word);
	return ok;
}

/* Is it a replication connection? False when it failed. */
static bool take_replication(struct herd_client *c, const struct herd_startup *s)
{
	const char *value = herd_startup_get(s, "replication");
	int kind = value ? herd_repl_parse(value) : 0;

	if (kind < 0) {
		herd_client_fail(c, "22023", "invalid value for parameter \"replication\": \"%s\"",
				 value);
		return false;
	}
	if (kind > 0 && herd_repl_new(c, (enum herd_repl_kind)kind, s) < 0) {
		herd_client_fail(c, "53200", "out of memory");
		return false;
	}
	return true;
}

bool herd_login_parameters(struct herd_client *c, const struct herd_startup *s)
{
	const struct herd_settings *set = herd_worker_settings(c->w);

	if (!take_replication(c, s))
		return false;
	for (int i = 0; i < s->nparams; i++) {
		const char *name = s->params[i].name, *value = s->params[i].value;

		if (strcmp(name, "user") == 0 || strcmp(name, "database") == 0)
			continue;
		if (strcmp(name, "replication") == 0)
			continue;
		if (c->repl) {
			/* Its server is its own and gets all of them. */
			set_parameter(c, name, value);
			continue;
		}
		if (strcmp(name, "options") == 0) {
			if (set_options(
				    c, value,
				    herd_pconf_in_list(set->ignore_startup_parameters, "options")))
				continue;
			return false;
		}
		if (set_parameter(c, name, value))
			continue;
		herd_client_fail(c, "08P01", "unsupported startup parameter: %s", name);
		return false;
	}
	return true;
}
