#include "pg/conninfo.h"

#include <fcntl.h>
#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"
#include "pg/file.h"

void herd_pg_addr_clear(struct herd_pg_addr *a)
{
	free(a->host);
	free(a->port);
	free(a->dbname);
	free(a->target_session_attrs);
	*a = (struct herd_pg_addr){ 0 };
}

int herd_pg_addr_copy(const struct herd_pg_addr *a, struct herd_pg_addr *ret)
{
	struct herd_pg_addr new = { 0 };

	if (!herd_str_set(&new.host, a->host) || !herd_str_set(&new.port, a->port) ||
	    !herd_str_set(&new.dbname, a->dbname) ||
	    !herd_str_set(&new.target_session_attrs, a->target_session_attrs)) {
		herd_pg_addr_clear(&new);
		return -ENOMEM;
	}
	*ret = new;
	return 0;
}

bool herd_pg_addr_eq(const struct herd_pg_addr *a, const struct herd_pg_addr *b)
{
	return herd_str_eq(a->host, b->host) && herd_str_eq(a->port, b->port) &&
	       herd_str_eq(a->dbname, b->dbname) &&
	       herd_str_eq(a->target_session_attrs, b->target_session_attrs);
}

int herd_pg_conninfo_parse(const char *text, struct herd_pg_settings *ret, struct herd_err *err)
{
	struct herd_pg_settings s = { 0 };
	char *msg = NULL;
	PQconninfoOption *opts = PQconninfoParse(text, &msg);
	int rc = 0;

	if (opts == NULL) {
		/* libpq's message may quote a password: it is not passed on. */
		PQfreemem(msg);
		return herd_err_set(err, -EINVAL, "connection string cannot be parsed");
	}
	for (PQconninfoOption *o = opts; o->keyword != NULL && rc == 0; o++) {
		if (o->val != NULL)
			rc = herd_pg_settings_add(&s, o->keyword, o->val);
	}
	PQconninfoFree(opts);
	if (rc < 0) {
		herd_pg_settings_clear(&s);
		return herd_err_set(err, rc, "out of memory");
	}
	*ret = s;
	return 0;
}

int herd_pg_addr_parse_url(const char *url, struct herd_pg_addr *ret, struct herd_err *err)
{
	struct herd_pg_settings s = { 0 };
	struct herd_pg_addr new = { 0 };
	int rc;

	if (!herd_str_starts(url, "postgres://") && !herd_str_starts(url, "postgresql://"))
		return herd_err_set(err, -EINVAL, "\"%s\" is no URL of a PostgreSQL server", url);
	rc = herd_pg_conninfo_parse(url, &s, err);
	if (rc < 0)
		return rc;
	if (!herd_str_set(&new.host, herd_pg_settings_get(&s, "host")) ||
	    !herd_str_set(&new.port, herd_pg_settings_get(&s, "port")) ||
	    !herd_str_set(&new.dbname, herd_pg_settings_get(&s, "dbname")) ||
	    !herd_str_set(&new.target_session_attrs,
			  herd_pg_settings_get(&s, "target_session_attrs")))
		rc = herd_err_set(err, -ENOMEM, "out of memory");
	herd_pg_settings_clear(&s);
	if (rc == 0 && (new.host == NULL || new.host[0] == '\0'))
		rc = herd_err_set(err, -EINVAL, "URL of a PostgreSQL server has no host");
	if (rc < 0) {
		herd_pg_addr_clear(&new);
		return rc;
	}
	*ret = new;
	return 0;
}

void herd_pg_conninfo_escape(struct herd_buf *out, const char *value)
{
	if (value[0] == '\0')
		herd_buf_addstr(out, "''");
	for (; *value != '\0'; value++) {
		if (strchr(" '\\\t\n\r\f\v", *value) != NULL)
			herd_buf_addc(out, '\\');
		herd_buf_addc(out, *value);
	}
}

static void word(struct herd_buf *out, const char *name, const char *value)
{
	if (value == NULL)
		return;
	if (out->len > 0)
		herd_buf_addc(out, ' ');
	herd_buf_printf(out, "%s=", name);
	herd_pg_conninfo_escape(out, value);
}

