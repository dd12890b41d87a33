/* Logging in to a server: startup packet and authentication. */
#include <errno.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "proxy/repl.h"
#include "proxy/sderive.h"
#include "proxy/server.h"
#include "proxy/tls.h"
#include "wire/auth.h"
#include "wire/msg.h"
#include "wire/startup.h"

enum { AUTH_OK = 0, AUTH_CLEAR = 3, AUTH_MD5 = 5, AUTH_SASL = 10, AUTH_SASL_MORE, AUTH_SASL_END };

/* What may open the server: a text (plain, md5... or SCRAM secret) or keys. Caller frees text. */
struct secret {
	char *text;
	bool have_keys;
	struct herd_scram_keys keys;
};

static struct secret find_secret(struct herd_worker *w, struct herd_pool *p)
{
	const struct herd_database *conf = herd_db_conf(w->live, p->db);
	const struct herd_user *u = herd_pconf_user(w->live->config, p->user);
	struct secret s = { 0 };

	if (conf && conf->password)
		s.text = herd_str_dup(conf->password);
	else if (u && u->password && *u->password)
		s.text = herd_str_dup(u->password);
	if (p->home)
		p = p->home;
	pthread_mutex_lock(&p->lock);
	if (!s.text && p->password)
		s.text = herd_str_dup(p->password);
	s.have_keys = p->have_keys;
	s.keys = p->keys;
	pthread_mutex_unlock(&p->lock);
	return s;
}

static void wipe_secret(struct secret *s)
{
	if (s->text)
		herd_str_wipe(s->text, strlen(s->text));
	free(s->text);
	herd_str_wipe(s, sizeof(*s));
}

int herd_server_startup(struct herd_worker *w, struct herd_server *s)
{
	const struct herd_database *conf = herd_db_conf(w->live, s->pool->db);
	const char *pairs[16];
	struct herd_buf b = { 0 };
	int n = 0;

	if (!conf)
		return -ENOENT;
	if (s->client) {
		int rc = herd_repl_startup(s, conf, &b);

		if (rc == 0)
			rc = herd_conn_send_buf(&s->conn, &b);
		herd_buf_free(&b);
		atomic_store(&s->state, HERD_SERVER_LOGIN);
		return rc;
	}
	pairs[n++] = "user";
	pairs[n++] = s->pool->user;
	pairs[n++] = "database";
	pairs[n++] = herd_db_server_name(s->pool->db, conf);
	if (conf->client_encoding) {
		pairs[n++] = "client_encoding";
		pairs[n++] = conf->client_encoding;
	}
	if (conf->datestyle) {
		pairs[n++] = "datestyle";
		pairs[n++] = conf->datestyle;
	}
	if (conf->timezone) {
		pairs[n++] = "timezone";
		pairs[n++] = conf->timezone;
	}
	if (conf->application_name) {
		pairs[n++] = "application_name";
		pairs[n++] = conf->application_name;
	}
	pairs[n] = NULL;
	herd_wr_startup(&b, pairs);
	atomic_store(&s->state, HERD_SERVER_LOGIN);
	int rc = herd_conn_send_buf(&s->conn, &b);

	herd_buf_free(&b);
	return rc;
}

static int no_secret(struct herd_err *err, const struct herd_server *s)
{
	return herd_err_set(err, -EACCES, "no password known for user \"%s\" to log in to server",
			    s->pool->user);
}

static int send_password(struct herd_server *s, const char *text)
{
	struct herd_buf b = { 0 };

	herd_wr_password(&b, text);
	int rc = herd_conn_send_buf(&s->conn, &b);

	herd_buf_free(&b);
	return rc;
}

static int answer_md5(struct herd_server *s, const struct secret *secret, const uint8_t salt[4],
		      struct herd_err *err)
{
	char stored[HERD_MD5_TEXT_BYTES], response[HERD_MD5_TEXT_BYTES];

	if (!secret->text || herd_scram_is_secret(secret->text))
		return no_secret(err, s);
	int rc = 0;

