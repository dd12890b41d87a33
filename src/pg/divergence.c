#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "model/lsn.h"
#include "pg/private.h"
#include "pg/rewind.h"
#include "pg/status.h"
#include "pg/wal.h"

void herd_pg_leader_facts_clear(struct herd_pg_leader_facts *f)
{
	herd_pg_history_clear(&f->history);
	*f = (struct herd_pg_leader_facts){ 0 };
}

/* Where timeline tli ended in the leader's history; 0: it is no ancestor. */
static uint64_t switchpoint(const struct herd_pg_history *h, uint32_t tli)
{
	for (size_t i = 0; h != NULL && i < h->n; i++) {
		if (h->v[i].tli == tli)
			return h->v[i].end_lsn;
	}
	return 0;
}

enum herd_pg_divergence herd_pg_divergence(const struct herd_pg_divergence_facts *f,
					   const char **why)
{
	uint64_t at;

	if (f->local_tli == 0 || f->local_lsn == 0 || f->leader_tli == 0) {
		*why = "the local position is not known";
		return HERD_PG_DIVERGED_UNKNOWN;
	}
	if (f->local_tli > f->leader_tli) {
		*why = "the local timeline is newer than the leader's";
		return HERD_PG_DIVERGED_YES;
	}
	if (f->local_tli == f->leader_tli) {
		*why = "the local timeline is the leader's";
		return HERD_PG_DIVERGED_NO;
	}
	if (f->history == NULL) {
		*why = "the leader's timeline history is not known";
		return HERD_PG_DIVERGED_UNKNOWN;
	}
	at = switchpoint(f->history, f->local_tli);
	if (at == 0) {
		*why = "the local timeline is not in the leader's history";
		return HERD_PG_DIVERGED_YES;
	}
	if (f->local_was_standby) {
		*why = f->local_lsn > at ? "the local position is behind the leader's switch point"
					 : "the local position is on the leader's way";
		return f->local_lsn > at ? HERD_PG_DIVERGED_YES : HERD_PG_DIVERGED_NO;
	}
	/* A primary that was shut down may go on only if its last record is the leader's last, too.
	 */
	if (f->local_lsn >= at || (f->local_end_lsn != 0 && f->local_end_lsn != at)) {
		*why = "the former primary wrote what the leader does not have";
		return HERD_PG_DIVERGED_YES;
	}
	if (f->local_end_lsn == 0) {
		*why = "the end of the local WAL is not known";
		return HERD_PG_DIVERGED_YES;
	}
	*why = "the former primary ended where the leader went on";
	return HERD_PG_DIVERGED_NO;
}

/* The check: pg_control (and waldump), then the leader, then the comparison. */
struct check {
	struct herd_pg *pg;
	herd_pg_check_fn fn;
	void *arg;
	struct herd_pg_session *leader;
	struct herd_pg_session *local;
	struct herd_pg_controldata control;
	struct herd_pg_divergence_facts facts;
	struct herd_pg_leader_facts found;
};

static void check_end(struct check *c, int rc, const struct herd_err *err)
{
	enum herd_pg_divergence d = HERD_PG_DIVERGED_UNKNOWN;
	const char *why = "";

	if (rc == 0) {
		c->facts.leader_tli = c->found.tli;
		c->facts.leader_lsn = c->found.lsn;
		c->facts.history = c->found.tli > 1 ? &c->found.history : NULL;
		d = herd_pg_divergence(&c->facts, &why);
	}
	c->fn(c->arg, rc, d, why, rc == 0 ? &c->found : NULL, err);
	herd_pg_session_free(c->leader);
	herd_pg_session_free(c->local);
	herd_pg_leader_facts_clear(&c->found);
	free(c);
}

static void check_fail(struct check *c, int rc, const char *what, const struct herd_err *err)
{
	struct herd_err own = HERD_ERR_INIT;

	herd_err_set(&own, rc, "%s: %s", what, herd_err_text(err));
	check_end(c, rc, &own);
	herd_err_clear(&own);
}

static void history_done(void *arg, int rc, const struct herd_pg_rows *rows,
			 const struct herd_err *err)
{
	struct check *c = arg;
	struct herd_err own = HERD_ERR_INIT;
	const char *text = rc == 0 ? herd_pg_rows_text(rows, 0, 1) : NULL;

	if (rc < 0) {
		check_fail(c, rc, "could not read the leader's timeline history", err);
		return;
	}
	rc = text == NULL ? herd_err_set(&own, -EPROTO, "the server sent none")
			  : herd_pg_history_parse(text, &c->found.history, &own);
	if (rc < 0)
		check_fail(c, rc, "could not read the leader's timeline history", &own);
	else
		check_end(c, 0, NULL);
	herd_err_clear(&own);
}

