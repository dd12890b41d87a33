/* Authentication of clients: what is on record for a user, and the methods to check it. */
#include <errno.h>
#include <openssl/crypto.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "proxy/extauth.h"
#include "proxy/hba.h"
#include "proxy/hostname.h"
#include "proxy/ident.h"
#include "proxy/login.h"
#include "proxy/lookup.h"
#include "proxy/repl.h"
#include "proxy/tls.h"
#include "wire/msg.h"

struct derived {
	char *password;
	struct herd_scram_secret secret;
};

static void wipe_free(char *s)
{
	if (s)
		herd_str_wipe(s, strlen(s));
	free(s);
}

static void free_derived(void *p)
{
	struct derived *d = p;

	if (!d)
		return;
	wipe_free(d->password);
	herd_str_wipe(d, sizeof(*d));
	free(d);
}

void herd_login_free(struct herd_login *l)
{
	if (!l)
		return;
	herd_extauth_forget(l->ext);
	herd_hostname_forget(l->naming);
	free(l->host);
	herd_pconf_unref(l->config);
	free(l->map);
	free(l->session_attrs);
	wipe_free(l->secret);
	wipe_free(l->password);
	herd_scram_server_free(&l->scram_server);
	herd_buf_free(&l->said);
	herd_str_wipe(l, sizeof(*l));
	free(l);
}

static void send_auth(struct herd_client *c, uint32_t code, const void *data, size_t n)
{
	struct herd_buf b = { 0 };

	herd_wr_auth(&b, code, data, n);
	herd_conn_send_buf(&c->conn, &b);
	herd_buf_free(&b);
}

/* Of a plain password, from the cache when it is the same. */
static int derive(struct herd_client *c, const char *password, struct herd_scram_secret *ret)
{
	struct herd_px *px = c->w->px;
	uint8_t salt[HERD_SCRAM_SALT_BYTES];
	int iterations = herd_worker_settings(c->w)->scram_iterations;

	pthread_mutex_lock(&px->scram_lock);
	if (!px->scram)
		px->scram = herd_map_new(free_derived);
	struct derived *d = px->scram ? herd_map_get(px->scram, c->user) : NULL;
	bool hit = d && herd_str_equal_secret(d->password, password) &&
		   d->secret.iterations == iterations;

	if (hit)
		*ret = d->secret;
	pthread_mutex_unlock(&px->scram_lock);
	if (hit)
		return 0;
	if (herd_worker_random(c->w, salt, sizeof(salt)) < 0)
		return -EIO;
	int rc = herd_scram_derive(password, salt, sizeof(salt), iterations, ret, NULL);

	if (rc < 0)
		return rc;
	d = calloc(1, sizeof(*d));
	if (!d)
		return 0;
	d->secret = *ret;
	d->password = strdup(password);
	pthread_mutex_lock(&px->scram_lock);
	if (!d->password || !px->scram || herd_map_put(px->scram, c->user, d) < 0)
		free_derived(d);
	pthread_mutex_unlock(&px->scram_lock);
	return 0;
}

/* A secret nobody has, the same every time for the same name: probing tells nothing. */
static void mock_secret(struct herd_client *c, struct herd_scram_secret *ret)
{
	*ret = (struct herd_scram_secret){
		.iterations = herd_worker_settings(c->w)->scram_iterations,
		.salt_len = HERD_SCRAM_SALT_BYTES,
	};
	if (herd_scram_mock_salt(c->w->px->mock_seed, c->user, ret->salt) < 0)
		memset(ret->salt, 0xff, HERD_SCRAM_SALT_BYTES);
	if (herd_worker_random(c->w, ret->stored_key, sizeof(ret->stored_key)) < 0)
		memset(ret->stored_key, 0xff, sizeof(ret->stored_key));
}

