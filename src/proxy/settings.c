/* The table of settings: one line each, parsed and checked by type. */
#include "proxy/settings.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"

enum kind { TEXT, INT, BOOL, TIME, OCTAL, MODE, AUTH, SSLMODE, SESSION, URING, SPLIT, BINDING };
enum { RESTART = 1, OURS = 4, NULLABLE = 8 };

struct setting {
	const char *name;
	enum kind kind;
	size_t offset;
	const char *fallback;
	unsigned flags;
	long max;
};

#define AT(field) offsetof(struct herd_settings, field)
#define TXT(field, def, flags)                                                                     \
	{                                                                                          \
#field, TEXT, AT(field), def, flags, 0                                             \
	}
#define NUM(field, def, flags)                                                                     \
	{                                                                                          \
#field, INT, AT(field), def, flags, INT_MAX                                        \
	}
#define FLG(field, def, flags)                                                                     \
	{                                                                                          \
#field, BOOL, AT(field), def, flags, 0                                             \
	}
#define TIM(field, def, flags)                                                                     \
	{                                                                                          \
#field, TIME, AT(field), def, flags, 0                                             \
	}

#define AUTH_QUERY                                                                                 \
	"SELECT rolname, CASE WHEN rolvaliduntil < now() THEN NULL ELSE rolpassword END "          \
	"FROM pg_authid WHERE rolname=$1 AND rolcanlogin"

