/* The console's conversation: both protocols over one executor. */
#include "proxy/admin.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"
#include "proxy/console.h"
#include "proxy/tls.h"
#include "wire/msg.h"

enum { MAX_COMMAND_BYTES = 64 * 1024, OID_TEXT = 25, OID_INT4 = 23, OID_INT8 = 20 };

struct herd_console {
	bool full;
	char *prepared; /* text of the unnamed or last named statement */
	bool binary;
	bool skip;      /* an error came: ignore up to Sync */
	bool extended;  /* the running command came by Execute */
	bool busy;      /* a command runs on: nothing is read */
	bool described; /* RowDescription was sent by Describe */
	char *wait_verb, *wait_db;
};

static enum herd_cell cell_of(const char *column)
{
	const char *colon = strchr(column, ':');

	return !colon ? HERD_CELL_TEXT : colon[1] == '4' ? HERD_CELL_INT4 : HERD_CELL_INT8;
}

static int count_columns(const struct herd_show *s)
{
	int n = 0;

	while (s->columns[n])
		n++;
	return n;
}

static void write_columns(struct herd_buf *b, const struct herd_show *s, bool binary)
{
	size_t mark = herd_wr_begin(b, 'T');

	herd_wr_u16(b, (uint16_t)count_columns(s));
	for (int i = 0; s->columns[i]; i++) {
		const char *name = s->columns[i];
		enum herd_cell cell = cell_of(name);

		herd_buf_add(b, name, strcspn(name, ":"));
		herd_buf_addc(b, '\0');
		herd_wr_u32(b, 0);
		herd_wr_u16(b, 0);
		herd_wr_u32(b, cell == HERD_CELL_TEXT   ? OID_TEXT
			       : cell == HERD_CELL_INT4 ? OID_INT4
							: OID_INT8);
		herd_wr_u16(b, cell == HERD_CELL_TEXT   ? (uint16_t)-1
			       : cell == HERD_CELL_INT4 ? 4
							: 8);
		herd_wr_u32(b, UINT32_MAX);
		herd_wr_u16(b, binary ? 1 : 0);
	}
	herd_wr_end(b, mark);
}

struct herd_row herd_row_begin(struct herd_result *r)
{
	struct herd_row row = { .r = r };

	row.mark = herd_wr_begin(&row.b, 'D');
	herd_wr_u16(&row.b, (uint16_t)count_columns(r->show));
	return row;
}

void herd_row_text(struct herd_row *row, const char *v)
{
	row->n++;
	if (!v) {
		herd_wr_u32(&row->b, UINT32_MAX);
		return;
	}
	herd_wr_u32(&row->b, (uint32_t)strlen(v));
	herd_buf_addstr(&row->b, v);
}

void herd_row_int(struct herd_row *row, int64_t v)
{
	enum herd_cell cell = cell_of(row->r->show->columns[row->n]);
	char text[24]; /* any int64 */

	if (row->r->binary && cell == HERD_CELL_INT4) {
		herd_wr_u32(&row->b, 4);
		herd_wr_u32(&row->b, (uint32_t)v);
		row->n++;
	} else if (row->r->binary && cell == HERD_CELL_INT8) {
		herd_wr_u32(&row->b, 8);
		herd_wr_u32(&row->b, (uint32_t)((uint64_t)v >> 32));
		herd_wr_u32(&row->b, (uint32_t)v);
		row->n++;
	} else {
		snprintf(text, sizeof(text), "%lld", (long long)v);
		herd_row_text(row, text);
	}
}

void herd_row_end(struct herd_row *row)
{
	assert(row->n == count_columns(row->r->show));
	herd_wr_end(&row->b, row->mark);
	pthread_mutex_lock(&row->r->lock);
	herd_buf_add(&row->r->rows, herd_buf_str(&row->b), row->b.len);
	row->r->nrows++;
	pthread_mutex_unlock(&row->r->lock);
	herd_buf_free(&row->b);
}

static void reply(struct herd_client *c, struct herd_buf *b)
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
	reply(c, b);
	herd_client_wake(c);
}

static void finish_error(struct herd_client *c, const char *state, const char *text)
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
			finish_error(c, "08P01", error);
		else
			finish_tag(c, tag);
		break;
	}
}

