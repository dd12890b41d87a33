/*
 * compat.h - what differs between PostgreSQL 15 and 18, in one place.
 */
#pragma once
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "nodes/parsenodes.h"
#if PG_VERSION_NUM >= 160000
#include "parser/parse_relation.h"
#endif
#include "storage/proc.h"
#include "utils/acl.h"
#include "utils/rel.h"
#include "utils/relcache.h"

#if PG_VERSION_NUM >= 160000
#define herd_owns_relation(relid, userid) object_ownercheck(RelationRelationId, (relid), (userid))
#define herd_owns_function(func, userid) object_ownercheck(ProcedureRelationId, (func), (userid))
#define herd_owns_schema(schema, userid) object_ownercheck(NamespaceRelationId, (schema), (userid))
#define herd_database_acl(dbid, userid, mode)                                                      \
	object_aclcheck(DatabaseRelationId, (dbid), (userid), (mode))
#define herd_may_use_schema(schema, userid)                                                        \
	(object_aclcheck(NamespaceRelationId, (schema), (userid), ACL_USAGE) == ACLCHECK_OK)
#define herd_jointree_relids(node) get_relids_in_jointree((node), false, false)
#define herd_set_new_file(rel) RelationSetNewRelfilenumber((rel), (rel)->rd_rel->relpersistence)
#define herd_may_execute(funcid, userid)                                                           \
	(object_aclcheck(ProcedureRelationId, (funcid), (userid), ACL_EXECUTE) == ACLCHECK_OK)
#else
#define herd_owns_relation(relid, userid) pg_class_ownercheck((relid), (userid))
#define herd_owns_function(func, userid) pg_proc_ownercheck((func), (userid))
#define herd_owns_schema(schema, userid) pg_namespace_ownercheck((schema), (userid))
#define herd_database_acl(dbid, userid, mode) pg_database_aclcheck((dbid), (userid), (mode))
#define herd_may_use_schema(schema, userid)                                                        \
	(pg_namespace_aclcheck((schema), (userid), ACL_USAGE) == ACLCHECK_OK)
#define herd_jointree_relids(node) get_relids_in_jointree((node), false)
#define herd_set_new_file(rel) RelationSetNewRelfilenode((rel), (rel)->rd_rel->relpersistence)
#define herd_may_execute(funcid, userid)                                                           \
	(pg_proc_aclcheck((funcid), (userid), ACL_EXECUTE) == ACLCHECK_OK)
#endif

/* At the end of a declaration; PostgreSQL 18 has another name for it, at its beginning. */
#define HERD_NORETURN __attribute__((noreturn))

#if PG_VERSION_NUM >= 180000
#define herd_run_executor(query) ExecutorRun((query), ForwardScanDirection, 0)
#else
#define herd_run_executor(query) ExecutorRun((query), ForwardScanDirection, 0, true)
#endif

#if PG_VERSION_NUM >= 170000
#define herd_may_maintain(relid, userid)                                                           \
	(pg_class_aclcheck((relid), (userid), ACL_MAINTAIN) == ACLCHECK_OK)
#define HERD_MAY_MAINTAIN_SQL "has_table_privilege(c.oid, 'MAINTAIN')"
#else
#define herd_may_maintain(relid, userid) herd_owns_relation((relid), (userid))
#define HERD_MAY_MAINTAIN_SQL "pg_has_role(relowner, 'USAGE')"
#endif

/* NOT NULL of a table is a constraint with a name since PostgreSQL 18. */
#ifndef CONSTRAINT_NOTNULL
#define CONSTRAINT_NOTNULL 'n'
#endif
#if PG_VERSION_NUM >= 180000
#define HERD_NAMED_NOT_NULL true
#else
#define HERD_NAMED_NOT_NULL false
#endif

/* What ON DELETE RESTRICT says of rows that are referred to. */
#if PG_VERSION_NUM >= 180000
#define HERD_RESTRICT_VIOLATION true
#else
#define HERD_RESTRICT_VIOLATION false
#endif

