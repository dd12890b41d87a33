/* One login by PAM; blocks, so it runs on a helper thread. */
#include "proxy/pam.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifdef HERD_HAVE_PAM
#include <security/pam_appl.h>

bool herd_pam_built(void)
{
	return true;
}

/* Modules ask; the only answer there is, is the password. */
static int answer(int n, const struct pam_message **msg, struct pam_response **ret, void *arg)
{
	const char *password = arg;
	struct pam_response *r;

	if (n <= 0 || n > PAM_MAX_NUM_MSG)
		return PAM_CONV_ERR;
	r = calloc((size_t)n, sizeof(*r));
	for (int i = 0; r && i < n; i++) {
		int style = msg[i]->msg_style;

		if (style == PAM_PROMPT_ECHO_OFF)
			r[i].resp = strdup(password);
		if (style == PAM_ERROR_MSG || style == PAM_TEXT_INFO || r[i].resp)
			continue;
		for (int k = 0; k < i; k++)
			free(r[k].resp);
		free(r);
		return PAM_CONV_ERR;
	}
	*ret = r;
	return r ? PAM_SUCCESS : PAM_BUF_ERR;
}

int herd_pam_login(const char *service, const char *user, const char *password, const char *rhost,
		   struct herd_err *err)
{
	struct pam_conv conv = { answer, (void *)(uintptr_t)password };
	pam_handle_t *pam = NULL;
	const char *what = "pam_start";
	int rc = pam_start(service, user, &conv, &pam);

	if (rc == PAM_SUCCESS) {
		what = "pam_set_item";
		rc = pam_set_item(pam, PAM_RHOST, rhost);
	}
	if (rc == PAM_SUCCESS) {
		what = "pam_authenticate";
		rc = pam_authenticate(pam, PAM_SILENT);
	}
	if (rc == PAM_SUCCESS) {
		what = "pam_acct_mgmt";
		rc = pam_acct_mgmt(pam, PAM_SILENT);
	}
	if (rc != PAM_SUCCESS)
		herd_err_set(err, -EACCES, "%s() failed: %s", what, pam_strerror(pam, rc));
	if (pam)
		pam_end(pam, rc);
	return rc == PAM_SUCCESS ? 0 : -EACCES;
}
#else
bool herd_pam_built(void)
{
	return false;
}

int herd_pam_login(const char *service, const char *user, const char *password, const char *rhost,
		   struct herd_err *err)
{
	(void)service;
	(void)user;
	(void)password;
	(void)rhost;
	return herd_err_set(err, -ENOTSUP, "this build has no PAM");
}
#endif
