/*
 * pg/private.h - the inside of struct herd_pg, shared by the operations. Not for other folders.
 *
 * An operation (herd_pg_op_begin ... herd_pg_op_end) is a chain of stages. A stage is a function
 * that is given `next`, waits by a timer, a child or a session of the operation, and calls next
 * once.
 */
#pragma once
#include "pg/instance.h"

typedef void (*herd_pg_next_fn)(struct herd_pg *pg, int rc, const struct herd_err *err);

struct herd_pg_op {
	const char *name; /* NULL: no operation runs */
	herd_pg_done_fn done;
	void *arg;
	struct herd_timer *timer;
	void (*tick)(struct herd_pg *pg);
	struct herd_child *child;
	void (*child_done)(struct herd_pg *pg, int status, const char *output);
	struct herd_pg_session *session;     /* freed with the operation */
	void (*on_exit)(struct herd_pg *pg); /* the postmaster's end belongs to a stage */
	void *state;                         /* of the operation; free_state frees it */
	void (*free_state)(void *state);
};

struct herd_pg_start_stage {
	struct herd_pg_role role;
	struct herd_pg_controldata control;
	bool have_control;
	bool raised;                      /* its values are higher than the configured ones */
	struct herd_pg_settings settings; /* as written */
	int refusals;
	int64_t timeout_ms, began_ms, wake_ms;
	long log_offset;
	herd_pg_next_fn next;
};

struct herd_pg_stop_stage {
	struct herd_pg_stop_opts opts;
	enum herd_pg_stop_mode mode; /* now, after escalation */
	int64_t began_ms, signalled_ms;
	bool told_shut_down, killed;
	herd_pg_next_fn next;
};

struct herd_pg_leftover_stage {
	int64_t began_ms;
	herd_pg_next_fn next;
};

struct herd_pg_archive_stage {
	bool last;
	char *command;
	struct herd_pg_lines files;
	size_t at;
	herd_pg_next_fn next;
};

struct herd_pg {
	struct herd_loop *loop;
	struct herd_pg_config cfg;
	struct herd_pg_events events;
	pid_t pid; /* the postmaster that is watched; 0: none */
	int64_t start_epoch;
	struct herd_pidwatch *watch;
	bool stopping;                 /* its end was asked for */
	struct herd_child *gucs_child; /* describes the settings */
	struct herd_pg_guc_table gucs;
	struct herd_pg_settings written;   /* the parameters, as last written */
	struct herd_pg_settings recovery;  /* and those of recovery */
	struct herd_pg_settings validated; /* what the server itself found to be right */
	struct herd_pg_lines refused;      /* and what it did not */
	struct herd_pg_role role;          /* as last written */
	bool role_known;
	char *warned; /* about the parameters, last */
	struct herd_pg_session *session;
	struct herd_pg_op op;
	struct herd_pg_start_stage start;
	struct herd_pg_stop_stage stop;
	struct herd_pg_leftover_stage leftover;
	struct herd_pg_archive_stage archive;
	herd_pg_next_fn remove_next, single_next, validate_next;
};

int herd_pg_op_begin(struct herd_pg *pg, const char *name, herd_pg_done_fn done, void *arg,
		     struct herd_err *err);
/* Frees what the operation holds, then calls done. */
void herd_pg_op_end(struct herd_pg *pg, int rc, const struct herd_err *err);
/* herd_pg_op_end as the last `next`. */
void herd_pg_op_finish(struct herd_pg *pg, int rc, const struct herd_err *err);
/* For errors found in a public function after op_begin: ends the operation without calling done. */
void herd_pg_op_drop(struct herd_pg *pg);
void herd_pg_op_after(struct herd_pg *pg, int64_t ms, void (*tick)(struct herd_pg *pg));
int herd_pg_op_run(struct herd_pg *pg, const char *const *argv, const char *const *env,
		   int64_t timeout_ms,
		   void (*child_done)(struct herd_pg *pg, int status, const char *output),
		   struct herd_err *err);

void herd_pg_stage_start(struct herd_pg *pg, const struct herd_pg_role *role, int64_t timeout_ms,
			 herd_pg_next_fn next);
void herd_pg_stage_stop(struct herd_pg *pg, const struct herd_pg_stop_opts *opts,
			herd_pg_next_fn next);
/* SIGKILL for every process of a dead postmaster; next when they are gone. */
void herd_pg_stage_leftovers(struct herd_pg *pg, herd_pg_next_fn next);
/* Waits until the postmaster accepts connections; start.c's last stage. */
void herd_pg_stage_ready(struct herd_pg *pg, int64_t timeout_ms, herd_pg_next_fn next);
/* archive.h: what waits for the archive, and the last segment. Never fails. */
void herd_pg_stage_archive(struct herd_pg *pg, bool last, herd_pg_next_fn next);
/* Empties the data directory and what its links lead to. */
void herd_pg_stage_remove(struct herd_pg *pg, herd_pg_next_fn next);
/* Lets the server check the files; parameters that it refuses are left out. */
void herd_pg_stage_validate(struct herd_pg *pg, herd_pg_next_fn next);
/* argv of the postmaster for settings, without the NULL. */
int herd_pg_server_argv(struct herd_pg *pg, const struct herd_pg_settings *settings,
			struct herd_pg_lines *argv);
/* Crash recovery in single-user mode. */
void herd_pg_stage_single_user(struct herd_pg *pg, herd_pg_next_fn next);

/* The postmaster is dead, but the loop has not said so yet: its event must not be lost. */
static inline bool herd_pg_exit_pending(struct herd_pg *pg)
{
	return pg->pid > 0 && herd_pg_pid(pg) == 0;
}
/*
 * Beside the data directory lies <dir>.unfinished while initdb, a clone ("copy") or pg_rewind
 * ("rewind": it was somebody's data) writes in it,
 * so that half a cluster is not taken for one after we died. Best effort: the parent directory may
 * not be ours to write in.
 */
void herd_pg_mark_unfinished(struct herd_pg *pg, const char *what); /* NULL: it is whole */
bool herd_pg_is_unfinished(const struct herd_pg *pg);
/* Watches a postmaster from now on; -ESRCH when it is gone. */
int herd_pg_adopt(struct herd_pg *pg, pid_t pid);
void herd_pg_notice(struct herd_pg *pg, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void herd_pg_notice_lines(struct herd_pg *pg, const char *lines);
/* Starts a process that is no child of ours; its pid. argv[0] is looked up in PATH. */
int herd_pg_spawn(const char *const *argv, char *const *env, int log_fd, pid_t *ret,
		  struct herd_err *err);
/* Removes postmaster.pid when its pid is now another program's. */
int herd_pg_remove_stale_pidfile(struct herd_pg *pg, struct herd_err *err);
/*
 * Writes the files of a role; when ret is not NULL the parameters for the command line are handed
 * out: raised to what control (NULL: nothing) asks of a standby.
 */
int herd_pg_write_role(struct herd_pg *pg, const struct herd_pg_role *role,
		       const struct herd_pg_controldata *control, struct herd_pg_settings *ret,
		       bool *changed, struct herd_err *err);
