#include "pg/config.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/str.h"

const char *const herd_pg_kind_names[HERD_PG_KIND_NR] = {
	[HERD_PG_KIND_PRIMARY] = "primary",
	[HERD_PG_KIND_REPLICA] = "replica",
	[HERD_PG_KIND_STANDBY_LEADER] = "standby_leader",
};

const char *const herd_pg_bin_names[HERD_PG_BIN_NR] = {
	[HERD_PG_BIN_PG_CTL] = "pg_ctl",
	[HERD_PG_BIN_INITDB] = "initdb",
	[HERD_PG_BIN_CONTROLDATA] = "pg_controldata",
	[HERD_PG_BIN_BASEBACKUP] = "pg_basebackup",
	[HERD_PG_BIN_POSTGRES] = "postgres",
	[HERD_PG_BIN_ISREADY] = "pg_isready",
	[HERD_PG_BIN_REWIND] = "pg_rewind",
	[HERD_PG_BIN_WALDUMP] = "pg_waldump",
};

static void auth_fields(struct herd_pg_auth *a, char **field[12])
{
	char **all[12] = {
		&a->username,    &a->password,       &a->sslmode,     &a->sslkey,
		&a->sslpassword, &a->sslcert,        &a->sslrootcert, &a->sslcrl,
		&a->sslcrldir,   &a->sslnegotiation, &a->gssencmode,  &a->channel_binding
	};

	memcpy(field, all, sizeof(all));
}

void herd_pg_auth_clear(struct herd_pg_auth *a)
{
	char **field[12];

	if (a->password != NULL)
		herd_str_wipe(a->password, strlen(a->password));
	if (a->sslpassword != NULL)
		herd_str_wipe(a->sslpassword, strlen(a->sslpassword));
	auth_fields(a, field);
	for (int i = 0; i < 12; i++)
		free(*field[i]);
	*a = (struct herd_pg_auth){ 0 };
}

int herd_pg_auth_copy(const struct herd_pg_auth *a, struct herd_pg_auth *ret)
{
	struct herd_pg_auth src = *a, dst = { 0 };
	char **from[12], **to[12];

	auth_fields(&src, from);
	auth_fields(&dst, to);
	for (int i = 0; i < 12; i++) {
		if (!herd_str_set(to[i], *from[i])) {
			herd_pg_auth_clear(&dst);
			return -ENOMEM;
		}
	}
	*ret = dst;
	return 0;
}

void herd_pg_method_clear(struct herd_pg_method *m)
{
	free(m->name);
	free(m->command);
	herd_pg_settings_clear(&m->params);
	herd_pg_settings_clear(&m->recovery_conf);
	*m = (struct herd_pg_method){ 0 };
}

void herd_pg_config_clear(struct herd_pg_config *c)
{
	char *texts[] = { c->scope,       c->name,       c->data_dir,
			  c->config_dir,  c->bin_dir,    c->listen,
			  c->pgpass,      c->database,   c->config_base_name,
			  c->custom_conf, c->krbsrvname, c->log_file };

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		free(texts[i]);
	for (int i = 0; i < HERD_PG_BIN_NR; i++)
		free(c->bin_name[i]);
	herd_pg_auth_clear(&c->superuser);
	herd_pg_auth_clear(&c->replication);
	herd_pg_auth_clear(&c->rewind);
	herd_pg_settings_clear(&c->parameters);
	herd_pg_settings_clear(&c->recovery_conf);
	herd_pg_settings_clear(&c->rewind_options);
	herd_pg_lines_clear(&c->pg_hba);
	herd_pg_lines_clear(&c->pg_ident);
	for (int i = 0; i < HERD_PG_KIND_NR; i++) {
		herd_pg_settings_clear(&c->of_role[i].parameters);
		herd_pg_lines_clear(&c->of_role[i].pg_hba);
		herd_pg_lines_clear(&c->of_role[i].pg_ident);
	}
	for (size_t i = 0; i < c->method_n; i++)
		herd_pg_method_clear(&c->method[i]);
	free(c->method);
	*c = (struct herd_pg_config){ 0 };
}

int herd_pg_config_check(const struct herd_pg_config *c, struct herd_err *err)
{
	if (c->scope == NULL || c->name == NULL || c->name[0] == '\0')
		return herd_err_set(err, -EINVAL, "scope and name of the member must be set");
	if (c->data_dir == NULL || c->data_dir[0] != '/')
		return herd_err_set(err, -EINVAL,
				    "postgresql.data_dir must be an absolute path, not \"%s\"",
				    c->data_dir != NULL ? c->data_dir : "");
	if (c->data_dir[strspn(c->data_dir, "/.")] == '\0')
		return herd_err_set(err, -EINVAL, "postgresql.data_dir must not be \"%s\"",
				    c->data_dir);
	if (c->listen == NULL || c->listen[0] == '\0')
		return herd_err_set(err, -EINVAL, "postgresql.listen must be set");
	if (c->port <= 0 || c->port > 65535)
		return herd_err_set(err, -EINVAL, "port %d of postgresql.listen is out of range",
				    c->port);
	if (c->superuser.username == NULL || c->replication.username == NULL)
		return herd_err_set(err, -EINVAL,
				    "postgresql.authentication must name the superuser and the "
				    "replication user");
	return 0;
}

char *herd_pg_config_bin(const struct herd_pg_config *c, enum herd_pg_bin bin)
{
	const char *name = c->bin_name[bin] != NULL ? c->bin_name[bin] : herd_pg_bin_names[bin];

	if (c->bin_dir == NULL || c->bin_dir[0] == '\0')
		return strdup(name);
	return herd_str_printf("%s/%s", c->bin_dir, name);
}

const char *herd_pg_config_dir(const struct herd_pg_config *c)
{
	return c->config_dir != NULL && c->config_dir[0] != '\0' ? c->config_dir : c->data_dir;
}

char *herd_pg_config_file(const struct herd_pg_config *c, const char *name)
{
	const char *base = c->config_base_name != NULL ? c->config_base_name : "postgresql";

	if (name[0] == '.')
		return herd_str_printf("%s/%s%s", herd_pg_config_dir(c), base, name);
	return herd_str_printf("%s/%s", herd_pg_config_dir(c), name);
}

const char *herd_pg_config_database(const struct herd_pg_config *c)
{
	return c->database != NULL && c->database[0] != '\0' ? c->database : "postgres";
}
