/*
 * proxy/config.h - pgbouncer.ini as the proxy understands it: an immutable, counted snapshot.
 *
 * [pgbouncer], [databases], [users] and [peers] are PgBouncer's. Ours are:
 *   [pgherd]     dcs = etcd3://host:port[,host:port]   namespace = service   worker_threads = N
 *                hold_timeout = 30   hold_max_clients = 0   proxy_id =   ...
 *   [listeners]  name = port=5000 [host=...] cluster=demo [group=0]
 * role=primary|replica|any|workers and a database may say cluster=, group=, role= in place of host=
 * and port=.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/map.h"
#include "pool/route.h"

/* The version whose settings, console and texts these are. */
#define HERD_PGBOUNCER_VERSION "1.25.2"

enum herd_mode { HERD_MODE_SESSION = 0, HERD_MODE_TRANSACTION, HERD_MODE_STATEMENT };
enum { HERD_MODE_UNSET = -1 };

/* Is what a client does to its session kept when it gets another server? */
enum herd_session_state { HERD_SESSION_OFF = 0, HERD_SESSION_AUTO };

/* Are logins at servers tied to their certificates (SCRAM-SHA-256-PLUS)? */
enum herd_binding { HERD_BINDING_PREFER = 0, HERD_BINDING_REQUIRE, HERD_BINDING_DISABLE };

enum herd_uring_mode { HERD_URING_AUTO = 0, HERD_URING_ON, HERD_URING_OFF };

/* Which reads of a database on the primary may go to replicas; see proxy/split.h. */
enum herd_split_mode {
	HERD_SPLIT_UNSET = -1,
	HERD_SPLIT_OFF,
	HERD_SPLIT_TRANSACTION, /* READ ONLY transactions */
	HERD_SPLIT_AUTO,        /* and statements that are proved to be reads */
	HERD_SPLIT_SESSION      /* all but what is known to write; a client's own wish */
};

enum herd_auth {
	HERD_AUTH_ANY = 0,
	HERD_AUTH_TRUST,
	HERD_AUTH_PLAIN,
	HERD_AUTH_MD5,
	HERD_AUTH_SCRAM,
	HERD_AUTH_CERT,
	HERD_AUTH_HBA,
	HERD_AUTH_PAM,
	HERD_AUTH_LDAP,
	HERD_AUTH_PEER, /* in the hba file only */
	HERD_AUTH_REJECT
};

enum herd_sslmode {
	HERD_SSL_DISABLE = 0,
	HERD_SSL_ALLOW,
	HERD_SSL_PREFER,
	HERD_SSL_REQUIRE,
	HERD_SSL_VERIFY_CA,
	HERD_SSL_VERIFY_FULL
};

/* The values of [pgbouncer] and [pgherd]. Times in microseconds. Texts owned by the snapshot. */
struct herd_settings {
	char *logfile, *pidfile, *listen_addr, *unix_socket_dir, *unix_socket_group, *run_as;
	char *track_extra_parameters, *ignore_startup_parameters, *job_name, *conffile;
	char *auth_file, *auth_hba_file, *auth_ident_file, *auth_user, *auth_query, *auth_dbname;
	char *auth_ldap_options;
	char *admin_users, *stats_users, *server_reset_query, *server_check_query;
	char *syslog_ident, *syslog_facility, *login_notify_message;
	char *client_tls_key_file, *client_tls_cert_file, *client_tls_ca_file;
	char *client_tls_protocols, *client_tls_ciphers, *client_tls13_ciphers;
	char *client_tls_ecdhcurve, *client_tls_dheparams;
	char *server_tls_key_file, *server_tls_cert_file, *server_tls_ca_file;
	char *server_tls_protocols, *server_tls_ciphers, *server_tls13_ciphers;
	char *resolv_conf, *metrics_listen, *dcs, *nspace, *proxy_id, *zone;
	char *rest, *rest_ca_file, *rest_cert_file, *rest_key_file;
	int listen_port, listen_backlog, unix_socket_mode, pool_mode, auth_type;
	int max_client_conn, default_pool_size, min_pool_size, reserve_pool_size;
	int max_db_connections, max_db_client_connections;
	int max_user_connections, max_user_client_connections;
	int max_prepared_statements, scram_iterations, max_packet_size, verbose, peer_id;
	int client_tls_sslmode, server_tls_sslmode;
	int tcp_defer_accept, tcp_socket_buffer, tcp_keepcnt, tcp_keepidle, tcp_keepintvl,
		tcp_user_timeout;
	int worker_threads, hold_max_clients, slow_query_ms;
	int pkt_buf;      /* bytes of one read, if it is more than the least (worker.h) */
	int sbuf_loopcnt; /* reads of one connection before the others' turn; 0: as many as come */
	int session_state, max_pinned;
	bool give_way;
	int busy_percent;           /* of a thread that gives workers away (crew.h) */
	int spin_us;                /* at most so many microseconds awake before a worker sleeps */
	int io_uring;               /* enum herd_uring_mode */
	int server_channel_binding; /* enum herd_binding */
	int split;
	bool causal_reads;
	int64_t causal_wait;
	bool server_round_robin, disable_pqexec, application_name_add_host;
	bool log_connections, log_disconnections, log_pooler_errors, log_stats, use_syslog;
	bool server_reset_query_always, server_fast_close, so_reuseport, tcp_keepalive;
	bool rest_insecure;
	int64_t reserve_pool_timeout, stats_period, server_check_delay, server_lifetime;
	int64_t server_idle_timeout, server_connect_timeout, server_login_retry;
	int64_t client_login_timeout, autodb_idle_timeout, pool_idle_timeout;
	int64_t dns_max_ttl, dns_nxdomain_ttl, dns_zone_check_period, query_wait_notify;
	int64_t query_timeout, query_wait_timeout, cancel_wait_timeout, client_idle_timeout;
	int64_t idle_transaction_timeout, transaction_timeout, suspend_timeout;
	int64_t hold_timeout, pin_timeout, dcs_timeout;
};

