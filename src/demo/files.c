/*
 * demo/files.c - the configuration files of a demo herd, as an administrator would write them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "demo/layout.h"

/*
 * Several PostgreSQL instances share one machine here, so they are small; the timing is what the
 * guard makes safe (ttl 5), for a lost node to be a matter of seconds.
 */
static const char agent_template[] = "scope: demo\n"
				     "namespace: /service/\n"
				     "name: %s\n"
				     "\n"
				     "restapi:\n"
				     "  listen: 127.0.0.1:%d\n"
				     "  connect_address: 127.0.0.1:%d\n"
				     "\n"
				     "etcd3:\n"
				     "  host: 127.0.0.1:%d\n"
				     "\n"
				     "citus:\n"
				     "  group: %d\n"
				     "  database: citus\n"
				     "\n"
				     "bootstrap:\n"
				     "  dcs:\n"
				     "    ttl: 5\n"
				     "    loop_wait: 1\n"
				     "    retry_timeout: 1\n"
				     "    maximum_lag_on_failover: 1048576\n"
				     "    synchronous_mode: 'on'\n"
				     "    postgresql:\n"
				     "      use_pg_rewind: true\n"
				     "      use_slots: true\n"
				     "      parameters:\n"
				     "        max_connections: 200\n"
				     "        shared_buffers: 32MB\n"
				     "        wal_retrieve_retry_interval: 50ms\n"
				     "        wal_keep_size: 64MB\n"
				     "        max_wal_size: 256MB\n"
				     "  initdb:\n"
				     "  - encoding: UTF8\n"
				     "  - locale: C.UTF-8\n"
				     "  - data-checksums\n"
				     "\n"
				     "postgresql:\n"
				     "  listen: 127.0.0.1:%d\n"
				     "  connect_address: 127.0.0.1:%d\n"
				     "  data_dir: %s/data/%s\n"
				     "  bin_dir: %s\n"
				     "  pgpass: %s/run/%s.pgpass\n"
				     "  use_pg_rewind: true\n"
				     "  remove_data_directory_on_rewind_failure: true\n"
				     "  remove_data_directory_on_diverged_timelines: true\n"
				     "  authentication:\n"
				     "    superuser:\n"
				     "      username: postgres\n"
				     "      password: '%s'\n"
				     "    replication:\n"
				     "      username: replicator\n"
				     "      password: '%s'\n"
				     "    rewind:\n"
				     "      username: rewinder\n"
				     "      password: '%s'\n"
				     "  parameters:\n"
				     "    unix_socket_directories: '%s/run'\n"
				     "  pg_hba:\n"
				     "  - local all all scram-sha-256\n"
				     "  - host all all 127.0.0.1/32 scram-sha-256\n"
				     "  - host replication replicator 127.0.0.1/32 scram-sha-256\n";

static const char proxy_template[] =
	"; one address for the whole herd; see docs/proxy.md\n"
	"[pgherd]\n"
	"dcs = etcd3://127.0.0.1:%d\n"
	"namespace = /service/\n"
	"\n"
	"[listeners]\n"
	"writes = port=%d cluster=demo group=0 role=primary\n"
	"workers = port=%d cluster=demo role=workers\n"
	"reads = port=%d cluster=demo group=0 role=replica\n"
	"\n"
	"[databases]\n"
	"* = cluster=demo group=0 role=primary\n"
	"\n"
	"[pgbouncer]\n"
	"listen_addr = 127.0.0.1\n"
	"listen_port = %d\n"
	"unix_socket_dir =\n"
	"auth_type = scram-sha-256\n"
	"auth_file = %s/userlist.txt\n"
	"auth_user = postgres\n"
	"auth_dbname = citus\n"
	"admin_users = postgres\n"
	"pool_mode = transaction\n"
	"max_client_conn = 1000\n"
	"default_pool_size = 30\n"
	"ignore_startup_parameters = extra_float_digits,options,search_path\n"
	"pidfile = %s/run/proxy.inner.pid\n";

static int write_member(const struct demo *d, const struct demo_member *m, struct herd_err *err)
{
	char *path = demo_path(d, "%s.yml", m->name);
	struct herd_buf b = { 0 };

	herd_buf_printf(&b, agent_template, m->name, m->rest_port, m->rest_port,
			d->base_port + DEMO_PORT_ETCD, m->group, m->pg_port, m->pg_port, d->dir,
			m->name, d->bin_dir, d->dir, m->name, d->password, d->password, d->password,
			d->dir);
	int rc = herd_buf_ok(&b) ? demo_write_file(path, b.data, err)
				 : herd_err_set(err, -ENOMEM, "out of memory");

	herd_buf_free(&b);
	free(path);
	return rc;
}

static int write_text(const struct demo *d, const char *name, struct herd_buf *b,
		      struct herd_err *err)
{
	char *path = demo_path(d, "%s", name);
	int rc = herd_buf_ok(b) ? demo_write_file(path, herd_buf_str(b), err)
				: herd_err_set(err, -ENOMEM, "out of memory");

	herd_buf_reset(b);
	free(path);
	return rc;
}

int demo_write_files(const struct demo *d, struct herd_err *err)
{
	struct herd_buf b = { 0 };
	int rc = 0, base = d->base_port;

	for (size_t i = 0; i < d->nmembers && rc == 0; i++)
		rc = write_member(d, &d->members[i], err);
	if (rc == 0) {
		herd_buf_printf(&b, proxy_template, base + DEMO_PORT_ETCD, base + DEMO_PORT_WRITES,
				base + DEMO_PORT_WORKERS, base + DEMO_PORT_READS,
				base + DEMO_PORT_CONSOLE, d->dir, d->dir);
		rc = write_text(d, "proxy.ini", &b, err);
	}
	if (rc == 0) {
		herd_buf_printf(&b, "\"postgres\" \"%s\"\n", d->password);
		rc = write_text(d, "userlist.txt", &b, err);
	}
	if (rc == 0) {
		herd_buf_printf(&b, "127.0.0.1:*:*:postgres:%s\n", d->password);
		rc = write_text(d, "pgpass", &b, err);
	}
	if (rc == 0) {
		herd_buf_printf(&b,
				"scope: demo\nnamespace: /service/\netcd3:\n"
				"  host: 127.0.0.1:%d\n",
				base + DEMO_PORT_ETCD);
		rc = write_text(d, "ctl.yml", &b, err);
	}
	herd_buf_free(&b);
	return rc;
}
