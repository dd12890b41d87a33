/*
 * tools/aws.c - a callback for members on EC2: tags the instance and its volumes with the role, so
 * that people and scripts see in the console who leads.
 *
 * Credentials come from the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
 * AWS_SESSION_TOKEN) or from the instance's own role. AWS_EC2_METADATA_SERVICE_ENDPOINT and
 * AWS_ENDPOINT_URL_EC2 move the two services, as in Amazon's own tools.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "tools/tools.h"
#include "tools/web.h"

/* A callback must not hold up the next one: few, short attempts. */
enum { METADATA_TIMEOUT_MS = 2000, API_TIMEOUT_MS = 5000, ATTEMPTS = 3, RETRY_S = 1 };

struct aws {
	struct herd_log *log;
	char *metadata;     /* base URL */
	char *token_header; /* of the metadata service's session; NULL: it has none */
	char *instance, *region;
	char *access_key, *secret_key, *session_header;
};

static void clear(struct aws *a)
{
	if (a->secret_key)
		herd_str_wipe(a->secret_key, strlen(a->secret_key));
	free(a->metadata);
	free(a->token_header);
	free(a->instance);
	free(a->region);
	free(a->access_key);
	free(a->secret_key);
	free(a->session_header);
	herd_log_free(a->log);
}

/* The text behind path of the metadata service, malloc'd; NULL with err. */
static char *metadata(struct aws *a, const char *method, const char *path, const char *header,
		      struct herd_err *err)
{
	const char *headers[] = { header, NULL };
	char *url = herd_str_printf("%s%s", a->metadata, path);
	struct tools_request r = { .method = method,
				   .url = url,
				   .headers = header ? headers : NULL,
				   .timeout_ms = METADATA_TIMEOUT_MS };
	struct herd_buf body = { 0 };
	int status = 0;
	char *text = NULL;

	if (!url)
		herd_err_set(err, -ENOMEM, "out of memory");
	else if (tools_web_ask(&r, &status, &body, err) == 0 && status == 200)
		text = herd_buf_steal(&body);
	else if (status)
		herd_err_set(err, -EPROTO, "%s %s: status %d", method, url, status);
	herd_buf_free(&body);
	free(url);
	return text;
}

static bool look_up_instance(struct aws *a, struct herd_err *err)
{
	char *token = metadata(a, "PUT", "/latest/api/token",
			       "X-aws-ec2-metadata-token-ttl-seconds: 60", err);
	char *text;
	json_t *doc;

	if (token)
		a->token_header = herd_str_printf("X-aws-ec2-metadata-token: %s", token);
	free(token);
	herd_err_clear(err); /* an old service has no tokens, and wants none */
	text = metadata(a, "GET", "/latest/dynamic/instance-identity/document", a->token_header,
			err);
	if (!text)
		return false;
	doc = herd_json_parse(text, strlen(text), err);
	free(text);
	a->instance = herd_str_dup(herd_json_str(doc, "instanceId", NULL));
	a->region = herd_str_dup(herd_json_str(doc, "region", NULL));
	json_decref(doc);
	if (!a->instance || !a->region)
		herd_err_set(err, -EPROTO, "the instance's identity has no instanceId or region");
	return a->instance && a->region;
}

static bool take_credentials(struct aws *a, const char *key, const char *secret, const char *token)
{
	a->access_key = herd_str_dup(key);
	a->secret_key = herd_str_dup(secret);
	if (token)
		a->session_header = herd_str_printf("x-amz-security-token: %s", token);
	return a->access_key && a->secret_key;
}

static bool look_up_credentials(struct aws *a, struct herd_err *err)
{
	static const char where[] = "/latest/meta-data/iam/security-credentials/";
	const char *key = getenv("AWS_ACCESS_KEY_ID"), *secret = getenv("AWS_SECRET_ACCESS_KEY");

	if (key && secret)
		return take_credentials(a, key, secret, getenv("AWS_SESSION_TOKEN"));

	char *role = metadata(a, "GET", where, a->token_header, err);
	char *path = role ? herd_str_printf("%s%s", where, herd_str_trim(role)) : NULL;
	char *text = path ? metadata(a, "GET", path, a->token_header, err) : NULL;
	json_t *doc = text ? herd_json_parse(text, strlen(text), err) : NULL;
	bool ok = doc && take_credentials(a, herd_json_str(doc, "AccessKeyId", NULL),
					  herd_json_str(doc, "SecretAccessKey", NULL),
					  herd_json_str(doc, "Token", NULL));

	if (!ok && err->code == 0)
		herd_err_set(err, -EPROTO, "the instance's role has no usable credentials");
	json_decref(doc);
	if (text)
		herd_str_wipe(text, strlen(text));
	free(text);
	free(path);
	free(role);
	return ok;
}

/* One call of the EC2 query API. */
static int call_once(struct aws *a, const char *query, struct herd_buf *answer,
		     struct herd_err *err)
{
	const char *moved = getenv("AWS_ENDPOINT_URL_EC2");
	const char *headers[] = { "Content-Type: application/x-www-form-urlencoded",
				  a->session_header, NULL };
	char *url =
		moved ? strdup(moved) : herd_str_printf("https://ec2.%s.amazonaws.com/", a->region);
	char *sign = herd_str_printf("aws:amz:%s:ec2", a->region);
	char *body = herd_str_printf("%s&Version=2016-11-15", query);
	struct tools_request r = { .method = "POST",
				   .url = url,
				   .body = body,
				   .headers = headers,
				   .sign = sign,
				   .user = a->access_key,
				   .password = a->secret_key,
				   .timeout_ms = API_TIMEOUT_MS };
	int status = 0;
	int rc = url && sign && body ? tools_web_ask(&r, &status, answer, err)
				     : herd_err_set(err, -ENOMEM, "out of memory");