static void free_result(struct herd_result *r)
{
	herd_buf_free(&r->rows);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

/* All rows are there; the client may have left. */
static void rows_done(struct herd_worker *w, void *arg)
{
	struct herd_result *r = arg;

	herd_list_for_each(it, &w->clients)
	{
		struct herd_client *c = herd_container_of(it, struct herd_client, node);
		struct herd_buf b = { 0 };

		if (c->id != r->client)
			continue;
		if (!c->console->described)
			write_columns(&b, r->show, r->binary);
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
		finish_error(c, "42501", "admin access needed");
		return;
	}
	r = calloc(1, sizeof(*r));
	if (!r) {
		finish_error(c, "53200", "out of memory");
		return;
	}
	pthread_mutex_init(&r->lock, NULL);
	r->show = show;
	r->binary = c->console->extended && c->console->binary;
	r->px = c->w->px;
	r->client = c->id;
	if (show->once) {
		show->once(c->w, r);
		rows_done(c->w, r);
	} else if (herd_worker_fanout(c->w, each_rows, rows_done, r) < 0) {
		free_result(r);
		finish_error(c, "53200", "out of memory");
	}
}

/* Splits into words at blanks, '=' and ';'; quotes are taken off. text is changed. */
static struct herd_command split(char *text)
{
	struct herd_command cmd = { 0 };

	for (char *p = text; *p && cmd.n < 4;) {
		while (isspace((unsigned char)*p) || *p == '=' || *p == ',')
			p++;
		if (*p == '\0' || *p == ';')
			break;
		if (*p == '\'' || *p == '"') {
			char quote = *p++;

			cmd.word[cmd.n++] = p;
			while (*p && *p != quote)
				p++;
		} else {
			cmd.word[cmd.n++] = p;
			while (*p && !isspace((unsigned char)*p) && !strchr("=;", *p))
				p++;
		}
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
	if (cmd->n >= 2 && strcasecmp(cmd->word[0], "show") == 0)
		return herd_show_find(cmd->word[1]);
	return NULL;
}

static void send_help(struct herd_client *c)
{
	struct herd_buf b = { 0 };

	herd_wr_report(&b, 'N', "NOTICE", "00000", "Console usage", herd_show_help(), NULL);
	herd_wr_complete(&b, "SHOW");
	finish(c, &b);
}

static void run_command(struct herd_client *c, struct herd_command *cmd)
{
	struct herd_err err = HERD_ERR_INIT;
	const char *tag = NULL;

	if (!c->console->full) {
		finish_error(c, "42501", "admin access needed");
		return;
	}
	int rc = herd_command_run(c, cmd, &tag, &err);

	if (c->state == HERD_CLIENT_CLOSED)
		goto out;
	if (rc < 0) {
		finish_error(c, rc == -ENOSYS ? "42601" : "08P01", herd_err_text(&err));
	} else if (rc == 0) {
		finish_tag(c, tag);
	} else if (rc == 1) {
		herd_str_set(&c->console->wait_verb, cmd->word[0]);
		herd_str_set(&c->console->wait_db, cmd->n > 1 ? cmd->word[1] : NULL);
	}
out:
	herd_err_clear(&err);
}

static void execute(struct herd_client *c, const char *sql)
{
	char *text = strdup(sql);
	struct herd_command cmd = text ? split(text) : (struct herd_command){ 0 };
	const struct herd_show *show = show_of(&cmd);
	struct herd_buf b = { 0 };

	c->console->busy = true;
	herd_stat_add(&c->db->stats[c->w->id].xact_count, 1);
	herd_stat_add(&c->db->stats[c->w->id].query_count, 1);
	if (!text) {
		finish_error(c, "53200", "out of memory");
	} else if (cmd.n == 0) {
		herd_wr_empty(&b, 'I');
		finish(c, &b);
	} else if (show) {
		run_show(c, show);
	} else if (strcasecmp(cmd.word[0], "show") == 0 &&
		   (cmd.n == 1 || strcasecmp(cmd.word[1], "help") == 0)) {
		send_help(c);
	} else if (strcasecmp(cmd.word[0], "begin") == 0) {
		/* Drivers wrap everything in transactions; here they mean nothing. */
		finish_tag(c, "BEGIN");
	} else if (strcasecmp(cmd.word[0], "commit") == 0) {
		finish_tag(c, "COMMIT");
	} else if (strcasecmp(cmd.word[0], "rollback") == 0) {
		finish_tag(c, "ROLLBACK");
	} else {
		cmd.text = text;
		run_command(c, &cmd);
	}
	free(text);
}

static void take_formats(struct herd_console *k, const void *body, size_t n)
{
	struct herd_rd r = herd_rd_init(body, n);

	herd_rd_str(&r);
	herd_rd_str(&r);
	for (int i = herd_rd_u16(&r); i > 0 && herd_rd_ok(&r); i--)
		herd_rd_u16(&r);
	for (int i = herd_rd_u16(&r); i > 0 && herd_rd_ok(&r); i--) {
		uint32_t len = herd_rd_u32(&r);

		if (len != UINT32_MAX)
			herd_rd_bytes(&r, len);
	}
	int formats = herd_rd_u16(&r);

	k->binary = false;
	for (int i = 0; i < formats && herd_rd_ok(&r); i++)
		k->binary |= herd_rd_u16(&r) == 1;
}

static void describe(struct herd_client *c, bool statement)
{
	struct herd_console *k = c->console;
	char *text = strdup(k->prepared ? k->prepared : "");
	struct herd_command cmd = text ? split(text) : (struct herd_command){ 0 };
	const struct herd_show *show = show_of(&cmd);
	struct herd_buf b = { 0 };

	if (statement) {
		size_t mark = herd_wr_begin(&b, 't');

		herd_wr_u16(&b, 0);
		herd_wr_end(&b, mark);
	}
	if (show)
		write_columns(&b, show, !statement && k->binary);
	else
		herd_wr_empty(&b, 'n');
	k->described = true;
	reply(c, &b);
	free(text);
}

static void extended(struct herd_client *c, char type, const char *body, size_t n)
{
	struct herd_console *k = c->console;
	struct herd_rd r = herd_rd_init(body, n);
	struct herd_buf b = { 0 };

	switch (type) {
	case 'P':
		herd_rd_str(&r);
		herd_str_set(&k->prepared, herd_rd_str(&r));
		herd_wr_empty(&b, '1');
		break;
	case 'B':
		take_formats(k, body, n);
		k->described = false;
		herd_wr_empty(&b, '2');
		break;
	case 'D':
		describe(c, herd_rd_u8(&r) == 'S');
		return;
	case 'C':
		herd_wr_empty(&b, '3');
		break;
	case 'E':
		k->extended = true;
		/* Execute never sends RowDescription; a client that did not ask does without. */
		k->described = true;
		execute(c, k->prepared ? k->prepared : "");
		return;
	default:
		break;
	}
	reply(c, &b);
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
		reply(c, &b);
		return;
	case 'Q':
		if (k->skip)
			return;
		k->extended = false;
		k->described = false;
		const char *sql = herd_rd_str(&r);

		if (herd_rd_ok(&r))
			execute(c, sql);
		else
			herd_client_fail(c, "08P01", "bad query packet");
		return;
	case 'P':
	case 'B':
	case 'D':
	case 'C':
	case 'E':
		if (!k->skip)
			extended(c, type, body, n);
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
				herd_client_close(c, "client unexpected eof");
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
			herd_client_fail(c, "08P01", "bad packet header");
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

	if (!k || !k->wait_verb || !herd_command_done(c->w, k->wait_verb, k->wait_db))
		return;
	char *tag = k->wait_verb;

	k->wait_verb = NULL;
	for (char *p = tag; *p; p++)
		*p = (char)toupper((unsigned char)*p);
	finish_tag(c, tag);
	free(tag);
}

void herd_admin_close(struct herd_client *c)
{
	if (!c->console)
		return;
	free(c->console->prepared);
	free(c->console->wait_verb);
	free(c->console->wait_db);
	free(c->console);
	c->console = NULL;
}

void herd_admin_start(struct herd_client *c, bool full)
{
	static const char *const parameters[][2] = {
		{ "server_version", PGHERD_VERSION "/bouncer" },
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
	herd_wr_ready(&b, 'I');
	reply(c, &b);
	if (herd_worker_settings(c->w)->log_connections)
		herd_client_log(c, HERD_LOG_INFO, "login attempt: db=%s user=%s tls=%s", c->dbname,
				c->user, c->conn.tls ? SSL_get_version(c->conn.tls) : "no");
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
	herd_log_set_level(px->log, s->verbose + atomic_load(&px->verbose) > 0 ? HERD_LOG_DEBUG
									       : HERD_LOG_INFO);
}

int herd_live_replace(struct herd_px *px, struct herd_pconf *config, struct herd_err *err)
{
	struct herd_live *l = calloc(1, sizeof(*l));
	int rc = l ? 0 : herd_err_set(err, -ENOMEM, "out of memory");

	if (rc == 0)
		rc = herd_tls_for_clients(&config->s, &l->client_tls, err);
	if (rc == 0)
		rc = herd_tls_for_servers(&config->s, &l->server_tls, err);
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
	struct herd_live *old = atomic_exchange(&px->live, l);

	if (old) {
		herd_admin_apply_log(px);
		herd_retire(px, old, free_live);
	}
	return 0;
}

int herd_admin_reload(struct herd_px *px, struct herd_err *err)
{
	struct herd_pconf *config = NULL;

	pthread_mutex_lock(&px->reload_lock);
	int rc = herd_pconf_load(px->config_path, &config, err);

	if (rc == 0)
		rc = herd_live_replace(px, config, err);
	pthread_mutex_unlock(&px->reload_lock);
	return rc;
}