int herd_pg_conninfo_build(const struct herd_pg_addr *addr, const struct herd_pg_auth *auth,
			   const struct herd_pg_conninfo_opts *opts, struct herd_buf *ret)
{
	struct herd_buf b = { 0 };
	int v = opts->server_version;
	const char *prefer = opts->defaults ? "prefer" : NULL;
	int rc;

	word(&b, "dbname", opts->dbname);
	word(&b, "user", auth->username);
	if (opts->passfile != NULL)
		word(&b, "passfile", opts->passfile);
	else if (opts->with_password)
		word(&b, "password", auth->password);
	word(&b, "host", addr->host);
	word(&b, "port", addr->port);
	word(&b, "sslmode", auth->sslmode != NULL ? auth->sslmode : prefer);
	word(&b, "sslcert", auth->sslcert);
	word(&b, "sslkey", auth->sslkey);
	word(&b, "sslpassword", v >= 13 ? auth->sslpassword : NULL);
	word(&b, "sslrootcert", auth->sslrootcert);
	word(&b, "sslcrl", auth->sslcrl);
	word(&b, "sslcrldir", v >= 14 ? auth->sslcrldir : NULL);
	word(&b, "application_name", opts->application_name);
	word(&b, "krbsrvname", opts->krbsrvname);
	if (v >= 12)
		word(&b, "gssencmode", auth->gssencmode != NULL ? auth->gssencmode : prefer);
	if (v >= 13)
		word(&b, "channel_binding",
		     auth->channel_binding != NULL ? auth->channel_binding : prefer);
	word(&b, "target_session_attrs", addr->target_session_attrs);
	if (v >= 17 && auth->sslnegotiation != NULL)
		word(&b, "sslnegotiation", auth->sslnegotiation);
	else if (v >= 17 && opts->defaults)
		word(&b, "sslnegotiation", "postgres");
	rc = herd_buf_ok(&b) ? 0 : -ENOMEM;
	if (rc == 0)
		herd_buf_add(ret, herd_buf_str(&b), b.len);
	if (b.data != NULL)
		herd_str_wipe(b.data, b.len);
	herd_buf_free(&b);
	return rc == 0 && !herd_buf_ok(ret) ? -ENOMEM : rc;
}

static void pgpass_field(struct herd_buf *out, const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (s[i] == ':' || s[i] == '\\')
			herd_buf_addc(out, '\\');
		herd_buf_addc(out, s[i]);
	}
}

static void pgpass_line(struct herd_buf *out, const char *host, size_t host_len, const char *port,
			size_t port_len, const struct herd_pg_auth *auth)
{
	pgpass_field(out, host, host_len);
	herd_buf_addc(out, ':');
	pgpass_field(out, port, port_len);
	herd_buf_addstr(out, ":*:");
	pgpass_field(out, auth->username, strlen(auth->username));
	herd_buf_addc(out, ':');
	pgpass_field(out, auth->password, strlen(auth->password));
	herd_buf_addc(out, '\n');
}

int herd_pg_pgpass_lines(const struct herd_pg_addr *addr, const struct herd_pg_auth *auth,
			 struct herd_buf *out)
{
	const char *host = addr->host != NULL ? addr->host : "localhost";
	const char *port = addr->port != NULL && addr->port[0] != '\0' ? addr->port : "5432";

	if (auth->username == NULL || auth->password == NULL)
		return 0;
	for (;;) {
		size_t hl = strcspn(host, ","), pl = strcspn(port, ",");

		pgpass_line(out, host, hl, port, pl, auth);
		/* libpq looks a socket in its default directory up as localhost */
		if (host[0] == '/')
			pgpass_line(out, "localhost", strlen("localhost"), port, pl, auth);
		if (host[hl] == '\0')
			break;
		host += hl + 1;
		if (port[pl] == ',') /* else one port is for all hosts */
			port += pl + 1;
	}
	return herd_buf_ok(out) ? 0 : -ENOMEM;
}

int herd_pg_pgpass_write(const char *path, const struct herd_pg_addr *addr,
			 const struct herd_pg_auth *auth, struct herd_err *err)
{
	struct herd_buf b = { 0 };
	int rc = herd_pg_pgpass_lines(addr, auth, &b);

	if (rc < 0)
		rc = herd_err_set(err, rc, "out of memory");
	else
		rc = herd_pg_file_write(path, herd_buf_str(&b), b.len, 0600, NULL, err);
	if (b.data != NULL)
		herd_str_wipe(b.data, b.len);
	herd_buf_free(&b);
	return rc;
}
