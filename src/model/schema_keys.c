/*
 * model/schema_keys.c - the tables. One row, one setting; the order is that of the reference.
 */
#include <stddef.h>

#include "model/schema.h"

/* clang-format off */
#define STR      HERD_KEY_STR
#define INT      HERD_KEY_INT
#define SECONDS  HERD_KEY_SECONDS
#define BYTES    HERD_KEY_BYTES
#define BOOL     HERD_KEY_BOOL
#define CHOICE   HERD_KEY_CHOICE
#define ADDRESS  HERD_KEY_ADDRESS
#define MAP      HERD_KEY_MAP
#define SETTINGS HERD_KEY_SETTINGS
#define LIST     HERD_KEY_LIST
#define LINES    HERD_KEY_LINES
#define OPTIONS  HERD_KEY_LIST_MAP

#define LIVE   HERD_KEY_RELOAD
#define START  HERD_KEY_START
#define NEW    HERD_KEY_NEW
#define UNUSED HERD_KEY_NO_EFFECT
#define OLD    HERD_KEY_OLD, "", ""

#define LEVELS "DEBUG|INFO|WARNING|WARN|ERROR|CRITICAL|FATAL|NOTSET"

#define AUTH(who, prefix, is, name) \
	{ "postgresql.authentication." who ".username", STR, prefix "USERNAME", LIVE, name, is }, \
	{ "postgresql.authentication." who ".password", STR, prefix "PASSWORD", LIVE, "", "its password" }, \
	{ "postgresql.authentication." who ".sslmode", STR, prefix "SSLMODE", LIVE, "prefer", "as libpq's" }, \
	{ "postgresql.authentication." who ".sslkey", STR, prefix "SSLKEY", LIVE, "", "as libpq's" }, \
	{ "postgresql.authentication." who ".sslpassword", STR, prefix "SSLPASSWORD", LIVE, "", "as libpq's" }, \
	{ "postgresql.authentication." who ".sslcert", STR, prefix "SSLCERT", LIVE, "", "as libpq's" }, \
	{ "postgresql.authentication." who ".sslrootcert", STR, prefix "SSLROOTCERT", LIVE, "", "as libpq's" }, \
	{ "postgresql.authentication." who ".sslcrl", STR, prefix "SSLCRL", LIVE, "", "as libpq's" }, \
	{ "postgresql.authentication." who ".sslcrldir", STR, prefix "SSLCRLDIR", LIVE, "", "as libpq's; PostgreSQL 14" }, \
	{ "postgresql.authentication." who ".sslnegotiation", STR, prefix "SSLNEGOTIATION", LIVE, "", "as libpq's; PostgreSQL 17" }, \
	{ "postgresql.authentication." who ".gssencmode", STR, prefix "GSSENCMODE", LIVE, "prefer", "as libpq's" }, \
	{ "postgresql.authentication." who ".channel_binding", STR, prefix "CHANNEL_BINDING", LIVE, "prefer", "as libpq's" }

