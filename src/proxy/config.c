#include "proxy/config.h"

#include <assert.h>
#include <ctype.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/ini.h"
#include "base/log.h"
#include "base/str.h"
#include "proxy/hba.h"
#include "proxy/ident.h"
#include "proxy/ldapauth.h"
#include "proxy/pam.h"
#include "proxy/settings.h"
#include "sql/readonly.h"

static void free_database(void *p)
{
	struct herd_database *d = p;

	if (!d)
		return;
	char *const texts[] = { d->name,
				d->dbname,
				d->host,
				d->user,
				d->password,
				d->auth_user,
				d->auth_query,
				d->auth_dbname,
				d->connect_query,
				d->client_encoding,
				d->datestyle,
				d->timezone,
				d->application_name,
				d->cluster };

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		free(texts[i]);
	free(d);
}

static void free_user(void *p)
{
	struct herd_user *u = p;

	free(u->name);
	if (u->password)
		herd_str_wipe(u->password, strlen(u->password));
	free(u->password);
	free(u);
}

static struct herd_database *new_database(const char *name)
{
	struct herd_database *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->name = strdup(name);
	d->port = 5432;
	d->pool_size = d->min_pool_size = d->reserve_pool_size = -1;
	d->max_db_connections = d->max_db_client_connections = -1;
	d->pool_mode = HERD_MODE_UNSET;
	d->session_state = -1;
	d->split = HERD_SPLIT_UNSET;
	d->query_wait_timeout = d->server_lifetime = -1;
	d->round_robin = true;
	d->route.group = -1;
	return d;
}

static void no_own_values(struct herd_user *u)
{
	u->pool_size = u->reserve_pool_size = -1;
	u->pool_mode = HERD_MODE_UNSET;
	u->max_user_connections = u->max_user_client_connections = -1;
	u->query_timeout = u->query_wait_timeout = u->idle_transaction_timeout = -1;
	u->transaction_timeout = u->client_idle_timeout = -1;
}

static struct herd_user *get_user(struct herd_pconf *c, const char *name)
{
	struct herd_user *u = herd_map_get(c->users, name);

	if (u)
		return u;
	u = calloc(1, sizeof(*u));
	if (!u)
		return NULL;
	u->name = strdup(name);
	no_own_values(u);
	if (!u->name || herd_map_put(c->users, name, u) < 0) {
		free_user(u);
		return NULL;
	}
	return u;
}

static int bad_value(struct herd_err *err, const char *key, const char *value)
{
	return herd_err_set(err, -EINVAL, "invalid value \"%s\" for \"%s\"", value, key);
}

static int to_int(const char *text, int max, int *ret)
{
	int64_t v;

	if (herd_str_to_i64(text, &v) < 0 || v < 0 || v > max)
		return -EINVAL;
	*ret = (int)v;
	return 0;
}

static int to_port(const char *text, int *ret)
{
	int v;

	if (to_int(text, 65535, &v) < 0 || v == 0)
		return -EINVAL;
	*ret = v;
	return 0;
}

/* One's own in place of the setting; as with PgBouncer what is below zero means that there is none.
 */
static int own_int(const char *text, int *ret)
{
	int64_t v;

	if (herd_str_to_i64(text, &v) == 0 && v < 0)
		return *ret = -1, 0;
	return to_int(text, 1 << 30, ret);
}

static int own_time(const char *text, int64_t *ret)
{
	int64_t v;

	if (herd_str_to_i64(text, &v) == 0 && v < 0)
		return *ret = -1, 0;
	return herd_settings_time(text, ret);
}

