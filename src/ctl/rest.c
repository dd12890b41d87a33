#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "ctl/internal.h"

struct waiting {
	struct ctl_reply *reply;
	bool done;
};

static void on_done(void *arg, const struct herd_http_response *r)
{
	struct waiting *w = arg;

	w->reply->status = r->status;
	w->reply->body = strdup(r->body);
	if (r->err)
		herd_err_set(&w->reply->err, r->err->code, "%s", herd_err_text(r->err));
	w->done = true;
}

static const char *setting(const struct ctl *c, const char *path, const char *fallback)
{
	const char *text = json_string_value(herd_json_path(c->config, path));

	if (!text && fallback)
		text = json_string_value(herd_json_path(c->config, fallback));
	return text;
}

static bool open_client(struct ctl *c)
{
	struct herd_http_tls tls = {
		.cacert = setting(c, "ctl.cacert", "restapi.cafile"),
		.cert = setting(c, "ctl.certfile", NULL),
		.key = setting(c, "ctl.keyfile", NULL),
		.key_password = setting(c, "ctl.keyfile_password", NULL),
		.insecure = c->insecure ||
			    herd_json_bool(json_object_get(c->config, "ctl"), "insecure", false),
	};

	if (!c->http)
		c->http = herd_http_client_new(c->loop, &tls);
	return c->http != NULL;
}

/* "http://host:port/path" from the member's "http://host:port/patroni". */
static char *url_of(const struct herd_member *m, const char *path)
{
	const char *host = m->api_url ? strstr(m->api_url, "://") : NULL;

	if (!host)
		return NULL;
	size_t len = (size_t)(host - m->api_url) + 3;

	len += strcspn(m->api_url + len, "/");
	return herd_str_printf("%.*s/%s", (int)len, m->api_url, path);
}

void ctl_rest(struct ctl *c, const struct herd_member *m, const char *method, const char *path,
	      const json_t *body, int64_t timeout_ms, const char *what, struct ctl_reply *ret)
{
	char *url = url_of(m, path);
	char *text = body ? json_dumps(body, 0) : NULL;
	struct waiting w = { .reply = ret };
	struct herd_http_request r = {
		.method = method,
		.url = url,
		.body = text,
		.user = setting(c, "ctl.authentication.username",
				"restapi.authentication.username"),
		.password = setting(c, "ctl.authentication.password",
				    "restapi.authentication.password"),
		.timeout_ms = timeout_ms,
		.connect_timeout_ms = 2000,
		.on_done = on_done,
		.arg = &w,
	};

	*ret = (struct ctl_reply){ 0 };
	if (!url)
		herd_err_set(&ret->err, -EINVAL, "member %s has published no REST address",
			     m->name);
	else if (!open_client(c) || !herd_http_send(c->http, &r))
		herd_err_set(&ret->err, -ENOMEM, "out of memory");
	else
		ctl_wait(c, &w.done, -1, what);
	if (!ret->body)
		ret->body = strdup("");
	free(url);
	free(text);
}

void ctl_reply_clear(struct ctl_reply *r)
{
	free(r->body);
	herd_err_clear(&r->err);
	*r = (struct ctl_reply){ 0 };
}
