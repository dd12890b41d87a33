-- Aggregates that users have from Citus; PostgreSQL 16 has any_value itself.
CREATE AGGREGATE pg_catalog.jsonb_cat_agg(jsonb) (
	sfunc = pg_catalog.jsonb_concat, stype = jsonb, combinefunc = pg_catalog.jsonb_concat,
	parallel = safe);
CREATE AGGREGATE pg_catalog.array_cat_agg(anycompatiblearray) (
	sfunc = pg_catalog.array_cat, stype = anycompatiblearray, combinefunc = pg_catalog.array_cat,
	parallel = safe);
DO $$ BEGIN
	IF pg_catalog.current_setting('server_version_num')::int < 160000 THEN
		CREATE FUNCTION citus_internal.any_value_first(a anyelement, b anyelement)
			RETURNS anyelement LANGUAGE sql STRICT IMMUTABLE PARALLEL SAFE
			AS 'SELECT a';
		CREATE AGGREGATE pg_catalog.any_value(anyelement) (
			sfunc = citus_internal.any_value_first, stype = anyelement,
			combinefunc = citus_internal.any_value_first, parallel = safe);
	END IF;
END $$;