/* Numbers, times and words of a database; -ENOENT when the key is none of them. */
static int database_value(struct herd_database *d, const char *key, const char *value)
{
	const struct {
		const char *key;
		int *slot;
	} numbers[] = {
		{ "pool_size", &d->pool_size },
		{ "min_pool_size", &d->min_pool_size },
		{ "reserve_pool", &d->reserve_pool_size },
		{ "reserve_pool_size", &d->reserve_pool_size },
		{ "max_db_connections", &d->max_db_connections },
		{ "max_db_client_connections", &d->max_db_client_connections },
		{ "group", &d->route.group },
	};

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		if (strcmp(key, numbers[i].key) == 0)
			return own_int(value, numbers[i].slot);
	}
	if (strcmp(key, "port") == 0)
		return to_port(value, &d->port);
	if (strcmp(key, "pool_mode") == 0)
		return herd_settings_mode(value, &d->pool_mode);
	if (strcmp(key, "session_state") == 0)
		return herd_settings_session(value, &d->session_state);
	if (strcmp(key, "split") == 0)
		return herd_settings_split(value, &d->split);
	if (strcmp(key, "query_wait_timeout") == 0)
		return own_time(value, &d->query_wait_timeout);
	if (strcmp(key, "server_lifetime") == 0)
		return own_time(value, &d->server_lifetime);
	if (strcmp(key, "role") == 0)
		return herd_route_role_parse(value, &d->route.role);
	if (strcmp(key, "max_lag") == 0)
		return herd_route_lag_parse(value, &d->route);
	if (strcmp(key, "fallback") == 0) {
		d->route.fallback_primary = strcmp(value, "primary") == 0;
		return d->route.fallback_primary || strcmp(value, "none") == 0 ? 0 : -EINVAL;
	}
	if (strcmp(key, "load_balance_hosts") == 0) {
		d->round_robin = strcmp(value, "round-robin") == 0;
		return d->round_robin || strcmp(value, "disable") == 0 ? 0 : -EINVAL;
	}
	return -ENOENT;
}

static int on_database_word(void *arg, const char *section, const char *key, const char *value,
			    struct herd_err *err)
{
	struct herd_database *d = arg;
	const struct {
		const char *key;
		char **slot;
	} texts[] = {
		{ "dbname", &d->dbname },
		{ "host", &d->host },
		{ "user", &d->user },
		{ "password", &d->password },
		{ "auth_user", &d->auth_user },
		{ "auth_query", &d->auth_query },
		{ "auth_dbname", &d->auth_dbname },
		{ "connect_query", &d->connect_query },
		{ "client_encoding", &d->client_encoding },
		{ "datestyle", &d->datestyle },
		{ "timezone", &d->timezone },
		{ "application_name", &d->application_name },
		{ "cluster", &d->cluster },
	};

	(void)section;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		if (strcmp(key, texts[i].key) != 0)
			continue;
		if (!herd_str_set(texts[i].slot, value))
			return herd_err_set(err, -ENOMEM, "out of memory");
		return 0;
	}
	int rc = database_value(d, key, value);

	if (rc == -ENOENT)
		return herd_err_set(err, -EINVAL, "unrecognized connection parameter: %s", key);
	return rc < 0 ? bad_value(err, key, value) : 0;
}

static int check_split(int mode, struct herd_err *err)
{
	if (mode == HERD_SPLIT_AUTO && !herd_readonly_available())
		return herd_err_set(err, -EINVAL,
				    "split = auto needs a program built with libpg_query");
	return 0;
}

