/*
 * plan/rights.h - whose rights count on the distributed tables of a statement.
 *
 * Below views, and in what rules do, those of an owner. This node's executor checks them, as it
 * does for any statement; shards check once more, and choose policies, in a session of the user.
 * Where the user's own rights are not enough there, tasks say who counts: conn/rights.h.
 */
#pragma once
#include "postgres.h"

#include "nodes/parsenodes.h"

typedef struct HerdRights {
	List *relids; /* of Oid: tables (shells), */
	List *roles;  /* of Oid: and whose rights count on each instead of the user's */
	List *here;   /* of Oid: those of them whose policies are checked by the statement itself */
} HerdRights;

/*
 * rtes, perms: all relations of the statement (perms: 16 and later). Policies of a table that is
 * used on behalf of several roles, and those that shards cannot check, are for plan/policies.h.
 */
extern HerdRights herd_rights_of(const List *rtes, const List *perms);

/* Of the statement that is being planned: lists, one for one. */
extern List *herd_rights_relids(void);
extern List *herd_rights_roles(void);

/* True if the statement that is being planned checks the policies of the table itself. */
extern bool herd_rights_here(Oid relid);

/* True if shards let the statement read all columns of the table, whether it wants them or not. */
extern bool herd_rights_on_all_columns(Oid relid);

/* True if such a table is read in the query: its rows must not be kept where the user finds them.
 */
extern bool herd_rights_read(Query *query);

/* Raises when the text of the query would have values that run code of users when they are read. */
extern void herd_rights_check_values(Query *query);
/*
 * The same, and a copy of the query in which constants of such types are made from text when it
 * runs. For the settings that are in force, DateStyle for one.
 */
extern Query *herd_rights_spell_values(Query *query);

/* The role that owns the relation. */
extern Oid herd_relation_owner(Oid relid);

/* True when rights on the relation are checked as another role than the user. */
extern bool herd_rights_foreign(const Query *query, RangeTblEntry *rte);
