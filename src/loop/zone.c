#include "loop/zone.h"

#include <arpa/nameser.h>
#include <errno.h>
#include <event2/util.h>
#include <netinet/in.h>
#include <resolv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PORT = 53, QUESTION_MAX = 512, ANSWER_MAX = 4096, LONGEST_S = 30, MOST_ATTEMPTS = 5 };

static void take_server(struct __res_state *res, const char *text)
{
	struct sockaddr_storage addr;
	struct sockaddr_in *in = (struct sockaddr_in *)(void *)&addr;
	int len = sizeof(addr);

	if (res->nscount >= MAXNS || evutil_parse_sockaddr_port(text, (void *)&addr, &len) < 0 ||
	    addr.ss_family != AF_INET)
		return;
	if (in->sin_port == 0)
		in->sin_port = htons(PORT);
	res->nsaddr_list[res->nscount++] = *in;
}

static void take_option(struct __res_state *res, const char *text)
{
	int n;

	if (sscanf(text, "timeout:%d", &n) == 1 && n > 0 && n <= LONGEST_S)
		res->retrans = n;
	else if (sscanf(text, "attempts:%d", &n) == 1 && n > 0 && n <= MOST_ATTEMPTS)
		res->retry = n;
}

static void take_line(struct __res_state *res, char *line)
{
	char *rest;
	const char *first = strtok_r(line, " \t\r\n", &rest);
	const char *word;

	while (first && (word = strtok_r(NULL, " \t\r\n", &rest))) {
		if (strcmp(first, "nameserver") == 0)
			take_server(res, word);
		else if (strcmp(first, "options") == 0)
			take_option(res, word);
	}
}

static int take_file(struct __res_state *res, const char *path, struct herd_err *err)
{
	FILE *f = fopen(path, "re");
	char *line = NULL;
	size_t size = 0;

	if (!f)
		return herd_err_set(err, -errno, "could not open \"%s\": %s", path,
				    strerror(errno));
	res->nscount = 0;
	while (getline(&line, &size, f) >= 0)
		take_line(res, line);
	free(line);
	(void)fclose(f);
	if (res->nscount == 0)
		return herd_err_set(err, -EINVAL,
				    "\"%s\" names no name server with an IPv4 address", path);
	return 0;
}

/* Behind the two names of its data comes the serial. */
static int serial_of(const ns_msg *msg, const ns_rr *rr, uint32_t *ret)
{
	const unsigned char *p = ns_rr_rdata(*rr), *end = p + ns_rr_rdlen(*rr);

	for (int i = 0; i < 2; i++) {
		int n = dn_skipname(p, ns_msg_end(*msg));

		if (n < 0 || n > end - p)
			return -ENOENT;
		p += n;
	}
	if (end - p < NS_INT32SZ)
		return -ENOENT;
	*ret = (uint32_t)ns_get32(p);
	return 0;
}

int herd_zone_serial_of(const unsigned char *answer, size_t len, uint32_t *ret)
{
	/* of a name in a zone, or that is not there, the zone's stands in the second */
	static const ns_sect sections[] = { ns_s_an, ns_s_ns };
	ns_msg msg;
	ns_rr rr;

	if (ns_initparse(answer, (int)len, &msg) < 0)
		return -ENOENT;
	for (size_t i = 0; i < sizeof(sections) / sizeof(sections[0]); i++)
		for (int n = 0; n < ns_msg_count(msg, sections[i]); n++)
			if (ns_parserr(&msg, sections[i], n, &rr) == 0 &&
			    ns_rr_type(rr) == ns_t_soa && serial_of(&msg, &rr, ret) == 0)
				return 0;
	return -ENOENT;
}

static int ask(struct __res_state *res, const char *domain, uint32_t *ret, struct herd_err *err)
{
	unsigned char question[QUESTION_MAX], answer[ANSWER_MAX];
	int n = res_nmkquery(res, ns_o_query, domain, ns_c_in, ns_t_soa, NULL, 0, NULL, question,
			     sizeof(question));

	if (n < 0)
		return herd_err_set(err, -EINVAL, "\"%s\" is no domain name", domain);
	n = res_nsend(res, question, n, answer, sizeof(answer));
	if (n < 0)
		return herd_err_set(err, -ETIMEDOUT, "no name server answers");
	if (n > (int)sizeof(answer))
		n = sizeof(answer);
	if (herd_zone_serial_of(answer, (size_t)n, ret) < 0)
		return herd_err_set(err, -ENOENT, "the answer has no SOA record");
	return 0;
}

int herd_zone_serial(const char *conf, const char *domain, uint32_t *ret, struct herd_err *err)
{
	struct __res_state res = { 0 };
	int rc = 0;

	if (res_ninit(&res) < 0)
		return herd_err_set(err, -ENOMEM, "could not set up the resolver");
	if (conf)
		rc = take_file(&res, conf, err);
	if (rc == 0)
		rc = ask(&res, domain, ret, err);
	res_nclose(&res);
	return rc;
}
