/*
 * pg/guc_facts.c - units and words of PostgreSQL's parameters, by name, and which of them a server
 * has but does not describe. Of versions 13 to 18; a parameter that is not here has no unit.
 */
#include <stdlib.h>
#include <strings.h>

#include "pg/guc_value.h"

/* clang-format off */
#define T(type) HERD_PG_GUC_##type
static const struct fact {
	struct herd_pg_guc_fact f;
	bool undescribed;
} facts[] = {
	{ { "allow_in_place_tablespaces", T(BOOL), NULL, NULL, 0, 0 }, true },
	{ { "allow_system_table_mods", T(BOOL), NULL, NULL, 0, 0 }, true },
	{ { "application_name", T(STRING), NULL, NULL, 0, 0 }, true },
	{ { "archive_mode", T(ENUM), NULL, "always,on,off", 0, 0 }, false },
	{ { "archive_timeout", T(INTEGER), "s", NULL, 0, 0 }, false },
	{ { "authentication_timeout", T(INTEGER), "s", NULL, 0, 0 }, false },
	{ { "autovacuum_naptime", T(INTEGER), "s", NULL, 0, 0 }, false },
	{ { "autovacuum_vacuum_cost_delay", T(REAL), "ms", NULL, 0, 0 }, false },
	{ { "autovacuum_work_mem", T(INTEGER), "kB", NULL, 0, 0 }, false },
	{ { "backend_flush_after", T(INTEGER), "8kB", NULL, 0, 0 }, false },
	{ { "backslash_quote", T(ENUM), NULL, "safe_encoding,on,off", 0, 0 }, false },
	{ { "backtrace_functions", T(STRING), NULL, NULL, 0, 0 }, true },
	{ { "bgwriter_delay", T(INTEGER), "ms", NULL, 0, 0 }, false },
	{ { "bgwriter_flush_after", T(INTEGER), "8kB", NULL, 0, 0 }, false },
	{ { "bytea_output", T(ENUM), NULL, "escape,hex", 0, 0 }, false },
	{ { "checkpoint_flush_after", T(INTEGER), "8kB", NULL, 0, 0 }, false },
	{ { "checkpoint_timeout", T(INTEGER), "s", NULL, 0, 0 }, false },
	{ { "checkpoint_warning", T(INTEGER), "s", NULL, 0, 0 }, false },
	{ { "client_connection_check_interval", T(INTEGER), "ms", NULL, 0, 0 }, false },
	{ { "client_min_messages", T(ENUM), NULL, "debug5,debug4,debug3,debug2,debug1,log,notice,warning,error,debug,info", 0, 0 }, false },
	{ { "commit_timestamp_buffers", T(INTEGER), "8kB", NULL, 17, 0 }, false },
	{ { "composite_type_mismatch", T(ENUM), NULL, "error,warn,disabled", 0, 0 }, true },
	{ { "compute_query_id", T(ENUM), NULL, "auto,regress,on,off", 0, 0 }, false },
	{ { "config_file", T(STRING), NULL, NULL, 0, 0 }, true },
	{ { "constraint_exclusion", T(ENUM), NULL, "partition,on,off", 0, 0 }, false },
	{ { "deadlock_timeout", T(INTEGER), "ms", NULL, 0, 0 }, false },
	{ { "debug_copy_parse_plan_trees", T(BOOL), NULL, NULL, 18, 0 }, true },
	{ { "debug_deadlocks", T(BOOL), NULL, NULL, 0, 0 }, true },
	{ { "debug_discard_caches", T(INTEGER), NULL, NULL, 0, 0 }, true },
	{ { "debug_io_direct", T(STRING), NULL, NULL, 16, 0 }, true },
	{ { "debug_logical_replication_streaming", T(ENUM), NULL, "buffered,immediate", 17, 0 }, true },
	{ { "debug_parallel_query", T(ENUM), NULL, "off,on,regress", 16, 0 }, true },
	{ { "debug_raw_expression_coverage_test", T(BOOL), NULL, NULL, 18, 0 }, true },
	{ { "debug_write_read_parse_plan_trees", T(BOOL), NULL, NULL, 18, 0 }, true },
	{ { "default_toast_compression", T(ENUM), NULL, "pglz,lz4", 0, 0 }, false },
	{ { "default_transaction_isolation", T(ENUM), NULL, "serializable,repeatable read,read committed,read uncommitted", 0, 0 }, false },
	{ { "default_with_oids", T(BOOL), NULL, NULL, 0, 0 }, true },
	{ { "dynamic_shared_memory_type", T(ENUM), NULL, "posix,sysv,mmap,windows", 0, 0 }, false },
	{ { "effective_cache_size", T(INTEGER), "8kB", NULL, 0, 0 }, false },
	{ { "event_triggers", T(BOOL), NULL, NULL, 17, 0 }, true },
	{ { "file_copy_method", T(ENUM), NULL, "copy,clone", 18, 0 }, false },
	{ { "force_parallel_mode", T(ENUM), NULL, "off,on,regress", 0, 0 }, true },
	{ { "gin_pending_list_limit", T(INTEGER), "kB", NULL, 0, 0 }, false },
	{ { "huge_page_size", T(INTEGER), "kB", NULL, 0, 0 }, false },
	{ { "huge_pages", T(ENUM), NULL, "off,on,try", 0, 0 }, false },
	{ { "icu_validation_level", T(ENUM), NULL, "disabled,debug5,debug4,debug3,debug2,debug1,debug,log,notice,warning,error", 16, 0 }, false },
	{ { "idle_in_transaction_session_timeout", T(INTEGER), "ms", NULL, 0, 0 }, false },
	{ { "idle_replication_slot_timeout", T(INTEGER), "s", NULL, 18, 0 }, false },
	{ { "idle_session_timeout", T(INTEGER), "ms", NULL, 0, 0 }, false },
	{ { "ignore_checksum_failure", T(BOOL), NULL, NULL, 0, 0 }, true },
	{ { "ignore_invalid_pages", T(BOOL), NULL, NULL, 0, 0 }, true },
	{ { "ignore_system_indexes", T(BOOL), NULL, NULL, 0, 0 }, true },
	{ { "IntervalStyle", T(ENUM), NULL, "postgres,postgres_verbose,sql_standard,iso_8601", 0, 0 }, false },
	{ { "io_combine_limit", T(INTEGER), "8kB", NULL, 17, 0 }, false },
	{ { "io_max_combine_limit", T(INTEGER), "8kB", NULL, 18, 0 }, false },
	{ { "io_method", T(ENUM), NULL, "sync,worker,io_uring", 18, 0 }, false },
	{ { "jit_debugging_support", T(BOOL), NULL, NULL, 0, 0 }, true },
	{ { "jit_dump_bitcode", T(BOOL), NULL, NULL, 0, 0 }, true },
	{ { "jit_expressions", T(BOOL), NULL, NULL, 0, 0 }, true },
	{ { "jit_profiling_support", T(BOOL), NULL, NULL, 0, 0 }, true },
	{ { "jit_tuple_deforming", T(BOOL), NULL, NULL, 0, 0 }, true },
	{ { "lock_timeout", T(INTEGER), "ms", NULL, 0, 0 }, false },
	{ { "log_autovacuum_min_duration", T(INTEGER), "ms", NULL, 0, 0 }, false },
	{ { "log_btree_build_stats", T(BOOL), NULL, NULL, 0, 0 }, true },
	{ { "log_error_verbosity", T(ENUM), NULL, "terse,default,verbose", 0, 0 }, false },
	{ { "log_min_duration_sample", T(INTEGER), "ms", NULL, 0, 0 }, false },
	{ { "log_min_duration_statement", T(INTEGER), "ms", NULL, 0, 0 }, false },
	{ { "log_min_error_statement", T(ENUM), NULL, "debug5,debug4,debug3,debug2,debug1,info,notice,warning,error,log,fatal,panic,debug", 0, 0 }, false },
	{ { "log_min_messages", T(ENUM), NULL, "debug5,debug4,debug3,debug2,debug1,info,notice,warning,error,log,fatal,panic,debug", 0, 0 }, false },
	{ { "log_parameter_max_length", T(INTEGER), "B", NULL, 0, 0 }, false },
	{ { "log_parameter_max_length_on_error", T(INTEGER), "B", NULL, 0, 0 }, false },
	{ { "log_rotation_age", T(INTEGER), "min", NULL, 0, 0 }, false },
	{ { "log_rotation_size", T(INTEGER), "kB", NULL, 0, 0 }, false },
	{ { "log_startup_progress_interval", T(INTEGER), "ms", NULL, 0, 0 }, false },
	{ { "log_statement", T(ENUM), NULL, "none,ddl,mod,all", 0, 0 }, false },
	{ { "log_temp_files", T(INTEGER), "kB", NULL, 0, 0 }, false },
	{ { "logical_decoding_work_mem", T(INTEGER), "kB", NULL, 0, 0 }, false },
	{ { "logical_replication_mode", T(ENUM), NULL, "buffered,immediate", 16, 17 }, true },
	{ { "maintenance_work_mem", T(INTEGER), "kB", NULL, 0, 0 }, false },
	{ { "max_notify_queue_pages", T(INTEGER), NULL, NULL, 17, 0 }, true },
	{ { "max_slot_wal_keep_size", T(INTEGER), "MB", NULL, 0, 0 }, false },
	{ { "max_stack_depth", T(INTEGER), "kB", NULL, 0, 0 }, false },
	{ { "max_standby_archive_delay", T(INTEGER), "ms", NULL, 0, 0 }, false },
	{ { "max_standby_streaming_delay", T(INTEGER), "ms", NULL, 0, 0 }, false },
	{ { "max_wal_size", T(INTEGER), "MB", NULL, 0, 0 }, false },
	{ { "min_dynamic_shared_memory", T(INTEGER), "MB", NULL, 0, 0 }, false },
	{ { "min_parallel_index_scan_size", T(INTEGER), "8kB", NULL, 0, 0 }, false },
	{ { "min_parallel_table_scan_size", T(INTEGER), "8kB", NULL, 0, 0 }, false },
	{ { "min_wal_size", T(INTEGER), "MB", NULL, 0, 0 }, false },
	{ { "multixact_member_buffers", T(INTEGER), "8kB", NULL, 17, 0 }, false },
	{ { "multixact_offset_buffers", T(INTEGER), "8kB", NULL, 17, 0 }, false },
	{ { "notify_buffers", T(INTEGER), "8kB", NULL, 17, 0 }, false },
	{ { "old_snapshot_threshold", T(INTEGER), "min", NULL, 0, 0 }, false },
	{ { "optimize_bounded_sort", T(BOOL), NULL, NULL, 0, 0 }, true },
	{ { "password_encryption", T(ENUM), NULL, "md5,scram-sha-256,on,off", 0, 0 }, false },
	{ { "plan_cache_mode", T(ENUM), NULL, "auto,force_generic_plan,force_custom_plan", 0, 0 }, false },
	{ { "post_auth_delay", T(INTEGER), "s", NULL, 0, 0 }, true },
	{ { "pre_auth_delay", T(INTEGER), "s", NULL, 0, 0 }, true },
	{ { "recovery_init_sync_method", T(ENUM), NULL, "fsync,syncfs", 0, 0 }, false },
	{ { "recovery_min_apply_delay", T(INTEGER), "ms", NULL, 0, 0 }, false },
	{ { "recovery_prefetch", T(ENUM), NULL, "off,on,try", 0, 0 }, false },
	{ { "recovery_target_action", T(ENUM), NULL, "pause,promote,shutdown", 0, 0 }, false },
	{ { "remove_temp_files_after_crash", T(BOOL), NULL, NULL, 0, 0 }, true },
	{ { "restrict_nonsystem_relation_kind", T(STRING), NULL, NULL, 0, 0 }, true },
	{ { "send_abort_for_crash", T(BOOL), NULL, NULL, 16, 0 }, true },
	{ { "send_abort_for_kill", T(BOOL), NULL, NULL, 16, 0 }, true },
	{ { "serializable_buffers", T(INTEGER), "8kB", NULL, 17, 0 }, false },
	{ { "session_replication_role", T(ENUM), NULL, "origin,replica,local", 0, 0 }, false },
	{ { "shared_buffers", T(INTEGER), "8kB", NULL, 0, 0 }, false },
	{ { "shared_memory_type", T(ENUM), NULL, "sysv,mmap,windows", 0, 0 }, false },
	{ { "ssl_max_protocol_version", T(ENUM), NULL, ",TLSv1,TLSv1.1,TLSv1.2,TLSv1.3", 0, 0 }, false },
	{ { "ssl_min_protocol_version", T(ENUM), NULL, "TLSv1,TLSv1.1,TLSv1.2,TLSv1.3", 0, 0 }, false },
	{ { "ssl_renegotiation_limit", T(INTEGER), NULL, NULL, 0, 0 }, true },
	{ { "statement_timeout", T(INTEGER), "ms", NULL, 0, 0 }, false },
	{ { "stats_fetch_consistency", T(ENUM), NULL, "none,cache,snapshot", 0, 0 }, false },
	{ { "subtransaction_buffers", T(INTEGER), "8kB", NULL, 17, 0 }, false },
	{ { "synchronous_commit", T(ENUM), NULL, "local,remote_write,remote_apply,on,off", 0, 0 }, false },
	{ { "syslog_facility", T(ENUM), NULL, "local0,local1,local2,local3,local4,local5,local6,local7", 0, 0 }, false },
	{ { "tcp_keepalives_idle", T(INTEGER), "s", NULL, 0, 0 }, false },
	{ { "tcp_keepalives_interval", T(INTEGER), "s", NULL, 0, 0 }, false },
	{ { "tcp_user_timeout", T(INTEGER), "ms", NULL, 0, 0 }, false },
	{ { "temp_buffers", T(INTEGER), "8kB", NULL, 0, 0 }, false },
	{ { "temp_file_limit", T(INTEGER), "kB", NULL, 0, 0 }, false },
	{ { "trace_connection_negotiation", T(BOOL), NULL, NULL, 17, 0 }, true },
	{ { "trace_lock_oidmin", T(INTEGER), NULL, NULL, 0, 0 }, true },
	{ { "trace_lock_table", T(INTEGER), NULL, NULL, 0, 0 }, true },
	{ { "trace_locks", T(BOOL), NULL, NULL, 0, 0 }, true },
	{ { "trace_lwlocks", T(BOOL), NULL, NULL, 0, 0 }, true },
	{ { "trace_notify", T(BOOL), NULL, NULL, 0, 0 }, true },
	{ { "trace_recovery_messages", T(ENUM), NULL, "debug5,debug4,debug3,debug2,debug1,log,notice,warning,error,debug", 0, 0 }, true },
	{ { "trace_sort", T(BOOL), NULL, NULL, 0, 0 }, true },
	{ { "trace_syncscan", T(BOOL), NULL, NULL, 0, 0 }, true },
	{ { "trace_userlocks", T(BOOL), NULL, NULL, 0, 0 }, true },
	{ { "track_activity_query_size", T(INTEGER), "B", NULL, 0, 0 }, false },
	{ { "track_functions", T(ENUM), NULL, "none,pl,all", 0, 0 }, false },
	{ { "transaction_buffers", T(INTEGER), "8kB", NULL, 17, 0 }, false },
	{ { "transaction_deferrable", T(BOOL), NULL, NULL, 0, 0 }, true },
	{ { "transaction_isolation", T(ENUM), NULL, "serializable,repeatable read,read committed,read uncommitted", 0, 0 }, true },
	{ { "transaction_read_only", T(BOOL), NULL, NULL, 0, 0 }, true },
	{ { "transaction_timeout", T(INTEGER), "ms", NULL, 17, 0 }, false },
	{ { "vacuum_buffer_usage_limit", T(INTEGER), "kB", NULL, 16, 0 }, false },
	{ { "vacuum_cost_delay", T(REAL), "ms", NULL, 0, 0 }, false },
	{ { "wal_buffers", T(INTEGER), "8kB", NULL, 0, 0 }, false },
	{ { "wal_compression", T(ENUM), NULL, "pglz,lz4,zstd,on,off", 15, 0 }, false },
	{ { "wal_consistency_checking", T(STRING), NULL, NULL, 0, 0 }, true },
	{ { "wal_debug", T(BOOL), NULL, NULL, 0, 0 }, true },
	{ { "wal_decode_buffer_size", T(INTEGER), "B", NULL, 0, 0 }, false },
	{ { "wal_keep_size", T(INTEGER), "MB", NULL, 0, 0 }, false },
	{ { "wal_level", T(ENUM), NULL, "minimal,archive,hot_standby,replica,logical", 0, 0 }, false },
	{ { "wal_receiver_status_interval", T(INTEGER), "s", NULL, 0, 0 }, false },
	{ { "wal_receiver_timeout", T(INTEGER), "ms", NULL, 0, 0 }, false },
	{ { "wal_retrieve_retry_interval", T(INTEGER), "ms", NULL, 0, 0 }, false },
	{ { "wal_sender_timeout", T(INTEGER), "ms", NULL, 0, 0 }, false },
	{ { "wal_skip_threshold", T(INTEGER), "kB", NULL, 0, 0 }, false },
	{ { "wal_summary_keep_time", T(INTEGER), "min", NULL, 17, 0 }, false },
	{ { "wal_sync_method", T(ENUM), NULL, "fsync,fdatasync,open_sync,open_datasync,fsync_writethrough", 0, 0 }, false },
	{ { "wal_writer_delay", T(INTEGER), "ms", NULL, 0, 0 }, false },
	{ { "wal_writer_flush_after", T(INTEGER), "8kB", NULL, 0, 0 }, false },
	{ { "work_mem", T(INTEGER), "kB", NULL, 0, 0 }, false },
	{ { "xmlbinary", T(ENUM), NULL, "base64,hex", 0, 0 }, false },
	{ { "xmloption", T(ENUM), NULL, "content,document", 0, 0 }, false },
	{ { "zero_damaged_pages", T(BOOL), NULL, NULL, 0, 0 }, true },
};
#undef T
/* clang-format on */

static int compare(const void *key, const void *item)
{
	return strcasecmp(key, ((const struct fact *)item)->f.name);
}

static const struct fact *find(const char *name)
{
	return bsearch(name, facts, sizeof(facts) / sizeof(*facts), sizeof(*facts), compare);
}

const struct herd_pg_guc_fact *herd_pg_guc_fact(const char *name)
{
	const struct fact *f = find(name);

	return f != NULL ? &f->f : NULL;
}

bool herd_pg_guc_undescribed(const char *name, int version)
{
	const struct fact *f = find(name);

	return f != NULL && f->undescribed && version >= f->f.from &&
	       (f->f.till == 0 || version < f->f.till);
}
