#include "pg/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "model/lsn.h"
#include "pg/guc_value.h"

/*
 * One row. Lists come as JSON, so that columns which only some versions have need no version of the
 * statement. CASE keeps functions from running on the side where they raise an error.
 *
 * The timeline of a standby that has lost its walreceiver: pg_control names the one of its last
 * restartpoint, which may be several behind. What it has written is named by the files: the newest
 * timeline that has a segment at the last position. (CTEs that are not asked for are not run.)
 */
static const char status_sql[] =
	"WITH r AS MATERIALIZED (SELECT pg_catalog.pg_is_in_recovery() AS rec),"
	" w AS (SELECT pid, status, received_tli, latest_end_lsn, conninfo, slot_name, sender_host,"
	"  sender_port FROM pg_catalog.pg_stat_wal_receiver WHERE pid IS NOT NULL),"
	" act AS (SELECT count(*) AS n, count(a.xact_start) AS x"
	"  FROM pg_catalog.pg_stat_activity a WHERE a.backend_type = 'client backend'"
	"  AND a.pid <> pg_catalog.pg_backend_pid()"
	"  AND a.application_name NOT LIKE 'Patroni %' AND a.application_name NOT LIKE 'pgherd %'),"
	" pos AS (SELECT greatest(pg_catalog.pg_last_wal_receive_lsn(),"
	"   pg_catalog.pg_last_wal_replay_lsn()) - '0/0'::pg_lsn - 1 AS lsn,"
	"  (SELECT setting::int8 FROM pg_catalog.pg_settings WHERE name = 'wal_segment_size') AS "
	"size),"
	" seg AS (SELECT max(('x' || substr(f.name, 1, 8))::bit(32)::int) AS tli"
	"  FROM pos, pg_catalog.pg_ls_waldir() f WHERE f.name ~ '^[0-9A-F]{24}$'"
	"  AND substr(f.name, 9) = upper(lpad(to_hex(div(pos.lsn, 4294967296)::int8), 8, '0')"
	"   || lpad(to_hex(div(pos.lsn % 4294967296, pos.size)::int8), 8, '0')))"
	" SELECT r.rec," /* 0 */
	" (SELECT system_identifier FROM pg_catalog.pg_control_system()),"
	" CASE WHEN r.rec THEN COALESCE((SELECT received_tli FROM w),"
	"   (SELECT greatest(c.timeline_id, m.min_recovery_end_timeline, seg.tli)"
	"    FROM pg_catalog.pg_control_checkpoint() c, pg_catalog.pg_control_recovery() m, seg))"
	"  ELSE ('x' || substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8))"
	"   ::bit(32)::int END,"
	" CASE WHEN r.rec THEN NULL ELSE pg_catalog.pg_current_wal_lsn() END," /* 3 */
	" CASE WHEN r.rec THEN NULL ELSE pg_catalog.pg_current_wal_flush_lsn() END,"
	" CASE WHEN r.rec THEN pg_catalog.pg_last_wal_receive_lsn() END,"
	" CASE WHEN r.rec THEN pg_catalog.pg_last_wal_replay_lsn() END,"
	" CASE WHEN r.rec THEN pg_catalog.pg_is_wal_replay_paused() ELSE false END," /* 7 */
	" (SELECT status FROM w), (SELECT received_tli FROM w), (SELECT latest_end_lsn FROM w),"
	" (SELECT conninfo FROM w), (SELECT slot_name FROM w), (SELECT sender_host FROM w),"
	" (SELECT sender_port FROM w)," /* 14 */
	" (extract(epoch FROM pg_catalog.pg_postmaster_start_time()) * 1000)::int8,"
	" pg_catalog.to_char(pg_catalog.pg_postmaster_start_time(),"
	"  'YYYY-MM-DD HH24:MI:SS.USTZH:TZM'),"
	" pg_catalog.to_char(pg_catalog.pg_last_xact_replay_timestamp(),"
	"  'YYYY-MM-DD HH24:MI:SS.USTZH:TZM'),"
	" (SELECT x FROM act), (SELECT n FROM act)," /* 18, 19 */
	" pg_catalog.current_setting('synchronous_standby_names'),"
	" pg_catalog.current_setting('synchronous_commit'),"
	" pg_catalog.current_setting('primary_conninfo'),"
	" pg_catalog.current_setting('primary_slot_name'),"
	" pg_catalog.current_setting('restore_command'),"
	" pg_catalog.current_setting('hot_standby_feedback')," /* 25 */
	" (SELECT checkpoint_lsn FROM pg_catalog.pg_control_checkpoint()),"
	" (SELECT timeline_id FROM pg_catalog.pg_control_checkpoint()),"
	" (SELECT json_agg(to_json(s)) FROM pg_catalog.pg_stat_replication s)," /* 28 */
	" (SELECT json_agg(to_json(s)) FROM pg_catalog.pg_replication_slots s),"
	" (SELECT json_agg(json_build_array(s.name, pg_catalog.current_setting(s.name), s.vartype,"
	"   s.unit, COALESCE((SELECT f.setting FROM pg_catalog.pg_file_settings f"
	"    WHERE pg_catalog.lower(f.name) = pg_catalog.lower(s.name)"
	"    ORDER BY f.seqno DESC LIMIT 1), s.boot_val, ''))) FROM pg_catalog.pg_settings s"
	/* Those of recovery come and go with the role; a promotion leaves them pending for nothing.
	 */
	"  WHERE s.pending_restart AND pg_catalog.left(s.name, 15) <> 'recovery_target'"
	"  AND s.name NOT IN ('hot_standby', 'primary_conninfo', 'primary_slot_name', "
	"'restore_command',"
	"   'archive_cleanup_command', 'recovery_end_command', 'recovery_min_apply_delay',"
	"   'promote_trigger_file'))," /* 30 */
	" pg_catalog.current_setting('server_version_num')::int,"
	" pg_catalog.current_setting('max_replication_slots')::int,"
	" pg_catalog.current_setting('wal_level') = 'logical',"
	" COALESCE(pg_catalog.current_setting('sync_replication_slots', true)::bool, false)" /* 34
											      */
	" FROM r";

