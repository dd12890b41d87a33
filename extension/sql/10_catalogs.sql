\echo Use "CREATE EXTENSION pgherd" to load this file. \quit

-- Relations cannot be created in pg_catalog, but moved there: users and tools look for them there.
CREATE SCHEMA citus;
CREATE SCHEMA citus_internal;
GRANT USAGE ON SCHEMA citus TO public;
GRANT USAGE ON SCHEMA citus_internal TO public;

CREATE TYPE citus.distribution_type AS ENUM ('hash', 'range', 'append');
CREATE TYPE citus.shard_transfer_mode AS ENUM ('auto', 'force_logical', 'block_writes');
CREATE TYPE citus.noderole AS ENUM ('primary', 'secondary', 'unavailable');
CREATE TYPE citus.citus_job_status AS ENUM
	('scheduled', 'running', 'finished', 'cancelling', 'cancelled', 'failing', 'failed');
CREATE TYPE citus.citus_task_status AS ENUM
	('blocked', 'runnable', 'running', 'done', 'cancelling', 'error', 'unscheduled', 'cancelled');
ALTER TYPE citus.noderole SET SCHEMA pg_catalog;
ALTER TYPE citus.citus_job_status SET SCHEMA pg_catalog;
ALTER TYPE citus.citus_task_status SET SCHEMA pg_catalog;

CREATE SEQUENCE citus.pg_dist_shardid_seq MINVALUE 102008 NO CYCLE;
CREATE SEQUENCE citus.pg_dist_placement_placementid_seq NO CYCLE;
CREATE SEQUENCE citus.pg_dist_node_nodeid_seq MINVALUE 1 MAXVALUE 4294967296;
CREATE SEQUENCE citus.pg_dist_groupid_seq MINVALUE 1 MAXVALUE 4294967296;
CREATE SEQUENCE citus.pg_dist_colocationid_seq MINVALUE 1 MAXVALUE 4294967296;
CREATE SEQUENCE citus.pg_dist_operationid_seq;
CREATE SEQUENCE citus.pg_dist_cleanup_recordid_seq;
ALTER SEQUENCE citus.pg_dist_shardid_seq SET SCHEMA pg_catalog;
ALTER SEQUENCE citus.pg_dist_placement_placementid_seq SET SCHEMA pg_catalog;
ALTER SEQUENCE citus.pg_dist_node_nodeid_seq SET SCHEMA pg_catalog;
ALTER SEQUENCE citus.pg_dist_groupid_seq SET SCHEMA pg_catalog;
ALTER SEQUENCE citus.pg_dist_colocationid_seq SET SCHEMA pg_catalog;
ALTER SEQUENCE citus.pg_dist_operationid_seq SET SCHEMA pg_catalog;
ALTER SEQUENCE citus.pg_dist_cleanup_recordid_seq SET SCHEMA pg_catalog;

CREATE TABLE citus.pg_dist_local_group (groupid int NOT NULL PRIMARY KEY);
INSERT INTO citus.pg_dist_local_group VALUES (0);

CREATE TABLE citus.pg_dist_node (
	nodeid int NOT NULL DEFAULT nextval('pg_catalog.pg_dist_node_nodeid_seq') PRIMARY KEY,
	groupid int NOT NULL DEFAULT nextval('pg_catalog.pg_dist_groupid_seq'),
	nodename text NOT NULL,
	nodeport int NOT NULL DEFAULT 5432,
	noderack text NOT NULL DEFAULT 'default',
	hasmetadata bool NOT NULL DEFAULT false,
	isactive bool NOT NULL DEFAULT true,
	noderole pg_catalog.noderole NOT NULL DEFAULT 'primary',
	nodecluster name NOT NULL DEFAULT 'default',
	metadatasynced bool NOT NULL DEFAULT false,
	shouldhaveshards bool NOT NULL DEFAULT true,
	CONSTRAINT pg_dist_node_nodename_nodeport_key UNIQUE (nodename, nodeport),
	CONSTRAINT primaries_are_only_allowed_in_the_default_cluster
		CHECK (NOT (nodecluster <> 'default' AND noderole = 'primary'))
);
CREATE UNIQUE INDEX pg_dist_node_one_primary_per_group ON citus.pg_dist_node (groupid)
	WHERE noderole = 'primary';

CREATE TABLE citus.pg_dist_partition (
	logicalrelid regclass NOT NULL,
	partmethod "char" NOT NULL,
	partkey text,
	colocationid int NOT NULL DEFAULT 0,
	repmodel "char" NOT NULL DEFAULT 's',
	autoconverted bool NOT NULL DEFAULT false
);
CREATE UNIQUE INDEX pg_dist_partition_logical_relid_index
	ON citus.pg_dist_partition (logicalrelid);
