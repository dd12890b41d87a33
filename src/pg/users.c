#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/str.h"
#include "pg/command.h"
#include "pg/initdb.h"
#include "pg/private.h"

struct post {
	char *script;
	char *passfile;
};

static void post_free(void *state)
{
	struct post *p = state;

	if (p == NULL)
		return;
	free(p->script);
	free(p->passfile);
	free(p);
}

/* Creates the role or alters the one that is there; a NULL password leaves that alone. */
static void role_sql(struct herd_buf *sql, const char *name, const char *password,
		     const char *options)
{
	struct herd_buf ident = { 0 }, body = { 0 };

	herd_pg_quote_ident(&ident, name);
	herd_buf_printf(&body, "%s WITH %s", herd_buf_str(&ident), options);
	if (password != NULL) {
		herd_buf_addstr(&body, " PASSWORD ");
		herd_pg_quote_literal(&body, password);
	}
	herd_buf_addstr(sql, "DO $pgherd_role$ BEGIN IF EXISTS (SELECT FROM pg_catalog.pg_roles "
			     "WHERE rolname = ");
	herd_pg_quote_literal(sql, name);
	herd_buf_printf(sql,
			") THEN ALTER ROLE %s; ELSE CREATE ROLE %s; END IF; END $pgherd_role$;\n",
			herd_buf_str(&body), herd_buf_str(&body));
	if (body.data != NULL)
		herd_str_wipe(body.data, body.len);
	herd_buf_free(&body);
	herd_buf_free(&ident);
}

static void rewind_sql(struct herd_buf *sql, const char *name)
{
	static const char *const functions[] = {
		"pg_ls_dir(text, boolean, boolean)", "pg_stat_file(text, boolean)",
		"pg_read_binary_file(text)", "pg_read_binary_file(text, bigint, bigint, boolean)"
	};

	for (size_t i = 0; i < sizeof(functions) / sizeof(*functions); i++) {
		herd_buf_printf(sql, "GRANT EXECUTE ON FUNCTION pg_catalog.%s TO ", functions[i]);
		herd_pg_quote_ident(sql, name);
		herd_buf_addstr(sql, ";\n");
	}
}

/* No statement reaches a log, and no standby is waited for: there is none yet. */
static void users_sql(const struct herd_pg_config *cfg, struct herd_buf *sql)
{
	const struct herd_pg_auth *su = &cfg->superuser, *repl = &cfg->replication,
				  *rew = &cfg->rewind;

	herd_buf_addstr(sql, "SET log_statement TO none;\n"
			     "SET log_min_duration_statement TO -1;\n"
			     "SET log_min_error_statement TO 'log';\n"
			     "SET log_min_messages TO panic;\n"
			     "SET synchronous_commit TO 'local';\n");
	if (su->password != NULL)
		role_sql(sql, su->username, su->password, "SUPERUSER LOGIN");
	if (strcmp(repl->username, su->username) != 0)
		role_sql(sql, repl->username, repl->password, "REPLICATION LOGIN");
	if (rew->username != NULL && strcmp(rew->username, su->username) != 0) {
		if (strcmp(rew->username, repl->username) != 0)
			role_sql(sql, rew->username, rew->password, "LOGIN");
		rewind_sql(sql, rew->username);
	}
	herd_buf_addstr(sql, "RESET ALL;\n");
}

static void script_done(struct herd_pg *pg, int status, const char *output)
{
	struct herd_err err = HERD_ERR_INIT;
	int rc = herd_pg_command_check("post_bootstrap", status, output, &err);

	herd_pg_op_end(pg, rc, &err);
	herd_err_clear(&err);
}