static int check_route(struct herd_database *d, struct herd_err *err)
{
	if (!d->cluster) {
		if (d->route.group >= 0)
			return herd_err_set(err, -EINVAL, "\"group\" needs \"cluster\"");
		if (d->split > HERD_SPLIT_OFF)
			return herd_err_set(err, -EINVAL, "\"split\" needs \"cluster\"");
		if (d->route.max_lag > 0 || d->route.max_lag_ms > 0)
			return herd_err_set(err, -EINVAL, "\"max_lag\" needs \"cluster\"");
		if (d->route.fallback_primary)
			return herd_err_set(err, -EINVAL, "\"fallback\" needs \"cluster\"");
		return 0;
	}
	if ((d->route.max_lag > 0 || d->route.max_lag_ms > 0) &&
	    d->route.role != HERD_ROUTE_REPLICA && d->route.role != HERD_ROUTE_ANY &&
	    d->split <= HERD_SPLIT_OFF)
		return herd_err_set(err, -EINVAL, "\"max_lag\" needs role \"replica\" or \"any\"");
	if (d->route.fallback_primary && d->route.role != HERD_ROUTE_REPLICA)
		return herd_err_set(err, -EINVAL, "\"fallback\" needs role \"replica\"");
	if (d->host)
		return herd_err_set(err, -EINVAL, "\"cluster\" and \"host\" exclude each other");
	if (d->route.role == HERD_ROUTE_WORKERS && d->route.group >= 0)
		return herd_err_set(err, -EINVAL,
				    "\"group\" and role \"workers\" exclude each other");
	if (d->split > HERD_SPLIT_OFF && d->route.role != HERD_ROUTE_PRIMARY)
		return herd_err_set(err, -EINVAL, "\"split\" needs role \"primary\"");
	d->route.cluster = d->cluster;
	d->reads = d->route;
	d->reads.role = HERD_ROUTE_REPLICA;
	if (d->route.role == HERD_ROUTE_PRIMARY)
		d->route.max_lag = d->route.max_lag_ms = 0;
	return check_split(d->split, err);
}

static int add_database(struct herd_pconf *c, const char *name, const char *value,
			struct herd_err *err)
{
	if (strcmp(name, "pgbouncer") == 0 || strcmp(name, "pgherd") == 0)
		return herd_err_set(err, -EINVAL, "database name \"%s\" is reserved", name);
	struct herd_database *d = new_database(name);

	if (!d)
		return herd_err_set(err, -ENOMEM, "out of memory");
	int rc = herd_ini_conninfo(value, on_database_word, d, err);

	if (rc == 0)
		rc = check_route(d, err);
	d->fallback = strcmp(name, "*") == 0;
	if (rc == 0 && herd_map_put(c->databases, name, d) < 0)
		rc = herd_err_set(err, -ENOMEM, "out of memory");
	if (rc < 0)
		free_database(d);
	return rc;
}

static int add_listener(struct herd_pconf *c, const char *name, const char *value,
			struct herd_err *err)
{
	struct herd_listener *ls = realloc(c->listeners, (c->nlisteners + 1) * sizeof(*ls));

	if (!ls)
		return herd_err_set(err, -ENOMEM, "out of memory");
	c->listeners = ls;
	struct herd_database *d = new_database(name);

	if (!d)
		return herd_err_set(err, -ENOMEM, "out of memory");
	d->port = 0;
	int rc = herd_ini_conninfo(value, on_database_word, d, err);
	struct herd_listener l = { .name = herd_str_dup(name), .port = d->port, .db = d };

	/* Here host and port say where to listen. */
	l.host = d->host;
	d->host = NULL;
	d->fallback = true;
	if (rc == 0)
		rc = check_route(d, err);
	if (rc == 0 && (l.port < 1 || l.port > 65535))
		rc = herd_err_set(err, -EINVAL, "listener needs \"port\"");
	if (rc == 0 && !d->cluster)
		rc = herd_err_set(err, -EINVAL, "listener needs \"cluster\"");
	if (rc < 0) {
		free(l.name);
		free(l.host);
		free_database(d);
		return rc;
	}
	ls[c->nlisteners++] = l;
	return 0;
}

static int on_peer_word(void *arg, const char *section, const char *key, const char *value,
			struct herd_err *err)
{
	struct herd_peer *p = arg;
	int rc = -ENOENT;