CREATE INDEX pg_dist_partition_colocationid_index ON citus.pg_dist_partition (colocationid);

CREATE TABLE citus.pg_dist_shard (
	logicalrelid regclass NOT NULL,
	shardid int8 NOT NULL,
	shardstorage "char" NOT NULL DEFAULT 't',
	shardminvalue text,
	shardmaxvalue text
);
CREATE UNIQUE INDEX pg_dist_shard_shardid_index ON citus.pg_dist_shard (shardid);
CREATE INDEX pg_dist_shard_logical_relid_index ON citus.pg_dist_shard (logicalrelid);

CREATE TABLE citus.pg_dist_placement (
	placementid int8 NOT NULL
		DEFAULT nextval('pg_catalog.pg_dist_placement_placementid_seq') PRIMARY KEY,
	shardid int8 NOT NULL,
	shardstate int4 NOT NULL DEFAULT 1,
	shardlength int8 NOT NULL DEFAULT 0,
	groupid int4 NOT NULL
);
CREATE UNIQUE INDEX pg_dist_placement_shardid_index
	ON citus.pg_dist_placement (shardid, groupid);
CREATE INDEX pg_dist_placement_groupid_index ON citus.pg_dist_placement (groupid);

CREATE TABLE citus.pg_dist_colocation (
	colocationid int NOT NULL PRIMARY KEY,
	shardcount int NOT NULL,
	replicationfactor int NOT NULL,
	distributioncolumntype oid NOT NULL,
	distributioncolumncollation oid NOT NULL
);
CREATE INDEX pg_dist_colocation_configuration_index ON citus.pg_dist_colocation
	(shardcount, replicationfactor, distributioncolumntype, distributioncolumncollation);

CREATE TABLE citus.pg_dist_schema (
	schemaid oid NOT NULL PRIMARY KEY,
	colocationid int NOT NULL UNIQUE
);

CREATE TABLE citus.pg_dist_object (
	classid oid NOT NULL,
	objid oid NOT NULL,
	objsubid int NOT NULL DEFAULT 0,
	type text,
	object_names text[],
	object_args text[],
	distribution_argument_index int,
	colocationid int,
	force_delegation bool,
	CONSTRAINT pg_dist_object_pkey PRIMARY KEY (classid, objid, objsubid)
);

CREATE TABLE citus.pg_dist_transaction (
	groupid int NOT NULL,
	gid text NOT NULL,
	outer_xid xid8
);
CREATE INDEX pg_dist_transaction_group_index ON citus.pg_dist_transaction (groupid);
CREATE UNIQUE INDEX pg_dist_transaction_unique_constraint
	ON citus.pg_dist_transaction (groupid, gid);

CREATE TABLE citus.pg_dist_node_metadata (metadata jsonb NOT NULL);
INSERT INTO citus.pg_dist_node_metadata
	VALUES (jsonb_build_object('server_id', gen_random_uuid()::text));

CREATE TABLE citus.pg_dist_authinfo (
	nodeid int NOT NULL,
	rolename name NOT NULL,
	authinfo text NOT NULL,
	CONSTRAINT pg_dist_authinfo_pkey PRIMARY KEY (rolename, nodeid)
);
CREATE TABLE citus.pg_dist_poolinfo (
	nodeid int NOT NULL PRIMARY KEY,
	poolinfo text NOT NULL
);

CREATE TABLE citus.pg_dist_rebalance_strategy (
	name name NOT NULL PRIMARY KEY,
	default_strategy bool NOT NULL DEFAULT false,
	shard_cost_function regproc NOT NULL,
	node_capacity_function regproc NOT NULL,
	shard_allowed_on_node_function regproc NOT NULL,
	default_threshold float4 NOT NULL,
	minimum_threshold float4 NOT NULL DEFAULT 0,
	improvement_threshold float4 NOT NULL DEFAULT 0
);

CREATE TABLE citus.pg_dist_background_job (
	job_id bigserial NOT NULL PRIMARY KEY,
	state pg_catalog.citus_job_status NOT NULL DEFAULT 'scheduled',
	job_type name NOT NULL,
	description text NOT NULL,
	started_at timestamptz,
	finished_at timestamptz
);
CREATE TABLE citus.pg_dist_background_task (
	job_id bigint NOT NULL,
	task_id bigserial NOT NULL PRIMARY KEY,
	owner regrole NOT NULL DEFAULT CURRENT_USER::regrole,
	pid int,
	status pg_catalog.citus_task_status NOT NULL DEFAULT 'runnable',
	command text NOT NULL,
	retry_count int,
	not_before timestamptz,
	message text NOT NULL DEFAULT '',
	nodes_involved int[],
	UNIQUE (job_id, task_id)
);
CREATE TABLE citus.pg_dist_background_task_depend (
	job_id bigint NOT NULL,
	task_id bigint NOT NULL,
	depends_on bigint NOT NULL,
	PRIMARY KEY (job_id, task_id, depends_on)
);
CREATE TABLE citus.pg_dist_cleanup (
	record_id bigint NOT NULL
		DEFAULT nextval('pg_catalog.pg_dist_cleanup_recordid_seq') PRIMARY KEY,
	operation_id bigint NOT NULL,
	object_type int NOT NULL,
	object_name text NOT NULL,
	node_group_id int NOT NULL,
	policy_type int NOT NULL
);

