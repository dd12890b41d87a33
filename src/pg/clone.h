/*
 * pg/clone.h - making a replica: create_replica_methods in their order, the first success wins.
 */
#pragma once
#include "pg/instance.h"

struct herd_pg_clone_opts {
	struct herd_pg_addr source; /* host NULL: no source; only no_leader methods are tried */
	int64_t timeout_ms;         /* 0: none */
	/* Instead of config's (a standby cluster has its own); taken over. n 0: config's. */
	struct herd_pg_method *method;
	size_t method_n;
};
/*
 * The data directory must be stopped; what is in it is removed unless the method keeps it.
 * pg_basebackup gets two tries, 5 s apart. done with 0: the directory is ready for herd_pg_start.
 */
int herd_pg_clone(struct herd_pg *pg, struct herd_pg_clone_opts *opts, herd_pg_done_fn done,
		  void *arg, struct herd_err *err);
/* True when some method works without a running source. */
bool herd_pg_clone_without_leader(const struct herd_pg_config *cfg);