/* post_bootstrap gets a connection string without password as its last word. */
static int run_script(struct herd_pg *pg, struct post *p, struct herd_err *err)
{
	struct herd_pg_auth auth = pg->cfg.superuser;
	struct herd_pg_addr addr = { 0 };
	struct herd_pg_settings words = { 0 };
	struct herd_pg_lines argv = { 0 };
	char *dsn, *passvar = herd_str_printf("PGPASSFILE=%s", p->passfile);
	const char *env[] = { passvar,
			      "PGOPTIONS=-c synchronous_commit=local -c statement_timeout=0",
			      NULL };
	int rc;

	auth.password = NULL;
	dsn = herd_pg_local_conninfo(pg, &auth, NULL, NULL);
	rc = dsn != NULL && passvar != NULL ? herd_pg_conninfo_parse(dsn, &words, err) : -ENOMEM;
	if (rc == 0) {
		addr.host = (char *)herd_pg_settings_get(&words, "host");
		addr.port = (char *)herd_pg_settings_get(&words, "port");
		rc = herd_pg_pgpass_write(p->passfile, &addr, &pg->cfg.superuser, err);
	}
	if (rc == 0)
		rc = herd_pg_command_split(p->script, &argv, err);
	if (rc == 0)
		rc = herd_pg_lines_add(&argv, dsn);
	if (rc == 0)
		rc = herd_pg_lines_end(&argv);
	if (rc == 0)
		rc = herd_pg_op_run(pg, (const char *const *)argv.v, env, 0, script_done, err);
	herd_pg_lines_clear(&argv);
	herd_pg_settings_clear(&words);
	free(dsn);
	free(passvar);
	return rc;
}

static void users_done(void *arg, int rc, const struct herd_pg_rows *rows,
		       const struct herd_err *err)
{
	struct herd_pg *pg = arg;
	struct herd_err own = HERD_ERR_INIT;
	struct post *p;

	if (rc == -ECANCELED)
		return;
	p = pg->op.state;
	if (rc < 0) {
		herd_err_set(&own, rc, "could not create the users: %s", herd_err_text(err));
		herd_pg_op_end(pg, rc, &own);
	} else if (p->script == NULL) {
		herd_pg_op_end(pg, 0, NULL);
	} else {
		rc = run_script(pg, p, &own);
		if (rc < 0)
			herd_pg_op_end(pg, rc, &own);
	}
	herd_err_clear(&own);
}

static int begin_users(struct herd_pg *pg, const char *script, struct herd_err *err)
{
	struct herd_buf sql = { 0 };
	struct post *p = calloc(1, sizeof(*p));
	struct herd_pg_session_opts opts = { .statement_timeout_ms = -1,
					     .name = "Patroni bootstrap" };
	char *conninfo = herd_pg_local_conninfo(pg, &pg->cfg.superuser, NULL, NULL);
	int rc = -ENOMEM;

	pg->op.state = p;
	pg->op.free_state = post_free;
	opts.conninfo = conninfo;
	if (p != NULL && conninfo != NULL && herd_str_set(&p->script, script) &&
	    herd_str_set(&p->passfile, pg->cfg.pgpass))
		rc = herd_pg_session_new(pg->loop, &opts, &pg->op.session, NULL);
	users_sql(&pg->cfg, &sql);
	if (rc == 0 && !herd_buf_ok(&sql))
		rc = -ENOMEM;
	if (rc == 0)
		rc = herd_pg_query(pg->op.session, herd_buf_str(&sql), 0, NULL, 60000, users_done,
				   pg);
	if (sql.data != NULL)
		herd_str_wipe(sql.data, sql.len);
	herd_buf_free(&sql);
	if (conninfo != NULL)
		herd_str_wipe(conninfo, strlen(conninfo));
	free(conninfo);
	return rc < 0 ? herd_err_set(err, rc, "out of memory") : 0;
}

int herd_pg_post_bootstrap(struct herd_pg *pg, const char *post_bootstrap, herd_pg_done_fn done,
			   void *arg, struct herd_err *err)
{
	int rc = herd_pg_op_begin(pg, "running post-bootstrap", done, arg, err);

	if (rc < 0)
		return rc;
	rc = begin_users(pg, post_bootstrap, err);
	if (rc < 0)
		herd_pg_op_drop(pg);
	return rc;
}