ALTER TABLE citus.pg_dist_local_group SET SCHEMA pg_catalog;
ALTER TABLE citus.pg_dist_node SET SCHEMA pg_catalog;
ALTER TABLE citus.pg_dist_partition SET SCHEMA pg_catalog;
ALTER TABLE citus.pg_dist_shard SET SCHEMA pg_catalog;
ALTER TABLE citus.pg_dist_placement SET SCHEMA pg_catalog;
ALTER TABLE citus.pg_dist_colocation SET SCHEMA pg_catalog;
ALTER TABLE citus.pg_dist_schema SET SCHEMA pg_catalog;
ALTER TABLE citus.pg_dist_object SET SCHEMA pg_catalog;
ALTER TABLE citus.pg_dist_transaction SET SCHEMA pg_catalog;
ALTER TABLE citus.pg_dist_node_metadata SET SCHEMA pg_catalog;
ALTER TABLE citus.pg_dist_authinfo SET SCHEMA pg_catalog;
ALTER TABLE citus.pg_dist_poolinfo SET SCHEMA pg_catalog;
ALTER TABLE citus.pg_dist_rebalance_strategy SET SCHEMA pg_catalog;
ALTER TABLE citus.pg_dist_background_job SET SCHEMA pg_catalog;
ALTER TABLE citus.pg_dist_background_task SET SCHEMA pg_catalog;
ALTER TABLE citus.pg_dist_background_task_depend SET SCHEMA pg_catalog;
ALTER TABLE citus.pg_dist_cleanup SET SCHEMA pg_catalog;

-- Everybody may read where things are; credentials are for superusers.
GRANT SELECT ON pg_catalog.pg_dist_local_group, pg_catalog.pg_dist_node,
	pg_catalog.pg_dist_partition, pg_catalog.pg_dist_shard, pg_catalog.pg_dist_placement,
	pg_catalog.pg_dist_colocation, pg_catalog.pg_dist_schema, pg_catalog.pg_dist_object,
	pg_catalog.pg_dist_transaction, pg_catalog.pg_dist_node_metadata,
	pg_catalog.pg_dist_rebalance_strategy, pg_catalog.pg_dist_background_job,
	pg_catalog.pg_dist_background_task, pg_catalog.pg_dist_background_task_depend,
	pg_catalog.pg_dist_cleanup TO public;
REVOKE ALL ON pg_catalog.pg_dist_authinfo, pg_catalog.pg_dist_poolinfo FROM public;

-- A dump holds a herd's tables as plain tables with their rows, so the placement catalogs stay out
-- of it: their restore would point at shards that do not exist. Credentials stay out as well.
SELECT pg_catalog.pg_extension_config_dump('pg_catalog.pg_dist_poolinfo', '');

-- What the catalogs say is cached in every backend: a change of theirs must reach the caches.
CREATE FUNCTION citus_internal.catalog_changed() RETURNS trigger
	LANGUAGE C AS 'MODULE_PATHNAME', 'herd_catalog_changed';
CREATE TRIGGER herd_catalog_changed AFTER INSERT OR UPDATE OR DELETE
	ON pg_catalog.pg_dist_partition FOR EACH ROW EXECUTE FUNCTION citus_internal.catalog_changed();
CREATE TRIGGER herd_catalog_changed AFTER INSERT OR UPDATE OR DELETE
	ON pg_catalog.pg_dist_shard FOR EACH ROW EXECUTE FUNCTION citus_internal.catalog_changed();
CREATE TRIGGER herd_catalog_changed AFTER INSERT OR UPDATE OR DELETE
	ON pg_catalog.pg_dist_placement FOR EACH STATEMENT
	EXECUTE FUNCTION citus_internal.catalog_changed();
CREATE TRIGGER herd_catalog_changed AFTER INSERT OR UPDATE OR DELETE
	ON pg_catalog.pg_dist_node FOR EACH STATEMENT
	EXECUTE FUNCTION citus_internal.catalog_changed();
CREATE TRIGGER herd_catalog_changed AFTER INSERT OR UPDATE OR DELETE
	ON pg_catalog.pg_dist_local_group FOR EACH STATEMENT
	EXECUTE FUNCTION citus_internal.catalog_changed();
