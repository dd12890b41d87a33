#include "proxy/hostname.h"

#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/helpers.h"
#include "proxy/login.h"

struct herd_hostname {
	struct herd_job job;
	struct herd_client *client; /* NULL: it left; the worker's */
	struct sockaddr_storage peer;
	char name[NI_MAXHOST]; /* "": none that is confirmed */
};

static bool same_address(const struct sockaddr *a, const struct sockaddr *b)
{
	const struct sockaddr_in *a4 = (const void *)a, *b4 = (const void *)b;
	const struct sockaddr_in6 *a6 = (const void *)a, *b6 = (const void *)b;

	if (a->sa_family != b->sa_family)
		return false;
	if (a->sa_family == AF_INET)
		return a4->sin_addr.s_addr == b4->sin_addr.s_addr;
	return a->sa_family == AF_INET6 &&
	       memcmp(&a6->sin6_addr, &b6->sin6_addr, sizeof(a6->sin6_addr)) == 0;
}

static void run(struct herd_job *j)
{
	struct herd_hostname *h = herd_container_of(j, struct herd_hostname, job);
	const struct sockaddr *sa = (const void *)&h->peer;
	struct addrinfo *all = NULL,
			hints = { .ai_family = sa->sa_family, .ai_socktype = SOCK_STREAM };
	bool confirmed = false;

	if (getnameinfo(sa, sizeof(h->peer), h->name, sizeof(h->name), NULL, 0, NI_NAMEREQD) == 0 &&
	    getaddrinfo(h->name, NULL, &hints, &all) == 0) {
		for (const struct addrinfo *i = all; i && !confirmed; i = i->ai_next)
			confirmed = same_address(i->ai_addr, sa);
		freeaddrinfo(all);
	}
	if (!confirmed)
		h->name[0] = '\0';
}

static void discard(struct herd_job *j)
{
	free(herd_container_of(j, struct herd_hostname, job));
}

static void done(struct herd_worker *w, struct herd_job *j)
{
	struct herd_hostname *h = herd_container_of(j, struct herd_hostname, job);
	struct herd_client *c = h->client;

	(void)w;
	if (c) {
		c->login->naming = NULL;
		c->login->host = strdup(h->name);
		c->state = HERD_CLIENT_AUTH;
		if (c->login->host)
			herd_auth_begin(c);
		else
			herd_client_fail(c, "53200", "out of memory");
		if (c->state != HERD_CLIENT_CLOSED)
			herd_client_wake(c);
	}
	free(h);
}

bool herd_hostname_start(struct herd_client *c)
{
	struct herd_hostname *h = calloc(1, sizeof(*h));

	if (!h)
		return false;
	h->job.w = c->w;
	h->job.run = run;
	h->job.done = done;
	h->job.discard = discard;
	h->client = c;
	h->peer = c->peer;
	if (herd_helpers_submit(c->w->px->helpers, &h->job) < 0) {
		free(h);
		return false;
	}
	c->login->naming = h;
	c->state = HERD_CLIENT_LOOKUP;
	return true;
}

void herd_hostname_forget(struct herd_hostname *h)
{
	if (!h)
		return;
	h->client = NULL;
	atomic_store(&h->job.dropped, true);
}