const struct herd_schema_key herd_schema_local[] = {
	{ "name", STR, "", START, "", "this member; unique in the herd, no slash, at most 200 bytes", .required = true },
	{ "scope", STR, "", START, "", "the herd; keys are below `/<namespace>/<scope>/`", .required = true },
	{ "namespace", STR, "", START, "service", "where the keys are in the store" },
	{ "thread_pool_size", INT, "", UNUSED, "", "there are no threads", .min = 1 },
	{ "thread_stack_size", BYTES, "", UNUSED, "", "there are no threads" },

	{ "log.type", CHOICE, "", LIVE, "plain", "`json`: one JSON object a line", .choices = "plain|json" },
	{ "log.level", CHOICE, "", LIVE, "INFO", "least level that is written", .choices = LEVELS },
	{ "log.traceback_level", CHOICE, "", LIVE, "ERROR", "DEBUG: the DETAIL and HINT lines of an error only with log.level DEBUG", .choices = LEVELS },
	{ "log.format", HERD_KEY_FORMAT, "", LIVE, "%(asctime)s %(levelname)s: %(message)s", "a line, in Python's % style; for json also a list of fields and `{field: new name}`" },
	{ "log.dateformat", STR, "", LIVE, "", "strftime's format for asctime; none: `YYYY-MM-DD HH:MM:SS,mmm`" },
	{ "log.static_fields", MAP, "", LIVE, "", "json: fields that every line gets" },
	{ "log.max_queue_size", INT, "", LIVE, "1000", "lines that are kept while the log cannot be written; more are dropped and counted", .min = 1 },
	{ "log.dir", STR, "", LIVE, "", "directory of `patroni.log`; none: standard error" },
	{ "log.mode", HERD_KEY_OCTAL, "", LIVE, "0600", "mode of the log files" },
	{ "log.file_num", INT, "", LIVE, "4", "older files that are kept: `patroni.log.1` ...", .min = 0 },
	{ "log.file_size", BYTES, "", LIVE, "25000000", "size at which a new file begins; 0: never" },
	{ "log.loggers", SETTINGS, "", LIVE, "", "levels by part: `{patroni.ha: DEBUG, patroni.postgresql: WARNING}`" },
	{ "log.deduplicate_heartbeat_logs", BOOL, "", LIVE, "off", "a heartbeat line is written only when it differs from the one before" },

	{ "restapi.listen", ADDRESS, "", LIVE, "", "host:port that is bound", .required = true },
	{ "restapi.connect_address", ADDRESS, "", LIVE, "restapi.listen", "host:port that others are told" },
	{ "restapi.authentication.username", STR, "PATRONI_RESTAPI_USERNAME", LIVE, "", "for requests that change something" },
	{ "restapi.authentication.password", STR, "PATRONI_RESTAPI_PASSWORD", LIVE, "", "both are needed" },
	{ "restapi.certfile", STR, "", LIVE, "", "PEM; with it the API speaks HTTPS" },
	{ "restapi.keyfile", STR, "", LIVE, "restapi.certfile", "PEM" },
	{ "restapi.keyfile_password", STR, "", LIVE, "", "of keyfile" },
	{ "restapi.cafile", STR, "", LIVE, "", "PEM; who signs clients' certificates" },
	{ "restapi.ciphers", STR, "", LIVE, "", "OpenSSL's cipher list, TLS 1.2 and below" },
	{ "restapi.verify_client", CHOICE, "", LIVE, "none", "`optional`: a certificate for changes; `required`: for every request", .choices = "none|optional|required" },
	{ "restapi.allowlist", LIST, "", LIVE, "", "addresses, networks and host names that may change something" },
	{ "restapi.allowlist_include_members", BOOL, "", LIVE, "off", "all members of the herd may" },
	{ "restapi.http_extra_headers", SETTINGS, "", LIVE, "", "headers of every answer" },
	{ "restapi.https_extra_headers", SETTINGS, "", LIVE, "", "the same with TLS; wins over http_extra_headers" },
	{ "restapi.request_queue_size", INT, "", LIVE, "the most", "connections that wait to be taken", .min = 0, .max = 4096 },
	{ "restapi.server_tokens", CHOICE, "", LIVE, "original", "what the header Server tells", .choices = "original|productonly|minimal" },
	{ "restapi.thread_pool_size", INT, "", UNUSED, "", "there are no threads", .min = 1 },

	{ "ctl.authentication.username", STR, "PATRONI_CTL_USERNAME", LIVE, "restapi's", "towards other members' REST API" },
	{ "ctl.authentication.password", STR, "PATRONI_CTL_PASSWORD", LIVE, "restapi's", "" },
	{ "ctl.insecure", BOOL, "", LIVE, "off", "ctl does not verify members' certificates; the agent never does" },
	{ "ctl.cacert", STR, "", LIVE, "restapi.cafile", "PEM; ctl verifies members' certificates with it" },
	{ "ctl.certfile", STR, "", LIVE, "", "PEM; our certificate towards other members' REST API" },
	{ "ctl.keyfile", STR, "", LIVE, "", "PEM" },
	{ "ctl.keyfile_password", STR, "", LIVE, "", "of keyfile" },

	{ "etcd3.hosts", LIST, "", START, "", "servers, `host:port` each, a list or a text with commas" },
	{ "etcd3.host", STR, "", START, "", "one server, if hosts is not given" },
	{ "etcd3.port", INT, "", START, "2379", "for servers without one", .min = 1, .max = 65535 },
	{ "etcd3.url", STR, "", START, "", "one server as `http(s)://host:port`" },
	{ "etcd3.proxy", STR, "", START, "", "the same; the server is a proxy, so it is never left for another" },
	{ "etcd3.use_proxies", BOOL, "", START, "off", "hosts are proxies: the members behind them are not asked for" },
	{ "etcd3.srv", STR, "", START, "", "domain whose SRV records name the servers" },
	{ "etcd3.srv_suffix", STR, "", START, "", "`_etcd-client-<suffix>` instead of `_etcd-client`" },
	{ "etcd3.protocol", CHOICE, "", START, "http", "towards hosts and host", .choices = "http|https" },
	{ "etcd3.username", STR, "", START, "", "etcd's own authentication" },
	{ "etcd3.password", STR, "", START, "", "" },
	{ "etcd3.cacert", STR, "", START, "", "PEM; who signs the servers' certificates" },
	{ "etcd3.cert", STR, "", START, "", "PEM; our certificate" },
	{ "etcd3.key", STR, "", START, "etcd3.cert", "PEM; its key" },
	{ "etcd3.discovery_srv", STR, NULL, OLD },
	{ "etcd3.srv_domain", STR, NULL, OLD },

	{ "postgresql.listen", ADDRESS, "", LIVE, "", "host[,host]:port; a change needs a restart of the server", .required = true },
	{ "postgresql.connect_address", ADDRESS, "", LIVE, "postgresql.listen", "host:port that others are told" },
	{ "postgresql.proxy_address", ADDRESS, "", LIVE, "", "host:port of a pooler in front of this member; told to others" },
	{ "postgresql.data_dir", STR, "", START, "", "PGDATA; a relative path begins where the agent was started", .required = true },
	{ "postgresql.config_dir", STR, "", START, "data_dir", "where postgresql.conf is" },
	{ "postgresql.bin_dir", STR, "", LIVE, "", "PostgreSQL's programs; none: found by PATH" },
	{ "postgresql.bin_name.pg_ctl", STR, "PATRONI_POSTGRESQL_BIN_PG_CTL", LIVE, "pg_ctl", "other name of a program" },
	{ "postgresql.bin_name.initdb", STR, "PATRONI_POSTGRESQL_BIN_INITDB", LIVE, "initdb", "" },
	{ "postgresql.bin_name.pg_controldata", STR, "PATRONI_POSTGRESQL_BIN_PG_CONTROLDATA", LIVE, "pg_controldata", "" },
	{ "postgresql.bin_name.pg_basebackup", STR, "PATRONI_POSTGRESQL_BIN_PG_BASEBACKUP", LIVE, "pg_basebackup", "" },
	{ "postgresql.bin_name.postgres", STR, "PATRONI_POSTGRESQL_BIN_POSTGRES", LIVE, "postgres", "" },
	{ "postgresql.bin_name.pg_isready", STR, "PATRONI_POSTGRESQL_BIN_PG_ISREADY", LIVE, "pg_isready", "" },
	{ "postgresql.bin_name.pg_rewind", STR, "PATRONI_POSTGRESQL_BIN_PG_REWIND", LIVE, "pg_rewind", "" },
	{ "postgresql.pgpass", STR, "", LIVE, "~/pgpass", "written by the agent, 0600; each member of a machine needs its own" },
	{ "postgresql.use_unix_socket", BOOL, NULL, LIVE, "off", "the agent connects by the first of unix_socket_directories" },
	{ "postgresql.use_unix_socket_repl", BOOL, NULL, LIVE, "off", "so does the replication user" },
	AUTH("superuser", "PATRONI_SUPERUSER_", "who the agent is; made by initdb", "postgres"),
	AUTH("replication", "PATRONI_REPLICATION_", "who standbys are; made by the bootstrap", ""),
	AUTH("rewind", "PATRONI_REWIND_", "who pg_rewind is; made by the bootstrap", "superuser"),
	{ "postgresql.callbacks.on_start", STR, NULL, LIVE, "", "see Scripts" },
	{ "postgresql.callbacks.on_stop", STR, NULL, LIVE, "", "" },
	{ "postgresql.callbacks.on_restart", STR, NULL, LIVE, "", "" },
	{ "postgresql.callbacks.on_reload", STR, NULL, LIVE, "", "" },
	{ "postgresql.callbacks.on_role_change", STR, NULL, LIVE, "", "" },
	{ "postgresql.pre_promote", STR, NULL, LIVE, "", "script that must succeed before a promotion" },
	{ "postgresql.before_stop", STR, NULL, LIVE, "", "script that runs before the server is stopped" },
	{ "postgresql.create_replica_methods", LIST, NULL, LIVE, "basebackup", "how a member gets its data, in this order; each is a map `postgresql.<method>` with `command`, keep_data, no_params, no_leader" },
	{ "postgresql.basebackup", OPTIONS, NULL, LIVE, "", "options of pg_basebackup, a list or a map" },
	{ "postgresql.rewind", OPTIONS, NULL, LIVE, "", "options of pg_rewind, a list" },
	{ "postgresql.use_pg_rewind", BOOL, NULL, LIVE, "off", "data that has diverged is rewound" },
	{ "postgresql.remove_data_directory_on_rewind_failure", BOOL, NULL, LIVE, "off", "data that cannot be rewound is copied anew" },
	{ "postgresql.remove_data_directory_on_diverged_timelines", BOOL, NULL, LIVE, "off", "without use_pg_rewind: data that has diverged is copied anew" },
	{ "postgresql.parameters", SETTINGS, NULL, LIVE, "", "settings of the server; those that all members share count only in the dynamic configuration" },
	{ "postgresql.parameters_primary", SETTINGS, NULL, LIVE, "", "over parameters, while this member is the primary" },
	{ "postgresql.parameters_replica", SETTINGS, NULL, LIVE, "", "while it is a replica" },
	{ "postgresql.parameters_standby_leader", SETTINGS, NULL, LIVE, "", "while it leads a standby cluster" },
	{ "postgresql.recovery_conf", SETTINGS, NULL, LIVE, "", "settings of recovery: restore_command ..." },
	{ "postgresql.custom_conf", STR, NULL, LIVE, "postgresql.base.conf", "file that postgresql.conf includes" },
	{ "postgresql.pg_hba", LINES, NULL, LIVE, "", "lines: the whole of pg_hba.conf" },
	{ "postgresql.pg_hba_primary", LINES, NULL, LIVE, "", "instead of pg_hba, by role" },
	{ "postgresql.pg_hba_replica", LINES, NULL, LIVE, "", "" },
	{ "postgresql.pg_hba_standby_leader", LINES, NULL, LIVE, "", "" },
	{ "postgresql.pg_ident", LINES, NULL, LIVE, "", "lines: the whole of pg_ident.conf" },
	{ "postgresql.pg_ident_primary", LINES, NULL, LIVE, "", "instead of pg_ident, by role" },
	{ "postgresql.pg_ident_replica", LINES, NULL, LIVE, "", "" },
	{ "postgresql.pg_ident_standby_leader", LINES, NULL, LIVE, "", "" },
	{ "postgresql.pg_ctl_timeout", SECONDS, NULL, LIVE, "60", "how long a start may take" },
	{ "postgresql.use_slots", BOOL, NULL, OLD },
	{ "postgresql.database", STR, NULL, LIVE, "postgres", "database that the agent connects to" },
	{ "postgresql.config_base_name", STR, NULL, START, "postgresql", "name of postgresql.conf without .conf" },
	{ "postgresql.krbsrvname", STR, NULL, LIVE, "", "as libpq's" },
	{ "postgresql.superuser", MAP, NULL, OLD },
	{ "postgresql.replication", MAP, NULL, OLD },
	{ "postgresql.pg_rewind", MAP, NULL, OLD },
	{ "postgresql.create_replica_method", LIST, NULL, OLD },

	{ "bootstrap.dcs", MAP, NULL, NEW, "", "becomes the dynamic configuration of a new herd; never read again" },
	{ "bootstrap.method", STR, NULL, NEW, "initdb", "how a new herd gets its data; a map `bootstrap.<method>` with `command`, no_params, keep_existing_recovery_conf, recovery_conf" },
	{ "bootstrap.initdb", OPTIONS, NULL, NEW, "", "options of initdb, a list or a map" },
	{ "bootstrap.post_bootstrap", STR, NULL, NEW, "", "script that gets a connection string as its last argument" },
	{ "bootstrap.post_init", STR, NULL, NEW, "", "the same, if post_bootstrap is not given" },
	{ "bootstrap.pg_hba", LINES, NULL, NEW, "", "lines behind initdb's, unless postgresql.pg_hba is given" },

	{ "tags.nofailover", BOOL, NULL, LIVE, "off", "never leads", .keep = true },
	{ "tags.failover_priority", INT, NULL, LIVE, "1", "of equals the higher one leads; 0: never", .keep = true, .min = INT64_MIN },
	{ "tags.noloadbalance", BOOL, NULL, LIVE, "off", "503 on /replica, no reads by the proxy, no secondary of the sharding extension", .keep = true },
	{ "tags.nosync", BOOL, NULL, LIVE, "off", "never synchronous", .keep = true },
	{ "tags.sync_priority", INT, NULL, LIVE, "1", "the higher one is synchronous first; 0: never", .keep = true, .min = INT64_MIN },
	{ "tags.clonefrom", BOOL, NULL, LIVE, "off", "a source of data for new members", .keep = true },
	{ "tags.replicatefrom", STR, NULL, LIVE, "", "member to stream from", .keep = true },
	{ "tags.nostream", BOOL, NULL, LIVE, "off", "gets its WAL from the archive; never leads by it, no slot", .keep = true },
	{ "tags", MAP, NULL, LIVE, "", "any other key: shown in /patroni, for `?tag_<key>=<value>` in health checks" },

	{ "watchdog.mode", CHOICE, NULL, LIVE, "automatic", "`automatic`: used where there is one; `required`: a member without one never leads", .choices = "off|automatic|required" },
	{ "watchdog.device", STR, NULL, LIVE, "/dev/watchdog", "" },
	{ "watchdog.safety_margin", SECONDS, NULL, LIVE, "5", "seconds before the end of ttl at which it fires; -1: ttl/2", .min = -1 },
	{ "watchdog.driver", STR, NULL, LIVE, "default", "`testing`: a FIFO, as in Patroni's tests" },
	{ "guard.mode", CHOICE, "PGHERD_GUARD", START, "automatic", "see The lease and the guard", .choices = "off|automatic|required|on" },
	{ "citus.group", INT, "", START, "", "0: the coordinator, 1 ..: workers", .max = INT32_MAX },
	{ "citus.database", STR, "", START, "", "the sharded database" },
	{ "citus.extension", CHOICE, NULL, START, "", "which extension shards; default: citus where Citus itself is installed, else pgherd", .choices = "pgherd|citus" },
	{ "citus.poolinfo", STR, NULL, LIVE, "", "coordinator: how nodes reach workers through a pooler, as a connection string for pg_dist_poolinfo; `{group}`, `{host}` and `{port}` are replaced" },
	{ "citus.use_proxy", BOOL, "", UNUSED, "off", "" },
	{ "consul", MAP, NULL, OLD },
	{ "etcd", MAP, NULL, OLD },
	{ "zookeeper", MAP, NULL, OLD },
	{ "exhibitor", MAP, NULL, OLD },
	{ "kubernetes", MAP, NULL, OLD },
	{ "raft", MAP, NULL, OLD },
	{ NULL },
};

