/* Logging in of clients: startup packet, authentication, greeting. */
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <openssl/rand.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "proxy/admin.h"
#include "proxy/client.h"
#include "proxy/hba.h"
#include "proxy/ident.h"
#include "proxy/lookup.h"
#include "proxy/tls.h"
#include "wire/auth.h"
#include "wire/msg.h"
#include "wire/startup.h"

enum { AUTH_OK = 0, AUTH_CLEAR = 3, AUTH_MD5 = 5, AUTH_SASL = 10, AUTH_SASL_MORE, AUTH_SASL_END };

struct herd_login {
	int method;   /* enum herd_auth */
	bool admin;   /* for the console */
	bool no_user; /* unknown: goes through the motions and fails */
	bool asked;   /* auth_query had the last word on that */
	char *map;    /* of names, from the line of the hba file; NULL: none */
	char *secret; /* what is on record; NULL: nothing */
	uint8_t salt[4];
	bool scram; /* SCRAM is under way */
	bool scram_first_done;
	struct herd_scram_secret scram_secret;
	struct herd_scram_server scram_server;
	bool have_keys;
	struct herd_scram_keys keys;
	char *password; /* as the client sent it in clear */
};

/* A secret derived from a plain password; kept, for deriving is slow on purpose. */
struct derived {
	char *password;
	struct herd_scram_secret secret;
};

static void free_derived(void *p)
{
	struct derived *d = p;

	if (!d)
		return;
	herd_str_wipe(d->password, strlen(d->password));
	free(d->password);
	free(d);
}

static void wipe_free(char *s)
{
	if (s)
		herd_str_wipe(s, strlen(s));
	free(s);
}

void herd_login_free(struct herd_login *l)
{
	if (!l)
		return;
	free(l->map);
	wipe_free(l->secret);
	wipe_free(l->password);
	herd_scram_server_free(&l->scram_server);
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
	if (RAND_bytes(salt, sizeof(salt)) != 1)
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
	if (!d->password || !px->scram || herd_map_put(px->scram, c->user, d) < 0) {
		free(d->password);
		free(d);
	}
	pthread_mutex_unlock(&px->scram_lock);
	return 0;
}

/* A secret nobody has, the same every time for the same name: probing tells nothing. */
static void mock_secret(struct herd_client *c, struct herd_scram_secret *ret)
{
	char text[HERD_MD5_TEXT_BYTES];
	char *seed = herd_str_printf("%s%.16s", c->user, (const char *)c->w->px->mock_seed);

	*ret = (struct herd_scram_secret){
		.iterations = herd_worker_settings(c->w)->scram_iterations,
		.salt_len = HERD_SCRAM_SALT_BYTES,
	};
	if (seed && herd_md5_secret(seed, c->user, text) == 0)
		memcpy(ret->salt, text + 3, HERD_SCRAM_SALT_BYTES);
	if (RAND_bytes(ret->stored_key, sizeof(ret->stored_key)) != 1)
		memset(ret->stored_key, 0xff, sizeof(ret->stored_key));
	free(seed);
}

static void start_scram(struct herd_client *c)
{
	static const char mechanisms[] = "SCRAM-SHA-256\0"; /* and the end of the list */
	struct herd_login *l = c->login;
	int rc = -EINVAL;

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
	send_auth(c, AUTH_SASL, mechanisms, sizeof(mechanisms));
	c->state = HERD_CLIENT_AUTH;
}

static void authentic(struct herd_client *c);

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