/* One line of [databases], or the default of a [listeners] entry. */
struct herd_database {
	char *name;
	char *dbname; /* NULL: the name the client asked for */
	char *host; /* NULL: unix socket in the default directory; may be a comma-separated list */
	int port;
	char *user, *password; /* forced */
	char *auth_user, *auth_query, *auth_dbname, *connect_query;
	char *client_encoding, *datestyle, *timezone, *application_name;
	int pool_size, min_pool_size, reserve_pool_size; /* -1: default */
	int max_db_connections, max_db_client_connections;
	int pool_mode;              /* HERD_MODE_UNSET: default */
	int session_state;          /* -1: default */
	int split;                  /* HERD_SPLIT_UNSET: default */
	int64_t query_wait_timeout; /* -1: default */
	int64_t server_lifetime;
	bool round_robin; /* load_balance_hosts */
	bool fallback;    /* made from "*" or by a listener: name is filled in by the login */
	struct herd_route route;
	struct herd_route reads; /* the replicas beside a route to the primary */
	char *cluster;           /* owns route.cluster */
};

/* [users] and auth_file together. */
struct herd_user {
	char *name;
	char *password; /* as in auth_file: plain, md5..., SCRAM-SHA-256$...; NULL: not listed there
			 */
	int pool_size, reserve_pool_size, pool_mode;
	int max_user_connections, max_user_client_connections;
	int64_t query_timeout, query_wait_timeout, idle_transaction_timeout;
	int64_t transaction_timeout, client_idle_timeout;
};

struct herd_listener {
	char *name;
	char *host; /* NULL: listen_addr */
	int port;
	struct herd_database *db; /* where any database name on this port goes */
};

/* One line of [peers]: another process that shares our clients. */
struct herd_peer {
	int id;
	char *host;
	int port;
	int pool_size; /* -1: default */
};

struct herd_hba;
struct herd_ident;
struct herd_ldap;

struct herd_pconf {
	_Atomic int refs;
	char **text;   /* by setting, as written or the default */
	bool *given;   /* by setting: in the file or by SET */
	bool has_main; /* there is a section [pgbouncer] or [pgherd] */
	bool *later;   /* by setting: the file says otherwise, which takes a restart */
	struct herd_settings s;
	struct herd_map *databases; /* name -> struct herd_database; "*" is the fallback */
	struct herd_map *users;     /* name -> struct herd_user */
	size_t nlisteners;
	struct herd_listener *listeners;
	size_t npeers;
	struct herd_peer *peers;
	struct herd_hba *hba;     /* NULL: none */
	struct herd_ident *ident; /* NULL: none */
	struct herd_ldap *ldap;   /* of auth_type ldap */
};

/* 0 or negative errno with err set; *ret untouched then. */
int herd_pconf_load(const char *path, struct herd_pconf **ret, struct herd_err *err);
/* The same while another one is in force: what takes a restart stays as it is. */
int herd_pconf_reload(const struct herd_pconf *running, const char *path, struct herd_pconf **ret,
		      struct herd_err *err);
/*
 * The same with one setting changed (console SET). -ENOENT: no such setting; -EPERM: needs restart.
 * Databases and users are read again from the file of the given path.
 */
int herd_pconf_set(const struct herd_pconf *old, const char *path, const char *key,
		   const char *value, struct herd_pconf **ret, struct herd_err *err);
struct herd_pconf *herd_pconf_ref(struct herd_pconf *c);
void herd_pconf_unref(struct herd_pconf *c);

const struct herd_database *herd_pconf_database(const struct herd_pconf *c, const char *name);
const struct herd_peer *herd_pconf_peer(const struct herd_pconf *c, int id);
const struct herd_user *herd_pconf_user(const struct herd_pconf *c, const char *name);

/* The settings as a table, for SHOW CONFIG. */
struct herd_setting_info {
	const char *name, *fallback;
	bool restart;       /* changes at restart only */
	bool null_if_empty; /* SHOW CONFIG has a null for it */
	bool ours;          /* of [pgherd] */
};
int herd_pconf_nsettings(void);
struct herd_setting_info herd_pconf_setting(int i);

const char *herd_mode_name(int mode);
/* Is name in the comma-separated list? */
bool herd_pconf_in_list(const char *list, const char *name);