const struct herd_schema_key herd_schema_dynamic[] = {
	{ "ttl", SECONDS, NULL, LIVE, "30", "how long the leader key lives without its owner; at least 20, with the guard 3", .min = INT64_MIN },
	{ "loop_wait", SECONDS, NULL, LIVE, "10", "the heartbeat; at least 1", .min = INT64_MIN },
	{ "retry_timeout", SECONDS, NULL, LIVE, "10", "how long a question to the store is repeated; at least 3, with the guard 1. If loop_wait + 2 retry_timeout > ttl, loop_wait shrinks, and when that is not enough both do", .min = INT64_MIN },
	{ "maximum_lag_on_failover", BYTES, NULL, LIVE, "1048576", "a member further behind does not lead; asynchronous mode", .clamp = true },
	{ "maximum_lag_on_syncnode", BYTES, NULL, LIVE, "-1", "a standby further behind is not synchronous; 0 and less: off", .min = INT64_MIN },
	{ "max_timelines_history", INT, NULL, LIVE, "0", "lines kept in `history`; 0: all", .clamp = true },
	{ "primary_start_timeout", SECONDS, NULL, LIVE, "300", "how long a leader's crashed server may take before another leads; 0: at once", .clamp = true },
	{ "primary_stop_timeout", SECONDS, NULL, LIVE, "0", "synchronous mode: how long the leader's server may take to stop before it is killed; 0: for ever", .clamp = true },
	{ "primary_race_backoff", SECONDS, NULL, LIVE, "0", "without a leader: wait at most this long while WAL still comes in", .clamp = true },
	{ "synchronous_mode", HERD_KEY_SYNC, NULL, LIVE, "off", "off, on, quorum" },
	{ "synchronous_mode_strict", BOOL, NULL, LIVE, "off", "without a standby nothing is acknowledged" },
	{ "synchronous_node_count", INT, NULL, LIVE, "1", "standbys that have each commit", .min = 1, .max = 1000, .clamp = true },
	{ "failsafe_mode", BOOL, NULL, LIVE, "off", "a leader goes on without the store while all members answer it" },
	{ "check_timeline", BOOL, NULL, LIVE, "off", "only members on the newest timeline lead" },
	{ "pause", BOOL, NULL, LIVE, "off", "maintenance: nothing is started, stopped or promoted unless asked for by name" },
	{ "member_slots_ttl", SECONDS, NULL, LIVE, "30min", "how long the slot of a member that has gone is kept; 0: not at all", .clamp = true },
	{ "slots", HERD_KEY_SLOTS, NULL, LIVE, "", "permanent slots: `name: {type: physical}`, `{type: logical, database: D, plugin: P}`; cluster_type: primary or standby" },
	{ "ignore_slots", OPTIONS, NULL, LIVE, "", "slots to leave alone: list of {name, type, database, plugin}; all that is given must match" },
	{ "standby_cluster.host", STR, NULL, LIVE, "", "host[,host] of the cluster to follow" },
	{ "standby_cluster.port", STR, NULL, LIVE, "5432", "one for all hosts, or a list like that of the hosts" },
	{ "standby_cluster.primary_slot_name", STR, NULL, LIVE, "", "slot there" },
	{ "standby_cluster.create_replica_methods", LIST, NULL, LIVE, "basebackup", "how the first member gets its data" },
	{ "standby_cluster.restore_command", STR, NULL, LIVE, "", "" },
	{ "standby_cluster.archive_cleanup_command", STR, NULL, LIVE, "", "" },
	{ "standby_cluster.recovery_min_apply_delay", STR, NULL, LIVE, "", "" },
	{ "probe.mode", CHOICE, NULL, LIVE, "report", "ours: a PostgreSQL that makes no progress is not looked for, reported, or replaced by another leader; see The progress probe", .choices = "off|report|failover" },
	{ "probe.timeout", SECONDS, NULL, LIVE, "30", "ours: for so long something must be wrong", .min = 3 },
	{ "handover.acks", SECONDS, NULL, LIVE, "1", "ours: how long a switchover waits for the proxies", .clamp = true },
	{ "handover.transactions", SECONDS, NULL, LIVE, "5", "ours: how long running transactions get before a switchover stops the server", .clamp = true },
	{ "postgresql.use_slots", BOOL, NULL, LIVE, "on", "a slot per member" },
	{ "postgresql", MAP, NULL, LIVE, "", "everything under postgresql that is not only local" },
	{ "master_start_timeout", SECONDS, NULL, OLD },
	{ "master_stop_timeout", SECONDS, NULL, OLD },
	{ "permanent_replication_slots", HERD_KEY_SLOTS, NULL, OLD },
	{ "permanent_slots", HERD_KEY_SLOTS, NULL, OLD },
	{ NULL },
};
/* clang-format on */
