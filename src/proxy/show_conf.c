/* SHOW DATABASES, USERS, CONFIG, VERSION, STATE. */
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "proxy/console.h"
#include "proxy/settings.h"

static const char *const databases_columns[] = { "name",
						 "host",
						 "port:4",
						 "database",
						 "force_user",
						 "pool_size:4",
						 "min_pool_size:4",
						 "reserve_pool_size:4",
						 "server_lifetime:4",
						 "pool_mode",
						 "load_balance_hosts",
						 "max_connections:4",
						 "current_connections:4",
						 "max_client_connections:4",
						 "current_client_connections:4",
						 "paused:4",
						 "disabled:4",
						 NULL };
static const char *const users_columns[] = { "name",
					     "pool_size",
					     "reserve_pool_size",
					     "pool_mode",
					     "max_user_connections:4",
					     "current_connections:4",
					     "max_user_client_connections:4",
					     "current_client_connections:4",
					     NULL };
static const char *const config_columns[] = { "key", "value", "default", "changeable", NULL };
static const char *const version_columns[] = { "version", NULL };
static const char *const state_columns[] = { "key", "value", NULL };

void herd_show_each_db(struct herd_worker *w, struct herd_result *r,
		       void (*fn)(struct herd_worker *w, struct herd_result *r, struct herd_db *db))
{
	size_t pos = 0;
	const char *key;
	void *value;

	pthread_mutex_lock(&w->px->pools_lock);
	while (herd_map_next(w->px->dbs, &pos, &key, &value))
		fn(w, r, value);
	pthread_mutex_unlock(&w->px->pools_lock);
}

static void database_row(struct herd_worker *w, struct herd_result *r, const char *name,
			 const struct herd_database *d, const struct herd_db *db)
{
	const struct herd_settings *s = herd_worker_settings(w);
	struct herd_row row = herd_row_begin(r);
	char *where = d->cluster ? herd_str_printf("%s/%s%s%.0d", d->cluster,
						   herd_route_role_name(d->route.role),
						   d->route.group > 0 ? "/" : "",
						   d->route.group > 0 ? d->route.group : 0)
				 : herd_str_dup(d->host);

	herd_row_text(&row, name);
	herd_row_text(&row, where);
	herd_row_int(&row, d->cluster ? 0 : d->port);
	herd_row_text(&row, d->dbname ? d->dbname : name);
	herd_row_text(&row, d->user);
	herd_row_int(&row, d->pool_size >= 0 ? d->pool_size : s->default_pool_size);
	herd_row_int(&row, d->min_pool_size >= 0 ? d->min_pool_size : s->min_pool_size);
	herd_row_int(&row, d->reserve_pool_size >= 0 ? d->reserve_pool_size : s->reserve_pool_size);
	herd_row_int(&row,
		     (d->server_lifetime >= 0 ? d->server_lifetime : s->server_lifetime) / 1000000);
	herd_row_text(&row, d->pool_mode == HERD_MODE_UNSET ? NULL : herd_mode_name(d->pool_mode));
	herd_row_text(&row, d->host && strchr(d->host, ',')
				    ? d->round_robin ? "round-robin" : "disable"
				    : NULL);
	herd_row_int(&row,
		     d->max_db_connections >= 0 ? d->max_db_connections : s->max_db_connections);
	herd_row_int(&row, db ? atomic_load(&db->nconns) : 0);
	herd_row_int(&row, d->max_db_client_connections >= 0 ? d->max_db_client_connections
							     : s->max_db_client_connections);
	herd_row_int(&row, db ? atomic_load(&db->nclients) : 0);
	herd_row_int(&row, db && atomic_load(&db->paused));
	herd_row_int(&row, db && atomic_load(&db->disabled));
	herd_row_end(&row);
	free(where);
}

static void used_database(struct herd_worker *w, struct herd_result *r, struct herd_db *db)
{
	const struct herd_database *d = herd_db_conf(w->live, db);

	/* Those named in the file are shown below, used or not; so is the console. */
	if (d && d->fallback && strcmp(db->name, "pgbouncer") != 0)
		database_row(w, r, db->name, d, db);
}

static void show_databases(struct herd_worker *w, struct herd_result *r)
{
	struct herd_database console = { .dbname = (char *)"pgbouncer",
					 .user = (char *)"pgbouncer",
					 .port = herd_worker_settings(w)->listen_port,
					 .pool_size = 2,
					 .max_db_client_connections = -1,
					 .server_lifetime = -1,
					 .pool_mode = HERD_MODE_STATEMENT };
	size_t pos = 0;
	const char *name;
	void *value;

	while (herd_map_next(w->live->config->databases, &pos, &name, &value)) {
		const struct herd_database *d = value;

		if (!d->fallback)
			database_row(w, r, name, d, herd_db_get(w->px, name, NULL));
	}
	herd_show_each_db(w, r, used_database);
	database_row(w, r, "pgbouncer", &console, herd_db_get(w->px, "pgbouncer", NULL));
}

/* A number that is empty where the user has none of its own. */
static void row_own(struct herd_row *row, int v)
{
	if (v >= 0)
		herd_row_int(row, v);
	else
		herd_row_text(row, "");
}

