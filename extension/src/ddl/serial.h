/*
 * ddl/serial.h - serial and identity columns that are added to distributed tables.
 */
#pragma once
#include "postgres.h"

#include "catalog/metadata.h"
#include "nodes/parsenodes.h"

/* ADD COLUMN of a serial or an identity column. */
extern bool herd_serial_is(const AlterTableCmd *cmd);

/* Why it cannot be had; NULL: it can. */
extern const char *herd_serial_refusal(const AlterTableCmd *cmd);

/* Runs it, here and on all nodes. */
extern void herd_serial_add(const HerdTable *table, const AlterTableCmd *cmd);

/* The statement by which another node draws from a range of its own for an identity column. */
extern char *herd_serial_localize(Oid relid, const char *column);
