/* The console's conversation: both protocols over one executor. */
#include "proxy/admin.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/str.h"
#include "proxy/console.h"
#include "proxy/doors.h"
#include "proxy/keys.h"
#include "proxy/reconf.h"
#include "proxy/suspend.h"
#include "proxy/tls.h"
#include "proxy/topology.h"
#include "wire/msg.h"

enum { MAX_COMMAND_BYTES = 64 * 1024 };

void herd_console_reply(struct herd_client *c, struct herd_buf *b)
{
	herd_conn_send_buf(&c->conn, b);
	herd_buf_free(b);
}

/* The command is over. */
static void finish(struct herd_client *c, struct herd_buf *b)
{
	if (!c->console->extended)
		herd_wr_ready(b, 'I');
	c->console->busy = false;
	herd_console_reply(c, b);
	herd_client_wake(c);
}

void herd_console_fail(struct herd_client *c, const char *state, const char *text)
{
	struct herd_buf b = { 0 };

	herd_wr_report(&b, 'E', "ERROR", state, text, NULL, NULL);
	c->console->skip = c->console->extended;
	finish(c, &b);
}

static void finish_tag(struct herd_client *c, const char *tag)
{
	struct herd_buf b = { 0 };

	herd_wr_complete(&b, tag);
	finish(c, &b);
}

void herd_console_answer(struct herd_worker *w, uint64_t client, const char *tag, const char *error)
{
	herd_list_for_each(it, &w->clients)
	{
		struct herd_client *c = herd_container_of(it, struct herd_client, node);

		if (c->id != client || c->state != HERD_CLIENT_ADMIN)
			continue;
		if (error)
			herd_console_fail(c, "08P01", error);
		else
			finish_tag(c, tag);
		break;
	}
}

