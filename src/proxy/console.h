/*
 * proxy/console.h - inside the console: commands, columns, rows.
 */
#pragma once
#include "proxy/admin.h"

struct herd_result;

enum herd_cell { HERD_CELL_TEXT = 0, HERD_CELL_INT4, HERD_CELL_INT8 };

/* "name" is text, "name:4" an int4, "name:8" an int8; NULL at the end. */
struct herd_show {
	const char *what; /* SHOW what */
	const char *const *columns;
	/* Adds rows; runs once, on the console's thread. */
	void (*once)(struct herd_worker *w, struct herd_result *r);
	/* Adds rows of one worker; runs on all of them. Either this or once. */
	void (*each)(struct herd_worker *w, struct herd_result *r);
	bool admin_only;
};

/* Rows in the making. Rows are added whole, under the lock when several threads add. */
struct herd_result {
	const struct herd_show *show;
	struct herd_buf rows;
	int nrows;
	bool binary; /* the client wants numbers in binary */
	pthread_mutex_t lock;
	struct herd_px *px;
	uint64_t client;
};

/* One row in the making. */
struct herd_row {
	struct herd_result *r;
	struct herd_buf b;
	size_t mark;
	int n;
};
struct herd_row herd_row_begin(struct herd_result *r);
void herd_row_text(struct herd_row *row, const char *v); /* NULL: null */
void herd_row_int(struct herd_row *row, int64_t v);
void herd_row_end(struct herd_row *row);

/* What there is to show, by concern, each ended by an entry without a name. */
extern const struct herd_show herd_shows_conf[], herd_shows_herd[], herd_shows_lists[],
	herd_shows_pools[], herd_shows_sockets[], herd_shows_stats[];

/* For rows made while walking over pools. */
struct herd_show_arg {
	struct herd_worker *w;
	struct herd_result *r;
};
void herd_show_each_db(struct herd_worker *w, struct herd_result *r,
		       void (*fn)(struct herd_worker *w, struct herd_result *r,
				  struct herd_db *db));

const struct herd_show *herd_show_find(const char *what);
/* The text of SHOW HELP. */
const char *herd_show_help(void);

/* A command other than SHOW. words: upper case is not needed; n >= 1. */
struct herd_command {
	int n;
	const char *word[4];
	char *text; /* the whole statement */
};
/*
 * Runs it. 0: done, tag is set; 1: goes on, herd_admin_check asks herd_command_done; 2: goes on,
 * herd_console_answer comes; negative: err.
 */
int herd_command_run(struct herd_client *c, const struct herd_command *cmd, const char **tag,
		     struct herd_err *err);
/* Ends the command of the console client with that id, if it is still there. error NULL: done. */
void herd_console_answer(struct herd_worker *w, uint64_t client, const char *tag,
			 const char *error);
/* Is what PAUSE or WAIT_CLOSE waits for the case? db NULL: all. */
bool herd_command_done(struct herd_worker *w, const char *verb, const char *db);