/* clang-format off */
static const struct setting table[] = {
	FLG(application_name_add_host, "0", 0),
	TXT(admin_users, "", 0),
	TXT(auth_dbname, "", NULLABLE),
	TXT(auth_file, "", NULLABLE),
	TXT(auth_hba_file, "", 0),
	TXT(auth_ident_file, "", NULLABLE),
	TXT(auth_ldap_options, "", NULLABLE),
	TXT(auth_query, AUTH_QUERY, 0),
	{ "auth_type", AUTH, AT(auth_type), "md5", 0, 0 },
	TXT(auth_user, "", NULLABLE),
	TIM(autodb_idle_timeout, "3600", 0),
	TIM(cancel_wait_timeout, "10", 0),
	TIM(client_idle_timeout, "0", 0),
	TIM(client_login_timeout, "60", 0),
	TXT(client_tls13_ciphers, "", NULLABLE),
	TXT(client_tls_ca_file, "", 0),
	TXT(client_tls_cert_file, "", 0),
	TXT(client_tls_ciphers, "default", 0),
	TXT(client_tls_dheparams, "auto", 0),
	TXT(client_tls_ecdhcurve, "auto", 0),
	TXT(client_tls_key_file, "", 0),
	TXT(client_tls_protocols, "secure", 0),
	{ "client_tls_sslmode", SSLMODE, AT(client_tls_sslmode), "disable", 0, 0 },
	TXT(conffile, "", NULLABLE),
	NUM(default_pool_size, "20", 0),
	FLG(disable_pqexec, "0", RESTART),
	TIM(dns_max_ttl, "15", 0),
	TIM(dns_nxdomain_ttl, "15", 0),
	TIM(dns_zone_check_period, "0", 0),
	TIM(idle_transaction_timeout, "0", 0),
	TXT(ignore_startup_parameters, "", 0),
	TXT(job_name, "pgbouncer", RESTART),
	TXT(listen_addr, "", RESTART),
	NUM(listen_backlog, "128", RESTART),
	{ "listen_port", INT, AT(listen_port), "6432", RESTART, 65535 },
	FLG(log_connections, "1", 0),
	FLG(log_disconnections, "1", 0),
	FLG(log_pooler_errors, "1", 0),
	FLG(log_stats, "1", 0),
	TXT(logfile, "", 0),
	TXT(login_notify_message, "", 0),
	NUM(max_client_conn, "100", 0),
	NUM(max_db_client_connections, "0", 0),
	NUM(max_db_connections, "0", 0),
	NUM(max_packet_size, "2147483647", 0),
	NUM(max_prepared_statements, "200", 0),
	NUM(max_user_client_connections, "0", 0),
	NUM(max_user_connections, "0", 0),
	NUM(min_pool_size, "0", 0),
	{ "peer_id", INT, AT(peer_id), "0", 0, HERD_MAX_PEER_ID },
	TXT(pidfile, "", RESTART),
	NUM(pkt_buf, "4096", RESTART),
	TIM(pool_idle_timeout, "0", 0),
	{ "pool_mode", MODE, AT(pool_mode), "session", 0, 0 },
	TIM(query_timeout, "0", 0),
	TIM(query_wait_notify, "5", 0),
	TIM(query_wait_timeout, "120", 0),
	NUM(reserve_pool_size, "0", 0),
	TIM(reserve_pool_timeout, "5", 0),
	TXT(resolv_conf, "", RESTART),
	NUM(sbuf_loopcnt, "5", 0),
	NUM(scram_iterations, "4096", 0),
	TIM(server_check_delay, "30", 0),
	TXT(server_check_query, "<empty>", 0),
	TIM(server_connect_timeout, "15", 0),
	FLG(server_fast_close, "0", 0),
	TIM(server_idle_timeout, "600", 0),
	TIM(server_lifetime, "3600", 0),
	TIM(server_login_retry, "15", 0),
	TXT(server_reset_query, "DISCARD ALL", 0),
	FLG(server_reset_query_always, "0", 0),
	FLG(server_round_robin, "0", 0),
	TXT(server_tls13_ciphers, "", NULLABLE),
	TXT(server_tls_ca_file, "", 0),
	TXT(server_tls_cert_file, "", 0),
	TXT(server_tls_ciphers, "default", 0),
	TXT(server_tls_key_file, "", 0),
	TXT(server_tls_protocols, "secure", 0),
	{ "server_tls_sslmode", SSLMODE, AT(server_tls_sslmode), "prefer", 0, 0 },
	{ "service_name", TEXT, AT(job_name), "pgbouncer", RESTART, 0 },
	FLG(so_reuseport, "0", RESTART),
	TIM(stats_period, "60", 0),
	TXT(stats_users, "", 0),
	TIM(suspend_timeout, "10", 0),
	{ "syslog", BOOL, AT(use_syslog), "0", 0, 0 },
	TXT(syslog_facility, "daemon", 0),
	TXT(syslog_ident, "pgbouncer", 0),
	NUM(tcp_defer_accept, "1", 0),
	FLG(tcp_keepalive, "1", 0),
	NUM(tcp_keepcnt, "0", 0),
	NUM(tcp_keepidle, "0", 0),
	NUM(tcp_keepintvl, "0", 0),
	NUM(tcp_socket_buffer, "0", 0),
	NUM(tcp_user_timeout, "0", 0),
	TXT(track_extra_parameters, "IntervalStyle", RESTART),
	TIM(transaction_timeout, "0", 0),
	TXT(unix_socket_dir, "/tmp", RESTART),
	TXT(unix_socket_group, "", RESTART),
	{ "unix_socket_mode", OCTAL, AT(unix_socket_mode), "0777", RESTART, 07777 },
	{ "user", TEXT, AT(run_as), "", RESTART | NULLABLE, 0 },
	NUM(verbose, "0", NULLABLE),
	{ "dcs", TEXT, AT(dcs), "", OURS | RESTART, 0 },
	{ "namespace", TEXT, AT(nspace), "service", OURS | RESTART, 0 },
	TXT(zone, "", OURS),
	TXT(rest, "", OURS | RESTART),
	TXT(rest_ca_file, "", OURS | RESTART),
	TXT(rest_cert_file, "", OURS | RESTART),
	TXT(rest_key_file, "", OURS | RESTART),
	FLG(rest_insecure, "0", OURS | RESTART),
	{ "proxy_id", TEXT, AT(proxy_id), "", OURS | RESTART, 0 },
	{ "dcs_timeout", TIME, AT(dcs_timeout), "10", OURS | RESTART, 0 },
	{ "give_way", BOOL, AT(give_way), "1", OURS, 0 },
	{ "busy_percent", INT, AT(busy_percent), "75", OURS, 100 },
	{ "spin_us", INT, AT(spin_us), "50", OURS, 1000 },
	{ "io_uring", URING, AT(io_uring), "auto", OURS | RESTART, 0 },
	{ "server_channel_binding", BINDING, AT(server_channel_binding), "prefer", OURS, 0 },
	{ "worker_threads", INT, AT(worker_threads), "0", OURS | RESTART, HERD_MAX_WORKERS },
	{ "slow_query_ms", INT, AT(slow_query_ms), "0", OURS, INT_MAX },
	{ "metrics_listen", TEXT, AT(metrics_listen), "", OURS | RESTART, 0 },
	{ "session_state", SESSION, AT(session_state), "auto", OURS, 0 },
	{ "pin_timeout", TIME, AT(pin_timeout), "0", OURS, 0 },
	{ "max_pinned", INT, AT(max_pinned), "0", OURS, INT_MAX },
	{ "hold_timeout", TIME, AT(hold_timeout), "30", OURS, 0 },
	{ "split", SPLIT, AT(split), "off", OURS, 0 },
	{ "causal_reads", BOOL, AT(causal_reads), "1", OURS, 0 },
	{ "causal_wait", TIME, AT(causal_wait), "0", OURS, 0 },
	{ "hold_max_clients", INT, AT(hold_max_clients), "0", OURS, INT_MAX },
};
/* clang-format on */