	(void)section;
	if (strcmp(key, "host") == 0)
		return herd_str_set(&p->host, value) ? 0
						     : herd_err_set(err, -ENOMEM, "out of memory");
	if (strcmp(key, "port") == 0)
		rc = to_port(value, &p->port);
	else if (strcmp(key, "pool_size") == 0)
		rc = own_int(value, &p->pool_size);
	if (rc == -ENOENT)
		return herd_err_set(err, -EINVAL, "unrecognized connection parameter: %s", key);
	return rc < 0 ? bad_value(err, key, value) : 0;
}

static int add_peer(struct herd_pconf *c, const char *name, const char *value, struct herd_err *err)
{
	struct herd_peer *more = realloc(c->peers, (c->npeers + 1) * sizeof(*more));
	int id;

	if (!more)
		return herd_err_set(err, -ENOMEM, "out of memory");
	c->peers = more;
	if (to_int(name, HERD_MAX_PEER_ID, &id) < 0 || id < 1)
		return herd_err_set(err, -EINVAL, "invalid peer_id \"%s\": 1 to %d is possible",
				    name, HERD_MAX_PEER_ID);
	struct herd_peer *p = &c->peers[c->npeers++];

	*p = (struct herd_peer){ .id = id, .port = 6432, .pool_size = -1 };
	int rc = herd_ini_conninfo(value, on_peer_word, p, err);

	if (rc == 0 && !p->host)
		rc = herd_err_set(err, -EINVAL, "peer %d needs \"host\"", id);
	return rc;
}

static int on_user_word(void *arg, const char *section, const char *key, const char *value,
			struct herd_err *err)
{
	struct herd_user *u = arg;
	int rc = -ENOENT;

	(void)section;
	if (strcmp(key, "pool_size") == 0)
		rc = own_int(value, &u->pool_size);
	else if (strcmp(key, "reserve_pool_size") == 0)
		rc = own_int(value, &u->reserve_pool_size);
	else if (strcmp(key, "pool_mode") == 0)
		rc = herd_settings_mode(value, &u->pool_mode);
	else if (strcmp(key, "max_user_connections") == 0)
		rc = own_int(value, &u->max_user_connections);
	else if (strcmp(key, "max_user_client_connections") == 0)
		rc = own_int(value, &u->max_user_client_connections);
	else if (strcmp(key, "query_timeout") == 0)
		rc = own_time(value, &u->query_timeout);
	else if (strcmp(key, "query_wait_timeout") == 0)
		rc = own_time(value, &u->query_wait_timeout);
	else if (strcmp(key, "idle_transaction_timeout") == 0)
		rc = own_time(value, &u->idle_transaction_timeout);
	else if (strcmp(key, "transaction_timeout") == 0)
		rc = own_time(value, &u->transaction_timeout);
	else if (strcmp(key, "client_idle_timeout") == 0)
		rc = own_time(value, &u->client_idle_timeout);
	if (rc == -ENOENT)
		return herd_err_set(err, -EINVAL, "unrecognized user parameter: %s", key);
	return rc < 0 ? bad_value(err, key, value) : 0;
}

static int set_setting(struct herd_pconf *c, const char *key, const char *value, bool ours,
		       struct herd_err *err)
{
	int i = herd_settings_find(key, ours);

	if (i < 0)
		return herd_err_set(err, -ENOENT, "unknown setting \"%s\"", key);
	int rc = herd_settings_store(&c->s, i, value, err);

	if (rc < 0)
		return rc;
	if (!herd_str_set(&c->text[i], value))
		return herd_err_set(err, -ENOMEM, "out of memory");
	c->given[i] = true;
	return 0;
}

/* A second line for a user takes the first one's place, as it does for a database. */
static int add_user(struct herd_pconf *c, const char *name, const char *value, struct herd_err *err)
{
	struct herd_user *u = get_user(c, name);

	if (!u)
		return herd_err_set(err, -ENOMEM, "out of memory");
	no_own_values(u);
	return herd_ini_conninfo(value, on_user_word, u, err);
}