static void start_scram(struct herd_client *c)
{
	/* The list ends with an empty name. */
	static const char mechanisms[] = HERD_SCRAM_MECHANISM "\0";
	static const char with_plus[] = HERD_SCRAM_PLUS_MECHANISM "\0" HERD_SCRAM_MECHANISM "\0";
	struct herd_login *l = c->login;
	int rc = -EINVAL;

	if (!l->no_user && l->secret && herd_md5_is_secret(l->secret))
		herd_client_log(c, HERD_LOG_ERROR,
				"SCRAM authentication failed: user has MD5 secret");
	if (l->no_user || !l->secret || herd_md5_is_secret(l->secret))
		l->no_user = true, rc = 0, mock_secret(c, &l->scram_secret);
	else if (herd_scram_is_secret(l->secret))
		rc = herd_scram_secret_parse(l->secret, &l->scram_secret);
	else
		rc = derive(c, l->secret, &l->scram_secret);
	if (rc < 0) {
		herd_client_fail(c, "28000", "could not prepare SASL authentication");
		return;
	}
	l->scram = true;
	if (c->conn.tls)
		herd_tls_binding(c->conn.tls, true, &l->scram_server.binding);
	if (l->scram_server.binding.len > 0)
		send_auth(c, AUTH_SASL, with_plus, sizeof(with_plus));
	else
		send_auth(c, AUTH_SASL, mechanisms, sizeof(mechanisms));
	c->state = HERD_CLIENT_AUTH;
}

/* May somebody called name outside of the database be the client's user? */
static bool may_be(const struct herd_client *c, const char *name)
{
	const char *map = c->login->map;

	if (!map)
		return strcmp(name, c->user) == 0;
	if (herd_ident_may(c->w->live->config->ident, map, name, c->user))
		return true;
	herd_client_log(c, HERD_LOG_WARNING, "ident map %s cannot be matched", map);
	return false;
}

/* Is it the user of the operating system by that name, at our own machine's socket? */
static bool is_peer(const struct herd_client *c)
{
	char text[4096]; /* of the entry; one that is larger is refused */
	struct passwd pw, *found = NULL;

	return c->addr.family == AF_UNIX && c->peer_uid != UINT32_MAX &&
	       getpwuid_r(c->peer_uid, &pw, text, sizeof(text), &found) == 0 && found &&
	       may_be(c, found->pw_name);
}

static void cert_misfit(struct herd_client *c)
{
	herd_client_log(c, HERD_LOG_ERROR, "TLS certificate name mismatch");
	herd_client_fail(c, "28000", "certificate authentication failed");
}

void herd_auth_log(struct herd_client *c)
{
	char *tls = c->conn.tls ? herd_tls_text(c->conn.tls) : NULL;

	if (c->login->no_user && c->login->method != HERD_AUTH_ANY)
		herd_client_log(c, HERD_LOG_INFO, "no such user: %s", c->user);
	if (herd_worker_settings(c->w)->log_connections)
		herd_client_log(c, HERD_LOG_INFO,
				"login attempt: db=%s user=%s tls=%s replication=%s", c->dbname,
				c->user, tls ? tls : "no", herd_repl_word(c));
	free(tls);
}

static void start_auth(struct herd_client *c)
{
	struct herd_login *l = c->login;

	herd_auth_log(c);
	switch (l->method) {
	case HERD_AUTH_ANY:
		herd_login_authentic(c);
		return;
	case HERD_AUTH_TRUST:
		if (l->no_user && l->asked)
			herd_client_fail(c, "28P01", "no such user: %s", c->user);
		else if (l->no_user)
			herd_client_fail(c, "28P01", "\"trust\" authentication failed");
		else
			herd_login_authentic(c);
		return;
	case HERD_AUTH_PLAIN:
	case HERD_AUTH_PAM:
	case HERD_AUTH_LDAP:
		send_auth(c, AUTH_CLEAR, NULL, 0);
		c->state = HERD_CLIENT_AUTH;
		return;
	case HERD_AUTH_MD5:
		if (l->secret && herd_scram_is_secret(l->secret)) {
			start_scram(c);
			return;
		}
		if (herd_worker_random(c->w, l->salt, sizeof(l->salt)) < 0) {
			herd_client_fail(c, "58000", "could not generate random bytes");
			return;
		}
		send_auth(c, AUTH_MD5, l->salt, sizeof(l->salt));
		c->state = HERD_CLIENT_AUTH;
		return;
	case HERD_AUTH_SCRAM:
		start_scram(c);
		return;
	case HERD_AUTH_CERT: {
		char *name = c->conn.tls ? herd_tls_common_name(c->conn.tls) : NULL;

		if (name && !l->no_user && may_be(c, name))
			herd_login_authentic(c);
		else
			cert_misfit(c);
		free(name);
		return;
	}
	case HERD_AUTH_PEER:
		if (!l->no_user && is_peer(c))
			herd_login_authentic(c);
		else
			herd_client_fail(c, "28000", "unix socket login rejected");
		return;
	default:
		herd_client_fail(c, "28000",
				 l->no_line ? "no authentication method is found"
					    : "login rejected");
		return;
	}
}

