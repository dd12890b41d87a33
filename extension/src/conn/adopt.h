/*
 * conn/adopt.h - code of users on shards: triggers, policies, functions.
 *
 * It sees the settings of the session that the statement came from (search_path and those of the
 * users' own, with a dot in their name) and its now(), as if it ran there. They hold for the
 * transaction on the node.
 */
#pragma once
#include "postgres.h"

#include "conn/session.h"

/* Sends what the session there does not know yet; after herd_conn_send_setup. */
extern void herd_conn_send_adopt(HerdConn *c);

/* True in a session that has adopted another one's settings, to the end of its transaction. */
extern bool herd_session_adopted(void);

extern void herd_adopt_init(void);
