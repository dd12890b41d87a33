/*
 * ddl/schemas.h - CREATE SCHEMA, and tables that come into and leave distributed schemas.
 */
#pragma once
#include "ddl/utility.h"

/*
 * Before a statement is run: what herd_schemas_after has to know. Raises what cannot be had; takes
 * a table that is to leave its distributed schema out of distribution.
 */
typedef struct HerdSchemas {
	bool fresh;    /* CREATE SCHEMA: there was none of the name */
	bool entering; /* ALTER TABLE .. SET SCHEMA: the table will be distributed */
	Oid relid;
} HerdSchemas;

extern HerdSchemas herd_schemas_before(const HerdUtility *u);
extern void herd_schemas_after(const HerdUtility *u, const HerdSchemas *before);