enum { NSETTINGS = sizeof(table) / sizeof(table[0]) };

int herd_pconf_nsettings(void)
{
	return NSETTINGS;
}

struct herd_setting_info herd_pconf_setting(int i)
{
	const struct setting *s = &table[i];

	return (struct herd_setting_info){ .name = s->name,
					   .fallback = s->fallback,
					   .restart = s->flags & RESTART,
					   .null_if_empty = s->flags & NULLABLE,
					   .ours = s->flags & OURS };
}

int herd_settings_find(const char *name, bool ours)
{
	for (int i = 0; i < NSETTINGS; i++) {
		if (strcmp(table[i].name, name) == 0 && !!(table[i].flags & OURS) == ours)
			return i;
	}
	return -1;
}

int herd_settings_time(const char *text, int64_t *ret)
{
	char *end;

	errno = 0;
	double v = strtod(text, &end);

	if (end == text || *end || errno || !(v >= 0) || v > 1e9)
		return -EINVAL;
	*ret = (int64_t)(v * 1e6 + 0.5);
	return 0;
}

/*
 * As C reads them, 010 is 8 and 0x10 is 16, for a file means the same to PgBouncer. What is below
 * zero is refused: there some of it means "no limit", and with other settings nobody gets a server.
 */
static int parse_number(const char *text, int base, long max, int *ret)
{
	char *end;

	errno = 0;
	long v = strtol(text, &end, base);

	if (end == text || *end || errno || v < 0 || v > max)
		return -EINVAL;
	*ret = (int)v;
	return 0;
}

/* Any number, zero is no; or a word. */
static int parse_bool(const char *text, bool *ret)
{
	char *end;
	long v = strtol(text, &end, 0);

	if (end == text || *end)
		return herd_str_to_bool(text, ret);
	*ret = v != 0;
	return 0;
}

static int parse_word(const char *text, const char *const *words, int *ret)
{
	for (int i = 0; words[i]; i++) {
		if (strcasecmp(words[i], text) == 0)
			return *ret = i, 0;
	}
	return -EINVAL;
}

static const char *const mode_words[] = { "session", "transaction", "statement", NULL };
static const char *const auth_words[] = { "any",  "trust", "plain", "md5",  "scram-sha-256",
					  "cert", "hba",   "pam",   "ldap", NULL };
