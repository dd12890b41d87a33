#include "tools/web.h"

#include <curl/curl.h>
#include <errno.h>

#include "base/str.h"

enum { MAX_ANSWER = 16 << 20 };

static size_t take(char *data, size_t size, size_t n, void *arg)
{
	struct herd_buf *body = arg;

	if (body->len + size * n > MAX_ANSWER)
		return 0;
	herd_buf_add(body, data, size * n);
	return herd_buf_ok(body) ? size * n : 0;
}

static void set_up(CURL *c, const struct tools_request *r, struct curl_slist *headers,
		   struct herd_buf *body)
{
	curl_easy_setopt(c, CURLOPT_URL, r->url);
	curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, r->method);
	curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)r->timeout_ms);
	curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take);
	curl_easy_setopt(c, CURLOPT_WRITEDATA, body);
	if (headers)
		curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
	if (r->body)
		curl_easy_setopt(c, CURLOPT_POSTFIELDS, r->body);
	if (r->cert)
		curl_easy_setopt(c, CURLOPT_SSLCERT, r->cert);
	if (r->key)
		curl_easy_setopt(c, CURLOPT_SSLKEY, r->key);
	if (r->sign) {
		curl_easy_setopt(c, CURLOPT_AWS_SIGV4, r->sign);
		curl_easy_setopt(c, CURLOPT_USERNAME, r->user);
		curl_easy_setopt(c, CURLOPT_PASSWORD, r->password);
	}
}

int tools_web_ask(const struct tools_request *r, int *status, struct herd_buf *body,
		  struct herd_err *err)
{
	CURL *c = curl_easy_init();
	struct curl_slist *headers = NULL;
	long code = 0;

	if (!c)
		return herd_err_set(err, -ENOMEM, "out of memory");
	for (const char *const *h = r->headers; h && *h; h++) {
		struct curl_slist *more = curl_slist_append(headers, *h);

		if (!more) {
			curl_slist_free_all(headers);
			curl_easy_cleanup(c);
			return herd_err_set(err, -ENOMEM, "out of memory");
		}
		headers = more;
	}
	set_up(c, r, headers, body);

	CURLcode rc = curl_easy_perform(c);

	curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &code);
	curl_slist_free_all(headers);
	curl_easy_cleanup(c);
	if (rc != CURLE_OK)
		return herd_err_set(err, -EIO, "%s %s: %s", r->method, r->url,
				    curl_easy_strerror(rc));
	*status = (int)code;
	return 0;
}