static int on_section(struct herd_pconf *c, const char *name, struct herd_err *err)
{
	static const char *const known[] = { "pgbouncer", "pgherd", "databases",
					     "listeners", "peers",  "users" };

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (strcmp(name, known[i]) != 0)
			continue;
		c->has_main |= i < 2;
		return 0;
	}
	return herd_err_set(err, -EINVAL, "unknown section \"%s\"", name);
}

static int on_key(void *arg, const char *section, const char *key, const char *value,
		  struct herd_err *err)
{
	struct herd_pconf *c = arg;

	if (!key)
		return on_section(c, section, err);
	if (strcmp(section, "pgbouncer") == 0)
		return set_setting(c, key, value, false, err);
	if (strcmp(section, "pgherd") == 0)
		return set_setting(c, key, value, true, err);
	if (strcmp(section, "databases") == 0)
		return add_database(c, key, value, err);
	if (strcmp(section, "listeners") == 0)
		return add_listener(c, key, value, err);
	if (strcmp(section, "peers") == 0)
		return add_peer(c, key, value, err);
	if (strcmp(section, "users") == 0)
		return add_user(c, key, value, err);
	return herd_err_set(err, -EINVAL, "setting \"%s\" stands before the first section", key);
}

/* "..." with doubled quotes inside; moves *p behind it. NULL when there is none. */
static char *quoted(char **p)
{
	struct herd_buf b = { 0 };
	char *s = *p;

	while (isspace((unsigned char)*s))
		s++;
	if (*s++ != '"')
		return NULL;
	for (; *s; s++) {
		if (*s == '"' && *++s != '"') {
			*p = s;
			return herd_buf_steal(&b);
		}
		herd_buf_addc(&b, *s);
	}
	herd_buf_free(&b);
	return NULL;
}

static int load_users(struct herd_pconf *c, const char *path, struct herd_err *err)
{
	FILE *f = fopen(path, "re");
	char *line = NULL;
	size_t cap = 0;
	int rc = 0;

	if (!f)
		return herd_err_set(err, -errno, "could not open auth_file \"%s\": %s", path,
				    strerror(errno));
	for (int no = 1; rc == 0 && getline(&line, &cap, f) >= 0; no++) {
		char *p = herd_str_trim(line);

		if (*p == '\0' || *p == ';' || *p == '#')
			continue;
		char *name = quoted(&p), *password = name ? quoted(&p) : NULL;
		struct herd_user *u = password ? get_user(c, name) : NULL;

		if (!password)
			rc = herd_err_set(err, -EINVAL, "%s:%d: broken auth file", path, no);
		else if (!u || !herd_str_set(&u->password, password))
			rc = herd_err_set(err, -ENOMEM, "out of memory");
		if (password)
			herd_str_wipe(password, strlen(password));
		free(name);
		free(password);
	}
	if (line)
		herd_str_wipe(line, cap);
	free(line);
	fclose(f);
	return rc;
}

static struct herd_pconf *new_config(struct herd_err *err)
{
	struct herd_pconf *c = calloc(1, sizeof(*c));
	int n = herd_pconf_nsettings();

	if (!c)
		goto nomem;
	atomic_init(&c->refs, 1);
	c->text = calloc((size_t)n, sizeof(*c->text));
	c->given = calloc((size_t)n, sizeof(*c->given));
	c->later = calloc((size_t)n, sizeof(*c->later));
	c->databases = herd_map_new(free_database);
	c->users = herd_map_new(free_user);
	if (!c->text || !c->given || !c->later || !c->databases || !c->users)
		goto nomem;
	for (int i = 0; i < n; i++) {
		const char *fallback = herd_pconf_setting(i).fallback;

		if (!herd_str_set(&c->text[i], fallback) ||
		    herd_settings_store(&c->s, i, fallback, err) < 0)
			goto nomem;
	}
	return c;
nomem:
	herd_pconf_unref(c);
	herd_err_set(err, -ENOMEM, "out of memory");
	return NULL;
}