	if (herd_md5_is_secret(secret->text))
		memcpy(stored, secret->text, sizeof(stored));
	else
		rc = herd_md5_secret(secret->text, s->pool->user, stored);
	if (rc == 0)
		rc = herd_md5_response(stored, salt, response);
	herd_str_wipe(stored, sizeof(stored));
	if (rc < 0)
		return herd_err_set(err, rc, "could not compute the md5 response");
	return send_password(s, response);
}

/* Chooses among what the server offers. NULL: nothing of it will do. */
static const char *choose_mechanism(struct herd_worker *w, struct herd_server *s, struct herd_rd *r,
				    struct herd_err *err)
{
	int want = herd_worker_settings(w)->server_channel_binding;
	bool plain = false, plus = false;

	/* A name without its end is not taken from r, so asking for what is left is not enough. */
	while (herd_rd_ok(r) && herd_rd_left(r) > 1) {
		const char *name = herd_rd_str(r);

		plain |= strcmp(name, HERD_SCRAM_MECHANISM) == 0;
		plus |= strcmp(name, HERD_SCRAM_PLUS_MECHANISM) == 0;
	}
	s->scram.gs2 = 'n';
	s->scram.binding.len = 0;
	if (s->conn.tls && want != HERD_BINDING_DISABLE)
		herd_tls_binding(s->conn.tls, false, &s->scram.binding);
	if (plus && s->scram.binding.len > 0) {
		s->scram.gs2 = 'p';
		return HERD_SCRAM_PLUS_MECHANISM;
	}
	if (want == HERD_BINDING_REQUIRE) {
		herd_err_set(err, -EACCES,
			     "channel binding is required, but not possible with this server "
			     "(server_channel_binding)");
		return NULL;
	}
	if (!plain) {
		herd_err_set(err, -ENOTSUP, "server offers no SASL mechanism that is known");
		return NULL;
	}
	/* So a server that did offer it learns that somebody took it out of the list. */
	if (s->scram.binding.len > 0)
		s->scram.gs2 = 'y';
	return HERD_SCRAM_MECHANISM;
}

static int start_scram(struct herd_worker *w, struct herd_server *s, struct herd_rd *r,
		       const struct secret *secret, struct herd_err *err)
{
	uint8_t nonce[HERD_SCRAM_NONCE_BYTES];
	struct herd_buf first = { 0 }, b = { 0 };

	herd_scram_client_free(&s->scram); /* it may ask twice */
	const char *mechanism = choose_mechanism(w, s, r, err);

	if (!mechanism)
		return -EACCES;
	bool plain = secret->text && !herd_md5_is_secret(secret->text) &&
		     !herd_scram_is_secret(secret->text);

	if (!plain && !secret->have_keys && secret->text)
		return herd_err_set(err, -EACCES,
				    "cannot do SCRAM authentication: wrong password type");
	if (!plain && !secret->have_keys)
		return no_secret(err, s);
	if (RAND_bytes(nonce, sizeof(nonce)) != 1)
		return herd_err_set(err, -EIO, "could not generate random bytes");
	int rc = herd_scram_client_first(&s->scram, nonce, &first);

	if (rc == 0) {
		size_t mark = herd_wr_begin(&b, 'p');

		herd_wr_str(&b, mechanism);
		herd_wr_u32(&b, (uint32_t)first.len);
		herd_buf_add(&b, herd_buf_str(&first), first.len);
		herd_wr_end(&b, mark);
		rc = herd_conn_send_buf(&s->conn, &b);
	}
	herd_buf_free(&first);
	herd_buf_free(&b);
	return rc < 0 ? herd_err_set(err, rc, "out of memory") : 0;
}

int herd_server_prove(struct herd_server *s, const struct herd_scram_keys *keys,
		      struct herd_err *err)
{
	struct herd_buf final = { 0 }, b = { 0 };
	int rc = herd_scram_client_final(&s->scram, keys, &final);