static void free_result(struct herd_result *r)
{
	for (size_t i = 0; i < r->nfds; i++)
		close(r->fds[i]);
	free(r->fds);
	if (r->hands_out && r->rows.data)
		herd_str_wipe(r->rows.data, r->rows.len);
	herd_buf_free(&r->rows);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

/* Its own SUSPEND is on; it may have ended since, and another console begun the next. */
static bool suspends(const struct herd_client *c)
{
	const struct herd_px *px = c->w->px;

	return c->console->suspends_us != 0 && atomic_load(&px->suspended) &&
	       atomic_load(&px->suspend_us) == c->console->suspends_us;
}

static void hand_out(struct herd_client *c, struct herd_result *r)
{
	int rc = herd_fds_send(c, r);
	struct herd_buf b = { 0 };

	if (rc < 0) {
		herd_client_close(c, "could not send descriptors");
		return;
	}
	c->console->handed_out = suspends(c);
	herd_wr_complete(&b, "SHOW");
	finish(c, &b);
}

/* All rows are there; the client may have left. */
static void rows_done(struct herd_worker *w, void *arg)
{
	struct herd_result *r = arg;

	herd_list_for_each(it, &w->clients)
	{
		struct herd_client *c = herd_container_of(it, struct herd_client, node);
		struct herd_buf b = { 0 };

		if (c->id != r->client || !c->console)
			continue;
		if (r->hands_out) {
			hand_out(c, r);
			break;
		}
		if (!c->console->described)
			herd_show_columns(&b, r->show, r->binary);
		herd_buf_add(&b, herd_buf_str(&r->rows), r->rows.len);
		herd_wr_complete(&b, "SHOW");
		finish(c, &b);
		break;
	}
	free_result(r);
}

static void each_rows(struct herd_worker *w, void *arg)
{
	struct herd_result *r = arg;

	r->show->each(w, r);
}

static void run_show(struct herd_client *c, const struct herd_show *show)
{
	struct herd_result *r;

	if (show->admin_only && !c->console->full) {
		herd_console_fail(c, "08P01", "admin access needed");
		return;
	}
	r = calloc(1, sizeof(*r));
	if (!r) {
		herd_console_fail(c, "53200", "out of memory");
		return;
	}
	pthread_mutex_init(&r->lock, NULL);
	r->show = show;
	r->binary = c->console->binary;
	r->px = c->w->px;
	r->client = c->id;
	r->hands_out = show == herd_shows_fds && !c->console->extended && c->conn.tls == NULL &&
		       c->addr.family == AF_UNIX && c->peer_uid == getuid();
	if (show->once) {
		show->once(c->w, r);
		rows_done(c->w, r);
	} else if (herd_worker_fanout(c->w, each_rows, rows_done, r) < 0) {
		free_result(r);
		herd_console_fail(c, "53200", "out of memory");
	}
}

/* p is behind the first quote of a word, which becomes what is between it and the last one. */
static char *unquote(char *p, char quote)
{
	char *to = p;

	for (; *p && (*p != quote || p[1] == quote); p++) {
		p += *p == quote; /* doubled it is one */
		*to++ = *p;
	}
	if (*p)
		p++;
	*to = '\0';
	return p;
}

/* Splits into words at blanks, '=' and ';'; quotes are taken off. text is changed. */
static struct herd_command split(char *text)
{
	struct herd_command cmd = { 0 };

	for (char *p = text; *p && cmd.n < 4;) {
		while (isspace((unsigned char)*p) || *p == '=' || *p == ',')
			p++;
		if (*p == '\0')
			break;
		if (*p == '\'' || *p == '"') {
			cmd.word[cmd.n++] = p + 1;
			p = unquote(p + 1, *p);
			continue;
		}
		if (*p != ';')
			cmd.word[cmd.n++] = p;
		while (*p && !isspace((unsigned char)*p) && !strchr("=;", *p))
			p++;
		if (*p == ';')
			cmd.more = p[1 + strspn(p + 1, "; \t\r\n")] != '\0';
		if (*p == ';') {
			*p = '\0';
			break;
		}
		if (*p)
			*p++ = '\0';
	}
	return cmd;
}

static const struct herd_show *show_of(const struct herd_command *cmd)
{
	if (cmd->n == 2 && !cmd->more && strcasecmp(cmd->word[0], "show") == 0)
		return herd_show_find(cmd->word[1]);
	return NULL;
}

const struct herd_show *herd_console_show_of(const char *sql)
{
	char *text = strdup(sql);
	struct herd_command cmd = text ? split(text) : (struct herd_command){ 0 };
	const struct herd_show *show = show_of(&cmd);

	free(text);
	return show;
}

static void send_help(struct herd_client *c)
{
	struct herd_buf b = { 0 };

	herd_wr_report(&b, 'N', "NOTICE", "00000", "Console usage", herd_show_help(), NULL);
	herd_wr_complete(&b, "SHOW");
	finish(c, &b);
}

/* Its last message is here, and behind it the end of the connection. */
static bool says_goodbye(const struct herd_client *c)
{
	return c->conn.in.len > 0 && *c->conn.in.data == 'X';
}

static void run_command(struct herd_client *c, struct herd_command *cmd)
{
	struct herd_err err = HERD_ERR_INIT;
	const char *tag = NULL;

	int rc = herd_command_run(c, cmd, &tag, &err);

	if (c->state == HERD_CLIENT_CLOSED)
		goto out;
	if (rc < 0) {
		herd_console_fail(c, "08P01", herd_err_text(&err));
	} else if (rc == 0) {
		finish_tag(c, tag);
	} else if (rc == 1) {
		herd_str_set(&c->console->wait_verb, cmd->word[0]);
		herd_str_set(&c->console->wait_db, cmd->n > 1 ? cmd->word[1] : NULL);
	}
out:
	herd_err_clear(&err);
}

void herd_console_execute(struct herd_client *c, const char *sql)
{
	char *text = strdup(sql);
	struct herd_command cmd = text ? split(text) : (struct herd_command){ 0 };
	const struct herd_show *show = show_of(&cmd);
	struct herd_buf b = { 0 };

	c->console->busy = true;
	herd_stat_add(&c->db->stats[c->w->id].xact_count, 1);
	herd_stat_add(&c->db->stats[c->w->id].query_count, 1);
	if (!text) {
		herd_console_fail(c, "53200", "out of memory");
	} else if (cmd.n == 0) {
		herd_wr_empty(&b, 'I');
		finish(c, &b);
	} else if (show) {
		run_show(c, show);
	} else if (cmd.n == 2 && strcasecmp(cmd.word[0], "show") == 0 &&
		   strcasecmp(cmd.word[1], "help") == 0) {
		send_help(c);
	} else if (strcasecmp(cmd.word[0], "begin") == 0) {
		/* Drivers wrap everything in transactions; here they mean nothing. */
		finish_tag(c, "BEGIN");
	} else if (strcasecmp(cmd.word[0], "commit") == 0) {
		finish_tag(c, "COMMIT");
	} else if (strcasecmp(cmd.word[0], "rollback") == 0) {
		finish_tag(c, "ROLLBACK");
	} else {
		cmd.text = sql;
		run_command(c, &cmd);
	}
	free(text);
}

static void message(struct herd_client *c, char type, const char *body, size_t n)
{
	struct herd_console *k = c->console;
	struct herd_rd r = herd_rd_init(body, n);
	struct herd_buf b = { 0 };

	switch (type) {
	case 'X':
		herd_client_close(c, "client close request");
		return;
	case 'S':
		k->skip = false;
		herd_wr_ready(&b, 'I');
		herd_console_reply(c, &b);
		return;
	case 'Q':
		if (k->skip)
			return;
		k->extended = false;
		k->described = false;
		k->binary = 0;
		const char *sql = herd_rd_str(&r);

		if (herd_rd_ok(&r))
			herd_console_execute(c, sql);
		else
			herd_client_fail(c, "08P01", "bad query packet");
		return;
	case 'P':
	case 'B':
	case 'D':
	case 'C':
	case 'E':
		if (!k->skip)
			herd_console_extended(c, type, body, n);
		return;
	case 'H':
		return;
	default:
		herd_client_fail(c, "08P01", "bad packet");
		return;
	}
}

void herd_admin_run(struct herd_client *c)
{
	struct herd_msg_head h;

	while (c->state == HERD_CLIENT_ADMIN) {
		while (c->conn.can_read && c->conn.in.len < MAX_COMMAND_BYTES) {
			ssize_t got = -ENOMEM;

			if (herd_buf_reserve(&c->conn.in, 2048))
				got = herd_conn_read(&c->conn, c->conn.in.data + c->conn.in.len,
						     2048);
			if (got == -EAGAIN)
				break;
			if (got <= 0) {
				herd_client_close(c, says_goodbye(c) ? "client close request"
								     : "client unexpected eof");
				return;
			}
			c->conn.in.len += (size_t)got;
		}
		if (c->console->busy)
			return;
		int rc = herd_msg_head_parse(herd_buf_str(&c->conn.in), c->conn.in.len, &h);

		if (rc == -EAGAIN)
			return;
		if (rc < 0 || h.len > MAX_COMMAND_BYTES / 2) {
			herd_client_bad_header(c, c->conn.in.data, c->conn.in.len);
			return;
		}
		size_t total = HERD_MSG_HEAD_BYTES + (size_t)h.len;

		if (c->conn.in.len < total)
			return;
		struct herd_buf msg = { 0 };

		herd_buf_add(&msg, c->conn.in.data, total);
		herd_buf_consume(&c->conn.in, total);
		if (herd_buf_ok(&msg))
			message(c, h.type, msg.data + HERD_MSG_HEAD_BYTES, h.len);
		herd_buf_free(&msg);
	}
}

void herd_admin_check(struct herd_client *c)
{
	struct herd_console *k = c->console;

	if (!k || !k->wait_verb)
		return;
	if (!herd_command_done(c->w, k->wait_verb, k->wait_db)) {
		if (!herd_command_overtaken(c->w, k->wait_verb, k->wait_db))
			return;
		herd_str_set(&k->wait_verb, NULL);
		herd_console_fail(c, "57014", "ended by RESUME");
		return;
	}
	char *tag = k->wait_verb;

	k->wait_verb = NULL;
	for (char *p = tag; *p; p++)
		*p = (char)toupper((unsigned char)*p);
	finish_tag(c, tag);
	free(tag);
}

void herd_admin_cancel(struct herd_client *c)
{
	struct herd_console *k = c->console;

	if (!k || !k->wait_verb)
		return;
	herd_command_undo(c->w, k->wait_verb, k->wait_db);
	herd_str_set(&k->wait_verb, NULL);
	herd_console_fail(c, "57014", "canceling statement due to user request");
}

void herd_admin_close(struct herd_client *c)
{
	if (!c->console)
		return;
	if (suspends(c) && herd_suspend_end(c->w->px))
		herd_info(c->w->px->log, "admin disappeared when suspended, doing RESUME");
	herd_map_free(c->console->prepared);
	herd_map_free(c->console->portals);
	free(c->console->wait_verb);
	free(c->console->wait_db);
	free(c->console);
	c->console = NULL;
}

bool herd_admin_full(const struct herd_client *c)
{
	return c->console->full;
}

bool herd_admin_resting(const struct herd_client *c)
{
	return c->console && !c->console->busy && !suspends(c);
}

void herd_admin_resume(struct herd_client *c, bool full)
{
	c->console = calloc(1, sizeof(*c->console));
	if (!c->console) {
		herd_client_fail(c, "53200", "out of memory");
		return;
	}
	c->console->full = full;
	c->state = HERD_CLIENT_ADMIN;
	herd_client_wake(c);
}

void herd_admin_start(struct herd_client *c, bool full)
{
	static const char *const parameters[][2] = {
		{ "pgbouncer.version", HERD_PGBOUNCER_VERSION },
		{ "server_version", HERD_PGBOUNCER_VERSION "/bouncer" },
		{ "client_encoding", "UTF8" },
		{ "server_encoding", "UTF8" },
		{ "DateStyle", "ISO" },
		{ "TimeZone", "GMT" },
		{ "standard_conforming_strings", "on" },
		{ "is_superuser", "on" },
	};
	struct herd_buf b = { 0 };

	c->console = calloc(1, sizeof(*c->console));
	if (!c->console) {
		herd_client_fail(c, "53200", "out of memory");
		return;
	}
	c->console->full = full;
	herd_wr_auth(&b, 0, NULL, 0);
	for (size_t i = 0; i < sizeof(parameters) / sizeof(parameters[0]); i++)
		herd_wr_parameter(&b, parameters[i][0], parameters[i][1]);
	if (herd_key_assign(c) == 0) {
		size_t mark = herd_wr_begin(&b, 'K');

		herd_key_write(c, &b);
		herd_wr_end(&b, mark);
	}
	herd_wr_ready(&b, 'I');
	herd_console_reply(c, &b);
	herd_login_free(c->login);
	c->login = NULL;
	c->state = HERD_CLIENT_ADMIN;
	herd_client_wake(c);
}

static void free_live(void *p)
{
	struct herd_live *l = p;

	herd_pconf_unref(l->config);
	SSL_CTX_free(l->client_tls);
	SSL_CTX_free(l->server_tls);
	free(l);
}

void herd_admin_apply_log(struct herd_px *px)
{
	const struct herd_settings *s = &atomic_load(&px->live)->config->s;
	struct herd_err err = HERD_ERR_INIT;

	if (*s->logfile && herd_log_reopen(px->log, s->logfile, &err) < 0)
		herd_warning(px->log, "%s", herd_err_text(&err));
	herd_err_clear(&err);
	herd_log_syslog(px->log, s->use_syslog ? s->syslog_ident : NULL,
			herd_log_facility(s->syslog_facility));
	herd_log_set_level(px->log, s->verbose + atomic_load(&px->verbose) > 0 ? HERD_LOG_DEBUG
									       : HERD_LOG_INFO);
}

/*
 * SET changes key and certificate one after the other: between the two they do not fit, and what
 * was loaded before stays in use.
 */
static int keep_tls(struct herd_px *px, int rc, bool piecemeal, SSL_CTX *old, SSL_CTX **slot,
		    struct herd_err *err)
{
	if (rc != -EKEYREJECTED || !piecemeal)
		return rc;
	herd_warning(px->log, "%s, keeping the TLS setup of before", herd_err_text(err));
	herd_err_clear(err);
	if (old)
		SSL_CTX_up_ref(old);
	*slot = old;
	return 0;
}

int herd_live_replace(struct herd_px *px, struct herd_pconf *config, bool piecemeal,
		      struct herd_err *err)
{
	struct herd_live *l = calloc(1, sizeof(*l)), *before = atomic_load(&px->live);
	int rc = l ? 0 : herd_err_set(err, -ENOMEM, "out of memory");

	if (rc == 0)
		rc = keep_tls(px, herd_tls_for_clients(&config->s, &l->client_tls, err), piecemeal,
			      before ? before->client_tls : NULL, &l->client_tls, err);
	if (rc == 0)
		rc = keep_tls(px, herd_tls_for_servers(&config->s, &l->server_tls, err), piecemeal,
			      before ? before->server_tls : NULL, &l->server_tls, err);
	if (rc < 0) {
		herd_pconf_unref(config);
		if (l) {
			SSL_CTX_free(l->client_tls);
			SSL_CTX_free(l->server_tls);
		}
		free(l);
		return rc;
	}
	l->config = config;
	struct herd_live *was = atomic_load(&px->live);

	l->serial = was && was->serial < UINT32_MAX ? was->serial + 1 : 1;
	struct herd_live *old = atomic_exchange(&px->live, l);

	if (old) {
		herd_doors_tune(px, &config->s);
		herd_admin_apply_log(px);
		herd_reconf_servers(px, old, l);
		herd_retire(px, old, free_live);
		herd_topology_config(px->topology);
	}
	return 0;
}

int herd_admin_reload(struct herd_px *px, struct herd_err *err)
{
	struct herd_pconf *config = NULL;

	pthread_mutex_lock(&px->reload_lock);
	const struct herd_pconf *running = atomic_load(&px->live)->config;
	/* SET conffile, or the file itself, may name another one for this moment. */
	char *path = herd_str_dup(running->s.conffile);
	int rc = path ? herd_pconf_reload(running, path, &config, err)
		      : herd_err_set(err, -ENOMEM, "out of memory");

	for (int i = 0; rc == 0 && i < herd_pconf_nsettings(); i++) {
		if (config->later[i] && strcmp(herd_pconf_setting(i).name, "conffile") != 0)
			herd_warning(px->log, "setting \"%s\" is changed by a restart only",
				     herd_pconf_setting(i).name);
	}
	if (rc == 0)
		rc = herd_live_replace(px, config, false, err);
	if (rc == 0) {
		char *before = px->config_path;

		px->config_path = path;
		path = before;
	}
	free(path);
	pthread_mutex_unlock(&px->reload_lock);
	return rc;
}