static void start_auth(struct herd_client *c)
{
	struct herd_login *l = c->login;

	switch (l->method) {
	case HERD_AUTH_ANY:
		authentic(c);
		return;
	case HERD_AUTH_TRUST:
		if (l->no_user && l->asked)
			herd_client_fail(c, "28P01", "no such user: %s", c->user);
		else if (l->no_user)
			herd_client_fail(c, "28P01", "\"trust\" authentication failed");
		else
			authentic(c);
		return;
	case HERD_AUTH_PLAIN:
		send_auth(c, AUTH_CLEAR, NULL, 0);
		c->state = HERD_CLIENT_AUTH;
		return;
	case HERD_AUTH_MD5:
		if (l->secret && herd_scram_is_secret(l->secret)) {
			start_scram(c);
			return;
		}
		if (RAND_bytes(l->salt, sizeof(l->salt)) != 1) {
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
		X509 *cert = c->conn.tls ? SSL_get1_peer_certificate(c->conn.tls) : NULL;
		char cn[256] = "";

		if (cert && SSL_get_verify_result(c->conn.tls) == X509_V_OK)
			X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, cn,
						  sizeof(cn));
		X509_free(cert);
		if (*cn && !l->no_user && may_be(c, cn))
			authentic(c);
		else
			herd_client_fail(c, "28000", "TLS certificate name mismatch");
		return;
	}
	case HERD_AUTH_PEER:
		if (!l->no_user && is_peer(c))
			authentic(c);
		else
			herd_client_fail(c, "28000", "unix socket login rejected");
		return;
	default:
		herd_client_fail(c, "28000", "login rejected");
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

static bool choose_method(struct herd_client *c)
{
	const struct herd_pconf *conf = c->w->live->config;
	struct herd_login *l = c->login;
	const char *map;

	l->method = conf->s.auth_type;
	if (l->method != HERD_AUTH_HBA)
		return true;
	l->method = herd_hba_find(conf->hba, (const struct sockaddr *)&c->peer, c->conn.tls != NULL,
				  c->replication, c->dbname, c->user, &map);
	return herd_str_set(&l->map, map);
}

/* What is on record for the user, or a lookup of it. */
static void find_secret(struct herd_client *c)
{
	const struct herd_pconf *conf = c->w->live->config;
	const struct herd_user *u = herd_pconf_user(conf, c->user);
	struct herd_login *l = c->login;
	const struct herd_database *db = c->db ? herd_db_conf(c->w->live, c->db) : NULL;

	if (!choose_method(c)) {
		herd_client_fail(c, "53200", "out of memory");
		return;
	}
	/* The console over our own unix socket: same user of the machine, no password. */
	if (l->admin && c->addr.family == AF_UNIX && c->peer_uid == getuid() &&
	    strcmp(c->user, "pgbouncer") == 0)
		l->method = HERD_AUTH_ANY;
	if (u && u->password) {
		l->secret = herd_str_dup(u->password);
		start_auth(c);
		return;
	}
	const char *auth_user = db && db->auth_user ? db->auth_user : conf->s.auth_user;

	if (l->method == HERD_AUTH_ANY || l->method == HERD_AUTH_REJECT || !*auth_user) {
		l->no_user = true;
		start_auth(c);
		return;
	}
	c->state = HERD_CLIENT_LOOKUP;
	herd_lookup_start(c, auth_user);
}

static bool set_parameter(struct herd_client *c, const char *name, const char *value)
{
	const struct herd_settings *set = herd_worker_settings(c->w);

	if (herd_var_names_find(&c->w->px->vars, name) >= 0) {
		if (strcasecmp(name, "application_name") == 0 && set->application_name_add_host) {
			char *full =
				herd_str_printf("%s - %s:%d", value, c->addr.host, c->addr.port);

			if (full)
				herd_vars_set(&c->vars, &c->w->px->vars, name, full);
			free(full);
			return true;
		}
		return herd_vars_set(&c->vars, &c->w->px->vars, name, value) >= 0;
	}
	return herd_pconf_in_list(set->ignore_startup_parameters, name) ||
	       strncmp(name, "_pq_.", 5) == 0;
}

/*
 * "-c name=value" and "--name=value"; a backslash keeps the next character. lenient: what is not
 * supported is passed over. False when it failed.
 */
static bool set_options(struct herd_client *c, const char *text, bool lenient)
{
	struct herd_buf word = { 0 };
	bool ok = true, expect = false;

	for (const char *p = text; ok && *p;) {
		herd_buf_reset(&word);
		while (isspace((unsigned char)*p))
			p++;
		while (*p && !isspace((unsigned char)*p)) {
			if (*p == '\\' && p[1])
				p++;
			herd_buf_addc(&word, *p++);
		}
		const char *w = herd_buf_str(&word);

		if (*w == '\0')
			break;
		if (!expect && strcmp(w, "-c") == 0) {
			expect = true;
			continue;
		}
		if (!expect && (strncmp(w, "--", 2) == 0 || strncmp(w, "-c", 2) == 0))
			w += 2;
		else if (!expect)
			ok = false;
		expect = false;
		char *eq = ok ? strchr(w, '=') : NULL;

		if (!eq) {
			ok = lenient;
			if (!ok)
				herd_client_fail(c, "08P01",
						 "unsupported options startup parameter: only '-c "
						 "config=val' and '--config=val' are allowed");
			break;
		}
		*eq = '\0';
		ok = set_parameter(c, w, eq + 1) || lenient;
		if (!ok)
			herd_client_fail(c, "08P01", "unsupported startup parameter in options: %s",
					 w);
	}
	herd_buf_free(&word);
	return ok;
}

static bool take_parameters(struct herd_client *c, const struct herd_startup *s)
{
	const struct herd_settings *set = herd_worker_settings(c->w);

	for (int i = 0; i < s->nparams; i++) {
		const char *name = s->params[i].name, *value = s->params[i].value;

		if (strcmp(name, "user") == 0 || strcmp(name, "database") == 0)
			continue;
		if (strcmp(name, "replication") == 0) {
			c->replication =
				strcmp(value, "0") != 0 && strcasecmp(value, "false") != 0 &&
				strcasecmp(value, "off") != 0 && strcasecmp(value, "no") != 0;
			continue;
		}
		if (strcmp(name, "options") == 0) {
			if (set_options(
				    c, value,
				    herd_pconf_in_list(set->ignore_startup_parameters, "options")))
				continue;
			return false;
		}
		if (set_parameter(c, name, value))
			continue;
		herd_client_fail(c, "08P01", "unsupported startup parameter: %s", name);
		return false;
	}
	return true;
}

static bool over(int limit, int n)
{
	return limit > 0 && n >= limit;
}

/* max: the database's own limit or -1. False when it failed. */
static bool db_has_room(struct herd_client *c, int max)
{
	if (over(max >= 0 ? max : herd_worker_settings(c->w)->max_db_client_connections,
		 atomic_load(&c->db->nclients))) {
		herd_client_fail(c, "53300",
				 "client connections exceeded (max_db_client_connections)");
		return false;
	}
	return true;
}

static bool user_has_room(struct herd_client *c)
{
	const struct herd_user *u = herd_pconf_user(c->w->live->config, c->user);
	int max = u && u->max_user_client_connections >= 0
			  ? u->max_user_client_connections
			  : herd_worker_settings(c->w)->max_user_client_connections;

	if (over(max, atomic_load(&c->user_count->nclients))) {
		herd_client_fail(c, "53300",
				 "client connections exceeded (max_user_client_connections)");
		return false;
	}
	return true;
}

static void count_in(struct herd_client *c)
{
	if (!c->console_login)
		atomic_fetch_add(&c->w->px->nclients, 1);
	atomic_fetch_add(&c->db->nclients, 1);
	atomic_fetch_add(&c->user_count->nclients, 1);
	c->counted = true;
}

/* Database and limits; false when it failed. */
static bool enter_database(struct herd_client *c)
{
	const struct herd_pconf *conf = c->w->live->config;
	const struct herd_database *db = NULL;

	if (c->listener) {
		for (size_t i = 0; i < conf->nlisteners; i++) {
			if (herd_str_eq(conf->listeners[i].name, c->listener))
				db = conf->listeners[i].db;
		}
	}
	if (!db && !c->listener)
		db = herd_pconf_database(conf, c->dbname);
	if (!db) {
		herd_client_fail(c, "3D000", "no such database: %s", c->dbname);
		return false;
	}
	c->db = herd_db_enter(c->w->px, c->dbname, c->listener, db);
	if (!c->db) {
		herd_client_fail(c, "53200", "out of memory");
		return false;
	}
	if (atomic_load(&c->db->disabled)) {
		herd_client_fail(c, "08P01", "database \"%s\" is disabled", c->dbname);
		return false;
	}
	return db_has_room(c, db->max_db_client_connections);
}

static bool is_console(const char *dbname)
{
	return strcmp(dbname, "pgbouncer") == 0 || strcmp(dbname, "pgherd") == 0;
}

static void start_login(struct herd_client *c, const struct herd_startup *s)
{
	const struct herd_settings *set = herd_worker_settings(c->w);
	const char *user = herd_startup_get(s, "user"), *db = herd_startup_get(s, "database");
	struct herd_buf b = { 0 };

	if (!user || !*user) {
		herd_client_fail(c, "28000", "no user name in startup packet");
		return;
	}
	c->user = strdup(user);
	c->dbname = strdup(db && *db ? db : user);
	c->login = calloc(1, sizeof(*c->login));
	if (!c->user || !c->dbname || !c->login) {
		herd_client_fail(c, "53200", "out of memory");
		return;
	}
	if (set->client_tls_sslmode >= HERD_SSL_REQUIRE && !c->conn.tls &&
	    c->addr.family != AF_UNIX) {
		herd_client_fail(c, "08P01", "SSL required");
		return;
	}
	if (!take_parameters(c, s))
		return;
	herd_wr_negotiate(&b, s);
	herd_conn_send_buf(&c->conn, &b);
	herd_buf_free(&b);
	c->login->admin = is_console(c->dbname);
	if (c->login->admin) {
		if (set->auth_type != HERD_AUTH_ANY &&
		    !herd_pconf_in_list(set->admin_users, c->user) &&
		    !herd_pconf_in_list(set->stats_users, c->user) &&
		    !(strcmp(c->user, "pgbouncer") == 0 && c->addr.family == AF_UNIX &&
		      c->peer_uid == getuid())) {
			herd_client_fail(c, "08P01", "not allowed");
			return;
		}
	} else {
		if (c->replication) {
			herd_client_fail(c, "0A000",
					 "replication connections are not supported by the proxy");
			return;
		}
		if (atomic_load(&c->w->px->stop) != HERD_STOP_NO) {
			herd_client_fail(c, "57P01", "server shutting down");
			return;
		}
		if (atomic_load(&c->w->px->nclients) >= set->max_client_conn) {
			herd_client_fail(c, "53300",
					 "no more connections allowed (max_client_conn)");
			return;
		}
		if (!enter_database(c))
			return;
	}
	find_secret(c);
}

/* A cancel request found its worker. */
struct cancel_note {
	struct herd_note note;
	uint8_t key[8];
};

static void cancel_note(struct herd_worker *w, struct herd_note *n)
{
	struct cancel_note *cn = herd_container_of(n, struct cancel_note, note);

	herd_list_for_each(it, &w->clients)
	{
		struct herd_client *c = herd_container_of(it, struct herd_client, node);

		if (memcmp(c->key, cn->key, sizeof(c->key)) != 0 || c->internal)
			continue;
		if (c->server)
			herd_server_cancel(w, c->server);
		else
			herd_relay_cancel_queued(c);
		break;
	}
	free(cn);
}

static void take_cancel(struct herd_client *c, const struct herd_startup *s)
{
	struct cancel_note *cn = calloc(1, sizeof(*cn));

	if (cn && s->cancel_key_len == 4) {
		for (int i = 0; i < 4; i++)
			cn->key[i] = (uint8_t)(s->cancel_pid >> (24 - 8 * i));
		memcpy(cn->key + 4, s->cancel_key, 4);
		if (cn->key[7] < c->w->px->nworkers) {
			cn->note.fn = cancel_note;
			herd_worker_post(&c->w->px->workers[cn->key[7]], &cn->note);
			cn = NULL;
		}
	}
	free(cn);
	herd_client_close(c, NULL);
}

static void take_ssl_request(struct herd_client *c, bool ssl)
{
	bool accept = ssl && c->w->live->client_tls && c->addr.family != AF_UNIX && !c->conn.tls;

	herd_conn_send(&c->conn, accept ? "S" : "N", 1);
	if (!accept)
		return;
	if (c->conn.in.len > 0) {
		herd_client_fail(c, "08P01", "received unencrypted data after SSL request");
		return;
	}
	c->conn.tls = herd_tls_accept(c->w->live->client_tls, c->conn.fd);
	if (!c->conn.tls) {
		herd_client_close(c, "out of memory");
		return;
	}
	c->state = HERD_CLIENT_TLS;
	c->conn.can_read = c->conn.can_write = true;
	herd_client_wake(c);
}

void herd_login_startup(struct herd_client *c)
{
	struct herd_startup s;

	while (c->state == HERD_CLIENT_STARTUP) {
		int rc = herd_startup_parse(herd_buf_str(&c->conn.in), c->conn.in.len, &s);

		if (rc == -EAGAIN)
			return;
		if (rc < 0) {
			herd_client_fail(c, "08P01",
					 rc == -EPROTONOSUPPORT ? "unsupported frontend protocol"
								: "bad packet header");
			return;
		}
		switch (s.kind) {
		case HERD_STARTUP_SSL:
		case HERD_STARTUP_GSS:
			herd_buf_consume(&c->conn.in, s.total);
			take_ssl_request(c, s.kind == HERD_STARTUP_SSL);
			break;
		case HERD_STARTUP_CANCEL:
			take_cancel(c, &s);
			return;
		case HERD_STARTUP_LOGIN:
			/* s points into the buffer, which start_login does not touch. */
			start_login(c, &s);
			if (c->state != HERD_CLIENT_CLOSED)
				herd_buf_consume(&c->conn.in, s.total);
			return;
		}
	}
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
	if (herd_md5_is_secret(l->secret))
		return herd_md5_secret(password, c->user, md5) == 0 &&
		       herd_str_equal_secret(md5, l->secret);
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

	if (l->no_user || !l->secret)
		return false;
	if (herd_md5_is_secret(l->secret))
		memcpy(stored, l->secret, sizeof(stored));
	else if (herd_md5_secret(l->secret, c->user, stored) < 0)
		return false;
	return herd_md5_response(stored, l->salt, want) == 0 &&
	       herd_str_equal_secret(want, response);
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

		if (!herd_rd_ok(&r) || strcmp(mechanism, "SCRAM-SHA-256") != 0) {
			wrong_password(c);
			return;
		}
		rc = RAND_bytes(nonce, sizeof(nonce)) == 1
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
			send_auth(c, AUTH_SASL_END, herd_buf_str(&out), out.len);
			l->have_keys = true;
			herd_buf_free(&out);
			authentic(c);
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
	bool ok = herd_rd_ok(&r) &&
		  (l->method == HERD_AUTH_PLAIN ? password_fits(c, text) : md5_fits(c, text));

	if (!ok) {
		wrong_password(c);
		return;
	}
	if (l->method == HERD_AUTH_PLAIN)
		l->password = herd_str_dup(text);
	authentic(c);
}

/* Gives the pool what opens its servers, where the client brought it. */
static void share_secrets(struct herd_client *c)
{
	struct herd_login *l = c->login;
	const struct herd_user *u = herd_pconf_user(c->w->live->config, c->user);

	if (strcmp(c->pool->user, c->user) != 0)
		return;
	if (l->have_keys)
		herd_pool_remember_keys(c->pool, &l->keys);
	if (l->password)
		herd_pool_remember_password(c->pool, l->password);
	else if (l->secret && (!u || !u->password))
		herd_pool_remember_password(c->pool, l->secret);
}

/* Administrators always get in, but are counted like everybody. */
static void enter_console(struct herd_client *c)
{
	const struct herd_settings *set = herd_worker_settings(c->w);
	bool full = set->auth_type == HERD_AUTH_ANY ||
		    herd_pconf_in_list(set->admin_users, c->user) ||
		    (strcmp(c->user, "pgbouncer") == 0 && c->addr.family == AF_UNIX);

	c->db = herd_db_get(c->w->px, "pgbouncer", NULL);
	c->console_login = true;
	if (!c->db)
		herd_client_fail(c, "53200", "out of memory");
	else if (full || (db_has_room(c, -1) && user_has_room(c))) {
		count_in(c);
		herd_stat_add(&c->db->stats[c->w->id].client_login_count, 1);
		herd_admin_start(c, full);
	}
}

/* The client is who it says it is. */
static void authentic(struct herd_client *c)
{
	struct herd_worker *w = c->w;

	c->user_count = herd_user_count_get(w->px, c->user);
	if (!c->user_count) {
		herd_client_fail(c, "53200", "out of memory");
		return;
	}
	if (c->login->admin) {
		enter_console(c);
		return;
	}
	const struct herd_database *conf = herd_db_conf(w->live, c->db);
	if (!conf) {
		herd_client_fail(c, "3D000", "no such database: %s", c->dbname);
		return;
	}
	c->pool = herd_pool_get(w->px, c->db, conf->user ? conf->user : c->user);
	if (!c->pool) {
		herd_client_fail(c, "53200", "out of memory");
		return;
	}
	if (!user_has_room(c))
		return;
	share_secrets(c);
	count_in(c);
	pthread_mutex_lock(&c->pool->lock);
	c->pool->nclients++;
	pthread_mutex_unlock(&c->pool->lock);
	herd_stat_add(&c->db->stats[w->id].client_login_count, 1);
	if (herd_pool_welcome(w, c))
		herd_login_finish(c);
}

/* The parameters of the pool's last server, with the client's own values where it gave some. */
static void greet(struct herd_client *c, struct herd_buf *b)
{
	struct herd_pool *p = c->pool;
	const struct herd_database *conf = herd_db_conf(c->w->live, c->db);
	bool leads =
		conf && conf->route.cluster &&
		(conf->route.role == HERD_ROUTE_PRIMARY || conf->route.role == HERD_ROUTE_WORKERS);
	const char *data = herd_buf_str(&p->welcome);
	size_t left = p->welcome.len;
	struct herd_msg_head h;

	while (herd_msg_head_parse(data, left, &h) == 0) {
		struct herd_rd r = herd_rd_init(data + HERD_MSG_HEAD_BYTES, h.len);
		const char *name = herd_rd_str(&r), *value = herd_rd_str(&r);
		const char *own = herd_vars_get(&c->vars, &c->w->px->vars, name);

		/* The greeting may stem from a candidate before its promotion. */
		if (leads && strcmp(name, "in_hot_standby") == 0)
			own = "off";
		herd_wr_parameter(b, name, own ? own : value);
		data += HERD_MSG_HEAD_BYTES + h.len;
		left -= HERD_MSG_HEAD_BYTES + h.len;
	}
	herd_vars_fill(&c->vars, &p->defaults, &c->w->px->vars);
}

void herd_login_finish(struct herd_client *c)
{
	const char *tls = c->conn.tls ? SSL_get_version(c->conn.tls) : "no";
	struct herd_buf b = { 0 };

	if (RAND_bytes(c->key, sizeof(c->key)) != 1) {
		herd_client_fail(c, "58000", "could not generate random bytes");
		return;
	}
	c->key[0] &= 0x7f;
	c->key[7] = (uint8_t)c->w->id;
	herd_wr_auth(&b, AUTH_OK, NULL, 0);
	pthread_mutex_lock(&c->pool->lock);
	greet(c, &b);
	pthread_mutex_unlock(&c->pool->lock);
	size_t mark = herd_wr_begin(&b, 'K');

	herd_buf_add(&b, c->key, sizeof(c->key));
	herd_wr_end(&b, mark);
	herd_wr_ready(&b, 'I');
	if (herd_conn_send_buf(&c->conn, &b) < 0) {
		herd_buf_free(&b);
		herd_client_close(c, "out of memory");
		return;
	}
	herd_buf_free(&b);
	if (herd_worker_settings(c->w)->log_connections)
		herd_client_log(c, HERD_LOG_INFO, "login attempt: db=%s user=%s tls=%s", c->dbname,
				c->user, tls);
	herd_login_free(c->login);
	c->login = NULL;
	c->state = HERD_CLIENT_IDLE;
	c->query_us = c->w->now_us;
	herd_client_wake(c);
}
