/*
 * conn/admission.h - citus.max_client_connections: how many sessions of clients this server takes.
 *
 * Sessions of other nodes and of superusers are not counted, and are never refused for it.
 */
#pragma once
#include "postgres.h"

/* Setting, shared memory and hooks; from _PG_init. */
extern void herd_admission_init(void);