/* RETURNING names the row before or after the write: PostgreSQL 18. */
#if PG_VERSION_NUM >= 180000
#define herd_returns_old(var) ((var)->varreturningtype == VAR_RETURNING_OLD)
#define herd_copy_returned_row(to, from) ((to)->varreturningtype = (from)->varreturningtype)
#define herd_name_returned_rows(query)                                                             \
	((query)->returningOldAlias = "old", (query)->returningNewAlias = "new")
#define herd_copy_returning_names(to, from)                                                        \
	((to)->returningOldAlias = (from)->returningOldAlias,                                      \
	 (to)->returningNewAlias = (from)->returningNewAlias)
#define herd_return_plain(var) ((var)->varreturningtype = VAR_RETURNING_DEFAULT)
#else
#define herd_returns_old(var) false
#define herd_return_plain(var) ((void)0)
#define herd_copy_returned_row(to, from) ((void)0)
#define herd_name_returned_rows(query) ((void)0)
#define herd_copy_returning_names(to, from) ((void)0)
#endif

#if PG_VERSION_NUM >= 170000
#define herd_reindex_relation(relid, flags, params)                                                \
	reindex_relation(NULL, (relid), (flags), (params))
#define herd_identity_sequence(rel, attno) getIdentitySequence((rel), (attno), false)
#define herd_vxid_backend(vxid) ((vxid).procNumber)
#define herd_backend_proc(id) ProcNumberGetProc(id)
#define herd_lxid() (MyProc->vxid.lxid)
#else
#define herd_reindex_relation(relid, flags, params) reindex_relation((relid), (flags), (params))
#define herd_identity_sequence(rel, attno)                                                         \
	getIdentitySequence(RelationGetRelid(rel), (attno), false)
#define herd_vxid_backend(vxid) ((vxid).backendId)
#define herd_backend_proc(id) BackendIdGetProc(id)
#define herd_lxid() (MyProc->lxid)
#endif

/* Nobody's rights are checked on a relation of the query: those on the statement's own are. */
static inline void herd_drop_permissions(Query *query, RangeTblEntry *rte)
{
#if PG_VERSION_NUM >= 160000
	rte->perminfoindex = 0;
	(void)addRTEPermissionInfo(&query->rteperminfos, rte);
#else
	rte->requiredPerms = 0;
#endif
}

/* ALTER TABLE ONLY .. ENABLE or DISABLE TRIGGER. */
#if PG_VERSION_NUM >= 160000
#define herd_enable_trigger(rel, name, state, lock)                                                \
	EnableDisableTrigger((rel), (name), InvalidOid, (state), false, false, (lock))
#else
#define herd_enable_trigger(rel, name, state, lock)                                                \
	EnableDisableTriggerNew2((rel), (name), InvalidOid, (state), false, false, (lock))
#endif

/* BEFORE row triggers of a row that is no tuple of a table here. */
#if PG_VERSION_NUM >= 180000
#define herd_exec_before_update(estate, epq, info, old, row)                                       \
	ExecBRUpdateTriggers((estate), (epq), (info), NULL, (old), (row), NULL, NULL, false)
#define herd_exec_before_delete(estate, epq, info, old)                                            \
	ExecBRDeleteTriggers((estate), (epq), (info), NULL, (old), NULL, NULL, NULL, false)
#elif PG_VERSION_NUM >= 160000
#define herd_exec_before_update(estate, epq, info, old, row)                                       \
	ExecBRUpdateTriggers((estate), (epq), (info), NULL, (old), (row), NULL, NULL)
#define herd_exec_before_delete(estate, epq, info, old)                                            \
	ExecBRDeleteTriggers((estate), (epq), (info), NULL, (old), NULL, NULL, NULL)
#else
#define herd_exec_before_update(estate, epq, info, old, row)                                       \
	ExecBRUpdateTriggers((estate), (epq), (info), NULL, (old), (row), NULL)
#define herd_exec_before_delete(estate, epq, info, old)                                            \
	ExecBRDeleteTriggers((estate), (epq), (info), NULL, (old), NULL)
#endif

/* The relation of a range table entry, which the end of the executor closes. */
#if PG_VERSION_NUM >= 180000
#define herd_range_table_relation(estate, rti) ExecGetRangeTableRelation((estate), (rti), true)
#else
#define herd_range_table_relation(estate, rti) ExecGetRangeTableRelation((estate), (rti))
#endif
