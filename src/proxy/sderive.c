#include "proxy/sderive.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "proxy/helpers.h"

struct herd_sderive {
	struct herd_job job;
	struct herd_server *server; /* NULL: it has gone; the worker's */
	char *user, *password;
	struct herd_scram_secret asked;
	struct herd_scram_keys keys;
	int rc;
};

/* What is remembered of a user. */
struct known {
	char *password;
	struct herd_scram_secret asked;
	struct herd_scram_keys keys;
};

static void wipe_free(char *s)
{
	if (s)
		herd_str_wipe(s, strlen(s));
	free(s);
}

static void free_known(void *p)
{
	struct known *k = p;

	if (!k)
		return;
	wipe_free(k->password);
	herd_str_wipe(k, sizeof(*k));
	free(k);
}

static void free_derive(struct herd_sderive *d)
{
	free(d->user);
	wipe_free(d->password);
	herd_str_wipe(&d->keys, sizeof(d->keys));
	free(d);
}

static bool same_salt(const struct herd_scram_secret *a, const struct herd_scram_secret *b)
{
	return a->iterations == b->iterations && a->salt_len == b->salt_len &&
	       memcmp(a->salt, b->salt, a->salt_len) == 0;
}

static bool recall(struct herd_px *px, const char *user, const char *password,
		   const struct herd_scram_secret *asked, struct herd_scram_keys *ret)
{
	pthread_mutex_lock(&px->scram_lock);
	const struct known *k = px->scram_keys ? herd_map_get(px->scram_keys, user) : NULL;
	bool hit = k && same_salt(&k->asked, asked) && herd_str_equal_secret(k->password, password);

	if (hit)
		*ret = k->keys;
	pthread_mutex_unlock(&px->scram_lock);
	return hit;
}

/* Takes the password. Servers that keep other secrets of the user take turns in this one place. */
static void remember(struct herd_px *px, struct herd_sderive *d)
{
	struct known *k = calloc(1, sizeof(*k));

	if (!k)
		return;
	k->password = d->password;
	d->password = NULL;
	k->asked = d->asked;
	k->keys = d->keys;
	pthread_mutex_lock(&px->scram_lock);
	if (!px->scram_keys)
		px->scram_keys = herd_map_new(free_known);
	if (!px->scram_keys || herd_map_put(px->scram_keys, d->user, k) < 0)
		free_known(k);
	pthread_mutex_unlock(&px->scram_lock);
}

static void run(struct herd_job *j)
{
	struct herd_sderive *d = herd_container_of(j, struct herd_sderive, job);

	d->rc = herd_scram_derive(d->password, d->asked.salt, d->asked.salt_len,
				  d->asked.iterations, &d->asked, &d->keys);
}

static void discard(struct herd_job *j)
{
	free_derive(herd_container_of(j, struct herd_sderive, job));
}

static void done(struct herd_worker *w, struct herd_job *j)
{
	struct herd_sderive *d = herd_container_of(j, struct herd_sderive, job);
	struct herd_server *s = d->server;
	struct herd_err err = HERD_ERR_INIT;

	if (s) {
		s->derive = NULL;
		if (d->rc == 0)
			d->rc = herd_server_prove(s, &d->keys, &err);
		else
			herd_err_set(&err, d->rc, "could not derive the keys of a password");
		if (d->rc < 0)
			herd_server_failed(w, s, "28000", herd_err_text(&err));
		else
			remember(w->px, d);
		herd_err_clear(&err);
	}
	free_derive(d);
}

void herd_sderive_forget(struct herd_sderive *d)
{
	if (!d)
		return;
	d->server = NULL;
	atomic_store(&d->job.dropped, true);
}

int herd_sderive_start(struct herd_worker *w, struct herd_server *s, const char *password,
		       const struct herd_scram_secret *asked, struct herd_err *err)
{
	struct herd_scram_keys keys;

	if (recall(w->px, s->pool->user, password, asked, &keys)) {
		int rc = herd_server_prove(s, &keys, err);

		herd_str_wipe(&keys, sizeof(keys));
		return rc;
	}
	struct herd_sderive *d = calloc(1, sizeof(*d));

	if (d) {
		d->job.w = w;
		d->job.run = run;
		d->job.done = done;
		d->job.discard = discard;
		d->server = s;
		d->user = strdup(s->pool->user);
		d->password = strdup(password);
		d->asked = *asked;
	}
	if (!d || !d->user || !d->password || herd_helpers_submit(w->px->derivers, &d->job) < 0) {
		if (d)
			free_derive(d);
		return herd_err_set(err, -ENOMEM, "out of memory");
	}
	s->derive = d;
	return 0;
}

void herd_sderive_free(struct herd_px *px)
{
	herd_map_free(px->scram_keys);
	px->scram_keys = NULL;
}