	if (rc == 0 && status != 200)
		rc = herd_err_set(err, -EPROTO, "EC2 answered with status %d", status);
	free(url);
	free(sign);
	free(body);
	return rc;
}

static int call(struct aws *a, const char *query, struct herd_buf *answer, struct herd_err *err)
{
	for (int i = 1;; i++) {
		int rc;

		herd_buf_reset(answer);
		herd_err_clear(err);
		rc = call_once(a, query, answer, err);
		if (rc == 0 || i == ATTEMPTS)
			return rc;
		sleep(RETRY_S);
	}
}

/* key=value of a form, the value percent-encoded. */
static void add_field(struct herd_buf *q, const char *key, const char *value)
{
	herd_buf_printf(q, "&%s=", key);
	for (const unsigned char *p = (const unsigned char *)value; *p; p++) {
		if (isalnum(*p) || strchr("-_.~", *p))
			herd_buf_addc(q, (char)*p);
		else
			herd_buf_printf(q, "%%%02X", *p);
	}
}

static int tag_instance(struct aws *a, const char *role, struct herd_err *err)
{
	struct herd_buf q = { 0 }, answer = { 0 };

	herd_buf_addstr(&q, "Action=CreateTags");
	add_field(&q, "ResourceId.1", a->instance);
	add_field(&q, "Tag.1.Key", "Role");
	add_field(&q, "Tag.1.Value", role);

	int rc = call(a, herd_buf_str(&q), &answer, err);

	herd_buf_free(&q);
	herd_buf_free(&answer);
	return rc;
}

/* Adds the volumes that the answer of DescribeVolumes names, each once. How many there are. */
static int add_volumes(struct herd_buf *q, const char *xml)
{
	static const char open[] = "<volumeId>";
	int n = 0;

	for (const char *p = xml; (p = strstr(p, open)) != NULL;) {
		const char *id = p + strlen(open), *end = strchr(id, '<');
		char *name, *key, *known;

		if (!end)
			break;
		name = herd_str_printf("%.*s", (int)(end - id), id);
		known = name ? herd_str_printf("=%s", name) : NULL;
		key = herd_str_printf("ResourceId.%d", n + 1);
		/* Each attachment of a volume names it once more. */
		if (known && key && !strstr(herd_buf_str(q), known)) {
			add_field(q, key, name);
			n++;
		}
		free(known);
		free(key);
		free(name);
		p = end;
	}
	return n;
}

static int tag_volumes(struct aws *a, const char *role, const char *cluster, struct herd_err *err)
{
	struct herd_buf q = { 0 }, answer = { 0 };
	char *name = herd_str_printf("spilo_%s", cluster);
	int rc = name ? 0 : herd_err_set(err, -ENOMEM, "out of memory");

	herd_buf_addstr(&q, "Action=DescribeVolumes&Filter.1.Name=attachment.instance-id");
	add_field(&q, "Filter.1.Value.1", a->instance);
	if (rc == 0)
		rc = call(a, herd_buf_str(&q), &answer, err);
	herd_buf_reset(&q);
	herd_buf_addstr(&q, "Action=CreateTags");
	if (rc == 0 && add_volumes(&q, herd_buf_str(&answer)) > 0) {
		add_field(&q, "Tag.1.Key", "Name");
		add_field(&q, "Tag.1.Value", name);
		add_field(&q, "Tag.2.Key", "Role");
		add_field(&q, "Tag.2.Value", role);
		add_field(&q, "Tag.3.Key", "Instance");
		add_field(&q, "Tag.3.Value", a->instance);
		rc = call(a, herd_buf_str(&q), &answer, err);
	}
	herd_buf_free(&q);
	herd_buf_free(&answer);
	free(name);
	return rc;
}

static int tag(struct aws *a, const char *role, const char *cluster)
{
	struct herd_err err = HERD_ERR_INIT;
	int rc = 1;

	if (!look_up_instance(a, &err))
		herd_log_err(a->log, HERD_LOG_INFO, &err, "cannot query AWS meta-data");
	else if (!look_up_credentials(a, &err))
		herd_log_err(a->log, HERD_LOG_WARNING, &err, "no credentials for AWS");
	else if (tag_instance(a, role, &err) < 0 || tag_volumes(a, role, cluster, &err) < 0)
		herd_log_err(a->log, HERD_LOG_WARNING, &err,
			     "Unable to communicate to AWS when setting tags for the EC2 instance "
			     "%s and attached EBS volumes",
			     a->instance);
	else
		rc = 0;
	herd_err_clear(&err);
	return rc;
}

static void usage(FILE *out)
{
	fputs("patroni_aws: tags the EC2 instance and its volumes with the member's role\n"
	      "\n"
	      "Usage: patroni_aws on_start|on_stop|on_role_change ROLE CLUSTER\n"
	      "\n"
	      "The agent adds the three words to a callback:\n"
	      "  postgresql: {callbacks: {on_role_change: patroni_aws}}\n",
	      out);
}

int herd_aws_main(int argc, char **argv)
{
	const char *base = getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT");
	struct aws a = { 0 };
	int rc = 1;

	if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
		usage(stdout);
		return 0;
	}
	if (argc != 4 || (strcmp(argv[1], "on_start") != 0 && strcmp(argv[1], "on_stop") != 0 &&
			  strcmp(argv[1], "on_role_change") != 0)) {
		usage(stderr);
		return 1;
	}
	a.log = herd_log_new(STDERR_FILENO, HERD_LOG_PATRONI, HERD_LOG_INFO);
	a.metadata = strdup(base ? base : "http://169.254.169.254");
	if (a.log && a.metadata)
		rc = tag(&a, argv[2], argv[3]);
	clear(&a);
	return rc;
}