static int check_config(struct herd_pconf *c, struct herd_err *err)
{
	const struct herd_settings *s = &c->s;
	bool tls = s->client_tls_sslmode != HERD_SSL_DISABLE;

	if (tls && (!*s->client_tls_key_file || !*s->client_tls_cert_file))
		return herd_err_set(err, -EINVAL,
				    "to allow TLS connections from clients, client_tls_key_file "
				    "and client_tls_cert_file must be set");
	if (s->auth_type == HERD_AUTH_CERT && s->client_tls_sslmode != HERD_SSL_VERIFY_FULL)
		return herd_err_set(err, -EINVAL,
				    "auth_type cert needs client_tls_sslmode verify-full");
	if (herd_log_facility(s->syslog_facility) < 0)
		return herd_err_set(err, -EINVAL, "invalid value \"%s\" for setting \"%s\"",
				    s->syslog_facility, "syslog_facility");
	if (check_split(s->split, err) < 0)
		return -EINVAL;
	if (strcmp(s->auth_dbname, "pgbouncer") == 0)
		return herd_err_set(err, -EINVAL,
				    "cannot use the reserved \"pgbouncer\" database as an "
				    "auth_dbname");
	if (s->auth_type == HERD_AUTH_PAM && !herd_pam_built()) {
		herd_err_set(err, -ENOTSUP, "auth_type pam is not supported by this build");
		herd_err_hint(err, "Install libpam0g-dev and build again.");
		return -ENOTSUP;
	}
	if (s->auth_type == HERD_AUTH_LDAP &&
	    herd_ldap_parse(s->auth_ldap_options, &c->ldap, err) < 0) {
		herd_err_prefix(err, "auth_ldap_options");
		return err ? err->code : -EINVAL;
	}
	if (s->auth_type == HERD_AUTH_HBA && !*s->auth_hba_file)
		return herd_err_set(err, -EINVAL, "auth_type hba needs auth_hba_file");
	if (*s->auth_hba_file && herd_hba_load(s->auth_hba_file, &c->hba, err) < 0)
		return err ? err->code : -EINVAL;
	if (*s->auth_ident_file && herd_ident_load(s->auth_ident_file, &c->ident, err) < 0)
		return err ? err->code : -EINVAL;
	if (*s->auth_file)
		return load_users(c, s->auth_file, err);
	return 0;
}

/* What takes a restart is as it was at the start, whatever the file says by now. */
static int keep_fixed(struct herd_pconf *c, const struct herd_pconf *running, struct herd_err *err)
{
	for (int i = 0; i < herd_pconf_nsettings(); i++) {
		struct herd_setting_info info = herd_pconf_setting(i);
		char was[32], is[32];

		if (!info.restart || strcmp(herd_settings_show(&running->s, i, was, sizeof(was)),
					    herd_settings_show(&c->s, i, is, sizeof(is))) == 0)
			continue;
		int rc = set_setting(c, info.name, running->text[i], info.ours, err);

		if (rc < 0)
			return rc;
		c->later[i] = true;
	}
	return 0;
}

/* running NULL: the first time. keep: also what SET changed. */
static int load(const char *path, const struct herd_pconf *running, bool keep, const char *key,
		const char *value, struct herd_pconf **ret, struct herd_err *err)
{
	const struct herd_pconf *old = keep ? running : NULL;
	struct herd_pconf *c = new_config(err);

	if (!c)
		return -ENOMEM;
	int rc = herd_ini_read(path, on_key, c, err);

	if (rc == 0 && !c->has_main)
		rc = herd_err_set(err, -EINVAL, "file \"%s\" has no section [pgbouncer]", path);
	/* What SET changed before stays changed. */
	for (int i = 0; rc == 0 && old && i < herd_pconf_nsettings(); i++) {
		struct herd_setting_info info = herd_pconf_setting(i);

		if (old->given[i] && !herd_str_eq(old->text[i], c->text[i]))
			rc = set_setting(c, info.name, old->text[i], info.ours, err);
	}
	if (rc == 0 && running)
		rc = keep_fixed(c, running, err);
	if (rc == 0 && key)
		rc = set_setting(c, key, value, herd_settings_find(key, true) >= 0, err);
	if (rc == 0 && !*c->s.conffile)
		rc = set_setting(c, "conffile", path, false, err);
	if (rc == 0)
		rc = check_config(c, err);
	if (rc < 0) {
		herd_pconf_unref(c);
		return rc;
	}
	*ret = c;
	return 0;
}

