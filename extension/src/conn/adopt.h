/*
 * conn/adopt.h - code of users on shards: triggers, policies, functions.
 *
 * It sees now() of the transaction that the statement came from, as if it ran there, to the end of
 * the transaction on the node. The settings of the session are there anyway: conn/settings.h.
 */
#pragma once
#include "postgres.h"

#include "conn/session.h"

/* Sends what the session there does not know yet; after herd_conn_send_setup. */
extern void herd_conn_send_adopt(HerdConn *c);

/* True in a session that works for a transaction of another one, to the end of its own. */
extern bool herd_session_adopted(void);

/*
 * True when the session says that another node opened it. No proof: who may log in to this node
 * can say so too, so nothing may hang on it that his rights do not give him.
 */
extern bool herd_session_is_internal(void);

extern void herd_adopt_init(void);