static void pending_clear(struct herd_pg_pending *p)
{
	free(p->name);
	free(p->now);
	free(p->then);
	*p = (struct herd_pg_pending){ 0 };
}

void herd_pg_status_clear(struct herd_pg_status *st)
{
	char *texts[] = { st->replication_state,
			  st->primary_conninfo_used,
			  st->slot_used,
			  st->receiver_host,
			  st->start_time,
			  st->last_xact_replay,
			  st->synchronous_standby_names,
			  st->synchronous_commit,
			  st->primary_conninfo,
			  st->primary_slot_name,
			  st->restore_command,
			  st->hot_standby_feedback };

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		free(texts[i]);
	for (size_t i = 0; i < st->standby_n; i++) {
		free(st->standby[i].application_name);
		free(st->standby[i].client_addr);
		free(st->standby[i].state);
		free(st->standby[i].sync_state);
		free(st->standby[i].usename);
	}
	for (size_t i = 0; i < st->slot_n; i++) {
		free(st->slot[i].name);
		free(st->slot[i].type);
		free(st->slot[i].database);
		free(st->slot[i].plugin);
		free(st->slot[i].wal_status);
	}
	for (size_t i = 0; i < st->pending_n; i++)
		pending_clear(&st->pending[i]);
	free(st->standby);
	free(st->slot);
	free(st->pending);
	*st = (struct herd_pg_status){ 0 };
}

void herd_pg_status_move(struct herd_pg_status *dst, struct herd_pg_status *src)
{
	*dst = *src;
	*src = (struct herd_pg_status){ 0 };
}

static uint64_t json_lsn(const json_t *obj, const char *key)
{
	uint64_t lsn;

	return herd_lsn_parse(herd_json_str(obj, key, NULL), &lsn) == 0 ? lsn : 0;
}

/* An XID in JSON is text ("753"). */
static bool json_xid(const json_t *obj, const char *key, uint32_t *ret)
{
	const char *text = herd_json_str(obj, key, NULL);
	int64_t n;

	if (text == NULL || herd_str_to_i64(text, &n) < 0)
		return false;
	if (ret != NULL)
		*ret = (uint32_t)n;
	return true;
}

static bool copy_text(char **to, const json_t *obj, const char *key, const char *fallback)
{
	return herd_str_set(to, herd_json_str(obj, key, fallback));
}

static json_t *load_list(const struct herd_pg_rows *r, int col, int *rc)
{
	const char *text = herd_pg_rows_text(r, 0, col);
	json_t *list = NULL;

	if (text != NULL && *rc == 0) {
		list = herd_json_parse(text, strlen(text), NULL);
		if (!json_is_array(list))
			*rc = -EPROTO;
	}
	return list;
}