static const char *const ssl_words[] = { "disable",   "allow",       "prefer", "require",
					 "verify-ca", "verify-full", NULL };

static const char *const session_words[] = { "off", "auto", NULL };

int herd_settings_session(const char *text, int *ret)
{
	return parse_word(text, session_words, ret);
}
static const char *const binding_words[] = { "prefer", "require", "disable", NULL };
static const char *const uring_words[] = { "auto", "on", "off", NULL };

const char *herd_mode_name(int mode)
{
	return mode < 0 ? "" : mode_words[mode];
}

static const char *const split_words[] = { "off", "transaction", "auto", NULL };

int herd_settings_split(const char *text, int *ret)
{
	return parse_word(text, split_words, ret);
}

int herd_settings_mode(const char *text, int *ret)
{
	return parse_word(text, mode_words, ret);
}

int herd_settings_auth(const char *text, int *ret)
{
	return parse_word(text, auth_words, ret);
}

static const char *const *words_of(enum kind kind)
{
	switch (kind) {
	case MODE:
		return mode_words;
	case AUTH:
		return auth_words;
	case SESSION:
		return session_words;
	case SPLIT:
		return split_words;
	case SSLMODE:
		return ssl_words;
	case BINDING:
		return binding_words;
	default:
		return uring_words;
	}
}

int herd_settings_store(struct herd_settings *s, int i, const char *text, struct herd_err *err)
{
	const struct setting *d = &table[i];
	char *at = (char *)s + d->offset;
	int rc = 0;

	switch (d->kind) {
	case TEXT:
		if (!herd_str_set((char **)(void *)at, text))
			rc = -ENOMEM;
		break;
	case INT:
		rc = parse_number(text, 0, d->max, (int *)(void *)at);
		break;
	case OCTAL:
		rc = parse_number(text, 8, d->max, (int *)(void *)at);
		break;
	case BOOL:
		rc = parse_bool(text, (bool *)at);
		break;
	case TIME:
		rc = herd_settings_time(text, (int64_t *)(void *)at);
		break;
	default:
		rc = parse_word(text, words_of(d->kind), (int *)(void *)at);
		break;
	}
	if (rc < 0)
		return herd_err_set(err, rc, "invalid value \"%s\" for setting \"%s\"", text,
				    d->name);
	return 0;
}

/* Seconds, with as many digits behind the point as it takes. */
static void show_time(int64_t us, char *buf, size_t size)
{
	int n = snprintf(buf, size, "%lld.%06lld", (long long)(us / 1000000),
			 (long long)(us % 1000000));

	while (buf[n - 1] == '0')
		buf[--n] = '\0';
	if (buf[n - 1] == '.')
		buf[n - 1] = '\0';
}

const char *herd_settings_show(const struct herd_settings *s, int i, char *buf, size_t size)
{
	const struct setting *d = &table[i];
	const char *at = (const char *)s + d->offset;

	switch (d->kind) {
	case TEXT:
		return *(char *const *)(const void *)at;
	case INT:
		snprintf(buf, size, "%d", *(const int *)(const void *)at);
		break;
	case OCTAL:
		snprintf(buf, size, "%04o", (unsigned)*(const int *)(const void *)at);
		break;
	case BOOL:
		snprintf(buf, size, "%d", *(const bool *)at);
		break;
	case TIME:
		show_time(*(const int64_t *)(const void *)at, buf, size);
		break;
	default:
		return words_of(d->kind)[*(const int *)(const void *)at];
	}
	return buf;
}

void herd_settings_free(struct herd_settings *s)
{
	for (int i = 0; i < NSETTINGS; i++) {
		char **slot = (char **)(void *)((char *)s + table[i].offset);

		if (table[i].kind != TEXT)
			continue;
		free(*slot);
		*slot = NULL;
	}
}
