/*
 * catalog/nodes.h - the nodes of the herd: citus_add_node and its relatives, and what a node must
 * be told to take part.
 */
#pragma once
#include "postgres.h"

#include "catalog/metadata.h"
#include "nodes/pg_list.h"

/* Registers this server as the coordinator when no node of group 0 is known yet. */
extern void herd_ensure_coordinator(void);

/*
 * Sends pg_dist_node to nodes that missed a change of it (metadatasynced = false). Called by the
 * maintenance worker inside a transaction, with a snapshot; does nothing except on a writable
 * coordinator. Never raises because of a node. Returns how many nodes are still behind.
 */
extern int herd_sync_pending_metadata(void);

/* Statements that make another node's pg_dist_node equal to ours (char *). */
extern List *herd_nodes_commands(void);

/* Brings a new node up: roles, schemas, shell tables, metadata, copies of reference tables. */
extern void herd_node_activate(const HerdNode *node);

/*
 * Statements that give another node the roles that filter (SQL over pg_roles' columns) selects,
 * with password hashes and memberships.
 */
extern List *herd_role_commands(const char *filter, bool by_superuser);

/* The statement that gives another node the secret of this one, palloc'd. */
extern char *herd_secret_command(void);

/* Statements that give another node the rows of pg_dist_authinfo (char *). */
extern List *herd_authinfo_commands(void);