static int read_standbys(struct herd_pg_status *st, const json_t *list)
{
	size_t n = json_array_size(list);

	st->standby = calloc(n + 1, sizeof(*st->standby));
	if (st->standby == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		const json_t *o = json_array_get(list, i);
		struct herd_pg_standby *s = &st->standby[st->standby_n++];

		s->sync_priority = (int)herd_json_i64(o, "sync_priority", 0);
		s->pid = (int)herd_json_i64(o, "pid", 0);
		s->sent_lsn = json_lsn(o, "sent_lsn");
		s->write_lsn = json_lsn(o, "write_lsn");
		s->flush_lsn = json_lsn(o, "flush_lsn");
		s->replay_lsn = json_lsn(o, "replay_lsn");
		if (!copy_text(&s->application_name, o, "application_name", "") ||
		    !copy_text(&s->client_addr, o, "client_addr", "") ||
		    !copy_text(&s->state, o, "state", "") ||
		    !copy_text(&s->sync_state, o, "sync_state", "") ||
		    !copy_text(&s->usename, o, "usename", ""))
			return -ENOMEM;
	}
	return 0;
}

static int read_slots(struct herd_pg_status *st, const json_t *list)
{
	size_t n = json_array_size(list);

	st->slot = calloc(n + 1, sizeof(*st->slot));
	if (st->slot == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		const json_t *o = json_array_get(list, i);
		struct herd_pg_slot *s = &st->slot[st->slot_n++];

		s->active = json_is_true(json_object_get(o, "active"));
		s->temporary = json_is_true(json_object_get(o, "temporary"));
		s->failover = json_is_true(json_object_get(o, "failover"));
		s->synced = json_is_true(json_object_get(o, "synced"));
		s->has_xmin = json_xid(o, "xmin", NULL);
		s->catalog_xmin_valid = json_xid(o, "catalog_xmin", &s->catalog_xmin);
		s->restart_lsn = json_lsn(o, "restart_lsn");
		s->confirmed_lsn = json_lsn(o, "confirmed_flush_lsn");
		if (!copy_text(&s->name, o, "slot_name", "") ||
		    !copy_text(&s->type, o, "slot_type", "") ||
		    !copy_text(&s->database, o, "database", NULL) ||
		    !copy_text(&s->plugin, o, "plugin", NULL) ||
		    !copy_text(&s->wal_status, o, "wal_status", NULL))
			return -ENOMEM;
	}
	return 0;
}

static char *human(const json_t *list, size_t i)
{
	struct herd_buf text = { 0 };
	const char *value = json_string_value(json_array_get(list, i));
	int rc = herd_pg_guc_human(
		herd_pg_guc_type_parse(json_string_value(json_array_get(list, 2))),
		json_string_value(json_array_get(list, 3)), value != NULL ? value : "", &text);

	if (rc < 0)
		herd_buf_free(&text);
	return rc == 0 ? herd_str_dup(herd_buf_str(&text)) : NULL;
}

static int read_pending(struct herd_pg_status *st, const json_t *list)
{
	size_t n = json_array_size(list);

	st->pending = calloc(n + 1, sizeof(*st->pending));
	if (st->pending == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		const json_t *row = json_array_get(list, i);
		struct herd_pg_pending *p = &st->pending[st->pending_n++];

		p->name = herd_str_dup(json_string_value(json_array_get(row, 0)));
		p->now = human(row, 1);
		p->then = human(row, 4);
		if (p->name == NULL || p->now == NULL || p->then == NULL)
			return -ENOMEM;
		/* The server keeps its flag when a change is taken out of the file again. */
		if (strcmp(p->now, p->then) == 0) {
			pending_clear(p);
			st->pending_n--;
		}
	}
	return 0;
}

static int read_lists(struct herd_pg_status *st, const struct herd_pg_rows *r)
{
	int rc = 0;
	json_t *standbys = load_list(r, 28, &rc), *slots = load_list(r, 29, &rc),
	       *pending = load_list(r, 30, &rc);

	if (rc == 0)
		rc = read_standbys(st, standbys);
	if (rc == 0)
		rc = read_slots(st, slots);
	if (rc == 0)
		rc = read_pending(st, pending);
	json_decref(standbys);
	json_decref(slots);
	json_decref(pending);
	return rc;
}

