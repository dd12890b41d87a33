/*
 * compat.h - what differs between PostgreSQL 15 and 18, in one place.
 */
#pragma once
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "storage/proc.h"
#include "utils/acl.h"
#include "utils/rel.h"
#include "utils/relcache.h"

#if PG_VERSION_NUM >= 160000
#define herd_owns_relation(relid, userid) object_ownercheck(RelationRelationId, (relid), (userid))
#define herd_database_acl(dbid, userid, mode)                                                      \
	object_aclcheck(DatabaseRelationId, (dbid), (userid), (mode))
#define herd_set_new_file(rel) RelationSetNewRelfilenumber((rel), (rel)->rd_rel->relpersistence)
#else
#define herd_owns_relation(relid, userid) pg_class_ownercheck((relid), (userid))
#define herd_database_acl(dbid, userid, mode) pg_database_aclcheck((dbid), (userid), (mode))
#define herd_set_new_file(rel) RelationSetNewRelfilenode((rel), (rel)->rd_rel->relpersistence)
#endif

#if PG_VERSION_NUM >= 170000
#define herd_vxid_backend(vxid) ((vxid).procNumber)
#else
#define herd_vxid_backend(vxid) ((vxid).backendId)
#endif
