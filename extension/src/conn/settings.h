/*
 * conn/settings.h - settings of this session that have to hold in its sessions on other nodes for
 * the same text to mean the same there.
 *
 * Those that say how values are read, shown and compared, search_path and what a superuser may
 * switch off always go along; so do settings of the user's own (names with a dot), which policies
 * and functions read. With citus.propagate_set_commands = local everything else follows that is
 * SET LOCAL in the transaction.
 */
#pragma once
#include "postgres.h"

#include "conn/session.h"
#include "nodes/nodes.h"

/* Hooks; from _PG_init. */
extern void herd_settings_init(void);
/* Sends what has changed since the connection was last used. */
extern void herd_settings_send(HerdConn *c);
/* The same for SET LOCAL; inside the block, after its savepoints. */
extern void herd_settings_send_local(HerdConn *c);
/* True when the transaction has SET LOCAL something that is to reach other nodes. */
extern bool herd_settings_need_block(void);
/* A utility statement that has been executed. */
extern void herd_settings_saw(Node *stmt);
