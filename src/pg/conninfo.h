/*
 * pg/conninfo.h - connection strings and password files. Pure, but for herd_pg_pgpass_write.
 */
#pragma once
#include "base/buf.h"
#include "pg/config.h"

/* The libpq that we and the programs of PostgreSQL use knows all words of this version. */
enum { HERD_PG_CLIENT_MAJOR = 15 };

/* Where another server is, as a member key's conn_url or the local configuration says. */
struct herd_pg_addr {
	char *host;   /* one, or several with commas; a path is a socket directory; NULL: libpq's
			 default */
	char *port;   /* one, or as many as hosts; NULL: 5432 */
	char *dbname; /* NULL: postgres */
	char *target_session_attrs; /* NULL: not written; multi host standby clusters: read-write */
};
void herd_pg_addr_clear(struct herd_pg_addr *a);
int herd_pg_addr_copy(const struct herd_pg_addr *a, struct herd_pg_addr *ret);
bool herd_pg_addr_eq(const struct herd_pg_addr *a, const struct herd_pg_addr *b);
/* postgres://host[:port]/db?... as members publish it; IPv6 in brackets; %XX decoded. */
int herd_pg_addr_parse_url(const char *url, struct herd_pg_addr *ret, struct herd_err *err);

/* A value for a connection string: backslash before space, quote and backslash; '' when empty. */
void herd_pg_conninfo_escape(struct herd_buf *out, const char *value);
/*
 * Connection words in Patroni's order (see the surface spec): user, passfile or password, host,
 * port, sslmode ... of auth and addr. The password is written only when passfile is NULL and
 * with_password.
 */
struct herd_pg_conninfo_opts {
	const char *dbname;           /* NULL: not written */
	const char *application_name; /* NULL: not written */
	const char *passfile;         /* NULL: none */
	const char *krbsrvname;
	bool with_password;
	int server_version; /* 15: words that this version does not know are left out */
	bool defaults; /* write sslmode=prefer, gssencmode=prefer, ... as primary_conninfo does */
};
int herd_pg_conninfo_build(const struct herd_pg_addr *addr, const struct herd_pg_auth *auth,
			   const struct herd_pg_conninfo_opts *opts, struct herd_buf *out);
/* Parses keyword/value or URL text with libpq into pairs. */
int herd_pg_conninfo_parse(const char *text, struct herd_pg_settings *ret, struct herd_err *err);

/* Lines host:port:*:user:password, one per host of the list, `localhost` too for a socket
 * directory. */
int herd_pg_pgpass_lines(const struct herd_pg_addr *addr, const struct herd_pg_auth *auth,
			 struct herd_buf *out);
/* Replaces the file (0600). */
int herd_pg_pgpass_write(const char *path, const struct herd_pg_addr *addr,
			 const struct herd_pg_auth *auth, struct herd_err *err);
