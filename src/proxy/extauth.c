#include "proxy/extauth.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "proxy/helpers.h"
#include "proxy/ldapauth.h"
#include "proxy/pam.h"

enum { NO_LIMIT_S = 60 };

struct herd_extauth {
	struct herd_job job;
	struct herd_client *client;   /* NULL: it left; the worker's */
	struct herd_pconf *config;    /* keeps ldap */
	const struct herd_ldap *ldap; /* NULL: PAM */
	char *user, *password, *rhost;
	int timeout_s;
	int rc;
	struct herd_err err;
};

static void wipe(char *s)
{
	if (s)
		herd_str_wipe(s, strlen(s));
	free(s);
}

static void free_extauth(struct herd_extauth *e)
{
	herd_pconf_unref(e->config);
	free(e->user);
	wipe(e->password);
	free(e->rhost);
	herd_err_clear(&e->err);
	free(e);
}

static void run(struct herd_job *j)
{
	struct herd_extauth *e = herd_container_of(j, struct herd_extauth, job);

	if (e->ldap)
		e->rc = herd_ldap_login(e->ldap, e->user, e->password, e->timeout_s, &e->err);
	else
		e->rc = herd_pam_login(HERD_PAM_SERVICE, e->user, e->password, e->rhost, &e->err);
}

static void discard(struct herd_job *j)
{
	free_extauth(herd_container_of(j, struct herd_extauth, job));
}

static void done(struct herd_worker *w, struct herd_job *j)
{
	struct herd_extauth *e = herd_container_of(j, struct herd_extauth, job);
	struct herd_client *c = e->client;

	(void)w;
	if (!c) {
		free_extauth(e);
		return;
	}
	struct herd_login *l = c->login;
	const char *method = e->ldap ? "LDAP" : "PAM";

	l->ext = NULL;
	if (e->rc == 0) {
		/* It may open the server as well. */
		l->password = e->password;
		e->password = NULL;
		herd_login_authentic(c);
		if (c->state != HERD_CLIENT_CLOSED)
			herd_client_wake(c);
	} else {
		herd_client_log(c, HERD_LOG_WARNING, "%s authentication failed: %s", method,
				herd_err_text(&e->err));
		herd_client_fail(c, "28P01", "%s authentication failed", method);
	}
	free_extauth(e);
}

void herd_extauth_forget(struct herd_extauth *e)
{
	if (!e)
		return;
	e->client = NULL;
	atomic_store(&e->job.dropped, true);
}

void herd_extauth_start(struct herd_client *c, const char *password)
{
	int64_t limit = herd_worker_settings(c->w)->client_login_timeout / 1000000;
	struct herd_extauth *e = calloc(1, sizeof(*e));
	struct herd_login *l = c->login;

	if (e) {
		e->job.w = c->w;
		e->job.run = run;
		e->job.done = done;
		e->job.discard = discard;
		e->client = c;
		e->config = herd_pconf_ref(l->config ? l->config : c->w->live->config);
		e->ldap = l->method == HERD_AUTH_LDAP ? l->ldap : NULL;
		e->user = strdup(c->user);
		e->password = strdup(password);
		e->rhost = strdup(c->addr.host);
		e->timeout_s = limit > 0 && limit < NO_LIMIT_S ? (int)limit : NO_LIMIT_S;
		e->err = (struct herd_err)HERD_ERR_INIT;
	}
	if (!e || !e->user || !e->password || !e->rhost ||
	    herd_helpers_submit(c->w->px->helpers, &e->job) < 0) {
		if (e)
			free_extauth(e);
		herd_client_fail(c, "53200", "out of memory");
		return;
	}
	l->ext = e;
	c->state = HERD_CLIENT_LOOKUP;
}