static int read_texts(struct herd_pg_status *st, const struct herd_pg_rows *r)
{
	const struct {
		int col;
		char **to;
	} texts[] = {
		{ 11, &st->primary_conninfo_used }, { 12, &st->slot_used },
		{ 13, &st->receiver_host },         { 16, &st->start_time },
		{ 17, &st->last_xact_replay },      { 20, &st->synchronous_standby_names },
		{ 21, &st->synchronous_commit },    { 22, &st->primary_conninfo },
		{ 23, &st->primary_slot_name },     { 24, &st->restore_command },
		{ 25, &st->hot_standby_feedback },
	};
	const char *receiver = herd_pg_rows_text(r, 0, 8);

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		if (!herd_str_set(texts[i].to, herd_pg_rows_text(r, 0, texts[i].col)))
			return -ENOMEM;
	}
	if (!st->in_recovery)
		return 0;
	if (!herd_str_eq(receiver, "streaming")) {
		bool archive = st->restore_command != NULL && st->restore_command[0] != '\0';

		receiver = archive ? "in archive recovery" : NULL;
	}
	return herd_str_set(&st->replication_state, receiver) ? 0 : -ENOMEM;
}

static int read_status(struct herd_pg_status *st, const struct herd_pg_rows *r)
{
	int rc;

	if (herd_pg_rows_count(r) != 1 || herd_pg_rows_columns(r) != 35)
		return -EPROTO;
	st->in_recovery = herd_pg_rows_bool(r, 0, 0);
	st->system_identifier = (uint64_t)herd_pg_rows_i64(r, 0, 1, 0);
	st->timeline = (uint32_t)herd_pg_rows_i64(r, 0, 2, 0);
	st->current_lsn = herd_pg_rows_lsn(r, 0, 3);
	st->flush_lsn = herd_pg_rows_lsn(r, 0, 4);
	st->receive_lsn = herd_pg_rows_lsn(r, 0, 5);
	st->replay_lsn = herd_pg_rows_lsn(r, 0, 6);
	st->replay_paused = herd_pg_rows_bool(r, 0, 7);
	st->receiver_tli = (uint32_t)herd_pg_rows_i64(r, 0, 9, 0);
	st->latest_end_lsn = herd_pg_rows_lsn(r, 0, 10);
	st->receiver_port = (int)herd_pg_rows_i64(r, 0, 14, 0);
	st->start_time_ms = herd_pg_rows_i64(r, 0, 15, 0);
	st->client_transactions = herd_pg_rows_i64(r, 0, 18, 0);
	st->client_backends = herd_pg_rows_i64(r, 0, 19, 0);
	st->checkpoint_lsn = herd_pg_rows_lsn(r, 0, 26);
	st->checkpoint_tli = (uint32_t)herd_pg_rows_i64(r, 0, 27, 0);
	st->server_version = (int)herd_pg_rows_i64(r, 0, 31, 0);
	st->max_slots = (int)herd_pg_rows_i64(r, 0, 32, 0);
	st->logical_wal = herd_pg_rows_bool(r, 0, 33);
	st->slot_sync = herd_pg_rows_bool(r, 0, 34);
	rc = read_texts(st, r);
	return rc == 0 ? read_lists(st, r) : rc;
}

struct status_call {
	herd_pg_status_fn fn;
	void *arg;
};

static void status_done(void *arg, int rc, const struct herd_pg_rows *rows,
			const struct herd_err *err)
{
	struct status_call call = *(struct status_call *)arg;
	struct herd_pg_status st = { 0 };
	struct herd_err own = HERD_ERR_INIT;

	free(arg);
	if (rc == 0) {
		rc = read_status(&st, rows);
		if (rc < 0)
			herd_err_set(&own, rc, "could not understand the server's status");
		err = &own;
	}
	call.fn(call.arg, rc, rc == 0 ? &st : NULL, err);
	herd_pg_status_clear(&st);
	herd_err_clear(&own);
}

int herd_pg_status_query(struct herd_pg_session *s, int64_t timeout_ms, herd_pg_status_fn fn,
			 void *arg)
{
	static const char name[] = "herd_status";
	struct status_call *call = calloc(1, sizeof(*call));
	int rc;

	if (call == NULL)
		return -ENOMEM;
	call->fn = fn;
	call->arg = arg;
	rc = herd_pg_query_prepared(s, name, status_sql, timeout_ms, status_done, call);
	if (rc < 0)
		free(call);
	return rc;
}
