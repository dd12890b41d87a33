/*
 * proxy/target.h - where a connection to a server goes: one host of a list, one address of a name.
 *
 * A host that cannot be connected to is left alone for a second, then for two, four... (see
 * pool/health.h), as long as the list has others. load_balance_hosts: round-robin takes the hosts
 * in turn; disable stays with one until it fails.
 */
#pragma once
#include "proxy/server.h"

struct herd_targets;
struct herd_targets *herd_targets_new(void); /* NULL when out of memory */
void herd_targets_free(struct herd_targets *t);

/* One host of the database's list, malloc'd; NULL when out of memory. Any thread. */
char *herd_target_pick(struct herd_worker *w, const struct herd_database *conf, uint64_t turn);
/*
 * The server could not be used, or could. True: its database has another host that may be tried
 * at once.
 */
bool herd_target_failed(struct herd_worker *w, const struct herd_server *s, const char *state);
void herd_target_worked(struct herd_worker *w, const struct herd_server *s);

/*
 * Begins to connect to s->target_host at s->target_port. 0: connecting, or its name is being asked
 * for (herd_server_failed follows when that comes to nothing); negative errno with err.
 */
int herd_target_connect(struct herd_worker *w, struct herd_server *s, struct herd_err *err);