static void identified(void *arg, int rc, const struct herd_pg_rows *rows,
		       const struct herd_err *err)
{
	struct check *c = arg;
	struct herd_err own = HERD_ERR_INIT;
	char sql[64];

	if (rc < 0) {
		check_fail(c, rc, "could not ask the leader", err);
		return;
	}
	c->found.system_identifier =
		strtoull(herd_pg_rows_text(rows, 0, 0) != NULL ? herd_pg_rows_text(rows, 0, 0) : "",
			 NULL, 10);
	c->found.tli = (uint32_t)herd_pg_rows_i64(rows, 0, 1, 0);
	c->found.lsn = herd_pg_rows_lsn(rows, 0, 2);
	if (c->found.tli <= 1) {
		check_end(c, 0, NULL);
		return;
	}
	snprintf(sql, sizeof(sql), "TIMELINE_HISTORY %u", (unsigned int)c->found.tli);
	if (herd_pg_query(c->leader, sql, 0, NULL, 5000, history_done, c) < 0) {
		herd_err_set(&own, -ENOMEM, "out of memory");
		check_end(c, own.code, &own);
		herd_err_clear(&own);
	}
}

static void ask_leader(struct check *c)
{
	struct herd_err err = HERD_ERR_INIT;

	if (herd_pg_query(c->leader, "IDENTIFY_SYSTEM", 0, NULL, 5000, identified, c) < 0) {
		herd_err_set(&err, -ENOMEM, "out of memory");
		check_end(c, err.code, &err);
		herd_err_clear(&err);
	}
}

/* A connection that knows the password; the text does not outlive the call. */
static int open_leader(struct check *c, const struct herd_pg_addr *leader, struct herd_err *err)
{
	const struct herd_pg_config *cfg = &c->pg->cfg;
	struct herd_buf text = { 0 };
	struct herd_pg_conninfo_opts words = { .with_password = true,
					       .krbsrvname = cfg->krbsrvname,
					       .server_version = HERD_PG_CLIENT_MAJOR };
	struct herd_pg_session_opts opts = { .replication = true, .name = cfg->name };
	int rc = herd_pg_conninfo_build(leader, &cfg->replication, &words, &text);

	opts.conninfo = herd_buf_str(&text);
	if (rc == 0)
		rc = herd_pg_session_new(c->pg->loop, &opts, &c->leader, err);
	else
		herd_err_set(err, rc, "out of memory");
	if (text.data != NULL)
		herd_str_wipe(text.data, text.len);
	herd_buf_free(&text);
	return rc;
}

/* Where a stopped server is, from pg_control. */
static void control_done(void *arg, int rc, const struct herd_pg_controldata *control,
			 const struct herd_err *err)
{
	struct check *c = arg;
	struct herd_pg_divergence_facts *f = &c->facts;

	if (rc < 0) {
		check_end(c, rc, err);
		return;
	}
	f->local_was_standby = control->state == HERD_PG_DB_SHUTDOWNED_IN_RECOVERY ||
			       control->state == HERD_PG_DB_IN_ARCHIVE_RECOVERY;
	f->local_tli = control->checkpoint_tli;
	f->local_lsn = control->checkpoint_lsn;
	if (f->local_was_standby && control->min_recovery_lsn != 0) {
		f->local_tli = control->min_recovery_tli;
		f->local_lsn = control->min_recovery_lsn;
	}
	/* Only after a clean shutdown is the checkpoint the last record. */
	if (control->state == HERD_PG_DB_SHUTDOWNED)
		f->local_end_lsn = herd_pg_wal_record_end(
			c->pg->cfg.data_dir, control->checkpoint_tli, control->checkpoint_lsn,
			(uint64_t)control->wal_segment_bytes);
	ask_leader(c);
}

/* Where a running server is: on a primary the insert position stands for the replayed one. */
static void local_done(void *arg, int rc, struct herd_pg_status *st, const struct herd_err *err)
{
	struct check *c = arg;

	if (rc < 0) {
		check_end(c, rc, err);
		return;
	}
	c->facts.local_was_standby = true;
	c->facts.local_tli = st->timeline;
	c->facts.local_lsn = st->in_recovery ? st->replay_lsn : st->current_lsn;
	ask_leader(c);
}

static int ask_local(struct check *c, struct herd_err *err)
{
	int rc;

	if (herd_pg_phase(c->pg) != HERD_PG_PHASE_RUNNING)
		return herd_pg_control_read(c->pg->loop, &c->pg->cfg, control_done, c, err);
	rc = herd_pg_session_local(c->pg, "Patroni rewind", NULL, &c->local, err);
	if (rc == 0)
		rc = herd_pg_status_query(c->local, 5000, local_done, c);
	return rc < 0 ? herd_err_set(err, rc, "could not ask the local server") : 0;
}

int herd_pg_divergence_check(struct herd_pg *pg, const struct herd_pg_addr *leader,
			     herd_pg_check_fn fn, void *arg, struct herd_err *err)
{
	struct check *c = calloc(1, sizeof(*c));
	int rc;

	if (c == NULL)
		return herd_err_set(err, -ENOMEM, "out of memory");
	c->pg = pg;
	c->fn = fn;
	c->arg = arg;
	rc = open_leader(c, leader, err);
	if (rc == 0)
		rc = ask_local(c, err);
	if (rc < 0) {
		herd_pg_session_free(c->leader);
		herd_pg_session_free(c->local);
		free(c);
	}
	return rc;
}