	if (rc == 0) {
		size_t mark = herd_wr_begin(&b, 'p');

		herd_buf_add(&b, herd_buf_str(&final), final.len);
		herd_wr_end(&b, mark);
		rc = herd_conn_send_buf(&s->conn, &b);
	}
	herd_buf_free(&final);
	herd_buf_free(&b);
	return rc < 0 ? herd_err_set(err, rc, "could not answer the server's SCRAM message") : 0;
}

static int go_on_scram(struct herd_worker *w, struct herd_server *s, struct herd_rd *r,
		       const struct secret *secret, struct herd_err *err)
{
	struct herd_scram_secret asked;
	bool plain = secret->text && !herd_md5_is_secret(secret->text) &&
		     !herd_scram_is_secret(secret->text);
	int rc = herd_scram_client_challenge(&s->scram, r->p, herd_rd_left(r), &asked);

	if (rc < 0)
		return herd_err_set(err, rc, "invalid SCRAM message from server");
	if (!plain)
		return herd_server_prove(s, &secret->keys, err);
	return herd_sderive_start(w, s, secret->text, &asked, err);
}

/*
 * AuthenticationOk. One that began SCRAM has to prove that it knows the secret, too; and one that
 * was to be bound to its certificate must have been.
 */
static int let_in(struct herd_worker *w, struct herd_server *s, struct herd_err *err)
{
	if (s->scram.first_bare && !s->scram_proved)
		return herd_err_set(err, -EBADMSG, "server did not finish SCRAM authentication");
	if (herd_worker_settings(w)->server_channel_binding == HERD_BINDING_REQUIRE &&
	    !(s->scram_proved && s->scram.gs2 == 'p'))
		return herd_err_set(err, -EACCES,
				    "channel binding is required, but the server let us in "
				    "without (server_channel_binding)");
	s->let_in = true;
	return 0;
}

int herd_server_auth(struct herd_worker *w, struct herd_server *s, const void *body, size_t n,
		     struct herd_err *err)
{
	struct herd_rd r = herd_rd_init(body, n);
	uint32_t code = herd_rd_u32(&r);
	const uint8_t *salt;
	int rc;

	if (!herd_rd_ok(&r))
		return herd_err_set(err, -EBADMSG, "malformed authentication request");
	if (code == AUTH_OK)
		return let_in(w, s, err);
	if (code == AUTH_SASL_END) {
		rc = herd_scram_client_verify(&s->scram, r.p, herd_rd_left(&r));
		s->scram_proved = rc == 0;
		return rc < 0 ? herd_err_set(err, rc, "server's SCRAM signature is wrong") : 0;
	}
	/* A server that asks again while we are at it is none. */
	if (s->derive)
		return herd_err_set(err, -EBADMSG, "invalid SCRAM message from server");
	/* A password is not to be told to somebody who cannot be bound to a certificate. */
	if (code != AUTH_SASL && code != AUTH_SASL_MORE &&
	    herd_worker_settings(w)->server_channel_binding == HERD_BINDING_REQUIRE)
		return herd_err_set(err, -EACCES,
				    "channel binding is required, but the server asks for another "
				    "authentication (server_channel_binding)");
	struct secret secret = find_secret(w, s->pool);

	switch (code) {
	case AUTH_CLEAR:
		if (!secret.text || herd_md5_is_secret(secret.text) ||
		    herd_scram_is_secret(secret.text))
			rc = no_secret(err, s);
		else
			rc = send_password(s, secret.text);
		break;
	case AUTH_MD5:
		salt = herd_rd_bytes(&r, 4);
		rc = salt ? answer_md5(s, &secret, salt, err)
			  : herd_err_set(err, -EBADMSG, "malformed authentication request");
		break;
	case AUTH_SASL:
		rc = start_scram(w, s, &r, &secret, err);
		break;
	case AUTH_SASL_MORE:
		rc = go_on_scram(w, s, &r, &secret, err);
		break;
	default:
		rc = herd_err_set(err, -ENOTSUP, "unknown authentication method %u of server",
				  code);
		break;
	}
	wipe_secret(&secret);
	return rc;
}