/* The answer of auth_query. */
void herd_login_secret(struct herd_client *c, bool found, const char *secret, const char *error)
{
	struct herd_login *l = c->login;

	if (c->state != HERD_CLIENT_LOOKUP)
		return;
	if (error) {
		herd_client_fail(c, "28000", "bouncer config error: auth_query failed: %s", error);
		return;
	}
	l->no_user = !found;
	l->asked = true;
	l->secret = herd_str_dup(secret);
	c->state = HERD_CLIENT_AUTH;
	start_auth(c);
	herd_client_wake(c);
}

/* False: out of memory. It may have to wait for the name of the client's address (l->naming). */
static bool choose_method(struct herd_client *c)
{
	struct herd_pconf *conf = c->w->live->config;
	struct herd_login *l = c->login;
	struct herd_hba_answer a = { .method = conf->s.auth_type, .ldap = conf->ldap };

	if (a.method == HERD_AUTH_HBA)
		a = herd_hba_find(conf->hba, (const struct sockaddr *)&c->peer, c->conn.tls != NULL,
				  herd_repl_physical(c), c->dbname, c->user, l->host);
	if (a.asks_name)
		return herd_hostname_start(c);
	l->method = a.method;
	l->no_line = a.no_line;
	if (a.method == HERD_AUTH_LDAP) {
		/* A reload may come before the password does. */
		l->config = herd_pconf_ref(conf);
		l->ldap = a.ldap;
	}
	return herd_str_set(&l->map, a.map);
}

/* What is on record for the user, or a lookup of it. */
void herd_auth_begin(struct herd_client *c)
{
	const struct herd_pconf *conf = c->w->live->config;
	const struct herd_user *u = herd_pconf_user(conf, c->user);
	struct herd_login *l = c->login;
	const struct herd_database *db = c->db ? herd_db_conf(c->w->live, c->db) : NULL;

	if (!choose_method(c)) {
		herd_client_fail(c, "53200", "out of memory");
		return;
	}
	if (l->naming)
		return;
	/* The console over our own unix socket: same user of the machine, no password. */
	if (l->admin && c->addr.family == AF_UNIX && c->peer_uid == getuid() &&
	    strcmp(c->user, "pgbouncer") == 0)
		l->method = HERD_AUTH_ANY;
	/* Who that is, others know. */
	if (l->method == HERD_AUTH_PAM || l->method == HERD_AUTH_LDAP) {
		start_auth(c);
		return;
	}
	if (u && u->password) {
		l->secret = herd_str_dup(u->password);
		start_auth(c);
		return;
	}
	const char *auth_user = db && db->auth_user ? db->auth_user : conf->s.auth_user;

	if (l->method == HERD_AUTH_ANY || l->method == HERD_AUTH_REJECT || !*auth_user ||
	    (l->no_db && !*conf->s.auth_dbname)) {
		l->no_user = true;
		start_auth(c);
		return;
	}
	c->state = HERD_CLIENT_LOOKUP;
	herd_lookup_start(c, auth_user);
}

static void wrong_password(struct herd_client *c)
{
	herd_client_fail(c, "28P01",
			 c->login->scram ? "SASL authentication failed"
					 : "password authentication failed");
}

