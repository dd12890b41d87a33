-- Foreign keys between rows of different nodes: src/attach/farkey.h.
CREATE FUNCTION citus_internal.far_key_check() RETURNS trigger
	LANGUAGE C AS 'MODULE_PATHNAME', 'herd_far_key_check';
CREATE FUNCTION citus_internal.far_key_act() RETURNS trigger
	LANGUAGE C AS 'MODULE_PATHNAME', 'herd_far_key_act';
CREATE FUNCTION citus_internal.wait_for_prepared() RETURNS bigint
	LANGUAGE C AS 'MODULE_PATHNAME', 'herd_wait_for_prepared';
CREATE FUNCTION citus_internal.local_key_act() RETURNS trigger
	LANGUAGE C AS 'MODULE_PATHNAME', 'herd_local_key_act';