static void user_row(struct herd_worker *w, struct herd_result *r, const char *name,
		     const struct herd_user *u, struct herd_user_count *n)
{
	const struct herd_settings *s = herd_worker_settings(w);
	struct herd_row row = herd_row_begin(r);

	herd_row_text(&row, name);
	row_own(&row, u->pool_size);
	row_own(&row, u->reserve_pool_size);
	herd_row_text(&row, u->pool_mode == HERD_MODE_UNSET ? NULL : herd_mode_name(u->pool_mode));
	herd_row_int(&row, u->max_user_connections >= 0 ? u->max_user_connections
							: s->max_user_connections);
	herd_row_int(&row, n ? atomic_load(&n->nconns) : 0);
	herd_row_int(&row, u->max_user_client_connections >= 0 ? u->max_user_client_connections
							       : s->max_user_client_connections);
	herd_row_int(&row, n ? atomic_load(&n->nclients) : 0);
	herd_row_end(&row);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The users that a map has by name, or that its databases name. */
static size_t add_names(const char **names, const struct herd_map *m, bool databases)
{
	size_t pos = 0, n = 0;
	const char *name;
	void *value;

	while (herd_map_next(m, &pos, &name, &value)) {
		const struct herd_database *d = value;

		if (!databases)
			names[n++] = name;
		if (databases && d->user)
			names[n++] = d->user;
		if (databases && d->auth_user)
			names[n++] = d->auth_user;
	}
	return n;
}

/* px->pools_lock is held. The names of all users, each once, in order; NULL: out of memory. */
static const char **user_names(struct herd_worker *w, size_t *n)
{
	const struct herd_map *listed = w->live->config->users, *dbs = w->live->config->databases;
	const char **names = calloc(herd_map_size(listed) + herd_map_size(w->px->users) +
					    2 * herd_map_size(dbs) + 1,
				    sizeof(*names));
	size_t all = 0;

	*n = 0;
	if (!names)
		return NULL;
	all += add_names(names, listed, false);
	all += add_names(names + all, w->px->users, false);
	all += add_names(names + all, dbs, true);
	/* Who the console's databases belong to. */
	names[all++] = "pgbouncer";
	qsort(names, all, sizeof(*names), by_name);
	for (size_t i = 0; i < all; i++) {
		if (i == 0 || strcmp(names[i], names[i - 1]) != 0)
			names[(*n)++] = names[i];
	}
	return names;
}

static void show_users(struct herd_worker *w, struct herd_result *r)
{
	/* Known from auth_query or forced by a database. */
	static const struct herd_user unlisted = { .pool_size = -1,
						   .reserve_pool_size = -1,
						   .pool_mode = HERD_MODE_UNSET,
						   .max_user_connections = -1,
						   .max_user_client_connections = -1 };
	size_t n;

	pthread_mutex_lock(&w->px->pools_lock);
	const char **names = user_names(w, &n);

	for (size_t i = 0; names && i < n; i++) {
		const struct herd_user *u = herd_pconf_user(w->live->config, names[i]);

		user_row(w, r, names[i], u ? u : &unlisted, herd_map_get(w->px->users, names[i]));
	}
	pthread_mutex_unlock(&w->px->pools_lock);
	free(names);
}

static void show_config(struct herd_worker *w, struct herd_result *r)
{
	for (int i = 0; i < herd_pconf_nsettings(); i++) {
		struct herd_setting_info info = herd_pconf_setting(i);
		struct herd_row row = herd_row_begin(r);
		char buf[32];
		const char *value =
			herd_settings_show(herd_worker_settings(w), i, buf, sizeof(buf));

		herd_row_text(&row, info.name);
		herd_row_text(&row, info.null_if_empty && !*value ? NULL : value);
		herd_row_text(&row, info.null_if_empty ? NULL : info.fallback);
		herd_row_text(&row, info.restart ? "no" : "yes");
		herd_row_end(&row);
	}
}

static void show_version(struct herd_worker *w, struct herd_result *r)
{
	struct herd_row row = herd_row_begin(r);

	(void)w;
	herd_row_text(&row, "PgBouncer " HERD_PGBOUNCER_VERSION " (pgherd " PGHERD_VERSION ")");
	herd_row_end(&row);
}

static void show_state(struct herd_worker *w, struct herd_result *r)
{
	bool paused = atomic_load(&w->px->paused_all), suspended = atomic_load(&w->px->suspended);
	const struct {
		const char *name;
		bool on;
	} rows[] = { { "active", !paused && !suspended },
		     { "paused", paused },
		     { "suspended", suspended } };

	for (int i = 0; i < 3; i++) {
		struct herd_row row = herd_row_begin(r);

		herd_row_text(&row, rows[i].name);
		herd_row_text(&row, rows[i].on ? "yes" : "no");
		herd_row_end(&row);
	}
}

const struct herd_show herd_shows_conf[] = {
	{ "config", config_columns, show_config, NULL, false },
	{ "databases", databases_columns, show_databases, NULL, false },
	{ "state", state_columns, show_state, NULL, false },
	{ "users", users_columns, show_users, NULL, false },
	{ "version", version_columns, show_version, NULL, false },
	{ NULL, NULL, NULL, NULL, false },
};