int herd_pconf_load(const char *path, struct herd_pconf **ret, struct herd_err *err)
{
	return load(path, NULL, false, NULL, NULL, ret, err);
}

int herd_pconf_reload(const struct herd_pconf *running, const char *path, struct herd_pconf **ret,
		      struct herd_err *err)
{
	return load(path, running, false, NULL, NULL, ret, err);
}

int herd_pconf_set(const struct herd_pconf *old, const char *path, const char *key,
		   const char *value, struct herd_pconf **ret, struct herd_err *err)
{
	int i = herd_settings_find(key, false);

	if (i < 0)
		i = herd_settings_find(key, true);
	if (i < 0)
		return herd_err_set(err, -ENOENT, "unknown setting \"%s\"", key);
	if (herd_pconf_setting(i).restart)
		return herd_err_set(err, -EPERM, "setting \"%s\" cannot be changed at run time",
				    key);
	return load(path, old, true, key, value, ret, err);
}

struct herd_pconf *herd_pconf_ref(struct herd_pconf *c)
{
	int refs = atomic_fetch_add(&c->refs, 1);

	assert(refs > 0);
	(void)refs;
	return c;
}

void herd_pconf_unref(struct herd_pconf *c)
{
	if (!c || atomic_fetch_sub(&c->refs, 1) > 1)
		return;
	for (int i = 0; c->text && i < herd_pconf_nsettings(); i++)
		free(c->text[i]);
	free(c->text);
	free(c->given);
	free(c->later);
	herd_settings_free(&c->s);
	herd_map_free(c->databases);
	herd_map_free(c->users);
	for (size_t i = 0; i < c->nlisteners; i++) {
		free(c->listeners[i].name);
		free(c->listeners[i].host);
		free_database(c->listeners[i].db);
	}
	free(c->listeners);
	for (size_t i = 0; i < c->npeers; i++)
		free(c->peers[i].host);
	free(c->peers);
	herd_hba_free(c->hba);
	herd_ident_free(c->ident);
	herd_ldap_free(c->ldap);
	free(c);
}

const struct herd_database *herd_pconf_database(const struct herd_pconf *c, const char *name)
{
	const struct herd_database *d = herd_map_get(c->databases, name);

	return d ? d : herd_map_get(c->databases, "*");
}

const struct herd_peer *herd_pconf_peer(const struct herd_pconf *c, int id)
{
	for (size_t i = 0; i < c->npeers; i++) {
		if (c->peers[i].id == id)
			return &c->peers[i];
	}
	return NULL;
}

const struct herd_user *herd_pconf_user(const struct herd_pconf *c, const char *name)
{
	return herd_map_get(c->users, name);
}

bool herd_pconf_in_list(const char *list, const char *name)
{
	size_t len = strlen(name);

	for (const char *p = list; *p;) {
		while (*p == ',' || isspace((unsigned char)*p))
			p++;
		const char *end = p + strcspn(p, ",");
		const char *stop = end;

		while (stop > p && isspace((unsigned char)stop[-1]))
			stop--;
		if ((size_t)(stop - p) == len && strncmp(p, name, len) == 0 && len > 0)
			return true;
		p = end;
	}
	return false;
}
