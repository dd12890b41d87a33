/*
 * agent/knock.h - does the server answer a new connection? The first thing that a client of
 * PostgreSQL asks (TLS or not) is answered by a process that the postmaster has started for it; no
 * session is made, nothing needs a free slot.
 */
#pragma once
#include "loop/loop.h"
#include "pg/instance.h"

struct herd_knock;

/* answered false: the connection was refused, or ended without a word. */
typedef void (*herd_knock_fn)(void *arg, bool answered);

/*
 * Asks the local server. fn is called once, unless it is freed before. -EAGAIN: the queue of the
 * socket is full; -ENOTSUP: its address is a name, which is not looked up.
 */
int herd_knock(struct herd_pg *pg, herd_knock_fn fn, void *arg, struct herd_knock **ret);
void herd_knock_free(struct herd_knock *k);