static bool password_fits(struct herd_client *c, const char *password)
{
	struct herd_login *l = c->login;
	char md5[HERD_MD5_TEXT_BYTES];
	struct herd_scram_secret stored, got;

	if (l->no_user || !l->secret)
		return false;
	if (herd_md5_is_secret(l->secret)) {
		bool fits = herd_md5_secret(password, c->user, md5) == 0 &&
			    herd_str_equal_secret(md5, l->secret);

		herd_str_wipe(md5, sizeof(md5));
		return fits;
	}
	if (herd_scram_secret_parse(l->secret, &stored) == 0)
		return herd_scram_derive(password, stored.salt, stored.salt_len, stored.iterations,
					 &got, NULL) == 0 &&
		       CRYPTO_memcmp(got.stored_key, stored.stored_key, sizeof(got.stored_key)) ==
			       0;
	return herd_str_equal_secret(password, l->secret);
}

static bool md5_fits(struct herd_client *c, const char *response)
{
	struct herd_login *l = c->login;
	char stored[HERD_MD5_TEXT_BYTES], want[HERD_MD5_TEXT_BYTES];

	/* Who has no password has none that fits; a clear one that is empty is refused, too. */
	if (l->no_user || !l->secret || !*l->secret)
		return false;
	if (herd_md5_is_secret(l->secret))
		memcpy(stored, l->secret, sizeof(stored));
	else if (herd_md5_secret(l->secret, c->user, stored) < 0)
		return false;
	bool fits = herd_md5_response(stored, l->salt, want) == 0 &&
		    herd_str_equal_secret(want, response);

	herd_str_wipe(stored, sizeof(stored));
	return fits;
}

static void scram_message(struct herd_client *c, const void *body, size_t n)
{
	struct herd_login *l = c->login;
	struct herd_rd r = herd_rd_init(body, n);
	uint8_t nonce[HERD_SCRAM_NONCE_BYTES];
	struct herd_buf out = { 0 };
	int rc;

	if (!l->scram_first_done) {
		const char *mechanism = herd_rd_str(&r);
		uint32_t len = herd_rd_u32(&r);
		const void *data = herd_rd_bytes(&r, len);

		l->scram_server.plus = l->scram_server.binding.len > 0 &&
				       strcmp(mechanism, HERD_SCRAM_PLUS_MECHANISM) == 0;
		if (!herd_rd_ok(&r) ||
		    (!l->scram_server.plus && strcmp(mechanism, HERD_SCRAM_MECHANISM) != 0)) {
			wrong_password(c);
			return;
		}
		rc = herd_worker_random(c->w, nonce, sizeof(nonce)) == 0
			     ? herd_scram_server_first(&l->scram_server, &l->scram_secret, data,
						       len, nonce, &out)
			     : -EIO;
		if (rc == 0)
			send_auth(c, AUTH_SASL_MORE, herd_buf_str(&out), out.len);
		l->scram_first_done = true;
	} else {
		rc = herd_scram_server_final(&l->scram_server, &l->scram_secret, body, n, &out,
					     &l->keys);
		if (rc == 0 && !l->no_user) {
			herd_wr_auth(&l->said, AUTH_SASL_END, herd_buf_str(&out), out.len);
			l->have_keys = true;
			herd_buf_free(&out);
			herd_login_authentic(c);
			return;
		}
		rc = -EACCES;
	}
	herd_buf_free(&out);
	if (rc < 0)
		wrong_password(c);
}

void herd_login_message(struct herd_client *c, const void *body, size_t n)
{
	struct herd_login *l = c->login;
	struct herd_rd r = herd_rd_init(body, n);

	if (l->scram) {
		scram_message(c, body, n);
		return;
	}
	const char *text = herd_rd_str(&r);

	/* As PostgreSQL has it: one that lets in with none would be no password. */
	if (herd_rd_ok(&r) && !*text) {
		herd_client_fail(c, "28P01", "empty password returned by client");
		return;
	}
	if (l->method == HERD_AUTH_PAM || l->method == HERD_AUTH_LDAP) {
		if (herd_rd_ok(&r))
			herd_extauth_start(c, text);
		else
			wrong_password(c);
		return;
	}
	bool ok = herd_rd_ok(&r) &&
		  (l->method == HERD_AUTH_PLAIN ? password_fits(c, text) : md5_fits(c, text));

	if (!ok) {
		wrong_password(c);
		return;
	}
	if (l->method == HERD_AUTH_PLAIN)
		l->password = herd_str_dup(text);
	herd_login_authentic(c);
}
