/*
 * proxy/console.h - inside the console: commands, columns, rows.
 */
#pragma once
#include "proxy/admin.h"

struct herd_result;

enum herd_cell {
	HERD_CELL_TEXT = 0,
	HERD_CELL_INT4,
	HERD_CELL_INT8,
	HERD_CELL_NUMERIC,
	HERD_CELL_BYTEA
};

/* What one console client is about. */
struct herd_console {
	bool full;                 /* may change things, not only SHOW */
	struct herd_map *prepared; /* name -> struct of admin_ext.c; NULL until the first Parse */
	struct herd_map *portals;
	uint64_t binary; /* columns that the client wants in binary, by bit */
	bool skip;       /* an error came: ignore up to Sync */
	bool extended;   /* the running command came by Execute */
	bool busy;       /* a command runs on: nothing is read */
	bool described;  /* RowDescription was sent by Describe */
	char *wait_verb, *wait_db;
	bool handed_out;     /* SHOW FDS told it all while we were suspended */
	int64_t suspends_us; /* SUSPEND came from here, then: it ends with this connection */
};

/* Runs one statement; its answer may come later. */
void herd_console_execute(struct herd_client *c, const char *sql);
/* What a statement would show; NULL: it is no SHOW, or not a known one. */
const struct herd_show *herd_console_show_of(const char *sql);
/* Ends the running statement with an error. */
void herd_console_fail(struct herd_client *c, const char *state, const char *text);
void herd_console_reply(struct herd_client *c, struct herd_buf *b);
/* admin_ext.c: Parse, Bind, Describe, Execute, Close. */
void herd_console_extended(struct herd_client *c, char type, const char *body, size_t n);

/* "name" is text, "name:4" an int4, "name:8" an int8, "name:n" a numeric, "name:b" a bytea
 * (only null); NULL at the end. */
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
	uint64_t binary; /* columns that the client wants in binary, by bit */
	pthread_mutex_t lock;
	struct herd_px *px;
	uint64_t client;
	/* SHOW FDS: a descriptor of our own for each row, if they go out with them. */
	bool hands_out;
	int *fds;
	size_t nfds;
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
/* The same; where descriptors go out, fd goes with it (and without one it does not go out). */
void herd_row_end_fd(struct herd_row *row, int fd);
/* Their RowDescription. */
void herd_show_columns(struct herd_buf *b, const struct herd_show *s, uint64_t binary);

/* Columns and rows to the client, with the descriptors; waits for it a few seconds. 0 or an errno.
 */
int herd_fds_send(struct herd_client *c, struct herd_result *r);

/* What there is to show, by concern, each ended by an entry without a name. */
extern const struct herd_show herd_shows_conf[], herd_shows_fds[], herd_shows_herd[],
	herd_shows_lists[], herd_shows_peers[], herd_shows_pools[], herd_shows_sockets[],
	herd_shows_split[], herd_shows_stats[], herd_shows_times[];

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
	bool more;        /* something follows behind the semicolon */
	const char *text; /* the whole statement */
	char tag[512];    /* of its answer, where that is more than its verb */
};
/*
 * Runs it. 0: done, tag is set; 1: goes on, herd_admin_check asks herd_command_done; 2: goes on,
 * herd_console_answer comes; negative: err.
 */
int herd_command_run(struct herd_client *c, struct herd_command *cmd, const char **tag,
		     struct herd_err *err);
/* Ends the command of the console client with that id, if it is still there. error NULL: done. */
void herd_console_answer(struct herd_worker *w, uint64_t client, const char *tag,
			 const char *error);
/* It was not waited for: a PAUSE or SUSPEND ends. */
void herd_command_undo(struct herd_worker *w, const char *verb, const char *db);
/* Is what PAUSE or WAIT_CLOSE waits for the case? db NULL: all. */
bool herd_command_done(struct herd_worker *w, const char *verb, const char *db);
/* Did a RESUME come meanwhile, so that what PAUSE or SUSPEND waits for need never be the case? */
bool herd_command_overtaken(struct herd_worker *w, const char *verb, const char *db);
